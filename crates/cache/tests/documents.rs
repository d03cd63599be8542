//! The format of `docs/formats/build-cache.md`.

use archway_cache::{
    CacheError, Entry, Form, Listing, Outcome, Record,
    document::{self, RECORDS},
};
use archway_oci::{Descriptor, Digest, Index, Manifest, Platform, json, media_type};
use archway_store::{CacheKey, SnapshotKey};
use jiff::Timestamp;

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn entry() -> Entry {
    let snapshot = SnapshotKey::from_bytes([2; 32]);
    let form = Form {
        diff_id: Digest::sha256(b"tar"),
        digest: Digest::sha256(b"blob"),
        size: 4,
        media_type: media_type::OCI_LAYER_GZIP.into(),
    };
    let record = |outcome| Record { outcome, used: 1_700_000_000 };
    Entry {
        records: [
            (CacheKey::from_bytes([1; 32]), record(Outcome::Delta { created: 1_600_000_000, snapshot })),
            (CacheKey::from_bytes([3; 32]), record(Outcome::Fact(CacheKey::from_bytes([4; 32])))),
        ]
        .into(),
        forms: [((snapshot, "gzip-4".to_owned()), form)].into(),
    }
}

fn exported() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

#[test]
fn the_format_never_changes_by_accident() {
    let packed = entry().pack(&platform("linux/arm64"), exported());
    let config = format!(
        "{{\"version\":1,\"records\":[{{\"key\":\"{}\",\"snapshot\":\"{}\",\"created\":1600000000,\"used\":1700000000}},\
         {{\"key\":\"{}\",\"fact\":\"{}\",\"used\":1700000000}}],\"layers\":[{{\"snapshot\":\"{}\",\"form\":\"gzip-4\",\
         \"diffId\":\"{}\",\"digest\":\"{}\"}}]}}",
        "01".repeat(32),
        "02".repeat(32),
        "03".repeat(32),
        "04".repeat(32),
        "02".repeat(32),
        Digest::sha256(b"tar"),
        Digest::sha256(b"blob"),
    );
    assert_eq!(String::from_utf8(packed.config.clone()).unwrap(), config);
    let manifest = Manifest::parse(&packed.manifest).unwrap();
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.archway.cache.v1"));
    assert_eq!(manifest.config.media_type, "application/vnd.archway.cache.records.v1+json");
    assert_eq!(manifest.layers, [Descriptor::of(media_type::OCI_LAYER_GZIP, b"blob")]);
    let mut listing = Listing::default();
    listing.replace(&[], &packed);
    let digests = [Digest::sha256(&packed.manifest), Digest::sha256(&listing.to_bytes())];
    assert_eq!(digests.map(|digest| digest.short().to_owned()), ["c8127f00be9d", "18bc5cca929a"]);
}

#[test]
fn what_is_packed_is_unpacked() {
    let packed = entry().pack(&platform("linux/arm64"), exported());
    let manifest = Manifest::parse(&packed.manifest).unwrap();
    document::check_entry(&manifest).unwrap();
    assert_eq!(Entry::unpack(&manifest, &packed.config).unwrap(), entry());
    let mut image = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, b"{}"), manifest.layers);
    assert_eq!(Entry::from_inline(&image).unwrap(), None);
    image.annotations.insert(document::INLINE.into(), entry().to_inline());
    assert_eq!(Entry::from_inline(&image).unwrap(), Some(entry()));
}

