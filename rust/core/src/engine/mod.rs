//! The engine: the only place that sees every stage.
//!
//! It works in batches: [`Core::begin`], what the batch [`Core::needs`] to know and [`Core::learn`],
//! any number of [`Core::decide`], [`Core::finish_batch`]; then whoever runs it commits the operations,
//! and [`Core::apply`] turns the answers into notes. Deciding changes what only the writer sees;
//! what others see changes in `apply`, after the commit (D1). A submission whose decision depends
//! on what the store will answer to an earlier one of the same batch, or on what was not asked, is
//! handed back for the next batch, so decisions are never guesses.
//!
//! It is free of I/O but for [`recovery`], when it opens. It reads no clock and has no threads.

mod acts;
mod apply;
mod approvals;
mod audited;
mod batch;
mod body;
mod bulks;
mod changed;
mod children;
mod code;
mod continuing;
mod count;
pub(crate) mod creations;
mod decide;
mod delete;
mod forgetting;
mod generated;
mod hooks;
mod letters;
mod limits;
mod live;
mod needs;
mod places;
mod purge;
mod reasons;
pub mod recovery;
mod refill;
mod repeated;
mod requeue;
mod reshard;
mod resolving;
mod restart;
mod room;
mod schedules;
mod settle;
mod shift;
#[cfg(test)]
mod simulation;
mod suspects;
mod terminate;
#[cfg(test)]
mod tests;
mod undo;
mod versions;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::admission::Admission;
use crate::failure;
use crate::gatekeeper::Gatekeeper;
use crate::ids::{Incarnation, InstanceNo, Micros, WaitId};
use crate::lifecycle::Status;
use crate::note::{Item, Note};
use crate::queue::Queues;
use crate::ranges::Domain;
use crate::registry::Registry;
use crate::residents::Residents;
use crate::retention::Retention;
use crate::sequence::{Sequence, SETTING};
use crate::settings::Layer;
use crate::store::known::Needs;
use crate::store::{Op, Reader, Store, Transition};
use crate::submission::{Command, Name, Why};
use crate::timer::Timers;
use crate::watches::Watches;
use batch::{After, Batch, ItemOf};
use code::Codes;
use count::Counts;
use generated::Generated;
use letters::Mail;
use live::{Blocked, Due, Live};
use places::Queued;
use purge::Purges;
use reshard::Shards;
use suspects::Suspects;
use versions::Versions;

pub(crate) use reasons::standing_of;

/// What the engine is told when it opens.
#[derive(Debug, Clone)]
pub struct Config {
    /// (name, version) of every workflow there is code for (L12).
    pub workflows: Vec<(Box<str>, Box<str>)>,
    /// Number of shards, 1 to 4,096; `None`: as the store has it, 64 for a new one.
    pub shards: Option<u32>,
    /// Slots of the whole engine.
    pub slots: u32,
    /// The namespace it was opened for.
    pub namespace: Box<str>,
    /// What that namespace is opened with; nothing: what is stored.
    pub limits: Layer,
    /// What the code of workflows says about their own limits.
    pub workflow_limits: Vec<(Box<str>, Layer)>,
    /// How long instances of workflows there is code for are kept.
    pub retentions: Vec<(Box<str>, Retention)>,
    /// Names that workflows had before, each with the one it has now.
    pub formerly: Vec<(Box<str>, Box<str>)>,
}

/// Committed truth, for what an engine reads when it opens.
pub struct Facts {
    /// The store itself.
    pub store: Box<dyn Store>,
    /// A reader for what the store's own methods do not answer.
    pub reader: Box<dyn Reader>,
}

