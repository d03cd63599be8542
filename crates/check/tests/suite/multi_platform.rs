//! Rules of ours about images for several platforms, one decision after the other. Whole Dockerfiles are in
//! `corpus`.

use crate::scene::{Scene, fixed, summary};

/// The findings of one rule in a Dockerfile: the marked texts.
fn marked(rule: &str, dockerfile: &str) -> Vec<String> {
    let scene = Scene::new(dockerfile);
    let findings = scene.findings().into_iter().filter(|finding| finding.rule.name == rule);
    findings.map(|finding| scene.file.source.slice(finding.span).to_owned()).collect()
}

#[test]
fn architectures_in_steps() {
    for (step, expected) in [
        ("RUN curl -L https://x.org/v1/a_linux_amd64.tgz | tar xz", &["amd64"][..]),
        ("RUN wget \"https://x.org/$VERSION/a-x86_64.AppImage\"", &["x86_64"]),
        ("RUN wget https://x.org/chromedriver_linux64.zip", &["linux64"]),
        ("RUN [\"wget\", \"https://x.org/a-arm64\"]", &["arm64"]),
        ("RUN <<E\nset -e\nwget https://x.org/a-arm64\nE", &["arm64"]),
        ("RUN set -e; \\\n  # the tool\n  wget https://x.org/a-armhf", &["armhf"]),
        ("ADD https://x.org/s6-overlay-x86_64.tar.xz /tmp/", &["x86_64"]),
        ("ENV URL=https://x.org/a-linux-x64.tar.gz", &["x64"]),
        ("ARG URL=https://x.org/a-linux-x64.tar.gz", &["x64"]),
        ("RUN CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build .", &["amd64"]),
        ("RUN export GOARCH='amd64' && go build .", &["amd64"]),
        ("ENV GOOS=linux GOARCH=amd64", &["amd64"]),
        ("RUN cargo build --release --target x86_64-unknown-linux-musl", &["x86_64"]),
        ("RUN cargo build --target=aarch64-unknown-linux-gnu", &["aarch64"]),
        ("RUN dotnet publish -c Release -r linux-x64 -o /app", &["x64"]),
        ("RUN apt-get install -y libssl3:amd64", &["amd64"]),
        ("RUN apt-get install -y linux-headers-amd64", &["amd64"]),
        ("RUN dpkg -i /tmp/tool_1.0_amd64.deb", &["amd64"]),
        ("RUN dnf install -y glibc.i686", &["i686"]),
        (
            "RUN echo \"deb [arch=amd64 signed-by=/k.gpg] https://x.org/debian stable main\" > /etc/apt/x.list",
            &["amd64"],
        ),
        // One finding for each instruction is enough.
        ("RUN wget https://x.org/a_amd64.deb && dpkg -i a_amd64.deb", &["amd64"]),
        // It looks where it runs.
        ("ARG TARGETARCH\nRUN wget https://x.org/a-$TARGETARCH", &[]),
        ("RUN if [ \"$(uname -m)\" = x86_64 ]; then wget https://x.org/a-amd64; fi", &[]),
        ("RUN case $arch in amd64) u=https://x.org/a-amd64;; esac; wget $u", &[]),
        ("RUN [ $DPKG_ARCH = amd64 ] && wget https://x.org/a-amd64", &[]),
        // It knows of the others.
        ("RUN wget https://x.org/a-amd64 https://x.org/a-arm64", &[]),
        ("RUN dpkg --add-architecture i386 && apt-get install -y wine32:i386", &[]),
        ("RUN echo 'deb [arch=amd64,arm64] https://x.org/debian stable main' > /etc/apt/x.list", &[]),
        ("RUN apt-get install -y gcc-aarch64-linux-gnu crossbuild-essential-arm64", &[]),
        ("RUN wget https://musl.cc/aarch64-linux-musl-cross.tgz", &[]),
        // Not an architecture.
        ("RUN wget https://x64dbg.com/release.zip", &[]),
        ("RUN wget https://amd64.example.com/release.zip", &[]),
        ("RUN apt-get install -y libx264-dev lib64z1 qemu-system-x86", &[]),
        ("RUN echo building for amd64", &[]),
        ("RUN cargo build --target-dir /x86_64", &[]),
        ("COPY bin/amd64/app /app", &[]),
    ] {
        assert_eq!(marked("HardcodedArchitecture", &format!("FROM debian\n{step}\n")), expected, "{step}");
    }
}

