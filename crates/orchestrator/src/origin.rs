//! Where an existing image is read from: a registry, the local store, a layout, an archive.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use archway_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference,
    json::MAX_DOCUMENT,
    layout::{Layout, LayoutError, REF_NAME},
    media_type,
    platform::best_match,
    reference::ImageLocation,
    referrer::{self, LAYOUT_SUBJECT, Referrer},
};
use archway_store::Store;
use serde::Deserialize;

use crate::{
    Context, Error,
    index_tools::{MAX_DEPTH, MAX_DOCUMENTS, TooMuch},
};

/// More files in an archive are refused.
const MAX_ARCHIVE_FILES: usize = 100_000;

/// Where the documents and blobs of an image are.
pub enum Origin {
    /// A repository.
    Registry(Reference),
    /// The local store.
    Store,
    /// A directory.
    Layout(Layout),
    /// A tar file.
    Archive(Archive),
}

/// An image that was found: where, and its topmost document.
pub struct Found {
    /// Where it is.
    pub origin: Origin,
    /// Describes the topmost index or manifest.
    pub top: Descriptor,
}

impl Found {
    /// Finds the image at `location`. A name is looked up in the local store first, unless `pull`.
    pub async fn at(context: &Context, location: &ImageLocation, pull: bool) -> Result<Self, Error> {
        match location {
            ImageLocation::Registry(reference) => {
                if !pull && let Some(image) = context.store().images().get(&reference.to_string())? {
                    return Ok(Self { origin: Origin::Store, top: image.descriptor });
                }
                let registry = &context.engine.registry;
                let fetched =
                    registry.manifest(reference).await.map_err(Error::registry("read", reference))?;
                context.store().blobs().put(&fetched.bytes)?;
                Ok(Self { origin: Origin::Registry(reference.clone()), top: fetched.descriptor })
            }
            ImageLocation::OciLayout { dir, tag_or_digest } => {
                let layout = Layout::open(dir)?;
                let top = layout.find(tag_or_digest.as_ref())?;
                Ok(Self { origin: Origin::Layout(layout), top })
            }
            ImageLocation::OciArchive(file) => {
                let archive = Archive::open(file)?;
                let top = archive.top()?;
                Ok(Self { origin: Origin::Archive(archive), top })
            }
            ImageLocation::DockerArchive(file) => {
                let mut archive = Archive::open(file)?;
                let top = archive.docker_manifest()?;
                Ok(Self { origin: Origin::Archive(archive), top })
            }
        }
    }

    /// A document below the image; its digest was checked. What a registry gave once is not asked for
    /// again: a digest means the same bytes for ever.
    pub async fn document(&self, context: &Context, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let blobs = context.store().blobs();
        let missing = || Error::BlobMissing { digest: descriptor.digest.clone() };
        match &self.origin {
            Origin::Registry(reference) => {
                if let Some(known) = blobs.read(&descriptor.digest, MAX_DOCUMENT)? {
                    return Ok(known);
                }
                let registry = &context.engine.registry;
                let failed = Error::registry("read", reference);
                let media_type = &descriptor.media_type;
                let bytes = if media_type::is_index(media_type) || media_type::is_manifest(media_type) {
                    let by_digest = reference.with_digest(descriptor.digest.clone());
                    registry.manifest(&by_digest).await.map_err(failed)?.bytes
                } else {
                    registry.blob(reference, descriptor).await.map_err(failed)?
                };
                blobs.put(&bytes)?;
                Ok(bytes)
            }
            Origin::Store => blobs.read(&descriptor.digest, MAX_DOCUMENT)?.ok_or_else(missing),
            Origin::Layout(layout) => Ok(layout.read_blob(descriptor)?),
            Origin::Archive(archive) => archive.document(&descriptor.digest),
        }
    }

