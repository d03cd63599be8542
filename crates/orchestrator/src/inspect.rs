//! What an image consists of.

use std::collections::BTreeMap;

use archway_oci::{Descriptor, Digest, Index, Platform, media_type, reference::ImageLocation};
use serde::Serialize;

use crate::{
    Context, Error,
    origin::{self, Found},
};

/// An image as `archway inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Where it was found.
    pub name: String,
    /// Media type of the topmost document.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Annotations of the index.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// One for each platform, in the order of the index.
    pub platforms: Vec<PlatformImage>,
    /// Children that are for no platform: attestations, artifacts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Descriptor>,
}

/// The image of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformImage {
    /// As the index says.
    pub platform: Platform,
    /// As the config says.
    pub config_platform: Platform,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Digest of the config.
    pub config: Digest,
    /// Bytes of config and layers, compressed.
    pub size: u64,
    /// The layers, base first.
    pub layers: Vec<LayerInfo>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Program and arguments it runs.
    pub command: Vec<String>,
}

/// A layer, and who shares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerInfo {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// How many platforms of this image have it.
    pub shared_by: usize,
}

/// Looks at an image without downloading its layers.
pub async fn inspect(context: &Context, location: &ImageLocation, pull: bool) -> Result<Inspection, Error> {
    let found = Found::at(context, location, pull).await?;
    let mut platforms = Vec::new();
    for (platform, descriptor) in found.children(context).await? {
        let (manifest, config) = found.image(context, &descriptor).await?;
        let layers: Vec<LayerInfo> = manifest
            .layers
            .iter()
            .map(|layer| LayerInfo { digest: layer.digest.clone(), size: layer.size, shared_by: 1 })
            .collect();
        platforms.push(PlatformImage {
            platform,
            config_platform: config.platform.clone(),
            digest: descriptor.digest,
            size: manifest.config.size + layers.iter().map(|layer| layer.size).sum::<u64>(),
            config: manifest.config.digest,
            layers,
            created: config.created,
            command: [config.config.entrypoint, config.config.cmd].into_iter().flatten().flatten().collect(),
        });
    }
    count_sharing(&mut platforms);
    let (annotations, others) = match media_type::is_index(&found.top.media_type) {
        true => {
            let index = Index::parse(&found.document(context, &found.top).await?)?;
            let is_other = |child: &Descriptor| child.platform.as_ref().is_some_and(Platform::is_unknown);
            (index.annotations, index.manifests.into_iter().filter(is_other).collect())
        }
        false => (BTreeMap::new(), Vec::new()),
    };
    Ok(Inspection {
        name: origin::describe(location),
        media_type: found.top.media_type,
        digest: found.top.digest,
        annotations,
        platforms,
        others,
    })
}

/// The topmost document, byte for byte.
pub async fn raw(context: &Context, location: &ImageLocation, pull: bool) -> Result<Vec<u8>, Error> {
    let found = Found::at(context, location, pull).await?;
    found.document(context, &found.top).await
}

fn count_sharing(platforms: &mut [PlatformImage]) {
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    for platform in platforms.iter() {
        let mut own: Vec<&Digest> = platform.layers.iter().map(|layer| &layer.digest).collect();
        own.sort();
        own.dedup();
        for digest in own {
            *users.entry(digest.clone()).or_default() += 1;
        }
    }
    for layer in platforms.iter_mut().flat_map(|platform| &mut platform.layers) {
        layer.shared_by = users.get(&layer.digest).copied().unwrap_or(1);
    }
}
