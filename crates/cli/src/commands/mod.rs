//! One module for each command.

pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod login;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod source;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled by Ctrl-C or a polite kill. The second one ends the program at once.
pub(crate) fn interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(crate::error::Exit::Interrupted as i32);
            }
            cancel.cancel();
        }
    });
    token
}
