//! Things with a size and a digest, and what they consist of, as a tree.

use archway_oci::Digest;

use crate::{progress::fit, table};

const DIM: anstyle::Style = anstyle::Style::new().dimmed();
const BOLD: anstyle::Style = anstyle::Style::new().bold();

/// One line, and those below it.
pub(crate) struct Node {
    label: String,
    size: u64,
    digest: Digest,
    note: String,
    children: Vec<Node>,
}

impl Node {
    pub(crate) fn leaf(label: &str, size: u64, digest: &Digest) -> Self {
        let (label, note) = (label.to_owned(), String::new());
        Self { label, size, digest: digest.clone(), note, children: Vec::new() }
    }

    /// What is said at the end of its line.
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        note.clone_into(&mut self.note);
        self
    }

    pub(crate) fn with_children(mut self, children: Vec<Node>) -> Self {
        self.children = children;
        self
    }
}

/// The tree, in columns. Digests are whole if a terminal of `width` columns has room for them, and lines are
/// cut if it has no room at all.
pub(crate) fn render(roots: &[Node], width: Option<usize>) -> String {
    let whole = lines(roots, |digest| digest.to_string());
    let Some(width) = width else { return whole };
    let widest = |text: &str| text.lines().map(table::visible).max().unwrap_or(0);
    if widest(&whole) <= width {
        return whole;
    }
    let short = lines(roots, |digest| format!("{}:{}", digest.algorithm(), digest.short()));
    short.lines().map(|line| fit(line, width) + "\n").collect()
}

fn lines(roots: &[Node], digest: impl Fn(&Digest) -> String) -> String {
    let mut rows = Vec::new();
    for root in roots {
        rows.push(row(root, "", &digest));
        below(root, "", &digest, &mut rows);
    }
    let sizes = rows.iter().map(|row| row[1].len()).max().unwrap_or(0);
    for row in &mut rows {
        row[1] = format!("{:>sizes$}", row[1]);
    }
    table::render(&rows)
}

fn below(node: &Node, indent: &str, digest: &impl Fn(&Digest) -> String, rows: &mut Vec<Vec<String>>) {
    let last = node.children.len().saturating_sub(1);
    for (number, child) in node.children.iter().enumerate() {
        let (branch, further) = if number == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        rows.push(row(child, &format!("{indent}{branch}"), digest));
        below(child, &format!("{indent}{further}"), digest, rows);
    }
}

fn row(node: &Node, branch: &str, digest: &impl Fn(&Digest) -> String) -> Vec<String> {
    let label = match branch {
        "" => styled(BOLD, &node.label),
        _ => format!("{}{}", styled(DIM, branch), node.label),
    };
    vec![label, table::bytes(node.size), digest(&node.digest), styled(DIM, &node.note)]
}

fn styled(style: anstyle::Style, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}
