//! BuildKit's rules about how a Dockerfile is written.

use archway_dockerfile::ignore::IgnorePatterns;

use crate::scene::{Scene, fixed, summary};

/// Dockerfiles and what is found in them.
fn assert_found(table: &[(&str, &[&str])]) {
    for (dockerfile, expected) in table {
        assert_eq!(summary(dockerfile), *expected, "{dockerfile}");
    }
}

#[test]
fn instructions_follow_the_majority() {
    assert_found(&[
        ("FROM scratch\ncopy a /\nCOPY b /\n", &["2 ConsistentInstructionCasing copy"]),
        ("from scratch\nCOPY a /\ncopy b /\n", &["2 ConsistentInstructionCasing COPY"]),
        ("FROM scratch\ncopy a /\n", &["2 ConsistentInstructionCasing copy"]),
        ("FROM scratch\ncopy a /\ncopy b /\n", &["1 ConsistentInstructionCasing FROM"]),
        // Neither one nor the other; does not count.
        ("From scratch\nfrom scratch\n", &["1 ConsistentInstructionCasing From"]),
        ("from scratch\ncopy a /\n", &[]),
        // ARGs above the first FROM are not looked at, and here-documents are no instructions.
        ("arg A\nFROM scratch\nRUN <<EOF\ncopy a\nEOF\n", &[]),
        ("FROM scratch\nOnbuild RUN a\nWORKDIR /\n", &["2 ConsistentInstructionCasing Onbuild"]),
    ]);
    assert_eq!(fixed("FROM a\nrun b\nRUN c\n", "ConsistentInstructionCasing"), "FROM a\nRUN b\nRUN c\n");
}

#[test]
fn as_is_written_like_from() {
    assert_found(&[
        ("FROM a as b\n", &["1 FromAsCasing as"]),
        ("from a AS b\n", &["1 FromAsCasing AS"]),
        ("FROM a As b\n", &["1 FromAsCasing As"]),
        ("from a as b\nFROM c AS d\nRUN e\nRUN f\n", &["1 ConsistentInstructionCasing from"]),
        ("From a as b\nFROM c\n", &["1 ConsistentInstructionCasing From"]),
        ("FROM as AS as\n", &[]),
        ("FROM a \\\n# as it is\n  as \\\n  b\n", &["3 FromAsCasing as"]),
    ]);
    assert_eq!(fixed("FROM a as b\n", "FromAsCasing"), "FROM a AS b\n");
}

#[test]
fn stages_have_names_that_can_be_told_apart() {
    assert_found(&[
        ("FROM a AS Build\n", &["1 StageNameCasing Build"]),
        (
            "FROM a AS x\nFROM b AS x\nFROM c AS X\n",
            &["2 DuplicateStageName x", "3 DuplicateStageName X", "3 StageNameCasing X"],
        ),
        (
            "FROM a AS scratch\nFROM b AS Context\n",
            &["1 ReservedStageName scratch", "2 ReservedStageName Context", "2 StageNameCasing Context"],
        ),
        ("FROM scratch\nFROM scratch AS a\n", &[]),
    ]);
    assert_eq!(fixed("FROM a AS Build\n", "StageNameCasing"), "FROM a AS build\n");
}

#[test]
fn empty_lines_inside_an_instruction() {
    assert_found(&[
        ("FROM a\nRUN b \\\n\n  c\n", &["3 NoEmptyContinuation "]),
        ("FROM a\nRUN b \\\n \t\n\n  c\n", &["3 NoEmptyContinuation "]),
        ("FROM \\\n\n  a\n", &["2 NoEmptyContinuation "]),
        ("FROM a\nRUN b \\\n  # c\n  d\n\nRUN e\n", &[]),
        ("FROM a\nRUN <<E\nb \\\n\nc\nE\n", &[]),
        ("FROM a\nONBUILD RUN <<E\n\nc\nE\n", &[]),
        ("FROM a\nRUN b \\\n\n", &["3 NoEmptyContinuation "]),
        ("FROM a\nRUN b \\\n", &[]),
        ("# escape=`\nFROM a\nRUN b `\n\n  c\n", &["4 NoEmptyContinuation "]),
        ("ARG A=1 \\\n\n  B=2\nFROM a\n", &["2 NoEmptyContinuation "]),
    ]);
    let text = "FROM a\nRUN b \\\n\n  c && \\\n\n  d\n";
    assert_eq!(fixed(text, "NoEmptyContinuation"), "FROM a\nRUN b \\\n  c && \\\n  d\n");
}

