//! Which records still count, when later ones say of some that they do not.
//!
//! Histories are only appended to. So what is erased stays where it is at first, and a record after
//! it says so: of an operation, from which attempt to which; or, of an instance that was restarted,
//! what of all before is kept. Whoever reads a history passes over what does not count from then
//! on; the store frees it when it has time. Outcomes always count but after a restart, and of
//! several records that erase attempts the last speaks for all.

use rustc_hash::FxHashMap;

use crate::history::{Kind, Operation, Record, Stored, Verdict};
use crate::ids::{Micros, Seq};

/// Places that a restart keeps: ranges of the journal, both ends among them, in ascending order.
pub type Kept = Vec<(Seq, Seq)>;

/// What the records that were looked at so far erase.
#[derive(Debug, Default)]
pub struct Erasures {
    attempts: FxHashMap<Operation, (u32, u32)>,
    /// What each restart keeps of what was before it, the last one first.
    restarts: Vec<Kept>,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It counts.
    Counts,
    /// It says what others do not, and no more.
    Says,
    /// It does not count.
    Gone,
}

impl Erasures {
    /// Says what becomes of a record. To be asked of all records of a history, the last one first.
    pub fn judge(&mut self, at: &Stored) -> Fate {
        let (record, seq) = (&at.record, at.seq);
        // Nothing is kept from before a restart that keeps nothing, not even what earlier ones say.
        if self.is_over() {
            return Fate::Gone;
        }
        if record.verdict == Verdict::Restarted {
            self.restarts.push(read(record));
            return Fate::Says;
        }
        let kept = self.restarts.iter().all(|it| has(it, seq));
        if record.verdict == Verdict::Erased {
            return self.judge_attempts(record, kept);
        }
        if !kept {
            return Fate::Gone;
        }
        if self.attempts.is_empty() || record.verdict.is_outcome() {
            return Fate::Counts;
        }
        let erased = self.attempts.get(&record.operation);
        match erased {
            Some((from, to)) if (*from..=*to).contains(&record.attempt) => Fate::Gone,
            _ => Fate::Counts,
        }
    }

    /// One that is not kept itself hides attempts all the same, of which whoever restarted saw
    /// nothing.
    fn judge_attempts(&mut self, record: &Record, kept: bool) -> Fate {
        let (from, to) = (record.erases.unwrap_or(u32::MAX), record.attempt);
        let known = self.attempts.get(&record.operation).copied();
        let (range, standing) = match known {
            None if kept => ((from, to), Fate::Counts),
            Some(last) if kept => (last, Fate::Gone),
            None => ((from, to), Fate::Says),
            Some(last) => ((last.0.min(from), last.1.max(to)), Fate::Says),
        };
        self.attempts.insert(record.operation.clone(), range);
        standing
    }

    /// Whether nothing that comes now counts: whoever reads may stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.restarts.iter().any(Vec::is_empty)
    }
}

/// Leaves of a history, oldest first, what counts.
pub fn keep_what_counts(history: &mut Vec<Stored>) {
    let erases = |it: &Stored| matches!(it.record.verdict, Verdict::Erased | Verdict::Restarted);
    if !history.iter().any(erases) {
        return;
    }
    let mut erasures = Erasures::default();
    let mut counting: Vec<Stored> = history
        .drain(..)
        .rev()
        .filter(|it| erasures.judge(it) == Fate::Counts)
        .collect();
    counting.reverse();
    *history = counting;
}

/// Returns the record that says what a restart keeps of everything before.
#[must_use]
pub fn restarted(kept: &[(Seq, Seq)], at: Micros) -> Record {
    let payload = kept
        .iter()
        .flat_map(|(from, to)| [from.to_le_bytes(), to.to_le_bytes()].concat());
    Record {
        operation: Operation {
            kind: Kind::Do,
            branch: "".into(),
            name: "".into(),
            key: None,
            count: 0,
        },
        attempt: 0,
        verdict: Verdict::Restarted,
        started_at: at,
        at,
        begun: None,
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: (!kept.is_empty()).then(|| payload.collect()),
    }
}

/// Returns whether nothing counts that was before this record.
#[must_use]
pub fn keeps_nothing(record: &Record) -> bool {
    record.verdict == Verdict::Restarted && record.payload.is_none()
}

fn read(record: &Record) -> Kept {
    let bytes = record.payload.as_deref().unwrap_or_default();
    let number = |it: &[u8]| Seq::from_le_bytes(it.try_into().expect("eight bytes"));
    let pairs = bytes.chunks_exact(16);
    pairs
        .map(|it| (number(&it[..8]), number(&it[8..])))
        .collect()
}

/// Returns whether a place is among those that are kept.
#[must_use]
pub fn has(kept: &[(Seq, Seq)], seq: Seq) -> bool {
    let after = kept.partition_point(|it| it.0 <= seq);
    after > 0 && seq <= kept[after - 1].1
}

