//! Other tools accept the layouts that `Layout` makes.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use archway_oci::{
    Descriptor, Digest, History, ImageConfig, Index, Layout, Manifest, Platform, RootFs, assemble, json,
    layout, media_type, verify,
};

/// A tar archive without entries: two blocks of zeros.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

/// Whether the tool can be used. A machine that promises all tools must have it.
fn has(tool: &str) -> bool {
    if Command::new(tool).arg("--version").output().is_ok() {
        return true;
    }
    assert!(std::env::var_os("ARCHWAY_TEST_REQUIRE_ALL").is_none(), "{tool} is not installed");
    println!("skipped: {tool} is not installed");
    false
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Adds an image with one empty layer.
fn add_image(layout: &Layout, platform: &str) -> Descriptor {
    let platform = Platform::parse(platform).unwrap();
    let layer = Descriptor::of(media_type::OCI_LAYER, &EMPTY_TAR);
    layout.import_blob(&EMPTY_TAR[..], &layer).unwrap();
    let config = ImageConfig {
        platform: platform.clone(),
        rootfs: RootFs { diff_ids: vec![layer.digest.clone()], ..RootFs::default() },
        history: vec![History { created_by: Some("COPY nothing /".into()), ..History::default() }],
        ..ImageConfig::default()
    };
    let config_bytes = json::to_vec(&config);
    layout.write_blob(&config_bytes).unwrap();
    let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, &config_bytes), vec![layer]);
    let manifest_bytes = json::to_vec(&manifest);
    layout.write_blob(&manifest_bytes).unwrap();

    let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest_bytes);
    descriptor.platform = Some(platform.clone());
    assert_eq!(verify::child(&platform, &descriptor, &manifest, &config), []);
    descriptor
}

/// A layout with the tag `single`, for one platform, and the tag `multi`, for two.
fn make_layout(dir: &Path) -> (Layout, Vec<u8>) {
    let layout = Layout::create(dir).unwrap();
    let children = [add_image(&layout, "linux/amd64"), add_image(&layout, "linux/arm/v7")];
    let (_, index) = assemble::image_index(&children, &BTreeMap::new()).unwrap();
    layout.write_blob(&index).unwrap();
    layout.set_reference(&children[0], Some("single")).unwrap();
    layout.set_reference(&Descriptor::of(media_type::OCI_INDEX, &index), Some("multi")).unwrap();
    (layout, index)
}

#[test]
fn skopeo_reads_the_index_and_copies_every_platform() {
    if !has("skopeo") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layout, index) = make_layout(&dir.path().join("made"));
    let source = format!("oci:{}:multi", layout.dir().display());

    let raw = run(Command::new("skopeo").args(["inspect", "--raw", &source])).stdout;
    assert_eq!(raw, index, "skopeo shows the very bytes that were hashed");

    let copy = dir.path().join("copy");
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--all", "--preserve-digests", "--quiet", &source])
        .arg(format!("oci:{}:multi", copy.display())));
    let copy = Layout::open(copy).unwrap();
    let top = copy.find(None).unwrap();
    assert_eq!(top.digest, Digest::sha256(&index));
    for child in Index::parse(&copy.read_blob(&top).unwrap()).unwrap().manifests {
        let manifest = Manifest::parse(&copy.read_blob(&child).unwrap()).unwrap();
        assert!(manifest.layers.iter().all(|layer| copy.has_blob(&layer.digest)));
    }
}

#[test]
fn skopeo_needs_no_tag_where_there_is_one_image() {
    if !has("skopeo") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let image = add_image(&layout, "linux/s390x");
    layout.set_reference(&image, None).unwrap();
    let source = format!("oci:{}", layout.dir().display());
    let raw = run(Command::new("skopeo").args(["inspect", "--raw", &source])).stdout;
    assert_eq!(raw, layout.read_blob(&image).unwrap());
}

#[test]
fn umoci_lists_describes_and_unpacks_the_image() {
    if !has("umoci") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (layout, _) = make_layout(&dir.path().join("made"));

    let names = run(Command::new("umoci").args(["ls", "--layout"]).arg(layout.dir())).stdout;
    let mut names: Vec<&str> = std::str::from_utf8(&names).unwrap().lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["multi", "single"]);

    let image = format!("{}:single", layout.dir().display());
    let stat = run(Command::new("umoci").args(["stat", "--json", "--image", &image])).stdout;
    let stat: serde_json::Value = serde_json::from_slice(&stat).unwrap();
    assert_eq!(stat["history"][0]["created_by"], "COPY nothing /");

    let bundle = dir.path().join("bundle");
    run(Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&bundle));
    assert!(bundle.join("rootfs").is_dir());
}

#[test]
fn a_layout_of_another_tool_is_opened_and_extended() {
    if !has("umoci") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs");
    run(Command::new("umoci").args(["init", "--layout"]).arg(&path));
    run(Command::new("umoci").args(["new", "--image"]).arg(format!("{}:theirs", path.display())));
    let layout = Layout::create(&path).unwrap();
    layout.set_reference(&add_image(&layout, "linux/amd64"), Some("ours")).unwrap();
    let names: Vec<String> = layout
        .index()
        .unwrap()
        .manifests
        .iter()
        .map(|image| image.annotations[layout::REF_NAME].clone())
        .collect();
    assert_eq!(names, ["theirs", "ours"]);
    let listed = run(Command::new("umoci").args(["ls", "--layout"]).arg(&path)).stdout;
    assert_eq!(String::from_utf8(listed).unwrap().lines().count(), 2);
}
