//! Open waits, buffered events, approvals: the rows that stand for what an instance waits on.
//!
//! A wait is durable from the commit that opens it to the commit that records its outcome; the
//! same commit closes it, so a wait is settled once (E3).

use crate::history::Operation;
use crate::ids::{EventId, Incarnation, InstanceNo, Micros, Seq, WaitId};

/// The namespace whose approvals are stored under the very id their user knows.
const DEFAULT: &str = "default";

/// What settles a wait, besides its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nothing: the deadline is the outcome, a while after it was opened (sleep).
    Timer,
    /// Nothing: the deadline is the outcome, a moment that somebody named (`sleep_until`). A pause
    /// does not move it.
    Instant,
    /// Nothing: the deadline starts the next attempt, after an error of this class, if that is
    /// known.
    Retry(Option<Box<str>>),
    /// The oldest event of one of these types.
    Event(Vec<Box<str>>),
    /// A decision on the approval with this id.
    Approval(Box<str>),
    /// The end of this instance.
    Child(InstanceNo),
}

/// A wait that is not settled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Its number.
    pub id: WaitId,
    /// The operation that opened it.
    pub operation: Operation,
    /// What it waits for.
    pub source: Source,
    /// When it opened.
    pub opened_at: Micros,
    /// When it times out; `None` waits for ever (children only).
    pub until: Option<Micros>,
    /// As of its record: where the body was when it was opened.
    pub begun: Option<Seq>,
}

/// An event sent to an instance and not taken yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number: its place in the FIFO order.
    pub id: EventId,
    /// Its type.
    pub kind: Box<str>,
    /// Its payload, opaque to the core.
    pub payload: Option<Box<[u8]>>,
    /// When it arrived.
    pub at: Micros,
}

/// Between namespace and id of an approval; no name has it.
const SEPARATOR: char = '\u{1f}';

/// Returns the id under which an approval is stored: namespaces do not share approvals.
pub(crate) fn stored_approval(namespace: &str, id: &str) -> Box<str> {
    if namespace == DEFAULT {
        id.into()
    } else {
        format!("{namespace}{SEPARATOR}{id}").into()
    }
}

/// Returns the id its user knows of an approval stored for this namespace.
pub(crate) fn told_approval<'a>(namespace: &str, id: &'a str) -> &'a str {
    id.strip_prefix(namespace)
        .and_then(|it| it.strip_prefix(SEPARATOR))
        .unwrap_or(id)
}

/// Returns namespace, workflow and id of the instance that asks for the approval stored with this
/// id: `workflow/id#name#1`, in a namespace of its own with that in front.
pub(crate) fn asker_of(stored: &str) -> Option<(&str, &str, &str)> {
    let (namespace, told) = stored.split_once(SEPARATOR).unwrap_or((DEFAULT, stored));
    let (instance, _) = told.split_once('#')?;
    let (workflow, id) = instance.split_once('/')?;
    Some((namespace, workflow, id))
}

/// Turns the stored ids of approvals waited for into those the user knows.
pub(crate) fn tell_approvals(namespace: &str, waits: &mut [Wait]) {
    for wait in waits {
        if let Source::Approval(id) = &mut wait.source {
            *id = told_approval(namespace, id).into();
        }
    }
}

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ApprovalStatus {
    /// Asked, not decided.
    Open = 0,
    /// Somebody approved it.
    Approved = 1,
    /// Somebody rejected it.
    Rejected = 2,
    /// Nobody decided in time.
    TimedOut = 3,
    /// The wait was withdrawn.
    Withdrawn = 4,
}

impl ApprovalStatus {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Approved,
        Self::Rejected,
        Self::TimedOut,
        Self::Withdrawn,
    ];

    /// Returns the one with this stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// A request for approval, or a decision that came before it was asked for (E5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Derived from instance, name and occurrence: `workflow/id#name#1`.
    pub id: Box<str>,
    /// The instance that asks, or will ask.
    pub no: InstanceNo,
    /// What is to be approved.
    pub name: Box<str>,
    /// What the asking step added for the reader, opaque to the core.
    pub detail: Option<Box<[u8]>>,
    /// When it was asked; `None` when decided before.
    pub asked_at: Option<Micros>,
    /// When it times out.
    pub until: Option<Micros>,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// Who, why and what with, opaque to the core.
    pub decision: Option<Box<[u8]>>,
    /// When it was decided.
    pub decided_at: Option<Micros>,
    /// The life that asked, or for which it was decided before: a decision for an earlier one is
    /// history only. 0: the first, as approvals of old do not say.
    pub incarnation: Incarnation,
}

impl Approval {
    /// Whether it is of this life of its instance, whose number its first life has.
    #[must_use]
    pub fn is_of(&self, no: InstanceNo, incarnation: Incarnation) -> bool {
        let said = if self.incarnation == 0 {
            no
        } else {
            self.incarnation
        };
        self.no == no && said == incarnation
    }
}
