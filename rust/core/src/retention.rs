//! How long instances are kept after their end.
//!
//! Times count from the end, whatever was said when it came: what today's code says holds for all
//! that is stored. It knows neither clocks nor stores.

use crate::ids::Micros;
use crate::lifecycle::Status;

/// How long an instance is kept after its end; `None`: until it is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// One that is complete.
    pub success: Option<Micros>,
    /// One that is errored or terminated.
    pub error: Option<Micros>,
}

impl Keep {
    /// Returns how long one is kept that ended so.
    #[must_use]
    pub fn of(self, end: Status) -> Option<Micros> {
        match end {
            Status::Complete => self.success,
            _ => self.error,
        }
    }

    /// Returns the shorter time.
    #[must_use]
    pub fn least(self) -> Option<Micros> {
        self.success.into_iter().chain(self.error).min()
    }
}

/// How long the instances of a workflow are kept that were created without a word about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// For how long.
    pub keep: Keep,
    /// Most that are kept, of all that have ended; `None`: any number.
    pub count: Option<u64>,
}
