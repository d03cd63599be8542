//! `busybox`: one static binary per architecture and a link for each applet.

use std::{fs, io::Read, os::unix::fs::PermissionsExt, path::Path, process::Command};

use archway_oci::ContainerConfig;

use super::{ARCHITECTURES, Architecture, BaseError};
use crate::{
    apt::{Apt, Package},
    image::{Image, Layer, LayerBuilder, PlatformImage},
    process,
};

const PACKAGE: &str = "busybox-static";

const DIRECTORIES: [(&str, u32); 16] = [
    ("bin", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("root", 0o700),
    ("sbin", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/local", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
";

const GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
www-data:x:33:
operator:x:37:
staff:x:50:operator
nobody:x:65534:
";

/// Writes the image for every architecture.
pub(super) fn write(apt: &Apt, directory: &Path) -> Result<(), BaseError> {
    let applets = applets(apt)?;
    let platforms = packages(apt)?
        .iter()
        .zip(ARCHITECTURES)
        .map(|(package, architecture)| {
            let layers = vec![layer(package, &applets)?];
            Ok(PlatformImage { platform: architecture.platform(), layers, config: config() })
        })
        .collect::<Result<Vec<_>, BaseError>>()?;
    Image::write(directory, &platforms)?;
    Ok(())
}

/// The image's one layer for the machine this runs on.
pub(super) fn host_layer(apt: &Apt) -> Result<Layer, BaseError> {
    let applets = applets(apt)?;
    layer(&host_package(apt)?, &applets)
}

/// In the order of [`ARCHITECTURES`].
fn packages(apt: &Apt) -> Result<Vec<Package>, BaseError> {
    Ok(apt.download(&[PACKAGE], &ARCHITECTURES.map(|architecture| architecture.debian))?)
}

fn host_package(apt: &Apt) -> Result<Package, BaseError> {
    let mut packages = apt.download(&[PACKAGE], &[Architecture::host()?.debian])?;
    packages.pop().ok_or_else(|| missing("package file"))
}

fn config() -> ContainerConfig {
    ContainerConfig {
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
        cmd: Some(vec!["sh".into()]),
        ..ContainerConfig::default()
    }
}

fn layer(package: &Package, applets: &[String]) -> Result<Layer, BaseError> {
    let binary = binary(package)?;
    build(&binary, &package.version, applets).map_err(BaseError::Io)
}

fn build(binary: &[u8], version: &str, applets: &[String]) -> std::io::Result<Layer> {
    let mut layer = LayerBuilder::new();
    for (path, mode) in DIRECTORIES {
        layer = layer.directory(path, mode)?;
    }
    layer = layer.file("bin/busybox", 0o755, binary)?;
    for applet in applets {
        let target = if applet.starts_with("bin/") { "busybox" } else { "/bin/busybox" };
        layer = layer.symlink(applet, target)?;
    }
    let release = format!(
        "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=\"BusyBox {version} (from Debian packages)\"\nVERSION_ID=\"{version}\"\n"
    );
    layer
        .file("etc/group", 0o644, GROUP.as_bytes())?
        .file("etc/os-release", 0o644, release.as_bytes())?
        .file("etc/passwd", 0o644, PASSWD.as_bytes())?
        .finish()
}

fn binary(package: &Package) -> Result<Vec<u8>, BaseError> {
    for entry in package.files()?.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() && entry.path()?.ends_with("bin/busybox") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    Err(missing("bin/busybox"))
}

fn missing(file: &str) -> BaseError {
    BaseError::NotInPackage { package: PACKAGE.into(), file: file.into() }
}

/// The applets' paths, sorted: `bin/ls`. Only a busybox that runs here can be asked; those of the
/// other architectures are built from the same source with the same options.
fn applets(apt: &Apt) -> Result<Vec<String>, BaseError> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("busybox");
    fs::write(&file, binary(&host_package(apt)?)?)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    let list = process::output(Command::new(&file).arg("--list-full"))?;
    let list = String::from_utf8_lossy(&list);
    let mut applets: Vec<String> = list
        .lines()
        .filter(|path| !path.ends_with("/busybox") && *path != "linuxrc")
        .map(str::to_owned)
        .collect();
    applets.sort();
    if applets.is_empty() { Err(missing("list of applets")) } else { Ok(applets) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Kind, Tree};

    #[test]
    fn a_layer_has_applets_and_accounts() {
        let applets = ["bin/sh".to_owned(), "usr/bin/env".to_owned()];
        let layer = build(b"binary", "1.0", &applets).unwrap();
        let tree = Tree::of_tar_gz(&layer.bytes[..]).unwrap();
        assert_eq!(tree.entries["bin/sh"].kind, Kind::Symlink("busybox".into()));
        assert_eq!(tree.entries["usr/bin/env"].kind, Kind::Symlink("/bin/busybox".into()));
        assert_eq!(tree.entries["bin/busybox"].mode, 0o755);
        assert_eq!(tree.entries["tmp"].mode, 0o1777);
        assert!(["etc/passwd", "etc/group", "etc/os-release"].iter().all(|f| tree.entries.contains_key(*f)));
        assert_eq!(layer.diff_id, build(b"binary", "1.0", &applets).unwrap().diff_id);
    }
}
