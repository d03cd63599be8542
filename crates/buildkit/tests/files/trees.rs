//! All kinds of files, all ways to name them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use archway_buildkit::{Lent, SolveError, session::SessionError};
use archway_dockerfile::ignore::IgnorePatterns;
use archway_report::Reason;
use archway_source::{Snapshot, SourceError};
use archway_testkit::tree::Tree;

use crate::scene::{Memory, Scene, image, lent, lent_snapshot};

/// In the year 2100: times of files are earlier, and stay what they are.
const LATE: u64 = 4_102_444_800;

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Everything that an image can hold and BuildKit's client sends as this one does.
fn everything(root: &Path) {
    for path in ["a/x", "a-b", "a.b/y", "a0", "caf\u{e9} au lait", "deep/er/and/deeper/file", "empty"] {
        write(root, path, path);
    }
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("large"), vec![7; 3 << 20]).unwrap();
    fs::create_dir_all(root.join("nothing/in/here")).unwrap();
    for (path, mode) in
        [("a0", 0o4755), ("a-b", 0o2711), ("a/x", 0o400), ("nothing", 0o1777), ("deep", 0o750)]
    {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("a/x", root.join("link")).unwrap();
    symlink("/etc/passwd", root.join("deep/outside")).unwrap();
    symlink("nowhere", root.join("a/dangling")).unwrap();
    fs::hard_link(root.join("a/x"), root.join("a.b/again")).unwrap();
    fs::hard_link(root.join("a/x"), root.join("0-first")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let old = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    fs::File::open(root.join("a.b/y")).unwrap().set_modified(old).unwrap();
}

#[test]
fn a_tree_arrives_as_buildctl_sends_it() {
    let Some(scene) = Scene::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    everything(directory.path());
    // What a daemon has of an earlier build of a source it makes the same, but for the times of directories.
    for (dockerfile, ignored, epoch) in [
        ("FROM scratch\nCOPY . /\n", "", LATE),
        ("FROM scratch\nCOPY . /\n", "a*\n!a.b\n**/deeper\nlar?e\n", 0),
        ("FROM scratch\nCOPY link a? deep/*/and /to/\nCOPY caf* nothing /\n", "", 0),
        ("FROM scratch\nCOPY --parents --exclude=**/y a*/ deep /\n", "", 0),
    ] {
        write(directory.path(), "Dockerfile", dockerfile);
        write(directory.path(), ".dockerignore", ignored);
        let expected = scene.buildctl(directory.path(), epoch);
        let memory = Memory::default();
        let mut lent = lent(dockerfile, directory.path());
        lent.receivers = BTreeMap::from([(0, Arc::new(memory.clone()) as Arc<_>)]);
        let solved = scene.solve(image(epoch), lent, "trees").unwrap();
        assert_eq!(solved.digest().unwrap().to_string(), expected, "{dockerfile}{ignored}");
        assert!(memory.bytes().len() > 1024, "the image came");
    }
}

/// What a build copies, as a tar.
fn copied(scene: &Scene, dockerfile: &str, context: &Path) -> Tree {
    let memory = Memory::default();
    let mut lent = lent(dockerfile, context);
    lent.receivers = BTreeMap::from([(0, Arc::new(memory.clone()) as Arc<_>)]);
    let mut tar = image(LATE);
    tar.exports[0].kind = "tar".into();
    tar.exports[0].attributes.clear();
    scene.solve(tar, lent, "copied").unwrap();
    Tree::of_tar(&memory.bytes()[..]).unwrap()
}

#[test]
fn what_is_copied_through_links_is_sent() {
    let Some(scene) = Scene::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    for path in ["v1/a", "v1/b", "v1/unused", "other/c"] {
        write(directory.path(), path, path);
    }
    symlink("v1", directory.path().join("current")).unwrap();
    symlink("../other/c", directory.path().join("v1/c")).unwrap();
    // Two files through the same link, and a link behind a link.
    let dockerfile = "FROM scratch\nCOPY current/a current/b current/c /\n";
    let tree = copied(&scene, dockerfile, directory.path());
    let names: Vec<&str> = tree.entries.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn what_cannot_be_copied_is_told_as_by_the_embedded_engine() {
    let Some(scene) = Scene::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "file", "x");
    let _socket = UnixListener::bind(directory.path().join("socket")).unwrap();
    let fine = copied(&scene, "FROM scratch\nCOPY . /\n", directory.path());
    assert_eq!(fine.entries.len(), 1, "nobody asked for the socket");
    let error = scene.build("FROM scratch\nCOPY socket /\n", directory.path()).unwrap_err();
    assert!(
        matches!(&error, SolveError::Session { source: SessionError::Source(SourceError::NotCopyable { path, .. }), .. } if path == "socket"),
        "{error:?}"
    );
    assert_eq!(error.reason(), Reason::SourceMissing);
    let error = scene.build("FROM scratch\nCOPY missing /\n", directory.path()).unwrap_err();
    assert!(
        matches!(&error, SolveError::Daemon { .. }) && error.reason() == Reason::SourceMissing,
        "{error:?}"
    );
}

#[test]
fn a_file_that_changed_since_the_scan_fails_the_build() {
    let Some(scene) = Scene::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "file", "before");
    let snapshot = Snapshot::scan(directory.path(), &IgnorePatterns::default()).unwrap();
    write(directory.path(), "file", "and after");
    let lent: Lent = lent_snapshot("FROM scratch\nCOPY file /\n", snapshot);
    let error = scene.solve(archway_buildkit::Solve::default(), lent, "changed").unwrap_err();
    assert!(
        matches!(&error, SolveError::Session { source: SessionError::Source(SourceError::SourceChanged { path }), .. } if path == "file"),
        "{error:?}"
    );
    assert_eq!(error.reason(), Reason::SourceChanged);
}
