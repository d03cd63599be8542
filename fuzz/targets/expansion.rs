//! A word and the values of three variables: the result is bounded, errors stay within the word, and the
//! variables a word depends on do not depend on their values.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use archway_dockerfile::{
    ast::{Heredoc, Span, Word},
    expand::{MAX_EXPANDED_BYTES, expand_heredoc, expand_word, expand_words},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, bool)| {
    let (text, a, b, backtick) = input;
    let escape = if backtick { '`' } else { '\\' };
    let word = Word { value: text.to_owned(), span: Span { start: 7, end: 7 + text.len() } };
    let variables = BTreeMap::from([("A".to_owned(), a.to_owned()), ("B".to_owned(), b.to_owned())]);
    let read = expand_word(&word, escape, &variables);
    match &read {
        Ok(expanded) => {
            assert!(expanded.value.len() <= text.len() + MAX_EXPANDED_BYTES);
            let words = expand_words(&word, escape, &variables).expect("the same reading");
            assert!(words.value.iter().map(String::len).sum::<usize>() <= expanded.value.len());
        }
        Err(error) => {
            let span = error.diagnostic().span;
            assert!(7 <= span.start && span.end <= 7 + text.len());
            assert!(text.get(span.start - 7..span.end - 7).is_some());
        }
    }
    if let (Ok(with), Ok(without)) = (read, expand_word(&word, escape, &BTreeMap::new())) {
        let names = |used: BTreeSet<String>, unset: BTreeSet<String>| used.into_iter().chain(unset).collect();
        let (with, without): (BTreeSet<_>, BTreeSet<_>) =
            (names(with.used, with.unset), names(without.used, without.unset));
        assert_eq!(with, without);
    }
    let body = Heredoc { name: "E".into(), body: text.into(), expand: true, fd: 0, span: word.span };
    let _ = expand_heredoc(&body, &variables);
});
