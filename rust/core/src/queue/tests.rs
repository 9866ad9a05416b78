//! Queues against a naive model: a sorted list per workflow, looked through from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ranges::SHARDS_MAX;

fn key(no: u64) -> Key {
    Key::new("default", "w", &no.to_string())
}

fn rank(code: u8) -> Rank {
    let class = [Class::Resumed, Class::Woken, Class::New][usize::from(code % 3)];
    Rank::new(code as i8 / 3, class)
}

/// One thing that happens to the queues.
#[derive(Debug, Clone)]
enum Act {
    Push(u32, u8, u64, u16),
    Draw(u32, usize),
    Remove(u32, u64),
    /// One of the best.
    RemoveBest(u32, usize),
    Relocate(u32),
    Advance(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let workflow = 0u32..3;
    prop_oneof![
        4 => (workflow.clone(), 0u8..6, 0u64..6_000, 1u16..700)
            .prop_map(|(workflow, code, no, count)| Act::Push(workflow, code, no, count)),
        4 => (workflow.clone(), 0usize..400).prop_map(|(workflow, slots)| Act::Draw(workflow, slots)),
        2 => (workflow, 0u64..6_000).prop_map(|(workflow, no)| Act::Remove(workflow, no)),
        2 => (0u32..3, 0usize..5).prop_map(|(workflow, nth)| Act::RemoveBest(workflow, nth)),
        1 => prop_oneof![Just(1), 2u32..9, Just(64), Just(SHARDS_MAX)].prop_map(Act::Relocate),
        3 => (1usize..900).prop_map(Act::Advance),
    ]
}

#[derive(Default)]
struct Model {
    of: BTreeMap<u32, BTreeSet<(Rank, Entry)>>,
    known: BTreeSet<(u32, u64)>,
}

impl Model {
    /// Everybody's first, then everybody's second: what a workflow gives for so many slots.
    fn turns(&self, workflow: u32, slots: usize, layout: &Layout) -> BTreeSet<(Rank, Entry)> {
        let mut had: BTreeMap<u32, usize> = BTreeMap::new();
        let mut turns: Vec<(usize, (Rank, Entry))> = Vec::new();
        for it in self.of.get(&workflow).into_iter().flatten() {
            let turn = had.entry(layout.shard(it.1.key())).or_default();
            turns.push((*turn, *it));
            *turn += 1;
        }
        turns.sort();
        turns.into_iter().take(slots).map(|it| it.1).collect()
    }

