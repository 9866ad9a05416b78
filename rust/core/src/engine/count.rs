//! Who is counted where: every change of state moves one instance from one count to another.
//!
//! The writer's counts run ahead inside a batch, as the registry's decided states do; the public
//! ones ([`Tally`]) are brought up to them when the batch is durable. Those of instances that have
//! ended are in the store too, in the commit that ended them, because at a start nobody looks at
//! what is final.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::{Core, Facts};
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::store::{Ended, Error, Op};
use crate::tally::{Change, Figures, Reason, Tally};

/// The writer's counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    public: Arc<Tally>,
    figures: Vec<Figures>,
    /// Workflows whose figures this batch changed, and those of which an instance ended.
    changed: FxHashSet<u32>,
    ended: FxHashSet<u32>,
    blocked: Vec<Change>,
}

impl Counts {
    /// There is one more workflow.
    pub(super) fn add_workflow(&mut self) {
        self.figures.push(Figures::default());
        self.changed.insert(self.figures.len() as u32 - 1);
    }

    fn change(&mut self, workflow: u32) -> &mut Figures {
        self.changed.insert(workflow);
        &mut self.figures[workflow as usize]
    }

    /// An instance is created, or the creation is taken back.
    pub(super) fn born(&mut self, workflow: u32, status: Status, taken_back: bool) {
        let figures = self.change(workflow);
        let runs = u64::from(status == Status::Running);
        let state = &mut figures.states[status as usize];
        if taken_back {
            *state -= 1;
            figures.created -= 1;
            figures.started -= runs;
        } else {
            *state += 1;
            figures.created += 1;
            figures.started += runs;
        }
    }

    /// The store knows so many instances of a workflow that are in this state.
    pub(super) fn found(&mut self, workflow: u32, status: Status, count: u64) {
        self.change(workflow).states[status as usize] += count;
    }

    /// An instance changes its state.
    pub(super) fn moved(&mut self, workflow: u32, from: Status, to: Status) {
        if from == to {
            return;
        }
        let figures = self.change(workflow);
        figures.states[from as usize] -= 1;
        figures.states[to as usize] += 1;
        figures.started += u64::from(to == Status::Running && from == Status::Queued);
        figures.ended += u64::from(to.is_final());
        if to.is_final() || from.is_final() {
            self.ended.insert(workflow);
        }
    }

    /// An instance that was in this state is deleted.
    pub(super) fn gone(&mut self, no: InstanceNo, workflow: u32, status: Status) {
        self.change(workflow).states[status as usize] -= 1;
        if status.is_final() {
            self.ended.insert(workflow);
        } else if status == Status::Blocked {
            self.unblocked(no);
        }
    }

    /// A workflow has other slots than before, and nothing else has changed.
    pub(super) fn touch(&mut self, workflow: u32) {
        self.changed.insert(workflow);
    }

    /// An instance is blocked.
    pub(super) fn blocked(&mut self, no: InstanceNo, workflow: u32, id: Box<str>, reason: Reason) {
        self.blocked.push(Change::Blocked {
            no,
            workflow,
            id,
            reason,
        });
    }

    /// An instance is blocked no longer.
    pub(super) fn unblocked(&mut self, no: InstanceNo) {
        self.blocked.push(Change::Unblocked(no));
    }
}

impl Core {
    /// Returns the public counts.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.counts.public)
    }

    /// Takes over how many instances of each workflow have ended in earlier lives.
    pub(super) fn count_ended(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let states = [Status::Complete, Status::Errored, Status::Terminated];
        for it in facts.store.ended()? {
            let workflow = self.workflow(&it.namespace, &it.workflow);
            for (status, count) in states.into_iter().zip(it.counts) {
                self.counts.found(workflow, status, count);
            }
        }
        Ok(())
    }

    /// Adds to the batch how many instances have ended, where any has.
    pub(super) fn keep_ended(&mut self) {
        for workflow in std::mem::take(&mut self.counts.ended) {
            let (namespace, name) = &self.names[workflow as usize];
            let figures = &self.counts.figures[workflow as usize];
            let ended = Ended {
                namespace: namespace.clone(),
                workflow: name.clone(),
                counts: [Status::Complete, Status::Errored, Status::Terminated]
                    .map(|it| figures.of(it)),
            };
            self.push(Op::Ended(Box::new(ended)));
        }
    }

    /// Shows the counts as they are after a batch that is durable.
    pub(super) fn show_counts(&mut self) {
        let counts = &mut self.counts;
        if counts.changed.is_empty() && counts.blocked.is_empty() {
            return;
        }
        let figures = &counts.figures;
        let changed = counts.changed.drain();
        // The gatekeeper runs ahead as the counts do.
        let gate = &self.gate;
        let changed = changed.map(|it| {
            let leased = gate.leased_to(it).into();
            let figures = figures[it as usize];
            (it, Figures { leased, ..figures })
        });
        let names = &self.names;
        let name = |it: u32| names[it as usize].clone();
        counts.public.show(changed, name, counts.blocked.drain(..));
    }

    /// Notes why an instance is blocked, with what the store knows of it.
    pub(super) fn count_blocked(
        &mut self,
        no: InstanceNo,
        workflow: u32,
        code: &str,
        step: Option<Box<str>>,
    ) {
        // A row that cannot be read may be why it is blocked; then nobody knows its id.
        let row = self.batch.known.instance(no).ok().flatten();
        let named = row.map(|it| (it.id.clone(), it.version.clone()));
        let (id, version) = named.unwrap_or_default();
        let code = code.into();
        let reason = Reason {
            code,
            step,
            version,
        };
        self.counts.blocked(no, workflow, id, reason);
    }
}
