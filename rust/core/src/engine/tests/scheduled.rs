//! Schedules: what is changed follows from what was seen, and is of one commit with what it creates.

use super::*;
use crate::limits::FIRINGS_KEPT;
use crate::schedule::{Firing, FiringQuery, Query, Schedule};
use crate::store::Filter;
use crate::submission::{Administered, Becomes, ScheduleChange};

fn becomes(next: i64) -> Becomes {
    Becomes {
        next: Some(next),
        state: [next as u8].into(),
        what: None,
    }
}

fn change(revision: u64, next: i64) -> ScheduleChange {
    ScheduleChange {
        namespace: "default".into(),
        id: "nightly".into(),
        revision,
        becomes: Some(becomes(next)),
        ..ScheduleChange::default()
    }
}

fn put(next: i64) -> ScheduleChange {
    let mut it = change(0, next);
    it.becomes.as_mut().unwrap().what = Some([9].into());
    it
}

fn firing(revision: u64, next: i64, ids: &[&str]) -> ScheduleChange {
    let item = |id: &&str| NewItem {
        schedule: Some("nightly".into()),
        ..item(id)
    };
    ScheduleChange {
        firings: ids
            .iter()
            .map(|id| Firing {
                outcome: "fired".into(),
                id: Some((*id).into()),
                ..Firing::default()
            })
            .collect(),
        creates: Some(Box::new((code(), ids.iter().map(item).collect()))),
        ..change(revision, next)
    }
}

impl Stage {
    fn change(&mut self, ticket: u64, change: ScheduleChange) -> Vec<Note> {
        let command = Command::ChangeSchedule(ticket, Box::new(change));
        self.say(vec![command.into()]).notes
    }

    fn schedules(&mut self) -> Vec<Schedule> {
        let page = Query {
            limit: 9,
            ..Query::default()
        };
        let found = self.facts.reader.schedules(&page).unwrap();
        found.into_iter().map(Result::unwrap).collect()
    }

    fn fired(&mut self) -> Vec<Option<Box<str>>> {
        let schedule = self.schedules()[0].number;
        let page = FiringQuery {
            schedule,
            beyond: None,
            limit: u32::MAX,
        };
        let found = self.facts.reader.firings(&page).unwrap();
        found.into_iter().map(|it| it.unwrap().id).collect()
    }

    fn made(&mut self) -> Vec<Box<str>> {
        let page = Filter {
            schedule: Some("nightly".into()),
            limit: 99,
            ..Filter::default()
        };
        let rows = self.facts.reader.list(&page).unwrap();
        rows.into_iter().map(|it| it.id).collect()
    }
}

fn woken(notes: &[Note]) -> usize {
    let woken = notes
        .iter()
        .filter(|it| matches!(it, Note::Schedule { .. }));
    woken.count()
}

#[test]
fn a_schedule_is_woken_when_it_is_due_and_after_a_crash_and_not_before() {
    let mut stage = Stage::new();
    assert_eq!(codes(&stage.change(1, put(200))), [(1, "")]);
    stage.now = 199;
    assert_eq!(woken(&stage.say(vec![]).notes), 0);
    stage.now = 200;
    assert_eq!(woken(&stage.say(vec![]).notes), 1);
    assert_eq!(woken(&stage.say(vec![]).notes), 0);
    assert_eq!(woken(&stage.crash().notes), 1);
    stage.change(2, change(1, 300));
    assert_eq!(woken(&stage.crash().notes), 0);
    // What it was to be looked at before counts no more.
    stage.change(3, change(2, 250));
    stage.now = 250;
    assert_eq!(woken(&stage.say(vec![]).notes), 1);
    stage.now = 300;
    assert_eq!(woken(&stage.say(vec![]).notes), 0);
}

