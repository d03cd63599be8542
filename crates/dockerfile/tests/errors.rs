//! What is refused, where the error points, and what it suggests.

use archway_dockerfile::keyword::Keyword;
use archway_dockerfile::{MAX_TEXT_BYTES, Problem, parse, parse_onbuild};

/// (Dockerfile, the marked text, the message, the hint)
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("", "", "the Dockerfile has no instructions", "begin with FROM and a base image, or FROM scratch"),
    (
        "# only\n\n  # comments",
        "",
        "the Dockerfile has no instructions",
        "begin with FROM and a base image, or FROM scratch",
    ),
    ("ARG a", "", "the Dockerfile has no FROM", "begin with FROM and a base image, or FROM scratch"),
    ("RUN a\nFROM b", "RUN", "RUN before the first FROM", "only ARG can stand before the first FROM"),
    (
        "# escape=x\nFROM a",
        "x",
        "'x' cannot be the escape character",
        "it is a backslash or a backtick, as in `# escape=\\`",
    ),
    (
        "# escape= \nFROM a",
        "",
        "'' cannot be the escape character",
        "it is a backslash or a backtick, as in `# escape=\\`",
    ),
    (
        "  # escape=x\nFROM a",
        "x",
        "'x' cannot be the escape character",
        "it is a backslash or a backtick, as in `# escape=\\`",
    ),
    (
        "# syntax=a\n # syntax=b\nFROM a",
        "syntax",
        "the syntax directive is given twice",
        "remove one of them",
    ),
    ("# escape=`\n# escape=`\nFROM a", "escape", "the escape directive is given twice", "remove one of them"),
    ("FROM a\n\\\n", "\\", "a line continuation without an instruction", "remove the escape character"),
    // Names.
    ("FORM a", "FORM", "unknown instruction 'FORM'", "did you mean FROM?"),
    ("FROM a\ncoppy a b", "coppy", "unknown instruction 'coppy'", "did you mean COPY?"),
    ("FROM a\nCOPY --form=b a b", "--form=b", "COPY has no flag --form", "did you mean --from?"),
    (
        "FROM a\nRUN --user=b a",
        "--user=b",
        "RUN has no flag --user",
        "its flags are --device, --mount, --network, --security",
    ),
    (
        "FROM a\nCMD --help",
        "--help",
        "CMD has no flag --help",
        "CMD takes no flags; if an argument begins with dashes, put -- before it",
    ),
    (
        "FROM a\nADD --parents a b",
        "--parents",
        "ADD has no flag --parents",
        "its flags are --checksum, --chmod, --chown, --exclude, --keep-git-dir, --link, --unpack",
    ),
    // Flag values.
    (
        "FROM --platform a",
        "--platform",
        "--platform needs a value",
        "the value follows the equals sign, without a space",
    ),
    (
        "FROM a\nCOPY --link= a b",
        "--link=",
        "--link needs a value",
        "the value follows the equals sign, without a space",
    ),
    (
        "FROM a\nCOPY --link=yes a b",
        "--link=yes",
        "--link cannot be 'yes'",
        "leave --link out for its default",
    ),
    (
        "FROM a\nCOPY --chown=1 --chown=2 a b",
        "--chown=2",
        "--chown is given twice",
        "keep one --chown; it has one value",
    ),
    (
        "FROM a\nRUN --network=nne a",
        "nne",
        "--network cannot be 'nne'",
        "leave --network out for its default",
    ),
    (
        "FROM a\nRUN --security=$S a",
        "$S",
        "--security cannot be '$S'",
        "leave --security out for its default",
    ),
    // Mounts.
    ("FROM a\nRUN --mount=tpe=cache a", "tpe", "--mount has no option 'tpe'", "did you mean 'type'?"),
    (
        "FROM a\nRUN --mount=type=cache,cached a",
        "cached",
        "--mount has no option 'cached'",
        "options are type, target, source, from, ro, rw, id, sharing, required, size, mode, uid, gid, env",
    ),
    (
        "FROM a\nRUN --mount=type=cache,target a",
        "target",
        "the mount option 'target' needs a value",
        "the value follows the equals sign, without a space",
    ),
    (
        "FROM a\nRUN --mount=target=/a,ro,dst=/b a",
        "dst",
        "the mount option 'target' is given after 'target'",
        "target, dst and destination are the same option",
    ),
    (
        "FROM a\nRUN --mount=target=/a,ro,rw a",
        "rw",
        "the mount option 'readwrite' is given after 'readonly'",
        "a mount is read-only or writable",
    ),
    (
        "FROM a\nRUN --mount=\\\"target=/a a",
        "\\\"target=/a",
        "the quotes in --mount do not match",
        "quote a whole option that holds commas: --mount=type=bind,\\\"target=/a,b\\\"",
    ),
    // Arguments.
    ("FROM", "FROM", "FROM needs an image", "for example: FROM debian:13 AS build"),
    (
        "FROM a b",
        "a b",
        "FROM takes 'image' or 'image AS name'",
        "a stage gets its name behind AS: `FROM debian:13 AS build`; a digest or tag is part of the image",
    ),
    (
        "FROM a AT b",
        "a AT b",
        "FROM takes 'image' or 'image AS name'",
        "a stage gets its name behind AS: `FROM debian:13 AS build`; a digest or tag is part of the image",
    ),
    (
        "FROM a AS",
        "a AS",
        "FROM takes 'image' or 'image AS name'",
        "a stage gets its name behind AS: `FROM debian:13 AS build`; a digest or tag is part of the image",
    ),
    ("FROM a\nRUN []", "[]", "RUN needs a program", "for example: RUN make"),
    ("FROM a\nWORKDIR", "WORKDIR", "WORKDIR needs a path", "for example: WORKDIR /app"),
    ("FROM a\nUSER", "USER", "USER needs a user", "for example: USER name"),
    ("FROM a\nSTOPSIGNAL", "STOPSIGNAL", "STOPSIGNAL needs a signal", "for example: STOPSIGNAL SIGTERM"),
    ("FROM a\nMAINTAINER", "MAINTAINER", "MAINTAINER needs a name", "for example: MAINTAINER name"),
    ("FROM a\nEXPOSE", "EXPOSE", "EXPOSE needs a port", "for example: EXPOSE 80 53/udp"),
    ("FROM a\nVOLUME", "VOLUME", "VOLUME needs a path", "for example: VOLUME /data"),
    ("FROM a\nVOLUME []", "[]", "VOLUME needs a path", "for example: VOLUME /data"),
    ("FROM a\nVOLUME [\"x\", \" \"]", " ", "a path of VOLUME is empty", "for example: VOLUME /data"),
    ("FROM a\nONBUILD", "ONBUILD", "ONBUILD needs an instruction", "for example: ONBUILD RUN make"),
    ("FROM a\nCOPY", "COPY", "COPY needs a source and a destination", "for example: COPY app /usr/bin/"),
    ("FROM a\nCOPY a", "a", "COPY needs a source before the destination", "for example: COPY app /usr/bin/"),
    (
        "FROM a\nADD [\"a\"]",
        "[\"a\"]",
        "ADD needs a source before the destination",
        "for example: ADD archive.tar.gz /opt/",
    ),
    (
        "FROM a\nCOPY <<E\nE\n",
        "<<E",
        "a here-document cannot be the destination of COPY",
        "put the destination path last",
    ),
    (
        "FROM a\nCOPY b <<E\nE\n",
        "<<E",
        "a here-document cannot be the destination of COPY",
        "put the destination path last",
    ),
    ("FROM a\nENV", "ENV", "ENV needs name=value", "for example: ENV NAME=value"),
    ("FROM a\nLABEL a", "a", "LABEL needs a value behind the name", "for example: LABEL name=value"),
    ("FROM a\nENV a=b c", "c", "'c' lacks a '='", "put a value that has spaces in quotes"),
    ("FROM a\nENV =b", "=b", "ENV needs a name before '='", "for example: ENV NAME=value"),
    ("FROM a\nARG", "ARG", "ARG needs a name", "for example: ARG VERSION=1"),
    ("ARG a=1 =b\nFROM a", "=b", "ARG needs a name before '='", "for example: ARG VERSION=1"),
    (
        "FROM a\nARG --x y",
        "--x",
        "ARG has no flag --x",
        "ARG takes no flags; if an argument begins with dashes, put -- before it",
    ),
    // Forms.
    (
        "FROM a\nRUN [\"a\", 1]",
        "[\"a\", 1]",
        "the JSON array of RUN holds something else than strings",
        "put every element in double quotes",
    ),
    (
        "FROM a\nCOPY [\"a\", [\"b\"]]",
        "[\"a\", [\"b\"]]",
        "the JSON array of COPY holds something else than strings",
        "put every element in double quotes",
    ),
    (
        "FROM a\nSHELL bash -c",
        "bash -c",
        "SHELL needs a JSON array",
        "write SHELL [\"program\", \"argument\"]",
    ),
    ("FROM a\nSHELL []", "[]", "SHELL needs a program", "for example: SHELL [\"/bin/bash\", \"-c\"]"),
    (
        "FROM a AS 1b",
        "1b",
        "'1b' cannot be the name of a stage",
        "a name begins with a letter and goes on with letters, digits, '-', '_' and '.'",
    ),
    (
        "FROM a AS a/b",
        "a/b",
        "'a/b' cannot be the name of a stage",
        "a name begins with a letter and goes on with letters, digits, '-', '_' and '.'",
    ),
    // Health checks.
    (
        "FROM a\nHEALTHCHECK",
        "HEALTHCHECK",
        "HEALTHCHECK needs CMD or NONE",
        "for example: HEALTHCHECK --interval=30s CMD curl -f http://localhost/",
    ),
    (
        "FROM a\nHEALTHCHECK curl x",
        "curl",
        "HEALTHCHECK takes CMD or NONE, not 'curl'",
        "to run a command, write HEALTHCHECK CMD curl …",
    ),
    (
        "FROM a\nHEALTHCHECK NONE x",
        "x",
        "HEALTHCHECK NONE takes nothing else",
        "NONE turns the check of the base image off; to run a command, write CMD",
    ),
    (
        "FROM a\nHEALTHCHECK --retries=1 NONE",
        "--retries=1",
        "HEALTHCHECK NONE takes nothing else",
        "NONE turns the check of the base image off; to run a command, write CMD",
    ),
    (
        "FROM a\nHEALTHCHECK CMD",
        "CMD",
        "HEALTHCHECK needs a command behind CMD",
        "for example: HEALTHCHECK --interval=30s CMD curl -f http://localhost/",
    ),
    (
        "FROM a\nHEALTHCHECK CMD []",
        "CMD []",
        "HEALTHCHECK needs a program behind CMD",
        "for example: HEALTHCHECK --interval=30s CMD curl -f http://localhost/",
    ),
    (
        "FROM a\nHEALTHCHECK --interval=5 CMD a",
        "5",
        "--interval cannot be '5'",
        "leave --interval out for its default",
    ),
    (
        "FROM a\nHEALTHCHECK --timeout=-1s CMD a",
        "-1s",
        "--timeout cannot be '-1s'",
        "leave --timeout out for its default",
    ),
    (
        "FROM a\nHEALTHCHECK --timeout=999us CMD a",
        "999us",
        "--timeout cannot be '999us'",
        "leave --timeout out for its default",
    ),
    (
        "FROM a\nHEALTHCHECK --timeout=9999999h CMD a",
        "9999999h",
        "--timeout cannot be '9999999h'",
        "leave --timeout out for its default",
    ),
    (
        "FROM a\nHEALTHCHECK --retries=-1 CMD a",
        "-1",
        "--retries cannot be '-1'",
        "leave --retries out for its default",
    ),
    // Triggers.
    (
        "FROM a\nONBUILD FROM b",
        "FROM",
        "FROM cannot be an ONBUILD trigger",
        "a trigger is any instruction but FROM, MAINTAINER and ONBUILD",
    ),
    (
        "FROM a\nONBUILD ONBUILD RUN b",
        "ONBUILD",
        "ONBUILD cannot be an ONBUILD trigger",
        "a trigger is any instruction but FROM, MAINTAINER and ONBUILD",
    ),
    (
        "FROM a\nONBUILD maintainer b",
        "maintainer",
        "MAINTAINER cannot be an ONBUILD trigger",
        "a trigger is any instruction but FROM, MAINTAINER and ONBUILD",
    ),
    ("FROM a\nONBUILD RNU b", "RNU", "unknown instruction 'RNU'", "did you mean RUN?"),
    (
        "FROM a\nONBUILD COPY b",
        "b",
        "COPY needs a source before the destination",
        "for example: COPY app /usr/bin/",
    ),
    // Here-documents.
    (
        "FROM a\nRUN cat <<EOF\nx\n EOF\n",
        "<<EOF",
        "the here-document 'EOF' does not end",
        "end it with a line that is only EOF",
    ),
    (
        "FROM a\nRUN <<A <<B\nA\n",
        "<<B",
        "the here-document 'B' does not end",
        "end it with a line that is only B",
    ),
];

