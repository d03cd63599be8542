//! An OCI layout in a tar, read into memory: what each platform's image holds once its layers are
//! applied, as one would see it in a container.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read},
    path::Path,
};

use archway_oci::Digest;
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use tar::{Archive, EntryType};

/// The image of one platform.
pub(crate) struct Image {
    /// Its entry in the index; null where there is no index.
    pub(crate) descriptor: Value,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
    pub(crate) root: BTreeMap<String, Node>,
}

/// What an OCI archive holds.
pub(crate) struct Layout {
    /// Null where the archive holds a manifest instead.
    pub(crate) index: Value,
    pub(crate) images: Vec<Image>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Type, link target or content, device number.
    pub(crate) what: String,
    pub(crate) directory: bool,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) xattrs: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// The same for all names of one file.
    inode: u64,
}

impl Layout {
    /// Reads the archive `file`.
    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        let mut files = HashMap::new();
        for entry in Archive::new(File::open(file)?).entries()? {
            let mut entry = entry?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.insert(entry.path()?.to_string_lossy().trim_start_matches("./").to_owned(), bytes);
        }
        let blobs = Blobs(files);
        let top = blobs.json("index.json");
        let first = &top["manifests"][0];
        let document = blobs.at(first);
        let Some(children) = document["manifests"].as_array() else {
            return Ok(Self { index: Value::Null, images: vec![blobs.image(Value::Null, first)?] });
        };
        let images =
            children.iter().map(|child| blobs.image(child.clone(), child)).collect::<io::Result<_>>()?;
        Ok(Self { index: document, images })
    }
}

struct Blobs(HashMap<String, Vec<u8>>);

impl Blobs {
    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.0[path]).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn at(&self, descriptor: &Value) -> Value {
        self.json(&path(descriptor))
    }

    fn image(&self, descriptor: Value, at: &Value) -> io::Result<Image> {
        let manifest = self.at(at);
        let config = self.at(&manifest["config"]);
        let mut tree = Tree::default();
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            tree.apply(&decompressed(&self.0[&path(layer)])?)?;
        }
        Ok(Image { descriptor, manifest, config, root: tree.nodes })
    }
}

fn path(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().expect("a descriptor").replace(':', "/"))
}

fn decompressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes.to_vec());
    }
    let mut tar = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut tar)?;
    Ok(tar)
}

#[derive(Default)]
struct Tree {
    nodes: BTreeMap<String, Node>,
    inodes: u64,
}

impl Tree {
    fn apply(&mut self, tar: &[u8]) -> io::Result<()> {
        // Whiteouts are about the layers below, wherever in the layer they stand.
        for entry in Archive::new(tar).entries()? {
            self.hide(&clean(&entry?.path_bytes()));
        }
        for entry in Archive::new(tar).entries()? {
            self.add(entry?)?;
        }
        Ok(())
    }

    fn hide(&mut self, path: &str) {
        let (parent, name) = path.rsplit_once('/').map_or(("", path), |(parent, name)| (parent, name));
        let prefix = if parent.is_empty() { String::new() } else { format!("{parent}/") };
        if name == ".wh..wh..opq" {
            self.nodes.retain(|path, _| !path.starts_with(&prefix));
        } else if let Some(name) = name.strip_prefix(".wh.") {
            self.remove(&format!("{prefix}{name}"));
        }
    }

    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes.retain(|other, _| other != path && !other.starts_with(&below));
    }

    fn add<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> io::Result<()> {
        let path = clean(&entry.path_bytes());
        if path.is_empty() || path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
            return Ok(());
        }
        let node = self.node(&mut entry)?;
        if !(node.directory && self.nodes.get(&path).is_some_and(|old| old.directory)) {
            self.remove(&path);
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    fn node<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<Node> {
        let kind = entry.header().entry_type();
        let link = clean_link(entry);
        if kind == EntryType::Link {
            let target = clean(link.as_bytes());
            return self
                .nodes
                .get(&target)
                .cloned()
                .ok_or_else(|| io::Error::other(format!("hard link to {target}")));
        }
        let header = entry.header().clone();
        let device =
            || Ok::<_, io::Error>((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)));
        let what = match kind {
            EntryType::Directory => "directory".to_owned(),
            EntryType::Symlink => format!("link to {link}"),
            EntryType::Char => format!("character device {:?}", device()?),
            EntryType::Block => format!("block device {:?}", device()?),
            EntryType::Fifo => "pipe".to_owned(),
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                content_of(&content)
            }
        };
        self.inodes += 1;
        Ok(Node {
            what,
            directory: kind == EntryType::Directory,
            mode: if kind == EntryType::Symlink { 0o777 } else { header.mode()? & 0o7777 },
            owner: (header.uid()?, header.gid()?),
            xattrs: xattrs(entry)?,
            time: header.mtime()?,
            inode: self.inodes,
        })
    }
}

/// Short text as it is, anything else by size and digest.
fn content_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= 2000 => format!("file {text:?}"),
        _ => format!("file of {} bytes, {}", bytes.len(), Digest::sha256(bytes)),
    }
}

fn clean_link<R: Read>(entry: &tar::Entry<'_, R>) -> String {
    String::from_utf8_lossy(&entry.link_name_bytes().unwrap_or_default()).into_owned()
}

fn xattrs<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let key = String::from_utf8_lossy(extension.key_bytes()).into_owned();
        // Paths, sizes and times are in the entry; what remains is the file's.
        if key.starts_with("SCHILY.xattr.") || key.starts_with("MSWINDOWS.") {
            found.insert(key, String::from_utf8_lossy(extension.value_bytes()).into_owned());
        }
    }
    Ok(found)
}

fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// The names that share a file with each name that shares one: `a` with `a b`.
pub(crate) fn hard_links(root: &BTreeMap<String, Node>) -> BTreeMap<&str, String> {
    let mut names: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for (path, node) in root {
        names.entry(node.inode).or_default().push(path);
    }
    let shared = names.into_values().filter(|names| names.len() > 1);
    shared
        .flat_map(|names| {
            let all = names.join(" ");
            names.into_iter().map(move |name| (name, all.clone()))
        })
        .collect()
}
