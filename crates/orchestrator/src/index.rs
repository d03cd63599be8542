//! Verified children become one image index.

use std::collections::BTreeMap;

use archway_engine::BuiltImage;
use archway_oci::{Descriptor, assemble, media_type, verify};

use crate::Error;

/// The image index of a build, and its bytes.
#[derive(Debug, Clone)]
pub struct BuiltIndex {
    /// Describes the index.
    pub descriptor: Descriptor,
    /// The document.
    pub bytes: Vec<u8>,
}

/// Checks that a platform's image is what was asked for. Empty: it is.
pub fn verify(image: &BuiltImage) -> Vec<verify::Finding> {
    verify::child(&image.platform, &image.descriptor, &image.manifest, &image.config)
}

/// Puts `children` into one index, in this order.
pub fn assemble(
    children: &[BuiltImage],
    annotations: &BTreeMap<String, String>,
) -> Result<BuiltIndex, Error> {
    let descriptors: Vec<Descriptor> = children.iter().map(|child| child.descriptor.clone()).collect();
    let (_, bytes) = assemble::image_index(&descriptors, annotations)?;
    Ok(BuiltIndex { descriptor: Descriptor::of(media_type::OCI_INDEX, &bytes), bytes })
}
