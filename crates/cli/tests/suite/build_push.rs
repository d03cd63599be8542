//! A multi-platform build, pushed and read back.

use archway_testkit::{
    Skopeo,
    tree::{Kind, assert_same},
};

use crate::{
    readback::{Child, ImageIndex, directory, file, symlink, tree},
    scene::{Scene, TWO},
};

const ROOT: (u32, u32) = (0, 0);

/// Builds the Dockerfile for two platforms and reads the result back.
fn built(scene: &Scene, dockerfile: &str) -> ImageIndex {
    scene.dockerfile(dockerfile);
    scene.push(TWO);
    ImageIndex::pushed(&scene.image("1"))
}

/// Builds the Dockerfile for this machine only.
fn built_once(scene: &Scene, dockerfile: &str) -> Child {
    scene.dockerfile(dockerfile);
    scene.push("local");
    ImageIndex::pushed(&scene.image("1")).children.remove(0)
}

#[test]
fn the_index_has_the_platforms_in_the_order_asked_for() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /\n");
    let digest = scene.push("linux/s390x,linux/amd64,linux/arm/v7");
    let index = ImageIndex::pushed(&scene.image("1"));
    assert_eq!(index.platforms(), ["linux/s390x", "linux/amd64", "linux/arm/v7"]);
    assert_eq!(index.digest.to_string(), digest);
    assert_eq!(index.document["mediaType"], "application/vnd.oci.image.index.v1+json");
    for child in &index.children {
        assert_eq!(child.manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(child.manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
        let layers = child.manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        assert!(layers.iter().all(|l| l["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"));
        assert_eq!(child.config["os"], "linux");
        assert_eq!(child.config["architecture"], child.platform.architecture);
        assert_eq!(child.config["variant"].as_str(), child.platform.variant.as_deref());
        assert_eq!(child.config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn each_platform_runs_its_own_programs() {
    let Some(scene) = Scene::new() else { return };
    let index = built(&scene, "FROM BASE\nARG TARGETARCH\nRUN echo \"$(uname -m) $TARGETARCH\" > /machine\n");
    let machines: Vec<String> = index.children.iter().map(|child| child.text("machine")).collect();
    assert_eq!(machines, ["x86_64 amd64\n", "aarch64 arm64\n"]);
}

#[test]
fn the_config_says_what_the_dockerfile_says() {
    let Some(scene) = Scene::new() else { return };
    let index = built(
        &scene,
        "FROM BASE\nENV GREETING=hello NAME=\"big world\"\nLABEL org.example.a=1\nWORKDIR /srv\nUSER nobody:staff\n\
         EXPOSE 80/tcp 53/udp\nVOLUME /data\nSTOPSIGNAL SIGINT\nENTRYPOINT [\"/bin/echo\", \"a\"]\nCMD b c\n\
         HEALTHCHECK --interval=5s --retries=3 CMD true\nRUN true\n",
    );
    for child in &index.children {
        let config = &child.config["config"];
        assert_eq!((child.env("GREETING"), child.env("NAME")), (Some("hello"), Some("big world")));
        assert!(child.env("PATH").is_some(), "the base's variables stay");
        assert_eq!(config["Labels"]["org.example.a"], "1");
        assert_eq!((&config["WorkingDir"], &config["User"]), (&"/srv".into(), &"nobody:staff".into()));
        assert_eq!(config["ExposedPorts"], serde_json::json!({"53/udp": {}, "80/tcp": {}}));
        assert_eq!(config["Volumes"], serde_json::json!({"/data": {}}));
        assert_eq!(config["StopSignal"], "SIGINT");
        assert_eq!(config["Entrypoint"], serde_json::json!(["/bin/echo", "a"]));
        assert_eq!(config["Cmd"], serde_json::json!(["/bin/sh", "-c", "b c"]));
        assert_eq!(config["Healthcheck"]["Test"], serde_json::json!(["CMD-SHELL", "true"]));
        assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_u64);
        let history = child.history();
        let made: Vec<&String> = history.iter().filter(|line| !line.starts_with('(')).collect();
        assert_eq!(made.len(), child.layer_digests().len(), "{history:#?}");
        assert!(history.iter().any(|line| line.contains("ENV GREETING=hello")), "{history:#?}");
        assert!(history.last().unwrap().contains("RUN"), "{history:#?}");
    }
}

#[test]
fn layers_hold_what_the_steps_did() {
    let Some(scene) = Scene::new() else { return };
    let index = built(
        &scene,
        "FROM BASE\n\
         RUN mkdir -p /a/b && echo one > /a/b/file && chmod 640 /a/b/file && chown 33:50 /a/b/file && ln -s b/file /a/link\n\
         RUN cp /bin/busybox /a/tool && chmod 4755 /a/tool && mkfifo /a/pipe\n\
         RUN rm /a/link && rm -r /a/b && mkdir /a/b && echo two > /a/b/other\n",
    );
    for child in &index.children {
        let first = child.layer(1);
        assert_same(
            &first,
            &tree([
                ("a", directory(0o755, ROOT)),
                ("a/b", directory(0o755, ROOT)),
                ("a/b/file", file("one\n", 0o640, (33, 50))),
                ("a/link", symlink("b/file")),
                // The base lacks what every step has mounted.
                ("dev", directory(0o755, ROOT)),
                ("proc", directory(0o755, ROOT)),
                ("sys", directory(0o755, ROOT)),
            ]),
        );
        let second = child.layer(2);
        assert_eq!(second.entries["a/tool"].mode, 0o4755);
        assert_eq!(second.entries["a/tool"].kind, child.layer(0).entries["bin/busybox"].kind);
        assert_eq!(second.entries["a/pipe"].kind, Kind::Fifo);
        assert_eq!(second.entries.len(), 3, "{:?}", second.entries.keys());
        assert_same(
            &child.layer(3),
            &tree([
                ("a", directory(0o755, ROOT)),
                ("a/.wh.link", file("", 0, ROOT)),
                ("a/b", directory(0o755, ROOT)),
                ("a/b/.wh..wh..opq", file("", 0, ROOT)),
                ("a/b/other", file("two\n", 0o644, ROOT)),
            ]),
        );
        let root = child.root().only(|path| path.starts_with("a/"));
        assert_eq!(root.entries.keys().collect::<Vec<_>>(), ["a/b", "a/b/other", "a/pipe", "a/tool"]);
    }
}

#[test]
fn hard_links_stay_links() {
    let Some(scene) = Scene::new() else { return };
    let child =
        built_once(&scene, "FROM BASE\nRUN mkdir /h && echo x > /h/a && ln /h/a /h/b && ln /h/a /h/c\n");
    let listing = child.listing(1);
    assert_eq!(listing.matches("link to h/a").count(), 2, "{listing}");
}

#[test]
fn several_tags_name_one_index() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY Dockerfile /\n");
    let (one, two) = (scene.image("1"), scene.image("latest"));
    let run = scene.build(&["--push", "-t", &one, "-t", &two, "--platform", TWO]).succeeded();
    let manifest = |image: &str| Skopeo::new().raw_manifest(&format!("docker://{image}")).unwrap();
    assert_eq!(manifest(&one), manifest(&two));
    assert_eq!(ImageIndex::pushed(&two).digest.to_string(), run.stdout.trim());
}

#[test]
fn an_unchanged_rebuild_runs_nothing_and_uploads_nothing() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nCOPY data /data\nRUN date > /now && cat /data >> /now\n");
    scene.file("data", "1");
    let first = scene.push(TWO);
    let uploads =
        || scene.requests().iter().filter(|request| request.path.contains("/blobs/uploads/")).count();
    let before = uploads();
    assert!(before > 0, "the first push uploads");

    let again = ["--push", "-t", &scene.image("1"), "--platform", TWO, "--metadata-file", "meta.json"];
    let second = scene.build(&again).succeeded();
    assert_eq!(second.stdout.trim(), first);
    assert_eq!(uploads(), before);
    for platform in scene.json("meta.json")["archway.platforms"].as_array().unwrap() {
        assert_eq!((&platform["stepsRun"], &platform["stepsCached"]), (&0.into(), &3.into()), "{platform}");
    }

    scene.file("data", "2");
    let third = scene.build(&again).succeeded();
    assert_ne!(third.stdout.trim(), first, "another file is another image");
    let ran = &scene.json("meta.json")["archway.platforms"][1]["stepsRun"];
    assert_eq!(ran, 2, "the base is the same");
}

#[test]
fn a_rebuild_without_the_cache_runs_everything() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN cat /proc/sys/kernel/random/uuid > /id\n");
    let first = scene.push("local");
    let push = ["--push", "-t", &scene.image("1"), "--no-cache"];
    assert_ne!(scene.build(&push).succeeded().stdout.trim(), first);
}
