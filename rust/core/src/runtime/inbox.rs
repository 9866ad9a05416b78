//! What waits for the writer.
//!
//! One mutex over a queue that the writer takes as a whole. Submitting is a push; the condition
//! is notified only when the writer sleeps, so a busy engine makes no system call per submission.
//! The queue is bounded: a full one is back-pressure, never loss.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::limits::{GATHER, GATHERING, INBOX};
use crate::submission::Submission;

/// How the engine's life goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Takes submissions.
    Open,
    /// Takes no more; what is there is done.
    Closing,
    /// A simulated crash or a failed store: nothing more is done.
    Dead,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts that are independent of each other, under one lock"
)]
#[derive(Debug)]
struct State {
    queue: VecDeque<Submission>,
    phase: Phase,
    sleeps: bool,
    nudged: bool,
    /// Nothing more is to be waited for: whoever gathered has flushed.
    flushed: bool,
    works: bool,
    jobs: usize,
}

/// The writer's inbox.
#[derive(Debug)]
pub struct Inbox {
    state: Mutex<State>,
    writer: Condvar,
    room: Condvar,
}

/// Why a submission was not taken.
#[derive(Debug)]
pub enum Refused {
    /// No room now; the submission comes back.
    Full(Box<Submission>),
    /// The engine is closed.
    Closed,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                phase: Phase::Open,
                sleeps: false,
                nudged: false,
                flushed: false,
                works: true,
                jobs: 0,
            }),
            writer: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Submits without waiting.
    ///
    /// # Errors
    /// If there is no room, or the engine takes no more. A poisoned engine takes everything and
    /// does nothing with it: its `FAILED` note says so.
    pub fn submit(&self, submission: Submission) -> Result<(), Refused> {
        self.put(submission, 1)
    }

    /// As `submit`, but a sleeping writer is woken only once `GATHER` submissions are there, or by
    /// `flush`: whoever submits many in a row wants them in one commit.
    ///
    /// # Errors
    /// As `submit`.
    pub fn gather(&self, submission: Submission) -> Result<(), Refused> {
        self.put(submission, GATHER)
    }

    /// Wakes the writer if something was gathered.
    pub fn flush(&self) {
        let mut state = self.state.lock();
        if state.queue.is_empty() {
            return;
        }
        state.flushed = true;
        if state.sleeps {
            state.sleeps = false;
            self.writer.notify_one();
        }
    }

    fn put(&self, submission: Submission, enough: usize) -> Result<(), Refused> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Closing => return Err(Refused::Closed),
            Phase::Dead => return Ok(()),
            Phase::Open => {}
        }
        if state.queue.len() >= INBOX {
            return Err(Refused::Full(Box::new(submission)));
        }
        state.queue.push_back(submission);
        if state.queue.len() >= enough {
            state.flushed = true;
            if state.sleeps {
                state.sleeps = false;
                self.writer.notify_one();
            }
        }
        Ok(())
    }

    /// Waits until there is room or no hope for it.
    pub fn wait_for_room(&self) {
        let mut state = self.state.lock();
        while state.queue.len() >= INBOX && state.phase == Phase::Open {
            self.room.wait(&mut state);
        }
    }

    /// Makes the writer look at its timers again.
    pub fn nudge(&self) {
        let mut state = self.state.lock();
        state.nudged = true;
        state.sleeps = false;
        self.writer.notify_one();
    }

    /// Changes the phase; dead ones drop what was submitted.
    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.state.lock();
        state.phase = phase;
        if phase == Phase::Dead {
            state.queue.clear();
        }
        state.nudged = true;
        self.writer.notify_one();
        self.room.notify_all();
    }

    pub(super) fn phase(&self) -> Phase {
        self.state.lock().phase
    }

    /// Takes everything that is there into `into`; sleeps at most `nap` if there is nothing.
    /// Before it sleeps, `rest` is called if nothing at all is under way.
    pub(super) fn take(
        &self,
        into: &mut VecDeque<Submission>,
        nap: Option<Duration>,
        rest: impl FnOnce(),
    ) -> Phase {
        let mut state = self.state.lock();
        let wait = nap.filter(|it| !it.is_zero());
        if state.queue.is_empty() && !state.nudged && state.phase == Phase::Open {
            if let Some(nap) = wait {
                if state.works {
                    state.works = false;
                    if state.jobs == 0 {
                        rest();
                    }
                }
                state.sleeps = true;
                self.writer.wait_for(&mut state, nap);
                state.sleeps = false;
            }
        }
        // A round of submissions is under way: its end comes at once, or this does not wait for it.
        if !state.queue.is_empty() && !state.flushed && !state.nudged && state.phase == Phase::Open
        {
            state.sleeps = true;
            self.writer.wait_for(&mut state, GATHERING);
            state.sleeps = false;
        }
        state.flushed = false;
        // An idle wake-up is no work: on a virtual clock it must not look like some.
        if !state.queue.is_empty() || state.nudged || wait.is_none() {
            state.works = true;
        }
        state.nudged = false;
        if into.is_empty() {
            std::mem::swap(into, &mut state.queue);
        } else {
            into.append(&mut state.queue);
        }
        self.room.notify_all();
        state.phase
    }

    /// As `take`, for a writer that cannot commit now and holds so many already: it naps, is still
    /// at work, and leaves what is beyond a second inboxful where it is, so that a full inbox is
    /// back-pressure here too.
    pub(super) fn take_meanwhile(
        &self,
        into: &mut VecDeque<Submission>,
        held: usize,
        nap: Duration,
    ) -> Phase {
        let mut state = self.state.lock();
        let room = held < INBOX;
        let news = room && !state.queue.is_empty();
        if !news && !state.nudged && state.phase == Phase::Open {
            state.sleeps = true;
            self.writer.wait_for(&mut state, nap);
            state.sleeps = false;
        }
        state.works = true;
        state.nudged = false;
        state.flushed = false;
        if room {
            into.append(&mut state.queue);
            self.room.notify_all();
        }
        state.phase
    }

    /// Counts a job given to the loader; it is under way until `job_done`.
    pub(super) fn job_begun(&self) {
        self.state.lock().jobs += 1;
    }

    pub(super) fn job_done(&self, rest: impl FnOnce()) {
        let mut state = self.state.lock();
        state.jobs -= 1;
        let idle = !state.works && state.queue.is_empty() && !state.nudged;
        if state.jobs == 0 && idle {
            rest();
        }
    }

    /// Returns whether anything is under way.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.phase == Phase::Open
            && (state.works || state.nudged || state.jobs > 0 || !state.queue.is_empty())
    }

    /// Returns how many submissions wait.
    pub fn depth(&self) -> usize {
        self.state.lock().queue.len()
    }
}
