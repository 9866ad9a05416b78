//! Who is terminated, along with whom, and what is told of it (I8, L10).

use super::*;
use crate::failure::recorded;
use crate::ids::{InstanceNo, WaitId};
use crate::wait::ApprovalStatus;

fn stage(slots: u32) -> Stage {
    Stage::with(Config {
        slots,
        limits: limits(100, 100, 10),
        ..config()
    })
}

impl Stage {
    fn call(&self, by: Body, item: NewItem) -> (WaitId, Submission) {
        let number = self.sequence.draw();
        let child = Child {
            begun: None,
            operation: Operation {
                count: number as u32,
                ..operation(Kind::Call)
            },
            workflow: "w".into(),
            version: "1".into(),
            items: vec![item],
            payload: None,
        };
        (number, by.says(Speech::Call(number, Box::new(child))))
    }

    /// Has a body call a child that starts at once; returns the wait and the child's body.
    fn called(&mut self, by: Body, id: &str) -> (WaitId, Body) {
        let (number, call) = self.call(by, item(id));
        let applied = self.say(vec![call]);
        let [Note::Start(start)] = &applied.notes[..] else {
            panic!("not started: {:?}", applied.notes);
        };
        let (no, incarnation) = (start.no, start.incarnation);
        (number, Body { no, incarnation })
    }

    fn no_of(&mut self, id: &str) -> InstanceNo {
        let row = self.facts.store.find("default", "w", id);
        row.expect("memory is read").expect("it is there").no
    }

    fn status(&mut self, id: &str) -> Status {
        let row = self.facts.store.find("default", "w", id);
        row.expect("memory is read").expect("it is there").status
    }

    fn waits(&mut self, no: InstanceNo) -> usize {
        let waits = self.facts.reader.waits(no).expect("memory is read");
        waits.len()
    }
}

fn unwind(of: Body) -> Note {
    let (no, incarnation) = (of.no, of.incarnation);
    Note::Unwind { no, incarnation }
}

fn terminated(why: &str) -> Box<[u8]> {
    recorded("InstanceTerminated", why)
}

#[test]
fn i8_a_withdrawn_call_and_the_end_of_its_child_are_one_commit() {
    let mut stage = stage(2);
    let by = stage.create("a");
    let (number, child) = stage.called(by, "b");
    let queued = stage.say(vec![create(5, "next")]);
    assert_eq!(codes(&queued.notes), [(5, "")]);
    let withdraw = by.says(Speech::Withdraw(number));
    stage.begin([&withdraw]);
    assert_eq!(stage.core.decide(withdraw), None);
    let ops = stage.core.ops().map(|op| match op {
        Op::Close(no, id) => format!("close {no} {id}"),
        Op::Status(no, _, to) => format!("{no} {:?}", to.status),
        other => format!("{other:?}"),
    });
    let ops: Vec<_> = ops.collect();
    let expected = [
        format!("close {} {number}", by.no),
        format!("{} Terminated", child.no),
    ];
    assert_eq!(ops, expected);
    let applied = stage.commit();
    assert_eq!(applied.notes, [unwind(child)]);
    assert_eq!(applied.jobs.len(), 1, "its slot goes to the next in line");
    assert_eq!(stage.core.counts(), [2, 2, 0, 0]);
    let payloads = stage.facts.reader.payloads(child.no);
    let result = payloads.expect("memory is read").result;
    assert_eq!(
        result,
        Some(terminated("w/a, which called it, gave up the call"))
    );
    assert!(!stage.core.live.contains_key(&child.no));
    assert!(stage.core.parents.is_empty());
    // D6: whatever the old body still says changes nothing.
    let late = child.says(Speech::Record(77, record()));
    let applied = stage.say(vec![late, finish(child)]);
    assert_eq!(applied.notes, [Note::Fenced { ticket: 77 }]);
    assert_eq!(stage.status("b"), Status::Terminated);
    assert!(!stage.residents.park(child.no, child.incarnation));
    // A second withdrawal, as replay submits it after a crash, finds nothing to do.
    let again = stage.say(vec![by.says(Speech::Withdraw(number))]);
    assert_eq!(again.notes, []);
}

#[test]
fn i8_a_called_child_that_never_ran_leaves_the_queue() {
    let mut stage = stage(1);
    let by = stage.create("a");
    let urgent = NewItem {
        priority: 7,
        ..item("urgent")
    };
    let later = NewItem {
        start_at: Some(500),
        ..item("later")
    };
    let (first, call_urgent) = stage.call(by, urgent);
    let (second, call_later) = stage.call(by, later);
    let (third, call_plain) = stage.call(by, item("plain"));
    stage.say(vec![call_urgent, call_later]);
    // An event makes one live without its priority being known.
    stage.say(vec![send(3, "urgent", "x", None)]);
    assert_eq!(stage.core.counts(), [1, 1, 1, 0]);
    let applied = stage.say(vec![
        call_plain,
        by.says(Speech::Withdraw(third)),
        by.says(Speech::Withdraw(first)),
        by.says(Speech::Withdraw(second)),
    ]);
    assert_eq!(applied.notes, []);
    assert_eq!(stage.core.counts(), [1, 1, 0, 0]);
    assert_eq!(stage.core.next_timer(), None);
    let workflow = stage.core.workflow("default", "w");
    assert_eq!(stage.core.admission.queued(workflow), 0);
    for id in ["urgent", "later", "plain"] {
        assert_eq!(stage.status(id), Status::Terminated, "{id}");
        let key = crate::ids::Key::new("default", "w", id);
        assert_eq!(stage.registry.view(key), None, "{id}");
    }
    stage.now = 1_000;
    assert_eq!(stage.say(vec![finish(by)]).jobs, []);
    let empty = stage.crash();
    assert_eq!((empty.notes, empty.jobs), (vec![], vec![]));
}