#[test]
fn stages_that_are_for_one_architecture() {
    let step = "RUN wget https://x.org/a-amd64";
    for (from, expected) in [
        ("FROM debian", 1),
        ("FROM debian AS tools-amd64", 0),
        ("FROM amd64/debian", 0),
        ("FROM --platform=linux/amd64 debian", 0),
        ("FROM --platform=$BUILDPLATFORM debian", 1),
        ("FROM debian AS base-amd64\nFROM base-amd64", 0),
        ("FROM debian AS base-arm64\nFROM base-${TARGETARCH}", 0),
    ] {
        assert_eq!(marked("HardcodedArchitecture", &format!("{from}\n{step}\n")).len(), expected, "{from}");
    }
    // What a machine of another kind than the usual one fetches is for the target.
    let text = "FROM --platform=$BUILDPLATFORM debian\nRUN wget https://x.org/a-arm64\n";
    assert_eq!(marked("HardcodedArchitecture", text), [""; 0]);
    let hint = |from: &str| {
        let finding = Scene::new(&format!("{from}\n{step}\n")).findings().swap_remove(0);
        finding.hint.unwrap()
    };
    assert!(hint("FROM debian").contains("ARG TARGETARCH"));
    let text = "FROM --platform=$BUILDPLATFORM debian AS x\nRUN wget https://x.org/a-amd64\nFROM scratch\n";
    assert!(Scene::new(text).findings()[0].hint.as_ref().unwrap().contains("ARG BUILDARCH"));
}

#[test]
fn names_of_machines() {
    for (from, step, expected) in [
        ("debian", "RUN if [ \"$(uname -m)\" = \"arm64\" ]; then x; fi", &["arm64"][..]),
        ("debian", "RUN case $(uname -m) in amd64) x;; esac", &["amd64"]),
        ("debian", "RUN case \"$(uname -m)\" in \\\n  'amd64') x;; \\\n  'arm64') y;; esac", &["amd64"]),
        ("debian", "RUN case $(dpkg --print-architecture) in x86_64) x;; *) y;; esac", &["x86_64"]),
        ("debian", "RUN case $(uname -m) in x86_64|amd64) x;; aarch64|arm64) y;; esac", &[]),
        ("debian", "RUN case $(uname -m) in x86_64) a=amd64;; aarch64) a=arm64;; esac; get $a", &[]),
        ("debian", "RUN case $(dpkg --print-architecture) in amd64) a=x86_64;; arm64) a=aarch64;; esac", &[]),
        ("debian", "RUN a=$(uname -m | sed s/aarch64/arm64/ | sed s/x86_64/amd64/); get $a", &[]),
        ("debian", "RUN curl -LO https://dl.k8s.io/v1/bin/linux/$(uname -m)/kubectl", &["$(uname -m)"]),
        ("debian", "RUN A=$(uname -m) && curl -LO https://go.dev/dl/go1.23.linux-$A.tar.gz", &["$A"]),
        ("debian", "RUN A=\"$(uname -m)\" && curl -LO https://go.dev/dl/go1.23.linux-${A}.tar.gz", &["${A}"]),
        ("debian", "RUN A=$(uname -m) && curl -LO https://go.dev/dl/go1.23.linux-${A/x86_64/x}.tar.gz", &[]),
        ("debian", "RUN A=$(uname -m) && curl -LO https://go.dev/dl/go${B}.linux-amd64.tar.gz", &[]),
        ("debian", "RUN curl https://go.dev/dl/go1.23.linux-$(dpkg --print-architecture).tar.gz", &[]),
        ("debian", "RUN curl https://awscli.amazonaws.com/awscli-exe-linux-$(uname -m).zip", &[]),
        (
            "debian",
            "RUN curl https://download.docker.com/linux/static/$(dpkg --print-architecture)/d.tgz",
            &["$(dpkg --print-architecture)"],
        ),
        ("debian", "RUN curl https://x.org/a-$(uname -m).tgz", &[]),
        ("debian", "RUN GOARCH=$(uname -m) go build .", &["GOARCH=$(uname -m)"]),
        ("debian", "RUN GOARCH=$(dpkg --print-architecture) go build .", &[]),
        (
            "--platform=$BUILDPLATFORM debian",
            "RUN GOARCH=$(dpkg --print-architecture) go build .",
            &["GOARCH=$(dpkg --print-architecture)"],
        ),
        ("debian", "RUN echo $(uname -m) arm64", &[]),
    ] {
        let found = marked("UnmappedMachineName", &format!("FROM {from}\n{step}\n"));
        assert_eq!(found, expected, "{step}");
    }
}

