//! What survives: crashes, blocks, missing code, decisions and events that come too early.

use super::*;
use crate::runtime::loader::read_start;
use crate::runtime::questions::{answer, Question};
use crate::store::ApprovalFilter;
use crate::wait::ApprovalStatus;

#[test]
fn e3_a_wait_that_ran_out_takes_no_event_afterwards() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 150);
    let id = wait.id;
    stage.say(vec![by.says(Speech::Open(Box::new(wait)))]);
    stage.now = 150;
    let applied = stage.say(vec![]);
    assert_eq!(settled(&applied.notes), [(id, Verdict::TimedOut, None)]);
    let applied = stage.say(vec![send(3, "a", "x", None)]);
    assert_eq!(applied.notes, [Note::reply(3, Data::Nothing)]);
}

#[test]
fn e4_an_event_with_a_dedup_id_is_delivered_once() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let (first, second) = (
        stage.wait(Kind::Event, events(&["x"]), 1_000),
        stage.wait(Kind::Event, events(&["x"]), 1_000),
    );
    let id = first.id;
    let applied = stage.say(vec![
        by.says(Speech::Open(Box::new(first))),
        by.says(Speech::Open(Box::new(second))),
        send(3, "a", "x", Some("d")),
        send(4, "a", "x", Some("d")),
    ]);
    assert_eq!(codes(&applied.notes), [(3, ""), (4, "")]);
    assert_eq!(settled(&applied.notes), [(id, Verdict::Done, Some("x"))]);
    stage.crash();
    let applied = stage.say(vec![send(5, "a", "x", Some("d"))]);
    assert_eq!(settled(&applied.notes), []);
}

#[test]
fn i8_a_withdrawn_wait_puts_its_event_back_in_its_old_place() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let first = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let (id, next) = (first.id, stage.wait(Kind::Event, events(&["x"]), 1_000));
    stage.say(vec![send(3, "a", "x", None), send(4, "a", "x", None)]);
    let sent = stage.now;
    for what in [
        by.says(Speech::Open(Box::new(first))),
        by.says(Speech::Withdraw(id)),
        by.says(Speech::Open(Box::new(next))),
    ] {
        stage.now += 1;
        stage.say(vec![what]);
    }
    let history = stage.facts.reader.history(by.no).expect("memory is read");
    let taken: Vec<_> = history.iter().map(|it| it.record.event).collect();
    assert_eq!(taken[0], taken[1]);
    let times = history.iter().map(|it| (it.record.at, it.record.moment));
    assert!(times.eq([(sent + 1, Some(sent)), (sent + 3, Some(sent))]));
}

#[test]
fn i8_every_withdrawn_wait_gives_its_event_back_however_many_there_are() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let waits: Vec<_> = (0..100)
        .map(|_| stage.wait(Kind::Event, events(&["x"]), 1_000))
        .collect();
    let ids: Vec<_> = waits.iter().map(|it| it.id).collect();
    let open = |wait: Wait| by.says(Speech::Open(Box::new(wait)));
    stage.say(waits.into_iter().map(open).collect());
    stage.say((0..50).map(|it| send(it, "a", "x", None)).collect());
    // The others are taken in the very batch that gives all of them back.
    let mut last: Vec<_> = (50..100).map(|it| send(it, "a", "x", None)).collect();
    last.extend(ids.iter().map(|id| by.says(Speech::Withdraw(*id))));
    last.extend(ids.iter().map(|id| by.says(Speech::Withdraw(*id))));
    stage.say(last);
    let history = stage.facts.reader.history(by.no).expect("memory is read");
    let taken: Vec<_> = history.iter().map(|it| it.record.event).collect();
    assert_eq!(taken.len(), 100);
    stage.crash();
    stage.residents.start(by.no, by.incarnation);
    let again = (0..101).map(|_| stage.wait(Kind::Event, events(&["x"]), 1_000));
    let again = again.map(open).collect();
    stage.say(again);
    let history = stage.facts.reader.history(by.no).expect("memory is read");
    let again: Vec<_> = history[100..].iter().map(|it| it.record.event).collect();
    assert_eq!(again, taken, "in their old order");
    assert!(history.iter().all(|it| {
        let record = &it.record;
        record.event_type.as_deref() == Some("x") && record.payload.as_deref() == Some(b"x")
    }));
}

