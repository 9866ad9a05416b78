//! What is done to an instance by somebody who does not own its range.
//!
//! Such an effect is a letter: a row of the very commit that causes it, which the owner of the range
//! takes in, in the very commit of what follows. So it arrives once, whoever dies on the way; and as
//! letters to a range keep the order in which they were committed, so do all that one sender sends.
//! Whoever asks what only the owner can decide is answered by a letter too.
//!
//! A new verb is a [`Message`] more: [`bytes`] says how it is stored, the engine what it does.

pub(crate) mod bytes;

use crate::history::Verdict;
use crate::ids::{InstanceNo, Micros, Range, WaitId};
use crate::lifecycle::Status;
use crate::ranges::Domain;
use crate::submission::{Decision, Deed, Name};

/// Number of a letter in its store, in order of commit; may be used again when it is gone.
pub type LetterId = u64;

/// A letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Who takes it in.
    pub to: Address,
    /// What it says.
    pub message: Message,
}

/// Who takes a letter in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// Whoever owns this range by then.
    Owner(Range),
    /// The engine with this number and no other: it waits for an answer. If it is gone, so is
    /// whoever asked.
    Asker(u64),
}

impl Address {
    /// Returns whether the owner of these ranges, which has this number, takes it in.
    #[must_use]
    pub fn is_of(self, domain: &Domain, engine: u64) -> bool {
        match self {
            Self::Owner(range) => domain.has(range),
            Self::Asker(it) => it == engine,
        }
    }
}

/// What a letter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// This instance was created, unless its id was taken: it is to be queued.
    Born(InstanceNo),
    /// Somebody waits for the end of this instance. The letter stays until that was told.
    Watch(InstanceNo, Waiter),
    /// What somebody waited for has ended.
    Ended(Waiter, Ending),
    /// An event.
    Event {
        /// For which instance.
        no: InstanceNo,
        /// Its type.
        kind: Box<str>,
        /// Its payload.
        payload: Option<Box<[u8]>>,
        /// When it was sent.
        at: Micros,
        /// Its `dedup_id`.
        dedup: Option<Box<str>>,
        /// Whether it wants an answer, which is found by that.
        asks: bool,
    },
    /// Whoever called this instance waits for it no longer; the error says why.
    Terminate(InstanceNo, Box<[u8]>),
    /// The same, when it has undone what it did.
    Undo(InstanceNo, Box<[u8]>),
    /// Somebody wants something that the owner has to decide.
    Ask(Asker, Asked),
    /// The answer to what was asked under this ticket.
    Answer(u64, Answer),
}

/// An open wait for the end of an instance, and where whoever waits belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Who waits.
    pub no: InstanceNo,
    /// The range that it falls into.
    pub range: Range,
    /// The wait.
    pub wait: WaitId,
}

/// How an instance ended, for whoever waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// What the wait resolves to.
    pub verdict: Verdict,
    /// Its version, or a word that says why it failed.
    pub kind: Option<Box<str>>,
    /// Its output or error.
    pub payload: Option<Box<[u8]>>,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Number of the engine.
    pub engine: u64,
    /// The ticket that it answers there.
    pub ticket: u64,
}

/// What is asked of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To decide an approval.
    Decide(Box<Decision>),
    /// To do this to an instance.
    Act(Box<Deed>),
    /// Where a queued instance stands; the number is its priority.
    Stand(Box<Name>, i8),
}

/// What an owner answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Empty, or one of [`crate::codes`].
    pub code: &'static str,
    /// With what.
    pub data: Told,
}

/// What an answer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// Yes or no.
    Bool(bool),
    /// The state that forbids it.
    State(Status),
    /// A message.
    Text(String),
    /// As `note::Data::Standing`.
    Standing(Option<Status>, u64, [(u32, u32); 3]),
}
