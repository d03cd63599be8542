//! The base images of the corpus: busybox, and images made here for what busybox lacks.
//!
//! | image | holds |
//! |---|---|
//! | `busybox` | busybox from Debian, amd64 and arm64, and directories for `/dev`, `/proc` and `/sys` |
//! | `stubless` | busybox alone, without these directories |
//! | `odd` | a merged `/usr`, links in every direction, extended attributes, set-id bits, hard links, accounts |
//! | `configured` | every field of a config |
//! | `onbuild` | triggers |
//! | `bare` | files and an empty config |
//! | `windows` | a Windows base as far as copies need one |

use std::{collections::BTreeMap, fs, io, slice};

use archway_oci::{ContainerConfig, Descriptor, Healthcheck, ImageConfig, Manifest, Platform};
use archway_testkit::{
    BaseImages,
    bases::Base,
    image::{Image, Layer, LayerBuilder, PlatformImage},
};
use tar::{EntryType, Header};

/// The capability to send raw packets, permitted and effective (`struct vfs_cap_data`).
pub(crate) const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Makes the images and pushes them to `registry`.
pub(crate) fn push(registry: &str) {
    let busybox = BaseImages::open().unwrap().get(Base::Busybox).unwrap();
    let linux: Vec<(Platform, Layer)> =
        ["amd64", "arm64"].map(|architecture| (linux(architecture), layer_of(&busybox, architecture))).into();
    let (odd, stubs) = (odd().unwrap(), stubs().unwrap());
    let of = |config: ContainerConfig, above: &[Layer]| -> Vec<PlatformImage> {
        linux
            .iter()
            .map(|(platform, base)| PlatformImage {
                platform: platform.clone(),
                layers: [slice::from_ref(base), above].concat(),
                config: config.clone(),
            })
            .collect()
    };
    let path = || vec!["PATH=/usr/local/bin:/usr/bin:/bin:/sbin".to_owned()];
    let with_path = || ContainerConfig { env: path(), ..ContainerConfig::default() };
    let images = [
        ("busybox", of(with_path(), slice::from_ref(&stubs))),
        ("stubless", of(with_path(), &[])),
        ("odd", of(with_path(), &[stubs.clone(), odd])),
        ("configured", of(configured(), slice::from_ref(&stubs))),
        ("onbuild", of(ContainerConfig { on_build: triggers(), ..with_path() }, slice::from_ref(&stubs))),
        ("bare", of(ContainerConfig::default(), slice::from_ref(&stubs))),
        ("windows", windows().unwrap()),
    ];
    for (name, platforms) in images {
        let directory = tempfile::tempdir().unwrap();
        let image = Image::write(directory.path(), &platforms).unwrap();
        image.push(&format!("{registry}/{name}:latest")).unwrap();
    }
}

fn linux(architecture: &str) -> Platform {
    Platform { os: "linux".into(), architecture: architecture.into(), ..Platform::default() }
}

/// The one layer of busybox for `architecture`.
fn layer_of(image: &Image, architecture: &str) -> Layer {
    let blob = |descriptor: &Descriptor| {
        let digest = &descriptor.digest;
        fs::read(image.directory.join("blobs").join(digest.algorithm()).join(digest.hex())).unwrap()
    };
    let of = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_some_and(|platform| platform.architecture == architecture)
    };
    let manifest = Manifest::parse(&blob(image.manifests.iter().find(of).unwrap())).unwrap();
    let config = ImageConfig::parse(&blob(&manifest.config)).unwrap();
    let descriptor = manifest.layers[0].clone();
    Layer { bytes: blob(&descriptor), descriptor, diff_id: config.rootfs.diff_ids[0].clone() }
}

/// A layer entry by entry, with owners, times and extended attributes.
struct Entries(tar::Builder<Vec<u8>>);

impl Entries {
    fn add(
        &mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        owner: (u64, u64),
        content: &str,
    ) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(1_234_567_890);
        match kind {
            EntryType::Symlink | EntryType::Link => {
                header.set_size(0);
                self.0.append_link(&mut header, path, content)
            }
            _ => {
                header.set_size(content.len() as u64);
                header.set_device_major(0)?;
                header.set_device_minor(0)?;
                self.0.append_data(&mut header, path, content.as_bytes())
            }
        }
    }

    /// For the entry that comes next.
    fn xattr(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        self.0.append_pax_extensions([(&*format!("SCHILY.xattr.{name}"), value)])
    }
}

/// What a container's own file systems are mounted on.
fn stubs() -> io::Result<Layer> {
    LayerBuilder::new().directory("dev", 0o755)?.directory("proc", 0o755)?.directory("sys", 0o755)?.finish()
}

