//! What is true: the durable state, rebuilt from every operation that was committed.
//!
//! The oracle's own account, kept apart from the engine's: it sees the operations of a commit, in
//! order, and what bodies and the outside asked for ([`Said`]), never the engine's memory. Every
//! operation costs what it changes, so it can be asked after each one. It judges nothing; the
//! rules do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::facts::{Allowance, Commit, Crowd, Granted, Layout, Lingering, Truly};
use super::plan::{Change, Plan};
use super::program::{namespace, workflow, Account, ACCOUNTS, NAMESPACES, WORKFLOWS};
use super::said::{Asked, Said};
use crate::audit;
use crate::bulk::Bulk;
use crate::ids::{EventId, InstanceNo, Key, Micros, Seq};
use crate::lifecycle::Status;
use crate::note::{Data, Note};
use crate::store::{Op, Outcome};
use crate::wait::{Approval, ApprovalStatus};

/// Everything that is durable, and who has which slot.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) now: Micros,
    pub(super) plan: Plan,
    pub(super) layout: Layout,
    pub(super) said: Said,
    pub(super) all: FxHashMap<InstanceNo, Truly>,
    pub(super) names: FxHashMap<u128, InstanceNo>,
    /// Tickets whose creations are durable.
    pub(super) creators: FxHashSet<u64>,
    pub(super) crowds: [Crowd; ACCOUNTS],
    pub(super) held: u32,
    pub(super) held_in: [u32; NAMESPACES.len()],
    /// Creations that each namespace's rate allows now.
    pub(super) rates: [Option<Allowance>; NAMESPACES.len()],
    /// How many slots of each priority of each workflow went to others since its oldest entry that
    /// never ran is that.
    pub(super) passed: FxHashMap<(Account, i16), (InstanceNo, u32)>,
    /// Creations that wait in the engine, by ticket: whose, and their keys.
    pub(super) waiting: BTreeMap<u64, (Account, Vec<u128>)>,
    /// Creations that were looked up, by ticket: how many of their ids were new then.
    pub(super) looked: FxHashMap<u64, usize>,
    /// Creations with ids that each queue refused so far: places may be promised to them.
    pub(super) refused: [usize; ACCOUNTS],
    /// Tickets of creations that were given up before they were let in.
    pub(super) given_up: FxHashSet<u64>,
    /// The engine drains: nobody who waits is let in any more.
    pub(super) draining: bool,
    /// When a refused creation was told to come again, by key.
    pub(super) promised: FxHashMap<u128, Micros>,
    /// How many instances of each workflow are in each state.
    pub(super) states: [[u64; Status::ALL.len()]; ACCOUNTS],
    /// Slots of instances that have ended but for an attempt.
    pub(super) lingering: FxHashMap<InstanceNo, Lingering>,
    /// Whose ids were deleted, and which numbers.
    pub(super) deleted: FxHashSet<u128>,
    pub(super) dead: FxHashSet<InstanceNo>,
    pub(super) unripe: BTreeSet<(Micros, InstanceNo)>,
    /// When whose count of unclean stops falls.
    pub(super) proofs: BTreeSet<(Micros, InstanceNo)>,
    pub(super) approvals: FxHashMap<Box<str>, Approval>,
    /// Events that want an answer, by their names, and the first answer to each.
    pub(super) asked: BTreeMap<(InstanceNo, u32), EventId>,
    pub(super) answers: BTreeMap<(InstanceNo, EventId), Box<[u8]>>,
    /// Tickets of what is in the audit.
    pub(super) audited: FxHashSet<u64>,
    /// When instances of each workflow errored.
    pub(super) errored: [Vec<Micros>; ACCOUNTS],
    /// What is done to many, by number, and which instances each of them has changed.
    pub(super) bulks: BTreeMap<u64, Bulk>,
    pub(super) touched: FxHashSet<(u64, InstanceNo)>,
    /// Numbers given out for good, and the stored promise that none lies above.
    pub(super) numbers: FxHashSet<u64>,
    pub(super) highest: u64,
    pub(super) ceiling: u64,
    pub(super) last_seq: Seq,
    /// Counts operations.
    pub(super) clock: u64,
    pub(super) commit: Commit,
    /// The next commit is the first of an engine.
    pub(super) booting: bool,
    /// The next commit is the last of an engine that ends cleanly.
    pub(super) closing: bool,
    /// Workflows this engine has no code for, as a set of bits.
    pub(super) missing: u32,
}

