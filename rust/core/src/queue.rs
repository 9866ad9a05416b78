//! The ready queue: instances that could run if they had a slot.
//!
//! Invariant (C4): within a workflow what ran when the engine stopped leaves first; then it goes
//! by priority, then woken before new, then older before newer. One entry takes 24 bytes (C9):
//! most arrive in order and lie in chunks; only those that arrive out of order cost a tree node.
//! It knows neither slots nor states.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use crate::ids::{InstanceNo, Key};

/// Why an instance is in the queue; earlier ones go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// It ran when the engine stopped.
    Resumed,
    /// It waited, and its wait is over.
    Woken,
    /// It never ran.
    New,
}

/// Where in a workflow's order an entry stands; smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rank {
    /// Did not run when the engine stopped: those that did keep their slots before anybody else.
    queued: bool,
    /// The priority, negated so that higher goes first.
    falling: i8,
    /// Why it is here.
    pub class: Class,
}

impl Rank {
    /// Returns the rank of an entry.
    #[must_use]
    pub fn new(priority: i8, class: Class) -> Self {
        Self {
            queued: class != Class::Resumed,
            falling: priority.saturating_neg(),
            class,
        }
    }

    /// Returns the priority.
    #[must_use]
    pub fn priority(self) -> i8 {
        self.falling.saturating_neg()
    }
}

/// One queued instance: its number, and its key in two halves to keep it at 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its number; older ones are smaller.
    pub no: InstanceNo,
    key: [u64; 2],
}

impl Entry {
    /// Returns the entry of an instance.
    #[must_use]
    pub fn new(no: InstanceNo, key: Key) -> Self {
        let key = [(key.0 >> 64) as u64, key.0 as u64];
        Self { no, key }
    }

    /// Returns the key of the instance.
    #[must_use]
    pub fn key(self) -> Key {
        Key(u128::from(self.key[0]) << 64 | u128::from(self.key[1]))
    }
}

const CHUNK: usize = 512;

/// Entries of one rank: chunks for those that came in order, a tree for latecomers.
#[derive(Debug, Default)]
struct Line {
    chunks: VecDeque<VecDeque<Entry>>,
    late: BTreeSet<Entry>,
}

impl Line {
    fn push(&mut self, entry: Entry) {
        match self.chunks.back_mut() {
            Some(chunk) if chunk.back().is_some_and(|last| *last > entry) => {
                self.late.insert(entry);
            }
            Some(chunk) if chunk.len() < CHUNK => chunk.push_back(entry),
            _ => {
                let mut chunk = VecDeque::new();
                if !self.chunks.is_empty() {
                    chunk.reserve_exact(CHUNK);
                }
                chunk.push_back(entry);
                self.chunks.push_back(chunk);
            }
        }
    }

    fn first(&self) -> Option<Entry> {
        let early = self.chunks.front().and_then(VecDeque::front);
        early.into_iter().chain(self.late.first()).min().copied()
    }

    fn pop(&mut self) -> Option<Entry> {
        let first = self.first()?;
        self.remove(first);
        Some(first)
    }

    fn remove(&mut self, entry: Entry) -> bool {
        if self.late.remove(&entry) {
            return true;
        }
        let place = self
            .chunks
            .partition_point(|chunk| chunk.back().is_some_and(|last| *last < entry));
        let Some(chunk) = self.chunks.get_mut(place) else {
            return false;
        };
        let Ok(at) = chunk.binary_search(&entry) else {
            return false;
        };
        chunk.remove(at);
        if chunk.is_empty() {
            self.chunks.remove(place);
        }
        true
    }
}

/// The queue of one workflow in one shard.
#[derive(Debug, Default)]
pub struct Queue {
    lines: BTreeMap<Rank, Line>,
    len: usize,
}

impl Queue {
    /// Adds an entry.
    pub fn push(&mut self, rank: Rank, entry: Entry) {
        self.lines.entry(rank).or_default().push(entry);
        self.len += 1;
    }

    /// Returns the entry that goes first.
    #[must_use]
    pub fn head(&self) -> Option<(Rank, Entry)> {
        let (rank, line) = self.lines.first_key_value()?;
        Some((*rank, line.first().expect("an empty line is removed")))
    }

    /// Takes the entry that goes first.
    pub fn pop(&mut self) -> Option<(Rank, Entry)> {
        let mut line = self.lines.first_entry()?;
        let rank = *line.key();
        let entry = line.get_mut().pop().expect("an empty line is removed");
        if line.get().first().is_none() {
            line.remove();
        }
        self.len -= 1;
        Some((rank, entry))
    }

