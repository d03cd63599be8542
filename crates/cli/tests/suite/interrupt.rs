//! Ctrl-C, kill -9 and time limits: the build ends, nothing of it goes on, and the store stays good.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{readback::ImageIndex, scene::Scene};

/// Generous, for a loaded machine; a step that is not ended sleeps much longer.
const LIMIT: Duration = Duration::from_secs(30);

/// A build with one step that sleeps, and the words that find its processes.
struct Sleeping {
    scene: Scene,
    build: Child,
    /// An argument that no other process on the machine has.
    seconds: String,
}

impl Sleeping {
    /// Starts a build and waits until its step runs.
    fn start(platforms: &str, number: u32, arguments: &[&str]) -> Option<Self> {
        let scene = Scene::new()?;
        let seconds = (10_000_000 + u64::from(std::process::id()) * 100 + u64::from(number)).to_string();
        scene.dockerfile(&format!(
            "FROM BASE\nRUN echo kept > /kept\nRUN sleep {seconds} & echo asleep; sleep {seconds}\n"
        ));
        let image = scene.image("1");
        let mut archway = scene.cli.command();
        archway.args(["build", "--progress=plain", "--push", "-t", &image, "--platform", platforms]);
        archway.args(arguments).arg(".").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut build = archway.spawn().unwrap();
        let mut output = BufReader::new(build.stderr.take().unwrap()).lines();
        let asleep = platforms.split(',').count();
        let seen =
            output.by_ref().map_while(Result::ok).filter(|line| line.contains("| asleep")).take(asleep);
        assert_eq!(seen.count(), asleep, "the step ran");
        // Whatever follows must not block the build.
        thread::spawn(move || output.for_each(drop));
        Some(Self { scene, build, seconds })
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.build.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// The exit code; `None` for a build that was killed.
    fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            if let Some(status) = self.build.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.build.kill();
        panic!("the build did not end");
    }

    /// No process of the build and no mount of its store is left, nothing was published, and the next
    /// build goes on where this one was ended.
    fn leaves_nothing(&self) {
        let started = Instant::now();
        while !self.processes().is_empty() && started.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.processes(), Vec::<String>::new());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.scene.cli.root().to_str().unwrap()), "{mounts}");
        assert!(
            self.scene
                .requests()
                .iter()
                .all(|request| !request.path.ends_with("/manifests/1") || request.method != "PUT")
        );

        let dockerfile = self.scene.cli.work().join("Dockerfile");
        let text = fs::read_to_string(&dockerfile).unwrap();
        fs::write(&dockerfile, text.replace(&format!("sleep {}", self.seconds), "sleep 0")).unwrap();
        let image = self.scene.image("1");
        let build = ["--push", "-t", &image, "--metadata-file", "meta.json"];
        self.scene.build(&build).succeeded();
        let ran = &self.scene.json("meta.json")["archway.platforms"][0]["stepsRun"];
        assert_eq!(ran, 1, "the first RUN was kept");
        assert_eq!(ImageIndex::pushed(&image).children[0].text("kept"), "kept\n");
    }

    /// The step's processes, by the number of seconds, and Archway's own, by the image's name.
    fn processes(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let arguments = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        let arguments = arguments.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
        let image = self.scene.image("1");
        arguments.filter(|line| line.contains(&self.seconds) || line.contains(&image)).collect()
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        let _ = self.build.kill();
        let _ = self.build.wait();
    }
}

#[test]
fn an_interrupt_ends_everything() {
    let Some(mut build) = Sleeping::start("local", 1, &[]) else { return };
    assert!(build.processes().len() >= 2, "archway and the step: {:?}", build.processes());
    build.signal(Signal::INT);
    assert_eq!(build.ended(), Some(130));
    build.leaves_nothing();
}

#[test]
fn an_interrupt_ends_emulated_steps_too() {
    let Some(mut build) = Sleeping::start("linux/amd64,linux/arm64,linux/s390x", 2, &["--jobs=4"]) else {
        return;
    };
    build.signal(Signal::TERM);
    assert_eq!(build.ended(), Some(130));
    build.leaves_nothing();
}

#[test]
fn a_kill_ends_everything() {
    let Some(mut build) = Sleeping::start("local", 3, &[]) else { return };
    build.signal(Signal::KILL);
    assert_eq!(build.ended(), None);
    build.leaves_nothing();
}

#[test]
fn a_time_limit_ends_everything() {
    let Some(mut build) = Sleeping::start("local", 4, &["--timeout=5s"]) else { return };
    assert_eq!(build.ended(), Some(1));
    build.leaves_nothing();
}

#[test]
fn an_interrupt_ends_a_program_of_run() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM BASE\nRUN true\n");
    scene.build(&["-t", "app:1"]).succeeded();
    let seconds = (20_000_000 + u64::from(std::process::id()) * 100).to_string();
    let mut archway = scene.cli.command();
    archway.args(["run", "app:1", "sh", "-c", &format!("echo asleep; sleep {seconds}")]);
    let mut run = archway.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "asleep\n");
    let mut build = Sleeping { scene, build: run, seconds };
    build.signal(Signal::INT);
    assert_eq!(build.ended(), Some(130));
    let started = Instant::now();
    while !build.processes().is_empty() && started.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(build.processes(), Vec::<String>::new());
}
