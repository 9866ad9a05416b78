//! Resizing under traffic: nothing is lost, nothing runs twice, the order holds, and a crash at any
//! commit of it leaves an engine that goes on.

use std::collections::BTreeSet;

use super::*;
use crate::codes;
use crate::ids::{Range, RANGES};
use crate::queue::Class;

/// More than what is handed over in two batches.
const MANY: usize = 20_000;

fn config_of(shards: Option<u32>, slots: u32) -> Config {
    Config {
        shards,
        slots,
        limits: limits(100, 1_000_000, 10),
        ..config()
    }
}

fn batch(ticket: u64, ids: impl Iterator<Item = usize>) -> Submission {
    let items = ids.map(|id| NewItem {
        id: Some(id.to_string().into()),
        ..NewItem::default()
    });
    let what = Box::new((code(), items.collect()));
    Submission::Outside(Command::CreateBatch(ticket, what, IfExists::Raise, false))
}

/// What a stage has started and not ended yet, and which instances it has ever started.
#[derive(Default)]
struct Bodies {
    running: Vec<Body>,
    started: Vec<u64>,
}

impl Bodies {
    fn hear(&mut self, applied: &Applied) {
        let born = applied.notes.iter().filter_map(|note| match note {
            Note::Start(start) => Some((start.no, start.incarnation)),
            _ => None,
        });
        let loaded = applied.jobs.iter().filter_map(|job| match job {
            Job::Start {
                no, incarnation, ..
            } => Some((*no, *incarnation)),
            _ => None,
        });
        for (no, incarnation) in born.chain(loaded) {
            self.running.push(Body { no, incarnation });
            self.started.push(no);
        }
    }
}

impl Stage {
    /// One batch and no more, though there may be work left.
    fn step(&mut self, submissions: Vec<Submission>) -> Applied {
        self.begin(&submissions);
        for submission in submissions {
            assert_eq!(self.core.decide(submission), None);
        }
        self.commit()
    }

    /// A stage with so many queued instances behind one that runs on each slot.
    fn crowded(shards: u32, slots: u32) -> (Self, Bodies) {
        let mut stage = Self::with(config_of(Some(shards), slots));
        let mut bodies = Bodies::default();
        bodies.hear(&stage.say(vec![batch(1, 0..MANY)]));
        assert_eq!(bodies.running.len(), slots as usize);
        (stage, bodies)
    }

    /// C5: whoever is queued for everybody is in the queue, once; C1: the slots are those of who
    /// runs.
    fn check(&self, bodies: &Bodies) {
        let queued: Vec<u64> = self
            .core
            .queues
            .workflows()
            .flat_map(|it| self.core.queues.entries(it).collect::<Vec<_>>())
            .map(|it| it.2.no)
            .collect();
        let once: BTreeSet<u64> = queued.iter().copied().collect();
        assert_eq!(once.len(), queued.len());
        assert_eq!(self.core.queues.len(), queued.len());
        let running: BTreeSet<u64> = bodies.running.iter().map(|it| it.no).collect();
        assert!(running.is_disjoint(&once));
        assert_eq!(self.core.gate.leased() as usize, running.len());
        assert!(self.core.gate.leased() <= self.core.gate.slots());
        assert_eq!(self.registry.len(), running.len() + queued.len());
    }

    /// Ends whatever runs, batch by batch, until nothing is left.
    fn run_out(&mut self, bodies: &mut Bodies) {
        while !bodies.running.is_empty() || self.core.has_work(self.now) {
            let ends = std::mem::take(&mut bodies.running);
            let applied = self.step(ends.into_iter().map(finish).collect());
            bodies.hear(&applied);
        }
        assert!(self.registry.is_empty());
        assert_eq!(self.core.counts()[1..], [0, 0, 0]);
    }

    fn layout(&self) -> [u64; 3] {
        self.core.layout_counts()
    }

    fn reopen(&mut self, shards: Option<u32>) -> Applied {
        self.config.shards = shards;
        self.crash()
    }
}

