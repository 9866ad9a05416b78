//! What an instance's history is made of: one record per outcome, and one per attempt that failed.
//!
//! A record names its operation by (branch, kind, name, occurrence) or (name, key) (rule I1) and
//! carries an opaque payload. This file knows neither stores nor how a body is replayed.

use crate::ids::{EventId, Micros, Seq};

/// What sort of operation a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A step function (`step.do`, one item of `step.map`).
    Do = 0,
    /// `step.sleep` and `step.sleep_until`.
    Sleep = 1,
    /// `step.wait_for_event`.
    Event = 2,
    /// `step.wait_for_approval`.
    Approval = 3,
    /// `step.create`: the child was created, or its id was taken.
    Create = 4,
    /// `step.create_batch`.
    CreateBatch = 5,
    /// `step.call`: a child created and awaited.
    Call = 6,
    /// `Child.result`: a child awaited.
    Result = 7,
    /// `step.send_event`.
    Send = 8,
    /// `step.patched`.
    Patched = 9,
    /// `step.move_on_after`, `step.fail_after`.
    Deadline = 10,
    /// `step.set_attributes`: they were changed in the same commit.
    Attributes = 11,
    /// What undoes a step (L8); without a name: that all of the instance is to be undone.
    Undo = 12,
    /// `Event.reply`: an event was answered in the same commit.
    Reply = 13,
    /// `step.continue_as_new`. What begins a new run of its instance, and says which, is called
    /// "run".
    Continue = 14,
    /// `step.stream`: a block in which the body sends.
    Stream = 15,
}

/// What a record says about its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// It succeeded; the payload is its value.
    Done = 0,
    /// It gave up; the payload is its error.
    Failed = 1,
    /// A wait ran out of time.
    TimedOut = 2,
    /// One attempt failed and another will follow; the payload is its error.
    AttemptFailed = 3,
    /// One attempt was cut short by a crash.
    Interrupted = 4,
    /// `StepContext.save`: the payload is handed to the next attempt.
    Saved = 5,
    /// The step is about to start (`on_interrupt="fail"`).
    Started = 6,
    /// The body gave the step up, and the attempt that ran then has ended (I8): a turn of its own,
    /// of which the body hears nothing. The payload is what became of the attempt.
    Abandoned = 7,
    /// A range of attempts no longer counts one by one; the payload says what they came to (see
    /// `erasure`).
    Erased = 8,
    /// The operation never began: a limit, say, refused it. The payload is its error.
    Refused = 9,
    /// The instance was restarted: of what was before, only the places count that the payload says
    /// (see `erasure`). It belongs to no operation.
    Restarted = 10,
}

impl Verdict {
    /// Returns whether this record settles its operation.
    #[must_use]
    pub fn is_outcome(self) -> bool {
        matches!(
            self,
            Self::Done | Self::Failed | Self::TimedOut | Self::Abandoned | Self::Refused
        )
    }
}

/// The identity of an operation inside its instance (rules I1, I2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation {
    /// What sort of operation.
    pub kind: Kind,
    /// Structural path of the branch; empty for the body itself.
    pub branch: Box<str>,
    /// The operation's name.
    pub name: Box<str>,
    /// The key that replaces branch and occurrence, if one was given.
    pub key: Option<Box<str>>,
    /// Occurrence of this name in its branch, from 1.
    pub count: u32,
}

/// An operation that a body begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Which.
    pub operation: Operation,
    /// As of its record.
    pub begun: Option<Seq>,
}

impl From<Operation> for Begun {
    fn from(operation: Operation) -> Self {
        let begun = None;
        Self { operation, begun }
    }
}

/// One line of an instance's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which operation.
    pub operation: Operation,
    /// Which attempt, from 1; 0 for waits.
    pub attempt: u32,
    /// What happened.
    pub verdict: Verdict,
    /// When the attempt or wait began.
    pub started_at: Micros,
    /// When this was recorded.
    pub at: Micros,
    /// The place of the last outcome that the body had been given when the operation began, 0 if
    /// there was none (L6); `None` if that was not recorded.
    pub begun: Option<Seq>,
    /// The first attempt that no longer counts, after [`Verdict::Erased`]; `attempt` is the last.
    pub erases: Option<u32>,
    /// Another moment that belongs to it: after [`Verdict::AttemptFailed`] when the next attempt is
    /// due; of an event or a decision when that came (E5), which records of old do not say.
    pub moment: Option<Micros>,
    /// Number of the event that was taken, so that a withdrawn wait can put it back (I8); of a call
    /// that of the child (L6).
    pub event: Option<u64>,
    /// Type of the event that was taken; version of the child whose output it is; or a word that
    /// says which way it went.
    pub event_type: Option<Box<str>>,
    /// Value or error, opaque to the core.
    pub payload: Option<Box<[u8]>>,
}

impl Record {
    /// Whether it says that a new run of its instance begins here, with other params: the count is
    /// the number of that run, from 2 (L15).
    #[must_use]
    pub fn begins_run(&self) -> bool {
        self.operation.kind == Kind::Continue && self.verdict == Verdict::Done
    }

    /// Returns the number of the event that was taken.
    #[must_use]
    pub fn taken(&self) -> Option<EventId> {
        self.event.filter(|_| self.operation.kind == Kind::Event)
    }
}

/// A record with its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Place in the journal; orders the records of an instance.
    pub seq: Seq,
    /// The record.
    pub record: Record,
}

macro_rules! codes {
    ($type:ident: $($variant:ident),+) => {
        impl $type {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the variant with this stored code.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| *it as u8 == code)
            }
        }
    };
}
codes!(Kind: Do, Sleep, Event, Approval, Create, CreateBatch, Call, Result, Send, Patched, Deadline, Attributes, Undo, Reply, Continue, Stream);
codes!(Verdict: Done, Failed, TimedOut, AttemptFailed, Interrupted, Saved, Started, Abandoned, Erased, Refused, Restarted);
