//! Which stages are built, and on what.

use crate::{
    build::{Build, platform},
    dump::{assert_graph, dump},
};

#[test]
fn only_what_the_target_needs_is_lowered() {
    let build = Build::new(
        "
        FROM golang AS build
        RUN make
        FROM node AS assets
        RUN npm ci
        FROM build AS test
        RUN make test
        FROM busybox
        COPY --from=build /out /bin/
        ",
    );
    let (graph, rounds) = build.rounds().unwrap();
    assert_graph(
        &graph,
        r#"
        0: image golang linux/amd64 | 0
        1: 0 run on linux/amd64 in /: ["/bin/sh", "-c", "make"] | 0
        2: image busybox linux/amd64 | 0
        3: 2 copy ["out"] of 1 to /bin/ | 0
        linux/amd64 = 3 [3]
        "#,
    );
    let asked: Vec<&str> = rounds[0].iter().map(|request| request.name.as_str()).collect();
    assert_eq!((rounds.len(), asked), (1, vec!["golang", "busybox"]));
}

#[test]
fn a_target_is_a_name_in_any_case_or_a_number() {
    let text = "FROM busybox AS One\nRUN one\nFROM one AS two\nRUN two\n";
    let one = Build::new(text).target("one").graph();
    assert_eq!(one.nodes.len(), 2);
    for target in ["ONE", "0"] {
        assert_eq!(dump(&Build::new(text).target(target).graph()), dump(&one), "{target}");
    }
    assert_eq!(dump(&Build::new(text).target("two").graph()), dump(&Build::new(text).graph()));
}

#[test]
fn a_name_means_the_nearest_stage_before() {
    let graph = Build::new(
        "
        FROM busybox AS base
        RUN first
        FROM Base AS base
        RUN second
        FROM scratch
        COPY --from=BASE /a /
        COPY --from=0 /b /
        ",
    )
    .graph();
    assert_graph(
        &graph,
        r#"
        0: image busybox linux/amd64 | 0
        1: 0 run on linux/amd64 in /: ["/bin/sh", "-c", "first"] | 0
        2: 1 run on linux/amd64 in /: ["/bin/sh", "-c", "second"] | 0
        3: scratch | 0
        4: 3 copy ["a"] of 2 to / | 0
        5: 4 copy ["b"] of 1 to / | 0
        linux/amd64 = 5 [4 5]
        "#,
    );
}

#[test]
fn bases_of_all_platforms_are_asked_for_at_once_and_in_order() {
    let build = Build::new(
        "
        ARG VERSION=12
        FROM --platform=$BUILDPLATFORM golang AS build
        COPY --from=alpine /etc/ssl /ssl
        FROM debian:$VERSION
        COPY --from=build /ssl /ssl
        ",
    )
    .platforms(&["linux/arm64", "linux/amd64"]);
    let (_, rounds) = build.rounds().unwrap();
    let asked: Vec<String> =
        rounds[0].iter().map(|request| format!("{} {}", request.name, request.platform)).collect();
    assert_eq!(rounds.len(), 1);
    assert_eq!(
        asked,
        [
            "golang linux/amd64",
            // Copied to the target, so for the target, though the stage runs on the build platform.
            "alpine linux/arm64",
            "alpine linux/amd64",
            "debian:12 linux/arm64",
            "debian:12 linux/amd64",
        ]
    );
    let source = &build.dockerfile().source;
    assert_eq!(source.slice(rounds[0][0].span), "golang");
    assert!(source.slice(rounds[0][1].span).contains("alpine"));
}

#[test]
fn a_request_that_may_be_a_misspelt_stage_says_so() {
    let hint = |text: &str| {
        let (_, rounds) = Build::new(text).rounds().unwrap();
        rounds.into_iter().flatten().last().and_then(|request| request.hint)
    };
    assert_eq!(
        hint("FROM scratch AS builder\nFROM scratch\nCOPY --from=bulider / /\n").unwrap(),
        "did you mean the stage `builder`?"
    );
    assert_eq!(
        hint("FROM later\nCOPY --from=0 / /x\nFROM scratch AS later\n"),
        None,
        "the last stage does not use the first"
    );
    assert_eq!(
        hint("FROM later AS a\nFROM scratch AS later\nFROM a\n").unwrap(),
        "stage `later` is defined on line 2; a stage can only use earlier ones"
    );
    assert_eq!(hint("FROM alpine AS alpine\n"), None, "a stage may be called like its image");
}

#[test]
fn the_platform_of_a_stage_goes_to_its_children() {
    let graph = Build::new(
        "
        FROM --platform=linux/s390x busybox AS base
        FROM base
        RUN uname -m
        ",
    )
    .graph();
    assert_graph(
        &graph,
        r#"
        0: image busybox linux/s390x | 0
        1: 0 run on linux/s390x in /: ["/bin/sh", "-c", "uname -m"] | 0
        linux/amd64 = 1 [1]
        "#,
    );
    assert_eq!(graph.outputs[0].config.platform, platform("linux/amd64"), "as requested");
    assert_eq!(graph.warnings.len(), 1, "{:?}", graph.warnings);
}

#[test]
fn a_platform_that_changes_nothing_is_reported() {
    let text = "FROM busybox AS base\nFROM --platform=$BUILDPLATFORM base\nRUN true\n";
    let graph = Build::new(text).platforms(&["linux/amd64", "linux/arm64"]).graph();
    let [warning] = graph.warnings.as_slice() else { panic!("{:?}", graph.warnings) };
    assert_eq!(warning.message, "--platform=linux/amd64 has no effect: `base` is for linux/arm64");
}

#[test]
fn scratch_has_no_platform_to_change() {
    let warnings = |line: &str| {
        let text =
            format!("FROM --platform=$BUILDPLATFORM scratch AS a\n{line}\nFROM scratch\nCOPY --from=a / /\n");
        Build::new(&text).platforms(&["linux/arm64"]).graph().warnings.len()
    };
    assert_eq!(warnings("COPY a /"), 0);
    assert_eq!(warnings("RUN [\"/a\"]"), 1);
}

#[test]
fn labels_count_the_steps_of_each_stage() {
    let graph = Build::new(
        "
        FROM busybox AS one
        ENV A=1
        RUN a
        WORKDIR /
        WORKDIR /b
        FROM one
        RUN c
        ",
    )
    .graph();
    let labels: Vec<String> = graph
        .nodes
        .iter()
        .filter_map(|node| node.label.as_ref())
        .map(|label| format!("{} {}/{} {}", label.stage, label.position, label.total, label.name))
        .collect();
    assert_eq!(labels, ["one 1/3 FROM busybox", "one 2/3 RUN a", "one 3/3 WORKDIR /b", "1 1/1 RUN c"]);
}
