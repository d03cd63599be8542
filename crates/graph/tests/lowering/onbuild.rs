//! ONBUILD triggers of images and of stages.

use archway_graph::LowerProblem;

use crate::{build::Build, dump::assert_graph};

fn with_triggers(build: Build, triggers: &[&str]) -> Build {
    let triggers: Vec<String> = triggers.iter().map(|trigger| (*trigger).to_owned()).collect();
    build.image("base", move |image| image.config.on_build = triggers.clone())
}

#[test]
fn triggers_of_the_image_run_first_and_are_gone() {
    let build = with_triggers(Build::new("FROM base\nRUN own\n"), &["ENV A=1", "RUN first $A"]);
    let graph = build.graph();
    assert_graph(
        &graph,
        r#"
        0: image base linux/amd64 | 0
        1: 0 run on linux/amd64 in /: ["/bin/sh", "-c", "first $A"] | 0
        2: 1 run on linux/amd64 in /: ["/bin/sh", "-c", "own"] | 0
        linux/amd64 = 2 [1 2]
        "#,
    );
    let trigger = &graph.nodes[1];
    assert_eq!(trigger.label.as_ref().unwrap().name, "ONBUILD RUN first $A");
    assert_eq!(trigger.span, None, "it stands in no Dockerfile of ours");
    assert!(graph.outputs[0].config.config.on_build.is_empty());
    assert!(graph.outputs[0].config.config.env.contains(&"A=1".to_owned()));
}

#[test]
fn triggers_of_a_stage_run_in_its_children_only() {
    let graph = Build::new(
        "
        FROM scratch AS a
        ONBUILD COPY x /x
        COPY a /a
        FROM a AS b
        COPY b /b
        FROM b
        COPY c /c
        ",
    )
    .graph();
    assert_graph(
        &graph,
        r#"
        0: scratch | 0
        1: 0 copy ["a"] to /a | 0
        2: 1 copy ["x"] to /x | 0
        3: 2 copy ["b"] to /b | 0
        4: 3 copy ["c"] to /c | 0
        linux/amd64 = 4 [1 2 3 4]
        "#,
    );
    assert!(graph.nodes[2].span.is_some());
    assert!(graph.outputs[0].config.config.on_build.is_empty());
}

#[test]
fn images_and_stages_that_triggers_name_are_found() {
    let build = Build::new("FROM scratch AS tools\nCOPY t /t\nFROM base\n");
    let build = with_triggers(build, &["COPY --from=tools /t /t", "COPY --from=alpine /etc /etc"]);
    let (graph, rounds) = build.platforms(&["linux/amd64", "linux/arm64"]).rounds().unwrap();
    let names: Vec<Vec<&str>> =
        rounds.iter().map(|round| round.iter().map(|request| request.name.as_str()).collect()).collect();
    assert_eq!(names, [["base", "base"], ["alpine", "alpine"]]);
    assert_eq!(graph.outputs[0].layers.len(), 2);
}

#[test]
fn errors_in_triggers_point_at_from() {
    let table = ["FROM x", "RUN --device=x make", "NOPE", "COPY --chmod=8 a /", "EXPOSE http"];
    for trigger in table {
        let build = with_triggers(Build::new("FROM scratch AS x\nFROM base\nRUN true\n"), &[trigger]);
        let error = build.error();
        assert_eq!(build.dockerfile().source.slice(error.span), "FROM base", "{trigger}");
    }
    let error = with_triggers(Build::new("FROM base\n"), &["NOPE"]).error();
    assert!(matches!(&error.problem, LowerProblem::BadTrigger { image, .. } if image == "base"));
}
