//! Verdicts, the report of a run, and docs/compatibility.md, which must say what the corpus shows.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use crate::fixture::{Expectation, Fixture};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");

/// The part of the page whose table the corpus must show.
const SECTION: &str = "What differs on purpose";

/// What came of one fixture.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) name: String,
    verdict: Verdict,
    /// One line each.
    differences: Vec<String>,
    /// The rows of docs/compatibility.md that explain them.
    ids: BTreeSet<String>,
    theirs: Option<String>,
    ours: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Equal,
    Documented,
    /// What is wrong.
    Wrong(String),
}

impl Result {
    /// Judges what was found through a daemon: it builds itself, so that only what Archway refuses before, or says of
    /// every image, may differ, and then as is declared.
    pub(crate) fn through_a_daemon(
        fixture: &Fixture,
        differences: Vec<String>,
        theirs: Option<String>,
        ours: Option<String>,
    ) -> Self {
        let declared: &[_] = match &fixture.expectation {
            Expectation::Differs(declared) => declared,
            _ => &[],
        };
        let unexplained =
            differences.iter().find(|line| !declared.iter().any(|one| line.contains(&one.text)));
        let verdict = match unexplained {
            Some(line) => Verdict::Wrong(format!("a difference that is not declared: {line}")),
            None if differences.is_empty() => Verdict::Equal,
            None => Verdict::Documented,
        };
        Self { name: fixture.name.clone(), verdict, differences, ids: BTreeSet::new(), theirs, ours }
    }

    /// Judges what was found by what was expected.
    pub(crate) fn new(
        fixture: &Fixture,
        differences: Vec<String>,
        theirs: Option<String>,
        ours: Option<String>,
    ) -> Self {
        let verdict = verdict(&fixture.expectation, &differences, ours.as_deref());
        let ids = match &fixture.expectation {
            Expectation::Differs(declared) => declared.iter().map(|declared| declared.id.clone()).collect(),
            _ => BTreeSet::new(),
        };
        Self { name: fixture.name.clone(), verdict, differences, ids, theirs, ours }
    }
}

fn verdict(expectation: &Expectation, differences: &[String], refusal: Option<&str>) -> Verdict {
    match (expectation, refusal) {
        (Expectation::Differs(declared), _) => {
            let unexplained =
                differences.iter().find(|line| !declared.iter().any(|one| line.contains(&one.text)));
            let stale = declared.iter().find(|one| !differences.iter().any(|line| line.contains(&one.text)));
            match (unexplained, stale) {
                (Some(line), _) => Verdict::Wrong(format!("a difference that is not declared: {line}")),
                (None, Some(one)) => {
                    Verdict::Wrong(format!("no difference any more: {}: {}", one.id, one.text))
                }
                (None, None) => Verdict::Documented,
            }
        }
        _ if !differences.is_empty() => Verdict::Wrong("results differ".into()),
        (Expectation::Fails(text), Some(refusal)) if !refusal.contains(&**text) => {
            Verdict::Wrong(format!("refused, but not with `{text}`"))
        }
        (Expectation::Fails(_), None) => Verdict::Wrong("both build it".into()),
        (Expectation::Same, Some(_)) => Verdict::Wrong("both refuse it".into()),
        _ => Verdict::Equal,
    }
}

/// The results of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    results: Vec<Result>,
}

impl Report {
    /// Of these results, in this order.
    pub(crate) fn of(results: Vec<Result>) -> Self {
        Self { results }
    }

    fn count(&self, verdict: &Verdict) -> usize {
        self.results.iter().filter(|result| result.verdict == *verdict).count()
    }

    /// How docs/compatibility.md and the end of a run put it.
    fn counts(&self) -> String {
        format!(
            "fixtures {}, equal {}, documented differences {}",
            self.results.len(),
            self.count(&Verdict::Equal),
            self.count(&Verdict::Documented)
        )
    }

