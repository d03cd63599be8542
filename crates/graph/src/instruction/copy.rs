//! `COPY` and `ADD`

use archway_dockerfile::{
    ast::{Copy, Word},
    keep::{self, Keep},
};

use super::remote;
use crate::{
    error::{LowerError, LowerProblem},
    file_mode::FileMode,
    op::{CopyOp, CopySource, InlineFile, Op, Warning},
    path,
    selection::Step,
    stage::{Layer, Source, StageBuilder},
};

/// What stands between the part of a `--parents` source that is left out at the destination and the
/// part that is kept.
const PIVOT: &str = "/./";

/// Copies from the build context, a root file system or the Dockerfile itself. `keyword` is `COPY`,
/// or `ADD`, which unpacks local archives.
pub(crate) fn copy(
    builder: &mut StageBuilder<'_>,
    step: &Step<'_>,
    copy: &Copy,
    keyword: &'static str,
) -> Result<(), LowerError> {
    let from_span = copy.from.as_ref().map_or(step.instruction.span, |word| word.span);
    let from = builder.source(step, from_span);
    let written = Written::expand(builder, copy, keyword)?;
    let destination = builder.slashed(written.destination.clone(), &copy.destination)?;
    let chmod = mode(copy.chmod.as_ref(), &written.chmod)?;
    // BuildKit copies onto the base if a mode is given, and people compare.
    let link = copy.link && chmod.is_none();
    if let Some(word) = &copy.chown {
        builder.check_owner(&written.chown, link, word.span)?;
    }
    let op = CopyOp {
        base: builder.state.node,
        sources: sources(builder, step, copy, &written, &from)?,
        destination: path::destination(&builder.state.workdir, &destination),
        // Empty after expansion is as if it were not there.
        chown: Some(written.chown.clone()).filter(|owner| !owner.is_empty()),
        chmod,
        unpack: keyword == "ADD" && copy.unpack.unwrap_or(true) && !copy.sources.is_empty(),
        link,
        parents: copy.parents,
        exclude: exclude(builder, &copy.exclude)?,
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

    /// `COPY --parents --chown=1000 a b /dir/ # buildkit`
    fn created_by(&self, keyword: &str, copy: &Copy) -> String {
        let mut words = vec![keyword.to_owned()];
        if copy.parents {
            words.push("--parents".to_owned());
        }
        for (flag, value) in [("--chown", &self.chown), ("--chmod", &self.chmod)] {
            if !value.is_empty() {
                words.push(format!("{flag}={value}"));
            }
        }
        words.extend(self.sources.iter().map(|source| remote::shown(source)));
        words.extend(copy.heredocs.iter().map(|heredoc| format!("<<{}", heredoc.name)));
        words.push(self.destination.clone());
        format!("{} # buildkit", words.join(" "))
    }
}

fn check_source(source: &str, word: &Word, keyword: &'static str) -> Result<(), LowerError> {
    if keyword == "ADD" || !remote::is_remote(source) {
        return Ok(());
    }
    let problem = LowerProblem::RemoteSource { source_name: source.to_owned() };
    Err(LowerError { problem, span: word.span })
}

/// Groups in the order of the instruction: paths, then here-documents.
fn sources(
    builder: &mut StageBuilder<'_>,
    step: &Step<'_>,
    copy: &Copy,
    written: &Written,
    from: &Source,
) -> Result<Vec<CopySource>, LowerError> {
    let is_context = matches!(from, Source::Context(_));
    let local = |paths| match from {
        Source::Node(node) => CopySource::Node { node: *node, paths },
        Source::Context(context) => CopySource::Context { context: context.clone(), paths },
    };
    let mut groups = Vec::new();
    let mut paths = Vec::with_capacity(written.sources.len());
    let remotes = remote::Flags::expand(builder, copy, &written.sources)?;
    for (source, word) in written.sources.iter().zip(&copy.sources) {
        if let Some(remote) = remotes.source(builder, step, source, word)? {
            if !paths.is_empty() {
                groups.push(local(std::mem::take(&mut paths)));
            }
            groups.push(remote);
            continue;
        }
        let source = builder.slashed(source.clone(), word)?;
        builder.doubt_source(&source, word, is_context);
        paths.push(if copy.parents {
            below_pivot(&source, word)?
        } else if is_context && path::escapes(&source) {
            // The context is its own parent; as written, an error can say so.
            source
        } else {
            path::relative(&source)
        });
    }
    if !paths.is_empty() {
        groups.push(local(paths));
    }
    if !copy.heredocs.is_empty() {
        groups.push(CopySource::Inline { files: inline_files(builder, copy)? });
    }
    Ok(groups)
}

/// A source of `--parents` as [`CopyOp::parents`] has it. Without a pivot everything is kept.
fn below_pivot(source: &str, word: &Word) -> Result<String, LowerError> {
    let (root, pattern) = source.split_once(PIVOT).unwrap_or(("", source));
    let pattern = path::absolute("/", pattern).split_off(1);
    if pattern.is_empty() {
        let problem = LowerProblem::NoParents { path: source.to_owned() };
        return Err(LowerError { problem, span: word.span });
    }
    Keep::new::<&str>(Some(&pattern), &[]).map_err(|error| LowerError {
        problem: LowerProblem::BadPattern { pattern: pattern.clone(), problem: error.problem },
        span: word.span,
    })?;
    Ok(format!("{}{PIVOT}{pattern}", path::relative(root)))
}

/// `--exclude`, which is not expanded.
fn exclude(builder: &mut StageBuilder<'_>, words: &[Word]) -> Result<Vec<String>, LowerError> {
    for word in words {
        let pattern = &word.value;
        Keep::new(None, &[pattern]).map_err(|error| LowerError {
            problem: LowerProblem::BadPattern { pattern: pattern.clone(), problem: error.problem },
            span: word.span,
        })?;
        if keep::is_rooted(pattern) {
            builder.warn(Warning {
                message: format!("--exclude={pattern} leaves nothing out"),
                span: Some(word.span),
                hint: Some("patterns are relative to each copied directory: leave out the `/`".to_owned()),
            });
        }
    }
    Ok(words.iter().map(|word| word.value.clone()).collect())
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

/// `--chmod=`; empty after expansion is as if it were not there.
fn mode(word: Option<&Word>, value: &str) -> Result<Option<FileMode>, LowerError> {
    let Some(word) = word.filter(|_| !value.is_empty()) else { return Ok(None) };
    FileMode::parse(value).map(Some).map_err(|_| LowerError {
        problem: LowerProblem::BadMode { value: value.to_owned() },
        span: word.span,
    })
}

impl StageBuilder<'_> {
    /// A path of the stage's platform, with slashes.
    pub(crate) fn slashed(&self, path: String, word: &Word) -> Result<String, LowerError> {
        path::slashed(&path, &self.state.platform.os)
            .ok_or(LowerError { problem: LowerProblem::ForeignDrive { path }, span: word.span })
    }

    /// Tells what a source is taken for where that is seldom meant.
    fn doubt_source(&mut self, source: &str, word: &Word, is_context: bool) {
        let (message, hint) = if source.is_empty() {
            let what = if is_context { "the whole build context" } else { "the whole file system" };
            (
                format!("the source `{}` is empty, and so means {what}", word.value),
                "write `.` if that is meant",
            )
        } else if is_context && path::escapes(source) {
            let inside = path::relative(source);
            (
                format!("`{source}` leads out of the build context, and so means `{inside}` in it"),
                "the root of the context is its own parent: leave out the `..`",
            )
        } else {
            return;
        };
        self.warn(Warning { message, span: Some(word.span), hint: Some(hint.to_owned()) });
    }
}
