//! Base images made from Debian packages, for machines that reach a Debian mirror and no registry.
//!
//! | image | holds | platforms |
//! |---|---|---|
//! | `busybox` | busybox-static with all its applets | all six |
//! | `golang` | busybox and Debian's Go compiler, in `/usr/local/go` as in Docker's image | this machine's |
//! | `debian` | a minimal Debian with apt | all six, or those asked for |
//! | `nanoserver` | a stand-in for a Windows base: its layout, nothing of Windows | windows/amd64, two versions |
//!
//! Each image is made once and kept in the [`Cache`]. The files, names and variables of an image are
//! those of the image of the same name on Docker Hub, as far as a Dockerfile notices.

mod busybox;
mod debian;
mod golang;
mod nanoserver;

use std::{env, fmt, io, path::Path, str::FromStr};

use archway_oci::Platform;

use crate::{
    apt::{Apt, AptError},
    cache::Cache,
    image::{Image, ImageError},
    process::ProcessError,
};

/// A platform by the names of Debian and of OCI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Debian's name.
    pub debian: &'static str,
    /// OCI's (Go's) name.
    pub oci: &'static str,
    /// OCI's variant.
    pub variant: Option<&'static str>,
    /// The name in the files of Debian's package qemu-user-static.
    qemu: &'static str,
}

/// Every architecture base images are made for, in the order of the images' indexes.
pub const ARCHITECTURES: [Architecture; 6] = [
    Architecture { debian: "amd64", oci: "amd64", variant: None, qemu: "x86_64" },
    Architecture { debian: "arm64", oci: "arm64", variant: None, qemu: "aarch64" },
    Architecture { debian: "armhf", oci: "arm", variant: Some("v7"), qemu: "arm" },
    Architecture { debian: "i386", oci: "386", variant: None, qemu: "i386" },
    Architecture { debian: "ppc64el", oci: "ppc64le", variant: None, qemu: "ppc64le" },
    Architecture { debian: "s390x", oci: "s390x", variant: None, qemu: "s390x" },
];

impl Architecture {
    /// The platform.
    pub fn platform(self) -> Platform {
        Platform {
            os: "linux".to_owned(),
            architecture: self.oci.to_owned(),
            variant: self.variant.map(str::to_owned),
            ..Platform::default()
        }
    }

    /// This machine's.
    ///
    /// # Errors
    /// When base images are not made for it.
    pub fn host() -> Result<Self, BaseError> {
        let name = match env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        let found = ARCHITECTURES.into_iter().find(|architecture| architecture.oci == name);
        found.ok_or_else(|| BaseError::UnknownPlatform(format!("linux/{name}")))
    }

    /// Whether this machine runs it without an emulator: its own, and 386 on amd64.
    fn is_native(self) -> bool {
        Self::host().is_ok_and(|host| host == self || (host.oci == "amd64" && self.oci == "386"))
    }

    /// The one that `text` (`linux/arm/v7`) names.
    ///
    /// # Errors
    /// When base images are not made for it.
    pub fn of_platform(text: &str) -> Result<Self, BaseError> {
        let named = |architecture: &Architecture| {
            let variant = architecture.variant.map(|variant| format!("/{variant}")).unwrap_or_default();
            format!("linux/{}{variant}", architecture.oci) == text
        };
        let found = ARCHITECTURES.into_iter().find(named);
        found.ok_or_else(|| BaseError::UnknownPlatform(text.to_owned()))
    }
}

/// Why a base image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Packages could not be downloaded or read.
    #[error(transparent)]
    Packages(#[from] AptError),
    /// A package has not what the image needs.
    #[error("the Debian package {package} has no {file}")]
    NotInPackage {
        /// Package.
        package: String,
        /// File.
        file: String,
    },
    /// A program that helps to make the image failed.
    #[error("cannot make the image")]
    Program(#[from] ProcessError),
    /// The image could not be written or read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Files of the cache.
    #[error("cannot use the cache of base images")]
    Io(#[from] io::Error),
    /// Images are not made for this platform.
    #[error("no base images for {0}; there are linux/amd64, arm64, arm/v7, 386, ppc64le and s390x")]
    UnknownPlatform(String),
    /// No image has this name.
    #[error("no base image `{0}`; there are busybox, golang, debian and nanoserver")]
    UnknownBase(String),
}

/// One of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// busybox.
    Busybox,
    /// busybox and Go.
    Golang,
    /// A minimal Debian.
    Debian,
    /// The layout of Windows.
    Nanoserver,
}

impl Base {
    /// Every base image.
    pub const ALL: [Self; 4] = [Self::Busybox, Self::Golang, Self::Debian, Self::Nanoserver];
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busybox => "busybox",
            Self::Golang => "golang",
            Self::Debian => "debian",
            Self::Nanoserver => "nanoserver",
        })
    }
}