#[test]
fn e5_of_two_decisions_in_one_batch_the_second_loses() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let ask = stage.wait(Kind::Approval, Source::Approval("w/a#ask#1".into()), 1_000);
    let id = ask.id;
    let applied = stage.say(vec![
        by.says(Speech::Ask(Box::new(ask), None)),
        decide(3, "a", true),
        decide(4, "a", false),
    ]);
    let yes = Note::reply(3, Data::Bool(true));
    let no = Note::reply(4, Data::Bool(false));
    assert!(applied.notes.contains(&yes) && applied.notes.contains(&no));
    assert_eq!(
        settled(&applied.notes),
        [(id, Verdict::Done, Some("approved"))]
    );
}

#[test]
fn e5_a_decision_before_the_ask_is_kept() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![decide(3, "a", false)]);
    stage.crash();
    let ask = stage.wait(Kind::Approval, Source::Approval("w/a#ask#1".into()), 1_000);
    let id = ask.id;
    stage.residents.start(by.no, by.incarnation);
    let applied = stage.say(vec![by.says(Speech::Ask(Box::new(ask), None))]);
    assert_eq!(
        settled(&applied.notes),
        [(id, Verdict::Done, Some("rejected"))]
    );
}

#[test]
fn e5_namespaces_do_not_share_approvals_of_the_same_id() {
    let mut stage = Stage::new();
    let known: Box<str> = "w/a#ask#1".into();
    let ours = stage.create("a");
    let mut code = code();
    code.namespace = "acme".into();
    let create = Submission::Outside(Command::Create(
        1,
        Box::new((code, item("a"))),
        IfExists::Raise,
    ));
    let applied = stage.say(vec![create]);
    let [_, Note::Start(start)] = &applied.notes[..] else {
        panic!("{:?}", applied.notes);
    };
    let theirs = Body {
        no: start.no,
        incarnation: start.incarnation,
    };
    let decide_theirs = |ticket| {
        let Submission::Outside(Command::Decide(_, mut decision)) = decide(ticket, "a", false)
        else {
            unreachable!("it is a decision");
        };
        decision.of.namespace = "acme".into();
        Submission::Outside(Command::Decide(ticket, decision))
    };
    let mut ask = |by: Body| {
        let wait = stage.wait(Kind::Approval, Source::Approval(known.clone()), 1_000);
        let id = wait.id;
        stage.say(vec![by.says(Speech::Ask(Box::new(wait), None))]);
        id
    };
    let (our_wait, their_wait) = (ask(ours), ask(theirs));
    // Whatever is told names the approval as its user does.
    let question = Question::Approvals(ApprovalFilter {
        status: Some(ApprovalStatus::Open),
        limit: 10,
        ..ApprovalFilter::default()
    });
    let told = answer(&mut *stage.facts.reader, &question).expect("memory is read");
    let Data::Approvals(told) = told else {
        panic!("{told:?}");
    };
    let told: Vec<_> = told.rows.iter().map(|it| (it.1.no, &*it.2.id)).collect();
    assert_eq!(told, [(ours.no, &*known), (theirs.no, &*known)]);
    let start = read_start(&mut *stage.facts.reader, theirs.no, theirs.incarnation)
        .expect("memory is read");
    let waits = start.expect("it is there").waits;
    let question = Question::History(theirs.no);
    let told = answer(&mut *stage.facts.reader, &question).expect("memory is read");
    assert_eq!(waits[0].source, Source::Approval(known));
    let Data::History(Some(told)) = told else {
        panic!("{told:?}");
    };
    assert_eq!((&told.0.waits, &told.1), (&waits, &vec![]));
    // Each decision finds its own, after a crash too.
    stage.crash();
    stage.residents.start(ours.no, ours.incarnation);
    stage.residents.start(theirs.no, theirs.incarnation);
    let applied = stage.say(vec![decide_theirs(3), decide_theirs(4)]);
    assert_eq!(
        settled(&applied.notes),
        [(their_wait, Verdict::Done, Some("rejected"))]
    );
    assert!(applied.notes.contains(&Note::reply(3, Data::Bool(true))));
    assert!(applied.notes.contains(&Note::reply(4, Data::Bool(false))));
    let applied = stage.say(vec![decide(5, "a", true)]);
    assert_eq!(
        settled(&applied.notes),
        [(our_wait, Verdict::Done, Some("approved"))]
    );
}

