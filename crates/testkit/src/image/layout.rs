//! Images for several platforms in an OCI image layout (image-spec `image-layout.md`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use archway_oci::{
    ContainerConfig, Descriptor, History, ImageConfig, Index, Manifest, Platform, RootFs, media_type,
};

use super::{CREATED, Layer};
use crate::{Skopeo, process::ProcessError};

/// The tag of the one image in a layout.
const TAG: &str = "latest";

/// Why an image could not be written, read or pushed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The layout directory.
    #[error("cannot read or write an image in {}", directory.display())]
    Io {
        /// The layout.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A document of the layout is not what [`Image::write`] writes.
    #[error("broken image in {}: {reason}", directory.display())]
    Broken {
        /// The layout.
        directory: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// skopeo failed.
    #[error("cannot push an image")]
    Push(#[from] ProcessError),
}

/// What one platform's image is made of.
#[derive(Debug, Clone)]
pub struct PlatformImage {
    /// The platform.
    pub platform: Platform,
    /// The layers, base first.
    pub layers: Vec<Layer>,
    /// How it runs.
    pub config: ContainerConfig,
}

/// A multi-platform image in an OCI layout of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The layout.
    pub directory: PathBuf,
    /// The image index; its `manifests` are the platforms, in order.
    pub descriptor: Descriptor,
    /// The platforms' manifests.
    pub manifests: Vec<Descriptor>,
}

impl Image {
    /// Writes `platforms` as one image index, tagged `latest`, into the layout `directory`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(directory: &Path, platforms: &[PlatformImage]) -> Result<Self, ImageError> {
        let layout = Writer { directory };
        layout.write(platforms).map_err(|source| ImageError::Io { directory: directory.to_owned(), source })
    }

    /// Opens a layout that [`Image::write`] wrote.
    ///
    /// # Errors
    /// When it is missing or broken.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        let read = |file: PathBuf| {
            fs::read(file).map_err(|source| ImageError::Io { directory: directory.to_owned(), source })
        };
        let broken =
            |reason: &str| ImageError::Broken { directory: directory.to_owned(), reason: reason.to_owned() };
        let parse = |bytes: Vec<u8>| {
            serde_json::from_slice::<Index>(&bytes).map_err(|error| broken(&error.to_string()))
        };
        let top = parse(read(directory.join("index.json"))?)?;
        let [descriptor] = &top.manifests[..] else { return Err(broken("more or less than one image")) };
        let index = parse(read(blob(directory, descriptor))?)?;
        let descriptor = descriptor.clone();
        Ok(Self { directory: directory.to_owned(), descriptor, manifests: index.manifests })
    }

    /// The layout as Archway and skopeo name it: `oci:DIR:latest`.
    pub fn oci_reference(&self) -> String {
        format!("oci:{}:{TAG}", self.directory.display())
    }

    /// The platforms, in order.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.manifests.iter().filter_map(|manifest| manifest.platform.as_ref())
    }

    /// Pushes the image and all its platforms to `reference` (`localhost:5000/busybox:latest`), with
    /// unchanged digests.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn push(&self, reference: &str) -> Result<(), ImageError> {
        Ok(Skopeo::new().copy(&self.oci_reference(), &format!("docker://{reference}"))?)
    }
}

fn blob(directory: &Path, descriptor: &Descriptor) -> PathBuf {
    directory.join("blobs").join(descriptor.digest.algorithm()).join(descriptor.digest.hex())
}

struct Writer<'a> {
    directory: &'a Path,
}

impl Writer<'_> {
    fn write(&self, platforms: &[PlatformImage]) -> io::Result<Image> {
        fs::create_dir_all(self.directory.join("blobs/sha256"))?;
        fs::write(self.directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let manifests = platforms.iter().map(|image| self.platform(image)).collect::<io::Result<Vec<_>>>()?;
        let index = serde_json::to_vec(&Index::new(manifests.clone()))?;
        let descriptor = self.blob(media_type::OCI_INDEX, &index)?;
        let mut tagged = descriptor.clone();
        tagged.annotations.insert("org.opencontainers.image.ref.name".into(), TAG.into());
        fs::write(self.directory.join("index.json"), serde_json::to_vec(&Index::new(vec![tagged.clone()]))?)?;
        Ok(Image { directory: self.directory.to_owned(), descriptor: tagged, manifests })
    }

    fn platform(&self, image: &PlatformImage) -> io::Result<Descriptor> {
        let layers: Vec<Descriptor> = image
            .layers
            .iter()
            .map(|layer| self.blob(&layer.descriptor.media_type, &layer.bytes))
            .collect::<io::Result<_>>()?;
        let config = serde_json::to_vec(&config(image))?;
        let config = self.blob(media_type::OCI_CONFIG, &config)?;
        let manifest = serde_json::to_vec(&Manifest::new(config, layers))?;
        let mut descriptor = self.blob(media_type::OCI_MANIFEST, &manifest)?;
        descriptor.platform = Some(image.platform.clone());
        Ok(descriptor)
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> io::Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        fs::write(blob(self.directory, &descriptor), bytes)?;
        Ok(descriptor)
    }
}

fn config(image: &PlatformImage) -> ImageConfig {
    let history = |layer: &Layer| History {
        created: Some(CREATED.into()),
        created_by: Some(format!("archway-testkit layer {}", layer.diff_id.short())),
        ..History::default()
    };
    ImageConfig {
        created: Some(CREATED.into()),
        platform: image.platform.clone(),
        config: image.config.clone(),
        rootfs: RootFs {
            diff_ids: image.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            ..RootFs::default()
        },
        history: image.layers.iter().map(history).collect(),
        ..ImageConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::LayerBuilder;

    fn platform(architecture: &str, variant: Option<&str>) -> Platform {
        Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.map(Into::into),
            ..Platform::default()
        }
    }

    #[test]
    fn what_is_written_can_be_opened() {
        let layer = LayerBuilder::new().file("a", 0o644, b"a").unwrap().finish().unwrap();
        let image = |platform| PlatformImage {
            platform,
            layers: vec![layer.clone()],
            config: ContainerConfig { cmd: Some(vec!["sh".into()]), ..ContainerConfig::default() },
        };
        let platforms = [image(platform("amd64", None)), image(platform("arm", Some("v7")))];
        let directory = tempfile::tempdir().unwrap();
        let written = Image::write(directory.path(), &platforms).unwrap();
        assert_eq!(Image::open(directory.path()).unwrap(), written);
        assert_eq!(written.platforms().count(), 2);
        assert_eq!(written.manifests[1].platform, Some(platform("arm", Some("v7"))));

        let manifest: Manifest =
            serde_json::from_slice(&fs::read(blob(directory.path(), &written.manifests[1])).unwrap())
                .unwrap();
        let config: ImageConfig =
            serde_json::from_slice(&fs::read(blob(directory.path(), &manifest.config)).unwrap()).unwrap();
        assert_eq!(config.platform, platform("arm", Some("v7")));
        assert_eq!(config.rootfs.diff_ids, [layer.diff_id]);
        assert_eq!(config.history.len(), 1);
    }

    #[test]
    fn an_empty_directory_is_no_image() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Image::open(directory.path()), Err(ImageError::Io { .. })));
        fs::write(directory.path().join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
        assert!(matches!(Image::open(directory.path()), Err(ImageError::Broken { .. })));
    }
}
