//! Builds at BuildKit daemons: real ones of the release that `scripts/peers` builds, over mutual TLS where it matters,
//! with a real registry that they push to. Needs root, as daemons here do.
//!
//! | module | shows |
//! |---|---|
//! | [`scene`] | daemons, certificates, the file of builders |
//! | [`builds`] | what is built is what the embedded engine would have built and published |
//! | [`failures`] | steps that fail; daemons that are killed, stopped, replaced, or never there |
//! | [`refused`] | what daemons cannot do |

mod builds;
mod failures;
mod refused;
mod scene;
