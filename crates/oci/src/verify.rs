//! Whether an image is what its descriptor and the request for it promise.

use crate::{
    Descriptor, ImageConfig, Manifest, Platform,
    json::MAX_DOCUMENT,
    media_type::{self, layer_compression},
};

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The config is for another platform than was requested. Both in normal form.
    #[error("the image config is for {}, not {}", actual.specifier(), requested.specifier())]
    ConfigPlatform {
        /// What was requested.
        requested: Box<Platform>,
        /// What the config says.
        actual: Box<Platform>,
    },
    /// The descriptor in the index says another platform than was requested. Both in normal form.
    #[error("the index lists the image for {}, not {}", actual.specifier(), requested.specifier())]
    DescriptorPlatform {
        /// What was requested.
        requested: Box<Platform>,
        /// What the descriptor says.
        actual: Box<Platform>,
    },
    /// The manifest's own media type is not that of its descriptor.
    #[error("the manifest says it is `{actual}`, its descriptor `{expected}`")]
    ManifestMediaType {
        /// In the descriptor.
        expected: String,
        /// In the manifest.
        actual: String,
    },
    /// A media type that is not allowed, or not known, where it stands.
    #[error("{part} has media type `{media_type}`")]
    MediaType {
        /// Whose media type.
        part: Part,
        /// The media type.
        media_type: String,
    },
    /// A size that the content cannot have.
    #[error("{part} cannot be {size} bytes long")]
    Size {
        /// Whose size.
        part: Part,
        /// The size in bytes.
        size: u64,
    },
    /// The root file system is described in a way that is not `layers`.
    #[error("the root file system is of type `{0}`, not `layers`")]
    RootFsType(String),
    /// The config has another number of diffIDs than the manifest has layers.
    #[error("the image config has {diff_ids} diffIDs, the manifest {layers} layers")]
    DiffIds {
        /// In the config.
        diff_ids: usize,
        /// In the manifest.
        layers: usize,
    },
    /// The history tells of another number of layers than the manifest has.
    #[error("the history tells of {entries} layers, the manifest has {layers}")]
    History {
        /// Entries that made a layer.
        entries: usize,
        /// In the manifest.
        layers: usize,
    },
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The manifest.
    Manifest,
    /// The config.
    Config,
    /// A layer, counted from 0.
    Layer(usize),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manifest => f.write_str("the manifest"),
            Self::Config => f.write_str("the image config"),
            Self::Layer(index) => write!(f, "layer {index}"),
        }
    }
}

/// Everything that is wrong with the image of one platform; empty if it is good.
///
/// The caller has checked the digests of manifest and config, and that they parse.
pub fn child(
    requested: &Platform,
    descriptor: &Descriptor,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(platforms(requested, descriptor, config));
    findings.extend(manifest_media_type(descriptor, manifest));
    findings.extend(parts(descriptor, manifest));
    findings.extend(counts(manifest, config));
    findings
}

fn platforms(requested: &Platform, descriptor: &Descriptor, config: &ImageConfig) -> Vec<Finding> {
    let requested = requested.clone().normalized();
    let mut findings = Vec::new();
    if let Some(actual) = other_platform(&requested, &config.platform) {
        let requested = Box::new(requested.clone());
        findings.push(Finding::ConfigPlatform { requested, actual });
    }
    if let Some(actual) = descriptor.platform.as_ref().and_then(|p| other_platform(&requested, p)) {
        findings.push(Finding::DescriptorPlatform { requested: Box::new(requested), actual });
    }
    findings
}

/// `actual` in normal form, if it is not `requested`. The version of the operating system counts
/// only where one was requested, features do not: a base image decides about both.
fn other_platform(requested: &Platform, actual: &Platform) -> Option<Box<Platform>> {
    let actual = actual.clone().normalized();
    let same = actual.os == requested.os
        && actual.architecture == requested.architecture
        && actual.variant == requested.variant
        && (requested.os_version.is_none() || actual.os_version == requested.os_version);
    (!same).then(|| Box::new(actual))
}

fn manifest_media_type(descriptor: &Descriptor, manifest: &Manifest) -> Option<Finding> {
    let actual = manifest.media_type.as_ref().filter(|actual| **actual != descriptor.media_type)?;
    Some(Finding::ManifestMediaType { expected: descriptor.media_type.clone(), actual: actual.clone() })
}

fn parts(descriptor: &Descriptor, manifest: &Manifest) -> Vec<Finding> {
    let documents = [
        (Part::Manifest, descriptor, media_type::is_manifest(&descriptor.media_type), MAX_DOCUMENT),
        (Part::Config, &manifest.config, media_type::is_config(&manifest.config.media_type), MAX_DOCUMENT),
    ];
    let layers = manifest.layers.iter().enumerate().map(|(index, layer)| {
        (Part::Layer(index), layer, layer_compression(&layer.media_type).is_some(), i64::MAX as u64)
    });
    let mut findings = Vec::new();
    for (part, described, media_type_is_known, largest) in documents.into_iter().chain(layers) {
        if !media_type_is_known {
            findings.push(Finding::MediaType { part, media_type: described.media_type.clone() });
        }
        if !(1..=largest).contains(&described.size) {
            findings.push(Finding::Size { part, size: described.size });
        }
    }
    findings
}

