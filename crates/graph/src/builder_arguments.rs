//! Build arguments that speak to the builder instead of to the Dockerfile: `BUILDKIT_…`.

use crate::{build_args::BuildArgs, nearest::nearest, op::Warning};

/// What their names begin with.
const PREFIX: &str = "BUILDKIT_";

/// Those that do something here.
const EFFECTIVE: [&str; 7] = [
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SYNTAX",
];

/// Those that BuildKit knows and that do nothing here, and why.
const WITHOUT_EFFECT: [(&str, &str); 1] = [("BUILDKIT_BUILD_NAME", "there is no history of builds")];

/// Whether an argument is for the builder.
pub(crate) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// A warning for every one that has no effect. `is_declared` says which ones the Dockerfile uses itself.
pub(crate) fn without_effect(arguments: &BuildArgs, is_declared: impl Fn(&str) -> bool) -> Vec<Warning> {
    let undeclared = arguments.all().filter(|(name, _)| is_one(name) && !is_declared(name));
    undeclared.filter_map(|(name, value)| doubt(name, value)).collect()
}

fn doubt(name: &str, value: &str) -> Option<Warning> {
    if EFFECTIVE.contains(&name) {
        return None;
    }
    let message = format!("the build argument `{name}` has no effect");
    if let Some((_, reason)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
        let is_off = matches!(value, "" | "0" | "f" | "F" | "false" | "False" | "FALSE");
        let hint = Some(format!("{reason}; leave it out"));
        return (!is_off).then_some(Warning { message, span: None, hint });
    }
    let known = EFFECTIVE.into_iter().chain(WITHOUT_EFFECT.map(|(known, _)| known));
    let hint = match nearest(name, known) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => format!("known to the builder are {}", EFFECTIVE.join(", ")),
    };
    Some(Warning { message, span: None, hint: Some(hint) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_nothing_says_so() {
        let table = [
            ("BUILDKIT_SYNTAX", "x", None),
            ("BUILDKIT_INLINE_CACHE", "1", None),
            ("BUILDKIT_BUILD_NAME", "x", Some("there is no history of builds; leave it out")),
            ("BUILDKIT_BUILD_NAME", "0", None),
            ("BUILDKIT_SYNTX", "x", Some("did you mean `BUILDKIT_SYNTAX`?")),
            ("BUILDKIT_SBOM_SCAN_STAGE", "true", None),
            ("VERSION", "1", None),
        ];
        for (name, value, hint) in table {
            let arguments: BuildArgs = [(name, value)].into_iter().collect();
            let warnings = without_effect(&arguments, |name| name == "BUILDKIT_SBOM_SCAN_STAGE");
            let hints: Vec<_> = warnings.iter().filter_map(|warning| warning.hint.as_deref()).collect();
            assert_eq!(hints, hint.into_iter().collect::<Vec<_>>(), "{name}={value}");
        }
    }
}
