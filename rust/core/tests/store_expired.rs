//! Which instances are to go because their time is over: the same facts over memory and `SQLite`.
#![allow(missing_docs, clippy::missing_panics_doc)]

#[macro_use]
mod store_cases;

use stepwell_core::ids::{InstanceNo, Micros};
use stepwell_core::lifecycle::Status;
use stepwell_core::retention::Keep;
use stepwell_core::store::known::Needs;
use stepwell_core::store::{Expiry, Op, Restart, Store, Transition};
use store_cases::*;

suite!(
    l9_one_that_has_ended_is_to_go_when_its_time_is_over,
    l9_one_that_has_a_time_of_its_own_goes_by_that,
    l9_beyond_a_count_those_that_ended_first_are_to_go,
    l9_one_that_is_restarted_is_not_to_go,
);

const SUCCESS: Keep = Keep {
    success: Some(10),
    error: None,
};

fn expiry(now: Micros, keep: Keep) -> Expiry {
    Expiry {
        namespace: "default".into(),
        workflow: "orders".into(),
        now,
        keep,
        surplus: 0,
        most: 100,
    }
}

/// Those that are to go, and when the next is.
fn found(store: &mut dyn Store, what: &Expiry) -> (Vec<InstanceNo>, Option<Micros>) {
    let mut needs = Needs::default();
    needs.expired = Some(what.clone());
    let expired = store.look(needs).unwrap().take_expired();
    let numbers = expired.rows.iter().map(|it| it.as_ref().unwrap().no);
    let numbers: Vec<_> = numbers.collect();
    let count = store.overdue(what).unwrap();
    assert_eq!(count, numbers.len() as u64);
    (numbers, expired.next)
}

fn end(no: InstanceNo, status: Status, at: Micros) -> Op {
    let to = Transition {
        status,
        marked: false,
        recoveries: 0,
        reason: None,
        step: None,
        payload: None,
        undo: None,
        at,
    };
    Op::Status(no, 1, to)
}

fn kept(no: InstanceNo, id: &str, keep: Keep) -> Op {
    let mut one = new(no, id);
    one.keep = Some(keep);
    Op::Create(one.into())
}

fn l9_one_that_has_ended_is_to_go_when_its_time_is_over(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = store
        .commit(&[
            create(1, "a"),
            create(2, "b"),
            create(3, "c"),
            create(4, "d"),
        ])
        .unwrap();
    let ends = [
        end(3, Status::Complete, 100),
        end(1, Status::Complete, 105),
        end(2, Status::Terminated, 50),
    ];
    let _ = store.commit(&ends).unwrap();
    let mut store = place.crash(store);
    let now = |at| expiry(at, SUCCESS);
    assert_eq!(found(&mut *store, &now(109)), (vec![], Some(110)));
    assert_eq!(found(&mut *store, &now(110)), (vec![3], Some(115)));
    assert_eq!(found(&mut *store, &now(115)), (vec![3, 1], None));
    let one = Expiry {
        most: 1,
        ..now(115)
    };
    assert_eq!(found(&mut *store, &one), (vec![3], None));
    let errors = Keep {
        success: None,
        error: Some(0),
    };
    assert_eq!(found(&mut *store, &expiry(50, errors)), (vec![2], None));
    let never = expiry(Micros::MAX, Keep::default());
    assert_eq!(found(&mut *store, &never), (vec![], None));
    let others = Expiry {
        workflow: "others".into(),
        ..now(115)
    };
    assert_eq!(found(&mut *store, &others), (vec![], None));
}

fn l9_one_that_has_a_time_of_its_own_goes_by_that(place: &mut dyn Place) {
    let mut store = place.open();
    let long = Keep {
        success: Some(1_000),
        error: Some(5),
    };
    let batch = [
        create(1, "a"),
        kept(2, "b", long),
        kept(3, "c", Keep::default()),
        kept(4, "d", long),
        end(1, Status::Complete, 100),
        end(2, Status::Complete, 100),
        end(3, Status::Complete, 100),
        end(4, Status::Errored, 100),
    ];
    let _ = store.commit(&batch).unwrap();
    let mut store = place.crash(store);
    let now = |at| expiry(at, SUCCESS);
    assert_eq!(found(&mut *store, &now(106)), (vec![4], Some(110)));
    assert_eq!(found(&mut *store, &now(200)), (vec![4, 1], Some(1_100)));
    let all = (vec![4, 1, 2], None);
    assert_eq!(found(&mut *store, &now(1_100)), all);
    // Whatever their workflow says.
    let never = expiry(1_100, Keep::default());
    assert_eq!(found(&mut *store, &never), (vec![4, 2], None));
}

fn l9_beyond_a_count_those_that_ended_first_are_to_go(place: &mut dyn Place) {
    let mut store = place.open();
    let mut batch: Vec<_> = (1..=6).map(|no| create(no, &no.to_string())).collect();
    batch.push(kept(7, "g", Keep::default()));
    let ends = [Status::Complete, Status::Errored, Status::Terminated];
    batch.extend((1..=7).map(|no| end(no, ends[no as usize % 3], 200 - no as Micros)));
    let _ = store.commit(&batch).unwrap();
    let of = |surplus, now| Expiry {
        surplus,
        ..expiry(now, SUCCESS)
    };
    // 7 has a time of its own, for ever.
    assert_eq!(found(&mut *store, &of(2, 0)), (vec![6, 5], Some(204)));
    // 6 and 3 are complete, so their time is over first.
    assert_eq!(found(&mut *store, &of(2, 204)), (vec![6, 5], Some(207)));
    assert_eq!(found(&mut *store, &of(3, 207)), (vec![6, 3, 5, 4], None));
}

fn l9_one_that_is_restarted_is_not_to_go(place: &mut dyn Place) {
    let mut store = place.open();
    let long = Keep {
        success: Some(20),
        error: None,
    };
    let batch = [
        create(1, "a"),
        kept(2, "b", long),
        end(1, Status::Complete, 100),
        end(2, Status::Complete, 100),
    ];
    let _ = store.commit(&batch).unwrap();
    let anew = Restart {
        incarnation: 9,
        seed: None,
        params: None,
        at: 101,
    };
    let _ = store
        .commit(&[1, 2].map(|no| Op::Restart(no, 1, anew.clone().into())))
        .unwrap();
    assert_eq!(found(&mut *store, &expiry(500, SUCCESS)), (vec![], None));
    let again = [1, 2].map(|no| {
        let Op::Status(no, _, to) = end(no, Status::Complete, 300) else {
            unreachable!("it ends");
        };
        Op::Status(no, 9, to)
    });
    let _ = store.commit(&again).unwrap();
    assert_eq!(
        found(&mut *store, &expiry(310, SUCCESS)),
        (vec![1], Some(320))
    );
    assert_eq!(
        found(&mut *store, &expiry(320, SUCCESS)),
        (vec![1, 2], None)
    );
    let mut store = place.crash(store);
    let _ = store.commit(&[Op::Delete(1)]).unwrap();
    assert_eq!(found(&mut *store, &expiry(320, SUCCESS)), (vec![2], None));
}