#[test]
fn commands_in_shell_form() {
    assert_found(&[
        ("FROM a\nCMD b -c\nENTRYPOINT d\n", &["2 JSONArgsRecommended b -c", "3 JSONArgsRecommended d"]),
        ("FROM a\nSHELL [\"s\"]\nCMD b\n", &[]),
        ("FROM a AS b\nSHELL [\"s\"]\nFROM b\nENTRYPOINT c\n", &[]),
        ("FROM a\nCMD []\nENTRYPOINT [\"x\"]\nHEALTHCHECK CMD y\nRUN z\n", &[]),
    ]);
    for (before, after) in [
        ("CMD nginx -g daemon", "CMD [\"nginx\", \"-g\", \"daemon\"]"),
        // What a shell would do something to is left alone.
        ("CMD nginx -g 'daemon off;'", "CMD nginx -g 'daemon off;'"),
        ("ENTRYPOINT exec top", "ENTRYPOINT exec top"),
        ("CMD PORT=80 serve", "CMD PORT=80 serve"),
    ] {
        let text = format!("FROM a\n{before}\n");
        assert_eq!(fixed(&text, "JSONArgsRecommended"), format!("FROM a\n{after}\n"));
    }
    let mut scene = Scene::new("FROM a\nCMD b\n").base("a", &[], &["linux/arm64"]);
    assert_eq!(scene.summary(), ["2 JSONArgsRecommended b"]);
    let config = scene.bases.configs.values_mut().next().unwrap();
    config.config.shell = Some(vec!["powershell".to_owned()]);
    assert_eq!(scene.summary(), [""; 0]);
}

#[test]
fn instructions_of_which_the_last_one_counts() {
    assert_found(&[
        (
            "FROM a\nCMD [\"b\"]\nENTRYPOINT [\"c\"]\nCMD [\"d\"]\nCMD [\"e\"]\n",
            &["2 MultipleInstructionsDisallowed CMD [\"b\"]", "4 MultipleInstructionsDisallowed CMD [\"d\"]"],
        ),
        (
            "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD [\"x\"]\n",
            &["2 MultipleInstructionsDisallowed HEALTHCHECK NONE"],
        ),
        ("FROM a AS b\nCMD [\"c\"]\nFROM b\nCMD [\"d\"]\n", &[]),
        // A comment above either of the two will do.
        ("FROM a\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"b\"]\nCMD [\"c\"]\n", &[]),
        ("FROM a\nCMD [\"b\"]\n# check=skip=MultipleInstructionsDisallowed\nCMD [\"c\"]\n", &[]),
    ]);
}

#[test]
fn pairs_without_an_equals_sign() {
    assert_found(&[
        ("FROM a\nENV k v\nLABEL k v w\n", &["2 LegacyKeyValueFormat k v", "3 LegacyKeyValueFormat k v w"]),
        ("FROM a\nENV k=v x=\"y z\"\nLABEL k=\n", &[]),
        ("FROM a\nENV k \\\n  v=w\n", &["2 LegacyKeyValueFormat k \\⏎  v=w"]),
    ]);
    for (before, after) in
        [("ENV k v", "ENV k=v"), ("ENV k $v w", "ENV k=\"$v w\""), ("LABEL k it's", "LABEL k it's")]
    {
        let text = format!("FROM a\nARG v\n{before}\n");
        assert_eq!(fixed(&text, "LegacyKeyValueFormat"), format!("FROM a\nARG v\n{after}\n"));
    }
}

#[test]
fn authors_ports_and_secrets() {
    assert_found(&[
        ("FROM a\nMAINTAINER Jo <jo@x.org>\n", &["2 MaintainerDeprecated MAINTAINER"]),
        (
            "FROM a\nEXPOSE 80/TCP 81:82/Udp 53/udp\n",
            &[
                "2 ExposeProtoCasing 80/TCP",
                "2 ExposeInvalidFormat 81:82/Udp",
                "2 ExposeProtoCasing 81:82/Udp",
            ],
        ),
        ("FROM a\nARG PORTS=\"80 81/TCP\"\nEXPOSE $PORTS\n", &["3 ExposeProtoCasing $PORTS"]),
        ("FROM a\nEXPOSE [::1]:80:81\n", &["2 ExposeInvalidFormat [::1]:80:81"]),
        (
            "ARG API_KEY\nFROM a\nENV A=1 DB_PASSWORD=x\nARG TOKEN\n",
            &["3 SecretsUsedInArgOrEnv DB_PASSWORD", "4 SecretsUsedInArgOrEnv TOKEN"],
        ),
    ]);
    let text = "FROM a\nMAINTAINER Jo <jo@x.org>\nEXPOSE 81:82/Udp\n";
    let expected = "FROM a\nLABEL org.opencontainers.image.authors=\"Jo <jo@x.org>\"\nEXPOSE 81:82/Udp\n";
    assert_eq!(fixed(text, "MaintainerDeprecated"), expected);
    assert_eq!(fixed("FROM a\nEXPOSE 81:82/udp\n", "ExposeInvalidFormat"), "FROM a\nEXPOSE 82/udp\n");
}

#[test]
fn directories_that_depend_on_the_base() {
    assert_found(&[
        ("FROM a\nWORKDIR b\nWORKDIR c\n", &["2 WorkdirRelativePath b"]),
        ("FROM a AS x\nWORKDIR /b\nFROM x\nWORKDIR c\n", &[]),
        ("FROM a\nARG D=/x\nWORKDIR $D/y\n", &[]),
        ("FROM a\nARG D=x\nWORKDIR $D/y\n", &["3 WorkdirRelativePath $D/y"]),
        // The base may set it.
        ("FROM a\nWORKDIR $APP_HOME\n", &[]),
        (
            "FROM scratch\nWORKDIR ${APP_HOME}x\n",
            &["2 UndefinedVar ${APP_HOME}", "2 WorkdirRelativePath ${APP_HOME}x"],
        ),
    ]);
    let mut scene = Scene::new("FROM a\nWORKDIR C:\\app\n");
    scene.platforms = vec![crate::scene::platform("windows/amd64")];
    assert_eq!(scene.summary(), [""; 0]);
}

