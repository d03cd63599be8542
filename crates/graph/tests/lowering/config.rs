//! What the instructions make of the image config.

use archway_oci::{ContainerConfig, Healthcheck, Platform};

use crate::build::{Build, platform};

fn config(text: &str) -> ContainerConfig {
    Build::new(text).config().config
}

fn strings(items: &[&str]) -> Option<Vec<String>> {
    Some(items.iter().map(|item| (*item).to_owned()).collect())
}

#[test]
fn instructions_set_their_fields() {
    let config = config(
        "
        FROM scratch
        ENV A=1 B='x y'
        ENV A=2
        LABEL one=1 two=\"2 3\"
        WORKDIR /srv
        USER app
        EXPOSE 443 80/tcp 53/udp 8000-8001
        VOLUME /b /a
        VOLUME [\"/a\", \"/c d\"]
        STOPSIGNAL SIGINT
        SHELL [\"/bin/bash\", \"-c\"]
        HEALTHCHECK --interval=30s --retries=3 CMD curl -f localhost
        ENTRYPOINT [\"/entry\"]
        CMD serve
        ONBUILD RUN make
        ",
    );
    assert_eq!(config.env[1..], ["A=2", "B=x y"]);
    assert_eq!(
        config.labels.into_iter().collect::<Vec<_>>(),
        [("one".to_owned(), "1".to_owned()), ("two".to_owned(), "2 3".to_owned())]
    );
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app", "/srv"));
    assert_eq!(config.exposed_ports, ["443/tcp", "53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
    assert_eq!(config.volumes, ["/a", "/b", "/c d"]);
    assert_eq!(config.stop_signal, "SIGINT");
    assert_eq!(config.shell, strings(&["/bin/bash", "-c"]));
    assert_eq!(config.entrypoint, strings(&["/entry"]));
    assert_eq!(config.cmd, strings(&["/bin/bash", "-c", "serve"]));
    assert_eq!(config.on_build, ["RUN make"]);
    assert_eq!(
        config.healthcheck,
        Some(Healthcheck {
            test: strings(&["CMD-SHELL", "curl -f localhost"]).unwrap(),
            interval: 30_000_000_000,
            retries: 3,
            ..Healthcheck::default()
        })
    );
}

#[test]
fn health_checks_have_three_kinds() {
    let test = |line: &str| config(&format!("FROM scratch\nHEALTHCHECK {line}\n")).healthcheck.unwrap().test;
    assert_eq!(test("NONE"), ["NONE"]);
    assert_eq!(test("CMD [\"/check\", \"-q\"]"), ["CMD", "/check", "-q"]);
    assert_eq!(test("CMD check -q"), ["CMD-SHELL", "check -q"]);
}

#[test]
fn an_entrypoint_drops_the_bases_arguments_but_not_its_own() {
    let of = |lines: &str| {
        let build = Build::new(&format!("FROM base\n{lines}"));
        let config = build.image("base", |image| image.config.cmd = strings(&["base-cmd"])).config().config;
        (config.entrypoint, config.cmd)
    };
    assert_eq!(of(""), (None, strings(&["base-cmd"])));
    assert_eq!(of("ENTRYPOINT [\"e\"]\n"), (strings(&["e"]), None));
    assert_eq!(of("CMD [\"c\"]\nENTRYPOINT [\"e\"]\n"), (strings(&["e"]), strings(&["c"])));
    assert_eq!(of("ENTRYPOINT [\"e\"]\nCMD [\"c\"]\n"), (strings(&["e"]), strings(&["c"])));
    let parent = config("FROM scratch AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]\n");
    assert_eq!(parent.cmd, None, "the CMD of another stage is a base's");
}

#[test]
fn the_bases_config_survives() {
    let build = Build::new("FROM base\nENV B=2\n").image("base", |image| {
        image.author = Some("somebody".into());
        image.extra.insert("moby.buildkit.x".into(), 1.into());
        image.config.extra.insert("Custom".into(), true.into());
        image.config.env = vec!["A=1".into(), "PATH=/opt".into()];
        image.config.labels.insert("kept".into(), "yes".into());
    });
    let image = build.label("given", "on the command line").config();
    assert_eq!(image.author.as_deref(), Some("somebody"));
    assert_eq!(image.extra["moby.buildkit.x"], 1);
    assert_eq!(image.config.extra["Custom"], true);
    assert_eq!(image.config.env, ["A=1", "PATH=/opt", "B=2"]);
    assert_eq!(image.config.labels["kept"], "yes");
    assert_eq!(image.config.labels["given"], "on the command line");
    assert_eq!(image.created, None, "the base's time is not this image's");
    assert_eq!(image.rootfs.diff_ids.len(), 1, "the base's; the builder appends its own");
}

#[test]
fn an_image_on_nothing_starts_in_the_root() {
    let image = Build::new("FROM scratch\n").config();
    assert_eq!(image.config.working_dir, "/");
    assert_eq!(image.config.env, [crate::build::DEFAULT_PATH]);
    assert!(image.history.is_empty() && image.rootfs.diff_ids.is_empty());
}

#[test]
fn the_platform_is_the_requested_one_with_details_of_the_base() {
    let of = |requested: &str, base: Platform| {
        let build = Build::new("FROM base\n").platforms(&[requested]);
        build.image("base", move |image| image.platform = base.clone()).config().platform
    };
    let table = [
        ("linux/amd64", platform("linux/amd64"), platform("linux/amd64")),
        (
            "linux/arm64",
            Platform { variant: Some("v8".into()), ..platform("linux/arm64") },
            platform("linux/arm64"),
        ),
        ("linux/arm/v7", platform("linux/arm/v6"), platform("linux/arm/v7")),
        ("linux/arm64", platform("linux/amd64/v2"), platform("linux/arm64")),
    ];
    for (requested, base, expected) in table {
        assert_eq!(of(requested, base.clone()), expected, "{requested} on {base}");
    }
    let windows = Platform { os_version: Some("10.0.17763".into()), ..platform("windows/amd64") };
    assert_eq!(of("windows/amd64", windows.clone()), windows);
}

#[test]
fn empty_commands_are_none() {
    let config = config("FROM scratch\nENTRYPOINT []\nCMD []\n");
    assert_eq!((config.entrypoint, config.cmd), (None, None));
}
