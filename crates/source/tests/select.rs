//! What the sources of COPY mean.

use std::{fs, os::unix::fs::symlink, path::Path};

use archway_dockerfile::ignore::IgnorePatterns;
use archway_dockerfile::keep::Keep;
use archway_source::{Below, Part, Snapshot};

const FILES: [&str; 10] = [
    "main.go",
    "main_test.go",
    "README.md",
    "src/a.txt",
    "src/b.txt",
    "src/deep/c.txt",
    "src-gen/d.txt",
    "odd/arr[0].txt",
    "hidden/secret",
    "docs/guide.md",
];

const LINKS: [(&str, &str); 9] = [
    ("to-file", "README.md"),
    ("to-directory", "src"),
    ("src/up", "../docs"),
    ("absolute", "/src"),
    ("outside", "/etc/passwd"),
    ("above", "../../etc/passwd"),
    ("round", "circle"),
    ("circle", "round"),
    ("to-hidden", "hidden/secret"),
];

fn context(directory: &Path) -> Snapshot {
    for path in FILES {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    for (path, target) in LINKS {
        symlink(target, directory.join(path)).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap();
    Snapshot::scan(directory, &IgnorePatterns::parse("hidden").unwrap()).unwrap()
}

/// Each match as `name=path`, or `name=path/[everything below]`.
fn show(snapshot: &Snapshot, sources: &[&str]) -> String {
    let selection = snapshot.select(sources).unwrap_or_else(|error| panic!("{sources:?}: {error}"));
    let matches = selection.matches.iter().map(|found| {
        let entry = snapshot.matched(found);
        let mut text = format!("{}={}", found.name, entry.path);
        if entry.is_directory() {
            let below: Vec<&str> = snapshot.matched_below(found).map(|below| below.path).collect();
            text += &format!("/[{}]", below.join(" "));
        }
        text
    });
    let unmatched = selection.unmatched.iter().map(|source| format!("!{source}"));
    matches.chain(unmatched).collect::<Vec<_>>().join(", ")
}

#[test]
fn sources_mean_what_they_mean_to_buildkit() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = context(directory.path());
    let src = "src/[a.txt b.txt deep deep/c.txt up]";
    let cases: &[(&[&str], &str)] = &[
        (&["main.go"], "main.go=main.go"),
        (&["/main.go"], "main.go=main.go"),
        (&["./src/../main.go"], "main.go=main.go"),
        // The root is its own parent.
        (&["../main.go"], "main.go=main.go"),
        (&["src/../../../main.go"], "main.go=main.go"),
        (&["src"], &format!("src={src}")),
        (&["src/."], &format!("src={src}")),
        (&["src/"], &format!("src={src}")),
        (&["README.md", "main.go", "main.go"], "README.md=README.md, main.go=main.go, main.go=main.go"),
        // Wildcards stop at slashes.
        (&["*.go"], "main.go=main.go, main_test.go=main_test.go"),
        (&["main?test.go"], "main_test.go=main_test.go"),
        (&["[a-m]ain.go"], "main.go=main.go"),
        (&["src/*.txt"], "a.txt=src/a.txt, b.txt=src/b.txt"),
        (&["src/*/c.txt"], "c.txt=src/deep/c.txt"),
        // Directory by directory, not by bytes (`-` comes before `/`).
        (&["src*/?.txt"], "a.txt=src/a.txt, b.txt=src/b.txt, d.txt=src-gen/d.txt"),
        (&["src*"], &format!("src={src}, src-gen=src-gen/[d.txt]")),
        (&["*/../main.go"], "main.go=main.go"),
        (&["odd/arr[[]0].txt"], "arr[0].txt=odd/arr[0].txt"),
        (&["odd/a*\\[0].txt"], "arr[0].txt=odd/arr[0].txt"),
        (&["*.none"], "!*.none"),
        (&["*.none", "main.go"], "main.go=main.go, !*.none"),
        // Links: what is named or matched is followed, what a wildcard passes is not.
        (&["to-file"], "to-file=README.md"),
        (&["to-directory"], &format!("to-directory={src}")),
        (&["to-directory/deep"], "deep=src/deep/[c.txt]"),
        (&["absolute/a.txt"], "a.txt=src/a.txt"),
        (&["to-directory/up/guide.md"], "guide.md=docs/guide.md"),
        (&["to-directory/*.txt"], "a.txt=src/a.txt, b.txt=src/b.txt"),
        (&["to-d*"], &format!("to-directory={src}")),
        (&["to-f*"], "to-file=README.md"),
        (&["to-d*/a.txt"], "!to-d*/a.txt"),
    ];
    for (sources, want) in cases {
        assert_eq!(show(&snapshot, sources), *want, "{sources:?}");
    }
    let whole = snapshot.select(&["."]).unwrap();
    assert_eq!(whole, snapshot.select(&["/"]).unwrap());
    assert_eq!(whole, snapshot.select(&[".."]).unwrap());
    assert_eq!(whole.matches.len(), 1);
    assert_eq!(snapshot.matched_below(&whole.matches[0]).len(), snapshot.entries().len() - 1);
}

#[test]
fn what_cannot_be_selected_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = context(directory.path());
    let cases = [
        ("nothing", "SourceMissing { pattern: \"nothing\", similar: [] }"),
        ("mian.go", "SourceMissing { pattern: \"mian.go\", similar: [\"main.go\"] }"),
        ("readme.md", "SourceMissing { pattern: \"readme.md\", similar: [\"README.md\"] }"),
        ("c.txt", "SourceMissing { pattern: \"c.txt\", similar: [\"src/deep/c.txt\"] }"),
        ("main.go/x", "SourceMissing { pattern: \"main.go/x\", similar: [\"main.go\"] }"),
        ("./hidden/secret", "SourceIgnored { pattern: \"./hidden/secret\" }"),
        ("hidden/*", "SourceIgnored { pattern: \"hidden/*\" }"),
        ("hidden/none", "SourceMissing { pattern: \"hidden/none\", similar: [] }"),
        ("to-hidden", "SourceIgnored { pattern: \"to-hidden\" }"),
        ("../x", "SourceEscapes { pattern: \"../x\", inside: \"x\" }"),
        ("../*/x*", "OK"),
        ("../none/x*", "SourceEscapes { pattern: \"../none/x*\", inside: \"none\" }"),
        ("outside", "LinkEscapes { pattern: \"outside\", link: \"outside\", target: \"/etc/passwd\" }"),
        ("above", "LinkEscapes { pattern: \"above\", link: \"above\", target: \"../../etc/passwd\" }"),
        ("round", "LinkLoop { pattern: \"round\" }"),
        ("socket", "NotCopyable { path: \"socket\", kind: Socket }"),
        ("a[", "Pattern { pattern: \"a[\", source: Malformed { pattern: \"a[\" } }"),
    ];
    for (source, want) in cases {
        let outcome = snapshot.select(&[source]).map_or_else(|error| format!("{error:?}"), |_| "OK".into());
        assert_eq!(outcome, want, "{source}");
    }
}

