//! Platforms of base images, where they are known.

use crate::{
    finding::Finding,
    findings::Findings,
    inputs::Inputs,
    model::{Base, Model},
    rule::{Example, Origin, Rule},
};

/// An image whose config is for another platform than the one it was found under.
pub(super) static INVALID_BASE_IMAGE_PLATFORM: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    origin: Origin::BuildKit { url: None, experimental: false },
    description: "The base image is for the platform it is used for",
    explanation: "An image that is only there for one platform is found whatever platform is asked for. Its programs \
                  then do not run there, or run under emulation, and the result says it is for a platform that it is \
                  not for. Checked for base images that are known: while building, and by `archway check --platform`.",
    bad: Example::new("FROM registry.example/only-for-amd64\n"),
    good: Example::new("FROM registry.example/for-all-platforms\n"),
};

/// An image that is not offered for a platform that is asked for.
pub(super) static BASE_LACKS_PLATFORM: Rule = Rule {
    name: "BaseLacksPlatform",
    origin: Origin::MultiPlatform,
    description: "The base image exists for every platform that is asked for",
    explanation: "A build for a platform that the base image does not have fails when it begins. Checked by `archway \
                  check --platform`, which looks base images up at their registries; use another base, build fewer \
                  platforms, or, if the stage only compiles, start it with `--platform=$BUILDPLATFORM`.",
    bad: Example::new("FROM registry.example/only-for-amd64\n"),
    good: Example::new("FROM registry.example/for-all-platforms\n"),
};

pub(super) fn check(model: &Model<'_>, inputs: &Inputs<'_>, findings: &mut Findings<'_>) {
    for (stage, text) in model.stages.iter().zip(&model.document.stages) {
        let Base::Image(name, platform) = &stage.base else { continue };
        if !stage.needed && !inputs.all_stages {
            continue;
        }
        let span = text.stage.base.span;
        if let Some(config) = inputs.bases.configs.get(&(name.clone(), platform.clone())) {
            let actual = config.platform.clone().normalized();
            if actual.os != platform.os || actual.architecture != platform.architecture {
                let message = format!("the image `{name}` is for {actual}, and {platform} is asked for");
                findings.add(&text.site, Finding::new(&INVALID_BASE_IMAGE_PLATFORM, message, span));
            }
        }
        let Some(offered) = inputs.bases.platforms.get(name).filter(|_| inputs.multi_platform) else {
            continue;
        };
        if !offered.is_empty() && !offered.iter().any(|candidate| platform.satisfied_by(candidate)) {
            let names: Vec<String> = offered.iter().map(ToString::to_string).collect();
            let finding = Finding::new(
                &BASE_LACKS_PLATFORM,
                format!("the image `{name}` does not exist for {platform}"),
                span,
            );
            findings.add(&text.site, finding.hint(format!("it exists for {}", names.join(", "))));
        }
    }
}
