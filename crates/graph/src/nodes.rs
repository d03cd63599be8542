//! The operations of all platforms, each once.

use std::collections::{BTreeSet, HashMap};

use archway_dockerfile::ast::Span;

use crate::mount::Mount;
use crate::op::{CopySource, InlineFile, Label, Node, NodeId, Op};

/// Hash-consing: an operation that is there already, on inputs that are there already, is that node.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    ids: HashMap<Op, NodeId>,
    bytes: usize,
}

impl Nodes {
    /// The node of an operation, and whether it is new. Inputs must be nodes already, which is what
    /// keeps the order topological. Of equal operations the first one's place and label count.
    pub(crate) fn add(&mut self, op: Op, span: Option<Span>, label: Option<Label>) -> (NodeId, bool) {
        if let Some(id) = self.ids.get(&op) {
            return (*id, false);
        }
        let id =
            NodeId(u32::try_from(self.nodes.len()).expect("a Dockerfile is bounded, and so is its graph"));
        self.bytes += weight(&op);
        self.ids.insert(op.clone(), id);
        self.nodes.push(Node { id, op, serves: Vec::new(), span, label });
        (id, true)
    }

    /// The operation of a node.
    pub(crate) fn op(&self, id: NodeId) -> &Op {
        &self.nodes[id.0 as usize].op
    }

    /// Counts `bytes` of text that belong to the graph, and returns what they all come to.
    pub(crate) fn spend(&mut self, bytes: usize) -> usize {
        self.bytes += bytes;
        self.bytes
    }

    pub(crate) fn set_total(&mut self, id: NodeId, total: u32) {
        if let Some(label) = &mut self.nodes[id.0 as usize].label {
            label.total = total;
        }
    }

    /// Notes that `output` needs `root` and all it is made of.
    pub(crate) fn serve(&mut self, output: usize, root: NodeId) {
        let mut open = BTreeSet::from([root]);
        while let Some(id) = open.pop_last() {
            let node = &mut self.nodes[id.0 as usize];
            node.serves.push(output);
            open.extend(node.op.inputs());
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Node> {
        self.nodes
    }
}

/// Bytes of the parts of an operation that can be many or long.
fn weight(op: &Op) -> usize {
    let texts = |texts: &[String]| texts.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>();
    let files = |files: &[InlineFile]| files.iter().map(|file| file.content.len()).sum::<usize>();
    match op {
        Op::Scratch | Op::Image(_) | Op::Mkdir(_) | Op::Git(_) | Op::Http(_) => 0,
        Op::Run(run) => {
            let mounts = run.mounts.iter().map(|mount| mount.target.len() + size_of::<Mount>());
            texts(&run.argv) + texts(&run.env) + files(&run.files) + mounts.sum::<usize>()
        }
        Op::Copy(copy) => copy
            .sources
            .iter()
            .map(|source| match source {
                CopySource::Context { paths, .. } | CopySource::Node { paths, .. } => texts(paths),
                CopySource::Download { .. } => 0,
                CopySource::Inline { files: inline } => files(inline),
            })
            .sum(),
    }
}