#[test]
fn i8_a_child_that_starts_in_the_batch_that_terminates_it_never_starts() {
    let mut stage = stage(3);
    let by = stage.create("a");
    let (earlier, other) = stage.called(by, "other");
    let (number, call) = stage.call(by, item("b"));
    let applied = stage.batch(vec![
        by.says(Speech::Withdraw(earlier)),
        call,
        by.says(Speech::Withdraw(number)),
    ]);
    assert_eq!((applied.notes, applied.jobs), (vec![unwind(other)], vec![]));
    assert_eq!(stage.status("b"), Status::Terminated);
    assert_eq!(stage.core.counts(), [3, 1, 0, 0]);
    assert_eq!(stage.residents.len(), 1);
}

/// Who called the child is asked with the next batch: when this one began, nobody was to be told.
#[test]
fn i8_what_a_batch_turns_out_to_lack_waits_for_the_next_one() {
    let mut stage = stage(2);
    let by = stage.create("a");
    let (number, call) = stage.call(by, item("b"));
    let withdraw = by.says(Speech::Withdraw(number));
    stage.begin([&call, &withdraw]);
    assert_eq!(stage.core.decide(call), None);
    assert_eq!(stage.core.decide(withdraw.clone()), Some(withdraw.clone()));
    let [Note::Start(start)] = &stage.commit().notes[..] else {
        panic!("not started");
    };
    let (no, incarnation) = (start.no, start.incarnation);
    let applied = stage.batch(vec![withdraw]);
    assert_eq!(applied.notes, [unwind(Body { no, incarnation })]);
    assert_eq!(stage.status("b"), Status::Terminated);
    assert_eq!(stage.core.counts(), [2, 1, 0, 0]);
}

#[test]
fn l10_a_parent_that_ends_terminates_whom_it_called_all_the_way_down_and_nobody_else() {
    for status in [Status::Complete, Status::Errored] {
        let mut stage = stage(9);
        let by = stage.create("a");
        let (_, child) = stage.called(by, "child");
        let (_, grandchild) = stage.called(child, "grandchild");
        let made = Child {
            begun: None,
            operation: operation(Kind::Create),
            workflow: "w".into(),
            version: "1".into(),
            items: vec![item("made")],
            payload: None,
        };
        stage.say(vec![by.says(Speech::CreateChildren(8, Box::new(made)))]);
        let awaited = stage.create("awaited");
        let what = |id: &str| Box::new((operation(Kind::Result).into(), "w".into(), id.into()));
        stage.say(vec![
            by.says(Speech::Await(900, what("awaited"))),
            awaited.says(Speech::Await(901, what("grandchild"))),
        ]);
        let applied = stage.say(vec![by.says(Speech::Finish(status, None, None))]);
        assert_eq!(
            settled(&applied.notes),
            [(901, Verdict::Failed, Some("terminated"))]
        );
        let unwound: Vec<_> = applied
            .notes
            .iter()
            .filter(|it| matches!(it, Note::Unwind { .. }))
            .cloned()
            .collect();
        assert_eq!(unwound, [unwind(child), unwind(grandchild)]);
        let found = ["child", "grandchild", "made", "awaited"].map(|id| stage.status(id));
        let (ended, runs) = (Status::Terminated, Status::Running);
        assert_eq!(found, [ended, ended, runs, runs]);
        let history = stage.facts.reader.history(awaited.no);
        let error = history.expect("memory is read").remove(0).record.payload;
        assert_eq!(
            error,
            Some(terminated("w/child, which called it, has ended"))
        );
        assert_eq!(stage.core.counts(), [9, 2, 0, 0]);
    }
}

