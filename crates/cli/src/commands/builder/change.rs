//! Creates, chooses and removes builders.

use archway_buildkit::{ConnectError, Daemon, Node, config::EMBEDDED};

use super::survey::Abilities;
use crate::{
    args::{BuilderCreateArgs, BuilderRemoveArgs, BuilderUseArgs},
    builders::{self, Builders},
    error::{self, CliError},
    session,
};

/// The daemon is asked before it is written down. One that says no, or that is no daemon, is an error; one that is
/// not there may come later.
pub(super) fn create(args: &BuilderCreateArgs) -> Result<(), CliError> {
    let (name, node) = args.node()?;
    let builders = Builders::read()?;
    if let Some(path) = builders.elsewhere(&name) {
        return Err(CliError::MachinesBuilder { name, path: path.to_owned() });
    }
    let said = match session::runtime().block_on(Daemon::connect(&node)) {
        Ok(daemon) => describe(&node, &daemon),
        Err(error) if may_come_later(&error) => {
            error::note(&format!("{error}; the builder is made all the same"), &error::chain(&error))
        }
        Err(error) => return Err(error.into()),
    };
    builders::change(|document| {
        document.add(&name, node, args.append)?;
        if args.select {
            document.select(Some(&name));
        }
        Ok(())
    })?;
    anstream::eprintln!("{said}");
    anstream::println!("{name}");
    Ok(())
}

fn may_come_later(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Unreachable { .. } | ConnectError::Timeout { .. } | ConnectError::Ssh { .. }
    )
}

fn describe(node: &Node, daemon: &Daemon) -> String {
    let Abilities { native, emulated } = Abilities::of_daemon(node, daemon);
    let version = error::printable(daemon.version());
    let mut text = format!("{} is BuildKit {version}", daemon.endpoint());
    for (platforms, how) in [(native, "builds"), (emulated, "emulates")] {
        if !platforms.is_empty() {
            let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            text += &format!(", {how} {}", platforms.join(" "));
        }
    }
    text
}

pub(super) fn select(args: &BuilderUseArgs) -> Result<(), CliError> {
    let builders = Builders::read()?;
    let pool = builders.pool(&args.name)?;
    // `embedded` is written down where the machine's file says something else.
    let is_written = pool.is_some() || builders.current() != EMBEDDED;
    builders::change(|document| {
        document.select(is_written.then_some(&args.name));
        Ok(())
    })?;
    anstream::println!("{}", args.name);
    Ok(())
}

pub(super) fn remove(args: &BuilderRemoveArgs) -> Result<(), CliError> {
    let name = &args.name;
    let builders = Builders::read()?;
    if builders.pool(name)?.is_none() {
        return Err(CliError::usage("NAME", format!("`{EMBEDDED}` is this machine, and cannot be removed")));
    }
    if let Some(path) = builders.elsewhere(name) {
        return Err(CliError::MachinesBuilder { name: name.clone(), path: path.to_owned() });
    }
    let node = args.node()?;
    builders::change(|document| {
        match &node {
            Some(endpoint) => document.remove_node(name, endpoint)?,
            None => document.remove(name)?,
        }
        Ok(())
    })?;
    match node {
        Some(endpoint) => anstream::println!("removed {endpoint} from {name}"),
        None => anstream::println!("removed {name}"),
    }
    Ok(())
}
