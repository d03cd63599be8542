//! Every operation with every fault of a registry, and docs/reliability.md, which lists the outcomes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use archway_oci::Digest;
use archway_testkit::{
    FaultProxy, Random,
    cli::Run,
    fault::{Fault, Rule, When},
};

use crate::{
    operations::{Operation, build, cache, other_name},
    place::{Repository, archway, is_ready, registry},
};

use Operation::{CacheExport, CacheImport, Copy, IndexCreate, Pull, Push};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reliability.md");

/// A build is mostly waiting here: for processes, for a registry, for the next try.
const WORKERS: usize = 4;

/// One row of the table.
struct Row {
    /// What the registry does.
    name: &'static str,
    /// The operations that it can happen to.
    operations: &'static [Operation],
    fault: fn() -> Fault,
    when: When,
    /// The requests: those that matter most to the operation, or these.
    requests: Option<(&'static str, &'static str)>,
    /// Whether the registry wants tokens.
    tokens: bool,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            name: "",
            operations: &Operation::ALL,
            fault: || Fault::Reset,
            when: When::Nth(1),
            requests: None,
            tokens: false,
        }
    }
}

const READERS: &[Operation] = &[Pull, CacheImport, IndexCreate, Copy];
const DOWNLOADS: &[Operation] = &[Pull, CacheImport, Copy];
/// Those that upload blobs.
const UPLOADS: &[Operation] = &[Push, CacheExport, Copy];
/// What opens an upload.
const OPENINGS: Option<(&str, &str)> = Some(("POST", "*/blobs/uploads/*"));
/// What has bytes of an upload, with what opens none.
const PARTS: Option<(&str, &str)> = Some(("P*", "*/blobs/uploads/*?_state=*"));
/// What ends an upload.
const ENDS: Option<(&str, &str)> = Some(("PUT", "*/blobs/uploads/*"));

