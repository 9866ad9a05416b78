//! Every decoder of the store against damaged input: no panic, no other error than "damaged",
//! what is read is what would be written, and what a checksum covers is never read changed.
//!
//! A row of columns is fuzzed as bytes (a tag and a value each), so that an input can be printed
//! and replayed; what is left out reads as NULL. SQLite itself hands the columns over.

use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{params_from_iter, Connection, ToSql};

#[path = "../../../tests/damage/mod.rs"]
mod damage;

use super::files::{mounted_as, Paths};
use super::lock::OpenedBy;
use super::names::Names;
use super::rows::{self, Fault};
use super::schema;
use super::sums;
use crate::history::{Kind, Operation, Record, Verdict};
use crate::lifecycle::Status;
use crate::store::Error;
use crate::undo::Undo;
use crate::wait::{Approval, ApprovalStatus, Event, Source, Wait};
use damage::fuzz;

const INPUTS: u64 = 20_000;

#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Int(it) => ToSqlOutput::Owned(Value::Integer(*it)),
            Self::Real(it) => ToSqlOutput::Owned(Value::Real(*it)),
            Self::Text(it) => ToSqlOutput::Borrowed(ValueRef::Text(it)),
            Self::Blob(it) => ToSqlOutput::Borrowed(ValueRef::Blob(it)),
        })
    }
}

fn int(it: impl TryInto<i64>) -> Cell {
    it.try_into().map_or(Cell::Null, Cell::Int)
}

/// An unsigned number keeps its bits.
fn bits(it: u64) -> Cell {
    Cell::Int(it as i64)
}

fn text(it: &str) -> Cell {
    Cell::Text(it.into())
}

fn or_null<T>(it: Option<T>, cell: impl Fn(T) -> Cell) -> Cell {
    it.map_or(Cell::Null, cell)
}

fn blob(it: Option<&[u8]>) -> Cell {
    or_null(it, |it| Cell::Blob(it.into()))
}

fn write(cells: &[Cell]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for cell in cells {
        let (tag, value): (u8, Vec<u8>) = match cell {
            Cell::Null => (0, Vec::new()),
            Cell::Int(it) => (1, it.to_le_bytes().into()),
            Cell::Real(it) => (2, it.to_le_bytes().into()),
            Cell::Text(it) => (3, it.clone()),
            Cell::Blob(it) => (4, it.clone()),
        };
        bytes.push(tag);
        if tag > 2 {
            bytes.push(value.len() as u8);
        }
        bytes.extend(value);
    }
    bytes
}

/// Reads whatever it is given.
fn read(mut bytes: &[u8], width: usize) -> Vec<Cell> {
    let mut take = |most: usize| {
        let (head, rest) = bytes.split_at(most.min(bytes.len()));
        bytes = rest;
        head
    };
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        word
    };
    let mut cells = Vec::new();
    for _ in 0..width {
        let tag = take(1).first().map_or(0, |it| it % 5);
        cells.push(match tag {
            0 => Cell::Null,
            1 => Cell::Int(i64::from_le_bytes(word(take(8)))),
            2 => Cell::Real(f64::from_le_bytes(word(take(8)))),
            tag => {
                let len = take(1).first().copied().unwrap_or_default();
                let value = take(len.into()).to_vec();
                match tag {
                    3 => Cell::Text(value),
                    _ => Cell::Blob(value),
                }
            }
        });
    }
    cells
}

/// Fuzzes a decoder of rows. `columns` is what would be written for what was read.
fn fuzz_rows<T: std::fmt::Debug>(
    test: &str,
    corpus: &[Vec<Cell>],
    decode: impl Fn(&rusqlite::Row) -> rows::Result<T>,
    columns: impl Fn(&T) -> Vec<Cell>,
    check: impl Fn(&T),
) {
    let width = corpus[0].len();
    let conn = Connection::open_in_memory().unwrap();
    let sql = format!("SELECT {}", vec!["?"; width].join(", "));
    let written: Vec<_> = corpus.iter().map(|it| write(it)).collect();
    fuzz(test, &written, INPUTS, |input| {
        let cells = read(input, width);
        let mut select = conn.prepare_cached(&sql).unwrap();
        let mut found = select.query(params_from_iter(&cells)).unwrap();
        let row = found.next().unwrap().unwrap();
        match decode(row) {
            Ok(it) => {
                // SQLite has no NaN: it reads as NULL.
                let cells: Vec<_> = cells
                    .into_iter()
                    .map(|it| match it {
                        Cell::Real(real) if real.is_nan() => Cell::Null,
                        it => it,
                    })
                    .collect();
                assert_eq!(columns(&it), cells, "{it:?}");
                check(&it);
            }
            Err(Fault::Corrupt(why)) => {
                let untouched = written.iter().any(|it| it == input);
                assert!(!untouched, "a valid row is refused: {why}");
            }
            Err(other) => panic!("not said to be damaged: {other:?}"),
        }
    });
}

