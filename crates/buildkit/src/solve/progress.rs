//! What a daemon says while it builds, as events.
//!
//! BuildKit tells of *vertices*: what the Dockerfile says, and what the daemon does besides. A vertex becomes known by
//! its name, may start and end several times, and may tell of transfers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use archway_oci::Platform;
use archway_report::{Event, Events, LOG_TAIL_LINES, Step, StepId, StepOutcome, Stream, TransferKind};

use crate::proto::control::{StatusResponse, Vertex, VertexLog, VertexStatus};

/// Name of the stage of work that the Dockerfile does not mention.
const INTERNAL: &str = "internal";
/// Numbers that steps may have at most: what a daemon tells is bounded.
const MAX_STEPS: usize = 20_000;
/// Bytes of a line that are enough for an error report.
const LONGEST_LINE: usize = 16 << 10;

/// Gives numbers to the steps of all builds of one request, and says which platform a build is for.
#[derive(Debug, Clone)]
pub struct Steps {
    next: Arc<AtomicU32>,
    platform: Platform,
}

impl Steps {
    /// Numbers from `first`, which no other step of the request has.
    pub fn new(next: Arc<AtomicU32>, platform: Platform) -> Self {
        Self { next, platform }
    }
}

/// The state of one build, as it was told.
pub(super) struct Progress {
    steps: Steps,
    events: Events,
    vertices: HashMap<String, Known>,
}

/// What is known of a vertex.
struct Known {
    step: StepId,
    name: String,
    is_of_dockerfile: bool,
    started: bool,
    finished: Option<StepOutcome>,
    /// Whether bytes moved for it.
    has_transfers: bool,
    log: Tail,
}

/// The last lines of a log.
#[derive(Default)]
struct Tail {
    lines: VecDeque<String>,
    /// Whether the last line may go on.
    is_open: bool,
}

impl Tail {
    fn add(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            let line = piece.trim_end_matches(['\n', '\r']);
            match self.lines.back_mut() {
                Some(last) if self.is_open && last.len() > LONGEST_LINE => {}
                Some(last) if self.is_open => last.push_str(line),
                _ => self.lines.push_back(line.to_owned()),
            }
            self.is_open = !piece.ends_with('\n');
            if self.lines.len() > LOG_TAIL_LINES {
                self.lines.pop_front();
            }
        }
    }
}

impl Progress {
    pub(super) fn new(steps: Steps, events: Events) -> Self {
        Self { steps, events, vertices: HashMap::new() }
    }

    /// Takes note of what the daemon tells, and tells it.
    pub(super) fn observe(&mut self, message: StatusResponse) {
        for vertex in message.vertexes {
            self.vertex(vertex);
        }
        for status in message.statuses {
            self.transfer(status);
        }
        for log in message.logs {
            self.log(log);
        }
        for warning in message.warnings {
            let message = String::from_utf8_lossy(&warning.short).into_owned();
            self.events.send(Event::Warning { message });
        }
    }

    /// Nothing more will be told: what runs was stopped.
    fn cancelled(&mut self) {
        for known in self.vertices.values_mut().filter(|known| known.started && known.finished.is_none()) {
            known.finish(&self.events, StepOutcome::Cancelled, Duration::ZERO);
        }
    }

    /// Steps of the Dockerfile that were found in the cache, and those that ran.
    pub(super) fn counts(&self) -> (u32, u32) {
        let count = |wanted: StepOutcome| {
            let is = |known: &&Known| known.is_of_dockerfile && known.finished.as_ref() == Some(&wanted);
            self.vertices.values().filter(is).count() as u32
        };
        (count(StepOutcome::Cached), count(StepOutcome::Done))
    }

    /// Name and last lines of output of a vertex.
    pub(super) fn step(&self, digest: &str) -> Option<(&str, Vec<String>)> {
        let known = self.vertices.get(digest)?;
        Some((&known.name, known.log.lines.iter().cloned().collect()))
    }

