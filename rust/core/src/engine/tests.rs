//! Given these submissions, exactly these notes: the engine on the model store, with time by hand.

use std::sync::Arc;

use super::{Applied, Config, Core, Facts, Job};
use crate::history::{Kind, Operation, Record, Verdict};
use crate::lifecycle::Status;
use crate::note::{Data, Note};
use crate::registry::Registry;
use crate::residents::Residents;
use crate::sequence::Sequence;
use crate::store::memory::MemoryStore;
use crate::store::Store;
use crate::submission::{Body, Child, Code, Decision, IfExists, Letter, Name, NewItem, Submission};
use crate::wait::{Source, Wait};

struct Stage {
    store: MemoryStore,
    core: Core,
    facts: Facts,
    residents: Arc<Residents>,
    registry: Arc<Registry>,
    sequence: Arc<Sequence>,
    config: Config,
    now: i64,
}

fn config() -> Config {
    Config {
        workflows: vec![("w".into(), "1".into())],
        shards: 2,
        slots: 2,
        concurrency: 100,
        queue_entries: 3,
        workflow_concurrency: vec![],
    }
}

impl Stage {
    fn open(store: &MemoryStore, config: Config, now: i64) -> Self {
        let mut handle: Box<dyn Store> = Box::new(store.reopen());
        let ceiling = handle.meta("sequence").expect("memory is read");
        let ceiling = ceiling.map_or(0, |it| {
            u64::from_le_bytes((*it).try_into().expect("8 bytes"))
        });
        let registry = Arc::new(Registry::new(config.shards));
        let residents = Arc::new(Residents::default());
        let sequence = Arc::new(Sequence::new(ceiling));
        let reader = handle.reader().expect("memory is read");
        let mut stage = Self {
            core: Core::new(
                config.clone(),
                Arc::clone(&registry),
                Arc::clone(&residents),
                Arc::clone(&sequence),
            ),
            store: store.clone(),
            facts: Facts {
                store: handle,
                reader,
            },
            residents,
            registry,
            sequence,
            config,
            now,
        };
        stage.core.begin(now);
        stage
            .core
            .recover(&mut stage.facts)
            .expect("memory is read");
        stage
    }

    fn new() -> Self {
        let mut stage = Self::open(&MemoryStore::default(), config(), 100);
        assert_eq!(stage.commit().notes, []);
        stage
    }

    fn with(config: Config) -> Self {
        let mut stage = Self::open(&MemoryStore::default(), config, 100);
        assert_eq!(stage.commit().notes, []);
        stage
    }

    fn crash(&mut self) -> Applied {
        let store = self.store.clone();
        *self = Self::open(&store, self.config.clone(), self.now);
        self.commit()
    }

    fn commit(&mut self) -> Applied {
        let finished = self.core.finish_batch(&mut self.facts);
        finished.expect("memory is read");
        let outcomes = self.facts.store.commit(self.core.ops());
        let outcomes = outcomes.expect("memory is written");
        let applied = self.core.apply(&outcomes, &mut self.facts);
        applied.expect("memory is read")
    }

    /// Everything in one batch, and what has to wait in the next ones.
    fn say(&mut self, submissions: Vec<Submission>) -> Applied {
        let mut all = Applied::default();
        let mut rest: std::collections::VecDeque<_> = submissions.into();
        loop {
            self.core.begin(self.now);
            while let Some(submission) = rest.pop_front() {
                let later = self.core.decide(submission, &mut self.facts);
                if let Some(later) = later.expect("memory is read") {
                    rest.push_front(later);
                    break;
                }
            }
            let applied = self.commit();
            all.notes.extend(applied.notes);
            all.jobs.extend(applied.jobs);
            if rest.is_empty() && !self.core.has_work(self.now) {
                return all;
            }
        }
    }

    fn create(&mut self, id: &str) -> Body {
        let applied = self.say(vec![create(1, id)]);
        match &applied.notes[..] {
            [Note::Reply { .. }, Note::Start(start)] => Body {
                no: start.no,
                incarnation: start.incarnation,
            },
            other => panic!("not started: {other:?}"),
        }
    }

