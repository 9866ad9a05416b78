//! Timers that die with the process: attempt timeouts, mostly.
//!
//! All times here are monotonic (T2): a wall clock that jumps a year ahead times no attempt out.
//!
//! Set and stopped tens of thousands of times a second from Python's thread and hardly ever due,
//! so they never pass through the writer's inbox; it is nudged only for one that is due sooner
//! than it would wake anyway.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::ids::Micros;
use crate::note::Note;
use crate::timer::Timers;

#[derive(Debug, Default)]
struct State {
    timers: Timers<()>,
    times: FxHashMap<u64, Micros>,
    wakes_at: Option<Micros>,
}

/// All volatile timers.
#[derive(Debug, Default)]
pub struct Alarms {
    state: Mutex<State>,
}

impl Alarms {
    /// Sets a timer; returns whether the writer must be nudged.
    pub(super) fn set(&self, at: Micros, ticket: u64) -> bool {
        let mut state = self.state.lock();
        state.timers.set(at, ticket, ());
        state.times.insert(ticket, at);
        state.wakes_at.is_none_or(|wakes| at < wakes)
    }

    pub(super) fn stop(&self, ticket: u64) {
        let mut state = self.state.lock();
        if let Some(at) = state.times.remove(&ticket) {
            state.timers.cancel(at, ticket);
        }
    }

    pub(super) fn next(&self) -> Option<Micros> {
        self.state.lock().timers.next()
    }

    /// Takes what is due; `other` is when the writer wakes for other reasons. Returns when it
    /// has to wake at the latest.
    pub(super) fn take_due(
        &self,
        now: Micros,
        other: Option<Micros>,
        notes: &mut Vec<Note>,
    ) -> Option<Micros> {
        let mut state = self.state.lock();
        while let Some((ticket, ())) = state.timers.take_due(now) {
            state.times.remove(&ticket);
            notes.push(Note::Timer { ticket });
        }
        let next = state.timers.next().into_iter().chain(other).min();
        state.wakes_at = next;
        next
    }
}