#[test]
fn copies_of_what_is_ignored() {
    let found = |dockerfile: &str, ignore: &str| {
        let mut scene = Scene::new(&format!("FROM scratch AS x\nFROM scratch\n{dockerfile}\n"));
        scene.ignore = Some(IgnorePatterns::parse(ignore).unwrap());
        scene.findings().iter().map(|finding| finding.message.clone()).collect::<Vec<_>>()
    };
    let one = |verb: &str, path: &str| vec![format!("this {verb} `{path}`, which .dockerignore excludes")];
    for (dockerfile, ignore, expected) in [
        ("COPY dist /", "dist", one("copies", "dist")),
        ("COPY ./dist/a/../b /", "dist/", one("copies", "./dist/a/../b")),
        ("ADD /dist /", "d*", one("adds", "/dist")),
        ("ARG D=dist\nCOPY a $D/b /c/", "dist", one("copies", "dist/b")),
        ("COPY . /", "*", one("copies", ".")),
        ("COPY . /", "dist\nx/*", vec![]),
        ("COPY --from=x dist /", "dist", vec![]),
        ("ADD https://x.org/dist /", "**/dist", vec![]),
        ("COPY dist/a /", "dist\n!dist/a", vec![]),
        ("COPY <<dist /\nx\ndist", "dist", vec![]),
        ("COPY distant /", "dist", vec![]),
    ] {
        assert_eq!(found(dockerfile, ignore), expected, "{dockerfile} | {ignore}");
    }
}

#[test]
fn descriptions_begin_with_the_name() {
    let all = "# check=experimental=all\n";
    assert_found(&[
        ("# a build\nFROM a AS b\n", &[]),
        (&format!("{all}# a build\nFROM a AS b\n"), &["2 InvalidDefinitionDescription a build"]),
        (&format!("{all}# b the build\nFROM a AS b\n# c\n#\nARG d\n# e f\nARG e g\n"), &[]),
        (&format!("{all}# x\nFROM a\n# y\nRUN b\n# z\nARG e g\n"), &["6 InvalidDefinitionDescription z"]),
        // Only the last comment counts.
        (&format!("{all}# b the build\n# more\nFROM a AS b\n"), &["3 InvalidDefinitionDescription more"]),
    ]);
}

#[test]
fn directives_select_rules() {
    assert_found(&[
        ("# check=skip=all\nFROM a as B\nCMD c\n", &[]),
        ("# check=skip=JSONArgsRecommended\nFROM a as b\nCMD c\n", &["2 FromAsCasing as"]),
        ("FROM a\n# check=skip=all\nCMD c\nENTRYPOINT d\n", &["4 JSONArgsRecommended d"]),
        ("FROM a\n# check=skip=FromAsCasing\nCMD c\n", &["3 JSONArgsRecommended c"]),
        ("# check=skip=Nope,FromAsCasing\nFROM a\n", &["1 InvalidCheckDirective Nope"]),
        ("# check=skip=JSONArgsRecommended error=true\nFROM a\n", &["1 InvalidCheckDirective error=true"]),
        ("# check=skip=JSONArgsRecommended see above\nFROM a\n", &[]),
        ("FROM a\n# check=error=true\nRUN c\n", &["2 InvalidCheckDirective error=true"]),
        ("FROM a\n# check=skipp=all\nRUN c\n", &["2 InvalidCheckDirective skipp=all"]),
    ]);
    let mut scene = Scene::new("# check=skip=all;error=true\nFROM a\nCMD b\n");
    assert_eq!(scene.try_check().unwrap().failing_rules(), [""; 0]);
    scene.build_args.set("BUILDKIT_DOCKERFILE_CHECK", "error=true");
    let report = scene.try_check().unwrap();
    assert_eq!(report.failing_rules(), ["JSONArgsRecommended"]);
    scene.build_args.set("BUILDKIT_DOCKERFILE_CHECK", "error");
    let error = scene.try_check().unwrap_err();
    assert_eq!(error.to_string(), "BUILDKIT_DOCKERFILE_CHECK: the check option 'error' has no value");
    // Rules of ours fail no build that BuildKit would not fail.
    let scene = Scene::new("# check=error=true\nFROM a\nRUN curl https://x.org/a-amd64.tgz\n");
    let report = scene.try_check().unwrap();
    assert_eq!((report.findings.len(), report.failing_rules().len()), (1, 0));
    let error = Scene::new("# check=skip=A;errr=1\nFROM a\n").try_check().unwrap_err();
    assert!(matches!(error, archway_check::CheckError::Directive(error) if error.span.start == 15), "place");
}
