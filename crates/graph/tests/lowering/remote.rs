//! ADD of git repositories and URLs

use archway_dockerfile::diagnostic::Diagnostic;

use crate::build::{Build, MANY};
use crate::dump::assert_graph;

const SUM: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn what_is_fetched_is_one_node_for_all_platforms() {
    let text = "FROM scratch\nADD https://x.org/a.git#v1:sub https://x.org/dir/b.tgz file /d/\n";
    let graph = Build::new(text).platforms(&MANY[..2]).graph();
    assert_graph(
        &graph,
        "0: scratch | 0 1
         1: git https://x.org/a.git#v1:sub | 0 1
         2: http https://x.org/dir/b.tgz as b.tgz | 0 1
         3: 0 add [\".\"] of 1 and the file of 2 and [\"file\"] to /d/ | 0 1
         linux/amd64 = 3 [3]
         linux/arm64 = 3 [3]",
    );
    let names: Vec<&str> =
        graph.nodes.iter().filter_map(|node| Some(node.label.as_ref()?.name.as_str())).collect();
    assert_eq!(names[..2], ["fetch https://x.org/a.git#v1:sub", "download https://x.org/dir/b.tgz"]);
}

#[test]
fn flags_and_queries_are_for_the_source() {
    let table = [
        ("ADD --keep-git-dir=true git@x.org:a/b /", "git git@x.org:a/b with .git"),
        ("ADD --keep-git-dir=true https://x.org/a.git?keep-git-dir=1 /", "git https://x.org/a.git with .git"),
        ("ADD --checksum=abc https://x.org/a.git /", "git https://x.org/a.git at abc"),
        (
            "ADD https://x.org/a.git?branch=main&commit=abc /",
            "git https://x.org/a.git#refs/heads/main at abc",
        ),
        ("ADD --checksum=$SUM https://x.org/$NAME /", "http https://x.org/n as n sha256:SUM"),
        ("ADD https://u:p@x.org/a /", "http https://xxxxx:xxxxx@x.org/a as a"),
        ("ADD https://u:p@x.org/a.git /", "git https://xxxxx:xxxxx@x.org/a.git"),
    ];
    for (line, expected) in table {
        let text = format!("FROM scratch\nARG NAME=n SUM=sha256:{SUM}\n{line}\n");
        let graph = Build::new(&text).graph();
        let dumped = crate::dump::dump(&graph);
        let line = dumped.lines().nth(1).unwrap().replace(SUM, "SUM");
        assert_eq!(line, format!("1: {expected} | 0"));
        let name = &graph.nodes[1].label.as_ref().unwrap().name;
        assert!(!name.contains("u:p"), "{name}");
        let history = format!("{:?}", graph.outputs[0].config.history);
        assert!(!history.contains("u:p"), "{history}");
    }
}

#[test]
fn only_archives_that_are_here_are_unpacked_unless_asked() {
    for (flag, url, local) in
        [("", "", "add"), ("--unpack=true ", ", unpacked", "add"), ("--unpack=false ", "", "copy")]
    {
        let graph = Build::new(&format!("FROM scratch\nADD {flag}https://x.org/a.tgz b.tgz /d/\n")).graph();
        let dumped = crate::dump::dump(&graph);
        let expected = format!("2: 0 {local} the file of 1{url} and [\"b.tgz\"] to /d/ | 0");
        assert_eq!(dumped.lines().nth(2).unwrap(), expected);
    }
}

#[test]
fn a_flag_for_repositories_without_one_is_doubted() {
    let warnings = |line: &str| Build::new(&format!("FROM scratch\n{line}\n")).graph().warnings.len();
    assert_eq!(warnings("ADD --keep-git-dir=true https://x.org/a /"), 1);
    assert_eq!(warnings("ADD --keep-git-dir=true https://x.org/a.git /"), 0);
}

#[test]
fn what_is_impossible_is_refused_with_its_place() {
    let table = [
        ("ADD https://x.org/a.git?brnch=x /", "no option of this name", "did you mean `branch`?"),
        ("ADD --checksum=sha256:0 https://x.org/a /", "64 lower-case hexadecimal digits", "sha256sum"),
        ("ADD --checksum=xyz https://x.org/a.git /", "`xyz` is no commit", "hexadecimal digits"),
        ("ADD --checksum=sha256:0 a /", "for a single URL", "of its own"),
        ("ADD --checksum=abc https://x.org/a.git https://x.org/b.git /", "for a single URL", "of its own"),
        ("ADD --keep-git-dir=false https://x.org/a.git?keep-git-dir /", "contradicts the URL", "one place"),
        ("ADD --checksum=ab https://x.org/a.git?checksum=cd /", "contradicts the URL", "one place"),
        ("COPY https://x.org/a /", "COPY cannot read", "use ADD"),
        ("COPY git@x.org:a/b /", "COPY cannot read", "use ADD"),
    ];
    for (line, message, hint) in table {
        let found: Diagnostic = Build::new(&format!("FROM scratch\n{line}\n")).error().into();
        assert!(found.message.contains(message), "{line}: {}", found.message);
        assert!(found.hint.as_deref().unwrap_or_default().contains(hint), "{line}: {:?}", found.hint);
    }
}
