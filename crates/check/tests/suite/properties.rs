//! Whatever a Dockerfile says, checking it ends, and what is found has a place in it.

use proptest::prelude::*;

use crate::scene::Scene;

/// Lines that rules look at, in any order and number.
fn line() -> impl Strategy<Value = String> {
    let word = "[a-zA-Z0-9$\\{\\}:/._=\"'é-]{0,12}";
    prop_oneof![
        Just("FROM scratch".to_owned()),
        word.prop_map(|word| format!("FROM --platform=$BUILDPLATFORM x{word} as {}", word.to_lowercase())),
        word.prop_map(|word| format!("From debian AS B{}", word.len())),
        word.prop_map(|word| format!("ARG TARGETARCH A={word}")),
        word.prop_map(|word| format!("ENV KEY {word}")),
        word.prop_map(|word| format!("env a={word} b=$a")),
        word.prop_map(|word| format!("RUN curl https://x.org/{word}/a-amd64 \\\n\n  && $(uname -m) {word}")),
        word.prop_map(|word| format!("RUN <<E\ngo build {word}\n$(x\nE")),
        word.prop_map(|word| format!("COPY --from=b0 {word} /")),
        word.prop_map(|word| format!("# check=skip={word};error={word}")),
        word.prop_map(|word| format!("# {word}")),
        word.prop_map(|word| format!("EXPOSE 80:{word}/Udp")),
        word.prop_map(|word| format!("CMD {word} é")),
        word.prop_map(|word| format!("ONBUILD WORKDIR {word}x")),
        Just("MAINTAINER é \\".to_owned()),
        Just(String::new()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn findings_have_a_place_and_fixes_can_be_made(lines in prop::collection::vec(line(), 0..14)) {
        let text = lines.join("\n");
        let Ok(file) = archway_dockerfile::parse("Dockerfile", &text) else { return Ok(()) };
        let scene = Scene { file, ..Scene::new("FROM x\n") };
        let Ok(report) = scene.try_check() else { return Ok(()) };
        for finding in report.findings {
            for span in [finding.span, finding.instruction] {
                prop_assert!(text.get(span.start..span.end).is_some(), "{:?}", finding);
            }
            let Some(fix) = finding.fix else { continue };
            let mut end = 0;
            for edit in &fix.edits {
                prop_assert!(end <= edit.span.start && edit.span.start <= edit.span.end, "{:?}", fix);
                prop_assert!(text.get(edit.span.start..edit.span.end).is_some(), "{:?}", fix);
                end = edit.span.end;
            }
            let fixed = fix.apply(&text);
            prop_assert!(archway_dockerfile::parse("Dockerfile", &fixed).is_ok(), "{} {}", finding.rule.name, fixed);
        }
    }
}
