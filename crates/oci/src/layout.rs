//! The OCI image layout: an image, or several, as a directory (image-spec `image-layout.md`).
//!
//! ```text
//! oci-layout                    {"imageLayoutVersion":"1.0.0"}
//! index.json                    the images, by name
//! blobs/sha256/<hex>            everything they are made of
//! ```
//!
//! A crash at any moment leaves a valid layout: a file is written under another name, synced and
//! renamed, a blob is there before `index.json` names it, and Archway processes that change
//! `index.json` take turns by a lock on the directory.

mod durable;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Descriptor, Digest, Index,
    digest::Hasher,
    json::{self, DocumentError, MAX_DOCUMENT},
    reference::TagOrDigest,
    referrer,
};

use durable::TEMPORARY_PREFIX;

/// Annotation that names an image within a layout (image-spec `annotations.md`).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

const VERSION: &str = "1.0.0";
const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const BLOBS: &str = "blobs";

/// A layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`, ….
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory has no `oci-layout` or no `index.json`.
    #[error("{} is not an OCI image layout: it has no {missing}", dir.display())]
    NotALayout {
        /// The directory.
        dir: PathBuf,
        /// The file it lacks.
        missing: &'static str,
    },
    /// A layout cannot be made in a directory that has other things in it.
    #[error("{} is not empty and not an OCI image layout", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// `oci-layout` is not version 1.
    #[error("{} has image layout version `{found}`; only {VERSION} is supported", dir.display())]
    Version {
        /// The directory.
        dir: PathBuf,
        /// The version found.
        found: String,
    },
    /// `oci-layout` or `index.json` is not what its name says.
    #[error("cannot use {}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DocumentError,
    },
    /// The layout has no such blob.
    #[error("{} has no blob {digest}", dir.display())]
    NoSuchBlob {
        /// The directory.
        dir: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// A blob that is to be read into memory is larger than [`MAX_DOCUMENT`].
    #[error("blob {digest} is {size} bytes long, more than the {MAX_DOCUMENT} a document may have")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A blob has another size than its descriptor says.
    #[error("blob {digest} should be {expected} bytes long, but has {}", found(*.actual, *.expected))]
    SizeMismatch {
        /// The blob.
        digest: Digest,
        /// Size in the descriptor, bytes.
        expected: u64,
        /// Bytes that were there; reading stops at one more than expected.
        actual: u64,
    },
    /// A blob's bytes have another digest than they should.
    #[error("blob {expected} has other content: its digest is {actual}")]
    DigestMismatch {
        /// The digest in the descriptor.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// No image of the layout has this name or digest.
    #[error("{} has no image `{wanted}`", dir.display())]
    NoSuchImage {
        /// The directory.
        dir: PathBuf,
        /// The name or digest.
        wanted: TagOrDigest,
        /// Names of the images that are there.
        available: Vec<String>,
    },
    /// No name was given, and the layout has no image or more than one.
    #[error("{} has {count} images: name one", dir.display())]
    NotOneImage {
        /// The directory.
        dir: PathBuf,
        /// How many different images it has.
        count: usize,
        /// Their names, where they have one.
        available: Vec<String>,
    },
}

fn found(actual: u64, expected: u64) -> String {
    if actual > expected { "more".into() } else { actual.to_string() }
}

/// A directory in OCI image layout.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    #[serde(default)]
    image_layout_version: String,
}

impl Layout {
    /// Makes `dir` an empty layout, or opens the layout that it is.
    ///
    /// # Errors
    /// [`LayoutError::NotEmpty`] for a directory with other things in it, and those of [`Layout::open`].
    pub fn create(dir: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { dir: dir.into() };
        fs::create_dir_all(&layout.dir).map_err(at("create", &layout.dir))?;
        let _turn = layout.lock()?;
        if !layout.dir.join(LAYOUT_FILE).exists() {
            layout.require_empty()?;
            let file = LayoutFile { image_layout_version: VERSION.into() };
            layout.write_file(LAYOUT_FILE, &json::to_vec(&file))?;
        }
        layout.check_version()?;
        let blobs = layout.dir.join(BLOBS).join("sha256");
        fs::create_dir_all(&blobs).map_err(at("create", &blobs))?;
        if !layout.dir.join(INDEX_FILE).exists() {
            layout.write_file(INDEX_FILE, &json::to_vec(&Index::new(Vec::new())))?;
        }
        Ok(layout)
    }

