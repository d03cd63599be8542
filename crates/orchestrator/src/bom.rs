//! Bills of materials of images, those that exist and those that a build made.

use std::sync::Arc;

use archway_attest::{
    Attestation,
    packages::{Catalog, Databases, catalog},
    sbom::{self, Format},
};
use archway_oci::{Digest, Manifest, Platform, platform::best_match, reference::ImageLocation};

use crate::{
    Context, Error,
    contents::{self, Selectors},
    origin::{self, Found},
    scan::{self, ScanReport, ScanSpec},
};

/// The image of one platform, and its packages.
#[derive(Debug, Clone)]
pub struct Cataloged {
    /// Its platform.
    pub platform: Platform,
    /// Digest of its manifest.
    pub digest: Digest,
    /// When it was made, as its config says.
    pub created: Option<String>,
    /// Its packages.
    pub catalog: Catalog,
}

impl Cataloged {
    pub(crate) fn described(&self) -> sbom::Image<'_> {
        sbom::Image { digest: &self.digest, platform: &self.platform, created: self.created.as_deref() }
    }

    /// Its bill of materials.
    pub fn document(&self, format: Format) -> Attestation {
        sbom::document(format, &self.described(), &self.catalog)
    }
}

/// The packages of an image that exists, for some platforms or, if `platforms` is empty, for all that it has.
///
/// # Errors
/// Also if the image lacks one of the platforms.
pub async fn catalogs(
    context: &Context,
    location: &ImageLocation,
    platforms: &[Platform],
    pull: bool,
) -> Result<Vec<Cataloged>, Error> {
    let found = Found::at(context, location, pull).await?;
    let mut children = found.children(context).await?;
    if !platforms.is_empty() {
        let mut chosen = Vec::with_capacity(platforms.len());
        for platform in platforms {
            match best_match(platform, children.iter().map(|(offered, _)| offered)) {
                Some(best) => chosen.push(children[best].clone()),
                None => {
                    return Err(Error::NoSuchPlatform {
                        name: origin::describe(location),
                        platform: platform.clone(),
                        offered: children.into_iter().map(|(offered, _)| offered).collect(),
                    });
                }
            }
        }
        children = chosen;
    }
    let mut images = Vec::with_capacity(children.len());
    for (platform, descriptor) in children {
        let (manifest, config) = found.image(context, &descriptor).await?;
        images.push(Image { platform, digest: descriptor.digest, created: config.created, manifest });
    }
    of_images(context, &Arc::new(found), images).await
}

/// Looks for vulnerabilities of an image that exists.
///
/// # Errors
/// Those of [`catalogs`], and [`Error::Scan`].
pub async fn scan(
    context: &Context,
    location: &ImageLocation,
    platforms: &[Platform],
    pull: bool,
    spec: &ScanSpec,
) -> Result<ScanReport, Error> {
    let images = catalogs(context, location, platforms, pull).await?;
    Ok(scan::scan(spec, &images).await?)
}

/// An image whose layers are to be read.
struct Image {
    platform: Platform,
    digest: Digest,
    created: Option<String>,
    manifest: Manifest,
}

async fn of_images(
    context: &Context,
    found: &Arc<Found>,
    images: Vec<Image>,
) -> Result<Vec<Cataloged>, Error> {
    let selectors: Selectors = Arc::new([Arc::new(Databases)]);
    let wanted: Vec<(Platform, Manifest)> =
        images.iter().map(|image| (image.platform.clone(), image.manifest.clone())).collect();
    let read = contents::of_images(context, found, &wanted, &selectors).await?;
    let cataloged = images.into_iter().zip(read).map(|(image, contents)| Cataloged {
        platform: image.platform,
        digest: image.digest,
        created: image.created,
        catalog: contents.first().map(catalog).unwrap_or_default(),
    });
    Ok(cataloged.collect())
}
