//! Limits that are settings: when they are in force, that they survive, that they only drain.

use super::*;
use crate::settings::book::Book;
use crate::submission::LimitChange;

pub(super) const SECOND: i64 = 1_000_000;

pub(super) fn set(
    ticket: u64,
    workflow: Option<&str>,
    changes: &[(&str, Option<f64>)],
) -> Submission {
    let changes = changes.iter().map(|(name, it)| ((*name).into(), *it));
    Submission::Outside(Command::SetLimits(
        ticket,
        Box::new(LimitChange {
            namespace: "default".into(),
            workflow: workflow.map(Into::into),
            changes: changes.collect(),
            by: By::default(),
        }),
    ))
}

pub(super) fn batch(ticket: u64, ids: std::ops::Range<u32>, wait: bool) -> Submission {
    let items = ids.map(|it| item(&format!("b{it}"))).collect();
    Submission::Outside(Command::CreateBatch(
        ticket,
        Box::new((code(), items)),
        IfExists::Raise,
        wait,
    ))
}

pub(super) fn stage(slots: u32) -> Stage {
    Stage::with(Config {
        slots,
        limits: limits(100, 100, 10),
        ..config()
    })
}

impl Stage {
    fn limit(&self, workflow: Option<&str>, name: &str) -> Option<f64> {
        let book = self.core.limits_in_force();
        let all = book.read().in_force("default", workflow);
        all.into_iter()
            .find(|it| it.0 == name)
            .expect("it is in the table")
            .1
    }

    /// (slots, leased, queued)
    fn use_of_slots(&self) -> [u64; 3] {
        let [slots, leased, queued, _] = self.core.counts();
        [slots, leased, queued]
    }

    pub(super) fn set(&mut self, workflow: Option<&str>, changes: &[(&str, Option<f64>)]) {
        let applied = self.say(vec![set(70, workflow, changes)]);
        assert_eq!(codes(&applied.notes), [(70, "")]);
    }

    /// One batch and no more.
    pub(super) fn batch(&mut self, submissions: Vec<Submission>) -> Applied {
        self.begin(&submissions);
        for submission in submissions {
            assert_eq!(self.core.decide(submission), None);
        }
        self.commit()
    }

    /// The one body that was loaded.
    pub(super) fn loaded(applied: &Applied) -> Body {
        let [Job::Start {
            no, incarnation, ..
        }] = applied.jobs[..]
        else {
            panic!("{applied:?}");
        };
        Body { no, incarnation }
    }

    /// Moves time on and lets those who waited for room try again, as the writer does.
    pub(super) fn later(&mut self, by: i64) -> Applied {
        self.now += by;
        let mut all = self.say(vec![]);
        let hopeful = self.core.take_hopeful();
        if !hopeful.is_empty() {
            let mut applied = self.say(hopeful);
            all.notes.append(&mut applied.notes);
        }
        all
    }
}

pub(super) fn bodies(notes: &[Note]) -> Vec<Body> {
    let found = notes.iter().filter_map(|note| match note {
        Note::Start(it) => Some(Body {
            no: it.no,
            incarnation: it.incarnation,
        }),
        _ => None,
    });
    found.collect()
}

pub(super) fn overloaded(notes: &[Note]) -> Vec<(u64, &str, i64)> {
    let found = notes.iter().filter_map(|note| match note {
        Note::Reply {
            ticket,
            data: Data::Overloaded(limit, after),
            ..
        } => Some((*ticket, *limit, *after)),
        _ => None,
    });
    found.collect()
}

#[test]
fn c1_a_limit_lowered_below_what_runs_drains_down_and_kills_nothing() {
    for workflow in [None, Some("w")] {
        let mut stage = stage(50);
        let mut running: Vec<_> = (0..5).map(|it| stage.create(&format!("i{it}"))).collect();
        stage.say((5..9).map(|it| create(1, &format!("i{it}"))).collect());
        stage.set(workflow, &[("concurrency", Some(3.0))]);
        stage.say(vec![create(1, "last")]);
        assert_eq!(stage.use_of_slots(), [50, 9, 1], "{workflow:?}");
        running.extend((5..9).map(|it| {
            let row = stage.facts.store.find("default", "w", &format!("i{it}"));
            let row = row.expect("memory is read").expect("it is there");
            let (no, incarnation) = (row.no, row.incarnation);
            Body { no, incarnation }
        }));
        for left in (3..9).rev() {
            let by = running.pop().expect("nine run");
            assert_eq!(stage.say(vec![finish(by)]).jobs, []);
            assert_eq!(stage.use_of_slots(), [50, left, 1]);
        }
        let by = running.pop().expect("three run");
        assert_eq!(stage.say(vec![finish(by)]).jobs.len(), 1);
        assert_eq!(stage.use_of_slots(), [50, 3, 0]);
    }
}

