//! Which instances have a body in memory, and what is held back for them.
//!
//! The one place where Python's thread (`park`) and the writer (a wait is settled) race for an
//! instance; whoever takes the lock first wins, and both act on what they found. Invariants: a
//! body that has no slot is told nothing (C1); nothing is told about a body before its START.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::ids::{Incarnation, InstanceNo};
use crate::note::Note;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    /// Has a slot.
    Running,
    /// Waits, may be parked.
    Waiting,
    /// Woken, without a slot yet.
    Queued,
    /// Its START is being read.
    Loading,
}

#[derive(Debug)]
struct Resident {
    incarnation: Incarnation,
    seat: Seat,
    held: Vec<Note>,
}

/// All bodies in memory.
#[derive(Debug, Default)]
pub struct Residents {
    seats: Mutex<FxHashMap<InstanceNo, Resident>>,
}

impl Residents {
    fn seat(&self, no: InstanceNo, incarnation: Incarnation, seat: Seat) {
        let resident = Resident {
            incarnation,
            seat,
            held: Vec::new(),
        };
        self.seats.lock().insert(no, resident);
    }

    /// Its START goes out at once.
    pub fn start(&self, no: InstanceNo, incarnation: Incarnation) {
        self.seat(no, incarnation, Seat::Running);
    }

    /// Its START is to be read first.
    pub fn load(&self, no: InstanceNo, incarnation: Incarnation) {
        self.seat(no, incarnation, Seat::Loading);
    }

    /// Its START was read: `tell` gets what was held back meanwhile, under the lock, so that
    /// nothing slips between. Returns false if the body is not wanted any more.
    pub fn loaded(
        &self,
        no: InstanceNo,
        incarnation: Incarnation,
        tell: impl FnOnce(Vec<Note>),
    ) -> bool {
        let mut seats = self.seats.lock();
        match seats.get_mut(&no) {
            Some(it) if it.incarnation == incarnation && it.seat == Seat::Loading => {
                it.seat = Seat::Running;
                tell(std::mem::take(&mut it.held));
                true
            }
            _ => false,
        }
    }

    /// It waits and may be parked.
    pub fn wait(&self, no: InstanceNo) {
        if let Some(it) = self.seats.lock().get_mut(&no) {
            it.seat = Seat::Waiting;
        }
    }

    /// Leaves memory if it waits.
    pub fn park(&self, no: InstanceNo, incarnation: Incarnation) -> bool {
        let mut seats = self.seats.lock();
        let waits = seats
            .get(&no)
            .is_some_and(|it| it.incarnation == incarnation && it.seat == Seat::Waiting);
        if waits {
            seats.remove(&no);
        }
        waits
    }

    /// It is to be woken; from now on it cannot be parked. Returns whether it is in memory.
    #[must_use]
    pub fn claim(&self, no: InstanceNo) -> bool {
        match self.seats.lock().get_mut(&no) {
            Some(it) => {
                it.seat = Seat::Queued;
                true
            }
            None => false,
        }
    }

    /// It has a slot again; returns what was held back.
    #[must_use]
    pub fn wake(&self, no: InstanceNo) -> Vec<Note> {
        match self.seats.lock().get_mut(&no) {
            Some(it) => {
                it.seat = Seat::Running;
                std::mem::take(&mut it.held)
            }
            None => Vec::new(),
        }
    }

    /// Returns the note if it may be told now; else keeps it, or drops it if nobody is there.
    #[must_use]
    pub fn deliver(&self, no: InstanceNo, note: Note) -> Option<Note> {
        let mut seats = self.seats.lock();
        let resident = seats.get_mut(&no)?;
        if resident.seat == Seat::Running {
            return Some(note);
        }
        resident.held.push(note);
        None
    }

    /// It left memory.
    pub fn leave(&self, no: InstanceNo) {
        self.seats.lock().remove(&no);
    }

    /// Returns how many bodies are in memory or on their way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.lock().len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_that_waits_can_be_parked() {
        let residents = Residents::default();
        residents.start(1, 7);
        assert!(!residents.park(1, 7));
        residents.wait(1);
        assert!(!residents.park(1, 6));
        assert!(residents.claim(1));
        assert!(!residents.park(1, 7));
        residents.wait(1);
        assert!(residents.park(1, 7));
        assert!(!residents.claim(1));
    }

    #[test]
    fn what_comes_before_the_start_is_held_back() {
        let residents = Residents::default();
        residents.load(1, 7);
        assert_eq!(residents.deliver(1, Note::Idle), None);
        let mut held = Vec::new();
        assert!(residents.loaded(1, 7, |notes| held = notes));
        assert_eq!(held, [Note::Idle]);
        assert_eq!(residents.deliver(1, Note::Idle), Some(Note::Idle));
        assert_eq!(residents.deliver(2, Note::Idle), None);
    }
}
