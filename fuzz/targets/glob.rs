//! A glob and a path: a path that matches is below directories that a walk enters.

#![no_main]

use archway_dockerfile::glob::{Glob, has_wildcards};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (path, pattern) = input;
    let Ok(glob) = Glob::parse(pattern) else { return };
    let matches = glob.matches(path);
    if !has_wildcards(pattern) && !pattern.contains('\\') {
        assert_eq!(matches, pattern == path);
    }
    for (at, _) in path.match_indices('/').filter(|_| matches) {
        // `a/` is no path below `a`.
        assert!(at + 1 == path.len() || glob.could_match_below(&path[..at]), "{}", &path[..at]);
    }
});
