//! Whether everything in a store is whole.

use std::{env, ffi::OsStr};

use archway_store::Store;
use archway_testkit::Cli;

/// Names the store in the environment of the process that looks at it.
const ROOT: &str = "ARCHWAY_FAULTS_TEST_STORE";
const WORKER: &str = "store::worker";

/// Opens the store of `cli` and reads all of it. Its owner does: whoever else opens a store may leave files
/// that the owner cannot use.
pub(crate) fn assert_valid(cli: &Cli, what: &str) {
    // A build that was killed at once may not have come to it.
    if !cli.root().exists() {
        return;
    }
    let mut worker = cli.as_owner(&env::current_exe().unwrap()).unwrap();
    let output = worker.args(["--exact", WORKER, "--nocapture"]).env(ROOT, cli.root()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{what}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Does nothing unless the environment says so.
#[test]
fn worker() {
    if let Some(root) = env::var_os(ROOT) {
        read_everything(&root);
    }
}

fn read_everything(root: &OsStr) {
    let store = Store::open(root).unwrap();
    for digest in store.blobs().list().unwrap() {
        assert!(store.blobs().verify(&digest).unwrap(), "{digest} is damaged");
    }
    for key in store.snapshots().list().unwrap() {
        assert!(store.snapshots().path(&key).unwrap().is_some(), "{key} is listed and missing");
    }
    for image in store.images().list().unwrap() {
        assert!(store.blobs().verify(&image.descriptor.digest).unwrap(), "{} is missing", image.name);
    }
    store.usage().unwrap();
}
