//! The order of a workflow's entries, and an entry in 24 bytes.
//!
//! A [`Place`] is what lies in memory: where the entry stands and whose it is. Its first word is
//! rank and number in one, so that places compare as their (rank, number) would (C4).

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

    /// Returns it as ten bits that compare as it does.
    fn bits(self) -> u64 {
        let falling = (i16::from(self.falling) + 128) as u64;
        u64::from(self.queued) << 9 | falling << 1 | u64::from(self.class == Class::New)
    }

    fn from_bits(bits: u64) -> Self {
        let class = match (bits >> 9, bits & 1) {
            (0, _) => Class::Resumed,
            (_, 0) => Class::Woken,
            _ => Class::New,
        };
        Self {
            queued: class != Class::Resumed,
            falling: ((bits >> 1 & 255) as i16 - 128) as i8,
            class,
        }
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

/// Bits of a place's first word that hold the number; the rank is above them.
const NUMBER_BITS: u32 = 54;
/// Comes after every place.
pub(super) const LAST: u64 = u64::MAX;

/// An entry and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Rank and number: smaller goes first, and no two in a workflow are equal.
    pub(super) order: u64,
    key: [u64; 2],
}

/// Returns what places of this rank and number compare by.
pub(super) fn order(rank: Rank, no: InstanceNo) -> u64 {
    rank.bits() << NUMBER_BITS | no
}

impl Place {
    pub(super) fn new(rank: Rank, entry: Entry) -> Self {
        let last = (1 << NUMBER_BITS) - 1;
        assert!(entry.no < last, "numbers of instances stay below 2^54");
        Self {
            order: order(rank, entry.no),
            key: entry.key,
        }
    }

    pub(super) fn rank(self) -> Rank {
        Rank::from_bits(self.order >> NUMBER_BITS)
    }

    pub(super) fn entry(self) -> Entry {
        Entry {
            no: self.order & ((1 << NUMBER_BITS) - 1),
            key: self.key,
        }
    }

    pub(super) fn key(self) -> Key {
        self.entry().key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_takes_24_bytes() {
        assert_eq!(size_of::<Place>(), 24);
    }

    fn any_rank() -> impl Strategy<Value = Rank> {
        const CLASSES: &[Class] = &[Class::Resumed, Class::Woken, Class::New];
        (-100i8..=100, prop::sample::select(CLASSES))
            .prop_map(|(priority, class)| Rank::new(priority, class))
    }

    proptest! {
        #[test]
        fn places_compare_as_rank_and_number_would(
            a in (any_rank(), 0u64..1 << 50),
            b in (any_rank(), 0u64..1 << 50),
        ) {
            let place = |(rank, no)| Place::new(rank, Entry::new(no, Key(no.into())));
            prop_assert_eq!(place(a).order.cmp(&place(b).order), a.cmp(&b));
            prop_assert_eq!((place(a).rank(), place(a).entry().no), a);
            prop_assert_eq!(place(a).key(), Key(a.1.into()));
            prop_assert_eq!(place(a).rank().priority(), a.0.priority());
        }
    }
}
