//! How a delta directory marks deletions, and which extended attributes belong to an image.
//!
//! The delta form is overlayfs's upper directory with `userxattr` (kernel documentation,
//! `filesystems/overlayfs.rst`, "whiteouts and opaque directories"); the tar form is image-spec
//! `layer.md`, "Whiteouts".

use rustix::io::Errno;

use crate::path;

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

/// Whether a directory of a delta hides those below it. `value` reads one of its extended attributes.
pub(crate) fn is_opaque(
    mut value: impl FnMut(&str, &mut [u8]) -> Result<usize, Errno>,
) -> Result<bool, Errno> {
    for name in [OPAQUE_XATTR, TRUSTED_OPAQUE_XATTR] {
        let mut bytes = [0; 2];
        match value(name, &mut bytes) {
            Ok(length) if &bytes[..length] == OPAQUE_VALUE => return Ok(true),
            // RANGE: longer than any value that means opaque.
            Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

/// Prefix of a whiteout's tar name.
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Prefix of names that AUFS kept for itself; of these only the opaque marker means anything.
pub(crate) const WHITEOUT_META_PREFIX: &[u8] = b".wh..wh.";
/// Tar name, within its directory, of the marker of an opaque directory.
pub(crate) const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

/// What a name means in a layer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// A file of that name.
    Plain,
    /// This name is gone.
    Whiteout(&'a [u8]),
    /// The directory hides those below.
    Opaque,
    /// AUFS's own book-keeping, which means nothing to others.
    Bookkeeping,
}

/// What `path` means in a layer.
pub(crate) fn meaning(path: &[u8]) -> Meaning<'_> {
    let name = path::name(path);
    if name == OPAQUE_NAME {
        return Meaning::Opaque;
    }
    if path.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT_META_PREFIX)) {
        return Meaning::Bookkeeping;
    }
    name.strip_prefix(WHITEOUT_PREFIX).map_or(Meaning::Plain, Meaning::Whiteout)
}

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

    #[test]
    fn names_have_the_meaning_of_the_image_spec() {
        for (path, expected) in [
            ("etc/passwd", Meaning::Plain),
            ("etc/.wh.passwd", Meaning::Whiteout(b"passwd")),
            (".wh.etc", Meaning::Whiteout(b"etc")),
            ("etc/.wh.", Meaning::Whiteout(b"")),
            ("etc/.wh..wh..opq", Meaning::Opaque),
            (".wh..wh..opq", Meaning::Opaque),
            (".wh..wh.plnk/12.34", Meaning::Bookkeeping),
            ("a/.wh..wh.aufs", Meaning::Bookkeeping),
            ("etc/wh.x", Meaning::Plain),
        ] {
            assert_eq!(meaning(path.as_bytes()), expected, "{path}");
        }
    }
}
