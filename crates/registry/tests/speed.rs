//! Measures pushes to Debian's docker-registry; asserts nothing about time.
//! `cargo test -p archway-registry --release --test speed -- --ignored --nocapture`

use std::{io::Write as _, time::Instant};

use archway_oci::{Descriptor, Digest, Reference, digest::Hasher, json, media_type};
use archway_registry::{Client, ClientOptions};
use archway_testkit::{RealRegistry, tools};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

const TINY: usize = 60;
const PARALLEL: usize = 8;
const LARGE: u64 = 200 << 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn pushing() {
    if !tools::require("docker-registry") {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let reference: Reference = registry.reference("app:1").parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(ClientOptions::default());

    let tiny: Vec<_> = (0..TINY)
        .map(|number| {
            let (bytes, path) = (format!("blob {number}"), directory.path().join(number.to_string()));
            std::fs::write(&path, &bytes).unwrap();
            (
                Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(bytes.as_bytes()), bytes.len() as u64),
                path,
            )
        })
        .collect();
    let started = Instant::now();
    let pushes = tiny.iter().map(async |(descriptor, path)| {
        client.push_blob(&reference, descriptor, path, &[], |_| {}).await.unwrap();
        let manifest = json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": descriptor, "layers": [],
        }));
        let target = reference.with_digest(Digest::sha256(&manifest));
        client.push_manifest(&target, media_type::OCI_MANIFEST, manifest.into()).await.unwrap();
    });
    stream::iter(pushes).buffer_unordered(PARALLEL).collect::<()>().await;
    println!("{TINY} tiny blobs with a manifest each, {PARALLEL} at a time: {:?}", started.elapsed());

    let path = directory.path().join("large");
    let large = large_file(&path);
    let before = peak_memory_kib();
    let started = Instant::now();
    client.push_blob(&reference, &large, &path, &[], |_| {}).await.unwrap();
    println!("a blob of {} MiB: pushed in {:?}", LARGE >> 20, started.elapsed());
    let started = Instant::now();
    let mut reader = client.blob_reader(&reference, &large).await.unwrap();
    while reader.chunk().await.unwrap().is_some() {}
    println!("pulled in {:?}; peak memory grew by {} KiB", started.elapsed(), peak_memory_kib() - before);

    let requests = registry.requests().unwrap();
    let mut methods: Vec<(String, usize)> = Vec::new();
    for request in requests.iter().filter(|request| request.user_agent.starts_with("archway/")) {
        match methods.iter_mut().find(|(method, _)| *method == request.method) {
            Some((_, count)) => *count += 1,
            None => methods.push((request.method.clone(), 1)),
        }
    }
    println!("requests: {methods:?}");
}

fn large_file(path: &std::path::Path) -> Descriptor {
    let mut file = std::fs::File::create(path).unwrap();
    let mut hasher = Hasher::for_digest(&Digest::sha256(b""));
    for number in 0..LARGE >> 20 {
        let block = vec![number as u8; 1 << 20];
        hasher.update(&block);
        file.write_all(&block).unwrap();
    }
    Descriptor::new("application/octet-stream", hasher.finish(), LARGE)
}

/// The most memory this process had so far.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
