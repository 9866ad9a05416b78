//! Going on as new: L15, and where it meets E1, E4, L3, L10 and L11.

use super::*;
use crate::ids::{Micros, WaitId};
use crate::lifecycle::Happening;
use crate::runtime::loader::read_start;
use crate::submission::Continuation;

fn stage() -> Stage {
    Stage::with(Config {
        slots: 4,
        limits: limits(100, 100, 10),
        ..config()
    })
}

fn continues(by: Body, how: Continuation) -> Submission {
    by.says(Speech::Continue(Box::new(how)))
}

fn run(number: u32) -> Continuation {
    Continuation {
        params: Some(b"more".as_slice().into()),
        run: number,
        ..Continuation::default()
    }
}

fn act(ticket: u64, id: &str, verb: Verb) -> Submission {
    Command::Act(ticket, verb.to(name(id))).into()
}

impl Stage {
    /// Returns the body of the last life that is to be loaded.
    pub(super) fn next_life(&mut self, applied: &Applied) -> Body {
        let mut jobs = applied.jobs.iter().filter_map(|it| match it {
            Job::Start {
                no, incarnation, ..
            } => Some(Body {
                no: *no,
                incarnation: *incarnation,
            }),
            _ => None,
        });
        let by = jobs.next_back().expect("it is loaded");
        assert!(self.residents.loaded(by.no, by.incarnation, |_| ()));
        by
    }

    fn start_of(&mut self, by: Body) -> crate::note::Start {
        let start = read_start(&mut *self.facts.reader, by.no, by.incarnation);
        start.expect("memory is read").expect("it is there")
    }

    fn state(&mut self, id: &str) -> Status {
        let row = self.facts.store.find("default", "w", id);
        row.expect("memory is read").expect("it is there").status
    }

    fn opens(&mut self, by: Body, kind: Kind, source: Source, until: Micros) -> (WaitId, Applied) {
        let wait = self.wait(kind, source, until);
        let id = wait.id;
        (id, self.say(vec![by.says(Speech::Open(Box::new(wait)))]))
    }
}

#[test]
fn l15_a_new_run_has_other_params_and_nothing_but_its_first_record() {
    let mut stage = stage();
    let first = stage.create("a");
    stage.say(vec![first.says(Speech::Record(5, record()))]);
    stage.now = 200;
    let applied = stage.say(vec![continues(first, run(2))]);
    let second = stage.next_life(&applied);
    assert_eq!(second.no, first.no);
    assert_ne!(second.incarnation, first.incarnation);
    let start = stage.start_of(second);
    assert_eq!(start.params.as_deref(), Some(b"more".as_slice()));
    assert_eq!((start.created_at, start.seed), (100, second.incarnation));
    let [only] = &start.records[..] else {
        panic!("{:?}", start.records);
    };
    assert!(only.record.begins_run());
    assert_eq!((only.record.operation.count, only.record.at), (2, 200));
    assert_eq!(
        (stage.state("a"), stage.core.counts()[1]),
        (Status::Running, 1)
    );
    // What the old body still says is of nobody.
    let late = stage.say(vec![
        first.says(Speech::Record(6, record())),
        continues(first, run(2)),
    ]);
    assert_eq!(late.notes, [Note::Fenced { ticket: 6 }]);
    assert_eq!(stage.start_of(second).records.len(), 1);
}

