//! What stores keep of schedules and of what came of their times: the same over memory and `SQLite`.
#![allow(missing_docs)]

#[macro_use]
mod store_cases;

use stepwell_core::schedule::{Firing, FiringQuery, Query, Schedule};
use stepwell_core::store::{Filter, Op, Outcome, Store};
use store_cases::*;

suite!(
    a_schedule_goes_on_from_where_it_was_and_keeps_what_it_is,
    firings_are_told_last_first_and_the_oldest_are_forgotten,
    instances_are_found_by_the_schedule_that_created_them,
);

fn schedule(number: u64, id: &str) -> Schedule {
    Schedule {
        number,
        namespace: "default".into(),
        id: id.into(),
        revision: 1,
        next: Some(10),
        state: [1].into(),
        what: Some([2, 3].into()),
    }
}

fn asked(store: &dyn Store, page: &Query) -> Vec<Schedule> {
    let found = store.reader().unwrap().schedules(page).unwrap();
    found.into_iter().map(Result::unwrap).collect()
}

fn a_schedule_goes_on_from_where_it_was_and_keeps_what_it_is(place: &mut dyn Place) {
    let mut store = place.open();
    let all = [schedule(3, "a"), schedule(5, "b"), schedule(8, "c")];
    let ops = all.clone().map(|it| Op::Schedule(it.into()));
    let _ = store.commit(&ops).unwrap();
    let further = Schedule {
        revision: 2,
        next: None,
        state: [7, 7].into(),
        what: None,
        ..all[1].clone()
    };
    let _ = commit_one(&mut *store, Op::Schedule(further.clone().into()));
    let unknown = Schedule {
        number: 9,
        ..further.clone()
    };
    let _ = commit_one(&mut *store, Op::Schedule(unknown.into()));
    store = place.crash(store);
    let page = Query {
        limit: 9,
        ..Query::default()
    };
    let moved = Schedule {
        what: all[1].what.clone(),
        ..further
    };
    let expected = [all[0].clone(), moved.clone(), all[2].clone()];
    assert_eq!(asked(&*store, &page), expected);
    let second = Query {
        beyond: 3,
        limit: 1,
        ..page.clone()
    };
    assert_eq!(asked(&*store, &second), [moved]);
    let named = Query {
        id: Some("c".into()),
        namespace: Some("default".into()),
        ..page.clone()
    };
    assert_eq!(asked(&*store, &named), [all[2].clone()]);
    let other = Query {
        namespace: Some("other".into()),
        ..page.clone()
    };
    assert_eq!(asked(&*store, &other), []);
    let _ = commit_one(&mut *store, Op::Unschedule(5));
    assert_eq!(asked(&*store, &page), [all[0].clone(), all[2].clone()]);
}

fn firings_are_told_last_first_and_the_oldest_are_forgotten(place: &mut dyn Place) {
    let mut store = place.open();
    let firing = |schedule: u64, number: u64| Firing {
        schedule,
        number,
        at: -(number as i64),
        until: number.is_multiple_of(2).then_some(4),
        decided_at: 3,
        outcome: "missed".into(),
        why: Some("engine_down".into()),
        id: None,
    };
    let all = (1..7).map(|number| Op::Firing(firing(number % 2, number).into()));
    let _ = store.commit(&all.collect::<Vec<_>>()).unwrap();
    let asked = |store: &dyn Store, schedule, beyond, limit| {
        let page = FiringQuery {
            schedule,
            beyond,
            limit,
        };
        let found = store.reader().unwrap().firings(&page).unwrap();
        found.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    store = place.crash(store);
    assert_eq!(asked(&*store, 0, None, 2), [firing(0, 6), firing(0, 4)]);
    assert_eq!(asked(&*store, 0, Some(4), 2), [firing(0, 2)]);
    let forget = |store: &mut dyn Store, kept| commit_one(store, Op::ForgetFirings(1, kept));
    assert_eq!(forget(&mut *store, 2), Outcome::Done(1));
    assert_eq!(forget(&mut *store, 2), Outcome::Done(0));
    assert_eq!(asked(&*store, 1, None, 9), [firing(1, 5), firing(1, 3)]);
    let _ = commit_one(&mut *store, Op::Unschedule(1));
    assert_eq!(asked(&*store, 1, None, 9), []);
    assert_eq!(asked(&*store, 0, None, 9).len(), 3);
}

fn instances_are_found_by_the_schedule_that_created_them(place: &mut dyn Place) {
    let mut store = place.open();
    let of = |no: u64, schedule: Option<&str>| {
        let mut it = new(no, &no.to_string());
        it.schedule = schedule.map(Into::into);
        Op::Create(it.into())
    };
    let ops = [
        of(1, Some("nightly")),
        of(2, None),
        of(3, Some("hourly")),
        of(4, Some("nightly")),
    ];
    let _ = store.commit(&ops).unwrap();
    store = place.crash(store);
    let mut reader = store.reader().unwrap();
    let page = reader.list(&Filter {
        schedule: Some("nightly".into()),
        newest_first: true,
        limit: 9,
        ..Filter::default()
    });
    let found = page.unwrap();
    let found: Vec<_> = found.iter().map(|it| (it.no, &it.schedule)).collect();
    let nightly = Some("nightly".into());
    assert_eq!(found, [(4, &nightly), (1, &nightly)]);
    assert_eq!(reader.instance(2).unwrap().unwrap().schedule, None);
}