    /// C4: of each shard, what was drawn is what comes first.
    fn take(&mut self, workflow: u32, drawn: &[(Rank, Entry)], layout: &Layout) {
        let rest = self.of.entry(workflow).or_default();
        for it in drawn {
            assert!(rest.remove(it), "drawn twice, or never pushed: {it:?}");
            self.known.remove(&(workflow, it.1.no));
        }
        for it in drawn {
            let shard = layout.shard(it.1.key());
            let better = rest
                .range(..*it)
                .find(|other| layout.shard(other.1.key()) == shard);
            assert_eq!(better, None, "goes before {it:?} in shard {shard}");
        }
        if rest.is_empty() {
            self.of.remove(&workflow);
        }
    }
}

fn same(queues: &Queues, model: &Model) {
    let workflows: BTreeSet<u32> = queues.workflows().collect();
    assert!(workflows.iter().eq(model.of.keys()));
    assert_eq!(queues.len(), model.of.values().map(BTreeSet::len).sum());
    for (workflow, entries) in &model.of {
        let (wanted, shard, head) = queues.demand(*workflow).expect("it has entries");
        assert_eq!((wanted, Some(&head)), (entries.len(), entries.first()));
        assert_eq!(shard, queues.layout.shard(head.1.key()));
        let kept: BTreeSet<_> = queues.entries(*workflow).map(|it| (it.1, it.2)).collect();
        assert_eq!(&kept, entries);
        for (at, (rank, entry)) in entries.iter().enumerate().step_by(3) {
            assert_eq!(queues.ahead(*workflow, *rank, entry.no), at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn queues_give_what_sorted_lists_would_while_shards_change(
        shards in prop_oneof![Just(1u32), 2u32..9],
        acts in prop::collection::vec(act(), 0..60),
    ) {
        let mut layout = Arc::new(Layout::new(shards));
        let mut queues = Queues::new(Arc::clone(&layout));
        let mut model = Model::default();
        for act in acts {
            match act {
                Act::Push(workflow, code, no, count) => {
                    for no in no..no + u64::from(count) {
                        if model.known.insert((workflow, no)) {
                            let entry = Entry::new(no, key(no));
                            queues.push(workflow, rank(code), entry);
                            model.of.entry(workflow).or_default().insert((rank(code), entry));
                        }
                    }
                }
                Act::Draw(workflow, slots) => {
                    let expected = model.turns(workflow, slots, &layout);
                    let settled = !queues.is_moving();
                    let drawn = queues.draw(workflow, slots);
                    prop_assert_eq!(drawn.len(), expected.len());
                    if settled {
                        prop_assert_eq!(drawn.iter().copied().collect::<BTreeSet<_>>(), expected);
                    }
                    model.take(workflow, &drawn, &layout);
                }
                Act::Remove(workflow, no) => {
                    let entry = Entry::new(no, key(no));
                    for code in 0..6 {
                        let list = model.of.entry(workflow).or_default();
                        let there = list.remove(&(rank(code), entry));
                        if list.is_empty() {
                            model.of.remove(&workflow);
                        }
                        prop_assert_eq!(queues.remove(workflow, rank(code), entry), there);
                    }
                    model.known.remove(&(workflow, no));
                }
                Act::RemoveBest(workflow, nth) => {
                    let best = model.of.get(&workflow).and_then(|it| it.iter().nth(nth).copied());
                    if let Some((rank, entry)) = best {
                        prop_assert!(queues.remove(workflow, rank, entry));
                        let list = model.of.get_mut(&workflow).expect("it has entries");
                        list.remove(&(rank, entry));
                        if list.is_empty() {
                            model.of.remove(&workflow);
                        }
                        model.known.remove(&(workflow, entry.no));
                    }
                }
                Act::Relocate(to) if !queues.is_relocating() => {
                    layout = Arc::new(Layout::new(to));
                    queues.relocate(Arc::clone(&layout));
                }
                Act::Relocate(_) => {}
                Act::Advance(count) => {
                    let before = queues.left();
                    queues.advance(count);
                    let after = queues.left();
                    prop_assert!(before.entries.saturating_sub(count) <= after.entries);
                    prop_assert!(after.ranges <= before.ranges);
                }
            }
            same(&queues, &model);
        }
        while queues.is_moving() {
            queues.advance(1_000);
        }
        prop_assert_eq!(queues.left(), Left { ranges: 0, entries: 0 });
        same(&queues, &model);
    }
}

#[test]
fn interrupted_then_higher_priority_then_woken_then_older() {
    let mut queues = Queues::new(Arc::new(Layout::new(1)));
    for (no, priority, class) in [
        (1, 0, Class::New),
        (2, 0, Class::Woken),
        (3, 5, Class::New),
        (4, 0, Class::Resumed),
    ] {
        queues.push(0, Rank::new(priority, class), Entry::new(no, key(no)));
    }
    let order: Vec<_> = (0..4).flat_map(|_| queues.draw(0, 1)).collect();
    let order: Vec<_> = order.iter().map(|it| it.1.no).collect();
    assert_eq!(order, [4, 3, 2, 1]);
}

#[test]
fn one_slot_goes_to_the_best_of_all_shards_and_few_are_shared_among_them() {
    for entries in [1_000, 3_000] {
        let layout = Arc::new(Layout::new(8));
        let mut queues = Queues::new(Arc::clone(&layout));
        for no in 0..entries {
            queues.push(0, Rank::new(0, Class::New), Entry::new(no, key(no)));
        }
        queues.advance(usize::MAX);
        for no in 0..5 {
            assert_eq!(queues.draw(0, 1)[0].1.no, no);
        }
        let shards = |drawn: &[(Rank, Entry)]| {
            let mut shards: Vec<_> = drawn.iter().map(|it| layout.shard(it.1.key())).collect();
            shards.sort_unstable();
            shards
        };
        assert_eq!(shards(&queues.draw(0, 8)), [0, 1, 2, 3, 4, 5, 6, 7]);
        let twice = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7];
        assert_eq!(shards(&queues.draw(0, 16)), twice);
    }
}

#[test]
fn c2_what_is_still_to_be_handed_over_is_given_all_the_same() {
    let mut queues = Queues::new(Arc::new(Layout::new(1)));
    for workflow in 0..3 {
        for no in 0..3_000 {
            queues.push(workflow, Rank::new(0, Class::New), Entry::new(no, key(no)));
        }
    }
    queues.advance(usize::MAX);
    queues.relocate(Arc::new(Layout::new(64)));
    assert_eq!(queues.left().entries, 9_000);
    for workflow in 0..3 {
        let drawn = queues.draw(workflow, 600);
        let numbers: BTreeSet<_> = drawn.iter().map(|it| it.1.no).collect();
        assert!(numbers.into_iter().eq(0..600));
    }
    assert_eq!(queues.left().entries, 7_200);
    assert_eq!(queues.left().ranges, 4_096 - 64);
    while queues.is_relocating() {
        queues.advance(100);
    }
    assert_eq!(queues.left().ranges, 0);
    assert_eq!(queues.len(), 7_200);
}
