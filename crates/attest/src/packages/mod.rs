//! Which packages an image contains, by its own databases.
//!
//! ```text
//! layers ──► archway_layer::contents, with the selector Databases ──► Contents ──► catalog ──► Catalog
//! ```
//! A database is recognised by its path (a program by its first bytes) and read while its layer is: what is kept of it are the packages it
//! names. The databases of the finished root file system count, so a package that a later layer removed is gone.
//!
//! | module | reads |
//! |---|---|
//! | `dpkg`, `apk`, `rpm` | the databases of distributions |
//! | `program`, `golang`, `cargo` | what Go and `cargo auditable` write into programs |
//! | `python`, `node`, `ruby` | metadata of installed packages |
//! | `java` | what Maven writes into archives of classes |
//! | `distribution` | `os-release` |
//! | `installed` | one database of a distribution, for who wants no catalog |
//!
//! Databases are hostile: they are bounded, and a broken one is an [`Unread`], not an error.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use archway_layer::contents::{Contents, Entry, Keep, Kind, Meta, Selector};
use serde::{Deserialize, Serialize};

use crate::purl::PackageUrl;
pub use distribution::Distribution;
pub use installed::{installed, is_database};
pub(crate) use python::normalized as normalized_python;

mod apk;
mod bytes;
mod cargo;
mod distribution;
mod dpkg;
mod golang;
mod installed;
mod java;
mod node;
mod program;
mod python;
mod rpm;
mod ruby;
mod stanza;

/// What kind of package, by the type of its package URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageType {
    /// dpkg.
    Deb,
    /// apk.
    Apk,
    /// rpm.
    Rpm,
    /// Go modules, and Go's standard library.
    Golang,
    /// Rust crates.
    Cargo,
    /// Python distributions.
    Pypi,
    /// Node.js packages.
    Npm,
    /// Java artifacts, called `GROUP:ARTIFACT`.
    Maven,
    /// Ruby gems.
    Gem,
}

impl PackageType {
    /// The type in package URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Golang => "golang",
            Self::Cargo => "cargo",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Maven => "maven",
            Self::Gem => "gem",
        }
    }

    /// Whether the distribution made the package.
    pub fn is_of_distribution(self) -> bool {
        matches!(self, Self::Deb | Self::Apk | Self::Rpm)
    }
}

/// The source package that a package of a distribution was made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One package, with what its database says of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Where its name belongs.
    pub kind: PackageType,
    /// Its name, whole: `@types/node`, `golang.org/x/net`.
    pub name: String,
    /// Its version in its ecosystem's spelling, with the epoch (`1:2.3-4`) where there is one.
    pub version: String,
    /// `amd64`, `x86_64`: as its database spells it.
    pub architecture: Option<String>,
    /// What it was made of, where that has another name or version or its database always says.
    pub source: Option<Source>,
    /// Licences, as they are stated.
    pub licences: Vec<String>,
    /// Who maintains or sells it.
    pub supplier: Option<String>,
    /// Paths of what names it, in ascending order.
    pub found_in: Vec<String>,
}

