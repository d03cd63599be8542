//! Debian's docker-registry, and skopeo reading back what was pushed.

use std::path::{Path, PathBuf};

use archway_oci::{
    Descriptor, Digest, Index, Manifest, Platform, Reference, json, media_type,
    referrer::{Referrer, fallback_tag},
};
use archway_registry::{
    Client, ClientOptions, Error, Growing, Keychain, Pushed, TagRemoval, credentials::Credential,
};
use archway_testkit::{
    FaultProxy, RealRegistry, Skopeo,
    fault::{Fault, Rule, When},
    registry::{Options, PASSWORD, USER},
    tools,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// An image of one layer, its blobs in files.
struct Image {
    directory: tempfile::TempDir,
    blobs: Vec<Descriptor>,
    manifest: Vec<u8>,
}

impl Image {
    fn new(layer: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = json!({
            "architecture": "arm64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [Digest::sha256(layer)] },
        });
        let mut image = Self { directory, blobs: Vec::new(), manifest: Vec::new() };
        let config = image.add(media_type::OCI_CONFIG, &json::to_vec(&config));
        let layer = image.add("application/vnd.oci.image.layer.v1.tar", layer);
        image.manifest = json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer],
        }));
        image
    }

    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::new(media_type, Digest::sha256(bytes), bytes.len() as u64);
        std::fs::write(self.path(&descriptor), bytes).unwrap();
        self.blobs.push(descriptor.clone());
        descriptor
    }

    fn path(&self, descriptor: &Descriptor) -> PathBuf {
        self.directory.path().join(descriptor.digest.hex())
    }

    async fn push(
        &self,
        client: &Client,
        reference: &Reference,
        from: &[String],
    ) -> Result<Vec<Pushed>, Error> {
        let blobs = self
            .blobs
            .iter()
            .map(async |blob| client.push_blob(reference, blob, &self.path(blob), from, |_| {}).await);
        let pushed = join_all(blobs).await.into_iter().collect::<Result<_, _>>()?;
        client.push_manifest(reference, media_type::OCI_MANIFEST, self.manifest.clone().into()).await?;
        Ok(pushed)
    }
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn client() -> Client {
    Client::new(ClientOptions::default())
}

fn parse(reference: String) -> Reference {
    reference.parse().unwrap()
}

/// What skopeo copies for arm64: the manifest, and the blobs that it names.
fn read_back(skopeo: &Skopeo, reference: &Reference, image: &Image) {
    let directory = tempfile::tempdir().unwrap();
    let platform: Platform = "linux/arm64".parse().unwrap();
    skopeo.copy_to_directory(&format!("docker://{reference}"), &platform, directory.path()).unwrap();
    let read = |name: &Path| std::fs::read(directory.path().join(name)).unwrap();
    assert_eq!(read(Path::new("manifest.json")), image.manifest);
    for blob in &image.blobs {
        assert_eq!(read(Path::new(blob.digest.hex())), std::fs::read(image.path(blob)).unwrap());
    }
}

async fn pull(client: &Client, reference: &Reference, image: &Image) {
    let fetched = client.manifest(reference).await.unwrap();
    assert_eq!(fetched.bytes, image.manifest);
    let head = client.head_manifest(reference).await.unwrap().unwrap();
    assert_eq!(head, fetched.descriptor);
    for blob in &image.blobs {
        let mut reader = client.blob_reader(reference, blob).await.unwrap();
        let mut read = Vec::new();
        while let Some(chunk) = reader.chunk().await.unwrap() {
            read.extend_from_slice(&chunk);
        }
        assert_eq!(read, std::fs::read(image.path(blob)).unwrap());
    }
}