    /// Prints the counts, writes the report, and fails where a difference is not documented.
    pub(crate) fn check(&self) {
        if self.results.is_empty() {
            return;
        }
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance.md");
        fs::write(&file, self.text()).unwrap();
        println!("{}\nreport: {}", self.counts(), file.display());
        let wrong: String = self.results.iter().filter_map(Result::complaint).collect();
        assert!(wrong.is_empty(), "{}\n{wrong}", self.counts());
    }

    /// Fails where docs/compatibility.md does not say what this run of the whole corpus shows.
    pub(crate) fn check_page(&self) {
        if self.results.is_empty() {
            return;
        }
        let page = fs::read_to_string(PAGE).unwrap();
        let rows: BTreeSet<String> = rows(&page);
        let used: BTreeSet<String> = self.results.iter().flat_map(|result| result.ids.clone()).collect();
        assert_eq!(rows, used, "docs/compatibility.md explains the left, fixtures show the right");
        assert!(page.contains(&self.counts()), "docs/compatibility.md does not say `{}`", self.counts());
    }

    fn text(&self) -> String {
        let mut text = format!("# Conformance\n\n{}\n\n", self.counts());
        for result in &self.results {
            let verdict = match &result.verdict {
                Verdict::Equal if result.ours.is_some() => "both refuse it",
                Verdict::Equal => "equal",
                Verdict::Documented => "differs on purpose",
                Verdict::Wrong(_) => "WRONG",
            };
            let _ = writeln!(text, "- {}: {verdict}", result.name);
            for line in &result.differences {
                let _ = writeln!(text, "  - {line}");
            }
        }
        text
    }
}

impl Result {
    fn complaint(&self) -> Option<String> {
        let Verdict::Wrong(what) = &self.verdict else { return None };
        let mut text = format!("\n{}: {what}\n", self.name);
        for line in self.differences.iter().take(30) {
            let _ = writeln!(text, "    {line}");
        }
        for (who, message) in [("BuildKit", &self.theirs), ("archway", &self.ours)] {
            if let Some(message) = message {
                let _ = writeln!(text, "  {who} says:\n{}", tail(message));
            }
        }
        Some(text)
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("    {line}\n")).collect()
}

/// The identifiers in the first column of the table below `## What differs on purpose`: ``| `id` | …``.
fn rows(page: &str) -> BTreeSet<String> {
    let id = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let section = page.split("\n## ").find(|section| section.starts_with(SECTION)).unwrap_or_default();
    section.lines().filter_map(id).collect()
}

#[test]
fn verdicts() {
    let line = vec!["root a: mode 644 | 755".to_owned()];
    let declared = |text: &str| {
        Expectation::Differs(vec![crate::fixture::Declared { id: "x".into(), text: text.into() }])
    };
    assert_eq!(verdict(&Expectation::Same, &[], None), Verdict::Equal);
    assert!(matches!(verdict(&Expectation::Same, &line, None), Verdict::Wrong(_)));
    assert!(matches!(verdict(&Expectation::Same, &[], Some("no")), Verdict::Wrong(_)));
    assert_eq!(verdict(&Expectation::Fails("no".into()), &[], Some("no such file")), Verdict::Equal);
    assert!(matches!(
        verdict(&Expectation::Fails("yes".into()), &[], Some("no such file")),
        Verdict::Wrong(_)
    ));
    assert!(matches!(verdict(&Expectation::Fails("no".into()), &[], None), Verdict::Wrong(_)));
    assert_eq!(verdict(&declared("root a: mode"), &line, None), Verdict::Documented);
    assert!(matches!(verdict(&declared("root b"), &line, None), Verdict::Wrong(_)));
    assert!(matches!(verdict(&declared("root a"), &[], None), Verdict::Wrong(_)));
}

#[test]
fn rows_of_a_page() {
    let page = "# P\n| `no` | x |\n\n## What differs on purpose\n\n| a |\n|---|\n| `one` | x |\n| `two` | y |\n\n## More\n| `no` |\n";
    assert_eq!(rows(page), ["one".to_owned(), "two".to_owned()].into());
}
