//! Tags of registries before and after they move: compare and set, as far as registries let.

use archway_oci::{Digest, Reference};
use archway_registry::Client;
use futures_util::future::try_join_all;

use crate::{
    Error,
    expectation::{Expectations, Verdict},
};

/// Looks at tags that are to point at one digest.
pub(crate) struct TagGuard<'a> {
    pub(crate) registry: &'a Client,
    pub(crate) expected: &'a Expectations,
    /// What they are to point at.
    pub(crate) new: &'a Digest,
}

impl TagGuard<'_> {
    /// What is to be done with a tag.
    ///
    /// # Errors
    /// [`Error::TagMoved`]: it points at something unexpected. [`Error::Registry`]: something is expected of
    /// it, and its registry does not say what it points at.
    pub(crate) async fn look(&self, tag: &Reference) -> Result<Verdict, Error> {
        self.expected.judge(tag, self.current(tag).await?.as_ref(), self.new)
    }

    /// What is to be done with each of the tags; nobody is asked if nothing is expected.
    ///
    /// # Errors
    /// As [`Self::look`]; one tag that is elsewhere is enough.
    pub(crate) async fn look_if_expected(&self, tags: &[&Reference]) -> Result<Vec<Verdict>, Error> {
        match self.expected.is_empty() {
            true => Ok(vec![Verdict::Move; tags.len()]),
            false => try_join_all(tags.iter().map(|tag| self.look(tag))).await,
        }
    }

    /// Whether the tags that something was expected of are where they were moved.
    ///
    /// # Errors
    /// [`Error::Overtaken`]: somebody else has moved one since.
    pub(crate) async fn look_after(&self, tags: &[&Reference]) -> Result<(), Error> {
        let expected = tags.iter().filter(|tag| self.expected.of(tag).is_some());
        let looks = expected.map(|tag| async move {
            match self.current(tag).await? {
                Some(found) if found == *self.new => Ok(()),
                found => Err(Error::Overtaken { tag: tag.familiar(), found: found.into() }),
            }
        });
        try_join_all(looks).await.map(drop)
    }

    /// What a tag points at. Where something is expected of it, a registry that does not say is an error.
    async fn current(&self, tag: &Reference) -> Result<Option<Digest>, Error> {
        let current = self.registry.head_manifest(tag).await;
        let current = match self.expected.of(tag) {
            Some(_) => current.map_err(Error::registry("look at", tag.familiar()))?,
            None => current.unwrap_or(None),
        };
        Ok(current.map(|current| current.digest))
    }
}
