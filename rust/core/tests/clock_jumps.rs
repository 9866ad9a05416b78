//! Jumps of the wall clock, on a virtual clock whose two hands can be moved apart (T1, T2).
//!
//! A naive model keeps every deadline in a list. Whatever the clock does, exactly what the wall
//! time has reached fires, and what counts monotonic time does not notice any jump.

mod running;

use std::collections::BTreeMap;

use proptest::prelude::*;
use stepwell_core::engine::Config;
use stepwell_core::history::{Kind, Operation, Record, Stored, Verdict};
use stepwell_core::lifecycle::Status;
use stepwell_core::note::{Data, Note, Start};
use stepwell_core::runtime::{Engine, Question};
use stepwell_core::settings::{Layer, Limit};
use stepwell_core::store::memory::MemoryStore;
use stepwell_core::submission::{Body, Code, Command, IfExists, NewItem, Speech, Submission};
use stepwell_core::wait::{Source, Wait};

use running::settle;

const BEGINNING: i64 = 2_000_000_000_000_000;
const SECOND: i64 = 1_000_000;
const YEAR: i64 = 365 * 86_400 * SECOND;

fn open(store: &MemoryStore) -> Engine {
    let config = Config {
        workflows: vec![("w".into(), "1".into())],
        shards: Some(4),
        slots: 100,
        namespace: "default".into(),
        limits: Layer::default()
            .with(Limit::Concurrency, 100)
            .with(Limit::QueueEntries, 1_000)
            .with(Limit::Recoveries, 1_000),
        workflow_limits: vec![],
        retentions: vec![],
        formerly: vec![],
    };
    Engine::open_memory(store, config, Some(BEGINNING)).expect("it opens")
}

fn submit(engine: &Engine, submission: Submission) {
    engine.submit(submission).expect("there is room");
}

fn create(engine: &Engine, id: &str, start_at: Option<i64>) {
    let code = Code {
        namespace: "default".into(),
        workflow: "w".into(),
        version: "1".into(),
    };
    let item = NewItem {
        id: Some(id.into()),
        start_at,
        ..NewItem::default()
    };
    let what = Box::new((code, item));
    let ticket = engine.draw_ticket();
    submit(
        engine,
        Submission::Outside(Command::Create(ticket, what, IfExists::Raise)),
    );
}

fn starts(notes: &[Note]) -> Vec<&Start> {
    let mut found = Vec::new();
    for note in notes {
        if let Note::Start(start) = note {
            found.push(&**start);
        }
    }
    found
}

fn settled(notes: &[Note]) -> BTreeMap<u64, Verdict> {
    let one = |note: &Note| match note {
        Note::Settled(it) => Some((it.number, it.verdict)),
        _ => None,
    };
    notes.iter().filter_map(one).collect()
}

fn fired(notes: &[Note]) -> Vec<u64> {
    let one = |note: &Note| match note {
        Note::Timer { ticket } => Some(*ticket),
        _ => None,
    };
    notes.iter().filter_map(one).collect()
}

fn body(start: &Start) -> Body {
    Body {
        no: start.no,
        incarnation: start.incarnation,
    }
}

/// A body that runs.
fn running(engine: &Engine, id: &str) -> Body {
    create(engine, id, None);
    let notes = settle(engine);
    body(starts(&notes)[0])
}

fn operation(kind: Kind, count: u32) -> Operation {
    Operation {
        kind,
        branch: "".into(),
        name: "op".into(),
        key: None,
        count,
    }
}

/// Something a body waits for, with a deadline.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kept {
    Sleep,
    Event,
    Retry,
}

impl Kept {
    fn verdict(self) -> Verdict {
        match self {
            Self::Event => Verdict::TimedOut,
            Self::Sleep | Self::Retry => Verdict::Done,
        }
    }
}

