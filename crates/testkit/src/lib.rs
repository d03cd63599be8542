//! Test support that uses the real thing: Debian's registry, base images made from Debian packages,
//! skopeo and umoci as independent readers.
//!
//! The kit depends on `archway-oci` for the document types and on nothing else of Archway, so that a
//! bug in the code under test cannot hide in the code that checks it.
//!
//! | module | holds |
//! |---|---|
//! | [`tools`] | which external tools a test needs, and the skip-or-fail rule |
//! | [`buildkit`] | a `buildkitd` of its own, the reference for what a Dockerfile means |
//! | [`peers`] | crane and buildx, as other readers of indexes; helm, and the description of Kubernetes' API |
//! | [`registry`] | a `docker-registry` on a free loopback port |
//! | [`fault`] | a proxy in front of a registry that fails as a script says |
//! | [`object_store`] | an S3-compatible object store |
//! | [`bases`] | multi-platform base images, made once and cached |
//! | [`image`] | hand-made images: layers entry by entry, written as an OCI layout |
//! | [`web`], [`git`] | a web server that answers as a test says; git repositories behind one |
//! | [`skopeo`], [`umoci`] | reading images back |
//! | [`certificate`] | certificates for servers on this machine |
//! | [`tree`] | comparing directories and tars |
//! | [`random`] | numbers that a seed decides |
//! | [`cli`] | running the `archway` binary in isolation |
//! | [`apt`], [`cache`] | what [`bases`] is made with: a private apt, a shared cache directory |

pub mod apt;
pub mod bases;
pub mod buildkit;
pub mod cache;
pub mod certificate;
pub mod cli;
pub mod fault;
pub mod git;
pub mod image;
pub mod object_store;
pub mod peers;
pub mod process;
pub mod random;
pub mod registry;
pub mod skopeo;
pub mod tools;
pub mod tree;
pub mod umoci;
mod watchdog;
pub mod web;

pub use bases::BaseImages;
pub use buildkit::Buildkit;
pub use cli::Cli;
pub use fault::FaultProxy;
pub use git::GitServer;
pub use object_store::ObjectStore;
pub use peers::Peer;
pub use random::Random;
pub use registry::RealRegistry;
pub use skopeo::Skopeo;
pub use umoci::Umoci;
pub use web::WebServer;
