//! Processes with limits.

mod fixture;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use archway_sandbox::{CgroupError, Cgroups, CpuTime, Exit, Resources, Sandbox, Stdio};
use archway_testkit::tools;
use fixture::{Fixture, is_root, output, run};

/// For what takes a moment.
const LIMIT: Duration = Duration::from_secs(30);

/// `None` where this machine has no groups for us.
fn prepare(resources: &Resources) -> Option<Cgroups> {
    match Cgroups::prepare(resources) {
        Ok(cgroups) => Some(cgroups),
        Err(error @ (CgroupError::Refused { .. } | CgroupError::Create { .. })) => panic!("{error:?}"),
        Err(error) => {
            tools::skip(&error.to_string());
            None
        }
    }
}

fn memory(bytes: u64) -> Resources {
    Resources { memory: Some(bytes), ..Resources::default() }
}

#[tokio::test]
async fn a_process_is_in_its_groups_and_they_go_with_it() {
    if !is_root() {
        return;
    }
    let limits = Resources { cpu: Some(CpuTime::processors(0.5)), cpu_shares: Some(512), ..memory(64 << 20) };
    let Some(cgroups) = prepare(&limits) else { return };
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let cgroup = cgroups.create().unwrap();
    let mut spec = fixture.shell("cat /proc/self/cgroup; echo ready; read line");
    spec.cgroups = cgroup.directories().to_vec();
    let (input, ours) = rustix::pipe::pipe().unwrap();
    let (out, theirs) = rustix::pipe::pipe().unwrap();
    let stdio = Stdio { stdin: Some(input), stdout: Some(theirs), stderr: None };
    let mut running = sandbox.run(&spec, stdio).await.unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(file(out)).lines().map(Result::unwrap) {
        if line == "ready" {
            break;
        }
        lines.push(line);
    }
    // It sees its own groups as the roots of their hierarchies.
    assert!(!lines.iter().any(|line| line.contains("archway-")), "{lines:?}");
    let read = |name: &str| {
        cgroup.directories().iter().find_map(|directory| fs::read_to_string(directory.join(name)).ok())
    };
    for directory in cgroup.directories() {
        let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        assert_eq!(processes.lines().count(), 1, "{}", directory.display());
    }
    let limit = read("memory.max").or_else(|| read("memory.limit_in_bytes")).unwrap();
    assert_eq!(limit.trim(), (64 << 20).to_string());
    let quota = read("cpu.max").or_else(|| read("cpu.cfs_quota_us")).unwrap();
    assert!(["50000", "50000 100000"].contains(&quota.trim()), "{quota}");
    file(ours).write_all(b"\n").unwrap();
    assert_eq!(running.wait().await.unwrap(), Exit::Code(0));
    assert!(!cgroup.ran_out_of_memory());
    let directories = cgroup.directories().to_vec();
    drop(cgroup);
    assert!(directories.iter().all(|directory| !directory.exists()));
}

/// As if the program had been killed between a step's end and the removal of its groups.
#[tokio::test]
async fn groups_that_nobody_removes_go_with_a_killed_process() {
    if !is_root() {
        return;
    }
    let Some(cgroups) = prepare(&memory(64 << 20)) else { return };
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let cgroup = cgroups.create().unwrap();
    let mut spec = fixture.shell("sleep 1000000");
    spec.cgroups = cgroup.directories().to_vec();
    let directories = cgroup.directories().to_vec();
    std::mem::forget(cgroup);
    drop(sandbox.run(&spec, Stdio::default()).await.unwrap());
    let started = Instant::now();
    while directories.iter().any(|directory| directory.exists()) {
        assert!(started.elapsed() < LIMIT, "{directories:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_process_that_uses_too_much_memory_is_killed() {
    if !is_root() {
        return;
    }
    let Some(cgroups) = prepare(&memory(16 << 20)) else { return };
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let cgroup = cgroups.create().unwrap();
    // A line without an end is kept in memory.
    let mut spec = fixture.shell("exec tail -n 1 /dev/zero");
    spec.cgroups = cgroup.directories().to_vec();
    let (exit, _) = run(&sandbox, &spec).await.unwrap();
    assert_eq!(exit, Exit::Signal(libc_sigkill()));
    assert!(cgroup.ran_out_of_memory());
}

#[tokio::test]
async fn values_that_the_kernel_refuses_are_named() {
    if !is_root() || prepare(&memory(1 << 30)).is_none() {
        return;
    }
    let nowhere = Resources { cpuset_cpus: Some("4000".into()), ..Resources::default() };
    match Cgroups::prepare(&nowhere).unwrap_err() {
        CgroupError::Refused { file, value, .. } => {
            assert_eq!((file, value.as_str()), ("cpuset.cpus", "4000"))
        }
        CgroupError::NoController { .. } => {}
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_process_can_stand_back() {
    if !is_root() {
        return;
    }
    let (sandbox, fixture) = (Sandbox::start().unwrap(), Fixture::new());
    let niceness = |text: String| text.trim().parse::<i32>().unwrap();
    let mut spec = fixture.command(&["cut", "-d", " ", "-f", "19", "/proc/self/stat"]);
    let usual = niceness(output(&sandbox, &spec).await);
    spec.niceness = 5;
    assert_eq!(niceness(output(&sandbox, &spec).await), (usual + 5).min(19));
}

fn file(fd: OwnedFd) -> fs::File {
    fs::File::from(fd)
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}
