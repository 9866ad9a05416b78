//! Nobody is starved: a workflow with two million queued entries holds up nobody else (C3).

use super::*;

const LONG: u64 = 2_000_000;

impl Stage {
    /// Queues so many instances of one workflow, past the store: it is the queue that counts here.
    fn fill(&mut self, workflow: &str, count: u64) {
        let number = self.core.workflow("default", workflow);
        for at in 0..count {
            let no = (1 << 40) + at;
            let key = Key::new("default", workflow, &at.to_string());
            let status = self.core.place(no, key, (number, 0), 0, None);
            assert_eq!(status, Status::Queued);
        }
        // Their creation is not what is committed.
        self.core.batch.shown.clear();
    }

    /// The one body that these jobs start, and (namespace, workflow) of it.
    fn only(&mut self, jobs: &[Job]) -> (Body, Box<str>, Box<str>) {
        let [Job::Start {
            no, incarnation, ..
        }] = *jobs
        else {
            panic!("{jobs:?}");
        };
        let row = self.facts.reader.instance(no).expect("memory is read");
        let row = row.expect("it is there");
        (Body { no, incarnation }, row.namespace, row.workflow)
    }
}

/// Ten run, two million wait behind them. One of another workflow comes, as urgent or less, here
/// or in another namespace: the first slot that comes free is its.
#[test]
fn c3_two_million_queued_entries_delay_another_workflow_by_one_slot_release() {
    let mut stage = Stage::with(Config {
        workflows: vec![("w".into(), "1".into()), ("new".into(), "1".into())],
        slots: 10,
        shards: Some(64),
        limits: limits(10, LONG as u32, 10),
        ..config()
    });
    let mut running: Vec<_> = (0..10).map(|at| stage.create(&format!("r{at}"))).collect();
    stage.fill("w", LONG);
    for (namespace, priority) in [
        ("default", 0),
        ("default", -100),
        ("acme", 0),
        ("acme", -100),
    ] {
        let code = Code {
            namespace: namespace.into(),
            workflow: "new".into(),
            ..code()
        };
        let late = NewItem {
            priority,
            ..item(&format!("late{priority}"))
        };
        let create =
            Submission::Outside(Command::Create(7, Box::new((code, late)), IfExists::Raise));
        let applied = stage.say(vec![create]);
        assert_eq!(codes(&applied.notes), [(7, "")]);
        assert_eq!(applied.jobs, [], "no slot is free");
        // In the very cycle in which a slot comes free.
        let jobs = stage.say(vec![finish(running.remove(0))]).jobs;
        let (by, of, workflow) = stage.only(&jobs);
        assert_eq!((&*of, &*workflow), (namespace, "new"), "{priority}");
        assert_eq!(stage.core.counts()[..3], [10, 10, LONG]);
        // It holds its slot: whoever comes next waits for one of the long workflow's.
        running.push(by);
    }
}

/// With a single slot, which each holds in turn, neither of two workflows can keep it.
#[test]
fn c3_with_one_slot_workflows_take_turns_whatever_their_priorities() {
    let mut stage = Stage::with(Config {
        slots: 1,
        limits: limits(10, 1_000, 10),
        workflows: vec![("w".into(), "1".into()), ("new".into(), "1".into())],
        ..config()
    });
    let mut by = stage.create("a");
    for (at, priority) in (0..20).zip([100i8, -100].into_iter().cycle()) {
        let workflow = if priority > 0 { "w" } else { "new" };
        let code = Code {
            workflow: workflow.into(),
            ..code()
        };
        let item = NewItem {
            priority,
            ..item(&format!("i{at}"))
        };
        stage.say(vec![Submission::Outside(Command::Create(
            1,
            Box::new((code, item)),
            IfExists::Raise,
        ))]);
    }
    let mut order = Vec::new();
    for _ in 0..20 {
        let jobs = stage.say(vec![finish(by)]).jobs;
        let (next, _, workflow) = stage.only(&jobs);
        by = next;
        order.push(workflow);
    }
    let turns = ["new", "w"].into_iter().cycle().take(20);
    assert!(order.iter().map(|it| &**it).eq(turns), "{order:?}");
}