fn rows() -> Vec<Row> {
    let unavailable = || Fault::Answer { status: 503, retry_after: None };
    let nowhere = || Fault::Header("location", "/v2/nowhere/blobs/uploads/1?_state=x".to_owned());
    let another_digest = || Fault::Header("docker-content-digest", Digest::sha256(b"other").to_string());
    let lasting = When::Every;
    vec![
        Row {
            name: "answers after 100 ms",
            fault: || Fault::Delay(Duration::from_millis(100)),
            when: lasting.clone(),
            requests: Some(("*", "*")),
            ..Row::default()
        },
        Row {
            name: "429 with `Retry-After: 1`, once",
            fault: || Fault::Answer { status: 429, retry_after: Some(1) },
            ..Row::default()
        },
        Row {
            name: "429 with `Retry-After: 3600`",
            fault: || Fault::Answer { status: 429, retry_after: Some(3600) },
            when: lasting.clone(),
            ..Row::default()
        },
        Row { name: "503, once", fault: unavailable, ..Row::default() },
        Row { name: "503, lasting", fault: unavailable, when: lasting.clone(), ..Row::default() },
        Row { name: "connection reset before the answer, once", ..Row::default() },
        Row {
            name: "answer lost after the registry has done it, once",
            fault: || Fault::LoseAnswer,
            ..Row::default()
        },
        Row { name: "connection reset, lasting", when: lasting.clone(), ..Row::default() },
        Row {
            name: "answer cut in the middle, once",
            operations: READERS,
            fault: || Fault::CutAnswer(100),
            ..Row::default()
        },
        Row { name: "wrong bytes, once", operations: READERS, fault: || Fault::Corrupt, ..Row::default() },
        Row {
            name: "wrong bytes, lasting",
            operations: READERS,
            fault: || Fault::Corrupt,
            when: lasting.clone(),
            ..Row::default()
        },
        Row {
            // The first blob is the config.
            name: "layer cut in the middle, once",
            operations: &[Pull],
            fault: || Fault::CutAnswer(100_000),
            when: When::Nth(2),
            ..Row::default()
        },
        Row {
            name: "wrong bytes in a layer, once",
            operations: &[Pull],
            fault: || Fault::Corrupt,
            when: When::Nth(2),
            ..Row::default()
        },
        Row {
            name: "upload cut in the middle, once",
            operations: UPLOADS,
            fault: || Fault::CutUpload(100),
            requests: PARTS,
            ..Row::default()
        },
        Row {
            name: "503 when an upload is opened, once",
            operations: UPLOADS,
            fault: unavailable,
            requests: OPENINGS,
            ..Row::default()
        },
        Row {
            name: "503 when an upload is opened, lasting",
            operations: UPLOADS,
            fault: unavailable,
            when: lasting.clone(),
            requests: OPENINGS,
            ..Row::default()
        },
        Row {
            name: "429 with `Retry-After: 1` in an upload, once",
            operations: UPLOADS,
            fault: || Fault::Answer { status: 429, retry_after: Some(1) },
            requests: PARTS,
            ..Row::default()
        },
        Row {
            name: "connection reset in an upload, once",
            operations: UPLOADS,
            requests: PARTS,
            ..Row::default()
        },
        Row {
            name: "connection reset in an upload, lasting",
            operations: UPLOADS,
            when: lasting.clone(),
            requests: PARTS,
            ..Row::default()
        },
        Row {
            name: "answer to an upload lost after the registry has stored it, once",
            operations: UPLOADS,
            fault: || Fault::LoseAnswer,
            requests: ENDS,
            ..Row::default()
        },
        Row {
            name: "upload sent to where there is none, once",
            operations: UPLOADS,
            fault: nowhere,
            requests: OPENINGS,
            ..Row::default()
        },
        Row {
            name: "upload sent to where there is none, lasting",
            operations: UPLOADS,
            fault: nowhere,
            when: lasting.clone(),
            requests: OPENINGS,
            ..Row::default()
        },
        Row {
            name: "another digest in the answer to an upload",
            operations: UPLOADS,
            fault: another_digest,
            requests: ENDS,
            ..Row::default()
        },
        Row {
            name: "another digest in the answer to a manifest",
            operations: UPLOADS,
            fault: another_digest,
            requests: Some(("PUT", "*/manifests/*")),
            ..Row::default()
        },
        Row {
            name: "token expires in the middle of an upload",
            operations: UPLOADS,
            fault: || Fault::ExpireTokens,
            requests: PARTS,
            tokens: true,
            ..Row::default()
        },
        Row {
            name: "token expires in the middle",
            fault: || Fault::ExpireTokens,
            tokens: true,
            ..Row::default()
        },
        Row {
            name: "no token is valid",
            fault: || Fault::ExpireTokens,
            when: lasting,
            tokens: true,
            ..Row::default()
        },
        Row {
            name: "redirect of a blob to another host",
            operations: DOWNLOADS,
            fault: || Fault::Redirect(elsewhere().address()),
            when: When::Every,
            tokens: true,
            ..Row::default()
        },
    ]
}

/// The requests without which an operation cannot succeed: those that write, or if it `only_reads`, those
/// that read.
fn requests(operation: Operation, only_reads: bool) -> (&'static str, &'static str) {
    match (operation, only_reads) {
        (Pull | CacheImport, _) | (Copy, true) => ("GET", "*/blobs/*"),
        (IndexCreate, true) => ("GET", "*/manifests/*"),
        (Push | CacheExport | IndexCreate | Copy, _) => ("PUT", "*/manifests/*"),
    }
}

/// The host that blobs are redirected to.
fn elsewhere() -> &'static FaultProxy {
    static ELSEWHERE: std::sync::OnceLock<FaultProxy> = std::sync::OnceLock::new();
    ELSEWHERE.get_or_init(|| FaultProxy::start(registry().address(), Vec::new()).expect("a free port"))
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The tag is at the new image.
    Succeeded,
    /// It is; the build had to do without the build cache.
    Warned(String),
    /// The tag is where it was, unless the image was published by then.
    Failed { code: i32, error: String, published: bool },
}

