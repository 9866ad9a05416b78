//! After unclean stops: who is counted, who is held back, who is blocked (L11).

use super::*;
use crate::codes::{HELD_BACK, RECOVERIES};
use crate::failure::recorded;
use crate::store::Row;

fn stage(slots: u32, recoveries: u32) -> Stage {
    Stage::with(Config {
        slots,
        limits: limits(100, 100, recoveries),
        ..config()
    })
}

impl Stage {
    fn row(&mut self, id: &str) -> Row {
        let row = self.facts.store.find("default", "w", id);
        row.expect("memory is read").expect("it is there")
    }

    /// Crashes; returns the ids of those that start, and makes their bodies speak.
    fn crashed(&mut self) -> Vec<(String, Body)> {
        let jobs = self.crash().jobs;
        self.started(&jobs)
    }

    fn started(&mut self, jobs: &[Job]) -> Vec<(String, Body)> {
        let mut started = Vec::new();
        for job in jobs {
            let Job::Start {
                no, incarnation, ..
            } = *job
            else {
                panic!("{job:?}");
            };
            self.residents.start(no, incarnation);
            let row = self.facts.reader.instance(no).expect("memory is read");
            let id = row.expect("it is there").id.to_string();
            started.push((id, Body { no, incarnation }));
        }
        started
    }

    fn end_cleanly(&mut self) {
        self.core.begin(self.now);
        self.core.clear_marks();
        self.commit();
    }
}

fn ids(started: &[(String, Body)]) -> Vec<&str> {
    started.iter().map(|it| &*it.0).collect()
}

#[test]
fn l11_after_two_unclean_stops_those_without_progress_start_four_at_a_time() {
    let mut stage = stage(50, 10);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let bodies: Vec<_> = names.iter().map(|id| stage.create(id)).collect();
    assert_eq!(stage.crashed().len(), 9, "one unclean stop suspects nobody");
    // One makes progress, one comes new: neither is a suspect.
    stage.say(vec![bodies[1].says(Speech::Record(9, record()))]);
    stage.outlive();
    stage.create("new");
    let started = stage.crashed();
    assert_eq!(ids(&started), ["a", "c", "d", "e", "b", "new"]);
    assert_eq!(stage.core.counts(), [50, 6, 4, 0]);
    for id in ["f", "g", "h", "i"] {
        let row = stage.row(id);
        assert_eq!((row.status, row.marked), (Status::Queued, true));
        assert_eq!(
            (row.recoveries, row.reason.as_deref()),
            (1, Some(HELD_BACK))
        );
    }
    assert_eq!(
        (stage.row("a").recoveries, stage.row("a").reason),
        (2, None)
    );
    // Nothing that says nothing of it starts the next one.
    let applied = stage.say(vec![bodies[1].says(Speech::Record(9, record()))]);
    assert_eq!(applied.jobs, []);
    // An outcome, an end, a wait, a block do, once the process has outlived them; and one more may
    // be tried for each that is innocent.
    let applied = stage.say(vec![bodies[0].says(Speech::Record(9, record()))]);
    assert_eq!(applied.jobs, []);
    let applied = stage.outlive();
    assert_eq!(ids(&stage.started(&applied.jobs)), ["f", "g"]);
    assert_eq!(stage.say(vec![finish(bodies[2])]).jobs, []);
    let applied = stage.outlive();
    assert_eq!(ids(&stage.started(&applied.jobs)), ["h", "i"]);
    assert_eq!(stage.core.counts()[2], 0);
}

#[test]
fn l11_one_that_waits_or_is_blocked_makes_room_for_the_next_suspect() {
    let mut stage = stage(50, 10);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let bodies: Vec<_> = names.iter().map(|id| stage.create(id)).collect();
    stage.crashed();
    assert_eq!(ids(&stage.crashed()), ["a", "b", "c", "d"]);
    let wait = Box::new(stage.wait(Kind::Event, events(&["x"]), 10_000_000));
    let seen = stage.core.batch_number();
    let quiet = bodies[0].says(Speech::Quiet(0, seen));
    let applied = stage.say(vec![bodies[0].says(Speech::Open(wait)), quiet]);
    assert_eq!(applied.jobs, []);
    let applied = stage.outlive();
    assert_eq!(ids(&stage.started(&applied.jobs)), ["e", "f"]);
    let block = bodies[1].says(Speech::Block("race".into(), b"why".as_slice().into()));
    assert_eq!(stage.say(vec![block]).jobs, []);
    let applied = stage.outlive();
    assert_eq!(ids(&stage.started(&applied.jobs)), ["g", "h"]);
}

