//! `archway cache prune`, and what builds remove without being asked.

use archway_store::{Prune, Pruned, Store, garbage::automatic::Policy};
use jiff::Timestamp;

use super::text;
use crate::{args::PruneArgs, commands::agreed, error::CliError, session, table};

pub(super) fn run(args: &PruneArgs) -> Result<(), CliError> {
    let filter = args.filter.parse()?;
    if !args.dry_run && !args.force && !agreed(question(args.all))? {
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

fn question(all: bool) -> &'static str {
    match all {
        true => "Remove all that no image and no build needs from the build cache?",
        false => "Remove what no image and no build needs from the build cache?",
    }
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
