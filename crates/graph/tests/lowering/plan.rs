//! What `archway plan` shows.

use archway_graph::{Plan, explain};

use crate::build::Build;

fn plan(build: &Build) -> Plan {
    explain(&build.graph(), &build.dockerfile().source)
}

const TEXT: &str = "
    FROM --platform=$BUILDPLATFORM golang AS build
    RUN go mod download
    ARG TARGETARCH
    RUN go build
    FROM busybox
    COPY --from=build /out /bin/
    RUN /bin/app --version
    ";

#[test]
fn the_text_shows_platforms_steps_and_what_sharing_saves() {
    let build = Build::new(TEXT).platforms(&["linux/amd64", "linux/arm64"]).arg("UNUSED", "1");
    let expected = "\
linux/amd64  native    all 3 RUN steps run on linux/amd64
linux/arm64  emulated  RUN /bin/app --version (Dockerfile:7) runs on linux/arm64, this machine is linux/amd64

step       for          runs on      instruction
build 1/3  all 2        linux/amd64  FROM golang
build 2/3  all 2        linux/amd64  RUN go mod download
build 3/3  linux/amd64  linux/amd64  RUN go build
1 1/3      linux/amd64  linux/amd64  FROM busybox
1 2/3      linux/amd64               COPY --from=build /out /bin/
1 3/3      linux/amd64  linux/amd64  RUN /bin/app --version
build 3/3  linux/arm64  linux/amd64  RUN go build
1 1/3      linux/arm64  linux/arm64  FROM busybox
1 2/3      linux/arm64               COPY --from=build /out /bin/
1 3/3      linux/arm64  linux/arm64  RUN /bin/app --version

10 steps, 2 fewer than the 12 of one build for each platform

warning: the build argument `UNUSED` is not used: no ARG declares it
   hint: add `ARG UNUSED` to the stage that needs it
";
    assert_eq!(plan(&build).render(), expected);
}

#[test]
fn the_data_says_the_same() {
    let plan = plan(&Build::new(TEXT).platforms(&["linux/amd64", "linux/arm64"]));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["totals"], serde_json::json!({"steps": 10, "separately": 12}));
    assert_eq!(json["platforms"][1]["strategy"], "emulated");
    let step = &json["steps"][2];
    assert_eq!(step["location"], "Dockerfile:4");
    assert_eq!(step["inputs"], serde_json::json!([1]));
    assert_eq!(step["serves"].as_array().unwrap().len(), 1);
}

#[test]
fn an_empty_image_has_an_empty_plan() {
    assert_eq!(
        plan(&Build::new("FROM scratch\n")).render(),
        "linux/amd64  native  no RUN step: files are only copied\n\nstep  for  runs on  instruction\n\n0 steps\n"
    );
}
