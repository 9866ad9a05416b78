//! Answers to events that want one (E6): the same over memory and `SQLite`.
#![allow(missing_docs, clippy::missing_panics_doc)]

#[macro_use]
mod store_cases;

use stepwell_core::erasure::restarted;
use stepwell_core::history::Kind;
use stepwell_core::store::{Answered, Op, Outcome, Restart, Store};
use store_cases::*;

suite!(e6_an_event_that_asks_has_the_first_answer_until_its_instance_is_deleted,);

fn e6_an_event_that_asks_has_the_first_answer_until_its_instance_is_deleted(place: &mut dyn Place) {
    let mut store = place.open();
    let ask = |id, dedup: &str| {
        let buffer = Op::Buffer(1, event(id), Some(dedup.into()));
        [buffer, Op::Ask(1, id, dedup.into())]
    };
    let asked = |store: &dyn Store, dedup| store.reader().unwrap().asked(1, dedup).unwrap();
    let taken = |id| {
        let mut it = record("w");
        (it.operation.kind, it.event) = (Kind::Event, Some(id));
        Op::Append(1, 1, it)
    };
    let plain = Op::Buffer(1, event(3), Some("plain".into()));
    let _ = store.commit(&[create(1, "a"), plain]).unwrap();
    let _ = store.commit(&ask(5, "q")).unwrap();
    // One that came before is no other one, and what it was it stays.
    assert_eq!(store.commit(&ask(6, "q")).unwrap()[0], Outcome::Seen);
    assert_eq!(store.commit(&ask(7, "plain")).unwrap()[0], Outcome::Seen);
    assert_eq!(asked(&*store, "q"), Answered::Open);
    assert_eq!(asked(&*store, "plain"), Answered::Never);
    assert_eq!(asked(&*store, "else"), Answered::Never);
    // Places of records: 1 took the event that asks, 2 the plain one.
    let _ = store.commit(&[taken(5), taken(3)]).unwrap();
    let answer = |place, incarnation, it: &[u8]| Op::Answer(1, incarnation, place, it.into());
    let none = [answer(2, 1, b"no"), answer(9, 1, b"no")];
    assert_eq!(store.commit(&none).unwrap(), [Outcome::Done(0); 2]);
    assert_eq!(
        commit_one(&mut *store, answer(1, 2, b"late")),
        Outcome::Fenced
    );
    assert_eq!(asked(&*store, "q"), Answered::Open);
    let two = [answer(1, 1, b"first"), answer(1, 1, b"second")];
    assert_eq!(store.commit(&two).unwrap(), [Outcome::Done(0); 2]);
    store = place.crash(store);
    let first = Answered::With(b"first".as_slice().into());
    assert_eq!(asked(&*store, "q"), first);
    assert_eq!(asked(&*store, "plain"), Answered::Never);
    // Whatever becomes of the instance and of its history.
    let to = Restart {
        incarnation: 9,
        seed: None,
        params: None,
        at: 5,
    };
    let anew = [
        Op::Restart(1, 1, to.into()),
        Op::Append(1, 9, restarted(&[], 5)),
    ];
    let _ = store.commit(&anew).unwrap();
    assert_eq!(asked(&*store, "q"), first);
    let _ = commit_one(&mut *store, Op::Delete(1));
    assert_eq!(asked(&*store, "q"), Answered::Never);
}
