//! What never ran has its turns: each eighth slot of a priority goes to its oldest new entry (C4).
//!
//! Woken entries go before new ones, so that what has begun is finished first; but instances that
//! keep waking would starve new ones of their own priority for good. So of the slots that a
//! workflow shares among its shards each eighth of a priority, counted over all shards and for as
//! long as the engine lives, goes to the oldest entry that never ran, in whichever shard it is.
//! What ran at the stop goes before and is not counted. For one that comes in so the last of the
//! others stays.

use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::line::Line;
use super::order::{order, Class, Entry, Place, Rank};
use super::sorted::Sorted;
use super::Queues;

/// Slots of a priority of which one goes to the oldest new entry.
const TURN: u32 = 8;

fn turn() -> u32 {
    #[cfg(test)]
    if let Some(turn) = super::small::turn() {
        return turn;
    }
    TURN
}

/// Slots that each priority of each workflow got since its last turn.
#[derive(Debug, Default)]
pub(super) struct Turns(FxHashMap<(u32, i8), u32>);

/// Some of the oldest.
#[derive(Debug)]
pub(super) struct Oldest {
    most: usize,
    /// Orders of the oldest so far, the youngest on top, with their keys.
    heap: BinaryHeap<(u64, Place)>,
}

impl Oldest {
    /// Adds the oldest new ones of this priority from a sorted list.
    pub(super) fn offer(&mut self, sorted: &Sorted, priority: i8) {
        let first = order(Rank::new(priority, Class::New), 0);
        for place in sorted.from(first) {
            let full = self.heap.len() == self.most;
            let rank = place.rank();
            let new = rank.class == Class::New && rank.priority() == priority;
            if !new || (full && self.heap.peek().is_none_or(|it| it.0 < place.order)) {
                return;
            }
            if full {
                self.heap.pop();
            }
            self.heap.push((place.order, place));
        }
    }
}

impl Queues {
    /// Takes up to `slots` entries of a workflow as [`Self::draw`] does, but for the turns of new
    /// ones.
    pub fn deal(&mut self, workflow: u32, slots: usize) -> Vec<(Rank, Entry)> {
        let mut drawn = self.draw(workflow, slots);
        let due = self.due(workflow, &drawn);
        let mut kept = Vec::new();
        for (priority, turns) in &due {
            self.give_turns(workflow, *priority, *turns as usize, &mut drawn, &mut kept);
        }
        if !kept.is_empty() {
            drawn.append(&mut kept);
            drawn.sort_unstable();
        }
        self.count(workflow, &drawn, &due);
        drawn
    }

    /// Says which priorities have how many turns among what was drawn.
    fn due(&self, workflow: u32, drawn: &[(Rank, Entry)]) -> Vec<(i8, u32)> {
        let same = drawn.chunk_by(|a, b| a.0.priority() == b.0.priority());
        let mut due: Vec<(i8, u32)> = Vec::new();
        for some in same {
            let counted = some
                .iter()
                .filter(|it| it.0.class != Class::Resumed)
                .count() as u32;
            if counted > 0 {
                let priority = some[0].0.priority();
                let before = self.turns.0.get(&(workflow, priority)).copied();
                due.push((priority, (before.unwrap_or(0) + counted) / turn()));
            }
        }
        due.retain(|it| it.1 > 0);
        due
    }

    /// Moves the oldest new ones of a priority, so many, from what was drawn and what is queued to
    /// `kept`. The last of the others go back for those that were queued.
    fn give_turns(
        &mut self,
        workflow: u32,
        priority: i8,
        turns: usize,
        drawn: &mut Vec<(Rank, Entry)>,
        kept: &mut Vec<(Rank, Entry)>,
    ) {
        let new = Rank::new(priority, Class::New);
        let queued = self
            .of
            .get(&workflow)
            .map(|it| it.oldest_new(priority, turns));
        let queued = queued.unwrap_or_default();
        let queued = queued.iter().map(|it| (it.entry().no, true, it.entry()));
        let here = drawn.iter().filter(|it| it.0 == new);
        let mut oldest: Vec<_> = here
            .map(|it| (it.1.no, false, it.1))
            .chain(queued)
            .collect();
        oldest.sort_unstable();
        oldest.truncate(turns);
        // Those that were drawn first: none of them may go back for another.
        oldest.sort_by_key(|it| it.1);
        for (_, is_queued, entry) in oldest {
            if is_queued {
                let (rank, last) = drawn.pop().expect("as many were drawn as have turns");
                assert!(self.remove(workflow, new, entry), "it was just seen");
                self.push(workflow, rank, last);
            } else {
                drawn.retain(|it| it.1 != entry);
            }
            kept.push((new, entry));
        }
    }

    fn count(&mut self, workflow: u32, drawn: &[(Rank, Entry)], due: &[(i8, u32)]) {
        for it in drawn.iter().filter(|it| it.0.class != Class::Resumed) {
            let key = (workflow, it.0.priority());
            *self.turns.0.entry(key).or_default() += 1;
        }
        for (priority, turns) in due {
            let count = self.turns.0.entry((workflow, *priority)).or_default();
            *count = count.saturating_sub(turns * turn());
        }
    }
}

