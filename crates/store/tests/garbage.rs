//! What a collection removes, and what it keeps.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use archway_oci::{Descriptor, Digest, media_type};
use archway_store::{
    About, CacheKey, CacheMountRecord, CacheRecord, Item, ItemKind, LayerRecord, MountKey, Prune, Pruned,
    Rule, SnapshotKey, SnapshotKind, Store, StoreError, cache_mount::Sharing,
};

const HOUR: Duration = Duration::from_secs(3600);

fn key(name: &str) -> SnapshotKey {
    SnapshotKey::from(blake3::hash(name.as_bytes()))
}

fn snapshot(store: &Store, name: &str) -> SnapshotKey {
    let pending = store.snapshots().begin().unwrap();
    fs::write(pending.delta().join("file"), name.repeat(10_000)).unwrap();
    store.snapshots().commit(pending, &key(name)).unwrap();
    key(name)
}

/// The result of a step called `name`, made on that of `parent`.
fn step(store: &Store, name: &str, parent: Option<&str>) -> CacheKey {
    let cache_key = CacheKey::from(blake3::hash(name.as_bytes()));
    let snapshot = Some(snapshot(store, name));
    let record = CacheRecord { snapshot, created: jiff::Timestamp::UNIX_EPOCH, metadata: String::new() };
    let about = About {
        kind: SnapshotKind::Step,
        description: format!("RUN {name}"),
        platform: Some("linux/arm64".into()),
        parent: parent.map(key),
    };
    store.cache().put_about(&cache_key, &record, &about).unwrap();
    cache_key
}

/// Lets the use of steps lie back so many hours.
fn age(root: &Path, hours: &[(&str, i64)]) {
    let index = rusqlite::Connection::open(root.join("index.sqlite")).unwrap();
    for (name, hours) in hours {
        let changed = index
            .execute(
                "UPDATE cache SET used = used - ?1 * 3600 WHERE snapshot = ?2",
                rusqlite::params![hours, blake3::hash(name.as_bytes()).as_bytes().as_slice()],
            )
            .unwrap();
        assert_eq!(changed, 1, "{name}");
    }
}

fn prune(root: &Path, rules: &[Rule]) -> Pruned {
    Store::open(root).unwrap().prune(&Prune::by(rules)).unwrap()
}

fn descriptions(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.description.as_str()).collect()
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

    let pruned = prune(root, &[Rule::EVERYTHING]);
    let kinds: BTreeSet<ItemKind> = pruned.items.iter().map(|item| item.kind).collect();
    assert_eq!(kinds, BTreeSet::from([ItemKind::BaseLayer, ItemKind::Blob]), "{pruned:?}");
    assert!(pruned.bytes >= 50_000, "{pruned:?}");
    assert_eq!(blobs(root), expected);
    assert_eq!(snapshots(root), BTreeSet::from([extracted, made]));
    // The records that lead from the image to its snapshots are still there.
    let store = Store::open(root).unwrap();
    assert_eq!(store.layers().extracted(&Digest::sha256(b"base tar")).unwrap(), Some(extracted));
    assert!(store.layers().get(&made, "none").unwrap().is_some());

    store.images().remove("app").unwrap();
    drop(store);
    prune(root, &[Rule::EVERYTHING]);
    assert!(blobs(root).is_empty());
    assert!(snapshots(root).is_empty());
    let store = Store::open(root).unwrap();
    assert_eq!(store.layers().get(&made, "none").unwrap(), None);
    assert_eq!(store.layers().diff_id(&Digest::sha256(b"made layer")).unwrap(), None);
}

#[test]
fn what_nobody_used_for_long_goes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    let cache_key = step(&store, "step", None);
    drop(store);
    let old = Rule { all: true, unused_for: Some(HOUR), ..Rule::default() };
    for rules in [&[][..], &[old]] {
        assert!(prune(root, rules).items.is_empty());
        assert!(Store::open(root).unwrap().cache().get(&cache_key).unwrap().is_some());
    }
    age(root, &[("step", 2)]);
    assert_eq!(descriptions(&prune(root, &[old]).items), ["RUN step"]);
    assert_eq!(Store::open(root).unwrap().cache().get(&cache_key).unwrap(), None);
    assert!(snapshots(root).is_empty());
}

#[test]
fn a_limit_removes_the_least_recently_used_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    for name in ["a", "b", "c", "d"] {
        step(&store, name, None);
    }
    drop(store);
    age(root, &[("a", 2), ("b", 4), ("c", 1), ("d", 3)]);
    let usage = Store::open(root).unwrap().usage().unwrap();
    assert_eq!(descriptions(&usage.items), ["RUN b", "RUN d", "RUN a", "RUN c"]);
    let one = usage.cache / 4;
    let limit = |bytes| Rule { max_used_space: Some(bytes), ..Rule::default() };

    assert!(prune(root, &[limit(4 * one)]).items.is_empty());
    let pruned = prune(root, &[limit(4 * one - 1)]);
    assert_eq!((descriptions(&pruned.items), pruned.left), (vec!["RUN b"], 3 * one));
    // What is reserved stays, whatever the limit is.
    let reserved = Rule { reserved_space: Some(2 * one), ..limit(0) };
    assert_eq!(descriptions(&prune(root, &[reserved]).items), ["RUN d"]);
    // No disk has that much space.
    let free = Rule { min_free_space: Some(u64::MAX), reserved_space: Some(one), ..Rule::default() };
    assert_eq!(descriptions(&prune(root, &[free]).items), ["RUN a"]);
    assert_eq!(prune(root, &[limit(0)]).left, 0);
    assert!(snapshots(root).is_empty());
}

