//! Which shard owns which range, and since when.
//!
//! An instance belongs to the shard that owns its range; nothing else says so. A [`Layout`] is one
//! assignment of all ranges to so many shards and never changes; to resize is to take another one
//! and to hand over each range whose owner differs. Invariant: every hand-over of a range raises
//! its epoch, here or by a new life of the engine, and no epoch is used for two hand-overs of one
//! range. Whoever later gets a message about a range from another process compares epochs and drops
//! what is older. It does not know what a shard keeps, nor how that is handed over.
//!
//! Shards share the ranges of one engine. Engines that share a store share its ranges too: what one
//! of them owns is its [`Domain`].

use std::sync::Arc;

use crate::ids::{Key, Range, RANGES};

/// Shards there may be at most: one per range.
pub const SHARDS_MAX: u32 = RANGES as u32;

/// An assignment of all ranges to shards.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    shards: u32,
    owners: Box<[u16]>,
}

impl Layout {
    /// Returns the layout with so many shards (1 to 4,096), each with as many ranges as the others
    /// or one more.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "1 to 4,096 shards");
        let owner = |range| (u32::from(range) % shards) as u16;
        Self {
            shards,
            owners: (0..RANGES).map(owner).collect(),
        }
    }

    /// Returns how many shards there are.
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// Returns the shard that owns a range.
    #[must_use]
    pub fn owner(&self, range: Range) -> u32 {
        self.owners[usize::from(range.0)].into()
    }

    /// Returns the shard that an instance belongs to.
    #[must_use]
    pub fn shard(&self, key: Key) -> u32 {
        self.owner(key.range())
    }
}

/// Who owns a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its shard.
    pub shard: u32,
    /// The hand-over by which that shard got it; a later one has a higher number.
    pub epoch: u64,
}

/// The owners of all ranges.
#[derive(Debug)]
pub struct Ranges {
    layout: Arc<Layout>,
    epochs: Box<[u64]>,
    epoch: u64,
}

impl Ranges {
    /// Returns the ranges as they are when an engine comes up: all of them handed over to so many
    /// shards under this epoch, which has to be higher than any before.
    #[must_use]
    pub fn new(shards: u32, epoch: u64) -> Self {
        Self {
            layout: Arc::new(Layout::new(shards)),
            epochs: vec![epoch; RANGES.into()].into(),
            epoch,
        }
    }

    /// Returns the present layout.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Returns the highest epoch there was so far.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the owner of a range.
    #[must_use]
    pub fn owner(&self, range: Range) -> Owner {
        Owner {
            shard: self.layout.owner(range),
            epoch: self.epochs[usize::from(range.0)],
        }
    }

    /// Takes the layout with so many shards. Returns the ranges that have a new owner, under a
    /// higher epoch; those whose owner stays keep theirs.
    pub fn change(&mut self, shards: u32) -> Vec<Range> {
        let layout = Layout::new(shards);
        let ranges = (0..RANGES).map(Range);
        let moved: Vec<Range> = ranges
            .filter(|it| layout.owner(*it) != self.layout.owner(*it))
            .collect();
        self.epoch += 1;
        for range in &moved {
            self.epochs[usize::from(range.0)] = self.epoch;
        }
        self.layout = Arc::new(layout);
        moved
    }
}

/// The ranges of a store that one engine owns, each under the epoch of the hand-over by which it
/// got it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Domain {
    /// All of them, for good: nobody else writes to the store.
    #[default]
    Whole,
    /// Those with an epoch, which is 1 or more; others own the others.
    Part(Box<[u64]>),
}

impl Domain {
    /// Returns a domain of these ranges, with their epochs.
    #[must_use]
    pub fn part(ranges: impl IntoIterator<Item = (Range, u64)>) -> Self {
        let mut epochs = vec![0; RANGES.into()];
        for (range, epoch) in ranges {
            epochs[usize::from(range.0)] = epoch;
        }
        Self::Part(epochs.into())
    }

    /// Returns whether there is no other owner.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// Returns whether a range is in it.
    #[must_use]
    pub fn has(&self, range: Range) -> bool {
        match self {
            Self::Whole => true,
            Self::Part(epochs) => epochs[usize::from(range.0)] > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_range_has_one_owner_and_no_shard_more_than_its_share(shards in 1u32..=SHARDS_MAX) {
            let layout = Layout::new(shards);
            let mut owned = vec![0u32; shards as usize];
            for range in 0..RANGES {
                owned[layout.owner(Range(range)) as usize] += 1;
            }
            let (least, most) = (owned.iter().min(), owned.iter().max());
            prop_assert!(most.unwrap() - least.unwrap() <= 1);
            prop_assert_eq!(owned.iter().sum::<u32>(), u32::from(RANGES));
        }

        #[test]
        fn a_range_is_handed_over_if_and_only_if_its_epoch_rises(
            layouts in prop::collection::vec(1u32..=SHARDS_MAX, 1..8)
        ) {
            let mut ranges = Ranges::new(layouts[0], 7);
            for shards in layouts {
                let before: Vec<Owner> = (0..RANGES).map(|it| ranges.owner(Range(it))).collect();
                let highest = ranges.epoch();
                let moved = ranges.change(shards);
                prop_assert!(ranges.epoch() > highest);
                for range in (0..RANGES).map(Range) {
                    let (was, is) = (before[usize::from(range.0)], ranges.owner(range));
                    prop_assert_eq!(is.shard, u32::from(range.0) % shards);
                    if moved.contains(&range) {
                        prop_assert!(is.epoch > highest && is.shard != was.shard);
                    } else {
                        prop_assert_eq!(is, was);
                    }
                }
            }
        }
    }
}
