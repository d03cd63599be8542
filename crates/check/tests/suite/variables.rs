//! Rules about variables and about what FROM makes of them.

use archway_graph::NamedContext;
use archway_oci::Platform;

use crate::scene::{Scene, fixed, platform, summary};

#[test]
fn arguments_in_from() {
    for (dockerfile, expected) in [
        ("ARG B=x\nFROM $B\n", &[][..]),
        ("FROM --platform=$BUILDPLATFORM x AS b\nFROM scratch\n", &[]),
        ("ARG D\nFROM x${D}\n", &[]),
        ("ARG D\nFROM x:${D:-1}\n", &[]),
        ("FROM x:1${V}\n", &["1 UndefinedArgInFrom ${V}"]),
        ("FROM --platform=$BULIDPLATFORM x\n", &["1 UndefinedArgInFrom $BULIDPLATFORM"]),
        ("ARG T\nFROM x:$T\n", &["2 InvalidDefaultArgInFrom x:$T"]),
        ("ARG T\nFROM $T\n", &["2 InvalidDefaultArgInFrom $T"]),
        ("ARG I=x T=1\nFROM $I:$T\n", &[]),
        ("ARG I=x\nARG J=$I:1\nFROM $J\n", &[]),
        // Not an image, whatever is given.
        ("FROM x AS Build\nFROM Build\n", &["1 StageNameCasing Build"]),
    ] {
        assert_eq!(summary(dockerfile), expected, "{dockerfile}");
    }
    let scene = Scene::new("ARG VERSION=1\nFROM x:${VERSOIN}1\n");
    assert_eq!(scene.findings()[0].hint.as_deref(), Some("did you mean $VERSION?"));
    // A build argument does not hide that there is no default.
    let mut scene = Scene::new("ARG T\nFROM x:$T\n");
    scene.build_args.set("T", "1");
    assert_eq!(scene.summary(), ["2 InvalidDefaultArgInFrom x:$T"]);
}

#[test]
fn platforms_in_from() {
    for (dockerfile, expected) in [
        ("FROM --platform=$TARGETPLATFORM x\n", &["1 RedundantTargetPlatform $TARGETPLATFORM"][..]),
        ("FROM --platform=${TARGETPLATFORM} x\n", &["1 RedundantTargetPlatform ${TARGETPLATFORM}"]),
        ("FROM --platform=${TARGETOS}/${TARGETARCH} x\n", &[]),
        ("ARG P=$TARGETPLATFORM\nFROM --platform=$P x\n", &[]),
        ("FROM --platform=linux/amd64 x\n", &["1 FromPlatformFlagConstDisallowed linux/amd64"]),
        ("FROM --platform=linux/amd64 x AS y\n", &["1 FromPlatformFlagConstDisallowed linux/amd64"]),
        ("FROM --platform=linux/amd64 x AS y-amd64\n", &[]),
        ("FROM --platform=linux/amd64 x AS linux-y\n", &[]),
        ("ARG P=linux/amd64\nFROM --platform=$P x\n", &[]),
        ("FROM --platform=nonsense/// x\n", &[]),
    ] {
        assert_eq!(summary(dockerfile), expected, "{dockerfile}");
    }
    assert_eq!(fixed("FROM --platform=$TARGETPLATFORM  x\n", "RedundantTargetPlatform"), "FROM x\n");
}

#[test]
fn variables_that_nothing_sets() {
    for (dockerfile, expected) in [
        ("ARG f\nCOPY a$f /\n", &[][..]),
        ("COPY $f /\nARG f=a\nRUN echo $f\n", &["2 UndefinedVar $f"]),
        ("ARG DIR_ASSETS=a/\nCOPY $DIR_ASSET /\n", &["3 UndefinedVar $DIR_ASSET"]),
        ("ENV PATH=${PAHT}:/x\n", &["2 UndefinedVar ${PAHT}"]),
        ("ENV A=1 B=$A\n", &["2 UndefinedVar $A"]),
        ("ARG A=1 B=$A\nARG C=$D\n", &["3 UndefinedVar $D"]),
        ("ENV A=${X:-y}\n", &["2 UndefinedVar ${X"]),
        ("RUN echo $NOBODY\nCMD [\"$NOBODY\"]\n", &[]),
        ("RUN --mount=type=bind,target=$T true\n", &["2 UndefinedVar $T"]),
        ("COPY <<E /x\n$a ${b}\nE\nCOPY <<'E' /y\n$a\nE\n", &["3 UndefinedVar $a", "3 UndefinedVar ${b}"]),
        ("COPY a /$TARGETARCH/\n", &["2 UndefinedVar $TARGETARCH"]),
        (
            "ADD --chown=$U a /\nUSER $U\nVOLUME $V\nSTOPSIGNAL $S\nEXPOSE $E\nLABEL l=$L\n",
            &[
                "2 UndefinedVar $U",
                "3 UndefinedVar $U",
                "4 UndefinedVar $V",
                "5 UndefinedVar $S",
                "6 UndefinedVar $E",
                "7 UndefinedVar $L",
            ],
        ),
        ("ENV A='$x' B=\\$y\n", &[]),
    ] {
        assert_eq!(summary(&format!("FROM scratch\n{dockerfile}")), expected, "{dockerfile}");
    }
}

