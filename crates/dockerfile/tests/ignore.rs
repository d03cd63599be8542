//! `.dockerignore` and globs.

use archway_dockerfile::ast::Span;
use archway_dockerfile::glob::{Glob, GlobError, has_wildcards};
use archway_dockerfile::ignore::{IgnorePatterns, IgnoreProblem, MAX_PATTERNS, Verdict};

fn patterns(text: &str) -> IgnorePatterns {
    IgnorePatterns::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// (patterns, path, ignored)
const TABLE: &[(&str, &str, bool)] = &[
    ("docs", "docs", true),
    ("docs", "docs/README.md", true),
    ("docs", "docs/deep/er", true),
    ("docs", "src/docs", false),
    ("docs", "docs2", false),
    ("*", "a", true),
    ("*", "a/b", true),
    ("*.go", "main.go", true),
    ("*.go", "src/main.go", false),
    ("*/temp*", "a/temporary.txt", true),
    ("*/temp*", "a/b/temporary.txt", false),
    ("*/*/temp*", "a/b/temp", true),
    ("temp?", "tempa", true),
    ("temp?", "temp/a", false),
    ("a?c", "a☺c", true),
    // Cleaning: surrounding spaces and slashes, `.` and `..`.
    ("  docs  ", "docs", true),
    ("/docs", "docs", true),
    ("docs/", "docs", true),
    ("./docs//a/../b", "docs/b", true),
    ("..", "docs", false),
    (".", "docs", false),
    ("/", "docs", false),
    // Cleaned once as a line of the file and once as a pattern.
    ("./ docs", "docs", true),
    ("docs\n! ./ docs / ", "docs", true),
    ("docs\n/!docs", "docs", false),
    ("docs\n!x/../docs", "docs", false),
    // A letter behind a backslash is not the letter, as in Docker's regular expressions.
    ("\\a.txt", "a.txt", false),
    ("dir\\file", "dirfile", false),
    ("\\d*", "1a", true),
    ("\\d*", "a1", false),
    ("\\D\\w\\s\\S", "aA b", true),
    ("\\#a\\*\\_", "#a*_", true),
    ("[\\-\\]]", "-", true),
    // `**`
    ("**", "a", true),
    ("**", "a/b", true),
    ("**/", "a/b", true),
    ("**/**", "a/b", true),
    ("dir/**", "dir", false),
    ("dir/**", "dir/a/b", true),
    ("dir/**", "dir2/a", false),
    ("**/dir", "dir", true),
    ("**/dir", "a/b/dir", true),
    ("**/dir", "a/b/dir/file", true),
    ("**/dir", "a/mydir", false),
    ("**/*.txt", "a.txt", true),
    ("**/*.txt", "a/b/c.txt", true),
    ("a/**/b", "a/b", true),
    ("a/**/b", "a/x/y/b", true),
    ("a/**/b", "a/xb", false),
    ("a**/*.txt", "a/d/e/f.txt", true),
    ("a**/*.txt", "ab/f.txt", true),
    ("a**/*.txt", "b/a/f.txt", false),
    // Before plain text at the start `**` takes any characters, before wildcards whole directories.
    ("**.log", "a/b/x.log", true),
    ("**file", "a/myfile", true),
    ("**fil?", "a/myfile", false),
    ("**fil?", "a/file", true),
    // Characters that mean something elsewhere.
    ("a.b", "axb", false),
    ("a(b)+|{c}$", "a(b)+|{c}$", true),
    ("a^b*", "a^bc", true),
    (r"a\*b", "a*b", true),
    (r"a\*b", "axb", false),
    ("[a-c]x", "bx", true),
    ("[a-c]x", "dx", false),
    ("[^a-c]x", "dx", true),
    (r"[\]]", "]", true),
    // Comments count only at the very start of a line.
    ("#docs", "docs", false),
    ("#docs", "#docs", false),
    (" #docs", "#docs", true),
    ("\u{feff}docs\r\n\r\nsrc\r\n", "docs", true),
    ("\u{feff}docs\r\n\r\nsrc\r\n", "src", true),
    // Exceptions and order: the last match decides.
    ("*.md\n!README.md", "README.md", false),
    ("*.md\n!README.md", "OTHER.md", true),
    ("!README.md\n*.md", "README.md", true),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
    ("docs\n!docs/README.md", "docs/README.md", false),
    ("docs\n!docs/README.md", "docs/other", true),
    ("docs/*\n!docs/README.md", "docs/README.md", false),
    ("**\n!util/docker/web", "util/docker/web/foo", false),
    ("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", true),
    ("**\n! dist/*.whl", "dist/a+b-1.0.whl", false),
    ("d\n!d/x\nd", "d/x", true),
    // The root is never left out.
    ("**", ".", false),
    ("*", "", false),
    ("docs", "docs/", true),
    ("", "docs", false),
];

#[test]
fn paths_are_ignored_as_docker_does() {
    for (text, path, expected) in TABLE {
        assert_eq!(patterns(text).matches(path), *expected, "{text:?} on {path:?}");
    }
}

/// What a walk down to a path finds out about it.
fn walk(patterns: &IgnorePatterns, path: &str) -> Verdict {
    let parent = path.rsplit_once('/').map(|(parent, _)| walk(patterns, parent));
    patterns.verdict(path, parent.as_ref())
}

#[test]
fn a_walk_agrees_with_single_questions() {
    for (text, path, expected) in TABLE {
        let path = path.trim_end_matches('/');
        if !path.is_empty() && path != "." {
            assert_eq!(walk(&patterns(text), path).ignored(), *expected, "{text:?} on {path:?}");
        }
    }
}

#[test]
fn ignored_directories_are_entered_only_for_exceptions() {
    let table = [
        ("docs", "docs", false),
        ("docs\n!docs/README.md", "docs", true),
        ("docs\nsrc\n!docs/README.md", "src", false),
        ("*\n!a/b/c", "a", true),
        ("*\n!a/b/c", "a/b", true),
        ("*\n!a/b/c", "a/x", false),
        ("*\n!a/b/c", "ab", false),
        ("*\n!**/keep", "anything/at/all", true),
        ("*\n!a/*/keep", "a/b", true),
        ("*\n!a/*/keep", "a/b/c", false),
        ("*\n!a/[xy]/keep", "a/z", false),
        // An exception before the pattern that ignores the directory cannot help.
        ("!docs/README.md\ndocs", "docs", false),
        ("src", "docs", true),
    ];
    for (text, directory, expected) in table {
        let patterns = patterns(text);
        let verdict = walk(&patterns, directory);
        assert_eq!(patterns.may_keep_below(directory, &verdict), expected, "{text:?} in {directory:?}");
    }
    assert!(patterns("*\n!a/b").may_contain_exceptions_below("a"));
    assert!(!patterns("*\n!a/b").may_contain_exceptions_below("c"));
}

#[test]
fn faulty_lists_are_refused_with_a_place() {
    let malformed = |pattern: &str| IgnoreProblem::Malformed { pattern: pattern.to_owned() };
    let table = [
        ("a\n!\n", IgnoreProblem::EmptyException, 2, 3),
        ("a\n  ! \n", IgnoreProblem::EmptyException, 4, 5),
        ("# c\n [a\n", malformed("[a"), 5, 7),
        ("!a[]", malformed("a[]"), 0, 4),
        ("[-x]", malformed("[-x]"), 0, 4),
        ("a\\", malformed("a\\"), 0, 2),
    ];
    for (text, problem, start, end) in table {
        let error = IgnorePatterns::parse(text).expect_err(text);
        assert_eq!((error.problem, error.span), (problem, Span { start, end }), "{text:?}");
    }
    let many = "a\n".repeat(MAX_PATTERNS + 1);
    assert_eq!(IgnorePatterns::parse(&many).expect_err("many").problem, IgnoreProblem::TooMany);
    let long = format!("*{}", "a".repeat(5000));
    assert_eq!(IgnorePatterns::parse(&long).expect_err("long").problem, IgnoreProblem::TooLong);
}

#[test]
fn patterns_of_an_exclude_flag_are_no_lines() {
    let patterns = IgnorePatterns::from_patterns(["#a", "*.o"]).unwrap();
    assert!(patterns.matches("#a"));
    assert!(patterns.matches("x.o"));
    assert!(!patterns.is_empty());
    assert!(IgnorePatterns::from_patterns([]).unwrap().is_empty());
}

#[test]
fn globs_match_as_in_go() {
    let table = [
        ("abc", "abc", true),
        ("*", "abc", true),
        ("*c", "abc", true),
        ("a*", "ab/c", false),
        ("a*/b", "abc/b", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("**", "a/b", false),
        ("a/**", "a/b", true),
        ("ab[b-d]", "abc", true),
        ("ab[^b-d]", "abc", false),
        ("ab[^e-g]", "abc", true),
        (r"a\*b", "a*b", true),
        ("a?b", "a☺b", true),
        ("a[^a]b", "a☺b", true),
        ("a???b", "a☺b", false),
        ("[a-ζ]*", "α", true),
        ("*[a-ζ]", "A", false),
        ("a?b", "a/b", false),
        (r"[\]a]", "]", true),
        (r"[x\-]", "-", true),
        (r"[\-x]", "a", false),
        ("[z-a]", "m", false),
        ("", "", true),
        ("", "a", false),
        ("]", "]", true),
    ];
    for (pattern, path, expected) in table {
        let glob = Glob::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert_eq!(glob.matches(path), expected, "{pattern:?} on {path:?}");
    }
    for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "\\", "[\\"] {
        let expected = GlobError::Malformed { pattern: pattern.to_owned() };
        assert_eq!(Glob::parse(pattern), Err(expected), "{pattern:?}");
    }
}

#[test]
fn globs_tell_where_a_walk_must_go() {
    let glob = Glob::parse("src/*/gen/*.rs").unwrap();
    for (directory, expected) in
        [("src", true), ("src/a", true), ("src/a/gen", true), ("src/a/b", false), ("docs", false)]
    {
        assert_eq!(glob.could_match_below(directory), expected, "{directory}");
    }
    assert!(!glob.could_match_below("src/a/gen/x.rs"));
}

#[test]
fn wildcards_are_told_from_plain_paths() {
    for (text, expected) in [
        ("a/b", false),
        ("a*", true),
        ("a?", true),
        ("[a]", true),
        (r"a\*b", false),
        (r"a\\*", true),
        ("a]", false),
    ] {
        assert_eq!(has_wildcards(text), expected, "{text}");
    }
}

/// A matcher that tries alternatives one after the other would take forever here.
#[test]
fn hostile_patterns_take_no_exponential_time() {
    let pattern = "a*".repeat(300) + "b";
    let path = "a".repeat(2000);
    assert!(!Glob::parse(&pattern).unwrap().matches(&path));
    assert!(!patterns(&"**/a*/".repeat(60)).matches(&format!("{}b", "a/".repeat(50))));
}
