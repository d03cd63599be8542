//! `EXPOSE`.

use archway_dockerfile::{
    ast::{Dockerfile, Word},
    expand::expand_words,
};

use crate::{
    finding::{Finding, Fix},
    findings::Findings,
    model::Step,
    rule::{Example, Rule, buildkit},
    scope::Scope,
};

/// `EXPOSE 8080:80`.
pub(super) static EXPOSE_INVALID_FORMAT: Rule = Rule {
    name: "ExposeInvalidFormat",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/"),
    description: "EXPOSE names the port inside of the container only",
    explanation: "Addresses and ports of the host are chosen when a container starts (`docker run -p 8080:80`). In a \
                  Dockerfile they have no effect.",
    bad: Example::new("FROM nginx\nEXPOSE 127.0.0.1:8080:80\n"),
    good: Example::new("FROM nginx\nEXPOSE 80\n"),
};

/// `EXPOSE 53/UDP`.
pub(super) static EXPOSE_PROTO_CASING: Rule = Rule {
    name: "ExposeProtoCasing",
    origin: buildkit("https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/"),
    description: "The protocol of EXPOSE is written in small letters",
    explanation: "Protocols are `tcp`, `udp` and `sctp`; the config of the image has them in small letters.",
    bad: Example::new("FROM alpine\nEXPOSE 53/UDP\n"),
    good: Example::new("FROM alpine\nEXPOSE 53/udp\n"),
};

pub(super) fn check(
    step: &Step<'_>,
    ports: &[Word],
    scope: &Scope,
    file: &Dockerfile,
    findings: &mut Findings<'_>,
) {
    for word in ports {
        let Ok(expanded) = expand_words(word, file.escape, scope) else { continue };
        let constant = expanded.used.is_empty() && expanded.unset.is_empty() && expanded.value.len() == 1;
        for port in expanded.value {
            let (address, protocol) = port.split_once('/').unwrap_or((&port, ""));
            if protocol.contains(|c: char| c.is_ascii_uppercase()) {
                let message = format!("the protocol of `{port}` should be in small letters");
                let lower = format!("{address}/{}", protocol.to_ascii_lowercase());
                let fix = constant.then(|| Fix::replace(format!("write `{lower}`"), word.span, &*lower));
                findings.add(&step.site, Finding::new(&EXPOSE_PROTO_CASING, message, word.span).fix(fix));
            }
            if let Some((_, inside)) = address.rsplit_once(':') {
                let message = format!("`{port}` names more than the port of the container");
                let kept =
                    if protocol.is_empty() { inside.to_owned() } else { format!("{inside}/{protocol}") };
                let fix = constant.then(|| Fix::replace(format!("write `{kept}`"), word.span, &*kept));
                findings.add(&step.site, Finding::new(&EXPOSE_INVALID_FORMAT, message, word.span).fix(fix));
            }
        }
    }
}