    /// The vertex that failed, if the daemon said so of one; the last one of the Dockerfile if there are several.
    pub(super) fn failed(&self) -> Option<&str> {
        let is_failed = |known: &Known| matches!(known.finished, Some(StepOutcome::Failed { .. }));
        let failed = self.vertices.iter().filter(|(_, known)| is_failed(known));
        let (digest, _) = failed.max_by_key(|(_, known)| (known.is_of_dockerfile, known.step))?;
        Some(digest)
    }

    /// Whether an image is complete: what then fails is its push, which is no vertex.
    pub(super) fn is_exported(&self) -> bool {
        let is_end = |known: &Known| {
            known.name.starts_with("exporting to") && known.finished == Some(StepOutcome::Done)
        };
        self.vertices.values().any(is_end)
    }

    fn vertex(&mut self, vertex: Vertex) {
        if !self.vertices.contains_key(&vertex.digest) {
            if self.vertices.len() == MAX_STEPS {
                return;
            }
            let step = self.found(&vertex.name);
            let is_of_dockerfile = step.position > 0;
            let known = Known {
                step: step.id,
                name: vertex.name.clone(),
                is_of_dockerfile,
                started: false,
                finished: None,
                has_transfers: false,
                log: Tail::default(),
            };
            self.vertices.insert(vertex.digest.clone(), known);
            self.events.send(Event::StepFound { step });
        }
        let known = self.vertices.get_mut(&vertex.digest).expect("it was put there");
        if vertex.started.is_some() && !known.started {
            known.started = true;
            self.events.send(Event::StepStarted { step: known.step });
        }
        let Some(completed) = vertex.completed else { return };
        let outcome = match (vertex.error.as_str(), vertex.cached) {
            ("", true) => StepOutcome::Cached,
            // A base image that is there is looked up each time.
            ("", false) if known.is_base() && !known.has_transfers => StepOutcome::Cached,
            ("", false) => StepOutcome::Done,
            (error, _) if is_cancelled(error) => StepOutcome::Cancelled,
            // A cache that is not there yet does not keep a build from going on.
            (_, _) if known.name.starts_with("importing cache manifest") => StepOutcome::Done,
            (error, _) => {
                StepOutcome::Failed { message: error.lines().next().unwrap_or_default().to_owned() }
            }
        };
        let duration = vertex.started.map(|started| between(started, completed)).unwrap_or_default();
        // A vertex that two builds share ends twice; the first end was the one that was told.
        if known.finished.is_none() {
            known.finish(&self.events, outcome, duration);
        }
    }

    fn found(&self, name: &str) -> Step {
        let label = Label::parse(name);
        Step {
            id: StepId(self.steps.next.fetch_add(1, Ordering::Relaxed)),
            platforms: vec![self.steps.platform.clone()],
            runs_on: label.platform.unwrap_or_else(|| self.steps.platform.clone()),
            stage: label.stage.to_owned(),
            position: label.position,
            total: label.total,
            name: label.name.to_owned(),
        }
    }

    fn log(&mut self, log: VertexLog) {
        let Some(known) = self.vertices.get_mut(&log.vertex) else { return };
        let text = String::from_utf8_lossy(&log.msg).into_owned();
        known.log.add(&text);
        let stream = if log.stream == 2 { Stream::Stderr } else { Stream::Stdout };
        self.events.send(Event::StepLog { step: known.step, stream, text });
    }

