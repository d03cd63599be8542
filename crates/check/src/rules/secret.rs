//! Secrets in variables.

use archway_dockerfile::{
    ast::{ArgDeclaration, Word},
    secret_name::names_a_secret,
};

use crate::{
    finding::Finding,
    findings::Findings,
    model::Step,
    rule::{Example, Rule, buildkit},
};

/// `ENV PASSWORD=…`
pub(super) static SECRETS_USED_IN_ARG_OR_ENV: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"),
    description: "Secrets are not handed over in ARG or ENV",
    explanation: "What ARG and ENV set is in the history and in the config of the image, for everyone who can pull it. \
                  `RUN --mount=type=secret,id=token` shows a secret to one step only. The rule goes by the name: a part \
                  between underscores is `key`, `token`, `password`, `secret`, `auth` or the like, and none is `public`, \
                  `file` or `version`.",
    bad: Example::new("FROM alpine\nARG API_TOKEN\nRUN fetch --token \"$API_TOKEN\"\n"),
    good: Example::new(
        "FROM alpine\nRUN --mount=type=secret,id=api-token fetch --token \"$(cat /run/secrets/api-token)\"\n",
    ),
};

pub(super) fn check_arguments(step: &Step<'_>, declarations: &[ArgDeclaration], findings: &mut Findings<'_>) {
    for declaration in declarations {
        check("ARG", step, &declaration.name, findings);
    }
}

pub(super) fn check_environment(step: &Step<'_>, pairs: &[(Word, Word)], findings: &mut Findings<'_>) {
    for (key, _) in pairs {
        check("ENV", step, key, findings);
    }
}

fn check(keyword: &str, step: &Step<'_>, name: &Word, findings: &mut Findings<'_>) {
    if !names_a_secret(&name.value) {
        return;
    }
    let message =
        format!("{keyword} `{}` looks like a secret, which the image would show to everyone", name.value);
    let finding = Finding::new(&SECRETS_USED_IN_ARG_OR_ENV, message, name.span);
    findings.add(&step.site, finding.hint("use RUN --mount=type=secret,id=… in the steps that need it"));
}
