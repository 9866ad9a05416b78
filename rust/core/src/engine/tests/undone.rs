//! What becomes of an instance that is to undo what it did (L8).

use super::*;
use crate::failure::recorded;
use crate::store::Row;
use crate::undo::Undo;

fn undo(ticket: u64, id: &str) -> Submission {
    act(ticket, id, Verb::Undo("somebody".into()))
}

fn act(ticket: u64, id: &str, verb: Verb) -> Submission {
    Command::Act(ticket, verb.to(name(id))).into()
}

/// How it goes on with its history, if it does: what the body is started with.
fn loads(applied: &Applied) -> Vec<(u64, bool)> {
    let starts = applied.jobs.iter().filter_map(|it| match it {
        Job::Start {
            no, interrupted, ..
        } => Some((*no, *interrupted)),
        _ => None,
    });
    starts.collect()
}

fn calls(stage: &mut Stage, id: &str) -> Speech {
    let child = Child {
        begun: None,
        operation: operation(Kind::Call),
        workflow: "w".into(),
        version: "1".into(),
        items: vec![item(id)],
        payload: None,
    };
    Speech::Call(stage.sequence.draw(), Box::new(child))
}

impl Stage {
    fn undoing(&mut self, id: &str) -> (Status, Option<Undo>) {
        let row = self.stored_row(id);
        (row.status, row.undo)
    }

    fn stored_row(&mut self, id: &str) -> Row {
        let row = self.facts.store.find("default", "w", id);
        row.expect("memory is read").expect("it is there")
    }

    /// The verdicts of its history, each with the kind it is of.
    fn recorded(&mut self, no: u64) -> Vec<(Kind, Verdict)> {
        let history = self.facts.reader.history(no).expect("memory is read");
        let of = |it: &crate::history::Stored| (it.record.operation.kind, it.record.verdict);
        history.iter().map(of).collect()
    }
}

const INTENT: (Kind, Verdict) = (Kind::Undo, Verdict::Started);

#[test]
fn l8_a_body_that_runs_is_told_and_is_replayed_when_it_has_left() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Sleep, Source::Timer, 900);
    stage.say(vec![by.says(Speech::Open(Box::new(wait)))]);
    let told = stage.say(vec![undo(5, "a")]);
    let (no, incarnation) = (by.no, by.incarnation);
    assert_eq!(codes(&told.notes), [(5, "")]);
    assert!(told.notes.contains(&Note::Undo { no, incarnation }));
    assert_eq!(stage.undoing("a"), (Status::Running, Some(Undo::Running)));
    assert_eq!(stage.recorded(no), [INTENT]);
    assert_eq!(stage.facts.reader.waits(no), Ok(vec![]));
    // What ran of it is recorded under the same incarnation (D6).
    let ended = Record {
        verdict: Verdict::Abandoned,
        ..record()
    };
    let left = stage.say(vec![
        by.says(Speech::Record(6, ended)),
        by.says(Speech::Undoes(None)),
    ]);
    assert_eq!(loads(&left), [(no, false)]);
    assert_eq!(stage.recorded(no), [INTENT, (Kind::Do, Verdict::Abandoned)]);
}

#[test]
fn l8_one_that_waits_is_unwound_and_replayed_at_once() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 900);
    stage.say(vec![
        by.says(Speech::Open(Box::new(wait))),
        by.says(Speech::Quiet(0, u64::MAX)),
    ]);
    assert_eq!(stage.undoing("a"), (Status::Waiting, None));
    let told = stage.say(vec![undo(5, "a")]);
    let (no, incarnation) = (by.no, by.incarnation);
    assert!(told.notes.contains(&Note::Unwind { no, incarnation }));
    assert_eq!(loads(&told), [(no, false)], "nothing of it was cut short");
    assert_eq!(stage.undoing("a"), (Status::Running, Some(Undo::Running)));
    // An event is kept, and nobody waits for it.
    let sent = stage.say(vec![send(6, "a", "x", None)]);
    assert_eq!(
        (codes(&sent.notes), settled(&sent.notes)),
        (vec![(6, "")], vec![])
    );
}