fn operation(key: Option<&str>) -> Operation {
    Operation {
        kind: Kind::Do,
        branch: "map/1".into(),
        name: "charge 🦀".into(),
        key: key.map(Into::into),
        count: 3,
    }
}

fn record(verdict: Verdict, payload: Option<&[u8]>) -> Record {
    Record {
        operation: operation(payload.map(|_| "order-1")),
        attempt: 2,
        verdict,
        started_at: 1_700_000_000_000_000,
        at: 1_700_000_000_000_001,
        begun: payload.map(|_| 1 << 40),
        erases: payload.map(|_| 1),
        moment: payload.map(|_| 1_700_000_000_000_002),
        event: payload.map(|_| u64::MAX),
        event_type: payload.map(|_| "paid".into()),
        payload: payload.map(Into::into),
    }
}

const NO: u64 = 7;
const SEQ: u64 = 1_000;

fn journal_row(record: &Record, prev: u64) -> Vec<Cell> {
    let operation = &record.operation;
    vec![
        bits(SEQ),
        bits(NO),
        bits(prev),
        int(record.verdict as u8),
        int(record.attempt),
        int(operation.kind as u8),
        int(operation.count),
        int(record.started_at),
        int(record.at),
        or_null(record.moment, int),
        or_null(record.event, bits),
        or_null(record.event_type.as_deref(), text),
        int(sums::record(NO, SEQ, prev, record)),
        text(&operation.branch),
        text(&operation.name),
        or_null(operation.key.as_deref(), text),
        blob(record.payload.as_deref()),
        or_null(record.begun, bits),
        or_null(record.erases, int),
    ]
}

#[test]
fn records() {
    let corpus = [
        record(Verdict::Done, Some(&[0xa1, 0x61, 0x61, 1])),
        record(Verdict::AttemptFailed, Some(&[])),
        record(Verdict::Interrupted, None),
    ];
    let written: Vec<_> = corpus.iter().map(|it| journal_row(it, SEQ - 1)).collect();
    fuzz_rows(
        "--lib store::sqlite::fuzz::records",
        &written,
        |row| {
            // The journal is asked for by this number.
            if rows::uint(row, 0)? != SEQ {
                return Err(Fault::Corrupt("another row".into()));
            }
            rows::stored(row, NO, SEQ)
        },
        |(stored, prev)| journal_row(&stored.record, *prev),
        |(stored, prev)| {
            assert!(*prev < SEQ, "a chain must end");
            assert!(
                corpus.contains(&stored.record),
                "the checksum did not see it"
            );
        },
    );
}

fn instance_row(it: &crate::store::Row) -> Vec<Cell> {
    vec![
        bits(it.no),
        int(1),
        text(&it.id),
        bits(it.incarnation),
        int(it.status as u8),
        int(it.marked),
        int(it.recoveries),
        int(it.priority),
        int(it.created_at),
        int(it.updated_at),
        or_null(it.started_at, int),
        or_null(it.ended_at, int),
        or_null(it.start_at, int),
        or_null(it.parent, bits),
        int(it.called),
        or_null(it.reason.as_deref(), text),
        or_null(it.step.as_deref(), text),
        int(it.format),
        or_null(it.seed, bits),
        or_null(it.paused_at, int),
        int(0),
        int(1),
        or_null(it.schedule.as_deref(), text),
        or_null(it.undo, |it| int(it as u8)),
        or_null(it.born.as_deref(), text),
    ]
}

