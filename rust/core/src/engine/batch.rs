//! What is being decided: operations for the store, and what is left to do when they are committed.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Core;
use crate::ids::{InstanceNo, Key, Micros, WaitId};
use crate::letter::LetterId;
use crate::note::{Note, Settled};
use crate::store::known::Known;
use crate::store::Op;
use crate::submission::{Command, IfExists, Name, Submission};

/// One step of a batch: an operation for the store, what is left to do after the commit, or both.
/// What is left to do where there is an operation follows from the answer to that one.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) op: Option<Op>,
    pub(super) then: Option<After>,
}

/// What is left to do after the commit.
#[derive(Debug)]
pub(super) enum After {
    /// A record is durable.
    Done(u64),
    /// Chunks of a stream are durable, or refused.
    Sent(u64),
    Say(Note),
    /// A creation is answered by itself.
    Created(u64, IfExists),
    /// A creation is one item of the answer that comes next.
    Item,
    Items {
        ticket: u64,
        items: Vec<ItemOf>,
        if_exists: IfExists,
    },
    /// A child is created, of which its parent is told another way; the wait for its end, if it was
    /// called.
    Born(Option<WaitId>),
    Compare {
        ticket: u64,
        name: Box<Name>,
        params: Option<Box<[u8]>>,
    },
    Look(Box<Command>),
    Seen {
        no: InstanceNo,
        dedup: Box<str>,
        refusal: Note,
    },
    /// A body is told an outcome, whose record is the operation if there is one.
    Settled(Box<Settled>),
    Load {
        no: InstanceNo,
        interrupted: bool,
    },
    Wake(InstanceNo),
    Waits(InstanceNo),
    /// A body is told whether it is to pause.
    Pauses(InstanceNo, bool),
    Leaves(InstanceNo),
    /// What runs of its body is to end, for it is to undo what it did.
    Undoes(InstanceNo),
    /// The state has changed.
    Changed(InstanceNo),
    /// Nothing of it is left.
    Gone(InstanceNo),
    /// An event whose `dedup_id` the store judges is kept; whoever sent it from here is answered.
    Kept(Option<u64>, InstanceNo),
    /// Children of several owners are created, and their parent is told; if an id was taken that is
    /// decided once more.
    Children(Box<Settled>, Box<Submission>),
    /// Rows of the audit are forgotten.
    Forgotten,
    /// A letter is gone.
    TakenIn(LetterId),
    Limits {
        ticket: Option<u64>,
        namespace: Box<str>,
    },
}

/// What an item of a batch would start with: compared if its id is taken (`ReturnIfSame`).
pub(super) type Params = Option<Box<[u8]>>;

/// Where the answer for one item of a batch comes from.
#[derive(Debug)]
pub(super) enum ItemOf {
    /// The next of the creations that come before the answer.
    New,
    SameAs(usize, Params),
    There(crate::note::Item, Params),
}

/// What is being decided.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) steps: Vec<Step>,
    /// How many steps have an operation, and how many leave something to do.
    pub(super) counts: [usize; 2],
    pub(super) bytes: usize,
    pub(super) shown: Vec<Key>,
    /// Instances that this batch may count elsewhere than before.
    pub(super) touched: FxHashSet<InstanceNo>,
    /// Instances with an event whose `dedup_id` the store has not judged yet.
    pub(super) unjudged: FxHashSet<InstanceNo>,
    /// Approvals this batch writes.
    pub(super) approvals: FxHashSet<Box<str>>,
    /// How queued instances are placed from this batch on: priority and `start_at`.
    pub(super) placed: FxHashMap<InstanceNo, (i8, Option<Micros>)>,
    /// Instances that this batch deletes.
    pub(super) gone: FxHashSet<InstanceNo>,
    /// What was asked before it was decided.
    pub(super) known: Known,
}

impl Batch {
    fn add(&mut self, op: Option<Op>, then: Option<After>) {
        if let Some(
            Op::Status(no, ..)
            | Op::Open(no, ..)
            | Op::Close(no, _)
            | Op::Postpone(no, ..)
            | Op::Restart(no, ..)
            | Op::Delete(no),
        ) = &op
        {
            self.touched.insert(*no);
        }
        self.counts[0] += usize::from(op.is_some());
        self.counts[1] += usize::from(then.is_some());
        self.steps.push(Step { op, then });
    }

    /// Adds operations from whose answers nothing follows.
    pub(super) fn extend(&mut self, ops: impl IntoIterator<Item = Op>) {
        for op in ops {
            self.add(Some(op), None);
        }
    }

    /// Returns whether any step since this one changes something here: what is left for others, and
    /// what they are told, they do themselves.
    pub(super) fn has_changed(&self, since: usize) -> bool {
        let changes = |op: &Op| !matches!(op, Op::Leave(_));
        let mut steps = self.steps[since..].iter();
        steps.any(|it| it.op.as_ref().is_some_and(changes))
    }

    /// Returns the operations, in order.
    pub(super) fn ops(&self) -> impl DoubleEndedIterator<Item = &Op> {
        self.steps.iter().filter_map(|it| it.op.as_ref())
    }
}

impl Core {
    /// Adds an operation from whose answer nothing follows.
    pub(super) fn push(&mut self, op: Op) {
        self.batch.add(Some(op), None);
    }

    /// Adds an operation, and what follows from its answer.
    pub(super) fn push_then(&mut self, op: Op, then: After) {
        self.batch.add(Some(op), Some(then));
    }

    /// Adds what is left to do when the batch is durable.
    pub(super) fn then(&mut self, then: After) {
        self.batch.add(None, Some(then));
    }
}
