//! What a caller asks of build caches: `--cache-to`, `--cache-from`.

use std::{fmt, path::PathBuf, time::Duration};

use archway_engine::Scope;
use archway_layer::Compression;
use archway_oci::Reference;

/// Where a build cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A name in a registry; to read from, it may also be that of an image that holds its records.
    Registry(Reference),
    /// An OCI image layout.
    Local {
        /// Its directory.
        directory: PathBuf,
        /// The name in it.
        tag: String,
    },
    /// A bucket of an S3-compatible object store.
    S3(Bucket),
}

/// A place in an S3-compatible object store.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Its name.
    pub bucket: String,
    /// Its region; `None`: `$AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// Where the service is, if it is not AWS.
    pub endpoint: Option<String>,
    /// Whether the bucket is named in the path, and not in the host.
    pub use_path_style: bool,
    /// Credentials; without them, those of the environment or the machine.
    pub access_key_id: Option<String>,
    /// Goes with the access key.
    pub secret_access_key: Option<String>,
    /// Goes with temporary credentials.
    pub session_token: Option<String>,
    /// Before every object's name.
    pub prefix: String,
    /// Behind `prefix`, before the names of blobs.
    pub blobs_prefix: String,
    /// Behind `prefix`, before the name of the cache.
    pub manifests_prefix: String,
    /// The cache's own name.
    pub name: String,
}

impl fmt::Debug for Bucket {
    /// Credentials are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({self})")
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}{}{}", self.bucket, self.prefix, self.manifests_prefix, self.name)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => f.write_str(&reference.familiar()),
            Self::Local { directory, tag } if tag == DEFAULT_TAG => write!(f, "{}", directory.display()),
            Self::Local { directory, tag } => write!(f, "{}:{tag}", directory.display()),
            Self::S3(bucket) => bucket.fmt(f),
        }
    }
}

/// The name of a cache in a layout, if none is given; BuildKit's.
pub const DEFAULT_TAG: &str = "latest";

/// How long a result stays in a cache that nobody needs it from.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(14 * 24 * 3600);

/// One `--cache-to` that is not inside the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTo {
    /// Where.
    pub location: Location,
    /// `mode=min|max`
    pub scope: Scope,
    /// `compression=`, `compression-level=`: of layers that no image has; `None`: as those of the image.
    pub compression: Option<Compression>,
    /// `force-compression=`: of all layers.
    pub force_compression: bool,
    /// `ignore-error=`: whether the build succeeds though the cache could not be written.
    pub ignore_error: bool,
    /// `max-age=`
    pub max_age: Duration,
}

/// Records inside the image (`type=inline`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inline {
    /// None.
    #[default]
    No,
    /// If there is an image (`BUILDKIT_INLINE_CACHE=1`).
    IfImage,
    /// `--cache-to type=inline`
    Yes,
}

/// The build caches of a build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheSpec {
    /// `--cache-from`, in the order in which they are asked.
    pub from: Vec<Location>,
    /// `--cache-to`
    pub to: Vec<CacheTo>,
    /// `--cache-to type=inline`
    pub inline: Inline,
}

impl CacheSpec {
    /// Which results have to be ready for export.
    pub(crate) fn scope(&self) -> Scope {
        self.to.iter().map(|to| to.scope).max().unwrap_or_default()
    }
}
