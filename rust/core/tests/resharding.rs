//! Resizing an engine that runs: what others see of it, from other threads and after a crash.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stepwell_core::codes;
use stepwell_core::engine::Config;
use stepwell_core::error::Kind;
use stepwell_core::lifecycle::Status;
use stepwell_core::note::{Data, Note};
use stepwell_core::runtime::Engine;
use stepwell_core::settings::{Layer, Limit};
use stepwell_core::store::memory::MemoryStore;
use stepwell_core::submission::{Code, Command, IfExists, NewItem, Submission};

const QUEUED: usize = 20_000;

fn config(shards: Option<u32>) -> Config {
    Config {
        workflows: vec![("w".into(), "1".into())],
        shards,
        slots: 1,
        namespace: "default".into(),
        limits: Layer::default().with(Limit::QueueEntries, 1_000_000),
        workflow_limits: vec![],
        retentions: vec![],
        formerly: vec![],
    }
}

fn create(engine: &Engine, ids: impl Iterator<Item = String>) -> u64 {
    let ticket = engine.draw_ticket();
    let code = Code {
        namespace: "default".into(),
        workflow: "w".into(),
        version: "1".into(),
    };
    let items = ids.map(|id| NewItem {
        id: Some(id.into()),
        ..NewItem::default()
    });
    let what = Box::new((code, items.collect()));
    let batch = Submission::Outside(Command::CreateBatch(ticket, what, IfExists::Raise, false));
    engine.submit(batch).expect("there is room");
    ticket
}

fn reshard(engine: &Engine, shards: i64) -> u64 {
    let ticket = engine.draw_ticket();
    let change = Submission::Outside(Command::Reshard(ticket, shards));
    engine.submit(change).expect("there is room");
    ticket
}

/// Polls until this ticket is answered; returns the code of the answer.
fn answer(engine: &Engine, wanted: u64) -> &'static str {
    let began = Instant::now();
    loop {
        for note in engine.poll() {
            match note {
                Note::Reply { ticket, code, data } if ticket == wanted => {
                    let says_why = matches!(data, Data::Text(_));
                    assert_eq!(says_why, matches!(code, codes::INVALID | codes::UNDER_WAY));
                    return code;
                }
                Note::Failed { message, .. } => panic!("{message}"),
                _ => {}
            }
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no answer");
        std::thread::yield_now();
    }
}

fn figure(engine: &Engine, name: &str) -> u64 {
    let figures = engine.statistics();
    let found = figures.iter().find(|it| it.0 == name);
    found.unwrap_or_else(|| panic!("{name} in {figures:?}")).1
}

#[test]
fn c8_whoever_looks_while_shards_change_finds_everybody() {
    let store = MemoryStore::default();
    let engine = Engine::open_memory(&store, config(None), Some(1_000)).expect("it opens");
    assert_eq!(figure(&engine, "shards"), 64);
    let ids = (0..QUEUED).map(|it| it.to_string());
    assert_eq!(answer(&engine, create(&engine, ids)), "");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looker = || {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds == 0 {
                for id in 0..QUEUED {
                    let status = engine.peek("default", "w", &id.to_string());
                    let expected = [Some(Status::Running), Some(Status::Queued)];
                    assert_eq!(status, expected[usize::from(id > 0)], "{id}");
                }
                rounds += 1;
            }
        };
        let lookers = [scope.spawn(looker), scope.spawn(looker)];
        for (round, shards) in [1, 4_096, 64, 7].into_iter().enumerate() {
            let ticket = reshard(&engine, shards);
            let news = (0..10).map(|it| format!("new {round} {it}"));
            let created = create(&engine, news);
            // In which order they are answered depends on how much there is to hand over.
            let mut left = vec![ticket, created];
            while !left.is_empty() {
                for note in engine.poll() {
                    if let Note::Reply { ticket, code, .. } = note {
                        assert_eq!(code, "");
                        left.retain(|it| *it != ticket);
                    }
                }
                std::thread::yield_now();
            }
            assert_eq!(figure(&engine, "shards"), shards as u64);
            assert_eq!(figure(&engine, "ranges_to_move"), 0);
            assert_eq!(figure(&engine, "queued_to_move"), 0);
        }
        done.store(true, Ordering::Relaxed);
        for looker in lookers {
            looker.join().expect("nobody was missed");
        }
    });
    assert_eq!(figure(&engine, "live"), QUEUED as u64 + 40);
    let ticket = reshard(&engine, 0);
    assert_eq!(answer(&engine, ticket), codes::INVALID);
    let engine = engine.reopen().expect("it opens");
    assert_eq!(figure(&engine, "shards"), 7, "the store remembers");
    assert_eq!(figure(&engine, "live"), QUEUED as u64 + 40);
}

#[test]
fn an_engine_is_not_opened_with_a_number_of_shards_that_makes_no_sense() {
    for shards in [0, 4_097, u32::MAX] {
        let refused = Engine::open(":memory:", "test", config(Some(shards)), None);
        let error = refused.expect_err("it makes no sense");
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.contains(&shards.to_string()), "{error:?}");
    }
}
