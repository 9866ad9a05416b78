//! How many instances each workflow has in each state, and why some of them are blocked.
//!
//! Kept by the writer, asked by anybody: a question takes one lock for a few instructions per
//! workflow, so it may be repeated many times a second. Invariant: what is answered is what was
//! committed, all of it up to one commit and nothing beyond (D1). It knows instances by number, but
//! for the blocked ones, of which it keeps the ids as well: a human will want to look at one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::ids::InstanceNo;
use crate::lifecycle::Status;

/// Instances in each state, in the order of [`Status::ALL`].
pub type States = [u64; Status::ALL.len()];

/// What a workflow comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Instances in each state.
    pub states: States,
    /// Slots it has.
    pub leased: u64,
    /// Instances created since the engine opened.
    pub created: u64,
    /// Slots given to it since then: one instance may start many times.
    pub started: u64,
    /// Instances that have ended since then.
    pub ended: u64,
}

impl Figures {
    /// Returns how many instances are in this state.
    #[must_use]
    pub fn of(&self, status: Status) -> u64 {
        self.states[status as usize]
    }
}

/// Why instances are blocked: those of one workflow with the same reason make a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason {
    /// A short code such as `nondeterminism`.
    pub code: Box<str>,
    /// The step, if it is about one.
    pub step: Option<Box<str>>,
    /// Version of the workflow.
    pub version: Box<str>,
}

/// Instances that are blocked for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: u64,
    /// The id of the oldest.
    pub example: Box<str>,
}

/// A change to which instances are blocked.
#[derive(Debug)]
pub(crate) enum Change {
    /// One is.
    Blocked {
        /// Its number.
        no: InstanceNo,
        /// Its workflow.
        workflow: u32,
        /// Its id.
        id: Box<str>,
        /// Why.
        reason: Reason,
    },
    /// One is not any more.
    Unblocked(InstanceNo),
}

/// All figures.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Inner>);

/// What the members of a group have in common: why they are blocked, and their workflow.
type Of = (Reason, u32);
/// The members of a group, each with its id.
type Members = BTreeMap<InstanceNo, Box<str>>;

#[derive(Debug)]
struct Workflow {
    namespace: Arc<str>,
    name: Arc<str>,
    figures: Figures,
    versions: Vec<(Arc<str>, States)>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By number.
    workflows: Vec<Workflow>,
    blocked: FxHashMap<InstanceNo, Arc<Of>>,
    groups: BTreeMap<Arc<Of>, Members>,
}

impl Inner {
    fn block(&mut self, no: InstanceNo, id: Box<str>, group: Of) {
        self.unblock(no);
        let known = self.groups.get_key_value(&group).map(|it| Arc::clone(it.0));
        let group = known.unwrap_or_else(|| Arc::new(group));
        self.blocked.insert(no, Arc::clone(&group));
        self.groups.entry(group).or_default().insert(no, id);
    }

    fn unblock(&mut self, no: InstanceNo) {
        let Some(group) = self.blocked.remove(&no) else {
            return;
        };
        if let Some(members) = self.groups.get_mut(&group) {
            members.remove(&no);
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    fn is_asked(&self, workflow: u32, asked: (Option<&str>, Option<&str>)) -> bool {
        let it = &self.workflows[workflow as usize];
        asked.0.is_none_or(|asked| *asked == *it.namespace)
            && asked.1.is_none_or(|asked| *asked == *it.name)
    }
}

impl Tally {
    /// Shows what a commit has changed. A workflow that was not there is the next by number.
    pub(crate) fn show<'v>(
        &self,
        workflows: impl Iterator<
            Item = (
                u32,
                Figures,
                impl Iterator<Item = (&'v Arc<str>, &'v States)>,
            ),
        >,
        name: impl Fn(u32) -> (Box<str>, Box<str>),
        changes: impl Iterator<Item = Change>,
    ) {
        let mut inner = self.0.lock();
        for (workflow, figures, versions) in workflows {
            for next in inner.workflows.len() as u32..=workflow {
                let (namespace, name) = name(next);
                inner.workflows.push(Workflow {
                    namespace: namespace.into(),
                    name: name.into(),
                    figures: Figures::default(),
                    versions: Vec::new(),
                });
            }
            let row = &mut inner.workflows[workflow as usize];
            row.figures = figures;
            for (at, (name, states)) in versions.enumerate() {
                match row.versions.get_mut(at) {
                    Some(known) => known.1 = *states,
                    None => row.versions.push((Arc::clone(name), *states)),
                }
            }
        }
        for change in changes {
            match change {
                Change::Blocked {
                    no,
                    workflow,
                    id,
                    reason,
                } => inner.block(no, id, (reason, workflow)),
                Change::Unblocked(no) => inner.unblock(no),
            }
        }
    }

    /// Returns how many instances are in each state that any is in, of one namespace and workflow
    /// or of all.
    #[must_use]
    pub fn counts(&self, namespace: Option<&str>, workflow: Option<&str>) -> Vec<(Status, u64)> {
        let mut sums = [0; Status::ALL.len()];
        let inner = self.0.lock();
        for (number, it) in (0..).zip(&inner.workflows) {
            if inner.is_asked(number, (namespace, workflow)) {
                for (sum, count) in sums.iter_mut().zip(it.figures.states) {
                    *sum += count;
                }
            }
        }
        drop(inner);
        let all = Status::ALL.into_iter().zip(sums);
        all.filter(|it| it.1 > 0).collect()
    }

    /// Returns why instances are blocked, of one namespace and workflow or of all: the most
    /// frequent reason first.
    #[must_use]
    pub fn reasons(&self, namespace: Option<&str>, workflow: Option<&str>) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut oldest = InstanceNo::MAX;
        let inner = self.0.lock();
        for (of, members) in &inner.groups {
            let (reason, number) = &**of;
            if !inner.is_asked(*number, (namespace, workflow)) {
                continue;
            }
            let (no, id) = members.first_key_value().expect("no group is empty");
            let count = members.len() as u64;
            // Those of several workflows lie side by side.
            if let Some(group) = groups.last_mut().filter(|it| it.reason == *reason) {
                group.count += count;
                if *no < oldest {
                    (oldest, group.example) = (*no, id.clone());
                }
            } else {
                oldest = *no;
                groups.push(Group {
                    reason: reason.clone(),
                    count,
                    example: id.clone(),
                });
            }
        }
        drop(inner);
        groups.sort_by_key(|it| std::cmp::Reverse(it.count));
        groups
    }

