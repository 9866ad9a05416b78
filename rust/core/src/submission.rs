//! What is submitted to the writer: one variant per call of the border, as plain data.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::audit::By;
use crate::bulk::Bulk;
use crate::history::{Begun, Operation, Record, Verdict};
use crate::ids::{Incarnation, InstanceNo, Key, Micros, Seq, WaitId};
use crate::large::LargeKey;
use crate::letter::{Letter, LetterId};
use crate::lifecycle::Status;
use crate::retention::Keep;
use crate::rewind;
use crate::schedule::Firing;
use crate::stream::Chunks;
use crate::undo::Undo;
use crate::wait::Wait;

/// Name of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its workflow.
    pub workflow: Box<str>,
    /// Its id.
    pub id: Box<str>,
}

impl Name {
    /// Returns what stands for it.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::new(&self.namespace, &self.workflow, &self.id)
    }
}

/// A body that speaks: everything it says is checked against its incarnation (D6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// Its instance.
    pub no: InstanceNo,
    /// The life of the instance that it belongs to.
    pub incarnation: Incarnation,
}

/// What to do if the id is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// Say so.
    Raise,
    /// Return the one that is there.
    Return,
    /// Return it if it has the same params.
    ReturnIfSame,
}

/// One instance to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewItem {
    /// Its id; `None` for a generated one.
    pub id: Option<Box<str>>,
    /// What it starts with.
    pub params: Option<Box<[u8]>>,
    /// -100 to 100.
    pub priority: i8,
    /// Not to be started before this.
    pub start_at: Option<Micros>,
    /// Its attributes.
    pub attributes: Option<Box<[u8]>>,
    /// How long it is kept after its end; `None`: as its workflow says.
    pub keep: Option<Keep>,
    /// Id of the schedule that creates it.
    pub schedule: Option<Box<str>>,
}

/// Which code an instance runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The namespace it runs in.
    pub namespace: Box<str>,
    /// The workflow.
    pub workflow: Box<str>,
    /// Its version.
    pub version: Box<str>,
}

/// An event to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// To whom.
    pub to: Name,
    /// Its type.
    pub kind: Box<str>,
    /// Its payload.
    pub payload: Option<Box<[u8]>>,
}

/// A decision on an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Id of the approval.
    pub approval: Box<str>,
    /// Whose approval.
    pub of: Name,
    /// What is to be approved.
    pub name: Box<str>,
    /// Which way.
    pub approved: bool,
    /// Who, why and what with.
    pub decision: Box<[u8]>,
    /// By whom, for the audit.
    pub by: By,
}

/// A child that its parent creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The operation in the parent's history.
    pub operation: Operation,
    /// As of its record.
    pub begun: Option<Seq>,
    /// Workflow of the child, in the parent's namespace.
    pub workflow: Box<str>,
    /// Its version.
    pub version: Box<str>,
    /// The children; every one has an id.
    pub items: Vec<NewItem>,
    /// Payload of the parent's record.
    pub payload: Option<Box<[u8]>>,
}

impl Child {
    /// Returns the operation as it was begun.
    #[must_use]
    pub(crate) fn begun(&self) -> Begun {
        let (operation, begun) = (self.operation.clone(), self.begun);
        Begun { operation, begun }
    }
}

/// How a body goes on as new (L15).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Continuation {
    /// What the new run starts with; `None`: its workflow takes nothing.
    pub params: Option<Box<[u8]>>,
    /// Its number: the first run of an instance has 1.
    pub run: u32,
    /// The deadline over the whole instance, if it has one: that stays where it is.
    pub limit: Option<Operation>,
    /// Waits for events that are open, as far as the body knows: what they have taken it was never
    /// told.
    pub untold: Vec<WaitId>,
    /// Places of events that an earlier life of the body took, and this one was not told of.
    pub passed: Vec<Seq>,
}

/// Why an instance cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// A short code such as `nondeterminism`.
    pub code: Box<str>,
    /// The step, if it is about one.
    pub step: Option<Box<str>>,
}

impl From<&str> for Why {
    fn from(code: &str) -> Self {
        let (code, step) = (code.into(), None);
        Self { code, step }
    }
}

