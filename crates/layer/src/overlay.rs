//! How a delta directory marks deletions, and which extended attributes belong to an image.
//!
//! The delta form is overlayfs's upper directory with `userxattr` (kernel documentation,
//! `filesystems/overlayfs.rst`, "whiteouts and opaque directories"); the tar form is image-spec
//! `layer.md`, "Whiteouts".

/// Whether a tree uses overlayfs's markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Markers {
    /// A delta directory: character devices 0/0 and opaque directories stand for whiteouts.
    Translate,
    /// A root file system: everything is what it is.
    Literal,
}

/// Marks a directory that hides the one below; the value is [`OPAQUE_VALUE`].
pub(crate) const OPAQUE_XATTR: &str = "user.overlay.opaque";
/// What an overlay mounted without `userxattr` writes instead.
pub(crate) const TRUSTED_OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// Kernels use other values of the opaque attribute for other purposes (`x`: see "xwhiteouts").
pub(crate) const OPAQUE_VALUE: &[u8] = b"y";

/// Prefix of a whiteout's tar name.
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Prefix of names that AUFS kept for itself; of these only the opaque marker means anything.
pub(crate) const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
/// Tar name, within its directory, of the marker of an opaque directory.
pub(crate) const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

/// Whether an extended attribute is part of an image: file capabilities and what users set.
///
/// The rest (`security.selinux`, `security.ima`, `system.posix_acl_*`, `trusted.*`) belongs to the
/// host, and overlayfs's own attributes would let a layer forge its markers.
pub fn is_image_xattr(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_capabilities_and_user_attributes_are_kept() {
        for (name, kept) in [
            ("security.capability", true),
            ("user.mime_type", true),
            ("user.overlay.opaque", false),
            ("user.overlay.redirect", false),
            ("trusted.overlay.opaque", false),
            ("trusted.x", false),
            ("security.selinux", false),
            ("system.posix_acl_access", false),
            ("", false),
        ] {
            assert_eq!(is_image_xattr(name.as_bytes()), kept, "{name}");
        }
    }
}
