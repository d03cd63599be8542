//! What is said of images, and what others read of it: buildx, crane, skopeo.

use std::{collections::BTreeMap, fs, process::Command};

use archway_oci::Digest;
use archway_testkit::{GitServer, Peer, Skopeo, WebServer, process, tree::Tree, web::Response};
use serde_json::{Value, json};

use crate::scene::{Scene, TWO};

const V1: &str = "https://slsa.dev/provenance/v1";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// The statements about the image of each platform, from a pushed index; checked on the way.
struct Attested {
    index: Value,
    /// By platform.
    statements: BTreeMap<String, Vec<Value>>,
}

impl Attested {
    #[track_caller]
    fn read(scene: &Scene, reference: &str) -> Self {
        let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let raw =
            |reference: &str| parsed(&Skopeo::new().raw_manifest(&format!("docker://{reference}")).unwrap());
        let repository = reference.rsplit_once(':').unwrap().0;
        let index = raw(reference);
        let children = index["manifests"].as_array().unwrap();
        let mut statements = BTreeMap::new();
        for attestation in children.iter().filter(|child| child["platform"]["os"] == "unknown") {
            let annotations = &attestation["annotations"];
            assert_eq!(annotations["vnd.docker.reference.type"], "attestation-manifest");
            let subject = &annotations["vnd.docker.reference.digest"];
            let image = children.iter().find(|child| child["digest"] == *subject).expect("its image");
            let manifest = raw(&format!("{repository}@{}", text(&attestation["digest"])));
            assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
            assert_eq!(manifest["subject"]["digest"], *subject);
            assert_eq!(manifest["subject"]["size"], image["size"]);
            // This registry keeps no lists of referrers; so it is found under a tag.
            let list = raw(&format!("{repository}:{}", text(subject).replace(':', "-")));
            let listed = list["manifests"].as_array().unwrap().iter();
            let mut listed = listed.filter(|referrer| referrer["digest"] == attestation["digest"]);
            let referrer = listed.next().expect("it is a referrer of its image");
            assert_eq!(referrer["artifactType"], manifest["artifactType"]);
            let said = manifest["layers"].as_array().unwrap().iter().map(|layer| {
                assert_eq!(layer["mediaType"], STATEMENT);
                let bytes = fs::read(scene.stored_blob(text(&layer["digest"]))).unwrap();
                assert_eq!(Digest::sha256(&bytes).as_str(), text(&layer["digest"]));
                let statement = parsed(&bytes);
                assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
                assert_eq!(statement["predicateType"], layer["annotations"]["in-toto.io/predicate-type"]);
                for about in statement["subject"].as_array().unwrap() {
                    assert_eq!(format!("sha256:{}", text(&about["digest"]["sha256"])), text(subject));
                }
                statement
            });
            let platform = &image["platform"];
            let name = format!("{}/{}", text(&platform["os"]), text(&platform["architecture"]));
            statements.insert(name, said.collect());
        }
        Self { index, statements }
    }

    /// The one statement about a platform.
    #[track_caller]
    fn of(&self, platform: &str) -> &Value {
        let [statement] = self.statements[platform].as_slice() else { panic!("{:?}", self.statements) };
        statement
    }
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The digest of the index that a base image's tag points at.
fn base_digest(scene: &Scene) -> String {
    let bytes = Skopeo::new().raw_manifest(&format!("docker://{}", scene.busybox())).unwrap();
    Digest::sha256(&bytes).hex().to_owned()
}

fn dependencies(statement: &Value) -> &Vec<Value> {
    statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap()
}

#[test]
fn provenance_says_how_each_platform_came_to_be() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE AS app\nARG VERSION\nRUN echo $VERSION > /version\nCOPY data /\nFROM app\n");
    scene.file("data", "data\n");
    let asked = ["--provenance=true", "--build-arg", "VERSION=7", "--target", "app", "--label", "a=b"];
    let push = ["--push", "-t", &scene.image("1"), "-t", &scene.image("2"), "--platform", TWO];
    let metadata = ["--metadata-file", "meta.json"];
    scene.build(&[&push[..], &asked, &metadata].concat()).succeeded();

