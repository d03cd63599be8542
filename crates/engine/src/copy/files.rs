//! The regular files of a copy: most of its work, done by several threads.
//!
//! A file that an earlier copy put at the same path, with the same content and attributes, gets one more
//! name instead of being written again.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, available_parallelism},
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid, XattrFlags},
    io::Errno,
};

use super::{
    apply::{EntryError, Owner, name_of, open_directory, remove_other, times},
    earlier::{CopiedFile, CopiedFiles, Earlier},
    entry::{Entry, Mtime, SourceItem},
};
use crate::{StepError, tree};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Files that a thread takes at a time. They come sorted, so they are likely in one directory.
const BATCH: usize = 32;

/// More threads only wait for each other in the file system.
const MOST_THREADS: usize = 8;

/// A regular file to copy.
pub(super) struct PlainFile<'a> {
    pub(super) entry: &'a Entry,
    pub(super) size: u64,
    /// Where it goes.
    pub(super) path: String,
    pub(super) owner: Owner,
    pub(super) mode: u32,
}

impl PlainFile<'_> {
    /// What it is in the delta, if its content is known.
    fn described(&self, item: &SourceItem) -> Option<CopiedFile> {
        let Entry { mtime, xattrs, hard_link, .. } = self.entry;
        // What has several names, or attributes, is always written anew.
        if !xattrs.is_empty() || hard_link.is_some() {
            return None;
        }
        let (content, Owner { uid, gid }) = (item.open.content(self.entry)?, self.owner);
        let Mtime { seconds, nanoseconds } = *mtime;
        Some(CopiedFile { content, mode: self.mode, uid, gid, seconds, nanoseconds })
    }
}

/// Puts `files` of `item`, whose paths all differ, into the delta at `root`, where their directories are.
/// Returns those whose content is known.
pub(super) fn place(
    root: BorrowedFd<'_>,
    item: &SourceItem,
    files: &[PlainFile<'_>],
    earlier: Option<&Earlier>,
) -> Result<CopiedFiles, StepError> {
    let threads = available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let threads = threads.min(files.len().div_ceil(BATCH));
    let next = AtomicUsize::new(0);
    let work = || Worker { root, item, earlier, at: None, buffer: Vec::new() }.run(files, &next);
    if threads <= 1 {
        return work();
    }
    let copied = Mutex::new(Ok(CopiedFiles::new()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let own = work();
                if own.is_err() {
                    // The others need not go on.
                    next.store(files.len(), Ordering::Relaxed);
                }
                let mut all = copied.lock().unwrap_or_else(PoisonError::into_inner);
                match (&mut *all, own) {
                    (Ok(all), Ok(own)) => all.extend(own),
                    (Ok(_), Err(error)) => *all = Err(error),
                    (Err(_), _) => {}
                }
            });
        }
    });
    copied.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One thread.
struct Worker<'a> {
    root: BorrowedFd<'a>,
    item: &'a SourceItem,
    earlier: Option<&'a Earlier>,
    /// The directory opened last, and the same one in the earlier delta.
    at: Option<Directory>,
    buffer: Vec<u8>,
}

struct Directory {
    path: String,
    own: OwnedFd,
    earlier: Option<OwnedFd>,
}

impl Worker<'_> {
    fn run(mut self, files: &[PlainFile<'_>], next: &AtomicUsize) -> Result<CopiedFiles, StepError> {
        let mut copied = CopiedFiles::new();
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed).min(files.len());
            let batch = &files[start..(start + BATCH).min(files.len())];
            if batch.is_empty() {
                return Ok(copied);
            }
            for file in batch {
                let described = file.described(self.item);
                self.file(file, described.as_ref()).map_err(|error| error.at(&file.path))?;
                copied.extend(described.map(|described| (file.path.clone(), described)));
            }
        }
    }

    fn file(&mut self, file: &PlainFile<'_>, described: Option<&CopiedFile>) -> Result<(), EntryError> {
        self.enter(tree::parent(&file.path))?;
        let is_same = |earlier: &Earlier| described.is_some_and(|it| earlier.file(&file.path) == Some(it));
        if self.earlier.is_some_and(is_same) && self.link(&file.path)? {
            return Ok(());
        }
        self.copy(file)
    }

    fn enter(&mut self, path: &str) -> Result<(), EntryError> {
        if self.at.as_ref().is_none_or(|at| at.path != path) {
            let own = open_directory(self.root, path)?;
            let earlier = self.earlier.and_then(|earlier| open_directory(earlier.root(), path).ok());
            self.at = Some(Directory { path: path.to_owned(), own, earlier });
        }
        Ok(())
    }

    /// Gives the file of the earlier delta a name in this one. False if that cannot be: a file has only so
    /// many names, and not every file system allows it.
    fn link(&self, path: &str) -> Result<bool, EntryError> {
        let Some(Directory { own, earlier: Some(earlier), .. }) = &self.at else { return Ok(false) };
        let name = name_of(path);
        let link = || rustix::fs::linkat(earlier, name, own, name, AtFlags::empty());
        let linked = match link() {
            Err(Errno::EXIST) => {
                remove_other(own.as_fd(), name, path)?;
                link()
            }
            linked => linked,
        };
        Ok(linked.is_ok())
    }

    fn copy(&mut self, file: &PlainFile<'_>) -> Result<(), EntryError> {
        let PlainFile { entry, owner, .. } = file;
        let copied = self.content(file)?;
        rustix::fs::fchown(&copied, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
        // After chown, which clears setuid and capabilities.
        rustix::fs::fchmod(&copied, Mode::from_raw_mode(file.mode))?;
        for (name, value) in &entry.xattrs {
            rustix::fs::fsetxattr(&copied, name.as_str(), value, XattrFlags::empty())?;
        }
        Ok(rustix::fs::futimens(&copied, &times(entry.mtime))?)
    }

    fn content(&mut self, file: &PlainFile<'_>) -> Result<File, EntryError> {
        let (open, entry) = (&self.item.open, file.entry);
        let failed = || StepError::io(open.path(entry));
        let mut source = open.open(entry)?;
        let mut copied = self.create(&file.path)?;
        self.buffer.resize(BUFFER, 0);
        let mut read = 0;
        // Should it have grown, the source says so.
        while read < file.size {
            let count = source.read(&mut self.buffer).map_err(failed())?;
            if count == 0 {
                break;
            }
            copied.write_all(&self.buffer[..count]).map_err(failed())?;
            read += count as u64;
        }
        source.finish()?;
        Ok(copied)
    }

    /// A new file. An earlier item may have brought another one.
    fn create(&self, path: &str) -> Result<File, EntryError> {
        let Some(at) = &self.at else { return Err(Errno::NOENT.into()) };
        let name = name_of(path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&at.own, name, flags, Mode::from_raw_mode(0o600));
        let created = match create() {
            Err(Errno::EXIST) => {
                remove_other(at.own.as_fd(), name, path)?;
                create()
            }
            created => created,
        };
        Ok(created?.into())
    }
}
