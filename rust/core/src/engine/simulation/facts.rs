//! The nouns of the truth: what is known of an instance, of a workflow, of one commit.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::program::{Account, ACCOUNTS};
use super::said::Stamp;
use crate::history::{Operation, Stored, Verdict};
use crate::ids::{EventId, Incarnation, InstanceNo, Key, Micros, Seq};
use crate::lifecycle::Status;
use crate::retention::Keep;
use crate::store::{Ended, Failed};
use crate::undo::Undo;
use crate::wait::{Event, Wait};

/// Where in a workflow's order an entry stands (C4): did not run when the engine stopped, lower
/// priority, never ran or waited, younger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) cold: bool,
    pub(super) falling: i16,
    pub(super) new: bool,
    pub(super) no: InstanceNo,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) order: Order,
    /// The operation that put it there.
    pub(super) since: u64,
    /// Its `start_at` has come.
    pub(super) ripe: bool,
    /// It is tried after others (L11), and no slot is idle because of it.
    pub(super) held_back: bool,
}

/// One instance.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that vary independently of each other"
)]
pub(super) struct Truly {
    pub(super) no: InstanceNo,
    pub(super) key: Key,
    pub(super) id: Box<str>,
    pub(super) account: Account,
    pub(super) version: Box<str>,
    pub(super) parent: Option<InstanceNo>,
    pub(super) called: bool,
    pub(super) status: Status,
    pub(super) marked: bool,
    pub(super) incarnation: Incarnation,
    pub(super) priority: i8,
    pub(super) start_at: Option<Micros>,
    /// It ran once.
    pub(super) started: bool,
    pub(super) recoveries: u32,
    /// When it is innocent of them, if the engine lives.
    pub(super) proof: Option<Micros>,
    pub(super) reason: Option<Box<str>>,
    /// The step it is blocked at.
    pub(super) step: Option<Box<str>>,
    /// It has a slot in this life of the engine.
    pub(super) holds: bool,
    /// Since when it is paused, or was last.
    pub(super) paused_at: Micros,
    /// The engine stopped while it could run, and it was not started since.
    pub(super) cut: bool,
    /// Whether that was so when it got its last slot.
    pub(super) was_cut: bool,
    pub(super) place: Option<Place>,
    pub(super) waits: Vec<Wait>,
    pub(super) events: Vec<Event>,
    /// What is recorded of it and counts.
    pub(super) history: Vec<Stored>,
    /// What of that are outcomes, and the last attempt of each step.
    pub(super) outcomes: FxHashMap<Operation, (Seq, Verdict)>,
    pub(super) attempts: FxHashMap<Operation, u32>,
    /// Which child each call that has its outcome made.
    pub(super) fruits: FxHashMap<Operation, InstanceNo>,
    /// When it ended, and how long it is to be kept after that, if it was created so.
    pub(super) ended_at: Option<Micros>,
    pub(super) keep: Option<Keep>,
    /// How far the undoing of its steps is (L8).
    pub(super) undo: Option<Undo>,
    /// The error with which it ended or is blocked.
    pub(super) error: Option<Box<[u8]>>,
    /// It began anew, or its id was another's before, or its parent's did: what was decided for it
    /// may count no more.
    pub(super) anew: bool,
    /// What was sent to it may be lost, too: it had ended, or was deleted.
    pub(super) bereft: bool,
    /// Who took which event.
    pub(super) consumed: FxHashMap<EventId, Operation>,
    /// Which events have arrived.
    pub(super) arrived: FxHashSet<u32>,
    /// The last event from outside, and the last one from a body: between those there is no order.
    pub(super) last_events: [Option<Stamp>; 2],
}

impl Truly {
    /// Nothing settles while a human has to act.
    pub(super) fn is_inert(&self) -> bool {
        matches!(self.status, Status::Paused | Status::Blocked)
    }
}

/// What runs on of bodies that have ended: whose slots, and of which life the last one was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lingering {
    pub(super) account: Account,
    pub(super) count: u32,
    pub(super) incarnation: Incarnation,
}

