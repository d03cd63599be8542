//! A builder: remote BuildKit daemons, driven over gRPC.
//!
//! A [`Daemon`] is one connection, over TCP with mutual TLS, a Unix socket, or SSH. Inside of it runs a
//! *session*: the daemon calls this machine for what the build reads here - files of the source snapshot,
//! credentials, secrets - and for nothing else. One [`Solve`] builds one platform with the daemon's own
//! Dockerfile frontend, and ends with the digest of an image that the daemon has pushed, or with the bytes of
//! an image that it sent. Which daemon builds which platform is decided by [`pool`], which does no I/O.
//!
//! | module | holds |
//! |---|---|
//! | [`endpoint`] | where a daemon is: `tcp://`, `unix://`, `ssh://` |
//! | [`pool`] | named daemons; which of them builds a platform |
//! | [`certs`] | an authority of one's own, and certificates that it issues |
//! | [`config`] | the file of builders |
//! | [`tls`] | certificates that connections are made with |
//! | [`connect`] | connections, and every way in which one can be refused |
//! | [`daemon`] | what a daemon says of itself: version, workers, disk |
//! | [`session`] | what the daemon may call this machine for |
//! | [`solve`] | one build: request, progress, end |

pub mod certs;
pub mod config;
pub mod connect;
pub mod daemon;
pub mod endpoint;
pub mod pool;
mod proto;
pub mod session;
pub mod solve;
pub mod tls;

pub use connect::ConnectError;
pub use daemon::Daemon;
pub use endpoint::Endpoint;
pub use pool::{Node, Pool};
pub use session::{Lent, SessionError};
pub use solve::{Solve, SolveError, Solved};
