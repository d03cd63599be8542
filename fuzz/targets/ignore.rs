//! An ignore list and a path: a walk that passes the parents' verdicts on says what a single question says,
//! and enters every directory in which something is kept.

#![no_main]

use archway_dockerfile::ignore::IgnorePatterns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (path, text) = input;
    let patterns = match IgnorePatterns::parse(text) {
        Ok(patterns) => patterns,
        Err(error) => {
            let span = error.diagnostic().span;
            assert!(text.get(span.start..span.end).is_some(), "{span:?}");
            return;
        }
    };
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return;
    }
    let mut above = None;
    let mut pruned = false;
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        let path = &path[..end];
        let verdict = patterns.verdict(path, above.as_ref());
        assert_eq!(verdict.ignored(), patterns.matches(path));
        assert!(!pruned || verdict.ignored(), "{path} was pruned");
        pruned |= !patterns.may_keep_below(path, &verdict);
        above = Some(verdict);
    }
});
