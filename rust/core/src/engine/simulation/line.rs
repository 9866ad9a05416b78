//! Who has a slot and who is queued, as the truth has it: slots given and taken back, places in the
//! queue, and what another engine finds.

use super::facts::{Commit, Granted, Lingering, Order, Place, Truly};
use super::program::{namespace, Account, ACCOUNTS};
use super::truth::Truth;
use crate::codes::HELD_BACK;
use crate::ids::{Incarnation, InstanceNo, Micros};
use crate::lifecycle::Status;

impl Truth {
    /// Returns whether a slot is taken for this instance.
    pub(super) fn has_slot(&self, no: InstanceNo) -> bool {
        let it = &self.all[&no];
        let lingers = self.lingering.get(&no);
        it.holds || lingers.is_some_and(|of| of.incarnation == it.incarnation)
    }

    /// Gives a slot.
    pub(super) fn grant(&mut self, no: InstanceNo) {
        let place = self.all[&no].place;
        let it = &self.all[&no];
        let account = it.account;
        let could = |other: &usize| {
            *other != account && !self.crowds[*other].ready.is_empty() && !self.is_full(*other)
        };
        let rivals = (0..ACCOUNTS).filter(could).fold(0, |set, it| set | 1 << it);
        let order = place.map_or_else(|| self.order(it), |it| it.order);
        self.unqueue(no);
        let it = self.all.get_mut(&no).expect("it is there");
        it.was_cut = std::mem::take(&mut it.cut);
        (it.holds, it.started) = (true, true);
        self.crowds[account].held += 1;
        self.held_in[namespace(account)] += 1;
        self.held += 1;
        self.commit.granted.push(Granted {
            account,
            order,
            at: self.clock,
            queued: place.is_some(),
            held_back: place.is_some_and(|it| it.held_back),
            rivals,
            held: (self.crowds[account].held, self.held_in[namespace(account)]),
            most: (
                self.plan.slots_of_workflow(account),
                self.plan.slots_of_namespace(namespace(account)),
            ),
        });
    }

    pub(super) fn release(&mut self, no: InstanceNo) {
        let it = self.all.get_mut(&no).expect("it is there");
        if std::mem::take(&mut it.holds) {
            let account = it.account;
            self.give_back(account);
        }
    }

    pub(super) fn give_back(&mut self, account: Account) {
        self.crowds[account].held -= 1;
        self.held_in[namespace(account)] -= 1;
        self.held -= 1;
    }

    /// An instance is about to end, but an attempt of it goes on: its slot is taken until then.
    pub(super) fn linger(&mut self, no: InstanceNo, incarnation: Incarnation) {
        if let Some(it) = self.all.get_mut(&no) {
            let speaks = it.incarnation == incarnation
                && matches!(it.status, Status::Running | Status::WaitingForPause);
            if speaks && std::mem::take(&mut it.holds) {
                let lingering = Lingering {
                    account: it.account,
                    count: 0,
                    incarnation,
                };
                let it = self.lingering.entry(no).or_insert(lingering);
                (it.count, it.incarnation) = (it.count + 1, incarnation);
            }
        }
    }

    /// The last attempt has ended.
    pub(super) fn let_go(&mut self, no: InstanceNo) {
        if let Some(it) = self.lingering.get_mut(&no) {
            it.count -= 1;
            let Lingering { account, count, .. } = *it;
            self.give_back(account);
            if count == 0 {
                self.lingering.remove(&no);
            }
        }
    }

    pub(super) fn order(&self, it: &Truly) -> Order {
        let ran = matches!(it.status, Status::Running | Status::WaitingForPause) || it.marked;
        Order {
            cold: !(self.booting && ran),
            falling: -i16::from(it.priority),
            new: !it.started,
            no: it.no,
        }
    }

