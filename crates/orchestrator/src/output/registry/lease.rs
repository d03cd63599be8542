//! Lease tags: names that keep the children of an index from being collected until the index names them.
//!
//! Some registries remove manifests that no tag points at, and know nothing of an index that is still to
//! come. A lease is a tag like any other; its name says when it was made, so that those of a publication
//! that never came to its end can be told, and removed by a later one.

use archway_oci::{Digest, Reference};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

/// All leases begin so.
pub(super) const PREFIX: &str = "archway-lease-";
/// A lease that is older belongs to a publication that ended without removing it.
const LIFETIME: SignedDuration = SignedDuration::from_hours(24);
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// The leases of one publication.
#[derive(Debug)]
pub(super) struct Leases {
    /// When, and whose.
    stem: String,
}

impl Leases {
    /// Leases made at `now`; `owner` tells publications apart that begin in the same second.
    pub(super) fn new(now: Timestamp, owner: &Digest) -> Self {
        Self { stem: format!("{PREFIX}{}-{}", now.strftime(TIME), owner.short()) }
    }

    /// The lease of a manifest in a repository.
    pub(super) fn of(&self, repository: &Reference, manifest: &Digest) -> Reference {
        let tag = format!("{}-{}", self.stem, manifest.short());
        Reference { tag: Some(tag), digest: None, ..repository.clone() }
    }
}

/// Whether a tag is a lease that nobody needs any more. What does not look like a lease is none.
pub(super) fn is_expired(tag: &str, now: Timestamp) -> bool {
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
