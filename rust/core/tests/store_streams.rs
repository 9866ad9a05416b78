//! What stores keep of streams: the same over memory and `SQLite`.
#![allow(missing_docs)]

#[macro_use]
mod store_cases;

use stepwell_core::ids::Seq;
use stepwell_core::lifecycle::Status;
use stepwell_core::limits::{CHUNKS_KEPT, FORGOTTEN, STREAM_READ};
use stepwell_core::store::{Op, Outcome, Restart, Store};
use stepwell_core::stream::{Chunks, Mark};
use store_cases::*;

suite!(
    chunks_are_read_in_order_from_any_place,
    a_stream_holds_so_much_and_no_more,
    what_ends_with_an_outcome_no_longer_counts_and_goes_after_a_while,
    what_the_body_sent_stays_beside_that_and_is_counted_by_block,
    a_restart_leaves_another_stream_and_a_deletion_none,
    an_outdated_incarnation_and_one_that_has_ended_send_nothing,
    a_look_reads_no_more_than_it_may,
    what_nobody_is_told_any_more_goes_a_few_rows_at_a_time,
);

fn chunks(mark: Mark, some: &[&str]) -> Chunks {
    Chunks {
        stream: "s".into(),
        attempt: 1,
        mark,
        chunks: some.iter().map(|it| it.as_bytes().into()).collect(),
        most: [100, 100],
        at: 10,
        ..Chunks::default()
    }
}

fn send(it: Chunks) -> Op {
    Op::Chunks(1, 1, it.into())
}

/// Places and chunks from after this place on.
fn read(store: &dyn Store, incarnation: u64, after: u64) -> Vec<(u64, Mark, Vec<String>)> {
    let mut reader = store.reader().unwrap();
    let rows = reader.stream((1, incarnation), "s", after, 100).unwrap();
    let text = |it: &[u8]| String::from_utf8(it.to_vec()).unwrap();
    rows.iter()
        .map(|it| {
            let chunks = it.chunks.iter().map(|it| text(it)).collect();
            (it.place, it.mark, chunks)
        })
        .collect()
}

fn places(store: &dyn Store, incarnation: u64) -> Vec<u64> {
    read(store, incarnation, 0).iter().map(|it| it.0).collect()
}

fn sent(store: &dyn Store) -> Vec<(Seq, u64)> {
    store.reader().unwrap().sent(1, 1).unwrap()
}

fn chunks_are_read_in_order_from_any_place(place: &mut dyn Place) {
    let mut store = place.open();
    let outcomes = store
        .commit(&[
            create(1, "a"),
            send(chunks(Mark::Opens, &["a", "b"])),
            send(chunks(Mark::GoesOn, &["c"])),
            send(chunks(Mark::Ends, &[])),
            send(Chunks {
                stream: "another".into(),
                ..chunks(Mark::Opens, &["x"])
            }),
        ])
        .unwrap();
    let done = [0, 1, 3, 4, 1].map(Outcome::Done);
    assert_eq!(outcomes, done);
    store = place.crash(store);
    let first = (1, Mark::Opens, vec!["a".to_string(), "b".to_string()]);
    let second = (3, Mark::GoesOn, vec!["c".to_string()]);
    let end = (4, Mark::Ends, Vec::new());
    let all = [first, second, end];
    assert_eq!(read(&*store, 1, 0), all);
    assert_eq!(
        read(&*store, 1, 1),
        all,
        "the second chunk is in the first row"
    );
    assert_eq!(read(&*store, 1, 2), all[1..]);
    assert_eq!(read(&*store, 1, 3), all[2..]);
    assert_eq!(read(&*store, 1, 4), []);
    assert_eq!(read(&*store, 2, 0), []);
}

fn a_stream_holds_so_much_and_no_more(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = commit_one(&mut *store, create(1, "a"));
    let within = |most: [u64; 2], some: &[&str]| {
        send(Chunks {
            most,
            ..chunks(Mark::GoesOn, some)
        })
    };
    let outcomes = store
        .commit(&[
            within([3, 9], &["abc", "de"]),
            within([3, 9], &["f", "g"]),
            within([3, 5], &["f"]),
            within([3, 6], &["f"]),
        ])
        .unwrap();
    let full = Outcome::Full;
    assert_eq!(outcomes, [Outcome::Done(1), full, full, Outcome::Done(3)]);
    assert_eq!(places(&*store, 1), [1, 3]);
}

fn what_ends_with_an_outcome_no_longer_counts_and_goes_after_a_while(place: &mut dyn Place) {
    let mut store = place.open();
    let all = ["x"; 100];
    let _ = store
        .commit(&[
            create(1, "a"),
            send(chunks(Mark::Opens, &all[..60])),
            Op::Append(1, 1, record("model")),
            send(chunks(Mark::Recorded, &[])),
            send(chunks(Mark::Opens, &all[..99])),
        ])
        .unwrap();
    let more = commit_one(&mut *store, send(chunks(Mark::GoesOn, &["x", "y"])));
    assert_eq!(more, Outcome::Full, "those of the second passage count");
    let early = commit_one(&mut *store, Op::ForgetChunks(10 + CHUNKS_KEPT));
    assert_eq!(early, Outcome::Done(0));
    assert_eq!(places(&*store, 1), [1, 61, 62]);
    let late = commit_one(&mut *store, Op::ForgetChunks(11 + CHUNKS_KEPT));
    assert!(matches!(late, Outcome::Done(1..)), "{late:?}");
    store = place.crash(store);
    assert_eq!(
        places(&*store, 1),
        [61, 62],
        "the end says what stands for it"
    );
    let mut reader = store.reader().unwrap();
    let rows = reader.stream((1, 1), "s", 0, 1).unwrap();
    let outcome = rows[0].outcome.as_ref().expect("it is recorded");
    assert_eq!(&*outcome.record.operation.name, "model");
    assert_eq!(
        commit_one(&mut *store, Op::ForgetChunks(i64::MAX)),
        Outcome::Done(0)
    );
}

