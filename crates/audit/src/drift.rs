//! What differs between the images of one index beyond the architecture: other packages, other versions,
//! other files. Most of it is on purpose; what is not is found nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use archway_attest::packages::is_database;
use archway_layer::contents::{Contents, Kind};
use archway_oci::Platform;
use serde::Serialize;

use crate::{
    audit::Severity,
    facts::Facts,
    packages::{Packages, source_version},
    spelling::without_architecture,
};

/// Names of a [`Drift`] that are given; the others are counted.
pub const MOST_NAMES: usize = 8;

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct Child<'a> {
    /// What it is for.
    pub platform: &'a Platform,
    /// Its files, read with [`crate::Audited`]; `None`: they could not be read.
    pub contents: Option<&'a Contents>,
    /// `org.opencontainers.image.base.name` of its manifest or descriptor.
    pub base_name: Option<&'a str>,
    /// `org.opencontainers.image.base.digest`.
    pub base_digest: Option<&'a str>,
}

/// A difference between images of one operating system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "kind")]
pub enum Drift {
    /// They were built on images of other names.
    BaseNames {
        /// By platform.
        bases: BTreeMap<String, String>,
    },
    /// They were built on several versions of an image.
    BaseDigests {
        /// Its name.
        base: String,
        /// By platform.
        digests: BTreeMap<String, String>,
    },
    /// Some say what they were built on, and some do not.
    BaseUnknown {
        /// Those that do not.
        platforms: Vec<String>,
    },
    /// Packages that are not in all of them.
    Packages(Names),
    /// A package of which they have several versions; rebuilds of the same source are the same.
    Version {
        /// Its name.
        package: String,
        /// By platform.
        versions: BTreeMap<String, String>,
    },
    /// More packages of that kind.
    MoreVersions {
        /// How many.
        count: usize,
    },
    /// Files that are not in all of them, however their names spell an architecture.
    Files(Names),
}

/// Names that some images have, and others do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Names {
    /// The platforms that have them.
    pub platforms: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub first: Vec<String>,
}

impl Drift {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::BaseNames { .. }
            | Self::BaseDigests { .. }
            | Self::Version { .. }
            | Self::MoreVersions { .. } => Severity::Warning,
            Self::BaseUnknown { .. } | Self::Packages(_) | Self::Files(_) => Severity::Note,
        }
    }

    /// A name for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BaseNames { .. } => "base-names",
            Self::BaseDigests { .. } => "base-digests",
            Self::BaseUnknown { .. } => "base-unknown",
            Self::Packages(_) => "packages",
            Self::Version { .. } | Self::MoreVersions { .. } => "package-versions",
            Self::Files(_) => "files",
        }
    }
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = |by_platform: &BTreeMap<String, String>| {
            let pairs = by_platform.iter().map(|(platform, value)| format!("{value} on {platform}"));
            pairs.collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::BaseNames { bases } => write!(f, "the platforms have different bases: {}", pairs(bases)),
            Self::BaseDigests { base, digests } => {
                write!(f, "the platforms are built on several versions of {base}: {}", pairs(digests))
            }
            Self::BaseUnknown { platforms } => {
                write!(f, "{} does not say what it was built on, others do", platforms.join(", "))
            }
            Self::Packages(names) => write!(f, "{}", names.sentence("package", "packages")),
            Self::Version { package, versions } => write!(f, "package {package}: {}", pairs(versions)),
            Self::MoreVersions { count } => write!(f, "and {count} more packages with different versions"),
            Self::Files(names) => write!(f, "{}", names.sentence("file", "files")),
        }
    }
}

impl Names {
    fn sentence(&self, one: &str, many: &str) -> String {
        let (noun, verb) = if self.count == 1 { (one, "is") } else { (many, "are") };
        let more = match self.count - self.first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (platforms, first) = (self.platforms.join(", "), self.first.join(", "));
        format!("{} {noun} {verb} only in {platforms}: {first}{more}", self.count)
    }
}

