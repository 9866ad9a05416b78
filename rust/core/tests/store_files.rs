//! What the `SQLite` store does to files: bad ones stay as they were, good ones are locked and
//! private.
#![allow(missing_docs)]

mod store_cases;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use stepwell_core::lifecycle::Status;
use stepwell_core::store::sqlite::{opened_by, SqliteStore};
use stepwell_core::store::{Error, Op, Store};
use store_cases::{beside, change, commit_one, create, record, to};

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|it| {
            let name = it.file_name().into_string().unwrap();
            (name, fs::read(it.path()).unwrap_or_default())
        })
        .collect()
}

/// Opens a file with this content; nothing may change. Returns the error.
#[track_caller]
fn refused(prepare: impl FnOnce(&Path)) -> Error {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    prepare(&path);
    let before = files(folder.path());
    let error = SqliteStore::open(&path, "test").unwrap_err();
    assert!(files(folder.path()) == before, "{error}: files changed");
    assert!(error.to_string().contains("audit.db"), "{error}");
    error
}

fn a_store(path: &Path) -> Vec<u8> {
    let mut store = Box::new(SqliteStore::open(path, "test").unwrap());
    for no in 1..=50 {
        let _ = commit_one(&mut *store, create(no, &no.to_string()));
        let _ = commit_one(&mut *store, Op::Append(no, 1, record("a step")));
    }
    store.close().unwrap();
    fs::read(path).unwrap()
}

#[test]
fn an_empty_file_is_not_ours() {
    let error = refused(|path| fs::write(path, b"").unwrap());
    let text = "audit.db is empty; Stepwell did not write it. Delete it or give another path.";
    assert_eq!(error, Error::Failed(text.into()));
}

#[test]
fn garbage_is_not_ours() {
    for garbage in [&b"x"[..], &[7; 5_000], b"SQLite format 2\0 and so on"] {
        let error = refused(|path| fs::write(path, garbage).unwrap());
        assert!(
            matches!(&error, Error::Failed(it) if it.contains("not a SQLite database")),
            "{error}"
        );
    }
}

#[test]
fn a_file_cut_short_is_corrupt() {
    for keep in [60, 100, 4_096, 20_000] {
        let error = refused(|path| {
            let bytes = a_store(path);
            assert!(bytes.len() > 20_000);
            fs::write(path, &bytes[..keep]).unwrap();
        });
        assert!(matches!(error, Error::Corrupt(_)), "{keep}: {error}");
    }
}

#[test]
fn a_damaged_page_is_found_after_an_unclean_end() {
    let error = refused(|path| {
        drop(SqliteStore::open(path, "test").unwrap());
        let conn = Connection::open(path).unwrap();
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        conn.close().unwrap();
        fs::remove_file(beside(path, ".lock")).unwrap();
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 4_096 / 2 * 4_096;
        bytes[middle..middle + 512].fill(0xff);
        fs::write(path, bytes).unwrap();
    });
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
}

#[test]
fn another_applications_database_is_not_ours() {
    for id in [0, 0x1234] {
        let error = refused(|path| {
            let conn = Connection::open(path).unwrap();
            conn.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);")
                .unwrap();
            conn.pragma_update(None, "application_id", id).unwrap();
        });
        assert!(
            matches!(&error, Error::Failed(it) if it.contains("another application")),
            "{error}"
        );
    }
}

#[test]
fn a_newer_schema_is_refused_by_version() {
    let error = refused(|path| {
        a_store(path);
        let conn = Connection::open(path).unwrap();
        conn.execute_batch("PRAGMA user_version = 99; PRAGMA wal_checkpoint(TRUNCATE);")
            .unwrap();
        conn.close().unwrap();
    });
    assert!(
        matches!(&error, Error::Version(it) if it.contains("99")),
        "{error}"
    );
}

#[test]
fn folders_missing_folders_and_pipes_are_invalid() {
    let error = refused(|path| fs::create_dir(path).unwrap());
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    for path in ["/nowhere/at/all/audit.db", "/", ":memory:"] {
        let error = SqliteStore::open(Path::new(path), "test").unwrap_err();
        assert!(
            matches!(&error, Error::Invalid(it) if it.contains(path)),
            "{error}"
        );
    }
    let error = SqliteStore::open(Path::new("/dev/null"), "test").unwrap_err();
    assert!(
        matches!(&error, Error::Invalid(it) if it.contains("plain file")),
        "{error}"
    );
    assert!(!Path::new("/dev/null.lock").exists());
}

