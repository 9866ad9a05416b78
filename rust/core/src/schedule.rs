//! What is begun again and again, as something durable: which schedule, and what came of each of its
//! times.
//!
//! When it fires, and what is done then if others still run, is for whoever runs it to know: `what`
//! and `state` are opaque here. The core keeps that each change follows from the one before it
//! (`revision`), wakes whoever runs it (`next`), and commits a change with the instances it creates
//! and the rows that tell of them. So a crash leaves no time out and does none twice.

use crate::ids::Micros;

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Its number, unique in its store for ever.
    pub number: u64,
    /// In which namespace.
    pub namespace: Box<str>,
    /// The id its user knows.
    pub id: Box<str>,
    /// How often it was changed: who changes it says which state that follows from.
    pub revision: u64,
    /// When it is to be looked at next; `None`: not before it is changed.
    pub next: Option<Micros>,
    /// How far it is.
    pub state: Box<[u8]>,
    /// When what is created. `None`: as it is stored.
    pub what: Option<Box<[u8]>>,
}

/// What came of one of its times, or of several in a row that came to the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firing {
    /// Number of the schedule.
    pub schedule: u64,
    /// Its own, in order of decision.
    pub number: u64,
    /// The time.
    pub at: Micros,
    /// The last of those times, if they are several.
    pub until: Option<Micros>,
    /// When that was decided.
    pub decided_at: Micros,
    /// What came of it, in a word.
    pub outcome: Box<str>,
    /// Why, if there is a reason.
    pub why: Option<Box<str>>,
    /// Id of the instance that was created for it.
    pub id: Option<Box<str>>,
}

/// Which schedules somebody wants to see, in order of their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only in this namespace.
    pub namespace: Option<Box<str>>,
    /// Only the one with this id.
    pub id: Option<Box<str>>,
    /// Only those with higher numbers.
    pub beyond: u64,
    /// At most so many.
    pub limit: u32,
}

/// Which firings of one schedule somebody wants to see, the last decided first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FiringQuery {
    /// Of which.
    pub schedule: u64,
    /// Only those with lower numbers.
    pub beyond: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// What was found; one that cannot be read says why, with its number.
pub type Rows<T> = Vec<Result<T, (u64, String)>>;

impl Query {
    /// Returns whether one is on it, but for the limit.
    #[must_use]
    pub fn has(&self, it: &Schedule) -> bool {
        self.namespace.as_ref().is_none_or(|of| *of == it.namespace)
            && self.id.as_ref().is_none_or(|id| *id == it.id)
            && it.number > self.beyond
    }
}
