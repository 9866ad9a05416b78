//! Who is counted where: every change of state moves one instance from one count to another.
//!
//! The writer's counts run ahead inside a batch, as the registry's decided states do; the public
//! ones ([`Tally`]) are brought up to them when the batch is durable. Those of instances that have
//! ended are in the store too, in the commit that ended them, because at a start nobody looks at
//! what is final.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Core, Facts};
use crate::failures::Failures;
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::reasons::Standing;
use crate::store::{Ended, Error, Op};
use crate::tally::{Figures, States, Tally};

/// The states in which an instance has ended.
const ENDS: [Status; 3] = [Status::Complete, Status::Errored, Status::Terminated];

/// The writer's counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    public: Arc<Tally>,
    figures: Vec<Figures>,
    /// Instances of each workflow by version and state.
    versions: Vec<Vec<States>>,
    /// Workflows whose figures this batch changed, and those of which an instance ended.
    changed: FxHashSet<u32>,
    ended: FxHashSet<(u32, u32)>,
    /// How many of a version are queued with a `start_at` that is to come.
    later: FxHashMap<(u32, u32), u64>,
    /// Changes of reasons that no live state says.
    stay: Vec<(InstanceNo, Option<Standing>)>,
    /// Who errored lately, and those of it that this batch changed.
    pub(super) failures: Failures,
}

impl Counts {
    /// There is one more workflow.
    pub(super) fn add_workflow(&mut self) {
        self.figures.push(Figures::default());
        self.versions.push(Vec::new());
        self.changed.insert(self.figures.len() as u32 - 1);
    }

    fn change(&mut self, (workflow, version): (u32, u32)) -> (&mut Figures, &mut States) {
        self.changed.insert(workflow);
        let versions = &mut self.versions[workflow as usize];
        let version = version as usize;
        if versions.len() <= version {
            versions.resize(version + 1, States::default());
        }
        let figures = &mut self.figures[workflow as usize];
        (figures, &mut versions[version])
    }

    /// An instance is created, or the creation is taken back.
    pub(super) fn born(&mut self, of: (u32, u32), status: Status, taken_back: bool) {
        let (figures, version) = self.change(of);
        let runs = u64::from(status == Status::Running);
        let at = status as usize;
        if taken_back {
            figures.states[at] -= 1;
            version[at] -= 1;
            figures.created -= 1;
            figures.started -= runs;
        } else {
            figures.states[at] += 1;
            version[at] += 1;
            figures.created += 1;
            figures.started += runs;
        }
    }

    /// The store knows so many instances of a version that are in this state.
    pub(super) fn found(&mut self, of: (u32, u32), status: Status, count: u64) {
        let (figures, version) = self.change(of);
        figures.states[status as usize] += count;
        version[status as usize] += count;
    }

    /// The store counted so many that have ended in this state of a workflow, and of one of its
    /// versions.
    fn found_ended(&mut self, workflow: u32, counts: [u64; 3], versions: &[(u32, [u64; 3])]) {
        self.changed.insert(workflow);
        for (status, count) in ENDS.into_iter().zip(counts) {
            self.figures[workflow as usize].states[status as usize] += count;
        }
        for (version, counts) in versions {
            let (_, states) = self.change((workflow, *version));
            for (status, count) in ENDS.into_iter().zip(counts) {
                states[status as usize] += count;
            }
        }
    }

    /// An instance changes its state. Returns whether it was the last of its workflow that was
    /// queued.
    pub(super) fn moved(&mut self, of: (u32, u32), from: Status, to: Status) -> bool {
        if from == to {
            return false;
        }
        let (figures, states) = self.change(of);
        for all in [&mut figures.states, states] {
            all[from as usize] -= 1;
            all[to as usize] += 1;
        }
        figures.started += u64::from(to == Status::Running && from == Status::Queued);
        let is_last = from == Status::Queued && figures.of(Status::Queued) == 0;
        figures.ended += u64::from(to.is_final());
        if to.is_final() || from.is_final() {
            self.ended.insert(of);
        }
        is_last
    }

    /// Returns how many of a workflow have ended.
    pub(super) fn ended(&self, workflow: u32) -> u64 {
        let figures = &self.figures[workflow as usize];
        ENDS.iter().map(|it| figures.of(*it)).sum()
    }