    let summary = &scene.json("meta.json")["buildx.build.provenance/linux/arm64"];
    assert_eq!(summary["invocation"]["parameters"]["platform"], "linux/arm64");
    assert_eq!(summary["materials"][0]["digest"]["sha256"], base_digest(&scene));
    assert_eq!((&summary["buildConfig"], &summary["metadata"]), (&Value::Null, &Value::Null));

    let attested = Attested::read(&scene, &scene.image("1"));
    assert_eq!(attested.statements.len(), 2);
    let names = |platform: &str| {
        let about = attested.of(platform)["subject"].as_array().unwrap().clone();
        about.iter().map(|about| text(&about["name"]).to_owned()).collect::<Vec<_>>()
    };
    let purl = |reference: String| {
        let (name, tag) = reference.rsplit_once(':').unwrap();
        format!("pkg:docker/{}@{tag}?platform=linux%2Farm64", name.replace(':', "%3A"))
    };
    assert_eq!(names("linux/arm64"), [purl(scene.image("1")), purl(scene.image("2"))]);

    for (platform, strategy) in [("linux/amd64", "native"), ("linux/arm64", "emulated")] {
        let statement = attested.of(platform);
        assert_eq!(statement["predicateType"], V1);
        let definition = &statement["predicate"]["buildDefinition"];
        let request = json!({
            "frontend": "dockerfile.v0",
            "args": {"build-arg:VERSION": "7", "label:a": "b", "target": "app"},
            "platform": platform,
            "locals": [{"name": "context"}, {"name": "dockerfile"}],
        });
        assert_eq!(definition["externalParameters"]["request"], request);
        assert_eq!(definition["internalParameters"]["strategy"], strategy);
        let [files, base] = dependencies(statement).as_slice() else { panic!("{statement}") };
        // What `sha256sum data | sha256sum` prints.
        let line = format!("{}  data\n", Digest::sha256(b"data\n").hex());
        let hash = Digest::sha256(line.as_bytes());
        assert_eq!(*files, json!({"name": "context", "digest": {"dirHash": hash.hex()}}));
        assert_eq!(base["digest"]["sha256"], base_digest(&scene));
        assert!(text(&base["uri"]).ends_with(&format!("?platform={}", platform.replace('/', "%2F"))));
        let steps = definition["internalParameters"]["buildConfig"]["steps"].as_array().unwrap();
        let names: Vec<&str> = steps.iter().filter_map(|step| step["name"].as_str()).collect();
        assert!(names[1].ends_with("RUN echo $VERSION > /version"), "{names:?}");
        // The layers of the two steps are the image's last two.
        let details = &statement["predicate"]["runDetails"]["metadata"]["buildkit_metadata"];
        assert_eq!(details["layers"].as_object().unwrap().len(), 2);
        assert_eq!(details["source"]["infos"][0]["filename"], "Dockerfile");
    }
    let emulators =
        &attested.of("linux/arm64")["predicate"]["buildDefinition"]["internalParameters"]["emulators"];
    assert!(text(&emulators[0]).starts_with("qemu-aarch64"), "{emulators}");
}

#[test]
fn nothing_is_said_unless_it_is_asked_for() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY data /\n");
    scene.file("data", "data\n");
    scene.build(&["--push", "-t", &scene.image("plain")]).succeeded();
    scene.build(&["--push", "-t", &scene.image("off"), "--provenance=false"]).succeeded();
    let plain = Attested::read(&scene, &scene.image("plain"));
    assert_eq!(plain.statements.len(), 0);
    assert_eq!(plain.index, Attested::read(&scene, &scene.image("off")).index);
}