fn what_the_body_sent_stays_beside_that_and_is_counted_by_block(place: &mut dyn Place) {
    let mut store = place.open();
    let of_block = |part, mark, some: &[&str]| {
        send(Chunks {
            part,
            ..chunks(mark, some)
        })
    };
    let _ = store
        .commit(&[
            create(1, "a"),
            of_block(7, Mark::Opens, &["a", "b"]),
            send(chunks(Mark::Opens, &["of a step"])),
            of_block(7, Mark::GoesOn, &["c"]),
            of_block(7, Mark::Ends, &[]),
            of_block(9, Mark::Opens, &["d"]),
            send(chunks(Mark::Recorded, &[])),
        ])
        .unwrap();
    assert_eq!(sent(&*store), [(7, 4), (9, 1)]);
    let _ = commit_one(&mut *store, Op::ForgetChunks(i64::MAX));
    assert_eq!(sent(&*store), [(7, 4), (9, 1)]);
    assert_eq!(places(&*store, 1), [1, 3, 4, 5, 6, 7]);
}

fn a_restart_leaves_another_stream_and_a_deletion_none(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = store
        .commit(&[create(1, "a"), send(chunks(Mark::Opens, &["a"]))])
        .unwrap();
    let anew = Restart {
        incarnation: 2,
        seed: None,
        params: None,
        at: 11,
    };
    let second = Op::Chunks(1, 2, chunks(Mark::Opens, &["b"]).into());
    let _ = store
        .commit(&[Op::Restart(1, 1, anew.into()), second])
        .unwrap();
    assert_eq!((places(&*store, 1), places(&*store, 2)), (vec![1], vec![1]));
    let _ = commit_one(&mut *store, Op::ForgetChunks(1));
    store = place.crash(store);
    assert_eq!((places(&*store, 1), places(&*store, 2)), (vec![], vec![1]));
    let gone = [Op::Delete(1), Op::ForgetChunks(1)];
    let _ = store.commit(&gone).unwrap();
    assert_eq!(places(&*store, 2), []);
}

fn an_outdated_incarnation_and_one_that_has_ended_send_nothing(place: &mut dyn Place) {
    let mut store = place.open();
    let one = || send(chunks(Mark::Opens, &["a"]));
    assert_eq!(commit_one(&mut *store, one()), Outcome::Fenced);
    let late = Op::Chunks(1, 2, chunks(Mark::Opens, &["a"]).into());
    let outcomes = store
        .commit(&[
            create(1, "a"),
            late,
            Op::Status(1, 1, to(Status::Complete, 5)),
            one(),
        ])
        .unwrap();
    assert_eq!(outcomes[1], Outcome::Fenced);
    assert_eq!(outcomes[3], Outcome::Fenced);
    assert_eq!(places(&*store, 1), []);
}

fn a_look_reads_no_more_than_it_may(place: &mut dyn Place) {
    let mut store = place.open();
    let half = "x".repeat(STREAM_READ as usize / 2);
    let large = || {
        send(Chunks {
            most: [u64::MAX >> 1; 2],
            ..chunks(Mark::GoesOn, &[&half])
        })
    };
    let _ = store
        .commit(&[create(1, "a"), large(), large(), large()])
        .unwrap();
    assert_eq!(places(&*store, 1), [1, 2]);
}

fn what_nobody_is_told_any_more_goes_a_few_rows_at_a_time(place: &mut dyn Place) {
    let mut store = place.open();
    let rows = FORGOTTEN + 10;
    let one = || {
        send(Chunks {
            most: [u64::MAX >> 1; 2],
            ..chunks(Mark::GoesOn, &["a"])
        })
    };
    let all: Vec<Op> = (0..rows).map(|_| one()).collect();
    let _ = commit_one(&mut *store, create(1, "a"));
    let _ = store.commit(&all).unwrap();
    let _ = commit_one(&mut *store, Op::Delete(1));
    let first = commit_one(&mut *store, Op::ForgetChunks(1));
    assert_eq!(first, Outcome::Done(FORGOTTEN.into()), "there may be more");
    assert_eq!(places(&*store, 1).len(), 10);
    store = place.crash(store);
    let second = commit_one(&mut *store, Op::ForgetChunks(1));
    assert_eq!(
        second,
        Outcome::Done(11),
        "the rows, and that they were to go"
    );
    assert_eq!(places(&*store, 1), []);
    assert_eq!(
        commit_one(&mut *store, Op::ForgetChunks(1)),
        Outcome::Done(0)
    );
}
