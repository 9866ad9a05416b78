//! Creations that the limits refuse: who goes first, what exists, what was given up (C10, L1, E4).

use super::limits::{batch, bodies, overloaded, stage, SECOND};
use super::*;

fn repeated(ticket: u64, ids: &[&str], if_exists: IfExists, wait: bool) -> Submission {
    let items = ids.iter().map(|it| item(it)).collect();
    Submission::Outside(Command::CreateBatch(
        ticket,
        Box::new((code(), items)),
        if_exists,
        wait,
    ))
}

fn stranger(ticket: u64) -> Submission {
    Submission::Outside(Command::Create(
        ticket,
        Box::new((code(), NewItem::default())),
        IfExists::Raise,
    ))
}

/// One that has ended, in an engine that lets nothing in for a long time: rate, queue or disk.
fn overloaded_in(way: usize) -> Stage {
    let mut stage = Stage::with(Config {
        slots: 1,
        limits: limits(1, 3, 10),
        ..config()
    });
    let by = stage.create("a");
    stage.say(vec![finish(by)]);
    match way {
        0 => {
            stage.set(
                None,
                &[("create_rate", Some(0.001)), ("create_burst", Some(1.0))],
            );
            stage.say(vec![stranger(1)]);
        }
        1 => {
            stage.say((0..4).map(stranger).collect());
        }
        _ => stage.core.set_short(true),
    }
    let refused = stage.say(vec![stranger(2)]);
    assert_eq!(codes(&refused.notes), [(2, "overloaded")], "{way}");
    stage
}

#[test]
fn l1_what_exists_is_answered_whatever_refuses_creations() {
    for way in 0..3 {
        for (if_exists, code) in [
            (IfExists::Raise, "exists"),
            (IfExists::Return, ""),
            (IfExists::ReturnIfSame, ""),
        ] {
            let mut stage = overloaded_in(way);
            let one = Submission::Outside(Command::Create(
                5,
                Box::new((super::code(), item("a"))),
                if_exists,
            ));
            let applied = stage.say(vec![one]);
            match if_exists {
                // The loader compares.
                IfExists::ReturnIfSame => assert!(matches!(applied.jobs[..], [Job::Same { .. }])),
                _ => assert_eq!(codes(&applied.notes), [(5, code)], "{way}"),
            }
            for wait in [false, true] {
                let batch = repeated(6, &["a", "a"], if_exists, wait);
                let applied = stage.say(vec![batch]);
                let [Note::Reply {
                    data: Data::Items(items),
                    ..
                }] = &applied.notes[..]
                else {
                    panic!("{way} {wait}: {applied:?}");
                };
                assert!(items.iter().all(|it| it.code == code), "{items:?}");
            }
            // One that is new among them is refused, and with it all.
            let batch = repeated(7, &["a", "new"], if_exists, false);
            assert_eq!(codes(&stage.say(vec![batch]).notes), [(7, "overloaded")]);
        }
    }
}

#[test]
fn c10_what_was_let_in_by_the_store_s_answer_gives_its_tokens_and_places_back() {
    let mut stage = stage(50);
    let by = stage.create("a");
    stage.say(vec![finish(by)]);
    stage.set(
        None,
        &[("create_rate", Some(0.01)), ("create_burst", Some(10.0))],
    );
    for _ in 0..5 {
        stage.say(vec![repeated(1, &["a"; 9], IfExists::Return, false)]);
        let batch = repeated(2, &["b"; 10], IfExists::Return, false);
        assert_eq!(codes(&stage.say(vec![batch]).notes), [(2, "")]);
    }
    // One was created, so nine are left.
    let applied = stage.say((0..10).map(stranger).collect());
    assert_eq!(overloaded(&applied.notes).len(), 1);
}

