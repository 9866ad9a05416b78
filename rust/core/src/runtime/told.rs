//! What the outbox gives first when more is to be told than is handled in one go. (That the byte stays is a model's affair.)

use super::outbox::Outbox;
use crate::limits::ANSWERS;
use crate::note::{Data, Note};

fn answers(count: usize) -> Vec<Note> {
    let tickets = 0..count as u64;
    tickets.map(|it| Note::reply(it, Data::Nothing)).collect()
}

fn done() -> Note {
    let (at, tickets) = (0, vec![7]);
    Note::Done { at, tickets }
}

#[test]
fn a_note_for_a_body_comes_next_whatever_answers_stand_before_it() {
    let outbox = Outbox::new().expect("a pair");
    let flood = 2 * ANSWERS + 1;
    outbox.put(answers(flood), Some(1));
    outbox.put(vec![done()], Some(2));
    outbox.put_last(Note::Idle);
    let mut told = outbox.take();
    assert_eq!((told.len(), told.pop()), (ANSWERS + 1, Some(done())));
    assert_eq!(outbox.seen(), 2, "bodies are told all there is");
    for left in [ANSWERS, 2] {
        assert!(!outbox.is_empty());
        let more = outbox.take();
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
    assert_eq!(outbox.take(), all);
}
