//! Copies of a running store, and kills in the middle of what takes long: copying, giving pages
//! back.
#![allow(missing_docs)]

mod store_cases;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use stepwell_core::lifecycle::Status;
use stepwell_core::store::memory::MemoryStore;
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::{Error, Op, Store};
use store_cases::{beside, change, commit_one, create, event, record, recovered, to};

fn a_store(path: &Path, instances: u64) -> SqliteStore {
    let mut store = SqliteStore::open(path, "test").unwrap();
    for first in (1..=instances).step_by(500) {
        let numbers = first..(first + 500).min(instances + 1);
        let mut batch: Vec<Op> = numbers
            .clone()
            .map(|no| create(no, &no.to_string()))
            .collect();
        batch.extend(numbers.clone().map(|no| change(no, to(Status::Running, 5))));
        batch.extend(numbers.map(|no| Op::Append(no, 1, record("a step"))));
        let _ = store.commit(&batch).unwrap();
    }
    store
}

#[test]
fn a_copy_is_the_store_at_one_moment_and_opens_as_a_store_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (
        folder.path().join("audit.db"),
        folder.path().join("backup.db"),
    );
    let mut store = a_store(&path, 30_000);
    let copier = store.copier().unwrap();
    // A commit between any two steps of the copy: it begins before them, and does not begin anew.
    let asked = AtomicUsize::new(0);
    let (sender, writes) = std::sync::mpsc::channel();
    let (done, wrote) = std::sync::mpsc::channel();
    let made = std::thread::scope(|scope| {
        let (copier, to, asked) = (&copier, &to, &asked);
        let copying = scope.spawn(move || {
            let go_on = || {
                if asked.fetch_add(1, Ordering::Relaxed) > 0 {
                    sender.send(()).unwrap();
                    wrote.recv().unwrap();
                }
                true
            };
            let made = copier.copy(to, &go_on);
            drop(sender);
            made
        });
        let mut later = 0;
        while writes.recv().is_ok() {
            later += 1;
            let _ = commit_one(&mut store, Op::Append(7, 1, record("later")));
            let _ = commit_one(&mut store, create(100_000 + later, &format!("late{later}")));
            store.maintain().unwrap();
            done.send(()).unwrap();
            assert!(later < 1_000, "it begins anew with every commit");
        }
        assert!(later >= 1, "nothing was written meanwhile");
        copying.join().unwrap()
    });
    made.unwrap();
    assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!beside(&to, ".unfinished").exists());
    let mut copy = SqliteStore::open(&to, "test").unwrap();
    assert_eq!(recovered(&mut copy).instances.len(), 30_000);
    let mut reader = copy.reader().unwrap();
    for no in [1, 7, 15_000, 30_000] {
        assert_eq!(reader.history(no).unwrap().len(), 1, "{no}");
    }
    let _ = commit_one(&mut copy, Op::Append(7, 1, record("its own")));
    assert_eq!(reader.history(7).unwrap().len(), 2);
    drop(reader);
    Box::new(copy).close().unwrap();
    assert!(recovered(&mut store).instances.len() > 30_000);
}

#[test]
fn what_is_at_the_path_stays_and_nothing_is_left_of_a_copy_that_was_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = a_store(&path, 10);
    let copier = store.copier().unwrap();
    let notes = folder.path().join("notes");
    fs::write(&notes, "mine").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for taken in [&*notes, &*path, &*link, folder.path()] {
        let error = copier.copy(taken, &|| true).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    let missing = folder.path().join("none").join("b.db");
    assert!(matches!(
        copier.copy(&missing, &|| true),
        Err(Error::Invalid(_))
    ));
    assert_eq!(fs::read(&notes).unwrap(), b"mine");
    let to = folder.path().join("b.db");
    assert!(matches!(copier.copy(&to, &|| false), Err(Error::Failed(_))));
    fs::write(beside(&to, ".unfinished"), "mine").unwrap();
    let error = copier.copy(&to, &|| true).unwrap_err();
    assert!(
        matches!(&error, Error::Invalid(it) if it.contains("b.db.unfinished")),
        "{error}"
    );
    assert_eq!(fs::read(beside(&to, ".unfinished")).unwrap(), b"mine");
    fs::remove_file(beside(&to, ".unfinished")).unwrap();
    assert!(!to.exists());
    // While one is being made, a second one to the same path is refused.
    let second = std::sync::Mutex::new(None);
    copier
        .copy(&to, &|| {
            let mut second = second.lock().unwrap();
            second.get_or_insert_with(|| copier.copy(&to, &|| true).unwrap_err());
            true
        })
        .unwrap();
    let error = second.into_inner().unwrap().unwrap();
    assert!(error.to_string().contains("another copy"), "{error}");
    assert!(MemoryStore::new().copier().is_none());
}

