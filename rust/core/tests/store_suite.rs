//! What every operation means: the same facts over memory and `SQLite`.
#![allow(missing_docs, clippy::missing_panics_doc)]

#[macro_use]
mod store_cases;

use stepwell_core::history::{Kind, Verdict};
use stepwell_core::ids::{Key, Range};
use stepwell_core::letter::{Address, Letter, Message};
use stepwell_core::lifecycle::Status;
use stepwell_core::ranges::Domain;
use stepwell_core::store::known::{Need, Needs};
use stepwell_core::store::{Bucket, Filter, Op, Outcome, Restart, Store, Transition};
use stepwell_core::undo::Undo;
use stepwell_core::wait::{Approval, ApprovalStatus, Source, Wait};
use store_cases::*;

suite!(
    a_created_instance_is_found_with_all_it_came_with,
    a_taken_id_is_answered_with_its_owner_and_changes_nothing,
    ids_are_unique_per_namespace_and_workflow_whatever_the_version,
    children_and_their_record_are_written_all_or_nothing,
    a_letter_is_there_until_it_is_taken_in,
    an_outdated_incarnation_changes_nothing,
    records_come_back_in_order_and_whole,
    histories_of_instances_that_step_in_turn_do_not_mix,
    d3_histories_survive_a_crash_whether_heads_were_persisted_or_not,
    a_change_of_state_is_stored_whole,
    a_final_instance_keeps_no_waits_but_its_dedup_ids_and_what_nobody_took,
    l4_a_pause_is_as_old_as_when_it_was_asked_for_and_deadlines_can_be_moved,
    l8_how_far_undoing_is_is_kept_until_a_restart,
    e3_a_closed_wait_is_gone_and_closing_it_again_is_no_error,
    e1_buffered_events_come_back_in_order_until_taken,
    e4_a_dedup_id_is_kept_once,
    waits_of_every_source_come_back,
    settings_and_progress_are_replaced,
    attributes_are_replaced_and_found_by_what_they_are_now,
    e5_an_approval_is_ended_only_while_it_is_open,
    a_look_answers_all_that_is_asked_at_once,
    c10_what_a_creation_rate_had_left_is_replaced_and_survives_a_crash,
    a_clean_close_loses_nothing,
    unknown_instances_are_fenced_or_empty,
);

fn a_created_instance_is_found_with_all_it_came_with(place: &mut dyn Place) {
    let mut store = place.open();
    let mut one = new(7, "a");
    one.attributes = Some([5].into());
    one.start_at = Some(99);
    one.parent = Some(3);
    one.called = true;
    one.seed = Some(u64::MAX);
    one.status = Status::Running;
    assert_eq!(
        commit_one(&mut *store, Op::Create(one.into())),
        Outcome::Done(0)
    );
    let row = store.find("default", "orders", "a").unwrap().unwrap();
    assert_eq!((row.no, row.incarnation, row.priority), (7, 1, -3));
    assert_eq!(
        (&*row.namespace, &*row.workflow, &*row.version, &*row.id),
        ("default", "orders", "1", "a")
    );
    assert_eq!(
        (row.status, row.marked, row.recoveries),
        (Status::Running, true, 0)
    );
    assert_eq!(
        (row.created_at, row.updated_at, row.started_at),
        (1_007, 1_007, Some(1_007))
    );
    assert_eq!(
        (row.start_at, row.parent, row.called, row.ended_at),
        (Some(99), Some(3), true, None)
    );
    assert_eq!((row.format, row.seed), (3, Some(u64::MAX)));
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.instance(7).unwrap().as_ref(), Some(&row));
    assert_eq!(reader.find("default", "orders", "a").unwrap(), Some(row));
    let payloads = reader.payloads(7).unwrap();
    assert_eq!(payloads.params.as_deref(), Some(&[1, 2, 3][..]));
    assert_eq!(payloads.attributes.as_deref(), Some(&[5][..]));
    assert_eq!((payloads.result, payloads.progress), (None, None));
}

