//! Nothing goes on without code, whatever would bring it back into a queue or a slot (L12).

use super::*;
use crate::codes::{MISSING_CODE, RECOVERIES};
use crate::store::Row;
use crate::submission::Why;

type Leave = fn(&mut Stage);

/// How "a" of "w" can be left by an engine that has its code, and the reason it is blocked for by
/// one that has not.
const LEFT: [(Leave, &str); 9] = [
    (queued, MISSING_CODE),
    (scheduled, MISSING_CODE),
    (running, MISSING_CODE),
    (suspected, MISSING_CODE),
    (waiting, MISSING_CODE),
    (asking, MISSING_CODE),
    (calling, MISSING_CODE),
    (blocked, "nondeterminism"),
    (poisonous, RECOVERIES),
];

fn queued(stage: &mut Stage) {
    stage.say(vec![of("v", 1, "b"), of("v", 2, "c"), create(3, "a")]);
}

fn scheduled(stage: &mut Stage) {
    let later = NewItem {
        start_at: Some(150),
        ..item("a")
    };
    let create = Submission::Outside(Command::Create(
        1,
        Box::new((code(), later)),
        IfExists::Raise,
    ));
    stage.say(vec![create]);
}

fn running(stage: &mut Stage) {
    stage.create("a");
}

fn suspected(stage: &mut Stage) {
    running(stage);
    stage.crash();
    stage.crash();
}

fn waiting(stage: &mut Stage) {
    let by = stage.create("a");
    let first = stage.wait(Kind::Sleep, Source::Timer, 150);
    let second = stage.wait(Kind::Event, events(&["x"]), 150);
    let third = stage.wait(Kind::Do, Source::Retry(None), 150);
    let waits = [first, second, third].map(|it| by.says(Speech::Open(Box::new(it))));
    stage.say(waits.into());
    be_quiet(stage, by);
}

fn asking(stage: &mut Stage) {
    let by = stage.create("a");
    let wait = stage.wait(Kind::Approval, Source::Approval("w/a#ask#1".into()), 150);
    stage.say(vec![by.says(Speech::Ask(Box::new(wait), None))]);
    be_quiet(stage, by);
}

fn calling(stage: &mut Stage) {
    let by = stage.create("a");
    let child = Child {
        begun: None,
        operation: operation(Kind::Call),
        workflow: "v".into(),
        version: "1".into(),
        items: vec![item("b")],
        payload: None,
    };
    let number = stage.sequence.draw();
    stage.say(vec![by.says(Speech::Call(number, Box::new(child)))]);
    be_quiet(stage, by);
}

fn blocked(stage: &mut Stage) {
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 150);
    let why = Why::from("nondeterminism");
    let block = by.says(Speech::Block(why, b"why".as_slice().into()));
    stage.say(vec![by.says(Speech::Open(Box::new(wait))), block]);
}

fn poisonous(stage: &mut Stage) {
    stage.config.limits = limits(100, 3, 1);
    running(stage);
    stage.crash();
    stage.crash();
}

fn be_quiet(stage: &mut Stage, by: Body) {
    let seen = stage.core.batch_number();
    stage.say(vec![by.says(Speech::Quiet(u64::MAX, seen))]);
}

fn of(workflow: &str, ticket: u64, id: &str) -> Submission {
    let code = Code {
        workflow: workflow.into(),
        ..code()
    };
    Submission::Outside(Command::Create(
        ticket,
        Box::new((code, item(id))),
        IfExists::Raise,
    ))
}

fn resume(ticket: u64) -> Submission {
    Submission::Outside(Command::Act(ticket, Verb::Resume.to(name("a"))))
}

fn stored(stage: &mut Stage, workflow: &str, id: &str) -> Option<Row> {
    let row = stage.facts.store.find("default", workflow, id);
    row.expect("memory is read")
}

