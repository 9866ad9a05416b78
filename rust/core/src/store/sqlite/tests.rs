//! A database that may not grow: SQLite says FULL for real, on a real file.

use super::*;
use crate::ids::InstanceNo;
use crate::store::samples::{append, create};

impl SqliteStore {
    fn allow(&mut self, pages: u32) {
        self.pages_max = pages;
        self.limit_pages().unwrap();
    }

    fn pages(&self) -> u32 {
        self.conn
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap()
    }
}

fn names(reader: &mut dyn Reader, no: InstanceNo) -> Vec<Box<str>> {
    let history = reader.history(no).unwrap();
    history
        .into_iter()
        .map(|it| it.record.operation.name)
        .collect()
}

#[test]
fn a_batch_that_found_no_room_is_committed_in_place_when_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let ballast = folder.path().join("audit.db.ballast");
    let mut store = SqliteStore::open(&path, "test").unwrap();
    let mut reader = store.reader().unwrap();
    let first: Vec<Op> = (1..=20).map(create).collect();
    let _ = store.commit(&first).unwrap();
    let _ = store.commit(&[append(1, "a"), append(2, "a")]).unwrap();
    assert_eq!(names(&mut *reader, 1), ["a".into()]);
    assert!(ballast.exists() && store.shortage().is_none());
    store.allow(store.pages() + 2);

    // New names, new instances, moved heads: all of it is in memory before the commit fails.
    let mut batch: Vec<Op> = (21..=40).map(create).collect();
    batch.extend([append(1, "b"), append(21, "b"), append(1, "c")]);
    let error = store.commit(&batch).unwrap_err();
    assert!(
        matches!(&error, Error::Full(it) if it.contains("audit.db")),
        "{error}"
    );
    assert!(store.shortage().is_some());
    // Not on that connection any more, and not without a new one.
    assert!(matches!(store.commit(&batch), Err(Error::Full(_))));
    assert!(matches!(store.maintain(), Err(Error::Full(_))));
    assert_eq!(names(&mut *reader, 1), ["a".into()]);
    assert!(reader.find("default", "w0", "21").unwrap().is_none());
    for _ in 0..3 {
        store.resume().unwrap();
        assert!(!ballast.exists(), "its room is for what runs");
        assert!(matches!(store.commit(&batch), Err(Error::Full(_))));
        assert_eq!(names(&mut *reader, 1), ["a".into()]);
    }

    store.pages_max = u32::MAX - 1;
    store.resume().unwrap();
    let outcomes = store.commit(&batch).unwrap();
    let expected = [Outcome::Done(3), Outcome::Done(4), Outcome::Done(5)];
    assert_eq!(outcomes[20..], expected, "no record has taken their places");
    assert_eq!(names(&mut *reader, 1), ["a", "b", "c"].map(Into::into));
    assert_eq!(names(&mut *reader, 2), ["a".into()]);
    assert_eq!(names(&mut *reader, 21), ["b".into()]);
    let found = reader.find("default", "w5", "40").unwrap().unwrap();
    assert_eq!((found.no, &*found.version), (40, "40"));
    let _ = store.commit(&[append(2, "b")]).unwrap();
    assert_eq!(names(&mut *reader, 2), ["a", "b"].map(Into::into));
    drop(reader);
    Box::new(store).close().unwrap();
    let store = SqliteStore::open(&path, "test").unwrap();
    assert_eq!(names(&mut *store.reader().unwrap(), 1).len(), 3);
}

#[test]
fn the_ballast_is_made_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = SqliteStore::open(&path, "test").unwrap();
    store.allow(store.pages());
    let batch: Vec<Op> = (1..=20).map(create).collect();
    assert!(matches!(store.commit(&batch), Err(Error::Full(_))));
    store.pages_max = u32::MAX - 1;
    store.resume().unwrap();
    let _ = store.commit(&batch).unwrap();
    store.maintain().unwrap();
    assert!(store.shortage().is_some(), "not within the second");
    store.ballast.forget_the_last_try();
    store.maintain().unwrap();
    assert!(store.shortage().is_none());
    assert!(folder.path().join("audit.db.ballast").exists());
}

#[test]
fn a_store_whose_wal_has_changed_while_the_disk_was_full_must_be_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = SqliteStore::open(&path, "test").unwrap();
    store.allow(store.pages());
    let batch: Vec<Op> = (1..=20).map(create).collect();
    assert!(matches!(store.commit(&batch), Err(Error::Full(_))));
    let other = Connection::open(&path).unwrap();
    other
        .execute("UPDATE store SET boot = boot + 1", [])
        .unwrap();
    store.pages_max = u32::MAX - 1;
    for _ in 0..2 {
        let error = store.resume().unwrap_err();
        assert!(
            matches!(&error, Error::Failed(it) if it.contains("cannot be told")),
            "{error}"
        );
    }
    assert_eq!(
        store
            .commit(&batch)
            .unwrap_err()
            .to_string()
            .matches("cannot be told")
            .count(),
        1
    );
}

#[test]
fn a_store_that_is_closed_on_a_full_disk_uses_its_ballast_or_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut store = SqliteStore::open(&path, "test").unwrap();
    store.allow(store.pages());
    let batch: Vec<Op> = (1..=20).map(create).collect();
    assert!(matches!(store.commit(&batch), Err(Error::Full(_))));
    // Its last words fit: they change rows and add none.
    Box::new(store).close().unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