/// What the loader has to read.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    /// START of an instance.
    Start {
        /// Which.
        no: InstanceNo,
        /// Which life of it.
        incarnation: Incarnation,
        /// Whether a crash interrupted it.
        interrupted: bool,
    },
    /// Whether the instance that has the id has the same params; the answer to a creation.
    Same {
        /// What to answer.
        ticket: u64,
        /// Who has the id.
        name: Box<Name>,
        /// The params that were offered.
        params: Option<Box<[u8]>>,
    },
    /// Whether the instances that have ids of a batch have the same params; the answer to it.
    SameItems {
        /// What to answer.
        ticket: u64,
        /// The answer, as if they had.
        items: Vec<Item>,
        /// The items whose ids were taken, and the params that were offered.
        taken: Vec<(usize, Option<Box<[u8]>>)>,
    },
    /// Which ids of a creation that would be refused exist; it comes again with the answer.
    Look(Box<Command>),
    /// Whether an event that would be refused arrived before.
    Seen {
        /// For whom it is.
        no: InstanceNo,
        /// Its `dedup_id`.
        dedup: Box<str>,
        /// What to say if it did not.
        refusal: Note,
    },
}

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Applied {
    /// To be told, in order.
    pub notes: Vec<Note>,
    /// To be read.
    pub jobs: Vec<Job>,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    config: Config,
    /// The ranges of which it knows everybody who is not final.
    domain: Domain,
    /// Its number among those who share the store.
    engine: u64,
    registry: Arc<Registry>,
    residents: Arc<Residents>,
    sequence: Arc<Sequence>,
    workflows: FxHashMap<Box<str>, FxHashMap<Box<str>, u32>>,
    names: Vec<(Box<str>, Box<str>)>,
    codes: Codes,
    versions: Versions,
    limited: limits::Limited,
    live: FxHashMap<InstanceNo, Box<Live>>,
    shards: Shards,
    queues: Queues,
    /// Whether somebody who is queued could have a slot, as far as that is known.
    contended: Queued,
    gate: Gatekeeper,
    admission: Admission,
    timers: Timers<Due>,
    parents: FxHashMap<InstanceNo, Vec<(InstanceNo, WaitId)>>,
    asked: FxHashMap<Box<str>, (InstanceNo, WaitId)>,
    watches: Arc<Watches>,
    suspects: Suspects,
    /// What was found at the start of instances that cannot be read.
    unreadable: Vec<String>,
    /// Slots of instances that have ended but for attempts they gave up: of which workflow, and how
    /// many.
    held: FxHashMap<InstanceNo, (u32, u32)>,
    refit: Vec<InstanceNo>,
    rooms: room::Rooms,
    waiting: u64,
    counts: Counts,
    changed: changed::Changed,
    purges: Purges,
    generated: Generated,
    mail: Mail,
    batch: Batch,
    /// What the last batch turned out to lack.
    missing: Needs,
    bulks: bulks::Bulks,
    schedules: schedules::Schedules,
    /// Ids of calls whose answers are to be kept, by the tickets that these have.
    calls: FxHashMap<u64, Box<[u8]>>,
    /// When rows of the audit are forgotten next.
    forgets_at: Micros,
    now: Micros,
}

impl Core {
    /// Returns an engine that knows no instance yet; see [`recovery`].
    #[must_use]
    pub fn new(
        config: Config,
        registry: Arc<Registry>,
        residents: Arc<Residents>,
        sequence: Arc<Sequence>,
        watches: Arc<Watches>,
    ) -> Self {
        let shards = Shards::new(config.shards);
        Self {
            queues: Queues::new(Arc::clone(shards.ranges().layout())),
            shards,
            contended: Queued::Unknown,
            gate: Gatekeeper::new(config.slots),
            admission: Admission::new(),
            codes: Codes::new(&config.workflows),
            versions: Versions::default(),
            limited: limits::Limited::new(&config.workflow_limits),
            purges: Purges::new(&config.retentions),
            config,
            domain: Domain::Whole,
            engine: 0,
            registry,
            residents,
            sequence,
            workflows: FxHashMap::default(),
            names: Vec::new(),
            live: FxHashMap::default(),
            timers: Timers::new(),
            parents: FxHashMap::default(),
            asked: FxHashMap::default(),
            watches,
            suspects: Suspects::default(),
            unreadable: Vec::new(),
            held: FxHashMap::default(),
            refit: Vec::new(),
            rooms: room::Rooms::default(),
            waiting: 0,
            counts: Counts::default(),
            changed: changed::Changed::default(),
            generated: Generated::default(),
            mail: Mail::default(),
            batch: Batch {
                number: 1,
                ..Batch::default()
            },
            missing: Needs::default(),
            bulks: bulks::Bulks::default(),
            schedules: schedules::Schedules::default(),
            calls: FxHashMap::default(),
            forgets_at: Micros::MIN,
            now: 0,
        }
    }

    /// Owns these ranges instead of all, and has this number, which no other ever had: to be said
    /// before [`Core::recover`].
    #[must_use]
    pub fn within(mut self, domain: Domain, engine: u64) -> Self {
        (self.domain, self.engine) = (domain, engine);
        self
    }

    /// Returns the ranges that it owns: what it commits, it commits for them.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Begins a batch at this time.
    pub fn begin(&mut self, now: Micros) {
        if now < self.now {
            // The moments of those who wait are as far as ever, their timers are not.
            self.rooms.changed = true;
        }
        self.now = now;
        self.contended = Queued::Unknown;
        self.admission.begin(now);
    }

    /// Returns how many operations and bytes the batch has so far.
    #[must_use]
    pub fn batch_size(&self) -> (usize, usize) {
        let [ops, left_to_do] = self.batch.counts;
        (ops.max(left_to_do), self.batch.bytes)
    }

