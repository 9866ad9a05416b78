//! The one source of time (T3): the system's clocks, or virtual ones that move when they are told
//! to.
//!
//! There are two hands. The *wall* clock is what is durable: deadlines, and when things were
//! recorded. An administrator, a time server or a resumed machine can make it jump, either way.
//! The *monotonic* clock only goes on, and dies with the process: how long an attempt has run, how
//! long to sleep (T2). Nothing is converted from one to the other and kept, because the next jump
//! would make it wrong.
//!
//! Decisions never come here: they are handed the time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::ids::Micros;

/// Where time comes from.
#[derive(Debug)]
pub enum Clock {
    /// UTC wall clock, and the monotonic clock counted from here.
    System(Instant),
    /// Stands still until advanced.
    Virtual {
        /// The monotonic hand.
        elapsed: AtomicI64,
        /// How far the wall clock is before it: where it began, and all its jumps.
        offset: AtomicI64,
    },
}

impl Clock {
    /// Returns a virtual clock whose wall time starts at `at`, or the system's.
    #[must_use]
    pub fn new(at: Option<Micros>) -> Self {
        at.map_or_else(
            || Self::System(moment()),
            |at| Self::Virtual {
                elapsed: AtomicI64::new(0),
                offset: AtomicI64::new(at),
            },
        )
    }

    /// Returns the wall time.
    #[must_use]
    pub fn now(&self) -> Micros {
        match self {
            Self::System(_) => wall(),
            Self::Virtual { elapsed, offset } => {
                elapsed.load(Ordering::Acquire) + offset.load(Ordering::Acquire)
            }
        }
    }

    /// Returns the monotonic time; its zero means nothing.
    #[must_use]
    pub fn monotonic(&self) -> Micros {
        match self {
            Self::System(start) => micros(start.elapsed().as_micros()),
            Self::Virtual { elapsed, .. } => elapsed.load(Ordering::Acquire),
        }
    }

    /// Moves both hands of a virtual clock forward until its wall time is `to`, never back; the
    /// system's does not care.
    pub fn advance(&self, to: Micros) {
        if let Self::Virtual { elapsed, offset } = self {
            elapsed.fetch_max(to - offset.load(Ordering::Acquire), Ordering::AcqRel);
        }
    }

    /// Makes the wall time of a virtual clock jump, either way; the system's jumps by itself.
    pub fn jump(&self, by: Micros) {
        if let Self::Virtual { offset, .. } = self {
            offset.fetch_add(by, Ordering::AcqRel);
        }
    }

    /// Returns whether time stands still by itself.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        matches!(self, Self::Virtual { .. })
    }
}

/// Returns the present moment, to measure how long something takes at the edges: a nap, a read, a
/// try. Nothing is decided or recorded by it, so it need not be replaced.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn moment() -> Instant {
    Instant::now()
}

/// Returns the system's wall time.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn wall() -> Micros {
    since_1970(SystemTime::now())
}

/// Before 1970, where a machine without a clock's battery begins, it is below zero, and goes on
/// like any other time.
fn since_1970(time: SystemTime) -> Micros {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since.as_micros()),
        Err(before) => -micros(before.duration().as_micros()),
    }
}

fn micros(since: u128) -> Micros {
    i64::try_from(since).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn t2_time_before_1970_goes_on_like_any_other() {
        for (seconds, wanted) in [(0, 0), (2, -2_000_000), (1, -1_000_000)] {
            let time = UNIX_EPOCH - Duration::from_secs(seconds);
            assert_eq!(since_1970(time), wanted);
        }
        assert_eq!(since_1970(UNIX_EPOCH + Duration::from_secs(1)), 1_000_000);
    }
}