#[test]
fn the_same_build_says_the_same_on_another_machine() {
    let Some(scene) = Scene::new() else { return };
    let elsewhere = scene.elsewhere();
    let digests = [&scene, &elsewhere].map(|scene| {
        scene.dockerfile("FROM BASE\nRUN echo hello > /hello\n");
        let build = ["--push", "-t", &scene.image("1"), "--provenance=true", "--platform", TWO];
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
        scene.build(&[&build[..], &epoch].concat()).succeeded().stdout
    });
    assert_eq!(digests[0], digests[1]);

    let timed = ["--push", "-t", &scene.image("timed"), "--provenance=timestamps=true"];
    scene.build(&timed).succeeded();
    let timed = Attested::read(&scene, &scene.image("timed"));
    let metadata = &timed.of("linux/amd64")["predicate"]["runDetails"]["metadata"];
    assert!(text(&metadata["startedOn"]) < text(&metadata["finishedOn"]), "{metadata}");
}

#[test]
fn buildx_crane_and_skopeo_read_what_is_said() {
    let Some(scene) = Scene::new() else { return };
    let (Some(buildx), Some(crane)) = (Peer::required("buildx"), Peer::required("crane")) else { return };
    scene.dockerfile("FROM BASE\nARG VERSION\nRUN echo $VERSION\n");
    let reference = scene.image("1");
    for (version, built) in [("v1", "buildDefinition"), ("v0.2", "buildType")] {
        let provenance = format!("version={version}");
        let build = ["--push", "-t", &reference, "--platform", TWO, "--provenance", &provenance];
        scene.build(&build).succeeded();
        let mut inspect = buildx.command();
        inspect.args(["imagetools", "inspect", &reference, "--format", "{{json .Provenance}}"]);
        let read: Value = serde_json::from_slice(&process::output(&mut inspect).unwrap()).unwrap();
        let attested = Attested::read(&scene, &reference);
        for platform in ["linux/amd64", "linux/arm64"] {
            assert_eq!(read[platform]["SLSA"], attested.of(platform)["predicate"], "{version} {platform}");
            assert!(read[platform]["SLSA"].get(built).is_some(), "{read}");
        }
    }
    // The Dockerfile, as buildx documents how to get it.
    let mut inspect = buildx.command();
    let format = "{{ range (index (index .Provenance \"linux/arm64\").SLSA.metadata \
                  \"https://mobyproject.org/buildkit@v1#metadata\").source.infos }}{{ .data }}{{ end }}";
    inspect.args(["imagetools", "inspect", &reference, "--format", format]);
    let dockerfile = String::from_utf8(process::output(&mut inspect).unwrap()).unwrap();
    assert!(dockerfile.starts_with("RlJPTS"), "base64 of FROM: {dockerfile}");

    let mut pull = crane.command();
    let layout = scene.cli.work().join("pulled");
    pull.args(["pull", "--insecure", "--format=oci", &reference]).arg(&layout);
    process::output(&mut pull).unwrap();
    let copied = scene.cli.work().join("copied");
    Skopeo::new().copy(&format!("docker://{reference}"), &format!("oci:{}:1", copied.display())).unwrap();
    for attested in Attested::read(&scene, &reference).index["manifests"].as_array().unwrap() {
        let hex = text(&attested["digest"]).trim_start_matches("sha256:");
        for layout in [&layout, &copied] {
            assert!(layout.join("blobs/sha256").join(hex).is_file(), "{} {attested}", layout.display());
        }
    }
}

