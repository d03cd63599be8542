//! Tags: which there are, and removing one (distribution-spec "Listing Tags" and "Deleting tags").

use std::collections::{BTreeMap, BTreeSet};

use archway_oci::{Index, Reference, json, json::MAX_DOCUMENT, media_type};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use crate::{
    Client, Error, auth::Scope, client::path, exchange::protocol, link::next_page, request::Request,
};

/// Tags that are asked for at once.
const PAGE: u32 = 1000;
/// Pages that are read.
const MAX_PAGES: usize = 20;
/// Placeholders that are made for one tag. Distribution deletes a manifest and then looks for its tags, which
/// fails when another tag is being written at that moment.
const PLACEHOLDERS: usize = 4;
/// Says in a placeholder which tag it stands for, so that no two are the same.
const PLACEHOLDER: &str = "dev.archway.placeholder";

/// What became of a tag that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagRemoval {
    /// It is not there any more.
    Removed,
    /// The registry removes no tags.
    Unsupported,
}

impl Client {
    /// The tags of a repository that begin with `prefix`, each once, as far as its first pages list them; none if
    /// there is no such repository.
    pub async fn tags(&self, repository: &Reference, prefix: &str) -> Result<Vec<String>, Error> {
        // Lists are in lexical order. A registry without pages sends all of them.
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("n", &PAGE.to_string())
            .append_pair("last", prefix)
            .finish();
        let mut page = format!("{}/tags/list?{query}", repository.repository);
        let (mut found, mut pages) = (BTreeSet::new(), BTreeSet::new());
        // A list that leads back to a page that was read has no more to say.
        while pages.len() < MAX_PAGES && pages.insert(page.clone()) {
            let scope = Scope::pull(&repository.repository);
            let request = Request::new(Method::GET, &repository.registry, page.clone(), scope);
            let what = format!("the tags of {}", repository.repository_name());
            let (headers, bytes) = match self.transport.fetch(&request, &what, MAX_DOCUMENT).await {
                Err(Error::NotFound { .. }) => break,
                answer => answer?,
            };
            let listed = tag_list(&repository.registry, &bytes)?;
            let is_behind = |tag: &String| !tag.starts_with(prefix) && tag.as_str() > prefix;
            let is_last = listed.last().is_some_and(is_behind);
            found.extend(listed.into_iter().filter(|tag| tag.starts_with(prefix)));
            match next_page(&page, &headers) {
                Some(next) if !is_last => page = next,
                _ => break,
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Removes a tag, and nothing else: what it points at stays, with all other tags.
    ///
    /// Registries that only delete manifests by digest, and with them all of their tags, are made to delete
    /// a placeholder that only this tag points at.
    pub async fn delete_tag(&self, reference: &Reference) -> Result<TagRemoval, Error> {
        let tag = reference.tag.as_deref().unwrap_or(archway_oci::reference::DEFAULT_TAG);
        match self.delete(reference, tag).await? {
            StatusCode::METHOD_NOT_ALLOWED => return Ok(TagRemoval::Unsupported),
            StatusCode::BAD_REQUEST => {}
            _ => return Ok(TagRemoval::Removed),
        }
        let by_tag = Reference { tag: Some(tag.to_owned()), digest: None, ..reference.clone() };
        for _ in 0..PLACEHOLDERS {
            let digest = self.push_manifest(&by_tag, media_type::OCI_INDEX, placeholder(tag).into()).await?;
            match self.delete(reference, digest.as_str()).await? {
                StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => break,
                // An attempt that failed at first had deleted the manifest, and left the tag.
                StatusCode::NOT_FOUND => {}
                _ => return Ok(TagRemoval::Removed),
            }
        }
        Ok(TagRemoval::Unsupported)
    }

    /// A success, or one of the refusals that have a meaning. What is not there need not be deleted.
    async fn delete(&self, reference: &Reference, name: &str) -> Result<StatusCode, Error> {
        let scope = Scope::delete(&reference.repository);
        let path = path(reference, "manifests", name);
        let request = Request::new(Method::DELETE, &reference.registry, path, scope);
        let accepted = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::BAD_REQUEST];
        self.transport.send(&request, &accepted).await.map(|response| response.status())
    }
}

/// An index of nothing, for one tag only: it refers to no blob, and no other tag has its digest.
fn placeholder(tag: &str) -> Vec<u8> {
    let annotations = BTreeMap::from([(PLACEHOLDER.to_owned(), tag.to_owned())]);
    let index = Index { annotations, ..Index::new(Vec::new()) };
    json::to_vec(&index)
}

fn tag_list(registry: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct TagList {
        tags: Option<Vec<String>>,
    }
    let list: TagList = serde_json::from_slice(bytes)
        .map_err(|_| protocol(registry, "its list of tags is not what it should be"))?;
    Ok(list.tags.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_may_have_no_tags() {
        assert_eq!(tag_list("r.io", br#"{"name":"a","tags":null}"#).unwrap(), Vec::<String>::new());
        assert_eq!(tag_list("r.io", br#"{"tags":["a","b"]}"#).unwrap(), ["a", "b"]);
        assert!(matches!(tag_list("r.io", b"<html>"), Err(Error::Protocol { .. })));
    }

    #[test]
    fn a_placeholder_is_for_one_tag() {
        let text = String::from_utf8(placeholder("x")).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"#,
                r#""annotations":{"dev.archway.placeholder":"x"}}"#
            )
        );
        assert_ne!(placeholder("x"), placeholder("y"));
    }
}