#[test]
fn read_only_files_and_folders_are_refused() {
    let error = refused(|path| {
        a_store(path);
        fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
    });
    assert!(
        matches!(&error, Error::Failed(it) if it.contains("read-only")),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o500)).unwrap();
    let error = SqliteStore::open(&folder.path().join("audit.db"), "test").unwrap_err();
    assert!(
        matches!(&error, Error::Failed(it) if it.contains("read-only")),
        "{error}"
    );
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_wal_without_its_database_is_not_mixed_into_a_new_one() {
    let error = refused(|path| fs::write(beside(path, "-wal"), [1; 100]).unwrap());
    assert!(
        matches!(&error, Error::Failed(it) if it.contains("-wal")),
        "{error}"
    );
}

#[test]
fn a_lock_file_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    fs::write(beside(&path, ".lock"), "my notes").unwrap();
    let error = SqliteStore::open(&path, "test").unwrap_err();
    assert!(
        matches!(&error, Error::Failed(it) if it.contains("audit.db.lock")),
        "{error}"
    );
    assert_eq!(fs::read(beside(&path, ".lock")).unwrap(), b"my notes");
}

#[test]
fn the_files_are_private_and_only_the_database_stays_after_a_clean_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = Box::new(SqliteStore::open(&path, "api").unwrap());
    let _ = commit_one(&mut *store, create(1, "a"));
    for suffix in ["", "-wal", "-shm", ".lock", ".ballast"] {
        let mode = beside(&path, suffix)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "audit.db{suffix}");
    }
    store.close().unwrap();
    assert_eq!(
        files(folder.path()).into_keys().collect::<Vec<_>>(),
        ["audit.db"]
    );
}

#[test]
fn a_second_engine_is_told_who_owns_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    assert_eq!(opened_by(&path).unwrap(), None);
    let first = Box::new(SqliteStore::open(&path, "api").unwrap());
    let pid = std::process::id();
    let text = format!(
        "audit.db is in use by this process ({pid}, engine \"api\"). One engine owns an embedded \
        store: use that engine, or leave its block before you open \
         another one, or give this engine another file. In a notebook it may have been opened by \
         a cell that was run before."
    );
    assert_eq!(
        SqliteStore::open(&path, "other").unwrap_err(),
        Error::Locked(text.clone())
    );
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(
        SqliteStore::open(&link, "other"),
        Err(Error::Locked(_))
    ));
    let who = opened_by(&path).unwrap().unwrap();
    assert_eq!((who.pid, &*who.name), (pid, "api"));
    assert!(who.since > 1_700_000_000_000_000);
    first.close().unwrap();
    assert_eq!(opened_by(&path).unwrap(), None);
    // A crash leaves the file, which means nothing then.
    drop(SqliteStore::open(&path, "api").unwrap());
    assert!(beside(&path, ".lock").exists());
    assert_eq!(opened_by(&path).unwrap(), None);
    let again = SqliteStore::open(&path, "api").unwrap();
    assert_eq!(again.boot(), 3);
}

#[test]
fn an_unfinished_new_store_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    fs::write(beside(&path, ".new"), b"").unwrap();
    SqliteStore::open(&path, "test")
        .map(Box::new)
        .unwrap()
        .close()
        .unwrap();
    assert_eq!(
        files(folder.path()).into_keys().collect::<Vec<_>>(),
        ["audit.db"]
    );
}

#[test]
fn a_look_from_the_same_process_cannot_take_the_wal_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = SqliteStore::open(&path, "test").unwrap();
    let _ = commit_one(&mut store, create(1, "a"));
    // What a second copy of SQLite in this process does to our locks, without that copy.
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::File::open(beside(&path, suffix)).unwrap());
    }
    // A process of its own, for in this one SQLite knows its other connection.
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('select * from \
    instance').fetchall(); c.close()";
    let ran = std::process::Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(&path)
        .status();
    if !ran.is_ok_and(|it| it.success()) {
        return; // No Python here: nobody to intrude.
    }
    assert!(beside(&path, "-wal").exists());
    let _ = commit_one(&mut store, create(2, "b"));
    assert!(store.find("default", "orders", "b").unwrap().is_some());
}

