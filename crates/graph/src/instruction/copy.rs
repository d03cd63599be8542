//! `COPY` and `ADD`

use archway_dockerfile::ast::{Copy, Word};

use super::config::is_owner;
use crate::{
    error::{LowerError, LowerProblem},
    op::{CopyOp, CopySource, InlineFile, NodeId, Op},
    path,
    selection::Step,
    stage::{Layer, StageBuilder},
    support,
};

/// The largest file mode: permissions, setuid, setgid and sticky bits.
const MAX_MODE: u32 = 0o7777;

/// Copies from the build context, a root file system or the Dockerfile itself. `keyword` is `COPY`,
/// or `ADD`, which unpacks local archives.
pub(crate) fn copy(
    builder: &mut StageBuilder<'_>,
    step: &Step<'_>,
    copy: &Copy,
    keyword: &'static str,
) -> Result<(), LowerError> {
    let from_span = copy.from.as_ref().map_or(step.instruction.span, |word| word.span);
    let node = builder.source(step, from_span);
    let written = Written::expand(builder, copy, keyword)?;
    let destination = builder.slashed(written.destination.clone(), &copy.destination)?;
    let destination = path::destination(&builder.state.workdir, &destination);
    if copy.sources.len() + copy.heredocs.len() > 1 && !destination.ends_with('/') {
        let destination = written.destination;
        let problem = LowerProblem::DestinationIsNoDirectory { instruction: keyword, destination };
        return Err(LowerError { problem, span: copy.destination.span });
    }
    let op = CopyOp {
        base: builder.state.node,
        sources: sources(builder, copy, &written, node)?,
        destination,
        chown: owner(copy.chown.as_ref(), &written.chown)?,
        chmod: mode(copy.chmod.as_ref(), &written.chmod)?,
        unpack: keyword == "ADD" && !copy.sources.is_empty(),
    };
    builder.advance(step, Op::Copy(op), &step.instruction.line);
    builder.state.record(written.created_by(keyword, copy), Layer::Made);
    Ok(())
}

/// The words of the instruction, expanded.
struct Written {
    sources: Vec<String>,
    destination: String,
    chown: String,
    chmod: String,
}

impl Written {
    fn expand(builder: &StageBuilder<'_>, copy: &Copy, keyword: &'static str) -> Result<Self, LowerError> {
        let expander = builder.expander();
        let sources = copy.sources.iter().map(|word| {
            let source = expander.word(word)?;
            check_source(&source, word, keyword)?;
            Ok(source)
        });
        Ok(Self {
            sources: sources.collect::<Result<_, LowerError>>()?,
            destination: expander.word(&copy.destination)?,
            chown: expander.optional(copy.chown.as_ref())?.unwrap_or_default(),
            chmod: expander.optional(copy.chmod.as_ref())?.unwrap_or_default(),
        })
    }

    /// `COPY --chown=1000 a b /dir/ # buildkit`
    fn created_by(&self, keyword: &str, copy: &Copy) -> String {
        let mut words = vec![keyword.to_owned()];
        for (flag, value) in [("--chown", &self.chown), ("--chmod", &self.chmod)] {
            if !value.is_empty() {
                words.push(format!("{flag}={value}"));
            }
        }
        words.extend_from_slice(&self.sources);
        words.extend(copy.heredocs.iter().map(|heredoc| format!("<<{}", heredoc.name)));
        words.push(self.destination.clone());
        format!("{} # buildkit", words.join(" "))
    }
}

fn check_source(source: &str, word: &Word, keyword: &'static str) -> Result<(), LowerError> {
    let problem = if source.is_empty() {
        LowerProblem::EmptySource { expression: word.value.clone() }
    } else if let Some(kind) = remote_kind(source) {
        if keyword == "ADD" {
            return Err(support::not_yet(format!("ADD of {kind}"), word.span));
        }
        LowerProblem::RemoteSource { source_name: source.to_owned() }
    } else {
        return Ok(());
    };
    Err(LowerError { problem, span: word.span })
}