impl Truth {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            now: 0,
            layout: Layout::default(),
            plan,
            said: Said::default(),
            all: FxHashMap::default(),
            names: FxHashMap::default(),
            creators: FxHashSet::default(),
            crowds: Default::default(),
            held: 0,
            held_in: Default::default(),
            rates: Default::default(),
            passed: FxHashMap::default(),
            waiting: BTreeMap::new(),
            looked: FxHashMap::default(),
            refused: [0; ACCOUNTS],
            given_up: FxHashSet::default(),
            draining: false,
            promised: FxHashMap::default(),
            states: Default::default(),
            lingering: FxHashMap::default(),
            deleted: FxHashSet::default(),
            dead: FxHashSet::default(),
            unripe: BTreeSet::new(),
            proofs: BTreeSet::new(),
            approvals: FxHashMap::default(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            audited: FxHashSet::default(),
            errored: Default::default(),
            bulks: BTreeMap::new(),
            touched: FxHashSet::default(),
            numbers: FxHashSet::default(),
            highest: 0,
            ceiling: 0,
            last_seq: 0,
            clock: 0,
            commit: Commit::default(),
            booting: false,
            closing: false,
            missing: 0,
        }
    }

    /// Returns whether no slot is left for this workflow.
    pub(super) fn is_full(&self, account: Account) -> bool {
        self.held >= self.plan.slots || self.is_at_limit(account)
    }

    /// Returns whether the workflow, or its namespace, has all the slots it may have.
    pub(super) fn is_at_limit(&self, account: Account) -> bool {
        self.crowds[account].held >= self.plan.slots_of_workflow(account)
            || self.held_in[namespace(account)] >= self.plan.slots_of_namespace(namespace(account))
    }

    /// Returns the shard an instance belongs to.
    pub(super) fn shard(&self, no: InstanceNo) -> u32 {
        let mut gone = self.commit.gone.iter();
        let it = self.all.get(&no).or_else(|| gone.find(|it| it.no == no));
        let it = it.expect("a rule saw it");
        u32::from(it.key.range().0) % self.layout.wanted
    }

    /// Returns an instance by its key.
    pub(super) fn by_key(&self, key: Key) -> Option<&Truly> {
        self.all.get(self.names.get(&key.0)?)
    }

    /// The notes of a commit leave the engine: whoever was refused because of the rate knows when
    /// to come again.
    pub(super) fn told(&mut self, notes: &[Note]) {
        for note in notes {
            let Note::Reply { ticket, data, .. } = note else {
                continue;
            };
            self.waiting.remove(ticket);
            let asked = self.said.tickets.get(ticket);
            let Some(Asked::Create(_, keys)) = asked.filter(|_| !self.commit.limited) else {
                continue;
            };
            if let ([key], Data::Overloaded("create_rate", after)) = (&keys[..], data) {
                self.promised.insert(*key, self.now + after);
            }
        }
    }

    /// The engine has seen a creation that is to wait. One that no queue has room for, however
    /// empty, is refused and has no claim; but while its ids are not `known`, those that exist
    /// count, too.
    pub(super) fn came(&mut self, ticket: u64, starts: &[Option<Micros>], known: bool) {
        let Some(Asked::Create(account, keys)) = self.said.tickets.get(&ticket) else {
            return;
        };
        let account = *account;
        let taken = |key: &u128| {
            let no = self.names.get(key);
            no.is_some_and(|no| known || !self.all[no].status.is_final())
        };
        let mut first = FxHashSet::default();
        let new = keys.iter().zip(starts);
        let new: Vec<_> = new
            .filter(|it| !taken(it.0) && first.insert(it.0))
            .collect();
        let later = new.iter().filter(|it| it.1.is_some_and(|at| at > self.now));
        let later = later.count() as u32;
        let slots = self.plan.slots_of_workflow(account);
        let slots = slots.min(self.plan.slots_of_namespace(namespace(account)));
        let at_once = (new.len() as u32 - later).min(slots.min(self.plan.slots));
        let fits = new.len() as u32 - at_once <= self.plan.queue_of(account);
        let keys = keys.clone();
        self.waiting.remove(&ticket);
        if fits && !self.given_up.contains(&ticket) {
            self.waiting.insert(ticket, (account, keys));
            self.commit.wanted[account] = self.commit.wanted[account].max(self.waits(account));
        }
    }

    /// A creation is given up, if it was not let in before.
    pub(super) fn give_up(&mut self, ticket: u64) {
        self.waiting.remove(&ticket);
        self.given_up.insert(ticket);
    }

    fn waits(&self, account: Account) -> usize {
        let here = self.waiting.values().filter(|it| it.0 == account);
        here.map(|it| it.1.len()).sum()
    }

    /// Creations with ids were refused by a full queue, or a store that is short of room: they keep
    /// a place.
    pub(super) fn refusals(&mut self, notes: &[Note]) {
        for note in notes {
            let Note::Reply { ticket, data, .. } = note else {
                continue;
            };
            let promised = matches!(data, Data::Overloaded("queue_entries" | "disk", _));
            if let (true, Some(Asked::Create(account, keys))) =
                (promised, self.said.tickets.get(ticket))
            {
                self.refused[*account] += keys.len();
            }
        }
    }

    /// The slots of a commit are given: counts those that passed new entries over. In a commit that
    /// gave an older one a slot none was the oldest yet, so what else it gave passed nobody over.
    pub(super) fn pass_over(&mut self) {
        let mut passed = FxHashMap::default();
        for (account, crowd) in self.crowds.iter().enumerate() {
            for it in crowd.ready.iter().filter(|it| it.new && it.cold) {
                // In order: the first of a priority is its oldest.
                let key = (account, it.falling);
                if passed.contains_key(&key) {
                    continue;
                }
                let since = self.all[&it.no].place.map(|place| place.since);
                let others = self.commit.granted.iter().filter(|other| {
                    let same = other.account == account && other.order.falling == it.falling;
                    let drawn = other.queued && !other.held_back && other.order.cold;
                    same && drawn && since < Some(other.at)
                });
                let older = |other: &Granted| other.order.new && other.order.no < it.no;
                let count = if others.clone().any(older) {
                    0
                } else {
                    let before = self.passed.get(&key).filter(|known| known.0 == it.no);
                    before.map_or(0, |it| it.1) + others.count() as u32
                };
                passed.insert(key, (it.no, count));
            }
        }
        self.passed = passed;
    }

    /// The loader has looked for the ids of a creation.
    pub(super) fn looked_up(&mut self, ticket: u64) {
        if let Some(Asked::Create(_, keys)) = self.said.tickets.get(&ticket) {
            let new = keys.iter().filter(|it| !self.names.contains_key(it));
            self.looked.insert(ticket, new.count());
        }
    }

    /// Returns how many creations that are new wait for a queue.
    pub(super) fn wanted(&self, account: Account) -> usize {
        let here = self.waiting.values().filter(|it| it.0 == account);
        let new = here.map(|(_, keys)| {
            let keys: FxHashSet<_> = keys.iter().collect();
            // Nobody sees that one has become new because another was deleted.
            let is_new = |it: &&&u128| !self.names.contains_key(it) && !self.deleted.contains(it);
            keys.iter().filter(is_new).count()
        });
        new.sum()
    }

    /// Limits are others from now on.
    pub(super) fn limit(&mut self, change: &Change) {
        self.plan.apply(change);
        self.commit.limited = true;
        for (account, least) in self.commit.least_queue.iter_mut().enumerate() {
            *least = self.plan.queue_of(account).min(*least);
        }
        // A rate that changes keeps its promises, but not the figures behind them.
        self.allow();
    }

    pub(super) fn allow(&mut self) {
        for (of, rate) in self.rates.iter_mut().enumerate() {
            let limit = self.plan.rate(of);
            let same = rate.map(|it| (it.per_second, it.burst)) == limit;
            if !same {
                let left = rate.map(|it| it.left);
                *rate = limit.map(|(per_second, burst)| Allowance {
                    per_second,
                    burst,
                    left: left.unwrap_or(burst),
                });
                self.promised.clear();
            }
        }
    }

    /// Returns an instance by its name.
    pub(super) fn named(&self, account: Account, id: &str) -> Option<&Truly> {
        let (namespace, workflow) = (namespace(account), workflow(account));
        self.by_key(Key::new(NAMESPACES[namespace], WORKFLOWS[workflow], id))
    }

    /// Whether there was one of this name, and it was deleted.
    pub(super) fn was_deleted(&self, account: Account, id: &str) -> bool {
        let (namespace, workflow) = (namespace(account), workflow(account));
        let key = Key::new(NAMESPACES[namespace], WORKFLOWS[workflow], id);
        self.deleted.contains(&key.0)
    }

    /// Time goes on: rates allow more. A clock that jumps back gives nothing.
    pub(super) fn gather(&mut self, now: Micros) {
        let passed = (now - self.now).max(0);
        for rate in self.rates.iter_mut().flatten() {
            let seconds = Duration::from_micros(passed as u64).as_secs_f64();
            rate.left += seconds * rate.per_second;
        }
        self.now = now;
    }

    /// A commit begins, with what was decided at this time.
    pub(super) fn begin(&mut self, now: Micros) {
        self.gather(now);
        self.commit = Commit::default();
        self.commit.layouts.push(self.layout);
        self.commit.least_queue = std::array::from_fn(|it| self.plan.queue_of(it));
        self.commit.wanted = std::array::from_fn(|it| self.waits(it));
        self.commit.surplus = (0..ACCOUNTS).flat_map(|it| self.surplus(it)).collect();
        for (peak, crowd) in self.commit.peak.iter_mut().zip(&self.crowds) {
            *peak = crowd.queued;
        }
    }

    /// Returns those of a workflow that have ended beyond the number that is kept of it: those that
    /// ended first, but for those with a time of their own, which count (L9).
    pub(super) fn surplus(&self, account: Account) -> Vec<InstanceNo> {
        let Some(most) = self.plan.retention(workflow(account)).count else {
            return Vec::new();
        };
        let ended = self.all.values().filter(|it| it.account == account);
        let ended: Vec<_> = ended.filter(|it| it.ended_at.is_some()).collect();
        let many = ended.len().saturating_sub(most as usize);
        let plain = ended.iter().filter(|it| it.keep.is_none());
        let mut plain: Vec<_> = plain.map(|it| (it.ended_at, it.no)).collect();
        plain.sort_unstable();
        plain.into_iter().take(many).map(|it| it.1).collect()
    }

    /// When the time of an instance is over that has ended, if it ever is (L9).
    pub(super) fn kept_until(&self, it: &Truly) -> Option<Micros> {
        let of_code = self.plan.retention(workflow(it.account)).keep;
        let keeps = it.keep.unwrap_or(of_code).of(it.status);
        Some(it.ended_at?.saturating_add(keeps?))
    }

    /// Whether an operation is about an instance whose creation was refused just before: the
    /// engine could not know, and nothing comes of it.
    pub(super) fn is_void(&self, op: &Op) -> bool {
        matches!(op, Op::Status(no, ..) if self.commit.refused.contains(no))
    }

    /// Applies one operation and says what a store must answer.
    pub(super) fn apply(&mut self, op: &Op) -> Outcome {
        self.clock += 1;
        // What ends a wait is a close and a record, one right after the other.
        if !matches!(op, Op::Append(..)) {
            self.commit.closed = None;
        }
        if !matches!(op, Op::Append(..) | Op::Close(..)) {
            self.commit.taken = None;
        }
        match op {
            Op::Create(new) => return self.create(new),
            Op::Append(no, _, record) => return self.append(*no, record),
            Op::Open(no, _, wait) => self.open(*no, wait),
            Op::Close(no, id) => self.close(*no, *id),
            Op::Postpone(no, id, until) => self.postpone(*no, *id, *until),
            Op::Buffer(no, event, dedup) => return self.buffer(*no, event, dedup.is_some()),
            Op::Take(no, id) => {
                let it = self.all.get_mut(no).expect("a rule saw it");
                let at = it.events.iter().position(|it| it.id == *id);
                self.commit.taken = at.map(|at| (*no, it.events.remove(at)));
                return Outcome::Done(0);
            }
            Op::Ask(no, event, dedup) => self.ask(*no, *event, dedup),
            Op::Answer(no, _, place, answer) => self.answer(*no, *place, answer),
            Op::Status(no, _, to) => self.change(*no, to),
            Op::Place(no, _, priority, start_at) => self.place(*no, *priority, *start_at),
            Op::Approval(approval) => {
                let approval = (**approval).clone();
                self.approvals.insert(approval.id.clone(), approval);
            }
            Op::EndApproval(id, status) => {
                let open = self.approvals.get_mut(id);
                if let Some(it) = open.filter(|it| it.status == ApprovalStatus::Open) {
                    it.status = *status;
                }
            }
            Op::Meta(name, value) if &**name == "sequence" => {
                let value = (**value).try_into().expect("8 bytes");
                self.ceiling = u64::from_le_bytes(value);
            }
            Op::Meta(name, value) if &**name == "layout" => {
                self.layout = Layout::read(value);
                self.commit.layouts.push(self.layout);
            }
            Op::Ended(it) => self.commit.ended.push((**it).clone()),
            Op::Failed(it) => self.commit.failed.push((**it).clone()),
            Op::Audit(entry) => {
                self.audited.extend(asker(entry));
                self.commit.audited.extend(asker(entry));
            }
            Op::Meta(..)
            | Op::Attributes(..)
            | Op::Progress(..)
            | Op::Bucket(..)
            | Op::ForgetAudit(_)
            | Op::Schedule(_)
            | Op::Firing(_)
            | Op::ForgetFirings(..)
            | Op::Unschedule(_)
            | Op::Called(_)
            | Op::ForgetCalls(_)
            | Op::ForgetChunks(_)
            | Op::Forget(_)
            | Op::Large(_)
            | Op::ForgetLarge(_)
            | Op::ForgetBulks(_) => {}
            Op::Version(no, _, version) => {
                let it = self.all.get_mut(no).expect("a rule saw it");
                it.version = version.clone();
                self.commit.touched.push(*no);
            }
            Op::Touched(no, number) => {
                self.touched.insert((*number, *no));
            }
            Op::Bulk(bulk) => {
                self.bulks.insert(bulk.number, (**bulk).clone());
            }
            Op::Restart(no, _, to) => self.restart(*no, to),
            Op::Delete(no) => self.delete(*no),
            Op::CreateChildren(..)
            | Op::Seen(..)
            | Op::Leave(_)
            | Op::TakeIn(_)
            | Op::Chunks(..) => {
                unreachable!("one that is alone never says so")
            }
        }
        Outcome::Done(0)
    }
}

/// Returns the ticket of what a row of the audit tells.
pub(super) fn asker(entry: &audit::Entry) -> Option<u64> {
    entry.by.actor.as_ref()?.parse().ok()
}
