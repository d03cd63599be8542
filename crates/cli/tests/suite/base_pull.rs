//! Base layers are unpacked while they are downloaded: what goes wrong on the way leaves nothing behind.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use archway_oci::{ContainerConfig, media_type};
use archway_testkit::{
    WebServer,
    image::{Image, LayerBuilder, PlatformImage},
    web::{Request, Response},
};

use crate::scene::Scene;

/// Large enough to be unpacked in part before all of it has arrived.
const FILE: usize = 3 << 20;

/// Generous, for a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What happens to the largest blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// A byte near its end is another one.
    Damage,
    /// The connection breaks in the middle, the first time.
    Cut,
    /// The connection breaks in the middle, and what is missing never comes.
    Stall,
}

/// A registry with one image, whose layer has trouble on its way.
struct Trouble {
    server: WebServer,
    fault: Arc<Mutex<Fault>>,
    stalled: Arc<(Mutex<bool>, Condvar)>,
    layer: String,
    _layout: tempfile::TempDir,
}

impl Trouble {
    fn start(fault: Fault) -> Self {
        let layout = tempfile::tempdir().unwrap();
        let layer = LayerBuilder::new();
        let layer = layer.file("first", 0o644, &noise(1)).unwrap().file("second", 0o600, &noise(2)).unwrap();
        let layer = layer.finish().unwrap();
        let digest = layer.descriptor.digest.to_string();
        let image = PlatformImage {
            platform: "linux/amd64".parse().unwrap(),
            layers: vec![layer],
            config: ContainerConfig::default(),
        };
        let image = Image::write(layout.path(), &[image]).unwrap();
        let fault = Arc::new(Mutex::new(fault));
        let stalled = Arc::new((Mutex::new(false), Condvar::new()));
        let server = {
            let (fault, stalled, digest) = (fault.clone(), stalled.clone(), digest.clone());
            let requests = AtomicUsize::new(0);
            WebServer::start(move |request| {
                let Some(bytes) = document(&image, request) else { return Response::new(404, "") };
                if !request.path.ends_with(&digest) {
                    return bytes;
                }
                let fault = *fault.lock().unwrap();
                let number = requests.fetch_add(1, Ordering::SeqCst);
                if fault == Fault::Stall && number > 0 {
                    *stalled.0.lock().unwrap() = true;
                    stalled.1.notify_all();
                    std::thread::sleep(Duration::from_secs(3600));
                }
                blob(request, bytes, fault)
            })
            .unwrap()
        };
        Self { server, fault, stalled, layer: digest, _layout: layout }
    }

    fn heal(&self) {
        *self.fault.lock().unwrap() = Fault::None;
    }

    /// The ranges that were asked of the layer.
    fn ranges(&self) -> Vec<Option<String>> {
        let requests = self.server.requests();
        let of_layer = requests.iter().filter(|request| request.path.ends_with(&self.layer));
        of_layer.map(|request| request.header("range").map(str::to_owned)).collect()
    }
}

/// What the registry has at a path.
fn document(image: &Image, request: &Request) -> Option<Response> {
    if request.path == "/v2/" {
        return Some(Response::new(200, "{}"));
    }
    let (kind, name) = request.path.strip_prefix("/v2/base/")?.split_once('/')?;
    let digest = if name == "latest" { image.descriptor.digest.to_string() } else { name.to_owned() };
    let hex = digest.strip_prefix("sha256:")?;
    let bytes = fs::read(image.directory.join("blobs/sha256").join(hex)).ok()?;
    let is_index = digest == image.descriptor.digest.to_string();
    let media_type = match kind {
        "manifests" if is_index => media_type::OCI_INDEX,
        "manifests" => media_type::OCI_MANIFEST,
        _ => "application/octet-stream",
    };
    Some(Response::new(200, bytes).header("Content-Type", media_type))
}

fn blob(request: &Request, mut whole: Response, fault: Fault) -> Response {
    let length = whole.body.len();
    if let Some(start) =
        request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))
    {
        let rest = whole.body.split_off(start.parse().unwrap());
        return Response::new(206, rest)
            .header("Content-Range", &format!("bytes {start}-{}/{length}", length - 1));
    }
    match fault {
        Fault::None => {}
        Fault::Damage => whole.body[length - 1000] ^= 1,
        Fault::Cut | Fault::Stall => whole.breaks_after = Some(length * 2 / 3),
    }
    whole
}

/// Bytes that cannot be compressed.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..FILE).map(|_| next()).collect()
}

/// A build that reads the base, and puts its files into `out`.
fn scene(trouble: &Trouble) -> Option<Scene> {
    let scene = Scene::new()?;
    let host = trouble.server.host();
    scene.dockerfile(&format!("FROM {host}/base AS base\nFROM scratch\nCOPY --from=base / /\n"));
    Some(scene)
}

const BUILD: [&str; 5] = ["build", "--platform=linux/amd64", "--progress=plain", "--output=out", "."];

#[track_caller]
fn builds(scene: &Scene) {
    scene.archway(&BUILD).succeeded();
    for (name, seed) in [("first", 1), ("second", 2)] {
        assert!(fs::read(scene.cli.work().join("out").join(name)).unwrap() == noise(seed), "{name}");
    }
}

/// What is in a directory of the store.
fn stored(scene: &Scene, directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(scene.cli.root().join(directory)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Whether the first file of the layer is there, in the session of a running build.
fn is_being_unpacked(scene: &Scene) -> bool {
    let made =
        stored(scene, "sessions").into_iter().filter_map(|session| fs::read_dir(session).ok()).flatten();
    made.filter_map(Result::ok).any(|made| made.path().join("first").exists())
}

#[test]
fn damaged_bytes_leave_neither_blob_nor_files() {
    let trouble = Trouble::start(Fault::Damage);
    let Some(scene) = scene(&trouble) else { return };
    let run = scene.archway(&BUILD).exited(1);
    assert!(run.stderr.contains(&format!("expected {}", trouble.layer)), "{}", run.stderr);
    assert!(stored(&scene, "snapshots").is_empty());
    assert!(stored(&scene, "sessions").is_empty());
    let blobs = stored(&scene, "blobs/sha256");
    assert!(blobs.iter().all(|blob| !trouble.layer.ends_with(blob.file_name().unwrap().to_str().unwrap())));
    trouble.heal();
    builds(&scene);
}

#[test]
fn a_connection_that_breaks_goes_on_where_it_broke() {
    let trouble = Trouble::start(Fault::Cut);
    let Some(scene) = scene(&trouble) else { return };
    builds(&scene);
    let ranges = trouble.ranges();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert!(ranges[1].as_deref().is_some_and(|range| range != "bytes=0-"), "{ranges:?}");
}

#[test]
fn a_build_that_is_killed_in_the_middle_leaves_a_store_that_is_good() {
    let trouble = Trouble::start(Fault::Stall);
    let Some(scene) = scene(&trouble) else { return };
    let mut command = scene.cli.command();
    let mut build = command.args(BUILD).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (stalled, changed) = &*trouble.stalled;
    drop(changed.wait_while(stalled.lock().unwrap(), |stalled| !*stalled).unwrap());
    let started = Instant::now();
    while !is_being_unpacked(&scene) {
        assert!(started.elapsed() < LIMIT, "nothing is unpacked before all has arrived");
        std::thread::sleep(Duration::from_millis(10));
    }
    build.kill().unwrap();
    build.wait().unwrap();
    assert!(stored(&scene, "snapshots").is_empty());
    trouble.heal();
    builds(&scene);
}
