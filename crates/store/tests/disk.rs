//! Full and read-only disks. Needs root, to mount a small one.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use archway_store::{CacheKey, CacheRecord, Store, StoreError};

/// A file system of one megabyte; unmounted when dropped.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let disk = Self { directory: tempfile::tempdir().unwrap() };
        let mounted = run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"], disk.path());
        if !mounted {
            assert!(
                std::env::var_os("ARCHWAY_TEST_REQUIRE_ALL").is_none(),
                "a file system cannot be mounted here"
            );
            println!("skipped: a file system cannot be mounted here");
            return None;
        }
        Some(disk)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l"], self.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    let output = Command::new(program).args(arguments).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

/// Writes zeros until nothing fits.
fn fill(path: &Path) -> PathBuf {
    let path = path.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
    path
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let store = Store::open(disk.path().join("store")).unwrap();
    let kept = store.blobs().put(b"kept").unwrap();
    let key = CacheKey::from(blake3::hash(b"key"));
    let record =
        CacheRecord { snapshot: None, created: jiff::Timestamp::UNIX_EPOCH, metadata: "x".repeat(200_000) };

    let filler = fill(disk.path());
    let mut writer = store.blobs().writer().unwrap();
    let error = writer.write_all(&[1; 100_000]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    drop(writer);
    let error = store.blobs().put(&[1; 100_000]).unwrap_err();
    assert!(matches!(&error, StoreError::NoSpace { path } if path.starts_with(disk.path())), "{error:?}");
    let error = store.cache().put(&key, &record).unwrap_err();
    assert!(matches!(&error, StoreError::NoSpace { path } if path.starts_with(disk.path())), "{error:?}");

    fs::remove_file(filler).unwrap();
    assert!(store.blobs().verify(&kept).unwrap());
    assert_eq!(store.blobs().list().unwrap(), [kept]);
    store.cache().put(&key, &record).unwrap();
    assert_eq!(store.cache().get(&key).unwrap(), Some(record));
}

#[test]
fn a_read_only_disk_is_named() {
    let Some(disk) = SmallDisk::mount() else { return };
    let root = disk.path().join("store");
    drop(Store::open(&root).unwrap());
    assert!(run("mount", &["-o", "remount,ro"], disk.path()));
    for path in [&root, &disk.path().join("other")] {
        let error = Store::open(path).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    }
}
