//! What one process can do with a store.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, SystemTime},
};

use archway_oci::{Descriptor, Digest};
use archway_store::{CacheKey, CacheRecord, LayerRecord, SnapshotKey, StatKey, Store, StoreError};

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("some/store")).unwrap();
    (directory, store)
}

fn key(name: &str) -> SnapshotKey {
    SnapshotKey::from(blake3::hash(name.as_bytes()))
}

#[test]
fn only_the_owner_can_look_inside() {
    let (_directory, store) = store();
    assert_eq!(fs::metadata(store.root()).unwrap().permissions().mode() & 0o7777, 0o700);
}

#[test]
fn a_blob_is_there_once_it_is_committed() {
    let (_directory, store) = store();
    let digest = Digest::sha256(b"hello");
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(b"hello").unwrap();
    assert!(!store.blobs().contains(&digest).unwrap());
    assert_eq!(writer.commit(Some(&digest)).unwrap(), digest);

    assert_eq!(store.blobs().size(&digest).unwrap(), Some(5));
    let mut text = String::new();
    store.blobs().open(&digest).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert_eq!(store.blobs().read(&digest, 5).unwrap().unwrap(), b"hello");
    assert!(store.blobs().read(&digest, 4).is_err());

    store.blobs().remove(&digest).unwrap();
    assert!(!store.blobs().contains(&digest).unwrap());
    assert!(store.blobs().open(&digest).unwrap().is_none());
}

#[test]
fn a_blob_with_another_digest_is_refused() {
    let (_directory, store) = store();
    let expected = Digest::sha256(b"expected");
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(b"other").unwrap();
    let error = writer.commit(Some(&expected)).unwrap_err();
    assert!(matches!(error, StoreError::DigestMismatch { actual, .. } if actual == Digest::sha256(b"other")));

    let sha512: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    let writer = store.blobs().prehashed_writer().unwrap();
    assert!(matches!(writer.commit(&sha512), Err(StoreError::UnsupportedDigest(digest)) if digest == sha512));
    assert_eq!(store.blobs().open(&sha512).unwrap().map(drop), None);
    assert!(store.blobs().list().unwrap().is_empty());
}

#[test]
fn a_damaged_blob_is_recognised_and_replaced() {
    let (_directory, store) = store();
    let digest = store.blobs().put(b"content").unwrap();
    let path = store.blobs().path(&digest).unwrap().unwrap();
    fs::write(&path, b"").unwrap();
    assert!(!store.blobs().verify(&digest).unwrap());
    store.blobs().put(b"content").unwrap();
    assert!(store.blobs().verify(&digest).unwrap());
}

#[test]
fn the_first_of_two_equal_snapshots_stays() {
    let (_directory, store) = store();
    for content in ["first", "second"] {
        let pending = store.snapshots().begin().unwrap();
        fs::write(pending.delta().join("file"), content).unwrap();
        let path = store.snapshots().commit(pending, &key("same")).unwrap();
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "first");
    }
    assert_eq!(store.snapshots().list().unwrap(), [key("same")]);
    assert_eq!(store.snapshots().path(&key("other")).unwrap(), None);
}

#[test]
fn a_work_directory_is_used_again_without_what_a_mount_left_in_it() {
    let (_directory, store) = store();
    let first = store.snapshots().begin().unwrap();
    let work = first.work().to_owned();
    // As overlayfs leaves it after a volatile mount.
    fs::create_dir_all(work.join("work/incompat/volatile")).unwrap();
    fs::write(work.join("work/incompat/volatile/dirty"), "").unwrap();
    store.snapshots().commit(first, &key("first")).unwrap();
    let second = store.snapshots().begin().unwrap();
    assert_eq!(second.work(), work);
    assert!(!work.join("work").exists());
    store.snapshots().commit(second, &key("second")).unwrap();
    let root = store.root().to_owned();
    drop(store);
    assert_eq!(fs::read_dir(root.join("sessions")).unwrap().count(), 0);
}

