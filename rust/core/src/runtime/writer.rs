//! The writer: the one thread that decides and commits.
//!
//! It takes whatever was submitted, decides until a batch is full or there is nothing more,
//! commits it, applies it, tells. It never lingers for more: while one commit syncs, the next
//! batch gathers by itself. After a failed commit it does nothing any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::Phase;
use super::loader::Task;
use super::{guarded, nap, Shared};
use crate::engine::{Core, Facts};
use crate::limits::{BATCH_BYTES, BATCH_OPS};
use crate::store::Error;

pub(super) struct Writer {
    pub(super) core: Core,
    pub(super) facts: Facts,
    pub(super) pending: VecDeque<crate::submission::Submission>,
}

/// Runs until the engine ends.
pub(super) fn run(shared: &Arc<Shared>, mut writer: Writer) {
    guarded(shared, move || {
        let ended = writer.work(shared);
        let closed = match ended {
            Ok(true) => {
                drop(writer.facts.reader);
                writer.facts.store.close()
            }
            other => other.map(|_| ()),
        };
        if let Err(error) = closed {
            shared.poison(&error.into());
        }
    });
}

impl Writer {
    /// Returns true if it ended cleanly, false after a crash or poison.
    fn work(&mut self, shared: &Shared) -> Result<bool, Error> {
        loop {
            let nap = self.nap(shared);
            let phase = shared
                .inbox
                .take(&mut self.pending, nap, || shared.say_idle());
            if phase == Phase::Dead {
                return Ok(false);
            }
            self.batch(shared)?;
            let drained = self.pending.is_empty() && shared.inbox.depth() == 0;
            if phase == Phase::Closing && drained {
                self.core.begin(shared.clock.now());
                self.core.clear_marks();
                self.commit(shared)?;
                return Ok(true);
            }
        }
    }

    /// Returns how long there is nothing to do, unless something is submitted.
    fn nap(&mut self, shared: &Shared) -> Option<Duration> {
        let (wall, monotonic) = (shared.clock.now(), shared.clock.monotonic());
        let durable = self.core.next_timer();
        let durable = durable.map(|at| nap::expected(at, wall, monotonic));
        let mut notes = Vec::new();
        let next = shared.alarms.take_due(monotonic, durable, &mut notes);
        shared.outbox.put(notes, None);
        shared.set_next_timer(self.core.next_timer());
        if !self.pending.is_empty() || self.core.has_work(wall) {
            return None;
        }
        Some(nap::length(monotonic, next, shared.clock.is_virtual()))
    }

    fn batch(&mut self, shared: &Shared) -> Result<(), Error> {
        self.core.begin(shared.clock.now());
        while let Some(submission) = self.pending.pop_front() {
            if let Some(later) = self.core.decide(submission, &mut self.facts)? {
                self.pending.push_front(later);
                break;
            }
            let (ops, bytes) = self.core.batch_size();
            if ops >= BATCH_OPS || bytes >= BATCH_BYTES {
                break;
            }
        }
        self.core.finish_batch(&mut self.facts)?;
        self.commit(shared)?;
        for hopeful in self.core.take_hopeful() {
            self.pending.push_back(hopeful);
        }
        self.facts.store.maintain()
    }

    pub(super) fn commit(&mut self, shared: &Shared) -> Result<(), Error> {
        let ops = self.core.ops();
        let mut outcomes = Vec::new();
        if !ops.is_empty() {
            let began = Instant::now();
            outcomes = self.facts.store.commit(ops)?;
            shared.meter.committed(ops, began.elapsed());
        }
        // After a simulated crash nothing is acknowledged, though this commit stands.
        if shared.inbox.phase() == Phase::Dead {
            return Ok(());
        }
        let number = self.core.batch_number();
        let applied = self.core.apply(&outcomes, &mut self.facts)?;
        shared.meter.counted(self.core.counts());
        shared.set_next_timer(self.core.next_timer());
        for _ in &applied.jobs {
            shared.inbox.job_begun();
        }
        shared.outbox.put(applied.notes, Some(number));
        if !applied.jobs.is_empty() {
            shared.tasks.push(applied.jobs.into_iter().map(Task::Job));
        }
        Ok(())
    }
}
