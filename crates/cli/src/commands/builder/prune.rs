//! Removes what no build needs from the caches of a builder's daemons.

use archway_buildkit::{Daemon, Node, config::EMBEDDED, daemon::Prune};

use crate::{
    args::BuilderPruneArgs,
    builders::Builders,
    commands::agreed,
    error::{self, CliError, Exit, connect_hint},
    session, table,
};

pub(super) fn run(args: &BuilderPruneArgs) -> Result<(), CliError> {
    let builders = Builders::read()?;
    let name = args.name.as_deref().unwrap_or(builders.current());
    let Some(pool) = builders.pool(name)? else {
        let message = format!("`{EMBEDDED}` is this machine: `archway cache prune`");
        return Err(CliError::usage("NAME", message));
    };
    let question = format!("Remove what no build needs from the caches of {} daemons?", pool.nodes.len());
    if !args.force && !agreed(&question)? {
        return Ok(());
    }
    let what = args.what();
    let mut rows = vec![["ENDPOINT", "FREED"].map(str::to_owned).to_vec()];
    let mut texts = Vec::new();
    let runtime = session::runtime();
    let pruning = pool.nodes.iter().map(|node| runtime.spawn(prune(node.clone(), what)));
    for (node, task) in pool.nodes.iter().zip(pruning.collect::<Vec<_>>()) {
        let freed = match runtime.block_on(task).expect("pruning does not panic") {
            Ok(freed) => table::bytes(freed),
            Err(text) => {
                texts.push(text);
                "-".to_owned()
            }
        };
        rows.push(vec![node.endpoint.to_string(), freed]);
    }
    anstream::print!("{}", table::render(&rows));
    match texts.is_empty() {
        true => Ok(()),
        false => {
            anstream::eprintln!("\n{}", texts.join("\n"));
            Err(CliError::Reported(Exit::Failure))
        }
    }
}

/// Bytes that were freed, or why not.
async fn prune(node: Node, what: Prune) -> Result<u64, String> {
    let daemon = Daemon::connect(&node).await.map_err(|error| {
        error::plain(&error.to_string(), &error::chain(&error), connect_hint(&error).as_deref())
    })?;
    daemon.prune(&what).await.map_err(|status| {
        error::plain(
            &format!("{} does not prune its cache", node.endpoint),
            &[status.message().to_owned()],
            None,
        )
    })
}