#[test]
fn instances() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(schema::CREATE).unwrap();
    let mut names = Names::default();
    names.number(&conn, ["default", "orders", "1"]).unwrap();
    let queued = crate::store::Row {
        no: NO,
        incarnation: NO,
        namespace: "default".into(),
        workflow: "orders".into(),
        version: "1".into(),
        id: "order-1".into(),
        status: Status::Queued,
        marked: false,
        recoveries: 0,
        reason: None,
        step: None,
        priority: -100,
        created_at: 1,
        updated_at: 2,
        started_at: None,
        ended_at: None,
        start_at: Some(3),
        parent: None,
        called: false,
        format: 0,
        seed: None,
        paused_at: None,
        schedule: None,
        undo: None,
        born: None,
        damage: None,
    };
    let blocked = crate::store::Row {
        status: Status::Blocked,
        marked: true,
        recoveries: 9,
        reason: Some("nondeterminism".into()),
        step: Some("charge".into()),
        started_at: Some(4),
        ended_at: Some(5),
        parent: Some(6),
        called: true,
        format: u32::MAX,
        seed: Some(NO),
        paused_at: Some(7),
        schedule: Some("nightly".into()),
        undo: Some(Undo::Failed),
        ..queued.clone()
    };
    fuzz_rows(
        "--lib store::sqlite::fuzz::instances",
        &[instance_row(&queued), instance_row(&blocked)],
        |row| {
            // The head is the writer's own.
            if rows::uint(row, 20)? != 0 {
                return Err(Fault::Corrupt("another head".into()));
            }
            rows::instance(row, &names)
        },
        instance_row,
        |it| assert!(it.no < 1 << 56, "the registry has no room for {}", it.no),
    );
}

fn wait_row((no, it): &(u64, Wait)) -> Vec<Cell> {
    let (source, subject) = match &it.source {
        Source::Timer => (0, Cell::Null),
        Source::Instant => (5, Cell::Null),
        Source::Retry(error) => (1, or_null(error.as_deref(), text)),
        Source::Event(types) => (2, text(&rows::join_types(types))),
        Source::Approval(id) => (3, text(id)),
        Source::Child(no) => (4, bits(*no)),
    };
    vec![
        bits(*no),
        bits(it.id),
        int(it.operation.kind as u8),
        int(it.operation.count),
        int(source),
        int(it.opened_at),
        or_null(it.until, int),
        subject,
        text(&it.operation.branch),
        text(&it.operation.name),
        or_null(it.operation.key.as_deref(), text),
        or_null(it.begun, bits),
    ]
}

#[test]
fn waits() {
    let sources = [
        Source::Timer,
        Source::Instant,
        Source::Retry(None),
        Source::Retry(Some("ValueError".into())),
        Source::Event(vec!["order".into(), "".into(), "5:paid".into()]),
        Source::Approval("orders/1#refund#1".into()),
        Source::Child(u64::MAX),
    ];
    let corpus = sources.map(|source| {
        let wait = Wait {
            begun: None,
            id: 9,
            operation: operation(None),
            until: (source != Source::Child(u64::MAX)).then_some(1),
            source,
            opened_at: -1,
        };
        wait_row(&(NO, wait))
    });
    let test = "--lib store::sqlite::fuzz::waits";
    fuzz_rows(test, &corpus, rows::wait, wait_row, |_| {});
}

fn event_row((no, it): &(u64, Event)) -> Vec<Cell> {
    let crc = sums::event(*no, it);
    vec![
        bits(*no),
        bits(it.id),
        int(it.at),
        int(crc),
        text(&it.kind),
        blob(it.payload.as_deref()),
    ]
}

#[test]
fn events() {
    let event = |payload: Option<&[u8]>| Event {
        id: 5,
        kind: "paid".into(),
        payload: payload.map(Into::into),
        at: 1_700_000_000_000_000,
    };
    let corpus = [None, Some(&[][..]), Some(&[0x83, 1, 2, 3][..])].map(|it| (NO, event(it)));
    fuzz_rows(
        "--lib store::sqlite::fuzz::events",
        &corpus.each_ref().map(event_row),
        rows::event,
        event_row,
        |it| assert!(corpus.contains(it), "the checksum did not see it"),
    );
}

fn approval_row(it: &Approval) -> Vec<Cell> {
    vec![
        text(&it.id),
        bits(it.no),
        text(&it.name),
        int(it.status as u8),
        or_null(it.asked_at, int),
        or_null(it.until, int),
        or_null(it.decided_at, int),
        int(sums::approval(it)),
        blob(it.detail.as_deref()),
        blob(it.decision.as_deref()),
        or_null((it.incarnation != 0).then_some(it.incarnation), bits),
    ]
}

