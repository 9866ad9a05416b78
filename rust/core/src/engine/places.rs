//! Where an instance is placed: at once on a slot, in the queue, or in the queue later.
//!
//! C2 and C4 meet here: a slot goes to a newcomer only if nobody who could use it is queued.

use super::decide::Whereabouts;
use super::{After, Core, Due, Live};
use crate::gatekeeper::Demand;
use crate::ids::{InstanceNo, Key, Micros};
use crate::letter::Asked;
use crate::lifecycle::{Happening, Status};
use crate::limits::BATCH_OPS;
use crate::note::{Data, Note};
use crate::queue::{Class, Entry, Rank};
use crate::submission::{Command, Name, NewItem};

/// Whether somebody who is queued could have a slot: what is known of it within a batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Queued {
    /// Nothing.
    Unknown,
    /// Of this workflow, when it was last looked at.
    Admissible(u32),
    /// Nobody, unless a slot came back or a workflow that had no entry got one.
    Nobody,
}

impl From<Option<u32>> for Queued {
    fn from(workflow: Option<u32>) -> Self {
        workflow.map_or(Self::Nobody, Self::Admissible)
    }
}

impl Core {
    /// Whether a newcomer of this workflow may take a slot without overtaking anybody.
    fn is_open(&mut self, workflow: u32) -> bool {
        self.gate.free(workflow) > 0 && self.queues.is_idle(workflow) && !self.is_contended()
    }

    /// Whether somebody who is queued could have a slot. Asked for every creation, so it looks at
    /// all workflows only after a slot came back; otherwise at those that joined since it looked.
    fn is_contended(&mut self) -> bool {
        let fresh = self.queues.take_fresh();
        let could = |it: &u32| self.gate.free(*it) > 0 && !self.queues.is_idle(*it);
        self.contended = match self.contended {
            Queued::Admissible(it) if could(&it) => Queued::Admissible(it),
            Queued::Nobody => fresh.into_iter().find(could).into(),
            _ => self.queues.workflows().find(could).into(),
        };
        matches!(self.contended, Queued::Admissible(_))
    }

    /// Returns how many newcomers of this workflow would start at once and need no room.
    pub(super) fn startable(&mut self, workflow: u32) -> u32 {
        if self.is_open(workflow) {
            self.gate.free(workflow)
        } else {
            0
        }
    }

    /// Whether a newcomer is queued whatever slots are free, because its `start_at` is to come.
    pub(super) fn comes_later(&self, item: &NewItem) -> bool {
        item.start_at.is_some_and(|at| at > self.now)
    }

    /// Places a new instance and returns its first state.
    pub(super) fn place(
        &mut self,
        no: InstanceNo,
        key: Key,
        (workflow, version): (u32, u32),
        priority: i8,
        start_at: Option<Micros>,
    ) -> Status {
        let later = start_at.filter(|at| *at > self.now);
        let rank = Rank::new(priority, Class::New);
        let entry = Entry::new(no, key);
        let status = if later.is_none() && self.is_open(workflow) {
            assert!(self.gate.take(workflow), "a slot is free");
            let mut live = Box::new(Live::new(key, no, (workflow, version), priority));
            live.status = Status::Running;
            (live.marked, live.slot, live.resident) = (true, true, true);
            live.counted = Status::Running;
            live.class = Class::Woken;
            self.live.insert(no, live);
            Status::Running
        } else {
            self.admission.joined(workflow);
            self.versions.enters(workflow, no, version);
            match later {
                Some(at) => {
                    self.counts.later((workflow, version), 1);
                    self.timers.set(at, no, Due::StartAt(workflow, rank, entry));
                }
                None => self.queues.push(workflow, rank, entry),
            }
            Status::Queued
        };
        self.registry.announce(key, no, status);
        self.counts.born((workflow, version), status, false);
        self.batch.shown.push(key);
        status
    }

    /// Takes back what `place` did: the store says that the id is taken.
    pub(super) fn displace(
        &mut self,
        no: InstanceNo,
        key: Key,
        (workflow, version): (u32, u32),
        priority: i8,
        start_at: Option<Micros>,
    ) {
        self.registry.forget(key);
        self.admission.not_created(self.gate.namespace(workflow));
        let live = self.live.remove(&no);
        let status = live.as_ref().map_or(Status::Queued, |it| it.counted);
        self.counts.born((workflow, version), status, true);
        match live {
            Some(live) if live.slot => {
                self.gate.give_back(workflow);
                self.contended = Queued::Unknown;
            }
            _ => {
                let (rank, entry) = (Rank::new(priority, Class::New), Entry::new(no, key));
                let timer = start_at.and_then(|at| self.timers.cancel(at, no));
                if timer.is_some() {
                    self.counts.later((workflow, version), -1);
                }
                let queued = timer.is_some() || self.queues.remove(workflow, rank, entry);
                assert!(queued, "C5: it was placed somewhere");
                self.admission.left(workflow);
            }
        }
        self.rooms.made = true;
    }

