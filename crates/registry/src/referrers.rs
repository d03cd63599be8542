//! Referrers: which manifests are about another one, and pushing such a manifest so that it is found.
//!
//! Registries of distribution-spec 1.1 keep the lists themselves. For all others clients do, as image indexes
//! under tags made of digests. Such a list is read, changed and written back without a lock that would hold
//! between machines, so it is read again afterwards: whose entry is missing then adds it once more.

use std::collections::BTreeSet;

use archway_oci::{
    Descriptor, Digest, Index, Reference,
    json::{self, MAX_DOCUMENT},
    media_type,
    referrer::{self, Referrer},
};
use bytes::Bytes;
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap},
};

use crate::{
    Client, Error, auth::Scope, client::path, exchange::protocol, link::next_page, pull::described,
    request::Request,
};

/// Says that a registry keeps the list itself, in the answer to a push.
const OCI_SUBJECT: &str = "oci-subject";
/// More pages of a list are not asked for.
const MAX_PAGES: usize = 100;
/// More referrers of one manifest are refused.
const MAX_REFERRERS: usize = 10_000;
/// How often an entry that others overwrote is added again.
const MAX_ADDITIONS: usize = 8;

impl Client {
    /// Describes the manifests of a repository that are about `subject`, each with its artifact type and
    /// annotations, as far as the list says. A subject without referrers, or that is not there, has none.
    ///
    /// The list is somebody's claim: what it names has to be looked at.
    pub async fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Error> {
        let listed = match self.listed_by_registry(repository, subject).await? {
            Some(listed) => listed,
            None => match self.listed_by_tag(&list_of(repository, subject)).await? {
                Some(list) => list.manifests,
                None => Vec::new(),
            },
        };
        let mut seen = BTreeSet::new();
        Ok(listed.into_iter().filter(|referrer| seen.insert(referrer.digest.clone())).collect())
    }

    /// Stores a manifest or index under its digest, and makes sure that it is listed among the referrers of its
    /// subject, which need not be there yet. `bytes` are what `referrer` was read from.
    pub async fn push_referrer(
        &self,
        repository: &Reference,
        referrer: &Referrer,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let Referrer { subject, descriptor } = referrer;
        let target = Reference { tag: None, ..repository.with_digest(descriptor.digest.clone()) };
        let answer = self.put_manifest(&target, &descriptor.media_type, bytes).await?;
        let processed = answer.headers().get(OCI_SUBJECT).and_then(|value| value.to_str().ok());
        match processed.is_some_and(|digest| digest.trim() == subject.digest.as_str()) {
            true => Ok(()),
            false => self.add_to_tag(&list_of(repository, &subject.digest), descriptor).await,
        }
    }

    /// Asks the referrers API; `None` if the registry does not have it.
    async fn listed_by_registry(
        &self,
        repository: &Reference,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        let registry = &repository.registry;
        let what = || format!("the referrers of {}", described(repository, subject));
        let mut listed = Vec::new();
        let mut page = path(repository, "referrers", subject.as_str());
        for number in 0..MAX_PAGES {
            let scope = Scope::pull(&repository.repository);
            let request = Request::new(Method::GET, registry, page.clone(), scope)
                .header("accept", media_type::OCI_INDEX);
            let (headers, bytes) = match self.transport.fetch(&request, &what(), MAX_DOCUMENT).await {
                Ok(answer) => answer,
                Err(error) if number == 0 && is_unknown(&error) => return Ok(None),
                Err(error) => return Err(error),
            };
            if !is_list(&headers) {
                // Some answer any path with a page for people.
                return match number {
                    0 => Ok(None),
                    _ => Err(protocol(registry, "a page of a list of referrers is no image index")),
                };
            }
            let list = Index::parse(&bytes)
                .map_err(|error| protocol(registry, &format!("{} are no list: {error}", what())))?;
            listed.extend(list.manifests);
            if listed.len() > MAX_REFERRERS {
                break;
            }
            match next_page(&page, &headers) {
                Some(next) => page = next,
                None => return Ok(Some(listed)),
            }
        }
        Err(protocol(registry, &format!("{} are too many", what())))
    }

    /// The list under a tag, if there is one.
    async fn listed_by_tag(&self, tag: &Reference) -> Result<Option<Index>, Error> {
        let fetched = match self.manifest(tag).await {
            Ok(fetched) => fetched,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let list = Index::parse(&fetched.bytes).map_err(|error| {
            protocol(&tag.registry, &format!("{} is no list of referrers: {error}", tag.familiar()))
        })?;
        Ok(Some(list))
    }

    /// Adds an entry to the list under a tag, until it is there.
    async fn add_to_tag(&self, tag: &Reference, entry: &Descriptor) -> Result<(), Error> {
        let _turn = self.transport.turn(tag.to_string()).await;
        for _ in 0..MAX_ADDITIONS {
            let mut list = self.listed_by_tag(tag).await?.unwrap_or_else(|| Index::new(Vec::new()));
            if !referrer::insert(&mut list, entry) {
                return Ok(());
            }
            let bytes = json::to_vec(&list);
            if bytes.len() as u64 > MAX_DOCUMENT {
                return Err(protocol(&tag.registry, &format!("{} has no room left", tag.familiar())));
            }
            self.push_manifest(tag, media_type::OCI_INDEX, bytes.into()).await?;
        }
        Err(protocol(&tag.registry, &format!("others keep overwriting {}", tag.familiar())))
    }
}

/// The tag that lists referrers where the registry does not.
fn list_of(repository: &Reference, subject: &Digest) -> Reference {
    Reference { tag: Some(referrer::fallback_tag(subject)), digest: None, ..repository.clone() }
}

/// How registries say that they do not know the API.
fn is_unknown(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } => true,
        Error::Registry { status, .. } => matches!(status, 400 | 405 | 406 | 501),
        _ => false,
    }
}

fn is_list(headers: &HeaderMap) -> bool {
    let stated = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    stated.and_then(|text| text.split(';').next()).is_some_and(|text| text.trim() == media_type::OCI_INDEX)
}