    fn transfer(&mut self, status: VertexStatus) {
        // Others count what has no bytes: "resolving", "extracting".
        if status.total <= 0 && status.current <= 0 {
            return;
        }
        if let Some(known) = self.vertices.get_mut(&status.vertex) {
            known.has_transfers = true;
        }
        let kind = match status.id.as_str() {
            id if id.starts_with("transferring") => TransferKind::Send,
            id if id.starts_with("pushing") => TransferKind::Push,
            _ => TransferKind::Pull,
        };
        let positive = |number: i64| u64::try_from(number).unwrap_or_default();
        self.events.send(Event::Transfer {
            name: shortened(&status.id),
            kind,
            current: positive(status.current),
            total: Some(positive(status.total)).filter(|total| *total > 0),
            done: status.completed.is_some(),
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.cancelled();
    }
}

impl Known {
    /// Whether it is a `FROM`.
    fn is_base(&self) -> bool {
        self.is_of_dockerfile && self.name.contains("] FROM ")
    }

    fn finish(&mut self, events: &Events, outcome: StepOutcome, duration: Duration) {
        self.finished = Some(outcome.clone());
        events.send(Event::StepFinished { step: self.step, outcome, duration });
    }
}

fn is_cancelled(error: &str) -> bool {
    error.ends_with("context canceled") || error.ends_with("context canceled: context canceled")
}

fn between(from: impl Into<Moment>, to: impl Into<Moment>) -> Duration {
    to.into().0.saturating_sub(from.into().0)
}

/// Time since 1970.
struct Moment(Duration);

impl From<bollard_buildkit_proto::google::protobuf::Timestamp> for Moment {
    fn from(time: bollard_buildkit_proto::google::protobuf::Timestamp) -> Self {
        let seconds = u64::try_from(time.seconds).unwrap_or_default();
        Self(Duration::new(seconds, u32::try_from(time.nanos).unwrap_or_default().min(999_999_999)))
    }
}

/// A transfer's name in few letters.
fn shortened(id: &str) -> String {
    match id.split_once("sha256:") {
        Some((before, digest)) => {
            let digest: String = digest.chars().take(12).collect();
            format!("{before}sha256:{digest}")
        }
        None => id.to_owned(),
    }
}

/// What the name of a vertex says: `[linux/arm64 build 2/5] RUN make`.
#[derive(Debug, PartialEq, Eq)]
struct Label<'a> {
    platform: Option<Platform>,
    stage: &'a str,
    position: u32,
    total: u32,
    name: &'a str,
}

impl<'a> Label<'a> {
    fn parse(text: &'a str) -> Self {
        Self::of_dockerfile(text).unwrap_or_else(|| {
            let name = text.strip_prefix("[internal] ").unwrap_or(text);
            Self { platform: None, stage: INTERNAL, position: 0, total: 0, name }
        })
    }

    fn of_dockerfile(text: &'a str) -> Option<Self> {
        let (label, name) = text.strip_prefix('[')?.split_once("] ")?;
        let (before, place) = label.rsplit_once('/')?;
        let total = place.parse().ok()?;
        // Positions are aligned: `build  2/12`.
        let (before, position) = match before.rsplit_once(' ') {
            Some((before, position)) => (before.trim_end(), position),
            None => ("", before),
        };
        let position = position.parse().ok()?;
        let (platform, stage) = match before.split_once(' ') {
            Some((platform, stage)) => (platform.parse().ok(), stage),
            // One word is a stage, unless it is a platform: names of stages have no `/`.
            None if before.contains('/') => (before.parse().ok(), ""),
            None => (None, before),
        };
        // Stages without a name are numbered.
        let stage =
            stage.strip_prefix("stage-").filter(|number| number.parse::<u32>().is_ok()).unwrap_or(stage);
        let stage = if stage.is_empty() { "0" } else { stage };
        Some(Self { platform, stage, position, total, name })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bollard_buildkit_proto::google::protobuf::Timestamp;

    use super::*;

    #[test]
    fn names_say_stage_and_place() {
        let label = |platform: Option<&str>, stage, position, total, name| Label {
            platform: platform.map(|platform| platform.parse().unwrap()),
            stage,
            position,
            total,
            name,
        };
        for (text, want) in [
            ("[2/5] RUN make", label(None, "0", 2, 5, "RUN make")),
            ("[build  2/12] RUN a [b] c", label(None, "build", 2, 12, "RUN a [b] c")),
            ("[stage-1 2/3] COPY . .", label(None, "1", 2, 3, "COPY . .")),
            ("[linux/arm64 build 1/1] FROM x", label(Some("linux/arm64"), "build", 1, 1, "FROM x")),
            ("[linux/arm64 1/1] FROM x", label(Some("linux/arm64"), "0", 1, 1, "FROM x")),
            ("[internal] load build context", label(None, "internal", 0, 0, "load build context")),
            ("exporting to image", label(None, "internal", 0, 0, "exporting to image")),
            ("[auth] a/b:pull token", label(None, "internal", 0, 0, "[auth] a/b:pull token")),
        ] {
            assert_eq!(Label::parse(text), want);
        }
    }

    fn vertex(digest: &str, started: Option<i64>, completed: Option<i64>) -> Vertex {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        Vertex {
            digest: digest.into(),
            name: format!("[build 1/2] {digest}"),
            started: started.map(at),
            completed: completed.map(at),
            ..Vertex::default()
        }
    }

    #[test]
    fn a_vertex_is_found_started_and_finished_once() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        let events = Events::new(move |event| sink.lock().unwrap().push(event));
        let steps = Steps::new(Arc::new(AtomicU32::new(7)), "linux/arm64".parse().unwrap());
        let mut progress = Progress::new(steps, events);
        let of = |vertexes| StatusResponse { vertexes, ..Default::default() };
        progress.observe(of(vec![vertex("a", None, None)]));
        progress.observe(of(vec![vertex("a", Some(10), None)]));
        let log = VertexLog { vertex: "a".into(), msg: b"one\ntw".to_vec(), stream: 2, ..Default::default() };
        progress.observe(StatusResponse { logs: vec![log.clone()], ..Default::default() });
        let log = VertexLog { msg: b"o\n".to_vec(), ..log };
        progress.observe(StatusResponse { logs: vec![log], ..Default::default() });
        let mut end = vertex("a", Some(10), Some(13));
        end.error = "process did not complete: exit code: 2\nmore".into();
        progress.observe(of(vec![end.clone()]));
        progress.observe(of(vec![end]));
        progress.cancelled();
        assert_eq!(progress.failed(), Some("a"));
        assert_eq!(progress.step("a").unwrap().1, ["one", "two"]);
        let told = told.lock().unwrap();
        let (id, seconds) = (StepId(7), Duration::from_secs(3));
        assert!(matches!(&told[0], Event::StepFound { step } if step.id == id && step.stage == "build"));
        assert_eq!(told[1], Event::StepStarted { step: id });
        let text = |text: &str| Event::StepLog { step: id, stream: Stream::Stderr, text: text.into() };
        assert_eq!(told[2..4], [text("one\ntw"), text("o\n")]);
        let message = "process did not complete: exit code: 2".to_owned();
        let outcome = StepOutcome::Failed { message };
        assert_eq!(told[4..], [Event::StepFinished { step: id, outcome, duration: seconds }]);
    }