#[test]
fn any_text_selects_something_or_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = context(directory.path());
    proptest::proptest!(|(source in "([a-z./*?\\[\\]\\\\^-]|src|main\\.go|to-directory|absolute|up){0,12}")| {
        if let Ok(selection) = snapshot.select(&[&source]) {
            for found in &selection.matches {
                let root = &snapshot.matched(found).path;
                for Below { entry, path: relative, .. } in snapshot.matched_below(found) {
                    let joined = format!("{root}/{relative}");
                    proptest::prop_assert_eq!(joined.trim_start_matches('/'), entry.path.as_str());
                }
            }
        }
    });
}

#[test]
fn parts_of_directories_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = context(directory.path());
    let keep = |include: Option<&str>, exclude: &[&str]| Keep::new(include, exclude).unwrap();
    let show = |source: &str, keep: Keep| {
        let selection = snapshot.select_parts(&[part(source, keep)]).unwrap();
        let found = &selection.matches[0];
        let below = snapshot.matched_below(found);
        let shown =
            below.map(|below| if below.implied { format!("({})", below.path) } else { below.path.into() });
        shown.collect::<Vec<String>>().join(" ")
    };
    assert_eq!(show("src", keep(None, &["*.txt", "up"])), "deep deep/c.txt");
    assert_eq!(show("src", keep(None, &["**", "!deep/c.txt"])), "(deep) deep/c.txt");
    assert_eq!(show(".", keep(Some("src/deep"), &[])), "(src) src/deep src/deep/c.txt");
    assert_eq!(show("src", keep(Some("**/c.txt"), &[])), "(deep) deep/c.txt");
    // A file that is named is copied whatever is left out of directories.
    let selection = snapshot.select_parts(&[part("README.md", keep(None, &["*.md"]))]).unwrap();
    assert_eq!(selection.matches.len(), 1);
}

fn part(source: &str, keep: Keep) -> Part {
    Part { source: source.to_owned(), keep, pattern: None, required: false }
}

#[test]
fn a_part_that_must_be_there_is_missed() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = context(directory.path());
    let select = |source: &str, pattern: &str, required: bool| {
        let keep = Keep::new::<&str>(Some(pattern), &[]).unwrap();
        let pattern = Some(pattern.to_owned());
        snapshot.select_parts(&[Part { source: source.to_owned(), keep, pattern, required }])
    };
    let error = select("src", "deep/d.txt", true).unwrap_err();
    assert_eq!(error.to_string(), "`src/deep/d.txt` is not in the build context");
    let nothing = select("src", "*.md", false).unwrap();
    assert_eq!((nothing.unmatched, nothing.matches.len()), (vec!["src/*.md".to_owned()], 1));
    let nothing = select("s*c", "*.md", false).unwrap();
    assert_eq!((nothing.unmatched, nothing.matches.len()), (vec!["src/*.md".to_owned()], 0));
    // Nothing is below a file.
    assert!(select("README.md", "x", true).is_err());
    let below = select("[mst]*c*", "a.txt", false).unwrap();
    let names: Vec<&str> = below.matches.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["src", "to-directory"]);
    assert!(select("src", "deep/c.txt", true).unwrap().unmatched.is_empty());
}
