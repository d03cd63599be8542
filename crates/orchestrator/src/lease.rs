//! Lease tags: names that keep the children of an index from being collected until the index names them.
//!
//! Some registries remove manifests that no tag points at, and know nothing of an index that is still to
//! come. A lease is a tag like any other; its name says when it was made, so that those of a publication
//! that never came to its end can be told, and removed by a later one.

use std::process;

use archway_oci::{Digest, Reference};
use archway_registry::TagRemoval;
use archway_report::Event;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

use crate::Context;

/// All leases begin so.
const PREFIX: &str = "archway-lease-";
/// A lease that is older belongs to a publication that ended without removing it.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24);
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// The leases of one publication.
#[derive(Debug)]
pub(crate) struct Leases {
    /// When, and whose.
    stem: String,
}

impl Leases {
    /// Leases that begin now, and are nobody else's.
    pub(crate) fn start() -> Self {
        let now = Timestamp::now();
        let owner = format!("{} {}", process::id(), now.as_nanosecond());
        Self::new(now, &Digest::sha256(owner.as_bytes()))
    }

    /// Leases made at `now`; `owner` tells publications apart that begin in the same second.
    fn new(now: Timestamp, owner: &Digest) -> Self {
        Self { stem: format!("{PREFIX}{}-{}", now.strftime(TIME), owner.short()) }
    }

    /// The lease of a manifest in a repository.
    pub(crate) fn of(&self, repository: &Reference, manifest: &Digest) -> Reference {
        let tag = format!("{}-{}", self.stem, manifest.short());
        Reference { tag: Some(tag), digest: None, ..repository.clone() }
    }
}

/// Removes `own` leases from a repository, and those that nobody needs any more: of `named`, which a tag leads to now, and
/// of publications that never came to their end. That a lease stays is no failure, but a warning.
pub(crate) async fn release(
    context: &Context,
    repository: &Reference,
    own: Vec<Reference>,
    named: &[&Digest],
) {
    let client = &context.engine.registry;
    let now = Timestamp::now();
    // Where tags cannot be listed, there are still those that were made here.
    let listed = client.tags(repository, PREFIX).await.unwrap_or_default();
    let is_over = |tag: &String| is_expired(tag, now) || named.iter().any(|manifest| is_of(tag, manifest));
    let over = listed.into_iter().filter(is_over).map(|tag| Reference {
        tag: Some(tag),
        digest: None,
        ..repository.clone()
    });
    let mut leases: Vec<Reference> = over.filter(|lease| !own.contains(lease)).collect();
    leases.extend(own);
    let mut why = None;
    // One after the other: deleting looks at all tags of the repository.
    for lease in leases {
        match client.delete_tag(&lease).await {
            Ok(TagRemoval::Removed) => {}
            Ok(TagRemoval::Unsupported) => why = Some("the registry removes no tags".to_owned()),
            Err(error) => why = Some(error.to_string()),
        }
    }
    if let Some(why) = why {
        let repository = repository.repository_name();
        let message = format!(
            "tags {repository}:{PREFIX}… stay, as {why}; remove them there, or leave --lease-tags out"
        );
        context.events.send(Event::Warning { message });
    }
}

/// Whether a tag is a lease of a manifest, whoever made it.
fn is_of(tag: &str, manifest: &Digest) -> bool {
    let named = || tag.strip_prefix(PREFIX)?.rsplit_once('-').map(|(_, manifest)| manifest);
    named() == Some(manifest.short())
}

/// Whether a tag is a lease that nobody needs any more. What does not look like a lease is none.
fn is_expired(tag: &str, now: Timestamp) -> bool {
    let made = || {
        let (time, _) = tag.strip_prefix(PREFIX)?.split_once('-')?;
        let time = DateTime::strptime(TIME, time).ok()?.to_zoned(TimeZone::UTC).ok()?;
        Some(time.timestamp())
    };
    made().is_some_and(|made| now.duration_since(made) > LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_says_when_it_was_made_whose_it_is_and_of_what() {
        let now: Timestamp = "2026-03-01T12:30:00.5Z".parse().unwrap();
        let repository: Reference = "r.io/app:1".parse().unwrap();
        let lease = Leases::new(now, &Digest::sha256(b"owner")).of(&repository, &Digest::sha256(b"child"));
        assert_eq!(lease.to_string(), "r.io/app:archway-lease-20260301T123000Z-4c1029697ee3-ddc9e6691942");
        assert_eq!(lease, lease.to_string().parse().unwrap(), "it is a valid tag");
        let tag = lease.tag.unwrap();
        assert!(is_of(&tag, &Digest::sha256(b"child")) && !is_of(&tag, &Digest::sha256(b"owner")));
        assert!(!is_of("ddc9e6691942", &Digest::sha256(b"child")));
    }

    #[test]
    fn a_lease_ends_after_a_day() {
        let now: Timestamp = "2026-03-02T12:30:01Z".parse().unwrap();
        for (tag, expired) in [
            ("archway-lease-20260301T123000Z-a-b", true),
            ("archway-lease-20260301T123001Z-a-b", false),
            ("archway-lease-20260302T123000Z-a-b", false),
            ("archway-lease-20270301T123000Z-a-b", false),
            ("archway-lease-notes", false),
            ("archway-lease-20260301T123000Z", false),
            ("archway-lease-99999999T999999Z-a-b", false),
            ("20260301T123000Z-a-b", false),
            ("latest", false),
        ] {
            assert_eq!(is_expired(tag, now), expired, "{tag}");
        }
    }
}
