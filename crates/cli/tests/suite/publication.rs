//! Tags last: leases until then, several repositories, and tags that others move too.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use archway_oci::{Digest, Reference};
use archway_testkit::{
    RealRegistry, Skopeo,
    cli::Run,
    registry::Options,
    web::{Response, WebServer},
};

use crate::{
    readback::ImageIndex,
    scene::{Scene, TWO},
};

const DOCKERFILE: &str = "FROM BASE\nCOPY data /data\n";

/// A scene with something to build.
fn scene(data: &str) -> Option<Scene> {
    let scene = Scene::new()?;
    scene.dockerfile(DOCKERFILE);
    scene.file("data", data);
    Some(scene)
}

fn repository(image: &str) -> String {
    image.parse::<Reference>().unwrap().repository_name()
}

fn tags(image: &str) -> Vec<String> {
    Skopeo::new().tags(&repository(image)).unwrap()
}

fn published(image: &str) -> Digest {
    Digest::sha256(&Skopeo::new().raw_manifest(&format!("docker://{image}")).unwrap())
}

fn push(scene: &Scene, arguments: &[&str]) -> Run {
    scene.build(&[&["--progress=plain", "--push", "--platform", TWO], arguments].concat())
}

/// Puts the index of `image` under another tag of its repository.
fn tag(image: &str, tag: &str) {
    let to = format!("{}:{tag}", repository(image));
    Skopeo::new().copy(&format!("docker://{image}"), &format!("docker://{to}")).unwrap();
}

#[test]
fn children_have_leases_until_the_index_is_published() {
    let Some(scene) = scene("leases") else { return };
    let image = scene.image("1");
    let run = push(&scene, &["-t", &image, "--lease-tags"]).succeeded();
    assert!(!run.stderr.contains("[warning]"), "{}", run.stderr);
    assert_eq!(tags(&image), ["1"], "no lease is left");
    let index = ImageIndex::pushed(&image);
    assert_eq!(index.platforms(), TWO.split(',').collect::<Vec<_>>(), "what had a lease is still there");

    let requests = scene.requests();
    let puts: Vec<&str> = requests
        .iter()
        .filter(|request| request.method == "PUT")
        .filter_map(|request| request.path.split_once("/manifests/").map(|(_, name)| name))
        .collect();
    let index = index.digest.to_string();
    let is_lease = |name: &&str| name.starts_with("archway-lease-");
    assert!(puts[..2].iter().all(is_lease), "children come first, by their leases: {puts:?}");
    assert_eq!(puts[2..4], [&*index, "1"], "then the index, then its tag: {puts:?}");
    // Since this registry removes no single tag, each lease is made a placeholder, which is removed.
    assert!(puts[4..].iter().all(is_lease), "{puts:?}");
}

#[test]
fn attestations_are_children_too() {
    let Some(scene) = scene("attested") else { return };
    let image = scene.image("1");
    push(&scene, &["-t", &image, "--lease-tags", "--provenance=mode=min"]).succeeded();
    // Tags of which each lists the referrers of a manifest, as this registry keeps no such lists.
    let lists_referrers = |name: &str| name.starts_with("sha256-");
    let (lists, others): (Vec<_>, Vec<_>) = tags(&image).into_iter().partition(|tag| lists_referrers(tag));
    assert_eq!(others, ["1"], "no lease is left");
    assert_eq!(lists.len(), 2, "{lists:?}");
    let requests = scene.requests();
    let puts = requests.iter().filter(|request| request.method == "PUT");
    let names: Vec<&str> = puts
        .filter_map(|put| put.path.split_once("/manifests/").map(|(_, name)| name))
        .filter(|name| !lists_referrers(name))
        .collect();
    let is_lease = |name: &&str| name.starts_with("archway-lease-");
    let (before, after) = names.split_at(names.iter().position(|name| *name == "1").unwrap());
    let leases = before.iter().filter(|name| is_lease(name)).count();
    assert_eq!(leases, 4, "an image and an attestation for each platform: {names:?}");
    let is_lasting = |name: &&str| is_lease(name) || name.starts_with("sha256:");
    assert!(before.iter().all(is_lasting), "no tag moves before all is there: {names:?}");
    assert!(after[1..].iter().all(is_lease), "the tag is the last that stays: {names:?}");
}

