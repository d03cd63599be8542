//! The walk over a context directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CStr,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError},
    thread,
    time::SystemTime,
};

use archway_dockerfile::ignore::{IgnorePatterns, Verdict};
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, openat, openat2, readlinkat, statat,
    },
    io::Errno,
};

use crate::{Entry, Kind, Obstacle, Snapshot, SourceError, StatKey, entry::Special, resolve::join};

/// Bytes of directory entries read at once.
const DIRECTORY_BUFFER: usize = 32 << 10;

/// More threads only wait for each other in the kernel.
const MAX_THREADS: usize = 8;

/// How paths of the context are opened: they have no links, unless something was replaced.
pub(crate) const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

impl Snapshot {
    /// Looks at everything below `directory` that `ignore` does not exclude. Symbolic links are noted,
    /// never followed. What cannot be looked at is an error only if it is selected later.
    pub fn scan(directory: &Path, ignore: &IgnorePatterns) -> Result<Self, SourceError> {
        Self::look_at(directory, ignore, Owners::Root)
    }

    /// Looks at everything below `directory`, whose files have owners that mean something: those of an
    /// archive that was unpacked there.
    pub fn scan_with_owners(directory: &Path) -> Result<Self, SourceError> {
        Self::look_at(directory, &IgnorePatterns::default(), Owners::Kept)
    }

    fn look_at(directory: &Path, ignore: &IgnorePatterns, owners: Owners) -> Result<Self, SourceError> {
        let context = |source| SourceError::Context { path: directory.to_owned(), source };
        let absolute = directory.canonicalize().map_err(context)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &absolute, flags, Mode::empty()).map_err(|errno| context(errno.into()))?;
        let scanned = SystemTime::now();
        let stat = rustix::fs::fstat(&root).map_err(|errno| context(errno.into()))?;

        let Found { mut entries, ignored_directories, special, obstacles } =
            walk(root.as_fd(), ignore, owners);
        if let Some(Obstacle::System(errno)) = obstacles.get("") {
            return Err(context((*errno).into()));
        }
        keep_parents(&mut entries, ignored_directories);
        let kind = Kind::Directory;
        entries.push(Entry {
            path: String::new(),
            kind,
            mode: 0o755,
            owner: (0, 0),
            stat: stat_key(&stat),
            linked: false,
        });
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let hashes = entries.iter().map(|_| OnceLock::new()).collect();
        Ok(Self {
            directory: absolute,
            root,
            ignore: ignore.clone(),
            entries,
            special,
            obstacles,
            scanned,
            hashes,
            known: Mutex::new(None),
        })
    }
}

/// Whose files are in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owners {
    /// Root's, whoever owns them here.
    Root,
    /// Whoever owns them here.
    Kept,
}

/// A directory to look into.
struct Pending {
    path: String,
    /// What the ignore patterns say of it; `None` for the root.
    verdict: Option<Arc<Verdict>>,
}

/// Directories to look into, shared by the threads of a walk.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    pending: Vec<Pending>,
    /// Threads that look into a directory, and may find more.
    busy: usize,
}

impl Queue {
    fn new(first: Pending) -> Self {
        Self { state: Mutex::new(State { pending: vec![first], busy: 0 }), changed: Condvar::new() }
    }

    /// Takes a directory; `None` once there is none and none can come.
    fn take(&self) -> Option<Pending> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(directory) = state.pending.pop() {
                state.busy += 1;
                return Some(directory);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives back what was found in the directory taken.
    fn give(&self, found: &mut Vec<Pending>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.append(found);
        state.busy -= 1;
        self.changed.notify_all();
    }
}

#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    /// Directories that are ignored, but may hold something that is not.
    ignored_directories: BTreeMap<String, Entry>,
    special: BTreeMap<String, Special>,
    obstacles: BTreeMap<String, Obstacle>,
}

impl Found {
    fn merge(mut self, mut other: Self) -> Self {
        self.entries.append(&mut other.entries);
        self.ignored_directories.append(&mut other.ignored_directories);
        self.special.append(&mut other.special);
        self.obstacles.append(&mut other.obstacles);
        self
    }
}

