//! Progress of a build: one stream of events, four ways to show it.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::{Arc, Mutex},
};

use archway_report::{Event, Events};

use crate::args::ProgressMode;

mod label;
mod live;
mod plain;
mod summary;
mod view;

pub(crate) use label::step_label;
pub(crate) use summary::summary;
pub(crate) use view::fit;

/// Shows the events of a build on standard error until it is finished.
pub(crate) struct Progress {
    events: Events,
    live: Option<live::Live>,
}

impl Progress {
    /// Starts to show what happens in this mode.
    pub(crate) fn start(mode: ProgressMode) -> Self {
        match shown(mode) {
            ProgressMode::Quiet => Self { events: Events::ignored(), live: None },
            ProgressMode::Rawjson => Self { events: raw_json(), live: None },
            ProgressMode::Tty => {
                let live = live::Live::start();
                Self { events: live.events(), live: Some(live) }
            }
            ProgressMode::Auto | ProgressMode::Plain => Self { events: plain_lines(), live: None },
        }
    }

    /// Where events go.
    pub(crate) fn events(&self) -> Events {
        self.events.clone()
    }

    /// Takes the live view off the terminal, leaving its finished lines.
    pub(crate) fn finish(self) {
        if let Some(live) = self.live {
            live.finish();
        }
    }
}

/// How progress is really shown: `auto` depends on whether a person is watching.
pub(crate) fn shown(mode: ProgressMode) -> ProgressMode {
    match mode {
        ProgressMode::Auto if std::io::stderr().is_terminal() => ProgressMode::Tty,
        ProgressMode::Auto => ProgressMode::Plain,
        other => other,
    }
}

/// An event as a line of JSON, and when it happened.
#[derive(serde::Serialize)]
struct Timed<'a> {
    time: jiff::Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

fn raw_json() -> Events {
    Events::new(|event| {
        let timed = Timed { time: jiff::Timestamp::now(), event: &event };
        let mut line = serde_json::to_vec(&timed).expect("events are plain data");
        line.push(b'\n');
        // Nobody reads any more: the build goes on.
        let _ = std::io::stderr().lock().write_all(&line);
    })
}

fn plain_lines() -> Events {
    let printer = Arc::new(Mutex::new(plain::Printer::default()));
    // Asked once: a build has many lines, and the terminal answers to a system call.
    let colors = anstream::AutoStream::choice(&std::io::stderr());
    Events::new(move |event| {
        let lines = printer.lock().expect("no holder panics").lines(&event);
        if !lines.is_empty() {
            let text = lines.join("\n") + "\n";
            let mut error = anstream::AutoStream::new(std::io::stderr().lock(), colors);
            let _ = error.write_all(text.as_bytes());
        }
    })
}
