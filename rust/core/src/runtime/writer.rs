//! The writer: the one thread that decides and commits.
//!
//! It takes whatever was submitted, decides until a batch is full or there is nothing more, commits
//! it, applies it, tells. It never lingers for more: while one commit syncs, the next batch gathers
//! by itself. What it does while the disk is full or the store locked is in `outlast`; after any
//! other failed commit it does nothing any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::inbox::Phase;
use super::loader::Task;
use super::outlast::Patience;
use super::{guarded, nap, Shared};
use crate::clock::moment;
use crate::engine::{Core, Facts};
use crate::lanes::Lanes;
use crate::limits::{BATCH_BYTES, BATCH_OPS, DISK_RETRY, TIDYING};
use crate::store::{Error, Outcome};
use crate::submission::Submission;

/// The store is asked for at least so many of what is pending.
const AHEAD: usize = 64;

pub(super) struct Writer {
    pub(super) core: Core,
    pub(super) facts: Facts,
    pub(super) pending: Lanes,
    /// What was taken from the inbox, on its way to what is pending.
    pub(super) news: VecDeque<Submission>,
    /// For how many of either lane, bodies' and others', the store is asked before a batch.
    pub(super) ahead: [usize; 2],
    /// Why nothing new is admitted, as it was told.
    pub(super) short: Option<String>,
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

/// Returns for how many of a lane the store is asked before the next batch: all that it may decide,
/// or little more than the last one decided if that was full, so that little is asked in vain.
fn look_ahead(decided: usize, ahead: usize, was_full: bool) -> usize {
    if was_full && decided < ahead {
        (decided + decided / 16).clamp(AHEAD, BATCH_OPS)
    } else {
        BATCH_OPS
    }
}

impl Writer {
    /// Returns true if it ended cleanly, false after a crash or poison.
    fn work(&mut self, shared: &Shared) -> Result<bool, Error> {
        loop {
            let nap = self.nap(shared);
            let rest = || shared.say_idle();
            let phase = shared.inbox.take(&mut self.news, nap, rest);
            self.pending.extend(&mut self.news);
            if phase == Phase::Dead {
                return Ok(false);
            }
            if !self.batch(shared)? {
                return Ok(false);
            }
            let drained = self.pending.is_empty() && shared.inbox.depth() == 0;
            if phase == Phase::Closing && drained {
                self.core.begin(shared.clock.now());
                self.core.clear_marks();
                return self.commit_patiently(shared);
            }
        }
    }

    /// Returns how long there is nothing to do, unless something is submitted.
    fn nap(&mut self, shared: &Shared) -> Option<Duration> {
        let next = self.ring(shared);
        if !self.pending.is_empty() || self.core.has_work(shared.clock.now()) {
            return None;
        }
        if self.short.is_some() {
            // Room on the disk comes without a nudge.
            return Some(Duration::from_micros(DISK_RETRY as u64));
        }
        if self.facts.store.is_behind() {
            return Some(TIDYING);
        }
        let monotonic = shared.clock.monotonic();
        Some(nap::length(monotonic, next, shared.clock.is_virtual()))
    }

    /// Tells of the alarms that are due. Returns when the next timer of any sort is to be expected,
    /// by the monotonic clock.
    pub(super) fn ring(&self, shared: &Shared) -> Option<i64> {
        let (wall, monotonic) = (shared.clock.now(), shared.clock.monotonic());
        let mut notes = Vec::new();
        let durable = self.core.next_timer();
        let expected = durable.map(|at| nap::expected(at, wall, monotonic));
        let next = shared.alarms.take_due(monotonic, expected, &mut notes);
        shared.outbox.put(notes, None);
        shared.set_next_timer(durable);
        next
    }

