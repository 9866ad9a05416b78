//! Running workloads on watched folders, judging what is found in folders, and how many of both.
//!
//! `STEPWELL_IMAGES` says how many images are judged, `STEPWELL_SEED` where the seeds begin; a
//! failure prints both so that it alone is run again, with `STEPWELL_ONLY` as the image's number.

use std::ops::RangeInclusive;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rusqlite::Connection;
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::{Error, Op, Store};

use super::disk::{Disk, Files, Mark};
use super::truth::{Truth, Truths};
use super::workload::{probe, Step};

/// The database's name in every folder.
pub const DATABASE: &str = "audit.db";

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else {
        return default;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
}

/// A folder in memory, where syncs cost nothing; they are ours to judge anyway.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let shared = Path::new("/dev/shm");
        let memory = if shared.is_dir() {
            tempfile::tempdir_in(shared)
        } else {
            tempfile::tempdir()
        };
        Self(memory.expect("a folder can be made"))
    }

    pub fn path(&self) -> PathBuf {
        // As the store sees it, which follows links.
        self.0.path().canonicalize().expect("it is there")
    }

    pub fn database(&self) -> PathBuf {
        self.path().join(DATABASE)
    }

    /// Makes these its only files.
    pub fn fill(&self, files: &Files) {
        for entry in std::fs::read_dir(self.0.path()).expect("it is there") {
            std::fs::remove_file(entry.expect("it is there").path()).expect("it is a file");
        }
        for (name, bytes) in files {
            std::fs::write(self.0.path().join(name), bytes).expect("there is room");
        }
    }

    /// The files whose loss would be one: the database and its WAL.
    pub fn durable(&self) -> Files {
        let names = [DATABASE.to_owned(), format!("{DATABASE}-wal")];
        let read = |name: String| Some((name.clone(), std::fs::read(self.path().join(name)).ok()?));
        names.into_iter().filter_map(read).collect()
    }
}

/// A new store, closed.
pub fn empty_store() -> &'static Files {
    static EMPTY: OnceLock<Files> = OnceLock::new();
    EMPTY.get_or_init(|| {
        let folder = Folder::new();
        let store = SqliteStore::open(&folder.database(), "faults").expect("a new store");
        Box::new(store).close().expect("it closes");
        folder.durable()
    })
}