/// Limits to set or, where there is no value, to clear.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitChange {
    /// Whose limits.
    pub namespace: Box<str>,
    /// Those of one workflow only.
    pub workflow: Option<Box<str>>,
    /// The limits, by name.
    pub changes: Vec<(Box<str>, Option<f64>)>,
    /// By whom, for the audit.
    pub by: By,
}

/// What the store knew of the ids of a creation when it was asked: numbers and states by key; none
/// if it was not asked.
pub type KnownIds = Option<Box<FxHashMap<u128, (InstanceNo, Status)>>>;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Submission {
    /// Somebody outside wants something done.
    Outside(Command),
    /// A body speaks.
    Said(Body, Speech),
    /// Another owner of the store left this letter.
    Letter(LetterId, Box<Letter>),
    /// The last attempt of a body that held its slot has ended ([`Speech::Hold`]); nobody speaks
    /// for the instance any more.
    LetGo(InstanceNo),
}

/// What is wanted from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Create an instance.
    Create(u64, Box<(Code, NewItem)>, IfExists),
    /// Create many; the flag says whether to wait for room.
    CreateBatch(u64, Box<(Code, Vec<NewItem>)>, IfExists, bool),
    /// This, once only, however often it is asked for under this id.
    Once(Box<[u8]>, Box<Command>),
    /// A creation that was refused or waited comes again, with what the store knows of its ids.
    Again(Box<Command>, KnownIds),
    /// The creation with this ticket is given up: if it was not let in yet it never is.
    GiveUp(u64),
    /// From now on nobody is let in who waits.
    EndWaiting,
    /// Send an event, with its `dedup_id`.
    Send(u64, Box<Sent>, Option<Box<str>>),
    /// Send an event that wants an answer, which is found by this `dedup_id`.
    Request(u64, Box<Sent>, Box<str>),
    /// Decide an approval.
    Decide(u64, Box<Decision>),
    /// Set limits while the engine runs.
    SetLimits(u64, Box<LimitChange>),
    /// Say what a namespace is opened with: limits by name; none: what is stored.
    OpenNamespace(u64, Box<str>, Vec<(Box<str>, Option<f64>)>),
    /// Do this to an instance.
    Act(u64, Box<Deed>),
    /// Begin to do something to many.
    BeginBulk(u64, Box<Bulk>),
    /// Do it to some of them.
    Part(u64, Box<Part>),
    /// Change a schedule.
    ChangeSchedule(u64, Box<ScheduleChange>),
    /// Do no more of what has this number.
    StopBulk(u64, u64, By),
    /// Keep these keys of large values, and forget those.
    Large(u64, Vec<LargeKey>, Vec<LargeKey>),
    /// Change the number of shards.
    Reshard(u64, i64),
    /// Say where a queued instance stands; the number is its priority.
    Stand(u64, Box<Name>, i8),
}

/// What somebody does to an instance, and who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// To which.
    pub to: Name,
    /// What.
    pub verb: Verb,
    /// By whom, for the audit.
    pub by: By,
}

/// A change of a schedule, from one state that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleChange {
    /// In which namespace.
    pub namespace: Box<str>,
    /// Id of the schedule.
    pub id: Box<str>,
    /// The revision that was seen; 0: there was none.
    pub revision: u64,
    /// What it is from now on; `None`: it is gone.
    pub becomes: Option<Becomes>,
    /// What came of times of it. Its own number, and theirs, and when that was decided, they get.
    pub firings: Vec<Firing>,
    /// Instances that it creates; each has an id.
    pub creates: Option<Box<(Code, Vec<NewItem>)>>,
    /// What the audit is told, if somebody did this.
    pub audited: Option<Box<Administered>>,
}

/// What a schedule is from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Becomes {
    /// When it is to be looked at next.
    pub next: Option<Micros>,
    /// How far it is.
    pub state: Box<[u8]>,
    /// When what is created; `None`: as it is stored.
    pub what: Option<Box<[u8]>>,
}

/// What somebody did to a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Administered {
    /// By whom.
    pub by: By,
    /// What, as the API calls it.
    pub operation: Box<str>,
    /// Whose instances it creates.
    pub workflow: Box<str>,
    /// The instance that was created by that, if one was.
    pub id: Option<Box<str>>,
    /// What came of it.
    pub result: Box<str>,
}