#[test]
fn approvals() {
    let open = Approval {
        id: "orders/1#refund#1".into(),
        no: NO,
        name: "refund".into(),
        detail: Some([0xa0].into()),
        asked_at: Some(1),
        until: Some(2),
        status: ApprovalStatus::Open,
        decision: None,
        decided_at: None,
        incarnation: 0,
    };
    let early = Approval {
        detail: None,
        asked_at: None,
        until: None,
        status: ApprovalStatus::Rejected,
        decision: Some([0xa1, 0x61, 0x62, 0xf6].into()),
        decided_at: Some(3),
        incarnation: u64::MAX,
        ..open.clone()
    };
    let known = [open.clone(), early.clone()];
    fuzz_rows(
        "--lib store::sqlite::fuzz::approvals",
        &[approval_row(&open), approval_row(&early)],
        |row| rows::approval(row, 0),
        approval_row,
        |it| assert!(known.contains(it), "the checksum did not see it"),
    );
}

#[test]
fn event_types() {
    let joined = |types: &[&str]| {
        let types: Vec<Box<str>> = types.iter().map(|it| (*it).into()).collect();
        let joined = rows::join_types(&types);
        assert_eq!(rows::split_types(&joined), Some(types));
        joined.into_bytes()
    };
    let corpus = [
        joined(&[]),
        joined(&["paid"]),
        joined(&["", "1:a", "🦀", "order.paid"]),
        joined(&[&"x".repeat(100), "b"]),
    ];
    fuzz(
        "--lib store::sqlite::fuzz::event_types",
        &corpus,
        INPUTS,
        |input| {
            let text = String::from_utf8_lossy(input);
            if let Some(types) = rows::split_types(&text) {
                assert_eq!(rows::join_types(&types), text, "it has two spellings");
            }
        },
    );
}

#[test]
fn lock_files() {
    let corpus = [
        b"stepwell engine\npid 4711\nsince 1700000000000000\nname audit\n".to_vec(),
        "stepwell engine\npid 1\nsince 0\nname \u{e9}t\u{e9} 🦀\n".into(),
        b"".to_vec(),
    ];
    fuzz(
        "--lib store::sqlite::fuzz::lock_files",
        &corpus,
        INPUTS,
        |input| {
            // As `opened_by` reads it.
            let text = String::from_utf8_lossy(input);
            if let Some(by) = OpenedBy::parse(&text) {
                assert!(text.starts_with("stepwell engine\n"), "{by:?}");
                let shown = |it: char| !it.is_control();
                assert!(by.name.chars().all(shown), "it goes into a message: {by:?}");
            }
        },
    );
}

#[test]
fn file_headers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let paths = Paths::resolve(&path).unwrap();
    paths.create().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let len = whole.len() as u64;
    let corpus = [whole[..100].to_vec(), whole[..40].to_vec(), Vec::new()];
    let valid = &whole[..100];
    fuzz(
        "--lib store::sqlite::fuzz::file_headers",
        &corpus,
        INPUTS,
        |input| {
            let header = &input[..input.len().min(100)];
            let mut accepted = None;
            for has_wal in [false, true] {
                match paths.judge(header, len, has_wal) {
                    Ok(version) => {
                        assert!((1..=schema::VERSION).contains(&version), "{version}");
                        assert_eq!(header[..16], valid[..16], "not SQLite's");
                        assert_eq!(header[68..72], valid[68..72], "not ours");
                        accepted = Some(has_wal);
                    }
                    Err(Error::Failed(text) | Error::Version(text) | Error::Corrupt(text)) => {
                        assert!(header != valid, "{text}");
                        assert!(text.starts_with("audit.db "), "{text}");
                        // A short file may be made whole by its WAL, never the other way round.
                        assert!(accepted.is_none());
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        },
    );
}

#[test]
#[cfg(target_os = "linux")]
fn mount_tables() {
    let corpus = [
        b"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /home/me/far rw shared:1 - fuse.sshfs host: rw\n".to_vec(),
        b"36 35 98:0 /mnt1 /home/me rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n".to_vec(),
        Vec::new(),
    ];
    fuzz(
        "--lib store::sqlite::fuzz::mount_tables",
        &corpus,
        INPUTS,
        |input| {
            let mounts = String::from_utf8_lossy(input);
            if let Some(kind) = mounted_as(&mounts, Path::new("/home/me/far/x")) {
                assert!(
                    !kind.contains([' ', '\n']) && mounts.contains(kind),
                    "{kind:?}"
                );
            }
        },
    );
}
