//! What the seeded simulation has found, each as short as it can be told.

use super::*;
use crate::codes::MISSING_CODE;
use crate::submission::Why;
use crate::wait::ApprovalStatus;

fn roomy(slots: u32) -> Config {
    Config {
        slots,
        limits: limits(100, 100, 10),
        ..config()
    }
}

impl Stage {
    /// One batch and no more, though there may be work left.
    fn once(&mut self, submissions: Vec<Submission>) -> Applied {
        self.begin(&submissions);
        for submission in submissions {
            assert_eq!(self.core.decide(submission), None);
        }
        self.commit()
    }

    fn stored(&mut self, id: &str) -> crate::store::Row {
        let row = self.facts.store.find("default", "w", id);
        row.expect("memory is read").expect("it is there")
    }

    /// Opens a wait and blocks its body.
    fn ask_and_block(&mut self, by: Body, until: i64) {
        let source = Source::Approval("w/a#ask#1".into());
        let wait = Box::new(self.wait(Kind::Approval, source, until));
        let why = b"why".as_slice().into();
        self.say(vec![
            by.says(Speech::Ask(wait, None)),
            by.says(Speech::Block(Why::from("nondeterminism"), why)),
        ]);
    }

    fn approval(&mut self) -> (ApprovalStatus, bool) {
        let approval = self.facts.store.approval("w/a#ask#1");
        let approval = approval.expect("memory is read").expect("it is there");
        (approval.status, approval.decision.is_some())
    }
}

fn resume(ticket: u64) -> Submission {
    Submission::Outside(Command::Act(ticket, Verb::Resume.to(name("a"))))
}

fn children(ticket: u64, by: Body, id: &str) -> Submission {
    let child = Child {
        begun: None,
        operation: operation(Kind::CreateBatch),
        workflow: "w".into(),
        version: "1".into(),
        items: vec![item(id)],
        payload: None,
    };
    by.says(Speech::CreateChildren(ticket, Box::new(child)))
}

fn scheduled(ticket: u64, id: &str, start_at: i64) -> Submission {
    let item = NewItem {
        start_at: Some(start_at),
        ..item(id)
    };
    Submission::Outside(Command::Create(
        ticket,
        Box::new((code(), item)),
        IfExists::Raise,
    ))
}

#[test]
fn c10_one_that_is_to_start_later_needs_a_place_though_slots_are_free() {
    let mut stage = Stage::with(Config {
        limits: limits(100, 1, 10),
        ..config()
    });
    let applied = stage.say(vec![scheduled(1, "a", 500), scheduled(2, "b", 500)]);
    assert_eq!(codes(&applied.notes), [(1, ""), (2, "overloaded")]);
    // Those that start at once need none.
    assert_eq!(codes(&stage.say(vec![create(3, "c")]).notes), [(3, "")]);
    let later = |id| NewItem {
        start_at: Some(500),
        ..item(id)
    };
    stage.now = 600;
    stage.say(vec![]);
    let many = Box::new((code(), vec![item("d"), later("e")]));
    stage.now = 400;
    let batch = Submission::Outside(Command::CreateBatch(4, many, IfExists::Raise, false));
    assert_eq!(codes(&stage.say(vec![batch]).notes), [(4, "overloaded")]);
}

#[test]
fn l11_creating_children_and_sending_events_are_outcomes_too() {
    let mut stage = Stage::with(roomy(10));
    let by = stage.create("a");
    let sent = Sent {
        to: name("nobody"),
        kind: "x".into(),
        payload: None,
    };
    let outcomes = [
        children(900, by, "b"),
        by.says(Speech::Post(
            901,
            Box::new((operation(Kind::Send).into(), sent)),
        )),
    ];
    for outcome in outcomes {
        stage.crash();
        assert_eq!(stage.stored("a").recoveries, 1);
        stage.residents.start(by.no, by.incarnation);
        stage.say(vec![outcome]);
        assert_eq!(stage.stored("a").recoveries, 1);
        stage.outlive();
        assert_eq!(stage.stored("a").recoveries, 0);
    }
}

#[test]
fn l11_an_outcome_that_comes_to_a_queued_one_counts_after_a_crash() {
    let mut stage = Stage::with(roomy(2));
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    stage.say(vec![by.says(Speech::Open(Box::new(wait)))]);
    stage.crash();
    stage.crash();
    assert_eq!(stage.stored("a").recoveries, 2);
    let urgent = NewItem {
        priority: 100,
        ..item("b")
    };
    let urgent = Submission::Outside(Command::Create(
        1,
        Box::new((code(), urgent)),
        IfExists::Raise,
    ));
    stage.say(vec![urgent]);
    stage.core.begin(stage.now);
    stage.core.clear_marks();
    stage.commit();
    // Both ran, and there is one slot.
    stage.config.slots = 1;
    stage.crash();
    let row = stage.stored("a");
    assert_eq!((row.status, row.recoveries), (Status::Queued, 1));
    stage.say(vec![send(2, "a", "x", None)]);
    stage.outlive();
    assert_eq!(stage.stored("a").recoveries, 0);
}

#[test]
fn t1_code_that_comes_back_starts_nothing_before_its_start_at() {
    let mut stage = Stage::with(roomy(2));
    stage.say(vec![scheduled(1, "a", 500)]);
    let workflows = std::mem::take(&mut stage.config.workflows);
    stage.crash();
    assert_eq!(stage.stored("a").reason.as_deref(), Some(MISSING_CODE));
    stage.config.workflows = workflows;
    assert_eq!(stage.crash().jobs, []);
    assert_eq!(stage.stored("a").status, Status::Queued);
    stage.now = 500;
    assert_eq!(stage.say(vec![]).jobs.len(), 1);
}

