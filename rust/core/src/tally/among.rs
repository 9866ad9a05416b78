//! Which instances are counted as a reason, so that they can be listed.
//!
//! Memory knows the members of groups by number. Of those that are queued for a slot it knows only
//! what holds up whose, and of those that failed only how many: these are found by their state, and
//! judged one by one as their rows are read.

use std::sync::Arc;

use super::Tally;
use crate::codes;
use crate::failures::{first_hour, HOUR};
use crate::ids::{InstanceNo, Micros};
use crate::lifecycle::Status;
use crate::reasons::Reason;

/// A reason, as somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its code.
    pub code: Box<str>,
    /// Of one row of the reasons: the rest of what its instances have in common.
    pub alike: Option<Shared>,
}

/// State, step and class of the error.
pub type Shared = (Option<Status>, Option<Box<str>>, Option<Box<str>>);

/// How the instances are found that are counted as a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Among {
    /// These, in the order of the page.
    Members {
        /// Their numbers.
        numbers: Vec<InstanceNo>,
        /// Whether there are more beyond.
        is_cut: bool,
    },
    /// Those queued that are to start by this moment, of these namespaces and workflows.
    Queued(Vec<(Arc<str>, Arc<str>)>, Micros),
    /// Those queued that are not to start before a moment beyond this one.
    Later(Micros),
    /// Those that errored since this moment, at this step with this class of error.
    Errored(Micros, Option<Shared>),
}

impl Among {
    /// Returns the state in which all are that have to be judged.
    #[must_use]
    pub fn state(&self) -> Option<Status> {
        match self {
            Self::Members { .. } => None,
            Self::Queued(..) | Self::Later(_) => Some(Status::Queued),
            Self::Errored(..) => Some(Status::Errored),
        }
    }
}

/// Whose instances are asked for, and beyond which.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Of which namespace; none: of any.
    pub namespace: Option<&'a str>,
    /// Of which workflow.
    pub workflow: Option<&'a str>,
    /// Of which version.
    pub version: Option<&'a str>,
    /// In which of these states; empty: in any.
    pub statuses: &'a [Status],
    /// Beyond which, in the order of the listing.
    pub beyond: Option<InstanceNo>,
    /// Whether that has the highest numbers first.
    pub newest_first: bool,
    /// Most that are told.
    pub most: usize,
    /// What time it is.
    pub now: Micros,
}

impl Tally {
    /// Says how the instances are found that are counted as a reason. `limit` as for
    /// [`Tally::reasons`].
    #[must_use]
    pub fn among(
        &self,
        wanted: &Wanted,
        asked: &Asked<'_>,
        limit: impl Fn([u64; 3], &str, &str) -> &'static str,
    ) -> Among {
        match &*wanted.code {
            codes::ENDED_IN_ERROR => {
                Among::Errored(first_hour(asked.now) * HOUR, wanted.alike.clone())
            }
            codes::START_AT => Among::Later(asked.now),
            codes::QUEUED
            | codes::STARTING
            | codes::SLOTS
            | codes::NAMESPACE_CONCURRENCY
            | codes::CONCURRENCY => Among::Queued(self.held_up(&wanted.code, limit), asked.now),
            _ => self.members(wanted, asked),
        }
    }

    /// Returns the workflows whose queues are held up by this.
    fn held_up(
        &self,
        code: &str,
        limit: impl Fn([u64; 3], &str, &str) -> &'static str,
    ) -> Vec<(Arc<str>, Arc<str>)> {
        let inner = self.0.lock();
        let held = inner.workflows.iter().filter(|it| {
            it.figures.of(Status::Queued) > 0
                && (code == codes::QUEUED || limit(inner.used(it), &it.namespace, &it.name) == code)
        });
        held.map(|it| (Arc::clone(&it.namespace), Arc::clone(&it.name)))
            .collect()
    }

    fn members(&self, wanted: &Wanted, asked: &Asked<'_>) -> Among {
        let inner = self.0.lock();
        let is_late = &*wanted.code == codes::OVERDUE;
        let is_version = |workflow: u32, number: u32| {
            asked.version.is_none_or(|wanted| {
                let version = inner.workflows[workflow as usize].version(number);
                version.is_some_and(|it| *it == *wanted)
            })
        };
        let is_asked = |workflow: u32, reason: Option<&Reason>| {
            let whose = (asked.namespace, asked.workflow);
            if !inner.is_asked(workflow, whose) {
                return false;
            }
            let Some(it) = reason else {
                return &*wanted.code == codes::OTHER;
            };
            (asked.statuses.is_empty() || asked.statuses.contains(&it.status))
                && is_version(workflow, it.version)
                && (is_late || *it.code == *wanted.code)
                && wanted.alike.as_ref().is_none_or(|alike| {
                    alike.0 == Some(it.status)
                        && alike.1.as_deref() == it.step.as_deref()
                        && alike.2.as_deref() == it.error.as_deref()
                })
        };
        let page = (asked.beyond, asked.newest_first);
        let it = inner
            .groups
            .members(asked.now, is_late, is_asked, page, asked.most);
        Among::Members {
            numbers: it.numbers,
            is_cut: it.is_cut,
        }
    }
}