/// Creates so many in a namespace that was never heard of before, in one batch.
fn many(ticket: u64, namespace: &str, count: u32) -> Submission {
    let code = Code {
        namespace: namespace.into(),
        ..code()
    };
    let items = (0..count).map(|it| item(&format!("m{it}"))).collect();
    Submission::Outside(Command::CreateBatch(
        ticket,
        Box::new((code, items)),
        IfExists::Raise,
        false,
    ))
}

fn open(ticket: u64, namespace: &str, limits: &[(&str, f64)]) -> Submission {
    let limits = limits.iter().map(|it| (it.0.into(), Some(it.1)));
    Submission::Outside(Command::OpenNamespace(
        ticket,
        namespace.into(),
        limits.collect(),
    ))
}

#[test]
fn c1_limits_hold_for_what_is_decided_after_them_in_the_same_commit() {
    let mut stage = stage(50);
    let one = set(1, None, &[("concurrency", Some(1.0))]);
    let applied = stage.say(vec![one, create(2, "a"), create(3, "b")]);
    assert_eq!(bodies(&applied.notes).len(), 1);
    let two = set(1, None, &[("concurrency", Some(2.0))]);
    let applied = stage.say(vec![create(2, "c"), two]);
    // Who was queued before is first; it starts in the commit that makes room for it.
    assert_eq!((bodies(&applied.notes).len(), applied.jobs.len()), (0, 1));
    assert_eq!(stage.use_of_slots(), [50, 2, 1]);
    // One that is decided but not durable is not to be seen.
    let unlimited = set(1, None, &[("concurrency", None)]);
    stage.core.begin(100);
    assert_eq!(stage.core.decide(unlimited), None);
    assert_eq!(stage.limit(None, "concurrency"), Some(2.0));
    stage.commit();
    assert_eq!(stage.limit(None, "concurrency"), Some(100.0));
}

#[test]
fn c1_what_a_namespace_is_opened_with_holds_for_what_is_created_right_after() {
    let mut stage = stage(50);
    let limits = [("concurrency", 2.0), ("queue_entries", 3.0)];
    let applied = stage.say(vec![open(1, "acme", &limits), many(2, "acme", 9)]);
    assert_eq!(overloaded(&applied.notes).len(), 1);
    let applied = stage.say(vec![
        many(2, "acme", 5),
        open(1, "b", &limits),
        many(3, "b", 5),
    ]);
    let mut told = codes(&applied.notes);
    told.sort_unstable();
    assert_eq!(told, [(1, ""), (2, ""), (3, "")]);
    assert_eq!(stage.use_of_slots(), [50, 4, 6]);
    let rate = [("create_rate", 1.0), ("create_burst", 2.0)];
    let more = |namespace: &str| {
        let code = Code {
            namespace: namespace.into(),
            ..code()
        };
        Submission::Outside(Command::Create(
            3,
            Box::new((code, NewItem::default())),
            IfExists::Raise,
        ))
    };
    let applied = stage.say(vec![open(1, "c", &rate), many(2, "c", 2), more("c")]);
    assert_eq!(overloaded(&applied.notes), [(3, "create_rate", SECOND)]);
    // The workflow is known by now, and its limits change in the batch that creates.
    let higher = [("concurrency", 2.0), ("queue_entries", 4.0)];
    let applied = stage.say(vec![more("acme"), open(1, "acme", &higher), more("acme")]);
    assert_eq!(codes(&applied.notes), [(3, "overloaded"), (1, ""), (3, "")]);
}

#[test]
fn of_two_calls_that_open_a_namespace_the_later_one_is_shown_whatever_is_decided_first() {
    let mut stage = stage(50);
    let shown = stage.core.limits_in_force();
    // As the caller does: before it is decided.
    let five = Layer::default().with(Limit::Steps, 5);
    assert_eq!(shown.write().open("acme", five, 2), Ok(true));
    stage.say(vec![open(1, "acme", &[("steps", 3.0)])]);
    let steps = || shown.read().layers("acme", None).in_force(Limit::Steps);
    assert_eq!(steps(), Some(5.0));
    stage.say(vec![open(2, "acme", &[("steps", 5.0)])]);
    assert_eq!(steps(), Some(5.0));
    let code = Layer::default();
    stage.config.workflow_limits = vec![("w".into(), code)];
    stage.crash();
    let shown = stage.core.limits_in_force();
    let steps = shown.read().layers("acme", None).in_force(Limit::Steps);
    assert_eq!(steps, Some(5.0));
}

