//! `nanoserver`: an image with the layout and the versions of Microsoft's smallest Windows base, and
//! nothing of Windows in it. Enough to build on where nothing runs.

use std::path::Path;

use archway_oci::{ContainerConfig, Platform};

use super::BaseError;
use crate::image::{Image, LayerBuilder, PlatformImage};

/// Versions of Windows the index offers, oldest first.
const VERSIONS: [&str; 2] = ["10.0.17763.6293", "10.0.20348.2762"];

/// Writes the image for every version.
pub(super) fn write(directory: &Path) -> Result<(), BaseError> {
    let platforms = VERSIONS.iter().map(|version| platform(version)).collect::<Result<Vec<_>, _>>()?;
    Image::write(directory, &platforms)?;
    Ok(())
}

fn platform(version: &str) -> Result<PlatformImage, BaseError> {
    let layer = LayerBuilder::new()
        .directory("Files", 0o755)?
        .directory("Files/Users", 0o755)?
        .directory("Files/Windows", 0o755)?
        .directory("Files/Windows/System32", 0o755)?
        .file("Files/Windows/System32/version.txt", 0o644, version.as_bytes())?
        .file("Files/License.txt", 0o644, b"A stand-in: nothing of this is Windows.\r\n")?
        .directory("Hives", 0o755)?
        .file("Hives/Software_Delta", 0o644, b"")?
        .directory("UtilityVM", 0o755)?
        .directory("UtilityVM/Files", 0o755)?
        .file("UtilityVM/Files/hidden.txt", 0o644, b"")?
        .finish()?;
    let platform = Platform {
        os: "windows".into(),
        architecture: "amd64".into(),
        os_version: Some(version.into()),
        ..Platform::default()
    };
    let config = ContainerConfig {
        user: "ContainerUser".into(),
        cmd: Some(vec![r"c:\windows\system32\cmd.exe".into()]),
        ..ContainerConfig::default()
    };
    Ok(PlatformImage { platform, layers: vec![layer], config })
}
