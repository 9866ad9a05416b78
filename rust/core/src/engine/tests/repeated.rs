//! Calls that come twice under one id: done once, and answered the same, in whatever life of the
//! core the second comes.

use super::*;

fn once(id: u8, of: Submission) -> Submission {
    let Submission::Outside(command) = of else {
        unreachable!("bodies do not repeat");
    };
    Submission::Outside(Command::Once([id; 16].into(), Box::new(command)))
}

fn batch(ticket: u64, ids: &[&str], if_exists: IfExists) -> Submission {
    let items = ids.iter().map(|id| NewItem {
        id: Some((*id).into()),
        ..NewItem::default()
    });
    let code = Code {
        namespace: "default".into(),
        workflow: "w".into(),
        version: "1".into(),
    };
    let what = Box::new((code, items.collect()));
    Command::CreateBatch(ticket, what, if_exists, false).into()
}

fn pause(ticket: u64, id: &str) -> Submission {
    Command::Act(ticket, Verb::Pause.to(name(id))).into()
}

/// Answers as they are heard, whatever their tickets.
fn answers(applied: &Applied) -> Vec<(&'static str, Data)> {
    let heard = applied.notes.iter().filter_map(|it| match it {
        Note::Reply { code, data, .. } => Some((*code, data.clone())),
        _ => None,
    });
    heard.collect()
}

/// The same core, or the next after a crash.
fn lives() -> [fn(Stage) -> Stage; 2] {
    [|it| it, |it| Stage::open(&it.store, config(), 200)]
}

#[test]
fn a_creation_is_answered_as_its_own_and_another_one_with_its_id_is_refused() {
    for next in lives() {
        let mut stage = Stage::new();
        let first = answers(&stage.say(vec![once(1, create(1, "a"))]));
        let mut stage = next(stage);
        let again = answers(&stage.say(vec![once(1, create(2, "a")), once(2, create(3, "a"))]));
        let [(
            "",
            Data::Created {
                no, created: true, ..
            },
        )] = first[..]
        else {
            panic!("{first:?}");
        };
        assert!(
            matches!(again[0], ("", Data::Created { no: it, created: true, .. }) if it == no),
            "{again:?}"
        );
        assert!(
            matches!(again[1], ("exists", Data::Exists(it, _)) if it == no),
            "{again:?}"
        );
    }
}

#[test]
fn a_creation_of_one_that_is_gone_since_does_not_create_it_again() {
    for next in lives() {
        let mut stage = Stage::new();
        stage.say(vec![once(1, create(1, "a"))]);
        stage.say(vec![Command::Act(2, Verb::Delete.to(name("a"))).into()]);
        let mut stage = next(stage);
        let again = answers(&stage.say(vec![once(1, create(3, "a"))]));
        assert!(
            matches!(again[..], [("", Data::Created { created: true, .. })]),
            "{again:?}"
        );
        let gone = answers(&stage.say(vec![pause(4, "a")]));
        assert!(matches!(gone[..], [("not_found", _)]), "{gone:?}");
    }
}

#[test]
fn of_a_batch_each_item_is_answered_as_before() {
    for next in lives() {
        let mut stage = Stage::new();
        stage.say(vec![create(9, "b")]);
        let call = |ticket| once(1, batch(ticket, &["a", "b", "c", "a"], IfExists::Raise));
        let first = answers(&stage.say(vec![call(1)]));
        let mut stage = next(stage);
        let again = answers(&stage.say(vec![call(2)]));
        let [("", Data::Items(first)), ..] = &first[..] else {
            panic!("{first:?}");
        };
        let [("", Data::Items(again))] = &again[..] else {
            panic!("{again:?}");
        };
        let told = |it: &crate::note::Item| (it.code, it.no, it.id.clone(), it.created);
        let [first, again] = [first, again].map(|it| it.iter().map(told).collect::<Vec<_>>());
        assert_eq!(first, again);
        assert_eq!(first.iter().filter(|it| it.3).count(), 2);
    }
}

#[test]
fn an_event_is_kept_once() {
    for next in lives() {
        let mut stage = Stage::new();
        stage.create("a");
        stage.say(vec![once(1, send(1, "a", "go", None))]);
        let mut stage = next(stage);
        let again = answers(&stage.say(vec![
            once(1, send(2, "a", "go", None)),
            once(2, send(3, "a", "go", None)),
        ]));
        assert_eq!(again, [("", Data::Nothing), ("", Data::Nothing)]);
        let row = stage.store.find("default", "w", "a").unwrap().unwrap();
        let kept = stage.facts.reader.kept(row.no, 10).unwrap();
        assert_eq!(
            kept,
            [("go".into(), 2)],
            "the first, and the one with another id"
        );
    }
}

#[test]
fn two_of_one_batch_are_one() {
    let mut stage = Stage::new();
    let both = vec![once(1, create(1, "a")), once(1, create(2, "a"))];
    let applied = answers(&stage.say(both));
    assert_eq!(applied.len(), 2);
    for it in &applied {
        assert!(
            matches!(it, ("", Data::Created { created: true, .. })),
            "{applied:?}"
        );
    }
}

#[test]
fn what_was_refused_is_decided_anew() {
    let mut stage = Stage::new();
    let refused = answers(&stage.say(vec![once(1, pause(1, "a"))]));
    assert!(matches!(refused[..], [("not_found", _)]));
    stage.create("a");
    assert_eq!(
        answers(&stage.say(vec![once(1, pause(2, "a"))])),
        [("", Data::Nothing)]
    );
}

#[test]
fn a_repeat_changes_nothing_though_the_state_would_allow_it() {
    for next in lives() {
        let mut stage = Stage::new();
        stage.create("a");
        stage.say(vec![once(1, pause(1, "a"))]);
        stage.say(vec![Command::Act(2, Verb::Resume.to(name("a"))).into()]);
        let mut stage = next(stage);
        stage.say(vec![once(1, pause(3, "a"))]);
        let row = stage.store.find("default", "w", "a").unwrap().unwrap();
        assert!(!row.status.is_paused(), "{:?}", row.status);
    }
}
