//! How a platform is going to be built here, and why.

use archway_dockerfile::ast::SourceText;
use archway_oci::Platform;
use archway_report::Strategy;

use crate::op::{Node, NodeId, Op};

/// Characters of an instruction that a reason quotes.
const QUOTED: usize = 40;

/// A strategy, why, and the step that decides, if one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) strategy: Strategy,
    pub(crate) reason: String,
    pub(crate) step: Option<NodeId>,
}

/// The machine that runs the steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine<'a> {
    /// What to call it.
    pub(crate) name: &'a Platform,
    /// What its processor runs.
    pub(crate) processor: &'a Platform,
}

/// Decides for the platform that is output number `output`: only its RUN steps count, as all else
/// is copying files.
pub(crate) fn decide(
    nodes: &[Node],
    output: usize,
    platform: &Platform,
    machine: Machine<'_>,
    source: &SourceText,
) -> Decision {
    let mut runs = Vec::new();
    for node in nodes.iter().filter(|node| node.serves.contains(&output)) {
        if let Op::Run(run) = &node.op {
            if !run.platform.runs_natively_on(machine.processor) {
                let reason = format!(
                    "{} runs on {}, this machine is {}",
                    describe(node, source),
                    run.platform,
                    machine.name
                );
                return Decision { strategy: Strategy::Emulated, reason, step: Some(node.id) };
            }
            runs.push(&run.platform);
        }
    }
    let native = platform.runs_natively_on(machine.processor);
    let reason = match runs.len() {
        0 if native => "no RUN step: files are only copied".to_owned(),
        0 => format!("no RUN step: nothing of {platform} is executed"),
        1 => format!("the only RUN step runs on {}", names(&runs)),
        count => format!("all {count} RUN steps run on {}", names(&runs)),
    };
    let strategy = if native { Strategy::Native } else { Strategy::Cross };
    Decision { strategy, reason, step: None }
}

fn names(platforms: &[&Platform]) -> String {
    let mut names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names.join(" and ")
}

/// `RUN apt-get update && apt-get install -y cur… (Dockerfile:7)`
fn describe(node: &Node, source: &SourceText) -> String {
    let name = node.label.as_ref().map_or("RUN", |label| &label.name);
    let mut text: String = name.chars().take(QUOTED).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    match location(node, source) {
        Some(location) => format!("{text} ({location})"),
        None => text,
    }
}

/// `Dockerfile:7`
pub(crate) fn location(node: &Node, source: &SourceText) -> Option<String> {
    let (line, _) = source.lines(node.span?);
    Some(format!("{}:{line}", source.name))
}
