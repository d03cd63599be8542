//! What can go wrong outside a platform's own steps.

use std::{io, path::PathBuf};

use archway_dockerfile::{
    ast::{SourceText, Span},
    diagnostic::Diagnostic,
};
use archway_oci::{Digest, Platform};

/// A build, or another operation, could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The build context is no directory, and nothing else that is one.
    #[error("the build context `{path}` is not a directory")]
    ContextMissing {
        /// As given.
        path: PathBuf,
    },
    /// Something that a builder cannot do.
    #[error(transparent)]
    Unsupported(#[from] crate::builder::Unsupported),
    /// A daemon pushed an image and did not say which.
    #[error("the daemon did not say the digest of what it pushed")]
    NoDigest,
    /// The build context or the Dockerfile could not be fetched.
    #[error("cannot fetch {what}")]
    Fetch {
        /// What.
        what: String,
        /// Why.
        source: Box<archway_engine::StepError>,
    },
    /// The build context is an archive that cannot be unpacked.
    #[error("cannot unpack the build context from {what}")]
    UnpackContext {
        /// Where it came from.
        what: String,
        /// Why.
        source: Box<archway_layer::extract::ExtractError>,
    },
    /// The build context is neither an archive nor a Dockerfile: it is nothing.
    #[error("{what} is empty: neither an archive nor a Dockerfile")]
    EmptyContext {
        /// Where it came from.
        what: String,
    },
    /// What is there is no source bundle.
    #[error("{what} is no source bundle: {problem}")]
    NotABundle {
        /// Where it is.
        what: String,
        /// What it is instead.
        problem: String,
    },
    /// The build context is a web page.
    #[error("{url} is a web page, and neither an archive nor a Dockerfile")]
    ContextIsPage {
        /// Where it is.
        url: String,
    },
    /// The Dockerfile is asked for in two places.
    #[error(transparent)]
    DockerfileConflict(#[from] DockerfileConflict),
    /// The Dockerfile could not be read.
    #[error("cannot read the Dockerfile `{path}`")]
    ReadDockerfile {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The Dockerfile says something that cannot be built.
    #[error("{}", diagnostic.message)]
    Dockerfile {
        /// Its text.
        text: SourceText,
        /// What is wrong, where.
        diagnostic: Box<Diagnostic>,
    },
    /// `BUILDKIT_SYNTAX` names a frontend that is not spoken here.
    #[error(transparent)]
    Frontend(archway_dockerfile::syntax::UnknownFrontend),
    /// A `.dockerignore` file is wrong.
    #[error("{}", diagnostic.message)]
    DockerIgnore {
        /// Its text.
        text: SourceText,
        /// What is wrong, where.
        diagnostic: Box<Diagnostic>,
    },
    /// A base image could not be resolved for a platform.
    #[error("cannot use the base image {name} for {platform}")]
    Base {
        /// As the Dockerfile names it.
        name: String,
        /// Requested platform.
        platform: Platform,
        /// Where the Dockerfile names it.
        place: Box<(SourceText, Span)>,
        /// What the Dockerfile's author may have meant instead.
        hint: Option<String>,
        /// Why.
        #[source]
        cause: Box<Error>,
    },
    /// An image or a name that is not what it should be.
    #[error("`{name}` is not in the local store")]
    NoSuchImage {
        /// As given.
        name: String,
        /// A name that is there and looks like it.
        nearest: Option<String>,
    },
    /// A cache mount that is not there.
    #[error("there is no cache mount `{id}`")]
    NoSuchCacheMount {
        /// As given.
        id: String,
        /// One that is there and looks like it.
        nearest: Option<String>,
    },
    /// An archive of cache mounts that is none.
    #[error("`{name}` is no archive of cache mounts: {problem}")]
    NotCacheMounts {
        /// The archive.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An image is there, but not for this platform.
    #[error("{name} has no image for {platform}")]
    NoSuchPlatform {
        /// The image.
        name: String,
        /// Requested platform.
        platform: Platform,
        /// What it offers.
        offered: Vec<Platform>,
    },
    /// Images for some platforms are wanted and not there.
    #[error(transparent)]
    NoSuchPlatforms(#[from] crate::index_tools::NoSuchPlatforms),
    /// The annotations of an index cannot be changed so.
    #[error(transparent)]
    Annotate(#[from] crate::index_tools::AnnotateError),
    /// An image is larger than any that is meant.
    #[error("the image cannot be copied: {0}")]
    TooMuch(#[from] crate::index_tools::TooMuch),
    /// An image is not what the index would say.
    #[error("{digest} is not an image for {platform}: {}", found(.findings))]
    Unverified {
        /// Its manifest.
        digest: Digest,
        /// What it is listed for.
        platform: Platform,
        /// What is wrong.
        findings: Vec<archway_oci::verify::Finding>,
    },
    /// An output cannot be made of this build.
    #[error("{message}")]
    Output {
        /// What does not fit.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The build cache could not be written; the outputs were.
    #[error("cannot write the build cache {name}")]
    CacheExport {
        /// Where.
        name: String,
        /// Why.
        source: Box<crate::cache::StorageError>,
    },
    /// A file or directory could not be written.
    #[error("cannot write `{path}`")]
    Write {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A registry refused, or could not be reached.
    #[error("cannot {action} {target}")]
    Registry {
        /// `push`, `pull`, `inspect`.
        action: &'static str,
        /// What.
        target: String,
        /// Why.
        source: Box<archway_registry::Error>,
    },
    /// An image could not be scanned for vulnerabilities.
    #[error(transparent)]
    Scan(#[from] crate::scan::ScanError),
    /// Images have vulnerabilities that are not let pass.
    #[error("{}", .0.verdict().unwrap_or_default())]
    Vulnerable(Box<crate::scan::ScanReport>),
    /// A tag is not where it has to be: somebody else has moved it.
    #[error("{tag} points at {found}, and not at {expected} as expected")]
    TagMoved {
        /// The tag.
        tag: String,
        /// What it has to point at.
        expected: crate::expectation::Expected,
        /// What it points at.
        found: crate::expectation::Expected,
    },
    /// A tag was moved by somebody else just after it was moved here.
    #[error("{tag} was moved here, and points at {found} now")]
    Overtaken {
        /// The tag.
        tag: String,
        /// What it points at.
        found: crate::expectation::Expected,
    },
    /// The same failure was met by another task first.
    #[error(transparent)]
    Shared {
        /// It.
        source: std::sync::Arc<Error>,
    },
    /// The Docker daemon did not take the image.
    #[error("the Docker daemon at {address} did not load the image: {message}")]
    Daemon {
        /// Where it was sought.
        address: String,
        /// What it said.
        message: String,
    },
    /// A blob that the store should have is not there.
    #[error("the blob {digest} is not in the store")]
    BlobMissing {
        /// Its digest.
        digest: Digest,
    },
    /// Images have files for other machines.
    #[error(transparent)]
    ForeignFiles(#[from] crate::verify::ForeignFiles),
    /// A blob is not what its descriptor says.
    #[error(transparent)]
    Blob(std::sync::Arc<crate::contents::Fault>),
    /// A blob of this machine could not be read.
    #[error("cannot read the blob {digest}")]
    BlobRead {
        /// Its digest.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A blob is not what it should be.
    #[error("the blob {expected} is damaged: its digest is {actual}")]
    Damaged {
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        actual: Digest,
    },
    /// An archive of an image lacks something.
    #[error("`{path}` has no {missing}")]
    ArchiveIncomplete {
        /// The archive.
        path: PathBuf,
        /// What was looked for.
        missing: String,
    },
    /// A document is not what its media type says.
    #[error(transparent)]
    Document(#[from] archway_oci::json::DocumentError),
    /// The image index cannot be put together.
    #[error(transparent)]
    Assemble(#[from] archway_oci::assemble::AssembleError),
    /// An image layout.
    #[error(transparent)]
    Layout(#[from] archway_oci::layout::LayoutError),
    /// The build context.
    #[error(transparent)]
    Source(#[from] archway_source::SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] archway_store::StoreError),
    /// A step of the engine.
    #[error(transparent)]
    Step(#[from] archway_engine::StepError),
    /// RUN steps cannot be limited as asked.
    #[error("RUN steps cannot be limited here")]
    Cgroup(#[from] archway_sandbox::CgroupError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] archway_sandbox::SandboxError),
    /// A file system could not be read or written as a tar archive.
    #[error(transparent)]
    WriteFiles(#[from] archway_layer::DiffError),
    /// Files could not be written to a directory.
    #[error(transparent)]
    UnpackFiles(#[from] archway_layer::extract::ExtractError),
}

/// Context and Dockerfile cannot be had as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DockerfileConflict {
    /// `-f - -`
    #[error("standard input cannot be both the build context and the Dockerfile")]
    BothStdin,
    /// `-f FILE URL`, and the URL is that of a Dockerfile; the same with standard input.
    #[error("the build context is a Dockerfile itself, and `-f` names another one")]
    ContextIsDockerfile,
    /// `-f -`, and standard input is an archive.
    #[error("standard input is an archive, and `-f -` takes it for a Dockerfile")]
    StdinIsArchive,
}

fn found(findings: &[archway_oci::verify::Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// Whether what was looked for is not where it should be.
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Self::BlobMissing { .. } | Self::Layout(archway_oci::layout::LayoutError::NoSuchBlob { .. }) => {
                true
            }
            Self::ArchiveIncomplete { .. } => true,
            Self::Registry { source, .. } => matches!(**source, archway_registry::Error::NotFound { .. }),
            _ => false,
        }
    }

    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Write { path, source }
    }

    pub(crate) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Read { path, source }
    }

    pub(crate) fn registry(
        action: &'static str,
        target: impl ToString,
    ) -> impl FnOnce(archway_registry::Error) -> Self {
        let target = target.to_string();
        move |source| Self::Registry { action, target, source: Box::new(source) }
    }
}
