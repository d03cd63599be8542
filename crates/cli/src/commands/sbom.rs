//! `archway sbom`.

use archway_attest::sbom::Format;
use archway_orchestrator::bom::{self, Cataloged};
use archway_report::Events;

use crate::{
    args::{self, RegistryArgs, SbomArgs, SbomFormat},
    error::{self, CliError},
    session::Session,
    table,
};

pub(crate) fn run(args: &SbomArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let location = args::location("IMAGE", &args.image)?;
    let platforms = args.platforms()?;
    if let Some(path) = &args.output {
        super::check_file("--output", path)?;
    }
    let session = Session::start(registries)?;
    let context = session.context(Events::ignored());
    let images =
        super::until_interrupted(&session, bom::catalogs(&context, &location, &platforms, args.pull))?;
    let text = match args.format {
        SbomFormat::Table => listed(&images),
        SbomFormat::Spdx => document(&images, Format::Spdx)?,
        SbomFormat::Cyclonedx => document(&images, Format::CycloneDx)?,
    };
    for unread in images.iter().flat_map(|image| &image.catalog.unread) {
        let message = format!("packages of `{}` are not listed: {}", unread.path, unread.reason);
        anstream::eprintln!("{}", error::note(&message, &[]));
    }
    match &args.output {
        Some(path) => super::write_file(path, &text),
        None => {
            anstream::print!("{text}");
            Ok(())
        }
    }
}

fn document(images: &[Cataloged], format: Format) -> Result<String, CliError> {
    match images {
        [image] => Ok(format!("{}\n", image.document(format).predicate())),
        [] => Err(CliError::usage("IMAGE", "it has no image for any platform")),
        several => {
            let offered: Vec<String> = several.iter().map(|image| image.platform.to_string()).collect();
            Err(CliError::Usage {
                flag: "--format",
                message: "a document is about one platform, and the image has several".to_owned(),
                hint: Some(format!("choose one with --platform: {}", offered.join(", "))),
            })
        }
    }
}

/// A table for each platform.
fn listed(images: &[Cataloged]) -> String {
    let mut text = String::new();
    for image in images {
        let distribution = image.catalog.distribution.as_ref();
        let name = distribution.map(|found| found.name.clone().unwrap_or_else(|| found.qualifier()));
        let count = image.catalog.packages.len();
        let on = name.map(|name| format!(", {name}")).unwrap_or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{}: {count} packages{on}\n", image.platform));
        let mut rows = vec![["TYPE", "NAME", "VERSION", "LICENCE"].map(str::to_owned).to_vec()];
        rows.extend(image.catalog.packages.iter().map(|package| {
            let cells =
                [package.kind.as_str(), &package.name, &package.version, &package.licences.join(", ")];
            cells.map(error::printable).to_vec()
        }));
        if count > 0 {
            text.push_str(&table::render(&rows));
        }
    }
    text
}
