//! What worker processes do to a store, and how the result is checked.
//!
//! A test that needs processes starts its own binary again, restricted to the test called `worker`,
//! which does nothing unless the environment says so.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use archway_oci::{Descriptor, Digest};
use archway_store::{CacheKey, CacheRecord, LayerRecord, SnapshotKey, Store};
use archway_testkit::Random;

const ROOT: &str = "ARCHWAY_STORE_TEST_ROOT";
const SEED: &str = "ARCHWAY_STORE_TEST_SEED";

/// Starts a worker on the store at `root`.
pub(crate) fn start(root: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().expect("a test has a binary"))
        .args(["--exact", "worker", "--nocapture"])
        .env(ROOT, root)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("a worker starts")
}

/// In a worker: the store to work on and the seed.
pub(crate) fn assignment() -> Option<(Store, u64)> {
    let root = std::env::var_os(ROOT)?;
    let seed = std::env::var(SEED).expect("comes with the root").parse().expect("a number");
    Some((Store::open(root).expect("the store opens"), seed))
}

/// What a build does: a blob, a snapshot, and the records that lead to them.
pub(crate) fn build_once(store: &Store, number: u64) {
    let mut random = Random::new(number);
    let blob = write_blob(store, number, random.below(200_000));
    let snapshot = make_snapshot(store, number, 1 + random.below(20));
    let layer = LayerRecord {
        diff_id: Digest::sha256(&number.to_le_bytes()),
        digest: blob.clone(),
        size: store.blobs().size(&blob).unwrap().expect("we hold the blob"),
        media_type: "application/vnd.oci.image.layer.v1.tar".into(),
    };
    store.layers().put(&snapshot, "none", &layer).unwrap();
    let record = CacheRecord {
        snapshot: Some(snapshot),
        created: jiff::Timestamp::UNIX_EPOCH,
        metadata: number.to_string(),
    };
    store.cache().put(&CacheKey::from(blake3::hash(&number.to_le_bytes())), &record).unwrap();
    let name = format!("example.com/app:{}", number % 5);
    store.images().set(&[name], &Descriptor::new("text/plain", blob, layer.size)).unwrap();
}

fn write_blob(store: &Store, number: u64, size: u64) -> Digest {
    let mut writer = store.blobs().writer().unwrap();
    for part in 0..=size / 4096 {
        writer.write_all(&[(number + part) as u8; 4096]).unwrap();
    }
    writer.commit(None).unwrap()
}

/// A snapshot of so many files, and a file that says how many.
fn make_snapshot(store: &Store, number: u64, files: u64) -> SnapshotKey {
    let key = SnapshotKey::from(blake3::hash(format!("snapshot {number}").as_bytes()));
    if store.snapshots().path(&key).unwrap().is_some() {
        return key;
    }
    let pending = store.snapshots().begin().unwrap();
    fs::create_dir(pending.delta().join("sub")).unwrap();
    for file in 0..files {
        fs::write(pending.delta().join(format!("sub/{file}")), file.to_string()).unwrap();
    }
    fs::write(pending.delta().join("count"), files.to_string()).unwrap();
    let path = store.snapshots().commit(pending, &key).unwrap();
    assert!(path.join("count").exists());
    key
}

/// Everything in the store is whole.
pub(crate) fn assert_valid(root: &Path) {
    let store = Store::open(root).unwrap();
    for digest in store.blobs().list().unwrap() {
        assert!(store.blobs().verify(&digest).unwrap(), "{digest} is damaged");
    }
    for key in store.snapshots().list().unwrap() {
        let path = store.snapshots().path(&key).unwrap().expect("it was just listed");
        let count: usize = fs::read_to_string(path.join("count")).unwrap().parse().unwrap();
        assert_eq!(fs::read_dir(path.join("sub")).unwrap().count(), count, "{key} is incomplete");
    }
    for image in store.images().list().unwrap() {
        assert!(store.blobs().verify(&image.descriptor.digest).unwrap(), "{} is missing", image.name);
    }
    let index = rusqlite::Connection::open(root.join("index.sqlite")).unwrap();
    let verdict: String = index.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}