#[test]
fn l10_a_child_that_waits_is_parked_asks_or_is_blocked_is_terminated_too() {
    let mut stage = stage(9);
    let by = stage.create("a");
    let ask = |id: &str| Source::Approval(format!("w/{id}#ask#1").into());
    let sources = [
        ("waits", events(&["x"])),
        ("parked", Source::Timer),
        ("asks", ask("asks")),
        ("blocked", ask("blocked")),
    ];
    let mut numbers = Vec::new();
    let mut children = Vec::new();
    for (id, source) in sources {
        let (number, child) = stage.called(by, id);
        let wait = Box::new(stage.wait(Kind::Event, source.clone(), 1_000));
        let seen = stage.core.batch_number();
        let waits = match source {
            Source::Approval(_) => child.says(Speech::Ask(wait, None)),
            _ => child.says(Speech::Open(wait)),
        };
        let last = match id {
            "blocked" => child.says(Speech::Block("race".into(), b"why".as_slice().into())),
            _ => child.says(Speech::Quiet(0, seen)),
        };
        stage.say(vec![waits, last]);
        numbers.push(number);
        children.push(child);
    }
    assert!(stage
        .residents
        .park(children[1].no, children[1].incarnation));
    assert_eq!(stage.core.counts(), [9, 1, 0, 3]);
    let withdraw = numbers.iter().map(|it| by.says(Speech::Withdraw(*it)));
    let applied = stage.say(withdraw.collect());
    // Parked and blocked ones have no body to unwind.
    assert_eq!(applied.notes, [unwind(children[0]), unwind(children[2])]);
    assert_eq!(stage.core.counts(), [9, 1, 0, 0]);
    assert_eq!(stage.core.next_timer(), None);
    assert!(stage.core.asked.is_empty());
    for child in children {
        assert_eq!(stage.waits(child.no), 0);
    }
    for id in ["asks", "blocked"] {
        let approval = stage.facts.store.approval(&format!("w/{id}#ask#1"));
        let approval = approval.expect("memory is read").expect("it was asked");
        assert_eq!(approval.status, ApprovalStatus::Withdrawn);
    }
    let applied = stage.say(vec![decide(5, "asks", true), send(6, "waits", "x", None)]);
    assert_eq!(codes(&applied.notes), [(5, ""), (6, "state")]);
}

#[test]
fn l10_what_was_woken_or_told_in_the_same_batch_is_terminated_all_the_same() {
    let mut stage = stage(9);
    let by = stage.create("a");
    let (number, child) = stage.called(by, "b");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let seen = stage.core.batch_number();
    stage.say(vec![
        child.says(Speech::Open(Box::new(wait))),
        child.says(Speech::Quiet(0, seen)),
    ]);
    assert!(stage.residents.park(child.no, child.incarnation));
    let applied = stage.say(vec![
        send(3, "b", "x", None),
        by.says(Speech::Withdraw(number)),
    ]);
    assert_eq!(codes(&applied.notes), [(3, "")]);
    assert_eq!(applied.jobs, [], "nobody loads it");
    assert_eq!(stage.core.counts(), [9, 1, 0, 0]);
    assert!(settled(&applied.notes).is_empty());
}

#[test]
fn i8_after_a_crash_between_call_and_withdrawal_replay_withdraws_it_and_nothing_dangles() {
    let mut stage = stage(9);
    let by = stage.create("a");
    let (number, child) = stage.called(by, "b");
    let (_, grandchild) = stage.called(child, "c");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let seen = stage.core.batch_number();
    stage.say(vec![
        grandchild.says(Speech::Open(Box::new(wait))),
        grandchild.says(Speech::Quiet(0, seen)),
        child.says(Speech::Quiet(0, seen)),
    ]);
    assert_eq!(stage.core.counts(), [9, 1, 0, 2]);
    let jobs = stage.crash().jobs;
    assert_eq!(jobs.len(), 1, "only the parent runs: {jobs:?}");
    stage.residents.start(by.no, by.incarnation);
    stage.say(vec![by.says(Speech::Withdraw(number)), finish(by)]);
    let found = ["a", "b", "c"].map(|id| stage.status(id));
    let ended = Status::Terminated;
    assert_eq!(found, [Status::Complete, ended, ended]);
    for id in ["a", "b", "c"] {
        let no = stage.no_of(id);
        assert_eq!(stage.waits(no), 0, "{id}");
    }
    let empty = stage.crash();
    assert_eq!((empty.notes, empty.jobs), (vec![], vec![]));
    assert_eq!(stage.core.counts(), [9, 0, 0, 0]);
    assert!(stage.core.live.is_empty() && stage.core.parents.is_empty());
}

#[test]
fn i8_a_child_that_ended_before_the_withdrawal_stays_as_it_ended() {
    let mut stage = stage(9);
    let by = stage.create("a");
    let (number, child) = stage.called(by, "b");
    stage.say(vec![finish(child), by.says(Speech::Withdraw(number))]);
    assert_eq!(stage.status("b"), Status::Complete);
}

#[test]
fn i8_a_slot_stays_taken_until_what_its_body_gave_up_has_ended() {
    let mut stage = stage(1);
    let by = stage.create("a");
    stage.say(vec![create(2, "b")]);
    stage.say(vec![by.says(Speech::Hold), finish(by)]);
    assert_eq!(stage.status("a"), Status::Complete);
    assert_eq!(stage.status("b"), Status::Queued);
    let [_, leased, ..] = stage.core.counts();
    assert_eq!(leased, 1);
    stage.say(vec![Submission::LetGo(by.no)]);
    assert_eq!(stage.status("b"), Status::Running);
    // Said again, or of one that holds none, it changes nothing.
    stage.say(vec![Submission::LetGo(by.no), Submission::LetGo(7_777)]);
    let [_, leased, ..] = stage.core.counts();
    assert_eq!(leased, 1);
}
