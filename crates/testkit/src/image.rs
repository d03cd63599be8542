//! Hand-made images: layers entry by entry, written as an OCI image layout.
//!
//! The bytes depend on what is put in and on nothing else, so digests are stable.

mod layer;
mod layout;

pub use layer::{Layer, LayerBuilder};
pub use layout::{Image, ImageError, PlatformImage};

/// The time of everything the kit makes: 2024-01-01 00:00:00 UTC, in seconds since 1970.
pub const TIME: u64 = 1_704_067_200;

/// [`TIME`] as image configs spell it.
pub const CREATED: &str = "2024-01-01T00:00:00Z";
