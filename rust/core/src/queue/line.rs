//! The queue of one workflow: in one piece while it is short, a queue per shard beyond that, and on
//! its way from one to the other while shards change.
//!
//! Invariants: C4, exact within a shard; and what is on its way leaves first. Entries that were
//! filed under another layout are `behind`: nobody gets a slot from there. They are handed over
//! best first, by [`Line::pull`], to where they belong now, and whoever draws gets nothing that
//! comes after the best entry still behind. So every moment each shard gives exactly what it would
//! give if all had been handed over at once, and who needs more than was handed over has it handed
//! over first (C2). Newcomers are filed under the new layout at once.
//!
//! A short line costs no structure per shard, however many shards there are: what belongs to whom
//! is then found by looking. It is short up to [`short`] entries.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::newcomers::Oldest;
use super::order::{Place, LAST};
use super::sorted::Sorted;
use super::split::Split;
use crate::ranges::Layout;

/// Entries for each shard from which on it pays to have a queue of its own: some 130 bytes that
/// this costs are 4 for each entry then.
const PER_SHARD: usize = 32;
/// A line of so many entries is short however few shards there are.
const SHORT: usize = 1_024;

/// Returns the most entries that lie in one piece.
fn short(layout: &Layout) -> usize {
    #[cfg(test)]
    if let Some(short) = super::small::short() {
        return short;
    }
    (layout.shards() as usize * PER_SHARD).max(SHORT)
}

/// Entries in one of the two forms.
#[derive(Debug)]
enum Form {
    Whole(Sorted),
    Split(Box<Split>),
}

impl Form {
    fn for_entries(count: usize, layout: &Arc<Layout>) -> Self {
        if count <= short(layout) {
            Self::Whole(Sorted::default())
        } else {
            Self::Split(Box::new(Split::new(layout)))
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Whole(it) => it.len(),
            Self::Split(it) => it.len(),
        }
    }

    fn first(&self) -> Option<Place> {
        match self {
            Self::Whole(it) => it.first(),
            Self::Split(it) => it.first(),
        }
    }

    fn before(&self, order: u64) -> usize {
        match self {
            Self::Whole(it) => it.before(order),
            Self::Split(it) => it.before(order),
        }
    }

    fn push(&mut self, place: Place) {
        match self {
            Self::Whole(it) => it.push(place),
            Self::Split(it) => it.push(place),
        }
    }

    fn pop(&mut self) -> Option<Place> {
        match self {
            Self::Whole(it) => it.pop(),
            Self::Split(it) => it.pop(),
        }
    }

    fn remove(&mut self, place: Place) -> bool {
        match self {
            Self::Whole(it) => it.remove(place),
            Self::Split(it) => it.remove(place),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = Place> + '_> {
        match self {
            Self::Whole(it) => Box::new(it.iter()),
            Self::Split(it) => Box::new(it.iter()),
        }
    }
}

/// The queue of one workflow.
#[derive(Debug)]
pub(super) struct Line {
    /// Filed under another layout or in the other form: to be handed over, best first.
    behind: Vec<Form>,
    here: Form,
    /// A hand-over of ranges caused what is behind, not the line's own growing or shrinking.
    pub(super) moves: bool,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            behind: Vec::new(),
            here: Form::Whole(Sorted::default()),
            moves: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.here.len() + self.behind.iter().map(Form::len).sum::<usize>()
    }

    pub(super) fn before(&self, order: u64) -> usize {
        let forms = self.behind.iter().chain([&self.here]);
        forms.map(|it| it.before(order)).sum()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.behind.is_empty()
    }

    /// Returns the best entry of all.
    pub(super) fn first(&self) -> Option<Place> {
        let forms = self.behind.iter().chain([&self.here]);
        forms.filter_map(Form::first).min_by_key(|it| it.order)
    }

    pub(super) fn push(&mut self, place: Place) {
        self.here.push(place);
    }

    /// Removes an entry. Returns whether it was there, and whether it was behind.
    pub(super) fn remove(&mut self, place: Place) -> Option<bool> {
        if self.here.remove(place) {
            return Some(false);
        }
        if self.behind.iter_mut().any(|it| it.remove(place)) {
            self.behind.retain(|it| it.len() > 0);
            return Some(true);
        }
        None
    }

    /// Returns the order of the best entry that is still behind.
    fn limit(&self) -> u64 {
        let heads = self.behind.iter().filter_map(Form::first);
        heads.map(|it| it.order).min().unwrap_or(LAST)
    }