/// What a source is if it is not a path. Git's short form `git@host:path` is one too.
fn remote_kind(source: &str) -> Option<&'static str> {
    let is_scp = || {
        let (user, rest) = source.split_once('@')?;
        let (host, _) = rest.split_once(':')?;
        let is_word = |text: &str| !text.is_empty() && !text.contains('/');
        (is_word(user) && is_word(host)).then_some(())
    };
    let without_fragment = source.split(['#', '?']).next().unwrap_or_default();
    match source.split_once("://").map(|(scheme, _)| scheme) {
        Some("http" | "https") if without_fragment.ends_with(".git") => Some("a git repository"),
        Some("http" | "https") => Some("a URL"),
        Some("git" | "ssh") => Some("a git repository"),
        _ => is_scp().map(|()| "a git repository"),
    }
}

/// Groups in the order of the instruction: paths, then here-documents.
fn sources(
    builder: &StageBuilder<'_>,
    copy: &Copy,
    written: &Written,
    node: Option<NodeId>,
) -> Result<Vec<CopySource>, LowerError> {
    let mut groups = Vec::new();
    let mut paths = Vec::with_capacity(written.sources.len());
    for (source, word) in written.sources.iter().zip(&copy.sources) {
        let source = builder.slashed(source.clone(), word)?;
        // In a root file system there is nothing above the root; above the context there is.
        if node.is_none() && path::escapes(&source) {
            let problem = LowerProblem::SourceOutsideContext { path: source };
            return Err(LowerError { problem, span: word.span });
        }
        paths.push(path::relative(&source));
    }
    if !paths.is_empty() {
        groups.push(match node {
            Some(node) => CopySource::Node { node, paths },
            None => CopySource::Context { paths },
        });
    }
    if !copy.heredocs.is_empty() {
        groups.push(CopySource::Inline { files: inline_files(builder, copy)? });
    }
    Ok(groups)
}

fn inline_files(builder: &StageBuilder<'_>, copy: &Copy) -> Result<Vec<InlineFile>, LowerError> {
    let files = copy.heredocs.iter().map(|heredoc| {
        let name = heredoc.name.clone();
        if !path::is_file_name(&name) {
            return Err(LowerError { problem: LowerProblem::BadInlineName { name }, span: heredoc.span });
        }
        Ok(InlineFile { name, content: builder.expander().heredoc(heredoc)? })
    });
    files.collect()
}

/// `--chown=`; empty after expansion is as if it were not there.
fn owner(word: Option<&Word>, value: &str) -> Result<Option<String>, LowerError> {
    match word {
        Some(word) if !value.is_empty() && !is_owner(value) => {
            Err(LowerError { problem: LowerProblem::BadOwner { value: value.to_owned() }, span: word.span })
        }
        _ => Ok(Some(value.to_owned()).filter(|value| !value.is_empty())),
    }
}

/// `--chmod=`, octal; empty after expansion is as if it were not there.
fn mode(word: Option<&Word>, value: &str) -> Result<Option<u32>, LowerError> {
    let Some(word) = word.filter(|_| !value.is_empty()) else { return Ok(None) };
    if value.starts_with(['u', 'g', 'o', 'a', '+', '-', '=']) {
        return Err(support::not_yet(format!("a symbolic file mode such as `{value}`"), word.span));
    }
    let is_octal = value.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| is_octal && *mode <= MAX_MODE);
    match mode {
        Some(mode) => Ok(Some(mode)),
        None => {
            Err(LowerError { problem: LowerProblem::BadMode { value: value.to_owned() }, span: word.span })
        }
    }
}

impl StageBuilder<'_> {
    /// A path of the stage's platform, with slashes.
    pub(crate) fn slashed(&self, path: String, word: &Word) -> Result<String, LowerError> {
        path::slashed(&path, &self.state.platform.os)
            .ok_or(LowerError { problem: LowerProblem::ForeignDrive { path }, span: word.span })
    }
}

#[cfg(test)]
mod tests {
    use super::remote_kind;

    #[test]
    fn remote_sources_are_told_from_paths() {
        let table = [
            ("https://example.com/a.tar.gz", Some("a URL")),
            ("http://example.com", Some("a URL")),
            ("https://example.com/a.git", Some("a git repository")),
            ("https://example.com/a.git#main:sub", Some("a git repository")),
            ("ssh://git@example.com/a", Some("a git repository")),
            ("git@example.com:a/b", Some("a git repository")),
            ("a.git", None),
            ("dir/x@1:2", None),
            ("x@dir/1:2", None),
            ("file", None),
        ];
        for (source, expected) in table {
            assert_eq!(remote_kind(source), expected, "{source}");
        }
    }
}
