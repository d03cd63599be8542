//! Whatever the input, nothing panics, everything ends, and places stay within the text.

use std::collections::BTreeMap;

use archway_dockerfile::ast::{Kind, SourceText, Span, Word};
use archway_dockerfile::expand::{MAX_EXPANDED_BYTES, expand_word, expand_words};
use archway_dockerfile::glob::Glob;
use archway_dockerfile::ignore::IgnorePatterns;
use archway_dockerfile::{parse, parse_onbuild, parse_source};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Text in which the language's own pieces are frequent.
fn pieces(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![9 => select(pieces).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

const DOCKERFILE: &[&str] = &[
    "FROM a\n",
    "RUN ",
    "COPY ",
    "ENV ",
    "ARG ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "VOLUME ",
    "SHELL ",
    "CMD ",
    "# ",
    "escape=`",
    "--from=",
    "--link",
    "--interval=",
    "<<EOF",
    "<<-'E O'",
    "\nEOF\n",
    "\\\n",
    "\\",
    "`",
    "\n",
    "\r\n",
    "\t",
    " ",
    "=",
    "\"",
    "'",
    "[\"a\"]",
    "[",
    "]",
    "$a",
    "${",
    "}",
    "x",
    "é",
    "\u{feff}",
    "1h",
    "AS",
];
const WORD: &[&str] = &[
    "$A", "${A", "${B:-", "${A+", "${A?", "${A#", "${A##", "${A%", "${A/", "${A//", "}", "/", "*", "?", "\\",
    "'", "\"", " ", "x", "é", "$", "{", ":", "`", "<",
];
const PATTERN: &[&str] =
    &["a", "b", "/", "*", "**", "?", "[", "]", "^", "-", "!", "#", "\\", ".", "..", "\n", " ", "é"];

fn within(span: Span, text: &str) -> bool {
    span.start <= span.end && text.get(span.start..span.end).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsing_is_total(from in select(&["", "FROM a\n", "FROM a\nRUN ", "FROM a\nENV x="][..]), rest in pieces(DOCKERFILE, 30)) {
        let text = format!("{from}{rest}");
        let source = SourceText::new("Dockerfile", &text);
        match parse_source(source.clone()) {
            Err(error) => prop_assert!(within(error.span, &source.text), "{:?}", error),
            Ok(file) => {
                prop_assert!(!file.stages.is_empty());
                for stage in &file.stages {
                    prop_assert!(within(stage.base.span, &source.text));
                    for instruction in &stage.instructions {
                        prop_assert!(within(instruction.span, &source.text), "{:?}", instruction);
                        prop_assert!(!instruction.line.contains('\n'));
                        let start = source.slice(instruction.span).to_ascii_uppercase();
                        prop_assert!(instruction.line.starts_with(&start[..2]), "{:?}", instruction);
                        for heredoc in instruction.kind.heredocs() {
                            prop_assert!(within(heredoc.span, &source.text));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn any_text_at_all(text in any::<String>()) {
        let _ = parse("Dockerfile", &text);
        let _ = parse_onbuild(&text);
        let _ = IgnorePatterns::parse(&text);
        let _ = Glob::parse(&text);
    }

    #[test]
    fn a_trigger_reads_back_as_itself(
        keyword in select(&["RUN ", "COPY a ", "ENV x=", "CMD ", "ADD <<EOF "][..]),
        body in pieces(DOCKERFILE, 8),
        end in select(&["", "\nEOF\n", "\nE O\n"][..]),
    ) {
        if let Ok(file) = parse("Dockerfile", &format!("FROM a\nONBUILD {keyword}{body}{end}"))
            && let Some(first) = file.stages.first().and_then(|stage| stage.instructions.first())
            && let Kind::OnBuild { instruction, text } = &first.kind
        {
            // What ends with the escape character, blanks after it or not, is read as a line that goes on,
            // here and in BuildKit: the format of image configs has no way to say otherwise. A
            // here-document follows its first line.
            let goes_on = |line: &str| line.trim_end().ends_with('\\');
            prop_assume!(!goes_on(text) && !text.lines().next().is_some_and(goes_on));
            let read_back = parse_onbuild(text);
            prop_assert_eq!(read_back.as_ref().map(|read| &read.line), Ok(&instruction.line), "{}", text);
        }
    }

    #[test]
    fn expansion_is_total_and_bounded(text in pieces(WORD, 24), a in pieces(WORD, 6), escape in select(&['\\', '`'][..])) {
        let word = Word { value: text.clone(), span: Span { start: 3, end: 3 + text.len() } };
        let variables: BTreeMap<String, String> = [("A".to_owned(), a), ("B".to_owned(), String::new())].into();
        match expand_word(&word, escape, &variables) {
            Ok(expanded) => {
                prop_assert!(expanded.value.len() <= text.len() + MAX_EXPANDED_BYTES);
                let words = expand_words(&word, escape, &variables).expect("the same reading");
                // The words are the text without the spaces that separate them.
                let squeeze = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
                prop_assert_eq!(squeeze(&words.value.concat()), squeeze(&expanded.value));
            }
            Err(error) => {
                prop_assert!(3 <= error.span.start && error.span.end <= 3 + text.len(), "{:?}", error);
                prop_assert!(text.get(error.span.start - 3..error.span.end - 3).is_some());
            }
        }
    }

    #[test]
    fn quoting_protects(text in pieces(WORD, 12)) {
        let quoted = text.replace('\'', "'\\''");
        let word = Word { value: format!("'{quoted}'"), span: Span::default() };
        let expanded = expand_word(&word, '\\', &BTreeMap::new()).expect("quoted");
        prop_assert_eq!(expanded.value, text);
    }

    #[test]
    fn a_walk_agrees_with_single_questions(text in pieces(PATTERN, 14), path in "[ab.]{1,3}(/[ab.]{1,3}){0,3}") {
        let Ok(patterns) = IgnorePatterns::parse(&text) else { return Ok(()) };
        if path.split('/').any(|part| part == "." || part == "..") {
            return Ok(());
        }
        let mut above: Option<(String, _)> = None;
        let mut pruned = false;
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            let verdict = patterns.verdict(&path[..end], above.as_ref().map(|(_, verdict)| verdict));
            prop_assert_eq!(verdict.ignored(), patterns.matches(&path[..end]), "{}", &path[..end]);
            prop_assert!(!pruned || verdict.ignored(), "{} was pruned", &path[..end]);
            pruned |= !patterns.may_keep_below(&path[..end], &verdict);
            above = Some((path[..end].to_owned(), verdict));
        }
    }
}
