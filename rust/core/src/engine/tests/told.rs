//! What is told, to whom, and in which order.

use super::*;

#[test]
fn the_reply_precedes_the_start_and_the_slots_bound_the_starts() {
    let mut stage = Stage::new();
    let applied = stage.say(vec![create(1, "a"), create(2, "b"), create(3, "c")]);
    let order: Vec<_> = applied
        .notes
        .iter()
        .map(|note| match note {
            Note::Reply { ticket, .. } => format!("reply {ticket}"),
            Note::Start(start) => format!("start {}", start.id),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        order,
        ["reply 1", "start a", "reply 2", "start b", "reply 3"]
    );
    assert_eq!(stage.core.counts(), [2, 2, 1, 0]);
}

#[test]
fn the_slot_of_one_that_ends_goes_to_the_next_in_line() {
    let mut stage = Stage::new();
    let a = stage.create("a");
    stage.create("b");
    stage.say(vec![create(3, "c")]);
    let applied = stage.say(vec![finish(a)]);
    assert_eq!(applied.notes, []);
    assert!(matches!(
        &applied.jobs[..],
        [Job::Start {
            interrupted: false,
            ..
        }]
    ));
}

#[test]
fn records_of_one_commit_are_one_note_and_an_old_incarnation_is_fenced() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let old = Body {
        incarnation: by.incarnation + 9,
        ..by
    };
    let records = [(7, by), (8, by), (9, old), (10, by)];
    let records = records.map(|(ticket, by)| by.says(Speech::Record(ticket, record())));
    let applied = stage.say(records.into());
    let at = 100;
    assert_eq!(
        applied.notes,
        [
            Note::Done {
                at,
                tickets: vec![7, 8],
                seqs: vec![1, 2],
            },
            Note::Fenced { ticket: 9 },
            Note::Done {
                at,
                tickets: vec![10],
                seqs: vec![3],
            },
        ]
    );
}

#[test]
fn c10_a_full_queue_refuses_and_leaves_no_trace() {
    let mut stage = Stage::new();
    let five = ["a", "b", "c", "d", "e"];
    stage.say(five.iter().map(|id| create(1, id)).collect());
    let applied = stage.say(vec![create(2, "f")]);
    assert_eq!(codes(&applied.notes), [(2, "overloaded")]);
    assert_eq!(stage.registry.len(), 5);
}

#[test]
fn c10_a_batch_that_can_never_fit_is_refused_even_if_it_would_wait() {
    let mut stage = Stage::new();
    let (x, y) = (stage.create("x"), stage.create("y"));
    let batch = |ticket, ids: &[&str]| {
        let items = ids.iter().map(|id| item(id)).collect();
        Submission::Outside(Command::CreateBatch(
            ticket,
            Box::new((code(), items)),
            IfExists::Raise,
            true,
        ))
    };
    // Two slots and three entries hold five, once they are all free.
    let applied = stage.say(vec![
        batch(1, &["a", "b", "c", "d", "e", "f"]),
        batch(2, &["a", "b", "c", "d", "e"]),
    ]);
    let [Note::Reply {
        ticket: 1,
        code: "overloaded",
        data: Data::Overloaded("queue_entries", _),
    }] = &applied.notes[..]
    else {
        panic!("{:?}", applied.notes);
    };
    stage.say(vec![finish(x)]);
    assert_eq!(stage.core.take_hopeful(), [], "there is room for four");
    stage.say(vec![finish(y)]);
    let hopeful = stage.core.take_hopeful();
    assert_eq!(hopeful.len(), 1);
    let applied = stage.say(hopeful);
    assert_eq!(codes(&applied.notes), [(2, "")]);
    assert_eq!(stage.core.counts(), [2, 2, 3, 0]);
}

#[test]
fn an_id_that_a_final_instance_has_is_taken_and_its_slot_comes_back() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![finish(by)]);
    let again = Box::new((code(), item("a")));
    let applied = stage.say(vec![
        create(5, "a"),
        create(6, "a"),
        Submission::Outside(Command::Create(7, again, IfExists::Return)),
        send(8, "a", "x", None),
    ]);
    assert_eq!(
        codes(&applied.notes),
        [(5, "exists"), (6, "exists"), (7, ""), (8, "state")]
    );
    assert_eq!(stage.core.counts(), [2, 0, 0, 0]);
    assert_eq!(stage.registry.len(), 0);
}

#[test]
fn a_batch_answers_item_by_item_in_order() {
    let mut stage = Stage::new();
    let by = stage.create("old");
    stage.say(vec![finish(by)]);
    let items = vec![item("a"), item("old"), item("a"), item("b")];
    let what = Box::new((code(), items));
    let batch = Submission::Outside(Command::CreateBatch(9, what, IfExists::Raise, false));
    let applied = stage.say(vec![batch]);
    let Note::Reply {
        data: Data::Items(items),
        ..
    } = &applied.notes[0]
    else {
        panic!("{:?}", applied.notes);
    };
    let answers: Vec<_> = items.iter().map(|it| it.code).collect();
    assert_eq!(answers, ["", "exists", "exists", ""]);
}

#[test]
fn c6_a_waiting_instance_holds_no_slot_and_its_event_wakes_it() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let id = wait.id;
    let seen = stage.core.batch_number();
    stage.say(vec![
        by.says(Speech::Open(Box::new(wait))),
        by.says(Speech::Quiet(0, seen)),
    ]);
    assert_eq!(stage.core.counts(), [2, 0, 0, 1]);
    let applied = stage.say(vec![send(3, "a", "x", None)]);
    let (no, incarnation) = (by.no, by.incarnation);
    assert_eq!(applied.notes[0], Note::Wake { no, incarnation });
    assert_eq!(settled(&applied.notes), [(id, Verdict::Done, Some("x"))]);
    assert_eq!(stage.core.counts(), [2, 1, 0, 0]);
}

#[test]
fn a_quiet_that_crossed_an_outcome_changes_nothing() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let (x, y) = (
        stage.wait(Kind::Event, events(&["x"]), 1_000),
        stage.wait(Kind::Event, events(&["y"]), 1_000),
    );
    let seen = stage.core.batch_number();
    stage.say(vec![
        by.says(Speech::Open(Box::new(x))),
        by.says(Speech::Open(Box::new(y))),
    ]);
    stage.say(vec![send(3, "a", "x", None)]);
    stage.say(vec![by.says(Speech::Quiet(0, seen))]);
    assert_eq!(stage.core.counts(), [2, 1, 0, 0]);
    let seen = stage.core.batch_number();
    stage.say(vec![by.says(Speech::Quiet(1, seen))]);
    assert_eq!(stage.core.counts(), [2, 0, 0, 1]);
}

#[test]
fn a_resident_without_a_slot_is_told_nothing_until_it_has_one() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let seen = stage.core.batch_number();
    stage.say(vec![
        by.says(Speech::Open(Box::new(wait))),
        by.says(Speech::Quiet(0, seen)),
    ]);
    let (b, _) = (stage.create("b"), stage.create("c"));
    let applied = stage.say(vec![send(3, "a", "x", None)]);
    assert_eq!(applied.notes, [Note::reply(3, Data::Nothing)]);
    assert!(!stage.residents.park(by.no, by.incarnation));
    let applied = stage.say(vec![finish(b)]);
    let (no, incarnation) = (by.no, by.incarnation);
    assert_eq!(applied.notes[0], Note::Wake { no, incarnation });
    assert_eq!(settled(&applied.notes).len(), 1);
}
