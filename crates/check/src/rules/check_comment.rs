//! What `# check=` says and cannot mean.

use archway_dockerfile::ast::Span;

use super::{find, nearest};
use crate::{
    ARGUMENT,
    config::{self, Config},
    finding::Finding,
    findings::Findings,
    first_word,
    inputs::Inputs,
    model::Document,
    rule::{Example, Origin, Rule},
    site::Site,
};

/// `# check=skip=NoSuchRule`.
pub(super) static INVALID_CHECK_DIRECTIVE: Rule = Rule {
    name: "InvalidCheckDirective",
    origin: Origin::Archway,
    description: "# check= names rules that exist, and means all it says",
    explanation: "A name that is no rule, and what stands behind a space, has no effect. In the first lines of the file \
                  `# check=skip=RULE,RULE;error=true` is for the whole file; above an instruction `# check=skip=RULE` \
                  is for that instruction.",
    bad: Example::new("# check=skip=JSONArgRecommended\nFROM alpine\n"),
    good: Example::new("# check=skip=JSONArgsRecommended\nFROM alpine\n"),
};

pub(super) fn check(
    document: &Document<'_>,
    inputs: &Inputs<'_>,
    config: &Config,
    findings: &mut Findings<'_>,
) {
    if let Some(directive) = &document.file.check
        && inputs.build_args.get(ARGUMENT).is_none()
    {
        let site = header(directive.span, document);
        names(&site, config, directive.span, findings);
        let used = first_word(directive).value.len();
        let unused = directive.value.get(used..).unwrap_or_default();
        if unused.contains('=') || find(unused.trim()).is_some() {
            let span = Span { start: directive.span.start + used + 1, end: directive.span.end };
            let finding = Finding::new(
                &INVALID_CHECK_DIRECTIVE,
                format!("`{}` stands behind a space and has no effect", unused.trim()),
                span,
            );
            findings.add(&site, finding.hint("leave the space out"));
        }
    }
    let stages = document.stages.iter();
    let steps = stages.clone().flat_map(|text| &text.steps).chain(&document.globals).map(|step| &step.site);
    for site in stages.map(|text| &text.site).chain(steps) {
        let Some(text) = config::inline(&site.comments) else { continue };
        match Config::parse(text.value) {
            Ok(inline) => {
                names(site, &inline, text.span, findings);
                if inline.error {
                    let finding = Finding::new(
                        &INVALID_CHECK_DIRECTIVE,
                        "error= has no effect above an instruction",
                        text.span,
                    );
                    findings.add(site, finding.hint("put it into the first line of the file"));
                }
            }
            Err(error) => {
                let diagnostic = error.shifted(text.span.start).diagnostic();
                let finding = Finding::new(&INVALID_CHECK_DIRECTIVE, diagnostic.message, diagnostic.span);
                let finding = finding.label(diagnostic.label);
                findings.add(site, Finding { hint: diagnostic.hint, ..finding });
            }
        }
    }
}

fn names(site: &Site<'_>, config: &Config, span: Span, findings: &mut Findings<'_>) {
    for name in config.names().filter(|name| find(name).is_none()) {
        let start = findings.source.slice(span).find(name).map_or(span.start, |at| span.start + at);
        let place = Span { start, end: (start + name.len()).min(span.end) };
        let finding = Finding::new(&INVALID_CHECK_DIRECTIVE, format!("no rule is called `{name}`"), place);
        let finding = match nearest(name) {
            Some(rule) => finding.hint(format!("did you mean {}?", rule.name)),
            None => finding.hint("`archway check --list` shows all rules"),
        };
        findings.add(site, finding);
    }
}

/// The directive is no instruction; nothing but itself decides about it.
fn header<'a>(span: Span, document: &Document<'a>) -> Site<'a> {
    Site::new(&document.file.source, span, span.start)
}