    /// Removes an entry; returns whether it was there.
    pub fn remove(&mut self, rank: Rank, entry: Entry) -> bool {
        let Some(line) = self.lines.get_mut(&rank) else {
            return false;
        };
        let found = line.remove(entry);
        if line.first().is_none() {
            self.lines.remove(&rank);
        }
        self.len -= usize::from(found);
        found
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

/// All queues of one engine: per workflow (by its number), then per shard.
#[derive(Debug)]
pub struct Queues {
    shards: u32,
    of: FxHashMap<u32, Vec<Queue>>,
    len: usize,
}

impl Queues {
    /// Returns empty queues for so many shards.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        Self {
            shards,
            of: FxHashMap::default(),
            len: 0,
        }
    }

    fn shard(&self, key: Key) -> usize {
        usize::from(key.range().0) % self.shards as usize
    }

    /// Adds an entry to its workflow's queue in its shard.
    pub fn push(&mut self, workflow: u32, rank: Rank, entry: Entry) {
        let shard = self.shard(entry.key());
        let shards = self.shards as usize;
        let queues = self
            .of
            .entry(workflow)
            .or_insert_with(|| (0..shards).map(|_| Queue::default()).collect());
        queues[shard].push(rank, entry);
        self.len += 1;
    }

    /// Takes the first entry of a workflow in a shard.
    pub fn pop(&mut self, workflow: u32, shard: u32) -> Option<(Rank, Entry)> {
        let queues = self.of.get_mut(&workflow)?;
        let popped = queues[shard as usize].pop()?;
        if queues.iter().all(Queue::is_empty) {
            self.of.remove(&workflow);
        }
        self.len -= 1;
        Some(popped)
    }

    /// Removes an entry; returns whether it was there.
    pub fn remove(&mut self, workflow: u32, rank: Rank, entry: Entry) -> bool {
        let shard = self.shard(entry.key());
        let Some(queues) = self.of.get_mut(&workflow) else {
            return false;
        };
        let found = queues[shard].remove(rank, entry);
        if queues.iter().all(Queue::is_empty) {
            self.of.remove(&workflow);
        }
        self.len -= usize::from(found);
        found
    }

    /// Returns the workflows that have entries.
    pub fn workflows(&self) -> impl Iterator<Item = u32> + '_ {
        self.of.keys().copied()
    }

    /// Returns the non-empty queues of a workflow: shard, length, head.
    pub fn heads(&self, workflow: u32) -> impl Iterator<Item = (u32, usize, (Rank, Entry))> + '_ {
        let queues = self.of.get(&workflow).map_or(&[][..], Vec::as_slice);
        (0u32..)
            .zip(queues)
            .filter_map(|(shard, queue)| Some((shard, queue.len(), queue.head()?)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_takes_24_bytes() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn interrupted_then_higher_priority_then_woken_then_older() {
        let mut queue = Queue::default();
        let key = Key(0);
        for (no, priority, class) in [
            (1, 0, Class::New),
            (2, 0, Class::Woken),
            (3, 5, Class::New),
            (4, 0, Class::Resumed),
        ] {
            queue.push(Rank::new(priority, class), Entry::new(no, key));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop())
            .map(|it| it.1.no)
            .collect();
        assert_eq!(order, [4, 3, 2, 1]);
    }

    fn rank(code: u8) -> Rank {
        let class = [Class::Resumed, Class::Woken, Class::New][usize::from(code % 3)];
        Rank::new(code as i8 / 3, class)
    }

    proptest! {
        #[test]
        fn the_queue_orders_as_a_sorted_list_would(
            actions in prop::collection::vec((0u8..4, 0u8..6, 0u64..40), 0..400)
        ) {
            let mut queue = Queue::default();
            let mut model: BTreeSet<(Rank, Entry)> = BTreeSet::new();
            for (action, code, no) in actions {
                let entry = Entry::new(no, Key(u128::from(no) << 70));
                let rank = rank(code);
                match action {
                    0 | 1 => {
                        if model.insert((rank, entry)) {
                            queue.push(rank, entry);
                        }
                    }
                    2 => prop_assert_eq!(queue.pop(), model.pop_first()),
                    _ => prop_assert_eq!(
                        queue.remove(rank, entry),
                        model.remove(&(rank, entry))
                    ),
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.head(), model.first().copied());
            }
        }
    }
}
