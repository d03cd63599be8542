//! Scanning, reading and hashing real directories.

use std::{
    fs,
    io::Read as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use archway_dockerfile::ignore::IgnorePatterns;
use archway_source::{Kind, Snapshot, SourceError};
use archway_store::Store;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// A context and a store, both temporary.
struct Fixture {
    directory: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    /// `path` or `path=content` for a file, `path/` for a directory, `path->target` for a link.
    fn new(entries: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let fixture = Self { directory, store };
        fs::create_dir(fixture.context()).unwrap();
        for entry in entries {
            fixture.add(entry);
        }
        fixture
    }

    fn add(&self, entry: &str) {
        let (path, link) = match entry.split_once("->") {
            Some((path, target)) => (path, Some(target)),
            None => (entry, None),
        };
        let (path, content) = path.split_once('=').unwrap_or((path, "content"));
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match link {
            Some(target) => symlink(target, path).unwrap(),
            None if entry.ends_with('/') => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.context().join(path)
    }

    fn scan(&self, ignore: &str) -> Snapshot {
        Snapshot::scan(&self.context(), &IgnorePatterns::parse(ignore).unwrap()).unwrap()
    }

    fn digest(&self, sources: &[&str]) -> String {
        self.digest_of(&self.scan(""), sources).unwrap()
    }

    fn digest_of(&self, snapshot: &Snapshot, sources: &[&str]) -> Result<String, SourceError> {
        let selection = snapshot.select(sources)?;
        Ok(snapshot.digest(&selection, &self.store.file_hashes())?.to_hex().to_string())
    }

    /// Makes everything old enough for the stat cache.
    fn wait() {
        std::thread::sleep(Duration::from_millis(150));
    }
}

fn paths(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.entries().iter().map(|entry| entry.path.as_str()).collect()
}

#[test]
fn a_scan_finds_everything_and_follows_nothing() {
    let fixture = Fixture::new(&["b", "a/x", "a-b", "empty/", "link->a", "out->/etc"]);
    assert!(Command::new("mkfifo").arg(fixture.path("pipe")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(fixture.path("socket")).unwrap();
    let snapshot = fixture.scan("");
    assert_eq!(paths(&snapshot), ["", "a", "a-b", "a/x", "b", "empty", "link", "out", "pipe"]);
    let kind = |path| snapshot.entry(path).unwrap().kind.clone();
    assert_eq!(kind("link"), Kind::Symlink { target: "a".into() });
    assert_eq!(kind("out"), Kind::Symlink { target: "/etc".into() });
    assert_eq!(kind("pipe"), Kind::Fifo);
    assert_eq!(kind("a"), Kind::Directory);
    assert_eq!(kind("a/x"), Kind::File);
    let special: Vec<_> = snapshot.special().map(|(path, kind)| (path, kind.to_string())).collect();
    assert_eq!(special, [("socket", "socket".to_owned())]);
}

#[test]
fn ignored_files_are_left_out() {
    let entries = ["a/x", "a/keep/y", "a/keep/z.tmp", "b/c/d", "e.tmp", "f"];
    let cases: &[(&str, &[&str])] = &[
        ("a", &["", "b", "b/c", "b/c/d", "e.tmp", "f"]),
        ("**/*.tmp", &["", "a", "a/keep", "a/keep/y", "a/x", "b", "b/c", "b/c/d", "f"]),
        // A directory that is ignored is there all the same if something in it is not.
        ("*\n!a/keep", &["", "a", "a/keep", "a/keep/y", "a/keep/z.tmp"]),
        ("*\n!b/c/d", &["", "b", "b/c", "b/c/d"]),
        ("a\n!a/keep\n**/*.tmp", &["", "a", "a/keep", "a/keep/y", "b", "b/c", "b/c/d", "f"]),
        ("*\n!missing", &[""]),
        ("*", &[""]),
    ];
    let fixture = Fixture::new(&entries);
    for (ignore, want) in cases {
        assert_eq!(paths(&fixture.scan(ignore)), *want, "{ignore:?}");
    }
}

#[test]
fn a_context_that_is_none_is_an_error() {
    let fixture = Fixture::new(&["file"]);
    for path in ["missing", "file"] {
        let error = Snapshot::scan(&fixture.path(path), &IgnorePatterns::default()).unwrap_err();
        assert!(
            matches!(&error, SourceError::Context { path: named, .. } if *named == fixture.path(path)),
            "{error:?}"
        );
    }
}

#[test]
fn the_digest_is_that_of_what_an_image_sees() {
    let entries = ["src/a=1", "src/sub/b=2", "src/link->a", "other=3"];
    let fixture = Fixture::new(&entries);
    let original = fixture.digest(&["src"]);
    assert_eq!(fixture.digest(&["./src/"]), original);

    // Not in it: the place, the name of the directory, the times, other files.
    let elsewhere = Fixture::new(&["else/sub/b=2", "else/link->a", "else/a=1"]);
    fs::set_permissions(elsewhere.path("else"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(elsewhere.digest(&["else"]), original);
    fixture.add("other=4");
    let file = fs::File::open(fixture.path("src/a")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    assert_eq!(fixture.digest(&["src"]), original);

    // In it: everything else.
    type Change = (&'static str, fn(&Path));
    let changes: &[Change] = &[
        ("content", |src| fs::write(src.join("a"), "9").unwrap()),
        ("name", |src| fs::rename(src.join("a"), src.join("A")).unwrap()),
        ("place", |src| fs::rename(src.join("sub/b"), src.join("b")).unwrap()),
        ("new file", |src| fs::write(src.join("c"), "").unwrap()),
        ("new directory", |src| fs::create_dir(src.join("c")).unwrap()),
        ("mode", |src| fs::set_permissions(src.join("a"), fs::Permissions::from_mode(0o755)).unwrap()),
        ("mode of a directory", |src| {
            fs::set_permissions(src.join("sub"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("link target", |src| {
            fs::remove_file(src.join("link")).unwrap();
            symlink("b", src.join("link")).unwrap();
        }),
        ("type", |src| {
            fs::remove_file(src.join("link")).unwrap();
            fs::write(src.join("link"), "a").unwrap();
        }),
    ];
    for (what, change) in changes {
        let changed = Fixture::new(&entries);
        assert_eq!(changed.digest(&["src"]), original);
        change(&changed.path("src"));
        assert_ne!(changed.digest(&["src"]), original, "{what}");
    }
    assert_ne!(fixture.digest(&["src", "other"]), original);
    assert_ne!(fixture.digest(&["other"]), original);
}

#[test]
fn the_digest_never_changes_by_accident() {
    let fixture = Fixture::new(&["src/a=1", "src/sub/b=2", "src/link->a", "file=3"]);
    for (path, mode) in [("src/a", 0o644), ("src/sub", 0o755), ("src/sub/b", 0o600), ("file", 0o755)] {
        fs::set_permissions(fixture.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    // A change here empties every user's cache: raise the version in the domain knowingly.
    assert_eq!(
        fixture.digest(&["src", "file"]),
        "569106a7b5225900f638318ceadbceedaae0f79586acfc46bfa56f93e9d69881"
    );
}

#[test]
fn unchanged_files_are_not_read_again() {
    let fixture = Fixture::new(&["file=one", "big=two"]);
    Fixture::wait();
    let first = fixture.digest(&["."]);
    // With all it takes to look unchanged, but other bytes: only its hash in the cache can be used.
    let snapshot = fixture.scan("");
    fixture.add("file=new");
    let error = snapshot.read_verified(snapshot.entry("file").unwrap()).unwrap_err();
    assert!(matches!(error, SourceError::SourceChanged { .. }), "{error:?}");
    assert_eq!(fixture.digest_of(&snapshot, &["."]).unwrap(), first);
    assert_ne!(fixture.digest(&["."]), first);
}

#[test]
fn fresh_files_are_read_again() {
    let fixture = Fixture::new(&["file=one"]);
    fixture.digest(&["."]);
    let path = fixture.context().canonicalize().unwrap();
    let known = fixture.store.file_hashes().load(path.to_str().unwrap()).unwrap();
    assert!(known.is_empty());
    Fixture::wait();
    fixture.digest(&["."]);
    let known = fixture.store.file_hashes().load(path.to_str().unwrap()).unwrap();
    assert_eq!(known.len(), 1);

    fs::rename(fixture.path("file"), fixture.context().with_file_name("away")).unwrap();
    fixture.add("new");
    Fixture::wait();
    fixture.digest(&["."]);
    let known = fixture.store.file_hashes().load(path.to_str().unwrap()).unwrap();
    assert_eq!(known.len(), 1, "a file that is gone is still known");
}

#[test]
fn a_file_that_changed_since_the_scan_is_refused() {
    type Change = fn(&Fixture);
    let changes: &[(&str, Change)] = &[
        ("rewritten", |fixture| fixture.add("file=other")),
        ("grown", |fixture| fixture.add("file=content and more")),
        ("removed", |fixture| fs::remove_file(fixture.path("file")).unwrap()),
        ("replaced by an equal one", |fixture| {
            fixture.add("new");
            fs::rename(fixture.path("new"), fixture.path("file")).unwrap();
        }),
        ("replaced by a link", |fixture| {
            fixture.add("target");
            fs::remove_file(fixture.path("file")).unwrap();
            symlink("target", fixture.path("file")).unwrap();
        }),
        ("replaced by a fifo", |fixture| {
            fs::remove_file(fixture.path("file")).unwrap();
            assert!(Command::new("mkfifo").arg(fixture.path("file")).status().unwrap().success());
        }),
        ("replaced by a directory", |fixture| {
            fs::remove_file(fixture.path("file")).unwrap();
            fixture.add("file/");
        }),
    ];
    for (what, change) in changes {
        let fixture = Fixture::new(&["file", "sub/x"]);
        Fixture::wait();
        let snapshot = fixture.scan("");
        let entry = snapshot.entry("file").unwrap().clone();
        assert_eq!(snapshot.read_verified(&entry).unwrap(), b"content");
        change(&fixture);
        for error in [
            snapshot.open(&entry).map(drop).unwrap_err(),
            snapshot.read_verified(&entry).map(drop).unwrap_err(),
            fixture.digest_of(&snapshot, &["."]).map(drop).unwrap_err(),
        ] {
            assert!(
                matches!(&error, SourceError::SourceChanged { path } if path == "file"),
                "{what}: {error:?}"
            );
        }
    }
}

#[test]
fn a_parent_that_became_a_link_is_refused() {
    let fixture = Fixture::new(&["sub/x"]);
    let snapshot = fixture.scan("");
    fs::rename(fixture.path("sub"), fixture.path("moved")).unwrap();
    symlink("moved", fixture.path("sub")).unwrap();
    let error = snapshot.open(snapshot.entry("sub/x").unwrap()).unwrap_err();
    assert!(matches!(error, SourceError::SourceChanged { .. }), "{error:?}");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let fixture = Fixture::new(&["file"]);
    Fixture::wait();
    let snapshot = fixture.scan("");
    let mut file = snapshot.open(snapshot.entry("file").unwrap()).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    fixture.add("file=changed");
    assert!(matches!(file.finish(), Err(SourceError::SourceChanged { .. })));
}

#[test]
fn a_name_that_is_not_utf8_counts_only_where_it_is_selected() {
    let fixture = Fixture::new(&["good/a", "bad/a"]);
    let name = std::ffi::OsStr::from_bytes(b"x\xff");
    fs::write(fixture.path("bad").join(name), "").unwrap();
    let snapshot = fixture.scan("");
    assert!(snapshot.select(&["good"]).is_ok());
    for source in ["bad", ".", "b*"] {
        let error = snapshot.select(&[source]).unwrap_err();
        assert!(matches!(error, SourceError::Unreadable { .. }), "{source}: {error:?}");
    }
}

#[test]
fn unreadable_things_count_only_where_they_are_selected() {
    // A thread of its own, since it gives up root's right to read everything.
    std::thread::spawn(select_unreadable).join().unwrap();
}

fn select_unreadable() {
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
    let fixture = Fixture::new(&["good/a", "closed/a", "secret"]);
    fs::set_permissions(fixture.path("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(fixture.path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let snapshot = fixture.scan("");
    assert!(fixture.digest_of(&snapshot, &["good"]).is_ok());
    for source in ["closed", "secret", "."] {
        let error = fixture.digest_of(&snapshot, &[source]).unwrap_err();
        assert!(matches!(error, SourceError::Unreadable { .. }), "{source}: {error:?}");
    }
    assert!(fixture.digest_of(&fixture.scan("closed\nsecret"), &["."]).is_ok());
    fs::set_permissions(fixture.path("closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn names_of_one_file_are_part_of_the_content() {
    let fixture = Fixture::new(&["d/a", "d/b", "e/a"]);
    let two_files = fixture.digest(&["d"]);
    fs::remove_file(fixture.path("d/b")).unwrap();
    fs::hard_link(fixture.path("d/a"), fixture.path("d/b")).unwrap();
    let snapshot = fixture.scan("");
    assert!(snapshot.entry("d/a").unwrap().linked && !snapshot.entry("e/a").unwrap().linked);
    assert_ne!(fixture.digest(&["d"]), two_files);
    // Names that are not copied do not matter.
    let alone = fixture.digest(&["e"]);
    fs::hard_link(fixture.path("e/a"), fixture.path("elsewhere")).unwrap();
    assert_eq!(fixture.digest(&["e"]), alone);
}

#[test]
fn owners_are_kept_where_they_mean_something() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let fixture = Fixture::new(&["file"]);
    std::os::unix::fs::chown(fixture.path("file"), Some(7), Some(8)).unwrap();
    let owner = |snapshot: &Snapshot| snapshot.entry("file").unwrap().owner;
    let (users, kept) = (fixture.scan(""), Snapshot::scan_with_owners(&fixture.context()).unwrap());
    assert_eq!((owner(&users), owner(&kept)), ((0, 0), (7, 8)));
    let digest = |snapshot| fixture.digest_of(snapshot, &["file"]).unwrap();
    assert_ne!(digest(&users), digest(&kept));
}