    /// Returns the figures of every workflow there ever was in this engine's life: namespace,
    /// name, figures.
    #[must_use]
    pub fn workflows(&self) -> Vec<(Arc<str>, Arc<str>, Figures)> {
        let inner = self.0.lock();
        let rows = inner.workflows.iter();
        let rows = rows.map(|it| (Arc::clone(&it.namespace), Arc::clone(&it.name), it.figures));
        rows.collect()
    }

    /// Returns how many instances of each version are in each state, of one namespace and workflow
    /// or of all: workflow, version, counts. Versions of which there is no instance are left out.
    #[must_use]
    pub fn versions(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Vec<(Arc<str>, Arc<str>, States)> {
        let mut found = Vec::new();
        let inner = self.0.lock();
        for (number, row) in (0..).zip(&inner.workflows) {
            if inner.is_asked(number, (namespace, workflow)) {
                let some = row.versions.iter().filter(|it| it.1 != States::default());
                found.extend(some.map(|it| (Arc::clone(&row.name), Arc::clone(&it.0), it.1)));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(code: u8) -> Reason {
        Reason {
            code: ["nondeterminism", "race"][usize::from(code & 1)].into(),
            step: (code & 2 == 0).then(|| "charge".into()),
            version: (code >> 2 & 1).to_string().into(),
        }
    }

    fn name(workflow: u32) -> (Box<str>, Box<str>) {
        let namespace = format!("n{}", workflow % 2);
        (namespace.into(), format!("w{}", workflow / 2).into())
    }

    #[test]
    fn figures_are_summed_over_what_is_asked_for() {
        let tally = Tally::default();
        let figures = |queued| Figures {
            states: [queued, 0, 0, 0, 0, 0, 1, 0, 0],
            ..Figures::default()
        };
        let one: Arc<str> = "1".into();
        let shown = [(3, 5), (0, 7)].map(|(workflow, queued)| {
            let figures = figures(queued);
            let versions = Box::leak(Box::new((Arc::clone(&one), figures.states)));
            (
                workflow,
                figures,
                std::iter::once((&versions.0, &versions.1)),
            )
        });
        tally.show(shown.into_iter(), name, std::iter::empty());
        let (w1, one) = ("w1".into(), "1".into());
        assert_eq!(
            tally.versions(Some("n1"), None),
            [(w1, one, figures(5).states)]
        );
        let counts = |namespace, workflow| tally.counts(namespace, workflow);
        let both = |queued, complete| vec![(Status::Queued, queued), (Status::Complete, complete)];
        assert_eq!(counts(None, None), both(12, 2));
        assert_eq!(counts(Some("n1"), None), both(5, 1));
        assert_eq!(counts(None, Some("w0")), both(7, 1));
        assert_eq!(counts(Some("n1"), Some("w0")), []);
        let names: Vec<_> = tally.workflows().into_iter().map(|it| it.1).collect();
        assert_eq!(names, ["w0".into(), "w0".into(), "w1".into(), "w1".into()]);
    }

    proptest! {
        #[test]
        fn groups_are_those_of_a_list_of_all_blocked_instances(
            actions in prop::collection::vec((0u64..12, 0u32..4, prop::option::of(0u8..8)), 0..80)
        ) {
            let tally = Tally::default();
            let none = std::iter::empty();
            tally.show([(3, Figures::default(), none)].into_iter(), name, std::iter::empty());
            let mut model: BTreeMap<InstanceNo, (u32, Reason)> = BTreeMap::new();
            for (no, workflow, code) in actions {
                let change = if let Some(reason) = code.map(reason) {
                    model.insert(no, (workflow, reason.clone()));
                    Change::Blocked { no, workflow, id: format!("i{no}").into(), reason }
                } else {
                    model.remove(&no);
                    Change::Unblocked(no)
                };
                let none = std::iter::empty::<(u32, Figures, std::iter::Empty<_>)>();
                tally.show(none, name, [change].into_iter());
            }
            for (namespace, workflow) in [(None, None), (Some("n0"), None), (Some("n1"), Some("w1"))] {
                let mut expected: BTreeMap<Reason, (u64, Box<str>)> = BTreeMap::new();
                for (no, (of, reason)) in &model {
                    let (a, b) = name(*of);
                    if namespace.is_none_or(|it| *it == *a) && workflow.is_none_or(|it| *it == *b) {
                        let id = format!("i{no}").into();
                        expected.entry(reason.clone()).or_insert((0, id)).0 += 1;
                    }
                }
                let found = tally.reasons(namespace, workflow);
                prop_assert!(found.is_sorted_by(|a, b| a.count >= b.count));
                let found: BTreeMap<_, _> =
                    found.into_iter().map(|it| (it.reason, (it.count, it.example))).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
