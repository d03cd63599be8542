//! `archway index`.

use std::io::Write as _;

use archway_orchestrator::index_tools;
use archway_report::Events;

use crate::{
    args::{IndexAnnotateArgs, IndexCommand, IndexCreateArgs, ProgressMode, PublishingArgs, RegistryArgs},
    error::CliError,
    progress,
    session::Session,
};

pub(crate) fn run(command: &IndexCommand, registries: &RegistryArgs) -> Result<(), CliError> {
    match command {
        IndexCommand::Create(args) => create(args, registries),
        IndexCommand::Inspect(args) => super::inspect::run(args, registries),
        IndexCommand::Annotate(args) => annotate(args, registries),
        IndexCommand::Verify(args) => super::verify::run(args, registries),
    }
}

fn create(args: &IndexCreateArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let request = args.request()?;
    let PublishingArgs { metadata_file, progress, .. } = &args.publishing;
    if let Some(path) = metadata_file {
        super::check_file("--metadata-file", path)?;
    }
    let created = super::with_progress(*progress, registries, async |context| {
        index_tools::create(context, &request).await
    })?;
    if matches!(progress::shown(*progress), ProgressMode::Tty | ProgressMode::Plain) {
        for published in &created.published {
            anstream::eprintln!("{}", super::arrow(&published.target));
        }
    }
    if let Some(path) = metadata_file {
        let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
        super::write_metadata(path, &created.descriptor, &names.join(","))?;
    }
    match args.dry_run {
        true => show(&created.bytes),
        false => {
            anstream::println!("{}", created.descriptor.digest);
            Ok(())
        }
    }
}

fn annotate(args: &IndexAnnotateArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let request = args.request()?;
    if let Some(path) = &args.metadata_file {
        super::check_file("--metadata-file", path)?;
    }
    let session = Session::start(registries)?;
    let context = session.context(Events::ignored());
    let annotated = super::until_interrupted(&session, index_tools::annotate(&context, &request))?;
    for published in &annotated.published {
        match annotated.before == annotated.descriptor.digest {
            true => anstream::eprintln!("{} already is so", published.target),
            false => anstream::eprintln!("{}", super::arrow(&published.target)),
        }
    }
    if let Some(path) = &args.metadata_file {
        super::write_metadata(path, &annotated.descriptor, &request.image.to_string())?;
    }
    match args.dry_run {
        true => show(&annotated.bytes),
        false => {
            anstream::println!("{}", annotated.descriptor.digest);
            Ok(())
        }
    }
}

/// An index as it would be published, byte for byte: its digest can be computed.
fn show(bytes: &[u8]) -> Result<(), CliError> {
    let written = std::io::stdout().lock().write_all(bytes);
    written.map_err(|source| CliError::File { action: "write", path: "-".into(), source })
}
