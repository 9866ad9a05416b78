//! Numbers that are never used twice in a store: instances, incarnations, waits, events.
//!
//! Invariant: the stored ceiling lies above every number that any committed operation carries.
//! Any thread may draw a number; the writer raises the ceiling in the commit that first uses it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::NUMBERS;

/// The setting of the store that says which numbers are used up.
pub const SETTING: &str = "sequence";

/// The source of numbers.
#[derive(Debug)]
pub struct Sequence {
    next: AtomicU64,
    ceiling: AtomicU64,
}

impl Sequence {
    /// Returns a sequence that starts above everything an earlier life could have used.
    #[must_use]
    pub fn new(stored_ceiling: u64) -> Self {
        let first = stored_ceiling.max(1);
        Self {
            next: AtomicU64::new(first),
            ceiling: AtomicU64::new(first),
        }
    }

    /// Draws a number.
    pub fn draw(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the ceiling that must be stored with the batch now being decided, if it has to rise.
    pub fn raise(&self) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let ceiling = self.ceiling.load(Ordering::Relaxed);
        if next + NUMBERS / 2 <= ceiling {
            return None;
        }
        let raised = next + NUMBERS;
        self.ceiling.store(raised, Ordering::Relaxed);
        Some(raised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_lies_above_every_number_in_use() {
        let sequence = Sequence::new(0);
        let mut ceiling = 0;
        for _ in 0..3 * NUMBERS {
            let number = sequence.draw();
            if let Some(raised) = sequence.raise() {
                ceiling = raised;
            }
            assert!(number < ceiling);
        }
        assert!(Sequence::new(ceiling).draw() >= ceiling);
    }
}
