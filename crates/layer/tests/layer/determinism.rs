//! Layer bytes depend on content and options alone, and today's bytes are tomorrow's.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::trees::{self, Node, Tree};
use archway_layer::{
    Compression, DiffError, Entry, EntryKind, KnownMembers, LayerInfo, LayerOptions, Timestamp, Workers,
    write_layer, write_layer_with, write_tree,
};

fn options(compression: Compression, threads: usize) -> LayerOptions {
    let threads = NonZeroUsize::new(threads).expect("some threads");
    LayerOptions { compression, workers: Workers::new(threads), ..LayerOptions::default() }
}

fn layer_of(tree: &Tree, seed: u64, options: &LayerOptions) -> (LayerInfo, Vec<u8>) {
    let dir = tempfile::tempdir().expect("temp dir");
    trees::make(dir.path(), tree, seed);
    let mut bytes = Vec::new();
    let info = write_layer(dir.path(), options, &mut bytes).expect("layer");
    (info, bytes)
}

#[test]
fn neither_creation_order_nor_threads_change_the_bytes() {
    let tree = trees::sample();
    for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
        let (first, first_bytes) = layer_of(&tree, 0, &options(compression, 1));
        for (seed, threads) in [(1, 1), (2, 2), (3, 8)] {
            let (info, bytes) = layer_of(&tree, seed, &options(compression, threads));
            assert_eq!(info, first, "{compression:?}, {threads} threads");
            assert!(bytes == first_bytes);
        }
        assert_eq!(first.size, first_bytes.len() as u64);
        assert_eq!(first.digest, archway_oci::Digest::sha256(&first_bytes));
    }
}

/// The members of one layer, and how many of them were taken.
#[derive(Default)]
struct Remembered {
    by_content: HashMap<blake3::Hash, Vec<u8>>,
    found: AtomicUsize,
}

impl Remembered {
    fn of(info: &LayerInfo, bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let mut cut = |member: &archway_layer::Member| {
            let (own, others) = rest.split_at(member.length as usize);
            rest = others;
            assert_eq!(blake3::hash(own), member.compressed);
            (member.content, own.to_vec())
        };
        let by_content = info.members.iter().map(&mut cut).collect();
        assert!(rest.is_empty(), "the members are the whole layer");
        Self { by_content, found: AtomicUsize::new(0) }
    }
}

impl KnownMembers for Remembered {
    fn find(&self, content: &blake3::Hash) -> Option<Vec<u8>> {
        let found = self.by_content.get(content).cloned();
        self.found.fetch_add(usize::from(found.is_some()), Ordering::Relaxed);
        found
    }
}

#[test]
fn members_that_are_known_change_the_work_and_not_the_bytes() {
    let tree = trees::many_files();
    let mut changed = tree.clone();
    let (Node::File { content, .. }, _) = changed.get_mut(&b"d3/f30"[..]).expect("a file") else { panic!() };
    content.extend_from_slice(b"one line more");
    for compression in [Compression::gzip(), Compression::zstd()] {
        let knowing = |known: &Arc<Remembered>, threads| LayerOptions {
            known: Some(known.clone()),
            ..options(compression, threads)
        };
        let nothing = Arc::new(Remembered::default());
        let (first, first_bytes) = layer_of(&tree, 0, &knowing(&nothing, 2));
        let (plain, plain_bytes) = layer_of(&changed, 0, &options(compression, 2));
        assert!(plain.members.is_empty(), "nobody asked");
        assert!(first.members.len() > 8);
        for threads in [1, 2, 8] {
            let known = Arc::new(Remembered::of(&first, &first_bytes));
            let (info, bytes) = layer_of(&changed, threads as u64, &knowing(&known, threads));
            assert_eq!((&info.digest, &info.diff_id), (&plain.digest, &plain.diff_id));
            assert!(bytes == plain_bytes, "{compression:?}, {threads} threads");
            let made = info.members.len() - known.found.load(Ordering::Relaxed);
            assert!((1..=3).contains(&made), "{made} of {} members were made again", info.members.len());
        }
    }
}

#[test]
fn layers_made_at_the_same_time_share_their_threads() {
    let workers = Workers::new(NonZeroUsize::MIN);
    let of = |seed: u64| {
        let tree = trees::many_files();
        layer_of(&tree, seed, &LayerOptions { workers: workers.clone(), ..LayerOptions::default() }).0
    };
    let expected = of(0);
    // More layers than there are places for members: each makes progress with what it has.
    std::thread::scope(|scope| {
        let layers: Vec<_> = (1..9).map(|seed| scope.spawn(move || of(seed))).collect();
        for layer in layers {
            assert_eq!(layer.join().expect("no panic"), expected);
        }
    });
}