#[test]
fn c10_an_id_that_came_to_exist_leaves_the_moment_it_was_promised() {
    let mut stage = stage(50);
    stage.set(
        None,
        &[("create_rate", Some(1.0)), ("create_burst", Some(1.0))],
    );
    let applied = stage.say(vec![stranger(1), create(2, "a"), create(3, "b")]);
    assert_eq!(overloaded(&applied.notes).len(), 2);
    // Its parent is somebody else.
    let parent = bodies(&applied.notes)[0];
    let child = Child {
        begun: None,
        operation: operation(Kind::Create),
        workflow: "w".into(),
        version: "1".into(),
        items: vec![item("a")],
        payload: None,
    };
    stage.say(vec![parent.says(Speech::CreateChildren(5, Box::new(child)))]);
    let applied = stage.say(vec![create(6, "a"), stranger(7)]);
    let told = overloaded(&applied.notes);
    assert_eq!(
        told,
        [(7, "create_rate", 2 * SECOND)],
        "b's moment only is before it"
    );
}

#[test]
fn c10_what_was_given_up_before_it_was_let_in_never_happens() {
    // It waits for places; is looked up; may find room; is among what was submitted.
    for at in 0..4 {
        let mut stage = overloaded_in(1);
        let batch = repeated(5, &["x", "y"], IfExists::Raise, true);
        let give_up = || Submission::Outside(Command::GiveUp(5));
        match at {
            0 => {
                stage.say(vec![batch]);
                stage.say(vec![give_up()]);
            }
            1 => {
                let jobs = stage.batch(vec![batch]).jobs;
                stage.batch(vec![give_up()]);
                let [Job::Look(creation)] = &jobs[..] else {
                    panic!("{jobs:?}");
                };
                let again = known_ids(&mut *stage.facts.reader, (**creation).clone());
                stage.say(vec![again.expect("memory is read")]);
            }
            _ => {
                stage.say(vec![batch]);
                stage.set(None, &[("queue_entries", Some(100.0))]);
                let mut hopeful = stage.core.take_hopeful();
                assert_eq!(hopeful.len(), 1);
                if at == 2 {
                    hopeful.insert(0, give_up());
                } else {
                    // It was let in before.
                    hopeful.push(give_up());
                }
                stage.say(hopeful);
            }
        }
        stage.set(None, &[("queue_entries", Some(1_000.0))]);
        let hopeful = stage.core.take_hopeful();
        let applied = stage.say(hopeful);
        assert_eq!(applied.notes, []);
        let there = stage
            .facts
            .store
            .find("default", "w", "x")
            .expect("memory is read");
        assert_eq!(there.is_some(), at == 3, "{at}");
        let applied = stage.say(vec![stranger(8)]);
        assert_eq!(
            codes(&applied.notes),
            [(8, "")],
            "no place is promised any more"
        );
    }
}

#[test]
fn l14_nobody_waits_for_room_in_an_engine_that_drains() {
    let mut stage = overloaded_in(1);
    stage.say(vec![repeated(5, &["x"], IfExists::Raise, true)]);
    let applied = stage.say(vec![
        Submission::Outside(Command::EndWaiting),
        repeated(6, &["y"], IfExists::Raise, true),
    ]);
    assert_eq!(codes(&applied.notes), [(5, "drains"), (6, "drains")]);
    stage.set(None, &[("queue_entries", Some(100.0))]);
    assert_eq!(stage.core.take_hopeful(), []);
}

#[test]
fn c10_a_batch_that_waits_is_not_starved_by_creations_that_fit_where_it_does_not() {
    let mut stage = Stage::with(Config {
        slots: 1,
        limits: limits(1, 50, 10),
        ..config()
    });
    let mut ticket = 1_000;
    let applied = stage.say((0..51).map(stranger).collect());
    let mut by = bodies(&applied.notes)[0];
    stage.say(vec![batch(1, 0..40, true), batch(2, 40..60, true)]);
    let mut let_in = Vec::new();
    for round in 0..80 {
        ticket += 1;
        let applied = stage.say(vec![finish(by), stranger(ticket)]);
        by = Stage::loaded(&applied);
        let hopeful = stage.core.take_hopeful();
        let applied = stage.say(hopeful);
        let_in.extend(codes(&applied.notes).iter().map(|it| (it.0, round)));
        ticket += 1;
        stage.say(vec![stranger(ticket)]);
    }
    // Each as soon as so many have left, in their order.
    assert_eq!(let_in, [(1, 39), (2, 59)]);
}

