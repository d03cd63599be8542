//! Files that are there whole or not at all, even after a power failure.

use std::{
    fs::{File, Permissions},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use tempfile::NamedTempFile;

/// How names of unfinished files start; a crash may leave some behind, which harm nobody.
pub(super) const TEMPORARY_PREFIX: &str = ".archway-";

/// A file that has no name yet that anybody looks for.
pub(super) struct NewFile {
    file: NamedTempFile,
}

impl NewFile {
    /// `dir` must be on the file system where the file is going to be.
    pub(super) fn create(dir: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(dir)?;
        Ok(Self { file })
    }

    /// Copies everything from `reader`.
    pub(super) fn fill(mut self, reader: &mut impl Read) -> io::Result<Self> {
        io::copy(reader, self.file.as_file_mut())?;
        Ok(self)
    }

    /// Gives the file its name, in place of what had that name before.
    pub(super) fn publish(self, path: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(path).map_err(|error| error.error)?;
        match path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }
}
