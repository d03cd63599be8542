//! The files that are sent: what is said of each, and its content.

use std::{
    collections::{BTreeMap, HashMap},
    io::Read as _,
    ops::ControlFlow,
    sync::Arc,
};

use archway_source::{Entry, Kind, Snapshot, SourceError, StatKey};

use super::{choose::Choice, wanted::Wanted};
use crate::{
    proto::fsutil::Stat,
    session::{Directory, SessionError},
};

/// Largest piece of a file that is sent at once, bytes.
const CHUNK: usize = 128 << 10;

/// Bits of Go's `os.FileMode`; the permissions are where Unix has them.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const NAMED_PIPE: u32 = 1 << 25;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const STICKY: u32 = 1 << 20;

/// What is sent of a directory, in the order in which it is.
pub(super) enum Tree {
    /// Entries of a snapshot, by their numbers.
    Snapshot(Arc<Snapshot>, Vec<usize>),
    /// Files in memory.
    Texts(Vec<(Entry, Arc<str>)>),
}

impl Tree {
    /// Chooses what is sent.
    ///
    /// # Errors
    /// A malformed pattern; something that is wanted and could not be looked at, or cannot be in an image.
    pub(super) fn of(directory: &Directory, wanted: &Wanted) -> Result<Self, SessionError> {
        let pattern = |source| SessionError::Patterns { directory: wanted.directory.clone(), source };
        match directory {
            Directory::Snapshot(snapshot) => {
                let entries = snapshot.entries();
                let choice = Choice::of(wanted, entries).map_err(pattern)?;
                refuse_obstacles(snapshot, &choice)?;
                Ok(Self::Snapshot(snapshot.clone(), choice.choose(entries)))
            }
            Directory::Texts(texts) => {
                let entries: Vec<Entry> = texts.iter().map(|(name, text)| entry_of(name, text)).collect();
                let choice = Choice::of(wanted, &entries).map_err(pattern)?;
                let chosen = choice.choose(&entries).into_iter();
                let files = chosen.map(|index| (entries[index].clone(), texts[&entries[index].path].clone()));
                Ok(Self::Texts(files.collect()))
            }
        }
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        match self {
            Self::Snapshot(snapshot, chosen) => snapshot.entries().get(*chosen.get(index)?),
            Self::Texts(files) => files.get(index).map(|(entry, _)| entry),
        }
    }

    /// Whether there is a regular file at this place.
    pub(super) fn is_file(&self, index: usize) -> bool {
        self.entry(index).is_some_and(|entry| entry.kind == Kind::File)
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Snapshot(_, chosen) => chosen.len(),
            Self::Texts(files) => files.len(),
        }
    }

    /// Gives the content of a file to `take` in pieces, until it wants no more.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it was when the snapshot was made. What was given until then is void.
    pub(super) fn read(
        &self,
        index: usize,
        mut take: impl FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, SourceError> {
        let (snapshot, entry) = match self {
            Self::Texts(files) => {
                let pieces = files.get(index).map_or("", |(_, text)| text).as_bytes().chunks(CHUNK);
                return Ok(pieces.map(<[u8]>::to_vec).try_for_each(take));
            }
            Self::Snapshot(snapshot, _) => match self.entry(index) {
                Some(entry) => (snapshot, entry),
                None => return Ok(ControlFlow::Continue(())),
            },
        };
        let mut file = snapshot.open(entry)?;
        let mut left = entry.stat.size;
        loop {
            // One more than there should be: the end is then seen at once.
            let room = usize::try_from(left.saturating_add(1)).map_or(CHUNK, |left| left.min(CHUNK));
            let mut piece = Vec::with_capacity(room);
            let read = (&mut file).take(room as u64).read_to_end(&mut piece);
            let count = read.map_err(|error| file.unreadable(&error))?;
            left = left.saturating_sub(count as u64);
            if count > 0 && take(piece).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if count < room {
                file.finish()?;
                return Ok(ControlFlow::Continue(()));
            }
        }
    }
}

/// What is said of the entries, one after the other.
pub(super) struct Stats {
    tree: Arc<Tree>,
    next: usize,
    /// Where files with several names were met first.
    first: HashMap<StatKey, usize>,
}

impl Stats {
    pub(super) fn of(tree: Arc<Tree>) -> Self {
        Self { tree, next: 0, first: HashMap::new() }
    }
}