/// A body records something, so that no crash after it makes its instance a suspect (L11).
fn progress(engine: &Engine, by: Body, count: u32) {
    let record = Record {
        operation: operation(Kind::Do, count),
        attempt: 1,
        verdict: Verdict::Done,
        started_at: 0,
        at: 0,
        begun: None,
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: None,
    };
    let ticket = engine.draw_ticket();
    submit(engine, by.says(Speech::Record(ticket, record)));
}

fn wait(engine: &Engine, by: Body, kept: Kept, count: u32, until: i64) -> u64 {
    let id = engine.draw_wait();
    let (kind, source) = match kept {
        Kept::Sleep => (Kind::Sleep, Source::Timer),
        Kept::Event => (Kind::Event, Source::Event(vec!["e".into()])),
        Kept::Retry => {
            let record = Record {
                operation: operation(Kind::Do, count),
                attempt: 1,
                verdict: Verdict::AttemptFailed,
                started_at: 0,
                at: 0,
                begun: None,
                erases: None,
                moment: Some(until),
                event: None,
                event_type: None,
                payload: None,
            };
            submit(engine, by.says(Speech::Retry(id, Box::new(record))));
            return id;
        }
    };
    let wait = Wait {
        begun: None,
        id,
        operation: operation(kind, count),
        source,
        opened_at: 0,
        until: Some(until),
    };
    submit(engine, by.says(Speech::Open(Box::new(wait))));
    id
}

fn history(engine: &Engine, by: Body) -> Vec<Stored> {
    let ticket = engine.ask(Question::History(by.no)).expect("it is open");
    for note in settle(engine) {
        if let Note::Reply {
            ticket: answered,
            data: Data::History(Some(told)),
            ..
        } = note
        {
            assert_eq!(answered, ticket);
            return told.1;
        }
    }
    panic!("no answer");
}

#[test]
fn t1_a_jump_of_a_year_ahead_fires_what_is_due_by_then_and_nothing_else() {
    let engine = open(&MemoryStore::new());
    let by = running(&engine, "a");
    let soon = wait(&engine, by, Kept::Sleep, 1, BEGINNING + 60 * SECOND);
    let retry = wait(&engine, by, Kept::Retry, 1, BEGINNING + YEAR);
    let event = wait(&engine, by, Kept::Event, 1, BEGINNING + YEAR + 1);
    create(&engine, "later", Some(BEGINNING + YEAR - 1));
    settle(&engine);
    engine.jump(YEAR);
    let notes = settle(&engine);
    let due = [(soon, Verdict::Done), (retry, Verdict::Done)];
    assert_eq!(settled(&notes), BTreeMap::from(due));
    assert_eq!(starts(&notes).len(), 1, "start_at is over too");
    assert_eq!(engine.next_timer(), Some(BEGINNING + YEAR + 1));
    engine.jump(1);
    let late = BTreeMap::from([(event, Verdict::TimedOut)]);
    assert_eq!(settled(&settle(&engine)), late);
}

#[test]
fn t1_after_a_jump_back_a_deadline_is_waited_for_by_the_wall_clock() {
    let engine = open(&MemoryStore::new());
    let by = running(&engine, "a");
    let due = BEGINNING + 60 * SECOND;
    let waits = [Kept::Sleep, Kept::Event, Kept::Retry].map(|it| wait(&engine, by, it, 1, due));
    create(&engine, "later", Some(due));
    settle(&engine);
    engine.jump(-YEAR);
    assert_eq!(settle(&engine), []);
    engine.advance(BEGINNING);
    assert_eq!(settle(&engine), [], "a year later it is as early as it was");
    engine.advance(due - 1);
    assert_eq!(settle(&engine), []);
    engine.advance(due);
    let notes = settle(&engine);
    assert_eq!(settled(&notes).into_keys().collect::<Vec<_>>(), waits);
    assert_eq!(starts(&notes).len(), 1);
}

