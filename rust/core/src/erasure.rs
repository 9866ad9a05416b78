//! Which records still count, when later ones say of some that they do not.
//!
//! Histories are only appended to. So what is erased stays where it is at first, and a record after
//! it says so: of an operation, from which attempt to which. Whoever reads a history passes over
//! what does not count from then on; the store frees it when it has time. Outcomes always count,
//! and of several records that erase the last speaks for all.

use rustc_hash::FxHashMap;

use crate::history::{Operation, Record, Stored, Verdict};

/// What the records that were looked at so far erase.
#[derive(Debug, Default)]
pub struct Erasures(FxHashMap<Operation, (u32, u32)>);

impl Erasures {
    /// Returns whether a record counts. To be asked of all records of a history, the last one
    /// first.
    pub fn count(&mut self, record: &Record) -> bool {
        if record.verdict == Verdict::Erased {
            let range = (record.erases.unwrap_or(u32::MAX), record.attempt);
            let before = self.0.len();
            self.0.entry(record.operation.clone()).or_insert(range);
            return self.0.len() > before;
        }
        if self.0.is_empty() || record.verdict.is_outcome() {
            return true;
        }
        let erased = self.0.get(&record.operation);
        erased.is_none_or(|(from, to)| !(*from..=*to).contains(&record.attempt))
    }
}

/// Leaves of a history, oldest first, what counts.
pub fn keep_what_counts(history: &mut Vec<Stored>) {
    if !history
        .iter()
        .any(|it| it.record.verdict == Verdict::Erased)
    {
        return;
    }
    let mut erasures = Erasures::default();
    let mut counting: Vec<Stored> = history
        .drain(..)
        .rev()
        .filter(|it| erasures.count(&it.record))
        .collect();
    counting.reverse();
    *history = counting;
}