/// Returns what is kept of everything but these places, which are in ascending order.
#[must_use]
pub fn all_but(gone: &[Seq]) -> Kept {
    let mut kept = Kept::new();
    let mut from = 0;
    for seq in gone {
        if *seq > from {
            kept.push((from, seq - 1));
        }
        from = seq + 1;
    }
    kept.push((from, Seq::MAX));
    kept
}

/// Returns the places of a history that a restart is to keep.
pub fn kept(history: &[Stored], keeps: impl Fn(&Stored) -> bool) -> Kept {
    let mut kept = Kept::new();
    let mut goes_on = false;
    for it in history {
        if !keeps(it) {
            goes_on = false;
        } else if goes_on {
            kept.last_mut().expect("it goes on").1 = it.seq;
        } else {
            kept.push((it.seq, it.seq));
            goes_on = true;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(seq: Seq, step: u32, attempt: u32, verdict: Verdict) -> Stored {
        let mut record = restarted(&[], 0);
        record.operation.count = step;
        (record.attempt, record.verdict) = (attempt, verdict);
        record.erases = (verdict == Verdict::Erased).then_some(1);
        Stored { seq, record }
    }

    fn places(history: &[Stored]) -> Vec<Seq> {
        history.iter().map(|it| it.seq).collect()
    }

    #[test]
    fn all_but_some_places_is_what_lies_between_them() {
        assert_eq!(all_but(&[3]), [(0, 2), (4, Seq::MAX)]);
        assert_eq!(all_but(&[0, 1, 5]), [(2, 4), (6, Seq::MAX)]);
        let gone = [2, 3, 7];
        let kept = all_but(&gone);
        for seq in 0..10 {
            assert_eq!(has(&kept, seq), !gone.contains(&seq), "{seq}");
        }
    }

    #[test]
    fn a_restart_keeps_what_it_says_of_what_was_before_it() {
        let mut history: Vec<_> = (1..=6)
            .map(|it| record(it, it as u32, 1, Verdict::Done))
            .collect();
        let keep = kept(&history, |it| ![3, 6].contains(&it.seq));
        assert_eq!(keep, [(1, 2), (4, 5)]);
        history.push(Stored {
            seq: 7,
            record: restarted(&keep, 0),
        });
        history.push(record(8, 3, 1, Verdict::Done));
        keep_what_counts(&mut history);
        assert_eq!(places(&history), [1, 2, 4, 5, 8]);
        history.push(Stored {
            seq: 9,
            record: restarted(&[], 0),
        });
        keep_what_counts(&mut history);
        assert_eq!(places(&history), []);
    }

    #[test]
    fn what_erases_attempts_hides_them_though_it_is_erased_itself() {
        let mut history = vec![
            record(1, 1, 1, Verdict::AttemptFailed),
            record(2, 1, 2, Verdict::AttemptFailed),
            record(3, 1, 2, Verdict::Erased),
            record(4, 2, 1, Verdict::Done),
        ];
        // It keeps places 1 to 2 too, of which whoever restarted saw nothing.
        history.push(Stored {
            seq: 5,
            record: restarted(&[(1, 2), (4, 4)], 0),
        });
        history.push(record(6, 1, 1, Verdict::AttemptFailed));
        keep_what_counts(&mut history);
        assert_eq!(places(&history), [4, 6]);
    }

    proptest! {
        /// Whatever was restarted how often, and however much of it is freed: what counts is what
        /// each restart kept of what counted.
        #[test]
        fn what_counts_is_what_every_restart_kept(
            acts in prop::collection::vec((0u8..6, 1u32..4, any::<u64>()), 1..40),
        ) {
            let (mut chain, mut model): (Vec<Stored>, Vec<Stored>) = Default::default();
            for (seq, (act, step, bits)) in (1..).zip(acts) {
                let mut counts = chain.clone();
                keep_what_counts(&mut counts);
                match act {
                    0 => {
                        let keep = kept(&counts, |it| bits >> (it.seq % 64) & 1 == 1);
                        model.retain(|it| bits >> (it.seq % 64) & 1 == 1);
                        chain.push(Stored { seq, record: restarted(&keep, 0) });
                    }
                    1 => {
                        // As the sweep does, but from where a kill left it.
                        let mut erasures = Erasures::default();
                        let keep: Vec<_> = chain.iter().rev().map(|it| erasures.judge(it)).collect();
                        let stop = (bits % 8) as usize;
                        let mut at = chain.len();
                        let mut left = 0;
                        chain.retain(|_| {
                            left += 1;
                            at = keep.len() - left;
                            keep[at] != Fate::Gone || at >= stop
                        });
                    }
                    _ => {
                        let one = record(seq, step, (bits % 5) as u32, Verdict::AttemptFailed);
                        chain.push(one.clone());
                        model.push(one);
                    }
                }
                let mut counts = chain.clone();
                keep_what_counts(&mut counts);
                prop_assert_eq!(places(&counts), places(&model));
            }
        }
    }
}