impl Line {
    /// Returns the oldest new entries of a priority, over all shards.
    fn oldest_new(&self, priority: i8, most: usize) -> Vec<Place> {
        let heap = BinaryHeap::with_capacity(most);
        let mut oldest = Oldest { most, heap };
        self.offer_new(priority, &mut oldest);
        oldest.heap.into_iter().map(|it| it.1).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::Key;
    use crate::ranges::Layout;

    fn entry(no: u64) -> Entry {
        Entry::new(no, Key::new("default", "w", &no.to_string()))
    }

    /// One by one, as slots come free: seven go to those that keep waking, the eighth to a new one.
    #[test]
    fn c4_each_eighth_slot_of_a_priority_goes_to_its_oldest_new_entry() {
        for shards in [1, 64] {
            let mut queues = Queues::new(Arc::new(Layout::new(shards)));
            for no in 0..3 {
                queues.push(0, Rank::new(0, Class::New), entry(no));
                queues.push(0, Rank::new(-5, Class::New), entry(10 + no));
            }
            let mut new = Vec::new();
            for round in 1..=40 {
                queues.push(0, Rank::new(0, Class::Woken), entry(99 + round));
                let dealt = queues.deal(0, 1);
                if dealt[0].0.class == Class::New {
                    new.push((round, dealt[0].1.no));
                }
            }
            assert_eq!(new, [(8, 0), (16, 1), (24, 2)], "{shards}");
        }
    }

    #[test]
    fn c4_what_ran_at_the_stop_goes_first_and_is_not_counted() {
        let mut queues = Queues::new(Arc::new(Layout::new(4)));
        queues.push(0, Rank::new(0, Class::New), entry(0));
        (1..=20).for_each(|no| queues.push(0, Rank::new(0, Class::Resumed), entry(no)));
        (21..=40).for_each(|no| queues.push(0, Rank::new(0, Class::Woken), entry(no)));
        let dealt: Vec<_> = (0..28).map(|_| queues.deal(0, 1)[0].1.no).collect();
        assert!(dealt[..20].iter().all(|it| (1..=20).contains(it)));
        assert_eq!(dealt.iter().position(|it| *it == 0), Some(27));
    }

    /// Shards share what is dealt, so younger ones of one may go with older ones of another, past
    /// one that is not the oldest yet. From when it is, it waits for less than a turn.
    #[test]
    fn c4_a_new_one_waits_for_less_than_a_turn_from_when_it_is_the_oldest() {
        let layout = Layout::new(2);
        let of = |shard| {
            let mine = (0..).filter(move |no| Layout::new(2).shard(entry(*no).key()) == shard);
            mine.map(entry)
        };
        let older: Vec<_> = of(0).take(4).collect();
        let younger = of(1).find(|it| it.no > older[3].no).expect("endless");
        let mut queues = Queues::new(Arc::new(layout));
        for it in older.iter().chain([&younger]) {
            queues.push(0, Rank::new(0, Class::New), *it);
        }
        let dealt = queues.deal(0, 4).into_iter().map(|it| it.1);
        let first = older[..3].iter().chain([&younger]).copied();
        assert!(dealt.eq(first), "the shards share");
        // Four have gone: three more that were woken, and the eighth slot is its.
        let woken = (1_000..1_008).map(entry);
        woken.for_each(|it| queues.push(0, Rank::new(0, Class::Woken), it));
        let dealt: Vec<_> = (0..4).map(|_| queues.deal(0, 1)[0].1.no).collect();
        assert_eq!(dealt, [1_000, 1_001, 1_002, older[3].no]);
    }

    proptest! {
        /// However many at a time: nothing is lost or dealt twice, and once a new one is the oldest
        /// of its priority, others of that priority get less than a turn's worth of slots before
        /// it.
        #[test]
        fn c4_no_new_entry_is_passed_over_for_long(
            shards in 1u32..9,
            rounds in prop::collection::vec((0usize..12, 0u64..12, 0u64..3, any::<bool>()), 1..80),
        ) {
            let mut queues = Queues::new(Arc::new(Layout::new(shards)));
            let mut queued: BTreeSet<(Rank, u64)> = BTreeSet::new();
            let mut passed = [0u32; 2];
            let mut no = 0;
            for (slots, woken, new, high) in rounds {
                for at in 0..woken + new {
                    let class = if at < woken { Class::Woken } else { Class::New };
                    let rank = Rank::new(i8::from(high), class);
                    queues.push(7, rank, entry(no));
                    queued.insert((rank, no));
                    no += 1;
                }
                let dealt = queues.deal(7, slots);
                prop_assert_eq!(dealt.len(), slots.min(queued.len()));
                prop_assert!(dealt.is_sorted());
                for it in &dealt {
                    prop_assert!(queued.remove(&(it.0, it.1.no)));
                }
                for priority in [0i8, 1] {
                    let rank = Rank::new(priority, Class::New);
                    let waits = queued.range((rank, 0)..=(rank, u64::MAX)).next().map(|it| it.1);
                    let of = dealt.iter().filter(|it| it.0.priority() == priority);
                    let older = |it: &(Rank, Entry)| waits.is_none_or(|no| it.1.no < no);
                    let had_a_turn = of.clone().any(|it| it.0 == rank && older(it));
                    let passed = &mut passed[priority as usize];
                    if waits.is_none() || had_a_turn {
                        *passed = 0;
                    } else {
                        *passed += of.count() as u32;
                    }
                    prop_assert!(*passed < TURN, "{passed}");
                }
            }
            prop_assert_eq!(queues.len(), queued.len());
        }
    }
}