#[test]
fn t2_an_attempt_timeout_does_not_see_the_wall_clock_jump() {
    let engine = open(&MemoryStore::new());
    settle(&engine);
    let began = engine.monotonic();
    let ticket = engine.arm(600 * SECOND);
    for by in [YEAR, -3 * YEAR, 10 * YEAR, -1, 1] {
        engine.jump(by);
        assert_eq!(settle(&engine), [], "a jump by {by}");
        let left = engine.next_timer().expect("it is armed") - engine.now();
        assert_eq!(left, 600 * SECOND, "after a jump by {by}");
    }
    assert_eq!(engine.monotonic(), began);
    engine.advance(engine.now() + 600 * SECOND - 1);
    assert_eq!(settle(&engine), []);
    engine.advance(engine.now() + 1);
    assert_eq!(fired(&settle(&engine)), [ticket]);
}

#[test]
fn t2_records_may_go_back_in_time_but_not_in_order() {
    let store = MemoryStore::new();
    let mut engine = open(&store);
    let mut by = running(&engine, "a");
    let mut times = Vec::new();
    for (count, jump) in [(1, YEAR), (2, -2 * YEAR), (3, 5), (4, -SECOND)] {
        engine.jump(jump);
        settle(&engine);
        times.push(engine.now());
        let id = wait(&engine, by, Kept::Sleep, count, engine.now());
        assert_eq!(
            settled(&settle(&engine)).into_keys().collect::<Vec<_>>(),
            [id]
        );
        if count == 3 {
            engine = engine.reopen().expect("it opens again");
            let notes = settle(&engine);
            by = body(starts(&notes)[0]);
        }
    }
    let records = history(&engine, by);
    assert!(records.windows(2).all(|it| it[0].seq < it[1].seq));
    let counts: Vec<_> = records.iter().map(|it| it.record.operation.count).collect();
    assert_eq!(counts, [1, 2, 3, 4]);
    let recorded: Vec<_> = records.iter().map(|it| it.record.at).collect();
    assert_eq!(recorded, times, "the wall clock as it went");
}

#[test]
fn t2_events_are_taken_in_the_order_they_came_in_whatever_the_clock_said() {
    let engine = open(&MemoryStore::new());
    let by = running(&engine, "a");
    for jump in [YEAR, -2 * YEAR, SECOND] {
        engine.jump(jump);
        let sent = stepwell_core::submission::Sent {
            to: stepwell_core::submission::Name {
                namespace: "default".into(),
                workflow: "w".into(),
                id: "a".into(),
            },
            kind: "e".into(),
            payload: Some(jump.to_le_bytes().into()),
        };
        let ticket = engine.draw_ticket();
        submit(
            &engine,
            Submission::Outside(Command::Send(ticket, Box::new(sent), None)),
        );
        settle(&engine);
    }
    for (count, jump) in [(1, YEAR), (2, -2 * YEAR), (3, SECOND)] {
        let far = engine.now() + YEAR;
        wait(&engine, by, Kept::Event, count, far);
        let notes = settle(&engine);
        let payload = notes.iter().find_map(|note| match note {
            Note::Settled(it) => it.payload.clone(),
            _ => None,
        });
        assert_eq!(payload.as_deref(), Some(jump.to_le_bytes().as_slice()));
    }
}

/// What one step of the random world does.
#[derive(Debug, Clone)]
enum Act {
    Wait(Kept, i64),
    Start(i64),
    Arm(i64),
    Jump(i64),
    Pass(i64),
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let kept = prop_oneof![Just(Kept::Sleep), Just(Kept::Event), Just(Kept::Retry)];
    let delay = prop_oneof![0..100 * SECOND, 0..2 * YEAR];
    let jump = prop_oneof![
        Just(YEAR),
        Just(-YEAR),
        -100 * SECOND..100 * SECOND,
        -3i64..4,
    ];
    prop_oneof![
        4 => (kept, delay.clone()).prop_map(|(kept, delay)| Act::Wait(kept, delay)),
        1 => delay.clone().prop_map(Act::Start),
        2 => (0..100 * SECOND).prop_map(Act::Arm),
        3 => jump.prop_map(Act::Jump),
        3 => delay.prop_map(Act::Pass),
        1 => Just(Act::Crash),
    ]
}

