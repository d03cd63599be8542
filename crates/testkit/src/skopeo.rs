//! skopeo: an independent reader (and copier) of images.

use std::{path::Path, process::Command};

use archway_oci::Platform;
use serde_json::Value;

use crate::process::{self, ProcessError};

/// Runs skopeo. Image names carry skopeo's transport: `docker://localhost:5000/app:1`,
/// `oci:DIR:TAG`, `dir:DIR`. Registries are spoken to without TLS checks, so with plain HTTP where
/// they have no TLS.
#[derive(Debug, Clone, Default)]
pub struct Skopeo {
    credentials: Option<String>,
}

impl Skopeo {
    /// skopeo without credentials.
    pub fn new() -> Self {
        Self::default()
    }

    /// skopeo with a user and a password for every registry it talks to.
    pub fn with_credentials(user: &str, password: &str) -> Self {
        Self { credentials: Some(format!("{user}:{password}")) }
    }

    /// The bytes of the manifest or index that `image` names.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn raw_manifest(&self, image: &str) -> Result<Vec<u8>, ProcessError> {
        process::output(self.inspect().arg("--raw").arg(image))
    }

    /// The config of the image for `platform`, as it stands.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn config(&self, image: &str, platform: &Platform) -> Result<Value, ProcessError> {
        let mut command = self.command();
        let bytes = process::output(
            command
                .args(platform_options(platform))
                .args(["inspect", "--tls-verify=false", "--config", "--raw"])
                .args(self.credentials.iter().flat_map(|pair| ["--creds", pair]))
                .arg(image),
        )?;
        Ok(parsed(&bytes))
    }

    /// The tags of a repository (`localhost:5000/app`), sorted.
    ///
    /// # Errors
    /// When skopeo fails; also when the repository does not exist.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>, ProcessError> {
        let mut command = self.command();
        let bytes = process::output(
            command
                .args(["list-tags", "--tls-verify=false"])
                .args(self.credentials.iter().flat_map(|pair| ["--creds", pair]))
                .arg(format!("docker://{repository}")),
        )?;
        let mut tags: Vec<String> = parsed(&bytes)["Tags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tag| tag.as_str().map(str::to_owned))
            .collect();
        tags.sort();
        Ok(tags)
    }

    /// Copies `source` with all its platforms and unchanged digests.
    ///
    /// # Errors
    /// When skopeo fails; also when the digests would change.
    pub fn copy(&self, source: &str, destination: &str) -> Result<(), ProcessError> {
        self.copy_with(&[], &["--all", "--preserve-digests"], source, destination)
    }

    /// Copies the image for `platform` only into `directory`, in skopeo's `dir:` form: a
    /// `manifest.json`, and each blob in a file named by the hexadecimal digits of its digest.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn copy_to_directory(
        &self,
        source: &str,
        platform: &Platform,
        directory: &Path,
    ) -> Result<(), ProcessError> {
        let destination = format!("dir:{}", directory.display());
        self.copy_with(&platform_options(platform), &["--preserve-digests"], source, &destination)
    }

    fn copy_with(
        &self,
        global: &[String],
        options: &[&str],
        source: &str,
        destination: &str,
    ) -> Result<(), ProcessError> {
        let mut command = self.command();
        command.args(global).args(["copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]);
        command.args(options);
        if let Some(pair) = &self.credentials {
            for (name, option) in [(source, "--src-creds"), (destination, "--dest-creds")] {
                if name.starts_with("docker://") {
                    command.args([option, pair]);
                }
            }
        }
        process::output(command.args([source, destination])).map(|_| ())
    }

    fn inspect(&self) -> Command {
        let mut command = self.command();
        command.args(["inspect", "--tls-verify=false"]);
        command.args(self.credentials.iter().flat_map(|pair| ["--creds", pair]));
        command
    }

    /// Neither the host's signature policy nor its credentials take part.
    fn command(&self) -> Command {
        let mut command = Command::new("skopeo");
        command.arg("--insecure-policy").env("REGISTRY_AUTH_FILE", "/nonexistent/auth.json");
        command
    }
}

fn platform_options(platform: &Platform) -> Vec<String> {
    let mut options =
        vec![format!("--override-os={}", platform.os), format!("--override-arch={}", platform.architecture)];
    options.extend(platform.variant.iter().map(|variant| format!("--override-variant={variant}")));
    options
}

/// skopeo prints JSON or fails; anything else is a broken skopeo, and `null` fails the test.
fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}
