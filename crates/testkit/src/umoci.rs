//! umoci: an independent reader of OCI image layouts.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::process::{self, ProcessError};

/// Runs umoci. It reads layouts whose tag names an image manifest, not an index.
#[derive(Debug, Clone, Copy, Default)]
pub struct Umoci;

impl Umoci {
    /// umoci's view of an image: its history and config.
    ///
    /// # Errors
    /// When umoci does not accept the layout.
    pub fn stat(self, layout: &Path, tag: &str) -> Result<Value, ProcessError> {
        let bytes = process::output(
            Command::new("umoci").args(["stat", "--json", "--image"]).arg(image(layout, tag)),
        )?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Unpacks an image's root file system into `bundle`/rootfs. As a normal user, files keep the
    /// user's ids, and their true ids are in `user.rootlesscontainers` attributes.
    ///
    /// # Errors
    /// When umoci does not accept the image.
    pub fn unpack(self, layout: &Path, tag: &str, bundle: &Path) -> Result<(), ProcessError> {
        let mut command = Command::new("umoci");
        command.args(["unpack", "--image"]).arg(image(layout, tag));
        if !rustix::process::geteuid().is_root() {
            command.arg("--rootless");
        }
        process::output(command.arg(bundle)).map(|_| ())
    }
}

fn image(layout: &Path, tag: &str) -> String {
    format!("{}:{tag}", layout.display())
}
