//! A whole store with damage in it: it is read and written, then an engine is opened on it.
//!
//! Two sorts of damage: values in rows, put there with SQL as a bug or a user's tool would, which
//! leave the file sound; and bytes of the file, which do not. Nothing may panic, hang, or blame
//! anything but the file; what cannot be read is called damaged. What an input means is told by
//! `damage_rows` and `damage_bytes`.
#![allow(missing_docs)]

mod damage;
mod store_cases;

use std::path::Path;
use std::time::{Duration, Instant};

use damage::{fuzz, Dice};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{params, Connection};
use stepwell_core::engine::Config;
use stepwell_core::lifecycle::Status;
use stepwell_core::note::Note;
use stepwell_core::ranges::Domain;
use stepwell_core::runtime::{Engine, Question};
use stepwell_core::settings::{Layer, Limit};
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::{Error, Filter, Op, Store};
use stepwell_core::submission::Name;
use stepwell_core::wait::{Approval, ApprovalStatus, Source};
use store_cases::{beside, change, create, event, record, to, wait, Recovered};

const INSTANCES: u64 = 12;
const INPUTS: u64 = 40;
/// Changes of one input at most.
const CHANGES: usize = 3;

/// Instances in all states with everything a row can say, as a killed process leaves them.
fn a_store(folder: &Path) -> Vec<u8> {
    let path = folder.join("whole.db");
    let mut store = Box::new(SqliteStore::open(&path, "test").unwrap());
    let mut ops = vec![Op::Meta("sequence".into(), 1_000u64.to_le_bytes().into())];
    for no in 1..=INSTANCES {
        ops.push(create(no, &format!("order-{no}")));
        ops.push(change(no, to(Status::Running, 2_000)));
        ops.push(Op::Append(no, 1, record("charge")));
        ops.push(Op::Append(no, 1, record("mail")));
        ops.push(Op::Progress(no, [0x18, 50].into()));
        ops.push(Op::Buffer(no, event(20 + no), Some("once".into())));
        let approval = format!("orders/order-{no}#refund#1");
        let source = match no % 5 {
            0 => Source::Timer,
            1 => Source::Retry(None),
            2 => Source::Event(vec!["order".into(), "cancelled".into()]),
            3 => Source::Approval(approval.as_str().into()),
            _ => Source::Child(no - 1),
        };
        ops.push(Op::Open(no, 1, wait(40 + no, source)));
        ops.push(Op::Approval(Box::new(Approval {
            id: approval.into(),
            no,
            name: "refund".into(),
            detail: Some([0xa0].into()),
            asked_at: Some(1),
            until: Some(9_000),
            status: ApprovalStatus::Open,
            decision: None,
            decided_at: None,
            incarnation: 0,
        })));
        let status = Status::from_code((no % 9) as u8).unwrap();
        if status != Status::Running {
            let mut end = to(status, 3_000);
            end.payload = Some([0xa1, 0x61, 0x61, 1].into());
            end.reason = (status == Status::Blocked).then(|| "nondeterminism".into());
            ops.push(change(no, end));
        }
    }
    let _ = store.commit(&ops).unwrap();
    store.close().unwrap();
    std::fs::read(path).unwrap()
}

/// Reads an input piece by piece; what is missing reads as 0.
struct Pieces<'a>(&'a [u8]);

