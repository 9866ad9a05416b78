//! What is erased, restarted, deleted: the same facts over memory and `SQLite`.
#![allow(missing_docs, clippy::missing_panics_doc)]

#[macro_use]
mod store_cases;

use stepwell_core::erasure::restarted;
use stepwell_core::history::{Record, Verdict};
use stepwell_core::lifecycle::Status;
use stepwell_core::store::{Filter, Op, Outcome, Restart, Store};
use stepwell_core::wait::Source;
use store_cases::*;

suite!(
    what_is_erased_counts_no_more_and_is_freed_in_steps_that_survive_crashes,
    l6_a_restart_begins_a_new_life_and_keeps_what_it_says,
    l7_what_is_deleted_is_gone_and_its_id_free_and_its_history_freed_in_steps_that_survive_crashes,
);

/// One line per record of a history: its step, its attempt, what it says.
fn lines(store: &dyn Store, no: u64) -> Vec<String> {
    let history = store.reader().unwrap().history(no).unwrap();
    let line = |it: &Record| format!("{} {} {:?}", it.operation.name, it.attempt, it.verdict);
    history.iter().map(|it| line(&it.record)).collect()
}

fn what_is_erased_counts_no_more_and_is_freed_in_steps_that_survive_crashes(place: &mut dyn Place) {
    let mut store = place.open();
    let says = |name: &str, attempt, verdict, erases| {
        let mut it = record(name);
        (it.attempt, it.verdict, it.erases) = (attempt, verdict, erases);
        it
    };
    let _ = store.commit(&[create(1, "a"), create(2, "b")]).unwrap();
    let mut batch = Vec::new();
    let mut counting = Vec::new();
    for attempt in 1..=900 {
        let verdict = match attempt % 3 {
            0 => Verdict::Saved,
            1 => Verdict::AttemptFailed,
            _ => Verdict::Interrupted,
        };
        batch.push(says("tried", attempt, verdict, None));
        if !(101..=800).contains(&attempt) {
            counting.push(format!("tried {attempt} {verdict:?}"));
        }
        // What others do, and what looks like it: another step, and an outcome.
        if attempt % 70 == 0 {
            batch.push(says("other", attempt, Verdict::AttemptFailed, None));
            counting.push(format!("other {attempt} AttemptFailed"));
        }
        if attempt % 300 == 0 {
            batch.push(says("tried", attempt, Verdict::Erased, Some(101)));
        }
    }
    batch.push(says("tried", 800, Verdict::Erased, Some(101)));
    batch.push(says("other", 1, Verdict::Done, None));
    counting.extend(["tried 800 Erased".into(), "other 1 Done".into()]);
    for it in batch {
        let ops = [Op::Append(1, 1, it), Op::Append(2, 1, record("beside"))];
        let _ = store.commit(&ops).unwrap();
    }
    let beside = lines(&*store, 2);
    for round in 0..12 {
        assert_eq!(lines(&*store, 1), counting, "{round}");
        assert_eq!(lines(&*store, 2), beside);
        store.maintain().unwrap();
        assert_eq!(lines(&*store, 1), counting, "{round}");
        store = place.crash(store);
    }
    for round in 0..12 {
        store.maintain().unwrap();
        assert_eq!(lines(&*store, 1), counting, "{round}");
    }
    let _ = commit_one(&mut *store, Op::Append(1, 1, record("next")));
    assert_eq!(lines(&*store, 1).len(), counting.len() + 1);
    store.close().unwrap();
    store = place.open();
    assert_eq!(lines(&*store, 1).len(), counting.len() + 1);
}

