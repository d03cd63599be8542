//! Descriptions of stages and arguments in the comments above them.

use archway_dockerfile::ast::Kind;

use crate::{
    finding::Finding,
    findings::Findings,
    model::Document,
    rule::{Example, Origin, Rule},
    site::Site,
};

/// A comment above a stage or an argument that does not begin with its name.
pub(super) static INVALID_DEFINITION_DESCRIPTION: Rule = Rule {
    name: "InvalidDefinitionDescription",
    origin: Origin::BuildKit {
        url: Some("https://docs.docker.com/go/dockerfile/rule/invalid-definition-description/"),
        experimental: true,
    },
    description: "A comment directly above a named stage or an ARG begins with its name",
    explanation: "`# NAME what it is for` above FROM or ARG is its description, which `--call=outline` and \
                  `--call=targets` show. A comment that is not meant to be one is kept apart by a line with `#` alone. \
                  Only checked with `# check=experimental=InvalidDefinitionDescription`.",
    bad: Example::new(
        "# check=experimental=InvalidDefinitionDescription\nFROM alpine\n# which release to fetch\nARG VERSION\n",
    ),
    good: Example::new(
        "# check=experimental=InvalidDefinitionDescription\nFROM alpine\n# VERSION which release to fetch\nARG VERSION\n",
    ),
};

pub(super) fn check(document: &Document<'_>, findings: &mut Findings<'_>) {
    for text in &document.stages {
        if let Some(name) = &text.stage.name {
            described(&text.site, &[&name.value], findings);
        }
    }
    let steps = document.stages.iter().flat_map(|text| &text.steps);
    for step in document.globals.iter().chain(steps) {
        if let Kind::Arg(declarations) = &step.instruction.kind {
            let names: Vec<&str> = declarations.iter().map(|arg| arg.name.value.as_str()).collect();
            described(&step.site, &names, findings);
        }
    }
}

fn described(site: &Site<'_>, names: &[&str], findings: &mut Findings<'_>) {
    let Some(comment) = site.comments.last() else { return };
    let first = comment.value.split(' ').next().unwrap_or_default();
    if names.is_empty() || names.contains(&first) {
        return;
    }
    let name = if let [name] = names { name } else { "NAME" };
    let finding = Finding::new(
        &INVALID_DEFINITION_DESCRIPTION,
        format!("the description does not begin with `{name}`"),
        comment.span,
    );
    let hint =
        format!("write `# {name} …`, or put a line with only `#` below a comment that is no description");
    findings.add(site, finding.hint(hint));
}