/// The ticket of commands that are part of something: whoever has them done hears what they are
/// answered.
pub const OVERHEARD: u64 = 0;

/// The ticket of what nobody waits for.
pub const UNHEARD: u64 = 0;

/// A part of what is done to many.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Of what.
    pub number: u64,
    /// Commands to one instance each, with the place that is reached when it is done.
    pub items: VecDeque<(u64, Command)>,
    /// Only those in one of these states; empty: in any.
    pub states: Vec<Status>,
    /// The place that is reached with all of them.
    pub place: u64,
    /// Whether that is the end.
    pub ends: bool,
}

/// How an instance is to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Anew {
    /// The version of its workflow that it has from then on; `None`: the one it has.
    pub version: Option<Box<str>>,
    /// Places of its history that count no more, in ascending order: what they are of is done anew.
    pub forgets: Vec<Seq>,
}

/// What somebody says that a step has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Which step.
    pub operation: Operation,
    /// `Done` or `Failed`.
    pub verdict: Verdict,
    /// Its value or error.
    pub payload: Box<[u8]>,
}

impl Resolution {
    /// Returns what is told of it in the audit, such as `"charge" (2nd) failed`.
    fn told(&self) -> String {
        let Operation {
            name, key, count, ..
        } = &self.operation;
        let which = match (key, count) {
            (Some(key), _) => format!(" [{key}]"),
            (None, 1) => String::new(),
            (None, count) => format!(" ({count}.)"),
        };
        let verb = if self.verdict == Verdict::Done {
            "done"
        } else {
            "failed"
        };
        format!("\"{name}\"{which} {verb}")
    }
}

/// What somebody does to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Let a paused or blocked one go on.
    Resume,
    /// The same, but otherwise than it went so far.
    ResumeAs(Box<Anew>),
    /// Let what runs of it end, and nothing begin, until it is resumed.
    Pause,
    /// End it, and what it called. Everybody who waits for it is told this.
    Terminate(Box<str>),
    /// The same, when it has undone what it did.
    Undo(Box<str>),
    /// Make the next attempt of each of its steps that waits for one now.
    RetryNow,
    /// Begin it anew, from there.
    Restart(rewind::From),
    /// Queue it with this priority.
    SetPriority(i8),
    /// Wait for its `start_at` no longer.
    StartNow,
    /// Give a step of it this outcome.
    Resolve(Box<Resolution>),
    /// Remove everything of it.
    Delete,
}

impl Verb {
    /// Returns this as somebody does it to an instance who says nothing more.
    #[must_use]
    pub fn to(self, to: Name) -> Box<Deed> {
        let (verb, by) = (self, By::default());
        Box::new(Deed { to, verb, by })
    }

    /// Returns what the API calls it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Resume | Self::ResumeAs(_) => "resume",
            Self::Pause => "pause",
            Self::Terminate(_) | Self::Undo(_) => "terminate",
            Self::RetryNow => "retry_now",
            Self::Restart(_) => "restart",
            Self::SetPriority(_) => "set_priority",
            Self::StartNow => "start_now",
            Self::Resolve(_) => "resolve",
            Self::Delete => "delete",
        }
    }

    /// Returns what is told of it in the audit, when it has brought an instance into this state.
    #[must_use]
    pub fn result(&self, state: &str) -> Box<str> {
        match self {
            Self::SetPriority(priority) => format!("priority={priority}").into(),
            Self::Resolve(it) => it.told().into(),
            _ => state.into(),
        }
    }

    /// Whether it can be done to an instance that has ended.
    #[must_use]
    pub fn is_for_ended(&self) -> bool {
        matches!(self, Self::Restart(_) | Self::Delete)
    }
}

