//! Locks between processes: `flock` on a file, freed by the kernel when its holder dies.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use crate::error::{At, Result, StoreError};

/// A lock that is held until it is dropped.
#[derive(Debug)]
#[must_use = "the lock is freed when this is dropped"]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// A lock that is taken shared again and again for a moment, its file kept open. That file is never
/// removed.
#[derive(Debug)]
pub(crate) struct Gate {
    file: File,
    path: PathBuf,
}

impl Gate {
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&path).at(&path)?;
        Ok(Self { file, path })
    }

    /// Does `work` with the lock held. The kernel knows one holder for an open file, hence `&mut`.
    pub(crate) fn shared<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        flock(&self.file, Mode::Shared).at(&self.path)?;
        let result = work();
        self.file.unlock().at(&self.path)?;
        result
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Exclusive,
    TryExclusive,
    Shared,
    TryShared,
}

impl Lock {
    pub(crate) fn exclusive(path: PathBuf) -> Result<Self> {
        Ok(Self::acquire(path, Mode::Exclusive)?.expect("waiting ends with the lock"))
    }

    pub(crate) fn try_exclusive(path: PathBuf) -> Result<Option<Self>> {
        Self::acquire(path, Mode::TryExclusive)
    }

    /// Takes the lock if it is free and its file is there.
    pub(crate) fn try_exclusive_existing(path: PathBuf) -> Result<Option<Self>> {
        Self::acquire_existing(path, Mode::TryExclusive)
    }

    /// Takes the lock, together with others who do, if nobody has it exclusively and its file is there.
    pub(crate) fn try_shared_existing(path: PathBuf) -> Result<Option<Self>> {
        Self::acquire_existing(path, Mode::TryShared)
    }

    /// Removes the lock's file while holding it; whoever waits for it starts anew.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).at(&self.path)
    }

    fn acquire(path: PathBuf, mode: Mode) -> Result<Option<Self>> {
        loop {
            let file = File::options().create(true).append(true).open(&path).at(&path)?;
            if !flock(&file, mode).at(&path)? {
                return Ok(None);
            }
            let lock = Self { file, path: path.clone() };
            if lock.is_current()? {
                return Ok(Some(lock));
            }
        }
    }

    fn acquire_existing(path: PathBuf, mode: Mode) -> Result<Option<Self>> {
        let file = match File::options().append(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.at(&path)?,
        };
        if !flock(&file, mode).at(&path)? {
            return Ok(None);
        }
        let lock = Self { file, path };
        Ok(if lock.is_current()? { Some(lock) } else { None })
    }

    /// Whether the file we hold is still the one others will open.
    fn is_current(&self) -> Result<bool> {
        let held = self.file.metadata().at(&self.path)?;
        match fs::metadata(&self.path) {
            Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io(&self.path, error)),
        }
    }
}

/// Takes the lock; false if it is not free and we do not wait.
fn flock(file: &File, mode: Mode) -> io::Result<bool> {
    loop {
        let result = match mode {
            Mode::Exclusive => file.lock(),
            Mode::Shared => file.lock_shared(),
            Mode::TryExclusive | Mode::TryShared => {
                let tried = match mode {
                    Mode::TryShared => file.try_lock_shared(),
                    _ => file.try_lock(),
                };
                match tried {
                    Ok(()) => Ok(()),
                    Err(TryLockError::WouldBlock) => return Ok(false),
                    Err(TryLockError::Error(error)) => Err(error),
                }
            }
        };
        match result {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