    fn wait(&self, kind: Kind, source: Source, until: i64) -> Wait {
        Wait {
            id: self.sequence.draw(),
            operation: operation(kind),
            source,
            opened_at: 0,
            until: Some(until),
        }
    }
}

fn operation(kind: Kind) -> Operation {
    Operation {
        kind,
        branch: "".into(),
        name: "op".into(),
        key: None,
        count: 1,
    }
}

fn record() -> Record {
    Record {
        operation: operation(Kind::Do),
        attempt: 1,
        verdict: Verdict::Done,
        started_at: 100,
        at: 0,
        retry_at: None,
        event: None,
        event_type: None,
        payload: Some(b"value".as_slice().into()),
    }
}

fn code() -> Code {
    Code {
        namespace: "default".into(),
        workflow: "w".into(),
        version: "1".into(),
    }
}

fn name(id: &str) -> Name {
    Name {
        namespace: "default".into(),
        workflow: "w".into(),
        id: id.into(),
    }
}

fn item(id: &str) -> NewItem {
    NewItem {
        id: Some(id.into()),
        params: Some(id.as_bytes().into()),
        ..NewItem::default()
    }
}

fn create(ticket: u64, id: &str) -> Submission {
    Submission::Create(ticket, Box::new((code(), item(id))), IfExists::Raise)
}

fn send(ticket: u64, id: &str, kind: &str, dedup: Option<&str>) -> Submission {
    let letter = Letter {
        to: name(id),
        kind: kind.into(),
        payload: Some(kind.as_bytes().into()),
    };
    Submission::Send(ticket, Box::new(letter), dedup.map(Into::into))
}

fn decide(ticket: u64, id: &str, approved: bool) -> Submission {
    Submission::Decide(
        ticket,
        Box::new(Decision {
            approval: format!("w/{id}#ask#1").into(),
            of: name(id),
            name: "ask".into(),
            approved,
            decision: b"why".as_slice().into(),
        }),
    )
}

fn finish(by: Body) -> Submission {
    Submission::Finish(by, Status::Complete, Some(b"out".as_slice().into()))
}

fn events(kinds: &[&str]) -> Source {
    Source::Event(kinds.iter().map(|it| (*it).into()).collect())
}

/// The settlements among the notes: number, verdict, type.
fn settled(notes: &[Note]) -> Vec<(u64, Verdict, Option<&str>)> {
    let found = notes.iter().filter_map(|note| match note {
        Note::Settled(it) => Some((it.number, it.verdict, it.kind.as_deref())),
        _ => None,
    });
    found.collect()
}

fn codes(notes: &[Note]) -> Vec<(u64, &str)> {
    let found = notes.iter().filter_map(|note| match note {
        Note::Reply { ticket, code, .. } => Some((*ticket, *code)),
        _ => None,
    });
    found.collect()
}

#[test]
fn the_reply_precedes_the_start_and_the_slots_bound_the_starts() {
    let mut stage = Stage::new();
    let applied = stage.say(vec![create(1, "a"), create(2, "b"), create(3, "c")]);
    let order: Vec<_> = applied
        .notes
        .iter()
        .map(|note| match note {
            Note::Reply { ticket, .. } => format!("reply {ticket}"),
            Note::Start(start) => format!("start {}", start.id),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        order,
        ["reply 1", "start a", "reply 2", "start b", "reply 3"]
    );
    assert_eq!(stage.core.counts(), [2, 2, 1, 0]);
}

#[test]
fn the_slot_of_one_that_ends_goes_to_the_next_in_line() {
    let mut stage = Stage::new();
    let a = stage.create("a");
    stage.create("b");
    stage.say(vec![create(3, "c")]);
    let applied = stage.say(vec![finish(a)]);
    assert_eq!(applied.notes, []);
    assert!(matches!(
        &applied.jobs[..],
        [Job::Start {
            interrupted: false,
            ..
        }]
    ));
}

#[test]
fn records_of_one_commit_are_one_note_and_an_old_incarnation_is_fenced() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let old = Body {
        incarnation: by.incarnation + 9,
        ..by
    };
    let records = [(7, by), (8, by), (9, old), (10, by)];
    let records = records.map(|(ticket, by)| Submission::Record(ticket, by, record()));
    let applied = stage.say(records.into());
    let at = 100;
    assert_eq!(
        applied.notes,
        [
            Note::Done {
                at,
                tickets: vec![7, 8]
            },
            Note::Fenced { ticket: 9 },
            Note::Done {
                at,
                tickets: vec![10]
            },
        ]
    );
}

