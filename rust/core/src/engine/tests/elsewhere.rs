//! What one owner says and does of those who live with another.

use super::*;
use crate::ids::{Range, RANGES};
use crate::rewind::From;

/// Two owners of one store: the range of "there", and all others.
fn two() -> [Stage; 2] {
    let store = MemoryStore::default();
    let there = Key::new("default", "w", "there").range();
    let epoch = store.hand_over((0..RANGES).map(Range));
    [false, true].map(|is_there| {
        let ranges = (0..RANGES).map(Range);
        let ranges = ranges.filter(|it| (*it == there) == is_there);
        let domain = Domain::part(ranges.map(|it| (it, epoch)));
        let engine = u64::from(is_there);
        let mut stage = Stage::part(&store, Sequence::new(engine << 30), domain, engine);
        assert_eq!(stage.commit().notes, []);
        stage
    })
}

/// What is left for an owner is decided by it.
fn read(stage: &mut Stage, engine: u64) -> Applied {
    let letters = stage.facts.store.letters(stage.core.domain(), engine);
    let letters = stage.core.receive(letters.expect("memory is read"));
    stage.say(letters)
}

fn replies(applied: &Applied) -> Vec<(u64, &'static str, Data)> {
    let reply = |note: &Note| match note {
        Note::Reply { ticket, code, data } => Some((*ticket, *code, data.clone())),
        _ => None,
    };
    applied.notes.iter().filter_map(reply).collect()
}

#[test]
fn who_lives_elsewhere_is_neither_unknown_nor_at_its_end() {
    let [mut here, mut there] = two();
    there.create("there");
    let told = here.say(vec![send(7, "there", "a", None)]);
    assert_eq!(replies(&told), [(7, "", Data::Nothing)]);
    let ask = Command::Stand(8, Box::new(name("there")), 0);
    assert_eq!(here.say(vec![ask.into()]).notes, []);
    let told = here.say(vec![send(9, "nowhere", "a", None)]);
    assert_eq!(replies(&told), [(9, "not_found", Data::Nothing)]);
    assert_eq!(read(&mut there, 1).notes, []);
    let told = read(&mut here, 0);
    let state = match &replies(&told)[..] {
        [(8, "", Data::Standing(state, ..))] => *state,
        other => panic!("not answered: {other:?}"),
    };
    assert_eq!(state, Some(Status::Running));
    let events = |it: &Stage| {
        it.core
            .live
            .values()
            .map(|it| it.mailbox.kept())
            .sum::<usize>()
    };
    assert_eq!(events(&there), 1);
    // It is gone with the commit that kept it.
    assert_eq!(read(&mut there, 1).notes, []);
    assert_eq!(events(&there), 1);
}

#[test]
fn who_lives_elsewhere_is_restarted_and_deleted_by_its_owner() {
    let [mut here, mut there] = two();
    let first = there.create("there");
    let step = operation(Kind::Do);
    there.say(vec![first.says(Speech::Record(5, record()))]);
    let none = Operation {
        count: 2,
        ..step.clone()
    };
    for (ticket, verb, code) in [
        (7, Verb::Restart(From::Operation(Box::new(none))), "no_step"),
        (8, Verb::Restart(From::Failed), "nothing_failed"),
        (9, Verb::Restart(From::Operation(Box::new(step))), ""),
        (10, Verb::Delete, ""),
    ] {
        let ask = Command::Act(ticket, verb.to(name("there")));
        assert_eq!(here.say(vec![ask.into()]).notes, []);
        let done = read(&mut there, 1);
        let unwinds = matches!(&done.notes[..], [Note::Unwind { .. }]);
        assert_eq!(unwinds, code.is_empty(), "{done:?}");
        let told = read(&mut here, 0);
        let [(to, said, _)] = replies(&told)[..] else {
            panic!("not answered: {told:?}");
        };
        assert_eq!((to, said), (ticket, code));
        let late = first.says(Speech::Record(6, record()));
        if ticket > 8 {
            assert_eq!(there.say(vec![late]).notes, [Note::Fenced { ticket: 6 }]);
        }
    }
    assert!(there.core.live.is_empty());
    there.create("there");
}

#[test]
fn whoever_has_an_id_elsewhere_is_told_by_the_store() {
    let [mut here, mut there] = two();
    there.create("there");
    let told = here.say(vec![create(7, "there")]);
    let replies = replies(&told);
    assert!(matches!(&replies[..], [(7, "exists", _)]), "{replies:?}");
    assert!(here.core.live.is_empty());
}

#[test]
fn e3_what_was_acknowledged_before_something_is_due_is_in_time() {
    let [mut here, mut there] = two();
    let body = there.create("there");
    let wait = there.wait(Kind::Event, Source::Event(vec!["a".into()]), 500);
    there.say(vec![body.says(Speech::Open(Box::new(wait)))]);
    here.now = 499;
    here.say(vec![send(7, "there", "a", None)]);
    there.now = 500;
    let letters = there.facts.store.letters(there.core.domain(), 1);
    let letters = there.core.receive(letters.expect("memory is read"));
    assert_eq!(letters.len(), 1);
    // A batch that is full before it comes to the letter.
    there.begin(&letters);
    assert_eq!(there.commit().notes, []);
    let told = there.say(letters);
    assert!(matches!(&told.notes[..], [Note::Settled(it)] if it.verdict == Verdict::Done));
}

#[test]
fn whoever_lost_a_range_tells_nothing() {
    let [mut here, mut there] = two();
    there.create("there");
    there
        .store
        .hand_over([Key::new("default", "w", "there").range()]);
    let ask = Submission::from(Command::Stand(8, Box::new(name("there")), 0));
    there.begin([&ask]);
    assert_eq!(there.core.decide(ask), None);
    there.core.finish_batch();
    let domain = there.core.domain();
    let refused = there.facts.store.commit_each(&mut there.core.ops(), domain);
    assert!(matches!(refused, Err(crate::store::Error::NotYours(_))));
    here.say(vec![]);
}