    /// Returns the operations to commit.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.batch.ops()
    }

    /// Returns the number of the batch; notes of a batch carry it to `Quiet`.
    #[must_use]
    pub fn batch_number(&self) -> u64 {
        self.batch.number
    }

    /// Returns when the earliest timer is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Micros> {
        self.timers
            .next()
            .into_iter()
            .chain(self.purges.next())
            .min()
    }

    /// Returns whether there is something to do without any submission.
    #[must_use]
    pub fn has_work(&self, now: Micros) -> bool {
        !self.refit.is_empty()
            || self.has_unborn()
            || self.next_timer().is_some_and(|at| at <= now)
            || self.next_suspect().is_some()
            || self.queues.is_moving()
            || self.queues.workflows().any(|it| self.gate.free(it) > 0)
    }

    /// Returns (slots, leased, queued, waiting).
    #[must_use]
    pub fn counts(&self) -> [u64; 4] {
        [
            u64::from(self.gate.slots()),
            u64::from(self.gate.leased()),
            (self.queues.len() + self.suspects.held()) as u64,
            self.waiting,
        ]
    }

    /// Completes the batch: due timers, events that fit waits, slots that are free.
    pub fn finish_batch(&mut self) {
        self.tell_unborn();
        for no in std::mem::take(&mut self.refit) {
            self.fit(no);
        }
        self.fire_due();
        self.try_suspects();
        self.hand_over();
        self.dispatch();
        self.purge();
        self.keep_ended();
        self.keep_rates();
        self.forget_audit();
        self.keep_changes();
        if let Some(ceiling) = self.sequence.raise() {
            let value = ceiling.to_le_bytes().into();
            self.push(Op::Meta(SETTING.into(), value));
        }
    }

    /// Ends the engine's life cleanly: no body runs any more, so no mark of this life is left, and
    /// whoever still waits for room is told that there will be none.
    pub fn clear_marks(&mut self) {
        self.end_waiting();
        self.leave_change();
        let concerned =
            |it: &Live| (it.marked && it.slot) || (it.proof.is_some() && !it.is_inert());
        let some = self.live.iter().filter(|(_, it)| concerned(it));
        let some: Vec<_> = some.map(|(no, _)| *no).collect();
        for no in some {
            let live = self.live_mut(no);
            live.marked &= !live.slot;
            if live.proof.take().is_some() {
                // The process dies of something else.
                let count = std::mem::take(&mut live.recoveries);
                self.acquit(count, no);
            }
            self.keep_interruption(no);
            self.persist(no, None, None);
        }
        self.end_row_of_stops();
        self.keep_rates();
    }

    /// R3: a body that left before it had taken up what a crash cut short. The next one is told
    /// again, and this start does not count (L11).
    fn keep_interruption(&mut self, no: InstanceNo) {
        let live = self.live_mut(no);
        if live.interrupted {
            live.marked = true;
            live.recoveries = live.recoveries.saturating_sub(1);
        }
    }

    fn live_mut(&mut self, no: InstanceNo) -> &mut Live {
        self.live.get_mut(&no).expect("the caller found it live")
    }

    /// Makes the present state durable, and everybody see it after the commit.
    fn persist(&mut self, no: InstanceNo, why: Option<Why>, payload: Option<Box<[u8]>>) {
        let now = self.now;
        let live = self.live_mut(no);
        let (key, status, incarnation) = (live.key, live.status, live.incarnation);
        if live.counted != status {
            live.since = now;
        }
        if status != Status::Blocked {
            live.why = None;
        } else if let Some(why) = &why {
            live.why = Some(Box::new(Blocked {
                code: why.code.clone(),
                step: why.step.clone(),
                error: payload.as_deref().and_then(failure::class),
            }));
        }
        let (reason, step) = why.map_or((None, None), |it| (Some(it.code), it.step));
        let transition = Transition {
            status,
            marked: live.marked,
            recoveries: live.recoveries,
            reason,
            step,
            payload,
            undo: live.undo,
            at: now,
        };
        let of = (live.workflow, live.version);
        let before = std::mem::replace(&mut live.counted, status);
        let ends = status.is_final() && !before.is_final();
        if self.counts.moved(of, before, status) {
            self.versions.none_left(of.0);
        }
        if ends {
            self.keep_ended_for(of.0, status);
        }
        if status == Status::Errored {
            self.count_failed(no, of, transition.payload.as_deref());
        }
        self.batch.bytes += transition.payload.as_ref().map_or(0, |it| it.len());
        let op = Op::Status(no, incarnation, transition);
        self.registry.decide(key, status);
        self.batch.shown.push(key);
        self.push_then(op, After::Changed(no));
    }
}
