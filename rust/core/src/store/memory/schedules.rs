//! Schedules and their firings in memory.

use std::collections::BTreeMap;

use crate::schedule::{Firing, FiringQuery, Query, Rows, Schedule};
use crate::store::Op;
use crate::store::Outcome;

/// All there are, by number, and the firings of each by theirs.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    all: BTreeMap<u64, Schedule>,
    firings: BTreeMap<(u64, u64), Firing>,
}

impl Schedules {
    pub(super) fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Schedule(it) => self.keep(it),
            Op::Firing(it) => {
                let number = (it.schedule, it.number);
                self.firings.insert(number, (**it).clone());
            }
            Op::ForgetFirings(schedule, kept) => {
                let of = self.firings.range((*schedule, 0)..=(*schedule, u64::MAX));
                let old = of.rev().skip(*kept as usize).map(|it| *it.0);
                let old: Vec<_> = old.collect();
                for number in &old {
                    self.firings.remove(number);
                }
                return Outcome::Done(old.len() as u64);
            }
            Op::Unschedule(number) => {
                self.all.remove(number);
                self.firings.retain(|of, _| of.0 != *number);
            }
            other => unreachable!("it is about no schedule: {other:?}"),
        }
        Outcome::Done(0)
    }

    fn keep(&mut self, it: &Schedule) {
        let mut new = it.clone();
        if new.what.is_none() {
            let Some(known) = self.all.get_mut(&it.number) else {
                return; // it goes on with one that is not there
            };
            new.what = known.what.take();
        }
        self.all.insert(it.number, new);
    }

    pub(super) fn page(&self, page: &Query) -> Rows<Schedule> {
        let all = self.all.values().filter(|it| page.has(it));
        all.take(page.limit as usize).cloned().map(Ok).collect()
    }

    pub(super) fn firings(&self, page: &FiringQuery) -> Rows<Firing> {
        let end = page.beyond.unwrap_or(u64::MAX);
        let of = self.firings.range((page.schedule, 0)..(page.schedule, end));
        let last_first = of.rev().take(page.limit as usize);
        last_first.map(|it| Ok(it.1.clone())).collect()
    }
}
