//! How a platform is built, and the sentence that says why.

use archway_report::Strategy;

use crate::build::Build;

/// Strategy and reason of each platform.
fn decisions(build: Build) -> Vec<(Strategy, String)> {
    build.graph().outputs.into_iter().map(|output| (output.strategy, output.reason)).collect()
}

const CROSS: &str = "
    FROM --platform=$BUILDPLATFORM golang AS build
    ARG TARGETARCH
    RUN go mod download
    RUN go build
    FROM scratch
    COPY --from=build /out /
    ";

#[test]
fn steps_on_the_target_decide() {
    let emulated = "FROM debian\nRUN apt-get update && apt-get install --yes --no-install-recommends curl\n";
    let [native, foreign] =
        decisions(Build::new(emulated).platforms(&["linux/amd64", "linux/arm64"])).try_into().unwrap();
    assert_eq!(native, (Strategy::Native, "the only RUN step runs on linux/amd64".into()));
    assert_eq!(
        foreign,
        (
            Strategy::Emulated,
            "RUN apt-get update && apt-get install --… (Dockerfile:2) runs on linux/arm64, \
             this machine is linux/amd64"
                .into()
        )
    );
}

#[test]
fn nothing_on_the_target_is_cross() {
    let both = decisions(Build::new(CROSS).platforms(&["linux/amd64", "linux/s390x"]));
    assert_eq!(
        both,
        [
            (Strategy::Native, "all 2 RUN steps run on linux/amd64".into()),
            (Strategy::Cross, "all 2 RUN steps run on linux/amd64".into())
        ]
    );
    let copies = decisions(Build::new("FROM scratch\nCOPY a /\n").platforms(&["linux/amd64", "linux/arm64"]));
    assert_eq!(
        copies,
        [
            (Strategy::Native, "no RUN step: files are only copied".into()),
            (Strategy::Cross, "no RUN step: nothing of linux/arm64 is executed".into())
        ]
    );
}

#[test]
fn what_the_processor_can_run_is_native() {
    let run = "FROM debian\nRUN true\n";
    let strategies: Vec<Strategy> =
        decisions(Build::new(run).platforms(&["linux/386", "linux/amd64/v2", "linux/amd64/v4"]))
            .into_iter()
            .map(|(strategy, _)| strategy)
            .collect();
    assert_eq!(strategies, [Strategy::Native, Strategy::Native, Strategy::Emulated]);
}

#[test]
fn a_pinned_stage_can_make_the_own_platform_emulated() {
    let text = "FROM --platform=linux/arm64 debian AS a\nRUN true\nFROM scratch\nCOPY --from=a / /\n";
    let [(strategy, reason)] = decisions(Build::new(text)).try_into().unwrap();
    assert_eq!(strategy, Strategy::Emulated);
    assert!(reason.starts_with("RUN true (Dockerfile:2) runs on linux/arm64"), "{reason}");
}

#[test]
fn a_strategy_that_was_asked_for_is_kept_or_refused() {
    Build::new(CROSS).platforms(&["linux/arm64"]).strategy("linux/arm64", Strategy::Cross).graph();
    let build = Build::new("FROM debian\nRUN true\n")
        .platforms(&["linux/arm64"])
        .strategy("linux/arm64", Strategy::Cross);
    let error = build.error();
    assert_eq!(
        error.to_string(),
        "linux/arm64 would be built emulated, not cross: \
         RUN true (Dockerfile:2) runs on linux/arm64, this machine is linux/amd64"
    );
    assert_eq!(build.dockerfile().source.slice(error.span), "RUN true");
    let build = Build::new("FROM scratch\nCOPY a /\n").strategy("linux/amd64", Strategy::Emulated);
    assert_eq!(build.dockerfile().source.slice(build.error().span), "FROM scratch");
}
