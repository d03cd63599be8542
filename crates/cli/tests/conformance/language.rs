//! Random words and ignore files, read by BuildKit's own packages and by ours. The pieces they are made of leave
//! out what crates/dockerfile/README.md says is read differently.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use archway_dockerfile::{
    ast::{Span, Word},
    expand::expand_word,
    ignore::IgnorePatterns,
};
use archway_testkit::{buildkit, tools};
use serde_json::{Value, json};

/// Of each kind.
const QUESTIONS: usize = 20_000;

const WORD: &[&str] = &[
    "$A", "${A}", "${A", "${B:-", "${B-", "${A:+", "${B+", "${A:?", "${B?", "${A#", "${A##", "${A%", "${A%%",
    "${A/", "${A//", "${C#", "${C//", "$C", "$B", "$1", "$", "}", "}", "}", "/", "/", "*", "?", "\\", "\\}",
    "\\/", "'", "\"", " ", "a", "b", "é", ":", "-", "#", "%", ".", "<",
];
const VALUE: &[&str] = &["a", "b", "*", "?", "/", ".", " ", "é", "#", "%", "$", "$0", "\n"];
const IGNORE: &[&str] = &[
    "a", "a", "b", "/", "/", "*", "**", "**/", "/**", "?", "[ab]", "[^a]", "[a-c]", "!", "#", "\\#", "\\*",
    ".", "..", " ", "é", "+", "(", ")", "$", "-",
];
const END_OF_LINE: &[&str] = &["\n", "\r\n", "\n\n"];
const COMPONENT: &[&str] = &["a", "b", "ab", "c", "a.b", "é", "+", "-", "#", "b*"];

#[test]
fn random_words_mean_the_same() {
    let mut random = Random(1);
    let words = std::iter::repeat_with(|| {
        let word = random.text(WORD, 10);
        let variables = BTreeMap::from([
            ("A".to_owned(), random.text(VALUE, 8)),
            ("B".to_owned(), String::new()),
            ("C".to_owned(), random.text(VALUE, 5)),
        ]);
        (word, variables)
    });
    let words: Vec<_> = words.take(QUESTIONS).collect();
    let questions = words.iter().map(|(word, variables)| {
        let env: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        json!({"word": word, "env": env})
    });
    let Some(answers) = ask(questions) else { return };
    for ((text, variables), answer) in words.iter().zip(&answers) {
        let word = Word { value: text.clone(), span: Span { start: 0, end: text.len() } };
        let ours = expand_word(&word, '\\', variables).ok().map(|expanded| expanded.value);
        let theirs =
            (answer["refused"] == false).then(|| answer["value"].as_str().expect("a text").to_owned());
        assert_eq!(ours, theirs, "{text:?} with {variables:?}");
    }
}

#[test]
fn random_ignore_files_mean_the_same() {
    let mut random = Random(2);
    let files = std::iter::repeat_with(|| {
        let lines = 1 + random.below(4);
        let text: String = (0..lines).map(|_| random.text(IGNORE, 7) + random.one_of(END_OF_LINE)).collect();
        let paths = (0..6).map(|_| {
            let depth = 1 + random.below(3);
            let components: Vec<&str> = (0..depth).map(|_| random.one_of(COMPONENT)).collect();
            components.join("/")
        });
        (text, paths.collect::<Vec<_>>())
    });
    let files: Vec<_> = files.take(QUESTIONS).collect();
    let questions = files.iter().map(|(text, paths)| json!({"ignore": text, "paths": paths}));
    let Some(answers) = ask(questions) else { return };
    for ((text, paths), answer) in files.iter().zip(&answers) {
        let patterns = IgnorePatterns::parse(text).ok();
        let ours =
            patterns.map(|patterns| paths.iter().map(|path| patterns.matches(path)).collect::<Vec<_>>());
        let theirs = (answer["refused"] == false).then(|| {
            let ignored = answer["ignored"].as_array().expect("a list").iter();
            ignored.map(|ignored| ignored.as_bool().expect("true or false")).collect::<Vec<_>>()
        });
        assert_eq!(ours, theirs, "{text:?} for {paths:?}");
    }
}

/// What BuildKit's packages answer; `None` if they are not built.
fn ask(questions: impl Iterator<Item = Value>) -> Option<Vec<Value>> {
    let Some(programs) = buildkit::Programs::find() else {
        tools::skip(&format!(
            "BuildKit {} is not built: scripts/peers builds it, with Go",
            buildkit::VERSION
        ));
        return None;
    };
    let mut oracle =
        Command::new(programs.language()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = oracle.stdin.take().expect("a pipe");
    let lines: String = questions.map(|question| format!("{question}\n")).collect();
    // Apart, as the answers come while the questions are written.
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = oracle.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let answers: Vec<Value> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.len(), QUESTIONS);
    let accepted = answers.iter().filter(|answer| answer["refused"] == false).count();
    assert!(accepted > QUESTIONS / 4, "only {accepted} questions have an answer to compare");
    Some(answers)
}

/// The same numbers in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % limit
    }

    fn one_of(&mut self, pieces: &[&'static str]) -> &'static str {
        pieces[self.below(pieces.len())]
    }

    /// Fewer pieces than `limit`.
    fn text(&mut self, pieces: &[&'static str], limit: usize) -> String {
        (0..self.below(limit)).map(|_| self.one_of(pieces)).collect()
    }
}