impl Package {
    fn new(kind: PackageType, name: &str, version: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: None,
            source: None,
            licences: Vec::new(),
            supplier: None,
            found_in: Vec::new(),
        }
    }

    /// Its package URL. That of a distribution's package names the distribution and the source, as scanners need them.
    pub fn purl(&self, distribution: Option<&Distribution>) -> String {
        let (epoch, version) = match (self.kind, self.version.split_once(':')) {
            (PackageType::Rpm, Some((epoch, version))) => (epoch, version),
            _ => ("", self.version.as_str()),
        };
        // Names of Go modules keep their case: `github.com/BurntSushi/toml` is known by no other name.
        let (namespace, name) = match self.kind {
            PackageType::Golang | PackageType::Npm => self.name.rsplit_once('/').unwrap_or(("", &self.name)),
            PackageType::Maven => self.name.split_once(':').unwrap_or(("", &self.name)),
            _ => ("", self.name.as_str()),
        };
        if !self.kind.is_of_distribution() {
            let kind = self.kind.as_str();
            return PackageUrl { kind, namespace, name, version, qualifiers: &[] }.to_string();
        }
        let namespace =
            distribution.map_or_else(|| self.kind.vendor(), |distribution| distribution.id.as_str());
        let distro = distribution.map(Distribution::qualifier).unwrap_or_default();
        let upstream = self.source.as_ref().map(|source| match source.version == self.version {
            // The name of the file, as syft writes it and grype reads it.
            _ if self.kind == PackageType::Rpm => format!("{}-{}.src.rpm", source.name, source.version),
            true if source.name == self.name => String::new(),
            true => source.name.clone(),
            false => format!("{}@{}", source.name, source.version),
        });
        let qualifiers = [
            ("arch", self.architecture.as_deref().unwrap_or_default()),
            ("distro", distro.as_str()),
            ("epoch", epoch),
            ("upstream", upstream.as_deref().unwrap_or_default()),
        ];
        PackageUrl { kind: self.kind.as_str(), namespace, name, version, qualifiers: &qualifiers }.to_string()
    }
}

impl PackageType {
    /// The namespace of a package whose distribution is not known.
    fn vendor(self) -> &'static str {
        match self {
            Self::Deb => "debian",
            Self::Apk => "alpine",
            _ => "",
        }
    }
}

/// The packages of one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    /// Which distribution, if any.
    pub distribution: Option<Distribution>,
    /// Sorted, each once.
    pub packages: Vec<Package>,
    /// What could not be read, sorted by path.
    pub unread: Vec<Unread>,
}

/// A database that may name packages which the catalog lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unread {
    /// Where it is.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// A database that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is malformed")]
pub struct Malformed(&'static str);

/// What a file may tell about packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    OsRelease,
    Dpkg,
    Copyright,
    Apk,
    RpmSqlite,
    RpmNdb,
    RpmBerkeley,
    Python,
    Node,
    Ruby,
    Java,
    Program,
}

impl Database {
    /// By its path, which decides alone for all but programs.
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "etc/os-release" | "usr/lib/os-release" => Self::OsRelease,
            "var/lib/dpkg/status" => Self::Dpkg,
            "lib/apk/db/installed" | "usr/lib/apk/db/installed" => Self::Apk,
            _ if path.starts_with("var/lib/dpkg/status.d/") && !path.ends_with(".md5sums") => Self::Dpkg,
            _ if path.starts_with("usr/share/doc/") && path.ends_with("/copyright") => Self::Copyright,
            _ if path.starts_with("var/lib/rpm/") || path.starts_with("usr/lib/sysimage/rpm/") => {
                match path.rsplit('/').next()? {
                    "rpmdb.sqlite" => Self::RpmSqlite,
                    "Packages.db" => Self::RpmNdb,
                    "Packages" => Self::RpmBerkeley,
                    _ => return None,
                }
            }
            _ if python::is_metadata(path) => Self::Python,
            _ if node::is_manifest(path) => Self::Node,
            _ if ruby::is_specification(path) => Self::Ruby,
            _ if java::is_archive(path) => Self::Java,
            _ => return None,
        })
    }

    fn of(file: &Meta<'_>) -> Option<Self> {
        let is_program = file.head.starts_with(b"\x7fELF") || file.head.starts_with(b"MZ");
        Self::at(&String::from_utf8_lossy(file.path)).or(is_program.then_some(Self::Program))
    }

    /// A larger file is not read, in bytes.
    fn limit(self) -> u64 {
        const MIB: u64 = 1024 * 1024;
        match self {
            Self::OsRelease | Self::Copyright | Self::Ruby => MIB,
            Self::Python | Self::Node => 4 * MIB,
            Self::Dpkg | Self::Apk => 64 * MIB,
            Self::RpmSqlite | Self::RpmNdb | Self::RpmBerkeley | Self::Java | Self::Program => 512 * MIB,
        }
    }

    /// What it says.
    fn read(self, bytes: &[u8]) -> Kept {
        match self {
            Self::OsRelease => Kept::Distribution(Distribution::parse(bytes)),
            Self::Copyright => Kept::Licences(dpkg::licences(bytes)),
            Self::Dpkg => Kept::Packages(dpkg::packages(bytes)),
            Self::Apk => Kept::Packages(apk::packages(bytes)),
            Self::RpmSqlite => Kept::of(rpm::of_sqlite(bytes)),
            Self::RpmNdb => Kept::of(rpm::of_ndb(bytes)),
            Self::RpmBerkeley => Kept::of(rpm::of_berkeley(bytes)),
            Self::Python => Kept::Packages(python::package(bytes).into_iter().collect()),
            Self::Node => Kept::Packages(node::package(bytes).into_iter().collect()),
            Self::Ruby => Kept::Packages(ruby::package(bytes).into_iter().collect()),
            Self::Java => Kept::of(java::packages(bytes)),
            Self::Program => Kept::Packages(program::packages(bytes)),
        }
    }
}

