//! Bills of materials of images, those that exist and those that a build made.

use std::sync::Arc;

use archway_attest::{
    Attestation,
    packages::{Catalog, Databases, catalog},
    sbom::{self, Format},
};
use archway_engine::BuiltImage;
use archway_oci::{Digest, Manifest, Platform, platform::best_match, reference::ImageLocation};

use crate::{
    Context, Error,
    contents::{self, Reader},
    origin::{self, Found, Origin},
    output,
    request::BuildRequest,
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

/// What is known of the packages of images that were built.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// In the order of the images; empty if nobody asked.
    pub(crate) cataloged: Vec<Cataloged>,
    /// Their vulnerabilities, if they were looked for.
    pub(crate) scan: Option<ScanReport>,
}

/// Looks at images that were built, before they are published. Base layers that no step read are fetched.
///
/// # Errors
/// [`Error::Vulnerable`] if they have vulnerabilities that are not let pass.
pub(crate) async fn examine(
    context: &Context,
    request: &BuildRequest,
    built: &[BuiltImage],
) -> Result<Examined, Error> {
    let Some(first) = built.first().filter(|_| request.reads_packages()) else {
        return Ok(Examined::default());
    };
    output::fetch_layers(context, built).await?;
    let found = Arc::new(Found { origin: Origin::Store, top: first.descriptor.clone() });
    let images = built.iter().map(|image| Image {
        platform: image.platform.clone(),
        digest: image.descriptor.digest.clone(),
        created: image.config.created.clone(),
        manifest: image.manifest.clone(),
    });
    let cataloged = of_images(context, &found, images.collect()).await?;
    let Some(spec) = &request.scan else { return Ok(Examined { cataloged, scan: None }) };
    let report = scan::scan(spec, &cataloged).await?;
    match report.offending().is_empty() {
        true => Ok(Examined { cataloged, scan: Some(report) }),
        false => Err(Error::Vulnerable(Box::new(report))),
    }
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
    let reader = Reader { selector: Arc::new(Databases), facts: Databases::FACTS };
    let wanted: Vec<(Platform, Manifest)> =
        images.iter().map(|image| (image.platform.clone(), image.manifest.clone())).collect();
    let read = contents::of_images(context, found, &wanted, &reader).await?;
    let cataloged = images.into_iter().zip(read).map(|(image, contents)| Cataloged {
        platform: image.platform,
        digest: image.digest,
        created: image.created,
        catalog: catalog(&contents),
    });
    Ok(cataloged.collect())
}