impl Pieces<'_> {
    fn bytes(&mut self, most: usize) -> &[u8] {
        let (head, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn number(&mut self, width: usize) -> i64 {
        let mut word = [0; 8];
        let bytes = self.bytes(width);
        word[..bytes.len()].copy_from_slice(bytes);
        i64::from_le_bytes(word)
    }
}

/// Table, row, column, kind of value, value; up to `CHANGES` of them.
fn damage_rows(path: &Path, input: &[u8]) {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "synchronous", "off").unwrap();
    let one_column = |sql: &str| -> Vec<String> {
        let mut select = conn.prepare(sql).unwrap();
        let found = select.query_map([], |row| row.get(0)).unwrap();
        found.map(Result::unwrap).collect()
    };
    let tables = one_column("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    let mut pieces = Pieces(input);
    for _ in 0..CHANGES {
        if pieces.0.is_empty() {
            break;
        }
        let table = &tables[pieces.number(1) as usize % tables.len()];
        let row = pieces.number(1);
        let columns = one_column(&format!(
            "SELECT name FROM pragma_table_info('{table}') ORDER BY cid"
        ));
        let column = &columns[pieces.number(1) as usize % columns.len()];
        let kind = pieces.number(1);
        let long;
        let value = match kind % 6 {
            0 => ToSqlOutput::Owned(Value::Null),
            1 | 2 => ToSqlOutput::Owned(Value::Integer(pieces.number(8))),
            3 => ToSqlOutput::Owned(Value::Real(f64::from(pieces.number(8) as i32))),
            // At times long: names have limits.
            kind => {
                let times = 1 + 100 * (pieces.number(1) as usize % 4);
                let len = pieces.number(1) as usize;
                long = pieces.bytes(len).repeat(times);
                ToSqlOutput::Borrowed(if kind % 6 == 4 {
                    ValueRef::Text(&long)
                } else {
                    ValueRef::Blob(&long)
                })
            }
        };
        // A constraint may forbid it; then nothing is damaged.
        let _ = conn.execute(
            &format!(
                "UPDATE {table} SET {column} = ?1 WHERE ({column}) IN
                 (SELECT {column} FROM {table} LIMIT 1 OFFSET ?2 % (SELECT max(count(*), 1) FROM {table}))"
            ),
            params![value, row],
        );
    }
    conn.close().unwrap();
}

/// Where, how many bytes, the bytes; up to `CHANGES` of them. The header is another target's.
fn damage_bytes(path: &Path, input: &[u8]) {
    let mut file = std::fs::read(path).unwrap();
    let mut pieces = Pieces(input);
    for _ in 0..CHANGES {
        let at = 100 + pieces.number(3) as usize % (file.len() - 100);
        let len = pieces.number(1) as usize % 16;
        let bytes = pieces.bytes(len);
        let end = file.len().min(at + bytes.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
    }
    std::fs::write(path, file).unwrap();
}

/// Whether it is said that the file is damaged. A number that is taken may be a defect of the core
/// just as well, and is reported as a write that failed.
fn blames_the_file(text: &str) -> bool {
    text.contains("damaged") || text.contains("UNIQUE constraint failed")
}

/// Whatever is answered must be one of the things the store says.
#[track_caller]
fn allowed<T>(answer: Result<T, Error>) -> Option<T> {
    match answer {
        Ok(it) => Some(it),
        Err(error) => {
            let text = error.to_string();
            assert!(blames_the_file(&text), "{error:?}");
            assert!(text.contains("audit.db"), "{text}");
            None
        }
    }
}

/// Reads everything there is, and writes a little.
fn use_store(path: &Path) {
    let Some(store) = allowed(SqliteStore::open(path, "test")) else {
        return;
    };
    let mut store = Box::new(store);
    allowed(store.recover(&Domain::Whole, &mut Recovered::default()));
    allowed(store.meta("sequence"));
    if let Some(mut reader) = allowed(store.reader()) {
        for no in 0..=INSTANCES {
            allowed(reader.instance(no));
            allowed(reader.payloads(no));
            allowed(reader.waits(no));
            allowed(reader.history(no));
            allowed(store.result(no));
            allowed(reader.find("default", "orders", &format!("order-{no}")));
            allowed(store.approval(&format!("orders/order-{no}#refund#1")));
        }
        allowed(reader.approvals(None, None, None));
        allowed(store.ended());
        let filter = Filter {
            limit: 100,
            ..Filter::default()
        };
        allowed(reader.list(&filter));
    }
    let ops = [
        create(500, "order-500"),
        create(501, "order-1"),
        Op::Append(2, 1, record("again")),
        Op::Buffer(3, event(99), Some("once".into())),
        change(4, to(Status::Running, 4_000)),
    ];
    if allowed(store.commit(&ops)).is_some() {
        allowed(store.maintain());
        allowed(store.close());
    }
}

/// Opens an engine, asks it, lets its timers come due and closes it.
fn use_engine(path: &Path) {
    let config = Config {
        workflows: vec![("orders".into(), "1".into())],
        shards: Some(4),
        slots: 4,
        namespace: "default".into(),
        limits: Layer::default()
            .with(Limit::Concurrency, 4)
            .with(Limit::QueueEntries, 100)
            .with(Limit::Recoveries, 10),
        workflow_limits: vec![],
        retentions: vec![],
        formerly: vec![],
    };
    let engine = match Engine::open(path.to_str().unwrap(), "test", config, Some(5_000)) {
        Ok(engine) => engine,
        Err(error) => {
            assert!(blames_the_file(&error.message), "{error:?}");
            return;
        }
    };
    let settle = || {
        let began = Instant::now();
        while engine.is_busy() {
            assert!(began.elapsed() < Duration::from_secs(20), "it hangs");
            for note in engine.poll() {
                if let Note::Failed { kind, message } = note {
                    assert!(kind == "corrupt" || kind == "failed", "{kind}: {message}");
                    assert!(blames_the_file(&message), "{kind}: {message}");
                }
            }
            std::thread::yield_now();
        }
    };
    settle();
    for no in 0..=INSTANCES {
        let name = Name {
            namespace: "default".into(),
            workflow: "orders".into(),
            id: format!("order-{no}").into(),
        };
        let _ = engine.ask(Question::Find(name, true));
        let _ = engine.ask(Question::History(no));
    }
    settle();
    engine.advance(20_000);
    settle();
    if let Err(error) = engine.close() {
        assert!(blames_the_file(&error.message), "{error:?}");
    }
    settle();
}

fn run(test: &str, corpus: &[Vec<u8>], damage: fn(&Path, &[u8])) {
    let folder = tempfile::tempdir().unwrap();
    let whole = a_store(folder.path());
    let path = folder.path().join("audit.db");
    fuzz(test, corpus, INPUTS, |input| {
        for use_it in [use_store, use_engine] {
            for suffix in ["-wal", "-shm", ".lock"] {
                let _ = std::fs::remove_file(beside(&path, suffix));
            }
            std::fs::write(&path, &whole).unwrap();
            damage(&path, input);
            use_it(&path);
        }
    });
}

#[test]
fn damaged_rows() {
    let mut dice = Dice::new(0, "rows");
    let mut corpus = vec![Vec::new()];
    for _ in 0..40 {
        let mut input: Vec<u8> = (0..3).map(|_| dice.word() as u8).collect();
        input.push(1);
        input.extend(dice.edge().to_le_bytes());
        corpus.push(input);
    }
    corpus.push(b"\x05\x03\x02\x04\x01\x09some text".to_vec());
    run("--test fuzz_store damaged_rows", &corpus, damage_rows);
}

#[test]
fn damaged_bytes() {
    let mut dice = Dice::new(0, "bytes");
    let corpus: Vec<Vec<u8>> = (0..20)
        .map(|_| (0..16).map(|_| dice.word() as u8).collect())
        .collect();
    run("--test fuzz_store damaged_bytes", &corpus, damage_bytes);
}