/// Naive lists of everything that is to come.
#[derive(Debug, Default)]
struct Model {
    waits: BTreeMap<u64, (i64, Kept)>,
    starts: Vec<i64>,
    alarms: BTreeMap<u64, i64>,
}

impl Model {
    /// Compares what happened, and lets those that start make progress.
    fn follow(&mut self, engine: &Engine, recovered: usize, count: u32) -> Vec<Note> {
        let notes = settle(engine);
        self.compare(engine, &notes, recovered);
        for start in starts(&notes) {
            progress(engine, body(start), count);
        }
        settle(engine);
        notes
    }

    /// Takes out what is due and compares it with what was told.
    fn compare(&mut self, engine: &Engine, notes: &[Note], recovered: usize) {
        let (wall, monotonic) = (engine.now(), engine.monotonic());
        let due = self.waits.iter().filter(|(_, it)| it.0 <= wall);
        let due: BTreeMap<_, _> = due.map(|(id, it)| (*id, it.1.verdict())).collect();
        assert_eq!(settled(notes), due);
        self.waits.retain(|_, it| it.0 > wall);
        let before = self.starts.len();
        self.starts.retain(|at| *at > wall);
        assert_eq!(starts(notes).len(), before - self.starts.len() + recovered);
        let due = self.alarms.iter().filter(|(_, at)| **at <= monotonic);
        let due: Vec<_> = due.map(|(ticket, _)| *ticket).collect();
        let mut told = fired(notes);
        told.sort_unstable();
        assert_eq!(told, due);
        self.alarms.retain(|_, at| *at > monotonic);
        let ahead = wall - monotonic;
        let alarms = self.alarms.values().map(|at| at + ahead);
        let walls = self.waits.values().map(|it| it.0);
        let next = walls.chain(self.starts.iter().copied()).chain(alarms).min();
        assert_eq!(engine.next_timer(), next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn t2_what_fires_is_what_a_list_of_deadlines_says_whatever_the_clock_does(
        acts in prop::collection::vec(act(), 1..60)
    ) {
        let store = MemoryStore::new();
        let mut engine = open(&store);
        let mut by = running(&engine, "a");
        let mut alive = 1;
        let mut model = Model::default();
        for (step, act) in acts.into_iter().enumerate() {
            let (wall, count) = (engine.now(), step as u32 + 1);
            let mut recovered = 0;
            match act {
                Act::Wait(kept, delay) => {
                    let id = wait(&engine, by, kept, count, wall + delay);
                    model.waits.insert(id, (wall + delay, kept));
                }
                Act::Start(delay) => {
                    create(&engine, &format!("s{step}"), Some(wall + delay));
                    model.starts.push(wall + delay);
                }
                Act::Arm(delay) => {
                    model.alarms.insert(engine.arm(delay), engine.monotonic() + delay);
                }
                Act::Jump(by) => engine.jump(by),
                Act::Pass(time) => engine.advance(wall + time),
                Act::Crash => {
                    engine = engine.reopen().expect("it opens again");
                    model.alarms.clear();
                    recovered = alive;
                }
            }
            let notes = model.follow(&engine, recovered, 1_000 + count);
            alive += starts(&notes).len() - recovered;
            if recovered > 0 {
                let mine = starts(&notes).into_iter().find(|it| it.no == by.no);
                by = body(mine.expect("it comes back"));
                // All are proven innocent, so that the next crash holds nobody back (L11).
                engine.advance(engine.now() + SECOND);
                let notes = model.follow(&engine, 0, 2_000 + count);
                alive += starts(&notes).len();
            }
            prop_assert_eq!(engine.peek("default", "w", "a"), Some(Status::Running));
        }
    }
}
