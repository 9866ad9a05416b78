//! The instances of one range: a small open-addressing table that grows by a fifth.
//!
//! Invariants: an entry lies at or after its home (its hash scaled to the table), and nowhere
//! further from home than the entries it passed ("Robin Hood"), so the entries stand in the order
//! of their hashes and a search that fails ends early; at most nine of ten places are taken. A
//! table that grows in big steps is nearly half empty just after each; with 24 bytes an entry that
//! would be most of what the registry may cost (C9), so this one is three quarters full when it has
//! grown, and gives memory back when it drains. It does not know what an entry's word means.

/// What stands where no entry is.
const FREE: u64 = u64::MAX;

/// An entry: the key in two halves, and one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    key: [u64; 2],
    word: u64,
}

const EMPTY: Slot = Slot {
    key: [0; 2],
    word: FREE,
};

/// Entries by key.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Box<[Slot]>,
    len: u32,
}

/// The half that orders the table. The other half says which range it is, so it varies little.
fn hash(key: [u64; 2]) -> u64 {
    key[1]
}

impl Table {
    /// Returns the place where an entry would be if all stood at home.
    fn home(&self, key: [u64; 2]) -> usize {
        ((u128::from(hash(key)) * self.slots.len() as u128) >> 64) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() {
            0
        } else {
            at + 1
        }
    }

    /// Returns how far from home the entry in a place is.
    fn distance(&self, at: usize) -> usize {
        let home = self.home(self.slots[at].key);
        if at >= home {
            at - home
        } else {
            at + self.slots.len() - home
        }
    }

    /// Returns the place of an entry; or, for one that is not there, where it would be put and how
    /// far from home that is.
    fn search(&self, key: [u64; 2]) -> Result<usize, (usize, usize)> {
        if self.slots.is_empty() {
            return Err((0, 0));
        }
        let mut at = self.home(key);
        let mut distance = 0;
        loop {
            let slot = &self.slots[at];
            if slot.word == FREE {
                return Err((at, distance));
            }
            if slot.key == key {
                return Ok(at);
            }
            if self.distance(at) < distance {
                return Err((at, distance));
            }
            at = self.next(at);
            distance += 1;
        }
    }

    fn find(&self, key: [u64; 2]) -> Option<usize> {
        self.search(key).ok()
    }

    /// Returns the word of an entry.
    pub(super) fn get(&self, key: [u64; 2]) -> Option<u64> {
        self.find(key).map(|at| self.slots[at].word)
    }

    /// Returns the word of an entry, to be changed.
    pub(super) fn get_mut(&mut self, key: [u64; 2]) -> Option<&mut u64> {
        self.find(key).map(|at| &mut self.slots[at].word)
    }

    /// Adds an entry or replaces its word. Returns whether it is new.
    pub(super) fn insert(&mut self, key: [u64; 2], word: u64) -> bool {
        assert!(word != FREE, "that word means: nothing here");
        let place = match self.search(key) {
            Ok(at) => {
                self.slots[at].word = word;
                return false;
            }
            Err(place) => place,
        };
        let slot = Slot { key, word };
        if (self.len() + 1) * 10 > self.slots.len() * 9 {
            self.resize(self.len() + 1);
            self.place(slot, (self.home(key), 0));
        } else {
            self.place(slot, place);
        }
        self.len += 1;
        true
    }

    /// Puts an entry that is not there where it belongs, beginning at a place so far from its home;
    /// those it displaces move on.
    fn place(&mut self, mut slot: Slot, (mut at, mut distance): (usize, usize)) {
        while self.slots[at].word != FREE {
            let theirs = self.distance(at);
            if theirs < distance {
                std::mem::swap(&mut self.slots[at], &mut slot);
                distance = theirs;
            }
            at = self.next(at);
            distance += 1;
        }
        self.slots[at] = slot;
    }

    /// Removes an entry. Returns whether it was there.
    pub(super) fn remove(&mut self, key: [u64; 2]) -> bool {
        let Some(mut at) = self.find(key) else {
            return false;
        };
        // Whoever stands behind it and not at home moves up, so that no search meets a gap.
        loop {
            let next = self.next(at);
            if self.slots[next].word == FREE || self.distance(next) == 0 {
                break;
            }
            self.slots[at] = self.slots[next];
            at = next;
        }
        self.slots[at] = EMPTY;
        self.len -= 1;
        if self.slots.len() > 8 && self.len() * 2 < self.slots.len() {
            self.resize(self.len());
        } else if self.len == 0 {
            self.slots = Box::default();
        }
        true
    }

    /// Makes room for so many entries, a quarter of it free.
    fn resize(&mut self, entries: usize) {
        let room = entries + entries.div_ceil(3);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; room].into());
        for slot in old.iter().filter(|it| it.word != FREE) {
            self.place(*slot, (self.home(slot.key), 0));
        }
    }

    /// Returns how many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Few homes, so that entries meet; two keys of one hash are possible.
    fn key(code: u16) -> [u64; 2] {
        let hash = u64::from(code % 29) * (u64::MAX / 29);
        [u64::from(code / 29), hash]
    }

    fn check(table: &Table) -> Result<(), TestCaseError> {
        let taken = table.slots.iter().filter(|it| it.word != FREE).count();
        prop_assert_eq!(taken, table.len());
        prop_assert!(taken * 10 <= table.slots.len() * 9);
        prop_assert!(table.slots.len() <= 8 || taken * 2 >= table.slots.len());
        for at in 0..table.slots.len() {
            let next = table.next(at);
            if table.slots[next].word != FREE && table.distance(next) > 0 {
                prop_assert!(table.slots[at].word != FREE, "a gap before {next}");
                prop_assert!(table.distance(next) <= table.distance(at) + 1);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn the_table_holds_what_a_map_would(
            actions in prop::collection::vec((0u8..5, 0u16..120, 0u64..9), 0..400)
        ) {
            let mut table = Table::default();
            let mut model: BTreeMap<[u64; 2], u64> = BTreeMap::new();
            for (action, code, word) in actions {
                let key = key(code);
                match action {
                    0..=1 => prop_assert_eq!(
                        table.insert(key, word),
                        model.insert(key, word).is_none()
                    ),
                    2 => prop_assert_eq!(table.remove(key), model.remove(&key).is_some()),
                    3 => prop_assert_eq!(
                        table.get_mut(key).map(|it| std::mem::replace(it, word)),
                        model.get_mut(&key).map(|it| std::mem::replace(it, word))
                    ),
                    _ => prop_assert_eq!(table.get(key), model.get(&key).copied()),
                }
                check(&table)?;
            }
            for (key, word) in &model {
                prop_assert_eq!(table.get(*key), Some(*word));
            }
        }
    }
}
