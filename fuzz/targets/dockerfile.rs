//! A Dockerfile: every place stays within the text, and a trigger that an image would store is read back.

#![no_main]

use archway_dockerfile::{
    ast::{Kind, SourceText, Span},
    parse_onbuild, parse_source, syntax,
};
use libfuzzer_sys::fuzz_target;

fn within(span: Span, text: &str) {
    assert!(span.start <= span.end && text.get(span.start..span.end).is_some(), "{span:?}");
}

fuzz_target!(|bytes: &[u8]| {
    let source = match SourceText::from_bytes("Dockerfile", bytes) {
        Ok(source) => source,
        Err(error) => {
            within(error.span, &error.text.text);
            error.text
        }
    };
    if let Some(directive) = syntax::detect(&source.text) {
        within(directive.span, &source.text);
        let _ = syntax::frontend(&directive.value);
    }
    let _ = parse_onbuild(&source.text);
    let file = match parse_source(source.clone()) {
        Ok(file) => file,
        Err(error) => return within(error.diagnostic().span, &source.text),
    };
    for stage in &file.stages {
        within(stage.span, &source.text);
        within(stage.base.span, &source.text);
        for instruction in &stage.instructions {
            within(instruction.span, &source.text);
            assert!(!instruction.line.contains('\n'));
            for heredoc in instruction.kind.heredocs() {
                within(heredoc.span, &source.text);
            }
            // What ends with the escape character goes on when it is read again, here and in BuildKit; and
            // an image knows no other escape character.
            if let Kind::OnBuild { instruction, text } = &instruction.kind
                && file.escape == '\\'
                && !text.trim_end().ends_with('\\')
            {
                let read_back = parse_onbuild(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
                assert_eq!(read_back.kind.heredocs().len(), instruction.kind.heredocs().len());
            }
        }
    }
});