#[test]
fn l11_one_that_ended_just_before_the_process_died_is_named_and_nobody_is_blamed_for_it() {
    let suspected = |stage: &mut Stage| {
        let rows = stage.core.take_suspected().into_iter();
        rows.map(|it| (it.id.to_string(), it.status))
            .collect::<Vec<_>>()
    };
    let mut stage = stage(50, 3);
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let bodies: Vec<_> = names.iter().map(|id| stage.create(id)).collect();
    stage.crashed();
    assert_eq!(ids(&stage.crashed()), ["a", "b", "c", "d"]);
    assert_eq!(suspected(&mut stage), []);
    stage.say(vec![finish(bodies[0])]);
    // Nobody began who could be counted in its place.
    assert_eq!(ids(&stage.crashed()), ["e", "f", "g"]);
    assert_eq!(suspected(&mut stage), [("a".into(), Status::Complete)]);
    stage.say(vec![finish(bodies[4])]);
    stage.outlive();
    stage.crashed();
    assert_eq!(suspected(&mut stage), [], "it was innocent");
    stage.say(vec![finish(bodies[5])]);
    stage.end_cleanly();
    stage.crashed();
    assert_eq!(suspected(&mut stage), [], "the engine ended in order");
}

#[test]
fn l11_what_kills_the_process_a_little_later_than_its_outcome_is_found() {
    let mut stage = stage(50, 3);
    let names: Vec<_> = (0..12).map(|it| format!("i{it:02}")).collect();
    for name in &names {
        stage.create(name);
    }
    for _ in 0..3 {
        let mut running = stage.crashed();
        loop {
            // Everybody makes progress all the time; soon after that of one of them the process
            // dies.
            let records = running.iter();
            let records = records.map(|it| it.1.says(Speech::Record(9, record())));
            stage.say(records.collect());
            if ids(&running).contains(&"i07") {
                break;
            }
            let jobs = stage.outlive().jobs;
            running = stage.started(&jobs);
            assert!(!running.is_empty(), "the guilty one is tried");
        }
    }
    stage.crashed();
    for name in &names {
        let blocked = stage.row(name).status == Status::Blocked;
        assert_eq!(blocked, name == "i07", "{name}");
    }
}

#[test]
fn l11_the_guilty_one_is_blocked_and_no_innocent_is_counted_out() {
    for recoveries in [2, 3, 10] {
        let mut stage = stage(50, recoveries);
        let names: Vec<_> = (0..40).map(|it| format!("i{it:02}")).collect();
        for name in &names {
            stage.create(name);
        }
        let mut highest = 0;
        for starts in 1.. {
            assert!(starts < 20, "found in a bounded number of starts");
            // Whenever it runs it kills the process before anybody who runs beside it is done.
            let mut running = stage.crashed();
            while !ids(&running).contains(&"i17") {
                let done = running.iter().map(|it| finish(it.1)).collect();
                assert_eq!(stage.say(done).jobs, []);
                let jobs = stage.outlive().jobs;
                if jobs.is_empty() {
                    break;
                }
                running = stage.started(&jobs);
            }
            for name in &names {
                let row = stage.row(name);
                assert!(name == "i17" || row.status != Status::Blocked, "{row:?}");
                highest = highest.max(row.recoveries);
            }
            let row = stage.row("i17");
            if row.status == Status::Blocked {
                assert_eq!(row.reason.as_deref(), Some(RECOVERIES));
                let result = stage.facts.store.result(row.no).expect("memory is read");
                let result = String::from_utf8_lossy(&result.expect("it says why")).into_owned();
                let says = format!("it was started {} times in a row", recoveries + 1);
                assert!(
                    result.contains(&says) && result.contains("resume()"),
                    "{result}"
                );
                assert_eq!(starts, u64::from(recoveries) + 1);
                break;
            }
        }
        for name in &names {
            assert!(name == "i17" || stage.row(name).status == Status::Complete);
        }
        assert_eq!(highest, recoveries);
    }
}

#[test]
fn l11_a_suspect_that_was_not_started_is_not_counted() {
    let mut stage = stage(50, 10);
    for id in ["a", "b", "c", "d", "e", "f"] {
        stage.create(id);
    }
    stage.crashed();
    for count in [2, 3, 4, 5, 6] {
        stage.crashed();
        let counts = ["a", "b", "c", "d", "e", "f"].map(|id| stage.row(id).recoveries);
        assert_eq!(
            counts.iter().sum::<u32>(),
            expected_sum(count),
            "{counts:?}"
        );
        assert!(counts.iter().max() <= Some(&count));
    }
}