fn counts(manifest: &Manifest, config: &ImageConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let layers = manifest.layers.len();
    if config.rootfs.kind != "layers" {
        findings.push(Finding::RootFsType(config.rootfs.kind.clone()));
    }
    let diff_ids = config.rootfs.diff_ids.len();
    if diff_ids != layers {
        findings.push(Finding::DiffIds { diff_ids, layers });
    }
    // The history is optional.
    let entries = config.history.iter().filter(|entry| !entry.empty_layer).count();
    if !config.history.is_empty() && entries != layers {
        findings.push(Finding::History { entries, layers });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, History, RootFs};

    struct Image {
        requested: Platform,
        descriptor: Descriptor,
        manifest: Manifest,
        config: ImageConfig,
    }

    /// A good image with two layers.
    fn image(platform: &str) -> Image {
        let requested = Platform::parse(platform).unwrap();
        let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer");
        let entry = |empty_layer| History { empty_layer, ..History::default() };
        let config = ImageConfig {
            platform: requested.clone(),
            rootfs: RootFs { diff_ids: vec![Digest::sha256(b"tar"); 2], ..RootFs::default() },
            history: vec![entry(false), entry(true), entry(false)],
            ..ImageConfig::default()
        };
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b"{}"), vec![layer; 2]);
        let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, b"{}");
        descriptor.platform = Some(requested.clone());
        Image { requested, descriptor, manifest, config }
    }

    fn findings(change: impl FnOnce(&mut Image)) -> Vec<Finding> {
        let mut image = image("linux/arm64");
        change(&mut image);
        child(&image.requested, &image.descriptor, &image.manifest, &image.config)
    }

    fn boxed(platform: &str) -> Box<Platform> {
        Box::new(Platform::parse(platform).unwrap())
    }

    #[test]
    fn a_good_image_has_no_findings() {
        assert_eq!(findings(|_| {}), []);
        assert_eq!(findings(|image| image.descriptor.platform = None), []);
        assert_eq!(findings(|image| image.config.history.clear()), []);
        assert_eq!(findings(|image| image.manifest.media_type = None), []);
    }

    #[test]
    fn spellings_of_one_platform_are_equal() {
        let spell = |image: &mut Image| {
            image.config.platform.architecture = "aarch64".into();
            image.config.platform.variant = Some("v8".into());
        };
        assert_eq!(findings(spell), []);
    }

    #[test]
    fn another_platform_is_found_wherever_it_stands() {
        let (requested, actual) = (boxed("linux/arm64"), boxed("linux/amd64"));
        assert_eq!(
            findings(|image| image.config.platform = *boxed("linux/amd64")),
            [Finding::ConfigPlatform { requested: requested.clone(), actual: actual.clone() }]
        );
        assert_eq!(
            findings(|image| image.descriptor.platform = Some(*boxed("linux/amd64"))),
            [Finding::DescriptorPlatform { requested, actual }]
        );
        let (requested, actual) = (boxed("linux/arm/v6"), boxed("linux/arm/v7"));
        let wrong_variant = |image: &mut Image| {
            image.requested = *boxed("linux/arm/v6");
            image.descriptor.platform = None;
            image.config.platform = *boxed("linux/arm/v7");
        };
        assert_eq!(findings(wrong_variant), [Finding::ConfigPlatform { requested, actual }]);
    }

    #[test]
    fn a_windows_version_counts_if_it_was_requested() {
        let versions = |requested: &str, actual: &str| {
            let mut image = image(actual);
            image.requested = Platform::parse(requested).unwrap();
            child(&image.requested, &image.descriptor, &image.manifest, &image.config).len()
        };
        assert_eq!(versions("windows/amd64", "windows(10.0.17763)/amd64"), 0);
        assert_eq!(versions("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"), 0);
        assert_eq!(versions("windows(10.0.20348)/amd64", "windows(10.0.17763)/amd64"), 2);
    }

    #[test]
    fn numbers_must_agree() {
        let no_diff_id = |image: &mut Image| {
            image.config.rootfs.diff_ids.pop();
        };
        assert_eq!(findings(no_diff_id), [Finding::DiffIds { diff_ids: 1, layers: 2 }]);
        assert_eq!(
            findings(|image| image.config.history[1].empty_layer = false),
            [Finding::History { entries: 3, layers: 2 }]
        );
        assert_eq!(
            findings(|image| image.config.rootfs.kind = "tree".into()),
            [Finding::RootFsType("tree".into())]
        );
    }

    #[test]
    fn media_types_must_be_known_where_they_stand() {
        let media_type = |part, media_type: &str| Finding::MediaType { part, media_type: media_type.into() };
        assert_eq!(
            findings(|image| image.manifest.layers[1].media_type = "text/plain".into()),
            [media_type(Part::Layer(1), "text/plain")]
        );
        assert_eq!(
            findings(|image| image.manifest.config.media_type = media_type::OCI_EMPTY.into()),
            [media_type(Part::Config, media_type::OCI_EMPTY)]
        );
        let index = |image: &mut Image| image.descriptor.media_type = media_type::OCI_INDEX.into();
        assert_eq!(
            findings(index),
            [
                Finding::ManifestMediaType {
                    expected: media_type::OCI_INDEX.into(),
                    actual: media_type::OCI_MANIFEST.into(),
                },
                media_type(Part::Manifest, media_type::OCI_INDEX),
            ]
        );
    }

    #[test]
    fn impossible_sizes_are_found() {
        assert_eq!(
            findings(|image| image.manifest.layers[0].size = 0),
            [Finding::Size { part: Part::Layer(0), size: 0 }]
        );
        assert_eq!(
            findings(|image| image.manifest.config.size = MAX_DOCUMENT + 1),
            [Finding::Size { part: Part::Config, size: MAX_DOCUMENT + 1 }]
        );
    }
}