#[test]
fn what_was_fetched_is_said_by_digest() {
    let Some(scene) = Scene::new() else { return };
    let git = GitServer::start().unwrap();
    let repositories = ["context", "part"].map(|name| git.repository(name).unwrap());
    let web = WebServer::start(|request| {
        assert!(request.path.starts_with("/file"));
        Response::new(200, "downloaded\n").header("ETag", "\"1\"")
    })
    .unwrap();
    let [context, part] = &repositories;
    part.write("x", "x");
    let part_commit = part.commit("part").unwrap();
    let authority = web.url("/file?access_token=s3cr3t").replace("http://", "http://me:s3cr3t@");
    context.write(
        "sub/Dockerfile",
        &format!(
            "FROM {}\nADD {}#main /part\nADD {authority} /file\nCOPY Dockerfile /\n",
            scene.busybox(),
            git.url("part")
        ),
    );
    let context_commit = context.commit("context").unwrap();
    let url = git.url("context").replace("http://", "http://me:s3cr3t@");
    // The second time the server says that the file has not changed.
    for tag in ["1", "2"] {
        let reference = scene.image(tag);
        let build = ["build", "--push", "-t", &reference, "--provenance=true"];
        scene.archway(&[&build[..], &[&format!("{url}#main:sub")]].concat()).succeeded();
        let attested = Attested::read(&scene, &reference);
        let statement = attested.of("linux/amd64");
        let commit = |commit: &str| json!({"sha1": commit.trim()});
        assert_eq!(
            statement["predicate"]["buildDefinition"]["externalParameters"]["configSource"],
            json!({
                "uri": format!("{}#refs/heads/main:sub", git.url("context")),
                "digest": commit(&context_commit),
                "path": "Dockerfile",
            })
        );
        let found: Vec<&Value> = dependencies(statement)
            .iter()
            .filter(|dependency| !text(&dependency["uri"]).starts_with("pkg:"))
            .collect();
        let file = Digest::sha256(b"downloaded\n");
        let want = [
            json!({"uri": format!("{}#refs/heads/main", git.url("context")), "digest": commit(&context_commit)}),
            json!({"uri": format!("{}#refs/heads/main", git.url("part")), "digest": commit(&part_commit)}),
            json!({"uri": web.url("/file"), "digest": {"sha256": file.hex()}}),
        ];
        assert_eq!(found.len(), want.len(), "{found:?}");
        for dependency in &want {
            assert!(found.contains(&dependency), "{dependency} is not in {found:?}");
        }
        // Nothing on this machine had an influence, but for the download's and the repositories' servers.
        assert!(!statement.to_string().contains("s3cr3t"), "{statement}");
        let metadata = &statement["predicate"]["runDetails"]["metadata"];
        assert_eq!(metadata["buildkit_hermetic"], true);
    }
}

/// Builds files, and gives what is said of where they come from: source, dependencies, local directories.
fn sources(scene: &Scene, context: &[&str]) -> (Value, Value, Value) {
    let build = ["build", "-q", "-o", "type=local,dest=out", "--provenance=true"];
    scene.archway(&[&build[..], context].concat()).succeeded();
    let statement = scene.json("out/provenance.json");
    let definition = &statement["predicate"]["buildDefinition"];
    let parameters = &definition["externalParameters"];
    let said =
        [&parameters["configSource"], &definition["resolvedDependencies"], &parameters["request"]["locals"]];
    let [source, dependencies, locals] = said.map(Clone::clone);
    (source, dependencies, locals)
}