fn outcome(row: &Row, operation: Operation) -> Outcome {
    let (repository, old) = Repository::with_old_image();
    let only_reads = !row.operations.contains(&Push);
    let (method, path) = row.requests.unwrap_or_else(|| requests(operation, only_reads));
    let rules = vec![Rule::on(method, path, row.when.clone(), (row.fault)())];
    let start = if row.tokens { FaultProxy::start_with_tokens } else { FaultProxy::start };
    let proxy = start(registry().address(), rules).expect("a free port");
    let (_cli, run) = operation.run(&proxy, &repository);
    assert!(proxy.struck() > 0, "{} did not meet `{}`: {:#?}", operation.name(), row.name, proxy.seen());
    let names = [
        (proxy.host(), "registry.example"),
        (other_name(&proxy), "registry.example"),
        (repository.name.clone(), "app"),
        (cache().to_owned(), "cached"),
    ];
    assess(operation, &run, &repository, &old, &names)
}

/// The tag is at the new image or at the old one, whichever the run says, and it is whole. A build cache
/// is written after the image was published.
fn assess(
    operation: Operation,
    run: &Run,
    repository: &Repository,
    old: &Digest,
    names: &[(String, &str)],
) -> Outcome {
    let tagged = repository.tagged("1").expect("the tag is there");
    repository.assert_whole(&tagged);
    let text = names.iter().fold(run.stderr.clone(), |text, (from, to)| text.replace(from.as_str(), to));
    if !run.status.success() {
        let published = tagged != *old;
        assert!(!published || operation == CacheExport, "the tag moved, although it failed:\n{text}");
        let code = run.status.code().unwrap_or_else(|| panic!("{}\n{text}", run.status));
        return Outcome::Failed { code, error: error(&text), published };
    }
    assert_eq!(tagged.to_string(), run.stdout.trim(), "{text}");
    match text.lines().find_map(|line| line.split_once("[warning] ")) {
        None => Outcome::Succeeded,
        Some((_, warning)) => Outcome::Warned(without_digests(warning)),
    }
}

/// The last error and its causes, on one line. Where it is about a line of the Dockerfile, the cause is
/// said below the marked words.
fn error(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().collect();
    let start = lines.iter().rposition(|line| line.starts_with("error: ")).expect("an error is said");
    let causes = lines[start + 1..].iter().filter_map(|line| {
        let cause = line.trim().strip_prefix("caused by: ");
        cause.or_else(|| Some(line.rsplit_once("^ ")?.1)).map(str::trim)
    });
    let all: Vec<&str> = lines[start..=start].iter().copied().chain(causes).collect();
    without_digests(&all.join(": "))
}

/// Digests are others each time.
fn without_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        result.push_str("sha256:…");
        result.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()));
    }
    result
}