fn refusal<'a>(applied: &'a Applied, wanted: &str) -> &'a str {
    match &applied.notes[..] {
        [Note::Reply {
            code,
            data: Data::Text(text),
            ..
        }] if *code == wanted => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn shards_change_while_slots_are_granted_in_order() {
    for (from, to) in [(1, 64), (64, 1), (2, 4_096), (4_096, 3), (64, 65)] {
        let (mut stage, mut bodies) = Stage::crowded(from, 1);
        let is_reply = |applied: &Applied| codes(&applied.notes).contains(&(7, ""));
        let mut replied = is_reply(&stage.step(vec![Submission::Outside(Command::Reshard(7, to))]));
        let mut steps = 0;
        while !replied {
            let ends = std::mem::take(&mut bodies.running);
            let mut news: Vec<_> = ends.into_iter().map(finish).collect();
            news.push(create(8, &format!("new {steps}")));
            let applied = stage.step(news);
            bodies.hear(&applied);
            // C2: the slot that came back is in use again.
            assert_eq!(bodies.running.len(), 1);
            assert!(codes(&applied.notes).contains(&(8, "")), "no call fails");
            replied = is_reply(&applied);
            let [shards, ranges, entries] = stage.layout();
            assert_eq!(shards, to as u64);
            assert_eq!(entries == 0, replied, "{from} to {to}");
            assert_eq!(ranges == 0, replied, "{from} to {to}");
            stage.check(&bodies);
            steps += 1;
        }
        // So many in one piece belong to whom they belong without being moved.
        assert_eq!(steps > 0, from != 4_096, "{from} to {to}");
        stage.run_out(&mut bodies);
        assert_eq!(bodies.started.len(), MANY + steps);
        // C4: with one slot exactly in order, whatever the shards.
        assert!(bodies.started.is_sorted(), "{from} to {to}");
    }
}

#[test]
fn only_ranges_with_another_owner_are_handed_over_and_each_under_a_higher_epoch() {
    let (mut stage, _) = Stage::crowded(2, 1);
    let owners = |stage: &Stage| {
        let ranges = (0..RANGES).map(Range);
        ranges
            .map(|it| stage.core.shards.ranges().owner(it))
            .collect::<Vec<_>>()
    };
    let before = owners(&stage);
    stage.say(vec![Submission::Outside(Command::Reshard(7, 4))]);
    let between = owners(&stage);
    for (was, is) in before.iter().zip(&between) {
        assert_eq!(was.shard == is.shard, was.epoch == is.epoch);
        assert!(was.epoch <= is.epoch);
    }
    stage.reopen(None);
    for (was, is) in between.iter().zip(&owners(&stage)) {
        assert_eq!(was.shard, is.shard);
        assert!(was.epoch < is.epoch, "a new engine owns them");
    }
}

#[test]
fn a_number_of_shards_that_makes_no_sense_is_refused() {
    let (mut stage, bodies) = Stage::crowded(2, 1);
    for shards in [0, -1, 4_097, i64::MIN, i64::MAX] {
        let applied = stage.step(vec![Submission::Outside(Command::Reshard(7, shards))]);
        let text = refusal(&applied, codes::INVALID);
        assert!(text.contains(&format!("reshard({shards})")), "{text}");
        assert!(text.contains("1 to 4096"), "{text}");
    }
    assert_eq!(stage.layout(), [2, 0, 0]);
    // Nothing to do is no error, and no commit either.
    let applied = stage.step(vec![Submission::Outside(Command::Reshard(7, 2))]);
    assert_eq!(codes(&applied.notes), [(7, "")]);
    stage.check(&bodies);
}

#[test]
fn a_change_during_a_change_is_refused_and_says_how_far_the_first_is() {
    let (mut stage, mut bodies) = Stage::crowded(1, 1);
    assert_eq!(
        stage
            .step(vec![Submission::Outside(Command::Reshard(7, 64))])
            .notes,
        []
    );
    let applied = stage.step(vec![Submission::Outside(Command::Reshard(8, 3))]);
    let text = refusal(&applied, codes::UNDER_WAY);
    assert!(
        text.starts_with("reshard(3): reshard(64) from 1 is under way; 15903 of 19999"),
        "{text}"
    );
    assert!(text.contains("4032 of 4096 ranges"), "{text}");
    let notes = stage.say(vec![]).notes;
    assert_eq!(codes(&notes), [(7, "")]);
    let notes = stage
        .say(vec![Submission::Outside(Command::Reshard(9, 3))])
        .notes;
    assert_eq!(codes(&notes), [(9, "")]);
    assert_eq!(stage.layout(), [3, 0, 0]);
    stage.run_out(&mut bodies);
    assert!(bodies.started.is_sorted());
}

#[test]
fn a_crash_at_any_commit_of_a_change_leaves_a_layout_that_goes_on() {
    for (from, to) in [(1, 64), (64, 1)] {
        let mut at = 0usize;
        loop {
            let (mut stage, mut bodies) = Stage::crowded(from, 1);
            // Commit 0 is the last before the change.
            let mut replied = false;
            for commit in 0..at {
                let news = match commit {
                    0 => vec![Submission::Outside(Command::Reshard(7, to.into()))],
                    _ => vec![create(8, &format!("new {commit}"))],
                };
                let applied = stage.step(news);
                replied |= codes(&applied.notes).contains(&(7, ""));
            }
            let created = at.saturating_sub(1);
            let jobs = stage.reopen(None);
            bodies.running.clear();
            bodies.hear(&jobs);
            let expected = if at == 0 { from } else { to };
            assert_eq!(stage.layout(), [expected.into(), 0, 0], "commit {at}");
            stage.check(&bodies);
            // Both layouts go on, and may be changed again.
            let notes = stage
                .say(vec![Submission::Outside(Command::Reshard(9, 5))])
                .notes;
            assert_eq!(codes(&notes), [(9, "")]);
            stage.run_out(&mut bodies);
            let once: BTreeSet<u64> = bodies.started.iter().copied().collect();
            assert_eq!(once.len(), MANY + created, "commit {at}");
            // The one that ran when it crashed ran once more, before anybody else.
            assert_eq!(bodies.started.len(), MANY + created + 1);
            assert!(bodies.started[1..].is_sorted());
            if replied {
                break;
            }
            at += 1;
        }
        assert!(at >= 3, "it took some commits");
    }
}

#[test]
fn a_commit_that_may_or_may_not_be_there_decides_which_layout_it_is() {
    use crate::store::memory::Failure;
    for (failure, shards) in [(Failure::Lost, 2), (Failure::Unreported, 64)] {
        let (mut stage, mut bodies) = Stage::crowded(2, 1);
        stage.core.begin(stage.now);
        let reshard = Command::Reshard(7, 64).into();
        assert_eq!(stage.core.decide(reshard), None);
        stage.core.finish_batch();
        stage.store.fail_next(failure);
        let committed = stage
            .facts
            .store
            .commit_each(&mut stage.core.ops(), stage.core.domain());
        assert!(committed.is_err());
        bodies.running.clear();
        bodies.hear(&stage.reopen(None));
        assert_eq!(stage.layout(), [shards, 0, 0]);
        stage.run_out(&mut bodies);
        assert_eq!(bodies.started.len(), MANY + 1);
    }
}

#[test]
fn an_engine_takes_the_stored_layout_unless_it_is_told_another() {
    let mut stage = Stage::with(config_of(None, 1));
    assert_eq!(stage.layout(), [64, 0, 0], "the default");
    stage.say(vec![Submission::Outside(Command::Reshard(7, 9))]);
    for (told, shards) in [(None, 9), (Some(4), 4), (None, 4), (Some(4), 4)] {
        stage.reopen(told);
        assert_eq!(stage.layout(), [shards, 0, 0]);
    }
}

#[test]
fn a_change_that_is_under_way_at_the_end_is_ended_by_the_next_engine() {
    let (mut stage, mut bodies) = Stage::crowded(1, 1);
    stage.step(vec![Submission::Outside(Command::Reshard(7, 64))]);
    stage.core.begin(stage.now);
    stage.core.clear_marks();
    let notes = stage.commit().notes;
    assert_eq!(codes(&notes), [(7, "closed")]);
    bodies.running.clear();
    bodies.hear(&stage.reopen(None));
    assert_eq!(stage.layout(), [64, 0, 0]);
    stage.run_out(&mut bodies);
    assert_eq!(bodies.started.len(), MANY + 1);
}

#[test]
fn a_damaged_layout_stops_the_engine_and_says_so() {
    let store = MemoryStore::default();
    let mut handle = store.reopen();
    let meta = crate::store::Op::Meta("layout".into(), b"\x01\x02".as_slice().into());
    handle.commit(&[meta]).expect("memory is written");
    let mut facts = Facts {
        reader: handle.reader().expect("memory is read"),
        store: Box::new(handle),
    };
    let mut core = Core::new(
        config(),
        Arc::default(),
        Arc::default(),
        Arc::new(Sequence::new(0)),
        Arc::default(),
    );
    let error = core.recover(&mut facts).expect_err("it is damaged");
    assert!(matches!(error, crate::store::Error::Corrupt(_)));
    assert!(error.to_string().contains("\"layout\""), "{error}");
}

#[test]
fn c11_who_runs_waits_is_blocked_or_starts_later_does_not_notice() {
    let (mut stage, mut bodies) = Stage::crowded(1, 6);
    let [runs, waits, sleeps, blocked, ends, late] = bodies.running[..] else {
        panic!("six run");
    };
    let event = stage.wait(Kind::Event, events(&["go"]), 10_000);
    let nap = Wait {
        source: Source::Timer,
        ..stage.wait(Kind::Sleep, Source::Timer, 500)
    };
    let seen = stage.core.batch_number();
    let number = stage.sequence.draw();
    bodies.hear(&stage.say(vec![
        waits.says(Speech::Open(Box::new(event.clone()))),
        waits.says(Speech::Quiet(0, seen)),
        sleeps.says(Speech::Open(Box::new(nap.clone()))),
        sleeps.says(Speech::Quiet(0, seen)),
        blocked.says(Speech::Block("why".into(), b"e".as_slice().into())),
        finish(ends),
    ]));
    let mut later = item("later");
    later.start_at = Some(600);
    let later = Submission::Outside(Command::Create(
        number,
        Box::new((code(), later)),
        IfExists::Raise,
    ));
    // In the middle of the change each of them hears of something.
    stage.step(vec![Submission::Outside(Command::Reshard(7, 64)), later]);
    let to = |stage: &Stage, by: Body| {
        let row = stage.facts.store.reader().expect("memory is read");
        let row = { row }.instance(by.no).expect("memory is read");
        row.expect("it exists").id
    };
    let (event_to, resume) = (to(&stage, waits), to(&stage, blocked));
    stage.now = 700;
    let applied = stage.step(vec![
        send(8, &event_to, "go", None),
        Submission::Outside(Command::Act(9, Verb::Resume.to(name(&resume)))),
        runs.says(Speech::Record(10, record())),
    ]);
    bodies.hear(&applied);
    assert!(stage.core.queues.is_relocating(), "still under way");
    assert_eq!(codes(&applied.notes), [(8, ""), (9, "")]);
    let is_told = |it: &Note| matches!(it, Note::Done { tickets, .. } if *tickets == [10]);
    assert!(applied.notes.iter().any(is_told));
    let applied = stage.say(vec![]);
    bodies.hear(&applied);
    assert_eq!(codes(&applied.notes), [(7, "")]);
    // What was woken goes before what is new (C4), as soon as somebody ends.
    let applied = stage.say(vec![finish(late), finish(runs)]);
    let before = bodies.started.len();
    bodies.hear(&applied);
    let first: BTreeSet<u64> = bodies.started[before..].iter().copied().collect();
    let woken: BTreeSet<u64> = [waits.no, sleeps.no, blocked.no].into();
    let woken_by_wake = applied.notes.iter().filter_map(|note| match note {
        Note::Wake { no, .. } => Some(*no),
        _ => None,
    });
    let first: BTreeSet<u64> = first.into_iter().chain(woken_by_wake).collect();
    assert!(first.is_subset(&woken), "{first:?} of {woken:?}");
    assert_eq!(first.len(), 2);
    let queued = stage.core.queues.entries(0);
    let rest = queued.filter(|it| it.1.class == Class::Woken).count();
    assert_eq!(rest, 1);
    let key = Key::new("default", "w", "later");
    assert_eq!(stage.registry.peek(key), Some(Status::Queued));
}
