//! `archway copy`.

use archway_orchestrator::index_tools::{self, Copied, Transfers};

use crate::{
    args::{CopyArgs, ProgressMode, PublishingArgs, RegistryArgs},
    error::CliError,
    progress, table,
};

pub(crate) fn run(args: &CopyArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let request = args.request()?;
    let PublishingArgs { metadata_file, progress, .. } = &args.publishing;
    if let Some(path) = metadata_file {
        super::check_file("--metadata-file", path)?;
    }
    let copied = super::with_progress(*progress, registries, async |context| {
        index_tools::copy(context, &request).await
    })?;
    if matches!(progress::shown(*progress), ProgressMode::Tty | ProgressMode::Plain) {
        anstream::eprintln!("{}", summary(&copied));
        for published in &copied.published {
            anstream::eprintln!("{}", super::arrow(&published.target));
        }
    }
    if let Some(path) = metadata_file {
        super::write_metadata(path, &copied.descriptor, &request.destination.to_string())?;
    }
    anstream::println!("{}", copied.descriptor.digest);
    Ok(())
}

/// What was moved, and whether it is still the same.
fn summary(copied: &Copied) -> String {
    let Transfers { existed, mounted, sent, bytes } = copied.transfers;
    let blobs = if sent == 1 { "blob" } else { "blobs" };
    let mut parts = vec![format!("{sent} {blobs} copied ({})", table::bytes(bytes))];
    for (count, what) in [(mounted, "mounted"), (existed, "already there"), (copied.referrers, "referrers")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let text = parts.join(", ");
    match copied.source.digest == copied.descriptor.digest {
        true => text,
        false => format!("{text}; another digest than the source, {}", copied.source.digest),
    }
}

#[cfg(test)]
mod tests {
    use archway_oci::Descriptor;

    use super::*;

    #[test]
    fn what_was_moved_is_said() {
        let whole = Descriptor::of("index", b"whole");
        let mut copied = Copied {
            source: whole.clone(),
            descriptor: whole.clone(),
            referrers: 0,
            transfers: Transfers { existed: 0, mounted: 4, sent: 0, bytes: 0 },
            published: Vec::new(),
        };
        assert_eq!(summary(&copied), "0 blobs copied (0 B), 4 mounted");
        copied.descriptor = Descriptor::of("index", b"part");
        copied.referrers = 2;
        copied.transfers = Transfers { existed: 1, mounted: 0, sent: 3, bytes: 1500 };
        let expected = format!(
            "3 blobs copied (1.5 kB), 1 already there, 2 referrers; another digest than the source, {}",
            whole.digest
        );
        assert_eq!(summary(&copied), expected);
    }
}
