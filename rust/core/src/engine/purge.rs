//! Retention: what has ended goes when its time is over, a few instances a commit (L9).
//!
//! The store knows when each has ended; memory knows, of each workflow, no more than when to ask it
//! next. That is never too late: whoever ends makes it as early as it may have to be, and each
//! answer says when the next one is due. What goes is decided as a deletion is, so whatever else
//! concerns an instance in the same batch wins.
//!
//! Invariant: of a workflow without code nothing goes by what that workflow or the engine says:
//! nobody knows what its code would say.

use rustc_hash::FxHashMap;

use super::{Core, Facts};
use crate::ids::{Key, Micros};
use crate::lifecycle::Status;
use crate::limits::{PURGED, PURGE_AGAIN, PURGE_NOTICE};
use crate::retention::{Keep, Retention};
use crate::store::known::Needs;
use crate::store::{Error, Expiry, Op};
use crate::timer::Timers;

/// Setting: since when retention holds in this store.
const SINCE: &str = "retention/since";
/// Setting: the shortest time for which an instance was created to be kept.
const LEAST: &str = "retention/least";

/// What is to be purged, and when.
#[derive(Debug, Default)]
pub(super) struct Purges {
    /// By name of the workflow.
    code: FxHashMap<Box<str>, Retention>,
    /// The shortest time that any instance has of its own.
    least: Option<Micros>,
    /// Workflows of which something may be over then.
    due: Timers<()>,
    /// The same by workflow.
    at: FxHashMap<u32, Micros>,
    /// How many of a workflow were passed over when it was looked at last.
    spared: FxHashMap<u32, u32>,
    /// Nothing goes before this.
    from: Micros,
    /// How many go then, which are more than none.
    overdue: Option<u64>,
    /// Of which workflow the store was asked, for how many.
    asked: Option<(u32, u32)>,
}

impl Purges {
    pub(super) fn new(code: &[(Box<str>, Retention)]) -> Self {
        Self {
            code: code.iter().cloned().collect(),
            from: Micros::MIN,
            ..Self::default()
        }
    }

    /// Returns when something is to be looked at.
    pub(super) fn next(&self) -> Option<Micros> {
        self.due.next().map(|it| it.max(self.from))
    }

    /// This workflow is to be looked at then, if not before.
    fn look(&mut self, workflow: u32, at: Micros) {
        let before = self.at.get(&workflow).copied();
        if before.is_some_and(|it| it <= at) {
            return;
        }
        if let Some(before) = before {
            self.due.cancel(before, workflow.into());
        }
        self.at.insert(workflow, at);
        self.due.set(at, workflow.into(), ());
    }
}

impl Core {
    fn retention_of(&self, workflow: u32) -> Retention {
        let name = &self.names[workflow as usize].1;
        self.purges.code.get(name).copied().unwrap_or_default()
    }

    /// How many more of a workflow have ended than are kept.
    fn surplus(&self, workflow: u32) -> u64 {
        let most = self.retention_of(workflow).count;
        most.map_or(0, |it| self.counts.ended(workflow).saturating_sub(it))
    }

    fn expiry(&self, workflow: u32, most: u32) -> Expiry {
        let (namespace, name) = self.names[workflow as usize].clone();
        Expiry {
            namespace,
            workflow: name,
            now: self.now,
            keep: self.retention_of(workflow).keep,
            surplus: self.surplus(workflow),
            most,
        }
    }

    /// Takes over what earlier engines left to purge. Where none ever had a retention, nothing that
    /// is there goes at once.
    pub(super) fn load_retention(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let number = |it: Option<Box<[u8]>>| {
            it.and_then(|it| Some(Micros::from_le_bytes((*it).try_into().ok()?)))
        };
        self.purges.least = number(facts.store.meta(LEAST)?);
        let workflows: Vec<u32> = (0..self.names.len() as u32).collect();
        let is_said = |it: &Retention| *it != Retention::default();
        if self.purges.code.values().any(is_said) {
            if let Some(from) = number(facts.store.meta(SINCE)?) {
                self.purges.from = from;
            } else {
                let mut overdue = 0;
                for workflow in &workflows {
                    let expiry = self.expiry(*workflow, u32::MAX);
                    overdue += facts.store.overdue(&expiry)?;
                }
                self.purges.from = self.now;
                if overdue > 0 {
                    self.purges.from += PURGE_NOTICE;
                    self.purges.overdue = Some(overdue);
                }
                let from = self.purges.from.to_le_bytes();
                self.push(Op::Meta(SINCE.into(), from.into()));
            }
        }
        for workflow in workflows {
            if self.purges.least.is_some() || is_said(&self.retention_of(workflow)) {
                self.purges.look(workflow, self.now);
            }
        }
        Ok(())
    }

    /// Returns how many instances go when the first retention of this store begins to hold, if
    /// there are any, and when that is.
    pub fn take_overdue(&mut self) -> Option<(u64, Micros)> {
        let overdue = self.purges.overdue.take()?;
        Some((overdue, self.purges.from))
    }

    /// An instance is created that is kept as long as this.
    pub(super) fn keeps(&mut self, keep: Option<Keep>) {
        let Some(least) = keep.and_then(Keep::least) else {
            return;
        };
        if self.purges.least.is_none_or(|it| least < it) {
            self.purges.least = Some(least);
            self.push(Op::Meta(LEAST.into(), least.to_le_bytes().into()));
        }
    }

    /// An instance of this workflow has ended.
    pub(super) fn keep_ended_for(&mut self, workflow: u32, end: Status) {
        let keep = self.retention_of(workflow).keep.of(end);
        if let Some(keep) = keep.into_iter().chain(self.purges.least).min() {
            self.purges.look(workflow, self.now.saturating_add(keep));
        }
        if self.surplus(workflow) > 0 {
            self.purges.look(workflow, self.now);
        }
    }

    /// Says what of one workflow is to be found in the store.
    pub(super) fn needs_to_purge(&mut self, needs: &mut Needs) {
        if self.reads_letters() || self.purges.next().is_none_or(|it| it > self.now) {
            return;
        }
        let (workflow, ()) = self.purges.due.take_due(self.now).expect("it is due");
        let workflow = workflow as u32;
        self.purges.at.remove(&workflow);
        let spared = self.purges.spared.get(&workflow).copied();
        let most = PURGED + spared.unwrap_or_default();
        self.purges.asked = Some((workflow, most));
        needs.expired = Some(self.expiry(workflow, most));
    }

    /// Deletes what was found.
    pub(super) fn purge(&mut self) {
        let Some((workflow, most)) = self.purges.asked.take() else {
            return;
        };
        let found = self.batch.known.take_expired();
        let (all, mut spared) = (found.rows.len() as u32, 0);
        for row in found.rows {
            let goes = match row {
                // What a parent has not been told of is a part of it, until it goes on.
                Some(row) => {
                    let parent = row.parent.filter(|_| row.called);
                    let parent = parent.and_then(|it| self.live.get(&it));
                    let is_mine = Key::new(&row.namespace, &row.workflow, &row.id).range();
                    let is_mine = self.domain.has(is_mine);
                    is_mine && parent.is_none_or(|it| !it.is_inert()) && self.delete_row(&row)
                }
                // One that cannot be read is told whoever looks at it, and stays.
                None => false,
            };
            spared += u32::from(!goes);
        }
        self.purges.spared.insert(workflow, spared);
        if all == most {
            self.purges.look(workflow, self.now);
        } else if spared > 0 {
            self.purges.look(workflow, self.now + PURGE_AGAIN);
        }
        if let Some(next) = found.next {
            self.purges.look(workflow, next);
        }
    }
}