/// Four slots and three places. A batch of six that waits has the first ones that come free,
/// whoever asks for them; one of eight no queue has room for, so it is refused and keeps nobody
/// out.
#[test]
fn c10_a_batch_larger_than_its_queue_is_displaced_by_nobody_unless_it_can_never_fit() {
    let mut stage = Stage::with(Config {
        slots: 4,
        limits: limits(4, 3, 10),
        ..config()
    });
    let applied = stage.say((0..7).map(stranger).collect());
    let mut running = bodies(&applied.notes);
    running.truncate(4);
    let applied = stage.say(vec![batch(20, 0..8, true), batch(21, 8..14, true)]);
    assert_eq!(codes(&applied.notes), [(20, "overloaded")]);
    let mut let_in = Vec::new();
    for ticket in 30..36 {
        let applied = stage.say(vec![finish(running.remove(0)), stranger(ticket)]);
        assert_eq!(codes(&applied.notes), [(ticket, "overloaded")]);
        let started = applied
            .jobs
            .iter()
            .any(|it| matches!(it, Job::Start { .. }));
        running.extend(started.then(|| Stage::loaded(&applied)));
        let hopeful = stage.core.take_hopeful();
        let applied = stage.say(hopeful);
        let_in.extend(codes(&applied.notes).iter().map(|it| (it.0, ticket)));
    }
    assert_eq!(let_in, [(21, 35)]);
}

#[test]
fn c10_many_that_wait_are_let_in_at_the_rate_in_their_order() {
    let mut stage = stage(1_000);
    stage.set(
        None,
        &[("create_rate", Some(10.0)), ("create_burst", Some(1.0))],
    );
    stage.say(
        (1..=30)
            .map(|it| repeated(it, &[&format!("i{it}")], IfExists::Raise, true))
            .collect(),
    );
    let mut let_in = Vec::new();
    for now in 1..=29 {
        let applied = stage.later(SECOND / 10);
        let_in.extend(codes(&applied.notes).iter().map(|it| (it.0, now)));
    }
    let expected: Vec<_> = (1..30).map(|it| (it + 1, it as i32)).collect();
    assert_eq!(let_in, expected);
}

#[test]
fn e4_an_event_that_arrived_is_known_after_the_end_and_when_no_more_are_kept() {
    let mut stage = stage(50);
    let by = stage.create("a");
    for dedup in ["first", "second"] {
        stage.say(vec![send(1, "a", "x", Some(dedup))]);
    }
    let full = (0..1_000).map(|it| send(it, "a", "x", None)).collect();
    stage.say(full);
    let again = |ticket, dedup| send(ticket, "a", "x", Some(dedup));
    let applied = stage.say(vec![again(2, "first"), again(3, "third")]);
    assert_eq!(codes(&applied.notes), [(2, ""), (3, "limit")]);
    stage.say(vec![finish(by)]);
    let applied = stage.say(vec![
        again(2, "second"),
        again(3, "third"),
        send(4, "a", "x", None),
    ]);
    let mut told = codes(&applied.notes);
    told.sort_unstable();
    assert_eq!(told, [(2, ""), (3, "state"), (4, "state")]);
    stage.crash();
    assert_eq!(codes(&stage.say(vec![again(5, "first")]).notes), [(5, "")]);
}

#[test]
fn c10_a_rate_is_not_forgotten_at_any_end() {
    let mut stage = stage(50);
    stage.set(
        None,
        &[("create_rate", Some(0.1)), ("create_burst", Some(20.0))],
    );
    let mut let_in = 0;
    for life in 0..10 {
        let applied = stage.say((0..25).map(stranger).collect());
        let_in += codes(&applied.notes)
            .iter()
            .filter(|it| it.1.is_empty())
            .count();
        if life % 2 == 0 {
            stage.core.begin(stage.now);
            stage.core.clear_marks();
            stage.commit();
        }
        // A clock that jumped back gives nothing.
        stage.now += if life == 5 { -3_600 * SECOND } else { SECOND };
        stage.crash();
    }
    assert_eq!(let_in, 20);
    stage.now += 3_700 * SECOND;
    let applied = stage.say((0..25).map(stranger).collect());
    assert_eq!(overloaded(&applied.notes).len(), 5);
}