#[test]
fn l15_events_that_the_body_was_not_told_of_come_back_and_no_others() {
    let mut stage = stage();
    let first = stage.create("a");
    let (told, _) = stage.opens(first, Kind::Event, events(&["x"]), 1_000);
    stage.say(vec![send(2, "a", "x", None)]);
    let (open, _) = stage.opens(first, Kind::Event, events(&["y"]), 1_000);
    // It is taken, and the body goes on as new before it hears of that: in this batch, or before it.
    for in_one_batch in [false, true] {
        let by = stage.create(if in_one_batch { "c" } else { "b" });
        let id = if in_one_batch { "c" } else { "b" };
        let (wait, _) = stage.opens(by, Kind::Event, events(&["x"]), 1_000);
        let how = Continuation {
            untold: vec![wait],
            ..run(2)
        };
        let mut said = vec![send(3, id, "x", None), continues(by, how)];
        if !in_one_batch {
            stage.say(vec![said.remove(0)]);
        }
        let applied = stage.say(said);
        let next = stage.next_life(&applied);
        let (again, applied) = stage.opens(next, Kind::Event, events(&["x"]), 1_000);
        assert_eq!(settled(&applied.notes), [(again, Verdict::Done, Some("x"))]);
        stage.say(vec![finish(next)]);
    }
    let how = Continuation {
        untold: vec![open],
        ..run(2)
    };
    let applied = stage.say(vec![send(4, "a", "z", None), continues(first, how)]);
    let second = stage.next_life(&applied);
    let (_, applied) = stage.opens(second, Kind::Event, events(&["x"]), 1_000);
    assert_eq!(
        settled(&applied.notes),
        [],
        "{told} took it, and that was told"
    );
    let (kept, applied) = stage.opens(second, Kind::Event, events(&["z"]), 1_000);
    assert_eq!(settled(&applied.notes), [(kept, Verdict::Done, Some("z"))]);
}

#[test]
fn l15_an_event_that_an_earlier_life_took_comes_back_once() {
    let mut stage = stage();
    let by = stage.create("a");
    stage.opens(by, Kind::Event, events(&["x"]), 1_000);
    stage.say(vec![send(2, "a", "x", None)]);
    let applied = stage.crash();
    let by = stage.next_life(&applied);
    let place = stage.start_of(by).records[0].seq;
    let how = Continuation {
        passed: vec![place],
        ..run(2)
    };
    let applied = stage.say(vec![continues(by, how)]);
    let by = stage.next_life(&applied);
    let (wait, applied) = stage.opens(by, Kind::Event, events(&["x"]), 1_000);
    assert_eq!(settled(&applied.notes), [(wait, Verdict::Done, Some("x"))]);
    let (_, applied) = stage.opens(by, Kind::Event, events(&["x"]), 1_000);
    assert_eq!(settled(&applied.notes), []);
}

fn deadline() -> Operation {
    operation(Kind::Deadline)
}

#[test]
fn l15_the_deadline_over_the_instance_goes_on_under_another_number() {
    let mut stage = stage();
    let by = stage.create("a");
    let (before, _) = stage.opens(by, Kind::Deadline, Source::Timer, 900);
    stage.opens(by, Kind::Sleep, Source::Timer, 800);
    let how = Continuation {
        limit: Some(deadline()),
        ..run(2)
    };
    let applied = stage.say(vec![continues(by, how)]);
    let by = stage.next_life(&applied);
    let waits = stage.start_of(by).waits;
    let [wait] = &waits[..] else {
        panic!("the sleep is closed: {waits:?}");
    };
    assert_ne!(wait.id, before);
    assert_eq!((&wait.operation, wait.until), (&deadline(), Some(900)));
    let id = wait.id;
    stage.now = 850;
    assert_eq!(settled(&stage.say(vec![]).notes), []);
    stage.now = 900;
    assert_eq!(
        settled(&stage.say(vec![]).notes),
        [(id, Verdict::Done, None)]
    );
    // It is over, and its body goes on as new before it hears of that.
    let how = Continuation {
        limit: Some(deadline()),
        ..run(3)
    };
    let applied = stage.say(vec![continues(by, how)]);
    let by = stage.next_life(&applied);
    let records = stage.start_of(by).records;
    let kinds: Vec<_> = records.iter().map(|it| it.record.operation.kind).collect();
    assert_eq!(kinds, [Kind::Continue, Kind::Deadline]);
}