#[test]
fn arguments_that_fork_the_cache() {
    let build = "FROM --platform=$BUILDPLATFORM golang AS build\n";
    for (steps, expected) in [
        ("ARG TARGETARCH\nRUN apt-get update && apt-get install -y git\nRUN GOARCH=$TARGETARCH go build", 1),
        ("ARG TARGETOS TARGETARCH\nRUN go mod download\nRUN GOARCH=$TARGETARCH go build", 1),
        ("ARG TARGETOS\nARG TARGETARCH\nRUN go mod download\nRUN GOARCH=$TARGETARCH go build", 2),
        ("RUN go mod download\nARG TARGETARCH\nRUN GOARCH=$TARGETARCH go build", 0),
        // Who knows what it looks at.
        ("ARG TARGETARCH\nRUN ./prepare.sh\nRUN GOARCH=$TARGETARCH go build", 0),
        ("ARG TARGETPLATFORM\nRUN xx-apk add gcc\nRUN apt-get install -y x", 0),
        ("ARG TARGETARCH\nRUN apt-get install -y gcc-$TARGETARCH", 0),
        ("ARG TARGETARCH\nENV GOARCH=$TARGETARCH\nRUN go mod download", 0),
        // Not worth it.
        ("ARG TARGETARCH\nRUN mkdir /out\nRUN GOARCH=$TARGETARCH go build", 0),
        ("ARG VERSION\nRUN go mod download", 0),
    ] {
        let found = marked("TargetArgTooEarly", &format!("{build}{steps}\nFROM scratch\n"));
        assert_eq!(found.len(), expected, "{steps}");
        let target = "FROM golang AS build\n";
        assert_eq!(marked("TargetArgTooEarly", &format!("{target}{steps}\nFROM scratch\n")), [""; 0]);
    }
    let text = format!(
        "{build}ARG TARGETARCH\nCOPY go.mod .\nRUN go mod download\nCOPY . .\nRUN GOARCH=$TARGETARCH go build\nFROM scratch\n"
    );
    let expected = format!(
        "{build}COPY go.mod .\nRUN go mod download\nARG TARGETARCH\nCOPY . .\nRUN GOARCH=$TARGETARCH go build\nFROM scratch\n"
    );
    assert_eq!(fixed(&text, "TargetArgTooEarly"), expected);
}

#[test]
fn defaults_of_what_the_builder_sets() {
    for (text, expected) in [
        ("FROM x\nARG TARGETARCH=amd64", &["TARGETARCH=amd64"][..]),
        ("ARG TARGETPLATFORM=linux/amd64 A=b\nFROM x", &["TARGETPLATFORM=linux/amd64"]),
        ("FROM x\nARG TARGETARCH=${TARGETARCH:-amd64}", &[]),
        ("FROM x\nARG TARGETVARIANT=", &[]),
        ("FROM x\nARG TARGETOS=linux TARGETSTAGE=y", &[]),
    ] {
        assert_eq!(marked("TargetArgWithDefault", &format!("{text}\n")), expected, "{text}");
    }
    let text = "FROM x\nARG A=1 TARGETARCH=amd64 B\n";
    assert_eq!(fixed(text, "TargetArgWithDefault"), "FROM x\nARG A=1 TARGETARCH B\n");
}

