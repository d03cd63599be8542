//! The stage that becomes the image.

use crate::{
    finding::Finding,
    findings::Findings,
    model::{Base, Model, RunsOn},
    rule::{Example, Origin, Rule},
};

/// The last stage starts with `--platform=$BUILDPLATFORM`.
pub(super) static FINAL_STAGE_OF_BUILD_PLATFORM: Rule = Rule {
    name: "FinalStageOfBuildPlatform",
    origin: Origin::MultiPlatform,
    description: "The stage that becomes the image is for the platform that is asked for",
    explanation: "`--platform=$BUILDPLATFORM` is for stages of which files are copied. In the last stage it makes every \
                  image of the index hold the files of the building machine's platform, whatever platform it says it \
                  is for.",
    bad: Example::new(
        "FROM --platform=$BUILDPLATFORM golang AS build\nARG TARGETARCH\nRUN GOARCH=$TARGETARCH go build -o /app\n\
         FROM --platform=$BUILDPLATFORM alpine\nCOPY --from=build /app /app\n",
    ),
    good: Example::new(
        "FROM --platform=$BUILDPLATFORM golang AS build\nARG TARGETARCH\nRUN GOARCH=$TARGETARCH go build -o /app\n\
         FROM alpine\nCOPY --from=build /app /app\n",
    ),
};

pub(super) fn check(model: &Model<'_>, findings: &mut Findings<'_>) {
    let target = model.target;
    let root = model.stages[target].root;
    if model.stages[target].runs_on != RunsOn::Build || model.stages[root].base == Base::Scratch {
        return;
    }
    let text = &model.document.stages[root];
    let Some(word) = &text.stage.platform else { return };
    let message = "every image will hold the files of the building machine's platform";
    let finding = Finding::new(&FINAL_STAGE_OF_BUILD_PLATFORM, message, word.span);
    let finding = match target == root {
        true => finding.hint("leave --platform out of the last stage"),
        false => finding.label("the last stage starts from this one"),
    };
    findings.add(&text.site, finding);
}
