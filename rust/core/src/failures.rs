//! What ended with an error in the last 24 hours, by why: how often, since when, and one of them.
//!
//! Kept by the hour, so what is older falls out by itself; in memory for whoever asks, and in the
//! store, in the commit of the end, for the next engine. Names of steps and classes are the user's:
//! beyond [`KINDS`] of a workflow in an hour, a failure of yet another sort is counted without them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::ids::{InstanceNo, Micros};

/// Most sorts of failures of one workflow that are told apart in an hour.
const KINDS: usize = 1_000;
/// How long a failure is told of.
const DAY: Micros = 24 * HOUR;
pub(crate) const HOUR: Micros = 3_600 * 1_000_000;

/// What failures have in common that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Alike {
    /// In which hour they were, since 1970.
    pub(crate) hour: i64,
    /// Whose.
    pub(crate) workflow: u32,
    /// Its version.
    pub(crate) version: u32,
    /// The step that failed, if one did.
    pub(crate) step: Option<Arc<str>>,
    /// The class of the error.
    pub(crate) error: Option<Arc<str>>,
}

/// Failures of one sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lately {
    /// How many.
    pub(crate) count: u64,
    /// When the first was.
    pub(crate) since: Micros,
    /// Which that was.
    pub(crate) example: InstanceNo,
}

/// Returns the first hour that is told of: the present one and the 23 before it.
pub(crate) fn first_hour(now: Micros) -> i64 {
    (now - DAY).div_euclid(HOUR) + 1
}

/// All failures of the last day.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    all: FxHashMap<Alike, Lately>,
    news: Vec<(Alike, Lately)>,
    /// How many sorts each workflow has in which hour.
    kinds: FxHashMap<(u32, i64), usize>,
}

impl Failures {
    /// An earlier engine counted these.
    pub(crate) fn found(&mut self, alike: Alike, it: Lately) {
        *self.kinds.entry((alike.workflow, alike.hour)).or_default() += 1;
        self.news.push((alike.clone(), it));
        self.all.insert(alike, it);
    }

    /// One more; returns what it is counted with.
    pub(crate) fn add(
        &mut self,
        now: Micros,
        no: InstanceNo,
        (workflow, version): (u32, u32),
        (step, error): (Option<Box<str>>, Option<Box<str>>),
    ) -> (Alike, Lately) {
        let hour = now.div_euclid(HOUR);
        let mut alike = Alike {
            hour,
            workflow,
            version,
            step: step.map(Into::into),
            error: error.map(Into::into),
        };
        let kinds = self.kinds.entry((workflow, hour)).or_default();
        if !self.all.contains_key(&alike) {
            if *kinds >= KINDS {
                (alike.step, alike.error) = (None, None);
            }
            *kinds += 1;
            let first = first_hour(now);
            self.all.retain(|it, _| it.hour >= first);
            self.kinds.retain(|it, _| it.1 >= first);
        }
        let it = self.all.entry(alike.clone()).or_insert(Lately {
            count: 0,
            since: now,
            example: no,
        });
        it.count += 1;
        let it = *it;
        self.news.push((alike.clone(), it));
        (alike, it)
    }

    /// Forgets those of these workflows.
    pub(crate) fn forget(&mut self, workflows: &[u32]) {
        self.all.retain(|it, _| !workflows.contains(&it.workflow));
        self.news
            .retain(|(it, _)| !workflows.contains(&it.workflow));
        self.kinds.retain(|it, _| !workflows.contains(&it.0));
    }

    /// Returns those that changed since this was asked last.
    pub(crate) fn take_news(&mut self) -> Vec<(Alike, Lately)> {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: u64) -> (Option<Box<str>>, Option<Box<str>>) {
        (Some(name.to_string().into()), Some("ValueError".into()))
    }

    #[test]
    fn the_same_are_counted_together_for_a_day() {
        let mut failures = Failures::default();
        failures.add(5, 1, (0, 0), step(1));
        let (first, it) = failures.add(6, 2, (0, 0), step(1));
        assert_eq!((it.count, it.since, it.example), (2, 5, 1));
        let (next, it) = failures.add(HOUR, 3, (0, 0), step(1));
        assert_eq!((it.count, it.since, it.example), (1, HOUR, 3));
        assert!(first != next);
        assert_eq!(failures.take_news().len(), 3);
        assert!(failures.take_news().is_empty());
        failures.add(DAY + 5, 4, (0, 0), step(2));
        assert!(!failures.all.contains_key(&first) && failures.all.contains_key(&next));
    }

    #[test]
    fn beyond_a_thousand_sorts_an_hour_they_are_counted_together() {
        let mut failures = Failures::default();
        let many = KINDS as u64 + 20;
        for no in 0..many {
            failures.add(0, no, (0, 0), step(no));
        }
        assert_eq!(failures.all.len(), KINDS + 1);
        let (others, it) = failures.add(0, many, (0, 0), step(many));
        assert_eq!((others.step, others.error), (None, None));
        assert_eq!((it.count, it.example), (21, KINDS as u64));
    }
}
