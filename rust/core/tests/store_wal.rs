//! The WAL of a store that others read and lock: it stays bounded, and locks are waited for.
#![allow(missing_docs)]

mod store_cases;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use rusqlite::Connection;
use stepwell_core::lifecycle::Status;
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::{Error, Filter, Op, Store};
use store_cases::{beside, change, commit_one, create, record, to};

fn wal(path: &Path) -> u64 {
    beside(path, "-wal").metadata().unwrap().len()
}

/// Commits a mebibyte in 16 commits, with the housekeeping a writer does between them.
fn write_a_mebibyte(store: &mut dyn Store) {
    let mut big = record("big");
    big.payload = Some(vec![5; 65_536].into());
    for _ in 0..16 {
        let _ = commit_one(store, Op::Append(1, 1, big.clone()));
        store.maintain().unwrap();
    }
}

fn a_store(path: &Path) -> SqliteStore {
    let mut store = SqliteStore::open(path, "test").unwrap();
    let _ = commit_one(&mut store, create(1, "a"));
    let _ = commit_one(&mut store, change(1, to(Status::Running, 5)));
    store
}

#[test]
fn under_steady_load_the_wal_stays_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = a_store(&path);
    let mut longest = 0;
    let mut took = Vec::new();
    for _ in 0..100 {
        write_a_mebibyte(&mut store);
        longest = longest.max(wal(&path));
        // One commit, with the fold that may come with it.
        let began = std::time::Instant::now();
        let _ = commit_one(&mut store, Op::Append(1, 1, record("one")));
        store.maintain().unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    println!("p50 {:?}, longest {:?}", took[50], took[99]);
    assert!(longest < 8 << 20, "{longest}");
}

#[test]
fn readers_that_overlap_do_not_keep_the_wal_from_being_folded_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = a_store(&path);
    let more: Vec<Op> = (2..=2_000).map(|no| create(no, &no.to_string())).collect();
    let _ = store.commit(&more).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let mut reader = store.reader().unwrap();
            let ended = Arc::clone(&ended);
            std::thread::spawn(move || {
                let filter = Filter {
                    limit: 1_000,
                    ..Filter::default()
                };
                let mut asked = 0;
                while !ended.load(Ordering::Relaxed) {
                    assert_eq!(reader.list(&filter).unwrap().len(), 1_000);
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    let mut longest = 0;
    for _ in 0..150 {
        write_a_mebibyte(&mut store);
        longest = longest.max(wal(&path));
    }
    ended.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
    assert!(longest < 64 << 20, "{longest}");
}

#[test]
fn a_reader_of_another_program_is_not_waited_for_and_when_it_ends_the_wal_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = a_store(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN").unwrap();
    let count = || -> i64 {
        other
            .query_row("SELECT count(*) FROM journal", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(count(), 0);
    for _ in 0..40 {
        write_a_mebibyte(&mut store);
    }
    assert!(wal(&path) > 40 << 20, "it is pinned");
    assert_eq!(count(), 0);
    other.execute_batch("COMMIT").unwrap();
    // A fold that was hindered is tried again after a tenth of a second.
    let began = std::time::Instant::now();
    while wal(&path) > 0 && began.elapsed().as_secs() < 20 {
        store.maintain().unwrap();
        std::thread::yield_now();
    }
    assert_eq!(wal(&path), 0);
    write_a_mebibyte(&mut store);
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.history(1).unwrap().len(), 41 * 16);
}

const HOLDER: &str = "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
sys.stdin.readline()
c.execute('COMMIT')
print('free', flush=True)
sys.stdin.readline()
";

/// Another process that holds the write lock until told; none where there is no Python.
fn holder(path: &Path) -> Option<Child> {
    let child = Command::new("python3")
        .args(["-c", HOLDER])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    child.ok()
}

#[test]
fn a_write_lock_of_another_program_is_waited_for_and_harms_nothing() {
    use std::io::{BufRead, BufReader, Write};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = a_store(&path);
    let Some(mut child) = holder(&path) else {
        println!("skipped: no python3 here");
        return;
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = child.stdin.take().unwrap();
    if lines.next().map(Result::unwrap).as_deref() != Some("locked") {
        println!("skipped: this python3 has no sqlite3");
        return;
    }
    let batch = [create(2, "b")];
    for _ in 0..2 {
        let error = store.commit(&batch).unwrap_err();
        assert!(
            matches!(&error, Error::Busy(it) if it.contains("another program") && it.contains("audit.db")),
            "{error}"
        );
        store.maintain().unwrap();
        assert!(store.find("default", "orders", "b").unwrap().is_none());
    }
    told.write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "free");
    let _ = store.commit(&batch).unwrap();
    assert!(store.find("default", "orders", "b").unwrap().is_some());
    told.write_all(b"\n").unwrap();
    child.wait().unwrap();
}
