//! What a request lends to its RUN steps.

use std::collections::BTreeMap;

use archway_sandbox::Private;

use crate::ssh::SshAgent;

/// Secrets and ssh agents by their ids. Values are never shown.
#[derive(Debug, Clone, Default)]
pub struct Lent {
    /// `--secret`
    pub secrets: BTreeMap<String, Private>,
    /// `--ssh`
    pub ssh: BTreeMap<String, SshAgent>,
}