#[test]
fn c10_a_full_queue_refuses_and_leaves_no_trace() {
    let mut stage = Stage::new();
    let five = ["a", "b", "c", "d", "e"];
    stage.say(five.iter().map(|id| create(1, id)).collect());
    let applied = stage.say(vec![create(2, "f")]);
    assert_eq!(codes(&applied.notes), [(2, "overloaded")]);
    assert_eq!(stage.registry.len(), 5);
}

#[test]
fn an_id_that_a_final_instance_has_is_taken_and_its_slot_comes_back() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![finish(by)]);
    let again = Box::new((code(), item("a")));
    let applied = stage.say(vec![
        create(5, "a"),
        create(6, "a"),
        Submission::Create(7, again, IfExists::Return),
        send(8, "a", "x", None),
    ]);
    assert_eq!(
        codes(&applied.notes),
        [(5, "exists"), (6, "exists"), (7, ""), (8, "state")]
    );
    assert_eq!(stage.core.counts(), [2, 0, 0, 0]);
    assert_eq!(stage.registry.len(), 0);
}

#[test]
fn a_batch_answers_item_by_item_in_order() {
    let mut stage = Stage::new();
    let by = stage.create("old");
    stage.say(vec![finish(by)]);
    let items = vec![item("a"), item("old"), item("a"), item("b")];
    let what = Box::new((code(), items));
    let batch = Submission::CreateBatch(9, what, IfExists::Raise, false);
    let applied = stage.say(vec![batch]);
    let Note::Reply {
        data: Data::Items(items),
        ..
    } = &applied.notes[0]
    else {
        panic!("{:?}", applied.notes);
    };
    let answers: Vec<_> = items.iter().map(|it| it.code).collect();
    assert_eq!(answers, ["", "exists", "exists", ""]);
}

#[test]
fn c6_a_waiting_instance_holds_no_slot_and_its_event_wakes_it() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let id = wait.id;
    let seen = stage.core.batch_number();
    stage.say(vec![
        Submission::Open(by, Box::new(wait)),
        Submission::Quiet(by, 0, seen),
    ]);
    assert_eq!(stage.core.counts(), [2, 0, 0, 1]);
    let applied = stage.say(vec![send(3, "a", "x", None)]);
    let (no, incarnation) = (by.no, by.incarnation);
    assert_eq!(applied.notes[0], Note::Wake { no, incarnation });
    assert_eq!(settled(&applied.notes), [(id, Verdict::Done, Some("x"))]);
    assert_eq!(stage.core.counts(), [2, 1, 0, 0]);
}

#[test]
fn a_quiet_that_crossed_an_outcome_changes_nothing() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let (x, y) = (
        stage.wait(Kind::Event, events(&["x"]), 1_000),
        stage.wait(Kind::Event, events(&["y"]), 1_000),
    );
    let seen = stage.core.batch_number();
    stage.say(vec![
        Submission::Open(by, Box::new(x)),
        Submission::Open(by, Box::new(y)),
    ]);
    stage.say(vec![send(3, "a", "x", None)]);
    stage.say(vec![Submission::Quiet(by, 0, seen)]);
    assert_eq!(stage.core.counts(), [2, 1, 0, 0]);
    let seen = stage.core.batch_number();
    stage.say(vec![Submission::Quiet(by, 1, seen)]);
    assert_eq!(stage.core.counts(), [2, 0, 0, 1]);
}

