//! How often something happened within the last minutes.
//!
//! A window that slides by slices: what happened in each of them is one number, so however much
//! happens this stays as small as it is. It knows no clock; a clock that goes back adds to the slice
//! that was the last.

use crate::ids::Micros;

/// How long a slice is.
const SLICE: Micros = 10_000_000;
/// How many of them there are, with the one that has begun: five minutes.
const SLICES: usize = 30;

/// Counts what happens.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    /// Which slice is the last, counted from the beginning of time.
    last: i64,
    /// By number of the slice, going round.
    counts: [u32; SLICES],
}

fn place(slice: i64) -> usize {
    slice.rem_euclid(SLICES as i64) as usize
}

impl Pace {
    /// It happens so many times.
    pub(crate) fn add(&mut self, now: Micros, times: u64) {
        if times == 0 {
            return;
        }
        self.slide(now);
        let count = &mut self.counts[place(self.last)];
        *count = count.saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
    }

    /// Returns how often it happened within the window, and how long that is, up to now.
    pub(crate) fn lately(mut self, now: Micros) -> (u64, Micros) {
        self.slide(now);
        let first = (self.last - (SLICES as i64 - 1)) * SLICE;
        let count = self.counts.iter().map(|it| u64::from(*it)).sum();
        (count, now.max(self.last * SLICE).saturating_sub(first))
    }

    /// What is older than the window is forgotten.
    fn slide(&mut self, now: Micros) {
        let next = now.div_euclid(SLICE);
        let passed = (next - self.last).clamp(0, SLICES as i64);
        for slice in (next - passed + 1)..=next {
            self.counts[place(slice)] = 0;
        }
        self.last = self.last.max(next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn what_is_older_than_five_minutes_counts_no_more() {
        let mut pace = Pace::default();
        pace.add(1_000 * SECOND, 3);
        pace.add(1_100 * SECOND, 2);
        assert_eq!(pace.lately(1_105 * SECOND), (5, 295 * SECOND));
        assert_eq!(pace.lately(1_299 * SECOND).0, 5);
        assert_eq!(pace.lately(1_300 * SECOND).0, 2);
        assert_eq!(pace.lately(1_400 * SECOND), (0, 290 * SECOND));
        assert_eq!(pace.lately(1_000_000 * SECOND).0, 0);
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing_and_counts_once() {
        let mut pace = Pace::default();
        pace.add(1_000 * SECOND, 1);
        pace.add(400 * SECOND, 1);
        assert_eq!(pace.lately(400 * SECOND), (2, 290 * SECOND));
        assert_eq!(pace.lately(1_000 * SECOND).0, 2);
    }

    proptest! {
        #[test]
        fn it_counts_what_a_list_of_all_counts(
            steps in proptest::collection::vec((0..40 * SECOND, 0..5u64), 1..80),
        ) {
            let (mut pace, mut all, mut now) = (Pace::default(), Vec::new(), 0);
            for (passed, times) in steps {
                now += passed;
                pace.add(now, times);
                all.push((now, times));
                let (count, span) = pace.lately(now);
                let within = all.iter().filter(|it| it.0 >= now - span);
                prop_assert_eq!(count, within.map(|it| it.1).sum::<u64>());
                prop_assert!((290 * SECOND..300 * SECOND).contains(&span));
            }
        }
    }
}
