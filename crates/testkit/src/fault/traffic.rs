//! What goes through a proxy: what it saw, what is still under way, and what it holds.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Fault, Held, Rule, Seen};
use crate::web::Request;

/// Shared by the threads of a proxy and whoever looks at it.
#[derive(Debug)]
pub(super) struct Traffic {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// Connections that are not done with.
    open: usize,
    /// What becomes of requests that are held; nothing yet.
    held: Option<Held>,
}

/// Which of the requests seen it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(usize);

impl Traffic {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        Self { state: Mutex::new(State { rules, ..State::default() }), changed: Condvar::new() }
    }

    /// A connection that is there from now on.
    pub(super) fn opened(&self) {
        self.change(|state| state.open += 1);
    }

    /// It is done with.
    pub(super) fn closed(&self) {
        self.change(|state| state.open -= 1);
    }

    /// What the rules say about a request, which is noted.
    pub(super) fn note(&self, request: &Request) -> (Number, Option<Fault>) {
        self.change(|state| {
            let mut struck = None;
            for rule in &mut state.rules {
                let fault = rule.strikes(&request.method, &request.path);
                struck = struck.or(fault);
            }
            state.seen.push(Seen {
                method: request.method.clone(),
                path: request.path.clone(),
                authorization: request.header("authorization").map(str::to_owned),
                fault: struck.clone(),
                answered: false,
            });
            (Number(state.seen.len() - 1), struck)
        })
    }

    /// The registry has answered a request.
    pub(super) fn answered(&self, Number(number): Number) {
        self.change(|state| {
            if let Some(seen) = state.seen.get_mut(number) {
                seen.answered = true;
            }
        });
    }

    /// Waits until somebody says what becomes of what is held.
    pub(super) fn hold(&self) -> Held {
        let state = self.lock();
        let waited = self.changed.wait_while(state, |state| state.held.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).held.unwrap_or(Held::Dropped)
    }

    /// Says it, for what is held now and for what comes.
    pub(super) fn end_hold(&self, held: Held) {
        self.change(|state| state.held = Some(held));
    }

    /// Waits until no connection is open.
    pub(super) fn settle(&self) {
        drop(self.changed.wait_while(self.lock(), |state| state.open > 0));
    }

    /// Forgets everything, for other rules.
    pub(super) fn restart(&self, rules: Vec<Rule>) {
        self.change(|state| *state = State { rules, open: state.open, ..State::default() });
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// Waits until `condition` is true of the requests so far, or for `limit`; whether it came true.
    pub(super) fn wait_for(&self, limit: Duration, condition: impl Fn(&[Seen]) -> bool) -> bool {
        let started = Instant::now();
        let mut state = self.lock();
        while !condition(&state.seen) {
            let Some(left) = limit.checked_sub(started.elapsed()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