    /// Returns false if the engine was crashed meanwhile.
    fn batch(&mut self, shared: &Shared) -> Result<bool, Error> {
        self.core.begin(shared.clock.now());
        if self.short.is_some() {
            // Decided along with records, they would be answered only when the disk has room again.
            self.refuse_creations(shared, 0);
        }
        let (said, wanted) = self.pending.next(self.ahead);
        let needs = self.core.needs(said, wanted);
        if !needs.is_empty() {
            self.core.learn(self.facts.store.look(needs)?);
        }
        self.pending.begin();
        let (mut half, mut decided, mut is_cut) = (false, [0, 0], false);
        while let Some(submission) = self.pending.pop(half) {
            let lane = usize::from(matches!(submission, Submission::Outside(_)));
            if let Some(later) = self.core.decide(submission) {
                self.pending.push_front(later);
                is_cut = true;
                break;
            }
            decided[lane] += 1;
            let (ops, bytes) = self.core.batch_size();
            half = ops >= BATCH_OPS / 2 || bytes >= BATCH_BYTES / 2;
            if ops >= BATCH_OPS || bytes >= BATCH_BYTES {
                break;
            }
        }
        // A batch that ends with one that has to wait says nothing of how many fit into it.
        let left = self.pending.lens().map(|left| left > 0 && !is_cut);
        self.ahead = std::array::from_fn(|it| look_ahead(decided[it], self.ahead[it], left[it]));
        self.core.finish_batch();
        if !self.commit_patiently(shared)? {
            return Ok(false);
        }
        if let Err(error) = self.facts.store.maintain() {
            // What could not be folded back is folded back later; commits go on first.
            if !self.outlast(shared, error, &mut Patience::new())? {
                return Ok(false);
            }
        }
        self.look_at_room(shared);
        // After that look: whoever waits for room in the store is not called again. Before all that
        // was submitted meanwhile: who waits goes first.
        for hopeful in self.core.take_hopeful().into_iter().rev() {
            self.pending.push_front(hopeful);
        }
        Ok(true)
    }

    fn commit_patiently(&mut self, shared: &Shared) -> Result<bool, Error> {
        match self.store_patiently(shared)? {
            Some(outcomes) => {
                self.tell(shared, &outcomes);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Commits what was decided, once.
    pub(super) fn commit(&mut self, shared: &Shared) -> Result<(), Error> {
        let outcomes = self.store_batch(shared)?;
        self.tell(shared, &outcomes);
        Ok(())
    }

    pub(super) fn store_batch(&mut self, shared: &Shared) -> Result<Vec<Outcome>, Error> {
        let mut ops = self.core.ops().peekable();
        let domain = self.core.domain();
        if ops.peek().is_none() && domain.is_whole() {
            return Ok(Vec::new());
        }
        let began = moment();
        let outcomes = self.facts.store.commit_each(&mut ops, domain)?;
        shared.meter.committed(self.core.ops(), began.elapsed());
        Ok(outcomes)
    }

    /// Tells what came of a batch that is durable.
    fn tell(&mut self, shared: &Shared, outcomes: &[Outcome]) {
        // After a simulated crash nothing is acknowledged, though this commit stands.
        if shared.inbox.phase() == Phase::Dead {
            return;
        }
        let number = self.core.batch_number();
        let applied = self.core.apply(outcomes);
        shared.meter.counted(self.core.counts());
        shared.meter.laid_out(self.core.layout_counts());
        shared.set_next_timer(self.core.next_timer());
        for _ in &applied.jobs {
            shared.inbox.job_begun();
        }
        shared.outbox.put(applied.notes, Some(number));
        if !applied.jobs.is_empty() {
            shared.tasks.push(applied.jobs.into_iter().map(Task::Job));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_asked_for_little_more_than_is_decided() {
        assert_eq!(look_ahead(160, BATCH_OPS, true), 170);
        assert_eq!(look_ahead(0, BATCH_OPS, true), AHEAD);
        assert_eq!(look_ahead(170, 170, true), BATCH_OPS);
        assert_eq!(look_ahead(3, BATCH_OPS, false), BATCH_OPS);
    }
}
