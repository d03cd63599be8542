//! The texts of the rules: their examples are true, and the page in the documentation is made of them.

use std::{env, fs, path::Path};

use archway_check::{Example, Origin, Rule, rules};
use archway_dockerfile::ignore::IgnorePatterns;

use crate::scene::Scene;

fn names(example: &Example) -> Vec<&'static str> {
    let mut scene = Scene::new(example.dockerfile);
    scene.ignore = example.ignore.map(|text| IgnorePatterns::parse(text).unwrap());
    let scene = scene.base("registry.example/only-for-amd64", &[], &["linux/amd64"]).base(
        "registry.example/for-all-platforms",
        &[],
        &["linux/amd64", "linux/arm64"],
    );
    scene.findings().iter().map(|finding| finding.rule.name).collect()
}

#[test]
fn a_rule_objects_to_its_bad_example_and_nothing_does_to_the_good_one() {
    for rule in rules::ALL {
        assert!(names(&rule.bad).contains(&rule.name), "{} misses its bad example", rule.name);
        assert_eq!(names(&rule.good), [""; 0], "good example of {}", rule.name);
    }
}

#[test]
fn every_rule_has_a_name_of_its_own_and_a_text() {
    for (index, rule) in rules::ALL.into_iter().enumerate() {
        assert_eq!(rules::find(rule.name), Some(rule));
        assert!(rules::ALL[..index].iter().all(|other| other.name != rule.name), "{}", rule.name);
        assert!(!rule.description.ends_with('.') && rule.explanation.ends_with('.'), "{}", rule.name);
    }
    assert_eq!(rules::find("jsonargsrecommended"), None);
    assert_eq!(rules::nearest("JsonArgRecommended").map(|rule| rule.name), Some("JSONArgsRecommended"));
    assert_eq!(rules::nearest("Nothing"), None);
}

/// `docs/checks.md` is written by this test when `ARCHWAY_UPDATE_DOCS` is set.
#[test]
fn the_page_of_rules_is_up_to_date() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checks.md");
    if env::var_os("ARCHWAY_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/checks.md is not what the rules say: ARCHWAY_UPDATE_DOCS=1 cargo test -p archway-check"
    );
}

fn page() -> String {
    let mut page = String::from(
        "# Rules of `archway check`\n\n\
         Made of the texts of the rules by a test (`ARCHWAY_UPDATE_DOCS=1 cargo test -p archway-check`); do not edit. \
         `archway check --explain RULE` prints the same. How checks are run and configured is in \
         [cli.md](cli.md#archway-check).\n\n",
    );
    for (title, ours) in [("BuildKit's rules", false), ("Archway's rules", true)] {
        page.push_str(&format!("## {title}\n\n"));
        for rule in rules::ALL.into_iter().filter(|rule| rule.fails_builds() != ours) {
            page.push_str(&entry(rule));
        }
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn entry(rule: &Rule) -> String {
    let mut text = format!("### {}\n\n{}.", rule.name, rule.description);
    if rule.is_experimental() {
        text.push_str(" Experimental.");
    }
    if rule.origin == Origin::MultiPlatform {
        text.push_str(" Only for images for several platforms.");
    }
    text.push_str(&format!("\n\n{}\n", rule.explanation));
    for (title, example) in [("Bad", rule.bad), ("Good", rule.good)] {
        text.push_str(&format!("\n{title}:\n\n```dockerfile\n{}```\n", example.dockerfile));
        if let Some(ignore) = example.ignore {
            text.push_str(&format!("\nwith this `.dockerignore`:\n\n```\n{ignore}```\n"));
        }
    }
    text.push('\n');
    text
}
