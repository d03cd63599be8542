//! Lists and inspects builders.

use std::fmt::Write as _;

use archway_oci::Platform;
use jiff::{SignedDuration, Timestamp};

use super::survey::{self, Disk, NodeReport, Problem, Report, Status};
use crate::{
    args::{BuilderInspectArgs, BuilderListArgs, Format},
    builders::Builders,
    error::{self, CliError},
    session, table,
};

/// When a certificate that expires is worth a line.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

pub(super) fn list(args: &BuilderListArgs) -> Result<(), CliError> {
    let builders = Builders::read()?;
    let current = builders.current();
    let pools = builders.pools().map(|(name, pool)| (name.to_owned(), name == current, pool.clone()));
    let asked = survey::all(pools.collect());
    let mut reports = vec![survey::embedded(current == archway_buildkit::config::EMBEDDED)];
    reports.extend(session::runtime().block_on(asked));
    match args.format {
        Format::Json => anstream::println!("{}", json(&reports)),
        Format::Text => {
            anstream::print!("{}", rows(&reports));
            for line in remarks(&reports, Timestamp::now()) {
                anstream::eprintln!("{line}");
            }
        }
    }
    Ok(())
}

pub(super) fn inspect(args: &BuilderInspectArgs) -> Result<(), CliError> {
    let builders = Builders::read()?;
    let name = args.name.as_deref().unwrap_or(builders.current());
    let is_current = name == builders.current();
    let report = match builders.pool(name)? {
        None => survey::embedded(is_current),
        Some(pool) => {
            let asked = survey::all(vec![(name.to_owned(), is_current, pool.clone())]);
            session::runtime().block_on(asked).remove(0)
        }
    };
    match args.format {
        Format::Json => anstream::println!("{}", json(&report)),
        Format::Text => anstream::print!("{}", whole(&report)),
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain data")
}

/// A row for each daemon; what is said of the builder as a whole is in the first.
fn rows(reports: &[Report]) -> String {
    let head = ["NAME", "ENDPOINT", "STATUS", "VERSION", "NATIVE", "EMULATED", "CACHE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for report in reports {
        let mark = if report.current { "*" } else { "" };
        for (index, node) in report.nodes.iter().enumerate() {
            let name = if index == 0 { format!("{}{mark}", report.name) } else { String::new() };
            rows.push(vec![
                name,
                endpoint(node).to_owned(),
                status(node).to_owned(),
                node.version.clone().unwrap_or_else(|| "-".to_owned()),
                platforms(&node.platforms.native, ","),
                platforms(&node.platforms.emulated, ","),
                node.disk.map_or_else(|| "-".to_owned(), |disk| table::bytes(disk.total)),
            ]);
        }
    }
    table::render(&rows)
}

/// What is wrong, and what soon will be.
fn remarks(reports: &[Report], now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for (report, node) in
        reports.iter().flat_map(|report| report.nodes.iter().map(move |node| (report, node)))
    {
        if let Some(Problem { message, causes, hint }) = &node.error {
            lines.push(error::plain(&format!("{}: {message}", report.name), causes, hint.as_deref()));
        } else if let Some(credential) = &node.certificate
            && credential.valid_until.duration_since(now) < SOON
        {
            let (path, until) = (credential.path.display(), credential.valid_until);
            let message = format!("{}: the client certificate {path} expires at {until}", report.name);
            lines.push(error::note(&message, &[]));
        }
    }
    lines
}

fn whole(report: &Report) -> String {
    let mut text =
        format!("Name:     {}\nCurrent:  {}\n", report.name, if report.current { "yes" } else { "no" });
    for node in &report.nodes {
        let mut rows = vec![("Endpoint:", endpoint(node).to_owned()), ("Status:", status(node).to_owned())];
        rows.extend(node.version.clone().map(|version| ("Version:", version)));
        if !node.restricted_to.is_empty() {
            rows.push(("Used for:", node.restricted_to.join(", ")));
        }
        if node.error.is_none() {
            rows.push(("Native:", platforms(&node.platforms.native, ", ")));
            rows.push(("Emulated:", platforms(&node.platforms.emulated, ", ")));
        }
        if let Some(Disk { total, reclaimable }) = node.disk {
            let (total, reclaimable) = (table::bytes(total), table::bytes(reclaimable));
            rows.push(("Cache:", format!("{total}, {reclaimable} of it in no use")));
        }
        rows.extend(node.running_builds.map(|running| ("Builds:", format!("{running} running"))));
        if let Some(credential) = &node.certificate {
            let (path, until) = (credential.path.display(), credential.valid_until);
            rows.push(("Certificate:", format!("{path}, valid until {until}")));
        }
        for worker in &node.workers {
            rows.push(("Worker:", worker.id.clone()));
            rows.extend(worker.labels.iter().map(|(key, value)| ("", format!("{key}={value}"))));
        }
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|(key, value)| vec![key.to_owned(), error::printable(&value)]).collect();
        let _ = write!(text, "\n{}", table::render(&rows));
        if let Some(Problem { message, causes, hint }) = &node.error {
            let _ = writeln!(text, "{}", error::plain(message, causes, hint.as_deref()));
        }
    }
    text
}

fn endpoint(node: &NodeReport) -> &str {
    node.endpoint.as_deref().unwrap_or("this machine")
}

fn status(node: &NodeReport) -> &'static str {
    match node.status {
        Status::Running => "running",
        Status::Error => "error",
    }
}

fn platforms(platforms: &[Platform], separator: &str) -> String {
    match platforms {
        [] => "-".to_owned(),
        some => some.iter().map(Platform::to_string).collect::<Vec<_>>().join(separator),
    }
}
