//! What is the same on several platforms is one node.

use archway_graph::Op;

use crate::{
    build::{Build, MANY},
    dump::{assert_graph, dump},
};

#[test]
fn files_on_scratch_are_copied_once_for_all_platforms() {
    let graph = Build::new("FROM scratch\nWORKDIR /srv\nCOPY site .\n").platforms(&MANY).graph();
    let expected = "
        0: scratch | 0 1 2 3 4 5 6 7
        1: 0 mkdir /srv as \"\" | 0 1 2 3 4 5 6 7
        2: 1 copy [\"site\"] to /srv/ | 0 1 2 3 4 5 6 7
    ";
    let outputs: Vec<String> = MANY.iter().map(|platform| format!("{platform} = 2 [1 2]")).collect();
    assert_graph(&graph, &format!("{}\n{}", expected.trim(), outputs.join("\n")));
}

#[test]
fn a_build_platform_stage_runs_once() {
    let graph = Build::new(
        "
        FROM --platform=$BUILDPLATFORM node AS site
        RUN npm run build
        FROM nginx
        COPY --from=site /out /usr/share/nginx/html
        ",
    )
    .platforms(&MANY)
    .graph();
    let runs: Vec<_> = graph.nodes.iter().filter(|node| matches!(node.op, Op::Run(_))).collect();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].serves, (0..MANY.len()).collect::<Vec<_>>());
}

#[test]
fn a_stage_forks_at_the_first_step_that_sees_the_target() {
    let graph = Build::new(
        "
        FROM --platform=$BUILDPLATFORM golang AS build
        RUN go mod download
        ARG TARGETARCH
        COPY . .
        RUN make
        FROM scratch
        COPY --from=build /out /
        ",
    )
    .platforms(&["linux/amd64", "linux/arm64"])
    .graph();
    assert_graph(
        &graph,
        r#"
        0: image golang linux/amd64 | 0 1
        1: 0 run on linux/amd64 in /: ["/bin/sh", "-c", "go mod download"] | 0 1
        2: 1 copy ["."] to / | 0 1
        3: 2 run on linux/amd64 in /: ["/bin/sh", "-c", "make"] | 0
        4: scratch | 0 1
        5: 4 copy ["out"] of 3 to / | 0
        6: 2 run on linux/amd64 in /: ["/bin/sh", "-c", "make"] | 1
        7: 4 copy ["out"] of 6 to / | 1
        linux/amd64 = 5 [5]
        linux/arm64 = 7 [7]
        "#,
    );
}

#[test]
fn platforms_that_agree_on_an_argument_share_what_follows() {
    let graph = Build::new(
        "
        FROM --platform=$BUILDPLATFORM golang
        ARG TARGETARCH
        RUN make
        ARG TARGETVARIANT
        RUN make
        ",
    )
    .platforms(&["linux/arm/v6", "linux/arm/v7"])
    .graph();
    let served: Vec<&[usize]> = graph.nodes.iter().map(|node| node.serves.as_slice()).collect();
    assert_eq!(served, [&[0, 1][..], &[0, 1], &[0], &[1]]);
}

#[test]
fn equal_stages_are_one_even_within_a_platform() {
    let graph = Build::new(
        "
        FROM busybox AS a
        RUN same
        FROM busybox AS b
        RUN same
        FROM scratch
        COPY --from=a /x /a
        COPY --from=b /x /b
        ",
    )
    .graph();
    assert_eq!(graph.nodes.iter().filter(|node| matches!(node.op, Op::Run(_))).count(), 1);
}

#[test]
fn the_same_inputs_give_the_same_graph() {
    let text = "
        FROM --platform=$BUILDPLATFORM golang AS build
        ARG TARGETOS TARGETARCH FLAG=x
        ENV A=1 B=2
        RUN make $FLAG
        FROM debian
        RUN apt-get update
        COPY --from=build /out /
        ";
    let graphs = || {
        let graph = Build::new(text).platforms(&MANY).arg("FLAG", "y").graph();
        (dump(&graph), serde_json::to_string(&graph).unwrap())
    };
    assert_eq!(graphs(), graphs());
}

#[test]
fn the_order_of_platforms_is_the_order_of_outputs() {
    let graph = Build::new("FROM busybox\n").platforms(&["linux/arm64", "linux/amd64"]).graph();
    assert_graph(
        &graph,
        "
        0: image busybox linux/arm64 | 0
        1: image busybox linux/amd64 | 1
        linux/arm64 = 0 []
        linux/amd64 = 1 []
        ",
    );
    assert_eq!(graph.outputs[0].base, Some(graph.nodes[0].id));
}