#[test]
fn l8_an_event_that_comes_before_its_body_has_left_is_kept() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 900);
    stage.say(vec![by.says(Speech::Open(Box::new(wait))), undo(5, "a")]);
    let sent = stage.say(vec![send(6, "a", "x", None)]);
    assert_eq!(codes(&sent.notes), [(6, "")]);
    assert_eq!(stage.recorded(by.no), [INTENT]);
    assert_eq!(stage.facts.reader.kept(by.no, 2), Ok(vec![("x".into(), 1)]));
}

#[test]
fn l8_what_a_body_begins_before_it_hears_of_it_comes_to_nothing() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![undo(5, "a")]);
    let child = || {
        Box::new(Child {
            begun: None,
            operation: operation(Kind::Call),
            workflow: "w".into(),
            version: "1".into(),
            items: vec![item("b")],
            payload: None,
        })
    };
    let number = || stage.sequence.draw();
    let failed = Record {
        verdict: Verdict::AttemptFailed,
        moment: Some(900),
        ..record()
    };
    let wait = stage.wait(Kind::Event, events(&["x"]), 900);
    let said = vec![
        by.says(Speech::Open(Box::new(wait))),
        by.says(Speech::Call(number(), child())),
        by.says(Speech::CreateChildren(6, child())),
        by.says(Speech::Retry(number(), Box::new(failed))),
    ];
    stage.say(said);
    assert_eq!(stage.facts.reader.waits(by.no), Ok(vec![]));
    assert_eq!(stage.facts.store.find("default", "w", "b"), Ok(None));
    // What had begun before is recorded.
    let attempt = (Kind::Do, Verdict::AttemptFailed);
    assert_eq!(stage.recorded(by.no), [INTENT, attempt]);
}

#[test]
fn l8_what_a_block_cut_short_may_have_done_something() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![by.says(Speech::Block("race".into(), Box::default()))]);
    let told = stage.say(vec![undo(5, "a")]);
    assert_eq!(loads(&told), [(by.no, true)]);
}

#[test]
fn l8_one_that_never_ran_has_nothing_to_undo() {
    let mut stage = Stage::new();
    for id in ["a", "b"] {
        stage.create(id);
    }
    stage.say(vec![create(3, "queued"), create(4, "paused")]);
    stage.say(vec![act(5, "paused", Verb::Pause)]);
    for id in ["queued", "paused"] {
        let told = stage.say(vec![undo(6, id)]);
        assert_eq!(codes(&told.notes), [(6, "")]);
        assert_eq!(
            stage.undoing(id),
            (Status::Terminated, Some(Undo::Complete))
        );
        let told = stage.say(vec![undo(7, id)]);
        assert_eq!(codes(&told.notes), [(7, "state")]);
    }
}

#[test]
fn l8_until_its_end_it_is_neither_paused_nor_restarted() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![undo(5, "a"), by.says(Speech::Undoes(None))]);
    let before = stage.undoing("a");
    for verb in [Verb::Pause, Verb::Resume, Verb::Undo("again".into())] {
        let told = stage.say(vec![act(6, "a", verb)]);
        assert_eq!(codes(&told.notes), [(6, "")]);
        assert_eq!(
            (stage.undoing("a"), stage.recorded(by.no)),
            (before, vec![INTENT])
        );
    }
    let told = stage.say(vec![act(7, "a", Verb::Restart(crate::rewind::From::Start))]);
    assert_eq!(codes(&told.notes), [(7, "state")]);
    let told = stage.say(vec![act(8, "a", Verb::Delete)]);
    assert_eq!(codes(&told.notes), [(8, "")]);
    assert_eq!(stage.facts.store.find("default", "w", "a"), Ok(None));
}

#[test]
fn l8_it_ends_as_it_was_to_and_a_restart_knows_nothing_of_it() {
    let ends = [
        (Undo::Complete, Status::Errored),
        (Undo::Failed, Status::Terminated),
    ];
    for (how, status) in ends {
        let mut stage = Stage::new();
        let by = stage.create("a");
        let error = recorded("ValueError", "no");
        stage.say(vec![by.says(Speech::Undoes(Some(error.clone())))]);
        assert_eq!(stage.recorded(by.no), [INTENT]);
        stage.say(vec![by.says(Speech::Undone(how, status, error.clone()))]);
        assert_eq!(stage.undoing("a"), (status, Some(how)));
        let told = stage.facts.store.result(by.no);
        assert_eq!(told, Ok(Some(error.clone())));
        let failed = crate::rewind::From::Failed;
        let told = stage.say(vec![act(6, "a", Verb::Restart(failed))]);
        assert_eq!(codes(&told.notes), [(6, "")]);
        assert_eq!(stage.stored_row("a").undo, None);
        assert_eq!(stage.recorded(by.no), []);
    }
}