/// How a workload went.
#[derive(Debug, Default)]
pub struct Run {
    /// Batches handed over.
    pub begun: usize,
    /// Batches whose commit has returned.
    pub acked: usize,
    /// The first error, and what was being done.
    pub error: Option<(&'static str, Error)>,
}

impl Run {
    /// How many batches may be there.
    pub fn allowed(&self) -> RangeInclusive<usize> {
        self.acked..=self.begun
    }
}

/// Runs a workload on a watched folder up to the first error, after which the store must refuse
/// everything.
pub fn run(path: &Path, disk: &Disk, steps: &[Step], truths: &Truths) -> Run {
    let mut run = Run::default();
    let outcomes = truths.outcomes();
    let mut store = None;
    for step in std::iter::once(&Step::Kill).chain(steps) {
        if let Err((doing, error)) = run_step(path, disk, step, &mut store, &outcomes, &mut run) {
            if let Some(store) = store {
                must_be_poisoned(store, doing, &error);
            }
            run.error = Some((doing, error));
            return run;
        }
    }
    run
}

type Failure = (&'static str, Error);

fn run_step(
    path: &Path,
    disk: &Disk,
    step: &Step,
    store: &mut Option<Box<SqliteStore>>,
    outcomes: &[Vec<stepwell_core::store::Outcome>],
    run: &mut Run,
) -> Result<(), Failure> {
    match step {
        Step::Commit(batch) => {
            run.begun += 1;
            disk.mark(Mark::Begun(run.begun));
            let store = store.as_mut().expect("open");
            let answers = store.commit(batch).map_err(|error| ("commit", error))?;
            disk.mark(Mark::Acked(run.begun));
            run.acked = run.begun;
            assert_eq!(answers, outcomes[run.acked - 1], "batch {}", run.acked);
        }
        Step::Maintain => {
            let store = store.as_mut().expect("open");
            store.maintain().map_err(|error| ("maintain", error))?;
        }
        // Errors are that program's.
        Step::Fold(mode) => drop(fold(path, mode)),
        Step::Kill => {
            drop(store.take());
            open(path, disk, store)?;
        }
        Step::Reopen | Step::Close => {
            let open_one = store.take().expect("open");
            open_one.close().map_err(|error| ("close", error))?;
            if matches!(step, Step::Reopen) {
                open(path, disk, store)?;
            }
        }
    }
    Ok(())
}

fn open(path: &Path, disk: &Disk, store: &mut Option<Box<SqliteStore>>) -> Result<(), Failure> {
    let opened = SqliteStore::open(path, "faults").map_err(|error| ("open", error))?;
    disk.mark(Mark::Opened(opened.boot()));
    *store = Some(Box::new(opened));
    Ok(())
}

fn fold(path: &Path, mode: &str) -> rusqlite::Result<()> {
    let conn = Connection::open(path)?;
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}

/// A store whose disk was full may go on with a new connection, and closing it does so; all else is
/// for ever.
fn must_be_poisoned(mut store: Box<SqliteStore>, doing: &str, error: &Error) {
    let batch = [Op::Meta("late".into(), [1].into())];
    assert!(
        store.commit(&batch).is_err(),
        "a commit after {doing} failed"
    );
    assert!(store.maintain().is_err(), "maintain after {doing} failed");
    assert!(store.find("default", "orders", "id-1").is_err());
    let closed = store.close();
    assert!(
        closed.is_err() || matches!(error, Error::Full(_)),
        "close after {doing} failed"
    );
}

/// Opens the store in a folder, reads it, commits and closes, and does so `again`; returns how
/// many batches are there.
pub fn judge(
    folder: &Folder,
    truths: &mut Truths,
    allowed: RangeInclusive<usize>,
    boot: u64,
    again: bool,
) -> usize {
    let path = folder.database();
    let mut store = SqliteStore::open(&path, "faults").unwrap_or_else(|it| panic!("open: {it}"));
    assert!(store.boot() > boot, "boot number {boot} comes again");
    let is = Truth::read(&mut store).unwrap_or_else(|it| panic!("read: {it}"));
    let found = allowed.clone().find(|it| truths.after(*it).truth == is);
    let Some(found) = found else {
        let other = (0..=truths.batches()).find(|it| truths.after(*it).truth == is);
        let difference = is.difference(&truths.after(*allowed.end()).truth);
        panic!("batches {allowed:?} may be there; there are {other:?}\n{difference}");
    };
    let known = truths.after(found);
    let probed = store.commit(&probe()).expect("it accepts a commit");
    assert_eq!(probed, known.probed, "the probe's answers");
    Box::new(store).close().expect("it closes");
    if again {
        let mut store = SqliteStore::open(&path, "faults").expect("it opens again");
        let is = Truth::read(&mut store).expect("it is readable");
        assert!(is == known.after, "{}", is.difference(&known.after));
        Box::new(store).close().expect("it closes again");
    }
    integrity(&path);
    found
}

/// `SQLite`'s own verdict on a whole file, indices included.
pub fn integrity(path: &Path) {
    let conn = Connection::open(path).expect("it opens");
    let check = "PRAGMA integrity_check";
    let verdict: String = conn.query_row(check, [], |row| row.get(0)).expect(check);
    assert_eq!(verdict, "ok");
}

/// Runs a test of one image; if it fails, prints the command that runs it alone.
pub fn told<T>(test: &str, seed: u64, image: u64, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        eprintln!(
            "FAILED: seed {seed}, number {image}. Alone: STEPWELL_SEED={seed} \
            STEPWELL_ONLY={image} cargo test --release --locked -p stepwell-core --test faults \
            {test} -- --nocapture"
        );
        resume_unwind(panic)
    })
}
