//! Why files of a repository could not be had.

use std::{io, path::PathBuf};

/// Files of a git repository could not be had. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git program.
    #[error("git is not installed, and is needed to fetch {remote}")]
    NoProgram {
        /// The repository.
        remote: String,
    },
    /// The repository refuses, or hides itself from, whoever is not logged in.
    #[error("{remote} does not exist, or asks for a login: {message}")]
    Denied {
        /// The repository.
        remote: String,
        /// What git said.
        message: String,
        /// The host, as in the name of a secret; `None` for SSH.
        host: Option<String>,
        /// Whether credentials were sent.
        tried: bool,
    },
    /// No such branch or tag.
    #[error("{remote} has no branch or tag `{reference}`")]
    NoReference {
        /// The repository.
        remote: String,
        /// As asked for.
        reference: String,
        /// Those that look like it, best first.
        similar: Vec<String>,
    },
    /// The repository is empty, or its `HEAD` points nowhere.
    #[error("{remote} has no default branch")]
    NoDefaultBranch {
        /// The repository.
        remote: String,
    },
    /// No such commit.
    #[error("{remote} has no commit {commit}")]
    NoCommit {
        /// The repository.
        remote: String,
        /// As asked for.
        commit: String,
    },
    /// The ref is not the commit that it has to be.
    #[error("{remote}: the commit has to be {expected}, and `{reference}` is {found}")]
    Checksum {
        /// The repository.
        remote: String,
        /// The ref.
        reference: String,
        /// The checksum.
        expected: String,
        /// What the ref is.
        found: String,
    },
    /// A directory that is not there, or is none.
    #[error("{remote} has no directory `{subdir}`: {problem}")]
    Subdir {
        /// The repository.
        remote: String,
        /// As asked for.
        subdir: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Git failed in another way.
    #[error("cannot {action} {remote}: {message}")]
    Failed {
        /// `fetch`, `check out`, …
        action: &'static str,
        /// The repository.
        remote: String,
        /// What git said.
        message: String,
    },
    /// A file could not be made or moved.
    #[error("cannot write `{}`", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl GitError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoProgram { .. } => Some("install the package `git`".to_owned()),
            Self::Denied { host: None, .. } => {
                Some("give the keys of your agent to the build: `--ssh default`".to_owned())
            }
            Self::Denied { host: Some(host), tried: false, .. } => Some(format!(
                "give a token: `--secret id=GIT_AUTH_TOKEN,env=NAME`, or only for this host: `--secret id=GIT_AUTH_TOKEN.{host},env=NAME`"
            )),
            Self::Denied { tried: true, .. } => {
                Some("the token that was given does not allow to read this repository".to_owned())
            }
            Self::NoReference { similar, .. } => {
                let similar: Vec<String> = similar.iter().map(|name| format!("`{name}`")).collect();
                (!similar.is_empty()).then(|| format!("did you mean {}?", similar.join(" or ")))
            }
            Self::NoDefaultBranch { .. } => Some("name a branch or tag: `URL#REF`".to_owned()),
            Self::NoCommit { .. } => {
                Some("the server may not give commits that no branch or tag leads to".to_owned())
            }
            Self::Checksum { .. } => {
                Some("if the change is meant, write the new commit as the checksum".to_owned())
            }
            Self::Failed { message, .. } if message.contains("'archway' does not appear to be") => {
                Some("git 2.31 or newer is needed; `git --version` says which one is there".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the same may succeed later: git says of most failures of networks and servers only that
    /// something failed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// Whether what was asked for is not there, or is another: whoever asked is to be told, and not
    /// whoever looks after this machine.
    pub fn is_about_source(&self) -> bool {
        !matches!(self, Self::NoProgram { .. } | Self::Io { .. })
    }
}

/// What git said that it does not say of every failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// Whoever asks may not.
    Denied,
    /// The server does not give a commit that no ref points at, or has none.
    NotOffered,
    /// The server speaks the old protocol without shallow clones.
    NotShallow,
    Other,
}

impl Complaint {
    pub(crate) fn of(stderr: &str) -> Self {
        let says = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
        if says(&[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "terminal prompts disabled",
            "returned error: 401",
            "returned error: 403",
            "Permission denied (",
            "Access denied",
        ]) {
            Self::Denied
        } else if says(&[
            "not our ref",
            "unadvertised object",
            "couldn't find remote ref",
            "no such remote ref",
        ]) {
            Self::NotOffered
        } else if says(&["does not support shallow", "does not support --depth"]) {
            Self::NotShallow
        } else {
            Self::Other
        }
    }
}
