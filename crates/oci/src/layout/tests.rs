use std::{fs, thread};

use super::*;
use crate::media_type;

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(dir.path().join("layout")).unwrap();
    (dir, layout)
}

/// A blob that is no manifest, which `set_reference` does not mind.
fn image(layout: &Layout, content: &str) -> Descriptor {
    layout.write_blob(content.as_bytes()).unwrap();
    Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes())
}

fn tag(text: &str) -> Option<TagOrDigest> {
    Some(TagOrDigest::Tag(text.into()))
}

#[test]
fn a_new_layout_has_the_files_the_specification_names() {
    let (_dir, layout) = layout();
    let read = |name: &str| fs::read_to_string(layout.dir().join(name)).unwrap();
    assert_eq!(read("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(
        read("index.json"),
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#
    );
    assert!(layout.dir().join("blobs/sha256").is_dir());
}

#[test]
fn blobs_come_back_as_they_were_written() {
    let (_dir, layout) = layout();
    let digest = layout.write_blob(b"hello").unwrap();
    assert!(layout.has_blob(&digest));
    assert_eq!(layout.blob_path(&digest), layout.dir().join("blobs/sha256").join(digest.hex()));
    assert_eq!(layout.read_blob(&Descriptor::of("text/plain", b"hello")).unwrap(), b"hello");
}

#[test]
fn blobs_with_a_sha512_digest_are_checked_too() {
    let (_dir, layout) = layout();
    let mut hasher = Hasher::for_digest(&format!("sha512:{}", "0".repeat(128)).parse().unwrap());
    hasher.update(b"hello");
    let descriptor = Descriptor::new("text/plain", hasher.finish(), 5);
    assert!(matches!(
        layout.import_blob(&b"hallo"[..], &descriptor),
        Err(LayoutError::DigestMismatch { .. })
    ));
    layout.import_blob(&b"hello"[..], &descriptor).unwrap();
    assert_eq!(layout.read_blob(&descriptor).unwrap(), b"hello");
}

#[test]
fn nothing_is_imported_unless_it_is_what_the_descriptor_says() {
    let (_dir, layout) = layout();
    let descriptor = Descriptor::of("text/plain", b"hello");
    let error = layout.import_blob(&b"hallo"[..], &descriptor).unwrap_err();
    assert!(matches!(error, LayoutError::DigestMismatch { .. }));
    for (bytes, count) in [(&b"hell"[..], 4), (b"hello, world", 6)] {
        match layout.import_blob(bytes, &descriptor) {
            Err(LayoutError::SizeMismatch { expected: 5, actual, .. }) => assert_eq!(actual, count),
            other => panic!("{other:?}"),
        }
    }
    assert!(!layout.has_blob(&descriptor.digest));
    let names: Vec<_> = fs::read_dir(layout.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "no unfinished file stays behind: {names:?}");
}

#[test]
fn a_damaged_blob_is_noticed_when_read_and_mended_when_its_size_is_wrong() {
    let (_dir, layout) = layout();
    let descriptor = Descriptor::of("text/plain", b"hello");
    let path = layout.blob_path(&descriptor.digest);
    fs::write(&path, "hallo").unwrap();
    assert!(matches!(layout.read_blob(&descriptor), Err(LayoutError::DigestMismatch { .. })));
    fs::write(&path, "hel").unwrap();
    assert!(matches!(layout.read_blob(&descriptor), Err(LayoutError::SizeMismatch { .. })));
    layout.write_blob(b"hello").unwrap();
    assert_eq!(layout.read_blob(&descriptor).unwrap(), b"hello");
}

#[test]
fn reading_is_bounded_and_a_missing_blob_is_named() {
    let (_dir, layout) = layout();
    let digest = Digest::sha256(b"absent");
    let huge = Descriptor::new("text/plain", digest.clone(), MAX_DOCUMENT + 1);
    assert!(matches!(layout.read_blob(&huge), Err(LayoutError::TooLarge { .. })));
    let absent = Descriptor::new("text/plain", digest, 6);
    assert!(matches!(layout.read_blob(&absent), Err(LayoutError::NoSuchBlob { .. })));
    assert!(matches!(layout.set_reference(&absent, None), Err(LayoutError::NoSuchBlob { .. })));
}

#[test]
fn a_name_belongs_to_one_image() {
    let (_dir, layout) = layout();
    let (one, two) = (image(&layout, "one"), image(&layout, "two"));
    layout.set_reference(&one, Some("v1")).unwrap();
    layout.set_reference(&one, Some("latest")).unwrap();
    layout.set_reference(&two, Some("latest")).unwrap();
    assert_eq!(layout.index().unwrap().manifests.len(), 2);
    assert_eq!(layout.find(tag("v1").as_ref()).unwrap().digest, one.digest);
    let latest = layout.find(tag("latest").as_ref()).unwrap();
    assert_eq!((latest.digest, &latest.annotations[REF_NAME]), (two.digest, &"latest".to_owned()));
    assert_eq!(layout.find(Some(&TagOrDigest::Digest(one.digest.clone()))).unwrap().digest, one.digest);
}

#[test]
fn an_image_is_listed_without_a_name_only_until_it_has_one() {
    let (_dir, layout) = layout();
    let one = image(&layout, "one");
    layout.set_reference(&one, None).unwrap();
    layout.set_reference(&one, None).unwrap();
    assert_eq!(layout.index().unwrap().manifests.len(), 1);
    layout.set_reference(&one, Some("v1")).unwrap();
    layout.set_reference(&one, None).unwrap();
    assert_eq!(layout.index().unwrap().manifests.len(), 1);
    assert_eq!(layout.find(None).unwrap().annotations[REF_NAME], "v1");
}

#[test]
fn without_a_name_there_must_be_one_image() {
    let (_dir, layout) = layout();
    assert!(matches!(layout.find(None), Err(LayoutError::NotOneImage { count: 0, .. })));
    let one = image(&layout, "one");
    layout.set_reference(&one, Some("a")).unwrap();
    layout.set_reference(&one, Some("b")).unwrap();
    assert_eq!(layout.find(None).unwrap().digest, one.digest);
    layout.set_reference(&image(&layout, "two"), Some("c")).unwrap();
    match layout.find(None) {
        Err(LayoutError::NotOneImage { count: 2, available, .. }) => assert_eq!(available, ["a", "b", "c"]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(layout.find(tag("d").as_ref()), Err(LayoutError::NoSuchImage { .. })));
}

#[test]
fn references_set_at_the_same_time_are_all_kept() {
    let (_dir, layout) = layout();
    let one = image(&layout, "one");
    thread::scope(|scope| {
        for number in 0..16 {
            let (layout, one) = (&layout, &one);
            scope.spawn(move || layout.set_reference(one, Some(&format!("v{number}"))).unwrap());
        }
    });
    assert_eq!(layout.index().unwrap().manifests.len(), 16);
}

#[test]
fn creating_again_opens_and_finishes_what_was_interrupted() {
    let (dir, layout) = layout();
    let one = image(&layout, "one");
    layout.set_reference(&one, Some("v1")).unwrap();
    let again = Layout::create(layout.dir()).unwrap();
    assert_eq!(again.find(None).unwrap().digest, one.digest);

    let interrupted = dir.path().join("interrupted");
    fs::create_dir(&interrupted).unwrap();
    fs::write(interrupted.join(".archway-x1"), "{").unwrap();
    fs::write(interrupted.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(matches!(Layout::open(&interrupted), Err(LayoutError::NotALayout { missing: "index.json", .. })));
    assert_eq!(Layout::create(&interrupted).unwrap().index().unwrap().manifests, []);
}

#[test]
fn other_directories_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "").unwrap();
    assert!(matches!(Layout::create(dir.path()), Err(LayoutError::NotEmpty { .. })));
    assert!(matches!(Layout::open(dir.path()), Err(LayoutError::NotALayout { missing: "oci-layout", .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn other_versions_and_malformed_files_are_refused() {
    let (_dir, layout) = layout();
    fs::write(layout.dir().join("index.json"), "[]").unwrap();
    assert!(matches!(Layout::open(layout.dir()), Err(LayoutError::Document { .. })));
    fs::write(layout.dir().join("index.json"), vec![b' '; MAX_DOCUMENT as usize + 2]).unwrap();
    assert!(matches!(
        Layout::open(layout.dir()),
        Err(LayoutError::Document { source: DocumentError::TooLarge { .. }, .. })
    ));
    fs::write(layout.dir().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(
        matches!(Layout::open(layout.dir()), Err(LayoutError::Version { found, .. }) if found == "2.0.0")
    );
}

#[test]
fn referrers_do_not_hide_the_only_image() {
    let (_dir, layout) = layout();
    let (app, signature) = (image(&layout, "app"), image(&layout, "signature"));
    layout.set_reference(&app, None).unwrap();
    for _ in 0..2 {
        layout.set_referrer(&signature, &app.digest).unwrap();
    }
    assert_eq!(layout.find(None).unwrap(), app);
    let entries = layout.index().unwrap().manifests;
    assert_eq!(entries, [app.clone(), crate::referrer::layout_entry(&signature, &app.digest)]);
    let missing = Descriptor::of(media_type::OCI_MANIFEST, b"none");
    assert!(matches!(layout.set_referrer(&missing, &app.digest), Err(LayoutError::NoSuchBlob { .. })));
}

#[test]
fn an_entry_keeps_its_name_and_place_when_it_is_replaced() {
    let (_dir, layout) = layout();
    let (old, new) = (image(&layout, "old"), image(&layout, "new"));
    layout.set_reference(&old, Some("1")).unwrap();
    layout.set_reference(&old, Some("2")).unwrap();
    let entry = layout.find(tag("1").as_ref()).unwrap();
    layout.replace(&entry, &new).unwrap();
    let entries: Vec<_> = layout.index().unwrap().manifests.into_iter().map(|entry| entry.digest).collect();
    assert_eq!(entries, [new.digest.clone(), old.digest]);
    assert_eq!(layout.find(tag("1").as_ref()).unwrap().digest, new.digest);
    assert!(layout.replace(&entry, &new).is_err(), "somebody else was faster");
}
