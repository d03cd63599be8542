//! What an image consists of: its platforms with what they share, the attestations about them, and what refers
//! to it. Layers are not downloaded.

use std::collections::{BTreeMap, BTreeSet};

use archway_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type, reference::ImageLocation,
};
use futures_util::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, try_join, try_join_all},
    stream,
};
use serde::Serialize;

use crate::{
    Context, Error,
    index_tools::{NoSuchPlatforms, is_for, subject},
    origin::{self, Found},
};

/// Says what the statement in a layer of an attestation is (in-toto).
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// Referrers of referrers are looked at so deep.
const MAX_DEPTH: usize = 3;
/// Documents that are read at the same time.
const PARALLEL: usize = 16;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectRequest {
    /// The image.
    pub image: ImageLocation,
    /// Whether a name is looked up at its registry even if the local store has it.
    pub pull: bool,
    /// Platforms that are shown; empty: all.
    pub platforms: Vec<Platform>,
    /// Whether what refers to the image is shown.
    pub referrers: bool,
}

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
    /// Bytes of configs and layers, compressed: the sum over the platforms.
    pub size: u64,
    /// The same, with what several platforms have counted once.
    pub unique_size: u64,
    /// Annotations of the index.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// One for each platform, in the order of the index.
    pub platforms: Vec<PlatformImage>,
    /// Documents that the image names and that are not where it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingDocument>,
    /// Children that are for no platform, and about none of those: artifacts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Descriptor>,
    /// What refers to the topmost document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub referrers: Vec<Referrer>,
}

/// A document that is named and not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingDocument {
    /// What it would be.
    pub kind: DocumentKind,
    /// For which platform it would be, as far as the index says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes, as what names it says.
    pub size: u64,
}

/// What a missing document would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentKind {
    /// The manifest of a platform's image.
    Manifest,
    /// The config of a platform's image; without it nothing of the image is shown.
    Config,
    /// The manifest of statements about a platform's image.
    Attestation,
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
    /// Annotations of its descriptor in the index.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
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
    /// Attestations about it that the index has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<Attestation>,
    /// What else refers to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub referrers: Vec<Referrer>,
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

/// A manifest of statements about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attestation {
    /// Digest of the manifest.
    pub digest: Digest,
    /// The statements.
    pub statements: Vec<Statement>,
}

/// A statement about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// What kind it is: a URI, such as `https://slsa.dev/provenance/v1`. Without one, the media type.
    pub predicate_type: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

/// A manifest that is about another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// What it is, as the list of referrers says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
    /// Its annotations, as the list says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What refers to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub referrers: Vec<Referrer>,
}

/// Looks at an image. What it names and is not there is shown as missing: whether that is wrong is for a
/// verification to say.
///
/// # Errors
/// [`Error`], also if there is no image for a platform that was asked for, and none that is missing.
pub async fn inspect(context: &Context, request: &InspectRequest) -> Result<Inspection, Error> {
    let found = Found::at(context, &request.image, request.pull).await?;
    let index = match media_type::is_index(&found.top.media_type) {
        true => Some(Index::parse(&found.document(context, &found.top).await?)?),
        false => None,
    };
    let manifests = found.manifests(context, found.top.clone()).await?;
    let (others, images): (Vec<Descriptor>, Vec<Descriptor>) =
        manifests.into_iter().partition(|child| child.platform.as_ref().is_some_and(Platform::is_unknown));
    let reading = images.iter().map(|child| platform_image(context, &found, child));
    let read: Vec<Result<PlatformImage, MissingDocument>> =
        stream::iter(reading.collect::<Vec<_>>()).buffered(PARALLEL).try_collect().await?;
    let (mut platforms, mut missing) = chosen(read, &request.platforms)?;
    count_sharing(&mut platforms);
    let (about, others): (Vec<Descriptor>, Vec<Descriptor>) =
        others.into_iter().partition(|other| is_about(other, &images));
    let filling = platforms.iter_mut().map(|image| fill(context, request, &found, image, &about));
    let (unsaid, referrers) = try_join(
        try_join_all(filling),
        // Those of a single image are its own already.
        referrers(context, request, &found, index.is_some().then_some(&found.top.digest), &[], MAX_DEPTH),
    )
    .await?;
    missing.extend(unsaid.into_iter().flatten());
    Ok(Inspection {
        name: origin::describe(&request.image),
        size: total(platforms.iter().map(|image| image.size)),
        unique_size: unique_size(&platforms),
        media_type: found.top.media_type,
        digest: found.top.digest,
        annotations: index.map(|index| index.annotations).unwrap_or_default(),
        platforms,
        missing,
        others,
        referrers,
    })
}

