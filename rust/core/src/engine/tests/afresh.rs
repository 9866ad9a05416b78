//! Restarts and deletions where they meet something else: L6, L7, D6, E4 and C1 in their corners.

use super::*;
use crate::bulk::Bulk;
use crate::ids::InstanceNo;
use crate::rewind::From;
use crate::runtime::loader::read_start;
use crate::submission::{Part, OVERHEARD};

fn restart(ticket: u64, id: &str) -> Submission {
    let verb = Verb::Restart(From::Start);
    Command::Act(ticket, verb.to(name(id))).into()
}

fn act(ticket: u64, id: &str, verb: Verb) -> Submission {
    Command::Act(ticket, verb.to(name(id))).into()
}

/// The lives that are to be loaded, in order.
fn loads(applied: &Applied) -> Vec<Body> {
    let jobs = applied.jobs.iter().filter_map(|it| match it {
        Job::Start {
            no, incarnation, ..
        } => Some(Body {
            no: *no,
            incarnation: *incarnation,
        }),
        _ => None,
    });
    jobs.collect()
}

fn unwound(notes: &[Note]) -> Vec<Body> {
    let found = notes.iter().filter_map(|it| match it {
        Note::Unwind { no, incarnation } => Some(Body {
            no: *no,
            incarnation: *incarnation,
        }),
        _ => None,
    });
    found.collect()
}

impl Stage {
    fn is(&mut self, id: &str) -> Option<Status> {
        let row = self.facts.store.find("default", "w", id);
        row.expect("memory is read").map(|it| it.status)
    }

    fn leased(&self) -> u64 {
        self.core.counts()[1]
    }

    /// Restarts one that gets a slot; returns the body of its new life.
    fn again(&mut self, id: &str) -> Body {
        let applied = self.say(vec![restart(9, id)]);
        assert_eq!(codes(&applied.notes), [(9, "")]);
        let by = *loads(&applied).last().expect("it is loaded");
        assert!(self.residents.loaded(by.no, by.incarnation, |_| ()));
        by
    }

    fn calls(&mut self, by: Body, id: &str) -> (u64, Body) {
        let number = self.sequence.draw();
        let child = Child {
            begun: None,
            operation: operation(Kind::Call),
            workflow: "w".into(),
            version: "1".into(),
            items: vec![item(id)],
            payload: None,
        };
        let applied = self.say(vec![by.says(Speech::Call(number, Box::new(child)))]);
        let [Note::Start(start)] = &applied.notes[..] else {
            panic!("not started: {:?}", applied.notes);
        };
        let (no, incarnation) = (start.no, start.incarnation);
        (number, Body { no, incarnation })
    }

    fn places(&mut self, no: InstanceNo) -> usize {
        let history = self.facts.reader.history(no);
        history.expect("memory is read").len()
    }
}

fn stage() -> Stage {
    Stage::with(Config {
        slots: 4,
        limits: limits(100, 100, 10),
        ..config()
    })
}

#[test]
fn l6_of_two_restarts_in_one_batch_the_second_has_the_last_life() {
    let mut stage = stage();
    let first = stage.create("a");
    stage.say(vec![first.says(Speech::Record(5, record()))]);
    let applied = stage.say(vec![restart(3, "a"), restart(4, "a")]);
    assert_eq!(codes(&applied.notes), [(3, ""), (4, "")]);
    let lives = loads(&applied);
    let [second, third] = lives[..] else {
        panic!("{lives:?}");
    };
    assert_eq!(unwound(&applied.notes), [first, second]);
    let mut read = |it: Body| {
        let start = read_start(&mut *stage.facts.reader, it.no, it.incarnation);
        start.expect("memory is read").map(|it| it.records.len())
    };
    assert_eq!(
        [read(first), read(second), read(third)],
        [None, None, Some(0)]
    );
    assert_eq!(stage.leased(), 1);
}

