//! `archway cache export`, `import` and `rm`: the cache mounts of RUN steps.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
    time::Duration,
};

use archway_layer::extract::Ownership;
use archway_orchestrator::cache_mounts::{self, Choice, ListedMount};
use archway_sandbox::rootless::Identity;

use crate::{
    args::{ExportArgs, ImportArgs, RemoveArgs},
    error::CliError,
    session, table,
};

/// The archive is written aside and renamed, so that a file of that name is always whole.
pub(super) fn export(args: &ExportArgs) -> Result<(), CliError> {
    let choice = choice(&args.ids, args.platform.as_deref(), None)?;
    let store = session::store()?;
    if args.output == Path::new("-") {
        let mounts = cache_mounts::export(&store, &choice, io::stdout().lock())?;
        anstream::eprint!("{}", text(&mounts));
        return Ok(());
    }
    let failed = |source: io::Error| CliError::File {
        action: "write",
        path: args.output.display().to_string(),
        source,
    };
    let mut unfinished = args.output.clone().into_os_string();
    unfinished.push(".part");
    let written = File::create(&unfinished).map_err(failed).and_then(|file| {
        let mut file = BufWriter::new(file);
        let mounts = cache_mounts::export(&store, &choice, &mut file)?;
        file.flush().map_err(failed)?;
        std::fs::rename(&unfinished, &args.output).map_err(failed)?;
        Ok(mounts)
    });
    if written.is_err() {
        // What is not there need not be removed.
        let _ = std::fs::remove_file(&unfinished);
    }
    anstream::print!("{}", text(&written?));
    Ok(())
}

pub(super) fn import(args: &ImportArgs) -> Result<(), CliError> {
    let (store, identity) = session::store_as()?;
    let ownership = match identity {
        Identity::Root | Identity::Mapped => Ownership::Keep,
        Identity::SingleId { .. } => Ownership::Squash,
    };
    let name = args.archive.display().to_string();
    let records = if args.archive == Path::new("-") {
        cache_mounts::import(&store, "standard input", io::stdin(), ownership)?
    } else {
        let file = File::open(&args.archive);
        let file = file.map_err(|source| CliError::File { action: "read", path: name.clone(), source })?;
        cache_mounts::import(&store, &name, file, ownership)?
    };
    store.sync()?;
    for record in records {
        let platform = record.platform.as_deref().unwrap_or("all platforms");
        anstream::println!("imported {} for {platform}", record.id);
    }
    Ok(())
}

pub(super) fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    let choice = choice(&args.ids, args.platform.as_deref(), args.unused_for)?;
    let store = session::store()?;
    let meant = cache_mounts::list(&store, &choice)?.len();
    let (removed, bytes) = cache_mounts::remove(&store, &choice)?;
    for mount in &removed {
        let platform = mount.platform.as_deref().unwrap_or("all platforms");
        anstream::println!("removed {} of {platform}", mount.id);
    }
    anstream::println!("{} freed", table::bytes(bytes));
    match meant.saturating_sub(removed.len()) {
        0 => Ok(()),
        kept => Err(CliError::InUse { kept }),
    }
}

fn choice(ids: &[String], platform: Option<&str>, unused_for: Option<Duration>) -> Result<Choice, CliError> {
    let platform = super::platform(platform)?;
    Ok(Choice { ids: ids.to_vec(), platform, unused_for })
}

fn text(mounts: &[ListedMount]) -> String {
    let mut rows = vec![["ID", "PLATFORM", "KEY", "SIZE", "LAST USED"].map(str::to_owned).to_vec()];
    for mount in mounts {
        let used =
            if mount.in_use { "now".to_owned() } else { mount.last_used.strftime("%F %T").to_string() };
        rows.push(vec![
            mount.id.clone(),
            mount.platform.clone().unwrap_or_else(|| "all".to_owned()),
            mount.key[..12].to_owned(),
            table::bytes(mount.size),
            used,
        ]);
    }
    table::render(&rows)
}
