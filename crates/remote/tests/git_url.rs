//! Git URLs: every form, every option, and texts that are none.

use archway_remote::{GitSource, GitUrl, GitUrlError, Times, git_url::GitUrlProblem};
use proptest::prelude::*;

fn parse(text: &str) -> GitUrl {
    GitUrl::parse(text).unwrap().unwrap_or_else(|| panic!("{text} is no git URL"))
}

fn error(text: &str) -> GitUrlError {
    GitUrl::parse(text).unwrap_err()
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn repositories_are_told_from_paths_and_files() {
    // `None`: not a git URL.
    let table = [
        ("https://example.com/foo.git", Some("https://example.com/foo.git")),
        ("HTTPS://example.com/foo.git", Some("https://example.com/foo.git")),
        ("http://example.com/foo.git", Some("http://example.com/foo.git")),
        ("https://foo:bar@example.com/foo.git", Some("https://foo:bar@example.com/foo.git")),
        ("https://example.com/foo%2Egit", Some("https://example.com/foo%2Egit")),
        ("git://example.com/foo", Some("git://example.com/foo")),
        ("ssh://git@example.com:2222/foo", Some("ssh://git@example.com:2222/foo")),
        ("git@example.com:foo/bar", Some("git@example.com:foo/bar")),
        ("git@example.com:foo/bar.git", Some("git@example.com:foo/bar.git")),
        ("a_b-1@example.com:foo", Some("a_b-1@example.com:foo")),
        ("github.com/moby/buildkit", Some("https://github.com/moby/buildkit")),
        ("https://example.com/", None),
        ("https://example.com/foo", None),
        ("https://example.com/foo.git/", None),
        ("https://example.com/foo.git.bar", None),
        ("https://github.com/moby/buildkit", None),
        ("http://github.com/docker/docker.git:#branch", None),
        ("https://?x.git", None),
        ("ftp://example.com/foo.git", None),
        ("file:///foo.git", None),
        ("example.com/foo/bar.git", None),
        ("./.git", None),
        (".git", None),
        ("../foo.git", None),
        ("./git@example.com:foo", None),
        ("foo.git", None),
        ("dir/git@example.com:foo", None),
        ("git@example.com/foo:bar", None),
        ("git@:foo", None),
        ("@example.com:foo", None),
        ("git@-oProxyCommand=x:foo", None),
        ("git@-host:foo", None),
        ("ssh://-oProxyCommand=x/foo", None),
        ("ssh://git@-oProxyCommand=x/foo", None),
        ("", None),
        ("https://example.com/a\n.git", None),
    ];
    for (text, expected) in table {
        let parsed = GitUrl::parse(text).unwrap();
        assert_eq!(parsed.as_ref().map(|url| url.remote.as_str()), expected, "{text}");
        let is_short = text.starts_with("github.com/");
        assert_eq!(parsed.is_some_and(|url| url.is_short), is_short, "{text}");
    }
}

#[test]
fn the_fragment_is_a_ref_and_a_directory() {
    let table = [
        ("", None, None),
        ("#", None, None),
        ("#main", Some("main"), None),
        ("#release/1.2", Some("release/1.2"), None),
        ("#:sub", None, Some("sub")),
        ("#baz/qux:quux/quuz", Some("baz/qux"), Some("quux/quuz")),
        ("#main:../../etc", Some("main"), Some("etc")),
        ("#main:/a//b/./c/", Some("main"), Some("a/b/c")),
        ("#main:.", Some("main"), None),
        ("#a?ref=b", Some("a?ref=b"), None),
    ];
    for base in ["https://example.com/foo.git", "git@example.com:foo"] {
        for (fragment, reference, subdir) in table {
            let url = parse(&format!("{base}{fragment}"));
            assert_eq!(url.remote, base);
            assert_eq!((url.reference.as_deref(), url.subdir.as_deref()), (reference, subdir), "{fragment}");
        }
    }
    // Only the fragment of a URL is encoded.
    assert_eq!(parse("https://example.com/a.git#a%20b").reference.as_deref(), Some("a b"));
    assert_eq!(parse("git@example.com:a#a%20b").reference.as_deref(), Some("a%20b"));
}

#[test]
fn the_query_says_the_same_and_more() {
    let url = |query: &str| parse(&format!("https://example.com/foo.git?{query}"));
    assert_eq!(url("ref=v1").reference.as_deref(), Some("v1"));
    assert_eq!(url("tag=v1").reference.as_deref(), Some("refs/tags/v1"));
    assert_eq!(url("tag=refs/tags/v1").reference.as_deref(), Some("refs/tags/v1"));
    assert_eq!(url("branch=a%2Fb").reference.as_deref(), Some("refs/heads/a/b"));
    assert_eq!(url("branch=v1&ref=refs/heads/v1").reference.as_deref(), Some("refs/heads/v1"));
    assert_eq!(url("subdir=/a/../b/").subdir.as_deref(), Some("b"));
    assert_eq!(url("subdir=a#main").subdir.as_deref(), Some("a"));
    assert_eq!(url("subdir=a#main:a").reference.as_deref(), Some("main"));
    assert_eq!(url("checksum=abc123").checksum.as_deref(), Some("abc123"));
    assert_eq!(url("commit=ABC123").checksum.as_deref(), Some("ABC123"));
    for (value, expected) in [("", true), ("=", true), ("=1", true), ("=false", false), ("=F", false)] {
        assert_eq!(url(&format!("keep-git-dir{value}")).keep_git_dir, Some(expected), "{value}");
        assert_eq!(url(&format!("submodules{value}")).submodules, Some(expected), "{value}");
    }
    assert_eq!(url("mtime=commit").times, Some(Times::Commit));
    assert!(url(&format!("fetch-by-commit&checksum={COMMIT}&ref=main")).fetch_by_commit);
    assert!(url(&format!("ref={COMMIT}")).is_pinned());
    assert_eq!(parse("git@example.com:a/b?branch=main").reference.as_deref(), Some("refs/heads/main"));
}

#[test]
fn what_cannot_be_is_an_error_with_its_place() {
    let table = [
        ("?reff=v1", "reff=v1", "no option of this name"),
        ("?tag=a&tag=b", "tag=b", "several times"),
        ("?ref", "ref", "no value"),
        ("?subdir=", "subdir=", "no value"),
        ("?keep-git-dir=maybe", "keep-git-dir=maybe", "not `true` or `false`"),
        ("?mtime=now", "mtime=now", "not `checkout` or `commit`"),
        ("?checksum=xyz", "checksum=xyz", "hexadecimal"),
        ("?checksum=ab&commit=cd", "commit=cd", "contradicts `ab`"),
        ("?ref=a#b", "ref=a", "contradicts `b`"),
        ("?tag=a#a", "tag=a", "contradicts `a`"),
        ("?tag=a&branch=a", "branch=a", "contradicts `tag=a`"),
        ("?subdir=a#main:b", "subdir=a", "contradicts `b`"),
        ("?ref=%zz", "ref=%zz", "encoded"),
        ("?ref=a;b", "ref=a;b", "encoded"),
        ("#a%ff", "a%ff", "encoded"),
        ("#--upload-pack=x", "--upload-pack=x", "begin with `-`"),
        ("?fetch-by-commit&ref=main", "fetch-by-commit", "whole commit"),
    ];
    for (rest, part, message) in table {
        let error = error(&format!("https://example.com/foo.git{rest}"));
        assert_eq!(error.part, part, "{rest}");
        assert!(error.to_string().contains(message), "{rest}: {error}");
    }
    let misspelt = error("git@example.com:a?sudbir=x");
    assert_eq!(misspelt.problem, GitUrlProblem::UnknownOption { nearest: Some("subdir") });
    assert_eq!(misspelt.hint().unwrap(), "did you mean `subdir`?");
}

#[test]
fn a_description_has_no_password() {
    let describe = |text| GitSource::from(parse(text)).describe();
    let url = "https://me:secret@example.com/foo.git?branch=main&subdir=a&keep-git-dir";
    assert_eq!(describe(url), "https://xxxxx:xxxxx@example.com/foo.git#refs/heads/main:a");
    assert_eq!(describe("https://example.com/foo.git"), "https://example.com/foo.git");
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC*") {
        let _ = GitUrl::parse(&text);
    }

    #[test]
    fn nothing_leads_out_of_the_repository_or_into_an_option(
        prefix in prop::sample::select(vec!["https://h/x.git", "git://h/x", "ssh://h/x", "u@h:x", "github.com/a/b"]),
        rest in "[#?:=&./%a-z-]{0,30}",
    ) {
        if let Ok(Some(url)) = GitUrl::parse(&format!("{prefix}{rest}")) {
            if let Some(subdir) = &url.subdir {
                prop_assert!(!subdir.is_empty() && !subdir.starts_with('/'));
                prop_assert!(subdir.split('/').all(|part| !matches!(part, "" | "." | "..")), "{subdir}");
            }
            prop_assert!(url.reference.is_none_or(|reference| !reference.starts_with('-')));
        }
    }

    #[test]
    fn a_ref_and_a_directory_are_read_as_they_were_written(
        reference in "[a-z0-9][a-z0-9/._-]{0,20}",
        subdir in "[a-z]{1,5}(/[a-z]{1,5}){0,3}",
    ) {
        let url = parse(&format!("https://example.com/a.git#{reference}:{subdir}"));
        prop_assert_eq!(url.reference.as_deref(), Some(reference.as_str()));
        prop_assert_eq!(url.subdir.as_deref(), Some(subdir.as_str()));
        let same = parse(&format!("https://example.com/a.git?ref={reference}&subdir={subdir}"));
        prop_assert_eq!(same, url);
    }
}