    /// Opens an existing layout.
    ///
    /// # Errors
    /// [`LayoutError::NotALayout`], [`LayoutError::Version`], [`LayoutError::Document`], [`LayoutError::Io`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { dir: dir.into() };
        layout.check_version()?;
        layout.index()?;
        Ok(layout)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(BLOBS).join(digest.algorithm()).join(digest.hex())
    }

    /// Whether the blob is there; its content is not read.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Adds a blob.
    ///
    /// # Errors
    /// [`LayoutError::Io`].
    pub fn write_blob(&self, bytes: &[u8]) -> Result<Digest, LayoutError> {
        let digest = Digest::sha256(bytes);
        self.import_blob(bytes, &Descriptor::new("", digest.clone(), bytes.len() as u64))?;
        Ok(digest)
    }

    /// Adds the blob that `descriptor` describes from a reader, which is not read if the blob is
    /// there already. Nothing is added unless size and digest are right.
    ///
    /// # Errors
    /// [`LayoutError::SizeMismatch`], [`LayoutError::DigestMismatch`], [`LayoutError::Io`] also when
    /// reading fails.
    pub fn import_blob(&self, reader: impl Read, descriptor: &Descriptor) -> Result<(), LayoutError> {
        let path = self.blob_path(&descriptor.digest);
        if fs::metadata(&path).is_ok_and(|there| there.is_file() && there.len() == descriptor.size) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at("create", parent))?;
        }
        let mut verified = Verified::new(reader, descriptor);
        let file = durable::NewFile::create(&self.dir).map_err(at("write in", &self.dir))?;
        let file = file.fill(&mut verified).map_err(at("write", &path))?;
        verified.finish()?;
        file.publish(&path).map_err(at("write", &path))
    }

    /// Reads a document: at most [`MAX_DOCUMENT`] bytes, size and digest checked.
    ///
    /// # Errors
    /// [`LayoutError::NoSuchBlob`], [`LayoutError::TooLarge`], [`LayoutError::SizeMismatch`],
    /// [`LayoutError::DigestMismatch`], [`LayoutError::Io`].
    pub fn read_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        if descriptor.size > MAX_DOCUMENT {
            return Err(LayoutError::TooLarge { digest: descriptor.digest.clone(), size: descriptor.size });
        }
        self.require_blob(&descriptor.digest)?;
        let path = self.blob_path(&descriptor.digest);
        let file = File::open(&path).map_err(at("open", &path))?;
        let mut verified = Verified::new(file, descriptor);
        let mut bytes = Vec::new();
        verified.read_to_end(&mut bytes).map_err(at("read", &path))?;
        verified.finish()?;
        Ok(bytes)
    }

    /// Reads `index.json`.
    ///
    /// # Errors
    /// [`LayoutError::NotALayout`], [`LayoutError::Document`], [`LayoutError::Io`].
    pub fn index(&self) -> Result<Index, LayoutError> {
        let bytes = self.read_file(INDEX_FILE)?;
        Index::parse(&bytes)
            .map_err(|source| LayoutError::Document { path: self.dir.join(INDEX_FILE), source })
    }

    /// Adds an image to `index.json`, under `name` if there is one; another image of that name
    /// loses its entry.
    ///
    /// # Errors
    /// [`LayoutError::NoSuchBlob`] if the manifest or index it describes is not there, and those of
    /// [`Layout::index`].
    pub fn set_reference(&self, descriptor: &Descriptor, name: Option<&str>) -> Result<(), LayoutError> {
        self.require_blob(&descriptor.digest)?;
        let _turn = self.lock()?;
        let mut index = self.index()?;
        let is_same = |entry: &Descriptor| entry.digest == descriptor.digest;
        match name {
            None if index.manifests.iter().any(is_same) => return Ok(()),
            None => index.manifests.push(descriptor.clone()),
            Some(name) => {
                index.manifests.retain(|entry| match name_of(entry) {
                    Some(other) => other != name,
                    None => !is_same(entry),
                });
                let mut entry = descriptor.clone();
                entry.annotations.insert(REF_NAME.into(), name.into());
                index.manifests.push(entry);
            }
        }
        self.write_file(INDEX_FILE, &json::to_vec(&index))
    }

    /// Lets an entry of `index.json` point at something else; its annotations stay, and so its name.
    ///
    /// # Errors
    /// [`LayoutError::NoSuchBlob`] if the manifest or index it is to describe is not there, or if there is no such
    /// entry any more, and those of [`Layout::index`].
    pub fn replace(&self, entry: &Descriptor, descriptor: &Descriptor) -> Result<(), LayoutError> {
        self.require_blob(&descriptor.digest)?;
        let _turn = self.lock()?;
        let mut index = self.index()?;
        let Some(found) = index.manifests.iter_mut().find(|other| *other == entry) else {
            return Err(LayoutError::NoSuchBlob { dir: self.dir.clone(), digest: entry.digest.clone() });
        };
        *found = Descriptor { annotations: entry.annotations.clone(), ..descriptor.clone() };
        self.write_file(INDEX_FILE, &json::to_vec(&index))
    }

    /// Lists a referrer of `subject` in `index.json`, if it is not there.
    ///
    /// # Errors
    /// Those of [`Layout::set_reference`].
    pub fn set_referrer(&self, referrer: &Descriptor, subject: &Digest) -> Result<(), LayoutError> {
        self.require_blob(&referrer.digest)?;
        let _turn = self.lock()?;
        let mut index = self.index()?;
        let entry = referrer::layout_entry(referrer, subject);
        if index.manifests.contains(&entry) {
            return Ok(());
        }
        index.manifests.push(entry);
        self.write_file(INDEX_FILE, &json::to_vec(&index))
    }

    /// The image of this name or digest; `None`: the only one, beside its referrers.
    ///
    /// # Errors
    /// [`LayoutError::NoSuchImage`], [`LayoutError::NotOneImage`], and those of [`Layout::index`].
    pub fn find(&self, wanted: Option<&TagOrDigest>) -> Result<Descriptor, LayoutError> {
        let images = self.index()?.manifests;
        let available = || images.iter().filter_map(name_of).map(str::to_owned).collect();
        let Some(wanted) = wanted else {
            let is_image = |entry: &&Descriptor| !referrer::is_layout_entry(entry, name_of(entry));
            let images: Vec<&Descriptor> = images.iter().filter(is_image).collect();
            let mut digests: Vec<&Digest> = images.iter().map(|image| &image.digest).collect();
            digests.sort();
            digests.dedup();
            return match (digests.len(), images.first()) {
                (1, Some(image)) => Ok(Descriptor::clone(image)),
                (count, _) => {
                    Err(LayoutError::NotOneImage { dir: self.dir.clone(), count, available: available() })
                }
            };
        };
        let found = images.iter().find(|image| match wanted {
            TagOrDigest::Tag(tag) => name_of(image) == Some(tag),
            TagOrDigest::Digest(digest) => image.digest == *digest,
        });
        found.cloned().ok_or_else(|| LayoutError::NoSuchImage {
            dir: self.dir.clone(),
            wanted: wanted.clone(),
            available: available(),
        })
    }

    fn require_blob(&self, digest: &Digest) -> Result<(), LayoutError> {
        if self.has_blob(digest) {
            return Ok(());
        }
        Err(LayoutError::NoSuchBlob { dir: self.dir.clone(), digest: digest.clone() })
    }

    /// What an interrupted [`Layout::create`] left behind counts as nothing.
    fn require_empty(&self) -> Result<(), LayoutError> {
        for entry in fs::read_dir(&self.dir).map_err(at("list", &self.dir))? {
            let name = entry.map_err(at("list", &self.dir))?.file_name();
            if !name.to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                return Err(LayoutError::NotEmpty { dir: self.dir.clone() });
            }
        }
        Ok(())
    }

    fn check_version(&self) -> Result<(), LayoutError> {
        let bytes = self.read_file(LAYOUT_FILE)?;
        let file: LayoutFile = json::parse("image layout", &bytes)
            .map_err(|source| LayoutError::Document { path: self.dir.join(LAYOUT_FILE), source })?;
        match file.image_layout_version.as_str() {
            VERSION => Ok(()),
            found => Err(LayoutError::Version { dir: self.dir.clone(), found: found.to_owned() }),
        }
    }

    /// At most one byte more than a document may have, so that too large ones are noticed.
    fn read_file(&self, name: &'static str) -> Result<Vec<u8>, LayoutError> {
        let path = self.dir.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LayoutError::NotALayout { dir: self.dir.clone(), missing: name });
            }
            Err(source) => return Err(LayoutError::Io { action: "open", path, source }),
        };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(at("read", &path))?;
        Ok(bytes)
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), LayoutError> {
        let path = self.dir.join(name);
        durable::NewFile::create(&self.dir)
            .and_then(|file| file.fill(&mut &*bytes))
            .and_then(|file| file.publish(&path))
            .map_err(at("write", &path))
    }

    /// Keeps other Archway processes from changing `index.json` until it is dropped.
    fn lock(&self) -> Result<File, LayoutError> {
        let dir = File::open(&self.dir).map_err(at("open", &self.dir))?;
        dir.lock().map_err(at("lock", &self.dir))?;
        Ok(dir)
    }
}

