//! The engine with its threads, on the model store and a virtual clock.

mod running;

use stepwell_core::history::{Kind, Operation, Record, Verdict};
use stepwell_core::lifecycle::Status;
use stepwell_core::note::{Data, Note, Start};
use stepwell_core::runtime::{Engine, Question, Refused};
use stepwell_core::settings::Limit;
use stepwell_core::store::memory::{Failure, MemoryStore};
use stepwell_core::submission::{Body, Code, Command, IfExists, Name, NewItem, Speech, Submission};
use stepwell_core::wait::{Source, Wait};

use running::{config, settle};

fn open(store: &MemoryStore) -> Engine {
    Engine::open_memory(store, config(), Some(1_000)).expect("it opens")
}

fn submit(engine: &Engine, submission: Submission) {
    engine.submit(submission).expect("there is room");
}

fn code() -> Code {
    Code {
        namespace: "default".into(),
        workflow: "w".into(),
        version: "1".into(),
    }
}

fn create(engine: &Engine, id: &str) -> u64 {
    let ticket = engine.draw_ticket();
    let item = NewItem {
        id: Some(id.into()),
        params: Some(b"params".as_slice().into()),
        ..NewItem::default()
    };
    let what = Box::new((code(), item));
    submit(
        engine,
        Submission::Outside(Command::Create(ticket, what, IfExists::ReturnIfSame)),
    );
    ticket
}

/// Returns the first answer to a call.
fn code_of(notes: &[Note], ticket: u64) -> Option<&'static str> {
    notes.iter().find_map(|note| match note {
        Note::Reply {
            ticket: it, code, ..
        } if *it == ticket => Some(*code),
        _ => None,
    })
}