#[test]
fn a_change_that_follows_from_another_state_than_the_last_changes_nothing() {
    let mut stage = Stage::new();
    assert_eq!(codes(&stage.change(1, change(1, 200))), [(1, "outdated")]);
    assert_eq!(stage.schedules(), []);
    stage.change(2, put(200));
    assert_eq!(codes(&stage.change(3, put(300))), [(3, "outdated")]);
    let two = [4, 5]
        .map(|ticket| Command::ChangeSchedule(ticket, Box::new(firing(1, 300, &["a"]))).into());
    let notes = stage.say(two.into()).notes;
    assert_eq!(codes(&notes), [(4, ""), (5, "outdated")]);
    assert_eq!(stage.fired().len(), 1);
    stage.crash();
    let again = stage.change(6, firing(1, 300, &["b"]));
    assert_eq!(codes(&again), [(6, "outdated")]);
    assert_eq!(stage.made(), ["a".into()]);
}

#[test]
fn an_instance_that_is_there_is_left_as_it_is_and_its_firing_is_told() {
    let mut stage = Stage::new();
    stage.change(1, put(200));
    let first = stage.create("a");
    let notes = stage.change(2, firing(1, 300, &["a", "b"]));
    assert_eq!(codes(&notes), [(2, "")]);
    assert_eq!(stage.fired(), [Some("b".into()), Some("a".into())]);
    assert_eq!(stage.made(), ["b".into()]);
    // Also one that has ended, which only the store knows; and one that this batch creates.
    stage.say(vec![finish(first)]);
    let creation = create(3, "c");
    let change = Command::ChangeSchedule(4, Box::new(firing(2, 400, &["a", "c", "d"])));
    let notes = stage.say(vec![creation, change.into()]).notes;
    assert_eq!(codes(&notes), [(3, ""), (4, "")]);
    assert_eq!(stage.made(), ["b".into(), "d".into()]);
    assert_eq!(stage.fired().len(), 5);
}

#[test]
fn what_does_not_fit_is_refused_as_a_whole_and_fits_when_there_is_room() {
    let mut stage = Stage::new();
    stage.change(1, put(200));
    let bodies = [stage.create("x"), stage.create("y")];
    // Two slots, and three places in the queue.
    let notes = stage.change(2, firing(1, 300, &["a", "b", "c", "d"]));
    assert_eq!(codes(&notes), [(2, "overloaded")]);
    assert_eq!((stage.made(), stage.fired()), (vec![], vec![]));
    assert_eq!(stage.schedules()[0].revision, 1);
    stage.say(vec![finish(bodies[0])]);
    let notes = stage.change(3, firing(1, 300, &["a", "b", "c", "d"]));
    assert_eq!(codes(&notes), [(3, "")]);
    assert_eq!(stage.made().len(), 4);
}

#[test]
fn what_somebody_does_is_in_the_audit_and_a_removed_schedule_is_begun_anew() {
    let mut stage = Stage::new();
    stage.change(1, put(200));
    let number = stage.schedules()[0].number;
    let gone = ScheduleChange {
        becomes: None,
        audited: Some(Box::new(Administered {
            operation: "delete_schedule".into(),
            workflow: "w".into(),
            result: "deleted".into(),
            ..Administered::default()
        })),
        ..change(1, 0)
    };
    assert_eq!(codes(&stage.change(2, gone)), [(2, "")]);
    let page = crate::audit::Query {
        namespace: "default".into(),
        limit: 9,
        ..crate::audit::Query::default()
    };
    let (rows, _) = stage.facts.reader.audit(&page).unwrap();
    let row = rows[0].as_ref().unwrap();
    assert_eq!(row.filter.as_deref(), Some("schedule=nightly"));
    assert_eq!(&*row.operation, "delete_schedule");
    stage.now = 200;
    assert_eq!(woken(&stage.say(vec![]).notes), 0);
    stage.change(3, put(200));
    assert_ne!(stage.schedules()[0].number, number);
}

#[test]
fn of_many_firings_the_last_are_kept() {
    let mut stage = Stage::new();
    stage.change(1, put(200));
    let told = Firing {
        outcome: "missed".into(),
        ..Firing::default()
    };
    for revision in 1..64 {
        let many = ScheduleChange {
            firings: vec![told.clone(); 200],
            ..change(revision, 300)
        };
        stage.change(2, many);
    }
    assert_eq!(stage.fired().len() as u64, FIRINGS_KEPT);
}