    #[test]
    fn a_base_image_that_is_there_counts_as_found() {
        let steps = Steps::new(Arc::default(), "linux/arm64".parse().unwrap());
        for (is_pulled, counts) in [(false, (1, 0)), (true, (0, 1))] {
            let mut progress = Progress::new(steps.clone(), Events::ignored());
            let named = |vertex: Vertex| Vertex { name: "[build 1/2] FROM r.example/base".into(), ..vertex };
            progress.observe(StatusResponse {
                vertexes: vec![named(vertex("a", Some(1), None))],
                ..Default::default()
            });
            if is_pulled {
                let status = VertexStatus {
                    vertex: "a".into(),
                    id: "sha256:1".into(),
                    current: 5,
                    total: 9,
                    ..Default::default()
                };
                progress.observe(StatusResponse { statuses: vec![status], ..Default::default() });
            }
            progress.observe(StatusResponse {
                vertexes: vec![named(vertex("a", Some(1), Some(2)))],
                ..Default::default()
            });
            assert_eq!(progress.counts(), counts);
        }
    }

    #[test]
    fn what_runs_when_a_build_is_stopped_was_cancelled() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = told.clone();
        let events = Events::new(move |event| sink.lock().unwrap().push(event));
        let steps = Steps::new(Arc::default(), "linux/arm64".parse().unwrap());
        let mut progress = Progress::new(steps, events);
        let vertexes =
            vec![vertex("a", Some(1), Some(2)), vertex("b", Some(1), None), vertex("c", None, None)];
        progress.observe(StatusResponse { vertexes, ..Default::default() });
        progress.cancelled();
        let last = told.lock().unwrap().last().cloned().unwrap();
        assert!(
            matches!(last, Event::StepFinished { outcome: StepOutcome::Cancelled, step, .. } if step == StepId(1))
        );
        assert_eq!(progress.counts(), (0, 1));
    }
}
