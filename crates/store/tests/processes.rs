//! Several processes use one store at the same time.

mod worker;

use std::{fs, path::Path};

use archway_store::{Prune, Rule, Store};

const WORKERS: u64 = 8;
const BUILDS: u64 = 30;

#[test]
fn worker() {
    let Some((store, seed)) = worker::assignment() else { return };
    for number in 0..BUILDS {
        // All of them make the same things, in different orders.
        worker::build_once(&store, (seed * 11 + number) % BUILDS);
        let held = store.blobs().list().unwrap();
        if seed == 0 {
            store.prune(&Prune::by(&[Rule::EVERYTHING])).unwrap();
            assert!(held.len() as u64 > number);
        }
        let _lock = store.lock("counter").unwrap();
        count_one(store.root());
    }
    // What we made and found is still there, whatever the collector did.
    for number in 0..BUILDS {
        let key = archway_store::SnapshotKey::from(blake3::hash(format!("snapshot {number}").as_bytes()));
        assert!(store.snapshots().path(&key).unwrap().is_some(), "snapshot {number} was removed");
    }
}

/// Loses a count if two do it at the same time.
fn count_one(root: &Path) {
    let path = root.join("counter");
    let count: u64 = fs::read_to_string(&path).map_or(0, |text| text.parse().unwrap());
    std::thread::yield_now();
    fs::write(&path, (count + 1).to_string()).unwrap();
}

#[test]
fn processes_share_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let workers: Vec<_> = (0..WORKERS).map(|seed| worker::start(&root, seed)).collect();
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    worker::assert_valid(&root);
    let count: u64 = fs::read_to_string(root.join("counter")).unwrap().parse().unwrap();
    assert_eq!(count, WORKERS * BUILDS);
    let store = Store::open(&root).unwrap();
    assert_eq!(store.images().list().unwrap().len(), 5);
    assert_eq!(store.snapshots().list().unwrap().len() as u64, BUILDS);
}
