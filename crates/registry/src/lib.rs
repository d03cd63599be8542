//! The client side of the OCI distribution API: pulling, pushing, authentication.
//!
//! A [`Client`] is cheap to clone and to make: connections, TLS roots and tokens come with the first
//! request that needs them. Every reply is hostile until its digest says otherwise.
//!
//! | module | does | source |
//! |---|---|---|
//! | [`client`] | what callers use | distribution-spec |
//! | `pull` | manifests, platform choice, blobs with resume | distribution-spec "Pull" |
//! | `push` | mounts, uploads in chunks, manifests | distribution-spec "Push" |
//! | [`credentials`] | Docker's and podman's files, credential helpers | docker/cli `config.json`, containers-auth.json(5) |
//! | `auth` | Basic and Bearer challenges, tokens | distribution "token" and "oauth2" |
//! | `host` | scheme, TLS and name of a registry | Docker's rules |
//! | `transport` | one request: address, authentication, retries | RFC 9110 |

mod auth;
pub mod client;
pub mod credentials;
mod error;
mod host;
mod pull;
mod push;
mod transport;

pub use client::{Client, ClientOptions};
pub use credentials::Keychain;
pub use error::{Error, RegistryMessage};
pub use pull::{BlobReader, Fetched, Resolved};
pub use push::{Pushed, Upload};