#[test]
fn compilers_under_emulation() {
    for (stages, expected) in [
        (
            "FROM golang AS b\nRUN go build -o /app .\nFROM scratch\nCOPY --from=b /app /app",
            &["go build"][..],
        ),
        (
            "FROM golang AS b\nENV CGO_ENABLED=0\nRUN apk add gcc && go build -o /app .\nFROM scratch\nCOPY --from=b /app /app",
            &["go build"],
        ),
        (
            "FROM rust AS b\nRUN cargo build --release\nFROM debian\nCOPY --from=0 /target/release/app /app",
            &["cargo build"],
        ),
        (
            "FROM sdk AS b\nRUN dotnet publish -c Release -o /app\nFROM aspnet\nCOPY --from=b /app /app",
            &["dotnet publish"],
        ),
        (
            "FROM node AS b\nRUN npm ci && npm run build\nFROM nginx\nCOPY --from=b /app/dist /usr/share/nginx/html",
            &["npm run"],
        ),
        (
            "FROM maven AS b\nRUN mvn -B clean package\nFROM jre\nCOPY --from=b /target/app.jar /app.jar",
            &["mvn -B clean"],
        ),
        // It is done already.
        (
            "FROM --platform=$BUILDPLATFORM golang AS b\nRUN go build -o /app .\nFROM scratch\nCOPY --from=b /app /app",
            &[],
        ),
        // C code.
        (
            "FROM golang AS b\nRUN apk add build-base && go build -o /app .\nFROM scratch\nCOPY --from=b /app /app",
            &[],
        ),
        (
            "FROM golang AS b\nENV CGO_ENABLED=1\nRUN go build -o /app .\nFROM scratch\nCOPY --from=b /app /app",
            &[],
        ),
        (
            "FROM rust AS b\nRUN apt-get install -y libssl-dev\nRUN cargo build\nFROM debian\nCOPY --from=b /app /app",
            &[],
        ),
        ("FROM sdk AS b\nRUN dotnet publish -p:PublishAot=true\nFROM aspnet\nCOPY --from=b /app /app", &[]),
        // The result is for the platform it was built on.
        ("FROM node AS b\nRUN npm ci && npm run build\nFROM node\nCOPY --from=b /app /app", &[]),
        (
            "FROM node AS b\nRUN npm run build\nFROM node\nCOPY --from=b /app/dist /app/\nCOPY --from=b /app/node_modules /app/",
            &[],
        ),
        ("FROM maven AS b\nRUN mvn -Pnative package\nFROM debian\nCOPY --from=b /target/app.jar /app", &[]),
        ("FROM maven AS b\nRUN mvn package\nFROM debian\nCOPY --from=b /opt/app /app", &[]),
        // It is the image, or what another stage stands on.
        ("FROM golang\nRUN go build -o /app .", &[]),
        ("FROM golang AS b\nRUN go build -o /app .\nFROM b\nRUN /app", &[]),
        (
            "FROM golang AS b\nRUN go build .\nFROM b AS t\nRUN go test\nFROM scratch\nCOPY --from=b /app /app",
            &[],
        ),
        // It is for one architecture.
        ("FROM amd64/golang AS b\nRUN go build -o /app .\nFROM scratch\nCOPY --from=b /app /app", &[]),
        ("FROM golang AS b\nRUN go test ./...\nFROM scratch\nCOPY --from=b /app /app", &[]),
    ] {
        assert_eq!(marked("EmulatedToolchain", &format!("{stages}\n")), expected, "{stages}");
    }
}

#[test]
fn the_stage_that_becomes_the_image() {
    let rule = "FinalStageOfBuildPlatform";
    for (stages, expected) in [
        ("FROM --platform=$BUILDPLATFORM x", 1),
        ("FROM --platform=$BUILDPLATFORM x AS b\nFROM b", 1),
        ("FROM --platform=$BUILDPLATFORM x AS b\nFROM y\nCOPY --from=b /a /a", 0),
        ("FROM --platform=$BUILDPLATFORM scratch", 0),
        ("FROM --platform=${TARGETPLATFORM:-$BUILDPLATFORM} x", 0),
    ] {
        assert_eq!(marked(rule, &format!("{stages}\n")).len(), expected, "{stages}");
    }
    let mut scene = Scene::new("FROM --platform=$BUILDPLATFORM x AS lint\nFROM y\n");
    assert_eq!(scene.summary(), [""; 0]);
    scene.target = Some("lint");
    assert_eq!(scene.summary().len(), 1);
}

#[test]
fn nothing_is_said_to_those_who_build_for_one_platform() {
    let text = "FROM golang AS b\nRUN GOARCH=amd64 go build .\nFROM --platform=$BUILDPLATFORM x\nCOPY --from=b /a /a\n";
    assert_eq!(summary(text).len(), 3);
    let mut scene = Scene::new(text);
    scene.multi_platform = false;
    assert_eq!(scene.summary(), [""; 0]);
}
