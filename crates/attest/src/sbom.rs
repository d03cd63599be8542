//! Software bills of materials: a catalog of packages as a document about one image.
//!
//! A document depends on the image alone - not on its name, on the time, or on the machine - so it is the same whether it was made
//! during the build or years later.

use std::str::FromStr;

use archway_oci::{Digest, Platform};
use jiff::Timestamp;

use crate::{Attestation, cyclonedx, packages::Catalog, spdx};

/// What a bill of materials is about: the image of one platform.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// Digest of its manifest.
    pub digest: &'a Digest,
    /// Its platform.
    pub platform: &'a Platform,
    /// When it was made, as its config says.
    pub created: Option<&'a str>,
}

impl Image<'_> {
    /// The time of the document: that of the image in whole seconds, or the beginning of 1970.
    pub(crate) fn time(&self) -> String {
        let stated = self.created.and_then(|created| Timestamp::from_str(created).ok());
        stated.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// Which document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// SPDX 2.3, which BuildKit makes too.
    #[default]
    Spdx,
    /// CycloneDX 1.6.
    CycloneDx,
}

impl Format {
    /// The type of the predicate.
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::Spdx => spdx::PREDICATE_TYPE,
            Self::CycloneDx => cyclonedx::PREDICATE_TYPE,
        }
    }
}

/// The document, to be attached to its image or printed.
pub fn document(format: Format, image: &Image<'_>, catalog: &Catalog) -> Attestation {
    match format {
        Format::Spdx => Attestation::new(format.predicate_type(), &spdx::document(image, catalog)),
        Format::CycloneDx => Attestation::new(format.predicate_type(), &cyclonedx::document(image, catalog)),
    }
}

/// Who made a document.
pub(crate) const TOOL: &str = "archway";
/// Its version.
pub(crate) const TOOL_VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::packages::{catalog, tests::contents};

    fn catalog_of_debian() -> Catalog {
        catalog(&contents(&[
            ("etc/os-release", b"ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            (
                "var/lib/dpkg/status",
                b"Package: libgcc-s1\nStatus: install ok installed\nArchitecture: amd64\nMaintainer: Debian GCC <gcc@example.org>\n\
                  Source: gcc-12 (12.2.0-14)\nVersion: 12.2.0-14+b1\n\nPackage: tzdata\nStatus: install ok installed\n\
                  Architecture: all\nVersion: 2024a-0\n",
            ),
            (
                "usr/share/doc/libgcc-s1/copyright",
                b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-3+ and see-file\n",
            ),
            ("opt/node_modules/@types/node/package.json", br#"{"name":"@types/node","version":"20.1.0","license":"MIT"}"#),
            (
                "usr/local/bundle/specifications/rack-2.2.8.gemspec",
                b"# stub: rack 2.2.8 ruby lib\n\nGem::Specification.new do |s|\n  s.licenses = [\"MIT\".freeze]\nend\n",
            ),
            ("var/lib/rpm/Packages", b"berkeley"),
        ]))
    }

    fn documents() -> [String; 2] {
        let digest = Digest::sha256(b"image");
        let platform = "linux/amd64".parse().unwrap();
        let image =
            Image { digest: &digest, platform: &platform, created: Some("2024-01-02T03:04:05.678+01:00") };
        let catalog = catalog_of_debian();
        [Format::Spdx, Format::CycloneDx].map(|format| {
            let attestation = document(format, &image, &catalog);
            assert_eq!(attestation.predicate_type(), format.predicate_type());
            let document: Value = serde_json::from_str(attestation.predicate()).unwrap();
            serde_json::to_string_pretty(&document).unwrap()
        })
    }

    /// What others rely on: the whole documents. `scripts/validate-sbom` validates them against the published schemas.
    #[test]
    fn documents_never_change_by_accident() {
        let [spdx, cyclonedx] = documents();
        insta::assert_snapshot!("spdx", spdx);
        insta::assert_snapshot!("cyclonedx", cyclonedx);
    }

    #[test]
    fn the_time_is_that_of_the_image() {
        let digest = Digest::sha256(b"");
        let platform = "linux/amd64".parse().unwrap();
        let time = |created| Image { digest: &digest, platform: &platform, created }.time();
        assert_eq!(time(Some("2024-01-02T03:04:05.678+01:00")), "2024-01-02T02:04:05Z");
        assert_eq!(time(None), "1970-01-01T00:00:00Z");
        assert_eq!(time(Some("yesterday")), "1970-01-01T00:00:00Z");
    }
}
