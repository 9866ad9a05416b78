//! The one source of time (T3): the system's clock, or a virtual one that moves when it is told to.
//!
//! Decisions never come here: they are handed the time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::ids::Micros;

/// Where time comes from.
#[derive(Debug)]
pub enum Clock {
    /// UTC wall clock.
    System,
    /// Stands still until advanced.
    Virtual(AtomicI64),
}

impl Clock {
    /// Returns a virtual clock that starts at `at`, or the system's.
    #[must_use]
    pub fn new(at: Option<Micros>) -> Self {
        at.map_or(Self::System, |at| Self::Virtual(AtomicI64::new(at)))
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Micros {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
                }),
            Self::Virtual(at) => at.load(Ordering::Acquire),
        }
    }

    /// Moves a virtual clock forward, never back; the system's does not care.
    pub fn advance(&self, to: Micros) {
        if let Self::Virtual(at) = self {
            at.fetch_max(to, Ordering::AcqRel);
        }
    }

    /// Returns whether time stands still by itself.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        matches!(self, Self::Virtual(_))
    }
}