#[test]
fn r3_a_marked_instance_is_interrupted_and_a_released_one_is_not() {
    let mut stage = Stage::new();
    let (a, b) = (stage.create("a"), stage.create("b"));
    stage.say(vec![b.says(Speech::Release)]);
    let applied = stage.crash();
    let starts: Vec<_> = applied
        .jobs
        .iter()
        .map(|job| match job {
            Job::Start {
                no, interrupted, ..
            } => (*no, *interrupted),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(starts, [(a.no, true), (b.no, false)]);
}

#[test]
fn l12_missing_code_blocks_until_it_is_there_again() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Sleep, Source::Timer, 150);
    let seen = stage.core.batch_number();
    stage.say(vec![
        by.says(Speech::Open(Box::new(wait))),
        by.says(Speech::Quiet(0, seen)),
    ]);
    stage.config.workflows.clear();
    stage.now = 200;
    assert_eq!(stage.crash().jobs, []);
    let row = stage.facts.store.find("default", "w", "a");
    let row = row.expect("memory is read").expect("it is there");
    assert_eq!(row.status, Status::Blocked);
    assert_eq!(row.reason.as_deref(), Some("missing_code"));
    stage.config = config();
    let applied = stage.crash();
    assert_eq!(applied.jobs.len(), 1);
    let history = stage.facts.reader.history(by.no).expect("memory is read");
    assert_eq!(history.len(), 1, "its sleep is over");
}

#[test]
fn a_blocked_instance_keeps_its_events_and_gets_them_when_it_goes_on() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let block = by.says(Speech::Block(
        "nondeterminism".into(),
        b"why".as_slice().into(),
    ));
    stage.say(vec![by.says(Speech::Open(Box::new(wait))), block]);
    stage.say(vec![send(3, "a", "x", None)]);
    let open = stage.facts.reader.waits(by.no).expect("memory is read");
    assert_eq!(open.len(), 1);
    let applied = stage.say(vec![Submission::Outside(Command::Act(
        4,
        Verb::Resume.to(name("a")),
    ))]);
    assert_eq!(codes(&applied.notes), [(4, "")]);
    assert_eq!(applied.jobs.len(), 1);
    let open = stage.facts.reader.waits(by.no).expect("memory is read");
    assert_eq!(open.len(), 0);
}

#[test]
fn l10_a_parent_is_woken_by_its_child_even_if_the_engine_died_between() {
    let mut stage = Stage::with(Config {
        slots: 5,
        ..config()
    });
    let by = stage.create("a");
    let number = stage.sequence.draw();
    let child = Child {
        begun: None,
        operation: operation(Kind::Call),
        workflow: "w".into(),
        version: "1".into(),
        items: vec![item("a.1")],
        payload: None,
    };
    let applied = stage.say(vec![by.says(Speech::Call(number, Box::new(child)))]);
    let [Note::Start(start)] = &applied.notes[..] else {
        panic!("{:?}", applied.notes);
    };
    assert_eq!(start.parent, Some(by.no));
    let child = Body {
        no: start.no,
        incarnation: start.incarnation,
    };
    let applied = stage.say(vec![finish(child)]);
    assert_eq!(
        settled(&applied.notes),
        [(number, Verdict::Done, Some("1"))]
    );
    // Asking for a child that is final is answered at once, for one that never was too.
    let what = |id: &str| Box::new((operation(Kind::Result).into(), "w".into(), id.into()));
    let applied = stage.say(vec![
        by.says(Speech::Await(900, what("a.1"))),
        by.says(Speech::Await(901, what("nobody"))),
    ]);
    assert_eq!(
        settled(&applied.notes),
        [
            (900, Verdict::Done, Some("1")),
            (901, Verdict::Failed, Some("not_found"))
        ]
    );
}