#[test]
fn every_kind_of_context_is_said() {
    let Some(scene) = Scene::new() else { return };
    let dockerfile = "FROM scratch\nCOPY x /\n";
    scene.file("app/Dockerfile", dockerfile);
    scene.file("app/x", "x");
    scene.file("docs/kept", "kept");
    scene.file("docs/left", "left");
    scene.file("docs/.dockerignore", "left\n");

    // A directory, by its name in the build; another Dockerfile, by its file name.
    let hash = |line: String| Digest::sha256(line.as_bytes()).hex().to_owned();
    let line = |content: &str, path: &str| format!("{}  {path}\n", Digest::sha256(content.as_bytes()).hex());
    let local = |name: &str, line: String| json!({"name": name, "digest": {"dirHash": hash(line)}});
    let (source, dependencies, locals) = sources(&scene, &["app"]);
    assert_eq!(source, json!({"path": "Dockerfile"}));
    assert_eq!(dependencies, json!([local("context", line("x", "x"))]));
    assert_eq!(locals, json!([{"name": "context"}, {"name": "dockerfile"}]));
    let other = scene.file("other/x.Dockerfile", "FROM scratch\nCOPY --from=docs . /\n");
    let other = other.display().to_string();
    let (source, dependencies, locals) = sources(&scene, &["-f", &other, "--build-context=docs=docs", "app"]);
    assert_eq!(source, json!({"path": "x.Dockerfile"}));
    let files = line("left\n", ".dockerignore") + &line("kept", "kept");
    assert_eq!(dependencies, json!([local("docs", files)]));
    assert_eq!(locals, json!([{"name": "dockerfile"}, {"name": "docs"}]));

    // An archive behind a URL.
    let mut tar = Command::new("tar");
    let archive =
        process::output(tar.args(["-cz", "-C"]).arg(scene.cli.work().join("app")).arg(".")).unwrap();
    let served = archive.clone();
    let web = WebServer::start(move |_| Response::new(200, served.clone())).unwrap();
    let (source, dependencies, locals) = sources(&scene, &[&web.url("/app.tgz")]);
    let (uri, digest) = (web.url("/app.tgz"), json!({"sha256": Digest::sha256(&archive).hex()}));
    assert_eq!(source, json!({"uri": uri, "digest": digest, "path": "Dockerfile"}));
    assert_eq!(dependencies, json!([{"uri": uri, "digest": digest}]));
    assert_eq!(locals, Value::Null);

    // A source bundle.
    let bundle = scene.archway(&["source", "-o", &scene.image("source"), "app"]).succeeded().stdout;
    let uri = format!("oci-source://{}", scene.image("source"));
    let (source, dependencies, locals) = sources(&scene, &[&uri]);
    let digest = json!({"sha256": bundle.trim().trim_start_matches("sha256:")});
    assert_eq!(source, json!({"uri": uri, "digest": digest, "path": "Dockerfile"}));
    assert_eq!(dependencies, json!([{"uri": uri, "digest": digest}]));
    assert_eq!(locals, Value::Null);
}

#[test]
fn secrets_are_in_no_statement() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile(
        "FROM BASE\nARG TOKEN\nARG PLAIN\nRUN --mount=type=secret,id=key,required --mount=type=secret,id=maybe \
         test -n \"$TOKEN$PLAIN\" && cat /run/secrets/key\n",
    );
    scene.file("key", "s3cr3t-of-a-file");
    let build = ["--push", "-t", &scene.image("1"), "--provenance=mode=max"];
    let secrets = [
        "--secret=id=key,src=key",
        "--build-arg=TOKEN=s3cr3t-argument",
        "--build-arg=PLAIN=with s3cr3t-argument",
        "--build-arg=HTTP_PROXY=http://me:s3cr3t-proxy@127.0.0.1:1",
    ];
    scene.build(&[&build[..], &secrets].concat()).succeeded();
    let attested = Attested::read(&scene, &scene.image("1"));
    let statement = attested.of("linux/amd64");
    assert!(!statement.to_string().contains("s3cr3t"), "{statement}");
    let request = &statement["predicate"]["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["secrets"], json!([{"id": "key"}, {"id": "maybe", "optional": true}]));
    assert_eq!(request["args"], json!({"build-arg:PLAIN": "with ***", "build-arg:TOKEN": "***"}));
}

#[test]
fn little_is_said_in_mode_min() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nARG NAME\nRUN --network=none echo $NAME\n");
    let build = ["--push", "-t", &scene.image("1"), "--attest", "type=provenance,mode=min,builder-id=urn:ci"];
    scene.build(&[&build[..], &["--build-arg", "NAME=of-an-argument"]].concat()).succeeded();
    let attested = Attested::read(&scene, &scene.image("1"));
    let statement = attested.of("linux/amd64");
    assert!(!statement.to_string().contains("of-an-argument"), "{statement}");
    assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "urn:ci");
    assert_eq!(dependencies(statement).len(), 1);
}