#[test]
fn refused_with_place_and_hint() {
    for (text, marked, message, hint) in TABLE {
        let error = parse("Dockerfile", text).expect_err(text);
        let diagnostic = error.diagnostic();
        let found = text.get(diagnostic.span.start..diagnostic.span.end).expect("a span of the text");
        assert_eq!((found, diagnostic.message.as_str()), (*marked, *message), "{text}");
        assert_eq!(diagnostic.hint.as_deref(), Some(*hint), "{text}");
        assert!(!diagnostic.label.is_empty(), "{text}");
    }
}

#[test]
fn an_unknown_instruction_that_looks_like_none_lists_all() {
    let error = parse("Dockerfile", "INCLUDE a").expect_err("unknown");
    let hint = error.diagnostic().hint.expect("a hint");
    for keyword in Keyword::ALL {
        assert!(hint.contains(keyword.name()), "{hint}");
    }
}

#[test]
fn triggers_of_base_images() {
    let table = [
        ("", Problem::NotOneTrigger),
        ("# comment", Problem::NotOneTrigger),
        ("RUN a\nRUN b", Problem::NotOneTrigger),
        ("FROM a", Problem::ForbiddenTrigger { keyword: Keyword::From }),
        ("ONBUILD RUN a", Problem::ForbiddenTrigger { keyword: Keyword::OnBuild }),
        ("RUN <<EOF\n", Problem::UnterminatedHeredoc { name: "EOF".to_owned() }),
    ];
    for (text, problem) in table {
        assert_eq!(parse_onbuild(text).expect_err(text).problem, problem, "{text}");
    }
}

#[test]
fn sizes_and_counts_are_bounded() {
    let long = format!("FROM a\n#{}", "x".repeat(MAX_TEXT_BYTES));
    assert!(matches!(parse("Dockerfile", &long).expect_err("long").problem, Problem::TooLarge { .. }));
    let many = "FROM a\n".repeat(30_000);
    assert!(matches!(
        parse("Dockerfile", &many).expect_err("many").problem,
        Problem::TooManyInstructions { .. }
    ));
    let heredocs = format!("FROM a\nRUN {}", "<<E ".repeat(1000));
    let error = parse("Dockerfile", &heredocs).expect_err("here-documents");
    assert!(matches!(error.problem, Problem::TooManyHeredocs { .. }));
    let nested = format!("FROM a\nRUN {}", "[".repeat(1 << 20));
    assert!(parse("Dockerfile", &nested).is_ok(), "malformed JSON is for the shell");
    let braces = format!("FROM a\nRUN <<E {}", "${a:-\"".repeat(100_000));
    assert!(parse("Dockerfile", &braces).is_ok(), "no shell words, no here-documents");
}