impl Iterator for Stats {
    type Item = Stat;

    fn next(&mut self) -> Option<Stat> {
        let entry = self.tree.entry(self.next)?;
        let mut stat = stat_of(entry);
        if entry.linked {
            let first = *self.first.entry(entry.stat).or_insert(self.next);
            if let Some(other) = self.tree.entry(first).filter(|_| first != self.next) {
                // The size stays that of the file: receivers replace what has another one, by renaming a new link
                // to it, and leave that behind, as a rename to the same file does nothing.
                stat.linkname.clone_from(&other.path);
            }
        }
        self.next += 1;
        Some(stat)
    }
}

fn stat_of(entry: &Entry) -> Stat {
    let (kind, linkname) = match &entry.kind {
        Kind::Directory => (DIRECTORY, String::new()),
        Kind::File => (0, String::new()),
        Kind::Symlink { target } => (SYMLINK, target.clone()),
        Kind::Fifo => (NAMED_PIPE, String::new()),
    };
    let size = if entry.is_directory() { 0 } else { i64::try_from(entry.stat.size).unwrap_or(i64::MAX) };
    let (uid, gid) = entry.owner;
    Stat {
        path: entry.path.clone(),
        mode: kind | go_permissions(entry.mode),
        uid,
        gid,
        size,
        mod_time: entry.stat.mtime_ns,
        linkname,
        ..Stat::default()
    }
}

fn go_permissions(mode: u32) -> u32 {
    let special = [(0o4000, SET_UID), (0o2000, SET_GID), (0o1000, STICKY)];
    special.iter().filter(|(unix, _)| mode & unix != 0).fold(mode & 0o777, |mode, (_, go)| mode | go)
}

