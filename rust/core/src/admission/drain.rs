//! How fast a queue drains, for the estimate that callers of a full one are told.
//!
//! An exponentially weighted rate over the last ten seconds or so, corrected for how short it has
//! been watched. It is an estimate and nobody is promised anything: bounds keep a queue that stood
//! still, or one that emptied in a blink, from telling nonsense. It reads no clock; time that goes
//! back counts as none.

use std::time::Duration;

use crate::ids::Micros;
use crate::limits::{QUEUE_RETRY, QUEUE_RETRY_MAX, QUEUE_RETRY_MIN};

/// Seconds after which what happened weighs a third.
const MEMORY: f64 = 10.0;

/// The rate at which entries leave one queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drain {
    per_second: f64,
    since: Option<Micros>,
    at: Micros,
}

impl Drain {
    /// Counts one that left.
    pub(super) fn left(&mut self, now: Micros) {
        let since = *self.since.get_or_insert(now);
        let elapsed = if since == now {
            0.0
        } else {
            seconds(now - self.at)
        };
        self.per_second = self.per_second * (-elapsed / MEMORY).exp() + 1.0 / MEMORY;
        self.at = now;
    }

    /// Returns in how many microseconds so many more will have left.
    pub(super) fn estimate(&self, missing: u32, now: Micros) -> Micros {
        let Some(since) = self.since else {
            return QUEUE_RETRY;
        };
        let faded = self.per_second * (-seconds(now - self.at) / MEMORY).exp();
        // Watched for a second, even a steady stream has filled a tenth of the memory only.
        let watched = 1.0 - (-seconds(now - since).max(0.1) / MEMORY).exp();
        let wait = f64::from(missing) / (faded / watched) * 1e6;
        (wait as Micros).clamp(QUEUE_RETRY_MIN, QUEUE_RETRY_MAX)
    }
}

fn seconds(elapsed: Micros) -> f64 {
    Duration::from_micros(elapsed.max(0).unsigned_abs()).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_queue_that_never_drained_is_guessed_and_one_that_stopped_takes_long() {
        let mut drain = Drain::default();
        assert_eq!(drain.estimate(1, 0), QUEUE_RETRY);
        drain.left(0);
        assert_eq!(drain.estimate(1_000, 3_600_000_000), QUEUE_RETRY_MAX);
        assert_eq!(drain.estimate(0, 0), QUEUE_RETRY_MIN);
    }

    proptest! {
        #[test]
        fn a_steady_stream_is_told_within_a_fifth(
            per_second in 1u32..5_000, watched in 2i64..60, missing in 1u32..100_000,
        ) {
            let mut drain = Drain::default();
            let pause = 1_000_000 / i64::from(per_second);
            let mut now = 0;
            while now < watched * 1_000_000 {
                drain.left(now);
                now += pause;
            }
            let told = drain.estimate(missing, now);
            let true_wait = i64::from(missing) * pause;
            let near = true_wait * 4 / 5..=true_wait * 6 / 5;
            let clamped = true_wait.clamp(QUEUE_RETRY_MIN, QUEUE_RETRY_MAX);
            let few = i64::from(per_second) * watched < 10;
            prop_assert!(few || near.contains(&told) || told == clamped, "{told} {true_wait}");
        }

        #[test]
        fn it_stays_within_its_bounds_whatever_the_clock_does(
            jumps in prop::collection::vec((-86_400_000_000i64..86_400_000_000, any::<u32>()), 1..50)
        ) {
            let mut drain = Drain::default();
            let mut now = 0;
            for (by, missing) in jumps {
                now += by;
                drain.left(now);
                let told = drain.estimate(missing, now);
                prop_assert!((QUEUE_RETRY_MIN..=QUEUE_RETRY_MAX).contains(&told), "{told}");
            }
        }
    }
}
