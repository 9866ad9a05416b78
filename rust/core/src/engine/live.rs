//! What the engine keeps of an instance in memory, and what its timers are for.

use rustc_hash::FxHashMap;

use crate::ids::{EventId, Incarnation, InstanceNo, Key, Micros, Seq, WaitId};
use crate::lifecycle::Status;
use crate::limits::EVENTS;
use crate::queue::{Class, Entry, Rank};
use crate::submission::Body;
use crate::undo::Undo;
use crate::waits::Mailbox;

/// What the engine keeps of an instance that is more than a queue entry.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that vary independently of the state"
)]
pub(super) struct Live {
    pub(super) key: Key,
    pub(super) incarnation: Incarnation,
    pub(super) workflow: u32,
    /// Its version, as a number within its workflow.
    pub(super) version: u32,
    pub(super) priority: i8,
    pub(super) class: Class,
    pub(super) status: Status,
    pub(super) marked: bool,
    pub(super) slot: bool,
    /// There is code for it; without it has no place in a queue and no slot (L12).
    pub(super) has_code: bool,
    /// An unclean stop may have cut attempts short, and its body has not taken that up since.
    pub(super) interrupted: bool,
    /// Unclean stops while it could run, since it was proven that it causes none (L11).
    pub(super) recoveries: u32,
    /// When that is proven, if the process lives.
    pub(super) proof: Option<Micros>,
    /// Its body is in memory or being loaded.
    pub(super) resident: bool,
    pub(super) mailbox: Mailbox,
    /// Which event each wait took since the body was last quiet, in case it is withdrawn (I8), and
    /// in which record: none before that is durable.
    pub(super) taken: FxHashMap<WaitId, (EventId, Option<Seq>)>,
    /// Journal place of the last outcome it was told.
    pub(super) settled: u64,
    /// Batch in which it was last told an outcome.
    pub(super) told: u64,
    /// The state in which it is counted.
    pub(super) counted: Status,
    /// Since when it is in its state.
    pub(super) since: Micros,
    /// How far the undoing of its steps is (L8).
    pub(super) undo: Option<Undo>,
    /// Why it is blocked, if it is.
    pub(super) why: Option<Box<Blocked>>,
}

/// Why an instance is blocked.
#[derive(Debug, Clone)]
pub(super) struct Blocked {
    /// The word for it.
    pub(super) code: Box<str>,
    /// The step it is about.
    pub(super) step: Option<Box<str>>,
    /// The class of the error.
    pub(super) error: Option<Box<str>>,
}

impl Live {
    pub(super) fn new(
        key: Key,
        incarnation: Incarnation,
        (workflow, version): (u32, u32),
        priority: i8,
    ) -> Self {
        Self {
            key,
            incarnation,
            workflow,
            version,
            priority,
            class: Class::New,
            status: Status::Queued,
            marked: false,
            slot: false,
            has_code: true,
            interrupted: false,
            recoveries: 0,
            proof: None,
            resident: false,
            mailbox: Mailbox::default(),
            taken: FxHashMap::default(),
            settled: 0,
            told: 0,
            counted: Status::Queued,
            since: 0,
            undo: None,
            why: None,
        }
    }

    /// Whether this body may speak for it.
    pub(super) fn may_hear(&self, by: Body) -> bool {
        self.incarnation == by.incarnation && !self.is_inert()
    }

    /// Nothing settles while a human has to act: events are kept, timers stand still.
    pub(super) fn is_inert(&self) -> bool {
        matches!(self.status, Status::Paused | Status::Blocked)
    }

    /// Whether an event of this type may be sent to it: there is room to keep it, or a wait is open
    /// that takes it at once.
    pub(super) fn has_room_for(&self, kind: &str) -> bool {
        let takes = || !self.is_inert() && self.mailbox.receiver(kind).is_some();
        self.mailbox.kept() < EVENTS || takes()
    }

    pub(super) fn rank(&self) -> Rank {
        Rank::new(self.priority, self.class)
    }
}

/// What a timer is for; its number is the wait's, the instance's or the schedule's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    Wait(InstanceNo),
    StartAt(u32, Rank, Entry),
    Proof(InstanceNo),
    Room,
    Schedule,
}