/// A text as a file. Receivers take a file with the same size and time for the same, so its time is made of its content.
fn entry_of(name: &str, text: &str) -> Entry {
    let hash = blake3::hash(text.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    // Not much more than 36 years, so that every file system can hold it.
    let mtime_ns = i64::from_le_bytes(bytes) & ((1 << 60) - 1);
    let stat = StatKey { dev: 0, ino: 0, size: text.len() as u64, mtime_ns, ctime_ns: 0 };
    Entry { path: name.to_owned(), kind: Kind::File, mode: 0o644, owner: (0, 0), stat, linked: false }
}

/// The errors that the embedded engine has for the same files.
fn refuse_obstacles(snapshot: &Snapshot, choice: &Choice) -> Result<(), SourceError> {
    if let Some((path, obstacle)) = snapshot.obstacles().find(|(path, _)| choice.takes(path)) {
        return Err(SourceError::Unreadable { path: path.to_owned(), source: obstacle.clone() });
    }
    let special: BTreeMap<&str, _> = snapshot.special().collect();
    for path in choice.named().filter(|path| choice.takes(path)) {
        if let Some(kind) = special.get(path) {
            return Err(SourceError::NotCopyable { path: path.to_owned(), kind: *kind });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    };

    use archway_dockerfile::ignore::IgnorePatterns;

    use super::*;

    fn wanted(follow: &[&str]) -> Wanted {
        Wanted { follow: follow.iter().map(|path| (*path).to_owned()).collect(), ..Wanted::default() }
    }

    fn stats(directory: &Directory, follow: &[&str]) -> Vec<Stat> {
        Stats::of(Arc::new(Tree::of(directory, &wanted(follow)).unwrap())).collect()
    }

    #[test]
    fn modes_are_those_of_go() {
        assert_eq!(go_permissions(0o755), 0o755);
        assert_eq!(go_permissions(0o7751), 1 << 23 | 1 << 22 | 1 << 20 | 0o751);
    }

    #[test]
    fn everything_that_a_snapshot_holds_is_described() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("dir")).unwrap();
        std::fs::write(at("dir/file"), "12345").unwrap();
        std::fs::set_permissions(at("dir/file"), std::fs::Permissions::from_mode(0o4750)).unwrap();
        std::fs::hard_link(at("dir/file"), at("again")).unwrap();
        std::fs::hard_link(at("dir/file"), at("dir-b")).unwrap();
        symlink("dir/file", at("link")).unwrap();
        let snapshot = Snapshot::scan(directory.path(), &IgnorePatterns::default()).unwrap();
        let directory = Directory::Snapshot(Arc::new(snapshot));

        let all = stats(&directory, &[]);
        let shown: Vec<(&str, u32, i64, &str)> =
            all.iter().map(|stat| (&*stat.path, stat.mode, stat.size, &*stat.linkname)).collect();
        let file = 1 << 23 | 0o750;
        assert_eq!(shown[0], ("again", file, 5, ""));
        assert_eq!((shown[1].0, shown[1].2, shown[1].1 & !0o777), ("dir", 0, 1 << 31));
        assert_eq!(shown[2], ("dir/file", file, 5, "again"));
        assert_eq!(shown[3], ("dir-b", file, 5, "again"));
        assert_eq!(shown[4], ("link", 1 << 27 | 0o777, 8, "dir/file"));
        assert!(all.iter().all(|stat| stat.mod_time > 0 && (stat.uid, stat.gid) == (0, 0)));

        let some = stats(&directory, &["dir", "dir-b"]);
        let shown: Vec<(&str, i64, &str)> =
            some.iter().map(|stat| (&*stat.path, stat.size, &*stat.linkname)).collect();
        assert_eq!(
            shown,
            [("dir", 0, ""), ("dir/file", 5, ""), ("dir-b", 5, "dir/file")],
            "the first that is sent"
        );
    }

    #[test]
    fn what_cannot_be_sent_is_refused_where_it_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        let _socket = UnixListener::bind(directory.path().join("socket")).unwrap();
        symlink("socket", directory.path().join("link")).unwrap();
        let scan = || Snapshot::scan(directory.path(), &IgnorePatterns::default()).unwrap();
        let snapshot = Directory::Snapshot(Arc::new(scan()));
        assert_eq!(stats(&snapshot, &[]).len(), 2, "a socket that nobody asked for by name is left out");
        for path in ["socket", "link"] {
            let error = Tree::of(&snapshot, &wanted(&[path])).err().unwrap();
            assert!(
                matches!(&error, SessionError::Source(SourceError::NotCopyable { path, .. }) if path == "socket"),
                "{error}"
            );
        }

        use std::os::unix::ffi::OsStrExt as _;
        std::fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"x\xff")), "").unwrap();
        let snapshot = Directory::Snapshot(Arc::new(scan()));
        assert_eq!(stats(&snapshot, &["file"]).len(), 1);
        let error = Tree::of(&snapshot, &wanted(&[])).err().unwrap();
        assert!(matches!(error, SessionError::Source(SourceError::Unreadable { .. })), "{error}");
    }

    #[test]
    fn a_text_has_another_time_when_it_is_another_text() {
        let texts = |text: &str| {
            Directory::Texts(BTreeMap::from([
                ("Dockerfile".to_owned(), text.into()),
                ("z".to_owned(), "".into()),
            ]))
        };
        let stat = |text: &str| stats(&texts(text), &["Dockerfile"]).remove(0);
        assert_eq!(stat("FROM a"), stat("FROM a"));
        assert_ne!(stat("FROM a").mod_time, stat("FROM b").mod_time);
        assert_eq!(stats(&texts(""), &["Dockerfile", "Dockerfile.dockerignore"]).len(), 1);
    }

    #[test]
    fn a_file_that_changed_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 * CHUNK).map(|byte| byte as u8).collect();
        std::fs::write(directory.path().join("file"), &content).unwrap();
        let snapshot = Snapshot::scan(directory.path(), &IgnorePatterns::default()).unwrap();
        let tree = Tree::of(&Directory::Snapshot(Arc::new(snapshot)), &wanted(&[])).unwrap();
        let read = |keep: usize| {
            let mut all = Vec::new();
            let result = tree.read(0, |piece| {
                all.push(piece);
                if all.len() < keep { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            (result, all)
        };
        let (result, pieces) = read(usize::MAX);
        assert!(result.unwrap().is_continue() && pieces.len() == 3 && pieces.concat() == content);
        let (result, pieces) = read(1);
        assert!(result.unwrap().is_break() && pieces.len() == 1);
        let meanwhile = tree.read(0, |_| {
            std::fs::write(directory.path().join("file"), &content).unwrap();
            ControlFlow::Continue(())
        });
        assert!(matches!(meanwhile, Err(SourceError::SourceChanged { .. })), "as long as before");
        std::fs::write(directory.path().join("file"), "other").unwrap();
        assert!(matches!(read(usize::MAX).0, Err(SourceError::SourceChanged { path }) if path == "file"));
    }
}