/// What differs between images of the same operating system.
pub fn compare(children: &[Child<'_>]) -> Vec<Drift> {
    let mut systems: BTreeMap<&str, Vec<&Child<'_>>> = BTreeMap::new();
    for child in children {
        systems.entry(&child.platform.os).or_default().push(child);
    }
    let mut drift = Vec::new();
    for children in systems.into_values().filter(|children| children.len() > 1) {
        bases(&children, &mut drift);
        let read: Vec<&Child<'_>> = children.into_iter().filter(|child| child.contents.is_some()).collect();
        packages(&read, &mut drift);
        files(&read, &mut drift);
    }
    drift
}

fn bases(children: &[&Child<'_>], drift: &mut Vec<Drift>) {
    let named: BTreeMap<String, String> = children
        .iter()
        .filter_map(|child| Some((child.platform.to_string(), child.base_name?.to_owned())))
        .collect();
    if named.values().collect::<BTreeSet<_>>().len() > 1 {
        drift.push(Drift::BaseNames { bases: named });
    }
    drift.extend(base_digests(children));
    let says = |child: &&&Child<'_>| child.base_name.or(child.base_digest).is_some();
    let silent: Vec<&&Child<'_>> = children.iter().filter(|child| !says(child)).collect();
    if !silent.is_empty() && silent.len() < children.len() {
        let platforms = silent.iter().map(|child| child.platform.to_string()).collect();
        drift.push(Drift::BaseUnknown { platforms });
    }
}

/// Digests of bases may be those of each platform's own manifest, and then all differ. Where some agree they are those of
/// an index, and one that disagrees is that of another version.
fn base_digests(children: &[&Child<'_>]) -> Vec<Drift> {
    let mut bases: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    for child in children {
        if let (Some(name), Some(digest)) = (child.base_name, child.base_digest) {
            bases.entry(name).or_default().insert(child.platform.to_string(), digest.to_owned());
        }
    }
    let is_drift = |digests: &BTreeMap<String, String>| {
        let distinct = digests.values().collect::<BTreeSet<_>>().len();
        (2..digests.len()).contains(&distinct)
    };
    let several = bases.into_iter().filter(|(_, digests)| is_drift(digests));
    several.map(|(base, digests)| Drift::BaseDigests { base: base.to_owned(), digests }).collect()
}

fn packages(children: &[&Child<'_>], drift: &mut Vec<Drift>) {
    let sets: Vec<Packages> = children.iter().map(|child| installed(child)).collect();
    // Where only some have a database there is nothing to compare.
    if sets.iter().any(Packages::is_empty) {
        return;
    }
    let names = sets.iter().map(|set| set.keys().cloned().collect()).collect::<Vec<_>>();
    drift.extend(not_in_all(children, &names).into_iter().map(Drift::Packages));
    let all: BTreeSet<&String> = sets.iter().flat_map(Packages::keys).collect();
    let mut count = 0;
    for package in all {
        let versions = children.iter().zip(&sets).filter_map(|(child, set)| {
            Some((child.platform.to_string(), source_version(set.get(package)?).to_owned()))
        });
        let versions: BTreeMap<String, String> = versions.collect();
        if versions.values().collect::<BTreeSet<_>>().len() > 1 {
            count += 1;
            if count <= MOST_NAMES {
                drift.push(Drift::Version { package: package.clone(), versions });
            }
        }
    }
    if count > MOST_NAMES {
        drift.push(Drift::MoreVersions { count: count - MOST_NAMES });
    }
}

fn installed(child: &Child<'_>) -> Packages {
    let entries = child.contents.into_iter().flat_map(Contents::iter);
    let databases =
        entries.filter_map(|(path, entry)| match is_database(path).then(|| Facts::of(entry))? {
            Some(Facts::Packages(packages)) => Some(packages),
            _ => None,
        });
    databases.flatten().collect()
}

fn files(children: &[&Child<'_>], drift: &mut Vec<Drift>) {
    let names = |child: &&Child<'_>| -> BTreeSet<String> {
        let entries = child.contents.into_iter().flat_map(Contents::iter);
        let files =
            entries.filter(|(_, entry)| matches!(entry.kind, Kind::File { .. } | Kind::Symlink { .. }));
        files.map(|(path, _)| without_architecture(&String::from_utf8_lossy(path))).collect()
    };
    let sets: Vec<BTreeSet<String>> = children.iter().map(names).collect();
    drift.extend(not_in_all(children, &sets).into_iter().map(Drift::Files));
}

/// Names that are not in every set, by the children that have them.
fn not_in_all(children: &[&Child<'_>], sets: &[BTreeSet<String>]) -> Vec<Names> {
    let all: BTreeSet<&String> = sets.iter().flatten().collect();
    let mut groups: BTreeMap<Vec<usize>, Names> = BTreeMap::new();
    for name in all {
        let having: Vec<usize> = (0..sets.len()).filter(|index| sets[*index].contains(name)).collect();
        if having.len() == sets.len() {
            continue;
        }
        let group = groups.entry(having).or_insert_with_key(|having| Names {
            platforms: having.iter().map(|index| children[*index].platform.to_string()).collect(),
            count: 0,
            first: Vec::new(),
        });
        group.count += 1;
        if group.first.len() < MOST_NAMES {
            group.first.push(name.clone());
        }
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use archway_layer::contents::LayerContents;

    use super::*;
    use crate::made::{Files, rpm_database};

    #[track_caller]
    fn drift(images: &[(&str, Files, Option<&str>)]) -> Vec<String> {
        let platforms: Vec<Platform> = images.iter().map(|image| image.0.parse().unwrap()).collect();
        let layers: Vec<LayerContents> = images.iter().map(|image| image.1.layer()).collect();
        let contents: Vec<Contents> = layers.iter().map(|layer| Contents::stack([layer])).collect();
        let children: Vec<Child<'_>> = images
            .iter()
            .zip(platforms.iter().zip(&contents))
            .map(|((_, _, base), (platform, contents))| Child {
                platform,
                contents: Some(contents),
                base_name: *base,
                base_digest: None,
            })
            .collect();
        compare(&children).iter().map(|drift| format!("{:?}: {drift}", drift.severity())).collect()
    }

    fn debian(triplet: &str, architecture: &str, openssl: &str, more: &str) -> Files {
        let status = format!(
            "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n\
             Package: openssl\nStatus: install ok installed\nVersion: {openssl}\n\n{more}"
        );
        Files::default()
            .file(&format!("usr/lib/{triplet}/libc.so.6"), 0o644, b"")
            .file(&format!("var/lib/dpkg/info/libc6:{architecture}.list"), 0o644, b"")
            .file("var/lib/dpkg/status", 0o644, status.as_bytes())
    }

    #[test]
    fn an_architecture_in_a_name_is_no_difference() {
        let amd64 = debian("x86_64-linux-gnu", "amd64", "3.0.1+b1", "");
        let arm64 = debian("aarch64-linux-gnu", "arm64", "3.0.1+b2", "");
        let arm = debian("arm-linux-gnueabihf", "armhf", "3.0.1", "");
        assert_eq!(
            drift(&[("linux/amd64", amd64, None), ("linux/arm64", arm64, None), ("linux/arm/v7", arm, None)]),
            [""; 0]
        );
    }

    #[test]
    fn packages_versions_and_files_are_compared() {
        let extra = "Package: valgrind\nStatus: install ok installed\nVersion: 1\n\n";
        let mut amd64 = debian("x86_64-linux-gnu", "amd64", "3.0.2", extra);
        for number in 0..10 {
            amd64 = amd64.file(&format!("srv/{number}"), 0o644, b"");
        }
        let arm64 = debian("aarch64-linux-gnu", "arm64", "3.0.1", "");
        assert_eq!(
            drift(&[("linux/amd64", amd64, None), ("linux/arm64", arm64, None)]),
            [
                "Note: 1 package is only in linux/amd64: valgrind",
                "Warning: package openssl: 3.0.2 on linux/amd64, 3.0.1 on linux/arm64",
                "Note: 10 files are only in linux/amd64: srv/0, srv/1, srv/2, srv/3, srv/4, srv/5, srv/6, srv/7 and 2 more",
            ]
        );
    }

    #[test]
    fn packages_of_rpm_are_compared() {
        let fedora = |packages: &[(&str, &str)]| {
            Files::default().file("usr/lib/sysimage/rpm/Packages.db", 0o644, &rpm_database(packages))
        };
        let amd64 = fedora(&[("glibc", "2.39"), ("openssl", "3.2.1"), ("valgrind", "3.23")]);
        let arm64 = fedora(&[("glibc", "2.39"), ("openssl", "3.2.2")]);
        assert_eq!(
            drift(&[("linux/amd64", amd64, None), ("linux/arm64", arm64, None)]),
            [
                "Note: 1 package is only in linux/amd64: valgrind",
                "Warning: package openssl: 3.2.1-1 on linux/amd64, 3.2.2-1 on linux/arm64",
            ]
        );
    }

    #[test]
    fn other_systems_are_other_images() {
        let file = |name: &str| Files::default().file(name, 0o644, b"");
        assert_eq!(
            drift(&[("linux/amd64", file("app"), None), ("windows/amd64", file("app.exe"), None)]),
            [""; 0]
        );
    }

    #[test]
    fn bases_are_compared_by_digest_where_some_agree() {
        let drift = |digests: &[(&str, &str, Option<&str>)]| -> Vec<String> {
            let platforms: Vec<Platform> = digests.iter().map(|child| child.0.parse().unwrap()).collect();
            let children = digests.iter().zip(&platforms).map(|((_, name, digest), platform)| Child {
                platform,
                contents: None,
                base_name: Some(name),
                base_digest: *digest,
            });
            compare(&children.collect::<Vec<_>>()).iter().map(ToString::to_string).collect()
        };
        let (amd64, arm64, s390x) = ("linux/amd64", "linux/arm64", "linux/s390x");
        let base = "debian:12";
        assert_eq!(
            drift(&[
                (amd64, base, Some("sha256:1")),
                (arm64, base, Some("sha256:1")),
                (s390x, base, Some("sha256:2"))
            ]),
            [
                "the platforms are built on several versions of debian:12: sha256:1 on linux/amd64, sha256:1 on \
              linux/arm64, sha256:2 on linux/s390x"
            ]
        );
        for same in [
            &[(amd64, base, Some("sha256:1")), (arm64, base, Some("sha256:1"))][..],
            &[(amd64, base, Some("sha256:1")), (arm64, base, Some("sha256:2"))],
            &[
                (amd64, base, Some("sha256:1")),
                (arm64, base, Some("sha256:2")),
                (s390x, base, Some("sha256:3")),
            ],
            &[(amd64, base, Some("sha256:1")), (arm64, base, Some("sha256:1")), (s390x, base, None)],
        ] {
            assert_eq!(drift(same), [""; 0], "{same:?}");
        }
    }

    #[test]
    fn bases_are_compared_by_name() {
        let image = |platform, base| (platform, Files::default(), base);
        let (amd64, arm64) = ("linux/amd64", "linux/arm64");
        assert_eq!(drift(&[image(amd64, Some("debian:12")), image(arm64, Some("debian:12"))]), [""; 0]);
        assert_eq!(
            drift(&[image(amd64, Some("debian:12")), image(arm64, Some("debian:11"))]),
            [
                "Warning: the platforms have different bases: debian:12 on linux/amd64, debian:11 on linux/arm64"
            ]
        );
        assert_eq!(
            drift(&[image(amd64, Some("debian:12")), image(arm64, None)]),
            ["Note: linux/arm64 does not say what it was built on, others do"]
        );
    }
}
