//! Processes started by a user other than root.
//!
//! Has a `main` of its own: a user namespace is entered by a process with one thread, and libtest has
//! several. Run by root, it starts itself again as another user, with and without ranges of ids; what
//! that user is called and may map is only changed in a mount namespace.

#[path = "fixture/mod.rs"]
mod fixture;

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use archway_oci::Platform;
use archway_sandbox::{
    Exit, Network, Rootfs, Sandbox, Spec, User, overlay,
    rootless::{self, Identity, SingleIdReason},
};
use archway_testkit::tools;
use fixture::{busybox, output, run};

/// Set for the part that runs as another user: a directory of its own, with a tree per architecture.
const DIRECTORY: &str = "ARCHWAY_ROOTLESS_DIRECTORY";
/// Set for the same part: whether ids are mapped.
const MAPPED: &str = "ARCHWAY_ROOTLESS_MAPPED";
/// A user that no machine has.
const UID: u32 = 12_345;

fn main() -> ExitCode {
    if let Some(directory) = env::var_os(DIRECTORY) {
        as_user(Path::new(&directory), env::var(MAPPED).is_ok_and(|value| value == "1"));
        return ExitCode::SUCCESS;
    }
    if env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        tools::skip("needs root, to become another user");
        return ExitCode::SUCCESS;
    }
    if !tools::require_each(&["setpriv", "unshare", "newuidmap", "newgidmap"]) {
        return ExitCode::SUCCESS;
    }
    if !["/etc/subuid", "/etc/subgid"].iter().all(|file| Path::new(file).exists()) {
        // There is nothing that the mount namespace could show something else in place of.
        tools::skip("/etc/subuid and /etc/subgid do not exist");
        return ExitCode::SUCCESS;
    }
    let directory = prepare();
    let results = [("a single id", false), ("mapped ids", true)].map(|(name, mapped)| {
        let passed = become_user(directory.path(), mapped);
        println!("test rootless with {name} ... {}", if passed { "ok" } else { "FAILED" });
        passed
    });
    if results == [true, true] { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything the other user needs, in a directory it can reach.
fn prepare() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(env::current_exe().unwrap(), path.join("test")).unwrap();
    for (name, platform) in [("native", Platform::host()), ("arm64", "linux/arm64".parse().unwrap())] {
        let copied =
            Command::new("cp").arg("-a").arg(busybox(&platform)).arg(path.join(name)).status().unwrap();
        assert!(copied.success());
        let owned =
            Command::new("chown").args(["-Rh", &format!("{UID}:{UID}")]).arg(path.join(name)).status();
        assert!(owned.unwrap().success());
    }
    let home = path.join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(UID), Some(UID)).unwrap();

    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    fs::write(path.join("passwd"), format!("{passwd}\nrootless:x:{UID}:{UID}::/:/bin/sh\n")).unwrap();
    fs::write(path.join("ranges"), format!("rootless:{}:65536\n", 20 << 16)).unwrap();
    fs::write(path.join("none"), "").unwrap();
    directory
}

fn become_user(directory: &Path, mapped: bool) -> bool {
    let script = format!(
        "set -e; mount --bind $1/passwd /etc/passwd
         test -e /etc/subuid && mount --bind $1/$2 /etc/subuid; test -e /etc/subgid && mount --bind $1/$2 /etc/subgid
         exec setpriv --reuid {UID} --regid {UID} --clear-groups $1/test"
    );
    let ranges = if mapped { "ranges" } else { "none" };
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(directory)
        .arg(ranges)
        .env(DIRECTORY, directory)
        .env(MAPPED, if mapped { "1" } else { "0" })
        .status();
    status.unwrap().success()
}

fn as_user(directory: &Path, mapped: bool) {
    let identity = rootless::enter().unwrap();
    if mapped {
        assert_eq!(identity, Identity::Mapped);
    } else {
        let why = SingleIdReason::NoRange { uid: UID, file: "/etc/subuid" };
        assert_eq!(identity, Identity::SingleId { why });
    }
    assert!(rustix::process::geteuid().is_root());
    let sandbox = Sandbox::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        processes_run(&sandbox, directory).await;
        networks_differ(&sandbox, directory).await;
        users_depend_on_the_mapping(&sandbox, directory, mapped).await;
        emulation_works(&sandbox, directory).await;
    });
    overlays_are_mounted(directory);
}

/// A process in a tree, with directories that nobody else uses.
fn spec(directory: &Path, tree: &str, name: &str, script: &str) -> (Spec, PathBuf) {
    let own = directory.join("home").join(format!("{name}-{}", std::process::id()));
    let (upper, work) = (own.join("upper"), own.join("work"));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).unwrap();
    let spec = Spec {
        rootfs: Rootfs { lowers: vec![directory.join(tree)], upper: Some(upper.clone()), work: Some(work) },
        argv: vec!["sh".into(), "-c".into(), script.into()],
        env: vec!["PATH=/bin:/usr/bin:/sbin".into()],
        hostname: "box".into(),
        ..Spec::default()
    };
    (spec, upper)
}

async fn processes_run(sandbox: &Sandbox, directory: &Path) {
    let script = "id -u; hostname; echo x > /dev/null; head -c 3 /dev/zero | wc -c; awk '$2 == \"/sys\" { print substr($4, 1, 3) }' /proc/mounts
        ls /proc | grep -c '^1$'; rm /bin/ls; touch /new; grep -E 'CapEff|Seccomp:' /proc/self/status; exit 4";
    let (spec, upper) = spec(directory, "native", "run", script);
    let (exit, text) = run(sandbox, &spec).await.unwrap();
    assert_eq!(text, "0\nbox\n3\nro,\n1\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n");
    assert_eq!(exit, Exit::Code(4));
    assert!(upper.join("new").exists());
}

async fn networks_differ(sandbox: &Sandbox, directory: &Path) {
    let (mut spec, _) = spec(directory, "native", "network", "ls /sys/class/net");
    spec.network = Network::None;
    assert_eq!(output(sandbox, &spec).await, "lo\n");
}

async fn users_depend_on_the_mapping(sandbox: &Sandbox, directory: &Path, mapped: bool) {
    let (mut spec, _) = spec(directory, "native", "user", "id -u; id -g");
    spec.user = User { uid: 1000, gid: 1000, additional_gids: Vec::new() };
    match run(sandbox, &spec).await {
        Ok((exit, text)) => assert_eq!((mapped, exit, text.as_str()), (true, Exit::Code(0), "1000\n1000\n")),
        Err(error) => {
            assert_eq!((mapped, error.to_string().as_str()), (false, "cannot change user and groups"))
        }
    }
}

async fn emulation_works(sandbox: &Sandbox, directory: &Path) {
    match sandbox.emulation().for_platform(&"linux/arm64".parse().unwrap()) {
        Ok(interpreter) => {
            let (spec, _) = spec(directory, "arm64", "emulated", "busybox uname -m; touch /new; id -u");
            let text = output(sandbox, &Spec { interpreter, ..spec }).await;
            assert_eq!(text, "aarch64\n0\n");
        }
        Err(error) => drop(tools::skip(&error.to_string())),
    }
}

fn overlays_are_mounted(directory: &Path) {
    let lowers = [directory.join("native"), directory.join("arm64")];
    let root = overlay::mount_detached(&lowers, None).unwrap();
    assert!(rustix::fs::statat(&root, "bin/busybox", rustix::fs::AtFlags::empty()).is_ok());
}
