//! How many instances each workflow has in each state, and why they are there.
//!
//! Kept by the writer, asked by anybody: a question takes one lock for a few instructions per
//! workflow and group, so it may be repeated many times a second. Invariant: what is answered is
//! what was committed, all of it up to one commit and nothing beyond (D1). It knows instances by
//! number. Those that never ran are no members of groups: how many they are is what the others
//! leave of those that are queued, so however many there are they cost nothing here.

mod among;

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::changes::{self, Changes, Since};
use crate::codes;
use crate::failures::{first_hour, Alike, Lately};
use crate::ids::{InstanceNo, Micros};
use crate::lifecycle::Status;
use crate::pace::Pace;
use crate::reasons::{Group, Groups, Standing, GROUPS};

pub use among::{Among, Asked, Wanted};

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

/// Why some instances are where they are, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonTold {
    /// Number and name of the workflow; none: the reason is that of several.
    pub number: Option<u32>,
    /// Its namespace and name.
    pub workflow: Option<(Arc<str>, Arc<str>)>,
    /// The version.
    pub version: Option<Arc<str>>,
    /// Their state.
    pub status: Option<Status>,
    /// A short code.
    pub code: Arc<str>,
    /// The step, or the name of what is waited for.
    pub step: Option<Arc<str>>,
    /// The class of the error.
    pub error: Option<Arc<str>>,
    /// How many.
    pub count: u64,
    /// Since when the first; none: ask the store for the oldest that is queued.
    pub since: Option<Micros>,
    /// When the first of them goes on by itself.
    pub next: Option<Micros>,
    /// Which has been there longest.
    pub example: Option<InstanceNo>,
}

impl Workflow {
    fn names(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.namespace), Arc::clone(&self.name))
    }

    fn version(&self, number: u32) -> Option<Arc<str>> {
        let version = self.versions.get(number as usize);
        version.map(|it| Arc::clone(&it.0))
    }

    fn told(&self, group: Group) -> ReasonTold {
        let Group {
            workflow,
            reason,
            count,
            since,
            next,
            example,
        } = group;
        let version = reason.as_ref().and_then(|it| self.version(it.version));
        let others = || codes::OTHER.into();
        ReasonTold {
            number: Some(workflow),
            workflow: Some(self.names()),
            version,
            status: reason.as_ref().map(|it| it.status),
            code: reason
                .as_ref()
                .map_or_else(others, |it| Arc::clone(&it.code)),
            step: reason.as_ref().and_then(|it| it.step.clone()),
            error: reason.and_then(|it| it.error),
            count,
            since: Some(since),
            next,
            example: Some(example),
        }
    }

    fn told_queued(&self, number: u32, version: &Arc<str>, code: &str, count: u64) -> ReasonTold {
        ReasonTold {
            number: Some(number),
            workflow: Some(self.names()),
            version: Some(Arc::clone(version)),
            status: Some(Status::Queued),
            code: code.into(),
            step: None,
            error: None,
            count,
            since: None,
            next: None,
            example: None,
        }
    }

    fn told_failed(&self, alike: &Alike, it: &Lately) -> ReasonTold {
        ReasonTold {
            number: Some(alike.workflow),
            workflow: Some(self.names()),
            version: self.version(alike.version),
            status: Some(Status::Errored),
            code: codes::ENDED_IN_ERROR.into(),
            step: alike.step.clone(),
            error: alike.error.clone(),
            count: it.count,
            since: Some(it.since),
            next: None,
            example: Some(it.example),
        }
    }
}

/// Makes one row of those that say the same; the most frequent first, and of those beyond
/// [`GROUPS`] one row of all others.
fn merged(mut told: Vec<ReasonTold>) -> Vec<ReasonTold> {
    let same = |it: &ReasonTold| {
        let of = (it.number, it.version.clone(), it.status.map(|it| it as u8));
        (of, Arc::clone(&it.code), it.step.clone(), it.error.clone())
    };
    told.sort_by_cached_key(same);
    told.dedup_by(|next, first| {
        let is_same = same(next) == same(first);
        if is_same {
            first.add(next);
        }
        is_same
    });
    told.sort_by_key(|it| std::cmp::Reverse(it.count));
    if told.len() > GROUPS {
        let mut others = told.split_off(GROUPS).into_iter();
        let first = others.next().expect("there are some");
        let mut all = ReasonTold {
            number: None,
            workflow: None,
            version: None,
            status: None,
            code: codes::OTHER.into(),
            step: None,
            error: None,
            ..first
        };
        for other in others {
            all.add(&other);
        }
        told.push(all);
    }
    told
}

impl ReasonTold {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.next = self.next.into_iter().chain(other.next).min();
        // Where the oldest is not known without the store, that is asked.
        match (self.since, other.since) {
            (Some(own), Some(theirs)) if own > theirs => {
                (self.since, self.example) = (other.since, other.example);
            }
            (None, Some(_)) => (self.since, self.example) = (other.since, other.example),
            _ => {}
        }
    }
}

/// All figures.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Inner>);