const CHILD: &str = "STEPWELL_CHILD";

/// Runs one of the tests below as a process of its own, until its first line.
fn child(test: &str, path: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|it| it.contains("begins")));
    (child, lines)
}

/// Moments from a seed that is printed.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        println!("seed {}", now.subsec_nanos());
        Self(u64::from(now.subsec_nanos()) | 1)
    }

    /// Xorshift: a moment within this time.
    fn within(&mut self, micros: u64) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % micros)
    }
}

#[test]
fn child_that_copies() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let path = Path::new(&path);
    let store = a_store(&path.with_file_name("audit.db"), 20_000);
    println!("begins");
    store.copier().unwrap().copy(path, &|| true).unwrap();
    println!("copied");
}

#[test]
fn a_kill_in_the_middle_of_a_copy_leaves_no_half_file_under_its_name() {
    let mut moments = Moments::new();
    let (mut halves, mut wholes) = (0, 0);
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("backup.db");
        let (mut child, mut lines) = child("child_that_copies", &to);
        std::thread::sleep(moments.within(40_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = lines.any(|it| it.contains("copied"));
        assert!(to.exists() || !acknowledged);
        // The store itself is as after any kill, and copies again to the same path.
        let store = SqliteStore::open(&folder.path().join("audit.db"), "test").unwrap();
        if to.exists() {
            wholes += 1;
        } else {
            halves += u32::from(beside(&to, ".unfinished").exists());
            store.copier().unwrap().copy(&to, &|| true).unwrap();
        }
        assert!(!beside(&to, ".unfinished").exists());
        let mut copy = SqliteStore::open(&to, "test").unwrap();
        assert_eq!(recovered(&mut copy).instances.len(), 20_000);
    }
    println!("{halves} killed in the middle, {wholes} after the end");
}

/// Events come and go, so there are pages to give back; each round is acknowledged by a line.
#[test]
fn child_that_gives_pages_back() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let mut store = SqliteStore::open(Path::new(&path), "test").unwrap();
    let _ = store
        .commit(&[create(1, "a"), change(1, to(Status::Running, 5))])
        .unwrap();
    println!("begins");
    for round in 0_u64.. {
        let mut big = event(0);
        big.payload = Some(vec![3; 20_000].into());
        let keep = (0..400).map(|id| {
            let mut one = big.clone();
            one.id = id;
            Op::Buffer(1, one, None)
        });
        let _ = store.commit(&keep.collect::<Vec<_>>()).unwrap();
        let mut batch: Vec<Op> = (0..400).map(|id| Op::Take(1, id)).collect();
        batch.push(Op::Append(1, 1, record(&round.to_string())));
        let _ = store.commit(&batch).unwrap();
        println!("round {round}");
        for _ in 0..8 {
            store.maintain().unwrap();
        }
    }
}

#[test]
fn a_kill_while_pages_are_given_back_loses_nothing_acknowledged() {
    let mut moments = Moments::new();
    let folder = tempfile::tempdir().unwrap();
    let mut rounds = 0;
    for life in 0..10 {
        let path = folder.path().join(format!("{life}.db"));
        let (mut child, lines) = child("child_that_gives_pages_back", &path);
        std::thread::sleep(moments.within(500_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = lines.filter(|it| it.starts_with("round ")).count();
        rounds += acknowledged;
        let store = SqliteStore::open(&path, "test").unwrap();
        let history = store.reader().unwrap().history(1).unwrap();
        assert!(history.len() == acknowledged || history.len() == acknowledged + 1);
        for (at, stored) in history.iter().enumerate() {
            assert_eq!(*stored.record.operation.name, *at.to_string());
        }
        drop(store);
        let conn = Connection::open(&path).unwrap();
        let verdict: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok");
    }
    println!("{rounds} rounds");
    assert!(rounds > 0);
}
