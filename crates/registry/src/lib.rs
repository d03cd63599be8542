//! The client side of the OCI distribution API: pulling, pushing, authentication.
//!
//! A [`Client`] is cheap to clone and to make: connections, TLS roots and tokens come with the first
//! request that needs them. Every reply is hostile until its digest says otherwise.
//!
//! | module | does | source |
//! |---|---|---|
//! | [`client`] | what callers use | distribution-spec |
//! | `pull`, `blob` | manifests; blobs with resume | distribution-spec "Pull" |
//! | `tags` | which there are; removing one | distribution-spec "Content Discovery", "Content Management" |
//! | `push`, `upload` | mounts, manifests; uploads in chunks, with resume | distribution-spec "Push" |
//! | `referrers` | manifests about others, also at registries without the API | distribution-spec "Listing Referrers" |
//! | [`credentials`] | Docker's and podman's files, credential helpers | docker/cli `config.json`, containers-auth.json(5) |
//! | `link` | lists that come in pages | RFC 8288 |
//! | [`GrowingBlob`] | uploads of what is still being written | |
//! | `auth`, `token` | challenges and scopes; Basic, Bearer tokens | distribution "token" and "oauth2" |
//! | `delegate` | what others get who work for us | distribution "token" |
//! | `host`, `endpoint` | scheme, TLS and name of a registry; the first contact | Docker's rules |
//! | `transport` | one operation: authentication, redirects, retries | RFC 9110 |
//! | `request`, `exchange` | what is sent; one request and its answer on the wire | RFC 9110 |

mod auth;
mod blob;
pub mod client;
pub mod credentials;
mod delegate;
mod endpoint;
mod error;
mod exchange;
mod growing;
mod host;
mod link;
mod pull;
mod push;
mod referrers;
mod request;
mod tags;
mod token;
mod transport;
mod upload;

pub use blob::BlobReader;
pub use client::{Client, ClientOptions};
pub use credentials::Keychain;
pub use delegate::Challenged;
pub use error::{Error, RegistryMessage};
pub use growing::{Growing, GrowingBlob};
pub use host::install_cryptography;
pub use pull::Fetched;
pub use push::Pushed;
pub use tags::TagRemoval;
pub use token::Bearer;