#[test]
fn c4_what_ran_is_first_again_when_its_code_comes_back() {
    let mut stage = Stage::with(roomy(1));
    let ran = stage.create("a");
    let urgent = NewItem {
        priority: 100,
        ..item("b")
    };
    let urgent = Submission::Outside(Command::Create(
        1,
        Box::new((code(), urgent)),
        IfExists::Raise,
    ));
    stage.say(vec![urgent]);
    let workflows = std::mem::take(&mut stage.config.workflows);
    stage.crash();
    stage.config.workflows = workflows;
    let jobs = stage.crash().jobs;
    assert!(matches!(jobs[..], [Job::Start { no, .. }] if no == ran.no));
}

#[test]
fn e1_an_event_does_not_pass_one_that_the_store_was_asked_about() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    stage.say(vec![by.says(Speech::Open(Box::new(wait)))]);
    let sent = |ticket, payload: &[u8], dedup: Option<&str>| {
        let sent = Sent {
            to: name("a"),
            kind: "x".into(),
            payload: Some(payload.into()),
        };
        Submission::Outside(Command::Send(ticket, Box::new(sent), dedup.map(Into::into)))
    };
    stage.once(vec![sent(1, b"first", Some("d"))]);
    let applied = stage.once(vec![sent(2, b"second", None)]);
    let told = applied.notes.iter().find_map(|note| match note {
        Note::Settled(it) => it.payload.as_deref(),
        _ => None,
    });
    assert_eq!(told, Some(b"first".as_slice()));
}

#[test]
fn e1_a_new_wait_does_not_pass_an_older_one() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let older = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let newer = Wait {
        operation: Operation {
            count: 2,
            ..operation(Kind::Event)
        },
        ..stage.wait(Kind::Event, events(&["x"]), 1_000)
    };
    let id = older.id;
    stage.say(vec![by.says(Speech::Open(Box::new(older)))]);
    stage.once(vec![send(1, "a", "x", Some("d"))]);
    let applied = stage.once(vec![by.says(Speech::Open(Box::new(newer)))]);
    assert_eq!(settled(&applied.notes), [(id, Verdict::Done, Some("x"))]);
}

#[test]
fn e5_a_decision_stays_though_nobody_waits_for_it_any_more() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let source = Source::Approval("w/a#ask#1".into());
    let wait = Box::new(stage.wait(Kind::Approval, source, 1_000));
    let id = wait.id;
    stage.say(vec![by.says(Speech::Ask(wait, None))]);
    let why = b"why".as_slice().into();
    stage.say(vec![
        by.says(Speech::Block(Why::from("nondeterminism"), why))
    ]);
    let applied = stage.say(vec![decide(1, "a", true)]);
    assert_eq!(applied.notes, [Note::reply(1, Data::Bool(true))]);
    // What it waited for is given up, as by the end of a parent.
    let wait = stage.core.live_mut(by.no).mailbox.close(id);
    let wait = wait.expect("it is open");
    stage.core.begin(stage.now);
    let dropped = stage.core.drop_wait(by.no, &wait);
    assert_eq!(dropped, None);
    stage.commit();
    assert_eq!(stage.approval(), (ApprovalStatus::Approved, true));
}

#[test]
fn e5_a_decision_in_the_batch_that_resumes_is_heard() {
    for until in [100, 1_000] {
        let mut stage = Stage::new();
        let by = stage.create("a");
        stage.ask_and_block(by, until);
        let applied = stage.say(vec![decide(1, "a", true), resume(2)]);
        assert_eq!(codes(&applied.notes), [(1, ""), (2, "")]);
        assert_eq!(stage.approval(), (ApprovalStatus::Approved, true));
        let history = stage.facts.reader.history(by.no).expect("memory is read");
        let verdicts: Vec<_> = history.iter().map(|it| it.record.verdict).collect();
        assert_eq!(verdicts, [Verdict::Done], "until {until}");
    }
}

#[test]
fn l10_a_child_that_ends_in_the_batch_that_resumes_its_parent_is_heard() {
    let mut stage = Stage::with(roomy(10));
    let by = stage.create("a");
    let applied = stage.say(vec![children(900, by, "b")]);
    let child = applied.notes.iter().find_map(|note| match note {
        Note::Start(start) => Some(Body {
            no: start.no,
            incarnation: start.incarnation,
        }),
        _ => None,
    });
    let child = child.expect("it runs");
    let number = stage.sequence.draw();
    let what = Box::new((operation(Kind::Result).into(), "w".into(), "b".into()));
    let why = b"why".as_slice().into();
    stage.say(vec![
        by.says(Speech::Await(number, what)),
        by.says(Speech::Block(Why::from("nondeterminism"), why)),
    ]);
    stage.say(vec![finish(child), resume(2)]);
    let history = stage.facts.reader.history(by.no).expect("memory is read");
    assert_eq!(history.len(), 2, "creation and result: {history:?}");
}

#[test]
fn timers_of_a_blocked_instance_stand_still_after_a_crash() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.ask_and_block(by, 1_000);
    assert_eq!(stage.core.next_timer(), None);
    stage.crash();
    assert_eq!(stage.core.next_timer(), None);
}