/// It is blocked for this, and nothing was begun for it.
fn is_still(stage: &mut Stage, jobs: &[Job], reason: &str) {
    let row = stored(stage, "w", "a").expect("it is there");
    let found = (row.status, row.reason.as_deref());
    assert_eq!(found, (Status::Blocked, Some(reason)));
    let starts = |job: &Job| matches!(job, Job::Start { no, .. } if *no == row.no);
    assert!(!jobs.iter().any(starts), "{jobs:?}");
}

/// Ends whatever has a slot; returns whose slots these were.
fn end_all(stage: &mut Stage) -> Vec<Box<str>> {
    let mut ended = Vec::new();
    for id in ["b", "c", "d"] {
        let row = stored(stage, "v", id);
        if let Some(row) = row.filter(|it| it.status == Status::Running) {
            let (no, incarnation) = (row.no, row.incarnation);
            stage.say(vec![finish(Body { no, incarnation })]);
            ended.push(row.workflow);
        }
    }
    ended
}

#[test]
fn l12_nothing_brings_an_instance_without_code_into_a_queue_or_a_slot() {
    for (leave, reason) in LEFT {
        let mut stage = Stage::new();
        leave(&mut stage);
        let config = stage.config.clone();
        stage.config.workflows = vec![("w".into(), "2".into()), ("v".into(), "1".into())];
        let jobs = stage.crash().jobs;
        is_still(&mut stage, &jobs, reason);
        let jobs = stage.say(vec![resume(1)]).jobs;
        is_still(&mut stage, &jobs, reason);
        let all = vec![
            send(2, "a", "x", None),
            send(3, "a", "x", Some("d")),
            decide(4, "a", true),
            Submission::Outside(Command::Reshard(5, 7)),
            resume(6),
        ];
        let jobs = stage.say(all).jobs;
        is_still(&mut stage, &jobs, reason);
        stage.now = 500;
        let jobs = stage.say(vec![resume(7)]).jobs;
        is_still(&mut stage, &jobs, reason);
        end_all(&mut stage);
        let jobs = stage.outlive().jobs;
        is_still(&mut stage, &jobs, reason);
        let jobs = stage.say(vec![resume(8)]).jobs;
        is_still(&mut stage, &jobs, reason);
        // All slots are somebody else's.
        assert_eq!(stage.core.counts(), [2, 0, 0, 0]);
        stage.config.slots = 1;
        let jobs = stage.crash().jobs;
        is_still(&mut stage, &jobs, reason);
        stage.say(vec![resume(9), of("v", 10, "d")]);
        assert_eq!(end_all(&mut stage), ["v".into()]);
        // Its code is there again.
        stage.config = config;
        stage.crash();
        let jobs = match reason {
            MISSING_CODE => stage.outlive().jobs,
            _ => stage.say(vec![resume(11)]).jobs,
        };
        let row = stored(&mut stage, "w", "a").expect("it is there");
        assert_eq!(row.status, Status::Running, "{jobs:?}");
    }
}

#[test]
fn l12_whoever_resumes_what_has_no_code_is_told_what_is_missing() {
    let told = |workflows: &[(&str, &str)], leave: Leave| {
        let mut stage = Stage::new();
        leave(&mut stage);
        let workflows = workflows.iter().map(|it| (it.0.into(), it.1.into()));
        stage.config.workflows = workflows.collect();
        stage.crash();
        let notes = stage.say(vec![resume(1)]).notes;
        let [Note::Reply {
            ticket: 1,
            code: MISSING_CODE,
            data: Data::Text(text),
        }] = &notes[..]
        else {
            panic!("{notes:?}");
        };
        text.clone()
    };
    let begin = "instance \"a\" of \"w\" cannot be resumed here: version \"1\" of \"w\" is not \
    registered with this engine (registered: ";
    let middle = "). Nothing was changed. Pass it in Engine(workflows=[…]); ";
    let by_itself = "the instance goes on by itself, without resume().";
    let versions = [("w", "3"), ("v", "1"), ("w", "2")];
    let expected = format!("{begin}version \"3\", \"2\"{middle}{by_itself}");
    assert_eq!(told(&versions, waiting), expected);
    let others = [("y", "1"), ("x", "1")];
    let expected = format!("{begin}\"x\", \"y\"{middle}{by_itself}");
    assert_eq!(told(&others, waiting), expected);
    let expected = format!("{begin}no workflow{middle}then resume() it.");
    assert_eq!(told(&[], blocked), expected);
}

