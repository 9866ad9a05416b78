//! The seam between decisions and durability.
//!
//! The core hands over whole batches of plain-data operations and gets one answer per operation;
//! a batch is durable as a whole when `commit` returns, or the store is poisoned. Nothing in here
//! decides: a store that disagrees with the core (a taken id, an outdated incarnation) says so in
//! its answer and changes nothing for that operation. Reads that may be slow go through a
//! [`Reader`], which never waits for the writer.

use std::path::Path;
use std::sync::Arc;

use crate::audit;
use crate::bulk::{self, Bulk};
use crate::history::{Record, Stored};
use crate::ids::{EventId, Incarnation, InstanceNo, Key, Micros, Seq, WaitId};
use crate::large::{LargeKey, Loose};
use crate::letter::{Letter, LetterId};
use crate::lifecycle::Status;
use crate::ranges::Domain;
use crate::retention::Keep;
use crate::schedule::{self, Firing, FiringQuery, Schedule};
use crate::stream::{Chunks, StreamRow};
use crate::undo::Undo;
use crate::wait::{Approval, ApprovalStatus, Event, Wait};
use known::{Damaged, Known, Need, Needs};
use renames::Renaming;

pub mod known;
pub mod memory;
pub mod renames;
#[cfg(test)]
pub(crate) mod samples;
pub mod sqlite;
mod within;

/// Which rules a new instance keeps for life. Some rules changed what a history looks like: an
/// instance that began under the old one goes on under it, whatever version runs it.
///
/// - 0: created before schema 3.
/// - 1: created with schema 3.
/// - 2: created since an operation that is refused counts as one of its name.
/// - 3: created since an event without a payload has to fit the type that its wait asks for.
/// - 4: created since what a body is refused is recorded.
pub const FORMAT: u32 = 4;

/// A new instance, as admission accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    /// Its number, given out by the core.
    pub no: InstanceNo,
    /// Its first incarnation.
    pub incarnation: Incarnation,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Name of its workflow.
    pub workflow: Box<str>,
    /// Version of its workflow.
    pub version: Box<str>,
    /// The id its user knows.
    pub id: Box<str>,
    /// What it starts with, opaque to the core.
    pub params: Option<Box<[u8]>>,
    /// Attributes, opaque to the core.
    pub attributes: Option<Box<[u8]>>,
    /// -100 to 100, higher first.
    pub priority: i8,
    /// When it was created.
    pub created_at: Micros,
    /// Not to be started before this.
    pub start_at: Option<Micros>,
    /// `Queued`, or `Running` when it got its slot at once; then it is marked (R3).
    pub status: Status,
    /// Who created it with `step.create` or `step.call`.
    pub parent: Option<InstanceNo>,
    /// Whether the parent called it and so terminates it with itself (L10).
    pub called: bool,
    /// Which rules it keeps for life: see [`FORMAT`].
    pub format: u32,
    /// In place of its incarnation, where what looks random in it is derived (L6).
    pub seed: Option<Incarnation>,
    /// How long it is kept after its end; `None`: as its workflow says.
    pub keep: Option<Keep>,
    /// Id of the schedule that created it.
    pub schedule: Option<Box<str>>,
}

/// A new state of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state it is in from now on.
    pub status: Status,
    /// Whether body code may run from now on (R3).
    pub marked: bool,
    /// Unclean stops without progress so far (L11).
    pub recoveries: u32,
    /// Why it is blocked: a short code such as `nondeterminism`, `missing_code`.
    pub reason: Option<Box<str>>,
    /// At which step it is blocked, if it is at one.
    pub step: Option<Box<str>>,
    /// Output of a `Complete` instance; error of an `Errored`, `Terminated` or `Blocked` one.
    pub payload: Option<Box<[u8]>>,
    /// How far the undoing of its steps is (L8); `None`: nothing of it is undone.
    pub undo: Option<Undo>,
    /// When.
    pub at: Micros,
}

/// A new life of an instance, under the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// Under which it writes from now on.
    pub incarnation: Incarnation,
    /// From which all that looks random in it derives, if not from that (L6).
    pub seed: Option<Incarnation>,
    /// What it starts with from now on; `None`: what it started with before.
    pub params: Option<Box<[u8]>>,
    /// When.
    pub at: Micros,
}