/// What is kept of a database, as JSON.
#[derive(Debug, Serialize, Deserialize)]
enum Kept {
    Packages(Vec<Package>),
    Licences(Vec<String>),
    Distribution(Option<Distribution>),
    Unread(String),
}

impl Kept {
    /// What was read, or why it was not.
    fn of<E: std::fmt::Display>(read: Result<Vec<Package>, E>) -> Self {
        match read {
            Ok(packages) => Self::Packages(packages),
            Err(error) => Self::Unread(error.to_string()),
        }
    }
}

/// Selects package databases among the files of a layer, and keeps what they say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Databases;

impl Databases {
    /// What it keeps, as a name. A number of its own for every change of what is read, or of what is kept of it.
    pub const FACTS: &'static str = "packages-1";
}

impl Selector for Databases {
    fn keep(&self, file: &Meta<'_>) -> Keep {
        match Database::of(file) {
            Some(database) => Keep::Whole { limit: database.limit() },
            None => Keep::Nothing,
        }
    }

    fn distil(&self, file: &Meta<'_>, bytes: &[u8]) -> Option<Arc<[u8]>> {
        let kept = Database::of(file)?.read(bytes);
        Some(serde_json::to_vec(&kept).expect("plain data").into())
    }
}

/// The packages of a root file system whose layers were read with [`Databases`].
pub fn catalog(contents: &Contents) -> Catalog {
    let mut catalog = Catalog::default();
    let mut packages: BTreeMap<(PackageType, String, String, Option<String>), Package> = BTreeMap::new();
    let mut licences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, entry) in contents.iter() {
        let path = String::from_utf8_lossy(path);
        match kept(&path, entry) {
            None => {}
            Some(Kept::Packages(found)) => {
                for package in found {
                    let key = (
                        package.kind,
                        package.name.clone(),
                        package.version.clone(),
                        package.architecture.clone(),
                    );
                    packages.entry(key).or_insert(package).found_in.push(path.clone().into_owned());
                }
            }
            Some(Kept::Licences(found)) => {
                if let Some(package) = dpkg::copyright_of(&path) {
                    licences.insert(package.to_owned(), found);
                }
            }
            // `etc` comes first, and is what the image's maker decided on.
            Some(Kept::Distribution(distribution)) => {
                catalog.distribution = catalog.distribution.take().or(distribution);
            }
            Some(Kept::Unread(reason)) => catalog.unread.push(Unread { path: path.into_owned(), reason }),
        }
    }
    catalog.packages = packages.into_values().collect();
    for package in catalog.packages.iter_mut().filter(|package| package.kind == PackageType::Deb) {
        if let Some(stated) = licences.get(&package.name) {
            package.licences.clone_from(stated);
        }
    }
    catalog
}

/// What the selector kept of a file.
fn kept(path: &str, entry: &Entry) -> Option<Kept> {
    let Kind::File { size, content } = &entry.kind else { return None };
    if let Some(content) = content {
        return serde_json::from_slice(content).ok();
    }
    // A program that is too large cannot be told from other large files here.
    let reason = match Database::at(path)? {
        _ if *size == 0 => return None,
        database => format!("it has {size} bytes, more than the {} that are read", database.limit()),
    };
    Some(Kept::Unread(reason))
}

