//! Cells that are made ahead of their process.

mod fixture;

use std::{collections::BTreeSet, fs, time::Duration};

use archway_sandbox::{Network, Sandbox, Security};
use fixture::{Fixture, is_root, output};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;

/// Tests look for the children of this process, so there is one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Processes that `parent` has made and that have not ended.
fn children(parent: u32) -> BTreeSet<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    threads
        .filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>())
        .collect()
}

/// A sandbox and its helper process.
fn sandbox() -> (Sandbox, u32) {
    let before = children(std::process::id());
    let sandbox = Sandbox::start().unwrap();
    let helper = *children(std::process::id()).difference(&before).next().unwrap();
    (sandbox, helper)
}

/// The cell that waits, once it is there.
async fn spare(helper: u32) -> u32 {
    for _ in 0..1000 {
        if let Some(&spare) = children(helper).iter().next() {
            return spare;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no cell was made ahead");
}

#[tokio::test]
async fn processes_of_all_kinds_follow_each_other() {
    if !is_root() {
        return;
    }
    let _alone = ALONE.lock().await;
    let (sandbox, helper) = sandbox();
    let fixture = Fixture::new();
    let show = "test -e /sys/class/net/lo && ls /sys/class/net | wc -l > /tmp/links; \
                test -e /dev/fuse && echo insecure; ls /dev/shm /dev/mqueue; touch /dev/shm/seen /dev/seen; \
                ls /dev | grep -c seen; head -c 1 /proc/keys | wc -c; hostname";
    let spec = fixture.shell(&format!("mkdir -p /tmp; {show}"));
    let with = |network, security| archway_sandbox::Spec { network, security, ..spec.clone() };
    for _ in 0..2 {
        for (network, security, insecure) in [
            (Network::Host, Security::Sandboxed, false),
            (Network::Host, Security::Sandboxed, false),
            (Network::None, Security::Sandboxed, false),
            (Network::Host, Security::Insecure, true),
        ] {
            let text = output(&sandbox, &with(network, security)).await;
            let lines: Vec<&str> =
                text.lines().filter(|line| !line.starts_with("/dev/") && !line.is_empty()).collect();
            let expected = if insecure { vec!["insecure", "1", "1", "box"] } else { vec!["1", "0", "box"] };
            assert_eq!(lines, expected, "{network:?} {security:?}: {text}");
            let links = fs::read_to_string(fixture.upper().join("tmp/links")).unwrap();
            assert_eq!(links.trim() == "1", network == Network::None, "{links}");
            spare(helper).await;
        }
    }
}

#[tokio::test]
async fn a_cell_that_was_killed_is_replaced() {
    if !is_root() {
        return;
    }
    let _alone = ALONE.lock().await;
    let (sandbox, helper) = sandbox();
    let fixture = Fixture::new();
    for _ in 0..3 {
        assert_eq!(output(&sandbox, &fixture.shell("echo ran")).await, "ran\n");
        let spare = spare(helper).await;
        kill_process(Pid::from_raw(spare as i32).unwrap(), Signal::KILL).unwrap();
        while !fs::read_to_string(format!("/proc/{spare}/stat")).unwrap().contains(") Z ") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    spare(helper).await;
    drop(sandbox);
    assert!(!children(std::process::id()).contains(&helper));
}