#[test]
fn attestations_survive_other_indexes_and_layouts() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN echo hello\n");
    let layout = ["-o", "type=oci,dest=layout,tar=false", "-t", "app:1"];
    scene.build(&[&layout[..], &["--platform", TWO, "--provenance=true"]].concat()).succeeded();
    let source = format!("oci:{}:1", scene.cli.work().join("layout").display());
    scene.archway(&["index", "create", "-t", &scene.image("all"), &source]).succeeded();
    let create = ["index", "create", "--platform", "linux/arm64"];
    scene.archway(&[&create[..], &["-t", &scene.image("arm64"), &scene.image("all")]].concat()).succeeded();
    let all = Attested::read(&scene, &scene.image("all"));
    let arm64 = Attested::read(&scene, &scene.image("arm64"));
    assert_eq!(all.statements.keys().collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"]);
    assert_eq!(arm64.statements.keys().collect::<Vec<_>>(), ["linux/arm64"]);
    assert_eq!(arm64.of("linux/arm64"), all.of("linux/arm64"));

    // The local store, and an archive.
    scene.build(&["-t", "app:1", "--platform", TWO, "--provenance=true"]).succeeded();
    let inspected = scene.archway(&["inspect", "app:1"]).succeeded().stdout;
    assert_eq!(inspected.matches("─ provenance ").count(), 2, "{inspected}");
    let archive = ["-o", "type=oci,dest=app.tar", "-t", "app:1", "--platform", TWO, "--provenance=true"];
    scene.build(&archive).succeeded();
    let source = format!("oci-archive:{}", scene.cli.work().join("app.tar").display());
    scene.archway(&["index", "create", "-t", &scene.image("archive"), &source]).succeeded();
    assert_eq!(Attested::read(&scene, &scene.image("archive")).index, all.index);
}

#[test]
fn statements_about_files_are_beside_them() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nCOPY a b /d/\n");
    scene.file("a", "a\n");
    scene.file("b", "b\n");
    let subjects = json!([
        {"name": "d/a", "digest": {"sha256": Digest::sha256(b"a\n").hex()}},
        {"name": "d/b", "digest": {"sha256": Digest::sha256(b"b\n").hex()}},
    ]);
    // Twice: the one that an earlier build left is replaced.
    for _ in 0..2 {
        scene.build(&["-o", "type=local,dest=out", "--provenance=true", "--platform", TWO]).succeeded();
    }
    for platform in ["linux_amd64", "linux_arm64"] {
        let statement = scene.json(&format!("out/{platform}/provenance.json"));
        assert_eq!(statement["subject"], subjects);
        assert_eq!(statement["predicateType"], V1);
        assert!(scene.cli.work().join("out").join(platform).join("d/a").is_file());
    }
    scene.build(&["-o", "type=tar,dest=out.tar", "--provenance=filename=p.json"]).succeeded();
    let mut tar = Command::new("tar");
    tar.arg("-xOf").arg(scene.cli.work().join("out.tar")).arg("p.json");
    let statement: Value = serde_json::from_slice(&process::output(&mut tar).unwrap()).unwrap();
    assert_eq!(statement["subject"], subjects);

    scene.build(&["-o", "type=tar,dest=plain.tar", "--provenance=inline-only=true"]).succeeded();
    let plain = Tree::of_tar(fs::File::open(scene.cli.work().join("plain.tar")).unwrap()).unwrap();
    assert_eq!(plain.entries.keys().filter(|path| path.ends_with(".json")).count(), 0);

    // A file of the image is not overwritten.
    scene.file("b", "b\n");
    scene.dockerfile("FROM scratch\nCOPY a b /\n");
    let run = scene.build(&["-o", "type=local,dest=other", "--provenance=filename=b"]).exited(1);
    assert!(run.stderr.contains("the files have a `b` already"), "{}", run.stderr);
}

#[test]
fn an_output_has_to_hold_what_is_said() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\n");
    for arguments in [&["-o", "type=docker,dest=app.tar"][..], &["-o", "type=cacheonly"], &[]] {
        let run = scene.build(&[arguments, &["--provenance=true"]].concat()).exited(2);
        assert!(run.stderr.contains("there is no output that holds attestations"), "{}", run.stderr);
    }
    let run = scene.build(&["-t", "app", "--provenance=mode=maximum"]).exited(2);
    assert!(run.stderr.contains("did you mean `max`?"), "{}", run.stderr);
}