    /// The manifests below `top`, itself if it is one, in order and however deep; attestations too. What an
    /// index lists counts once: one that is listed a thousand times by one that is listed a thousand times
    /// has no more to offer.
    ///
    /// # Errors
    /// [`Error`]; also if there are more than any image has.
    pub(crate) async fn manifests(
        &self,
        context: &Context,
        top: Descriptor,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut manifests = Vec::new();
        let mut pending = vec![(top, 0)];
        let mut opened = BTreeSet::new();
        while let Some((descriptor, depth)) = pending.pop() {
            if !media_type::is_index(&descriptor.media_type) {
                manifests.push(descriptor);
            } else if depth == MAX_DEPTH {
                return Err(TooMuch::Depth.into());
            } else if opened.insert(descriptor.digest.clone()) {
                let index = Index::parse(&self.document(context, &descriptor).await?)?;
                pending.extend(index.manifests.into_iter().rev().map(|child| (child, depth + 1)));
            }
            if manifests.len() + pending.len() > MAX_DOCUMENTS {
                return Err(TooMuch::Documents.into());
            }
        }
        Ok(manifests)
    }

    /// Describes what refers to `subject`, as far as lists of referrers say. The local store has none.
    pub(crate) async fn referrers(
        &self,
        context: &Context,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        let entries = match &self.origin {
            Origin::Registry(reference) => {
                let listed = context.engine.registry.referrers(reference, subject).await;
                return listed.map_err(Error::registry("list the referrers of", reference));
            }
            Origin::Store => return Ok(Vec::new()),
            Origin::Layout(layout) => layout.index()?.manifests,
            Origin::Archive(archive) => archive.entries()?,
        };
        self.listed_in_layout(context, entries, subject).await
    }

    /// The referrers of `subject` among the entries of a layout. containerd and buildx annotate them; ORAS
    /// lists them without a name; others keep the list of registries without the API.
    async fn listed_in_layout(
        &self,
        context: &Context,
        entries: Vec<Descriptor>,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        let list = referrer::fallback_tag(subject);
        let mut listed = Vec::new();
        for mut entry in entries {
            let stated = entry.annotations.remove(LAYOUT_SUBJECT);
            let name = entry.annotations.get(REF_NAME);
            if stated.as_deref() == Some(subject.as_str()) {
                listed.push(entry);
            } else if name == Some(&list) {
                listed.extend(Index::parse(&self.document(context, &entry).await?)?.manifests);
            } else if stated.is_none()
                && name.is_none()
                && entry.artifact_type.is_some()
                && (media_type::is_manifest(&entry.media_type) || media_type::is_index(&entry.media_type))
            {
                let bytes = self.document(context, &entry).await?;
                let about = Referrer::of(&entry.media_type, &bytes)?.map(|referrer| referrer.subject.digest);
                listed.extend((about.as_ref() == Some(subject)).then_some(entry));
            }
        }
        Ok(listed)
    }

    /// Those that are for a platform. A single manifest is for the platform of its config.
    pub async fn children(&self, context: &Context) -> Result<Vec<(Platform, Descriptor)>, Error> {
        let mut children = Vec::new();
        for descriptor in self.manifests(context, self.top.clone()).await? {
            let platform = match &descriptor.platform {
                Some(platform) if platform.is_unknown() => continue,
                Some(platform) => platform.clone(),
                None => self.image(context, &descriptor).await?.1.platform.normalized(),
            };
            children.push((platform, descriptor));
        }
        Ok(children)
    }

    /// The child for `platform`.
    pub async fn child(
        &self,
        context: &Context,
        name: &str,
        platform: &Platform,
    ) -> Result<Descriptor, Error> {
        let mut children = self.children(context).await?;
        match best_match(platform, children.iter().map(|(offered, _)| offered)) {
            Some(best) => Ok(children.swap_remove(best).1),
            None => Err(Error::NoSuchPlatform {
                name: name.to_owned(),
                platform: platform.clone(),
                offered: children.into_iter().map(|(offered, _)| offered).collect(),
            }),
        }
    }

