//! Images made to do harm, as a whole program meets them. The corpora of single documents, archives and
//! answers are tests of their crates (`hostile` in `oci`, `layer` and `registry`).

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use archway_oci::{ContainerConfig, Descriptor, Digest, Index, Layout, json, media_type};
use archway_testkit::image::{Image, Layer, LayerBuilder, PlatformImage};
use rustix::process::{Pid, Signal, kill_process};

use super::scene::Scene;

/// Generous, for a loaded machine; what has no end takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A layout whose image is an index that lists an index `width` times, which lists another one as often, and
/// so on; at the end is a manifest that is not there.
fn nested(directory: &Path, depth: usize, width: usize) -> String {
    let layout = Layout::create(directory).unwrap();
    let mut below = Descriptor::of(media_type::OCI_MANIFEST, b"no manifest");
    for _ in 0..depth {
        let bytes = json::to_vec(&Index::new(vec![below; width]));
        below = Descriptor::of(media_type::OCI_INDEX, &bytes);
        layout.write_blob(&bytes).unwrap();
    }
    layout.set_reference(&below, Some("bomb")).unwrap();
    format!("oci:{}:bomb", directory.display())
}

#[test]
fn an_index_of_an_index_of_an_index_does_not_multiply() {
    let Some(scene) = Scene::new() else { return };
    for (depth, width, expected) in [
        (4, 1000, "has no blob"),
        (9, 2, "nested more than 8 deep"),
        (1, 11_000, "it has more than 10000 manifests and indexes"),
    ] {
        let bomb = nested(&scene.cli.work().join(format!("bomb-{depth}")), depth, width);
        for command in [&["index", "create", "--dry-run", "-t", "localhost/x:1", &bomb][..], &["sbom", &bomb]]
        {
            let run = scene.archway(command);
            assert_eq!(run.status.code(), Some(1), "{command:?}: {}", run.stderr);
            assert!(run.stderr.contains(expected), "{command:?}: {}", run.stderr);
        }
    }
}

/// A layer that takes a few megabytes, and hours to read: its archive is followed by zeros.
fn endless_layer() -> Layer {
    let mut layer = LayerBuilder::new().file("small", 0o644, b"small").unwrap().finish().unwrap();
    // A frame with a window of 1 MiB (RFC 8878, 3.1.1). Each of its blocks says 128 KiB of zeros.
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 10 << 3];
    let block = |size: u32, last: u32| ((size << 3) | (1 << 1) | last).to_le_bytes();
    for _ in 0..2_000_000 {
        bytes.extend_from_slice(&block(1 << 17, 0)[..3]);
        bytes.push(0);
    }
    bytes.extend_from_slice(&block(0, 1)[..3]);
    bytes.push(0);
    layer.descriptor = Descriptor::of(media_type::OCI_LAYER_ZSTD, &bytes);
    layer.bytes = bytes;
    layer
}

/// An interrupt while a layer is read ends the program, however much of the layer is to come.
#[test]
fn an_interrupt_ends_the_reading_of_a_bomb() {
    let Some(scene) = Scene::new() else { return };
    let image = PlatformImage {
        platform: "linux/amd64".parse().unwrap(),
        layers: vec![endless_layer()],
        config: ContainerConfig::default(),
    };
    let digest = image.layers[0].descriptor.digest.clone();
    let layout = Image::write(&scene.cli.work().join("bomb"), &[image]).unwrap();
    layout.push(&scene.image("bomb")).unwrap();
    scene.file("Dockerfile", &format!("FROM {}\nCOPY Dockerfile /small/\n", scene.image("bomb")));

    let oci = layout.oci_reference();
    for arguments in [&["build", "--platform=linux/amd64", "."][..], &["index", "verify", &oci]] {
        let mut run = Interrupted::start(&scene, arguments);
        run.wait_until_open(&digest);
        run.interrupt();
        assert_eq!(run.ended(), Some(130), "{arguments:?}");
    }
}

/// A program that is interrupted, and killed where that is of no use.
struct Interrupted(Child);

impl Interrupted {
    fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let mut archway = scene.cli.command();
        Self(archway.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits until the program has a blob open.
    fn wait_until_open(&mut self, digest: &Digest) {
        let files = format!("/proc/{}/fd", self.0.id());
        let is_open = || {
            let links = fs::read_dir(&files).into_iter().flatten().flatten();
            links.filter_map(|link| fs::read_link(link.path()).ok()).any(|path| path.ends_with(digest.hex()))
        };
        let started = Instant::now();
        while !is_open() {
            assert_eq!(self.0.try_wait().unwrap(), None, "it ended before it read the blob");
            assert!(started.elapsed() < LIMIT, "it never read the blob");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn interrupt(&self) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(id, Signal::INT).unwrap();
    }

    /// The exit code.
    fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the interrupt was of no use");
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