/// Who runs and who is queued in one workflow.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    pub(super) held: u32,
    /// Whoever could start now.
    pub(super) ready: BTreeSet<Order>,
    /// All that are queued, with those whose `start_at` is to come.
    pub(super) queued: u32,
}

/// A slot that was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    pub(super) account: Account,
    pub(super) order: Order,
    /// The operation that gave it.
    pub(super) at: u64,
    /// It was in the queue.
    pub(super) queued: bool,
    /// It was held back: its turn is not the queue's (L11).
    pub(super) held_back: bool,
    /// Which other workflows could have had the slot, as a set of bits.
    pub(super) rivals: u32,
    /// Slots of its workflow and of its namespace, with this one.
    pub(super) held: (u32, u32),
    /// Slots that its workflow and its namespace may have at this moment.
    pub(super) most: (u32, u32),
}

/// What one commit did, for the rules that look at commits.
#[derive(Debug, Default)]
pub(super) struct Commit {
    pub(super) granted: Vec<Granted>,
    pub(super) touched: Vec<InstanceNo>,
    /// Those that began anew, as they were before.
    pub(super) anew: Vec<Truly>,
    /// Those that undid, or were to, when something was decided of them.
    pub(super) undid: Vec<InstanceNo>,
    /// Those among them that did so by themselves, with other params.
    pub(super) continued: Vec<InstanceNo>,
    /// Those that were deleted, as they were before.
    pub(super) gone: Vec<Truly>,
    pub(super) created: Vec<InstanceNo>,
    /// Those that had ended before it beyond the number that is kept.
    pub(super) surplus: FxHashSet<InstanceNo>,
    /// What waits for children came to: of which child, how, in which word.
    pub(super) ends: Vec<(InstanceNo, Verdict, Option<Box<str>>)>,
    /// Tickets of what the audit tells of it.
    pub(super) audited: Vec<u64>,
    /// Children whose parent stopped waiting for them.
    pub(super) orphans: Vec<InstanceNo>,
    /// The waits that it closed.
    pub(super) closings: Vec<(InstanceNo, Wait)>,
    /// The wait that the last operation closed.
    pub(super) closed: Option<(InstanceNo, Wait)>,
    /// The event that the last operations took out.
    pub(super) taken: Option<(InstanceNo, Event)>,
    /// Events the engine may give away only after this commit: it did not know whether they are
    /// new.
    pub(super) unjudged: Vec<EventId>,
    /// The layout there was before it, and those it brought.
    pub(super) layouts: Vec<Layout>,
    /// What it says of how many have ended.
    pub(super) ended: Vec<Ended>,
    /// What it says of those that failed.
    pub(super) failed: Vec<Failed>,
    /// A creation was refused: what it was given comes back after the commit.
    pub(super) refused: Vec<InstanceNo>,
    /// So many creations were refused in each workflow.
    pub(super) turned_away: [u32; ACCOUNTS],
    /// Most entries that were queued in a workflow at once, with those refused later.
    pub(super) peak: [u32; ACCOUNTS],
    /// Limits were changed, and the least room that each queue had by any of them.
    pub(super) limited: bool,
    pub(super) least_queue: [u32; ACCOUNTS],
    /// Most creations that waited for each queue at once.
    pub(super) wanted: [usize; ACCOUNTS],
}

/// What a creation rate allows: by any time, its burst and what time has brought since it was set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) per_second: f64,
    pub(super) burst: f64,
    pub(super) left: f64,
}

/// How many shards there are to be, how many there were last, and the highest epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) wanted: u32,
    pub(super) reached: u32,
    pub(super) epoch: u64,
}

impl Layout {
    pub(super) fn read(bytes: &[u8]) -> Self {
        let (wanted, rest) = bytes.split_first_chunk().expect("16 bytes");
        let (reached, epoch) = rest.split_first_chunk().expect("16 bytes");
        Self {
            wanted: u32::from_le_bytes(*wanted),
            reached: u32::from_le_bytes(*reached),
            epoch: u64::from_le_bytes(epoch.try_into().expect("16 bytes")),
        }
    }
}
