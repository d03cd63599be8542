//! What a request lends to its RUN steps.

use std::{collections::BTreeMap, fmt};

use archway_graph::{MountSource, RunOp};
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

/// Something that a step can do without, and that the request did not lend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotGiven {
    /// The secret of this id.
    Secret(String),
    /// The ssh agent of this id.
    Ssh(String),
}

impl fmt::Display for NotGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(id) => write!(f, "the secret `{id}` was not given"),
            Self::Ssh(id) => write!(f, "the ssh agent `{id}` was not given"),
        }
    }
}

impl Lent {
    /// What a step would have got, each once.
    pub fn not_given(&self, op: &RunOp) -> Vec<NotGiven> {
        let mounted = op.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Secret { id, .. } => Some(NotGiven::Secret(id.clone())),
            MountSource::Ssh { id, .. } => Some(NotGiven::Ssh(id.clone())),
            MountSource::Bind(_) | MountSource::Cache(_) | MountSource::Tmpfs { .. } => None,
        });
        let variables = op.secret_env.iter().map(|variable| NotGiven::Secret(variable.id.clone()));
        let mut missing: Vec<NotGiven> = Vec::new();
        for wanted in mounted.chain(variables) {
            let is_given = match &wanted {
                NotGiven::Secret(id) => self.secrets.contains_key(id),
                NotGiven::Ssh(id) => self.ssh.contains_key(id),
            };
            if !is_given && !missing.contains(&wanted) {
                missing.push(wanted);
            }
        }
        missing
    }
}
