//! Why instances are where they are: those of one workflow and version with the same reason make a
//! group, of which is known how many there are, which has been there longest, and when something
//! happens next.
//!
//! Kept as instances come and go, so a question costs as much as there are groups, however many
//! instances there are. Invariant: an instance is in one group at most. Names of steps and classes
//! of errors are the user's, so there could be as many groups as instances: beyond
//! [`GROUPS`] of one workflow whoever comes with a new reason is counted in one group of all others.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::codes;
use crate::ids::{InstanceNo, Micros};
use crate::lifecycle::Status;

/// Most groups of one workflow that are told apart, and most that are told at once.
pub const GROUPS: usize = 1_000;
/// How long after it was due something is overdue.
pub(crate) const LATE: Micros = 1_000_000;
/// Most that are counted as overdue in one group: it is a backlog of timers, and counted one by one.
const OVERDUE: usize = 10_000;

/// What the members of a group have in common, besides their workflow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason {
    /// Number of the version, within the workflow.
    pub version: u32,
    /// The state they are in.
    pub status: Status,
    /// A short code such as `nondeterminism` or `retrying`.
    pub code: Arc<str>,
    /// The step it is about, if it is about one; of what is waited for, the name.
    pub step: Option<Arc<str>>,
    /// The class of the error, if there is one.
    pub error: Option<Arc<str>>,
}

/// Where an instance is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its workflow.
    pub workflow: u32,
    /// Why it is where it is.
    pub reason: Reason,
    /// Since when.
    pub since: Micros,
    /// When something happens to it by itself.
    pub next: Option<Micros>,
}

/// A group as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The workflow.
    pub workflow: u32,
    /// What its members have in common; none: they are all others of the workflow.
    pub reason: Option<Reason>,
    /// How many they are.
    pub count: u64,
    /// Since when the first has been there.
    pub since: Micros,
    /// When the first of them goes on by itself.
    pub next: Option<Micros>,
    /// Which has been there longest.
    pub example: InstanceNo,
}

/// Some members, in order of number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) numbers: Vec<InstanceNo>,
    /// Whether there are more.
    pub(crate) is_cut: bool,
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    numbers: FxHashMap<(u32, Option<Reason>), u32>,
    all: Vec<Members>,
    free: Vec<u32>,
    /// How many groups each workflow has, but for that of all others.
    sizes: FxHashMap<u32, usize>,
    members: FxHashMap<InstanceNo, Member>,
}

#[derive(Debug)]
struct Members {
    key: (u32, Option<Reason>),
    by_no: BTreeSet<InstanceNo>,
    by_since: BTreeSet<(Micros, InstanceNo)>,
    by_next: BTreeSet<(Micros, InstanceNo)>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    group: u32,
    since: Micros,
    next: Option<Micros>,
}

impl Groups {
    /// An instance is counted here from now on, or nowhere.
    pub(crate) fn put(&mut self, no: InstanceNo, place: Option<Standing>) {
        let Some(place) = place else {
            self.take(no);
            return;
        };
        let (since, next) = (place.since, place.next);
        let key = (place.workflow, Some(place.reason));
        let known = self.members.get(&no).copied();
        if let Some(it) = known.filter(|it| self.all[it.group as usize].key == key) {
            if (it.since, it.next) == (since, next) {
                return;
            }
        }
        self.take(no);
        let group = self.group(key);
        let members = &mut self.all[group as usize];
        members.by_no.insert(no);
        members.by_since.insert((since, no));
        if let Some(next) = next {
            members.by_next.insert((next, no));
        }
        self.members.insert(no, Member { group, since, next });
    }

    fn take(&mut self, no: InstanceNo) {
        let Some(Member { group, since, next }) = self.members.remove(&no) else {
            return;
        };
        let members = &mut self.all[group as usize];
        members.by_no.remove(&no);
        members.by_since.remove(&(since, no));
        if let Some(next) = next {
            members.by_next.remove(&(next, no));
        }
        if members.by_since.is_empty() {
            let key = members.key.clone();
            if key.1.is_some() {
                *self.sizes.get_mut(&key.0).expect("it has this one") -= 1;
            }
            self.numbers.remove(&key);
            self.free.push(group);
        }
    }