/// One change. All of them but `Meta`, `Ended`, `Failed`, `Bucket`, letters, schedules, keys of large values and what the audit keeps belong to one
/// instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Creates an instance; the answer is [`Outcome::Exists`] if (namespace, workflow, id) is
    /// taken.
    Create(Box<NewInstance>),
    /// Creates children and records that in their parent, all or nothing: the answer is
    /// [`Outcome::Exists`] if any of their ids is taken.
    CreateChildren(Vec<NewInstance>, InstanceNo, Incarnation, Box<Record>),
    /// Appends a record to the history.
    Append(InstanceNo, Incarnation, Record),
    /// Opens a wait.
    Open(InstanceNo, Incarnation, Wait),
    /// Closes a wait; a wait that is not there is no error.
    Close(InstanceNo, WaitId),
    /// Moves the deadline of a wait; a wait that is not there is no error.
    Postpone(InstanceNo, WaitId, Micros),
    /// Keeps an event. The answer is [`Outcome::Seen`] if its `dedup_id` was seen before.
    Buffer(InstanceNo, Event, Option<Box<str>>),
    /// Removes a buffered event because a wait took it.
    Take(InstanceNo, EventId),
    /// Remembers the `dedup_id` of an event that a wait took on arrival.
    Seen(InstanceNo, Box<str>),
    /// An event that was just kept wants an answer, which is found by its `dedup_id` from then on; of
    /// one that is not kept, as it had come before, nothing changes.
    Ask(InstanceNo, EventId, Box<str>),
    /// Answers the event that the record at this place took; if it wanted none, or has its answer,
    /// nothing changes.
    Answer(InstanceNo, Incarnation, Seq, Box<[u8]>),
    /// Changes the state.
    Status(InstanceNo, Incarnation, Transition),
    /// Gives it another version of its workflow.
    Version(InstanceNo, Incarnation, Box<str>),
    /// Gives it another priority and `start_at`.
    Place(InstanceNo, Incarnation, i8, Option<Micros>),
    /// Replaces the attributes, and what they are found by.
    Attributes(InstanceNo, Incarnation, Box<[u8]>),
    /// Begins a new life: queued, and without result, progress, waits and whatever else the last one
    /// left but its history, events and attributes.
    Restart(InstanceNo, Incarnation, Box<Restart>),
    /// Removes an instance and everything of it (L7). Its history may be freed later.
    Delete(InstanceNo),
    /// Keeps the last reported progress. Rides along, never causes a commit.
    Progress(InstanceNo, Box<[u8]>),
    /// Adds chunks to a stream, or ends a passage of it. The answer is the place of the first, or
    /// [`Outcome::Full`].
    Chunks(InstanceNo, Incarnation, Box<Chunks>),
    /// Frees some chunks that nobody is told of any more since before this. The answer is how much of
    /// what may be done at once that was.
    ForgetChunks(Micros),
    /// Writes an approval, replacing the one with the same id.
    Approval(Box<Approval>),
    /// Gives an approval a state in which nobody decides it any more, if it is open. One that is not
    /// there, or cannot be read, is no error.
    EndApproval(Box<str>, ApprovalStatus),
    /// Leaves a letter. The answer is its number.
    Leave(Box<Letter>),
    /// Removes a letter, because what it says is done in this batch. The answer is
    /// [`Outcome::Fenced`] if it is not there.
    TakeIn(LetterId),
    /// Keeps an engine-wide setting (next number, limits, boot id).
    Meta(Box<str>, Box<[u8]>),
    /// Keeps a row of the audit, replacing the one with the same number.
    Audit(Box<audit::Entry>),
    /// Forgets rows of the audit from before this, of the oldest few. The answer is how many.
    ForgetAudit(Micros),
    /// Keeps what is done to many, and how far it is, replacing what was kept of the same.
    Bulk(Box<Bulk>),
    /// This was the last of those that changed an instance.
    Touched(InstanceNo, u64),
    /// Forgets some of those that ended before this. The answer is how many.
    ForgetBulks(Micros),
    /// Keeps a schedule and how far it is, replacing what was kept of the same.
    Schedule(Box<Schedule>),
    /// Keeps what came of a time of a schedule, replacing the row with the same number.
    Firing(Box<Firing>),
    /// Forgets the oldest firings of a schedule, all but so many. The answer is how many.
    ForgetFirings(u64, u64),
    /// Removes a schedule and its firings.
    Unschedule(u64),
    /// Keeps how many instances of a workflow have ended, replacing what was kept before.
    Ended(Box<Ended>),
    /// Keeps how many instances failed alike in an hour, replacing what was kept before; what was
    /// kept of more than a day before that hour goes.
    Failed(Box<Failed>),
    /// Keeps what a call from outside was answered, under the id that it came with.
    Called(Box<Called>),
    /// Forgets some of what was answered before this, the oldest. The answer is how many.
    ForgetCalls(Micros),
    /// Forgets what there is of a namespace beside its instances, of which there are none, and its
    /// schedules.
    Forget(Box<Forgotten>),
    /// Keeps what a namespace's creation rate has left, replacing what was kept before (C10).
    Bucket(Box<Bucket>),
    /// Keeps keys of values that are about to be put into a payload store.
    Large(Vec<LargeKey>),
    /// Forgets keys: there is nothing under them any more.
    ForgetLarge(Vec<LargeKey>),
}