#[test]
fn records_from_outside_are_checked() {
    let packed = entry().pack(&platform("linux/arm64"), exported());
    let manifest = Manifest::parse(&packed.manifest).unwrap();
    let config = String::from_utf8(packed.config).unwrap();
    let refused = [
        (config.replace("\"version\":1", "\"version\":2"), "the cache has version 2; only 1 is understood"),
        (config.replace("\"fact\":", "\"created\":1,\"fact\":"), "leads to neither a delta nor a fact"),
        (config.replace(&"01".repeat(32), "../../etc"), "the records are malformed"),
        (config.replace("gzip-4", &"x".repeat(101)), "too long"),
        (config.replace(Digest::sha256(b"blob").hex(), &"0".repeat(64)), "the manifest has no layer"),
        ("[".repeat(1000), "malformed"),
        (" ".repeat(5 << 20), "more than the"),
    ];
    for (text, problem) in refused {
        let error = Entry::unpack(&manifest, text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let mut other = manifest.clone();
    other.layers[0].media_type = "text/plain".into();
    assert!(matches!(Entry::unpack(&other, config.as_bytes()), Err(CacheError::Invalid { .. })));
    // What leads nowhere is not known.
    let without = config.replace("\"layers\":[{", "\"layers\":[],\"x\":[{");
    let entry = Entry::unpack(&manifest, without.as_bytes()).unwrap();
    assert_eq!((entry.records.len(), entry.forms.len()), (1, 0));
}

#[test]
fn what_is_no_cache_is_said_to_be_what_it_is() {
    let named = |media_type: &str| Manifest::new(Descriptor::of(media_type, b"{}"), Vec::new());
    let what =
        |media_type: &str| document::check_entry(&named(media_type)).map_err(|error| error.to_string());
    assert_eq!(what(RECORDS), Ok(()));
    assert!(what(media_type::OCI_CONFIG).unwrap_err().contains("an image"));
    assert!(what("application/vnd.buildkit.cacheconfig.v0").unwrap_err().contains("BuildKit"));
    let index = Index::new(vec![Descriptor::of("application/vnd.buildkit.cacheconfig.v0", b"")]);
    assert!(Listing::parse(&json::to_vec(&index)).unwrap_err().to_string().contains("BuildKit"));
    assert!(
        Listing::parse(&json::to_vec(&Index::new(Vec::new()))).unwrap_err().to_string().contains("an image")
    );
}

#[test]
fn a_listing_has_an_entry_for_each_platform() {
    let pack = |name: &str, used: i64, seconds: i64| {
        let mut entry = entry();
        entry.records.values_mut().for_each(|record| record.used = used);
        entry.pack(&platform(name), Timestamp::from_second(seconds).unwrap())
    };
    let (amd64, arm64) = (pack("linux/amd64", 1, 100), pack("linux/arm64", 1, 200));
    let mut listing = Listing::default();
    listing.replace(&[], &amd64);
    listing.replace(&[], &arm64);
    assert_eq!(Listing::parse(&listing.to_bytes()).unwrap(), listing);
    assert_eq!(listing.of(&platform("linux/amd64")).count(), 1);

    // A race leaves two, and the next export one.
    let (racing, next) = (pack("linux/amd64", 2, 300), pack("linux/amd64", 3, 400));
    listing.replace(&[], &racing);
    let both: Vec<Descriptor> = listing.of(&platform("linux/amd64")).cloned().collect();
    assert_eq!(both.len(), 2);
    let order = |platforms: &[Platform]| -> Vec<Digest> {
        listing.to_read(platforms).into_iter().map(|entry| entry.digest).collect()
    };
    let digest = |packed: &archway_cache::Packed| packed.descriptor.digest.clone();
    assert_eq!(order(&[]), [digest(&racing), digest(&arm64), digest(&amd64)]);
    assert_eq!(order(&[platform("linux/arm64")]), [digest(&arm64), digest(&racing), digest(&amd64)]);
    listing.replace(&both, &next);
    assert_eq!(listing.of(&platform("linux/amd64")).collect::<Vec<_>>(), [&next.descriptor]);
    assert!(listing.has(&arm64.descriptor) && !listing.has(&racing.descriptor));

    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    assert!(listing.is_written_since(at(200), std::slice::from_ref(&next.descriptor)));
    assert!(!listing.is_written_since(at(201), std::slice::from_ref(&next.descriptor)));
    listing.drop_before(Timestamp::from_second(300).unwrap());
    assert!(!listing.has(&arm64.descriptor) && listing.has(&next.descriptor));
}