#[test]
fn d6_what_an_earlier_life_says_changes_nothing() {
    let mut stage = stage();
    let first = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let applied = stage.say(vec![
        restart(3, "a"),
        first.says(Speech::Record(7, record())),
        first.says(Speech::Open(Box::new(wait))),
        finish(first),
    ]);
    assert!(applied.notes.contains(&Note::Fenced { ticket: 7 }));
    assert_eq!(stage.is("a"), Some(Status::Running));
    assert_eq!(stage.places(first.no), 0);
    let waits = stage.facts.reader.waits(first.no);
    assert_eq!(waits.expect("memory is read"), []);
}

#[test]
fn l6_one_that_ends_in_this_batch_is_restarted_in_the_next() {
    let mut stage = stage();
    let first = stage.create("a");
    let record = first.says(Speech::Record(5, record()));
    let applied = stage.say(vec![record, finish(first), restart(3, "a")]);
    assert_eq!(codes(&applied.notes), [(3, "")]);
    assert_eq!(unwound(&applied.notes), []);
    assert_eq!(loads(&applied).len(), 1);
    assert_eq!(stage.is("a"), Some(Status::Running));
    assert_eq!((stage.places(first.no), stage.leased()), (0, 1));
}

#[test]
fn l7_one_that_is_created_in_this_batch_is_deleted_in_the_next() {
    let mut stage = stage();
    let applied = stage.say(vec![
        create(1, "a"),
        act(2, "a", Verb::Delete),
        act(3, "a", Verb::Delete),
        create(4, "a"),
    ]);
    let told = [(1, ""), (2, ""), (3, "not_found"), (4, "")];
    assert_eq!(codes(&applied.notes), told);
    assert_eq!(unwound(&applied.notes).len(), 1);
    assert_eq!(stage.is("a"), Some(Status::Running));
    assert_eq!(stage.leased(), 1);
}

#[test]
fn l6_one_that_runs_keeps_its_slot_whoever_is_queued() {
    let mut stage = Stage::with(Config {
        slots: 1,
        ..config()
    });
    stage.create("a");
    let urgent = NewItem {
        priority: 100,
        ..item("urgent")
    };
    let urgent = Box::new((code(), urgent));
    stage.say(vec![Command::Create(2, urgent, IfExists::Raise).into()]);
    stage.again("a");
    assert_eq!(stage.is("a"), Some(Status::Running));
    assert_eq!(stage.is("urgent"), Some(Status::Queued));
    assert_eq!(stage.leased(), 1);
}

#[test]
fn c1_every_attempt_that_a_life_left_behind_holds_its_slot() {
    let mut stage = stage();
    let first = stage.create("a");
    // It has not said yet that it ends.
    stage.say(vec![first.says(Speech::Hold)]);
    assert_eq!(stage.leased(), 1);
    let second = stage.again("a");
    assert_eq!(stage.leased(), 2);
    stage.say(vec![second.says(Speech::Hold), finish(second)]);
    assert_eq!(stage.leased(), 2);
    let third = stage.again("a");
    assert_eq!(stage.leased(), 3);
    stage.say(vec![finish(third), act(6, "a", Verb::Delete)]);
    for left in [1, 0, 0] {
        stage.say(vec![Submission::LetGo(first.no)]);
        assert_eq!(stage.leased(), left);
    }
    assert!(stage.core.held.is_empty());
}

#[test]
fn l7_whoever_is_paused_hears_of_a_deletion_when_it_goes_on() {
    // In a batch after it, and in the same.
    for at_once in [false, true] {
        let mut stage = stage();
        let top = stage.create("top");
        let (number, middle) = stage.calls(top, "middle");
        stage.calls(middle, "leaf");
        stage.say(vec![act(2, "top", Verb::Pause), top.says(Speech::Paused)]);
        assert_eq!(stage.is("top"), Some(Status::Paused));
        let (delete, resume) = (act(3, "middle", Verb::Delete), act(4, "top", Verb::Resume));
        if at_once {
            stage.say(vec![delete, resume]);
        } else {
            stage.say(vec![delete]);
            assert_eq!(stage.is("top"), Some(Status::Paused));
            stage.say(vec![resume]);
        }
        assert_eq!(stage.is("middle"), None);
        assert_eq!(stage.is("leaf"), Some(Status::Terminated));
        let history = stage.facts.reader.history(top.no);
        let history = history.expect("memory is read");
        let [end] = &history[..] else {
            panic!("{history:?}");
        };
        assert_eq!(end.record.verdict, Verdict::Failed);
        assert_eq!(end.record.event_type.as_deref(), Some("terminated"));
        let open = stage.core.live[&top.no].mailbox.wait(number);
        assert_eq!(open, None);
    }
}

