//! What the outbox gives first when more is to be told than is handled in one go. (That the byte
//! stays is a model's affair.)

use super::outbox::Outbox;
use crate::history::{Stored, Verdict};
use crate::limits::{ANSWERS, RECORDS_A_START};
use crate::note::{Data, Note, Settled, Start};
use crate::store::{samples::append, Op};

fn answers(count: usize) -> Vec<Note> {
    let tickets = 0..count as u64;
    tickets.map(|it| Note::reply(it, Data::Nothing)).collect()
}

fn done() -> Note {
    let (at, tickets, seqs) = (0, vec![7], vec![1]);
    Note::Done { at, tickets, seqs }
}

#[test]
fn a_note_for_a_body_comes_next_whatever_answers_stand_before_it() {
    let outbox = Outbox::new().expect("a pair");
    let flood = 2 * ANSWERS + 1;
    outbox.put(answers(flood), Some(1));
    outbox.put(vec![done()], Some(2));
    outbox.put_last(Note::Idle);
    let mut told = outbox.take(usize::MAX);
    assert_eq!((told.len(), told.pop()), (ANSWERS + 1, Some(done())));
    assert_eq!(outbox.seen(), 2, "bodies are told all there is");
    for left in [ANSWERS, 2] {
        assert!(!outbox.is_empty());
        let more = outbox.take(usize::MAX);
        assert_eq!(more.len(), left);
        told.extend(more);
    }
    assert_eq!(told.pop(), Some(Note::Idle), "last as ever");
    assert_eq!(told, answers(flood));
    assert!(outbox.is_empty());
}

#[test]
fn what_is_few_is_told_as_it_came() {
    let outbox = Outbox::new().expect("a pair");
    let mut all = answers(ANSWERS - 2);
    all.insert(3, done());
    all.push(Note::Idle);
    outbox.put(all.clone(), None);
    assert_eq!(outbox.take(usize::MAX), all);
}

fn start(no: u64, records: usize) -> Note {
    let Op::Append(_, _, record) = append(no, "step") else {
        unreachable!("it appends");
    };
    let stored = Stored { seq: 1, record };
    Note::Start(Box::new(Start {
        no,
        records: vec![stored; records],
        ..Start::default()
    }))
}

fn settled(no: u64) -> Note {
    Note::Settled(Box::new(Settled {
        no,
        number: 1,
        seq: 1,
        verdict: Verdict::Done,
        kind: None,
        payload: None,
        at: 0,
        came_at: None,
    }))
}

fn unwind(no: u64) -> Note {
    let incarnation = 1;
    Note::Unwind { no, incarnation }
}

#[test]
fn of_a_burst_so_many_bodies_begin_at_a_time_in_their_order_and_all_else_passes() {
    let outbox = Outbox::new().expect("a pair");
    let mut burst: Vec<_> = (0..5).map(|no| start(no, 0)).collect();
    burst.push(Note::Idle);
    outbox.put(burst, None);
    outbox.put(vec![done()], None);
    assert_eq!(outbox.take(2), [start(0, 0), start(1, 0), done()]);
    assert_eq!(outbox.take(0), []);
    outbox.put(vec![start(5, 0), done()], None);
    assert_eq!(
        outbox.take(3),
        [start(2, 0), start(3, 0), start(4, 0), done()]
    );
    assert!(!outbox.is_empty());
    assert_eq!(
        outbox.take(3),
        [start(5, 0), Note::Idle],
        "now nothing is under way"
    );
    assert!(outbox.is_empty());
}

#[test]
fn what_is_told_to_a_body_comes_after_its_start() {
    let outbox = Outbox::new().expect("a pair");
    outbox.put(vec![settled(2), start(1, 0), start(2, 0)], None);
    outbox.put(vec![settled(2), settled(1), unwind(2), unwind(3)], None);
    outbox.put(vec![start(2, 0)], None);
    let before = [settled(2), start(1, 0), settled(1), unwind(3)];
    assert_eq!(outbox.take(1), before);
    let behind = [start(2, 0), settled(2), unwind(2), start(2, 0)];
    assert_eq!(outbox.take(1), behind, "its next life, too");
}

#[test]
fn a_body_with_a_long_history_counts_for_several() {
    let outbox = Outbox::new().expect("a pair");
    let lengths = [0, 10 * RECORDS_A_START, 0, 0];
    let starts = (0..).zip(lengths).map(|(no, it)| start(no, it));
    outbox.put(starts.collect(), None);
    let begun: Vec<_> = (0..3).map(|_| outbox.take(2).len()).collect();
    assert_eq!(begun, [2, 2, 0]);
}

#[test]
fn of_an_engine_that_has_failed_the_last_note_is_the_last() {
    let outbox = Outbox::new().expect("a pair");
    outbox.put(vec![start(1, 0), start(2, 0)], None);
    assert_eq!(outbox.take(1), [start(1, 0)]);
    outbox.put_last(done());
    assert_eq!(outbox.take(1), [start(2, 0), done()]);
    outbox.seal();
    assert!(outbox.is_empty());
}