impl Op {
    /// Returns whose it is.
    #[must_use]
    pub fn of(&self) -> Option<InstanceNo> {
        match self {
            Self::Create(new) => Some(new.no),
            Self::CreateChildren(_, no, ..)
            | Self::Append(no, ..)
            | Self::Open(no, ..)
            | Self::Close(no, _)
            | Self::Postpone(no, ..)
            | Self::Buffer(no, ..)
            | Self::Take(no, _)
            | Self::Seen(no, _)
            | Self::Ask(no, ..)
            | Self::Answer(no, ..)
            | Self::Status(no, ..)
            | Self::Version(no, ..)
            | Self::Place(no, ..)
            | Self::Attributes(no, ..)
            | Self::Restart(no, ..)
            | Self::Delete(no)
            | Self::Touched(no, _)
            | Self::Chunks(no, ..)
            | Self::Progress(no, _) => Some(*no),
            Self::Approval(it) => Some(it.no),
            Self::EndApproval(..)
            | Self::Leave(_)
            | Self::TakeIn(_)
            | Self::Meta(..)
            | Self::Ended(_)
            | Self::Failed(_)
            | Self::Bucket(_)
            | Self::Large(_)
            | Self::ForgetLarge(_)
            | Self::Audit(_)
            | Self::Bulk(_)
            | Self::ForgetBulks(_)
            | Self::Schedule(_)
            | Self::Firing(_)
            | Self::ForgetFirings(..)
            | Self::Unschedule(_)
            | Self::ForgetAudit(_)
            | Self::Called(_)
            | Self::ForgetCalls(_)
            | Self::ForgetChunks(_)
            | Self::Forget(_) => None,
        }
    }
}

/// Name of a setting, and its value; `None`: it has none any more.
pub type Setting = (Box<str>, Option<Box<[u8]>>);

/// A namespace of which nothing is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Its name.
    pub namespace: Box<str>,
    /// Which of the bulks in it stays: the one that removed everything.
    pub bulk: u64,
    /// Settings that become this, or go.
    pub settings: Vec<Setting>,
}

/// What a call from outside was answered: whoever repeats it is answered the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The id that the call came with: unlike that of any other.
    pub id: Box<[u8]>,
    /// When it was answered.
    pub at: Micros,
    /// The answer, as `engine::repeated` reads it.
    pub answer: Box<[u8]>,
}

/// How many instances of a version ended with errors of one sort in an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Their namespace.
    pub namespace: Box<str>,
    /// Their workflow.
    pub workflow: Box<str>,
    /// Its version.
    pub version: Box<str>,
    /// The hour, since 1970.
    pub hour: i64,
    /// The step that failed, if one did.
    pub step: Option<Box<str>>,
    /// The class of the error.
    pub error: Option<Box<str>>,
    /// How many.
    pub count: u64,
    /// When the first was.
    pub since: Micros,
    /// Which that was.
    pub example: InstanceNo,
}

