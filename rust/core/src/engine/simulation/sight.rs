//! What the oracle may see of the engine itself: its figures, and what a look-up finds.
//!
//! The only file of the simulation that knows the engine's insides. Whoever changes them changes
//! this file, and no rule.

use std::collections::BTreeMap;

use super::program::{namespace, workflow, Account, NAMESPACES, WORKFLOWS};
use crate::codes;
use crate::engine::{Core, Due};
use crate::history::Stored;
use crate::ids::{InstanceNo, Key, Micros, WaitId};
use crate::lifecycle::Status;
use crate::registry::Registry;
use crate::settings::Limit;
use crate::store::{Answered, Filter, Reader, Row};
use crate::tally::States;

/// What instances have in common that are where they are for the same reason: version, state, code,
/// step.
pub(super) type Reason = (Box<str>, Status, Box<str>, Option<Box<str>>);

/// A look at the engine.
pub(super) struct Sight<'a> {
    pub(super) core: &'a Core,
    pub(super) registry: &'a Registry,
    pub(super) reader: &'a mut dyn Reader,
    pub(super) seed: u64,
}

impl Sight<'_> {
    /// Returns the engine's number of a workflow, if it has named it yet.
    fn workflow(&self, account: Account) -> Option<u32> {
        let of = self.core.workflows.get(NAMESPACES[namespace(account)])?;
        of.get(WORKFLOWS[workflow(account)]).copied()
    }

    /// Returns what came of an event that wants an answer.
    pub(super) fn asked(&mut self, no: InstanceNo, dedup: &str) -> Answered {
        self.reader.asked(no, dedup).expect("memory is read")
    }

    pub(super) fn leased(&self) -> u32 {
        self.core.gate.leased()
    }

    pub(super) fn free(&self, account: Account) -> Option<u32> {
        Some(self.core.gate.free(self.workflow(account)?))
    }

    /// Returns what is in force for a workflow: slots, queue entries, recoveries.
    pub(super) fn limits(&self, account: Account) -> (u32, u32, u32) {
        let book = self.core.limits_in_force();
        let names = (NAMESPACES[namespace(account)], WORKFLOWS[workflow(account)]);
        let layers = book.read().layers(names.0, Some(names.1));
        let of = |limit| layers.in_force(limit).expect("it has a default") as u32;
        (
            of(Limit::Concurrency),
            of(Limit::QueueEntries),
            of(Limit::Recoveries),
        )
    }

    pub(super) fn queued_and_waiting(&self) -> (usize, u64) {
        let [_, _, queued, waiting] = self.core.counts();
        (queued as usize, waiting)
    }

    /// Returns how many instances are in each state that any is in.
    pub(super) fn counts(&self, account: Account) -> Vec<(Status, u64)> {
        let names = (NAMESPACES[namespace(account)], WORKFLOWS[workflow(account)]);
        self.core.tally().counts(Some(names.0), Some(names.1))
    }

    /// Returns how many instances of each version are in each state.
    pub(super) fn versions(&self, account: Account) -> BTreeMap<Box<str>, States> {
        let names = (NAMESPACES[namespace(account)], WORKFLOWS[workflow(account)]);
        let versions = self.core.tally().versions(Some(names.0), Some(names.1));
        let versions = versions.into_iter();
        versions
            .map(|(_, name, it)| ((&*name).into(), it))
            .collect()
    }

    /// Returns why instances are where they are: how many, and when the first goes on by itself.
    /// Those that are queued for a slot are told as such, whatever limit it is.
    pub(super) fn reasons(
        &self,
        account: Account,
        now: Micros,
    ) -> BTreeMap<Reason, (u64, Option<Micros>)> {
        let names = (NAMESPACES[namespace(account)], WORKFLOWS[workflow(account)]);
        let asked = (Some(names.0), Some(names.1));
        let told = self
            .core
            .tally()
            .reasons(asked, now, |_, _, _| codes::QUEUED);
        let mut found = BTreeMap::new();
        for it in told {
            let version = it.version.as_deref().unwrap_or_default().into();
            let status = it.status.expect("there are not so many");
            // Classes of errors are told apart, too.
            let reason = (
                version,
                status,
                (&*it.code).into(),
                it.step.as_deref().map(Into::into),
            );
            let group: &mut (u64, Option<Micros>) = found.entry(reason).or_default();
            group.0 += it.count;
            group.1 = group.1.into_iter().chain(it.next).min();
        }
        found
    }

    pub(super) fn held_back(&self) -> usize {
        self.core.suspects.held()
    }

    pub(super) fn admitted(&self, account: Account) -> u32 {
        let workflow = self.workflow(account);
        workflow.map_or(0, |it| self.core.admission.queued(it))
    }

    /// What has ended goes some at a time, and waits for its turn.
    pub(super) fn next_timer(&self) -> Option<Micros> {
        self.core.timers.next()
    }

    /// Returns how many timers of waits and of `start_at` are set.
    pub(super) fn timers(&self) -> usize {
        let timers = self.core.timers.iter();
        let own = |it: &&Due| matches!(it, Due::Wait(_) | Due::StartAt(..));
        timers.filter(own).count()
    }

    /// Returns how long a workflow's queue is, and who is first in it.
    pub(super) fn demand(&self, account: Account) -> Option<(usize, InstanceNo)> {
        let demand = self.core.queues.demand(self.workflow(account)?);
        demand.map(|(count, _, (_, entry))| (count, entry.no))
    }

    /// Returns a workflow's queue in order, each entry with its shard.
    pub(super) fn queue(&self, account: Account) -> Vec<(u32, InstanceNo)> {
        let Some(workflow) = self.workflow(account) else {
            return Vec::new();
        };
        let mut entries: Vec<_> = self.core.queues.entries(workflow).collect();
        entries.sort_unstable_by_key(|(_, rank, entry)| (*rank, entry.no));
        let entries = entries.iter();
        entries
            .map(|(shard, _, entry)| (*shard, entry.no))
            .collect()
    }

    pub(super) fn peek(&self, key: Key) -> Option<Status> {
        self.registry.peek(key)
    }

    pub(super) fn known(&self) -> usize {
        self.registry.len()
    }

    pub(super) fn rows(&mut self) -> Vec<Row> {
        let filter = Filter {
            limit: u32::MAX,
            ..Filter::default()
        };
        self.reader.list(&filter).expect("memory is read")
    }

    pub(super) fn history(&mut self, no: InstanceNo) -> (Vec<Stored>, Vec<WaitId>) {
        let history = self.reader.history(no).expect("memory is read");
        let waits = self.reader.waits(no).expect("memory is read");
        (history, waits.iter().map(|it| it.id).collect())
    }

    /// Says what the engine still keeps of instances, when none is left.
    pub(super) fn left(&self) -> String {
        let core = self.core;
        let left = [
            ("live", core.live.len()),
            ("queues", core.queues.len()),
            ("timers", self.timers()),
            ("parents", core.parents.len()),
            ("asked", core.asked.len()),
            ("held", core.held.len()),
            ("suspects", core.suspects.held()),
            ("rooms", core.rooms.len()),
            ("registry", self.registry.len()),
            ("slots", core.gate.leased() as usize),
        ];
        let left = left.iter().filter(|it| it.1 > 0);
        let left: Vec<_> = left
            .map(|(what, count)| format!("{count} in {what}"))
            .collect();
        left.join(", ")
    }
}
