//! Which instances somebody waits for. Only their changes are told.
//!
//! Shared by the caller's thread and the writer. Whoever begins to watch and then looks at the
//! registry misses nothing: the writer shows a state first and asks here afterwards, so a change
//! that was not to be seen yet is told.

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::ids::InstanceNo;

/// How often each instance is watched.
#[derive(Debug, Default)]
pub struct Watches {
    counts: Mutex<FxHashMap<InstanceNo, u32>>,
}

impl Watches {
    /// Changes of this instance are told from now on.
    pub fn add(&self, no: InstanceNo) {
        *self.counts.lock().entry(no).or_default() += 1;
    }

    /// Takes one `add` back.
    pub fn remove(&self, no: InstanceNo) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&no) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&no);
            }
        }
    }

    /// Returns whether somebody watches it.
    #[must_use]
    pub fn has(&self, no: InstanceNo) -> bool {
        self.counts.lock().contains_key(&no)
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
}
