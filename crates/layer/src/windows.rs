//! Layers of Windows images, as a machine without Windows can make and read them.
//!
//! Windows keeps the files of a layer in `Files` and changes of the registry in `Hives`, and wants to
//! know of each file what Linux does not have: its attributes and its security descriptor (the writer of
//! layers in Microsoft's hcsshim, `backuptar`, defines the PAX records). BuildKit writes the same records
//! when it makes Windows images on Linux.

use std::collections::BTreeMap;

use crate::archive::{Entry, EntryKind};

/// How the paths of a root file system stand in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Layout {
    /// As they are.
    #[default]
    Unix,
    /// Below `Files`, next to `Hives`; with what Windows wants to know of each file.
    Windows,
}

/// The directory of the root file system.
const FILES: &[u8] = b"Files";
/// The directory of the registry.
const HIVES: &[u8] = b"Hives";

/// `FILE_ATTRIBUTE_DIRECTORY` and `FILE_ATTRIBUTE_ARCHIVE` in decimal, as the record wants them.
const DIRECTORY_ATTRIBUTES: &str = "16";
const FILE_ATTRIBUTES: &str = "32";

/// Base64 of the self-relative security descriptor that directories get: owned by the administrators,
/// full control for them and the system, users may read, and add files and directories. In SDDL:
/// `O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;FA;;;BA)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)`
const DIRECTORY_SECURITY: &str = "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgCoAAcAAAAAAxgA/wEfAAECAAAAAAAFIAAAACACAAAAAxQA/wEfAAEBAAAAAAAFEgAAAAAAGAD/AR8AAQIAAAAAAAUgAAAAIAIAAAALFAAAAAAQAQEAAAAAAAMAAAAAAAMYAKkAEgABAgAAAAAABSAAAAAhAgAAAAIYAAQAAAABAgAAAAAABSAAAAAhAgAAAAIYAAIAAAABAgAAAAAABSAAAAAhAgAA";
/// The same for files: full control for administrators and the system, users may read and execute.
/// `O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)`
const FILE_SECURITY: &str = "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgBMAAMAAAAAABgA/wEfAAECAAAAAAAFIAAAACACAAAAABQA/wEfAAEBAAAAAAAFEgAAAAAAGACpABIAAQIAAAAAAAUgAAAAIQIAAA==";

/// The entries that every layer begins with.
pub(crate) fn roots() -> [Entry; 2] {
    [HIVES, FILES].map(|name| Entry::directory(name, 0))
}

/// `entry` of a root file system as it stands in a layer.
pub(crate) fn outside(entry: &Entry) -> Entry {
    let mut moved = entry.clone();
    moved.path = [FILES, &entry.path].join(&b'/');
    if let EntryKind::Hardlink { target } = &mut moved.kind {
        *target = [FILES, target].join(&b'/');
    }
    moved
}

/// `entry` of a layer as it stands in the root file system; `None` if it is about something else.
pub(crate) fn inside(mut entry: Entry) -> Option<Entry> {
    entry.path = below_files(&entry.path)?.to_vec();
    // BuildKit moves the targets of symbolic links, too, and moves them back when it reads.
    if let EntryKind::Hardlink { target } | EntryKind::Symlink { target } = &mut entry.kind
        && let Some(below) = below_files(target)
    {
        *target = below.to_vec();
    }
    Some(entry)
}

fn below_files(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(FILES)?.strip_prefix(b"/")
}

/// The bits of a file's mode that say what it is (`S_IFMT`).
pub(crate) fn type_bits(kind: &EntryKind) -> u32 {
    match kind {
        EntryKind::Directory => 0o40_000,
        EntryKind::File { .. } => 0o100_000,
        _ => 0,
    }
}

/// What Windows wants to know of `entry`, as PAX records.
pub(crate) fn records(entry: &Entry, mtime: i64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records = BTreeMap::new();
    let mut record = |key: &str, value: &str| {
        records.insert(key.as_bytes().to_vec(), value.as_bytes().to_vec());
    };
    let is_root = entry.path == FILES || entry.path == HIVES;
    let (attributes, security) = match &entry.kind {
        EntryKind::Directory => (DIRECTORY_ATTRIBUTES, DIRECTORY_SECURITY),
        EntryKind::File { .. } => (FILE_ATTRIBUTES, FILE_SECURITY),
        _ => ("", ""),
    };
    if !attributes.is_empty() {
        record("MSWINDOWS.fileattr", attributes);
        // Those two have the ones of the layer below.
        if !is_root {
            record("MSWINDOWS.rawsd", security);
        }
    }
    record("LIBARCHIVE.creationtime", &format!("{mtime}.0"));
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_files_is_in_the_root_file_system() {
        let table: [(&str, Option<&str>); 6] = [
            ("Files/app.exe", Some("app.exe")),
            ("Files/Windows/System32", Some("Windows/System32")),
            ("Files", None),
            ("Hives/Software_Delta", None),
            ("UtilityVM/Files/x", None),
            ("FilesAndMore/x", None),
        ];
        for (path, expected) in table {
            let found = inside(Entry::file(path, 0, 0o644)).map(|entry| entry.path);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }

    #[test]
    fn going_out_and_in_again_changes_nothing() {
        let link = |target: &str| EntryKind::Hardlink { target: target.into() };
        let symlink = |target: &str| EntryKind::Symlink { target: target.into() };
        for kind in [EntryKind::Directory, link("a/b"), symlink("../b")] {
            let entry = Entry::new("a/c", kind, 0o755);
            assert_eq!(inside(outside(&entry)), Some(entry));
        }
    }
}
