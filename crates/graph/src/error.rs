//! Why a Dockerfile, though well formed, makes no graph.

use archway_dockerfile::{
    ast::Span,
    expand::{ExpandError, ExpandProblem},
};
use archway_oci::{Platform, platform::PlatformError, reference::ReferenceError};
use archway_remote::{ChecksumError, GitUrlError};
use archway_report::Strategy;
use thiserror::Error;

use crate::mount::MountProblem;

/// A Dockerfile, though well formed, makes no graph.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct LowerError {
    /// What is wrong.
    pub problem: LowerProblem,
    /// Its place. For the triggers of a base image: the `FROM` that names the image.
    pub span: Span,
}

impl LowerError {
    /// The same error at another place.
    #[must_use]
    pub(crate) fn at(self, span: Span) -> Self {
        Self { span, ..self }
    }
}

impl From<ExpandError> for LowerError {
    fn from(error: ExpandError) -> Self {
        Self { problem: LowerProblem::BadExpansion(error.problem), span: error.span }
    }
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LowerProblem {
    /// `--target` names no stage.
    #[error("there is no stage `{name}` to build")]
    UnknownTarget {
        /// As asked for.
        name: String,
        /// The stage that was probably meant.
        nearest: Option<String>,
    },
    /// `--no-cache-filter` names no stage.
    #[error("there is no stage `{name}` to keep from the cache")]
    UnknownNoCacheStage {
        /// As asked for.
        name: String,
        /// The stage that was probably meant.
        nearest: Option<String>,
    },
    /// `COPY --from=7` in a file with fewer stages.
    #[error("there is no stage number {number}: the Dockerfile has {stages}")]
    UnknownStageNumber {
        /// As written.
        number: String,
        /// How many there are; the first is number 0.
        stages: usize,
    },
    /// `COPY --from=` names a stage that comes later.
    #[error("stage `{name}` is defined after this one")]
    LaterStage {
        /// As written.
        name: String,
    },
    /// `COPY --from=` names the stage it stands in.
    #[error("stage `{name}` cannot take files from itself")]
    OwnStage {
        /// As written.
        name: String,
    },
    /// `FROM $BASE`, and `BASE` is empty or not set.
    #[error("the base image name `{expression}` is empty")]
    EmptyBaseName {
        /// As written.
        expression: String,
        /// Variables it uses that are not set.
        unset: Vec<String>,
        /// A variable with a name like one of them that is set.
        nearest: Option<String>,
    },
    /// `FROM --platform=$P`, and `P` is empty or not set.
    #[error("the platform `{expression}` is empty")]
    EmptyPlatform {
        /// As written.
        expression: String,
        /// Variables it uses that are not set.
        unset: Vec<String>,
        /// A variable with a name like one of them that is set.
        nearest: Option<String>,
    },
    /// `FROM --platform=` is no platform.
    #[error(transparent)]
    BadPlatform(PlatformError),
    /// A name in `FROM` or `--from` is no image reference.
    #[error(transparent)]
    BadImageName(ReferenceError),
    /// A word could not be expanded.
    #[error(transparent)]
    BadExpansion(ExpandProblem),
    /// `COPY --from=$STAGE`, `RUN --mount=from=$STAGE`.
    #[error("`from={value}` holds a variable, and is not expanded")]
    VariableInFrom {
        /// As written.
        value: String,
    },
    /// `COPY https://… /`.
    #[error(
        "COPY cannot read `{source_name}`: it only takes files of the build context, a stage or an image"
    )]
    RemoteSource {
        /// Expanded.
        source_name: String,
    },
    /// `ADD` of a git URL that says something impossible.
    #[error("{0}")]
    BadGitUrl(GitUrlError),
    /// `ADD --checksum=` of a download is none.
    #[error(transparent)]
    BadChecksum(ChecksumError),
    /// `ADD --checksum=` of a git repository is no commit.
    #[error("`{value}` is no commit")]
    BadCommit {
        /// Expanded.
        value: String,
    },
    /// `ADD --checksum=` of several sources, or of files that are here.
    #[error("--checksum is for a single URL or git repository")]
    ChecksumWithoutUrl,
    /// A flag and the git URL say different things.
    #[error("{flag} contradicts the URL, which says {url}")]
    ContradictsUrl {
        /// The flag, with its value.
        flag: String,
        /// What the URL says.
        url: String,
    },
    /// `--chown=app`, or `WORKDIR` after `USER app`, where nothing says who that is.
    #[error("`{value}` is a name, and {}", no_accounts(*.linked))]
    OwnerWithoutAccounts {
        /// Expanded.
        value: String,
        /// Because of `--link`; else because the file system is empty.
        linked: bool,
    },
    /// A pattern of `--exclude` or of a `--parents` source.
    #[error("`{pattern}` cannot be matched: {problem}")]
    BadPattern {
        /// As written; of a source without what comes before the pivot.
        pattern: String,
        /// What is wrong with it.
        problem: archway_dockerfile::ignore::IgnoreProblem,
    },
    /// `COPY --parents . /`.
    #[error("`{path}` has nothing that --parents could keep")]
    NoParents {
        /// Expanded.
        path: String,
    },
    /// `--chmod=` is neither octal up to 7777 nor in the language of chmod(1).
    #[error("`{value}` is no file mode")]
    BadMode {
        /// Expanded.
        value: String,
    },
    /// `EXPOSE` of something that is no port.
    #[error("`{value}` cannot be exposed: {problem}")]
    BadPort {
        /// Expanded.
        value: String,
        /// What is wrong with it.
        problem: PortProblem,
    },
    /// `VOLUME $NOTHING`.
    #[error("the volume `{expression}` is empty")]
    EmptyVolume {
        /// As written.
        expression: String,
    },
    /// `STOPSIGNAL` is no signal.
    #[error("there is no signal `{value}`")]
    UnknownSignal {
        /// Expanded.
        value: String,
        /// The signal that was probably meant.
        nearest: Option<String>,
    },
    /// A here-document whose delimiter cannot be a file name.
    #[error("the here-document `{name}` cannot become a file: its delimiter is no file name")]
    BadInlineName {
        /// The delimiter.
        name: String,
    },
    /// A Windows path on another drive or machine, or a drive without a path.
    #[error("`{path}` is no path on drive C:")]
    ForeignDrive {
        /// Expanded.
        path: String,
    },
    /// An `ONBUILD` trigger of a base image does not parse.
    #[error("the image `{image}` has an ONBUILD trigger that cannot be run: `{trigger}`: {problem}")]
    BadTrigger {
        /// The base image.
        image: String,
        /// The trigger.
        trigger: String,
        /// What is wrong with it.
        problem: archway_dockerfile::Problem,
    },
    /// Names, values and scripts are beyond the bound.
    #[error("the values of this build come to more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// A `--mount` makes no sense.
    #[error(transparent)]
    BadMount(MountProblem),
    /// Something that the user has to allow.
    #[error("the build is not allowed to do this: it lacks the entitlement `{entitlement}`")]
    NotAllowed {
        /// As `--allow` names it.
        entitlement: &'static str,
    },
    /// `RUN --device=`
    #[error("steps cannot have devices: the Container Device Interface (CDI) is not supported")]
    NoDevices,
    /// Part of the language, but not of this version.
    #[error("{what} is not supported yet")]
    NotYetSupported {
        /// What, as it would be written.
        what: String,
    },
    /// `SOURCE_DATE_EPOCH` is no number.
    #[error("SOURCE_DATE_EPOCH is `{value}`, which is no number of seconds since 1970")]
    BadEpoch {
        /// Expanded.
        value: String,
    },
    /// `--strategy` asks for one way, the Dockerfile leads to another.
    #[error("{platform} would be built {actual}, not {wanted}: {reason}")]
    StrategyNotMet {
        /// The platform.
        platform: Box<Platform>,
        /// As asked for.
        wanted: Strategy,
        /// As it is.
        actual: Strategy,
        /// Why it is so.
        reason: String,
    },
}

fn no_accounts(linked: bool) -> &'static str {
    if linked {
        "a copy with --link cannot look it up: it does not see the base image"
    } else {
        "an empty file system has no accounts to look it up in"
    }
}

/// What is wrong with a word of `EXPOSE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PortProblem {
    /// Nothing where a number must be.
    #[error("a port number is missing")]
    Missing,
    /// Not a number.
    #[error("a port is a number")]
    NotANumber,
    /// More than 65535.
    #[error("a port is at most 65535")]
    OutOfRange,
    /// `90-80`
    #[error("the range ends before it starts")]
    EmptyRange,
    /// Something other than tcp, udp, sctp.
    #[error("the protocol is tcp, udp or sctp")]
    UnknownProtocol,
    /// `localhost:8080:80`
    #[error("the address is no IP address")]
    BadAddress,
    /// More ports than there are.
    #[error("one instruction names more ports than there are")]
    TooMany,
    /// `8000-8002:80-81`
    #[error("the ranges of ports are not equally long")]
    RangesDiffer,
}
