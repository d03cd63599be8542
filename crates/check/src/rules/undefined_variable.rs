//! Variables that nothing sets.

use std::collections::BTreeSet;

use archway_dockerfile::{
    ast::{Copy, Instruction, Kind, SourceText, Span, Word},
    expand::{expand_heredoc, expand_words},
};

use crate::{
    finding::Finding,
    findings::Findings,
    model::{Model, PLATFORM_ARGUMENTS, Step},
    mount,
    rule::{Example, Rule, buildkit},
    scope::Scope,
    suggestion::nearest,
};

/// A variable that is neither ARG nor ENV.
pub(super) static UNDEFINED_VAR: Rule = Rule {
    name: "UndefinedVar",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/undefined-var/"),
    description: "Variables are set before they are used",
    explanation: "A variable that no ENV or ARG of the stage sets is empty. ARGs above the first FROM and those about \
                  platforms have to be declared again in each stage that uses them. Where the base image is not known, \
                  its variables are not known either; then only variables are reported that it cannot have set, or that \
                  are nearly the name of one that is set.",
    bad: Example::new("FROM alpine\nARG VERSION=1\nCOPY app-$VERSON /app\n"),
    good: Example::new("FROM alpine\nARG VERSION=1\nCOPY app-$VERSION /app\n"),
};

/// A word with the variables it names that have no value.
type Unset<'a> = (&'a Word, BTreeSet<String>);

pub(super) fn check(
    model: &Model<'_>,
    index: usize,
    step: &Step<'_>,
    scope: &Scope,
    findings: &mut Findings<'_>,
) {
    let words = used_words(step.instruction);
    let mut unset: Vec<Unset<'_>> = Vec::new();
    for word in words {
        // Most words have no variables; there is no need to look at those again.
        if word.value.contains('$')
            && let Some(expanded) = scope.expand(word, model.document.file)
        {
            unset.push((word, expanded.unset));
        }
    }
    match &step.instruction.kind {
        Kind::Arg(declarations) => {
            // Each sees those before it in the same instruction.
            unset.clear();
            let mut declared = scope.declared.clone();
            let mut inner = scope.clone();
            for declaration in declarations {
                if let Some(default) = &declaration.default
                    && !model.build_args.contains_key(&declaration.name.value)
                    && let Some(expanded) = inner.expand(default, model.document.file)
                {
                    unset.push((default, expanded.unset.difference(&declared).cloned().collect()));
                }
                declared.insert(declaration.name.value.clone());
                let alone = Kind::Arg(vec![declaration.clone()]);
                inner.apply(&alone, model.document.file, &model.globals, &model.build_args);
            }
        }
        Kind::Expose(ports) => {
            for word in ports {
                if let Ok(expanded) = expand_words(word, model.document.file.escape, scope) {
                    unset.push((word, expanded.unset));
                }
            }
        }
        _ => {}
    }
    for (word, names) in unset {
        for name in names.difference(&scope.declared) {
            let span = place(findings.source, word, name);
            report(model, index, step, scope, name, span, findings);
        }
    }
    for heredoc in copied(step.instruction).map(|copy| copy.heredocs.as_slice()).unwrap_or_default() {
        let Ok(expanded) = expand_heredoc(heredoc, scope) else { continue };
        for name in expanded.unset.difference(&scope.declared) {
            let word = Word { value: String::new(), span: heredoc.span };
            let span = place(findings.source, &word, name);
            report(model, index, step, scope, name, span, findings);
        }
    }
}

fn report(
    model: &Model<'_>,
    index: usize,
    step: &Step<'_>,
    scope: &Scope,
    name: &str,
    span: Span,
    findings: &mut Findings<'_>,
) {
    let is_platform = PLATFORM_ARGUMENTS.contains(&name);
    let is_global = is_declared_global(model, name);
    let known = scope.names().chain(scope.declared.iter().map(String::as_str));
    let near = nearest(name, known);
    let certain =
        scope.complete || is_platform || near.is_some() || (is_global && !selects_base(model, index, name));
    if !certain {
        return;
    }
    let finding = Finding::new(&UNDEFINED_VAR, format!("nothing sets the variable `{name}`"), span);
    let finding = match near {
        Some(near) => finding.hint(format!("did you mean ${near}?")),
        None if is_platform => finding.hint(format!("declare `ARG {name}` in this stage")),
        None if is_global => finding
            .hint(format!("ARGs above the first FROM are for FROM only: repeat `ARG {name}` in this stage")),
        None => finding,
    };
    findings.add(&step.site, finding);
}

fn is_declared_global(model: &Model<'_>, name: &str) -> bool {
    model.document.globals.iter().any(|step| match &step.instruction.kind {
        Kind::Arg(declarations) => declarations.iter().any(|declaration| declaration.name.value == name),
        _ => false,
    })
}

/// Whether the argument is part of the name of the base image: `node:$NODE_VERSION` sets `NODE_VERSION`.
fn selects_base(model: &Model<'_>, index: usize, name: &str) -> bool {
    let root = model.document.stages[model.stages[index].root].stage;
    root.base.value.contains(name)
}

/// The words of an instruction in which BuildKit expands variables; ARG and EXPOSE have rules of their own.
fn used_words(instruction: &Instruction) -> Vec<&Word> {
    match &instruction.kind {
        Kind::Env(pairs) | Kind::Label(pairs) => pairs.iter().flat_map(|(key, value)| [key, value]).collect(),
        Kind::Copy(copy) | Kind::Add(copy) => {
            let flags = [&copy.chown, &copy.chmod, &copy.checksum].into_iter().flatten();
            flags.chain(&copy.sources).chain([&copy.destination]).collect()
        }
        Kind::Run(run) => mount::words(run).collect(),
        Kind::Workdir(word) | Kind::User(word) | Kind::StopSignal(word) => vec![word],
        Kind::Volume(words) => words.iter().collect(),
        _ => Vec::new(),
    }
}

fn copied(instruction: &Instruction) -> Option<&Copy> {
    match &instruction.kind {
        Kind::Copy(copy) | Kind::Add(copy) => Some(copy),
        _ => None,
    }
}

/// Where a word names a variable; the whole word if that cannot be seen.
pub(super) fn place(source: &SourceText, word: &Word, name: &str) -> Span {
    let text = source.slice(word.span);
    let found = text.match_indices('$').find_map(|(at, _)| {
        let rest = text.get(at + 1..)?;
        let (open, rest) = rest.strip_prefix('{').map_or((1, rest), |rest| (2, rest));
        let after = rest.strip_prefix(name)?;
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let close = usize::from(open == 2 && after.starts_with('}'));
        ends.then_some((at, at + open + name.len() + close))
    });
    match found {
        Some((start, end)) => Span { start: word.span.start + start, end: word.span.start + end },
        None => word.span,
    }
}