/// What a body says.
#[derive(Debug, Clone, PartialEq)]
pub enum Speech {
    /// Append a record.
    Record(u64, Record),
    /// Append a record and replace the attributes with these, both or neither.
    Attributes(u64, Box<(Record, Box<[u8]>)>),
    /// Record a failed attempt and open its retry delay.
    Retry(WaitId, Box<Record>),
    /// Open a sleep or wait for events.
    Open(Box<Wait>),
    /// Ask for an approval; the source of the wait names it.
    Ask(Box<Wait>, Option<Box<[u8]>>),
    /// Wait for the end of (workflow, id).
    Await(WaitId, Box<(Begun, Box<str>, Box<str>)>),
    /// Create a child and wait for its end.
    Call(WaitId, Box<Child>),
    /// Create one or more children and record that.
    CreateChildren(u64, Box<Child>),
    /// Send an event from a body and record that.
    Post(u64, Box<(Begun, Sent)>),
    /// Append a record that says that the event which the record at this place took is answered, and
    /// answer it with the record's payload, both or neither.
    Answer(u64, Seq, Box<Record>),
    /// Give up a wait.
    Withdraw(WaitId),
    /// On replay the body passed over the outcome with this place in the journal, because it had
    /// given the wait up: the event goes back, if that did not happen before the crash (I8).
    GiveBack(Seq),
    /// Every open operation is a wait. The last record delivered, and the last batch whose notes
    /// were polled.
    Quiet(u64, u64),
    /// Keep the progress.
    Report(Box<[u8]>),
    /// Add chunks to a stream. Whoever sends them is told when they are durable, or that the stream is
    /// full; nobody, if the ticket is [`UNHEARD`].
    Stream(u64, Box<Chunks>),
    /// Append the outcome of a step, and end the passage of a stream with it, both or neither.
    Conclude(u64, Box<(Record, Chunks)>),
    /// The body ended: how, with what, and in which version, which says what type that is.
    Finish(Status, Option<Box<[u8]>>, Option<Box<str>>),
    /// The body has left, and nothing of it runs any more: the instance begins anew, with other
    /// params.
    Continue(Box<Continuation>),
    /// What ran of the body has ended, and it has left: the instance is to be replayed and to undo
    /// its steps, because of this error; none: as somebody wanted before.
    Undoes(Option<Box<[u8]>>),
    /// What could be undone is: how that went, how the instance ends, and with which error.
    Undone(Undo, Status, Box<[u8]>),
    /// The body is about to end, but attempts it gave up still run: its slot stays taken (I8).
    Hold,
    /// The body cannot go on: why, and the error.
    Block(Why, Box<[u8]>),
    /// The body has taken up whatever a crash had cut short.
    TakenUp,
    /// The body was to pause: what ran of it has ended, and it was unwound.
    Paused,
    /// The body was unwound for shutdown.
    Release,
    /// The body was unwound to stop an attempt that nothing else could stop, and is to run again
    /// from its history.
    Replay,
}

impl Command {
    /// Returns the ticket that its answer has.
    #[must_use]
    pub(crate) fn ticket(&self) -> Option<u64> {
        match self {
            Self::Create(ticket, ..)
            | Self::CreateBatch(ticket, ..)
            | Self::GiveUp(ticket)
            | Self::Send(ticket, ..)
            | Self::Request(ticket, ..)
            | Self::Decide(ticket, _)
            | Self::SetLimits(ticket, _)
            | Self::OpenNamespace(ticket, ..)
            | Self::Act(ticket, _)
            | Self::BeginBulk(ticket, _)
            | Self::Part(ticket, _)
            | Self::ChangeSchedule(ticket, _)
            | Self::StopBulk(ticket, ..)
            | Self::Large(ticket, ..)
            | Self::Reshard(ticket, _)
            | Self::Stand(ticket, ..) => Some(*ticket),
            Self::Once(_, command) | Self::Again(command, _) => command.ticket(),
            Self::EndWaiting => None,
        }
    }

    /// Returns this creation with what the store knows of its ids, if it was asked.
    #[must_use]
    pub(crate) fn with(self, found: KnownIds) -> Self {
        match found {
            None => self,
            found => Self::Again(Box::new(self), found),
        }
    }
}

impl From<Command> for Submission {
    fn from(command: Command) -> Self {
        Self::Outside(command)
    }
}

impl Body {
    /// Returns what this body says, to be submitted.
    #[must_use]
    pub fn says(self, speech: Speech) -> Submission {
        Submission::Said(self, speech)
    }
}