    /// Gives a queued instance the slot that was taken for it.
    pub(super) fn start(&mut self, workflow: u32, rank: Rank, entry: Entry) {
        self.admission.left(workflow);
        self.rooms.made = true;
        let no = entry.no;
        let batch = self.batch.number;
        let of = (workflow, self.versions.of_entrant(workflow, no));
        let live = self
            .live
            .entry(no)
            .or_insert_with(|| Box::new(Live::new(entry.key(), no, of, rank.priority())));
        (live.priority, live.class) = (rank.priority(), rank.class);
        live.slot = true;
        live.told = batch;
        let resident = std::mem::replace(&mut live.resident, true);
        let interrupted = live.interrupted;
        if interrupted {
            live.recoveries += 1;
        }
        // The table is the judge: only a queued instance starts (C5).
        let owed = self.shift(no, Happening::Start);
        owed.expect("C5: only queued ones start").leaves_nothing();
        self.persist(no, None, None);
        self.then(if resident {
            After::Wake(no)
        } else {
            After::Load { no, interrupted }
        });
    }

    /// A wait of a waiting instance was settled: it gets a slot at once or joins the queue.
    pub(super) fn wake(&mut self, no: InstanceNo) {
        let live = self.live_mut(no);
        if live.status != Status::Waiting {
            return;
        }
        let workflow = live.workflow;
        let resident = self.residents.claim(no);
        let at_once = self.is_open(workflow);
        self.live_mut(no).resident = resident;
        let owed = self.shift(no, Happening::Wake);
        owed.expect("a waiting one can be woken").leaves_nothing();
        if at_once {
            let live = self.live_mut(no);
            let (rank, entry) = (live.rank(), Entry::new(no, live.key));
            assert!(self.queues.remove(workflow, rank, entry), "just queued");
            assert!(self.gate.take(workflow), "a slot is free");
            self.start(workflow, rank, entry);
        } else {
            self.persist(no, None, None);
        }
    }

    /// L13: says how many go before a queued instance, and which limits hold it up.
    pub(super) fn stand(&mut self, ticket: u64, name: Box<Name>, priority: i8) -> Option<Command> {
        let key = Key::new(&name.namespace, &name.workflow, &name.id);
        if !self.domain.is_whole() && self.registry.view(key).is_none() {
            let found = self.find(&name);
            match self.or_refuse(ticket, found)? {
                Whereabouts::Unsure => return Some(Command::Stand(ticket, name, priority)),
                Whereabouts::Elsewhere(_, range) => {
                    self.ask_owner(range, ticket, Asked::Stand(name, priority));
                    return None;
                }
                Whereabouts::Here(..) | Whereabouts::Final(..) | Whereabouts::Unknown => {}
            }
        }
        let workflow = self.workflow(&name.namespace, &name.workflow);
        let known = self.registry.view(key);
        let ahead = known.map_or(0, |it| {
            let rank = match self.live.get(&it.no) {
                Some(live) => live.rank(),
                None => Rank::new(priority, Class::New),
            };
            self.queues.ahead(workflow, rank, it.no)
        });
        let state = known.map(|it| it.decided);
        let data = Data::Standing(state, ahead as u64, self.gate.accounts(workflow));
        self.say(Note::reply(ticket, data));
        None
    }

    /// A `start_at` has come.
    pub(super) fn ripen(&mut self, workflow: u32, rank: Rank, entry: Entry) {
        let version = self.version_of(workflow, entry.no);
        self.counts.later((workflow, version), -1);
        self.queues.push(workflow, rank, entry);
    }

    /// Hands out free slots: one cycle of demand and grant. Inside one process all shards of a
    /// workflow ask with one voice (C7), so a cycle looks at workflows and not at shards; what the
    /// workflow gets, its queue shares among its shards by the same rule, max-min and the best
    /// heads first (C3, C4), but for the turns of new entries.
    pub(super) fn dispatch(&mut self) {
        if self.queues.is_empty() || self.gate.leased() == self.gate.slots() {
            return;
        }
        let mut demands = Vec::new();
        for workflow in self.queues.workflows() {
            if self.gate.free(workflow) == 0 {
                continue;
            }
            let demand = self.queues.demand(workflow);
            let (wanted, shard, (rank, entry)) = demand.expect("it has entries");
            demands.push(Demand {
                shard,
                workflow,
                wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
                head: (rank, entry.no),
            });
        }
        for grant in self.gate.grant(&demands, BATCH_OPS as u32) {
            let drawn = self.queues.deal(grant.workflow, grant.slots as usize);
            assert_eq!(drawn.len(), grant.slots as usize, "no more than demanded");
            for (rank, entry) in drawn {
                self.start(grant.workflow, rank, entry);
            }
        }
    }
}
