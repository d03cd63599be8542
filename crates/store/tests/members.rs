//! Members of layer blobs are found again, or not at all.

use std::fs;

use archway_oci::Digest;
use archway_store::{MemberRecord, Prune, Rule, Store};

const FORM: &str = "gzip-4";

/// A blob of these members, each of which holds its own text twice.
fn blob_of(store: &Store, members: &[&str]) -> Digest {
    let digest = store.blobs().put(members.concat().as_bytes()).unwrap();
    let records: Vec<MemberRecord> = members.iter().map(|member| record(member)).collect();
    store.members(FORM).add(&digest, &records).unwrap();
    digest
}

fn record(member: &str) -> MemberRecord {
    MemberRecord {
        content: content(member),
        compressed: blake3::hash(member.as_bytes()),
        length: member.len() as u32,
    }
}

fn content(member: &str) -> blake3::Hash {
    blake3::hash(member.repeat(2).as_bytes())
}

fn find(store: &Store, member: &str) -> Option<String> {
    let found = store.members(FORM).find(&content(member))?;
    Some(String::from_utf8(found).unwrap())
}

fn open() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

#[test]
fn a_member_is_read_back_out_of_its_blob() {
    let (_directory, store) = open();
    assert_eq!(find(&store, "first"), None);
    blob_of(&store, &["first", "second", "third"]);
    for member in ["first", "second", "third"] {
        assert_eq!(find(&store, member).as_deref(), Some(member));
    }
    assert_eq!(find(&store, "fourth"), None);
    assert_eq!(store.members("gzip-9").find(&content("first")), None, "another form has other bytes");
}

#[test]
fn what_is_added_is_found_by_who_has_asked_before() {
    let (_directory, store) = open();
    let cache = store.members(FORM);
    assert_eq!(cache.find(&content("member")), None);
    let digest = store.blobs().put(b"member").unwrap();
    cache.add(&digest, &[record("member")]).unwrap();
    assert_eq!(cache.find(&content("member")).unwrap(), b"member");
}

#[test]
fn a_blob_that_is_gone_or_damaged_has_no_members() {
    let (_directory, store) = open();
    let gone = blob_of(&store, &["gone", "too"]);
    store.blobs().remove(&gone).unwrap();
    assert_eq!(find(&store, "gone"), None);

    let damaged = blob_of(&store, &["whole", "damaged"]);
    let path = store.blobs().path(&damaged).unwrap().unwrap();
    fs::write(&path, "wholedamageX").unwrap();
    assert_eq!(find(&store, "whole").as_deref(), Some("whole"));
    assert_eq!(find(&store, "damaged"), None);
    fs::write(&path, "whol").unwrap();
    assert_eq!(find(&store, "whole"), None);
}

#[test]
fn a_damaged_table_is_as_none() {
    let (directory, store) = open();
    let digest = blob_of(&store, &["member", "other"]);
    let table = directory.path().join("members").join(FORM).join(digest.hex());
    let bytes = fs::read(&table).unwrap();
    for at in [0, 20, 90, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        fs::write(&table, damaged).unwrap();
        assert_eq!(find(&store, "member"), None, "byte {at}");
    }
    fs::write(&table, &bytes[..bytes.len() - 68]).unwrap();
    assert_eq!(find(&store, "member"), None);
    fs::write(&table, &bytes).unwrap();
    assert_eq!(find(&store, "member").as_deref(), Some("member"));
}

/// A change here is a change of `docs/formats/store.md`.
#[test]
fn the_table_is_as_it_is_written_down() {
    let (directory, store) = open();
    let digest = blob_of(&store, &["a", "bc"]);
    let bytes = fs::read(directory.path().join("members/gzip-4").join(digest.hex())).unwrap();
    let mut expected = b"archway-members1".to_vec();
    for member in ["a", "bc"] {
        expected.extend(content(member).as_bytes());
        expected.extend(blake3::hash(member.as_bytes()).as_bytes());
        expected.extend((member.len() as u32).to_le_bytes());
    }
    expected.extend(blake3::hash(&expected).as_bytes());
    assert_eq!(bytes, expected);
}

#[test]
fn a_table_goes_with_its_blob() {
    let (directory, store) = open();
    let digest = blob_of(&store, &["member", "other"]);
    let table = directory.path().join("members").join(FORM).join(digest.hex());
    // This process uses the blob.
    store.prune(&Prune::by(&[Rule::EVERYTHING])).unwrap();
    assert!(table.exists());
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    store.prune(&Prune::by(&[Rule::EVERYTHING])).unwrap();
    assert!(!table.exists());
    assert_eq!(find(&store, "member"), None);
}
