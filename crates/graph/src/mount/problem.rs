//! What can be wrong with a `--mount`, once its values are known.

use thiserror::Error;

/// What is wrong with a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MountProblem {
    /// `type=` is none of the five.
    #[error("there is no mount type `{value}`")]
    UnknownType {
        /// Expanded.
        value: String,
        /// The type that was probably meant.
        nearest: Option<&'static str>,
    },
    /// `sharing=` is none of the three.
    #[error("there is no sharing mode `{value}`")]
    UnknownSharing {
        /// Expanded.
        value: String,
        /// The mode that was probably meant.
        nearest: Option<&'static str>,
    },
    /// An option that means nothing for this type.
    #[error("`{key}` is no option of {kind} mounts")]
    NotForType {
        /// The option.
        key: &'static str,
        /// The type.
        kind: &'static str,
        /// The options of that type.
        known: &'static [&'static str],
    },
    /// A value that the option does not take.
    #[error("`{value}` is no value for the mount option `{key}`")]
    BadValue {
        /// The option.
        key: &'static str,
        /// Expanded.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The target is `/`.
    #[error("a mount cannot take the place of the whole root file system")]
    RootTarget,
    /// A secret without id, source and target.
    #[error("the secret mount does not say which secret")]
    UnnamedSecret,
    /// A secret with `id` and `source`, which mean the same.
    #[error("the secret mount has both `id` and `source`")]
    SecretNamedTwice,
    /// A cache with `source` and without `from`.
    #[error("the cache mount has a `source`, and no `from` to take it from")]
    CacheSourceWithoutFrom,
}

impl MountProblem {
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::UnknownType { .. } => "unknown type",
            Self::UnknownSharing { .. } => "unknown mode",
            Self::NotForType { .. } => "has no effect here",
            Self::BadValue { .. } => "invalid value",
            Self::RootTarget => "the root file system",
            Self::UnnamedSecret => "no id",
            Self::SecretNamedTwice => "the same as `id`",
            Self::CacheSourceWithoutFrom => "of what?",
        }
    }

    pub(crate) fn hint(&self) -> String {
        match self {
            Self::UnknownType { nearest: Some(nearest), .. }
            | Self::UnknownSharing { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::UnknownType { .. } => "types are bind, cache, tmpfs, secret and ssh".to_owned(),
            Self::UnknownSharing { .. } => "modes are shared, private and locked".to_owned(),
            Self::NotForType { known, kind, .. } => {
                format!("options of {kind} mounts are {}", known.join(", "))
            }
            Self::BadValue { expected, .. } => format!("want {expected}"),
            Self::RootTarget => "name a directory below it: target=/src; it defaults to WORKDIR".to_owned(),
            Self::UnnamedSecret => "add id=NAME, and give the secret with --secret id=NAME,…".to_owned(),
            Self::SecretNamedTwice => "leave one of them out".to_owned(),
            Self::CacheSourceWithoutFrom => {
                "add from=STAGE, or leave `source` out: a new cache mount is empty".to_owned()
            }
        }
    }
}