/// Lines without their ends; what is not UTF-8 is replaced.
fn lines(text: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use archway_layer::{
        archive::Limits,
        contents::{LayerContents, ReadOptions, read_layer},
    };
    use archway_oci::media_type::LayerCompression;

    /// The root file system of one layer with these files, as the selector leaves it.
    pub(crate) fn contents(files: &[(&str, &[u8])]) -> Contents {
        Contents::stack([&layer(files)])
    }

    fn layer(files: &[(&str, &[u8])]) -> LayerContents {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *bytes).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let options = ReadOptions { limits: Limits::default(), ..ReadOptions::default() };
        let mut read = read_layer(tar.as_slice(), LayerCompression::None, &options, &[&Databases]).unwrap();
        read.contents.swap_remove(0)
    }

    const STATUS: &[u8] = b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9\n\n\
        Package: libgcc-s1\nStatus: install ok installed\nArchitecture: amd64\nSource: gcc-12 (12.2.0-14)\nVersion: 1:12.2.0-14+b1\n";
    const OS_RELEASE: &[u8] = b"ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n";

    #[test]
    fn databases_become_one_sorted_catalog() {
        let contents = contents(&[
            ("etc/os-release", OS_RELEASE),
            ("usr/lib/os-release", b"ID=other\n"),
            ("var/lib/dpkg/status", STATUS),
            (
                "usr/share/doc/libc6/copyright",
                b"Format: https://x/copyright-format/1.0/\n\nFiles: *\nLicense: LGPL-2.1+\n",
            ),
            (
                "srv/a/node_modules/left-pad/package.json",
                br#"{"name":"left-pad","version":"1.3.0","license":"WTFPL"}"#,
            ),
            (
                "srv/b/node_modules/left-pad/package.json",
                br#"{"name":"left-pad","version":"1.3.0","license":"WTFPL"}"#,
            ),
            ("var/lib/rpm/Packages", b"berkeley"),
            ("var/lib/rpm/rpmdb.sqlite", b"no database"),
            ("bin/tool", b"\x7fELF and nothing"),
        ]);
        let catalog = catalog(&contents);
        let purls: Vec<String> =
            catalog.packages.iter().map(|package| package.purl(catalog.distribution.as_ref())).collect();
        assert_eq!(
            purls,
            [
                "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc",
                "pkg:deb/debian/libgcc-s1@1:12.2.0-14%2Bb1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14",
                "pkg:npm/left-pad@1.3.0",
            ]
        );
        assert_eq!(catalog.packages[0].licences, ["LGPL-2.1+"]);
        assert_eq!(catalog.packages[2].found_in.len(), 2);
        let unread: Vec<&str> = catalog.unread.iter().map(|unread| unread.path.as_str()).collect();
        assert_eq!(unread, ["var/lib/rpm/Packages", "var/lib/rpm/rpmdb.sqlite"]);
    }

    #[test]
    fn a_later_layer_decides() {
        let base = layer(&[("lib/apk/db/installed", b"P:musl\nV:1.2.4-r0\n\nP:zlib\nV:1.3-r0\n")]);
        let upgraded = layer(&[("lib/apk/db/installed", b"P:musl\nV:1.2.5-r0\n")]);
        let catalog = catalog(&Contents::stack([&base, &upgraded]));
        let names: Vec<String> =
            catalog.packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
        assert_eq!(names, ["musl 1.2.5-r0"]);
    }

    #[test]
    fn an_epoch_of_rpm_is_a_qualifier() {
        let source = Source { name: "openssl".into(), version: "3.0.7-27.el9".into() };
        let package = Package {
            source: Some(source),
            ..Package::new(PackageType::Rpm, "openssl-libs", "1:3.0.7-27.el9")
        };
        let rhel = Distribution { id: "rhel".into(), version: Some("9.4".into()), name: None };
        assert_eq!(
            package.purl(Some(&rhel)),
            "pkg:rpm/rhel/openssl-libs@3.0.7-27.el9?distro=rhel-9.4&epoch=1&upstream=openssl-3.0.7-27.el9.src.rpm"
        );
    }
}