#[test]
fn l10_an_id_is_created_by_one_operation_only_and_once_in_a_batch() {
    let mut stage = Stage::with(Config {
        slots: 5,
        ..config()
    });
    let by = stage.create("a");
    let children = |ticket, count, ids: &[&str]| {
        let child = Child {
            begun: None,
            operation: Operation {
                count,
                ..operation(Kind::Create)
            },
            workflow: "w".into(),
            version: "1".into(),
            items: ids.iter().map(|id| item(id)).collect(),
            payload: None,
        };
        by.says(Speech::CreateChildren(ticket, Box::new(child)))
    };
    let applied = stage.say(vec![
        children(900, 1, &["b", "c"]),
        children(901, 2, &["c"]),
        children(902, 3, &["d", "d"]),
        children(903, 4, &["d"]),
    ]);
    let exists = Some("exists");
    assert_eq!(
        settled(&applied.notes),
        [
            (900, Verdict::Done, None),
            (901, Verdict::Failed, exists),
            (902, Verdict::Failed, exists),
            (903, Verdict::Done, None)
        ]
    );
    let starts = applied.notes.iter().filter_map(|note| match note {
        Note::Start(start) => Some(&*start.id),
        _ => None,
    });
    let starts: Vec<_> = starts.collect();
    assert_eq!(starts, ["b", "c", "d"]);
    let history = stage.facts.reader.history(by.no).expect("memory is read");
    assert_eq!(history.len(), 4);
}

#[test]
fn l11_one_that_kills_the_process_too_often_is_blocked_and_an_outcome_resets_the_count() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    for _ in 0..10 {
        assert_eq!(stage.crash().jobs.len(), 1);
    }
    let mut innocent = Stage::open(&stage.store, config(), 100);
    assert_eq!(innocent.commit().jobs, [], "over the limit");
    let row = innocent.facts.store.find("default", "w", "a");
    let row = row.expect("memory is read").expect("it is there");
    assert_eq!(row.reason.as_deref(), Some("recoveries"));
    let resume = Submission::Outside(Command::Act(4, Verb::Resume.to(name("a"))));
    assert_eq!(innocent.say(vec![resume]).jobs.len(), 1);
    assert_eq!(innocent.crash().jobs.len(), 1);
    innocent.residents.start(by.no, by.incarnation);
    innocent.say(vec![by.says(Speech::Record(9, record()))]);
    innocent.outlive();
    let row = innocent.facts.store.find("default", "w", "a");
    assert_eq!(
        row.expect("memory is read").map(|it| it.recoveries),
        Some(0)
    );
}

#[test]
fn c9_the_queue_survives_a_restart_in_order() {
    let mut stage = Stage::with(Config {
        slots: 1,
        limits: limits(100, 100, 10),
        ..config()
    });
    let ids = ["a", "b", "c", "d", "e"];
    let urgent = NewItem {
        priority: 9,
        ..item("urgent")
    };
    let mut all: Vec<_> = ids.iter().map(|id| create(1, id)).collect();
    all.push(Submission::Outside(Command::Create(
        2,
        Box::new((code(), urgent)),
        IfExists::Raise,
    )));
    stage.say(all);
    let mut started = Vec::new();
    let mut jobs = stage.crash().jobs;
    while let Some(Job::Start {
        no, incarnation, ..
    }) = jobs.pop()
    {
        let row = stage.facts.reader.instance(no);
        let row = row.expect("memory is read").expect("it is there");
        started.push(row.id.to_string());
        jobs = stage.say(vec![finish(Body { no, incarnation })]).jobs;
    }
    assert_eq!(started, ["a", "urgent", "b", "c", "d", "e"]);
}

#[test]
fn an_event_for_a_queued_instance_survives_a_restart() {
    let mut stage = Stage::new();
    stage.say(["a", "b", "c"].iter().map(|id| create(1, id)).collect());
    stage.say(vec![send(3, "c", "x", None)]);
    stage.crash();
    let (no, _) = stage
        .core
        .live
        .iter()
        .find(|(_, it)| it.mailbox.kept() == 1)
        .map(|(no, it)| (*no, it.key))
        .expect("the event is there");
    let row = stage.facts.reader.instance(no).expect("memory is read");
    assert_eq!(row.map(|it| it.id), Some("c".into()));
}
