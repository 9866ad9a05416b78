//! What stores keep of who did what, and of what is done to many: the same over memory and `SQLite`.
#![allow(missing_docs)]

#[macro_use]
mod store_cases;

use stepwell_core::audit::{By, Entry, Query};
use stepwell_core::bulk::{self, Bulk};
use stepwell_core::store::{Op, Outcome, Store};
use store_cases::*;

suite!(
    the_audit_shows_whose_rows_are_asked_for_and_forgets_the_oldest,
    what_is_done_to_many_is_kept_and_found_from_each_of_them,
);

fn the_audit_shows_whose_rows_are_asked_for_and_forgets_the_oldest(place: &mut dyn Place) {
    let mut store = place.open();
    let entry = |number: u64, namespace: &str, workflow: Option<&str>, id: Option<&str>| Entry {
        number,
        at: number as i64,
        by: By {
            actor: Some("ann".into()),
            note: (number == 2).then(|| "why".into()),
        },
        operation: "pause".into(),
        namespace: namespace.into(),
        workflow: workflow.map(Into::into),
        id: id.map(Into::into),
        filter: id.is_none().then(|| "status=blocked".into()),
        result: "paused".into(),
    };
    let all = [
        entry(1, "default", None, None),
        entry(2, "default", Some("orders"), Some("a")),
        entry(3, "other", Some("orders"), Some("a")),
        entry(4, "default", Some("orders"), Some("b")),
        entry(5, "default", Some("orders"), Some("a")),
    ];
    let ops: Vec<Op> = all.iter().map(|it| Op::Audit(it.clone().into())).collect();
    let _ = store.commit(&ops).unwrap();
    store = place.crash(store);
    let page = |workflow: Option<&str>, id: Option<&str>, beyond, limit| Query {
        namespace: "default".into(),
        workflow: workflow.map(Into::into),
        id: id.map(Into::into),
        beyond,
        limit,
    };
    let asked = |store: &dyn Store, page: &Query| {
        let (rows, searched_to) = store.reader().unwrap().audit(page).unwrap();
        assert_eq!(searched_to, None);
        rows.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let numbers = |store: &dyn Store, page: &Query| -> Vec<u64> {
        asked(store, page).iter().map(|it| it.number).collect()
    };
    assert_eq!(asked(&*store, &page(None, None, None, 1)), [all[4].clone()]);
    assert_eq!(numbers(&*store, &page(None, None, None, 9)), [5, 4, 2, 1]);
    assert_eq!(numbers(&*store, &page(None, None, Some(4), 9)), [2, 1]);
    let orders = page(Some("orders"), None, None, 9);
    assert_eq!(numbers(&*store, &orders), [5, 4, 2]);
    let one = page(Some("orders"), Some("a"), None, 9);
    assert_eq!(numbers(&*store, &one), [5, 2]);
    let one = page(Some("orders"), Some("a"), Some(5), 9);
    assert_eq!(numbers(&*store, &one), [2]);

    // One with the same number takes its place.
    let mut later = all[0].clone();
    later.result = "done: 7".into();
    let _ = store.commit(&[Op::Audit(later.clone().into())]).unwrap();
    assert_eq!(asked(&*store, &page(None, None, Some(2), 9)), [later]);

    assert_eq!(
        commit_one(&mut *store, Op::ForgetAudit(4)),
        Outcome::Done(3)
    );
    assert_eq!(numbers(&*store, &page(None, None, None, 9)), [5, 4]);
    let many = (10..10 + 300).map(|it| Op::Audit(entry(it, "default", None, None).into()));
    let _ = store.commit(&many.collect::<Vec<_>>()).unwrap();
    let forget = |store: &mut dyn Store| commit_one(store, Op::ForgetAudit(1_000));
    assert_eq!(forget(&mut *store), Outcome::Done(256));
    assert_eq!(forget(&mut *store), Outcome::Done(46));
    assert_eq!(forget(&mut *store), Outcome::Done(0));
}

fn what_is_done_to_many_is_kept_and_found_from_each_of_them(place: &mut dyn Place) {
    let mut store = place.open();
    let begun = |number: u64, namespace: &str| Bulk {
        number,
        namespace: namespace.into(),
        operation: "pause".into(),
        frontier: number,
        what: Some([number as u8].into()),
        ..Bulk::default()
    };
    let all = [begun(7, "default"), begun(8, "other"), begun(9, "default")];
    let mut ops: Vec<Op> = all.iter().map(|it| Op::Bulk(it.clone().into())).collect();
    ops.extend(all.iter().map(|it| Op::Audit(it.audited().into())));
    let _ = store.commit(&ops).unwrap();
    let page = bulk::Query {
        limit: 9,
        ..bulk::Query::default()
    };
    let asked = |store: &dyn Store, page: &bulk::Query| {
        let found = store.reader().unwrap().bulks(page).unwrap();
        found.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let mine = bulk::Query {
        namespace: Some("default".into()),
        ..page.clone()
    };
    assert_eq!(asked(&*store, &mine), [all[2].clone(), all[0].clone()]);
    // How far it is takes nothing from what it is.
    let mut further = all[0].clone();
    (further.place, further.done, further.what) = (3, 2, None);
    further.count_failed("state");
    further.ended_at = Some(5);
    let ops = [
        create(1, "a"),
        Op::Bulk(further.clone().into()),
        Op::Touched(1, 7),
    ];
    let _ = store.commit(&ops).unwrap();
    store = place.crash(store);
    further.what.clone_from(&all[0].what);
    let one = bulk::Query {
        number: Some(7),
        ..page.clone()
    };
    assert_eq!(asked(&*store, &one), [further]);
    let open = bulk::Query { open: true, ..page };
    assert_eq!(asked(&*store, &open), [all[2].clone(), all[1].clone()]);
    let before = bulk::Query {
        beyond: Some(9),
        ..open
    };
    assert_eq!(asked(&*store, &before), [all[1].clone()]);

    let own = |number: u64| Entry {
        number,
        namespace: "default".into(),
        workflow: Some("orders".into()),
        id: Some("a".into()),
        ..Entry::default()
    };
    let rows = [5, 6, 8].map(|it| Op::Audit(own(it).into()));
    let _ = store.commit(&rows).unwrap();
    let of = |store: &dyn Store, beyond, limit| {
        let page = Query {
            namespace: "default".into(),
            workflow: Some("orders".into()),
            id: Some("a".into()),
            beyond,
            limit,
        };
        let (rows, _) = store.reader().unwrap().audit(&page).unwrap();
        let rows = rows.into_iter().map(|it| it.unwrap().number);
        rows.collect::<Vec<_>>()
    };
    assert_eq!(of(&*store, None, 9), [8, 7, 6, 5]);
    assert_eq!(of(&*store, None, 1), [8]);
    assert_eq!(of(&*store, Some(8), 1), [7]);
    assert_eq!(of(&*store, Some(7), 9), [6, 5]);
    let _ = commit_one(&mut *store, Op::Touched(1, 9));
    assert_eq!(of(&*store, None, 9), [9, 8, 6, 5]);
    let _ = commit_one(&mut *store, Op::ForgetAudit(0));

    assert_eq!(
        commit_one(&mut *store, Op::ForgetBulks(5)),
        Outcome::Done(0)
    );
    assert_eq!(
        commit_one(&mut *store, Op::ForgetBulks(6)),
        Outcome::Done(1)
    );
    assert_eq!(asked(&*store, &one), []);
}
