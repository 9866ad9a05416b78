//! Limits as an engine with its threads keeps them: read from memory, in force when it says so, on
//! a file as in memory; and batches that wait for the creation rate with nobody there to wake them.
#![allow(missing_docs)]

mod running;

use stepwell_core::audit::By;
use stepwell_core::engine::Config;
use stepwell_core::error::Kind;
use stepwell_core::note::{Data, Note};
use stepwell_core::runtime::Engine;
use stepwell_core::settings::Layer;
use stepwell_core::submission::{Code, Command, IfExists, LimitChange, NewItem, Submission};

use running::settle;

const SECOND: i64 = 1_000_000;

fn config(namespace: &str) -> Config {
    Config {
        workflows: vec![("w".into(), "1".into())],
        shards: Some(4),
        slots: 1_000,
        namespace: namespace.into(),
        limits: Layer::default(),
        workflow_limits: vec![],
        retentions: vec![],
        formerly: vec![],
    }
}

fn open(path: &str, namespace: &str) -> Engine {
    Engine::open(path, "test", config(namespace), Some(SECOND)).expect("it opens")
}

fn set(engine: &Engine, namespace: &str, changes: &[(&str, Option<f64>)]) -> Vec<Note> {
    let changes = changes.iter().map(|(name, it)| ((*name).into(), *it));
    let what = LimitChange {
        namespace: namespace.into(),
        workflow: None,
        changes: changes.collect(),
        by: By::default(),
    };
    let submission = Submission::Outside(Command::SetLimits(engine.draw_ticket(), Box::new(what)));
    engine.submit(submission).expect("there is room");
    settle(engine)
}

fn batch(engine: &Engine, count: u32) -> Vec<Note> {
    let code = Code {
        namespace: "default".into(),
        workflow: "w".into(),
        version: "1".into(),
    };
    let items = (0..count).map(|_| NewItem::default()).collect();
    let what = Box::new((code, items));
    let submission = Submission::Outside(Command::CreateBatch(
        engine.draw_ticket(),
        what,
        IfExists::Raise,
        true,
    ));
    engine.submit(submission).expect("there is room");
    settle(engine)
}

fn limit(engine: &Engine, namespace: &str, name: &str) -> Option<f64> {
    let limits = engine.limits(namespace, Some("w"));
    let found = limits.iter().find(|it| it.0 == name);
    found.expect("it is in the table").1
}

fn created(notes: &[Note]) -> usize {
    let items = notes.iter().filter_map(|note| match note {
        Note::Reply {
            data: Data::Items(items),
            ..
        } => Some(items.len()),
        _ => None,
    });
    items.sum()
}

#[test]
fn limits_are_read_from_memory_and_are_those_of_the_file_when_it_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let path = path.to_str().expect("it is text");
    let engine = open(path, "default");
    assert_eq!(limit(&engine, "default", "concurrency"), Some(50_000.0));
    assert_eq!(limit(&engine, "default", "create_rate"), None);
    for (namespace, value) in [("default", 5.0), ("acme", 7.0)] {
        let [Note::Reply { code: "", .. }] = set(&engine, namespace, &[("steps", Some(value))])[..]
        else {
            panic!("it was set");
        };
        assert_eq!(limit(&engine, namespace, "steps"), Some(value));
    }
    // As a killed process would.
    engine.crash();
    drop(engine);
    let engine = open(path, "another");
    assert_eq!(limit(&engine, "default", "steps"), Some(5.0));
    assert_eq!(limit(&engine, "acme", "steps"), Some(7.0));
    assert_eq!(limit(&engine, "another", "steps"), Some(100_000.0));
    engine.close().expect("it closes");
}

#[test]
fn c10_a_batch_that_waits_for_the_rate_is_let_in_when_its_moment_comes() {
    let engine = open(":memory:", "default");
    set(
        &engine,
        "default",
        &[("create_rate", Some(100.0)), ("create_burst", Some(50.0))],
    );
    assert_eq!(created(&batch(&engine, 50)), 50);
    assert_eq!(created(&batch(&engine, 30)), 0);
    assert_eq!(
        created(&batch(&engine, 200)),
        0,
        "more than the burst: it waits too"
    );
    assert_eq!(engine.next_timer(), Some(SECOND + 300_000));
    engine.advance(SECOND + 299_999);
    assert_eq!(created(&settle(&engine)), 0);
    engine.advance(SECOND + 300_000);
    assert_eq!(created(&settle(&engine)), 30);
    engine.advance(SECOND + 2_300_000);
    assert_eq!(created(&settle(&engine)), 200);
    assert_eq!(engine.next_timer(), None);
    engine.close().expect("it closes");
}

#[test]
fn a_namespace_whose_name_makes_no_sense_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    for name in ["", "a b", "-a", "a/b"] {
        let path = path.to_str().expect("it is text");
        let refused = Engine::open(path, "test", config(name), None).expect_err("no name");
        assert_eq!(refused.kind, Kind::Invalid);
        assert!(refused.message.contains(&format!("{name:?}")), "{refused}");
    }
    assert!(!path.exists());
}
