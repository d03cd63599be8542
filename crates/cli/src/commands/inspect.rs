//! `archway inspect`.

use std::{fmt::Write as _, io::Write as _};

use archway_oci::reference::ImageLocation;
use archway_orchestrator::inspect::{self, Inspection, LayerInfo};
use archway_report::Events;

use crate::{
    args::{Format, InspectArgs, RegistryArgs},
    error::CliError,
    session::Session,
    table,
};

pub(crate) fn run(args: &InspectArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let location: ImageLocation = args.image.parse().map_err(|error| CliError::usage("IMAGE", error))?;
    let session = Session::start(registries)?;
    let context = session.context(Events::ignored());
    session.runtime.block_on(async {
        if args.raw {
            let bytes = inspect::raw(&context, &location, args.pull).await?;
            let written = std::io::stdout().lock().write_all(&bytes);
            return written.map_err(|source| CliError::File { action: "write", path: "-".into(), source });
        }
        let inspection = inspect::inspect(&context, &location, args.pull).await?;
        match args.format {
            Format::Json => {
                anstream::println!("{}", serde_json::to_string_pretty(&inspection).expect("plain data"));
            }
            Format::Text => anstream::print!("{}", text(&inspection)),
        }
        Ok(())
    })
}

fn text(inspection: &Inspection) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Name:    {}", inspection.name);
    let _ = writeln!(text, "Digest:  {}", inspection.digest);
    let _ = writeln!(text, "Type:    {}", inspection.media_type);
    for (key, value) in &inspection.annotations {
        let _ = writeln!(text, "         {key}={value}");
    }
    text.push('\n');
    let mut rows = vec![["PLATFORM", "SIZE", "LAYERS", "SHARED", "DIGEST"].map(str::to_owned).to_vec()];
    for image in &inspection.platforms {
        let shared = image.layers.iter().filter(|layer| layer.shared_by > 1).count();
        rows.push(vec![
            image.platform.to_string(),
            table::bytes(image.size),
            image.layers.len().to_string(),
            shared.to_string(),
            image.digest.to_string(),
        ]);
    }
    text.push_str(&table::render(&rows));
    for other in &inspection.others {
        let kind = other.annotations.get("vnd.docker.reference.type").map_or("other", String::as_str);
        let _ = writeln!(text, "{kind}  {}", other.digest);
    }
    let _ = writeln!(text, "\n{}", savings(inspection));
    text
}

/// How much of the image is stored once for several platforms.
fn savings(inspection: &Inspection) -> String {
    let layers: Vec<&LayerInfo> = inspection.platforms.iter().flat_map(|image| &image.layers).collect();
    let total: u64 = layers.iter().map(|layer| layer.size).sum();
    let stored: f64 = layers.iter().map(|layer| layer.size as f64 / layer.shared_by.max(1) as f64).sum();
    format!("{} of layers, {} stored", table::bytes(total), table::bytes(stored.round() as u64))
}