/// The outcomes by row and operation; as many at a time as there are workers.
fn outcomes(rows: &[Row]) -> BTreeMap<(usize, usize), Outcome> {
    let all = |row: &Row| {
        Operation::ALL.into_iter().enumerate().filter(|(_, o)| row.operations.contains(o)).collect::<Vec<_>>()
    };
    let cells: Vec<(usize, usize, Operation)> = rows
        .iter()
        .enumerate()
        .flat_map(|(number, row)| {
            all(row).into_iter().map(move |(column, operation)| (number, column, operation))
        })
        .collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(&(number, column, operation)) = cells.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let outcome = outcome(&rows[number], operation);
                    found.lock().unwrap().insert((number, column), outcome);
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// The table and the errors it refers to, as the page has them.
fn page(rows: &[Row], outcomes: &BTreeMap<(usize, usize), Outcome>) -> String {
    let names: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    let mut text = format!("| the registry | {} |\n|{}\n", names.join(" | "), "---|".repeat(1 + names.len()));
    let mut said: Vec<String> = Vec::new();
    let mut note = |message: &str| {
        let known = said.iter().position(|other| other == message);
        1 + known.unwrap_or_else(|| {
            said.push(message.to_owned());
            said.len() - 1
        })
    };
    for (number, row) in rows.iter().enumerate() {
        let cells = (0..names.len()).map(|column| match outcomes.get(&(number, column)) {
            None => "-".to_owned(),
            Some(Outcome::Succeeded) => "succeeds".to_owned(),
            Some(Outcome::Warned(warning)) => format!("succeeds, warning ({})", note(warning)),
            Some(Outcome::Failed { code, error, published }) => {
                let after = if *published { ", the image is published" } else { "" };
                format!("exit code {code}{after} ({})", note(error))
            }
        });
        let cells: Vec<String> = cells.collect();
        writeln!(text, "| {} | {} |", row.name, cells.join(" | ")).unwrap();
    }
    text.push('\n');
    for (number, message) in said.iter().enumerate() {
        writeln!(text, "{}. `{message}`", number + 1).unwrap();
    }
    text
}

#[test]
fn the_page_says_what_comes_of_each_fault() {
    if !is_ready() {
        return;
    }
    let rows = rows();
    let text = page(&rows, &outcomes(&rows));
    let theirs = elsewhere().seen();
    assert!(!theirs.is_empty());
    assert!(
        theirs.iter().all(|seen| seen.authorization.is_none()),
        "credentials followed a redirect: {theirs:?}"
    );
    let found = fs::read_to_string(PAGE).unwrap();
    assert!(found.contains(&text), "docs/reliability.md must say:\n\n{text}");
}

/// Two repositories, one of them at the failing registry, before any tag may move.
#[test]
fn if_one_of_two_registries_fails_no_tag_moves() {
    if !is_ready() {
        return;
    }
    let unavailable = || Fault::Answer { status: 503, retry_after: None };
    let every = |method: &str, path: &str, fault: Fault| Rule::on(method, path, When::Every, fault);
    for rule in [
        every("POST", "*/blobs/uploads/*", unavailable()),
        every("P*", "*/blobs/uploads/*?_state=*", Fault::Answer { status: 403, retry_after: None }),
        every("PUT", "*/manifests/sha256:*", unavailable()),
    ] {
        let [(good, good_old), (bad, bad_old)] = [Repository::with_old_image(), Repository::with_old_image()];
        let proxy = FaultProxy::start(registry().address(), vec![rule]).unwrap();
        let cli = archway();
        let dockerfile = format!("FROM {}\nCOPY Dockerfile /\n", registry().reference("busybox"));
        let far = format!("{}/{}:1", proxy.host(), bad.name);
        let platforms = "--platform=linux/amd64,linux/arm64";
        let run = build(&cli, &dockerfile, &["-t", &good.image("1"), "-t", &far, platforms]);
        assert_eq!(run.status.code(), Some(1), "{}", run.stderr);
        assert!(proxy.struck() > 0);
        assert!(error(&run.stderr).contains(&proxy.host()), "the error names the registry: {}", run.stderr);
        assert_eq!([good.tagged("1"), bad.tagged("1")], [Some(good_old), Some(bad_old)], "{}", run.stderr);
    }
}

#[test]
fn a_registry_that_fails_at_random_leaves_nothing_half_done() {
    if !is_ready() {
        return;
    }
    let faults = [
        Fault::Reset,
        Fault::LoseAnswer,
        Fault::Answer { status: 500, retry_after: None },
        Fault::Answer { status: 429, retry_after: Some(0) },
        Fault::CutAnswer(50),
        Fault::CutUpload(50),
    ];
    for seed in 0..3 {
        for operation in Operation::ALL {
            let rule = |(number, fault): (u64, &Fault)| {
                Rule::on("*", "/v2/*", When::OneIn(30, Random::new(seed * 100 + number)), fault.clone())
            };
            let rules = (0..).zip(&faults).map(rule).collect();
            let (repository, old) = Repository::with_old_image();
            let proxy = FaultProxy::start(registry().address(), rules).unwrap();
            let (_cli, run) = operation.run(&proxy, &repository);
            let outcome = assess(operation, &run, &repository, &old, &[]);
            println!("seed {seed}, {}: {} faults, {outcome:?}", operation.name(), proxy.struck());
        }
    }
}
