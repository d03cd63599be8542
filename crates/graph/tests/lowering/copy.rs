//! COPY, ADD and WORKDIR

use crate::{
    build::Build,
    dump::{assert_graph, dump},
};

/// The line of the last node.
fn last(text: &str) -> String {
    let graph = Build::new(text).graph();
    let lines = dump(&graph);
    let line = lines.lines().nth(graph.nodes.len() - 1).unwrap();
    let op = line.split_once(": ").unwrap().1;
    op.trim_end_matches(" | 0").to_owned()
}

#[test]
fn paths_are_clean_and_seen_from_workdir() {
    let table = [
        ("COPY a b", r#"0 copy ["a"] to /b"#),
        ("COPY a b/", r#"0 copy ["a"] to /b/"#),
        ("COPY ./a /x/../b/./c", r#"0 copy ["a"] to /b/c"#),
        ("COPY /a/b .", r#"0 copy ["a/b"] to /"#),
        ("COPY . /srv", r#"0 copy ["."] to /srv"#),
        ("COPY / /srv", r#"0 copy ["."] to /srv"#),
        ("COPY dir/ x/*.go /srv/", r#"0 copy ["dir", "x/*.go"] to /srv/"#),
        ("COPY a/../b /", r#"0 copy ["b"] to /"#),
        (r#"COPY ["a b", "c d/"]"#, r#"0 copy ["a b"] to /c d/"#),
        ("ADD a.tar.gz /", r#"0 add ["a.tar.gz"] to /"#),
        ("COPY --chown=7:root a /", r#"0 copy ["a"] to / by 7:root"#),
        ("COPY --chmod=0644 a /", r#"0 copy ["a"] to / mode 644"#),
        ("COPY --chmod=4755 --chown=1:2 a /", r#"0 copy ["a"] to / by 1:2 mode 4755"#),
        ("COPY --chown=$NOBODY --chmod=$NOTHING a /", r#"0 copy ["a"] to /"#),
        ("COPY --chmod=u=rwX,go= a /", r#"0 copy ["a"] to / mode u=rwX,go="#),
        ("COPY a b /c", r#"0 copy ["a", "b"] to /c"#),
        ("COPY --link a /", r#"0 copy ["a"] to / linked"#),
        ("COPY --link=false a /", r#"0 copy ["a"] to /"#),
        ("COPY --link --chown=1:root a /", r#"0 copy ["a"] to / by 1:root linked"#),
        ("COPY --link --chmod=755 --chown=7 a /", r#"0 copy ["a"] to / by 7 mode 755"#),
        ("ADD --link a.tar /", r#"0 add ["a.tar"] to / linked"#),
        ("ADD --unpack=false a.tar /", r#"0 copy ["a.tar"] to /"#),
        ("ADD --unpack=true a.tar /", r#"0 add ["a.tar"] to /"#),
        (
            "COPY --exclude=*.md --exclude=!README.md . /d/",
            r#"0 copy ["."] to /d/ without ["*.md", "!README.md"]"#,
        ),
        ("COPY --exclude=$X . /d/", r#"0 copy ["."] to /d/ without ["$X"]"#),
        ("COPY --parents a/b c/*.go /d/", r#"0 copy ["././a/b", "././c/*.go"] to /d/ with parents"#),
        ("COPY --parents ./x/./y/../z/**/ /d/", r#"0 copy ["x/./z/**"] to /d/ with parents"#),
        ("COPY --parents /x/./y/./z /d/", r#"0 copy ["x/./y/z"] to /d/ with parents"#),
    ];
    for (line, expected) in table {
        assert_eq!(last(&format!("FROM scratch\n{line}\n")), expected, "{line}");
    }
    assert_eq!(last("FROM scratch\nWORKDIR /w\nCOPY a b\n"), r#"1 copy ["a"] to /w/b"#);
    assert_eq!(last("FROM scratch\nWORKDIR /w\nCOPY a .\n"), r#"1 copy ["a"] to /w/"#);
    assert_eq!(last("FROM scratch\nWORKDIR /w\nCOPY a /w\n"), r#"1 copy ["a"] to /w"#);
}

#[test]
fn every_word_is_expanded() {
    let text = "FROM scratch\nARG S=src D=/dst/ U=7 M=600\nCOPY --chown=$U --chmod=$M $S/* ${D}\n";
    assert_eq!(last(text), r#"0 copy ["src/*"] to /dst/ by 7 mode 600"#);
}

#[test]
fn heredocs_become_files() {
    let table = [
        ("COPY <<a.txt /d/\nA is $A\na.txt\n", r#"0 copy <<a.txt="A is 1\n" to /d/"#),
        ("COPY <<\"EOF\" /f\nA is $A\nEOF\n", r#"0 copy <<EOF="A is $A\n" to /f"#),
        ("ADD <<EOF /f\nhi\nEOF\n", r#"0 copy <<EOF="hi\n" to /f"#),
        ("COPY x <<a <<b /d/\n1\na\n2\nb\n", r#"0 copy ["x"] and <<a="1\n",b="2\n" to /d/"#),
    ];
    for (lines, expected) in table {
        assert_eq!(last(&format!("FROM scratch\nENV A=1\n{lines}")), expected, "{lines}");
    }
}

#[test]
fn files_come_from_stages_and_images() {
    let graph = Build::new(
        "
        FROM scratch AS a
        COPY a /
        FROM scratch
        COPY --from=a ../x/../y z* /d/
        COPY --from=busybox /bin/sh /bin/
        COPY --from=scratch / /
        ",
    )
    .graph();
    assert_graph(
        &graph,
        r#"
        0: scratch | 0
        1: 0 copy ["a"] to / | 0
        2: 0 copy ["y", "z*"] of 1 to /d/ | 0
        3: image busybox linux/amd64 | 0
        4: 2 copy ["bin/sh"] of 3 to /bin/ | 0
        5: 4 copy ["."] of 0 to / | 0
        linux/amd64 = 5 [2 4 5]
        "#,
    );
}

#[test]
fn a_workdir_is_made_unless_it_is_the_root() {
    assert_graph(
        &Build::new("FROM scratch\nUSER 7\nWORKDIR a\nWORKDIR ../..\nWORKDIR $NOTHING\nWORKDIR /b\n").graph(),
        r#"
        0: scratch | 0
        1: 0 mkdir /a as "7" | 0
        2: 1 mkdir /b as "7" | 0
        linux/amd64 = 2 [1 2]
        "#,
    );
}

#[test]
fn the_config_has_an_absolute_workdir_as_it_is_written() {
    let table = [
        ("WORKDIR /a/", "/a/"),
        ("WORKDIR /a/../b/./c", "/a/../b/./c"),
        ("WORKDIR a/", "/a"),
        ("WORKDIR /a/\nWORKDIR b/", "/a/b"),
        ("WORKDIR /a/\nWORKDIR $NOTHING", "/a/"),
        ("WORKDIR ..", "/"),
    ];
    for (lines, expected) in table {
        let config = Build::new(&format!("FROM scratch\n{lines}\n")).config();
        assert_eq!(config.config.working_dir, expected, "{lines}");
    }
    let windows = Build::new("FROM base\nWORKDIR sub/x/../y/\n").platforms(&["windows/amd64"]);
    let windows = windows.image("base", |config| config.config.working_dir = "C:\\app".into());
    assert_eq!(windows.config().config.working_dir, r"\app\sub\y");
}

#[test]
fn windows_paths_are_read_as_windows_writes_them() {
    let build = Build::new(
        "
        # escape=`
        FROM scratch
        WORKDIR C:\\app
        COPY bin\\x.exe .\\
        CMD x.exe
        ",
    )
    .platforms(&["windows/amd64"]);
    assert_graph(
        &build.graph(),
        r#"
        0: scratch | 0
        1: 0 mkdir /app as "" | 0
        2: 1 copy ["bin/x.exe"] to /app/ | 0
        windows/amd64 = 2 [1 2]
        "#,
    );
    let config = build.config().config;
    assert_eq!(config.working_dir, r"\app");
    assert_eq!(config.cmd.unwrap(), ["cmd", "/S", "/C", "x.exe"]);
}

#[test]
fn what_is_seldom_meant_is_copied_and_told() {
    let table = [
        ("COPY ../../x /d/", r#"0 copy ["../../x"] to /d/"#, "`../../x` leads out of the build context"),
        ("COPY $NOTHING /d/", r#"0 copy ["."] to /d/"#, "the source `$NOTHING` is empty"),
        (
            "COPY --exclude=/x a /d/",
            r#"0 copy ["a"] to /d/ without ["/x"]"#,
            "--exclude=/x leaves nothing out",
        ),
    ];
    for (line, expected, warning) in table {
        let build = Build::new(&format!("FROM scratch\n{line}\n"));
        assert_eq!(last(&format!("FROM scratch\n{line}\n")), expected, "{line}");
        let warnings = build.graph().warnings;
        assert_eq!(warnings.len(), 1, "{line}");
        assert!(warnings[0].message.starts_with(warning), "{line}: {}", warnings[0].message);
        assert!(warnings[0].span.is_some() && warnings[0].hint.is_some(), "{line}");
    }
    let of_stage = Build::new("FROM scratch AS a\nFROM scratch\nCOPY --from=a ../x /\n");
    assert_eq!(of_stage.graph().warnings, []);
}
