//! Whole Dockerfiles, in the style of well-known images and of what people write every day.

use std::{fs, path::Path};

use archway_check::Origin;

use crate::scene::{Scene, fixed};

/// The Dockerfiles below `corpus`, by name.
fn files(directory: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(directory);
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<(String, String)> = entries
        .map(|path| {
            (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// What speaks of several platforms must be right: there is nothing to object to in these.
#[test]
fn good_files_give_no_cause() {
    let files = files("clean");
    assert!(files.len() >= 30, "{}", files.len());
    for (name, text) in files {
        let findings = Scene::new(&text).findings();
        let ours: Vec<_> = findings.iter().filter(|f| f.rule.origin == Origin::MultiPlatform).collect();
        assert_eq!(ours, [] as [&archway_check::Finding; 0], "{name}");
    }
}

#[test]
fn what_is_found_in_the_corpus() {
    let mut report = String::new();
    for directory in ["clean", "faulty"] {
        for (name, text) in files(directory) {
            let found = Scene::new(&text).summary();
            if directory == "faulty" || !found.is_empty() {
                report.push_str(&format!("{directory}/{name}\n"));
                found.iter().for_each(|line| report.push_str(&format!("  {line}\n")));
            }
        }
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("corpus", report);
    });
}

/// A fix ends its finding, and what it leaves can be read.
#[test]
fn fixes_are_true() {
    for (name, text) in files("clean").into_iter().chain(files("faulty")) {
        for finding in Scene::new(&text).findings() {
            if finding.fix.is_some() {
                let text = fixed(&text, finding.rule.name);
                let left = Scene::new(&text).findings().into_iter();
                assert_eq!(
                    left.filter(|left| left.rule == finding.rule && left.fix.is_some()).count(),
                    0,
                    "{name}"
                );
            }
        }
    }
}
