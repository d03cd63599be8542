//! Package URLs (purl-spec): names of packages of every kind.

use std::fmt::{self, Write as _};

use archway_oci::{Platform, Reference};

/// A package URL: `pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageUrl<'a> {
    /// The kind of package: `deb`, `docker`, `golang`; lower case.
    pub kind: &'a str,
    /// What the name is unique within, its parts separated by `/`; empty if there is nothing.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The version; empty if there is none.
    pub version: &'a str,
    /// Further properties, sorted by key. Those that are empty are left out.
    pub qualifiers: &'a [(&'a str, &'a str)],
}

impl fmt::Display for PackageUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}/", self.kind)?;
        for part in self.namespace.split('/').filter(|part| !part.is_empty()) {
            escape(part, "", f)?;
            f.write_char('/')?;
        }
        escape(self.name, "", f)?;
        if !self.version.is_empty() {
            f.write_char('@')?;
            escape(self.version, ":", f)?;
        }
        let given = self.qualifiers.iter().filter(|(_, value)| !value.is_empty());
        for (index, (key, value)) in given.enumerate() {
            write!(f, "{}{key}=", if index == 0 { '?' } else { '&' })?;
            escape(value, ":", f)?;
        }
        Ok(())
    }
}

/// Writes `text`, every byte escaped that is neither unreserved (RFC 3986) nor one of `kept`.
fn escape(text: &str, kept: &str, to: &mut impl fmt::Write) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                to.write_char(char::from(byte))?;
            }
            other if kept.as_bytes().contains(&other) => to.write_char(char::from(other))?,
            other => write!(to, "%{other:02X}")?,
        }
    }
    Ok(())
}

/// What kind of package URL an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSource {
    /// It is in a registry under its name: `pkg:docker`.
    Registry,
    /// It is in a layout, where it may be called anything: `pkg:oci`, as in BuildKit.
    Layout,
}

/// The package URL of an image, as BuildKit writes it: `pkg:docker/alpine@3.17?platform=linux%2Famd64`.
pub fn image(source: ImageSource, reference: &Reference, platform: &Platform) -> String {
    let name = Reference { tag: None, digest: None, ..reference.clone() }.familiar();
    let (namespace, name) = name.rsplit_once('/').unwrap_or(("", &name));
    let digest = reference.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    let url = PackageUrl {
        kind: match source {
            ImageSource::Registry => "docker",
            ImageSource::Layout => "oci",
        },
        namespace,
        name,
        version: reference.tag.as_deref().unwrap_or_default(),
        qualifiers: &[("digest", &digest), ("platform", &platform.to_string())],
    };
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let pinned = format!("localhost:5000/a/b:1@{digest}");
        let cases = [
            ("alpine:3.17", "pkg:docker/alpine@3.17?platform=linux%2Farm%2Fv7".to_owned()),
            ("me/app", "pkg:docker/me/app@latest?platform=linux%2Farm%2Fv7".to_owned()),
            (
                pinned.as_str(),
                format!("pkg:docker/localhost%3A5000/a/b@1?digest={digest}&platform=linux%2Farm%2Fv7"),
            ),
        ];
        let platform = Platform::parse("linux/arm/v7").unwrap();
        for (reference, want) in cases {
            assert_eq!(image(ImageSource::Registry, &reference.parse().unwrap(), &platform), want);
        }
        let oci = image(ImageSource::Layout, &"context".parse().unwrap(), &platform);
        assert_eq!(oci, "pkg:oci/context@latest?platform=linux%2Farm%2Fv7");
    }

    #[test]
    fn packages() {
        let url = PackageUrl {
            kind: "deb",
            namespace: "debian",
            name: "libstdc++6",
            version: "1:12.2.0-14+deb12u1",
            qualifiers: &[("arch", "amd64"), ("distro", "debian-12"), ("upstream", "")],
        };
        assert_eq!(
            url.to_string(),
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
        );
        let bare = PackageUrl { kind: "npm", namespace: "@scope", name: "x", version: "", qualifiers: &[] };
        assert_eq!(bare.to_string(), "pkg:npm/%40scope/x");
    }
}
