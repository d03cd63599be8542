//! The rooms of the house: which crate may use which, and what of the outside world each may touch.
//! A new dependency that the table does not allow fails here, and is either wrong or a decision that
//! belongs into the table and into ARCHITECTURE.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What a dependency brings into a crate, besides its functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touch {
    /// An async runtime and its vocabulary.
    Async,
    /// Connections to other machines.
    Network,
    /// System calls, safely wrapped.
    Kernel,
    /// System calls, raw.
    RawKernel,
    /// SQLite.
    Database,
    /// The user's terminal and command line.
    Terminal,
    /// Errors without a type. Nobody may.
    UntypedErrors,
}

use Touch::{Async, Database, Kernel, Network, RawKernel, Terminal, UntypedErrors};

/// Third-party crates that touch something; all others are plain code.
const TOUCHING: [(&str, Touch); 29] = [
    ("async-trait", Async),
    ("backon", Async),
    ("futures-util", Async),
    ("tokio", Async),
    ("tokio-util", Async),
    ("http-auth", Network),
    ("hyper", Network),
    ("hyper-util", Network),
    ("reqwest", Network),
    ("rustls", Network),
    ("tokio-rustls", Network),
    ("tonic", Network),
    ("ureq", Network),
    ("nix", Kernel),
    ("rustix", Kernel),
    ("libc", RawKernel),
    ("syscalls", RawKernel),
    ("rusqlite", Database),
    ("annotate-snippets", Terminal),
    ("anstream", Terminal),
    ("anstyle", Terminal),
    ("clap", Terminal),
    ("indicatif", Terminal),
    ("terminal_size", Terminal),
    ("anyhow", UntypedErrors),
    ("color-eyre", UntypedErrors),
    ("eyre", UntypedErrors),
    ("miette", UntypedErrors),
    ("snafu", UntypedErrors),
];

/// A crate, the crates of this workspace it may use, and what it may touch.
type Room = (&'static str, &'static [&'static str], &'static [Touch]);

const ENGINE_ROOMS: &[&str] = &[
    "cache",
    "dockerfile",
    "graph",
    "layer",
    "oci",
    "registry",
    "remote",
    "report",
    "sandbox",
    "source",
    "store",
];
const ORCHESTRATOR_ROOMS: &[&str] = &[
    "attest",
    "audit",
    "buildkit",
    "cache",
    "check",
    "dockerfile",
    "engine",
    "graph",
    "layer",
    "oci",
    "registry",
    "remote",
    "report",
    "sandbox",
    "source",
    "store",
];
const CLI_ROOMS: &[&str] = &[
    "attest",
    "audit",
    "buildkit",
    "cache",
    "check",
    "dockerfile",
    "engine",
    "graph",
    "kubernetes",
    "layer",
    "oci",
    "orchestrator",
    "registry",
    "remote",
    "report",
    "sandbox",
    "source",
    "store",
];

/// In the order data flows.
const ROOMS: &[Room] = &[
    ("oci", &[], &[Kernel]),
    ("report", &["oci"], &[]),
    ("registry", &["oci"], &[Async, Network]),
    ("layer", &["oci"], &[Kernel]),
    ("attest", &["layer", "oci"], &[]),
    ("store", &["oci"], &[Kernel, Database]),
    ("audit", &["attest", "layer", "oci"], &[]),
    ("cache", &["oci", "store"], &[]),
    ("dockerfile", &[], &[]),
    ("source", &["dockerfile", "store"], &[Kernel]),
    // It touches the network with its feature `fetch` only, which the engine asks for and the graph does not.
    ("remote", &[], &[Async, Network, Kernel]),
    ("graph", &["dockerfile", "oci", "remote", "report"], &[]),
    ("sandbox", &["oci"], &[Async, Kernel, RawKernel]),
    ("engine", ENGINE_ROOMS, &[Async, Kernel]),
    ("buildkit", &["dockerfile", "oci", "registry", "report", "source"], &[Async, Network]),
    ("check", &["dockerfile", "graph", "oci"], &[]),
    // The network is Docker's socket, for `--load`; registries are `registry`'s.
    ("orchestrator", ORCHESTRATOR_ROOMS, &[Async, Network, Kernel]),
    ("kubernetes", &["oci"], &[]),
    ("cli", CLI_ROOMS, &[Async, Kernel, Terminal]),
    // Checks the others, so it must not share their code.
    ("testkit", &["oci"], &[Kernel]),
];

/// The one crate that may hold `unsafe`.
const UNSAFE_ROOM: &str = "sandbox";

/// A crate of the workspace, as cargo describes it.
struct Crate {
    name: String,
    directory: PathBuf,
    /// Names of dependencies of the library or binary, and of its build script; not of its tests.
    dependencies: BTreeSet<String>,
}

fn workspace() -> Vec<Crate> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(read_crate).collect()
}

