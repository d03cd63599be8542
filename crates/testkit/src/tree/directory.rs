//! Reading a tree from a directory.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use rustix::fs::{lgetxattr, llistxattr, major, minor};

use super::{Entry, Kind, Tree, file};

/// The kernel's limits on the list of names and on one value (xattr(7)).
const XATTR_LIMIT: usize = 64 * 1024;

impl Tree {
    /// The tree below `root`, which is not followed out of: symbolic links stay links.
    ///
    /// # Errors
    /// When anything cannot be read; as a normal user, files of others for instance.
    pub fn of_directory(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.add_directory(root, "")?;
        Ok(tree)
    }

    fn add_directory(&mut self, directory: &Path, prefix: &str) -> io::Result<()> {
        for child in fs::read_dir(directory)? {
            let child = child?;
            let path = format!("{prefix}{}", child.file_name().to_string_lossy());
            let entry = entry(&child.path())?;
            if entry.kind == Kind::Directory {
                self.add_directory(&child.path(), &format!("{path}/"))?;
            }
            self.entries.insert(path, entry);
        }
        Ok(())
    }
}

fn entry(path: &Path) -> io::Result<Entry> {
    let metadata = fs::symlink_metadata(path)?;
    let mode = if metadata.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 };
    Ok(Entry {
        kind: kind(path, &metadata)?,
        mode,
        uid: metadata.uid(),
        gid: metadata.gid(),
        xattrs: xattrs(path)?,
    })
}

fn kind(path: &Path, metadata: &fs::Metadata) -> io::Result<Kind> {
    let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
    let kind = metadata.file_type();
    Ok(if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(path)?.to_string_lossy().into_owned())
    } else if kind.is_char_device() {
        Kind::CharacterDevice { major, minor }
    } else if kind.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        file(fs::File::open(path)?)?
    })
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0_u8; XATTR_LIMIT];
    let length = match llistxattr(path, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| Ok((String::from_utf8_lossy(name).into_owned(), xattr(path, name)?))).collect()
}

fn xattr(path: &Path, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; XATTR_LIMIT];
    let length = lgetxattr(path, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}