/// How many hours before the last failure others are kept.
pub(crate) const FAILURE_HOURS: i64 = 24;

impl Failed {
    /// Whether both count the same sort of failure in the same hour.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let of = |it: &Self| {
            let names = [
                it.namespace.clone(),
                it.workflow.clone(),
                it.version.clone(),
            ];
            (names, it.hour, it.step.clone(), it.error.clone())
        };
        of(self) == of(other)
    }
}

/// What the creation rate of a namespace has left, and when it had that: so a rate holds over any
/// end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Whose rate.
    pub namespace: Box<str>,
    /// How many creations it had left, in millionths of one; below zero after more than it had.
    pub millionths: i64,
    /// When, by the wall clock.
    pub at: Micros,
}

/// How many instances of a workflow have ended, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub workflow: Box<str>,
    /// How many are `Complete`, `Errored` and `Terminated`.
    pub counts: [u64; 3],
    /// The same by version, in order of name: of those that changed, or, as an answer, of all of
    /// which any has ended.
    pub versions: Vec<(Box<str>, [u64; 3])>,
}

/// The answer to one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It was done. For records: their place in the journal; for letters: their number; where rows
    /// are forgotten: how many. Otherwise 0.
    Done(u64),
    /// The id is taken, by the instance with this number, which is in this state: `Blocked` if that
    /// cannot be read.
    Exists(InstanceNo, Status),
    /// An event with this `dedup_id` was there before.
    Seen,
    /// The incarnation is not the stored one: nothing was changed (D6).
    Fenced,
    /// The stream holds what it may: nothing was changed.
    Full,
}

/// What the store knows of one instance, without payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub no: InstanceNo,
    /// Its present incarnation.
    pub incarnation: Incarnation,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Name of its workflow.
    pub workflow: Box<str>,
    /// Version of its workflow.
    pub version: Box<str>,
    /// The id its user knows.
    pub id: Box<str>,
    /// Its state.
    pub status: Status,
    /// Whether body code may have been running (R3).
    pub marked: bool,
    /// Unclean stops without progress (L11).
    pub recoveries: u32,
    /// Why it is blocked.
    pub reason: Option<Box<str>>,
    /// At which step it is blocked.
    pub step: Option<Box<str>>,
    /// -100 to 100.
    pub priority: i8,
    /// When it was created.
    pub created_at: Micros,
    /// When its body ran first.
    pub started_at: Option<Micros>,
    /// When it became final.
    pub ended_at: Option<Micros>,
    /// When its state last changed.
    pub updated_at: Micros,
    /// Not to be started before this.
    pub start_at: Option<Micros>,
    /// Who created it.
    pub parent: Option<InstanceNo>,
    /// Whether the parent called it.
    pub called: bool,
    /// Which rules it keeps: see [`FORMAT`].
    pub format: u32,
    /// In place of its incarnation, where what looks random in it is derived (L6).
    pub seed: Option<Incarnation>,
    /// Since when it is paused, or is to be.
    pub paused_at: Option<Micros>,
    /// Id of the schedule that created it.
    pub schedule: Option<Box<str>>,
    /// How far the undoing of its steps is (L8); `None`: nothing of it is undone.
    pub undo: Option<Undo>,
    /// The name that its workflow had when it was created, if that was another one: all that is
    /// derived from the name of its workflow derives from this one, for life.
    pub born: Option<Box<str>>,
    /// What of it cannot be read, in a listing; nothing else of it is to be trusted then but its
    /// names, its id and its number.
    pub damage: Option<Box<str>>,
}

/// The payloads of one instance, read only when asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payloads {
    /// What it started with.
    pub params: Option<Box<[u8]>>,
    /// Its output (complete) or error (errored, terminated, blocked).
    pub result: Option<Box<[u8]>>,
    /// Its last reported progress.
    pub progress: Option<Box<[u8]>>,
    /// Its attributes.
    pub attributes: Option<Box<[u8]>>,
}