#[test]
fn a_resident_without_a_slot_is_told_nothing_until_it_has_one() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let seen = stage.core.batch_number();
    stage.say(vec![
        Submission::Open(by, Box::new(wait)),
        Submission::Quiet(by, 0, seen),
    ]);
    let (b, _) = (stage.create("b"), stage.create("c"));
    let applied = stage.say(vec![send(3, "a", "x", None)]);
    assert_eq!(applied.notes, [Note::reply(3, Data::Nothing)]);
    assert!(!stage.residents.park(by.no, by.incarnation));
    let applied = stage.say(vec![finish(b)]);
    let (no, incarnation) = (by.no, by.incarnation);
    assert_eq!(applied.notes[0], Note::Wake { no, incarnation });
    assert_eq!(settled(&applied.notes).len(), 1);
}

#[test]
fn e3_a_wait_that_ran_out_takes_no_event_afterwards() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 150);
    let id = wait.id;
    stage.say(vec![Submission::Open(by, Box::new(wait))]);
    stage.now = 150;
    let applied = stage.say(vec![]);
    assert_eq!(settled(&applied.notes), [(id, Verdict::TimedOut, None)]);
    let applied = stage.say(vec![send(3, "a", "x", None)]);
    assert_eq!(applied.notes, [Note::reply(3, Data::Nothing)]);
}

#[test]
fn e4_an_event_with_a_dedup_id_is_delivered_once() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let (first, second) = (
        stage.wait(Kind::Event, events(&["x"]), 1_000),
        stage.wait(Kind::Event, events(&["x"]), 1_000),
    );
    let id = first.id;
    let applied = stage.say(vec![
        Submission::Open(by, Box::new(first)),
        Submission::Open(by, Box::new(second)),
        send(3, "a", "x", Some("d")),
        send(4, "a", "x", Some("d")),
    ]);
    assert_eq!(codes(&applied.notes), [(3, ""), (4, "")]);
    assert_eq!(settled(&applied.notes), [(id, Verdict::Done, Some("x"))]);
    stage.crash();
    let applied = stage.say(vec![send(5, "a", "x", Some("d"))]);
    assert_eq!(settled(&applied.notes), []);
}

#[test]
fn i8_a_withdrawn_wait_puts_its_event_back_in_its_old_place() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let first = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let (id, next) = (first.id, stage.wait(Kind::Event, events(&["x"]), 1_000));
    stage.say(vec![send(3, "a", "x", None), send(4, "a", "x", None)]);
    stage.say(vec![Submission::Open(by, Box::new(first))]);
    stage.say(vec![Submission::Withdraw(by, id)]);
    stage.say(vec![Submission::Open(by, Box::new(next))]);
    let history = stage.facts.reader.history(by.no).expect("memory is read");
    let taken: Vec<_> = history.iter().map(|it| it.record.event).collect();
    assert_eq!(taken[0], taken[1]);
}

#[test]
fn e5_of_two_decisions_in_one_batch_the_second_loses() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let ask = stage.wait(Kind::Approval, Source::Approval("w/a#ask#1".into()), 1_000);
    let id = ask.id;
    let applied = stage.say(vec![
        Submission::Ask(by, Box::new(ask), None),
        decide(3, "a", true),
        decide(4, "a", false),
    ]);
    let yes = Note::reply(3, Data::Bool(true));
    let no = Note::reply(4, Data::Bool(false));
    assert!(applied.notes.contains(&yes) && applied.notes.contains(&no));
    assert_eq!(
        settled(&applied.notes),
        [(id, Verdict::Done, Some("approved"))]
    );
}

#[test]
fn e5_a_decision_before_the_ask_is_kept() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    stage.say(vec![decide(3, "a", false)]);
    stage.crash();
    let ask = stage.wait(Kind::Approval, Source::Approval("w/a#ask#1".into()), 1_000);
    let id = ask.id;
    stage.residents.start(by.no, by.incarnation);
    let applied = stage.say(vec![Submission::Ask(by, Box::new(ask), None)]);
    assert_eq!(
        settled(&applied.notes),
        [(id, Verdict::Done, Some("rejected"))]
    );
}

