//! What a collection removes, and what it keeps.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use archway_oci::{Descriptor, Digest, media_type};
use archway_store::{CacheKey, CacheRecord, KeepPolicy, LayerRecord, SnapshotKey, Store};

const ALL: KeepPolicy = KeepPolicy { all: true, unused_for: None };

fn key(name: &str) -> SnapshotKey {
    SnapshotKey::from(blake3::hash(name.as_bytes()))
}

fn snapshot(store: &Store, name: &str) -> SnapshotKey {
    let pending = store.snapshots().begin().unwrap();
    fs::write(pending.delta().join("file"), name.repeat(10_000)).unwrap();
    store.snapshots().commit(pending, &key(name)).unwrap();
    key(name)
}

fn cached(store: &Store, name: &str) -> CacheKey {
    let cache_key = CacheKey::from(blake3::hash(name.as_bytes()));
    let snapshot = Some(snapshot(store, name));
    let record = CacheRecord { snapshot, created: jiff::Timestamp::UNIX_EPOCH, metadata: String::new() };
    store.cache().put(&cache_key, &record).unwrap();
    cache_key
}

fn put(store: &Store, media_type: &str, bytes: &[u8]) -> Descriptor {
    store.blobs().put(bytes).unwrap();
    Descriptor::of(media_type, bytes)
}

fn blobs(root: &Path) -> BTreeSet<Digest> {
    Store::open(root).unwrap().blobs().list().unwrap().into_iter().collect()
}

fn snapshots(root: &Path) -> BTreeSet<SnapshotKey> {
    Store::open(root).unwrap().snapshots().list().unwrap().into_iter().collect()
}

/// An index of two platforms, one of which was never pulled. Returns its descriptor and the digests
/// of all its blobs that are there.
fn image(store: &Store, extracted: &SnapshotKey, made: &SnapshotKey) -> (Descriptor, BTreeSet<Digest>) {
    let diff_ids = [Digest::sha256(b"base tar"), Digest::sha256(b"made tar")];
    store.layers().set_extracted(&diff_ids[0], extracted).unwrap();
    let base = put(store, media_type::OCI_LAYER, b"base layer");
    let top = put(store, media_type::OCI_LAYER, b"made layer");
    let record = LayerRecord {
        diff_id: diff_ids[1].clone(),
        digest: top.digest.clone(),
        size: top.size,
        media_type: top.media_type.clone(),
    };
    store.layers().put(made, "none", &record).unwrap();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = put(store, media_type::OCI_CONFIG, config.to_string().as_bytes());
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [base, top]});
    let manifest = put(store, media_type::OCI_MANIFEST, manifest.to_string().as_bytes());
    let absent = Descriptor::of(media_type::OCI_MANIFEST, b"not pulled");
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest, absent]});
    let index = put(store, media_type::OCI_INDEX, index.to_string().as_bytes());
    let all = [&base, &top, &config, &manifest, &index].map(|descriptor| descriptor.digest.clone());
    (index, BTreeSet::from(all))
}

#[test]
fn images_keep_their_blobs_and_snapshots() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    let (extracted, made) = (snapshot(&store, "extracted"), snapshot(&store, "made"));
    let (index, expected) = image(&store, &extracted, &made);
    store.images().set(&["app"], &index).unwrap();
    store.blobs().put(b"loose").unwrap();
    snapshot(&store, "loose");
    drop(store);

    let collected = Store::open(root).unwrap().collect_garbage(&ALL).unwrap();
    assert_eq!((collected.blobs, collected.snapshots), (1, 1));
    assert!(collected.bytes >= 50_000, "{collected:?}");
    assert_eq!(blobs(root), expected);
    assert_eq!(snapshots(root), BTreeSet::from([extracted, made]));
    // The records that lead from the image to its snapshots are still there.
    let store = Store::open(root).unwrap();
    assert_eq!(store.layers().extracted(&Digest::sha256(b"base tar")).unwrap(), Some(extracted));
    assert!(store.layers().get(&made, "none").unwrap().is_some());

    store.images().remove("app").unwrap();
    drop(store);
    Store::open(root).unwrap().collect_garbage(&ALL).unwrap();
    assert!(blobs(root).is_empty());
    assert!(snapshots(root).is_empty());
    let store = Store::open(root).unwrap();
    assert_eq!(store.layers().get(&made, "none").unwrap(), None);
    assert_eq!(store.layers().diff_id(&Digest::sha256(b"made layer")).unwrap(), None);
}

#[test]
fn the_build_cache_is_kept_as_the_policy_says() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    let cache_key = cached(&store, "step");
    drop(store);
    let hour = KeepPolicy { all: false, unused_for: Some(Duration::from_secs(3600)) };
    for policy in [KeepPolicy::default(), hour] {
        let store = Store::open(root).unwrap();
        assert_eq!(store.collect_garbage(&policy).unwrap().cache_records, 0);
        assert!(store.cache().get(&cache_key).unwrap().is_some());
    }
    let index = rusqlite::Connection::open(root.join("index.sqlite")).unwrap();
    index.execute("UPDATE cache SET used = used - 7200", []).unwrap();
    let store = Store::open(root).unwrap();
    assert_eq!(store.collect_garbage(&hour).unwrap().cache_records, 1);
    assert_eq!(store.cache().get(&cache_key).unwrap(), None);
    assert!(snapshots(root).is_empty());
}

#[test]
fn what_a_process_uses_stays_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let builder = Store::open(root).unwrap();
    let made = snapshot(&builder, "made");
    let blob = builder.blobs().put(b"made").unwrap();
    let pending = builder.snapshots().begin().unwrap();
    let cache_key = cached(&Store::open(root).unwrap(), "found");
    assert!(builder.cache().get(&cache_key).unwrap().is_some());

    Store::open(root).unwrap().collect_garbage(&ALL).unwrap();
    assert_eq!(blobs(root), BTreeSet::from([blob]));
    assert_eq!(snapshots(root), BTreeSet::from([made, key("found")]));
    assert!(pending.delta().exists());

    drop((builder, pending));
    Store::open(root).unwrap().collect_garbage(&ALL).unwrap();
    assert!(blobs(root).is_empty());
    assert!(snapshots(root).is_empty());
}

#[test]
fn usage_counts_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    cached(&store, "step");
    store.blobs().put(&[7; 100_000]).unwrap();
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs.count, usage.snapshots.count, usage.index.count), (1, 1, 1));
    assert!(
        usage.blobs.bytes >= 100_000 && usage.snapshots.bytes >= 40_000 && usage.index.bytes > 0,
        "{usage:?}"
    );
}

#[test]
fn repositories_go_when_nobody_used_them_for_long_enough_and_nobody_does() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (used, idle) = (store.repository("used").unwrap(), store.repository("idle").unwrap());
    assert_ne!((&used.path, &used.lock), (&idle.path, &idle.lock));
    for repository in [&used, &idle] {
        fs::create_dir_all(repository.path.join("objects")).unwrap();
    }
    let known_hosts = store.known_hosts().unwrap();
    fs::write(&known_hosts, "").unwrap();
    let recent = KeepPolicy { all: false, unused_for: Some(Duration::from_secs(3600)) };
    store.collect_garbage(&recent).unwrap();
    assert!(used.path.exists() && idle.path.exists());

    let lock = store.lock(&used.lock).unwrap();
    store.collect_garbage(&ALL).unwrap();
    assert!(used.path.exists() && !idle.path.exists() && known_hosts.exists());
    drop(lock);
    store.collect_garbage(&ALL).unwrap();
    assert!(!used.path.exists());
}
