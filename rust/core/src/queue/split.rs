//! The entries of one workflow, a queue per shard.
//!
//! Invariant (C4): what is taken from a shard is always its first. `heads` knows the first of every
//! shard, so neither the best of all nor whose turn it is takes a look at all shards. The layout
//! is the one under which the entries were filed; it may be an older one by now.

use std::sync::Arc;

use super::heads::Heads;
use super::newcomers::Oldest;
use super::order::{Place, LAST};
use super::sorted::Sorted;
use crate::ids::Key;
use crate::ranges::Layout;

/// A queue per shard.
#[derive(Debug)]
pub(super) struct Split {
    layout: Arc<Layout>,
    shards: Box<[Sorted]>,
    heads: Heads,
    len: usize,
    /// Shards that have entries.
    open: usize,
}

impl Split {
    pub(super) fn new(layout: &Arc<Layout>) -> Self {
        let shards = layout.shards() as usize;
        Self {
            layout: Arc::clone(layout),
            shards: (0..shards).map(|_| Sorted::default()).collect(),
            heads: Heads::new(shards),
            len: 0,
            open: 0,
        }
    }

    fn shard(&self, key: Key) -> usize {
        self.layout.shard(key) as usize
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many entries a shard has.
    pub(super) fn len_of(&self, shard: usize) -> usize {
        self.shards[shard].len()
    }

    pub(super) fn before(&self, order: u64) -> usize {
        self.shards.iter().map(|it| it.before(order)).sum()
    }

    /// Returns the best entry of all shards.
    pub(super) fn first(&self) -> Option<Place> {
        self.shards[self.heads.best()?].first()
    }

    pub(super) fn push(&mut self, place: Place) {
        let shard = self.shard(place.key());
        self.open += usize::from(self.shards[shard].len() == 0);
        self.shards[shard].push(place);
        self.len += 1;
        if place.order < self.heads.get(shard) {
            self.heads.set(shard, place.order);
        }
    }

    /// Brings a shard's head up to date after entries have left.
    fn settle(&mut self, shard: usize) {
        let head = self.shards[shard].first().map_or(LAST, |it| it.order);
        self.heads.set(shard, head);
    }

    fn take(&mut self, shard: usize) -> Option<Place> {
        let place = self.shards[shard].pop()?;
        self.len -= 1;
        self.open -= usize::from(self.shards[shard].len() == 0);
        Some(place)
    }

    /// Takes the best entry of all shards.
    pub(super) fn pop(&mut self) -> Option<Place> {
        let shard = self.heads.best()?;
        let place = self.take(shard);
        self.settle(shard);
        place
    }

    pub(super) fn remove(&mut self, place: Place) -> bool {
        let shard = self.shard(place.key());
        if !self.shards[shard].remove(place) {
            return false;
        }
        self.len -= 1;
        self.open -= usize::from(self.shards[shard].len() == 0);
        if place.order == self.heads.get(shard) {
            self.settle(shard);
        }
        true
    }

    /// Takes up to `slots` entries that go before `limit`: max-min among the shards (C3), and where
    /// it does not come out even the best heads get one more.
    pub(super) fn draw(&mut self, slots: usize, limit: u64, into: &mut Vec<Place>) {
        let mut left = slots;
        let mut served: Vec<usize> = Vec::new();
        while left > 0 && self.heads.least() < limit {
            let each = (left / self.open).max(1);
            while left > 0 && self.heads.least() < limit {
                let shard = self.heads.best().expect("there is a least one");
                for _ in 0..each.min(left) {
                    let head = self.shards[shard].first();
                    if head.is_none_or(|it| it.order >= limit) {
                        break;
                    }
                    into.extend(self.take(shard));
                    left -= 1;
                }
                // It has had its turn: out of the tournament until all have.
                self.heads.set(shard, LAST);
                served.push(shard);
            }
            for shard in served.drain(..) {
                self.settle(shard);
            }
        }
    }

    /// Offers the oldest new entries of a priority of each shard.
    pub(super) fn offer_new(&self, priority: i8, oldest: &mut Oldest) {
        self.shards.iter().for_each(|it| oldest.offer(it, priority));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.shards.iter().flat_map(Sorted::iter)
    }
}
