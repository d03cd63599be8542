//! What holds for every graph.

use std::collections::HashSet;

use archway_graph::Op;
use proptest::prelude::*;

use crate::build::{Build, MANY};

fn instruction() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "RUN make",
        "RUN make $TARGETARCH",
        "ARG TARGETARCH",
        "ENV A=$TARGETARCH",
        "COPY a /a",
        "COPY --from=0 a /b",
        "COPY --from=busybox a /c",
        "WORKDIR sub",
        "USER 7",
        "ONBUILD RUN later",
        "CMD x",
    ])
}

fn base() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["scratch", "debian", "--platform=$BUILDPLATFORM debian", "s0", "s1"])
}

/// Up to four stages, `s0` and so on; the first is on an image.
fn dockerfile() -> impl Strategy<Value = String> {
    let stage = (base(), prop::collection::vec(instruction(), 0..5));
    prop::collection::vec(stage, 1..4).prop_map(|stages| {
        let mut text = String::from("FROM debian AS s0\nRUN start\n");
        for (index, (base, instructions)) in stages.iter().enumerate() {
            text.push_str(&format!("FROM {base} AS s{}\n{}\n", index + 1, instructions.join("\n")));
        }
        text
    })
}

proptest! {
    #[test]
    fn graphs_are_ordered_minimal_and_complete(text in dockerfile(), count in 1..=MANY.len()) {
        let graph = Build::new(&text).platforms(&MANY[..count]).graph();
        let ops: HashSet<&Op> = graph.nodes.iter().map(|node| &node.op).collect();
        prop_assert_eq!(ops.len(), graph.nodes.len(), "each operation once");
        for (index, node) in graph.nodes.iter().enumerate() {
            prop_assert_eq!(node.id.0 as usize, index);
            prop_assert!(node.op.inputs().iter().all(|input| *input < node.id), "inputs come first");
            prop_assert!(!node.serves.is_empty(), "nothing is built for nobody");
            prop_assert!(node.serves.is_sorted());
            for input in node.op.inputs() {
                let input = graph.node(input);
                prop_assert!(node.serves.iter().all(|output| input.serves.contains(output)));
            }
            if let Some(label) = &node.label {
                prop_assert!((1..=label.total).contains(&label.position));
            }
        }
        for output in &graph.outputs {
            let made = output.config.history.iter().filter(|entry| !entry.empty_layer).count();
            let of_base = usize::from(output.base.is_some());
            prop_assert_eq!(made, output.layers.len() + of_base, "an entry for each layer");
        }
    }
}
