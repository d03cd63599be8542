//! Measures the operations of a build: `store_cost STORE`.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use archway_store::{
    CacheKey, CacheRecord, Prune, Result, Rule, SnapshotKey, Store, garbage::automatic::Policy,
};

const ROUNDS: usize = 500;

fn main() -> ExitCode {
    let Some(root) = std::env::args().nth(1) else {
        eprintln!("usage: store_cost STORE");
        return ExitCode::from(2);
    };
    match measure(&root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(root: &str) -> Result<()> {
    drop(Store::open(root)?);
    report(
        "open and close",
        (0..ROUNDS).map(|_| timed(|| Store::open(root).map(drop))).collect::<Result<_>>()?,
    );
    let store = Store::open(root)?;
    let key = |round: usize| blake3::hash(format!("{} {round}", std::process::id()).as_bytes());
    let each = |operation: &dyn Fn(usize) -> Result<()>| -> Result<Vec<Duration>> {
        (0..ROUNDS).map(|round| timed(|| operation(round))).collect()
    };
    report(
        "put a blob of 1 KiB",
        each(&|round| store.blobs().put(&key(round).as_bytes().repeat(32)).map(drop))?,
    );
    report(
        "begin and commit a snapshot",
        each(&|round| {
            let pending = store.snapshots().begin()?;
            store.snapshots().commit(pending, &SnapshotKey::from(key(round))).map(drop)
        })?,
    );
    report(
        "put a cache record",
        each(&|round| {
            let snapshot = Some(SnapshotKey::from(key(round)));
            let record = CacheRecord { snapshot, created: jiff::Timestamp::now(), metadata: String::new() };
            store.cache().put(&CacheKey::from(key(round)), &record)
        })?,
    );
    let store = Store::open(root)?;
    report("get a cache record", each(&|round| store.cache().get(&CacheKey::from(key(round))).map(drop))?);
    store.blobs().put(b"something to sync")?;
    report("sync", vec![timed(|| store.sync())?]);
    let policy = Policy::default();
    report("see whether a collection is due", each(&|_| store.collect_if_due(&policy).map(drop))?);
    report("measure what is there", vec![timed(|| store.usage().map(drop))?]);
    report("prune everything", vec![timed(|| store.prune(&Prune::by(&[Rule::EVERYTHING])).map(drop))?]);
    Ok(())
}

fn timed<T>(operation: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    operation()?;
    Ok(start.elapsed())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
        println!("{what}: p50 {median:?}, max {worst:?}, n {}", times.len());
    }
}