    /// Manifest and config of a child.
    pub async fn image(
        &self,
        context: &Context,
        descriptor: &Descriptor,
    ) -> Result<(Manifest, ImageConfig), Error> {
        let manifest = Manifest::parse(&self.document(context, descriptor).await?)?;
        let config = ImageConfig::parse(&self.document(context, &manifest.config).await?)?;
        Ok((manifest, config))
    }

    /// A file of this machine that has a blob and nothing else, if there is one.
    pub(crate) fn local_file(&self, context: &Context, blob: &Descriptor) -> Result<Option<PathBuf>, Error> {
        match &self.origin {
            Origin::Layout(layout) => match layout.has_blob(&blob.digest) {
                true => Ok(Some(layout.blob_path(&blob.digest))),
                false => {
                    let dir = layout.dir().to_owned();
                    Err(LayoutError::NoSuchBlob { dir, digest: blob.digest.clone() }.into())
                }
            },
            Origin::Store | Origin::Registry(_) | Origin::Archive(_) => {
                Ok(context.store().blobs().path(&blob.digest)?)
            }
        }
    }

    /// Opens a blob that is in a file of this machine; `None` if it is not there, or elsewhere.
    pub(crate) fn open_blob(
        &self,
        context: &Context,
        digest: &Digest,
    ) -> Result<Option<Box<dyn Read + Send>>, Error> {
        let file = match &self.origin {
            Origin::Registry(_) => None,
            Origin::Store => context.store().blobs().open(digest)?,
            Origin::Layout(layout) => {
                let path = layout.blob_path(digest);
                match File::open(&path) {
                    Ok(file) => Some(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(Error::read(path)(error)),
                }
            }
            Origin::Archive(archive) => {
                return match archive.blob(digest) {
                    Ok(blob) => Ok(Some(Box::new(blob))),
                    Err(Error::ArchiveIncomplete { .. }) => Ok(None),
                    Err(error) => Err(error),
                };
            }
        };
        Ok(file.map(|file| Box::new(file) as Box<dyn Read + Send>))
    }

    /// Puts the layers of `manifest` into the store, where they are in files of this machine.
    pub fn import_layers(&self, store: &Store, manifest: &Manifest) -> Result<(), Error> {
        for layer in &manifest.layers {
            if store.blobs().contains(&layer.digest)? {
                continue;
            }
            match &self.origin {
                Origin::Layout(layout) => {
                    let path = layout.blob_path(&layer.digest);
                    let file = File::open(&path).map_err(Error::read(&path))?;
                    import(store, file, &path, &layer.digest)?;
                }
                Origin::Archive(archive) => {
                    import(store, archive.blob(&layer.digest)?, &archive.path, &layer.digest)?;
                }
                Origin::Registry(_) | Origin::Store => {}
            }
        }
        Ok(())
    }
}

fn import(store: &Store, mut from: impl Read, path: &Path, digest: &Digest) -> Result<(), Error> {
    let mut writer = store.blobs().writer()?;
    io::copy(&mut from, &mut writer).map_err(Error::read(path))?;
    writer.commit(Some(digest))?;
    Ok(())
}

/// The files of a tar, read where they are.
pub struct Archive {
    path: PathBuf,
    file: File,
    /// Offset and size by name.
    files: BTreeMap<String, (u64, u64)>,
    /// Documents that are not in the archive as such: a Docker archive has no manifest.
    made: BTreeMap<Digest, Vec<u8>>,
    /// File names of blobs that are not named by their digest.
    named: BTreeMap<Digest, String>,
}

/// One image of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    layers: Vec<String>,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::read(path))?;
        let scan = || -> io::Result<BTreeMap<String, (u64, u64)>> {
            let mut files = BTreeMap::new();
            for entry in tar::Archive::new(&file).entries_with_seek()? {
                let entry = entry?;
                if files.len() == MAX_ARCHIVE_FILES {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let name = name.trim_start_matches("./").to_owned();
                files.insert(name, (entry.raw_file_position(), entry.size()));
            }
            Ok(files)
        };
        let files = scan().map_err(Error::read(path))?;
        Ok(Self { path: path.to_owned(), file, files, made: BTreeMap::new(), named: BTreeMap::new() })
    }