    /// Puts an instance into the queue; one that is there stays where it is.
    pub(super) fn queue(&mut self, no: InstanceNo) {
        let it = &self.all[&no];
        if it.place.is_some() {
            return;
        }
        let place = Place {
            order: self.order(it),
            since: self.clock,
            ripe: it.started || it.start_at.is_none_or(|at| at <= self.now),
            held_back: false,
        };
        let (account, start_at) = (it.account, it.start_at);
        self.crowds[account].queued += 1;
        self.peak(account);
        if place.ripe {
            self.crowds[account].ready.insert(place.order);
        } else {
            let at = start_at.expect("only that makes it wait");
            self.unripe.insert((at, no));
        }
        self.all.get_mut(&no).expect("it is there").place = Some(place);
    }

    pub(super) fn unqueue(&mut self, no: InstanceNo) {
        let it = self.all.get_mut(&no).expect("it is there");
        if let Some(place) = it.place.take() {
            let crowd = &mut self.crowds[it.account];
            crowd.queued -= 1;
            crowd.ready.remove(&place.order);
            if let Some(at) = it.start_at {
                self.unripe.remove(&(at, no));
            }
        }
    }

    /// One that is queued has another priority, or may start earlier; all else of its place stays.
    pub(super) fn place(&mut self, no: InstanceNo, priority: i8, start_at: Option<Micros>) {
        let mut place = self.all[&no].place.expect("it is queued");
        self.unqueue(no);
        place.order.falling = -i16::from(priority);
        // A clock that went back takes nobody out of the queue.
        if !place.ripe && start_at.is_none_or(|at| at <= self.now) {
            (place.ripe, place.since) = (true, self.clock);
        }
        let it = self.all.get_mut(&no).expect("it is there");
        (it.priority, it.start_at, it.place) = (priority, start_at, Some(place));
        let crowd = &mut self.crowds[it.account];
        crowd.queued += 1;
        if !place.ripe {
            let at = start_at.expect("only that makes it wait");
            self.unripe.insert((at, no));
        } else if !place.held_back {
            crowd.ready.insert(place.order);
        }
    }

    pub(super) fn hold_back(&mut self, no: InstanceNo, held_back: bool) {
        let it = self.all.get_mut(&no).expect("it is there");
        let place = it.place.as_mut().expect("it is queued");
        if std::mem::replace(&mut place.held_back, held_back) && !held_back {
            // It joins the others now.
            place.since = self.clock;
        }
        let ready = &mut self.crowds[it.account].ready;
        if held_back {
            ready.remove(&place.order);
        } else if place.ripe {
            ready.insert(place.order);
        }
    }

    /// The commit is complete: whose `start_at` has come is ready from now on.
    pub(super) fn ripen(&mut self) {
        self.clock += 1;
        while let Some((at, no)) = self.unripe.first().copied().filter(|it| it.0 <= self.now) {
            self.unripe.remove(&(at, no));
            let it = self.all.get_mut(&no).expect("it is queued");
            let place = it.place.as_mut().expect("it is queued");
            (place.ripe, place.since) = (true, self.clock);
            self.crowds[it.account].ready.insert(place.order);
        }
    }

    /// Another engine opens the store: who ran is first in line, in no slot yet.
    pub(super) fn reboot(&mut self, now: Micros) {
        // A rate goes on from where it was left.
        self.gather(now);
        (self.booting, self.closing) = (true, false);
        self.crowds = Default::default();
        (self.held, self.held_in) = (0, Default::default());
        self.unripe.clear();
        self.proofs.clear();
        self.lingering.clear();
        self.said.forget();
        self.promised.clear();
        self.waiting.clear();
        self.passed.clear();
        self.given_up.clear();
        self.looked.clear();
        self.refused = [0; ACCOUNTS];
        self.draining = false;
        self.allow();
        self.commit = Commit::default();
        let mut again = Vec::new();
        for it in self.all.values_mut().filter(|it| !it.status.is_final()) {
            (it.holds, it.place, it.cut) = (false, None, it.marked);
            (it.proof, it.last_events) = (None, [None; 2]);
            if matches!(it.status, Status::Queued | Status::Running) {
                let held_back = it.reason.as_deref() == Some(HELD_BACK);
                again.push((it.no, held_back));
            }
        }
        for (no, held_back) in again {
            self.queue(no);
            self.hold_back(no, held_back);
        }
    }
}
