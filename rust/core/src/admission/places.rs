//! Places of a full queue that are promised: to those who wait in the engine, and to those who come
//! back under an id (C10).
//!
//! Who waits goes first, in the order in which they came; then whoever was refused under an id, in
//! theirs; a stranger gets what none of them needs. So no stranger displaces anybody, however often
//! it asks, and a batch is not starved by single creations that fit where it does not.
//!
//! Invariant: what is promised never exceeds what somebody still wants. One that waits keeps its
//! claim until it is let in or gives up. A claim of an id is kept until the moment it was told, and
//! [`MOMENT_WINDOW`] more; ids may claim half of a queue together, or one of them more if it is
//! alone, so that those who never come back leave room for others. It knows numbers, not entries.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

use super::Who;
use crate::ids::Micros;
use crate::limits::{MOMENTS, MOMENT_WINDOW};

/// What creations need: slots or places, and places whatever slots are free (`start_at`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub now: u32,
    pub later: u32,
}

impl Wanted {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            now: self.now.saturating_add(other.now),
            later: self.later.saturating_add(other.later),
        }
    }

    fn without(self, other: Self) -> Self {
        Self {
            now: self.now - other.now,
            later: self.later - other.later,
        }
    }

    fn count(self) -> u32 {
        self.now.saturating_add(self.later)
    }

    /// Returns how many places that takes if so many may start at once.
    pub(super) fn places(self, startable: u32) -> u32 {
        let queued = self.now.saturating_sub(startable);
        queued.saturating_add(self.later)
    }
}

/// Whoever was refused under an id.
#[derive(Debug, Clone, Copy)]
struct IdClaim {
    id: u64,
    need: Wanted,
    until: Micros,
}

/// The claims on one queue.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Those who wait and for whom there are places: they wait for the creation rate only.
    placed: FxHashMap<u64, Wanted>,
    placed_sum: Wanted,
    /// Those who wait for places, in their order.
    unplaced: BTreeMap<u64, Wanted>,
    unplaced_sum: Wanted,
    ids: VecDeque<IdClaim>,
}

impl Claims {
    /// Returns what goes before this one, at this time.
    pub(super) fn before(&mut self, who: Who, now: Micros) -> Wanted {
        if let Who::Waits(ticket) = who {
            let own = self.placed.get(&ticket).copied().unwrap_or_default();
            let last = self.unplaced.last_key_value();
            let earlier = if last.is_none_or(|it| *it.0 < ticket) {
                self.unplaced_sum
            } else {
                let earlier = self.unplaced.range(..ticket);
                earlier.fold(Wanted::default(), |sum, it| sum.and(*it.1))
            };
            return self.placed_sum.without(own).and(earlier);
        }
        while self.ids.front().is_some_and(|it| it.until < now) {
            self.ids.pop_front();
        }
        let waits = self.placed_sum.and(self.unplaced_sum);
        let ids = self.ids.iter().filter(|it| it.until >= now);
        let earlier = ids.take_while(|it| Who::Id(it.id) != who);
        earlier.fold(waits, |sum, it| sum.and(it.need))
    }

    /// Promises places; `placed` if they are there. `until` is when an id was told to come.
    pub(super) fn promise(
        &mut self,
        who: Who,
        need: Wanted,
        placed: bool,
        most: u32,
        until: Micros,
    ) {
        match who {
            Who::Stranger => {}
            Who::Waits(ticket) => {
                self.leave(ticket);
                let (sum, all) = if placed {
                    (&mut self.placed_sum, self.placed.insert(ticket, need))
                } else {
                    (&mut self.unplaced_sum, self.unplaced.insert(ticket, need))
                };
                assert_eq!(all, None, "it has just left");
                *sum = sum.and(need);
            }
            Who::Id(id) => {
                let until = until.saturating_add(MOMENT_WINDOW);
                let known = self.ids.iter().position(|it| it.id == id);
                if let Some(known) = known.map(|at| &mut self.ids[at]) {
                    if known.need == need {
                        known.until = until.max(known.until);
                        return;
                    }
                    // It wants something else now.
                    self.ids.retain(|it| it.id != id);
                }
                let all = self.ids.iter().map(|it| it.need.count());
                let all = all.fold(need.count(), u32::saturating_add);
                let few = all <= (most / 2).max(1) && (self.ids.len() as u64) < MOMENTS;
                // What is placed waits for the rate only, and there has its moment.
                if !placed && (few || self.ids.is_empty()) {
                    self.ids.push_back(IdClaim { id, need, until });
                }
            }
        }
    }

    fn leave(&mut self, ticket: u64) {
        if let Some(need) = self.placed.remove(&ticket) {
            self.placed_sum = self.placed_sum.without(need);
        }
        if let Some(need) = self.unplaced.remove(&ticket) {
            self.unplaced_sum = self.unplaced_sum.without(need);
        }
    }

    /// Somebody was let in, or gave up.
    pub(super) fn forget(&mut self, who: Who) {
        match who {
            Who::Stranger => {}
            Who::Waits(ticket) => self.leave(ticket),
            Who::Id(id) => self.ids.retain(|it| it.id != id),
        }
    }

    /// Returns those who wait for places and find them now: `fits` says whether there is room for
    /// so much.
    pub(super) fn hopeful(&self, fits: impl Fn(Wanted) -> bool) -> Vec<u64> {
        let mut sum = self.placed_sum;
        let mut hopeful = Vec::new();
        for (ticket, need) in &self.unplaced {
            sum = sum.and(*need);
            if !fits(sum) {
                break;
            }
            hopeful.push(*ticket);
        }
        hopeful
    }

    pub(super) fn is_empty(&self) -> bool {
        self.placed.is_empty() && self.unplaced.is_empty() && self.ids.is_empty()
    }

    /// Whether anybody waits for places.
    pub(super) fn waits(&self) -> bool {
        !self.unplaced.is_empty()
    }
}
