//! Timers in due order: by time, then by number.
//!
//! Whoever sets a timer knows its time and number, and cancels with the same pair; so cancelling
//! costs one lookup and leaves nothing behind. It does not know what a timer is for.

use std::collections::BTreeMap;

use crate::ids::Micros;

/// Timers that carry a `T` each.
#[derive(Debug, Default)]
pub struct Timers<T> {
    due: BTreeMap<(Micros, u64), T>,
}

impl<T> Timers<T> {
    /// Returns no timers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            due: BTreeMap::new(),
        }
    }

    /// Sets a timer; the same pair again replaces what it carries.
    pub fn set(&mut self, at: Micros, number: u64, what: T) {
        self.due.insert((at, number), what);
    }

    /// Cancels a timer; one that is not set is no error.
    pub fn cancel(&mut self, at: Micros, number: u64) -> Option<T> {
        self.due.remove(&(at, number))
    }

    /// Returns when the earliest timer is due.
    #[must_use]
    pub fn next(&self) -> Option<Micros> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the earliest timer that is due; never one that is not (T1).
    pub fn take_due(&mut self, now: Micros) -> Option<(u64, T)> {
        let first = self.due.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let ((_, number), what) = first.remove_entry();
        Some((number, what))
    }

    /// Returns what all of them are for.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.due.values()
    }

    /// Returns how many are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Returns whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn timers_fire_as_a_sorted_list_would(
            actions in prop::collection::vec((0u8..3, 0i64..20, 0u64..10), 0..200)
        ) {
            let mut timers = Timers::new();
            let mut model: Vec<(i64, u64)> = Vec::new();
            for (action, at, number) in actions {
                match action {
                    0 => {
                        timers.set(at, number, number);
                        model.retain(|it| *it != (at, number));
                        model.push((at, number));
                        model.sort_unstable();
                    }
                    1 => {
                        let there = model.contains(&(at, number));
                        model.retain(|it| *it != (at, number));
                        prop_assert_eq!(timers.cancel(at, number).is_some(), there);
                    }
                    _ => {
                        let due = model.first().copied().filter(|it| it.0 <= at);
                        model.retain(|it| Some(*it) != due);
                        prop_assert_eq!(timers.take_due(at).map(|it| it.0), due.map(|it| it.1));
                    }
                }
                prop_assert_eq!(timers.next(), model.first().map(|it| it.0));
                prop_assert_eq!(timers.len(), model.len());
            }
        }
    }
}