#[test]
fn l8_no_crash_forgets_it() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![undo(5, "a")]);
    let again = stage.crash();
    assert_eq!(loads(&again), [(by.no, true)]);
    assert_eq!(stage.undoing("a"), (Status::Running, Some(Undo::Running)));
    let told = stage.say(vec![act(6, "a", Verb::Pause)]);
    assert_eq!(codes(&told.notes), [(6, "")]);
    assert_eq!(stage.undoing("a").0, Status::Running);
}

#[test]
fn l8_a_body_that_says_that_it_only_waits_before_it_hears_of_it_is_replayed() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Sleep, Source::Timer, 900);
    stage.say(vec![
        undo(5, "a"),
        by.says(Speech::Open(Box::new(wait))),
        by.says(Speech::Quiet(0, u64::MAX)),
    ]);
    assert_eq!(stage.undoing("a"), (Status::Running, Some(Undo::Running)));
    let left = stage.say(vec![by.says(Speech::Undoes(None))]);
    assert_eq!(loads(&left), [(by.no, false)]);
}

#[test]
fn l8_a_body_that_calls_before_it_hears_of_it_begins_nothing() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let call = by.says(calls(&mut stage, "c"));
    let told = stage.say(vec![undo(5, "a"), call]);
    assert_eq!(codes(&told.notes), [(5, "")]);
    assert_eq!(loads(&told), []);
    assert_eq!(stage.facts.store.find("default", "w", "c"), Ok(None));
}

#[test]
fn l8_one_that_was_called_undoes_although_its_caller_has_ended() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let call = by.says(calls(&mut stage, "c"));
    stage.say(vec![call]);
    stage.say(vec![undo(5, "a")]);
    let told = stage.say(vec![by.says(Speech::Undoes(None))]);
    let by = stage.next_life(&told);
    let ended = Speech::Undone(Undo::Complete, Status::Terminated, recorded("E", ""));
    stage.say(vec![by.says(ended)]);
    assert_eq!(
        stage.undoing("a"),
        (Status::Terminated, Some(Undo::Complete))
    );
    assert_eq!(stage.undoing("c"), (Status::Running, Some(Undo::Running)));
}

#[test]
fn l8_a_body_that_ends_before_it_hears_of_it_is_replayed() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![undo(5, "a"), finish(by)]);
    assert_eq!(stage.undoing("a"), (Status::Running, Some(Undo::Running)));
    // And one that has ended is asked for nothing.
    let by = stage.create("b");
    let told = stage.say(vec![finish(by), undo(6, "b")]);
    assert_eq!(codes(&told.notes), [(6, "state")]);
    assert_eq!(stage.undoing("b"), (Status::Complete, None));
}

#[test]
fn l8_who_is_terminated_without_more_words_undoes_nothing_further() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![undo(5, "a"), by.says(Speech::Undoes(None))]);
    stage.say(vec![act(6, "a", Verb::Terminate("enough".into()))]);
    assert_eq!(stage.undoing("a"), (Status::Terminated, Some(Undo::Failed)));
    let error = recorded("InstanceTerminated", "somebody");
    let late = Speech::Undone(Undo::Complete, Status::Terminated, error);
    stage.say(vec![by.says(late)]);
    assert_eq!(stage.undoing("a"), (Status::Terminated, Some(Undo::Failed)));
}

#[test]
fn l8_one_without_code_undoes_when_that_is_there() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let workflows = std::mem::take(&mut stage.config.workflows);
    stage.crash();
    let told = stage.say(vec![undo(5, "a")]);
    assert_eq!((codes(&told.notes), loads(&told)), (vec![(5, "")], vec![]));
    assert_eq!(stage.undoing("a"), (Status::Blocked, Some(Undo::Running)));
    stage.config.workflows = workflows;
    assert_eq!(loads(&stage.crash()), [(by.no, true)]);
    assert_eq!(stage.undoing("a"), (Status::Running, Some(Undo::Running)));
}
