//! What is refused, where the caret stands, and what is said.

use archway_dockerfile::diagnostic::Diagnostic;
use archway_graph::{Bases, LowerProblem};

use crate::build::Build;

/// Dockerfile, marked text, message, hint (a part of it, or nothing).
type Case = (&'static str, &'static str, &'static str, &'static str);

#[test]
fn errors_name_the_place_and_the_way_out() {
    let table: &[Case] = &[
        ("FROM $BASE\n", "$BASE", "the base image name `$BASE` is empty", "declare `ARG BASE=…`"),
        ("ARG BASE_IMAGE=x\nFROM $BASE_IMGE\n", "$BASE_IMGE", "is empty", "did you mean `$BASE_IMAGE`?"),
        (
            "FROM --platform=$BUILDPLATFROM x\n",
            "$BUILDPLATFROM",
            "is empty",
            "did you mean `$BUILDPLATFORM`?",
        ),
        ("FROM --platform=linux/amd46 x\n", "linux/amd46", "invalid platform `linux/amd46`", "linux/amd64"),
        ("FROM Busybox\n", "Busybox", "must be lower-case", "in lower case"),
        ("ARG SOURCE_DATE_EPOCH=now\nFROM scratch\n", "now", "SOURCE_DATE_EPOCH is `now`", "git log"),
        ("FROM ${A?}\n", "", "A: ", "--build-arg A"),
        ("FROM x\nCOPY --from=1 a b\n", "1", "there is no stage number 1: the Dockerfile has 1", "number 0"),
        ("FROM x AS own\nCOPY --from=own a b\n", "own", "cannot take files from itself", "earlier stage"),
        ("FROM x\nCOPY --from=0 a b\n", "0", "cannot take files from itself", "earlier stage"),
        (
            "FROM x AS a\nCOPY --from=b a b\nFROM x AS b\nFROM a\n",
            "b",
            "stage `b` is defined after",
            "move `b`",
        ),
        ("FROM x\nCOPY --from=$S a b\n", "$S", "holds a variable", "FROM $NAME AS stage"),
        ("FROM x\nCOPY https://x.org/a /c\n", "https://x.org/a", "COPY cannot read", "use ADD"),
        ("FROM x\nCOPY --chmod=888 a /c\n", "888", "`888` is no file mode", "755"),
        ("FROM x\nCOPY --chmod=77777 a /c\n", "77777", "`77777` is no file mode", "7777"),
        ("FROM x\nCOPY --chmod=u+y a /c\n", "u+y", "`u+y` is no file mode", "u=rwX,go=rX"),
        ("FROM x\nCOPY --link --chown=app a /c\n", "app", "`app` is a name", "--chown=1000:1000"),
        ("FROM scratch\nCOPY --chown=app a /c\n", "app", "an empty file system has no accounts", "1000:1000"),
        ("FROM scratch\nUSER app\nWORKDIR /c\n", "/c", "an empty file system has no accounts", "1000:1000"),
        ("FROM x\nCOPY --exclude=[a b /c\n", "[a", "malformed pattern '[a'", "stand for the characters"),
        (
            "FROM x\nCOPY --parents . /c\n",
            ".",
            "`.` has nothing that --parents could keep",
            "leave --parents out",
        ),
        ("FROM x\nCOPY --parents x/./[a /c\n", "x/./[a", "malformed pattern '[a'", ""),
        ("FROM x\nEXPOSE 80 http\n", "http", "a port is a number", "53/udp"),
        ("FROM x\nEXPOSE 70000\n", "70000", "at most 65535", ""),
        ("FROM x\nEXPOSE here:8080:80\n", "here:8080:80", "no IP address", "when a container starts"),
        ("FROM x\nVOLUME $V\n", "$V", "the volume `$V` is empty", ""),
        (
            "FROM x\nSTOPSIGNAL SIGTREM\n",
            "SIGTREM",
            "there is no signal `SIGTREM`",
            "did you mean `SIGTERM`?",
        ),
        ("FROM x\nCOPY <<a/b /c\nEOF\na/b\n", "", "its delimiter is no file name", "without slashes"),
        ("FROM x\nENV A=${B:?no-B}\n", "", "B: no-B", "--build-arg B"),
    ];
    for (text, marked, message, hint) in table {
        let build = Build::new(text);
        let found: Diagnostic = build.error().into();
        assert!(found.message.contains(message), "{text}: {}", found.message);
        let at = build.dockerfile().source.slice(found.span);
        assert!(at.contains(marked) && at.len() < marked.len() + 12, "{text}: marks `{at}`");
        assert!(found.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {:?}", found.hint);
        assert!(!found.label.is_empty(), "{text}");
    }
}

#[test]
fn unknown_targets_are_named_with_the_nearest() {
    let error = Build::new("FROM x AS builder\nFROM y AS runtime\n").target("bulider").error();
    assert_eq!(error.to_string(), "there is no stage `bulider` to build");
    assert_eq!(error.diagnostic().hint.as_deref(), Some("did you mean `builder`?"));
    assert!(Build::new("FROM x\n").target("1").error().diagnostic().hint.is_none());
}

#[test]
fn what_is_not_supported_is_refused_before_anything_is_downloaded() {
    let build = Build::new("FROM x\nRUN --device=vendor.com/gpu make\n");
    let error = build.lower(&Bases::new()).expect_err("devices");
    assert_eq!(error.problem, LowerProblem::NoDevices);
    assert_eq!(build.dockerfile().source.slice(error.span), "vendor.com/gpu");
}

#[test]
fn errors_in_stages_nobody_needs_do_not_matter() {
    Build::new("FROM $NOTHING\nRUN --device=x make\nFROM scratch\nCOPY a /\n").graph();
}

#[test]
fn stages_that_start_from_one_another_are_bounded() {
    let mut text = String::from("FROM scratch AS s0\n") + &"CMD x\n".repeat(2_000);
    for number in 1..2_000 {
        text.push_str(&format!("FROM s{} AS s{number}\n", number - 1));
    }
    let error = Build::new(&text).error();
    assert!(error.to_string().starts_with("the values of this build come to more than"), "{error}");
}

#[test]
fn variables_that_contain_one_another_are_bounded() {
    let mut text = String::from("FROM scratch\nENV A=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n");
    for _ in 0..14 {
        text.push_str("ENV A=$A$A\n");
    }
    for number in 0..200 {
        text.push_str(&format!("ENV B{number}=$A\n"));
    }
    let error = Build::new(&text).error();
    assert!(error.to_string().starts_with("the values of this build come to more than"), "{error}");
}
