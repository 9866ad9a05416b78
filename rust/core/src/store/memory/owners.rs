//! Who owns which range of the model store.

use super::MemoryStore;
use crate::ids::{Range, RANGES};
use crate::ranges::Domain;

/// The epoch of the last hand-over of each range; none: the store has one owner.
#[derive(Debug, Default)]
pub(super) struct Owners {
    epochs: Vec<u64>,
    epoch: u64,
}

impl Owners {
    /// Returns a range that this owner has lost.
    pub(super) fn lost(&self, of: &Domain) -> Option<Range> {
        let is_lost = |at: &u16| {
            let now = self.epochs[usize::from(*at)];
            match of {
                Domain::Whole => now > 0,
                Domain::Part(shown) => {
                    let shown = shown[usize::from(*at)];
                    shown > 0 && shown != now
                }
            }
        };
        let mut ranges = 0..self.epochs.len() as u16;
        ranges.find(is_lost).map(Range)
    }
}

impl MemoryStore {
    /// Hands ranges over to another owner: whoever had them before commits nothing from now on.
    /// Returns the epoch that the new owner shows for them.
    pub fn hand_over(&self, ranges: impl IntoIterator<Item = Range>) -> u64 {
        let owners = &mut self.model.lock().owners;
        owners.epochs.resize(RANGES.into(), 0);
        owners.epoch += 1;
        for range in ranges {
            owners.epochs[usize::from(range.0)] = owners.epoch;
        }
        owners.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{append, create};
    use crate::store::{Error, Store};

    #[test]
    fn whoever_lost_a_range_commits_nothing_from_then_on() {
        let mut store = MemoryStore::new();
        let all = || (0..RANGES).map(Range);
        let epoch = store.hand_over(all());
        let old = Domain::part(all().map(|it| (it, epoch)));
        let first = [create(1)];
        let _ = store.commit_each(&mut first.iter(), &old).unwrap();
        let new = Domain::part([(Range(7), store.hand_over([Range(7)]))]);
        for of in [&old, &Domain::Whole] {
            let batch = [append(1, "a"), create(2)];
            let refused = store.reopen().commit_each(&mut batch.iter(), of);
            assert!(matches!(refused, Err(Error::NotYours(_))), "{refused:?}");
        }
        let theirs = [append(1, "b")];
        let _ = store.commit_each(&mut theirs.iter(), &new).unwrap();
        let mut reader = store.reader().unwrap();
        assert_eq!(reader.history(1).unwrap().len(), 1);
        assert_eq!(reader.instance(2).unwrap(), None);
    }
}
