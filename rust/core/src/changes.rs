//! Which instances changed state lately, in order: each once, where it changed last.
//!
//! Whoever follows asks for what came after the last that it was told, and is told when there is
//! something: nobody looks in vain. It knows numbers only, so that a change costs little while
//! nobody follows; what an instance is at, the store says. Of more than [`KEPT`] instances the
//! oldest changes are forgotten, and whoever had not been told of those yet has to look anew.
//! Places go on where an earlier life of the store left them, with what it wrote down of its last.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::ids::InstanceNo;

/// Instances whose last change is remembered.
const KEPT: usize = 65_536;

/// The place of a change: later ones are higher.
pub type ChangeNo = u64;

/// What came after a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since {
    /// Whether something before these was forgotten.
    pub is_lost: bool,
    /// Instances that changed, each with its place.
    pub some: Vec<(ChangeNo, InstanceNo)>,
    /// The place of the last change of all.
    pub last: ChangeNo,
}

/// The last changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Tells the places of one store from those of another.
    pub(crate) epoch: u64,
    last: ChangeNo,
    /// No place up to this one is complete.
    forgotten: ChangeNo,
    by_place: BTreeMap<ChangeNo, InstanceNo>,
    places: FxHashMap<InstanceNo, ChangeNo>,
    /// Somebody wants to be told of the next.
    is_awaited: bool,
}

impl Changes {
    /// An earlier life of the store wrote these down; the first has this place.
    pub(crate) fn restore(
        &mut self,
        epoch: u64,
        first: ChangeNo,
        some: impl Iterator<Item = InstanceNo>,
    ) {
        self.epoch = epoch;
        (self.last, self.forgotten) = (first - 1, first - 1);
        for no in some {
            self.add(no);
        }
    }

    /// An instance has changed.
    pub(crate) fn add(&mut self, no: InstanceNo) {
        self.last += 1;
        if let Some(before) = self.places.insert(no, self.last) {
            self.by_place.remove(&before);
        }
        self.by_place.insert(self.last, no);
        if self.by_place.len() > KEPT {
            let (place, no) = self.by_place.pop_first().expect("there are some");
            self.places.remove(&no);
            self.forgotten = place;
        }
    }

    /// Returns at most so many of the changes after a place.
    pub(crate) fn since(&self, place: ChangeNo, limit: usize) -> Since {
        let some = self.by_place.range(place.saturating_add(1)..);
        Since {
            is_lost: place < self.forgotten || place > self.last,
            some: some.take(limit).map(|(place, no)| (*place, *no)).collect(),
            last: self.last,
        }
    }

    /// Returns whether there is something after a place. If not, the next is told.
    pub(crate) fn wait(&mut self, place: ChangeNo) -> bool {
        let is_there = self.last != place;
        self.is_awaited |= !is_there;
        is_there
    }

    /// Returns whether somebody is to be told that there is something.
    pub(crate) fn take_awaited(&mut self) -> bool {
        std::mem::take(&mut self.is_awaited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whoever_follows_is_told_the_last_change_of_each(
            changes in prop::collection::vec(0u64..6, 0..60), place in 0u64..70, limit in 0usize..8
        ) {
            let mut all = Changes::default();
            for no in &changes {
                all.add(*no);
            }
            let since = all.since(place, limit);
            let model = (1..).zip(&changes).filter(|(at, no)| {
                *at > place && !changes[*at as usize..].contains(no)
            });
            let model: Vec<(u64, u64)> = model.map(|(at, no)| (at, *no)).take(limit).collect();
            prop_assert_eq!(since.some, model);
            prop_assert_eq!(since.is_lost, place > changes.len() as u64);
            prop_assert_eq!(since.last, changes.len() as u64);
        }
    }

    #[test]
    fn what_is_forgotten_is_told_to_whoever_missed_it() {
        let mut changes = Changes::default();
        for no in 0..KEPT as u64 + 3 {
            changes.add(no);
        }
        assert!(changes.since(2, 1).is_lost);
        assert!(!changes.since(3, 1).is_lost);
        assert_eq!(changes.since(3, 1).some, [(4, 3)]);
        assert_eq!((changes.by_place.len(), changes.places.len()), (KEPT, KEPT));
    }

    #[test]
    fn somebody_who_waits_is_told_once() {
        let mut changes = Changes::default();
        assert!(!changes.wait(0));
        changes.add(1);
        assert!(changes.take_awaited());
        assert!(!changes.take_awaited());
        assert!(changes.wait(0));
        assert!(!changes.take_awaited());
    }
}