#[test]
fn a_publication_that_is_overtaken_says_so() {
    let Some(scene) = Scene::new() else { return };
    scene.file("data", "overtaken");
    scene.file("Dockerfile", "FROM scratch\nCOPY data /\n");
    let theirs = Digest::sha256(b"theirs");
    let (moved, theirs_now) = (AtomicBool::new(false), theirs.to_string());
    // Somebody else moves the tag as soon as it was moved here.
    let registry = WebServer::start(move |request| match (request.method.as_str(), request.path.as_str()) {
        ("HEAD", path) if path.contains("/blobs/") => Response::new(200, ""),
        ("HEAD", "/v2/app/manifests/1") if moved.load(SeqCst) => Response::new(200, "their index")
            .header("Docker-Content-Digest", &theirs_now)
            .header("Content-Type", "application/vnd.oci.image.index.v1+json"),
        ("PUT", path) => {
            moved.fetch_or(path.ends_with("/manifests/1"), SeqCst);
            Response::new(201, "")
        }
        ("GET", "/v2/") => Response::new(200, "{}"),
        _ => Response::new(404, ""),
    });
    let registry = registry.unwrap();
    let image = format!("{}/app:1", registry.host());
    let run = scene.build(&["--progress=plain", "--push", "-t", &image, "--expect-digest=none"]).exited(4);
    let said = format!("{image} was moved here, and points at {theirs} now");
    assert!(run.stderr.contains(&said), "{}", run.stderr);
    assert!(
        run.stderr.contains(&format!("[published] {image}@")),
        "it was moved all the same: {}",
        run.stderr
    );
}

#[test]
fn leases_that_others_left_are_removed_after_a_day() {
    let Some(scene) = scene("left") else { return };
    let image = scene.image("1");
    push(&scene, &["-t", &image]).succeeded();
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let young = format!("archway-lease-{now}-0123456789ab-0123456789ab");
    for lease in ["archway-lease-20240101T000000Z-0123456789ab-0123456789ab", &young, "archway-lease-notes"] {
        tag(&image, lease);
    }
    scene.file("data", "new");
    push(&scene, &["-t", &image, "--lease-tags"]).succeeded();
    let mut left = tags(&image);
    left.sort();
    assert_eq!(left, ["1".to_owned(), young, "archway-lease-notes".to_owned()]);
}

#[test]
fn leases_outlive_a_push_by_digest() {
    let Some(scene) = scene("by digest") else { return };
    let image = scene.image("1");
    let output = format!("type=registry,name={},push-by-digest=true", repository(&image));
    let digest = scene.build(&["-o", &output, "--platform", TWO, "--lease-tags"]).succeeded();
    let leases = tags(&image);
    assert_eq!(leases.len(), 2, "nothing but leases keeps the children: {leases:?}");
    assert!(leases.iter().all(|tag| tag.starts_with("archway-lease-")), "{leases:?}");
    let merge = ["index", "create", "-t", &image, digest.stdout.trim()];
    scene.archway(&merge).succeeded();
    assert_eq!(published(&image).to_string(), digest.stdout.trim());
    assert_eq!(tags(&image).len(), 3, "they stay where nobody asked for more");
    scene.archway(&[&merge[..], &["--lease-tags"]].concat()).succeeded();
    assert_eq!(tags(&image), ["1"], "the tag keeps the children now");
    assert_eq!(ImageIndex::pushed(&image).children[1].text("data"), "by digest");
}

#[test]
fn what_is_copied_has_leases_until_the_tag_is_there() {
    let Some(scene) = scene("copied") else { return };
    let digest = scene.push(TWO);
    let registry = RealRegistry::start().unwrap();
    let copy = registry.reference("app:1");
    scene.archway(&["copy", "--lease-tags", &scene.image("1"), &copy]).succeeded();
    let requests = registry.requests().unwrap();
    let puts: Vec<&str> = requests
        .iter()
        .filter(|request| request.method == "PUT")
        .filter_map(|request| request.path.split_once("/manifests/").map(|(_, name)| name))
        .collect();
    let is_lease = |name: &&str| name.starts_with("archway-lease-");
    assert!(puts[..2].iter().all(is_lease) && puts[2] == "1", "{puts:?}");
    assert_eq!(tags(&copy), ["1"], "no lease is left");
    let index = ImageIndex::pushed(&copy);
    assert_eq!((index.digest.to_string(), index.children[1].text("data")), (digest, "copied".to_owned()));
    let run = scene.archway(&["copy", "--lease-tags", &scene.image("1"), "oci:there"]).exited(2);
    assert!(run.stderr.contains("--lease-tags is about images that are pushed"), "{}", run.stderr);
}

#[test]
fn a_registry_that_removes_no_tags_is_a_warning() {
    let Some(scene) = scene("kept") else { return };
    let registry = Options { keeps_tags: true, ..Options::default() }.start().unwrap();
    let image = registry.reference("app:1");
    let run = push(&scene, &["-t", &image, "--lease-tags"]).succeeded();
    let warning = format!(
        "[warning] tags {}:archway-lease-… stay, as the registry removes no tags",
        registry.reference("app")
    );
    assert!(run.stderr.contains(&warning), "{}", run.stderr);
    assert_eq!(ImageIndex::pushed(&image).platforms().len(), 2);
    let leases = tags(&image).into_iter().filter(|tag| tag.starts_with("archway-lease-"));
    for lease in leases {
        let bytes = Skopeo::new().raw_manifest(&format!("docker://{}:{lease}", registry.reference("app")));
        let text = String::from_utf8(bytes.unwrap()).unwrap();
        assert!(text.contains("\"layers\""), "it still is what it was: {text}");
    }
}

