//! What is being decided: operations for the store, and what is left to do when they are committed.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Core;
use crate::history::Stored;
use crate::ids::{InstanceNo, Key};
use crate::note::{Note, Settled};
use crate::store::Op;
use crate::submission::{Command, IfExists, Name};

/// What is left to do after the commit, in order.
#[derive(Debug)]
pub(super) enum After {
    Done {
        ticket: u64,
        op: u32,
    },
    Say(Note),
    Created {
        ticket: u64,
        op: u32,
        if_exists: IfExists,
    },
    Items {
        ticket: u64,
        items: Vec<ItemOf>,
        if_exists: IfExists,
    },
    Born {
        op: u32,
    },
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
    Settled {
        op: Option<u32>,
        settled: Box<Settled>,
    },
    Load {
        no: InstanceNo,
        interrupted: bool,
    },
    Wake(InstanceNo),
    Waits(InstanceNo),
    Leaves(InstanceNo),
    Changed {
        no: InstanceNo,
        op: u32,
    },
    Kept {
        ticket: u64,
        no: InstanceNo,
        op: u32,
    },
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
    Op(u32),
    SameAs(usize, Params),
    There(crate::note::Item, Params),
}

/// What is being decided.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) ops: Vec<Op>,
    pub(super) bytes: usize,
    pub(super) after: Vec<After>,
    pub(super) shown: Vec<Key>,
    pub(super) changed: Vec<(InstanceNo, u32)>,
    /// Instances with an event whose `dedup_id` the store has not judged yet.
    pub(super) unjudged: FxHashSet<InstanceNo>,
    /// Approvals this batch writes.
    pub(super) approvals: FxHashSet<Box<str>>,
    /// Committed records of taken events, of instances that gave one back: read once per batch.
    pub(super) taken: FxHashMap<InstanceNo, Vec<Stored>>,
}

impl Core {
    pub(super) fn push(&mut self, op: Op) -> u32 {
        self.batch.ops.push(op);
        (self.batch.ops.len() - 1) as u32
    }

    pub(super) fn say(&mut self, note: Note) {
        self.batch.after.push(After::Say(note));
    }
}
