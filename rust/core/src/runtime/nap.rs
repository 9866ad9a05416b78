//! How long the writer may sleep: the one place where the two clocks meet (T2).
//!
//! Durable timers are due by the wall clock, sleeping is monotonic. The difference is derived
//! anew before every sleep and never kept; no sleep is longer than [`NAP`], so a jump of the wall
//! clock is noticed that soon. Then a timer is never early, because whether it is due is asked of
//! the wall clock; and it is at most `NAP` late, whatever the jumps. A virtual clock moves by
//! nudges only, and nothing needs to be derived again.

use std::time::Duration;

use crate::ids::Micros;
use crate::limits::NAP;

/// Returns when, on the monotonic clock, the wall time will be `at` if neither jumps.
pub(super) fn expected(at: Micros, wall: Micros, monotonic: Micros) -> Micros {
    monotonic.saturating_add(at.saturating_sub(wall).max(0))
}

/// Returns how long to sleep if the next thing to do is expected at `next`.
pub(super) fn length(monotonic: Micros, next: Option<Micros>, is_virtual: bool) -> Duration {
    if is_virtual {
        return Duration::from_secs(3_600);
    }
    let most = next.map_or(NAP, |at| at.saturating_sub(monotonic).clamp(1, NAP));
    Duration::from_micros(most.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::Timers;
    use proptest::prelude::*;

    const YEAR: Micros = 365 * 86_400_000_000;

    /// What happens to the wall clock while the writer sleeps: after how many percent of it, and
    /// how far.
    fn jumps() -> impl Strategy<Value = Vec<(i64, Micros)>> {
        let far = prop_oneof![
            Just(YEAR),
            Just(-YEAR),
            -3_600_000_000i64..3_600_000_000,
            -2_000i64..2_000,
            Just(0),
        ];
        prop::collection::vec((0i64..100, far), 0..40)
    }

    proptest! {
        /// A world of one writer and a wall clock that jumps while it sleeps. Nothing is early,
        /// and between the moment a timer is due and the one it fires lie at most one nap and the
        /// jumps that took the wall clock back before it.
        #[test]
        fn t2_a_timer_is_never_early_and_at_most_a_nap_late_whatever_the_jumps(
            dues in prop::collection::vec(0i64..7_200_000_000, 1..20),
            jumps in jumps(),
        ) {
            let (mut wall, mut monotonic) = (1_000_000_000_000_000, 0);
            let mut timers = Timers::new();
            for (number, due) in dues.iter().enumerate() {
                timers.set(wall + due, number as u64, wall + due);
            }
            let mut jumps = jumps.into_iter();
            let mut due_since: Option<Micros> = None;
            let mut rounds = 0u32;
            while !timers.is_empty() {
                while let Some((_, at)) = timers.take_due(wall) {
                    prop_assert!(at <= wall, "early");
                }
                if let Some(since) = due_since.take() {
                    prop_assert!(monotonic - since <= NAP, "{} late", monotonic - since);
                }
                let Some(next) = timers.next() else { break };
                let sleep = length(monotonic, Some(expected(next, wall, monotonic)), false);
                let sleep = sleep.as_micros() as Micros;
                prop_assert!((1..=NAP).contains(&sleep));
                let (percent, by) = jumps.next().unwrap_or((50, 0));
                let before = sleep * percent / 100;
                wall += before + by;
                let due_now = wall >= next;
                wall += sleep - before;
                if due_now && wall >= next {
                    due_since = Some(monotonic + before);
                }
                monotonic += sleep;
                // A jump back may make it far; then it is waited for, by the wall clock (T1).
                if jumps.len() == 0 && next - wall > NAP {
                    wall = next - NAP;
                }
                rounds += 1;
                prop_assert!(rounds < 10_000, "stuck");
            }
        }
    }

    #[test]
    fn without_anything_to_do_the_wall_clock_is_looked_at_again_after_a_nap() {
        assert_eq!(length(7, None, false), Duration::from_micros(NAP as u64));
        assert_eq!(length(7, Some(i64::MAX), false).as_micros(), NAP as u128);
        assert_eq!(expected(5, 9, 100), 100);
        assert_eq!(expected(i64::MAX, 9, 100), i64::MAX);
    }
}