/// Puts many records and an object, and syncs.
fn build(store: &Store, name: &str) {
    for number in 0..200 {
        let key = CacheKey::from(blake3::hash(format!("{name} {number}").as_bytes()));
        let metadata = name.repeat(20);
        let record = CacheRecord { snapshot: None, created: jiff::Timestamp::now(), metadata };
        store.cache().put(&key, &record).unwrap();
    }
    store.blobs().put(name.as_bytes()).unwrap();
    store.sync().unwrap();
}

#[test]
fn a_build_leaves_a_short_log() {
    let (_directory, store) = store();
    let log = || fs::metadata(store.root().join("index.sqlite-wal")).unwrap().len();
    build(&store, "one");
    assert_eq!(log(), 0);
    let key = CacheKey::from(blake3::hash(b"one 199"));
    let other = Store::open(store.root()).unwrap();
    assert!(other.cache().get(&key).unwrap().is_some());

    // Somebody in the middle of reading has no effect on the build, only on the log.
    let reader = rusqlite::Connection::open(store.root().join("index.sqlite")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM cache").unwrap();
    build(&store, "two");
    assert!(log() > 0);
    reader.execute_batch("COMMIT").unwrap();
    build(&store, "three");
    assert_eq!(log(), 0);
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    let (_directory, store) = store();
    let pending = store.snapshots().begin().unwrap();
    let (delta, work) = (pending.delta().to_owned(), pending.work().to_owned());
    assert!(delta.is_dir() && work.is_dir());
    drop(pending);
    assert!(!delta.exists() && !work.exists());
    let writer = store.blobs().writer().unwrap();
    let root = store.root().to_owned();
    // The writer outlives the handle.
    drop(store);
    writer.commit(None).unwrap();
    assert_eq!(fs::read_dir(root.join("sessions")).unwrap().count(), 0);
}

#[test]
fn a_cache_record_counts_only_with_its_snapshot() {
    let (_directory, store) = store();
    let cache_key = CacheKey::from(blake3::hash(b"step"));
    let created = "2024-02-03T04:05:06Z".parse().unwrap();
    let record = CacheRecord { snapshot: Some(key("made")), created, metadata: "RUN make".into() };
    store.cache().put(&cache_key, &record).unwrap();
    assert_eq!(store.cache().get(&cache_key).unwrap(), None);
    store.snapshots().commit(store.snapshots().begin().unwrap(), &key("made")).unwrap();
    assert_eq!(store.cache().get(&cache_key).unwrap(), Some(record));
    store.cache().remove(&cache_key).unwrap();
    assert_eq!(store.cache().get(&cache_key).unwrap(), None);
}

#[test]
fn layers_are_found_both_ways() {
    let (_directory, store) = store();
    let (blob, diff_id) = (Digest::sha256(b"blob"), Digest::sha256(b"tar"));
    let record = LayerRecord {
        diff_id: diff_id.clone(),
        digest: blob.clone(),
        size: 7,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
    };
    store.layers().put(&key("layer"), "gzip-6", &record).unwrap();
    assert_eq!(store.layers().get(&key("layer"), "gzip-6").unwrap(), Some(record));
    assert_eq!(store.layers().get(&key("layer"), "zstd-3").unwrap(), None);
    assert_eq!(store.layers().diff_id(&blob).unwrap(), Some(diff_id.clone()));

    store.layers().set_extracted(&diff_id, &key("layer")).unwrap();
    assert_eq!(store.layers().extracted(&diff_id).unwrap(), None);
    store.snapshots().commit(store.snapshots().begin().unwrap(), &key("layer")).unwrap();
    assert_eq!(store.layers().extracted(&diff_id).unwrap(), Some(key("layer")));
}

#[test]
fn names_are_set_at_once_and_listed_in_order() {
    let (_directory, store) = store();
    let one = Descriptor::of("text/plain", b"one");
    let two = Descriptor::of("text/plain", b"two");
    store.images().set(&["b", "a"], &one).unwrap();
    store.images().set(&["b"], &two).unwrap();
    let listed: Vec<_> =
        store.images().list().unwrap().into_iter().map(|image| (image.name, image.descriptor)).collect();
    assert_eq!(listed, [("a".to_owned(), one), ("b".to_owned(), two.clone())]);
    assert_eq!(store.images().get("b").unwrap().unwrap().descriptor, two);
    assert!(store.images().remove("b").unwrap());
    assert!(!store.images().remove("b").unwrap());
    assert_eq!(store.images().get("b").unwrap(), None);
}

#[test]
fn a_newer_store_is_refused() {
    let (_directory, store) = store();
    let root = store.root().to_owned();
    drop(store);
    let index = rusqlite::Connection::open(root.join("index.sqlite")).unwrap();
    index.pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&root).unwrap_err();
    assert!(matches!(error, StoreError::NewerStore { found: 99, supported: 2, .. }), "{error:?}");
}

