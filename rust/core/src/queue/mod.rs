//! The ready queue: instances that could run if they had a slot.
//!
//! Invariant (C4): within a workflow what ran when the engine stopped leaves first; then it goes
//! by priority, then woken before new, then older before newer; exactly so within each shard, and
//! across shards as far as sharing slots among them allows. But each eighth goes to a new one: see
//! `newcomers`. An entry takes 24 bytes and little more
//! (C9), adding and taking cost the same however many there are, and memory is given back.
//! `Queues` is everything, a `Line` one workflow; when shards change, what is filed under the old
//! layout is handed over in slices ([`Queues::advance`]) while slots go on being drawn. It knows
//! neither slots nor states.

mod heads;
mod line;
mod newcomers;
mod order;
#[cfg(test)]
pub(crate) mod small;
mod sorted;
mod split;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use order::{Class, Entry, Rank};

use crate::ids::{InstanceNo, Key, Range, RANGES};
use crate::ranges::Layout;
use line::Line;
use order::Place;

/// Entries of one workflow handed over in a row, before it is another one's turn.
const STRETCH: usize = 512;

/// What a change of shards still has to hand over.
#[derive(Debug)]
struct Handover {
    from: Arc<Layout>,
    /// Entries still filed, per old shard.
    filed: Vec<usize>,
    /// Ranges of each old shard that have another owner now.
    ranges: Vec<u32>,
    entries: usize,
    ranges_left: u32,
}

impl Handover {
    fn new(from: &Arc<Layout>, to: &Layout) -> Self {
        let mut ranges = vec![0; from.shards() as usize];
        for range in (0..RANGES).map(Range) {
            let owner = from.owner(range);
            ranges[owner as usize] += u32::from(owner != to.owner(range));
        }
        Self {
            from: Arc::clone(from),
            filed: vec![0; from.shards() as usize],
            ranges,
            entries: 0,
            ranges_left: 0,
        }
    }

    fn file(&mut self, shard: usize, count: usize) {
        if self.filed[shard] == 0 && count > 0 {
            self.ranges_left += self.ranges[shard];
        }
        self.filed[shard] += count;
        self.entries += count;
    }

    /// One entry has left the place where it was filed.
    fn gone(&mut self, key: Key) {
        let shard = self.from.shard(key) as usize;
        self.filed[shard] -= 1;
        self.entries -= 1;
        if self.filed[shard] == 0 {
            self.ranges_left -= self.ranges[shard];
        }
    }
}

/// What a change of shards still has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Ranges whose old owner still has entries.
    pub ranges: u32,
    /// Entries still to be handed over.
    pub entries: usize,
}

/// All queues of one engine, per workflow (by its number).
#[derive(Debug)]
pub struct Queues {
    layout: Arc<Layout>,
    of: FxHashMap<u32, Line>,
    /// Workflows of which something is to be handed over, whose turn is first.
    moving: VecDeque<u32>,
    handover: Option<Handover>,
    /// Workflows that had no entry until lately.
    fresh: Vec<u32>,
    turns: newcomers::Turns,
    len: usize,
}

impl Queues {
    /// Returns empty queues for the shards of this layout.
    #[must_use]
    pub fn new(layout: Arc<Layout>) -> Self {
        Self {
            layout,
            of: FxHashMap::default(),
            moving: VecDeque::new(),
            handover: None,
            fresh: Vec::new(),
            turns: newcomers::Turns::default(),
            len: 0,
        }
    }

    /// Adds an entry to its workflow's queue in its shard.
    pub fn push(&mut self, workflow: u32, rank: Rank, entry: Entry) {
        let line = self.of.entry(workflow).or_insert_with(|| {
            self.fresh.push(workflow);
            Line::new()
        });
        line.push(Place::new(rank, entry));
        self.len += 1;
        if line.reform(&self.layout) {
            self.moving.push_back(workflow);
        }
    }

    /// Removes an entry; returns whether it was there.
    pub fn remove(&mut self, workflow: u32, rank: Rank, entry: Entry) -> bool {
        let Some(line) = self.of.get_mut(&workflow) else {
            return false;
        };
        let Some(was_behind) = line.remove(Place::new(rank, entry)) else {
            return false;
        };
        if was_behind && line.moves {
            let handover = self.handover.as_mut().expect("a line moves");
            handover.gone(entry.key());
        }
        self.len -= 1;
        self.tidy(workflow);
        true
    }

