//! Failure and cancellation.

use std::{fs, time::Duration};

use archway_engine::StepError;
use archway_oci::Platform;

use crate::workshop::{Workshop, is_root};

/// Longer than anything here takes, shorter than the sleep in the Dockerfiles.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_first_input_that_fails_is_enough() {
    if !is_root() {
        return;
    }
    let mut workshop = Workshop::new();
    workshop.busybox();
    let dockerfile = "FROM busybox AS bad\nRUN exit 3\nFROM busybox\nRUN sleep 1000\nCOPY --from=bad /x /x\n";
    let run = workshop.start(dockerfile, &[Platform::host()]).pop().unwrap();
    let failure = tokio::time::timeout(LIMIT, run.result).await.expect("it does not wait").unwrap_err();
    assert!(matches!(*failure.error, StepError::Exit(3)), "{failure:?}");
    run.cancel.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_step_has_left_nothing_behind_when_it_ends() {
    if !is_root() {
        return;
    }
    let mut workshop = Workshop::new();
    workshop.busybox();
    // A number that no other process has among its arguments.
    let seconds = format!("7{:09}", std::process::id());
    let dockerfile = &format!("FROM busybox\nRUN mkdir /made; echo running; sleep {seconds}\n");
    let run = workshop.start(dockerfile, &[Platform::host()]).pop().unwrap();
    workshop.wait_for_output();
    run.cancel.cancel();
    let failure = run.result.await.unwrap_err();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|process| process.ok());
    let runs = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    assert_eq!(runs.filter(|command| command.contains(&seconds)).count(), 0);
    assert!(matches!(*failure.error, StepError::Cancelled), "{failure:?}");
    let sessions = fs::read_dir(workshop.store_directory().join("sessions")).unwrap();
    for session in sessions {
        let left: Vec<_> =
            fs::read_dir(session.unwrap().path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["lease"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_step_goes_on_for_the_platform_that_still_wants_it() {
    if !is_root() {
        return;
    }
    let mut workshop = Workshop::new();
    workshop.busybox();
    let dockerfile = "FROM --platform=$BUILDPLATFORM busybox AS shared\n\
        RUN echo running; sleep 1; echo made > /made\n\
        FROM scratch\nARG TARGETARCH\nCOPY --from=shared /made /$TARGETARCH\n";
    let platforms = ["linux/amd64", "linux/arm64"].map(|platform| platform.parse::<Platform>().unwrap());
    let mut runs = workshop.start(dockerfile, &platforms);
    workshop.wait_for_output();
    let (kept, stopped) = (runs.pop().unwrap(), runs.pop().unwrap());
    stopped.cancel.cancel();
    assert!(matches!(*stopped.result.await.unwrap_err().error, StepError::Cancelled));
    assert!(kept.result.await.unwrap().image.is_some());
}