#[test]
fn l15_one_that_is_to_pause_is_paused_where_its_new_run_begins() {
    let mut stage = stage();
    let by = stage.create("a");
    stage.opens(by, Kind::Deadline, Source::Timer, 900);
    let how = Continuation {
        limit: Some(deadline()),
        ..run(2)
    };
    stage.say(vec![act(2, "a", Verb::Pause), continues(by, how)]);
    assert_eq!(
        (stage.state("a"), stage.core.counts()[1]),
        (Status::Paused, 0)
    );
    // Its time stands still.
    stage.now = 2_000;
    assert_eq!(stage.say(vec![]).notes, []);
    let applied = stage.say(vec![act(3, "a", Verb::Resume)]);
    let by = stage.next_life(&applied);
    let start = stage.start_of(by);
    assert_eq!(
        (start.records.len(), start.params.as_deref()),
        (1, Some(&b"more"[..]))
    );
    assert_eq!(start.waits[0].until, Some(2_800));
}

#[test]
fn l15_what_it_called_ends_and_whoever_called_it_waits_on() {
    let mut stage = stage();
    let parent = stage.create("p");
    let called = |stage: &mut Stage, by: Body, id: &str| {
        let number = stage.sequence.draw();
        let child = Child {
            begun: None,
            operation: operation(Kind::Call),
            workflow: "w".into(),
            version: "1".into(),
            items: vec![item(id)],
            payload: None,
        };
        let applied = stage.say(vec![by.says(Speech::Call(number, Box::new(child)))]);
        let [Note::Start(start)] = &applied.notes[..] else {
            panic!("not started: {:?}", applied.notes);
        };
        let (no, incarnation) = (start.no, start.incarnation);
        (number, Body { no, incarnation })
    };
    let (number, middle) = called(&mut stage, parent, "m");
    called(&mut stage, middle, "c");
    let applied = stage.say(vec![continues(middle, run(2))]);
    assert_eq!(settled(&applied.notes), []);
    assert_eq!(stage.state("c"), Status::Terminated);
    let middle = stage.next_life(&applied);
    let applied = stage.say(vec![finish(middle)]);
    assert_eq!(
        settled(&applied.notes),
        [(number, Verdict::Done, Some("1"))]
    );
}

#[test]
fn l15_one_that_is_to_undo_its_steps_does_that_instead() {
    let mut stage = stage();
    let by = stage.create("a");
    stage.say(vec![by.says(Speech::Record(5, record()))]);
    let why = Verb::Undo("somebody".into());
    let applied = stage.say(vec![act(2, "a", why), continues(by, run(2))]);
    let next = stage.next_life(&applied);
    assert_eq!(next, by, "it is replayed");
    let kinds: Vec<_> = stage.start_of(next).records;
    let kinds: Vec<_> = kinds.iter().map(|it| it.record.operation.kind).collect();
    assert_eq!(kinds, [Kind::Do, Kind::Undo]);
}

#[test]
fn l15_a_new_run_proves_nothing_about_crashes_until_it_has_outlived_them() {
    let mut stage = stage();
    let mut by = stage.create("a");
    let recoveries = |stage: &mut Stage| {
        let row = stage.facts.store.find("default", "w", "a");
        row.expect("memory is read")
            .expect("it is there")
            .recoveries
    };
    for crashes in 1..=3 {
        let applied = stage.crash();
        by = stage.next_life(&applied);
        assert_eq!(recoveries(&mut stage), crashes);
        let applied = stage.say(vec![
            by.says(Speech::TakenUp),
            continues(by, run(crashes + 1)),
        ]);
        by = stage.next_life(&applied);
        assert_eq!(recoveries(&mut stage), crashes);
    }
    stage.outlive();
    assert_eq!(recoveries(&mut stage), 0);
    assert_eq!(stage.start_of(by).records.len(), 1);
    assert!(matches!(
        crate::lifecycle::react(Status::Waiting, Happening::Continue),
        crate::lifecycle::Reaction::Refused
    ));
}
