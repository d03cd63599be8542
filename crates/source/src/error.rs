//! What can go wrong with a build context.

use std::{io, path::PathBuf};

use archway_dockerfile::glob::GlobError;
use archway_store::StoreError;

use crate::entry::Special;

/// A build context, or a source of COPY or ADD in it, cannot be used. Paths are relative to the
/// context.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The context directory itself cannot be read.
    #[error("cannot read the build context `{path}`")]
    Context {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing is there.
    #[error("`{pattern}` is not in the build context")]
    SourceMissing {
        /// The source as written.
        pattern: String,
        /// Existing paths that may have been meant, best first.
        similar: Vec<String>,
    },
    /// It is there, but left out by `.dockerignore`.
    #[error("`{pattern}` is excluded from the build context by .dockerignore")]
    SourceIgnored {
        /// The source as written.
        pattern: String,
    },
    /// `..` leads out of the context; as the root of the context is its own parent, this means
    /// another path, and nothing is there.
    #[error("`{pattern}` leads out of the build context; `{inside}`, which it would mean, does not exist")]
    SourceEscapes {
        /// The source as written.
        pattern: String,
        /// The path it means.
        inside: String,
    },
    /// A symbolic link leads out of the context, and its target does not exist inside.
    #[error("`{pattern}` leads out of the build context by the symbolic link `{link}` to `{target}`")]
    LinkEscapes {
        /// The source as written.
        pattern: String,
        /// Path of the link.
        link: String,
        /// What the link says.
        target: String,
    },
    /// Symbolic links lead to each other.
    #[error("too many symbolic links on the way to `{pattern}`")]
    LinkLoop {
        /// The source as written.
        pattern: String,
    },
    /// It is something that cannot be copied.
    #[error("`{path}` is a {kind}, which cannot be copied into an image")]
    NotCopyable {
        /// Path.
        path: String,
        /// What it is.
        kind: Special,
    },
    /// The source is no valid pattern.
    #[error("`{pattern}` is not a valid source")]
    Pattern {
        /// The source as written.
        pattern: String,
        /// What is wrong.
        source: GlobError,
    },
    /// A selected file cannot be looked at or read.
    #[error("cannot read `{path}` of the build context")]
    Unreadable {
        /// Path.
        path: String,
        /// Why.
        source: Obstacle,
    },
    /// A file was changed after the snapshot was made.
    #[error("`{path}` changed while it was being built from")]
    SourceChanged {
        /// Path.
        path: String,
    },
    /// The stat cache cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why something in the context cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The system refuses.
    #[error(transparent)]
    System(#[from] rustix::io::Errno),
    /// Its name or its link target is not UTF-8.
    #[error("its name or link target is not UTF-8")]
    NotUtf8,
}
