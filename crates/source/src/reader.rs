//! Reading a file that must not have changed since the snapshot was made.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{Mode, OFlags, fstat, openat2},
    io::Errno,
};

use crate::{
    Entry, Obstacle, Snapshot, SourceError, StatKey,
    scan::{INSIDE, stat_key},
};

/// An open file of a snapshot. What was read counts only once [`SourceFile::finish`] has succeeded.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    path: String,
    stat: StatKey,
    read: u64,
    /// Where times cannot tell: the hash so far, and what it has to be.
    hash: Option<(Box<blake3::Hasher>, blake3::Hash)>,
}

impl Snapshot {
    /// Opens a regular file. Fails with [`SourceError::SourceChanged`] if it is another one, or has
    /// other times or another size, than when the snapshot was made.
    pub fn open(&self, entry: &Entry) -> Result<SourceFile, SourceError> {
        let changed = || SourceError::SourceChanged { path: entry.path.clone() };
        // A file that was replaced by a fifo must not block us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat2(&self.root, entry.path.as_str(), flags, Mode::empty(), INSIDE);
        let fd = opened.map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NXIO => changed(),
            errno => SourceError::Unreadable { path: entry.path.clone(), source: errno.into() },
        })?;
        let known = self.position(&entry.path).and_then(|index| self.hashes.get(index)?.get());
        let file = SourceFile {
            file: fd.into(),
            path: entry.path.clone(),
            stat: entry.stat,
            read: 0,
            hash: known
                .filter(|_| entry.stat.is_racy(self.scanned))
                .map(|hash| (Box::new(blake3::Hasher::new()), *hash)),
        };
        file.check_status()?;
        Ok(file)
    }

    /// Reads a whole file into memory.
    pub fn read_verified(&self, entry: &Entry) -> Result<Vec<u8>, SourceError> {
        let mut file = self.open(entry)?;
        let mut bytes = Vec::with_capacity(usize::try_from(entry.stat.size).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(|error| file.unreadable(&error))?;
        file.finish()?;
        Ok(bytes)
    }
}

impl SourceFile {
    /// To be called when all was read: says whether what was read is what the snapshot holds.
    ///
    /// A file that was changed within the clock tick in which the snapshot was made is recognised
    /// only if it was read through [`Read`], to its end, after a digest was made of it.
    pub fn finish(self) -> Result<(), SourceError> {
        self.check_status()?;
        let whole = self.read == self.stat.size;
        match self.hash {
            Some((hasher, known)) if whole && hasher.finalize() != known => {
                Err(SourceError::SourceChanged { path: self.path })
            }
            _ => Ok(()),
        }
    }

    /// The error for a failure to read.
    pub fn unreadable(&self, error: &io::Error) -> SourceError {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        SourceError::Unreadable { path: self.path.clone(), source: Obstacle::System(errno) }
    }

    fn check_status(&self) -> Result<(), SourceError> {
        match fstat(&self.file) {
            Ok(stat) if stat_key(&stat) == self.stat => Ok(()),
            Ok(_) => Err(SourceError::SourceChanged { path: self.path.clone() }),
            Err(errno) => Err(SourceError::Unreadable { path: self.path.clone(), source: errno.into() }),
        }
    }
}

impl Read for SourceFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let (Some((hasher, _)), Some(bytes)) = (&mut self.hash, buffer.get(..count)) {
            hasher.update(bytes);
        }
        self.read += count as u64;
        Ok(count)
    }
}

/// For copying inside the kernel.
impl AsFd for SourceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