/// A document, byte for byte: the topmost, or the manifest of the only platform that was asked for.
///
/// # Errors
/// [`Error`].
pub async fn raw(context: &Context, request: &InspectRequest) -> Result<Vec<u8>, Error> {
    let found = Found::at(context, &request.image, request.pull).await?;
    let descriptor = match &*request.platforms {
        [] => found.top.clone(),
        [platform] => found.child(context, &origin::describe(&request.image), platform).await?,
        _ => {
            return Err(Error::Output {
                message: "there is a manifest for each platform, and one can be printed".to_owned(),
                hint: Some("name one platform with `--platform`".to_owned()),
            });
        }
    };
    found.document(context, &descriptor).await
}

async fn platform_image(
    context: &Context,
    found: &Found,
    descriptor: &Descriptor,
) -> Result<Result<PlatformImage, MissingDocument>, Error> {
    let missing = |kind, named: &Descriptor| MissingDocument {
        kind,
        platform: descriptor.platform.clone(),
        digest: named.digest.clone(),
        size: named.size,
    };
    let Some(manifest) = if_there(found.document(context, descriptor).await)? else {
        return Ok(Err(missing(DocumentKind::Manifest, descriptor)));
    };
    let manifest = Manifest::parse(&manifest)?;
    let Some(config) = if_there(found.document(context, &manifest.config).await)? else {
        return Ok(Err(missing(DocumentKind::Config, &manifest.config)));
    };
    let config = ImageConfig::parse(&config)?;
    let layers: Vec<LayerInfo> = manifest
        .layers
        .iter()
        .map(|layer| LayerInfo { digest: layer.digest.clone(), size: layer.size, shared_by: 1 })
        .collect();
    let platform = descriptor.platform.clone().unwrap_or_else(|| config.platform.clone().normalized());
    Ok(Ok(PlatformImage {
        platform,
        config_platform: config.platform,
        digest: descriptor.digest.clone(),
        annotations: descriptor.annotations.clone(),
        size: total(layers.iter().map(|layer| layer.size).chain([manifest.config.size])),
        config: manifest.config.digest,
        layers,
        created: config.created,
        command: [config.config.entrypoint, config.config.cmd].into_iter().flatten().flatten().collect(),
        attestations: Vec::new(),
        referrers: Vec::new(),
    }))
}