#[tokio::test]
async fn skopeo_reads_what_was_pushed() {
    if !tools::require_each(&["docker-registry", "skopeo"]) {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let (client, image) = (client(), Image::new(&bytes(300_000)));
    let reference = parse(registry.reference("team/app:1"));
    assert_eq!(client.head_manifest(&reference).await.unwrap(), None);
    assert!(matches!(client.manifest(&reference).await, Err(Error::NotFound { .. })));
    let pushed = image.push(&client, &reference, &[]).await.unwrap();
    assert_eq!(pushed, [Pushed::Uploaded; 2]);
    read_back(&Skopeo::new(), &reference, &image);
    pull(&client, &reference, &image).await;

    let again = image.push(&client, &reference, &[]).await.unwrap();
    assert_eq!(again, [Pushed::Existed; 2]);
    let other = parse(registry.reference("other/app:1"));
    let from = ["not/there".to_owned(), "team/app".to_owned()];
    assert_eq!(image.push(&client, &other, &from).await.unwrap(), [Pushed::Mounted; 2]);
    read_back(&Skopeo::new(), &other, &image);
    assert!(!client.mount_blob(&other, &Digest::sha256(b"none"), &from).await.unwrap());
}

#[tokio::test]
async fn a_large_blob_goes_in_chunks() {
    if !tools::require_each(&["docker-registry", "skopeo"]) {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let client = Client::new(ClientOptions { upload_chunk: 100_000, ..ClientOptions::default() });
    let (image, reference) = (Image::new(&bytes(350_000)), parse(registry.reference("app:1")));
    image.push(&client, &reference, &[]).await.unwrap();
    read_back(&Skopeo::new(), &reference, &image);
    let requests = registry.requests().unwrap();
    let chunks = requests.iter().filter(|request| request.method == "PATCH" && request.status == 202);
    assert_eq!(chunks.count(), 3, "{requests:?}");
}

#[tokio::test]
async fn a_blob_is_uploaded_while_it_is_written() {
    if !tools::require_each(&["docker-registry", "skopeo"]) {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let client = Client::new(ClientOptions { growing_chunk: 100_000, ..ClientOptions::default() });
    let (image, reference) = (Image::new(&bytes(350_000)), parse(registry.reference("app:1")));
    let layer = image.blobs.last().unwrap();
    let file = std::fs::File::open(image.path(layer)).unwrap();
    let (growing, blob) = Growing::start(file, 0);
    let chunks = || {
        let requests = registry.requests().unwrap();
        requests.iter().filter(|request| request.method == "PATCH" && request.status == 202).count()
    };
    let write = async {
        for (written, expected) in [(150_000, 1), (350_000, 2)] {
            growing.written(written);
            while chunks() < expected {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        growing.complete(layer.clone());
    };
    let (pushed, ()) = tokio::join!(client.push_growing(&reference, blob, |_| {}), write);
    assert_eq!(pushed.unwrap(), Some(Pushed::Uploaded));
    assert_eq!(image.push(&client, &reference, &[]).await.unwrap(), [Pushed::Uploaded, Pushed::Existed]);
    read_back(&Skopeo::new(), &reference, &image);
}

#[tokio::test]
async fn many_blobs_go_through_one_client_at_the_same_time() {
    if !tools::require("docker-registry") {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let (client, reference) = (client(), parse(registry.reference("app")));
    let images: Vec<Image> = (0..30).map(|number| Image::new(format!("layer {number}").as_bytes())).collect();
    let pushes = images.iter().enumerate().map(async |(number, image)| {
        image.push(&client, &reference.with_tag(&number.to_string()).unwrap(), &[]).await
    });
    for pushed in join_all(pushes).await {
        assert_eq!(pushed.unwrap(), [Pushed::Uploaded; 2]);
    }
    for (number, image) in images.iter().enumerate() {
        pull(&client, &reference.with_tag(&number.to_string()).unwrap(), image).await;
    }
}

#[tokio::test]
async fn a_manifest_without_its_blobs_is_refused() {
    if !tools::require("docker-registry") {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let (image, reference) = (Image::new(b"layer"), parse(registry.reference("app:1")));
    let pushed =
        client().push_manifest(&reference, media_type::OCI_MANIFEST, image.manifest.clone().into()).await;
    let error = pushed.unwrap_err();
    assert!(error.is_missing_content() && !error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn a_password_is_asked_for_and_checked() {
    if !tools::require_each(&["docker-registry", "skopeo", "openssl"]) {
        return;
    }
    let (password, tokens) =
        (Options { htpasswd: true, ..Options::default() }, Options { tokens: true, ..Options::default() });
    for options in [password, tokens] {
        let registry = options.start().unwrap();
        let (image, reference) = (Image::new(b"layer"), parse(registry.reference("app:1")));
        let error = image.push(&client(), &reference, &[]).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");

        for (password, good) in [(PASSWORD, true), ("wrong", false)] {
            let credential = Credential::Password { username: USER.into(), password: password.into() };
            let checked = client().check_login(&registry.host(), &credential).await;
            assert_eq!(checked.is_ok(), good, "{checked:?}");

            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("config.json");
            let auth = STANDARD.encode(format!("{USER}:{password}"));
            let config: Value = json!({ "auths": { registry.host(): { "auth": auth } } });
            std::fs::write(&path, config.to_string()).unwrap();
            let credentials = Keychain::of_files([path]);
            let client = Client::new(ClientOptions { credentials, ..ClientOptions::default() });
            assert_eq!(image.push(&client, &reference, &[]).await.is_ok(), good);
        }
        read_back(&Skopeo::with_credentials(USER, PASSWORD), &reference, &image);
        assert_eq!(registry.token_requests().is_empty(), !options.tokens);
    }
}

#[tokio::test]
async fn tls_needs_a_known_authority_or_leave() {
    if !tools::require_each(&["docker-registry", "skopeo", "openssl"]) {
        return;
    }
    let registry = Options { tls: true, ..Options::default() }.start().unwrap();
    let (image, reference) = (Image::new(b"layer"), parse(registry.reference("app:1")));
    let error = image.push(&client(), &reference, &[]).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(error.hint().unwrap().contains("--registry-ca"), "{error}");

    let trusting = ClientOptions { ca_files: vec![registry.ca_file()], ..ClientOptions::default() };
    image.push(&Client::new(trusting), &reference, &[]).await.unwrap();
    read_back(&Skopeo::new(), &reference, &image);
    let careless = ClientOptions { insecure: vec![registry.host()], ..ClientOptions::default() };
    pull(&Client::new(careless), &reference, &image).await;
}

#[tokio::test]
async fn an_upload_does_not_leave_tls() {
    if !tools::require_each(&["docker-registry", "openssl"]) {
        return;
    }
    let registry = Options { tls: true, plain_uploads: true, ..Options::default() }.start().unwrap();
    let (image, reference) = (Image::new(b"layer"), parse(registry.reference("app:1")));
    let trusting = ClientOptions { ca_files: vec![registry.ca_file()], ..ClientOptions::default() };
    let error = image.push(&Client::new(trusting), &reference, &[]).await.unwrap_err();
    assert!(error.to_string().contains("it sends us from HTTPS to HTTP"), "{error}");
}

#[tokio::test]
async fn damage_in_the_registrys_storage_is_noticed() {
    if !tools::require("docker-registry") {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let (client, image) = (client(), Image::new(&bytes(100_000)));
    let reference = parse(registry.reference("app:1"));
    image.push(&client, &reference, &[]).await.unwrap();
    let layer = image.blobs.last().unwrap();
    let hex = layer.digest.hex();
    let stored = registry.storage().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex);
    let mut damaged = bytes(100_000);
    damaged[500] ^= 1;
    std::fs::write(stored.join("data"), damaged).unwrap();
    let mut reader = client.blob_reader(&reference, layer).await.unwrap();
    let error = loop {
        match reader.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the damage was not noticed"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn an_upload_survives_a_broken_connection() {
    if !tools::require_each(&["docker-registry", "skopeo"]) {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let image = Image::new(&bytes(2_000_000));
    let last = format!("*/blobs/uploads/*{}", image.blobs.last().unwrap().digest.hex());
    for (name, chunk, method, path) in [("whole", u64::MAX, "PUT", &*last), ("chunks", 700_000, "PATCH", "*")]
    {
        let rule = Rule::on(method, path, When::Nth(1), Fault::CutUpload(300_000));
        let proxy = FaultProxy::start(registry.address(), vec![rule]).unwrap();
        let client = Client::new(ClientOptions { upload_chunk: chunk, ..ClientOptions::default() });
        image.push(&client, &parse(format!("{}/{name}:1", proxy.host())), &[]).await.unwrap();
        assert_eq!(proxy.struck(), 1, "{name}");
        read_back(&Skopeo::new(), &parse(registry.reference(&format!("{name}:1"))), &image);
    }
}

#[tokio::test]
async fn a_registry_without_the_referrers_api_gets_a_list_that_others_find() {
    if !tools::require_each(&["docker-registry", "skopeo"]) {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let (client, mut image) = (client(), Image::new(&bytes(1000)));
    let reference = parse(registry.reference("app:1"));
    image.push(&client, &reference, &[]).await.unwrap();
    let subject = Descriptor::of(media_type::OCI_MANIFEST, &image.manifest);
    assert_eq!(client.referrers(&reference, &subject.digest).await.unwrap(), []);

    let empty = image.add(media_type::OCI_EMPTY, b"{}");
    client.push_blob(&reference, &empty, &image.path(&empty), &[], |_| {}).await.unwrap();
    let mut manifest = Manifest::new(empty.clone(), vec![empty]);
    manifest.artifact_type = Some("application/vnd.example.note".into());
    manifest.subject = Some(subject.clone());
    let bytes = json::to_vec(&manifest);
    let referrer = Referrer::of(media_type::OCI_MANIFEST, &bytes).unwrap().unwrap();
    for _ in 0..2 {
        client.push_referrer(&reference, &referrer, bytes.clone().into()).await.unwrap();
        let listed = client.referrers(&reference, &subject.digest).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&referrer.descriptor));
    }
    let tag = reference.with_tag(&fallback_tag(&subject.digest)).unwrap();
    let raw = Skopeo::new().raw_manifest(&format!("docker://{tag}")).unwrap();
    assert_eq!(Index::parse(&raw).unwrap().manifests, [referrer.descriptor]);
}

#[tokio::test]
async fn a_tag_is_removed_alone() {
    if !tools::require("docker-registry") {
        return;
    }
    let registry = RealRegistry::start().unwrap();
    let (client, image) = (client(), Image::new(b"layer"));
    let tags = ["app:1", "app:lease-1", "app:lease-2"].map(|name| parse(registry.reference(name)));
    for tag in &tags {
        image.push(&client, tag, &[]).await.unwrap();
    }
    // In no order that this registry promises.
    let names = async |prefix: &str| {
        let mut names = client.tags(&tags[0], prefix).await.unwrap();
        names.sort();
        names
    };
    assert_eq!(names("lease-").await, ["lease-1", "lease-2"]);
    assert_eq!(client.delete_tag(&tags[1]).await.unwrap(), TagRemoval::Removed);
    assert_eq!(names("").await, ["1", "lease-2"]);
    // All point at the same manifest, which stays.
    pull(&client, &tags[0], &image).await;
    pull(&client, &tags[2], &image).await;
    let nowhere = parse(registry.reference("nowhere:1"));
    assert_eq!(client.tags(&nowhere, "").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_registry_may_keep_its_tags() {
    if !tools::require("docker-registry") {
        return;
    }
    let registry = Options { keeps_tags: true, ..Options::default() }.start().unwrap();
    let (client, image) = (client(), Image::new(b"layer"));
    let tag = parse(registry.reference("app:1"));
    image.push(&client, &tag, &[]).await.unwrap();
    assert_eq!(client.delete_tag(&tag).await.unwrap(), TagRemoval::Unsupported);
    pull(&client, &tag, &image).await;
}