/// Looks into all directories below `root`, with as many threads as are useful.
fn walk(root: BorrowedFd<'_>, ignore: &IgnorePatterns, owners: Owners) -> Found {
    let queue = Queue::new(Pending { path: String::new(), verdict: None });
    let threads = thread::available_parallelism().map_or(1, |count| count.get()).min(MAX_THREADS);
    let work = || Walk { root, ignore, owners, found: Found::default() }.run(&queue);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        others.into_iter().fold(own, |found, other| match other.join() {
            Ok(more) => found.merge(more),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// The work of one thread.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    ignore: &'a IgnorePatterns,
    owners: Owners,
    found: Found,
}

impl Walk<'_> {
    fn run(mut self, queue: &Queue) -> Found {
        let mut buffer = vec![MaybeUninit::uninit(); DIRECTORY_BUFFER];
        let mut pending = Vec::new();
        while let Some(directory) = queue.take() {
            if let Err(errno) = self.directory(&directory, &mut buffer, &mut pending) {
                let ignored = directory.verdict.is_some_and(|verdict| verdict.ignored());
                if !ignored && errno != Errno::NOENT {
                    self.found.obstacles.insert(directory.path, errno.into());
                }
            }
            queue.give(&mut pending);
        }
        self.found
    }

    fn directory(
        &mut self,
        directory: &Pending,
        buffer: &mut [MaybeUninit<u8>],
        pending: &mut Vec<Pending>,
    ) -> Result<(), Errno> {
        let fd = self.open(&directory.path)?;
        let mut names = RawDir::new(&fd, buffer);
        while let Some(name) = names.next() {
            let name = name?;
            let name = name.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                self.entry(&fd, directory, name, pending);
            }
        }
        Ok(())
    }

    /// Opens a directory of the context; fails if it was replaced by a link.
    fn open(&self, path: &str) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat2(self.root, path, flags, Mode::empty(), INSIDE)
    }

    fn entry(&mut self, fd: &OwnedFd, parent: &Pending, name: &CStr, pending: &mut Vec<Pending>) {
        let lossy = name.to_string_lossy();
        let path = join(&parent.path, &lossy);
        let verdict = (!self.ignore.is_empty())
            .then(|| Arc::new(self.ignore.verdict(&path, parent.verdict.as_deref())));
        let ignored = verdict.as_ref().is_some_and(|verdict| verdict.ignored());
        let may_keep = verdict.as_ref().is_none_or(|verdict| self.ignore.may_keep_below(&path, verdict));
        if ignored && !may_keep {
            return;
        }
        let looked = match name.to_str() {
            Ok(_) => look(fd, name, &path, self.owners),
            Err(_) => Err(Obstacle::NotUtf8),
        };
        match looked {
            Ok(Looked::Entry(entry)) => {
                let is_directory = entry.is_directory();
                if !ignored {
                    self.found.entries.push(entry);
                } else if is_directory {
                    self.found.ignored_directories.insert(path.clone(), entry);
                }
                if is_directory {
                    pending.push(Pending { path, verdict });
                }
            }
            Ok(Looked::Special(kind)) if !ignored => {
                self.found.special.insert(path, kind);
            }
            // It was removed meanwhile: it was not there.
            Err(Obstacle::System(Errno::NOENT)) => {}
            Err(obstacle) if !ignored => {
                self.found.obstacles.insert(path, obstacle);
            }
            Ok(Looked::Special(_)) | Err(_) => {}
        }
    }
}

enum Looked {
    Entry(Entry),
    Special(Special),
}

fn look(directory: &OwnedFd, name: &CStr, path: &str, owners: Owners) -> Result<Looked, Obstacle> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => {
            let target = readlinkat(directory, name, Vec::new())?;
            Kind::Symlink { target: target.into_string().map_err(|_| Obstacle::NotUtf8)? }
        }
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => return Ok(Looked::Special(Special::Socket)),
        _ => return Ok(Looked::Special(Special::Device)),
    };
    Ok(Looked::Entry(Entry {
        path: path.to_owned(),
        kind,
        linked: stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
        mode: stat.st_mode & 0o7777,
        owner: match owners {
            Owners::Root => (0, 0),
            Owners::Kept => (stat.st_uid, stat.st_gid),
        },
        stat: stat_key(&stat),
    }))
}

/// An ignored directory is there all the same if something below it is.
fn keep_parents(entries: &mut Vec<Entry>, mut ignored: BTreeMap<String, Entry>) {
    if ignored.is_empty() {
        return;
    }
    let parents: BTreeSet<String> = entries
        .iter()
        .flat_map(|entry| entry.path.match_indices('/').filter_map(|(at, _)| entry.path.get(..at)))
        .filter(|parent| ignored.contains_key(*parent))
        .map(str::to_owned)
        .collect();
    entries.extend(parents.iter().filter_map(|parent| ignored.remove(parent)));
}

/// The status that must not change.
pub(crate) fn stat_key(stat: &Stat) -> StatKey {
    // Times out of range (beyond the year 2262) only have to differ from others, mostly.
    let nanoseconds = |seconds: i64, nanos: u64| {
        seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(nanos).unwrap_or(0))
    };
    StatKey {
        dev: stat.st_dev,
        ino: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    }
}
