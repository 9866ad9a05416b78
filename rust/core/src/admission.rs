//! Who may enter: room in a workflow's queue, and a creation rate where one is set.
//!
//! Verdicts are values. Nothing here waits or touches the store, and a refused creation leaves
//! no trace (C10). It does not know instances, only how many there are.

use std::time::Duration;

use crate::ids::Micros;
use crate::limits::{DISK_RETRY_AFTER, QUEUE_RETRY};

/// Whether something may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It may.
    Admitted,
    /// It may not: which limit, and after how many microseconds to try again.
    Overloaded(&'static str, Micros),
}

/// A token bucket over time that is passed in.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Micros,
}

/// Counts what is queued per workflow and what is created over time.
#[derive(Debug)]
pub struct Admission {
    entries_max: u32,
    queued: Vec<u32>,
    rate: Option<Bucket>,
    /// The store is short of room.
    short: bool,
}

impl Admission {
    /// Returns an admission with this capacity per workflow and no limit on the rate.
    #[must_use]
    pub fn new(entries_max: u32) -> Self {
        Self {
            entries_max,
            queued: Vec::new(),
            rate: None,
            short: false,
        }
    }

    /// Closes or opens the door to all creations: the room that is left is for what runs.
    pub fn set_short(&mut self, short: bool) {
        self.short = short;
    }

    /// Decides about creations as far as the store's room is concerned; [`Self::admit`] follows.
    pub fn has_room(&self) -> Verdict {
        if self.short {
            return Verdict::Overloaded("disk", DISK_RETRY_AFTER);
        }
        Verdict::Admitted
    }

    /// Sets or clears the limit on creations per second.
    pub fn set_rate(&mut self, limit: Option<(f64, f64)>, now: Micros) {
        self.rate = limit.map(|(per_second, burst)| Bucket {
            per_second,
            burst,
            tokens: burst,
            at: now,
        });
    }

    /// Decides about `count` creations of a workflow, all or none.
    pub fn admit(&mut self, workflow: u32, count: u32, now: Micros) -> Verdict {
        if self.queued(workflow).saturating_add(count) > self.entries_max {
            return Verdict::Overloaded("queue_entries", QUEUE_RETRY);
        }
        let Some(bucket) = &mut self.rate else {
            return Verdict::Admitted;
        };
        let elapsed = u64::try_from(now - bucket.at).unwrap_or(0);
        let elapsed = Duration::from_micros(elapsed).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * bucket.per_second).min(bucket.burst);
        bucket.at = bucket.at.max(now);
        let missing = f64::from(count) - bucket.tokens;
        if missing > 0.0 {
            let wait = (missing / bucket.per_second * 1e6).ceil();
            return Verdict::Overloaded("create_rate", wait as Micros);
        }
        bucket.tokens -= f64::from(count);
        Verdict::Admitted
    }

    /// Returns whether so many creations would have room in an empty queue.
    #[must_use]
    pub fn fits(&self, count: u32) -> bool {
        count <= self.entries_max
    }

    /// Counts an entry that joined the queue.
    pub fn joined(&mut self, workflow: u32) {
        let at = workflow as usize;
        if self.queued.len() <= at {
            self.queued.resize(at + 1, 0);
        }
        self.queued[at] += 1;
    }

    /// Counts an entry that left the queue.
    pub fn left(&mut self, workflow: u32) {
        let count = &mut self.queued[workflow as usize];
        *count = count.checked_sub(1).expect("it joined before it leaves");
    }

    /// Returns how many entries of a workflow are queued.
    #[must_use]
    pub fn queued(&self, workflow: u32) -> u32 {
        self.queued.get(workflow as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_one_that_has_room_again_admits() {
        let mut admission = Admission::new(2);
        assert_eq!(admission.admit(3, 2, 0), Verdict::Admitted);
        admission.joined(3);
        admission.joined(3);
        let refused = Verdict::Overloaded("queue_entries", QUEUE_RETRY);
        assert_eq!(admission.admit(3, 1, 0), refused);
        assert_eq!(admission.admit(0, 1, 0), Verdict::Admitted);
        admission.left(3);
        assert_eq!(admission.admit(3, 1, 0), Verdict::Admitted);
        assert_eq!(admission.admit(3, 2, 0), refused);
    }

    #[test]
    fn a_store_that_is_short_of_room_admits_nothing() {
        let mut admission = Admission::new(2);
        assert_eq!(admission.has_room(), Verdict::Admitted);
        admission.set_short(true);
        let refused = Verdict::Overloaded("disk", DISK_RETRY_AFTER);
        assert_eq!(admission.has_room(), refused);
        admission.set_short(false);
        assert_eq!(admission.has_room(), Verdict::Admitted);
    }

    #[test]
    fn the_rate_refills_with_time() {
        let mut admission = Admission::new(1_000);
        admission.set_rate(Some((10.0, 2.0)), 0);
        assert_eq!(admission.admit(0, 2, 0), Verdict::Admitted);
        assert_eq!(
            admission.admit(0, 1, 0),
            Verdict::Overloaded("create_rate", 100_000)
        );
        assert_eq!(admission.admit(0, 1, 100_000), Verdict::Admitted);
    }
}