    /// Hands over up to so many entries, best first, and tells which.
    pub(super) fn pull(&mut self, count: usize, mut handed_over: impl FnMut(Place)) -> usize {
        for done in 0..count {
            let best = self
                .behind
                .iter_mut()
                .filter(|it| it.len() > 0)
                .min_by_key(|it| it.first().map(|it| it.order));
            let Some(place) = best.and_then(Form::pop) else {
                self.behind.clear();
                return done;
            };
            self.here.push(place);
            handed_over(place);
        }
        self.behind.retain(|it| it.len() > 0);
        count
    }

    /// Takes up to so many entries: max-min among the shards, best heads first (C3, C4).
    pub(super) fn draw(&mut self, slots: usize, layout: &Layout, into: &mut Vec<Place>) {
        let limit = self.limit();
        match &mut self.here {
            Form::Split(split) => split.draw(slots, limit, into),
            Form::Whole(whole) => {
                for place in turns(whole, slots, limit, layout) {
                    assert!(whole.remove(place), "it was just seen");
                    into.push(place);
                }
            }
        }
    }

    /// Begins the way to the other form if that fits the line better by now. Returns whether it
    /// did.
    pub(super) fn reform(&mut self, layout: &Arc<Layout>) -> bool {
        let changes = match &self.here {
            Form::Whole(whole) => whole.len() > short(layout),
            Form::Split(split) => split.len() < short(layout) / 4,
        };
        if !changes || !self.is_settled() {
            return false;
        }
        let other = match &self.here {
            Form::Whole(_) => Form::Split(Box::new(Split::new(layout))),
            Form::Split(_) => Form::Whole(Sorted::default()),
        };
        let old = std::mem::replace(&mut self.here, other);
        self.behind.push(old);
        self.moves = false;
        true
    }

    /// Begins the way to another layout. Returns false if there is nothing to hand over, because
    /// it lies in one piece. Calls `filed` with how many entries each old shard has.
    pub(super) fn relocate(
        &mut self,
        old: &Layout,
        layout: &Arc<Layout>,
        mut filed: impl FnMut(usize, usize),
    ) -> bool {
        if matches!(self.here, Form::Whole(_)) && self.is_settled() {
            return false;
        }
        for form in self.behind.iter().chain([&self.here]) {
            match form {
                Form::Split(split) => {
                    for shard in 0..old.shards() as usize {
                        filed(shard, split.len_of(shard));
                    }
                }
                Form::Whole(whole) => {
                    whole
                        .iter()
                        .for_each(|it| filed(old.shard(it.key()) as usize, 1));
                }
            }
        }
        let new = Form::for_entries(self.len(), layout);
        let here = std::mem::replace(&mut self.here, new);
        if here.len() > 0 {
            self.behind.push(here);
        }
        self.moves = true;
        true
    }

    /// Offers the oldest new entries of a priority, wherever they are filed.
    pub(super) fn offer_new(&self, priority: i8, oldest: &mut Oldest) {
        for form in self.behind.iter().chain([&self.here]) {
            match form {
                Form::Whole(it) => oldest.offer(it, priority),
                Form::Split(it) => it.offer_new(priority, oldest),
            }
        }
    }

    /// Returns all entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.behind.iter().chain([&self.here]).flat_map(Form::iter)
    }
}

/// Returns what a line that lies in one piece gives for so many slots: everybody's first entry
/// before anybody's second, and so on; better ones first in each turn.
fn turns(whole: &Sorted, slots: usize, limit: u64, layout: &Layout) -> Vec<Place> {
    let open = whole.iter().take_while(|it| it.order < limit);
    if layout.shards() == 1 || slots == 1 {
        return open.take(slots).collect();
    }
    let mut had: FxHashMap<u32, usize> = FxHashMap::default();
    let mut turns: Vec<(usize, Place)> = Vec::new();
    let mut firsts = 0;
    for place in open {
        let turn = had.entry(layout.shard(place.key())).or_default();
        firsts += usize::from(*turn == 0);
        if *turn < slots {
            turns.push((*turn, place));
        }
        *turn += 1;
        if firsts == slots {
            break;
        }
    }
    turns.sort_by_key(|it| it.0);
    turns.truncate(slots);
    turns.into_iter().map(|it| it.1).collect()
}
