//! Why a Dockerfile, though well formed, makes no graph.

use archway_dockerfile::{ast::Span, expand::ExpandError};
use archway_oci::Platform;
use archway_report::Strategy;
use thiserror::Error;

use crate::trigger::TriggerProblem;

/// What is wrong, and where. For the triggers of a base image the place is the `FROM` that names it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LowerError {
    /// `--target` names no stage.
    #[error("there is no stage `{name}` to build")]
    UnknownTarget {
        /// As asked for.
        name: String,
        /// The stage that was probably meant.
        nearest: Option<String>,
        /// The last stage's `FROM`.
        span: Span,
    },
    /// `COPY --from=7` in a file with fewer stages.
    #[error("there is no stage number {number}: the Dockerfile has {stages}")]
    UnknownStageNumber {
        /// As written.
        number: String,
        /// How many there are; the first is number 0.
        stages: usize,
        /// The place.
        span: Span,
    },
    /// `COPY --from=` names a stage that comes later.
    #[error("stage `{name}` is defined after this one")]
    LaterStage {
        /// As written.
        name: String,
        /// The place.
        span: Span,
    },
    /// `COPY --from=` names the stage it stands in.
    #[error("stage `{name}` cannot copy from itself")]
    OwnStage {
        /// As written.
        name: String,
        /// The place.
        span: Span,
    },
    /// `FROM $BASE`, and `BASE` is empty or not set.
    #[error("the base image name `{expression}` is empty")]
    EmptyBaseName {
        /// As written.
        expression: String,
        /// Variables it uses that are not set.
        unset: Vec<String>,
        /// The place.
        span: Span,
    },
    /// `FROM --platform=$P`, and `P` is empty or not set.
    #[error("the platform `{expression}` is empty")]
    EmptyPlatform {
        /// As written.
        expression: String,
        /// Variables it uses that are not set.
        unset: Vec<String>,
        /// A variable with a similar name that is set.
        nearest: Option<String>,
        /// The place.
        span: Span,
    },
    /// A word could not be expanded.
    #[error(transparent)]
    BadExpansion(ExpandError),
    /// `COPY --from=$STAGE`.
    #[error("`--from={value}` holds a variable, and --from is not expanded")]
    VariableInFrom {
        /// As written.
        value: String,
        /// The place.
        span: Span,
    },
    /// Several files to one file.
    #[error(
        "{instruction} with several sources needs a directory as destination, and `{destination}` has no trailing slash"
    )]
    DestinationIsNoDirectory {
        /// `COPY` or `ADD`.
        instruction: &'static str,
        /// Expanded.
        destination: String,
        /// The place.
        span: Span,
    },
    /// `COPY $NOTHING /`.
    #[error("the source `{expression}` is empty")]
    EmptySource {
        /// As written.
        expression: String,
        /// The place.
        span: Span,
    },
    /// `COPY ../file /`.
    #[error("`{path}` is outside the build context")]
    SourceOutsideContext {
        /// Expanded.
        path: String,
        /// The place.
        span: Span,
    },
    /// `COPY https://… /`.
    #[error(
        "COPY cannot read `{source_name}`: it only takes files of the build context, a stage or an image"
    )]
    RemoteSource {
        /// Expanded.
        source_name: String,
        /// The place.
        span: Span,
    },
    /// `--chmod=` is not octal, or more than 7777.
    #[error("`{value}` is no file mode")]
    BadMode {
        /// Expanded.
        value: String,
        /// The place.
        span: Span,
    },
    /// `--chown=` or `USER` is not `user[:group]`.
    #[error("`{value}` is no owner")]
    BadOwner {
        /// Expanded.
        value: String,
        /// The place.
        span: Span,
    },
    /// `EXPOSE` of something that is no port.
    #[error("`{value}` cannot be exposed: {problem}")]
    BadPort {
        /// Expanded.
        value: String,
        /// What is wrong with it.
        problem: PortProblem,
        /// The place.
        span: Span,
    },
    /// `VOLUME $NOTHING`.
    #[error("the volume `{expression}` is empty")]
    EmptyVolume {
        /// As written.
        expression: String,
        /// The place.
        span: Span,
    },
    /// `STOPSIGNAL` is no signal.
    #[error("there is no signal `{value}`")]
    UnknownSignal {
        /// Expanded.
        value: String,
        /// The signal that was probably meant.
        nearest: Option<String>,
        /// The place.
        span: Span,
    },
    /// `RUN --network=` is none of the known ones.
    #[error("there is no network mode `{value}`")]
    UnknownNetwork {
        /// As written.
        value: String,
        /// The mode that was probably meant.
        nearest: Option<String>,
        /// The place.
        span: Span,
    },
    /// A here-document whose delimiter cannot be a file name.
    #[error("the here-document `{name}` cannot become a file: its delimiter is no file name")]
    BadInlineName {
        /// The delimiter.
        name: String,
        /// The place of the body.
        span: Span,
    },
    /// A Windows path that is not on drive `C:`.
    #[error("`{path}` is not on drive C:")]
    ForeignDrive {
        /// Expanded.
        path: String,
        /// The place.
        span: Span,
    },
    /// An `ONBUILD` trigger of a base image is no instruction that may stand there.
    #[error("the image `{image}` has an ONBUILD trigger that cannot be run: `{trigger}`: {problem}")]
    BadTrigger {
        /// The base image.
        image: String,
        /// The trigger.
        trigger: String,
        /// What is wrong with it.
        problem: TriggerProblem,
        /// The `FROM` line.
        span: Span,
    },
    /// Part of the language, but not of this version.
    #[error("{what} is not supported yet")]
    NotYetSupported {
        /// What, as it would be written.
        what: String,
        /// The place.
        span: Span,
    },
    /// `--strategy` asks for one way, the Dockerfile leads to another.
    #[error("{platform:?} would be built {actual}, not {wanted}: {reason}")]
    StrategyNotMet {
        /// The platform.
        platform: Platform,
        /// As asked for.
        wanted: Strategy,
        /// As it is.
        actual: Strategy,
        /// Why it is so.
        reason: String,
        /// The step that decides; the target stage's `FROM` if there is none.
        span: Span,
    },
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
    /// `8080:80`
    #[error("EXPOSE takes no host port or address")]
    HostPart,
}

impl LowerError {
    /// Its place in the Dockerfile.
    pub fn span(&self) -> Span {
        match self {
            Self::UnknownTarget { span, .. }
            | Self::UnknownStageNumber { span, .. }
            | Self::LaterStage { span, .. }
            | Self::OwnStage { span, .. }
            | Self::EmptyBaseName { span, .. }
            | Self::EmptyPlatform { span, .. }
            | Self::VariableInFrom { span, .. }
            | Self::DestinationIsNoDirectory { span, .. }
            | Self::EmptySource { span, .. }
            | Self::SourceOutsideContext { span, .. }
            | Self::RemoteSource { span, .. }
            | Self::BadMode { span, .. }
            | Self::BadOwner { span, .. }
            | Self::BadPort { span, .. }
            | Self::EmptyVolume { span, .. }
            | Self::UnknownSignal { span, .. }
            | Self::UnknownNetwork { span, .. }
            | Self::BadInlineName { span, .. }
            | Self::ForeignDrive { span, .. }
            | Self::BadTrigger { span, .. }
            | Self::NotYetSupported { span, .. }
            | Self::StrategyNotMet { span, .. } => *span,
            Self::BadExpansion(error) => error.span,
        }
    }
}