#[test]
fn what_was_made_on_a_step_goes_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    step(&store, "base", None);
    step(&store, "left", Some("base"));
    step(&store, "right", Some("base"));
    step(&store, "top", Some("left"));
    drop(store);
    // As if the last use of what is below had not been noted.
    age(root, &[("base", 9), ("left", 9), ("right", 5), ("top", 1)]);
    let usage = Store::open(root).unwrap().usage().unwrap();
    assert_eq!(descriptions(&usage.items), ["RUN right", "RUN top", "RUN left", "RUN base"]);
    let old = Rule { unused_for: Some(3 * HOUR), ..Rule::default() };
    assert_eq!(descriptions(&prune(root, &[old]).items), ["RUN right"]);
    let rule = Rule { max_used_space: Some(usage.cache / 4), ..Rule::default() };
    assert_eq!(descriptions(&prune(root, &[rule]).items), ["RUN top", "RUN left"]);
}

#[test]
fn files_that_snapshots_share_count_once_and_stay_as_long_as_one_needs_them() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    step(&store, "old", None);
    step(&store, "new", None);
    let file = |name: &str| root.join("snapshots").join(key(name).to_string()).join("file");
    fs::remove_file(file("new")).unwrap();
    fs::hard_link(file("old"), file("new")).unwrap();
    drop(store);
    age(root, &[("old", 1)]);
    let usage = Store::open(root).unwrap().usage().unwrap();
    let size = usage.items[0].size;
    assert_eq!(usage.items[1].size, size);
    assert!(usage.cache < 2 * size && usage.cache >= size, "{usage:?}");

    // The old one frees its directory only, if that takes space at all.
    let pruned = prune(root, &[Rule { max_used_space: Some(usage.cache - 1), ..Rule::default() }]);
    assert!(pruned.bytes <= size && pruned.left <= usage.cache, "{pruned:?}");
    let before = usage.cache;
    let usage = Store::open(root).unwrap().usage().unwrap();
    assert_eq!(before - pruned.bytes, usage.cache);
}

#[test]
fn a_dry_run_says_what_a_run_does() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    for name in ["a", "b", "c"] {
        step(&store, name, None);
    }
    store.blobs().put(&[1; 50_000]).unwrap();
    // Nothing leads to it.
    snapshot(&store, "orphan");
    drop(store);
    age(root, &[("a", 3), ("b", 2)]);
    let store = Store::open(root).unwrap();
    for rule in [
        Rule { unused_for: Some(3 * HOUR), ..Rule::default() },
        Rule { max_used_space: Some(60_000), ..Rule::EVERYTHING },
        Rule::EVERYTHING,
    ] {
        let rules = [rule];
        let dry = store.prune(&Prune { dry_run: true, ..Prune::by(&rules) }).unwrap();
        let again = store.prune(&Prune { dry_run: true, ..Prune::by(&rules) }).unwrap();
        assert_eq!(dry, again);
        let done = store.prune(&Prune::by(&rules)).unwrap();
        assert_eq!(dry, done);
        assert!(!done.items.is_empty());
    }
}

#[test]
fn a_filter_says_what_rules_are_about() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = Store::open(root).unwrap();
    step(&store, "step", None);
    let record = CacheMountRecord { id: "mod".into(), platform: None };
    let mount_key = MountKey::from(blake3::hash(b"mod"));
    let mounts = store.cache_mounts();
    let lease = mounts.acquire::<StoreError>(&mount_key, &record, Sharing::Shared, |_| Ok(())).unwrap();
    drop((lease, store));
    let store = Store::open(root).unwrap();
    let rules = [Rule::default()];
    let filter = |item: &Item| item.kind == ItemKind::CacheMount;
    let pruned = store.prune(&Prune { filter: &filter, ..Prune::by(&rules) }).unwrap();
    assert_eq!(descriptions(&pruned.items), ["mod"]);
    let usage = store.usage().unwrap();
    assert_eq!(descriptions(&usage.items), ["RUN step"]);
    assert_eq!(usage.items[0].platform.as_deref(), Some("linux/arm64"));
}

#[test]
fn records_of_what_is_not_there_are_no_items_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    step(&Store::open(root).unwrap(), "lost", None);
    fs::remove_dir_all(root.join("snapshots").join(key("lost").to_string())).unwrap();
    assert!(Store::open(root).unwrap().usage().unwrap().items.is_empty());
    assert!(prune(root, &[]).items.is_empty());
    assert_eq!(Store::open(root).unwrap().usage().unwrap().index.count, 0);
}