#[test]
fn a_lock_has_one_holder_at_a_time() {
    let (_directory, store) = store();
    let lock = store.lock("key").unwrap();
    assert!(store.try_lock("key").unwrap().is_none());
    assert!(store.try_lock("other/key").unwrap().is_some());
    drop(lock);
    assert!(store.try_lock("key").unwrap().is_some());
}

#[test]
fn hashes_of_old_files_are_kept() {
    let (_directory, store) = store();
    let seen = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let stat = |age: Duration| {
        let ctime = seen.duration_since(SystemTime::UNIX_EPOCH).unwrap() - age;
        StatKey { dev: 1, ino: 2, size: 3, mtime_ns: 4, ctime_ns: ctime.as_nanos() as i64 }
    };
    let hash = blake3::hash(b"content");
    // Age at the time of reading, whether the hash is kept.
    let cases = [
        (Duration::from_nanos(1), false),
        (Duration::from_millis(99), false),
        (Duration::from_millis(101), true),
        // File systems whose clock counts seconds.
        (Duration::from_secs(1), false),
        (Duration::from_secs(3), true),
    ];
    for (age, kept) in cases {
        let mut hashes = store.file_hashes().load("/none").unwrap();
        assert_eq!(hashes.record(&stat(age), seen, hash), kept, "{age:?}");
        assert_eq!(hashes.get(&stat(age)).is_some(), kept, "{age:?}");
    }

    let mut hashes = store.file_hashes().load("/context").unwrap();
    let old = stat(Duration::from_secs(3));
    hashes.record(&old, seen, hash);
    store.file_hashes().save("/context", &hashes).unwrap();
    let loaded = store.file_hashes().load("/context").unwrap();
    assert_eq!(loaded.get(&old), Some(hash));
    for changed in [
        StatKey { dev: 9, ..old },
        StatKey { ino: 9, ..old },
        StatKey { size: 9, ..old },
        StatKey { mtime_ns: 9, ..old },
        StatKey { ctime_ns: 9, ..old },
    ] {
        assert_eq!(loaded.get(&changed), None, "{changed:?}");
    }
    assert!(store.file_hashes().load("/other").unwrap().is_empty());
}

#[test]
fn a_damaged_table_of_hashes_is_empty() {
    let (_directory, store) = store();
    let mut hashes = store.file_hashes().load("/context").unwrap();
    let stat = StatKey { dev: 1, ino: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };
    hashes.record(&stat, SystemTime::now(), blake3::hash(b"x"));
    store.file_hashes().save("/context", &hashes).unwrap();
    let path = fs::read_dir(store.root().join("file-hashes")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(store.file_hashes().load("/context").unwrap().is_empty(), "{length}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(store.file_hashes().load("/context").unwrap().len(), 1);
}
