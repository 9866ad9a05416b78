//! What waits to be polled, and the byte that says so.
//!
//! One byte is written when the outbox stops being empty, never per note. A byte may be there
//! without a note (it was polled meanwhile), never a note without a byte.
//!
//! Whoever takes notes handles them in one go, and everything else in its process waits meanwhile.
//! A note for a body says that it may go on; an answer to one of 50,000 callers only makes one more
//! of them runnable. So of answers only so many are taken at a time, and the others let notes for
//! bodies pass. Of starts whoever takes says how many. Answers keep their order, starts theirs, and
//! so does all that is told to a body. That nothing is under way is told when all else was.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::unbegun::Unbegun;
use crate::limits::ANSWERS;
use crate::note::Note;

#[derive(Debug, Default)]
struct State {
    notes: Vec<Note>,
    /// Answers that were left for later; all of them are older than `notes`.
    late: VecDeque<Note>,
    unbegun: Unbegun,
    idle: bool,
    /// The last batch whose notes were put in.
    batch: u64,
    sealed: bool,
}

impl State {
    fn take(&mut self, starts: usize) -> Vec<Note> {
        // The last note is the last: then nothing is left for later.
        let mut begin = if self.sealed { usize::MAX } else { starts };
        let some = self.late.len().min(ANSWERS);
        let mut taken: Vec<_> = self.late.drain(..some).collect();
        self.unbegun.take(&mut begin, &mut taken);
        let mut room = ANSWERS - some;
        for note in std::mem::take(&mut self.notes) {
            if note == Note::Idle {
                self.idle = true;
            } else if !note.can_wait() {
                taken.extend(self.unbegun.pass(note, &mut begin));
            } else if room > 0 {
                room -= 1;
                taken.push(note);
            } else {
                self.late.push_back(note);
            }
        }
        if self.idle && !self.has_more() {
            self.idle = false;
            taken.push(Note::Idle);
        }
        taken
    }

    fn has_more(&self) -> bool {
        !(self.late.is_empty() && self.unbegun.is_empty())
    }
}

/// Notes on their way to Python.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    /// The last batch whose notes were taken out.
    seen: AtomicU64,
    /// Where the byte goes in and comes out, until the engine has ended.
    line: Mutex<Option<(UnixStream, UnixStream)>>,
}

impl Outbox {
    pub(super) fn new() -> std::io::Result<Self> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        Ok(Self {
            state: Mutex::default(),
            seen: AtomicU64::new(0),
            line: Mutex::new(Some((bell, ear))),
        })
    }

    /// Returns the descriptor that becomes readable when there are notes; -1 when the engine has
    /// ended.
    pub fn descriptor(&self) -> RawFd {
        let line = self.line.lock();
        line.as_ref().map_or(-1, |(_, ear)| ear.as_raw_fd())
    }

    /// Gives the descriptors back. Nobody waits for them any more; notes can still be taken.
    pub(super) fn hang_up(&self) {
        self.line.lock().take();
    }

    /// Puts notes in; `batch` is the number of the batch they came from, if from one.
    pub(super) fn put(&self, notes: Vec<Note>, batch: Option<u64>) {
        self.add(notes, batch, false);
    }

    /// Puts the last note of all in; nothing comes after it.
    pub(super) fn put_last(&self, note: Note) {
        self.add(vec![note], None, true);
    }

    fn add(&self, mut notes: Vec<Note>, batch: Option<u64>, last: bool) {
        let rings = {
            let mut state = self.state.lock();
            if state.sealed {
                return;
            }
            // Under the lock that puts it in: another thread's note must not slip behind it.
            state.sealed = last;
            if let Some(batch) = batch {
                state.batch = batch;
            }
            let rings = state.notes.is_empty() && !notes.is_empty();
            if state.notes.is_empty() {
                state.notes = notes;
            } else {
                state.notes.append(&mut notes);
            }
            rings
        };
        if rings {
            self.ring();
        }
    }

    /// Takes all notes, but for answers to callers beyond so many, and for bodies that begin beyond
    /// `starts`: those come with the next calls.
    pub fn take(&self, starts: usize) -> Vec<Note> {
        if let Some((_, ear)) = &*self.line.lock() {
            empty(ear);
        }
        let (notes, more) = {
            let mut state = self.state.lock();
            self.seen.store(state.batch, Ordering::Release);
            (state.take(starts), state.has_more())
        };
        if more {
            self.ring();
        }
        notes
    }

    fn ring(&self) {
        if let Some((bell, _)) = &*self.line.lock() {
            // A full pipe holds bytes already, which is all a byte could say.
            let _ = (&*bell).write(&[1]);
        }
    }

    /// Returns the last batch whose notes were polled.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// Returns whether no note waits.
    pub fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.notes.is_empty() && !state.idle && !state.has_more()
    }

    /// Drops all notes and takes no more (a simulated crash).
    pub(super) fn seal(&self) {
        let mut state = self.state.lock();
        state.sealed = true;
        state.notes.clear();
        state.late.clear();
        state.unbegun.clear();
        state.idle = false;
    }
}

/// Takes out whatever bytes are there.
fn empty(mut ear: &UnixStream) {
    let mut sink = [0u8; 64];
    loop {
        match ear.read(&mut sink) {
            Ok(n) if n == sink.len() => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}