#[derive(Debug)]
struct Workflow {
    namespace: Arc<str>,
    name: Arc<str>,
    figures: Figures,
    /// How many slots it gave back lately.
    freed: Pace,
    /// The versions by number: name, counts, and how many are queued until their `start_at`.
    versions: Vec<(Arc<str>, States, u64)>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By number.
    workflows: Vec<Workflow>,
    groups: Groups,
    failures: FxHashMap<Alike, Lately>,
    changes: Changes,
}

impl Inner {
    fn is_asked(&self, workflow: u32, asked: (Option<&str>, Option<&str>)) -> bool {
        let it = &self.workflows[workflow as usize];
        asked.0.is_none_or(|asked| *asked == *it.namespace)
            && asked.1.is_none_or(|asked| *asked == *it.name)
    }

    /// Returns the slots in use by all, by the namespace of a workflow, and by that.
    fn used(&self, row: &Workflow) -> [u64; 3] {
        let mut used = [0, 0, row.figures.leased];
        for it in &self.workflows {
            used[0] += it.figures.leased;
            used[1] += it.figures.leased * u64::from(it.namespace == row.namespace);
        }
        used
    }
}

impl Tally {
    /// Shows what a commit has changed, at this time. A workflow that was not there is the next by number. Returns
    /// whether somebody awaits that an instance changes.
    pub(crate) fn show<'v>(
        &self,
        now: Micros,
        workflows: impl Iterator<
            Item = (
                u32,
                Figures,
                impl Iterator<Item = (&'v Arc<str>, (States, u64))>,
            ),
        >,
        name: impl Fn(u32) -> (Box<str>, Box<str>),
        placed: Vec<(InstanceNo, Option<Standing>)>,
        failures: Vec<(Alike, Lately)>,
        moved: &[InstanceNo],
    ) -> bool {
        let mut inner = self.0.lock();
        for (workflow, figures, versions) in workflows {
            for next in inner.workflows.len() as u32..=workflow {
                let (namespace, name) = name(next);
                inner.workflows.push(Workflow {
                    namespace: namespace.into(),
                    name: name.into(),
                    figures: Figures::default(),
                    freed: Pace::default(),
                    versions: Vec::new(),
                });
            }
            let row = &mut inner.workflows[workflow as usize];
            let freed = |it: &Figures| it.started.saturating_sub(it.leased);
            let more = freed(&figures).saturating_sub(freed(&row.figures));
            row.freed.add(now, more);
            row.figures = figures;
            for (at, (name, (states, later))) in versions.enumerate() {
                match row.versions.get_mut(at) {
                    Some(known) => (known.1, known.2) = (states, later),
                    None => row.versions.push((Arc::clone(name), states, later)),
                }
            }
        }
        for (no, place) in placed {
            inner.groups.put(no, place);
        }
        inner.failures.extend(failures);
        for no in moved {
            inner.changes.add(*no);
        }
        !moved.is_empty() && inner.changes.take_awaited()
    }

    /// Tells no more of failures of these workflows.
    pub(crate) fn forget_failures(&self, workflows: &[u32]) {
        let failures = &mut self.0.lock().failures;
        failures.retain(|it, _| !workflows.contains(&it.workflow));
    }

    /// An earlier life of the store wrote these changes down: see [`Changes::restore`].
    pub(crate) fn restore_changes(
        &self,
        epoch: u64,
        first: changes::ChangeNo,
        some: impl Iterator<Item = InstanceNo>,
    ) {
        self.0.lock().changes.restore(epoch, first, some);
    }

    /// Returns what tells the places of changes of this store from those of another.
    #[must_use]
    pub fn change_epoch(&self) -> u64 {
        self.0.lock().changes.epoch
    }

    /// Returns at most so many of the changes after a place.
    #[must_use]
    pub fn changes(&self, place: changes::ChangeNo, limit: usize) -> Since {
        self.0.lock().changes.since(place, limit)
    }