fn l6_a_restart_begins_a_new_life_and_keeps_what_it_says(place: &mut dyn Place) {
    let mut store = place.open();
    let mut one = new(1, "a");
    (one.params, one.status) = (Some([1].into()), Status::Running);
    let batch = [
        Op::Create(one.into()),
        Op::Append(1, 1, record("kept")),
        Op::Append(1, 1, record("not")),
        Op::Append(1, 1, record("kept too")),
        Op::Open(1, 1, wait(1, Source::Timer)),
        Op::Buffer(1, event(1), Some("d".into())),
        Op::Progress(1, [2].into()),
        change(1, to(Status::Blocked, 5)),
    ];
    let _ = store.commit(&batch).unwrap();
    let again = |incarnation, seed, params: Option<&[u8]>| Restart {
        incarnation,
        seed,
        params: params.map(Into::into),
        at: 9,
    };
    let batch = [
        Op::Restart(1, 1, again(7, Some(1), None).into()),
        Op::Append(1, 7, restarted(&[(1, 1), (3, 3)], 9)),
        // What the old life still says changes nothing.
        Op::Append(1, 1, record("late")),
        Op::Restart(1, 1, again(8, None, None).into()),
    ];
    let done = [
        Outcome::Done(0),
        Outcome::Done(4),
        Outcome::Fenced,
        Outcome::Fenced,
    ];
    assert_eq!(store.commit(&batch).unwrap(), done);
    for _ in 0..2 {
        let row = store.find("default", "orders", "a").unwrap().unwrap();
        assert_eq!(
            (row.incarnation, row.seed, row.status),
            (7, Some(1), Status::Queued)
        );
        assert_eq!(
            (row.reason, row.started_at, row.updated_at),
            (None, None, 9)
        );
        let mut reader = store.reader().unwrap();
        let payloads = reader.payloads(1).unwrap();
        assert_eq!(payloads.params.as_deref(), Some(&[1][..]));
        assert_eq!((payloads.result, payloads.progress), (None, None));
        assert_eq!(reader.waits(1).unwrap(), []);
        assert_eq!(
            lines(&*store, 1),
            ["kept 2 AttemptFailed", "kept too 2 AttemptFailed"]
        );
        assert_eq!(recovered(&mut *store).events.len(), 1);
        store = place.crash(store);
    }
    // What was erased is freed, and what comes next continues what is left.
    store.maintain().unwrap();
    let batch = [
        Op::Append(1, 7, record("next")),
        Op::Status(1, 7, to(Status::Complete, 10)),
        Op::Restart(1, 7, again(9, None, Some(&[3])).into()),
        Op::Append(1, 9, restarted(&[], 11)),
    ];
    assert!(!store.commit(&batch).unwrap().contains(&Outcome::Fenced));
    for _ in 0..2 {
        let row = store.reader().unwrap().instance(1).unwrap().unwrap();
        assert_eq!((row.incarnation, row.seed, row.ended_at), (9, None, None));
        let params = store.reader().unwrap().payloads(1).unwrap().params;
        assert_eq!(params.as_deref(), Some(&[3][..]));
        assert!(lines(&*store, 1).is_empty());
        store.maintain().unwrap();
        store = place.crash(store);
    }
    let _ = commit_one(&mut *store, Op::Append(1, 9, record("first")));
    assert_eq!(lines(&*store, 1), ["first 2 AttemptFailed"]);
}

fn l7_what_is_deleted_is_gone_and_its_id_free_and_its_history_freed_in_steps_that_survive_crashes(
    place: &mut dyn Place,
) {
    let mut store = place.open();
    let mut one = new(1, "a");
    one.attributes = Some([0xa1, 0x61, b'k', 7].into());
    let mut batch = vec![Op::Create(one.into()), create(2, "b")];
    for _ in 0..700 {
        batch.push(Op::Append(1, 1, record("gone")));
        batch.push(Op::Append(2, 1, record("beside")));
    }
    batch.extend([
        Op::Open(1, 1, wait(1, Source::Timer)),
        Op::Buffer(1, event(1), Some("d".into())),
        Op::Progress(1, [2].into()),
    ]);
    let _ = store.commit(&batch).unwrap();
    store = place.crash(store);
    assert_eq!(commit_one(&mut *store, Op::Delete(1)), Outcome::Done(0));
    // Once more is no error.
    assert_eq!(commit_one(&mut *store, Op::Delete(1)), Outcome::Done(0));
    assert_eq!(commit_one(&mut *store, create(3, "a")), Outcome::Done(0));
    let _ = commit_one(&mut *store, Op::Append(3, 1, record("new")));
    for _ in 0..8 {
        assert_eq!(store.find("default", "orders", "a").unwrap().unwrap().no, 3);
        let mut reader = store.reader().unwrap();
        assert_eq!(reader.instance(1).unwrap(), None);
        let nothing = stepwell_core::store::Payloads::default();
        assert_eq!(reader.payloads(1).unwrap(), nothing);
        assert!(!reader.seen(1, "d").unwrap());
        let by = Filter {
            attributes: vec![("k".into(), [7].into())],
            limit: 9,
            ..Filter::default()
        };
        assert_eq!(reader.list(&by).unwrap(), []);
        assert_eq!(reader.waits(1).unwrap(), []);
        assert_eq!(recovered(&mut *store).events.len(), 0);
        assert_eq!(lines(&*store, 1), [""; 0]);
        assert_eq!(lines(&*store, 2).len(), 700);
        assert_eq!(lines(&*store, 3), ["new 2 AttemptFailed"]);
        store.maintain().unwrap();
        store = place.crash(store);
    }
}