#[test]
fn limits_set_live_survive_a_restart_and_can_be_cleared() {
    let mut stage = stage(50);
    stage.set(None, &[("concurrency", Some(7.0)), ("steps", Some(5.0))]);
    stage.set(
        Some("w"),
        &[("concurrency", Some(2.0)), ("queue_entries", Some(1.0))],
    );
    for _ in 0..2 {
        let applied = stage.say((0..4).map(|it| create(it, &format!("i{it}"))).collect());
        let refused = overloaded(&applied.notes);
        // After the restart they are there already.
        if !refused.is_empty() {
            assert_eq!(
                (refused.len(), refused[0].0, refused[0].1),
                (1, 3, "queue_entries")
            );
        }
        assert_eq!(stage.use_of_slots(), [50, 2, 1]);
        stage.crash();
        assert_eq!(stage.limit(None, "concurrency"), Some(7.0));
        assert_eq!(stage.limit(Some("w"), "concurrency"), Some(2.0));
        assert_eq!(stage.limit(Some("w"), "steps"), Some(5.0));
    }
    stage.set(Some("w"), &[("concurrency", None), ("queue_entries", None)]);
    stage.set(None, &[("concurrency", None)]);
    assert_eq!(stage.use_of_slots(), [50, 3, 0]);
    assert_eq!(stage.limit(Some("w"), "concurrency"), Some(100.0));
    assert_eq!(stage.limit(Some("w"), "queue_entries"), Some(100.0));
    assert_eq!(stage.limit(Some("w"), "steps"), Some(5.0));
}

#[test]
fn an_engine_opened_without_limits_takes_those_that_are_stored() {
    let mut stage = stage(50);
    let of_code = Layer::default().with(Limit::Steps, 9);
    stage.config.limits = Layer::default();
    stage.config.workflow_limits = vec![("w".into(), of_code)];
    stage.crash();
    assert_eq!(stage.limit(None, "queue_entries"), Some(100.0));
    assert_eq!(stage.limit(Some("w"), "steps"), Some(9.0));
    // What the code said is not stored; what the engine is given is all that it was given.
    stage.config.workflow_limits = Vec::new();
    stage.config.limits = Layer::default().with(Limit::Steps, 11);
    stage.crash();
    stage.config.limits = Layer::default();
    stage.crash();
    assert_eq!(stage.limit(None, "queue_entries"), Some(2_000_000.0));
    assert_eq!(stage.limit(Some("w"), "steps"), Some(11.0));
}

