//! What can be removed by itself.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{SnapshotKey, SnapshotKind};

/// Something in the store that can be removed by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ItemKind,
    /// A key or a digest; what its directory or file is called.
    pub id: String,
    /// In words, on one line; empty where nothing is known.
    pub description: String,
    /// The platform it is for; `None` where that makes no difference, or is not known.
    pub platform: Option<String>,
    /// Bytes allocated on the disk, also those that it shares with others.
    pub size: u64,
    /// When it, or what was made on top of it, was last used. To the hour, for steps and layers.
    pub last_used: Timestamp,
    /// Whether a running process uses it.
    pub in_use: bool,
    /// Whether a named image needs its files, too: removing it frees nothing then.
    pub shared: bool,
    /// What it was made on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotKey>,
}

/// Kinds of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemKind {
    /// The result of an instruction, with its layer blobs.
    Step,
    /// A layer of a base image, unpacked.
    BaseLayer,
    /// The files of a commit.
    GitCheckout,
    /// The file behind a URL.
    Download,
    /// An instance of a cache mount.
    CacheMount,
    /// A git repository that is kept to fetch less.
    GitRepository,
    /// Hashes of the files of a directory outside.
    FileHashes,
    /// A blob that no step made and no name leads to: a packed base layer, a document of an image.
    Blob,
}

impl ItemKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Step,
        Self::BaseLayer,
        Self::Blob,
        Self::CacheMount,
        Self::GitCheckout,
        Self::GitRepository,
        Self::Download,
        Self::FileHashes,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Step => SnapshotKind::Step.name(),
            Self::BaseLayer => SnapshotKind::BaseLayer.name(),
            Self::GitCheckout => SnapshotKind::GitCheckout.name(),
            Self::Download => SnapshotKind::Download.name(),
            Self::CacheMount => "cache-mount",
            Self::GitRepository => "git-repository",
            Self::FileHashes => "file-hashes",
            Self::Blob => "blob",
        }
    }

    /// Whether it goes only when everything does, because people did not ask for it by name.
    pub const fn is_internal(self) -> bool {
        matches!(self, Self::FileHashes | Self::Blob)
    }
}

impl Serialize for ItemKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl From<SnapshotKind> for ItemKind {
    fn from(kind: SnapshotKind) -> Self {
        match kind {
            SnapshotKind::Step => Self::Step,
            SnapshotKind::BaseLayer => Self::BaseLayer,
            SnapshotKind::GitCheckout => Self::GitCheckout,
            SnapshotKind::Download => Self::Download,
        }
    }
}