    /// The single image of an OCI archive, or the first one.
    fn top(&self) -> Result<Descriptor, Error> {
        let is_image = |entry: &Descriptor| {
            !referrer::is_layout_entry(entry, entry.annotations.get(REF_NAME).map(String::as_str))
        };
        self.entries()?.into_iter().find(is_image).ok_or_else(|| self.missing("index.json: manifests"))
    }

    /// What an OCI archive lists; a Docker archive lists nothing that way.
    fn entries(&self) -> Result<Vec<Descriptor>, Error> {
        match self.made.is_empty() {
            true => Ok(Index::parse(&self.small_file("index.json")?)?.manifests),
            false => Ok(Vec::new()),
        }
    }

    /// A manifest for the image of a Docker archive, in OCI's terms: the archive has none of its own.
    fn docker_manifest(&mut self) -> Result<Descriptor, Error> {
        let bytes = self.small_file("manifest.json")?;
        let images: Vec<DockerImage> = serde_json::from_slice(&bytes)
            .map_err(|error| Error::read(&self.path)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        let image = images.into_iter().next().ok_or_else(|| self.missing("manifest.json: an image"))?;
        let config = self.describe(media_type::OCI_CONFIG, &image.config)?;
        let mut layers = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            layers.push(self.describe(media_type::OCI_LAYER, layer)?);
        }
        let manifest = archway_oci::json::to_vec(&Manifest::new(config, layers));
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
        self.made.insert(descriptor.digest.clone(), manifest);
        Ok(descriptor)
    }

    fn describe(&mut self, media_type: &str, name: &str) -> Result<Descriptor, Error> {
        let mut hasher = archway_oci::Sha256Writer::new(io::sink());
        io::copy(&mut self.reader(name)?, &mut hasher).map_err(Error::read(&self.path))?;
        let (digest, size, _) = hasher.finish();
        self.named.insert(digest.clone(), name.to_owned());
        // Docker writes layers plain, others compress them in place.
        let mut magic = [0; 4];
        let _ = self.reader(name)?.read(&mut magic).map_err(Error::read(&self.path))?;
        let media_type = match magic {
            [0x1f, 0x8b, ..] if media_type == media_type::OCI_LAYER => media_type::OCI_LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => media_type::OCI_LAYER_ZSTD,
            _ => media_type,
        };
        Ok(Descriptor::new(media_type, digest, size))
    }

    fn document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        if let Some(made) = self.made.get(digest) {
            return Ok(made.clone());
        }
        let bytes = self.small_file(&self.name(digest))?;
        if Digest::sha256(&bytes) != *digest {
            return Err(Error::BlobMissing { digest: digest.clone() });
        }
        Ok(bytes)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Result<impl Read + use<>, Error> {
        self.reader(&self.name(digest))
    }

    fn name(&self, digest: &Digest) -> String {
        let by_digest = || format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        self.named.get(digest).cloned().unwrap_or_else(by_digest)
    }

    fn small_file(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.reader(name)?.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(Error::read(&self.path))?;
        Ok(bytes)
    }

    fn reader(&self, name: &str) -> Result<impl Read + use<>, Error> {
        let (offset, size) = *self.files.get(name).ok_or_else(|| self.missing(name))?;
        // A handle of its own: readers of one archive do not share their position.
        let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
        let mut file = File::open(own).map_err(Error::read(&self.path))?;
        file.seek(SeekFrom::Start(offset)).map_err(Error::read(&self.path))?;
        Ok(file.take(size))
    }

    fn missing(&self, name: &str) -> Error {
        Error::ArchiveIncomplete { path: self.path.clone(), missing: name.to_owned() }
    }
}

/// A location as people would type it.
pub(crate) fn describe(location: &ImageLocation) -> String {
    match location {
        ImageLocation::Registry(reference) => reference.familiar(),
        other => other.to_string(),
    }
}