    /// Returns whether there is a change after a place; if not, there will be a note of the next.
    #[must_use]
    pub fn await_change(&self, place: changes::ChangeNo) -> bool {
        self.0.lock().changes.wait(place)
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

    /// Returns why instances are where they are, of one namespace and workflow or of all, in no
    /// order. `limit` says which limit holds up those of a workflow that are queued: it is asked
    /// with the slots in use by all, by the namespace and by the workflow.
    #[must_use]
    pub fn reasons(
        &self,
        asked: (Option<&str>, Option<&str>),
        now: Micros,
        limit: impl Fn([u64; 3], &str, &str) -> &'static str,
    ) -> Vec<ReasonTold> {
        let mut inner = self.0.lock();
        let first = first_hour(now);
        inner.failures.retain(|it, _| it.hour >= first);
        let inner = &*inner;
        let mut told = Vec::new();
        let mut queued: FxHashMap<(u32, u32), u64> = FxHashMap::default();
        for group in inner.groups.of(now, |it| inner.is_asked(it, asked)) {
            let row = &inner.workflows[group.workflow as usize];
            if let Some(reason) = group
                .reason
                .as_ref()
                .filter(|it| it.status == Status::Queued)
            {
                *queued.entry((group.workflow, reason.version)).or_default() += group.count;
            }
            told.push(row.told(group));
        }
        for (number, row) in (0..).zip(&inner.workflows) {
            if row.figures.of(Status::Queued) == 0 || !inner.is_asked(number, asked) {
                continue;
            }
            let code = limit(inner.used(row), &row.namespace, &row.name);
            let is_queue =
                |it: &&mut ReasonTold| it.number == Some(number) && &*it.code == codes::QUEUED;
            for it in told.iter_mut().filter(is_queue) {
                it.code = code.into();
            }
            for (version, (name, states, later)) in (0..).zip(&row.versions) {
                let placed = queued.get(&(number, version)).copied().unwrap_or_default();
                let rest = states[Status::Queued as usize].saturating_sub(placed + later);
                for (count, code) in [(*later, codes::START_AT), (rest, code)] {
                    if count > 0 {
                        told.push(row.told_queued(number, name, code, count));
                    }
                }
            }
        }
        for (alike, it) in &inner.failures {
            if inner.is_asked(alike.workflow, asked) {
                told.push(inner.workflows[alike.workflow as usize].told_failed(alike, it));
            }
        }
        merged(told)
    }

    /// Returns how many instances are blocked by which code, of which version, of one namespace and
    /// workflow or of all, in no order.
    #[must_use]
    pub fn blocked(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Vec<(Arc<str>, Arc<str>, u64)> {
        let inner = self.0.lock();
        let asked = (namespace, workflow);
        let groups = inner
            .groups
            .of(0, |it| inner.is_asked(it, asked))
            .into_iter();
        let blocked = groups.filter_map(|it| {
            let row = &inner.workflows[it.workflow as usize];
            let reason = it.reason.filter(|it| it.status == Status::Blocked)?;
            Some((reason.code, row.version(reason.version)?, it.count))
        });
        blocked.collect()
    }

    /// Returns how many slots a workflow gave back within the last minutes, and how long they are.
    #[must_use]
    pub fn freed(&self, namespace: &str, workflow: &str, now: Micros) -> (u64, Micros) {
        let inner = self.0.lock();
        let mut rows = inner.workflows.iter();
        let row = rows.find(|it| *it.namespace == *namespace && *it.name == *workflow);
        row.map_or_else(Pace::default, |it| it.freed).lately(now)
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
    use crate::reasons::Reason;

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
                std::iter::once((&versions.0, (versions.1, 0))),
            )
        });
        tally.show(0, shown.into_iter(), name, Vec::new(), Vec::new(), &[]);
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

    #[test]
    fn what_is_queued_and_never_ran_is_what_members_leave() {
        let tally = Tally::default();
        let mut figures = Figures::default();
        figures.states[Status::Queued as usize] = 10;
        figures.leased = 2;
        let one: Arc<str> = "1".into();
        let versions = [(&one, (figures.states, 3))];
        let place = |status, code: &str, since| {
            let reason = Reason {
                version: 0,
                status,
                code: code.into(),
                step: None,
                error: None,
            };
            Some(Standing {
                workflow: 0,
                reason,
                since,
                next: None,
            })
        };
        let placed = vec![
            (1, place(Status::Queued, codes::QUEUED, 5)),
            (2, place(Status::Queued, codes::HELD_BACK, 4)),
        ];
        let shown = [(0, figures, versions.into_iter())];
        tally.show(0, shown.into_iter(), name, placed, Vec::new(), &[]);
        let told = tally.reasons((None, None), 10, |used, namespace, workflow| {
            assert_eq!((used, namespace, workflow), ([2, 2, 2], "n0", "w0"));
            "slots"
        });
        let told = told.iter();
        let told: Vec<_> = told
            .map(|it| (&*it.code, it.count, it.since, it.example))
            .collect();
        assert_eq!(
            told,
            [
                ("slots", 6, Some(5), Some(1)),
                ("start_at", 3, None, None),
                ("held_back", 1, Some(4), Some(2))
            ]
        );
        assert_eq!(tally.reasons((Some("n1"), None), 10, |_, _, _| "slots"), []);
    }

    #[test]
    fn beyond_a_thousand_rows_all_others_are_one() {
        let row = |no: u64| ReasonTold {
            number: Some(0),
            workflow: None,
            version: None,
            status: Some(Status::Waiting),
            code: no.to_string().into(),
            step: None,
            error: None,
            count: 2_000 - no,
            since: Some(no as Micros),
            next: Some(5),
            example: Some(no),
        };
        let told = merged((0..1_010).map(row).collect());
        assert_eq!(told.len(), GROUPS + 1);
        let last = &told[GROUPS];
        assert_eq!((&*last.code, last.status), (codes::OTHER, None));
        assert_eq!(last.count, (1_000..1_010).map(|it| 2_000 - it).sum::<u64>());
        assert_eq!((last.since, last.example), (Some(1_000), Some(1_000)));
    }
}