#[test]
fn what_a_process_uses_stays_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let builder = Store::open(root).unwrap();
    let made = snapshot(&builder, "made");
    let blob = builder.blobs().put(b"made").unwrap();
    let pending = builder.snapshots().begin().unwrap();
    let cache_key = step(&Store::open(root).unwrap(), "found", None);
    assert!(builder.cache().get(&cache_key).unwrap().is_some());

    assert!(prune(root, &[Rule::EVERYTHING]).items.is_empty());
    assert_eq!(blobs(root), BTreeSet::from([blob]));
    assert_eq!(snapshots(root), BTreeSet::from([made, key("found")]));
    assert!(pending.delta().exists());

    drop((builder, pending));
    prune(root, &[Rule::EVERYTHING]);
    assert!(blobs(root).is_empty());
    assert!(snapshots(root).is_empty());
}

#[test]
fn usage_counts_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    step(&store, "step", None);
    store.blobs().put(&[7; 100_000]).unwrap();
    let usage = store.usage().unwrap();
    let of = |kind: ItemKind| *usage.kinds.iter().find(|found| found.kind == kind).unwrap();
    let (step, blob) = (of(ItemKind::Step), of(ItemKind::Blob));
    assert_eq!((step.all.count, blob.all.count, usage.index.count), (1, 1, 1));
    assert!(step.all.bytes >= 40_000 && blob.all.bytes >= 100_000 && usage.index.bytes > 0, "{usage:?}");
    assert_eq!(usage.cache, step.all.bytes + blob.all.bytes);
    // We use both.
    assert_eq!((step.reclaimable.count, blob.reclaimable.bytes), (0, 0));
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
    prune(store.root(), &[Rule { unused_for: Some(HOUR), ..Rule::EVERYTHING }]);
    assert!(used.path.exists() && idle.path.exists());

    let lock = store.lock(&used.lock).unwrap();
    prune(store.root(), &[Rule::EVERYTHING]);
    assert!(used.path.exists() && !idle.path.exists() && known_hosts.exists());
    drop(lock);
    prune(store.root(), &[Rule::EVERYTHING]);
    assert!(!used.path.exists());
}

#[test]
fn a_store_of_the_first_format_is_migrated() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let cache_key = step(&Store::open(root).unwrap(), "step", None);
    let index = rusqlite::Connection::open(root.join("index.sqlite")).unwrap();
    index.execute_batch("DROP TABLE about; PRAGMA user_version = 1").unwrap();
    drop(index);

    let store = Store::open(root).unwrap();
    assert!(store.cache().get(&cache_key).unwrap().is_some());
    let items = store.usage().unwrap().items;
    assert_eq!((items.len(), items[0].kind, items[0].description.as_str()), (1, ItemKind::Step, ""));
    step(&store, "later", Some("step"));
    assert_eq!(store.snapshots().about(&key("later")).unwrap().unwrap().description, "RUN later");
}

#[test]
fn a_collection_comes_when_it_is_due_and_not_before() {
    use archway_store::garbage::automatic::{Policy, Space};

    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    step(&Store::open(root).unwrap(), "step", None);
    let nothing = Space::Bytes(0);
    let policy = Policy {
        unused_for: Some(HOUR),
        reserved_space: nothing,
        max_used_space: Space::Percent(100),
        min_free_space: nothing,
    };
    let collect = |policy: &Policy| Store::open(root).unwrap().collect_if_due(policy).unwrap();
    let wait = |hours: i64| {
        let index = rusqlite::Connection::open(root.join("index.sqlite")).unwrap();
        let note: String =
            index.query_row("SELECT value FROM meta WHERE name = 'collected'", [], |row| row.get(0)).unwrap();
        let (time, rest) = note.split_once(' ').unwrap();
        let note = format!("{} {rest}", time.parse::<i64>().unwrap() - hours * 3600);
        index.execute("UPDATE meta SET value = ?1 WHERE name = 'collected'", [note]).unwrap();
    };
    age(root, &[("step", 2)]);
    // The first look begins to count the time.
    assert_eq!(collect(&policy), None);
    assert_eq!(collect(&policy), None);
    wait(25);
    assert_eq!(descriptions(&collect(&policy).unwrap().items), ["RUN step"]);
    assert_eq!(collect(&policy), None);
    assert!(snapshots(root).is_empty());

    // A limit that is exceeded does not wait for the next day.
    step(&Store::open(root).unwrap(), "more", None);
    let full = Policy { min_free_space: Space::Bytes(u64::MAX / 2), ..policy };
    assert_eq!(collect(&full), None);
    wait(1);
    assert_eq!(collect(&policy), None);
    // Nothing is known to be in the cache that could go.
    let used = Policy { reserved_space: Space::Bytes(1 << 60), ..full };
    assert_eq!(collect(&used), None);
    assert_eq!(descriptions(&collect(&full).map(|pruned| pruned.items).unwrap_or_default()), ["RUN more"]);
}
