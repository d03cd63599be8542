//! RUN

use archway_graph::{Graph, Network, NoCache, Op, RunOp};

use crate::build::Build;

fn runs(graph: &Graph) -> Vec<RunOp> {
    let runs = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Run(run) => Some(run.clone()),
        _ => None,
    });
    runs.collect()
}

fn run(text: &str) -> RunOp {
    let graph = Build::new(text).graph();
    runs(&graph).pop().expect("a RUN")
}

#[test]
fn the_shell_form_goes_to_the_shell_and_the_exec_form_does_not() {
    let table: [(&str, &[&str]); 5] = [
        ("FROM base\nRUN echo $HOME 'a  b'\n", &["/bin/sh", "-c", "echo $HOME 'a  b'"]),
        ("FROM base\nRUN [\"echo\", \"$HOME\"]\n", &["echo", "$HOME"]),
        ("FROM base\nSHELL [\"/bin/bash\", \"-ec\"]\nRUN true\n", &["/bin/bash", "-ec", "true"]),
        ("FROM base AS a\nSHELL [\"/bin/bash\", \"-c\"]\nFROM a\nRUN true\n", &["/bin/bash", "-c", "true"]),
        ("FROM base\nRUN a && \\\n  b\n", &["/bin/sh", "-c", "a && b"]),
    ];
    for (text, expected) in table {
        assert_eq!(run(text).argv, expected, "{text}");
    }
}

#[test]
fn a_heredoc_is_a_script_for_the_shell() {
    let op = run("FROM base\nRUN <<EOF\nset -e\necho $A\nEOF\n");
    assert_eq!(op.argv, ["/bin/sh", "-c", "set -e\necho $A\n"]);
    assert!(op.files.is_empty());
}

#[test]
fn a_heredoc_with_an_interpreter_is_a_file() {
    let op = run("FROM base\nRUN <<EOF\n#!/usr/bin/env python\nprint(1)\nEOF\n");
    assert_eq!(op.argv, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    assert_eq!(op.files[0].name, "/dev/pipes/EOF");
    assert_eq!(op.files[0].content, "#!/usr/bin/env python\nprint(1)\n");
}

#[test]
fn heredocs_of_a_command_are_left_to_the_shell() {
    let op = run("FROM base\nRUN cat <<A - <<B > /x\n1\nA\n2\nB\n");
    assert_eq!(op.argv, ["/bin/sh", "-c", "cat <<A - <<B > /x\n1\nA\n2\nB"]);
}

#[test]
fn a_process_runs_where_and_as_whom_it_is_told() {
    let op = run("FROM base\nUSER app:staff\nWORKDIR /srv\nWORKDIR data/../www\nRUN true\n");
    assert_eq!((op.cwd.as_str(), op.user.as_str()), ("/srv/www", "app:staff"));
    let inherited = Build::new("FROM base\nRUN true\n").image("base", |image| {
        image.config.user = "1000".into();
        image.config.working_dir = "/home/".into();
    });
    let op = runs(&inherited.graph()).remove(0);
    assert_eq!((op.cwd.as_str(), op.user.as_str()), ("/home", "1000"));
    assert_eq!(run("FROM base\nRUN true\n").cwd, "/");
}

#[test]
fn the_network_is_the_builds_unless_the_step_says_otherwise() {
    let table = [
        ("RUN true", Network::Host, Network::Host),
        ("RUN true", Network::None, Network::None),
        ("RUN --network=default true", Network::None, Network::None),
        ("RUN --network=none true", Network::Host, Network::None),
        ("RUN --network=host true", Network::None, Network::Host),
    ];
    for (line, of_the_build, expected) in table {
        let graph = Build::new(&format!("FROM base\n{line}\n")).network(of_the_build).graph();
        assert_eq!(runs(&graph)[0].network, expected, "{line}");
    }
}

#[test]
fn the_cache_is_kept_from_the_stages_that_were_named() {
    let text = "FROM base AS Tools\nRUN a\nFROM tools AS app\nRUN b\nFROM base\nRUN c\nCOPY --from=app / /\n";
    let fresh = |no_cache| {
        let mut runs = runs(&Build::new(text).no_cache(no_cache).graph());
        runs.sort_by(|a, b| a.argv.cmp(&b.argv));
        runs.iter().map(|run| run.no_cache).collect::<Vec<_>>()
    };
    assert_eq!(fresh(NoCache::Nowhere), [false, false, false]);
    assert_eq!(fresh(NoCache::Everywhere), [true, true, true]);
    assert_eq!(fresh(NoCache::Stages(vec!["tools".into()])), [true, false, false]);
    let error = Build::new(text).no_cache(NoCache::Stages(vec!["tool".into()])).error();
    assert_eq!(error.to_string(), "there is no stage `tool` to keep from the cache");
    assert_eq!(error.diagnostic().hint.as_deref(), Some("did you mean `tools`?"));
}