#[test]
fn l6_a_child_with_an_id_of_its_own_makes_room_for_its_successor() {
    // It has ended, runs, or was given up.
    for how in 0..3 {
        let mut stage = stage();
        let first = stage.create("a");
        let (number, child) = stage.calls(first, "child");
        match how {
            0 => stage.say(vec![finish(child)]),
            1 => stage.say(vec![]),
            _ => stage.say(vec![first.says(Speech::Withdraw(number))]),
        };
        let second = stage.again("a");
        assert_eq!(stage.is("child"), None, "{how}");
        stage.calls(second, "child");
        assert_eq!(stage.is("child"), Some(Status::Running));
    }
}

#[test]
fn l6_what_is_kept_keeps_its_child_and_its_event() {
    let mut stage = stage();
    let first = stage.create("a");
    let (_, child) = stage.calls(first, "child");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    stage.say(vec![finish(child), send(2, "a", "x", None)]);
    stage.say(vec![first.says(Speech::Open(Box::new(wait)))]);
    let mut last = record();
    last.operation.count = 7;
    stage.now += 1;
    last.started_at = stage.now;
    stage.say(vec![first.says(Speech::Record(5, last.clone()))]);
    let from = From::Operation(Box::new(last.operation));
    stage.say(vec![act(3, "a", Verb::Restart(from))]);
    assert_eq!(stage.places(first.no), 2);
    assert_eq!(stage.is("child"), Some(Status::Complete));
    assert_eq!(stage.core.live[&first.no].mailbox.kept(), 0);
    // From the start they go.
    stage.again("a");
    assert_eq!(stage.is("child"), None);
    assert_eq!(stage.core.live[&first.no].mailbox.kept(), 1);
}

#[test]
fn e4_a_dedup_id_is_known_after_a_restart_and_not_after_a_deletion() {
    let mut stage = stage();
    let first = stage.create("a");
    stage.say(vec![send(2, "a", "x", Some("d"))]);
    let kept = |it: &Stage, no| it.core.live[&no].mailbox.kept();
    stage.again("a");
    stage.say(vec![send(3, "a", "x", Some("d"))]);
    assert_eq!(kept(&stage, first.no), 1);
    stage.say(vec![act(4, "a", Verb::Delete)]);
    let other = stage.create("a");
    assert_ne!(other.no, first.no);
    stage.say(vec![send(5, "a", "x", Some("d"))]);
    assert_eq!(kept(&stage, other.no), 1);
}

#[test]
fn what_is_done_to_many_passes_over_whoever_has_the_id_of_a_deleted_one() {
    let mut stage = stage();
    let first = stage.create("a");
    let bulk = Bulk {
        operation: "pause".into(),
        frontier: u64::MAX,
        ..Bulk::default()
    };
    let begun = stage.say(vec![Command::BeginBulk(2, Box::new(bulk)).into()]);
    let [Note::Reply {
        data: Data::Number(number),
        ..
    }] = begun.notes[..]
    else {
        panic!("{begun:?}");
    };
    // It was found, and then deleted.
    stage.say(vec![act(3, "a", Verb::Delete)]);
    stage.create("a");
    let part = Part {
        number,
        items: [(first.no, Command::Act(OVERHEARD, Verb::Pause.to(name("a"))))].into(),
        states: Vec::new(),
        place: first.no,
        ends: true,
    };
    let done = stage.say(vec![Command::Part(4, Box::new(part)).into()]);
    let told = Note::reply(4, Data::Part(Vec::new(), 0));
    assert_eq!(done.notes, [told]);
    assert_eq!(stage.is("a"), Some(Status::Running));
}