fn read_crate(package: &Value) -> Crate {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let is_for_tests = |dependency: &&Value| dependency["kind"] == "dev";
    Crate {
        name: short(&text(&package["name"])).to_owned(),
        directory: Path::new(&text(&package["manifest_path"])).parent().unwrap().to_owned(),
        dependencies: package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| !is_for_tests(dependency))
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("archway-").unwrap_or(name)
}

/// Why `dependency` of a crate in `room` is not allowed.
fn objection(room: &Room, dependency: &str) -> Option<String> {
    let (name, rooms, touches) = room;
    if let Some(other) = dependency.strip_prefix("archway-") {
        return (!rooms.contains(&other)).then(|| format!("{name} must not use {other}"));
    }
    let touch = TOUCHING.iter().find(|(third_party, _)| *third_party == dependency)?.1;
    (!touches.contains(&touch)).then(|| format!("{name} must not use {dependency}: it brings {touch:?}"))
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let rooms: BTreeMap<&str, &Room> = ROOMS.iter().map(|room| (room.0, room)).collect();
    let mut objections = Vec::new();
    for found in workspace() {
        match rooms.get(found.name.as_str()) {
            None => objections.push(format!("{} is not in the table", found.name)),
            Some(room) => {
                objections.extend(found.dependencies.iter().filter_map(|name| objection(room, name)))
            }
        }
    }
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

#[test]
fn the_table_has_no_cycle() {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for (name, rooms, _) in ROOMS {
        let ahead: Vec<_> = rooms.iter().filter(|room| !known.contains(*room)).collect();
        assert!(ahead.is_empty(), "{name} may use {ahead:?}, which come later or do not exist");
        known.insert(name);
    }
}

#[test]
fn the_table_objects() {
    let graph = ROOMS.iter().find(|room| room.0 == "graph").unwrap();
    assert_eq!(objection(graph, "archway-oci"), None);
    assert_eq!(objection(graph, "serde"), None);
    assert_eq!(objection(graph, "archway-store").as_deref(), Some("graph must not use store"));
    assert_eq!(objection(graph, "tokio").as_deref(), Some("graph must not use tokio: it brings Async"));
    assert!(ROOMS.iter().all(|room| objection(room, "anyhow").is_some()));
}

#[test]
fn only_the_sandbox_may_be_unsafe() {
    for found in workspace().into_iter().filter(|found| found.name != UNSAFE_ROOM) {
        let manifest = fs::read_to_string(found.directory.join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints, which forbid unsafe code",
            found.name
        );
        for file in rust_files(&found.directory.join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let line = text.lines().position(is_unsafe);
            assert_eq!(line, None, "unsafe code in {}, lines counted from 0", file.display());
        }
    }
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == "unsafe")
}

#[test]
fn unsafe_code_is_recognised() {
    let cases = [
        ("    unsafe { f() }", true),
        ("pub unsafe fn f()", true),
        ("#[unsafe(no_mangle)]", true),
        ("// nothing unsafe here", false),
        ("#![forbid(unsafe_code)]", false),
    ];
    for (line, want) in cases {
        assert_eq!(is_unsafe(line), want, "{line}");
    }
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