#[test]
fn another_namespace_has_accounts_and_limits_of_its_own() {
    let mut stage = stage(50);
    let open = |limit| {
        Submission::Outside(Command::OpenNamespace(
            1,
            "acme".into(),
            vec![("concurrency".into(), limit)],
        ))
    };
    stage.set(None, &[("concurrency", Some(1.0))]);
    assert_eq!(codes(&stage.say(vec![open(Some(2.0))]).notes), [(1, "")]);
    let acme = |id: &str| {
        let namespace = "acme".into();
        let code = Code {
            namespace,
            ..code()
        };
        Submission::Outside(Command::Create(
            9,
            Box::new((code, item(id))),
            IfExists::Raise,
        ))
    };
    stage.say(vec![
        create(1, "a"),
        create(1, "b"),
        acme("a"),
        acme("b"),
        acme("c"),
    ]);
    assert_eq!(stage.use_of_slots(), [50, 3, 2]);
    stage.crash();
    assert_eq!(stage.use_of_slots(), [50, 3, 2]);
    // Nothing given: as it is.
    assert_eq!(codes(&stage.say(vec![open(None)]).notes), [(1, "")]);
    assert_eq!(stage.use_of_slots(), [50, 3, 2]);
    stage.say(vec![open(Some(9.0))]);
    assert_eq!(stage.use_of_slots(), [50, 4, 1]);
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_of_it_is_kept() {
    let mut stage = stage(50);
    let wrong = [
        set(1, None, &[("steps", Some(5.0)), ("concurrency", Some(0.0))]),
        set(2, None, &[("steps", Some(5.0)), ("speed", Some(1.0))]),
        set(3, None, &[("create_rate", Some(f64::NAN))]),
        set(4, Some("w"), &[("create_rate", Some(5.0))]),
        set(5, Some("nobody"), &[("steps", Some(5.0))]),
        set(6, Some("a b"), &[("steps", Some(5.0))]),
        Submission::Outside(Command::OpenNamespace(7, "-".into(), vec![])),
        Submission::Outside(Command::OpenNamespace(
            8,
            "ok".into(),
            vec![("steps".into(), Some(-1.0))],
        )),
    ];
    let applied = stage.say(wrong.into());
    let refused = codes(&applied.notes);
    assert_eq!(
        refused,
        (1..9).map(|it| (it, "invalid")).collect::<Vec<_>>()
    );
    for note in &applied.notes {
        let Note::Reply {
            data: Data::Text(text),
            ..
        } = note
        else {
            panic!("{note:?}");
        };
        assert!(text.len() > 20 && text.ends_with('.'), "{text}");
    }
    assert_eq!(stage.limit(None, "steps"), Some(100_000.0));
    stage.crash();
    assert_eq!(stage.limit(None, "steps"), Some(100_000.0));
    assert_eq!(
        stage.facts.store.meta("limits/1").expect("memory is read"),
        None
    );
}

#[test]
fn damaged_limits_are_told_and_not_taken_for_the_defaults() {
    let stage = stage(50);
    let mut handle = stage.store.reopen();
    let damage = Op::Meta("limits/0".into(), b"nonsense".as_slice().into());
    assert_eq!(
        handle.commit(&[damage]).expect("memory is written").len(),
        1
    );
    let mut stage = stage;
    let mut core = Core::new(
        stage.config.clone(),
        Arc::clone(&stage.registry),
        Arc::clone(&stage.residents),
        Arc::clone(&stage.sequence),
        Arc::default(),
    );
    let refused = core.recover(&mut stage.facts).expect_err("it is damaged");
    assert!(refused.to_string().contains("limits/0"), "{refused}");
}

#[test]
fn l11_how_many_unclean_stops_are_survived_can_be_set_live() {
    let mut stage = stage(50);
    stage.create("a");
    stage.set(None, &[("recoveries", Some(2.0))]);
    assert_eq!((stage.crash().jobs.len(), stage.crash().jobs.len()), (1, 1));
    assert_eq!(stage.crash().jobs, [], "over the limit");
}

#[test]
fn c10_who_comes_too_soon_is_told_a_moment_of_its_own_and_is_let_in_then() {
    let mut stage = stage(50);
    stage.set(
        None,
        &[("create_rate", Some(10.0)), ("create_burst", Some(2.0))],
    );
    let ids = ["a", "b", "c", "d", "e"];
    let creations = (1..).zip(&ids).map(|(ticket, id)| create(ticket, id));
    let applied = stage.say(creations.collect());
    assert_eq!(bodies(&applied.notes).len(), 2);
    let told: Vec<_> = overloaded(&applied.notes).iter().map(|it| it.2).collect();
    assert_eq!(told, [SECOND / 10, SECOND / 5, SECOND * 3 / 10]);
    assert_eq!(stage.core.counts()[1..3], [2, 0], "nothing is half-created");
    for id in &ids[2..] {
        stage.now += SECOND / 10;
        let applied = stage.say(vec![create(1, id)]);
        assert_eq!(bodies(&applied.notes).len(), 1, "{id}");
    }
    // An id that is taken costs nothing: it was no creation.
    let body = bodies(&stage.say(vec![]).notes);
    assert_eq!(body, []);
    stage.set(None, &[("create_rate", None), ("create_burst", None)]);
    let applied = stage.say((0..40).map(|it| create(1, &format!("i{it}"))).collect());
    assert_eq!(overloaded(&applied.notes), []);
}

#[test]
fn c10_a_creation_whose_id_was_taken_gives_its_token_back() {
    let mut stage = stage(50);
    let by = stage.create("a");
    stage.say(vec![finish(by)]);
    stage.set(None, &[("create_rate", Some(1.0))]);
    for _ in 0..5 {
        assert_eq!(
            codes(&stage.say(vec![create(3, "a")]).notes),
            [(3, "exists")]
        );
    }
    let applied = stage.say(vec![create(1, "b"), create(1, "c")]);
    assert_eq!(
        (
            bodies(&applied.notes).len(),
            overloaded(&applied.notes).len()
        ),
        (1, 1)
    );
}

#[test]
fn c10_a_batch_that_waits_is_let_in_at_its_moment_without_anything_else_happening() {
    let mut stage = stage(50);
    stage.set(
        None,
        &[("create_rate", Some(10.0)), ("create_burst", Some(4.0))],
    );
    let applied = stage.say(vec![
        batch(1, 0..3, true),
        batch(2, 3..6, true),
        batch(3, 6..9, false),
    ]);
    assert_eq!(bodies(&applied.notes).len(), 3);
    assert_eq!(overloaded(&applied.notes), [(3, "create_rate", SECOND / 2)]);
    assert_eq!(stage.core.next_timer(), Some(stage.now + SECOND / 5));
    // A slot that comes free is not what it waits for.
    let by = bodies(&applied.notes)[0];
    stage.say(vec![finish(by)]);
    assert_eq!(stage.core.take_hopeful(), []);
    assert_eq!(bodies(&stage.later(SECOND / 5 - 1).notes), []);
    assert_eq!(bodies(&stage.later(1).notes).len(), 3);
    assert_eq!(stage.core.next_timer(), None);
}

#[test]
fn c10_a_batch_that_waits_is_not_held_up_by_a_clock_that_jumps_back() {
    let mut stage = stage(50);
    stage.now = 86_400 * SECOND;
    stage.set(
        None,
        &[("create_rate", Some(10.0)), ("create_burst", Some(1.0))],
    );
    stage.say(vec![create(1, "a"), batch(2, 0..1, true)]);
    assert_eq!(bodies(&stage.later(-80_000 * SECOND).notes), []);
    assert_eq!(bodies(&stage.later(SECOND / 10).notes).len(), 1);
}

#[test]
fn a_batch_that_waits_for_places_is_told_when_a_lowered_limit_leaves_no_hope() {
    let mut stage = Stage::new();
    let applied = stage.say(vec![batch(1, 0..5, true), batch(2, 5..8, true)]);
    assert_eq!(codes(&applied.notes), [(1, "")]);
    stage.set(
        None,
        &[("queue_entries", Some(1.0)), ("concurrency", Some(1.0))],
    );
    let hopeful = stage.core.take_hopeful();
    let applied = stage.say(hopeful);
    assert_eq!(codes(&applied.notes), [(2, "overloaded")]);
}

#[test]
fn c10_children_pay_no_rate_and_are_never_refused() {
    let mut stage = stage(50);
    let by = stage.create("a");
    stage.set(None, &[("create_rate", Some(1.0))]);
    let child = Child {
        begun: None,
        operation: operation(Kind::Create),
        workflow: "w".into(),
        version: "1".into(),
        items: (0..9).map(|it| item(&format!("c{it}"))).collect(),
        payload: None,
    };
    let applied = stage.say(vec![
        by.says(Speech::CreateChildren(5, Box::new(child))),
        create(1, "b"),
    ]);
    assert_eq!(settled(&applied.notes), [(5, Verdict::Done, None)]);
    assert_eq!(
        (bodies(&applied.notes).len(), overloaded(&applied.notes)),
        (10, vec![])
    );
}

#[test]
fn the_estimate_for_a_full_queue_follows_how_fast_it_drains() {
    let mut stage = Stage::with(Config {
        slots: 1,
        limits: limits(1, 1, 10),
        ..config()
    });
    stage.create("a");
    stage.say(vec![create(1, "b")]);
    let wait = |stage: &mut Stage| {
        let stranger = Box::new((code(), NewItem::default()));
        let applied = stage.say(vec![Submission::Outside(Command::Create(
            1,
            stranger,
            IfExists::Raise,
        ))]);
        overloaded(&applied.notes)[0].2
    };
    assert_eq!(wait(&mut stage), SECOND, "it never drained");
    for at in 0..20 {
        stage.now += SECOND / 4;
        let no = *stage.core.live.keys().next().expect("one runs");
        let incarnation = stage.core.live[&no].incarnation;
        let started = stage.say(vec![finish(Body { no, incarnation })]).jobs;
        assert_eq!(started.len(), 1);
        stage.say(vec![create(1, &format!("i{at}"))]);
    }
    let told = wait(&mut stage);
    assert!(
        (SECOND / 5..=SECOND / 3).contains(&told),
        "four a second: {told}"
    );
}

#[test]
fn the_code_of_a_workflow_is_known_in_every_namespace() {
    let book = Book::new(&[("w".into(), Layer::default().with(Limit::Concurrency, 3))]);
    let all = book.in_force("anywhere", Some("w"));
    assert_eq!(all[0], ("concurrency", Some(3.0)));
}
