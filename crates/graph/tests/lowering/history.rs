//! History as BuildKit words it.

use crate::build::Build;

/// `created_by` of each entry, with a `-` in front where it made no layer.
fn history(build: Build) -> Vec<String> {
    let image = build.config();
    let entries = image.history.into_iter().map(|entry| {
        let mark = if entry.empty_layer { "-" } else { "" };
        format!("{mark}{}", entry.created_by.unwrap())
    });
    entries.collect()
}

#[test]
fn entries_read_as_buildkit_writes_them() {
    let table = [
        ("RUN echo hi", "RUN /bin/sh -c echo hi # buildkit"),
        ("RUN [\"echo\", \"a b\"]", "RUN echo a b # buildkit"),
        ("RUN <<EOF\necho hi\nEOF", "RUN /bin/sh -c echo hi\n # buildkit"),
        ("COPY foo /bar", "COPY foo /bar # buildkit"),
        ("COPY --chown=1:2 --chmod=755 a b ./", "COPY --chown=1:2 --chmod=755 a b ./ # buildkit"),
        ("COPY <<EOF /x\nhi\nEOF", "COPY <<EOF /x # buildkit"),
        ("COPY --from=busybox /bin/sh /", "COPY /bin/sh / # buildkit"),
        ("ADD a.tar /", "ADD a.tar / # buildkit"),
        ("WORKDIR a", "WORKDIR /a"),
        ("WORKDIR /", "-WORKDIR /"),
        ("ENV A=b C='d e'", "-ENV A=b C=d e"),
        ("LABEL a=\"b c\" d=e", "-LABEL a=b c d=e"),
        ("ARG A=1 B", "-ARG A=1 B"),
        ("USER app", "-USER app"),
        ("CMD echo \"hi\"", r#"-CMD ["/bin/sh" "-c" "echo \"hi\""]"#),
        ("ENTRYPOINT [\"a\", \"b\"]", r#"-ENTRYPOINT ["a" "b"]"#),
        ("EXPOSE 80 8080:80", "-EXPOSE [80/tcp 80/tcp]"),
        ("WORKDIR /a/../b/", "WORKDIR /a/../b/"),
        ("EXPOSE 80 53/udp 443", "-EXPOSE [443/tcp 53/udp 80/tcp]"),
        ("VOLUME /a /b", "-VOLUME [/a /b]"),
        ("STOPSIGNAL 9", "-STOPSIGNAL 9"),
        ("SHELL [\"/bin/bash\", \"-c\"]", "-SHELL [/bin/bash -c]"),
        (
            "HEALTHCHECK --interval=1m30s CMD check",
            "-HEALTHCHECK {Test:[CMD-SHELL check] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
        ),
        ("MAINTAINER me", "-MAINTAINER me"),
    ];
    for (line, expected) in table {
        assert_eq!(history(Build::new(&format!("FROM scratch\n{line}\n"))), [expected], "{line}");
    }
}

#[test]
fn run_names_the_arguments_in_scope_with_their_present_values() {
    let history = history(Build::new(
        "
        FROM base AS a
        ARG A=1 B
        RUN one
        ARG A=2
        ENV B=3
        FROM a
        ARG C=4
        RUN two
        ",
    ));
    assert_eq!(
        history[1..],
        [
            "-ARG A=1 B",
            "RUN |2 A=1 B= /bin/sh -c one # buildkit",
            "-ARG A=2",
            "-ENV B=3",
            "-ARG C=4",
            "RUN |3 A=2 B=3 C=4 /bin/sh -c two # buildkit",
        ]
    );
}

#[test]
fn entries_are_signed_and_undated() {
    let image = Build::new("FROM base\nRUN true\n").config();
    let entry = image.history.last().unwrap();
    assert_eq!(entry.comment.as_deref(), Some("buildkit.dockerfile.v0"));
    assert_eq!(entry.created, None, "the builder knows the time");
}

#[test]
fn the_history_has_one_entry_for_each_layer() {
    let build = Build::new(
        "
        FROM base AS a
        WORKDIR /w
        RUN one
        FROM a
        ENV A=1
        WORKDIR /
        COPY x y
        ONBUILD RUN never
        ",
    );
    let graph = build.graph();
    let made =
        |image: &archway_oci::ImageConfig| image.history.iter().filter(|entry| !entry.empty_layer).count();
    assert_eq!(made(&graph.outputs[0].config), graph.outputs[0].layers.len() + 1, "and the base's");
}
