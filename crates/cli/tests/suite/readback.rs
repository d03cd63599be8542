//! Reading an image back with programs that share no code with Archway.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use archway_oci::{Digest, Platform};
use archway_testkit::{
    Skopeo, process,
    tree::{Entry, Kind, Tree},
};
use serde_json::Value;
use tempfile::TempDir;

/// An image index as skopeo reads it.
pub(crate) struct ImageIndex {
    pub(crate) digest: Digest,
    pub(crate) document: Value,
    pub(crate) children: Vec<Child>,
}

/// The image of one platform.
pub(crate) struct Child {
    pub(crate) platform: Platform,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    directory: TempDir,
}

impl ImageIndex {
    /// Reads `image` (`docker://localhost:5000/app:1`, `oci:DIR`, …) with all its platforms.
    #[track_caller]
    pub(crate) fn read(image: &str) -> Self {
        let skopeo = Skopeo::new();
        let bytes = skopeo.raw_manifest(image).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let children = document["manifests"].as_array().expect("an index").iter();
        let children = children.map(|child| Child::read(&skopeo, image, &child["platform"])).collect();
        Self { digest: Digest::sha256(&bytes), document, children }
    }

    /// A pushed image.
    #[track_caller]
    pub(crate) fn pushed(reference: &str) -> Self {
        Self::read(&format!("docker://{reference}"))
    }

    /// The platforms in the order of the index.
    pub(crate) fn platforms(&self) -> Vec<String> {
        self.children.iter().map(|child| child.platform.to_string()).collect()
    }
}

impl Child {
    fn read(skopeo: &Skopeo, image: &str, platform: &Value) -> Self {
        let platform: Platform = serde_json::from_value(platform.clone()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        skopeo.copy_to_directory(image, &platform, directory.path()).unwrap();
        let manifest = json(&directory.path().join("manifest.json"));
        let config = json(&blob(directory.path(), &manifest["config"]));
        Self { platform, manifest, config, directory }
    }

    /// The digests of the layers, base first.
    pub(crate) fn layer_digests(&self) -> Vec<String> {
        self.layers().iter().map(|layer| text(&layer["digest"]).to_owned()).collect()
    }

    /// The instructions in the history, base first; those that made no layer in parentheses.
    pub(crate) fn history(&self) -> Vec<String> {
        let entries = self.config["history"].as_array().expect("a history").iter();
        entries
            .map(|entry| match entry["empty_layer"].as_bool() {
                Some(true) => format!("({})", text(&entry["created_by"])),
                _ => text(&entry["created_by"]).to_owned(),
            })
            .collect()
    }

    /// A variable of the image's environment.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        let variables = self.config["config"]["Env"].as_array()?.iter();
        variables.filter_map(Value::as_str).find_map(|pair| pair.strip_prefix(&format!("{name}=")))
    }

    /// What the `number`th layer holds, whiteouts as the files they are. The base has one layer, so
    /// the Dockerfile's first is number 1.
    #[track_caller]
    pub(crate) fn layer(&self, number: usize) -> Tree {
        let layers = self.layers();
        let layer = layers.get(number).unwrap_or_else(|| panic!("{} layers", layers.len()));
        Tree::of_tar_gz(fs::File::open(blob(self.directory.path(), layer)).unwrap()).unwrap()
    }

    /// The layer's entries as GNU tar lists them, for what [`Tree`] leaves out: times, hard links.
    pub(crate) fn listing(&self, number: usize) -> String {
        let mut tar = Command::new("tar");
        tar.args(["--full-time", "--utc", "-tvzf"]).arg(blob(self.directory.path(), &self.layers()[number]));
        String::from_utf8(process::output(&mut tar).unwrap()).unwrap()
    }

    /// The root file system: all layers, with their whiteouts applied (image-spec `layer.md`).
    pub(crate) fn root(&self) -> Tree {
        let mut root = Tree::default();
        for number in 0..self.layers().len() {
            apply(&mut root.entries, self.layer(number).entries);
        }
        root
    }

    /// The content of a file, from the last layer that has it.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.bytes(path)).unwrap()
    }

    /// The same as bytes.
    #[track_caller]
    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        let layers = self.layers();
        let found = layers.iter().rev().find_map(|layer| {
            let mut tar = Command::new("tar");
            tar.arg("-xOzf").arg(blob(self.directory.path(), layer)).arg(path);
            process::output(&mut tar).ok()
        });
        found.unwrap_or_else(|| panic!("no layer of {} has {path}", self.platform))
    }

    fn layers(&self) -> &[Value] {
        self.manifest["layers"].as_array().expect("layers")
    }
}

/// What a file of this content, mode and owner is in a tree.
pub(crate) fn file(content: &str, mode: u32, owner: (u32, u32)) -> Entry {
    let digest = Digest::sha256(content.as_bytes());
    let kind = Kind::File { size: content.len() as u64, sha256: digest.hex().to_owned() };
    Entry { kind, mode, uid: owner.0, gid: owner.1, xattrs: BTreeMap::new() }
}

/// What a directory of this mode and owner is in a tree.
pub(crate) fn directory(mode: u32, owner: (u32, u32)) -> Entry {
    Entry { kind: Kind::Directory, mode, uid: owner.0, gid: owner.1, xattrs: BTreeMap::new() }
}

/// What a symbolic link is in a tree.
pub(crate) fn symlink(target: &str) -> Entry {
    let kind = Kind::Symlink(target.to_owned());
    Entry { kind, mode: 0o777, uid: 0, gid: 0, xattrs: BTreeMap::new() }
}

/// A tree of these entries.
pub(crate) fn tree<const N: usize>(entries: [(&str, Entry); N]) -> Tree {
    Tree { entries: entries.into_iter().map(|(path, entry)| (path.to_owned(), entry)).collect() }
}

fn apply(root: &mut BTreeMap<String, Entry>, layer: BTreeMap<String, Entry>) {
    for path in layer.keys() {
        let (parent, name) =
            path.rsplit_once('/').map_or(("", path.as_str()), |(parent, name)| (parent, name));
        let prefix = if parent.is_empty() { String::new() } else { format!("{parent}/") };
        if name == ".wh..wh..opq" {
            root.retain(|path, _| !path.starts_with(&prefix));
        } else if let Some(name) = name.strip_prefix(".wh.") {
            let (gone, below) = (format!("{prefix}{name}"), format!("{prefix}{name}/"));
            root.retain(|path, _| *path != gone && !path.starts_with(&below));
        }
    }
    root.extend(layer.into_iter().filter(|(path, _)| !path.rsplit('/').next().is_some_and(is_whiteout)));
}

fn is_whiteout(name: &str) -> bool {
    name.starts_with(".wh.")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A blob in skopeo's `dir:` form.
fn blob(directory: &Path, descriptor: &Value) -> std::path::PathBuf {
    directory.join(text(&descriptor["digest"]).trim_start_matches("sha256:"))
}