#[test]
fn a_database_that_is_taken_away_poisons_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    for suffix in ["", "-wal", ".lock"] {
        let mut store = SqliteStore::open(&path, "test").unwrap();
        fs::rename(beside(&path, suffix), folder.path().join("away")).unwrap();
        let error = store.commit(&[create(1, "a")]).unwrap_err();
        assert!(
            matches!(&error, Error::Failed(it) if it.contains("moved")),
            "{error}"
        );
        let error = store.commit(&[]).unwrap_err();
        assert!(
            matches!(&error, Error::Failed(it) if it.contains("earlier")),
            "{error}"
        );
        drop(store);
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let _ = fs::remove_file(beside(&path, suffix));
        }
    }
}

#[test]
fn an_error_from_a_commit_poisons_the_store_and_leaves_nothing_of_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = SqliteStore::open(&path, "test").unwrap();
    let _ = commit_one(&mut store, create(1, "a"));
    // A number given out twice is a defect of the core, and the handiest error there is.
    let error = store.commit(&[create(2, "b"), create(1, "c")]).unwrap_err();
    assert!(matches!(&error, Error::Failed(_)), "{error}");
    assert!(matches!(
        store.commit(&[create(3, "d")]),
        Err(Error::Failed(_))
    ));
    assert!(matches!(store.maintain(), Err(Error::Failed(_))));
    assert!(matches!(Box::new(store).close(), Err(Error::Failed(_))));
    let mut store = SqliteStore::open(&path, "test").unwrap();
    assert!(store.find("default", "orders", "a").unwrap().is_some());
    for id in ["b", "c", "d"] {
        assert!(store.find("default", "orders", id).unwrap().is_none());
    }
}

#[test]
fn a_payload_changed_on_disk_is_noticed_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    a_store(&path);
    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE journal SET payload = x'00' WHERE no = 7", [])
        .unwrap();
    conn.execute("UPDATE params SET payload = x'00' WHERE no = 8", [])
        .unwrap();
    conn.execute("DELETE FROM journal WHERE no = 9", [])
        .unwrap();
    conn.close().unwrap();
    let store = SqliteStore::open(&path, "test").unwrap();
    let mut reader = store.reader().unwrap();
    let error = reader.history(7).unwrap_err();
    assert!(
        matches!(&error, Error::Row(it) if it.contains("record 7 of instance 7")),
        "{error}"
    );
    let error = reader.payloads(8).unwrap_err();
    assert!(
        matches!(&error, Error::Row(it) if it.contains("params of instance 8")),
        "{error}"
    );
    let error = reader.history(9).unwrap_err();
    assert!(
        matches!(&error, Error::Row(it) if it.contains("record 9 of instance 9")),
        "{error}"
    );
    assert_eq!(reader.history(10).unwrap().len(), 1);
}

#[test]
fn heads_survive_a_flush_and_a_crash_after_it() {
    use store_cases::{OnDisk, Place};
    let mut place = OnDisk::default();
    let mut store = place.open();
    let all: Vec<Op> = (1..=5_000).map(|no| create(no, &no.to_string())).collect();
    let _ = store.commit(&all).unwrap();
    // More than 200,000 records above the watermark, more than one step of the round.
    for _ in 0..42 {
        let batch: Vec<Op> = (1..=5_000)
            .map(|no| Op::Append(no, 1, record("x")))
            .collect();
        let _ = store.commit(&batch).unwrap();
        store.maintain().unwrap();
    }
    let _ = commit_one(&mut *store, change(9, to(Status::Waiting, 1)));
    let watermark = |path: &Path| -> i64 {
        let conn = Connection::open(path).unwrap();
        conn.query_row("SELECT watermark FROM store", [], |row| row.get(0))
            .unwrap()
    };
    let check = |store: &dyn Store| {
        let mut reader = store.reader().unwrap();
        for no in [1, 9, 4_096, 4_097, 5_000] {
            assert_eq!(reader.history(no).unwrap().len(), 42);
        }
    };
    check(&*store);
    let wal = beside(&place.path(), "-wal").metadata().unwrap().len();
    assert!(wal < 16 << 20, "the WAL is folded back: {wal}");
    assert!(watermark(&place.path()) > 200_000, "a round was completed");
    store = place.crash(store);
    check(&*store);
    store.close().unwrap();
    assert_eq!(watermark(&place.path()), 210_000);
}