fn odd() -> io::Result<Layer> {
    const ROOT: (u64, u64) = (0, 0);
    let mut layer = Entries(tar::Builder::new(Vec::new()));
    for (path, mode, owner) in [
        ("real/", 0o755, ROOT),
        ("real/deep/", 0o711, (33, 33)),
        ("private/", 0o700, (1000, 1000)),
        ("sticky/", 0o1777, ROOT),
        ("setgid/", 0o2775, (0, 50)),
        ("usr/lib/odd/", 0o755, ROOT),
    ] {
        layer.add(EntryType::Directory, path, mode, owner, "")?;
    }
    for (path, target) in [
        ("lib", "usr/lib"),
        ("absolute", "/real"),
        ("relative", "real/deep"),
        ("chain", "absolute"),
        ("real/up", "../sticky"),
        ("dangling", "missing/below"),
        ("loop", "loop"),
        ("outside", "../../../real"),
        ("to-file", "real/file"),
    ] {
        layer.add(EntryType::Symlink, path, 0o777, ROOT, target)?;
    }
    for (path, mode, owner, content) in [
        ("real/file", 0o644, ROOT, "file\n"),
        ("real/deep/owned", 0o640, (33, 50), "owned\n"),
        ("private/secret", 0o600, (1000, 1000), "secret\n"),
        ("real/setuid", 0o4755, ROOT, "setuid\n"),
        ("real/setgid", 0o2755, (0, 50), "setgid\n"),
    ] {
        layer.add(EntryType::Regular, path, mode, owner, content)?;
    }
    // cap_net_raw=ep, in the kernel's format, version 2.
    layer.xattr("security.capability", &NET_RAW)?;
    layer.add(EntryType::Regular, "real/capable", 0o755, ROOT, "capable\n")?;
    layer.xattr("user.colour", b"red")?;
    layer.add(EntryType::Regular, "real/coloured", 0o644, ROOT, "coloured\n")?;
    layer.add(EntryType::Regular, "real/one", 0o644, ROOT, "twins\n")?;
    layer.add(EntryType::Link, "real/two", 0o644, ROOT, "real/one")?;
    layer.add(EntryType::Fifo, "real/pipe", 0o644, ROOT, "")?;
    let passwd = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n\
                  app:x:1000:1001:App:/home/app:/bin/sh\nlost:x:1234:4321::/nowhere:/bin/sh\n";
    let group = "root:x:0:\nwww-data:x:33:\nstaff:x:50:app,www-data\napp:x:1001:\naudio:x:29:app\n";
    layer.add(EntryType::Regular, "etc/passwd", 0o644, ROOT, passwd)?;
    layer.add(EntryType::Regular, "etc/group", 0o644, ROOT, group)?;
    Layer::from_tar(&layer.0.into_inner()?)
}

fn configured() -> ContainerConfig {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    ContainerConfig {
        user: "33:50".into(),
        exposed_ports: vec!["80/tcp".into()],
        env: vec!["PATH=/opt/bin:/bin:/usr/bin".into(), "COLOUR=red".into(), "EMPTY=".into()],
        entrypoint: words(&["/bin/sh", "-c"]),
        cmd: words(&["echo", "base"]),
        volumes: vec!["/data".into()],
        working_dir: "/srv/base".into(),
        labels: BTreeMap::from([("base".into(), "yes".into()), ("who".into(), "base".into())]),
        stop_signal: "SIGQUIT".into(),
        healthcheck: Some(Healthcheck {
            test: vec!["CMD".into(), "true".into()],
            interval: 7_000_000_000,
            retries: 2,
            ..Healthcheck::default()
        }),
        shell: words(&["/bin/sh", "-e", "-c"]),
        ..ContainerConfig::default()
    }
}

fn triggers() -> Vec<String> {
    ["WORKDIR /triggered", "COPY . .", "ARG WHO=nobody", "RUN echo $WHO > who", "ENV TRIGGERED=yes"]
        .map(str::to_owned)
        .into()
}

fn windows() -> io::Result<Vec<PlatformImage>> {
    let layer = LayerBuilder::new()
        .directory("Files", 0o755)?
        .directory("Files/Windows", 0o755)?
        .file("Files/Windows/notepad.exe", 0o755, b"MZ")?
        .directory("Hives", 0o755)?
        .file("Hives/System_Base", 0o644, b"regf")?
        .finish()?;
    let platform = Platform {
        os: "windows".into(),
        architecture: "amd64".into(),
        os_version: Some("10.0.20348.2113".into()),
        ..Platform::default()
    };
    let config = ContainerConfig {
        cmd: Some(vec!["c:\\windows\\system32\\cmd.exe".into()]),
        ..ContainerConfig::default()
    };
    Ok(vec![PlatformImage { platform, layers: vec![layer], config }])
}
