//! `--check` and `--call`: say something about a Dockerfile instead of building it.

use clap::Args;

use super::{check::CheckFormat, value};
use crate::error::CliError;

const FLAG: &str = "--call";
const METHODS: [&str; 4] = ["build", "check", "outline", "targets"];

/// `--check` and `--call`
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// Check the Dockerfile instead of building it; the same as --call=check
    #[arg(long, conflicts_with = "call")]
    check: bool,

    /// Instead of building, check, or show what can be given to the build (outline) or built (targets)
    #[arg(long, value_name = "METHOD[,format=FORMAT]")]
    call: Option<String>,
}

/// What is asked for instead of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) format: CheckFormat,
    /// End with 0 whatever was found.
    pub(crate) ignore_status: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Check,
    Outline,
    Targets,
}

impl CallArgs {
    /// `None` for a build.
    pub(crate) fn call(&self) -> Result<Option<Call>, CliError> {
        match &self.call {
            _ if self.check => {
                Ok(Some(Call { method: Method::Check, format: CheckFormat::Text, ignore_status: false }))
            }
            Some(text) => parse(text),
            None => Ok(None),
        }
    }
}

/// `METHOD`, `METHOD,format=json`, `METHOD,ignorestatus=true`, as in buildx.
fn parse(text: &str) -> Result<Option<Call>, CliError> {
    let mut name = None;
    let mut format = CheckFormat::Text;
    let mut ignore_status = false;
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("format", "text")) => format = CheckFormat::Text,
            Some(("format", "json")) => format = CheckFormat::Json,
            Some(("format", "sarif")) => format = CheckFormat::Sarif,
            Some(("format", other)) => {
                return Err(value::unknown(FLAG, "format", other, &["text", "json", "sarif"]));
            }
            Some(("ignorestatus", "true")) => ignore_status = true,
            Some(("ignorestatus", "false")) => ignore_status = false,
            Some(("ignorestatus", other)) => {
                return Err(CliError::usage(FLAG, format!("ignorestatus cannot be `{other}`")));
            }
            Some((key, _)) => return Err(value::unknown(FLAG, "key", key, &["format", "ignorestatus"])),
            None if name.is_some() => {
                return Err(CliError::usage(FLAG, format!("`{text}` names more than one method")));
            }
            None => name = Some(field),
        }
    }
    let method = match name {
        Some("build") | None => return Ok(None),
        // BuildKit's own name for it.
        Some("check" | "lint") => Method::Check,
        Some("outline") => Method::Outline,
        Some("targets") => Method::Targets,
        Some(other) => return Err(value::unknown(FLAG, "method", other, &METHODS)),
    };
    if format == CheckFormat::Sarif && method != Method::Check {
        return Err(CliError::usage(FLAG, "format=sarif is for check only"));
    }
    Ok(Some(Call { method, format, ignore_status }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_formats() {
        let call = |method, format, ignore_status| Some(Call { method, format, ignore_status });
        for (text, expected) in [
            ("build", None),
            ("check", call(Method::Check, CheckFormat::Text, false)),
            ("lint,format=sarif", call(Method::Check, CheckFormat::Sarif, false)),
            ("format=json,outline", call(Method::Outline, CheckFormat::Json, false)),
            ("targets,format=json,ignorestatus=true", call(Method::Targets, CheckFormat::Json, true)),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        for (text, hint) in [
            ("chek", Some("did you mean `check`?")),
            ("check,fromat=json", Some("did you mean `format`?")),
            ("check,format=xml", Some("known: text, json, sarif")),
            ("check,outline", None),
            ("outline,format=sarif", None),
            ("check,ignorestatus=maybe", None),
        ] {
            let Err(CliError::Usage { hint: given, .. }) = parse(text) else { panic!("{text} is accepted") };
            assert_eq!(given.as_deref(), hint, "{text}");
        }
    }
}
