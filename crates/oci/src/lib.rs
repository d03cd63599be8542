//! The nouns of an OCI image, and the rules that need no network to be checked.
//!
//! Everything here is pure data and pure decisions, except [`layout`], which reads and writes an
//! OCI image layout on the local file system.
//!
//! | module | holds | source |
//! |---|---|---|
//! | [`platform`] | parsing, normalising, matching and ordering of platforms | containerd's rules |
//! | [`mod@reference`] | image references and where an image may come from | distribution's grammar |
//! | [`digest`] | content digests and a hashing writer | image-spec `descriptor.md` |
//! | [`descriptor`], [`manifest`], [`config`] | the JSON documents | image-spec |
//! | [`json`] | how those are read and written | - |
//! | [`media_type`] | OCI and Docker schema 2 media types | image-spec, distribution |
//! | [`layout`] | an image as a directory | image-spec `image-layout.md` |
//! | [`annotations`] | which document an annotation is for | image-spec `annotations.md` |
//! | [`referrer`] | manifests about another one, and how they are listed | image-spec, distribution-spec |
//! | [`assemble`] | children to one image index | image-spec `image-index.md` |
//! | [`verify`] | whether a child is what its descriptor and the request promise | promise 3 |

pub mod annotations;
pub mod assemble;
pub mod config;
pub mod descriptor;
pub mod digest;
pub mod json;
pub mod layout;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod referrer;
pub mod verify;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Digest, Sha256Writer};
pub use layout::Layout;
pub use manifest::{Index, Manifest};
pub use platform::Platform;
pub use reference::{ImageLocation, Reference};