    /// An instance that is in this state, and has not ended, is of another version now.
    pub(super) fn converted(&mut self, of: (u32, u32), to: u32, at: Status) {
        let (_, states) = self.change(of);
        states[at as usize] -= 1;
        let (_, states) = self.change((of.0, to));
        states[at as usize] += 1;
    }

    /// An instance that was in this state is deleted.
    pub(super) fn gone(&mut self, of: (u32, u32), status: Status) {
        let (figures, version) = self.change(of);
        figures.states[status as usize] -= 1;
        version[status as usize] -= 1;
        if status.is_final() {
            self.ended.insert(of);
        }
    }

    /// A workflow has other slots than before, and nothing else has changed.
    pub(super) fn touch(&mut self, workflow: u32) {
        self.changed.insert(workflow);
    }

    /// Nobody is told any more of failures of these workflows.
    pub(super) fn forget_failures(&mut self, workflows: &[u32]) {
        self.failures.forget(workflows);
        self.public.forget_failures(workflows);
    }

    /// So many of a version are queued with a `start_at` that is to come, more than before.
    pub(super) fn later(&mut self, (workflow, version): (u32, u32), more: i64) {
        self.changed.insert(workflow);
        let later = self.later.entry((workflow, version)).or_default();
        *later = later
            .checked_add_signed(more)
            .expect("none is taken out twice");
    }

    /// An instance that is in no live state is counted here for good.
    pub(super) fn stays(&mut self, no: InstanceNo, place: Standing) {
        self.stay.push((no, Some(place)));
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
        for it in facts.store.ended()? {
            let workflow = self.workflow(&it.namespace, &it.workflow);
            let versions = it.versions.iter();
            let versions = versions.map(|(name, it)| (self.versions.number(workflow, name), *it));
            let versions: Vec<_> = versions.collect();
            self.counts.found_ended(workflow, it.counts, &versions);
        }
        Ok(())
    }

    /// Adds to the batch how many instances have ended, where any has.
    pub(super) fn keep_ended(&mut self) {
        let mut changed: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        for (workflow, version) in std::mem::take(&mut self.counts.ended) {
            changed.entry(workflow).or_default().push(version);
        }
        for (workflow, versions) in changed {
            let (namespace, name) = &self.names[workflow as usize];
            let figures = &self.counts.figures[workflow as usize];
            let names = self.versions.names(workflow);
            let states = &self.counts.versions[workflow as usize];
            let counts = |it: &States| ENDS.map(|status| it[status as usize]);
            let versions = versions.into_iter().map(|it| it as usize);
            let versions = versions.map(|it| ((&*names[it]).into(), counts(&states[it])));
            let ended = Ended {
                namespace: namespace.clone(),
                workflow: name.clone(),
                counts: counts(&figures.states),
                versions: versions.collect(),
            };
            self.push(Op::Ended(Box::new(ended)));
        }
    }

    /// Shows the counts as they are after a batch that is durable, and which instances are new or in
    /// another state. Returns whether somebody awaits that.
    pub(super) fn show_counts(&mut self, moved: &[InstanceNo]) -> bool {
        let touched = std::mem::take(&mut self.batch.touched);
        let mut placed = std::mem::take(&mut self.counts.stay);
        placed.extend(touched.iter().map(|no| (*no, self.reason_of(*no))));
        self.batch.touched = touched;
        self.batch.touched.clear();
        let counts = &mut self.counts;
        if counts.changed.is_empty() && placed.is_empty() && moved.is_empty() {
            return false;
        }
        let figures = &counts.figures;
        let changed = counts.changed.drain();
        // The gatekeeper runs ahead as the counts do.
        let gate = &self.gate;
        let (versions, states, later) = (&self.versions, &counts.versions, &counts.later);
        let changed = changed.map(|it| {
            let leased = gate.leased_to(it).into();
            let figures = figures[it as usize];
            let states = states[it as usize].iter().zip(0..);
            let states = states.map(move |(states, version)| {
                let later = later.get(&(it, version)).copied().unwrap_or_default();
                (*states, later)
            });
            let versions = versions.names(it).iter().zip(states);
            (it, Figures { leased, ..figures }, versions)
        });
        let names = &self.names;
        let name = |it: u32| names[it as usize].clone();
        let failures = counts.failures.take_news();
        let shown = &counts.public;
        shown.show(self.now, changed, name, placed, failures, moved)
    }
}