/// `None`: it is not where it should be.
fn if_there<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(document) => Ok(Some(document)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Those for `wanted`, and those of them that are missing; all if nothing is wanted.
fn chosen(
    images: Vec<Result<PlatformImage, MissingDocument>>,
    wanted: &[Platform],
) -> Result<(Vec<PlatformImage>, Vec<MissingDocument>), Error> {
    let platform = |image: &Result<PlatformImage, MissingDocument>| match image {
        Ok(image) => Some(image.platform.clone()),
        Err(missing) => missing.platform.clone(),
    };
    let offered: Vec<Platform> = images.iter().filter_map(platform).collect();
    let is_missing = |wanted: &&Platform| !offered.iter().any(|offered| is_for(offered, wanted));
    let missing: Vec<Platform> = wanted.iter().filter(is_missing).cloned().collect();
    if !missing.is_empty() {
        return Err(NoSuchPlatforms { missing, offered }.into());
    }
    let is_chosen = |image: &Result<PlatformImage, MissingDocument>| {
        let is_wanted = |offered: &Platform| wanted.iter().any(|wanted| is_for(offered, wanted));
        wanted.is_empty() || platform(image).as_ref().is_some_and(is_wanted)
    };
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for image in images.into_iter().filter(is_chosen) {
        match image {
            Ok(image) => there.push(image),
            Err(gone) => missing.push(gone),
        }
    }
    Ok((there, missing))
}

/// Whether a child is an attestation about one of `images`.
fn is_about(other: &Descriptor, images: &[Descriptor]) -> bool {
    subject(other).is_some_and(|subject| images.iter().any(|image| image.digest == subject))
}

/// Adds what is said about an image; returns attestations that are missing.
async fn fill(
    context: &Context,
    request: &InspectRequest,
    found: &Found,
    image: &mut PlatformImage,
    attestations: &[Descriptor],
) -> Result<Vec<MissingDocument>, Error> {
    let own: Vec<&Descriptor> =
        attestations.iter().filter(|other| subject(other).as_ref() == Some(&image.digest)).collect();
    let reading = try_join_all(own.iter().map(|descriptor| attestation(context, found, descriptor)));
    // An attestation may be listed as a referrer, too.
    let known: Vec<Digest> = own.iter().map(|descriptor| descriptor.digest.clone()).collect();
    let listing = referrers(context, request, found, Some(&image.digest), &known, MAX_DEPTH);
    let (read, referrers) = try_join(reading, listing).await?;
    image.referrers = referrers;
    let mut missing = Vec::new();
    for (descriptor, attestation) in own.into_iter().zip(read) {
        match attestation {
            Some(attestation) => image.attestations.push(attestation),
            None => missing.push(MissingDocument {
                kind: DocumentKind::Attestation,
                platform: Some(image.platform.clone()),
                digest: descriptor.digest.clone(),
                size: descriptor.size,
            }),
        }
    }
    Ok(missing)
}

/// `None`: it is not there.
async fn attestation(
    context: &Context,
    found: &Found,
    descriptor: &Descriptor,
) -> Result<Option<Attestation>, Error> {
    let Some(document) = if_there(found.document(context, descriptor).await)? else { return Ok(None) };
    let statements = Manifest::parse(&document)?.layers.into_iter().map(|mut layer| Statement {
        predicate_type: layer.annotations.remove(PREDICATE_TYPE).unwrap_or(layer.media_type),
        digest: layer.digest,
        size: layer.size,
    });
    Ok(Some(Attestation { digest: descriptor.digest.clone(), statements: statements.collect() }))
}

/// What refers to `subject`, and what refers to that.
fn referrers<'a>(
    context: &'a Context,
    request: &'a InspectRequest,
    found: &'a Found,
    subject: Option<&'a Digest>,
    known: &'a [Digest],
    depth: usize,
) -> BoxFuture<'a, Result<Vec<Referrer>, Error>> {
    async move {
        let Some(subject) = subject.filter(|_| request.referrers && depth > 0) else { return Ok(Vec::new()) };
        let mut listed = found.referrers(context, subject).await?;
        listed.retain(|one| !known.contains(&one.digest));
        let looking = listed.into_iter().map(|descriptor| async move {
            let own = referrers(context, request, found, Some(&descriptor.digest), &[], depth - 1).await?;
            Ok(Referrer {
                artifact_type: descriptor.artifact_type,
                digest: descriptor.digest,
                size: descriptor.size,
                annotations: descriptor.annotations,
                referrers: own,
            })
        });
        stream::iter(looking.collect::<Vec<_>>()).buffered(PARALLEL).try_collect().await
    }
    .boxed()
}

