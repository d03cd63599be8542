//! Where things go on their way out.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::measure;
use crate::{
    error::{At, Result, StoreError},
    lock::Lock,
    root::{self, Root},
};

/// Takes things away at once and removes them later, so that locks are held only briefly.
#[derive(Debug)]
pub(crate) struct Trash {
    directory: PathBuf,
    count: u64,
}

impl Trash {
    /// Also takes what collections that were killed left. The garbage lock has to be held, so that
    /// no other collection is taking things away.
    pub(crate) fn new(root: &Root, _collecting: &Lock) -> Result<Self> {
        let all = root.trash();
        let leftovers = root::names(&all)?;
        let directory = tempfile::tempdir_in(&all).at(&all)?.keep();
        let mut trash = Self { directory, count: 0 };
        for name in leftovers {
            trash.take(&all.join(name))?;
        }
        Ok(trash)
    }

    /// Moves `path` away. It is no error if it is gone.
    pub(crate) fn take(&mut self, path: &Path) -> Result<()> {
        self.count += 1;
        match fs::rename(path, self.directory.join(self.count.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, error)),
            _ => Ok(()),
        }
    }

    /// Removes everything taken away. Returns the bytes freed: files that have names elsewhere stay.
    pub(crate) fn empty(self) -> Result<u64> {
        let bytes = measure::freed_with_content(&self.directory)?;
        match fs::remove_dir_all(&self.directory) {
            // Another collection may have thought that we died.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(&self.directory, error))
            }
            _ => Ok(bytes),
        }
    }
}