#[test]
fn repositories_of_one_registry_share_what_is_uploaded() {
    let (Some(scene), Some(other)) = (scene("shared"), Scene::new()) else { return };
    let (one, two) = (scene.image("1"), other.image("2"));
    let run = push(&scene, &["-t", &one, "-t", &two]).succeeded();
    assert_eq!(published(&one).to_string(), run.stdout.trim());
    assert_eq!(published(&two), published(&one));
    let of = |scene: &Scene, method: &str| {
        let uploads = scene.requests().into_iter().filter(|r| r.path.contains("/blobs/uploads/"));
        uploads.filter(|request| request.method == method).count()
    };
    assert_eq!(of(&other, "PUT") + of(&other, "PATCH"), 0, "{:?}", other.requests());
    assert!(of(&other, "POST") > 0 && of(&scene, "PUT") > 0);
}

#[test]
fn no_tag_moves_before_all_repositories_have_everything() {
    let Some(scene) = scene("old") else { return };
    let image = scene.image("1");
    let old = scene.push(TWO);
    let private = Options { htpasswd: true, ..Options::default() }.start().unwrap();
    scene.file("data", "new");
    let run = push(&scene, &["-t", &image, "-t", &private.reference("app:1")]).exited(1);
    assert!(run.stderr.contains("wants credentials"), "{}", run.stderr);
    assert_eq!(published(&image).to_string(), old);
}

#[test]
fn several_registries_get_one_digest() {
    let Some(scene) = scene("everywhere") else { return };
    let registry = RealRegistry::start().unwrap();
    let names = [scene.image("1"), scene.image("latest"), registry.reference("a/app:1")];
    let run = push(&scene, &["-t", &names[0], "-t", &names[1], "-t", &names[2]]).succeeded();
    for name in &names {
        assert_eq!(published(name).to_string(), run.stdout.trim(), "{name}");
        assert_eq!(ImageIndex::pushed(name).children[1].text("data"), "everywhere", "{name}");
    }
}

#[test]
fn a_tag_that_somebody_else_moved_is_left_alone() {
    let Some(scene) = scene("1") else { return };
    let (image, other) = (scene.image("1"), scene.image("other"));
    let first = push(&scene, &["-t", &image, "--expect-digest=none"]).succeeded().stdout;
    let first = first.trim();
    // The same again has nothing to do, and is no conflict.
    push(&scene, &["-t", &image, "--expect-digest=none"]).succeeded();

    scene.file("data", "2");
    let run = push(&scene, &["-t", &image, "--expect-digest=none"]).exited(4);
    let found = format!("{image} points at {first}, and not at nothing as expected");
    assert!(run.stderr.contains(&found), "{}", run.stderr);
    assert_eq!(published(&image).to_string(), first);

    // One tag that is elsewhere stops all of them.
    let wrong = format!("{other}={first}");
    let arguments = ["-t", &image, "-t", &other, "--expect-digest", first, "--expect-digest", &wrong];
    let run = push(&scene, &arguments).exited(4);
    let found = format!("{other} points at nothing, and not at {first} as expected");
    assert!(run.stderr.contains(&found), "{}", run.stderr);
    assert_eq!(published(&image).to_string(), first);

    let right = format!("{other}=none");
    let run =
        push(&scene, &["-t", &image, "-t", &other, "--expect-digest", first, "--expect-digest", &right]);
    let second = run.succeeded().stdout;
    assert_eq!(published(&image).to_string(), second.trim());
    assert_eq!(published(&other).to_string(), second.trim());
}

#[test]
fn a_conflict_that_is_to_come_is_said_at_once() {
    let Some(scene) = scene("early") else { return };
    let image = scene.image("1");
    scene.push(TWO);
    scene.dockerfile("FROM BASE\nRUN exit 7\n");
    let run = push(&scene, &["-t", &image, "--expect-digest=none"]).exited(1);
    let warning = format!("[warning] {image} points at ");
    assert!(run.stderr.contains(&warning), "{}", run.stderr);
}

#[test]
fn rules_without_a_publication_are_refused() {
    let Some(scene) = scene("nothing") else { return };
    let run = scene.build(&["-t", "app", "--lease-tags"]).exited(2);
    assert!(run.stderr.contains("--lease-tags is about images that are pushed"), "{}", run.stderr);
    let run = scene.build(&["-t", "app", "--expect-digest=none"]).exited(2);
    assert!(run.stderr.contains("--expect-digest is about tags in registries"), "{}", run.stderr);
    let run = scene.build(&["-t", "app", "--expect-digest=nothing"]).exited(2);
    assert!(run.stderr.contains("neither a digest nor `none`"), "{}", run.stderr);
}
