//! Errors as a renderer shows them.

use archway_dockerfile::{diagnostic::Diagnostic, expand::ExpandError};

use crate::error::{LowerError, LowerProblem, PortProblem};

impl LowerError {
    /// The error with its place, a few words to stand under it, and what to do.
    pub fn diagnostic(&self) -> Diagnostic {
        if let LowerProblem::BadExpansion(problem) = &self.problem {
            return ExpandError { problem: problem.clone(), span: self.span }.diagnostic();
        }
        Diagnostic {
            message: self.to_string(),
            span: self.span,
            label: label(&self.problem).to_owned(),
            hint: hint(&self.problem),
        }
    }
}

impl From<LowerError> for Diagnostic {
    fn from(error: LowerError) -> Self {
        error.diagnostic()
    }
}

fn label(problem: &LowerProblem) -> &'static str {
    use LowerProblem as P;
    match problem {
        P::UnknownTarget { .. } | P::UnknownNoCacheStage { .. } => "the last stage",
        P::UnknownStageNumber { .. } => "no such stage",
        P::LaterStage { .. } => "used before it is defined",
        P::OwnStage { .. } => "this very stage",
        P::EmptyBaseName { .. } | P::EmptyPlatform { .. } | P::EmptyVolume { .. } => "empty",
        P::BadPlatform(_) => "not a platform",
        P::BadImageName(_) => "not an image name",
        P::BadExpansion(_) => "cannot be expanded",
        P::VariableInFrom { .. } => "variables are not allowed here",
        P::RemoteSource { .. } => "not a path",
        P::BadGitUrl(_) => "this git URL",
        P::BadChecksum(_) => "not a checksum",
        P::BadCommit { .. } => "not a commit",
        P::ChecksumWithoutUrl => "of what?",
        P::ContradictsUrl { .. } => "this URL",
        P::OwnerWithoutAccounts { .. } => "cannot be looked up",
        P::BadPattern { .. } => "not a pattern",
        P::NoParents { .. } => "the whole, and no path in it",
        P::BadMode { .. } => "not a file mode",
        P::BadPort { .. } => "not port[-port][/protocol]",
        P::UnknownSignal { .. } => "unknown signal",
        P::BadInlineName { .. } => "the body of the here-document",
        P::ForeignDrive { .. } => "not a path on drive C:",
        P::BadTrigger { .. } => "this image's trigger",
        P::TooLarge { .. } => "beyond the limit",
        P::BadMount(problem) => problem.label(),
        P::NotAllowed { .. } => "not allowed",
        P::NoDevices => "no such device here",
        P::NotYetSupported { .. } => "not supported yet",
        P::BadEpoch { .. } => "not a number",
        P::StrategyNotMet { .. } => "decides the strategy",
    }
}

fn hint(problem: &LowerProblem) -> Option<String> {
    use LowerProblem as P;
    let text = match problem {
        P::UnknownTarget { nearest, .. }
        | P::UnknownNoCacheStage { nearest, .. }
        | P::UnknownSignal { nearest, .. } => did_you_mean(nearest.as_deref()?),
        P::UnknownStageNumber { stages, .. } => match stages {
            1 => "the only stage is number 0".to_owned(),
            _ => format!("stages are numbered from 0 to {}", stages - 1),
        },
        P::LaterStage { name } => format!("move `{name}` above this stage"),
        P::OwnStage { .. } => {
            "name an earlier stage, or leave --from out to copy from the build context".to_owned()
        }
        P::EmptyBaseName { unset, nearest, .. } | P::EmptyPlatform { unset, nearest, .. } => {
            match (nearest, unset.first()) {
                (Some(nearest), _) => did_you_mean(&format!("${nearest}")),
                (None, Some(name)) => format!(
                    "declare `ARG {name}=…` before the first FROM, or pass --build-arg {name}=… for an ARG there"
                ),
                (None, None) => return None,
            }
        }
        P::BadPlatform(error) => match &error.suggestion {
            Some(near) => did_you_mean(near),
            None => "a platform is os/arch or os/arch/variant, such as linux/arm64".to_owned(),
        },
        P::BadImageName(_) => {
            "an image is named as in debian:13, or host/path/name:tag, in lower case".to_owned()
        }
        P::EmptyVolume { expression } => format!("name a path, or declare what `{expression}` uses"),
        P::TooLarge { .. } => {
            "values and here-documents that contain one another add up; keep large text in files".to_owned()
        }
        P::BadEpoch { .. } => {
            "give seconds, such as --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)".to_owned()
        }
        P::VariableInFrom { .. } => {
            "define a stage with `FROM $NAME AS stage`, and name that stage".to_owned()
        }
        P::RemoteSource { .. } => "use ADD for URLs and git repositories".to_owned(),
        P::BadGitUrl(error) => return error.hint(),
        P::BadChecksum(_) => {
            "want the algorithm and the digest, as in `sha256:…`; `sha256sum FILE` prints one".to_owned()
        }
        P::BadCommit { .. } => "want the hexadecimal digits of a commit, or the first of them".to_owned(),
        P::ChecksumWithoutUrl => "write an ADD of its own for each source that has a checksum".to_owned(),
        P::ContradictsUrl { .. } => "say it in one place".to_owned(),
        P::OwnerWithoutAccounts { linked: true, .. } => {
            "give numbers, such as --chown=1000:1000, or leave --link out".to_owned()
        }
        P::OwnerWithoutAccounts { linked: false, .. } => {
            "give numbers, such as 1000:1000, or copy an /etc/passwd before".to_owned()
        }
        P::NoParents { .. } => {
            "leave --parents out to copy everything, or name what is in it, as in `./*`".to_owned()
        }
        P::BadPattern { .. } => "`\\[` and `\\\\` stand for the characters".to_owned(),
        P::BadMode { .. } => {
            "want 0 to 7777, such as 755, or changes as for chmod, such as u=rwX,go=rX".to_owned()
        }
        P::BadPort { problem: PortProblem::BadAddress | PortProblem::RangesDiffer, .. } => {
            "only name the port inside; ports of the host are chosen when a container starts".to_owned()
        }
        P::BadPort { .. } => "want port[-port][/protocol], such as 80, 53/udp or 8000-8010".to_owned(),
        P::BadInlineName { .. } => "use a delimiter without slashes, such as EOF".to_owned(),
        P::ForeignDrive { .. } => "an image has the drive C: only".to_owned(),
        P::BadTrigger { .. } => {
            "the image was built with an instruction that this builder does not know".to_owned()
        }
        P::StrategyNotMet { platform, .. } => {
            format!("leave --strategy out for {platform}, or change the step that decides")
        }
        P::BadMount(problem) => problem.hint(),
        P::NotAllowed { entitlement } => {
            format!("allow it with --allow {entitlement}, if you trust this Dockerfile")
        }
        P::NoDevices => {
            "leave --device out; with --security=insecure and --allow security.insecure a step sees /dev/fuse, \
             /dev/kvm and loop devices"
                .to_owned()
        }
        P::BadExpansion(_) | P::NotYetSupported { .. } => return None,
    };
    Some(text)
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}