impl FromStr for Base {
    type Err = BaseError;

    fn from_str(text: &str) -> Result<Self, BaseError> {
        let found = Self::ALL.into_iter().find(|base| base.to_string() == text);
        found.ok_or_else(|| BaseError::UnknownBase(text.to_owned()))
    }
}

/// Makes base images, or takes them from the cache.
#[derive(Debug, Clone)]
pub struct BaseImages {
    cache: Cache,
}

impl BaseImages {
    /// With the user's cache directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open() -> Result<Self, BaseError> {
        Ok(Self { cache: Cache::open()? })
    }

    /// The image `base` for all its platforms. `debian` takes minutes the first time.
    ///
    /// # Errors
    /// When it is not cached and cannot be made.
    pub fn get(&self, base: Base) -> Result<Image, BaseError> {
        match base {
            Base::Busybox => self.busybox(),
            Base::Golang => self.golang(),
            Base::Debian => self.debian(&ARCHITECTURES),
            Base::Nanoserver => self.image("nanoserver-1", nanoserver::write),
        }
    }

    /// `busybox` for all platforms: seconds, and 5 MB to download next to the package lists.
    ///
    /// # Errors
    /// When it is not cached and cannot be made.
    pub fn busybox(&self) -> Result<Image, BaseError> {
        self.image("busybox-2", |directory| self.with_apt(|apt| busybox::write(apt, directory)))
    }

    /// `golang` for this machine's platform: 84 MB to download.
    ///
    /// # Errors
    /// When it is not cached and cannot be made.
    pub fn golang(&self) -> Result<Image, BaseError> {
        let host = Architecture::host()?;
        self.image(&format!("golang-3-{}", host.oci), |directory| {
            self.with_apt(|apt| golang::write(apt, host, directory))
        })
    }

    /// `debian` for `architectures`: about 15 seconds for this machine's, a minute or more for each other.
    ///
    /// # Errors
    /// When it is not cached and cannot be made; another machine's needs qemu-user-static and Linux 6.7.
    pub fn debian(&self, architectures: &[Architecture]) -> Result<Image, BaseError> {
        let names: Vec<&str> = architectures.iter().map(|architecture| architecture.oci).collect();
        self.image(&format!("debian-1-{}", names.join("-")), |directory| {
            let root = |architecture: &Architecture| {
                let name = format!("debian-root-1-{}", architecture.oci);
                self.cache.entry(&name, |directory| debian::make_root(*architecture, directory))
            };
            let roots = architectures
                .iter()
                .map(|architecture| Ok((*architecture, root(architecture)?)))
                .collect::<Result<Vec<_>, BaseError>>()?;
            debian::write(&roots, directory)
        })
    }

    /// Pushes `base` to `registry` (`localhost:5000`) as `NAME:latest` and returns that reference.
    ///
    /// # Errors
    /// When the image cannot be made or pushed.
    pub fn push(&self, base: Base, registry: &str) -> Result<String, BaseError> {
        let reference = format!("{registry}/{base}:latest");
        self.get(base)?.push(&reference)?;
        Ok(reference)
    }

    fn image(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> Result<(), BaseError>,
    ) -> Result<Image, BaseError> {
        let directory = self.cache.entry(name, write)?;
        Ok(Image::open(&directory)?)
    }

    /// The one apt of the cache: its lists are read once for all images, by one user at a time.
    fn with_apt<T>(&self, work: impl FnOnce(&Apt) -> Result<T, BaseError>) -> Result<T, BaseError> {
        let _lock = self.cache.lock("apt")?;
        let apt = Apt::new(&self.cache.scratch("apt")?)?;
        let result = work(&apt)?;
        apt.tidy()?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_and_bases_have_names() {
        assert_eq!(Architecture::of_platform("linux/arm/v7").unwrap().debian, "armhf");
        assert_eq!(Architecture::of_platform("linux/ppc64le").unwrap().debian, "ppc64el");
        assert!(matches!(Architecture::of_platform("linux/arm"), Err(BaseError::UnknownPlatform(_))));
        for base in Base::ALL {
            assert_eq!(base.to_string().parse::<Base>().unwrap(), base);
        }
        assert!(matches!("alpine".parse::<Base>(), Err(BaseError::UnknownBase(_))));
    }
}
