//! A graph in a few lines, one per node and one per output.

use archway_graph::{ContextName, CopySource, Graph, Network, Node, NodeId, Op};

/// `id: operation | outputs it serves`, then `platform = node [layers]`.
pub(crate) fn dump(graph: &Graph) -> String {
    let mut lines: Vec<String> = graph.nodes.iter().map(node).collect();
    for output in &graph.outputs {
        lines.push(format!("{} = {} {}", output.platform, output.node.0, ids(&output.layers)));
    }
    lines.join("\n")
}

fn node(node: &Node) -> String {
    let op = match &node.op {
        Op::Scratch => "scratch".to_owned(),
        Op::Image(image) => format!("image {} {}", image.name, image.platform),
        Op::Run(run) => {
            let network = if run.network == Network::None { " --network=none" } else { "" };
            let user = if run.user.is_empty() { String::new() } else { format!(" as {}", run.user) };
            format!("{} run{network}{user} on {} in {}: {:?}", run.base.0, run.platform, run.cwd, run.argv)
        }
        Op::Copy(copy) => {
            let verb = if copy.unpack { "add" } else { "copy" };
            let sources: Vec<String> = copy.sources.iter().map(source).collect();
            let mut text =
                format!("{} {verb} {} to {}", copy.base.0, sources.join(" and "), copy.destination);
            if let Some(owner) = &copy.chown {
                text.push_str(&format!(" by {owner}"));
            }
            if let Some(mode) = &copy.chmod {
                text.push_str(&format!(" mode {mode}"));
            }
            if copy.parents {
                text.push_str(" with parents");
            }
            if copy.link {
                text.push_str(" linked");
            }
            if !copy.exclude.is_empty() {
                text.push_str(&format!(" without {:?}", copy.exclude));
            }
            text
        }
        Op::Git(git) => {
            let checksum = git.checksum.as_ref().map(|commit| format!(" at {commit}")).unwrap_or_default();
            let keep = if git.keep_git_dir { " with .git" } else { "" };
            format!("git {}{checksum}{keep}", git.describe())
        }
        Op::Http(http) => {
            let checksum = http.checksum.as_ref().map(|sum| format!(" {sum}")).unwrap_or_default();
            format!("http {} as {}{checksum}", http.describe(), http.name)
        }
        Op::Mkdir(mkdir) => format!("{} mkdir {} as {:?}", mkdir.base.0, mkdir.path, mkdir.user),
    };
    let serves: Vec<String> = node.serves.iter().map(usize::to_string).collect();
    format!("{}: {op} | {}", node.id.0, serves.join(" "))
}

fn source(source: &CopySource) -> String {
    match source {
        CopySource::Context { context: ContextName::Main, paths } => format!("{paths:?}"),
        CopySource::Context { context: ContextName::Named(name), paths } => format!("{paths:?} of {name}"),
        CopySource::Download { node, unpack } => {
            format!("the file of {}{}", node.0, if *unpack { ", unpacked" } else { "" })
        }
        CopySource::Node { node, paths } => format!("{paths:?} of {}", node.0),
        CopySource::Inline { files } => {
            let files: Vec<String> =
                files.iter().map(|file| format!("{}={:?}", file.name, file.content)).collect();
            format!("<<{}", files.join(","))
        }
    }
}

fn ids(ids: &[NodeId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| id.0.to_string()).collect();
    format!("[{}]", ids.join(" "))
}

/// Compares line by line, without indentation.
#[track_caller]
pub(crate) fn assert_graph(graph: &Graph, expected: &str) {
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(dump(graph), expected.join("\n"), "\n{}", dump(graph));
}
