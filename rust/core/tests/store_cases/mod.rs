//! What the store tests share: instances, records, and places where a store lives.
#![allow(dead_code, unused_macros, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};

use stepwell_core::history::{Kind, Operation, Record, Verdict};
use stepwell_core::ids::{InstanceNo, Micros};
use stepwell_core::lifecycle::Status;
use stepwell_core::ranges::Domain;
use stepwell_core::store::memory::MemoryStore;
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::{NewInstance, Op, Outcome, Recovery, Row, Store, Transition};
use stepwell_core::wait::{Event, Source, Wait};

/// Runs each of these functions over every kind of store.
macro_rules! suite {
    ($($name:ident),+ $(,)?) => {
        mod memory { $(#[test] fn $name() { super::$name(&mut super::InMemory::default()); })+ }
        mod sqlite { $(#[test] fn $name() { super::$name(&mut super::OnDisk::default()); })+ }
    };
}

/// A kind of store under test.
pub trait Place {
    /// Opens the store, which is closed or was never opened.
    fn open(&mut self) -> Box<dyn Store>;
    /// Opens the store as a new process would after this one was killed.
    fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store>;
}

#[derive(Default)]
pub struct InMemory(MemoryStore);

impl Place for InMemory {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(self.0.reopen())
    }

    fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        drop(store);
        self.open()
    }
}

pub struct OnDisk {
    folder: tempfile::TempDir,
    crashes: u32,
}

impl Default for OnDisk {
    fn default() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            crashes: 0,
        }
    }
}

impl OnDisk {
    pub fn path(&self) -> PathBuf {
        self.folder
            .path()
            .join(self.crashes.to_string())
            .join("audit.db")
    }
}

impl Place for OnDisk {
    fn open(&mut self) -> Box<dyn Store> {
        let path = self.path();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        Box::new(SqliteStore::open(&path, "test").unwrap())
    }

    /// Copies the files while the store has them open: what a kill would leave.
    fn crash(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        let before = self.path();
        self.crashes += 1;
        let after = self.path();
        std::fs::create_dir_all(after.parent().unwrap()).unwrap();
        for suffix in ["", "-wal"] {
            std::fs::copy(beside(&before, suffix), beside(&after, suffix)).unwrap();
        }
        drop(store);
        self.open()
    }
}

pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub fn new(no: InstanceNo, id: &str) -> NewInstance {
    NewInstance {
        no,
        incarnation: 1,
        namespace: "default".into(),
        workflow: "orders".into(),
        version: "1".into(),
        id: id.into(),
        params: Some([1, 2, 3].into()),
        attributes: None,
        priority: -3,
        created_at: 1_000 + no as Micros,
        start_at: None,
        status: Status::Queued,
        parent: None,
        called: false,
        format: 3,
        seed: None,
        keep: None,
        schedule: None,
    }
}

pub fn create(no: InstanceNo, id: &str) -> Op {
    Op::Create(Box::new(new(no, id)))
}

pub fn operation(name: &str) -> Operation {
    Operation {
        kind: Kind::Do,
        branch: "a/1".into(),
        name: name.into(),
        key: Some("k".into()),
        count: 1,
    }
}

pub fn record(name: &str) -> Record {
    Record {
        operation: operation(name),
        attempt: 2,
        verdict: Verdict::AttemptFailed,
        started_at: 5,
        at: 6,
        begun: Some(4),
        erases: Some(1),
        moment: Some(7),
        event: Some(8),
        event_type: Some("paid".into()),
        payload: Some(name.as_bytes().into()),
    }
}

pub fn wait(id: u64, source: Source) -> Wait {
    Wait {
        begun: None,
        id,
        operation: operation("w"),
        source,
        opened_at: 3,
        until: Some(4),
    }
}

pub fn event(id: u64) -> Event {
    Event {
        id,
        kind: "paid".into(),
        payload: Some([9].into()),
        at: 11,
    }
}

pub fn to(status: Status, at: Micros) -> Transition {
    Transition {
        status,
        marked: status == Status::Running,
        recoveries: 0,
        reason: None,
        step: None,
        payload: None,
        undo: None,
        at,
    }
}

pub fn change(no: InstanceNo, to: Transition) -> Op {
    Op::Status(no, 1, to)
}

pub fn commit_one(store: &mut dyn Store, op: Op) -> Outcome {
    let outcomes = store.commit(&[op]).unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

/// Everything [`Store::recover`] hands over.
#[derive(Debug, Default, PartialEq)]
pub struct Recovered {
    pub instances: Vec<Row>,
    pub waits: Vec<(InstanceNo, Wait)>,
    pub events: Vec<(InstanceNo, Event)>,
    pub damaged: Vec<(InstanceNo, String)>,
    /// What rows of instances cannot be read.
    pub unreadable: Vec<String>,
}

impl Recovery for Recovered {
    fn instance(&mut self, row: Row) {
        assert!(self.waits.is_empty() && self.events.is_empty());
        self.instances.push(row);
    }

    fn wait(&mut self, no: InstanceNo, wait: Wait) {
        assert!(self.events.is_empty());
        self.waits.push((no, wait));
    }

    fn event(&mut self, no: InstanceNo, event: Event) {
        self.events.push((no, event));
    }

    fn damaged(&mut self, no: InstanceNo, what: &str) {
        self.damaged.push((no, what.into()));
    }

    fn unreadable(&mut self, what: String, _: Option<Row>) {
        self.unreadable.push(what);
    }
}

pub fn recovered(store: &mut dyn Store) -> Recovered {
    let mut all = Recovered::default();
    store.recover(&Domain::Whole, &mut all).unwrap();
    assert_eq!(all.unreadable, [""; 0]);
    all
}
