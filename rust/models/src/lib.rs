//! The core's hand-offs between threads, under schedules drawn by `shuttle`.
//!
//! The files below are the core's own, compiled a second time. They say `use parking_lot::Mutex`,
//! and in this crate `parking_lot` is this crate: its locks and conditions are those of
//! [`sync`], where every lock, unlock, wait and notify is a place at which another thread
//! may go on. So the code that runs here is the product's, to the letter, and the product does
//! not know of this. What the files need besides (notes, submissions, limits) are stand-ins, small
//! enough that a full inbox is an everyday thing.
//!
//! The threads around them (who submits, who writes, who polls) are models in `tests/`.

extern crate self as parking_lot;

pub mod explore;
pub mod residing;
pub mod sync;
pub mod telling;
pub mod watching;
pub mod writing;

pub use sync::{Condvar, Mutex, MutexGuard};

#[path = "../../core/src/runtime/alarms.rs"]
pub mod alarms;
#[path = "../../core/src/ids.rs"]
pub mod ids;
#[expect(
    dead_code,
    reason = "the engine asks for the phase; the models know it"
)]
#[path = "../../core/src/runtime/inbox.rs"]
pub mod inbox;
#[path = "../../core/src/lifecycle.rs"]
pub mod lifecycle;
#[expect(dead_code, reason = "no model closes an engine")]
#[path = "../../core/src/runtime/outbox.rs"]
pub mod outbox;
#[path = "../../core/src/registry/mod.rs"]
pub mod registry;
#[path = "../../core/src/residents.rs"]
pub mod residents;
#[path = "../../core/src/timer.rs"]
pub mod timer;
#[path = "../../core/src/runtime/unbegun.rs"]
mod unbegun;
#[path = "../../core/src/watches.rs"]
pub mod watches;

/// The core's limits, small.
pub mod limits {
    /// Tables of the registry.
    pub const TABLES: u16 = 2;
    /// Submissions that may wait.
    pub const INBOX: usize = 3;
    /// Gathered submissions that wake the writer.
    pub const GATHER: usize = 2;
    /// Answers that are polled at a time.
    pub const ANSWERS: usize = 1;
    /// How long the writer waits for the end of a round.
    pub const GATHERING: std::time::Duration = std::time::Duration::from_millis(2);
}

/// A stand-in for what is submitted.
pub mod submission {
    /// Who submitted it, and the how manieth of theirs it is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Submission(pub usize, pub usize);
}

/// A stand-in for what is told.
pub mod note {
    /// Something that happened.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Note {
        /// A timer is due.
        Timer {
            /// Its ticket.
            ticket: u64,
        },
        /// Who told it, and the how manieth of theirs it is.
        Told(usize, usize),
        /// A body is to run.
        Start,
        /// Nothing is under way.
        Idle,
        /// The last note.
        Failed,
    }

    impl Note {
        /// What the second teller tells is answers.
        pub(crate) fn can_wait(&self) -> bool {
            matches!(self, Self::Told(1, _) | Self::Idle | Self::Failed)
        }

        /// One body begins at most, and is told nothing that would name it.
        pub(crate) fn about(&self) -> Option<u64> {
            matches!(self, Self::Start).then_some(0)
        }

        pub(crate) fn weight(&self) -> usize {
            usize::from(*self == Self::Start)
        }
    }
}
