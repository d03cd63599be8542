//! `archway images`, `tag` and `rmi`.

use archway_oci::Reference;
use archway_orchestrator::images::{self, LocalImage};

use crate::{
    args::{Format, ImagesArgs, RmiArgs, TagArgs},
    error::CliError,
    session, table,
};

pub(crate) fn list(args: &ImagesArgs) -> Result<(), CliError> {
    let images = images::list(&session::store()?)?;
    match args.format {
        Format::Json => anstream::println!("{}", serde_json::to_string_pretty(&images).expect("plain data")),
        Format::Text => anstream::print!("{}", text(&images)),
    }
    Ok(())
}

pub(crate) fn tag(args: &TagArgs) -> Result<(), CliError> {
    let target: Reference = args.target.parse().map_err(|error| CliError::usage("TARGET", error))?;
    Ok(images::tag(&session::store()?, &args.source, &target)?)
}

pub(crate) fn remove(args: &RmiArgs) -> Result<(), CliError> {
    let store = session::store()?;
    for name in &args.images {
        anstream::println!("removed {}", images::remove(&store, name)?);
    }
    Ok(())
}

fn text(images: &[LocalImage]) -> String {
    let mut rows = vec![["NAME", "DIGEST", "PLATFORMS", "CREATED"].map(str::to_owned).to_vec()];
    for image in images {
        let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
        rows.push(vec![
            image.name.clone(),
            image.descriptor.digest.short().to_owned(),
            platforms.join(" "),
            image.created.to_string(),
        ]);
    }
    table::render(&rows)
}
