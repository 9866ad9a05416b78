//! Who gets a slot that is free in the middle of a batch: nobody overtakes whoever is queued (C2,
//! C4).

use super::*;
use crate::settings::{Layer, Limit};

fn create_of(workflow: &str, ticket: u64, id: &str) -> Submission {
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

fn status(stage: &Stage, workflow: &str, id: &str) -> Option<Status> {
    let key = crate::ids::Key::new("default", workflow, id);
    stage.registry.peek(key)
}

/// Two slots; one of "w" is blocked, nothing runs.
fn stage() -> Stage {
    let mut stage = Stage::new();
    let by = stage.create("blocked");
    stage.say(vec![
        by.says(Speech::Block("why".into(), b"e".as_slice().into()))
    ]);
    stage
}

#[test]
fn one_that_joined_the_queue_in_this_batch_is_not_overtaken_by_another_workflow() {
    let mut stage = stage();
    stage.say(vec![
        create_of("v", 1, "first"),
        Submission::Outside(Command::Act(2, Verb::Resume.to(name("blocked")))),
        create_of("v", 3, "second"),
    ]);
    assert_eq!(status(&stage, "v", "first"), Some(Status::Running));
    assert_eq!(status(&stage, "w", "blocked"), Some(Status::Running));
    assert_eq!(status(&stage, "v", "second"), Some(Status::Queued));
}

#[test]
fn a_slot_that_came_back_in_this_batch_is_for_whoever_is_queued() {
    let one = Layer::default().with(Limit::Concurrency, 1);
    let mut stage = Stage::with(Config {
        workflow_limits: vec![("w".into(), one)],
        ..config()
    });
    let first = stage.create("a");
    stage.say(vec![create_of("w", 1, "queued")]);
    stage.say(vec![
        // Takes the other slot: whoever is queued could not have had it.
        create_of("v", 2, "before"),
        finish(first),
        create_of("v", 3, "after"),
    ]);
    assert_eq!(status(&stage, "v", "before"), Some(Status::Running));
    assert_eq!(status(&stage, "w", "queued"), Some(Status::Running));
    assert_eq!(status(&stage, "v", "after"), Some(Status::Queued));
}