#[test]
fn the_diff_id_is_that_of_the_tar_under_every_compression() {
    let tree = trees::sample();
    let (plain, bytes) = layer_of(&tree, 0, &options(Compression::None, 2));
    assert_eq!(plain.diff_id, plain.digest);
    assert_eq!(plain.uncompressed_size, bytes.len() as u64);
    for compression in [Compression::Gzip { level: 1 }, Compression::Zstd { level: 1 }] {
        let (info, _) = layer_of(&tree, 0, &options(compression, 2));
        assert_eq!((info.diff_id, info.uncompressed_size), (plain.diff_id.clone(), plain.uncompressed_size));
    }
}

/// Entries of every kind, none of which needs a file system, and content for several members.
fn append_sample(layer: &mut archway_layer::diff::LayerWriter<'_>) -> Result<(), DiffError> {
    let with = |mut entry: Entry, owner: u32, mtime: i64| {
        (entry.uid, entry.gid) = (owner, owner + 1);
        entry.mtime = Timestamp { seconds: mtime, nanoseconds: 999_999_999 };
        entry
    };
    let node = |path: &str, kind| Entry::new(path, kind, 0o620);
    let mut capable = with(Entry::file("bin/ping", 4, 0o755), 0, 1_700_000_000);
    capable.xattrs = BTreeMap::from([
        (b"user.note".to_vec(), b"a\n=\0b".to_vec()),
        (b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ]);
    let long = format!("{}/{}", "d".repeat(80), "f".repeat(90));
    let longer = format!("{long}/{}", "g".repeat(200));
    let empty = [
        with(Entry::directory("bin", 0o755), 0, 1_700_000_000),
        with(Entry::symlink("bin/sh", "/bin/busybox"), 0, -1),
        with(node("bin/twin", EntryKind::Hardlink { target: b"bin/ping".to_vec() }), 0, 1_700_000_000),
        with(node("dev/null", EntryKind::CharDevice { major: 1, minor: 3 }), 0, 0),
        with(node("dev/sda", EntryKind::BlockDevice { major: 8, minor: 0 }), 0, 0),
        with(node("dev/pipe", EntryKind::Fifo), 1000, 0),
        with(Entry::file("etc/.wh.gone", 0, 0), 0, 0),
        with(Entry::file("etc/.wh..wh..opq", 0, 0), 0, 0),
        with(Entry::file(long, 0, 0o644), 3_000_000_000, 0),
        with(Entry::file(longer, 0, 0o644), 0o7_777_777, 8_589_934_591),
        with(Entry::file("na\u{ef}ve", 0, 0o644), 0, 8_589_934_592),
        with(Entry::symlink("far", "x".repeat(101)), 0, 0),
    ];
    layer.append(&capable, &b"ping"[..])?;
    for entry in &empty {
        layer.append(entry, io::empty())?;
    }
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    layer.append(&Entry::file("var/large", content.len() as u64, 0o644), content.as_slice())?;
    for n in 0..2000_usize {
        let size = n * 37 % 5000;
        layer.append(&Entry::file(format!("var/small/{n}"), size as u64, 0o644), &content[n..n + size])?;
    }
    Ok(())
}

/// If one of these changes, every image built before gets new digests: that is a new version of
/// `docs/formats/layer.md`, not a fix of this test.
#[test]
fn golden_digests() {
    for (compression, diff_id, digest) in GOLDEN {
        let info = write_layer_with(&options(compression, 2), io::sink(), append_sample).expect("layer");
        let found = (info.diff_id.to_string(), info.digest.to_string());
        assert_eq!((found.0.as_str(), found.1.as_str()), (diff_id, digest), "{compression:?}");
    }
}

const DIFF_ID: &str = "sha256:1ebc5c5d9360cc5b36c82bcdba3185f5df507e6f2955265b9c3cd8b730d3e541";
const GOLDEN: [(Compression, &str, &str); 5] = [
    (Compression::None, DIFF_ID, DIFF_ID),
    (
        Compression::Gzip { level: 1 },
        DIFF_ID,
        "sha256:06c696fec838b066b1c537e25a0dc24ce00efb63626810cb01a1d63457fc244f",
    ),
    (
        Compression::Gzip { level: 4 },
        DIFF_ID,
        "sha256:a9220f31d54905e6678c2b27e7ece79d3ed6fa84166b90a66483cccc39b44832",
    ),
    (
        Compression::Gzip { level: 9 },
        DIFF_ID,
        "sha256:494dda5268615270c0fccb079f8df25887c88a0572e40c1addc66cad43f3595d",
    ),
    (
        Compression::Zstd { level: 3 },
        DIFF_ID,
        "sha256:0c4768b3dfc889244d30cd93ac145602fa40d3cd856209ba98e5cedb3dcfb8d8",
    ),
];

#[test]
fn an_empty_delta_is_the_empty_tar() {
    let dir = tempfile::tempdir().expect("temp dir");
    let info = write_layer(dir.path(), &options(Compression::None, 1), io::sink()).expect("layer");
    assert_eq!(info.entries, 0);
    assert_eq!(info.diff_id, archway_oci::Digest::sha256(&[0; 1024]));
}

#[test]
fn one_time_may_be_that_of_all_entries() {
    let tree = Tree::from([
        (b"early".to_vec(), (Node::Symlink { target: b"x".to_vec() }, 50)),
        (b"gone".to_vec(), (Node::Whiteout, 0)),
        (b"late".to_vec(), (Node::Symlink { target: b"x".to_vec() }, 5_000)),
    ]);
    let of_one_time = LayerOptions { mtime: Some(100), ..options(Compression::None, 1) };
    let (_, bytes) = layer_of(&tree, 0, &of_one_time);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let times: Vec<u64> = archive
        .entries()
        .expect("entries")
        .map(|e| e.expect("entry").header().mtime().expect("time"))
        .collect();
    assert_eq!(times, [100, 100, 100]);
}

#[test]
fn entries_are_in_the_order_of_a_sorted_walk() {
    let dir = |mode| (Node::Directory { mode, opaque: true }, 0);
    let file = || (Node::Symlink { target: b"x".to_vec() }, 0);
    let tree = Tree::from([
        (b"a".to_vec(), dir(0o755)),
        (b"a/z".to_vec(), file()),
        (b"a/-".to_vec(), file()),
        (b"a.b".to_vec(), file()),
        (b"B".to_vec(), (Node::Whiteout, 0)),
        (b"C".to_vec(), file()),
    ]);
    let (_, bytes) = layer_of(&tree, 9, &options(Compression::None, 1));
    let mut archive = tar::Archive::new(bytes.as_slice());
    let names: Vec<String> = archive
        .entries()
        .expect("entries")
        .map(|entry| String::from_utf8_lossy(&entry.expect("entry").path_bytes()).into_owned())
        .collect();
    assert_eq!(names, [".wh.B", "C", "a/", "a/-", "a/.wh..wh..opq", "a/z", "a.b"]);
}

#[test]
fn a_name_reserved_for_whiteouts_is_refused_in_a_layer_but_not_in_a_tar() {
    let dir = tempfile::tempdir().expect("temp dir");
    std::fs::write(dir.path().join(".wh.x"), "").expect("file");
    let refused = write_layer(dir.path(), &LayerOptions::default(), io::sink());
    assert!(matches!(refused, Err(DiffError::ReservedName { path }) if path.as_os_str() == ".wh.x"));
    assert_eq!(write_tree(dir.path(), None, io::sink()).expect("tar"), 1);
}

#[test]
fn a_failing_sink_is_reported_as_itself() {
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().expect("temp dir");
    trees::make(dir.path(), &trees::sample(), 0);
    for room in [0, 1_500_000] {
        let failed = write_layer(dir.path(), &options(Compression::None, 2), Full(room));
        let Err(DiffError::Sink { source }) = failed else { panic!("{failed:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }
}

#[test]
fn sockets_are_left_out_and_deep_trees_are_walked() {
    let dir = tempfile::tempdir().expect("temp dir");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("socket");
    let deep = dir.path().join("d/".repeat(300));
    std::fs::create_dir_all(&deep).expect("directories");
    std::fs::write(deep.join("z"), "bottom").expect("file");
    std::fs::write(dir.path().join("d/z"), "after the descent").expect("file");
    let info = write_layer(dir.path(), &LayerOptions::default(), io::sink()).expect("layer");
    assert_eq!(info.entries, 302);
}