fn start_of(notes: &[Note]) -> &Start {
    let found = notes.iter().find_map(|note| match note {
        Note::Start(start) => Some(&**start),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no start: {notes:?}"))
}

fn body(start: &Start) -> Body {
    Body {
        no: start.no,
        incarnation: start.incarnation,
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

fn record(engine: &Engine, by: Body) -> u64 {
    let ticket = engine.draw_ticket();
    let record = Record {
        operation: operation(Kind::Do),
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
    submit(engine, by.says(Speech::Record(ticket, record)));
    ticket
}

fn sleep(engine: &Engine, by: Body, until: i64) -> u64 {
    let id = engine.draw_wait();
    let wait = Wait {
        begun: None,
        id,
        operation: operation(Kind::Sleep),
        source: Source::Timer,
        opened_at: 0,
        until: Some(until),
    };
    submit(engine, by.says(Speech::Open(Box::new(wait))));
    id
}

#[test]
fn a_parked_sleeper_comes_back_by_start_when_time_moves() {
    let engine = open(&MemoryStore::new());
    create(&engine, "a");
    let by = body(start_of(&settle(&engine)));
    sleep(&engine, by, 5_000);
    submit(&engine, by.says(Speech::Quiet(0, engine.seen())));
    assert_eq!(settle(&engine), []);
    assert_eq!(engine.peek("default", "w", "a"), Some(Status::Waiting));
    assert_eq!(engine.next_timer(), Some(5_000));
    assert!(engine.park(by.no, by.incarnation));
    engine.advance(4_999);
    assert_eq!(settle(&engine), []);
    engine.advance(5_000);
    let notes = settle(&engine);
    let start = start_of(&notes);
    assert_eq!(start.params.as_deref(), Some(b"params".as_slice()));
    assert_eq!((start.records.len(), start.waits.len()), (1, 0));
    assert!(!start.interrupted);
}

#[test]
fn idle_is_said_when_nothing_is_under_way() {
    let engine = open(&MemoryStore::new());
    settle(&engine);
    create(&engine, "a");
    while engine.is_busy() && !engine.poll().contains(&Note::Idle) {
        std::thread::yield_now();
    }
    assert!(!engine.is_busy());
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    let engine = open(&MemoryStore::new());
    create(&engine, "a");
    let by = body(start_of(&settle(&engine)));
    let ticket = record(&engine, by);
    let (at, tickets, seqs) = (1_000, vec![ticket], vec![1]);
    assert_eq!(settle(&engine), [Note::Done { at, tickets, seqs }]);
    engine.crash();
    record(&engine, by);
    assert_eq!(engine.poll(), []);
    let engine = engine.reopen().expect("it opens again");
    let notes = settle(&engine);
    let start = start_of(&notes);
    assert!(start.interrupted);
    assert_eq!(start.records.len(), 1);
}

#[test]
fn a_clean_close_leaves_no_mark() {
    let engine = open(&MemoryStore::new());
    create(&engine, "a");
    settle(&engine);
    engine.close().expect("it closes");
    let by = Body {
        no: 1,
        incarnation: 1,
    };
    let release = engine.submit(by.says(Speech::Release));
    assert!(matches!(release, Err(Refused::Closed)));
    assert!(matches!(
        engine.ask(Question::History(1)),
        Err(Refused::Closed)
    ));
    let engine = engine.reopen().expect("it opens again");
    assert!(!start_of(&settle(&engine)).interrupted);
}

#[test]
fn d1_a_failed_commit_poisons_and_acknowledges_nothing() {
    for failure in [Failure::Lost, Failure::Unreported] {
        let store = MemoryStore::new();
        let engine = open(&store);
        settle(&engine);
        store.fail_next(failure);
        create(&engine, "a");
        let notes = settle(&engine);
        assert!(
            matches!(&notes[..], [Note::Failed { kind: "failed", .. }]),
            "{notes:?}"
        );
        create(&engine, "b");
        assert_eq!(settle(&engine), []);
        assert_eq!(engine.peek("default", "w", "a"), None);
        assert!(engine.close().is_err());
        let engine = engine.reopen().expect("it opens again");
        let starts = settle(&engine).len();
        assert_eq!(starts, usize::from(failure == Failure::Unreported));
    }
}

#[test]
fn timers_of_the_process_fire_once_and_can_be_stopped() {
    let engine = open(&MemoryStore::new());
    let (first, second) = (engine.arm(500), engine.arm(600));
    engine.disarm(second);
    assert_eq!(engine.next_timer(), Some(1_500));
    engine.advance(9_000);
    assert_eq!(settle(&engine), [Note::Timer { ticket: first }]);
}

#[test]
fn the_same_id_with_other_params_is_told_apart() {
    let engine = open(&MemoryStore::new());
    let ticket = create(&engine, "a");
    let item = NewItem {
        id: Some("a".into()),
        ..NewItem::default()
    };
    let what = Box::new((code(), item));
    submit(
        &engine,
        Submission::Outside(Command::Create(7, what, IfExists::ReturnIfSame)),
    );
    let again = create(&engine, "a");
    let replies = settle(&engine);
    assert_eq!(code_of(&replies, ticket), Some(""));
    assert_eq!(code_of(&replies, 7), Some("same_id_other_params"));
    assert_eq!(code_of(&replies, again), Some(""));
}

#[test]
fn c10_a_creation_whose_look_up_fails_leaves_the_place_it_was_promised() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let open = |config| Engine::open(&path, "test", config, Some(1_000)).expect("it opens");
    let engine = open(config());
    create(&engine, "damaged");
    let by = body(start_of(&settle(&engine)));
    submit(
        &engine,
        by.says(Speech::Finish(Status::Complete, None, None)),
    );
    settle(&engine);
    engine.close().expect("it closes");
    let damage = "UPDATE instance SET priority = 'high' WHERE id = 'damaged'";
    let conn = rusqlite::Connection::open(&path).expect("it opens");
    assert_eq!(conn.execute(damage, []), Ok(1));
    drop(conn);
    let mut config = config();
    config.slots = 1;
    config.limits = config.limits.with(Limit::QueueEntries, 1);
    let engine = open(config);
    create(&engine, "runs");
    let by = body(start_of(&settle(&engine)));
    create(&engine, "queued");
    settle(&engine);
    let item = NewItem {
        id: Some("damaged".into()),
        ..NewItem::default()
    };
    let batch = Box::new((code(), vec![item]));
    let ticket = engine.draw_ticket();
    submit(
        &engine,
        Submission::Outside(Command::CreateBatch(ticket, batch, IfExists::Raise, true)),
    );
    assert_eq!(code_of(&settle(&engine), ticket), Some("corrupt"));
    submit(
        &engine,
        by.says(Speech::Finish(Status::Complete, None, None)),
    );
    settle(&engine);
    let next = create(&engine, "next");
    assert_eq!(
        code_of(&settle(&engine), next),
        Some(""),
        "the place is free"
    );
    assert_eq!(engine.peek("default", "w", "damaged"), None);
}

#[test]
fn questions_see_what_was_acknowledged() {
    let engine = open(&MemoryStore::new());
    create(&engine, "a");
    settle(&engine);
    let name = Name {
        namespace: "default".into(),
        workflow: "w".into(),
        id: "a".into(),
    };
    let ticket = engine.ask(Question::Find(name, true)).expect("it is open");
    let notes = settle(&engine);
    let [Note::Reply {
        ticket: answered,
        data: Data::Row(Some(row)),
        ..
    }] = &notes[..]
    else {
        panic!("{notes:?}");
    };
    assert_eq!((*answered, &*row.row.id), (ticket, "a"));
    assert_eq!(row.payloads.params.as_deref(), Some(b"params".as_slice()));
}
