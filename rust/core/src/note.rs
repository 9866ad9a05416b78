//! What the core tells Python, and what it is asked: plain data, in the words of the border.
//!
//! A note about a change exists only after the commit that holds the change (D1).

use crate::audit;
use crate::bulk;
use crate::changes::ChangeNo;
use crate::history::{Stored, Verdict};
use crate::ids::{Incarnation, InstanceNo, Micros, Seq};
use crate::large::Loose;
use crate::lifecycle::Status;
use crate::limits::RECORDS_A_START;
use crate::rewind::{No, Plan};
use crate::schedule::{self, Firing, Schedule};
use crate::store::{Answered, ApprovalPage, Look, Row};
use crate::stream::StreamRow;
use crate::tally::ReasonTold;
use crate::wait::Wait;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// These records are durable.
    Done {
        /// When they were recorded.
        at: Micros,
        /// Their tickets.
        tickets: Vec<u64>,
        /// The places of the records, in the same order.
        seqs: Vec<Seq>,
    },
    /// An answer; `code` is empty on success.
    Reply {
        /// What it answers.
        ticket: u64,
        /// Error code.
        code: &'static str,
        /// Value, or data for the error's message.
        data: Data,
    },
    /// Run this body from the top.
    Start(Box<Start>),
    /// A resident instance has a slot again.
    Wake {
        /// Which instance.
        no: InstanceNo,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// A wait or a ticket has its outcome.
    Settled(Box<Settled>),
    /// A timer that is not durable is due.
    Timer {
        /// Its ticket.
        ticket: u64,
    },
    /// A schedule is to be looked at.
    Schedule {
        /// Its number.
        number: u64,
    },
    /// A watched instance changed state.
    Changed {
        /// Which instance.
        no: InstanceNo,
        /// Its state now.
        status: Status,
        /// Why it is blocked.
        reason: Option<Box<str>>,
        /// Output or error.
        payload: Option<Box<[u8]>>,
    },
    /// A watched instance was deleted.
    Gone {
        /// Which instance.
        no: InstanceNo,
    },
    /// Something was recorded of an instance that somebody listens to.
    Recorded(InstanceNo, Box<Stored>),
    /// It reported its progress.
    Progress(InstanceNo, Box<[u8]>),
    /// It sent something, or ended a passage: in which incarnation, in which stream, and what. What a
    /// passage came to is not told here.
    Streamed(InstanceNo, Box<(Incarnation, Box<str>, StreamRow)>),
    /// Some instance has changed, for whoever awaits that.
    News,
    /// This body begins nothing any more, and leaves when what runs of it has ended; or not.
    Pause {
        /// Which instance.
        no: InstanceNo,
        /// Which life of it.
        incarnation: Incarnation,
        /// Whether it is to pause; false: it was to, and goes on.
        is_on: bool,
    },
    /// This body begins nothing any more, and leaves when what runs of it has ended: then the
    /// instance undoes its steps.
    Undo {
        /// Which instance.
        no: InstanceNo,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// This incarnation may not go on.
    Unwind {
        /// Which instance.
        no: InstanceNo,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// A record came too late and changed nothing (D6).
    Fenced {
        /// Its ticket.
        ticket: u64,
    },
    /// On a virtual clock: nothing is under way.
    Idle,
    /// The store cannot take everything now, or can again. Nothing acknowledged is lost.
    Hindered {
        /// Whether it is hindered from now on.
        now: bool,
        /// For the user.
        message: String,
    },
    /// The engine is poisoned.
    Failed {
        /// "failed", "corrupt" or "internal".
        kind: &'static str,
        /// For the user.
        message: String,
    },
}

/// Everything needed to run a body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Start {
    /// Number of the instance.
    pub no: InstanceNo,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its workflow.
    pub workflow: Box<str>,
    /// Version of the workflow.
    pub version: Box<str>,
    /// Its id.
    pub id: Box<str>,
    /// What it starts with.
    pub params: Option<Box<[u8]>>,
    /// Its attributes.
    pub attributes: Option<Box<[u8]>>,
    /// When it was created.
    pub created_at: Micros,
    /// Who created it.
    pub parent: Option<InstanceNo>,
    /// Id of the schedule that created it.
    pub schedule: Option<Box<str>>,
    /// The name that its workflow had when it was created, if that was another one.
    pub born: Option<Box<str>>,
    /// Which rules it keeps: see [`crate::store::FORMAT`].
    pub format: u32,
    /// Whether the engine stopped uncleanly while this body could run (R3).
    pub interrupted: bool,
    /// From which all that looks random in it derives: one of its incarnations.
    pub seed: Incarnation,
    /// Its history.
    pub records: Vec<Stored>,
    /// What it still waits for.
    pub waits: Vec<Wait>,
    /// How many places of its stream each block of the body took, by the place of the block's record.
    pub sent: Vec<(Seq, u64)>,
}

/// The outcome of a wait or ticket.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Whose.
    pub no: InstanceNo,
    /// Number of the wait or ticket.
    pub number: u64,
    /// Place of the record in the journal; 0 for retry delays, which leave none.
    pub seq: Seq,
    /// What came out.
    pub verdict: Verdict,
    /// Type of the event, version of the child, or a word that says why it failed.
    pub kind: Option<Box<str>>,
    /// Value or error.
    pub payload: Option<Box<[u8]>>,
    /// When.
    pub at: Micros,
    /// When the event or the decision came that is the outcome.
    pub came_at: Option<Micros>,
}