#[test]
fn an_unknown_base_may_set_anything_but_some_names() {
    for (dockerfile, expected) in [
        ("FROM node\nCOPY a $APP_HOME\n", &[][..]),
        ("FROM node\nARG VERSION\nENV A=$VERSOIN\n", &["3 UndefinedVar $VERSOIN"]),
        ("FROM node\nENV A=$TARGETARCH\n", &["2 UndefinedVar $TARGETARCH"]),
        ("ARG VERSION=1\nFROM node\nENV A=$VERSION\n", &["3 UndefinedVar $VERSION"]),
        ("ARG NODE_VERSION=22\nFROM node:$NODE_VERSION\nENV A=$NODE_VERSION\n", &[]),
        ("FROM node AS x\nARG V\nFROM x\nENV A=$V\n", &[]),
    ] {
        assert_eq!(summary(dockerfile), expected, "{dockerfile}");
    }
    // What a trigger sets is set.
    assert_eq!(summary("FROM scratch AS x\nONBUILD ARG V=1\nFROM x\nENV A=$V\n"), [""; 0]);
    let mut scene = Scene::new("FROM node\nENV A=$V\n").base("node", &[], &["linux/arm64"]);
    assert_eq!(scene.summary(), ["2 UndefinedVar $V"]);
    let config = scene.bases.configs.values_mut().next().unwrap();
    config.config.on_build = vec!["ENV V=1".to_owned()];
    assert_eq!(scene.summary(), [""; 0]);
    let known =
        |dockerfile: &str| Scene::new(dockerfile).base("node", &["NODE_ENV=x"], &["linux/arm64"]).summary();
    assert_eq!(known("FROM node\nENV A=$NODE_ENV\n"), [""; 0]);
    assert_eq!(known("FROM node\nENV A=$APP_HOME\n"), ["2 UndefinedVar $APP_HOME"]);
    let hints = |dockerfile| Scene::new(dockerfile).findings()[0].hint.clone().unwrap();
    assert_eq!(hints("FROM x\nENV A=$TARGETARCH\n"), "declare `ARG TARGETARCH` in this stage");
    assert!(hints("ARG VERSION=1\nFROM x\nENV A=$VERSION\n").contains("repeat `ARG VERSION`"));
}

#[test]
fn only_needed_stages_are_followed_if_asked() {
    let text =
        "FROM a AS x\nENV k v\nFROM a AS y\nENV k v\nFROM y AS z\nCOPY --from=0 /a /\nFROM a as last\n";
    let mut scene = Scene::new(text);
    assert_eq!(
        scene.summary(),
        ["2 LegacyKeyValueFormat k v", "4 LegacyKeyValueFormat k v", "7 FromAsCasing as"]
    );
    scene.all_stages = false;
    assert_eq!(scene.summary(), ["7 FromAsCasing as"]);
    scene.target = Some("y");
    assert_eq!(scene.summary(), ["4 LegacyKeyValueFormat k v", "7 FromAsCasing as"]);
    scene.target = Some("2");
    assert_eq!(
        scene.summary(),
        ["2 LegacyKeyValueFormat k v", "4 LegacyKeyValueFormat k v", "7 FromAsCasing as"]
    );
}

#[test]
fn base_images_of_other_platforms() {
    let text = "FROM --platform=$BUILDPLATFORM tools AS t\nFROM base\nCOPY --from=t /a /\n";
    let scene = |offered: &[&str], wanted: &[&str]| {
        let mut scene = Scene::new(text);
        scene.platforms = wanted.iter().map(|name| platform(name)).collect::<Vec<Platform>>();
        let mut scene = scene.base("base", &[], offered);
        scene.bases.platforms.insert("tools".into(), vec![platform("linux/amd64")]);
        scene
    };
    assert_eq!(scene(&["linux/amd64", "linux/arm64"], &["linux/amd64", "linux/arm64"]).summary(), [""; 0]);
    assert_eq!(scene(&["linux/amd64"], &["linux/amd64"]).summary(), [""; 0]);
    let both = scene(&["linux/amd64"], &["linux/amd64", "linux/arm64"]);
    assert_eq!(both.summary(), ["2 BaseLacksPlatform base", "2 InvalidBaseImagePlatform base"]);
    let hint = both.findings()[0].hint.clone();
    assert_eq!(hint.as_deref(), Some("it exists for linux/amd64"));
    let mut one = both;
    one.multi_platform = false;
    assert_eq!(one.summary(), ["2 InvalidBaseImagePlatform base"]);
    // arm/v7 runs what is for arm/v6.
    assert_eq!(scene(&["linux/arm/v6"], &["linux/arm/v7"]).summary(), [""; 0]);
}

#[test]
fn named_contexts_stand_in_for_images_and_stages() {
    let mut scene = Scene::new(
        "FROM base\nENV A=$V\nFROM debian AS tools\nENV k v\nFROM scratch\nCOPY --from=tools a /\n",
    );
    assert_eq!(scene.summary(), ["4 LegacyKeyValueFormat k v"]);
    scene.named_contexts.add("tools", NamedContext::Directory).unwrap();
    assert_eq!(scene.summary(), [""; 0]);
    // Of the empty image everything is known.
    scene.named_contexts.add("base", NamedContext::Scratch).unwrap();
    assert_eq!(scene.summary(), ["2 UndefinedVar $V"]);
}
