//! Verified children become one image index.

use archway_attest::Attached;
use archway_engine::BuiltImage;
use archway_oci::{Descriptor, annotations::Annotations, assemble, media_type, verify};

use crate::Error;

/// The image index of a build, and its bytes.
#[derive(Debug, Clone)]
pub struct BuiltIndex {
    /// Describes the index.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
    /// What is said of its images, in the same order. All bytes are in the store.
    pub attestations: Vec<Attached>,
}

/// Checks that a platform's image is what was asked for. Empty: it is.
pub fn verify(image: &BuiltImage) -> Vec<verify::Finding> {
    verify::child(&image.platform, &image.descriptor, &image.manifest, &image.config)
}

/// Puts `children` into one index, in this order, and what is said of them behind. Their manifests have
/// their annotations already.
pub fn assemble(
    children: &[BuiltImage],
    attestations: Vec<Attached>,
    annotations: &Annotations,
) -> Result<BuiltIndex, Error> {
    let describe = |child: &BuiltImage| {
        let mut descriptor = child.descriptor.clone();
        descriptor.annotations.extend(annotations.manifest_descriptor(&child.platform));
        descriptor
    };
    let mut descriptors: Vec<Descriptor> = children.iter().map(describe).collect();
    descriptors.extend(attestations.iter().map(|attached| attached.descriptor.clone()));
    let (_, bytes) = assemble::image_index(&descriptors, &annotations.index())?;
    let mut descriptor = Descriptor::of(media_type::OCI_INDEX, &bytes);
    descriptor.annotations = annotations.index_descriptor();
    Ok(BuiltIndex { descriptor, bytes, attestations })
}
