//! ARG, ENV, and which of them a word or a process sees.

use archway_graph::{Graph, Op};

use crate::build::Build;

/// The arguments of the shell in every RUN, without the shell: one string each.
fn environments(graph: &Graph) -> Vec<Vec<String>> {
    let runs = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Run(run) => Some(run.env.iter().filter(|entry| !entry.starts_with("PATH=")).cloned().collect()),
        _ => None,
    });
    runs.collect()
}

/// The label `v` of the image: how a word expanded.
fn value(build: Build) -> String {
    build.config().config.labels["v"].clone()
}

#[test]
fn words_see_the_values_of_before_their_instruction() {
    let table = [
        ("FROM scratch\nENV A=1\nENV A=2 B=$A\nLABEL v=$B\n", "1"),
        ("FROM scratch\nARG A=1 B=$A\nLABEL v=$B\n", "1"),
        ("ARG A=1\nARG B=${A}2\nFROM scratch\nARG B\nLABEL v=$B\n", "12"),
        ("FROM scratch\nARG A=arg\nENV A=env\nLABEL v=$A\n", "env"),
        ("FROM scratch\nENV A=env\nARG A\nLABEL v=$A\n", "env"),
        // A stage that starts from another has its ARGs, below the ENVs of the image.
        ("FROM scratch AS a\nARG A=arg\nFROM a\nLABEL v=$A\n", "arg"),
        ("FROM scratch AS a\nENV A=env\nARG A=arg\nFROM a\nLABEL v=$A\n", "env"),
        // BuildKit, unlike its documentation, lets a later ARG that has a value win.
        ("FROM scratch\nENV A=env\nARG A=arg\nLABEL v=$A\n", "arg"),
        ("ARG A=global\nFROM scratch\nLABEL v=[$A]\n", "[]"),
        ("ARG A=global\nFROM scratch\nARG A\nLABEL v=$A\n", "global"),
        ("ARG A=global\nFROM scratch\nARG A=own\nLABEL v=$A\n", "own"),
        ("FROM scratch AS a\nARG A=parent\nFROM a\nLABEL v=$A\n", "parent"),
        ("FROM scratch AS a\nARG A=other\nFROM scratch\nLABEL v=[$A]\n", "[]"),
        ("FROM scratch\nLABEL v='$A'\"\\$B\"\n", "$A$B"),
        ("FROM scratch\nLABEL v=[$TARGETARCH]\n", "[]"),
        ("FROM scratch\nARG TARGETARCH\nLABEL v=$TARGETARCH\n", "amd64"),
        ("FROM scratch\nARG TARGETARCH=x\nLABEL v=$TARGETARCH\n", "x"),
        ("FROM scratch AS last\nARG TARGETSTAGE\nLABEL v=$TARGETSTAGE\n", "last"),
        ("FROM scratch\nARG TARGETSTAGE\nLABEL v=$TARGETSTAGE\n", "default"),
    ];
    for (text, expected) in table {
        assert_eq!(value(Build::new(text)), expected, "{text}");
    }
}

#[test]
fn build_arguments_replace_defaults_of_declared_arguments_only() {
    let table = [
        ("FROM scratch\nARG A=1\nLABEL v=$A\n", "given"),
        ("FROM scratch\nARG A\nLABEL v=$A\n", "given"),
        ("ARG A=1\nFROM scratch\nARG A\nLABEL v=$A\n", "given"),
        ("ARG A=1\nARG B=$A\nFROM scratch\nARG B\nLABEL v=$B\n", "given"),
        ("ARG A=1\nFROM scratch\nLABEL v=[$A]\n", "[]"),
        ("FROM scratch\nENV A=env\nLABEL v=$A\n", "env"),
    ];
    for (text, expected) in table {
        assert_eq!(value(Build::new(text).arg("A", "given")), expected, "{text}");
    }
}

#[test]
fn platform_arguments_say_where_and_what_for() {
    let names =
        "TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT";
    let words = names.split(' ').map(|name| format!("${name}")).collect::<Vec<_>>().join(",");
    let text = format!("FROM scratch\nARG {names}\nLABEL v={words}\n");
    let build = Build::new(&text).platforms(&["linux/arm/v7"]);
    assert_eq!(value(build), "linux/arm/v7,linux,arm,v7,linux/amd64,linux,amd64,");
}

#[test]
fn from_sees_the_global_scope_without_a_declaration() {
    let names = |build: Build| -> Vec<String> {
        let graph = build.graph();
        let images = graph.nodes.iter().filter_map(|node| match &node.op {
            Op::Image(image) => Some(format!("{} {}", image.name, image.platform)),
            _ => None,
        });
        images.collect()
    };
    let text = "ARG V=1\nFROM --platform=linux/$TARGETARCH base:${V}-$TARGETOS\n";
    assert_eq!(names(Build::new(text).platforms(&["linux/arm64"])), ["base:1-linux linux/arm64"]);
    assert_eq!(names(Build::new(text).arg("V", "2")), ["base:2-linux linux/amd64"]);
}

#[test]
fn a_process_gets_what_is_set_before_it() {
    let graph = Build::new(
        "
        FROM base
        ENV A=1
        RUN one
        ARG B=2 C
        ENV A=3
        RUN two
        FROM base
        COPY --from=0 / /x
        RUN three
        ",
    )
    .graph();
    assert_eq!(environments(&graph), [vec!["A=1"], vec!["A=3", "B=2"], vec![]]);
}