    /// Takes up to `slots` entries of a workflow, max-min among its shards, and among equal shares
    /// the best heads first. Returns them in their order.
    pub fn draw(&mut self, workflow: u32, slots: usize) -> Vec<(Rank, Entry)> {
        let Some(line) = self.of.get_mut(&workflow) else {
            return Vec::new();
        };
        let mut places = Vec::with_capacity(slots.min(line.len()));
        // As many as are wanted are handed over first, so that none has to wait for its turn.
        Self::pull(line, &mut self.handover, slots);
        line.draw(slots, &self.layout, &mut places);
        // Shared by turns, but they start in their order.
        places.sort_unstable_by_key(|it| it.order);
        self.len -= places.len();
        self.tidy(workflow);
        let pairs = places.iter().map(|it| (it.rank(), it.entry()));
        pairs.collect()
    }

    fn pull(line: &mut Line, handover: &mut Option<Handover>, count: usize) -> usize {
        let moves = line.moves;
        line.pull(count, |place| {
            if let (true, Some(handover)) = (moves, handover.as_mut()) {
                handover.gone(place.key());
            }
        })
    }

    /// After entries of a workflow have left: an empty line goes, one that got short changes form.
    fn tidy(&mut self, workflow: u32) {
        let line = self.of.get_mut(&workflow).expect("the caller has seen it");
        if line.len() == 0 {
            self.of.remove(&workflow);
            if self.of.capacity() > 64 && self.of.len() * 4 < self.of.capacity() {
                self.of.shrink_to(self.of.len() * 2);
            }
        } else if line.reform(&self.layout) {
            self.moving.push_back(workflow);
        }
    }

    /// Takes another layout: from now on entries are filed under that one, and [`Self::advance`]
    /// hands over those that are there.
    pub fn relocate(&mut self, layout: Arc<Layout>) {
        assert!(self.handover.is_none(), "one change at a time");
        let mut handover = Handover::new(&self.layout, &layout);
        for (workflow, line) in &mut self.of {
            let settled = line.is_settled();
            let moves = line.relocate(&self.layout, &layout, |shard, count| {
                handover.file(shard, count);
            });
            if moves && settled {
                self.moving.push_back(*workflow);
            }
        }
        self.handover = Some(handover);
        self.layout = layout;
    }

    /// Hands over up to so many entries, workflow by workflow in turn.
    pub fn advance(&mut self, mut entries: usize) {
        while let Some(workflow) = self.moving.pop_front() {
            let Some(line) = self.of.get_mut(&workflow) else {
                continue;
            };
            entries -= Self::pull(line, &mut self.handover, entries.min(STRETCH));
            if !line.is_settled() || line.reform(&self.layout) {
                self.moving.push_back(workflow);
            }
            if entries == 0 {
                break;
            }
        }
        if self.handover.as_ref().is_some_and(|it| it.entries == 0) {
            self.handover = None;
        }
    }

    /// Returns whether [`Self::advance`] has something to do.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        !self.moving.is_empty() || self.handover.is_some()
    }

    /// Returns what a change of shards still has to hand over.
    #[must_use]
    pub fn left(&self) -> Left {
        self.handover.as_ref().map_or(
            Left {
                ranges: 0,
                entries: 0,
            },
            |it| Left {
                ranges: it.ranges_left,
                entries: it.entries,
            },
        )
    }

    /// Returns whether a change of shards is under way.
    #[must_use]
    pub fn is_relocating(&self) -> bool {
        self.handover.is_some()
    }

    /// Returns the workflows that have entries.
    pub fn workflows(&self) -> impl Iterator<Item = u32> + '_ {
        self.of.keys().copied()
    }

    /// Takes the workflows that had no entry until lately; they may have none again.
    pub fn take_fresh(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.fresh)
    }

    /// Returns how many entries a workflow has, and the best one with its shard.
    #[must_use]
    pub fn demand(&self, workflow: u32) -> Option<(usize, u32, (Rank, Entry))> {
        let line = self.of.get(&workflow)?;
        let first = line.first()?;
        let shard = self.layout.shard(first.key());
        Some((line.len(), shard, (first.rank(), first.entry())))
    }

    /// Returns how many entries of a workflow go before this rank and number.
    #[must_use]
    pub fn ahead(&self, workflow: u32, rank: Rank, no: InstanceNo) -> usize {
        let line = self.of.get(&workflow);
        line.map_or(0, |it| it.before(order::order(rank, no)))
    }

    /// Returns all entries of a workflow, with the shard each belongs to, in no order.
    pub fn entries(&self, workflow: u32) -> impl Iterator<Item = (u32, Rank, Entry)> + '_ {
        let places = self.of.get(&workflow).into_iter().flat_map(Line::iter);
        places.map(|it| (self.layout.shard(it.key()), it.rank(), it.entry()))
    }

    /// Returns whether a workflow has no entry.
    #[must_use]
    pub fn is_idle(&self, workflow: u32) -> bool {
        !self.of.contains_key(&workflow)
    }

    /// Returns how many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