/// What came of an event that wants an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// No event with this `dedup_id` came, or it wanted none.
    Never,
    /// It has no answer yet.
    Open,
    /// Its answer.
    With(Box<[u8]>),
}

/// What an instance is at one moment, but for its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Its row.
    pub row: Row,
    /// Its payloads.
    pub payloads: Payloads,
    /// What it waits for, oldest first.
    pub waits: Vec<Wait>,
    /// Whose ends are among that, oldest first, as many as are named.
    pub children: Vec<Row>,
    /// Types of the events that no wait has taken yet, in their order, and how many of each; as many
    /// types as are named.
    pub kept: Vec<(Box<str>, u64)>,
}

impl Row {
    /// Whether it was created, queued, and never changed since: what [`Newcomer`] says of it is
    /// all.
    #[must_use]
    pub fn is_newcomer(&self) -> bool {
        self.status == Status::Queued
            && !self.marked
            && self.recoveries == 0
            && self.reason.is_none()
            && self.started_at.is_none()
            && self.incarnation == self.no
    }
}

/// What a listing asks for. Empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this namespace.
    pub namespace: Option<Box<str>>,
    /// Only this workflow.
    pub workflow: Option<Box<str>>,
    /// Only these states.
    pub statuses: Vec<Status>,
    /// Only this version.
    pub version: Option<Box<str>>,
    /// Only these, ascending or descending; none: all.
    pub among: Option<Vec<InstanceNo>>,
    /// Only instances that have all these attributes: keys, and their values as they are stored.
    pub attributes: Vec<(Box<str>, Box<[u8]>)>,
    /// Only children of these instances.
    pub parents: Vec<InstanceNo>,
    /// Only those that this schedule created.
    pub schedule: Option<Box<str>>,
    /// Only those with this id.
    pub id: Option<Box<str>>,
    /// Only those whose ids begin like this.
    pub id_prefix: Option<Box<str>>,
    /// Created at or after.
    pub created_after: Option<Micros>,
    /// Created before.
    pub created_before: Option<Micros>,
    /// Only those numbered beyond this one, in the direction of the listing.
    pub beyond: Option<InstanceNo>,
    /// Highest numbers first.
    pub newest_first: bool,
    /// Only those numbered from this one on.
    pub from: InstanceNo,
    /// Only those numbered below this one.
    pub to: Option<InstanceNo>,
    /// At most so many.
    pub limit: u32,
    /// Most rows that are looked at where no index leads to those that are wanted; none: all.
    pub budget: Option<u32>,
}

impl Filter {
    /// Returns whether it asks for more than memory knows of an instance.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        !self.attributes.is_empty()
            || self.id_prefix.is_some()
            || self.schedule.is_some()
            || self.created_after.is_some()
            || self.created_before.is_some()
    }
}

/// Which approvals a page is to have. Empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    /// Only this namespace.
    pub namespace: Option<Box<str>>,
    /// Only this workflow.
    pub workflow: Option<Box<str>>,
    /// Only those that stand there.
    pub status: Option<ApprovalStatus>,
    /// Only those numbered beyond this one.
    pub beyond: Option<u64>,
    /// At most so many.
    pub limit: u32,
    /// Most rows that are looked at; none: all.
    pub budget: Option<u32>,
}

/// A page of approvals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalPage {
    /// Each with its number and who asks.
    pub rows: Vec<(u64, Row, Approval)>,
    /// The last that was looked at, if there may be others beyond it although the page is not full.
    pub searched_to: Option<u64>,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that are asked for, in order.
    pub rows: Vec<Row>,
    /// The last instance that was looked at, if there may be others beyond it although the page is
    /// not full.
    pub searched_to: Option<InstanceNo>,
}

/// Which instances of a workflow are to go (L9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The namespace.
    pub namespace: Box<str>,
    /// The workflow.
    pub workflow: Box<str>,
    /// Those whose time is over by now.
    pub now: Micros,
    /// How long those are kept that have no time of their own.
    pub keep: Keep,
    /// And so many of those that ended first, of the same.
    pub surplus: u64,
    /// At most so many.
    pub most: u32,
}