/// One item of the answer to a batch of creations.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Empty if it was created (or may count as such).
    pub code: &'static str,
    /// The instance with that id.
    pub no: InstanceNo,
    /// Its id.
    pub id: Box<str>,
    /// Whether it is new.
    pub created: bool,
    /// Its state.
    pub status: Status,
}

/// An item of a part that was refused: its place, the code, and what is told with that.
pub type Refusal = (u64, &'static str, Data);

/// What a reply carries.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing.
    Nothing,
    /// Yes or no.
    Bool(bool),
    /// An instance that was created or found.
    Created {
        /// Its number.
        no: InstanceNo,
        /// Its id.
        id: Box<str>,
        /// Whether it is new.
        created: bool,
        /// Its state.
        status: Status,
    },
    /// One answer per item.
    Items(Vec<Item>),
    /// Number and state of the instance that has the id.
    Exists(InstanceNo, Status),
    /// The state that forbids it.
    State(Status),
    /// A limit's name and when to try again.
    Overloaded(&'static str, Micros),
    /// A limit's name and its value.
    Limit(&'static str, u64),
    /// The state, if it is not final; how many go first; (in use, limit) of the engine's, the
    /// namespace's and the workflow's slots.
    Standing(Option<Status>, u64, [(u32, u32); 3]),
    /// A message.
    Text(String),
    /// One instance, if there is one.
    Row(Option<Box<Look>>),
    /// An instance, if there is one, and rows of a stream of it.
    Stream(Option<Box<(Row, Vec<StreamRow>)>>),
    /// Several; and the last that was looked at for them, if that was not all, with the moment of its
    /// creation.
    Rows(Vec<Look>, Option<(InstanceNo, Micros)>),
    /// An instance with what it had recorded, if there is one.
    History(Option<Box<(Look, Vec<Stored>)>>),
    /// An instance, its history, and what a restart would do to it.
    Rewound(Option<Box<Rewound>>),
    /// Whether something was forgotten before these; instances that changed, each with its place;
    /// and the place up to which that is all.
    Changes(bool, Vec<(ChangeNo, Row)>, ChangeNo),
    /// Why instances are where they are, each with the id of one.
    Reasons(Vec<(ReasonTold, Option<Box<str>>)>),
    /// Approvals with the instances that ask.
    Approvals(ApprovalPage),
    /// A number.
    Number(u64),
    /// Who refused what was done to many, of a part of them; and to how many it was done so far.
    Part(Vec<Refusal>, u64),
    /// What is done to many.
    Bulks(bulk::Rows),
    /// Schedules.
    Schedules(schedule::Rows<Schedule>),
    /// What came of their times.
    Firings(schedule::Rows<Firing>),
    /// Keys of large values that nothing names.
    Loose(Loose),
    /// An instance, if there is one, and what came of an event that wanted an answer of it.
    Asked(Option<Box<(Look, Answered)>>),
    /// Rows of the audit, and how far was searched.
    Audit(audit::Rows),
}

/// An instance, its history, and what a restart would do to it.
pub type Rewound = (Row, Vec<Stored>, Result<Plan, No>);

impl Note {
    /// Whether notes for bodies may pass it: an answer, or what is told last of all.
    pub(crate) fn can_wait(&self) -> bool {
        matches!(self, Self::Reply { .. } | Self::Idle | Self::Failed { .. })
    }

    /// Returns the body that it is told to, if it is told to one by its number.
    pub(crate) fn about(&self) -> Option<InstanceNo> {
        match self {
            Self::Start(it) => Some(it.no),
            Self::Settled(it) => Some(it.no),
            Self::Wake { no, .. } | Self::Unwind { no, .. } => Some(*no),
            _ => None,
        }
    }

    /// Returns what it costs to begin this body, in starts without a history; of all other notes 0.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Start(it) => 1 + it.records.len() / RECORDS_A_START,
            _ => 0,
        }
    }

    /// Returns a successful reply.
    #[must_use]
    pub fn reply(ticket: u64, data: Data) -> Self {
        Self::Reply {
            ticket,
            code: "",
            data,
        }
    }

    /// Returns a reply that says no.
    #[must_use]
    pub fn refuse(ticket: u64, code: &'static str, data: Data) -> Self {
        Self::Reply { ticket, code, data }
    }
}
