//! What readers of layer blobs found in them, so that a layer need not be read again.
//!
//! One table for each kind of facts and each blob. What is in it is the reader's: the store keeps bytes,
//! and knows whether they are whole. It is a hint: without it the layer is read.

use std::{fs, io, path::PathBuf};

use archway_oci::Digest;

use crate::{
    Store, blob,
    error::{Result, StoreError},
    garbage::Trash,
    root::Root,
    table::{self, Magic},
};

const MAGIC: &Magic = b"archway-facts-v1";

/// The facts of one kind.
#[derive(Debug, Clone, Copy)]
pub struct LayerFacts<'a> {
    store: &'a Store,
    kind: &'a str,
}

impl<'a> LayerFacts<'a> {
    pub(crate) fn new(store: &'a Store, kind: &'a str) -> Self {
        Self { store, kind }
    }

    /// What was found in a layer blob. A damaged table is as none.
    pub fn load(&self, blob: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.location(blob);
        match fs::read(&path) {
            Ok(bytes) => Ok(table::records(&bytes, MAGIC).map(<[u8]>::to_vec)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&path, error)),
        }
    }

    /// Notes what was found in a layer blob. It goes when the blob goes.
    pub fn save(&self, blob: &Digest, facts: &[u8]) -> Result<()> {
        table::replace(self.store, &self.location(blob), &table::seal([MAGIC.as_slice(), facts].concat()))
    }

    fn location(&self, blob: &Digest) -> PathBuf {
        self.store.inner.root.facts().join(self.kind).join(blob.hex())
    }
}

/// Takes away the tables of blobs that are not needed.
pub(crate) fn sweep(root: &Root, is_needed: impl Fn(&str) -> bool, trash: &mut Trash) -> Result<()> {
    blob::sweep_tables(&root.facts(), is_needed, trash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Prune, Rule};

    #[test]
    fn facts_stay_as_long_as_their_blob() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let blob = store.blobs().put(b"layer").unwrap();
        assert_eq!(store.facts("audit").load(&blob).unwrap(), None);
        store.facts("audit").save(&blob, b"found").unwrap();
        assert_eq!(store.facts("audit").load(&blob).unwrap().as_deref(), Some(&b"found"[..]));
        assert_eq!(store.facts("other").load(&blob).unwrap(), None);

        let path = store.facts("audit").location(&blob);
        let mut damaged = fs::read(&path).unwrap();
        damaged[MAGIC.len()] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_eq!(store.facts("audit").load(&blob).unwrap(), None);

        drop(store);
        let store = Store::open(directory.path()).unwrap();
        store.prune(&Prune::by(&[Rule::EVERYTHING])).unwrap();
        assert!(!path.exists());
    }
}
