//! The bulk of a start: instances that were created, queued, and never changed since.
//!
//! There may be millions, and placing one costs little but for the memory it touches. So the
//! registry gets them range by range: what lies side by side is touched side by side. The queues
//! get them in the order of their numbers, so that each grows at its end.

use rustc_hash::FxHashMap;

use super::{Core, Due};
use crate::ids::RANGES;
use crate::lifecycle::Status;
use crate::queue::{Class, Entry, Rank};
use crate::store::Newcomer;

/// The engine's numbers of workflow and version, by the store's code.
pub(super) type Numbers = FxHashMap<u32, (u32, u32)>;

impl Core {
    /// Queues newcomers.
    pub(super) fn refill(&mut self, numbers: &Numbers, some: &[Newcomer]) {
        for at in by_range(some) {
            let it = &some[at as usize];
            self.registry.restore(it.key, it.no, Status::Queued);
        }
        for same in some.chunk_by(|a, b| a.code == b.code) {
            let of = numbers[&same[0].code];
            let count = same.len() as u64;
            self.counts.found(of, Status::Queued, count);
        }
        for it in some {
            let (workflow, version) = numbers[&it.code];
            self.versions.enters(workflow, it.no, version);
            self.admission.joined(workflow);
            let (rank, entry) = (
                Rank::new(it.priority, Class::New),
                Entry::new(it.no, it.key),
            );
            match it.start_at.filter(|at| *at > self.now) {
                Some(at) => {
                    self.counts.later((workflow, version), 1);
                    self.timers
                        .set(at, it.no, Due::StartAt(workflow, rank, entry));
                }
                None => self.queues.push(workflow, rank, entry),
            }
        }
    }
}

/// Returns the places of all of them, range by range, in each range in their order.
fn by_range(some: &[Newcomer]) -> Vec<u32> {
    let mut next = vec![0u32; usize::from(RANGES)];
    for it in some {
        next[usize::from(it.key.range().0)] += 1;
    }
    let mut sum = 0;
    for count in &mut next {
        sum += std::mem::replace(count, sum);
    }
    let mut order = vec![0; some.len()];
    for (at, it) in (0u32..).zip(some) {
        let place = &mut next[usize::from(it.key.range().0)];
        order[*place as usize] = at;
        *place += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Key;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_a_stable_sort_by_range(
            keys in prop::collection::vec((0u128..12, any::<u64>()), 0..300)
        ) {
            let newcomer = |(no, (range, rest)): (u64, (u128, u64))| Newcomer {
                key: Key(range << 116 | u128::from(rest)),
                no,
                code: 0,
                priority: 0,
                start_at: None,
            };
            let some: Vec<Newcomer> = (0..).zip(keys).map(newcomer).collect();
            let mut expected: Vec<u32> = (0..some.len() as u32).collect();
            expected.sort_by_key(|at| some[*at as usize].key.range());
            prop_assert_eq!(by_range(&some), expected);
        }
    }
}
