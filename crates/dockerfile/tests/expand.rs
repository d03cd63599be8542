//! Word expansion: the rows of the language's documentation, and the corners that BuildKit settles.

use std::collections::BTreeMap;

use archway_dockerfile::ast::{Heredoc, Span, Word};
use archway_dockerfile::expand::{
    ExpandProblem, MAX_EXPANDED_BYTES, NoVariables, expand_heredoc, expand_word, expand_words,
};

fn variables() -> BTreeMap<String, String> {
    let pairs = [
        ("A", "x"),
        ("EMPTY", ""),
        ("FILE", "/usr/lib/libc.so.6"),
        ("SPACES", " a  b "),
        ("STARS", "a***yy*"),
        ("KOREAN", "한국어"),
        ("PATTERN", "*.so"),
        ("ESCAPED", "\\*"),
        ("SLASH", "/"),
        ("HASH", "#"),
        ("LINES", "a.a\nb.a\n"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn word(text: &str) -> Word {
    Word { value: text.to_owned(), span: Span { start: 100, end: 100 + text.len() } }
}

fn expanded(text: &str) -> String {
    expand_word(&word(text), '\\', &variables()).unwrap_or_else(|error| panic!("{text}: {error}")).value
}

fn problem(text: &str) -> ExpandProblem {
    match expand_word(&word(text), '\\', &variables()) {
        Ok(expanded) => panic!("{text} expanded to {:?}", expanded.value),
        Err(error) => error.problem,
    }
}

#[test]
fn variables_quotes_and_escapes() {
    let table = [
        ("plain", "plain"),
        ("", ""),
        ("a  b", "a  b"),
        ("$A", "x"),
        ("pre$A.post", "prex.post"),
        ("$Ax", ""),
        ("${A}x", "xx"),
        ("$UNSET", ""),
        ("$", "$"),
        ("a$.b", "a$.b"),
        ("$KOREAN한", ""),
        ("${KOREAN}한", "한국어한"),
        // Positional and special parameters are never set; only digits follow a digit.
        ("$1x", "x"),
        ("$123abc", "abc"),
        ("$@@", "@"),
        ("${*:-none}", "none"),
        // Single quotes: everything is itself.
        ("'$A'", "$A"),
        (r"'a\b'", r"a\b"),
        ("'\"'", "\""),
        ("he'll'o", "hello"),
        // Double quotes: variables, and escapes of " $ and \ only.
        ("\"$A\"", "x"),
        (r#""\$A""#, "$A"),
        (r#""a\"b""#, "a\"b"),
        (r#""a\\b""#, r"a\b"),
        (r#""a\tb""#, r"a\tb"),
        ("\"it's\"", "it's"),
        // Bare escapes: the next character, whatever it is.
        (r"\$A", "$A"),
        (r"a\tb", "atb"),
        (r"a\\$A", r"a\x"),
        (r"he\'llo", "he'llo"),
        (r"trailing\", "trailing"),
        ("<<EOF", "<<EOF"),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn modifiers() {
    let table = [
        ("${UNSET:-w}", "w"),
        ("${UNSET-w}", "w"),
        ("${EMPTY:-w}", "w"),
        ("${EMPTY-w}", ""),
        ("${A:-w}", "x"),
        ("${UNSET:+w}", ""),
        ("${EMPTY:+w}", ""),
        ("${EMPTY+w}", "w"),
        ("${A:+w}", "w"),
        ("${A?m}", "x"),
        ("${EMPTY?m}", ""),
        ("${UNSET:-$A}", "x"),
        ("${UNSET:-${ALSO:-${A}y}}z", "xyz"),
        ("${UNSET:-a b}", "a b"),
        ("${UNSET:-'}'}", "}"),
        (r"${UNSET:-\}}", "}"),
        ("${UNSET:-w}}", "w}"),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn patterns() {
    let table = [
        ("${FILE#*/}", "usr/lib/libc.so.6"),
        ("${FILE##*/}", "libc.so.6"),
        ("${FILE%/*}", "/usr/lib"),
        ("${FILE%%/*}", ""),
        ("${FILE%.*}", "/usr/lib/libc.so"),
        ("${FILE%%.*}", "/usr/lib/libc"),
        ("${FILE#/???/}", "lib/libc.so.6"),
        ("${FILE#nothing}", "/usr/lib/libc.so.6"),
        ("${FILE#}", "/usr/lib/libc.so.6"),
        ("${FILE%%*}", ""),
        ("${FILE#*}", "/usr/lib/libc.so.6"),
        ("${FILE##$PATTERN}", ".6"),
        ("${FILE##\"$PATTERN\"}", ".6"),
        ("${UNSET#*}", ""),
        (r"${STARS%%\**\*}", "a"),
        (r"${STARS#a\*}", "**yy*"),
        ("${STARS#a$ESCAPED}", "**yy*"),
        ("${FILE/lib/LIB}", "/usr/LIB/libc.so.6"),
        ("${FILE//lib/LIB}", "/usr/LIB/LIBc.so.6"),
        (r"${FILE//\//-}", "-usr-lib-libc.so.6"),
        ("${FILE//$SLASH/-}", "-usr-lib-libc.so.6"),
        ("${FILE//l?b/}", "/usr//c.so.6"),
        // As long as possible, from the leftmost place.
        ("${FILE/l*b/_}", "/usr/_c.so.6"),
        ("${FILE/u*/_}", "/_"),
        ("${A//*/_}", "_"),
        ("${FILE/nothing/_}", "/usr/lib/libc.so.6"),
        // The replacement is no pattern. Where all matches are replaced, it is a template.
        ("${A/x/*}", "*"),
        ("${A/x/'$0$1'}", "$0$1"),
        ("${A//x/'<$0$1$$>'}", "<x$>"),
        // The second operator may come out of a variable, or of quotes.
        ("${FILE#$HASH*/}", "libc.so.6"),
        ("${FILE##$HASH*/}", "/usr/lib/libc.so.6"),
        ("${FILE%'%/*'}", ""),
        // Neither wildcard matches a line break.
        ("${LINES##*}", "\nb.a\n"),
        ("${LINES#?.}", "a\nb.a\n"),
        ("${LINES%%.*}", "a.a\nb.a\n"),
        ("${LINES//.*/}", "a\nb\n"),
        ("${LINES/b*a/_}", "a.a\n_\n"),
        ("${LINES//?/_}", "___\n___\n"),
        // An empty pattern matches before every character and at the end.
        ("${A/$EMPTY/_}", "_x"),
        ("${STARS//$EMPTY/}", "a***yy*"),
        ("${A//$EMPTY/_}", "_x_"),
        ("${KOREAN#한}", "국어"),
        ("${KOREAN%?}", "한국"),
    ];
    for (text, expected) in table {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn the_escape_directive_changes_the_escape_character() {
    let table = [("`$A", "$A"), (r"C:\$A", r"C:\x"), ("\"`\"\"", "\""), ("``", "`")];
    for (text, expected) in table {
        let expanded = expand_word(&word(text), '`', &variables()).expect(text);
        assert_eq!(expanded.value, expected, "{text}");
    }
}

#[test]
fn words_split_at_unquoted_spaces() {
    let table: [(&str, &[&str]); 11] = [
        ("a b", &["a", "b"]),
        ("  a\tb  ", &["a", "b"]),
        ("$SPACES", &["a", "b"]),
        ("x${SPACES}y", &["x", "a", "b", "y"]),
        ("x\"$SPACES\"y", &["x a  b y"]),
        (r"a\ b", &["a b"]),
        ("'a b'c", &["a bc"]),
        ("''", &[]),
        ("$UNSET", &[]),
        // A part before a modifier is not lost.
        ("80${UNSET:-80} 443", &["8080", "443"]),
        ("한 국", &["한", "국"]),
    ];
    for (text, expected) in table {
        let words = expand_words(&word(text), '\\', &variables()).expect(text);
        assert_eq!(words.value, expected, "{text}");
    }
}

#[test]
fn errors() {
    use ExpandProblem as P;
    let name = |name: &str| name.to_owned();
    let table = [
        ("it's", P::UnclosedQuote { quote: '\'' }),
        ("\"a", P::UnclosedQuote { quote: '"' }),
        ("\"a\\\"", P::UnclosedQuote { quote: '"' }),
        ("${A", P::UnclosedBrace),
        ("${", P::UnclosedBrace),
        ("${A:-b", P::UnclosedBrace),
        ("${A/x/y", P::UnclosedBrace),
        ("${}", P::BadSubstitution),
        ("${.}", P::BadSubstitution),
        ("${:-b}", P::BadSubstitution),
        ("${{A}}", P::BadSubstitution),
        ("${A/x}", P::MissingReplacement { name: name("A") }),
        ("${A:=b}", P::UnsupportedModifier { name: name("A"), modifier: name(":=") }),
        ("${A@Q}", P::UnsupportedModifier { name: name("A"), modifier: name("@") }),
        ("${A:0:1}", P::UnsupportedModifier { name: name("A"), modifier: name(":0") }),
        ("${UNSET?}", P::Required { name: name("UNSET"), message: name("must be set") }),
        ("${UNSET:?no $A}", P::Required { name: name("UNSET"), message: name("no x") }),
        ("${EMPTY:?}", P::Required { name: name("EMPTY"), message: name("must not be empty") }),
        // Read even where it is not needed.
        ("${A:-${UNSET?}}", P::Required { name: name("UNSET"), message: name("must be set") }),
        (r"${A#\x}", P::InvalidPattern { pattern: name(r"\x") }),
    ];
    for (text, expected) in table {
        assert_eq!(problem(text), expected, "{text}");
    }
}

#[test]
fn errors_point_at_the_faulty_part() {
    let text = "a/${A:=b}/c";
    let error = expand_word(&word(text), '\\', &variables()).expect_err(text);
    assert_eq!(error.span, Span { start: 102, end: 107 });
    // A word that does not stand in the file as it is has no places inside.
    let joined = Word { value: text.to_owned(), span: Span { start: 100, end: 200 } };
    let error = expand_word(&joined, '\\', &variables()).expect_err(text);
    assert_eq!(error.span, joined.span);
    assert_eq!(error.diagnostic().message, "':=' is not a modifier of '${A…}'");
}

#[test]
fn the_variables_a_word_depends_on_are_recorded() {
    let expanded =
        expand_word(&word("$A ${UNSET:-$EMPTY} '$QUOTED' \\$ESCAPED"), '\\', &variables()).unwrap();
    assert_eq!(expanded.used.into_iter().collect::<Vec<_>>(), ["A", "EMPTY"]);
    assert_eq!(expanded.unset.into_iter().collect::<Vec<_>>(), ["UNSET"]);
}

#[test]
fn heredoc_bodies_keep_their_quotes() {
    let mut heredoc = Heredoc {
        name: "EOF".to_owned(),
        body: "it's \"$A\" '$A' \\$A `$A\n".to_owned(),
        expand: true,
        fd: 0,
        span: Span::default(),
    };
    assert_eq!(expand_heredoc(&heredoc, &variables()).unwrap().value, "it's \"x\" 'x' $A `x\n");
    heredoc.expand = false;
    assert_eq!(expand_heredoc(&heredoc, &variables()).unwrap().value, heredoc.body);
}

#[test]
fn growth_and_depth_are_bounded() {
    let big: BTreeMap<String, String> = [("B".to_owned(), "b".repeat(MAX_EXPANDED_BYTES / 2))].into();
    let too_long = expand_word(&word("$B$B$B"), '\\', &big).expect_err("too long");
    assert_eq!(too_long.problem, ExpandProblem::TooLong);
    let too_long = expand_word(&word("${B//b/bbbbbbbb}"), '\\', &big).expect_err("too long");
    assert_eq!(too_long.problem, ExpandProblem::TooLong);
    let deep = "${A:-".repeat(10_000);
    let too_deep = expand_word(&word(&deep), '\\', &NoVariables).expect_err("too deep");
    assert_eq!(too_deep.problem, ExpandProblem::TooDeep);
    let pattern = format!("${{A#{}}}", "a".repeat(2000));
    assert!(matches!(problem(&pattern), ExpandProblem::PatternTooLong { .. }));
}
