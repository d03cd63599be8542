//! Overlay mounts of any number of directories.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use crate::SandboxError;

/// Most read-only directories of one overlay: the kernel's 500, less the one with the mount points.
pub const MAX_LOWERS: usize = 499;

/// Mounts `lowers` (top first), and `upper` with its `work` directory over them, without attaching the
/// mount anywhere: it lives as long as the returned directory, whose files can be reached with
/// `openat2`. Read-only without an upper directory; then there must be two or more `lowers`.
///
/// # Errors
/// [`SandboxError::Overlay`].
pub fn mount_detached(lowers: &[PathBuf], upper: Option<(&Path, &Path)>) -> Result<OwnedFd, SandboxError> {
    let _ = upper;
    Err(SandboxError::Overlay { lowers: lowers.len(), source: std::io::ErrorKind::Unsupported.into() })
}
