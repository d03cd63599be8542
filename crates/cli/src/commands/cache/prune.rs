//! `archway cache prune`, and what builds remove without being asked.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use archway_store::{Prune, Pruned, Store, garbage::automatic::Policy};
use jiff::Timestamp;

use super::text;
use crate::{args::PruneArgs, error::CliError, session, table};

pub(super) fn run(args: &PruneArgs) -> Result<(), CliError> {
    let filter = args.filter.parse()?;
    if !args.dry_run && !args.force && !agreed(args.all)? {
        return Ok(());
    }
    let store = session::store()?;
    let (rules, now) = ([args.rule()], Timestamp::now());
    let filter = |item: &_| filter.takes(item, now);
    let pruned = store.prune(&Prune { filter: &filter, dry_run: args.dry_run, ..Prune::by(&rules) })?;
    if (args.verbose || args.dry_run) && !pruned.items.is_empty() {
        anstream::println!("{}", text::items(&pruned.items, now));
    }
    anstream::println!("{}", outcome(&pruned, args.dry_run));
    Ok(())
}

fn outcome(pruned: &Pruned, dry_run: bool) -> String {
    let (count, freed, left) = (pruned.items.len(), table::bytes(pruned.bytes), table::bytes(pruned.left));
    let items = if count == 1 { "item" } else { "items" };
    match dry_run {
        true => format!("{count} {items} would go: {freed} would be freed, {left} would be left"),
        false => format!("{count} {items} removed: {freed} freed, {left} left"),
    }
}

/// Asks, where somebody can answer.
fn agreed(all: bool) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    let what = if all { "all that no image and no build needs" } else { "what no image and no build needs" };
    anstream::eprint!("Remove {what} from the build cache? [y/N] ");
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    let failed = |source| CliError::File { action: "read", path: "standard input".to_owned(), source };
    read.map_err(failed)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// At the end of a build: removes what the policy says, if it is time to; the sentence to tell.
///
/// # Errors
/// When the store cannot be read. What was built is safe.
pub(crate) fn collect_if_due(store: &Store, policy: Option<&Policy>) -> Result<Option<String>, CliError> {
    let Some(policy) = policy else { return Ok(None) };
    let pruned = store.collect_if_due(policy)?;
    Ok(pruned.filter(|pruned| pruned.bytes > 0).map(|pruned| {
        let (freed, left) = (table::bytes(pruned.bytes), table::bytes(pruned.left));
        format!("the build cache was cleaned up: {freed} freed, {left} left (`archway cache du`)")
    }))
}