#[test]
#[should_panic(expected = "nothing is created without code")]
fn l12_nothing_is_created_without_code() {
    Stage::new().say(vec![of("nobody", 1, "a")]);
}

fn resume_as(ticket: u64, version: &str) -> Submission {
    let version = Some(version.into());
    let how = Box::new(crate::submission::Anew {
        version,
        forgets: vec![],
    });
    Submission::Outside(Command::Act(ticket, Verb::ResumeAs(how).to(name("a"))))
}

/// How many of "w" are of this version.
fn counted(stage: &Stage, version: &str) -> u64 {
    let versions = stage.core.tally().versions(None, Some("w"));
    let of = versions.iter().filter(|it| &*it.1 == version);
    of.map(|it| it.2.iter().sum::<u64>()).sum()
}

#[test]
fn another_version_that_has_code_lets_go_on_what_has_none() {
    for (leave, reason) in LEFT {
        let mut stage = Stage::with(config());
        leave(&mut stage);
        let config = Config {
            workflows: vec![("w".into(), "2".into()), ("v".into(), "1".into())],
            ..stage.config.clone()
        };
        let mut other = Stage::open(&stage.store, config, 100);
        let jobs = other.commit().jobs;
        is_still(&mut other, &jobs, reason);
        let jobs = other.say(vec![resume_as(7, "3")]).jobs;
        is_still(&mut other, &jobs, reason);
        assert_eq!((counted(&other, "1"), counted(&other, "2")), (1, 0));
        assert_eq!(
            stored(&mut other, "w", "a").expect("it is there").version,
            "1".into()
        );
        other.say(vec![resume_as(8, "2")]);
        let row = stored(&mut other, "w", "a").expect("it is there");
        assert_eq!(row.version, "2".into());
        assert_eq!(counted(&other, "2"), 1, "{reason}");
        assert_ne!(row.status, Status::Blocked, "{reason}");
        other.crash();
        assert_eq!((counted(&other, "1"), counted(&other, "2")), (0, 1));
        let row = stored(&mut other, "w", "a").expect("it is there");
        assert_ne!(row.status, Status::Blocked, "{reason}");
    }
}

#[test]
fn what_a_resume_forgets_counts_no_more_and_what_came_since_does() {
    let mut stage = Stage::with(config());
    let by = stage.create("a");
    stage.say(vec![by.says(Speech::Record(9, record()))]);
    let mut reader = stage.facts.store.reader().expect("memory is read");
    let place = reader.history(by.no).expect("memory is read")[0].seq;
    let block = by.says(Speech::Block("body_failed".into(), [1].into()));
    stage.say(vec![block]);
    let how = crate::submission::Anew {
        version: None,
        forgets: vec![place],
    };
    let deed = Verb::ResumeAs(Box::new(how)).to(name("a"));
    stage.say(vec![Submission::Outside(Command::Act(10, deed.clone()))]);
    let counts = |reader: &mut dyn crate::store::Reader| {
        let all = reader.history(by.no).expect("memory is read");
        all.iter().map(|it| it.seq).collect::<Vec<_>>()
    };
    assert_eq!(counts(&mut *reader), []);
    stage.say(vec![by.says(Speech::Record(11, record()))]);
    assert_eq!(counts(&mut *reader).len(), 1);
    // One that is not blocked any more keeps everything, whoever asks too late.
    stage.say(vec![Submission::Outside(Command::Act(12, deed))]);
    assert_eq!(counts(&mut *reader).len(), 1);
}
