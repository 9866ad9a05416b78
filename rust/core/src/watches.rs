//! Which instances somebody waits for, and which somebody listens to. Only their changes are told;
//! of those that are listened to, their records and reports too.
//!
//! Shared by the caller's thread and the writer. Whoever begins to watch and then looks at the
//! registry misses nothing: the writer shows a state first and asks here afterwards, so a change
//! that was not to be seen yet is told. The same holds of records and a look at the store. While
//! nobody listens, a record costs one look at a number.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::ids::InstanceNo;

/// How often each instance is watched, and listened to.
#[derive(Debug, Default)]
pub struct Watches {
    watched: Listeners,
    heard: Listeners,
    /// How many are listened to.
    listeners: AtomicUsize,
}

#[derive(Debug, Default)]
struct Listeners(Mutex<FxHashMap<InstanceNo, u32>>);

impl Listeners {
    fn add(&self, no: InstanceNo) {
        *self.0.lock().entry(no).or_default() += 1;
    }

    /// Returns whether there was one.
    fn remove(&self, no: InstanceNo) -> bool {
        let mut counts = self.0.lock();
        let Some(count) = counts.get_mut(&no) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            counts.remove(&no);
        }
        true
    }

    fn has(&self, no: InstanceNo) -> bool {
        self.0.lock().contains_key(&no)
    }
}

impl Watches {
    /// Changes of this instance are told from now on.
    pub fn add(&self, no: InstanceNo) {
        self.watched.add(no);
    }

    /// Takes one `add` back.
    pub fn remove(&self, no: InstanceNo) {
        self.watched.remove(no);
    }

    /// Returns whether somebody watches it.
    #[must_use]
    pub fn has(&self, no: InstanceNo) -> bool {
        self.watched.has(no)
    }

    /// Changes of this instance, its records and its reports are told from now on.
    pub fn listen(&self, no: InstanceNo) {
        self.add(no);
        self.heard.add(no);
        self.listeners.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes one `listen` back.
    pub fn ignore(&self, no: InstanceNo) {
        self.remove(no);
        if self.heard.remove(no) {
            self.listeners.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Returns whether anybody listens to any.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.listeners.load(Ordering::Acquire) > 0
    }

    /// Returns whether somebody listens to it.
    #[must_use]
    pub fn hears(&self, no: InstanceNo) -> bool {
        self.heard.has(no)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_watched_until_the_last_one_leaves() {
        let watches = Watches::default();
        watches.add(7);
        watches.add(7);
        watches.remove(7);
        assert!(watches.has(7));
        watches.remove(7);
        assert!(!watches.has(7));
        watches.remove(7);
        assert!(!watches.has(7));
    }

    #[test]
    fn whoever_listens_watches_too() {
        let watches = Watches::default();
        assert!(!watches.listens());
        watches.listen(7);
        watches.add(8);
        assert!(watches.listens() && watches.hears(7) && watches.has(7));
        assert!(!watches.hears(8));
        watches.ignore(8);
        watches.ignore(7);
        assert!(!watches.listens() && !watches.hears(7) && !watches.has(7));
    }
}
