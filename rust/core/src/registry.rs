//! Which instances there are that are not final, and in which state.
//!
//! Sharded by range: a lookup from any thread takes the lock of one shard for a hash lookup, and
//! nothing else (C8, W7). An entry has two states: the one the writer decided, which only the
//! writer asks for, and the committed one, which is all that others see (D1).

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::ids::{InstanceNo, Key, RANGES};
use crate::lifecycle::Status;

/// Not committed yet.
const NONE: u64 = 15;

/// Number, committed state, decided state: in one word (C9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
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

/// The key is a hash already.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Halves(u64, u64);

impl std::hash::Hash for Halves {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.1);
    }
}

type Shard = HashMap<Halves, Entry, BuildHasherDefault<AlreadyHashed>>;

/// All instances that are not final.
#[derive(Debug)]
pub struct Registry {
    owners: Box<[u16]>,
    shards: Box<[Mutex<Shard>]>,
}

impl Registry {
    /// Returns an empty registry of so many shards (1 to 4,096).
    #[must_use]
    pub fn new(shards: u32) -> Self {
        assert!(
            (1..=u32::from(RANGES)).contains(&shards),
            "1 to 4,096 shards"
        );
        Self {
            owners: (0..RANGES).map(|range| range % shards as u16).collect(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
        }
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        let range = usize::from(key.range().0);
        &self.shards[usize::from(self.owners[range])]
    }

    /// Returns an instance's committed state; `None` if it is final or unknown.
    #[must_use]
    pub fn peek(&self, key: Key) -> Option<Status> {
        self.view(key)?.committed
    }

    /// Returns everything known of an instance.
    #[must_use]
    pub fn view(&self, key: Key) -> Option<View> {
        let shard = self.shard(key).lock();
        shard.get(&halves(key)).map(|entry| entry.view())
    }

    /// Adds an instance whose creation is decided, not durable.
    pub fn announce(&self, key: Key, no: InstanceNo, decided: Status) {
        let entry = Entry::new(no, None, decided);
        self.shard(key).lock().insert(halves(key), entry);
    }

    /// Adds an instance that the store knows.
    pub fn restore(&self, key: Key, no: InstanceNo, status: Status) {
        let entry = Entry::new(no, Some(status), status);
        self.shard(key).lock().insert(halves(key), entry);
    }

    /// Notes what the writer decided.
    pub fn decide(&self, key: Key, status: Status) {
        if let Some(entry) = self.shard(key).lock().get_mut(&halves(key)) {
            let view = entry.view();
            *entry = Entry::new(view.no, view.committed, status);
        }
    }

    /// Shows what was decided, now that it is durable; a final instance leaves.
    pub fn show(&self, key: Key) {
        let mut shard = self.shard(key).lock();
        if let Some(entry) = shard.get_mut(&halves(key)) {
            let view = entry.view();
            if view.decided.is_final() {
                shard.remove(&halves(key));
            } else {
                *entry = Entry::new(view.no, Some(view.decided), view.decided);
            }
        }
    }

    /// Removes an instance whose creation the store refused.
    pub fn forget(&self, key: Key) {
        self.shard(key).lock().remove(&halves(key));
    }

    /// Returns how many instances there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn halves(key: Key) -> Halves {
    Halves((key.0 >> 64) as u64, key.0 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap as Model;

    #[test]
    fn an_entry_takes_24_bytes_with_its_key() {
        assert_eq!(size_of::<(Halves, Entry)>(), 24);
    }

    proptest! {
        #[test]
        fn peek_sees_only_committed_states(
            shards in 1u32..9,
            actions in prop::collection::vec((0u8..5, 0u64..8, 0u8..9), 0..200),
        ) {
            let registry = Registry::new(shards);
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
