//! A process that is killed at any moment leaves a valid store.

mod worker;

use std::{fs, thread, time::Duration};

use archway_store::{Prune, Rule, Store};
use archway_testkit::Random;

const ROUNDS: u64 = 30;

#[test]
fn worker() {
    let Some((store, seed)) = worker::assignment() else { return };
    for number in 0.. {
        worker::build_once(&store, (seed * 7 + number) % 1000);
        if number % 10 == 9 {
            let rules: &[Rule] = if number % 20 == 19 { &[Rule::EVERYTHING] } else { &[] };
            store.prune(&Prune::by(rules)).unwrap();
        }
        if number % 7 == 6 {
            store.sync().unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_a_valid_store() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("store");
    let mut random = Random::new(42);
    for round in 0..ROUNDS {
        let mut workers = [worker::start(&root, round * 2), worker::start(&root, round * 2 + 1)];
        thread::sleep(Duration::from_millis(10 + random.below(120)));
        for worker in &mut workers {
            assert!(worker.try_wait().unwrap().is_none(), "a worker failed in round {round}");
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
        worker::assert_valid(&root);
    }

    let store = Store::open(&root).unwrap();
    assert!(!store.blobs().list().unwrap().is_empty(), "the workers were killed too soon to show anything");
    assert!(store.usage().unwrap().garbage.count > 0);
    store.prune(&Prune::by(&[])).unwrap();
    assert_eq!(store.usage().unwrap().garbage.count, 0);
    drop(store);
    for left in ["sessions", "trash"] {
        assert_eq!(fs::read_dir(root.join(left)).unwrap().count(), 0, "{left} is not empty");
    }
    worker::assert_valid(&root);
}
