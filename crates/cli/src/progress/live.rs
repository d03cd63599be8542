//! Draws the live view on the terminal.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use archway_report::Events;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::view::View;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(80);
/// Columns assumed where the terminal does not say.
const WIDTH: usize = 80;

/// A view that is redrawn until it is finished.
pub(crate) struct Live {
    view: Arc<Mutex<View>>,
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    drawer: JoinHandle<()>,
}

impl Live {
    /// Starts to draw.
    pub(crate) fn start() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(20));
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is valid"));
        let (view, stop) = (Arc::new(Mutex::new(View::default())), Arc::new(AtomicBool::new(false)));
        let drawer = thread::spawn({
            let (view, bar, stop) = (view.clone(), bar.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    draw(&view, &bar);
                    thread::sleep(FRAME);
                }
            }
        });
        Self { view, bar, stop, drawer }
    }

    /// Where events go.
    pub(crate) fn events(&self) -> Events {
        let (view, bar) = (self.view.clone(), self.bar.clone());
        Events::new(move |event| {
            let lines = view.lock().expect("no holder panics").observe(&event, Instant::now(), width());
            for line in lines {
                bar.println(line);
            }
        })
    }

    /// Removes the frame; finished lines stay.
    pub(crate) fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.drawer.join();
        self.bar.finish_and_clear();
    }
}

/// Columns of the terminal.
fn width() -> usize {
    terminal_size::terminal_size_of(std::io::stderr()).map_or(WIDTH, |(width, _)| width.0.into())
}

fn draw(view: &Mutex<View>, bar: &ProgressBar) {
    let frame = view.lock().expect("no holder panics").frame(Instant::now(), width());
    bar.set_message(frame.join("\n"));
    bar.tick();
}