/// All six are counted once, four a second time; then those with the lowest counts come first.
fn expected_sum(stops: u32) -> u32 {
    match stops {
        2 => 6 + 4,
        // e and f, and nobody with a higher count beside them while two may be tried at once.
        3 => 6 + 4 + 2,
        // All are at 2 now: two at a time, then alone.
        4 => 6 + 4 + 2 + 2,
        5 => 6 + 4 + 2 + 2 + 2,
        _ => 6 + 4 + 2 + 2 + 2 + 2,
    }
}

#[test]
fn l11_a_clean_end_ends_the_row_of_unclean_ones_and_nobody_is_suspected() {
    let mut stage = stage(50, 10);
    let names = ["a", "b", "c", "d", "e", "f"];
    for id in names {
        stage.create(id);
    }
    stage.crashed();
    assert_eq!(stage.crashed().len(), 4);
    stage.end_cleanly();
    let jobs = stage.crash().jobs;
    assert_eq!(jobs.len(), 6, "after a clean end all start");
    let interrupted = jobs.iter().map(|job| match job {
        Job::Start { interrupted, .. } => *interrupted,
        other => panic!("{other:?}"),
    });
    // R3: nobody who ran or was held back has recorded anything since the crash.
    let interrupted: Vec<_> = interrupted.collect();
    assert_eq!(interrupted, [true; 6]);
    assert_eq!(stage.row("e").reason, None);
}

#[test]
fn l11_a_waiting_instance_is_never_counted() {
    let mut stage = stage(50, 2);
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let seen = stage.core.batch_number();
    stage.say(vec![
        by.says(Speech::Open(Box::new(wait))),
        by.says(Speech::Quiet(0, seen)),
    ]);
    for _ in 0..20 {
        assert_eq!(stage.crash().jobs, []);
        let row = stage.row("a");
        assert_eq!((row.status, row.recoveries), (Status::Waiting, 0));
    }
    assert_eq!(stage.say(vec![send(3, "a", "x", None)]).jobs.len(), 1);
}

#[test]
fn l11_an_outcome_acquits_one_that_is_held_back() {
    let mut stage = stage(50, 10);
    let names = ["a", "b", "c", "d", "e"];
    let bodies: Vec<_> = names.iter().map(|id| stage.create(id)).collect();
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    stage.say(vec![bodies[4].says(Speech::Open(Box::new(wait)))]);
    stage.crashed();
    assert_eq!(ids(&stage.crashed()), ["a", "b", "c", "d"]);
    assert_eq!(stage.say(vec![send(3, "e", "x", None)]).jobs, []);
    let applied = stage.outlive();
    assert_eq!(ids(&stage.started(&applied.jobs)), ["e"]);
    assert_eq!(stage.core.counts(), [50, 5, 0, 0]);
}

#[test]
fn l11_a_suspect_without_a_free_slot_holds_up_no_suspect_of_another_workflow() {
    let mut stage = Stage::with(Config {
        slots: 50,
        limits: limits(100, 100, 10),
        workflow_limits: vec![("w".into(), Layer::default().with(Limit::Concurrency, 5))],
        ..config()
    });
    for id in ["a", "b", "c", "d", "e"] {
        stage.create(id);
    }
    let mut code = code();
    code.workflow = "v".into();
    for id in ["f", "g"] {
        let what = Box::new((code.clone(), item(id)));
        stage.say(vec![Submission::Outside(Command::Create(
            1,
            what,
            IfExists::Raise,
        ))]);
    }
    stage.crashed();
    stage.config.workflow_limits = vec![("w".into(), Layer::default().with(Limit::Concurrency, 1))];
    assert_eq!(ids(&stage.crashed()), ["a", "f", "g"]);
}

#[test]
fn l11_a_held_back_child_is_terminated_with_its_parent() {
    let mut stage = stage(50, 10);
    let by = stage.create("a");
    let number = stage.sequence.draw();
    for id in ["b", "c", "d"] {
        stage.create(id);
    }
    let child = Child {
        begun: None,
        operation: operation(Kind::Call),
        workflow: "w".into(),
        version: "1".into(),
        items: vec![item("child")],
        payload: None,
    };
    stage.say(vec![by.says(Speech::Call(number, Box::new(child)))]);
    stage.crashed();
    assert_eq!(ids(&stage.crashed()), ["a", "b", "c", "d"]);
    let applied = stage.say(vec![finish(by)]);
    assert_eq!((applied.notes, applied.jobs), (vec![], vec![]));
    let row = stage.row("child");
    assert_eq!(row.status, Status::Terminated);
    assert_eq!(stage.core.counts(), [50, 3, 0, 0]);
    let result = stage.facts.store.result(row.no).expect("memory is read");
    let why = recorded("InstanceTerminated", "w/a, which called it, has ended");
    assert_eq!(result, Some(why));
}