#[test]
fn the_search_path_has_a_default_but_not_on_windows() {
    let path = |text: &str, platform: &str, with_path: bool| {
        let build = Build::new(text).platforms(&[platform]);
        let build = build.image("base", move |image| {
            if !with_path {
                image.config.env.clear();
            }
        });
        build.config().config.env
    };
    assert_eq!(path("FROM base\n", "linux/amd64", true), ["PATH=/bin"]);
    assert_eq!(path("FROM base\n", "linux/amd64", false), [crate::build::DEFAULT_PATH]);
    assert_eq!(path("FROM scratch\n", "linux/amd64", true), [crate::build::DEFAULT_PATH]);
    assert!(path("FROM scratch\n", "windows/amd64", true).is_empty());
}

#[test]
fn proxies_reach_processes_and_nothing_else() {
    let graph = Build::new("FROM base\nRUN fetch\n")
        .arg("HTTP_PROXY", "http://user:hunter2@proxy")
        .arg("no_proxy", "localhost")
        .graph();
    assert_eq!(
        graph.proxy_env,
        [
            "HTTP_PROXY=http://user:hunter2@proxy",
            "http_proxy=http://user:hunter2@proxy",
            "NO_PROXY=localhost",
            "no_proxy=localhost"
        ]
    );
    assert!(graph.warnings.is_empty());
    assert!(!serde_json::to_string(&graph).unwrap().contains("hunter2"));
}

#[test]
fn arguments_nobody_declares_are_reported() {
    let warnings = |name: &str| {
        let text = "ARG GLOBAL\nFROM base\nONBUILD ARG LATER\nRUN true\nFROM scratch\nARG VERSION\n";
        Build::new(text).arg(name, "7").graph().warnings
    };
    for name in
        ["VERSION", "GLOBAL", "LATER", "HTTPS_PROXY", "BUILDKIT_SYNTAX", "SOURCE_DATE_EPOCH", "TARGETARCH"]
    {
        assert!(warnings(name).is_empty(), "{name}");
    }
    let [warning] = warnings("VERSOIN").try_into().unwrap();
    assert_eq!(warning.message, "the build argument `VERSOIN` is not used: no ARG declares it");
    assert_eq!(warning.hint.as_deref(), Some("did you mean `VERSION`?"));
}

#[test]
fn an_argument_can_differ_between_platforms() {
    let text = "
        ARG TAG=1
        FROM base:$TAG
        ARG FLAVOUR=plain
        RUN make
    ";
    let build = Build::new(text).platforms(&["linux/amd64", "linux/arm64"]);
    let graph = build
        .arg("TAG", "2")
        .arg_for("linux/arm64", "TAG", "3")
        .arg_for("linux/arm64", "FLAVOUR", "nice")
        .graph();
    let names = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Image(image) => Some(image.name.as_str()),
        _ => None,
    });
    assert_eq!(names.collect::<Vec<_>>(), ["base:2", "base:3"]);
    let flavours: Vec<_> = environments(&graph).iter().map(|env| env.last().unwrap().clone()).collect();
    assert_eq!(flavours, ["FLAVOUR=plain", "FLAVOUR=nice"]);
    assert!(graph.warnings.is_empty());
}

#[test]
fn the_builders_own_arguments_are_no_variables() {
    let graph = Build::new("FROM base\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN make\n").graph();
    assert!(environments(&graph)[0].is_empty());
    let history = &graph.outputs[0].config.history;
    let last: Vec<_> =
        history[history.len() - 2..].iter().filter_map(|entry| entry.created_by.as_deref()).collect();
    assert_eq!(
        last,
        [
            "ARG BUILDKIT_SBOM_SCAN_STAGE=true",
            "RUN |1 BUILDKIT_SBOM_SCAN_STAGE=true /bin/sh -c make # buildkit"
        ]
    );
}

#[test]
fn the_time_of_the_source_is_an_argument_like_others() {
    let epoch = |build: Build| build.graph().source_date_epoch;
    assert_eq!(epoch(Build::new("FROM base")), None);
    assert_eq!(epoch(Build::new("FROM base").arg("SOURCE_DATE_EPOCH", "7")), Some(7));
    assert_eq!(epoch(Build::new("ARG SOURCE_DATE_EPOCH=5\nFROM base")), Some(5));
    assert_eq!(
        epoch(Build::new("ARG SOURCE_DATE_EPOCH=5\nFROM base").arg("SOURCE_DATE_EPOCH", "7")),
        Some(7)
    );
    assert_eq!(epoch(Build::new("ARG SOURCE_DATE_EPOCH=5\nFROM base").arg("SOURCE_DATE_EPOCH", "")), None);
    assert_eq!(epoch(Build::new("FROM base\nARG SOURCE_DATE_EPOCH=5")), None);
    let graph =
        Build::new("FROM base\nARG SOURCE_DATE_EPOCH\nRUN date").arg("SOURCE_DATE_EPOCH", "7").graph();
    assert_eq!(environments(&graph)[0].last().unwrap(), "SOURCE_DATE_EPOCH=7");
}
