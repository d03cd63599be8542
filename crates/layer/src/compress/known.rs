//! Members that were compressed before need not be compressed again.

use std::fmt;

/// One member of a compressed layer. Where it begins is where the ones before it end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// blake3 hash of its tar.
    pub content: blake3::Hash,
    /// blake3 hash of its compressed bytes.
    pub compressed: blake3::Hash,
    /// How many compressed bytes there are. A member is at most [`super::member::MOST`] of tar, so they
    /// are few.
    pub length: u32,
}

/// Compressed members that are at hand, all of one [`super::Compression`].
pub trait KnownMembers: Send + Sync {
    /// The compressed bytes of the member whose tar has this blake3 hash. Whoever implements this
    /// vouches that they are what [`Member::compressed`] said when they were made.
    fn find(&self, content: &blake3::Hash) -> Option<Vec<u8>>;
}

impl fmt::Debug for dyn KnownMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownMembers")
    }
}
