//! `archway index`.

use std::io::Write as _;

use archway_orchestrator::index_tools::{self, CreateRequest, Created};
use serde_json::{Value, json};

use crate::{
    args::{IndexCommand, IndexCreateArgs, ProgressMode, RegistryArgs},
    error::{CliError, Exit},
    progress::{self, Progress},
    session::Session,
};

pub(crate) fn run(command: &IndexCommand, registries: &RegistryArgs) -> Result<(), CliError> {
    match command {
        IndexCommand::Create(args) => create(args, registries),
    }
}

fn create(args: &IndexCreateArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let request = args.request()?;
    if let Some(path) = &args.metadata_file {
        super::check_file("--metadata-file", path)?;
    }
    let session = Session::start(registries)?;
    let shown = progress::shown(args.progress);
    let progress = Progress::start(args.progress);
    let context = session.context(progress.events());
    let outcome = session.runtime.block_on(async {
        let interrupt = super::interrupt();
        tokio::select! {
            created = index_tools::create(&context, &request) => Ok(created?),
            () = interrupt.cancelled() => Err(CliError::Reported(Exit::Interrupted)),
        }
    });
    progress.finish();
    let created = outcome?;
    if matches!(shown, ProgressMode::Tty | ProgressMode::Plain) {
        for published in &created.published {
            anstream::eprintln!("{}", super::arrow(&published.target));
        }
    }
    if let Some(path) = &args.metadata_file {
        let text = serde_json::to_string_pretty(&metadata(&request, &created)).expect("plain data");
        super::write_file(path, &(text + "\n"))?;
    }
    match args.dry_run {
        true => show(&created),
        false => {
            anstream::println!("{}", created.descriptor.digest);
            Ok(())
        }
    }
}

/// The index as it would be published, byte for byte: its digest can be computed.
fn show(created: &Created) -> Result<(), CliError> {
    let written = std::io::stdout().lock().write_all(&created.bytes);
    written.map_err(|source| CliError::File { action: "write", path: "-".into(), source })
}

/// The keys of buildx.
fn metadata(request: &CreateRequest, created: &Created) -> Value {
    let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
    json!({
        "containerimage.digest": created.descriptor.digest,
        "containerimage.descriptor": created.descriptor,
        "image.name": names.join(","),
    })
}