#[test]
fn r3_a_marked_instance_is_interrupted_and_a_released_one_is_not() {
    let mut stage = Stage::new();
    let (a, b) = (stage.create("a"), stage.create("b"));
    stage.say(vec![Submission::Release(b)]);
    let applied = stage.crash();
    let starts: Vec<_> = applied
        .jobs
        .iter()
        .map(|job| match job {
            Job::Start {
                no, interrupted, ..
            } => (*no, *interrupted),
            other @ Job::Same { .. } => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(starts, [(a.no, true), (b.no, false)]);
}

#[test]
fn l12_missing_code_blocks_until_it_is_there_again() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Sleep, Source::Timer, 150);
    let seen = stage.core.batch_number();
    stage.say(vec![
        Submission::Open(by, Box::new(wait)),
        Submission::Quiet(by, 0, seen),
    ]);
    stage.config.workflows.clear();
    stage.now = 200;
    assert_eq!(stage.crash().jobs, []);
    let row = stage.facts.store.find("default", "w", "a");
    let row = row.expect("memory is read").expect("it is there");
    assert_eq!(row.status, Status::Blocked);
    assert_eq!(row.reason.as_deref(), Some("missing_code"));
    stage.config = config();
    let applied = stage.crash();
    assert_eq!(applied.jobs.len(), 1);
    let history = stage.facts.reader.history(by.no).expect("memory is read");
    assert_eq!(history.len(), 1, "its sleep is over");
}

#[test]
fn a_blocked_instance_keeps_its_events_and_gets_them_when_it_goes_on() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let wait = stage.wait(Kind::Event, events(&["x"]), 1_000);
    let block = Submission::Block(by, "nondeterminism".into(), b"why".as_slice().into());
    stage.say(vec![Submission::Open(by, Box::new(wait)), block]);
    stage.say(vec![send(3, "a", "x", None)]);
    let open = stage.facts.reader.waits(by.no).expect("memory is read");
    assert_eq!(open.len(), 1);
    let applied = stage.say(vec![Submission::Resume(4, Box::new(name("a")))]);
    assert_eq!(codes(&applied.notes), [(4, "")]);
    assert_eq!(applied.jobs.len(), 1);
    let open = stage.facts.reader.waits(by.no).expect("memory is read");
    assert_eq!(open.len(), 0);
}

#[test]
fn l10_a_parent_is_woken_by_its_child_even_if_the_engine_died_between() {
    let mut stage = Stage::with(Config {
        slots: 5,
        ..config()
    });
    let by = stage.create("a");
    let number = stage.sequence.draw();
    let child = Child {
        by,
        operation: operation(Kind::Call),
        workflow: "w".into(),
        version: "1".into(),
        items: vec![item("a.1")],
        payload: None,
    };
    let applied = stage.say(vec![Submission::Call(number, Box::new(child))]);
    let [Note::Start(start)] = &applied.notes[..] else {
        panic!("{:?}", applied.notes);
    };
    assert_eq!(start.parent, Some(by.no));
    let child = Body {
        no: start.no,
        incarnation: start.incarnation,
    };
    let applied = stage.say(vec![finish(child)]);
    assert_eq!(settled(&applied.notes), [(number, Verdict::Done, None)]);
    // Asking for a child that is final is answered at once, for one that never was too.
    let what = |id: &str| Box::new((operation(Kind::Result), "w".into(), id.into()));
    let applied = stage.say(vec![
        Submission::Await(900, by, what("a.1")),
        Submission::Await(901, by, what("nobody")),
    ]);
    assert_eq!(
        settled(&applied.notes),
        [
            (900, Verdict::Done, None),
            (901, Verdict::Failed, Some("not_found"))
        ]
    );
}
