//! What GNU tar, Python, Go (umoci) and gzip make of our bytes.

use std::{fs, io, path::Path, process::Command};

use archway_layer::{Compression, LayerInfo, LayerOptions, write_layer, write_tree};
use archway_oci::Digest;

use crate::{
    tools::{has, run},
    trees,
};

/// Writes the sample's layer to a file and gives the names it should list.
fn sample_layer(dir: &Path, compression: Compression) -> (LayerInfo, std::path::PathBuf, Vec<String>) {
    let delta = dir.join("delta");
    fs::create_dir(&delta).expect("directory");
    trees::make(&delta, &trees::sample(), 0);
    let file = dir.join("layer");
    let options = LayerOptions { compression, ..LayerOptions::default() };
    let info = write_layer(&delta, &options, fs::File::create(&file).expect("file")).expect("layer");
    let mut names: Vec<String> = Vec::new();
    for (path, (node, _)) in trees::sample() {
        let path = String::from_utf8(path).expect("UTF-8");
        match node {
            trees::Node::Whiteout => {
                let (directory, name) = path.rsplit_once('/').expect("in a directory");
                names.push(format!("{directory}/.wh.{name}"));
            }
            trees::Node::Directory { opaque, .. } => {
                names.push(path.clone());
                names.extend(opaque.then(|| format!("{path}/.wh..wh..opq")));
            }
            _ => names.push(path),
        }
    }
    names.sort();
    (info, file, names)
}

fn sorted(listing: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(listing);
    let mut names: Vec<String> = text.lines().map(|line| line.trim_end_matches('/').to_owned()).collect();
    names.sort();
    names
}

#[test]
fn gnu_tar_lists_the_same() {
    if !has("tar") {
        return;
    }
    for (compression, flag) in [(Compression::None, "-t"), (Compression::gzip(), "-tz")] {
        let dir = tempfile::tempdir().expect("temp dir");
        let (_, file, names) = sample_layer(dir.path(), compression);
        let listing = run(Command::new("tar").args([flag, "--quoting-style=literal", "-f"]).arg(file));
        assert_eq!(sorted(&listing), names);
    }
}

#[test]
fn python_lists_the_same_with_attributes() {
    if !has("python3") {
        return;
    }
    let script = "
import sys, tarfile
for m in tarfile.open(sys.argv[1]):
    print(m.name)
    if m.name == 'etc/noted':
        assert m.pax_headers['SCHILY.xattr.user.note'] == 'a\\n=\\0b', m.pax_headers
        assert m.mtime == 9000000000
    if m.name == 'bin/su':
        assert m.islnk() and m.linkname == 'bin/a-link', m
    if m.name == 'bin/a-link':
        assert m.mode == 0o4755 and m.size == 2, m
    if m.name == 'to-afar':
        assert m.linkname == 't/' * 200, m
";
    for compression in [Compression::None, Compression::gzip()] {
        let dir = tempfile::tempdir().expect("temp dir");
        let (_, file, names) = sample_layer(dir.path(), compression);
        let script = ["-X", "utf8", "-c", script];
        assert_eq!(sorted(&run(Command::new("python3").args(script).arg(file))), names);
    }
}

#[test]
fn the_command_line_tools_decompress_to_the_diff_id() {
    for (tool, compression) in [("gzip", Compression::gzip()), ("zstd", Compression::zstd())] {
        if !has(tool) {
            continue;
        }
        let dir = tempfile::tempdir().expect("temp dir");
        let (info, file, _) = sample_layer(dir.path(), compression);
        let input = fs::File::open(file).expect("layer");
        let plain = run(Command::new(tool).arg("-dc").stdin(input));
        assert_eq!(Digest::sha256(&plain), info.diff_id, "{tool}");
    }
}

/// umoci extracts with Go's `archive/tar` and gzip, as containerd and Docker do.
#[test]
fn umoci_unpacks_every_compression() {
    if !has("umoci") {
        return;
    }
    for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
        let dir = tempfile::tempdir().expect("temp dir");
        let (info, file, _) = sample_layer(dir.path(), compression);
        let image = dir.path().join("image");
        write_image(&image, &info, &fs::read(file).expect("layer"));
        let root = dir.path().join("root");
        let reference = format!("{}:test", image.display());
        let mut command = Command::new("umoci");
        command.args(["raw", "unpack", "--rootless", "--image", &reference]).arg(&root);
        let output = command.output().expect("umoci starts");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        if compression == Compression::zstd() && message.contains("zstd") {
            println!("skipped: this umoci does not know zstd");
            continue;
        }
        assert!(output.status.success(), "{message}");
        assert_eq!(
            fs::read(root.join("var/big")).expect("file"),
            fs::read(dir.path().join("delta/var/big")).expect("file")
        );
        assert_eq!(fs::read(root.join("na\u{ef}ve")).expect("file"), b"non-ASCII name");
        assert_eq!(fs::read_dir(root.join("var")).expect("directory").count(), 301);
        assert!(!root.join("etc/gone").exists());
    }
}

/// An OCI image layout with one image of one layer, tagged `test`.
fn write_image(dir: &Path, info: &LayerInfo, layer: &[u8]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("directories");
    let blob = |bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        fs::write(blobs.join(digest.hex()), bytes).expect("blob");
        format!(r#""digest":"{digest}","size":{}"#, bytes.len())
    };
    let layer = blob(layer);
    let config = blob(
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            info.diff_id
        )
        .as_bytes(),
    );
    let manifest = blob(
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json",{config}}},"layers":[{{"mediaType":"{}",{layer}}}]}}"#,
            info.media_type
        )
        .as_bytes(),
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json",{manifest},"annotations":{{"org.opencontainers.image.ref.name":"test"}}}}]}}"#
    );
    fs::write(dir.join("index.json"), index).expect("index");
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("layout");
}

#[test]
fn a_whole_tree_is_what_gnu_tar_makes_of_it() {
    if !has("tar") || !has("python3") {
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("directory");
    let mut tree = trees::sample();
    tree.retain(|_, (node, _)| !matches!(node, trees::Node::Whiteout));
    trees::make(&root, &tree, 0);
    let ours = dir.path().join("ours.tar");
    write_tree(&root, None, io::BufWriter::new(fs::File::create(&ours).expect("file"))).expect("tar");
    let theirs = dir.path().join("theirs.tar");
    run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&theirs).args(["--format=pax", "."]));
    // Which name of a file is the link depends on the order, which is not GNU tar's.
    let script = "
import math, os, sys, tarfile
for m in tarfile.open(sys.argv[1]):
    name = os.path.normpath(m.name)
    if name not in ('.', 'bin/su', 'bin/a-link'):
        print(ascii((name, m.type, m.mode, m.uid, m.gid, m.size, math.floor(m.mtime), m.linkname)))
";
    let members =
        |file: &Path| sorted(&run(Command::new("python3").args(["-X", "utf8", "-c", script]).arg(file)));
    let (ours, theirs) = (members(&ours), members(&theirs));
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), tree.len() - 2);
}