fn count_sharing(platforms: &mut [PlatformImage]) {
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    for platform in platforms.iter() {
        let own: BTreeSet<&Digest> = platform.layers.iter().map(|layer| &layer.digest).collect();
        for digest in own {
            *users.entry(digest.clone()).or_default() += 1;
        }
    }
    for layer in platforms.iter_mut().flat_map(|platform| &mut platform.layers) {
        layer.shared_by = users.get(&layer.digest).copied().unwrap_or(1);
    }
}

/// Bytes of all blobs, each once.
fn unique_size(platforms: &[PlatformImage]) -> u64 {
    let mut blobs: BTreeMap<&Digest, u64> = BTreeMap::new();
    for image in platforms {
        let layers = total(image.layers.iter().map(|layer| layer.size));
        blobs.insert(&image.config, image.size.saturating_sub(layers));
        blobs.extend(image.layers.iter().map(|layer| (&layer.digest, layer.size)));
    }
    total(blobs.into_values())
}

/// Documents may state any size.
fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(platform: &str, layers: &[(&str, u64)]) -> PlatformImage {
        let layers: Vec<LayerInfo> = layers
            .iter()
            .map(|(name, size)| LayerInfo {
                digest: Digest::sha256(name.as_bytes()),
                size: *size,
                shared_by: 1,
            })
            .collect();
        let platform: Platform = platform.parse().unwrap();
        PlatformImage {
            config_platform: platform.clone(),
            digest: Digest::sha256(platform.to_string().as_bytes()),
            annotations: BTreeMap::new(),
            config: Digest::sha256(format!("config of {platform}").as_bytes()),
            size: 10 + layers.iter().map(|layer| layer.size).sum::<u64>(),
            platform,
            layers,
            created: None,
            command: Vec::new(),
            attestations: Vec::new(),
            referrers: Vec::new(),
        }
    }

    fn gone(platform: &str) -> MissingDocument {
        MissingDocument {
            kind: DocumentKind::Manifest,
            platform: Some(platform.parse().unwrap()),
            digest: Digest::sha256(platform.as_bytes()),
            size: 400,
        }
    }

    #[test]
    fn what_is_shared_counts_once() {
        let mut platforms = [
            image("linux/amd64", &[("base", 100), ("app", 20), ("app", 20)]),
            image("linux/arm64", &[("other base", 90), ("app", 20)]),
        ];
        count_sharing(&mut platforms);
        let shared: Vec<Vec<usize>> = platforms
            .iter()
            .map(|image| image.layers.iter().map(|layer| layer.shared_by).collect())
            .collect();
        assert_eq!(shared, [vec![1, 2, 2], vec![1, 2]]);
        assert_eq!(unique_size(&platforms), 10 + 10 + 100 + 90 + 20);
    }

    #[test]
    fn platforms_are_chosen_and_a_missing_one_is_named() {
        let images = || vec![image("linux/amd64", &[]), image("linux/arm64", &[])];
        let wanted =
            |names: &[&str]| -> Vec<Platform> { names.iter().map(|name| name.parse().unwrap()).collect() };
        let chosen = |names: &[&str]| {
            let images = images().into_iter().map(Ok).chain([Err(gone("linux/riscv64"))]);
            super::chosen(images.collect(), &wanted(names))
        };
        let shown = |names: &[&str]| {
            let (there, missing) = chosen(names).unwrap();
            let there: Vec<String> = there.iter().map(|image| image.platform.to_string()).collect();
            (there.join(" "), missing.len())
        };
        assert_eq!(shown(&[]), ("linux/amd64 linux/arm64".to_owned(), 1));
        assert_eq!(shown(&["linux/aarch64"]), ("linux/arm64".to_owned(), 0));
        assert_eq!(shown(&["linux/riscv64"]), (String::new(), 1), "what is missing is listed all the same");
        let missing = chosen(&["linux/arm64", "linux/s390x"]);
        assert!(
            matches!(missing, Err(Error::NoSuchPlatforms(NoSuchPlatforms { missing, .. })) if missing == wanted(&["linux/s390x"]))
        );
    }
}
