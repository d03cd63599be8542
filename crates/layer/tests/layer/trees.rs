//! Directory trees for tests: described as values, made on disk in any order.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory {
        mode: u32,
        opaque: bool,
    },
    File {
        content: Vec<u8>,
        mode: u32,
        attribute: Option<Vec<u8>>,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of the file at that path.
    Link {
        to: Vec<u8>,
    },
    Fifo,
    Whiteout,
}

/// A tree by path; a path's directories are in it too.
pub(crate) type Tree = BTreeMap<Vec<u8>, (Node, i64)>;

/// Whether this process may give files away and make devices.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a part of a test needs root, as a test that is skipped does.
pub(crate) fn skip_as_user(part: &str) -> bool {
    if !is_root() {
        println!("skipped: {part} needs root");
    }
    !is_root()
}

/// Makes `tree` in the directory `root`; nodes are made in the order of a shuffle by `seed`.
pub(crate) fn make(root: &Path, tree: &Tree, seed: u64) {
    let at = |path: &[u8]| -> PathBuf { root.join(OsStr::from_bytes(path)) };
    let order = shuffled(tree, seed);
    for (path, (node, _)) in order.iter().filter(|(_, (node, _))| !matches!(node, Node::Link { .. })) {
        fs::create_dir_all(at(path).parent().expect("below the root")).expect("parents");
        make_node(&at(path), node);
    }
    for (path, (node, _)) in &order {
        if let Node::Link { to } = node {
            fs::hard_link(at(to), at(path)).expect("hard link");
        }
    }
    for (path, (_, mtime)) in &order {
        let time = Timespec { tv_sec: *mtime, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, at(path), &times, AtFlags::SYMLINK_NOFOLLOW).expect("times");
    }
}

fn make_node(path: &Path, node: &Node) {
    match node {
        Node::Directory { mode, opaque } => {
            fs::create_dir_all(path).expect("directory");
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).expect("mode");
            if *opaque {
                rustix::fs::setxattr(path, "user.overlay.opaque", b"y", XattrFlags::empty()).expect("opaque");
            }
        }
        Node::File { content, mode, attribute } => {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("file");
            file.write_all(content).expect("content");
            if let Some(value) = attribute {
                rustix::fs::setxattr(path, "user.note", value, XattrFlags::empty()).expect("attribute");
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).expect("mode");
        }
        Node::Symlink { target } => symlink(OsStr::from_bytes(target), path).expect("symlink"),
        Node::Fifo => {
            rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).expect("fifo");
        }
        Node::Whiteout => {
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).expect("whiteout");
        }
        Node::Link { .. } => unreachable!("links are made last"),
    }
}

fn shuffled(tree: &Tree, seed: u64) -> Vec<(&Vec<u8>, &(Node, i64))> {
    let mut order: Vec<_> = tree.iter().collect();
    let mut state = seed;
    for at in (1..order.len()).rev() {
        // Knuth's MMIX generator: any will do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (state >> 33) as usize % (at + 1));
    }
    order
}

/// A tree with one of everything a normal user can make, and enough data for several members.
pub(crate) fn sample() -> Tree {
    let mut tree = Tree::new();
    let mut add = |path: &str, node: Node, mtime: i64| drop(tree.insert(path.into(), (node, mtime)));
    let directory = |mode| Node::Directory { mode, opaque: false };
    let file = |content: &str, mode| Node::File { content: content.into(), mode, attribute: None };
    add("bin", directory(0o755), 1_600_000_000);
    add("bin/su", file("#!", 0o4755), 1_600_000_001);
    add("bin.d", directory(0o1777), 1_600_000_002);
    add("bin.d/.hidden", file("", 0o400), -5);
    add("bin/a-link", Node::Link { to: b"bin/su".to_vec() }, 1_600_000_001);
    add("etc", Node::Directory { mode: 0o750, opaque: true }, 1_600_000_003);
    add("etc/gone", Node::Whiteout, 1_600_000_004);
    add("etc/link", Node::Symlink { target: b"../bin/su".to_vec() }, 1_600_000_005);
    add("etc/pipe", Node::Fifo, 1_600_000_006);
    let noted = Node::File { content: vec![7; 3], mode: 0o644, attribute: Some(b"a\n=\0b".to_vec()) };
    add("etc/noted", noted, 9_000_000_000);
    add("na\u{ef}ve", file("non-ASCII name", 0o644), 0);
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    add(&"d".repeat(120), directory(0o755), 1);
    add(&long, file("long name", 0o644), 2);
    let long_target = Node::Symlink { target: "t/".repeat(200).into_bytes() };
    add("to-afar", long_target, 3);
    add("var", directory(0o755), 4);
    let big: Vec<u8> = (0..2_500_000_u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    add("var/big", Node::File { content: big, mode: 0o644, attribute: None }, 5);
    for n in 0..300 {
        add(&format!("var/small-{n}"), file(&"content ".repeat(n * 3), 0o644), i64::from(n as u32));
    }
    tree
}

/// Ten directories of files that differ, which make a dozen members.
pub(crate) fn many_files() -> Tree {
    let mut tree = Tree::new();
    for directory in 0..10_u32 {
        tree.insert(
            format!("d{directory}").into_bytes(),
            (Node::Directory { mode: 0o755, opaque: false }, 1_600_000_000),
        );
        for file in 0..60_u32 {
            let number = directory * 60 + file;
            let line = |n: u32| format!("{:x} of {number}\n", n.wrapping_mul(2_654_435_761) ^ number);
            let content: String = (0..1000).map(line).collect();
            let node = Node::File { content: content.into_bytes(), mode: 0o644, attribute: None };
            tree.insert(format!("d{directory}/f{file}").into_bytes(), (node, i64::from(number)));
        }
    }
    tree
}