/// What is found of that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// The instances, those that go first first.
    pub numbers: Vec<InstanceNo>,
    /// When the time of the first of the others is over.
    pub next: Option<Micros>,
}

/// What a number in a [`Newcomer`] stands for.
#[derive(Debug, Clone, Copy)]
pub struct NumberedCode<'a> {
    /// The number.
    pub number: u32,
    /// A namespace.
    pub namespace: &'a str,
    /// A workflow in it.
    pub workflow: &'a str,
    /// A version of that.
    pub version: &'a str,
}

/// An instance that was created, queued, and never changed since: no more than what queues it
/// again. There may be millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newcomer {
    /// What stands for its names.
    pub key: Key,
    /// Its number, which is its incarnation too.
    pub no: InstanceNo,
    /// Its workflow and version: the number of a [`NumberedCode`].
    pub code: u32,
    /// -100 to 100.
    pub priority: i8,
    /// Not to be started before this.
    pub start_at: Option<Micros>,
}

/// A letter with its number, or why it cannot be read.
pub type Delivery = (LetterId, Result<Letter, Damaged>);

/// What is needed to go on after a start. Newcomers come in ascending order of number, and so do
/// the other instances.
pub trait Recovery {
    /// Asked first, of every code: whether newcomers that have it are handed over as such. Those
    /// of all other codes are handed over as rows.
    fn knows(&mut self, code: &NumberedCode<'_>) -> bool {
        let _ = code;
        false
    }
    /// Some newcomers.
    fn newcomers(&mut self, some: &[Newcomer]) {
        let _ = some;
    }
    /// A non-final instance.
    fn instance(&mut self, row: Row);
    /// An open wait of a non-final instance; comes after its instance.
    fn wait(&mut self, no: InstanceNo, wait: Wait);
    /// A buffered event of a non-final instance; comes after its instance.
    fn event(&mut self, no: InstanceNo, event: Event);
    /// A wait or an event of this instance cannot be read, and why.
    fn damaged(&mut self, no: InstanceNo, what: &str);
    /// An instance itself cannot be read, and is not handed over, or anything else of which nobody
    /// knows whose it is. `what` says which, and why; `shown` is how the instance stands in a
    /// listing, if it does.
    fn unreadable(&mut self, what: String, shown: Option<Row>);
}

