//! Where an image is read from: a registry, or files.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{Reference, ReferenceError};
use crate::Digest;

/// A place that holds an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageLocation {
    /// A repository of a registry.
    Registry(Reference),
    /// A directory in OCI image layout: `oci:DIR[:TAG]` or `oci:DIR@DIGEST`.
    OciLayout {
        /// The directory.
        dir: PathBuf,
        /// Which of its images; `None`: the only one.
        tag_or_digest: Option<TagOrDigest>,
    },
    /// A tar file in OCI image layout: `oci-archive:FILE`.
    OciArchive(PathBuf),
    /// A tar file as `docker save` writes it: `docker-archive:FILE`.
    DockerArchive(PathBuf),
}

/// Picks one image of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TagOrDigest {
    /// The value of `org.opencontainers.image.ref.name`: a tag or a whole name.
    Tag(String),
    /// The digest of a manifest or index.
    Digest(Digest),
}

impl fmt::Display for TagOrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// A text names no place an image can be read from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// A transport without a path, such as `oci:`.
    #[error("`{0}` names no path")]
    NoPath(String),
    /// `oci:DIR:` without the tag.
    #[error("`{0}` ends where a tag is expected")]
    NoTag(String),
    /// It has no transport, and is no reference either.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

/// As skopeo and podman split it: the directory ends at the first colon.
impl FromStr for ImageLocation {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let path = |path: &str| match path {
            "" => Err(LocationError::NoPath(text.to_owned())),
            path => Ok(PathBuf::from(path)),
        };
        match text.split_once(':') {
            Some(("oci", rest)) => {
                let (dir, tag_or_digest) = split_layout(rest);
                if tag_or_digest == Some(TagOrDigest::Tag(String::new())) {
                    return Err(LocationError::NoTag(text.to_owned()));
                }
                Ok(Self::OciLayout { dir: path(dir)?, tag_or_digest })
            }
            Some(("oci-archive", rest)) => Ok(Self::OciArchive(path(rest)?)),
            Some(("docker-archive", rest)) => Ok(Self::DockerArchive(path(rest)?)),
            _ => Ok(Self::Registry(text.parse()?)),
        }
    }
}

fn split_layout(text: &str) -> (&str, Option<TagOrDigest>) {
    if let Some((dir, digest)) = text.rsplit_once('@')
        && !dir.contains(':')
        && let Ok(digest) = digest.parse()
    {
        return (dir, Some(TagOrDigest::Digest(digest)));
    }
    match text.split_once(':') {
        Some((dir, tag)) => (dir, Some(TagOrDigest::Tag(tag.to_owned()))),
        None => (text, None),
    }
}

impl fmt::Display for ImageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::OciLayout { dir, tag_or_digest } => {
                write!(f, "oci:{}", dir.display())?;
                match tag_or_digest {
                    None => Ok(()),
                    Some(TagOrDigest::Tag(tag)) => write!(f, ":{tag}"),
                    Some(TagOrDigest::Digest(digest)) => write!(f, "@{digest}"),
                }
            }
            Self::OciArchive(file) => write!(f, "oci-archive:{}", file.display()),
            Self::DockerArchive(file) => write!(f, "docker-archive:{}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_told_from_registries() {
        let digest = Digest::sha256(b"x");
        let layout = |dir: &str, tag_or_digest| ImageLocation::OciLayout { dir: dir.into(), tag_or_digest };
        let tag = |tag: &str| Some(TagOrDigest::Tag(tag.into()));
        let table = [
            ("oci:out".to_owned(), layout("out", None)),
            ("oci:./a/out:v1".to_owned(), layout("./a/out", tag("v1"))),
            ("oci:out:docker.io/library/x:1".to_owned(), layout("out", tag("docker.io/library/x:1"))),
            (format!("oci:out@{digest}"), layout("out", Some(TagOrDigest::Digest(digest.clone())))),
            ("oci:with@sign".to_owned(), layout("with@sign", None)),
            ("oci-archive:/tmp/a:b.tar".to_owned(), ImageLocation::OciArchive("/tmp/a:b.tar".into())),
            ("docker-archive:x.tar".to_owned(), ImageLocation::DockerArchive("x.tar".into())),
            (
                "r.example:5000/oci:1".to_owned(),
                ImageLocation::Registry("r.example:5000/oci:1".parse().unwrap()),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<ImageLocation>().as_ref(), Ok(&expected));
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn a_transport_needs_a_path() {
        for text in ["oci:", "oci::tag", "oci-archive:", "docker-archive:"] {
            assert_eq!(text.parse::<ImageLocation>(), Err(LocationError::NoPath(text.into())));
        }
        assert_eq!("oci:x:".parse::<ImageLocation>(), Err(LocationError::NoTag("oci:x:".into())));
    }
}