fn a_taken_id_is_answered_with_its_owner_and_changes_nothing(place: &mut dyn Place) {
    let mut store = place.open();
    let outcomes = store
        .commit(&[create(1, "a"), create(2, "a"), create(3, "b")])
        .unwrap();
    assert_eq!(
        outcomes,
        [
            Outcome::Done(0),
            Outcome::Exists(1, Status::Queued),
            Outcome::Done(0)
        ]
    );
    let taken = Outcome::Exists(3, Status::Queued);
    assert_eq!(commit_one(&mut *store, create(4, "b")), taken);
    let numbers: Vec<_> = recovered(&mut *store)
        .instances
        .iter()
        .map(|it| it.no)
        .collect();
    assert_eq!(numbers, [1, 3]);
    let ended = Op::Status(3, 1, to(Status::Complete, 5));
    assert_eq!(commit_one(&mut *store, ended), Outcome::Done(0));
    let taken = Outcome::Exists(3, Status::Complete);
    assert_eq!(commit_one(&mut *store, create(4, "b")), taken);
}

fn ids_are_unique_per_namespace_and_workflow_whatever_the_version(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = commit_one(&mut *store, create(1, "a"));
    let mut other = new(2, "a");
    other.version = "2".into();
    assert_eq!(
        commit_one(&mut *store, Op::Create(other.clone().into())),
        Outcome::Exists(1, Status::Queued)
    );
    other.workflow = "refunds".into();
    assert_eq!(
        commit_one(&mut *store, Op::Create(other.clone().into())),
        Outcome::Done(0)
    );
    other.no = 3;
    other.namespace = "other".into();
    assert_eq!(
        commit_one(&mut *store, Op::Create(other.into())),
        Outcome::Done(0)
    );
    assert_eq!(
        store.find("default", "refunds", "a").unwrap().unwrap().no,
        2
    );
    assert_eq!(store.find("other", "refunds", "a").unwrap().unwrap().no, 3);
    assert_eq!(store.find("other", "orders", "a").unwrap(), None);
}

fn children_and_their_record_are_written_all_or_nothing(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = commit_one(&mut *store, create(1, "parent"));
    let children = |some: &[(u64, &str)], incarnation, name| {
        let some = some.iter().map(|(no, id)| new(*no, id)).collect();
        Op::CreateChildren(some, 1, incarnation, record(name).into())
    };
    let some = children(&[(2, "c"), (3, "d")], 1, "created");
    assert_eq!(commit_one(&mut *store, some), Outcome::Done(1));
    let some = children(&[(4, "e"), (5, "d")], 1, "taken");
    assert_eq!(
        commit_one(&mut *store, some),
        Outcome::Exists(3, Status::Queued)
    );
    let some = children(&[(6, "e")], 9, "fenced");
    assert_eq!(commit_one(&mut *store, some), Outcome::Fenced);
    assert_eq!(store.find("default", "orders", "e").unwrap(), None);
    let history = store.reader().unwrap().history(1).unwrap();
    let names: Vec<_> = history
        .iter()
        .map(|it| &*it.record.operation.name)
        .collect();
    assert_eq!(names, ["created"]);
}

fn a_letter_is_there_until_it_is_taken_in(place: &mut dyn Place) {
    let mut store = place.open();
    let (here, there) = (Address::Owner(Range(7)), Address::Owner(Range(4_095)));
    let letter = |to, no| Letter {
        to,
        message: Message::Born(no),
    };
    let leave = |to, no| Op::Leave(letter(to, no).into());
    let batch = [
        leave(here, 1),
        leave(there, 2),
        leave(Address::Asker(9), 3),
        leave(here, 4),
    ];
    let answers = [1, 2, 3, 4].map(Outcome::Done);
    assert_eq!(store.commit(&batch).unwrap(), answers);
    store = place.crash(store);
    let domain = Domain::part([(Range(7), 1)]);
    let of_both = [
        (1, Ok(letter(here, 1))),
        (3, Ok(letter(Address::Asker(9), 3))),
        (4, Ok(letter(here, 4))),
    ];
    assert_eq!(store.letters(&domain, 9).unwrap(), of_both);
    let taken = [Op::TakeIn(1), Op::TakeIn(1)];
    let answers = [Outcome::Done(0), Outcome::Fenced];
    assert_eq!(store.commit(&taken).unwrap(), answers);
    assert_eq!(store.letters(&domain, 8).unwrap(), of_both[2..]);
    assert_eq!(store.letters(&Domain::Whole, 0).unwrap().len(), 2);
}

