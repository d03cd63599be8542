//! `golang`: busybox and Debian's Go, which compiles for every platform without further packages.

use std::{
    collections::HashSet,
    io::Read,
    path::{Component, Path, PathBuf},
};

use archway_oci::ContainerConfig;
use tar::EntryType;

use super::{Architecture, BaseError, busybox};
use crate::{
    apt::{Apt, Package},
    image::{Image, Layer, LayerBuilder, PlatformImage},
};

/// Where Docker's image of the same name has Go.
const GOROOT: &str = "usr/local/go";

/// The tools that `go build` and `go vet` run.
const TOOLS: [&str; 6] = ["asm", "buildid", "cgo", "compile", "link", "vet"];

/// Writes the image for `architecture`, which must be this machine's.
pub(super) fn write(apt: &Apt, architecture: Architecture, directory: &Path) -> Result<(), BaseError> {
    let go = apt.dependency("golang-go", "golang-1")?;
    let source = go.replace("-go", "-src");
    let packages = apt.download(&["libc6", &go, &source], &[architecture.debian])?;
    let layers = vec![busybox::host_layer(apt)?, layer(&packages)?];
    let image = PlatformImage { platform: architecture.platform(), layers, config: config() };
    Image::write(directory, &[image])?;
    Ok(())
}

fn config() -> ContainerConfig {
    let path =
        format!("PATH=/go/bin:/{GOROOT}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    ContainerConfig {
        env: vec![
            path,
            "GOPATH=/go".into(),
            "GOTOOLCHAIN=local".into(),
            format!("GOROOT=/{GOROOT}"),
            "CGO_ENABLED=0".into(),
        ],
        cmd: Some(vec!["sh".into()]),
        working_dir: "/go".into(),
        ..ContainerConfig::default()
    }
}

fn layer(packages: &[Package]) -> Result<Layer, BaseError> {
    let mut layer = LayerBuilder::new().directory("go", 0o755)?;
    // Every package has its parent directories, and Buildah takes no layer that has a path twice.
    let mut directories = HashSet::new();
    for package in packages {
        for entry in package.files()?.entries()? {
            let entry = entry?;
            let kind = entry.header().entry_type();
            let source = entry.path()?.into_owned();
            let Some(path) = place(&source, kind).and_then(|path| path.to_str().map(str::to_owned)) else {
                continue;
            };
            if kind != EntryType::Directory || directories.insert(path.clone()) {
                layer = add(layer, &path, entry)?;
            }
        }
    }
    Ok(layer.finish()?)
}

fn add<R: Read>(
    layer: LayerBuilder,
    path: &str,
    mut entry: tar::Entry<'_, R>,
) -> std::io::Result<LayerBuilder> {
    let mode = entry.header().mode()?;
    match entry.header().entry_type() {
        EntryType::Directory => layer.directory(path, mode),
        EntryType::Symlink => {
            let target = entry.link_name()?.unwrap_or_default().to_string_lossy().into_owned();
            layer.symlink(path, &target)
        }
        _ => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            layer.file(path, mode, &content)
        }
    }
}

/// Where a package's entry goes in the image: the libraries stay, Debian's two trees of Go become
/// one, and what no build needs is left out.
fn place(source: &Path, kind: EntryType) -> Option<PathBuf> {
    let parts: Vec<&str> = source
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
        .collect();
    match &parts[..] {
        ["lib" | "lib64", ..] => Some(parts.iter().collect()),
        ["usr", "lib" | "share", go, rest @ ..] if go.starts_with("go-1") => {
            let joins_the_trees = kind == EntryType::Symlink;
            let kept = !joins_the_trees && is_needed(rest);
            kept.then(|| Path::new(GOROOT).join(rest.iter().collect::<PathBuf>()))
        }
        _ => None,
    }
}

fn is_needed(path: &[&str]) -> bool {
    match path {
        ["api" | "doc" | "misc" | "test", ..] | ["src", "cmd", ..] => false,
        path if path.contains(&"testdata") => false,
        ["pkg", "tool", _, tool] => TOOLS.contains(tool),
        // Compiled packages of the standard library: for one platform, and made again when needed.
        ["pkg", platform, ..] => matches!(*platform, "include" | "tool"),
        [.., file] => !file.ends_with("_test.go"),
        [] => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(path: &str, kind: EntryType) -> Option<String> {
        place(Path::new(path), kind).map(|path| path.display().to_string())
    }

    #[test]
    fn puts_files_where_dockers_image_has_them() {
        let cases = [
            ("./usr/lib/go-1.19/bin/go", Some("usr/local/go/bin/go")),
            ("./usr/share/go-1.19/src/fmt/print.go", Some("usr/local/go/src/fmt/print.go")),
            (
                "./usr/lib/go-1.19/pkg/tool/linux_amd64/compile",
                Some("usr/local/go/pkg/tool/linux_amd64/compile"),
            ),
            ("./usr/share/go-1.19/pkg/include/textflag.h", Some("usr/local/go/pkg/include/textflag.h")),
            ("./lib/x86_64-linux-gnu/libc.so.6", Some("lib/x86_64-linux-gnu/libc.so.6")),
            ("./usr/lib/go-1.19/pkg/tool/linux_amd64/pprof", None),
            ("./usr/lib/go-1.19/pkg/linux_amd64/fmt.a", None),
            ("./usr/share/go-1.19/src/cmd/go/main.go", None),
            ("./usr/share/go-1.19/src/fmt/fmt_test.go", None),
            ("./usr/share/go-1.19/src/fmt/testdata/a/b", None),
            ("./usr/share/go-1.19/test/a.go", None),
            ("./usr/share/doc/golang-1.19-go/copyright", None),
        ];
        for (path, want) in cases {
            assert_eq!(placed(path, EntryType::Regular).as_deref(), want, "{path}");
        }
        assert_eq!(placed("./usr/lib/go-1.19/src", EntryType::Symlink), None, "joins Debian's trees");
    }
}