    fn group(&mut self, mut key: (u32, Option<Reason>)) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let size = self.sizes.entry(key.0).or_default();
        if *size < GROUPS {
            *size += 1;
        } else {
            key.1 = None;
            if let Some(number) = self.numbers.get(&key) {
                return *number;
            }
        }
        let members = Members {
            key: key.clone(),
            by_no: BTreeSet::new(),
            by_since: BTreeSet::new(),
            by_next: BTreeSet::new(),
        };
        let number = if let Some(free) = self.free.pop() {
            self.all[free as usize] = members;
            free
        } else {
            self.all.push(members);
            self.all.len() as u32 - 1
        };
        self.numbers.insert(key, number);
        number
    }

    /// Returns the groups of some workflows, in no order. Those members of which something was due
    /// a while ago are a group of their own.
    pub(crate) fn of(&self, now: Micros, is_asked: impl Fn(u32) -> bool) -> Vec<Group> {
        let mut told = Vec::new();
        for (key, number) in self.numbers.iter().filter(|(key, _)| is_asked(key.0)) {
            let it = &self.all[*number as usize];
            let first = it.by_since.first().expect("no group is empty");
            let late = it.by_next.range(..(now - LATE, 0)).take(OVERDUE).count();
            let count = it.by_since.len() - late;
            let group = Group {
                workflow: key.0,
                reason: key.1.clone(),
                count: count as u64,
                since: first.0,
                next: it.by_next.range((now - LATE, 0)..).next().map(|it| it.0),
                example: first.1,
            };
            if late > 0 {
                let (due, example) = *it.by_next.first().expect("some are late");
                let code = Arc::from(codes::OVERDUE);
                told.push(Group {
                    reason: group.reason.clone().map(|it| Reason { code, ..it }),
                    count: late as u64,
                    since: due,
                    next: Some(due),
                    example,
                    ..group.clone()
                });
            }
            if count > 0 {
                told.push(group);
            }
        }
        told
    }

    /// Returns at most so many of the members of some groups, whose numbers lie beyond this one;
    /// the highest first if `newest_first`. Of those of which something was due a while ago, or of
    /// the others.
    pub(crate) fn members(
        &self,
        now: Micros,
        is_late: bool,
        is_asked: impl Fn(u32, Option<&Reason>) -> bool,
        (beyond, newest_first): (Option<InstanceNo>, bool),
        most: usize,
    ) -> Chosen {
        let due = |no: &InstanceNo| self.members[no].next.is_some_and(|it| it < now - LATE);
        let is_beyond = |no: &InstanceNo| match beyond {
            Some(it) if newest_first => *no < it,
            Some(it) => *no > it,
            None => true,
        };
        let mut numbers = Vec::new();
        for (key, number) in &self.numbers {
            if !is_asked(key.0, key.1.as_ref()) {
                continue;
            }
            let it = &self.all[*number as usize];
            // One more than there is room for shows that there are more.
            if is_late {
                let late = it.by_next.range(..(now - LATE, 0)).map(|it| it.1);
                numbers.extend(late.filter(is_beyond));
            } else if newest_first {
                let all = it.by_no.range(..beyond.unwrap_or(InstanceNo::MAX)).rev();
                numbers.extend(all.filter(|no| !due(no)).take(most + 1));
            } else {
                let all = it.by_no.range(beyond.map_or(0, |it| it + 1)..);
                numbers.extend(all.filter(|no| !due(no)).take(most + 1));
            }
        }
        numbers.sort_unstable();
        if newest_first {
            numbers.reverse();
        }
        let is_cut = numbers.len() > most;
        numbers.truncate(most);
        Chosen { numbers, is_cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn place(workflow: u32, code: u8, since: Micros, next: Option<Micros>) -> Standing {
        let reason = Reason {
            version: u32::from(code & 1),
            status: [Status::Waiting, Status::Blocked][usize::from(code >> 1 & 1)],
            code: ["event", "race"][usize::from(code >> 2 & 1)].into(),
            step: (code & 8 == 0).then(|| "charge".into()),
            error: None,
        };
        Standing {
            workflow,
            reason,
            since,
            next,
        }
    }

    type Key = (u32, Option<Reason>);
    type Sums = (u64, Micros, Option<Micros>, InstanceNo);

    /// The groups of a list of all members.
    fn recount(all: &BTreeMap<InstanceNo, Standing>) -> BTreeMap<Key, Sums> {
        let mut groups: BTreeMap<Key, Sums> = BTreeMap::new();
        for (no, it) in all {
            let key = (it.workflow, Some(it.reason.clone()));
            let group = groups.entry(key).or_insert((0, it.since, None, *no));
            group.0 += 1;
            if (it.since, *no) < (group.1, group.3) {
                (group.1, group.3) = (it.since, *no);
            }
            group.2 = group.2.into_iter().chain(it.next).min();
        }
        groups
    }

    fn told(groups: &Groups, is_asked: impl Fn(u32) -> bool) -> BTreeMap<Key, Sums> {
        let told = groups.of(0, is_asked).into_iter();
        told.map(|it| {
            let sums = (it.count, it.since, it.next, it.example);
            ((it.workflow, it.reason), sums)
        })
        .collect()
    }

    proptest! {
        #[test]
        fn groups_are_those_of_a_list_of_all_members(
            actions in prop::collection::vec(
                (0u64..12, 0u32..3, prop::option::of(0u8..16), 0i64..6, prop::option::of(0i64..6)),
                0..120,
            )
        ) {
            let (mut groups, mut model) = (Groups::default(), BTreeMap::new());
            for (no, workflow, code, since, next) in actions {
                let place = code.map(|code| place(workflow, code, since, next));
                match &place {
                    Some(place) => model.insert(no, place.clone()),
                    None => model.remove(&no),
                };
                groups.put(no, place);
                prop_assert_eq!(told(&groups, |_| true), recount(&model));
                let mut of_one = recount(&model);
                of_one.retain(|key, _| key.0 == 1);
                prop_assert_eq!(told(&groups, |it| it == 1), of_one);
            }
        }
    }

    proptest! {
        #[test]
        fn members_are_those_of_a_list_of_all(
            all in prop::collection::btree_map(
                0u64..40, (0u32..3, 0u8..16, prop::option::of(0i64..6)), 0..40),
            code in 0u8..16, is_late: bool, newest_first: bool,
            beyond in prop::option::of(0u64..40), most in 0usize..9,
        ) {
            let mut groups = Groups::default();
            for (no, (workflow, code, next)) in &all {
                groups.put(*no, Some(place(*workflow, *code, 0, *next)));
            }
            let wanted = |it: u8| place(0, it, 0, None).reason.code;
            let now = LATE + 3;
            let told = groups.members(
                now,
                is_late,
                |of, it| of < 2 && it.is_some_and(|it| it.code == wanted(code)),
                (beyond, newest_first),
                most,
            );
            let mut model: Vec<_> = all.into_iter().filter(|(no, (of, it, next))| {
                let is_beyond = beyond.is_none_or(|at| if newest_first { *no < at } else { *no > at });
                *of < 2
                    && wanted(*it) == wanted(code)
                    && next.is_some_and(|it| it < 3) == is_late
                    && is_beyond
            }).map(|it| it.0).collect();
            if newest_first {
                model.reverse();
            }
            prop_assert_eq!(told.is_cut, model.len() > most);
            model.truncate(most);
            prop_assert_eq!(told.numbers, model);
        }
    }

    #[test]
    fn what_was_due_a_while_ago_is_told_apart() {
        let mut groups = Groups::default();
        for (no, next) in [(1, 10), (2, 5), (3, 2 * LATE)] {
            groups.put(no, Some(place(0, 0, no as Micros, Some(next))));
        }
        let told = |now| {
            let mut told = groups.of(now, |_| true);
            told.sort_by_key(|it| it.reason.clone());
            let told = told.into_iter();
            told.map(|it| {
                (
                    it.reason.unwrap().code,
                    it.count,
                    it.since,
                    it.next,
                    it.example,
                )
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(told(LATE), [("event".into(), 3, 1, Some(5), 1)]);
        let late = ("overdue".into(), 2, 5, Some(5), 2);
        assert_eq!(
            told(LATE + 11),
            [("event".into(), 1, 1, Some(2 * LATE), 1), late]
        );
    }

    #[test]
    fn beyond_a_thousand_groups_of_a_workflow_all_others_are_one() {
        let mut groups = Groups::default();
        let named = |workflow, no: u64| {
            let mut place = place(workflow, 0, no as Micros, None);
            place.reason.step = Some(no.to_string().into());
            place
        };
        let many = GROUPS as u64 + 50;
        for no in 0..many {
            groups.put(no, Some(named(0, no)));
        }
        groups.put(many, Some(named(1, 0)));
        let others = |groups: &Groups| {
            let all = groups.of(0, |it| it == 0);
            assert_eq!(
                all.iter().map(|it| it.count).sum::<u64>(),
                groups.members.len() as u64 - 1
            );
            let others = all.iter().find(|it| it.reason.is_none());
            others.map(|it| (it.count, it.since))
        };
        assert_eq!(others(&groups), Some((50, 1_000)));
        for no in 900..1_010 {
            groups.put(no, None);
        }
        assert_eq!(others(&groups), Some((40, 1_010)));
        // There is room again.
        groups.put(900, Some(named(0, 900)));
        assert_eq!(groups.sizes[&0], 901);
        for no in 0..=many {
            groups.put(no, None);
        }
        assert!(groups.numbers.is_empty() && groups.members.is_empty());
        assert_eq!(groups.free.len(), groups.all.len());
    }
}