fn an_outdated_incarnation_changes_nothing(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = commit_one(&mut *store, create(1, "a"));
    let batch = [
        Op::Append(1, 2, record("x")),
        Op::Open(1, 2, wait(1, Source::Timer)),
        Op::Status(1, 2, to(Status::Running, 5)),
    ];
    assert_eq!(store.commit(&batch).unwrap(), [Outcome::Fenced; 3]);
    // The same while the instance is known to the writer.
    let _ = store.commit(&[Op::Append(1, 1, record("y"))]).unwrap();
    assert_eq!(store.commit(&batch).unwrap(), [Outcome::Fenced; 3]);
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.history(1).unwrap().len(), 1);
    assert_eq!(reader.waits(1).unwrap(), []);
    assert_eq!(reader.instance(1).unwrap().unwrap().status, Status::Queued);
}

fn records_come_back_in_order_and_whole(place: &mut dyn Place) {
    let mut store = place.open();
    let mut bare = record("bare");
    bare.operation.key = None;
    (bare.moment, bare.event, bare.event_type, bare.payload) = (None, None, None, None);
    bare.begun = None;
    let mut first = record("first");
    (first.begun, first.verdict) = (Some(0), Verdict::Abandoned);
    let mut odd = record("tab\t nul\0 ünï");
    odd.payload = Some([].into());
    let records = [record("a"), bare, first, odd];
    let _ = commit_one(&mut *store, create(1, "a"));
    for (at, one) in records.iter().enumerate() {
        let outcome = commit_one(&mut *store, Op::Append(1, 1, one.clone()));
        assert_eq!(outcome, Outcome::Done(at as u64 + 1));
    }
    let read: Vec<_> = store.reader().unwrap().history(1).unwrap();
    assert_eq!(
        read.iter().map(|it| it.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert_eq!(
        read.into_iter().map(|it| it.record).collect::<Vec<_>>(),
        records
    );
}

fn step_in_turn(store: &mut dyn Store, instances: u64, rounds: u64) {
    for round in 0..rounds {
        let batch: Vec<Op> = (1..=instances)
            .map(|no| Op::Append(no, 1, record(&format!("{no}-{round}"))))
            .collect();
        let _ = store.commit(&batch).unwrap();
        store.maintain().unwrap();
    }
}

fn check_turns(store: &dyn Store, instances: u64, rounds: u64) {
    let mut reader = store.reader().unwrap();
    for no in 1..=instances {
        let history = reader.history(no).unwrap();
        let names: Vec<_> = history
            .iter()
            .map(|it| it.record.operation.name.to_string())
            .collect();
        let expected: Vec<_> = (0..rounds).map(|round| format!("{no}-{round}")).collect();
        assert_eq!(names, expected);
        assert!(history.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    }
}

fn histories_of_instances_that_step_in_turn_do_not_mix(place: &mut dyn Place) {
    let mut store = place.open();
    let all: Vec<Op> = (1..=20).map(|no| create(no, &no.to_string())).collect();
    let _ = store.commit(&all).unwrap();
    step_in_turn(&mut *store, 20, 10);
    check_turns(&*store, 20, 10);
}

fn d3_histories_survive_a_crash_whether_heads_were_persisted_or_not(place: &mut dyn Place) {
    let mut store = place.open();
    let all: Vec<Op> = (1..=20).map(|no| create(no, &no.to_string())).collect();
    let _ = store.commit(&all).unwrap();
    step_in_turn(&mut *store, 20, 3);
    // Half of them have their heads persisted, and half of those go on.
    let park: Vec<Op> = (1..=10)
        .map(|no| change(no, to(Status::Waiting, 9)))
        .collect();
    let _ = store.commit(&park).unwrap();
    let more: Vec<Op> = (6..=15)
        .map(|no| Op::Append(no, 1, record("more")))
        .collect();
    let _ = store.commit(&more).unwrap();
    for _ in 0..2 {
        store = place.crash(store);
        let mut reader = store.reader().unwrap();
        for no in 1..=20 {
            let expected = if (6..=15).contains(&no) { 4 } else { 3 };
            assert_eq!(reader.history(no).unwrap().len(), expected, "instance {no}");
        }
    }
    let next = commit_one(&mut *store, Op::Append(1, 1, record("next")));
    assert_eq!(next, Outcome::Done(71));
    assert_eq!(store.reader().unwrap().history(1).unwrap().len(), 4);
}

fn a_change_of_state_is_stored_whole(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = commit_one(&mut *store, create(1, "a"));
    let _ = commit_one(&mut *store, change(1, to(Status::Running, 10)));
    let _ = commit_one(&mut *store, change(1, to(Status::Waiting, 20)));
    let _ = commit_one(&mut *store, change(1, to(Status::Running, 30)));
    let row = store.find("default", "orders", "a").unwrap().unwrap();
    assert_eq!((row.status, row.marked), (Status::Running, true));
    assert_eq!(
        (row.started_at, row.updated_at, row.ended_at),
        (Some(10), 30, None)
    );
    let blocked = Transition {
        reason: Some("nondeterminism".into()),
        step: Some("charge".into()),
        recoveries: 3,
        payload: Some([4].into()),
        undo: None,
        ..to(Status::Blocked, 40)
    };
    let _ = commit_one(&mut *store, change(1, blocked));
    let row = store.find("default", "orders", "a").unwrap().unwrap();
    assert_eq!(
        (row.reason.as_deref(), row.recoveries),
        (Some("nondeterminism"), 3)
    );
    assert_eq!(row.step.as_deref(), Some("charge"));
    assert_eq!(store.result(1).unwrap().as_deref(), Some(&[4][..]));
    let _ = commit_one(&mut *store, change(1, to(Status::Queued, 50)));
    let row = store.find("default", "orders", "a").unwrap().unwrap();
    assert_eq!((row.reason, row.step, row.recoveries), (None, None, 0));
    assert_eq!(store.result(1).unwrap(), None);
    let done = Transition {
        payload: Some([6].into()),
        undo: None,
        ..to(Status::Complete, 60)
    };
    let _ = commit_one(&mut *store, change(1, done));
    store = place.crash(store);
    let row = store.find("default", "orders", "a").unwrap().unwrap();
    assert_eq!(
        (row.status, row.ended_at, row.started_at),
        (Status::Complete, Some(60), Some(10))
    );
    assert_eq!(
        store
            .reader()
            .unwrap()
            .payloads(1)
            .unwrap()
            .result
            .as_deref(),
        Some(&[6][..])
    );
}

fn a_final_instance_keeps_no_waits_but_its_dedup_ids_and_what_nobody_took(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = store
        .commit(&[
            create(1, "a"),
            create(2, "b"),
            Op::Open(1, 1, wait(1, Source::Timer)),
            Op::Open(2, 1, wait(2, Source::Timer)),
            Op::Buffer(1, event(1), Some("d".into())),
            Op::Buffer(2, event(2), Some("d".into())),
            Op::Append(1, 1, record("kept")),
        ])
        .unwrap();
    let _ = commit_one(&mut *store, change(1, to(Status::Errored, 5)));
    let all = recovered(&mut *store);
    assert_eq!(all.instances.len(), 1);
    assert_eq!(all.waits, [(2, wait(2, Source::Timer))]);
    assert_eq!(all.events, [(2, event(2))]);
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.waits(1).unwrap(), []);
    assert_eq!(reader.history(1).unwrap().len(), 1);
    let known = store.look(Need::Events(1).into()).unwrap();
    assert_eq!(known.events(1).unwrap(), [event(1)], "for a restart (E4)");
    // It takes no more. What it was sent is known after its end, also when it is started again
    // (E4).
    let late = [
        Op::Buffer(1, event(3), None),
        Op::Seen(1, "x".into()),
        Op::Open(1, 1, wait(3, Source::Timer)),
    ];
    assert_eq!(store.commit(&late).unwrap(), [Outcome::Fenced; 3]);
    let _ = commit_one(&mut *store, change(1, to(Status::Queued, 6)));
    assert_eq!(
        commit_one(&mut *store, Op::Seen(1, "d".into())),
        Outcome::Seen
    );
    assert_eq!(
        store
            .find("default", "orders", "a")
            .unwrap()
            .unwrap()
            .ended_at,
        None
    );
}

fn l4_a_pause_is_as_old_as_when_it_was_asked_for_and_deadlines_can_be_moved(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = store
        .commit(&[
            create(1, "a"),
            Op::Open(1, 1, wait(1, Source::Timer)),
            Op::Open(1, 1, wait(2, Source::Instant)),
        ])
        .unwrap();
    let moved = [Op::Postpone(1, 1, 77), Op::Postpone(1, 9, 1)];
    assert_eq!(store.commit(&moved).unwrap(), [Outcome::Done(0); 2]);
    let later = Wait {
        until: Some(77),
        ..wait(1, Source::Timer)
    };
    let waits = store.reader().unwrap().waits(1).unwrap();
    assert_eq!(waits, [later, wait(2, Source::Instant)]);
    let states = [
        (Status::WaitingForPause, Some(5)),
        (Status::Paused, Some(5)),
        (Status::Queued, None),
        (Status::Paused, Some(8)),
        (Status::Terminated, None),
    ];
    for (at, (status, since)) in (5..).zip(states) {
        let _ = commit_one(&mut *store, change(1, to(status, at)));
        let row = store.find("default", "orders", "a").unwrap().unwrap();
        assert_eq!(row.paused_at, since, "{status:?}");
    }
}

fn l8_how_far_undoing_is_is_kept_until_a_restart(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = store.commit(&[create(1, "a")]).unwrap();
    for undo in Undo::ALL {
        let to = Transition {
            undo: Some(undo),
            ..to(Status::Running, 5)
        };
        let _ = commit_one(&mut *store, change(1, to));
        store = place.crash(store);
        let row = store.find("default", "orders", "a").unwrap().unwrap();
        assert_eq!(row.undo, Some(undo));
    }
    let anew = Restart {
        incarnation: 2,
        seed: None,
        params: None,
        at: 6,
    };
    let _ = commit_one(&mut *store, Op::Restart(1, 1, Box::new(anew)));
    let row = store.find("default", "orders", "a").unwrap().unwrap();
    assert_eq!(row.undo, None);
}

fn e3_a_closed_wait_is_gone_and_closing_it_again_is_no_error(place: &mut dyn Place) {
    let mut store = place.open();
    let open = |id| Op::Open(1, 1, wait(id, Source::Timer));
    let _ = store.commit(&[create(1, "a"), open(5), open(4)]).unwrap();
    let close = [Op::Close(1, 5), Op::Close(1, 5), Op::Close(8, 8)];
    assert_eq!(store.commit(&close).unwrap(), [Outcome::Done(0); 3]);
    assert_eq!(
        store.reader().unwrap().waits(1).unwrap(),
        [wait(4, Source::Timer)]
    );
}

fn e1_buffered_events_come_back_in_order_until_taken(place: &mut dyn Place) {
    let mut store = place.open();
    let buffer = |id| Op::Buffer(1, event(id), None);
    let _ = store
        .commit(&[create(1, "a"), buffer(3), buffer(5), buffer(4)])
        .unwrap();
    let take = [Op::Take(1, 3), Op::Take(1, 3)];
    assert_eq!(store.commit(&take).unwrap(), [Outcome::Done(0); 2]);
    assert_eq!(
        recovered(&mut *store).events,
        [(1, event(4)), (1, event(5))]
    );
    // I8: a withdrawn wait puts its event back in its old place.
    let _ = commit_one(&mut *store, buffer(3));
    store = place.crash(store);
    let events = recovered(&mut *store).events;
    assert_eq!(events, [(1, event(3)), (1, event(4)), (1, event(5))]);
}

fn e4_a_dedup_id_is_kept_once(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = store.commit(&[create(1, "a"), create(2, "b")]).unwrap();
    let send = |no, id| Op::Buffer(no, event(id), Some("d".into()));
    assert_eq!(commit_one(&mut *store, send(1, 1)), Outcome::Done(0));
    assert_eq!(commit_one(&mut *store, send(1, 2)), Outcome::Seen);
    assert_eq!(commit_one(&mut *store, send(2, 3)), Outcome::Done(0));
    assert_eq!(commit_one(&mut *store, Op::Take(1, 1)), Outcome::Done(0));
    store = place.crash(store);
    assert_eq!(
        commit_one(&mut *store, Op::Seen(1, "d".into())),
        Outcome::Seen
    );
    assert_eq!(
        commit_one(&mut *store, Op::Seen(1, "e".into())),
        Outcome::Done(0)
    );
    assert_eq!(recovered(&mut *store).events, [(2, event(3))]);
}

fn waits_of_every_source_come_back(place: &mut dyn Place) {
    let mut store = place.open();
    let sources = [
        Source::Timer,
        Source::Instant,
        Source::Retry(None),
        Source::Retry(Some("ValueError".into())),
        Source::Event(vec![]),
        Source::Event(vec!["".into(), "3:a,b".into(), "ü\0".into()]),
        Source::Approval("orders/a#ship#1".into()),
        Source::Child(12),
    ];
    let _ = commit_one(&mut *store, create(1, "a"));
    let mut waits: Vec<_> = (1..)
        .zip(sources)
        .map(|(id, source)| wait(id, source))
        .collect();
    waits[5].until = None;
    waits[5].operation.key = None;
    for one in &waits {
        assert_eq!(
            commit_one(&mut *store, Op::Open(1, 1, one.clone())),
            Outcome::Done(0)
        );
    }
    store = place.crash(store);
    assert_eq!(store.reader().unwrap().waits(1).unwrap(), waits);
    let handed: Vec<_> = recovered(&mut *store)
        .waits
        .into_iter()
        .map(|it| it.1)
        .collect();
    assert_eq!(handed, waits);
}

fn e5_an_approval_is_ended_only_while_it_is_open(place: &mut dyn Place) {
    let mut store = place.open();
    let approval = |id: &str, status| {
        Op::Approval(Box::new(Approval {
            id: id.into(),
            no: 1,
            name: "ship".into(),
            detail: Some([1].into()),
            asked_at: Some(2),
            until: Some(3),
            status,
            decision: None,
            decided_at: None,
            incarnation: 0,
        }))
    };
    let end = |id: &str, status| Op::EndApproval(id.into(), status);
    let outcomes = store.commit(&[
        create(1, "a"),
        approval("open", ApprovalStatus::Open),
        approval("decided", ApprovalStatus::Approved),
        end("open", ApprovalStatus::Withdrawn),
        end("open", ApprovalStatus::TimedOut),
        end("decided", ApprovalStatus::TimedOut),
        end("nobody's", ApprovalStatus::TimedOut),
    ]);
    assert_eq!(outcomes.unwrap(), [Outcome::Done(0); 7]);
    let open = store.approval("open").unwrap().unwrap();
    assert_eq!(open.status, ApprovalStatus::Withdrawn);
    assert_eq!((open.asked_at, open.detail), (Some(2), Some([1].into())));
    let decided = store.approval("decided").unwrap().unwrap();
    assert_eq!(decided.status, ApprovalStatus::Approved);
    assert_eq!(store.approval("nobody's").unwrap(), None);
}

fn a_look_answers_all_that_is_asked_at_once(place: &mut dyn Place) {
    let mut store = place.open();
    let mut step = record("step");
    step.event = None;
    let mut taken = record("wait");
    taken.event = Some(9);
    taken.operation.kind = Kind::Event;
    let mut ended = to(Status::Complete, 5);
    ended.payload = Some([7].into());
    let outcomes = store.commit(&[
        create(1, "a"),
        create(2, "b"),
        Op::Append(1, 1, step.clone()),
        Op::Append(1, 1, taken),
        Op::Append(1, 1, step),
        Op::Status(2, 1, ended),
    ]);
    assert_eq!(outcomes.unwrap().len(), 6);
    let names = ["a", "b", "nobody"].map(|id| ["default", "orders", id]);
    let asked = [
        Need::named(names[0], false),
        Need::named(names[1], true),
        Need::named(names[2], true),
        Need::Instance(1, false),
        Need::Instance(77, true),
        Need::Approval("nobody's"),
        Need::Record(1, 2),
        Need::Takings(1),
        Need::Takings(77),
    ];
    let mut needs = Needs::default();
    assert!(needs.is_empty());
    for need in asked {
        needs.add(need);
    }
    let known = store.look(needs).unwrap();
    assert!(asked
        .iter()
        .all(|it| known.has(*it) && !known.is_damaged(*it)));
    // What was not asked is not known.
    for need in [
        Need::named(names[0], true),
        Need::named(["other", "orders", "a"], false),
        Need::Instance(2, false),
        Need::Approval("somebody's"),
        Need::Record(1, 1),
        Need::Takings(2),
    ] {
        assert!(!known.has(need), "{need:?}");
    }
    let [a, b, nobody] = names.map(|[namespace, workflow, id]| {
        let key = Key::new(namespace, workflow, id);
        known.by_key(key).unwrap().map(|it| (it.no, it.status))
    });
    assert_eq!(a, Some((1, Status::Queued)));
    assert_eq!(b, Some((2, Status::Complete)));
    assert_eq!(nobody, None);
    assert_eq!(known.output(2).unwrap().as_deref(), Some(&[7][..]));
    assert_eq!(&*known.instance(1).unwrap().unwrap().id, "a");
    assert_eq!(known.instance(77).unwrap(), None);
    assert_eq!(known.approval("nobody's").unwrap(), None);
    assert_eq!(known.record(1, 2).unwrap().event, Some(9));
    let taken = known.takings(1).unwrap();
    assert_eq!((taken.len(), taken[0].seq), (1, 2));
    assert_eq!(known.takings(77).unwrap(), []);
}

fn settings_and_progress_are_replaced(place: &mut dyn Place) {
    let mut store = place.open();
    let set = |value: &[u8]| Op::Meta("limits".into(), value.into());
    let report = |value: &[u8]| Op::Progress(1, value.into());
    let _ = store
        .commit(&[create(1, "a"), set(b"1"), report(b"10 %")])
        .unwrap();
    let _ = store.commit(&[set(b"2"), report(b"20 %")]).unwrap();
    store = place.crash(store);
    assert_eq!(store.meta("limits").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.meta("other").unwrap(), None);
    assert_eq!(
        store
            .reader()
            .unwrap()
            .payloads(1)
            .unwrap()
            .progress
            .as_deref(),
        Some(&b"20 %"[..])
    );
}

fn attributes_are_replaced_and_found_by_what_they_are_now(place: &mut dyn Place) {
    let mut store = place.open();
    let maps: [&[u8]; 2] = [b"\xa2\x61a\x01\x61b\x02", b"\xa2\x61a\x01\x61c\x61x"];
    let mut one = new(1, "a");
    one.attributes = Some(maps[0].into());
    let set = |no, incarnation, map: &[u8]| Op::Attributes(no, incarnation, map.into());
    let ops = [
        Op::Create(one.into()),
        create(2, "b"),
        set(1, 1, maps[1]),
        set(2, 1, maps[0]),
        set(1, 9, b"\xa0"),
        set(3, 1, maps[0]),
    ];
    let outcomes = store.commit(&ops).unwrap();
    assert_eq!(outcomes[2..4], [Outcome::Done(0), Outcome::Done(0)]);
    assert_eq!(outcomes[4..], [Outcome::Fenced, Outcome::Fenced]);
    store = place.crash(store);
    let mut reader = store.reader().unwrap();
    let had = reader.payloads(1).unwrap().attributes;
    assert_eq!(had.as_deref(), Some(maps[1]));
    let pairs: [(&str, &[u8], &[u64]); 4] = [
        ("a", b"\x01", &[1, 2]),
        ("b", b"\x02", &[2]),
        ("c", b"\x61x", &[1]),
        ("c", b"\x02", &[]),
    ];
    for (key, value, expected) in pairs {
        let filter = Filter {
            attributes: vec![(key.into(), value.into())],
            limit: 9,
            ..Filter::default()
        };
        let rows = reader.list(&filter).unwrap();
        let mut found: Vec<_> = rows.iter().map(|it| it.no).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{key}");
    }
    assert_eq!(
        commit_one(&mut *store, set(1, 1, b"\xa0")),
        Outcome::Done(0)
    );
    let filter = Filter {
        attributes: vec![("a".into(), [1].into())],
        limit: 9,
        ..Filter::default()
    };
    let rows = store.reader().unwrap().list(&filter).unwrap();
    assert_eq!(rows.iter().map(|it| it.no).collect::<Vec<_>>(), [2]);
}

fn c10_what_a_creation_rate_had_left_is_replaced_and_survives_a_crash(place: &mut dyn Place) {
    let mut store = place.open();
    assert_eq!(store.buckets().unwrap(), []);
    let had = |namespace: &str, millionths, at| Bucket {
        namespace: namespace.into(),
        millionths,
        at,
    };
    let keep = |it: &Bucket| Op::Bucket(Box::new(it.clone()));
    // A namespace needs no instance for it.
    let (full, later) = (had("nobody's", 5_000_000, 7), had("nobody's", -1, -7));
    let other = had("b", i64::MAX, 1);
    let _ = store.commit(&[keep(&full), keep(&other)]).unwrap();
    assert_eq!(store.buckets().unwrap(), [other.clone(), full]);
    let _ = store.commit(&[create(1, "a"), keep(&later)]).unwrap();
    store = place.crash(store);
    assert_eq!(store.buckets().unwrap(), [other, later]);
}

fn a_clean_close_loses_nothing(place: &mut dyn Place) {
    let mut store = place.open();
    let _ = store
        .commit(&[create(1, "a"), Op::Append(1, 1, record("x"))])
        .unwrap();
    store.close().unwrap();
    store = place.open();
    assert_eq!(store.reader().unwrap().history(1).unwrap().len(), 1);
    assert_eq!(
        commit_one(&mut *store, Op::Append(1, 1, record("y"))),
        Outcome::Done(2)
    );
    assert_eq!(store.reader().unwrap().history(1).unwrap().len(), 2);
}

fn unknown_instances_are_fenced_or_empty(place: &mut dyn Place) {
    let mut store = place.open();
    let batch = [
        Op::Append(1, 1, record("x")),
        Op::Open(1, 1, wait(1, Source::Timer)),
        change(1, to(Status::Running, 1)),
        Op::Buffer(1, event(1), None),
        Op::Seen(1, "d".into()),
        Op::Progress(1, [].into()),
    ];
    assert_eq!(store.commit(&batch).unwrap(), [Outcome::Fenced; 6]);
    assert_eq!(store.result(1).unwrap(), None);
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.instance(1).unwrap(), None);
    assert_eq!(reader.history(1).unwrap(), []);
    assert_eq!(
        reader.payloads(1).unwrap(),
        stepwell_core::store::Payloads::default()
    );
}