/// The name of an image in `index.json`.
fn name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(REF_NAME).map(String::as_str)
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError {
    move |source| LayoutError::Io { action, path: path.to_owned(), source }
}

/// Reads no more than a descriptor promises plus one byte, and says whether it kept its promise.
struct Verified<'a, R> {
    reader: io::Take<R>,
    hasher: Hasher,
    count: u64,
    descriptor: &'a Descriptor,
}

impl<'a, R: Read> Verified<'a, R> {
    fn new(reader: R, descriptor: &'a Descriptor) -> Self {
        let reader = reader.take(descriptor.size.saturating_add(1));
        Self { reader, hasher: Hasher::for_digest(&descriptor.digest), count: 0, descriptor }
    }

    fn finish(self) -> Result<(), LayoutError> {
        let expected = &self.descriptor.digest;
        if self.count != self.descriptor.size {
            let (expected, actual) = (self.descriptor.size, self.count);
            return Err(LayoutError::SizeMismatch {
                digest: self.descriptor.digest.clone(),
                expected,
                actual,
            });
        }
        let actual = self.hasher.finish();
        if actual != *expected {
            return Err(LayoutError::DigestMismatch { expected: expected.clone(), actual });
        }
        Ok(())
    }
}

impl<R: Read> Read for Verified<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
