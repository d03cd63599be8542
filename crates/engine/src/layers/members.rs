//! Members of layers, in the store.

use archway_layer::{Compression, KnownMembers, LayerInfo};
use archway_store::{MemberCache, MemberRecord, Store};

use crate::StepError;

/// The members of all layers of one compression.
pub(super) struct Members(MemberCache);

impl KnownMembers for Members {
    fn find(&self, content: &blake3::Hash) -> Option<Vec<u8>> {
        self.0.find(content)
    }
}

impl Members {
    pub(super) fn new(store: &Store, compression: Compression) -> Self {
        Self(store.members(&compression.id()))
    }

    /// Makes the members of a layer, whose blob is in the store, known to later layers.
    pub(super) fn remember(&self, info: &LayerInfo) -> Result<(), StepError> {
        if info.members.is_empty() {
            return Ok(());
        }
        let records = info.members.iter().map(|member| MemberRecord {
            content: member.content,
            compressed: member.compressed,
            length: member.length,
        });
        Ok(self.0.add(&info.digest, &records.collect::<Vec<_>>())?)
    }
}