/// Where records are durable. One thread; and one owner, or several that each own some ranges of
/// the instances.
#[expect(clippy::missing_errors_doc, reason = "all fail alike: see `Error`")]
pub trait Store: Send {
    /// Hands over all non-final instances of these ranges (newcomers first), then all their waits,
    /// then all their events. What cannot be read is told.
    fn recover(&mut self, of: &Domain, into: &mut dyn Recovery) -> Result<(), Error>;
    /// Applies the batch of the owner of these ranges in one durable transaction and answers each
    /// operation, in order. If any of them was handed over meanwhile, that is
    /// [`Error::NotYours`], and nothing of the batch is there; that is found too of a batch without
    /// operations, so that what is told without any is told by the owner.
    /// After an error the store refuses all further commits, but for two: after [`Error::Full`]
    /// nothing of the batch is there, and the same batch may be committed once [`Store::resume`]
    /// has succeeded; after [`Error::Busy`] nothing was tried yet.
    fn commit_each(
        &mut self,
        batch: &mut dyn Iterator<Item = &Op>,
        of: &Domain,
    ) -> Result<Vec<Outcome>, Error>;
    /// The same, for operations that lie in a row, of the only owner.
    fn commit(&mut self, batch: &[Op]) -> Result<Vec<Outcome>, Error> {
        self.commit_each(&mut batch.iter(), &Domain::Whole)
    }
    /// Answers all of this at once, seeing everything committed. What cannot be read is an answer.
    fn look(&mut self, needs: Needs) -> Result<Known, Error>;
    /// Returns the letters that the owner of these ranges, or the engine with this number, has to
    /// take in, in the order in which they were committed. What cannot be read is told.
    fn letters(&mut self, of: &Domain, engine: u64) -> Result<Vec<Delivery>, Error>;
    /// Looks one instance up by name.
    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error> {
        let key = Key::new(namespace, workflow, id);
        let need = Need::Name(key, [namespace, workflow, id], false);
        let known = self.look(need.into())?;
        let row = known.by_key(key)?;
        Ok(row.cloned())
    }
    /// Returns one approval, open or decided.
    fn approval(&mut self, id: &str) -> Result<Option<Approval>, Error> {
        let known = self.look(Need::Approval(id).into())?;
        Ok(known.approval(id)?)
    }
    /// Returns output or error of one instance.
    fn result(&mut self, no: InstanceNo) -> Result<Option<Box<[u8]>>, Error> {
        let known = self.look(Need::Instance(no, true).into())?;
        match known.instance(no)? {
            Some(_) => Ok(known.output(no)?),
            None => Ok(None),
        }
    }
    /// Returns an engine-wide setting.
    fn meta(&mut self, name: &str) -> Result<Option<Box<[u8]>>, Error>;
    /// Returns how many instances of each workflow have ended, where any has.
    fn ended(&mut self) -> Result<Vec<Ended>, Error>;
    /// Returns how many instances failed alike, from this hour on, in no order.
    fn failures(&mut self, from_hour: i64) -> Result<Vec<Failed>, Error>;
    /// Returns how many instances are to go: asked once in the life of a store.
    fn overdue(&mut self, what: &Expiry) -> Result<u64, Error>;
    /// Returns what the creation rates had left, of each namespace for which that was ever kept, in
    /// order of name.
    fn buckets(&mut self) -> Result<Vec<Bucket>, Error>;
    /// Gives instances of workflows that have another name by now to that name, all or none: see
    /// [`renames`]. Nothing is open yet.
    fn rename(&mut self, to: &Renaming) -> Result<(), Error>;
    /// Does housekeeping that must not delay a commit (checkpoints). Called between batches.
    fn maintain(&mut self) -> Result<(), Error>;
    /// Whether there is more of that to do soon, although nothing else is.
    fn is_behind(&self) -> bool {
        false
    }
    /// After [`Error::Full`]: recovers in place, so that commits may be tried again.
    /// [`Error::Full`] means not yet; any other error is for ever.
    fn resume(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// Returns why nothing new should be admitted now: the room that is left is for what runs.
    fn shortage(&self) -> Option<String> {
        None
    }
    /// Opens a reader that may be used from another thread.
    fn reader(&self) -> Result<Box<dyn Reader>, Error>;
    /// Returns what copies the store; none if there is no file to copy.
    fn copier(&self) -> Option<Arc<dyn Copier>> {
        None
    }
    /// Ends cleanly: the next open needs no integrity check.
    fn close(self: Box<Self>) -> Result<(), Error>;
}

/// Copies a running store, from any thread. It must be gone when the store closes.
pub trait Copier: Send + Sync + std::fmt::Debug {
    /// Makes a consistent copy at this path, where nothing may be yet; `go_on` is asked now and
    /// then.
    ///
    /// # Errors
    /// `Invalid` if the path cannot be used, anything else if the copy failed; there is none then.
    fn copy(&self, to: &Path, go_on: &dyn Fn() -> bool) -> Result<(), Error>;
}

/// Slow reads, on a connection of their own.
#[expect(clippy::missing_errors_doc, reason = "all fail alike: see `Error`")]
pub trait Reader: Send {
    /// Asks several questions of one moment: whatever is committed meanwhile, no answer shows it.
    /// A history is not asked for there: it may be long, and what is recorded never changes.
    fn at_once(
        &mut self,
        ask: &mut dyn FnMut(&mut dyn Reader) -> Result<(), Error>,
    ) -> Result<(), Error>;
    /// Returns the place of the last record of any instance.
    fn last_seq(&mut self) -> Result<Seq, Error>;
    /// Looks an instance up by name.
    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error>;
    /// Returns an instance by number.
    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error>;
    /// Returns an instance's payloads.
    fn payloads(&mut self, no: InstanceNo) -> Result<Payloads, Error>;
    /// Returns the whole history, oldest first.
    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error>;
    /// Returns the open waits, oldest first.
    fn waits(&mut self, no: InstanceNo) -> Result<Vec<Wait>, Error>;
    /// Returns whether an instance got an event with this `dedup_id`, were it before its end.
    fn seen(&mut self, no: InstanceNo, dedup: &str) -> Result<bool, Error>;
    /// Returns what came of the event with this `dedup_id` that wanted an answer.
    fn asked(&mut self, no: InstanceNo, dedup: &str) -> Result<Answered, Error>;
    /// Returns the types of the events that are kept for an instance, in their order, and how many
    /// of each; at most so many types.
    fn kept(&mut self, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>, Error>;
    /// Returns the rows of a stream from the one on that holds the chunk after this place; at most so
    /// many, and as many bytes as one answer has room for.
    fn stream(
        &mut self,
        of: (InstanceNo, Incarnation),
        name: &str,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StreamRow>, Error>;
    /// Returns how many places the body took in each of its blocks, by the place of the block's record.
    fn sent(&mut self, no: InstanceNo, of: Incarnation) -> Result<Vec<(Seq, u64)>, Error>;
    /// Returns one page of instances.
    fn page(&mut self, filter: &Filter) -> Result<Page, Error>;
    /// Returns the instances of one page.
    fn list(&mut self, filter: &Filter) -> Result<Vec<Row>, Error> {
        Ok(self.page(filter)?.rows)
    }
    /// Returns one page of approvals, oldest first, each with its number.
    fn approvals_page(&mut self, filter: &ApprovalFilter) -> Result<ApprovalPage, Error>;
    /// Returns approvals with this status (all for `None`), oldest first.
    fn approvals(
        &mut self,
        namespace: Option<&str>,
        workflow: Option<&str>,
        status: Option<ApprovalStatus>,
    ) -> Result<Vec<(Row, Approval)>, Error> {
        let all = ApprovalFilter {
            namespace: namespace.map(Into::into),
            workflow: workflow.map(Into::into),
            status,
            limit: u32::MAX,
            ..ApprovalFilter::default()
        };
        let found = self.approvals_page(&all)?.rows.into_iter();
        Ok(found.map(|(_, row, approval)| (row, approval)).collect())
    }
    /// Returns rows of the audit, newest first. One that cannot be read is on every page that does
    /// not name an instance; of one instance the last thing is there that was done to many.
    fn audit(&mut self, page: &audit::Query) -> Result<audit::Rows, Error>;
    /// Returns what is done to many, newest first. One that cannot be read is on every page that
    /// does not name another.
    fn bulks(&mut self, page: &bulk::Query) -> Result<bulk::Rows, Error>;
    /// Returns schedules, in order of their numbers. One that cannot be read is on every page that
    /// begins before it.
    fn schedules(&mut self, page: &schedule::Query) -> Result<schedule::Rows<Schedule>, Error>;
    /// Returns firings of a schedule, the last decided first.
    fn firings(&mut self, page: &FiringQuery) -> Result<schedule::Rows<Firing>, Error>;
    /// Returns which keys beyond this one no stored payload names, of the next few; none while
    /// there are letters, in which there may be some.
    fn loose(&mut self, beyond: Option<LargeKey>, limit: u32) -> Result<Loose, Error>;
}

/// Why a store cannot go on. The text is for the user: it names the file and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another engine owns the file.
    #[error("{0}")]
    Locked(String),
    /// The file was written by a newer version.
    #[error("{0}")]
    Version(String),
    /// The file's structure is wrong.
    #[error("{0}")]
    Corrupt(String),
    /// A row fails its checksum or makes no sense: whose it is cannot go on, others can.
    #[error("{0}")]
    Row(String),
    /// The disk is full.
    #[error("{0}")]
    Full(String),
    /// Another program keeps the file locked. Nothing was changed; it may be tried again.
    #[error("{0}")]
    Busy(String),
    /// Input or output failed, the file is not ours or not writable.
    #[error("{0}")]
    Failed(String),
    /// A range of whoever commits belongs to another owner by now. Nothing was changed.
    #[error("{0}")]
    NotYours(String),
    /// The path or address makes no sense.
    #[error("{0}")]
    Invalid(String),
}
