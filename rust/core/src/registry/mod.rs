//! Which instances there are that are not final, and in which state.
//!
//! One small table per range, each under a lock of its own: a lookup from any thread goes from the
//! key's hash to its range to that table, and meets nobody but who looks into the same range at
//! the same moment (C8, W7). It does not know which shard owns a range, so a range that moves moves
//! nothing here. An entry has two states: the one the writer decided, which only the writer asks
//! for, and the committed one, which is all that others see (D1).

mod table;

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::ids::{InstanceNo, Key};
use crate::lifecycle::Status;
use crate::limits::TABLES;
use table::Table;

/// Not committed yet.
const NONE: u64 = 15;

/// Number, committed state, decided state: in one word (C9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(u64);

impl Packed {
    fn new(no: InstanceNo, committed: Option<Status>, decided: Status) -> Self {
        assert!(no < 1 << 56, "numbers stay below 2^56");
        let committed = committed.map_or(NONE, |it| it as u64);
        Self(no << 8 | committed << 4 | decided as u64)
    }

    fn view(self) -> View {
        View {
            no: self.0 >> 8,
            committed: Status::from_code((self.0 >> 4 & 15) as u8),
            decided: Status::from_code((self.0 & 15) as u8).expect("only states are stored"),
        }
    }
}

/// What the registry knows of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Its number.
    pub no: InstanceNo,
    /// Its state for everybody; `None` while its creation is not durable.
    pub committed: Option<Status>,
    /// Its state for the writer.
    pub decided: Status,
}

/// All instances that are not final.
#[derive(Debug)]
pub struct Registry {
    tables: Box<[Mutex<Table>]>,
    /// Kept apart, so that counting takes no lock.
    len: AtomicUsize,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// Returns an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tables: (0..TABLES).map(|_| Mutex::default()).collect(),
            len: AtomicUsize::new(0),
        }
    }

    fn range(&self, key: Key) -> &Mutex<Table> {
        &self.tables[usize::from(key.range().0 % TABLES)]
    }

    /// Returns an instance's committed state; `None` if it is final or unknown.
    #[must_use]
    pub fn peek(&self, key: Key) -> Option<Status> {
        self.view(key)?.committed
    }

    /// Returns everything known of an instance.
    #[must_use]
    pub fn view(&self, key: Key) -> Option<View> {
        let word = self.range(key).lock().get(halves(key))?;
        Some(Packed(word).view())
    }

    fn insert(&self, key: Key, entry: Packed) {
        if self.range(key).lock().insert(halves(key), entry.0) {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn remove(&self, key: Key) {
        if self.range(key).lock().remove(halves(key)) {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Adds an instance whose creation is decided, not durable.
    pub fn announce(&self, key: Key, no: InstanceNo, decided: Status) {
        self.insert(key, Packed::new(no, None, decided));
    }

    /// Adds an instance that the store knows.
    pub fn restore(&self, key: Key, no: InstanceNo, status: Status) {
        self.insert(key, Packed::new(no, Some(status), status));
    }

    /// Notes what the writer decided.
    pub fn decide(&self, key: Key, status: Status) {
        if let Some(word) = self.range(key).lock().get_mut(halves(key)) {
            let view = Packed(*word).view();
            *word = Packed::new(view.no, view.committed, status).0;
        }
    }

    /// Shows what was decided, now that it is durable; a final instance leaves.
    pub fn show(&self, key: Key) {
        let mut range = self.range(key).lock();
        if let Some(word) = range.get_mut(halves(key)) {
            let view = Packed(*word).view();
            if view.decided.is_final() {
                range.remove(halves(key));
                self.len.fetch_sub(1, Ordering::Relaxed);
            } else {
                *word = Packed::new(view.no, Some(view.decided), view.decided).0;
            }
        }
    }

    /// Removes an instance whose creation the store refused.
    pub fn forget(&self, key: Key) {
        self.remove(key);
    }

    /// Returns how many instances there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn halves(key: Key) -> [u64; 2] {
    [(key.0 >> 64) as u64, key.0 as u64]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap as Model;

    #[test]
    fn an_entry_takes_24_bytes_with_its_key() {
        assert_eq!(size_of::<table::Slot>(), 24);
    }

    proptest! {
        #[test]
        fn peek_sees_only_committed_states(
            actions in prop::collection::vec((0u8..5, 0u64..8, 0u8..9), 0..200),
        ) {
            let registry = Registry::new();
            let mut model: Model<u64, (Option<Status>, Status)> = Model::new();
            for (action, no, code) in actions {
                let key = Key::new("default", "w", &no.to_string());
                let status = Status::from_code(code).expect("a state");
                match action {
                    0 => {
                        registry.announce(key, no, status);
                        model.insert(no, (None, status));
                    }
                    1 => {
                        registry.restore(key, no, status);
                        model.insert(no, (Some(status), status));
                    }
                    2 => {
                        registry.decide(key, status);
                        model.entry(no).and_modify(|it| it.1 = status);
                    }
                    3 => {
                        registry.show(key);
                        if model.get(&no).is_some_and(|it| it.1.is_final()) {
                            model.remove(&no);
                        }
                        model.entry(no).and_modify(|it| it.0 = Some(it.1));
                    }
                    _ => {
                        registry.forget(key);
                        model.remove(&no);
                    }
                }
                prop_assert_eq!(registry.peek(key), model.get(&no).and_then(|it| it.0));
                prop_assert_eq!(registry.len(), model.len());
            }
        }
    }
}
