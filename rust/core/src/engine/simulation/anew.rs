//! How the truth begins anew, or ends for good: restarts and deletions.

use rustc_hash::FxHashSet;

use super::facts::Truly;
use super::truth::Truth;
use crate::history::{Operation, Record, Stored, Verdict};
use crate::ids::{EventId, InstanceNo, Seq};
use crate::lifecycle::Status;
use crate::store::Restart;

/// Returns the places that a restart says it keeps, from both ends of each range.
fn places(record: &Record) -> Vec<(Seq, Seq)> {
    let bytes = record.payload.as_deref().unwrap_or_default();
    let mut numbers = bytes.chunks(8);
    let mut next = || Some(Seq::from_le_bytes(numbers.next()?.try_into().ok()?));
    std::iter::from_fn(|| next().zip(next())).collect()
}

impl Truth {
    /// A new life begins: of the old one only what is recorded is there yet.
    pub(super) fn restart(&mut self, no: InstanceNo, to: &Restart) {
        self.number(to.incarnation);
        let mut before = self.all[&no].clone();
        // They were closed just now.
        let closed = self.commit.closings.iter().filter(|it| it.0 == no);
        before.waits = closed.map(|it| it.1.clone()).collect();
        // In a simulation every run has params, and nobody else gives any.
        let continues = to.params.is_some();
        if continues {
            self.commit.continued.push(no);
        }
        self.unqueue(no);
        if let Some(at) = before.proof {
            self.proofs.remove(&(at, no));
        }
        self.states[before.account][before.status as usize] -= 1;
        self.states[before.account][Status::Queued as usize] += 1;
        let it = self.all.get_mut(&no).expect("it is there");
        *it = Truly {
            incarnation: to.incarnation,
            status: Status::Queued,
            marked: false,
            recoveries: if continues { before.recoveries } else { 0 },
            proof: None,
            reason: None,
            step: None,
            ended_at: None,
            undo: None,
            error: None,
            start_at: None,
            // It goes before those that are new.
            started: true,
            cut: false,
            was_cut: false,
            waits: Vec::new(),
            anew: true,
            // What it waits for again nobody sends twice.
            bereft: before.bereft || continues || before.status.is_final(),
            ..it.clone()
        };
        self.commit.touched.push(no);
        self.commit.anew.push(before);
    }

    /// Of all that is recorded only this counts.
    pub(super) fn rewind(&mut self, no: InstanceNo, record: &Record) {
        let places = places(record);
        let it = self.all.get_mut(&no).expect("a rule saw it");
        let is_kept = |at: &Stored| places.iter().any(|it| (it.0..=it.1).contains(&at.seq));
        it.history.retain(is_kept);
        (it.outcomes, it.attempts) = Default::default();
        for Stored { seq, record } in &it.history {
            let operation = record.operation.clone();
            if record.verdict.is_outcome() {
                it.outcomes.insert(operation, (*seq, record.verdict));
            } else if record.verdict != Verdict::Started {
                it.attempts.insert(operation, record.attempt);
            }
        }
        let outcomes = &it.outcomes;
        it.fruits.retain(|of, _| outcomes.contains_key(of));
        let is_gone = |of: &(InstanceNo, _)| of.0 == no && !outcomes.contains_key(&of.1);
        self.said.withdrawn.retain(|it| !is_gone(it));
        let before = self.commit.anew.iter().find(|it| it.no == no);
        let before = before.map_or(it.incarnation, |it| it.incarnation);
        let told = self.said.told.get(&(no, before)).into_iter().flatten();
        let told: FxHashSet<_> = told
            .filter(|it| outcomes.contains_key(it))
            .cloned()
            .collect();
        self.said.told.insert((no, it.incarnation), told);
        if self.commit.continued.contains(&no) {
            let told = self.said.told.get(&(no, before));
            let knows = |of: &Operation| told.is_some_and(|it| it.contains(of));
            it.consumed.retain(|_, taker| !knows(taker));
        }
        self.commit.touched.push(no);
    }

    /// Whether an event that an instance once took is to come back because it began anew, in this
    /// commit.
    pub(super) fn returns(&self, no: InstanceNo, event: EventId) -> bool {
        let before = self.commit.anew.iter().find(|it| it.no == no);
        let records = before.into_iter().flat_map(|it| &it.history);
        let kept = |at: &Stored| self.all[&no].history.iter().any(|it| it.seq == at.seq);
        records
            .filter(|it| it.record.taken() == Some(event))
            .any(|it| !kept(it))
    }

    /// Nothing of it is left.
    pub(super) fn delete(&mut self, no: InstanceNo) {
        self.release(no);
        self.unqueue(no);
        let it = self.all.remove(&no).expect("a rule saw it");
        if let Some(at) = it.proof {
            self.proofs.remove(&(at, no));
        }
        self.states[it.account][it.status as usize] -= 1;
        self.names.remove(&it.key.0);
        self.approvals.retain(|_, of| of.no != no);
        self.asked.retain(|of, _| of.0 != no);
        self.answers.retain(|of, _| of.0 != no);
        self.said.withdrawn.retain(|of| of.0 != no);
        self.deleted.insert(it.key.0);
        self.dead.insert(no);
        self.commit.gone.push(it);
    }

    /// Returns what this commit changed of those that are still there.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Truly> {
        let touched = self.commit.touched.iter();
        touched.filter_map(|it| self.all.get(it))
    }
}
