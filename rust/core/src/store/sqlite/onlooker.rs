//! A store that is read where it lies, by whoever does not own it.
//!
//! Nothing is written, and no file comes to lie beside the others. If an engine owns the store, its
//! wal-index is shared: SQLite keeps reader and writer apart, and transactions are short (see
//! `reader`), so that folds go on between them. If nobody does, nobody writes either: no lock is
//! taken and the index of the WAL is made in memory, so a folder may be read-only and a copy stays
//! as it was. That it was so is only known afterwards. Invariant: what was read counts if the files
//! are the same then as before ([`Files::are_still`]); if not, all of it, an error too, may be
//! anything.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;

use super::connection::{check_sqlite, Handle};
use super::files::{Found, Paths};
use super::heads;
use super::legible;
use super::lock::{opened_by, OpenedBy};
use super::names::Names;
use super::read;
use super::reader::SqliteReader;
use super::rows;
use super::schema;
use crate::failure;
use crate::ids::{InstanceNo, Micros};
use crate::lifecycle::Status;
use crate::store::{Ended, Error, Failed, Reader, Row};
use crate::wait::Wait;

/// States of instances that have not ended.
const LIVE: [Status; 6] = [
    Status::Queued,
    Status::Running,
    Status::Waiting,
    Status::WaitingForPause,
    Status::Paused,
    Status::Blocked,
];
/// Takes an instance, what it waits for, and the class of the error that it is blocked by.
type Into<'a> = dyn FnMut(&Row, &[Wait], Option<&str>) + 'a;

/// Rows that are read between two looks at the clock.
const LOOK_EVERY: usize = 128;

/// What tells one state of a file from another: device, inode, length, and when it was written.
/// (Root's SQLite gives a WAL that it opens to the database's user, so when its entry was changed
/// says nothing.)
type Shape = (u64, u64, u64, (i64, i64));

/// The files of a store, as they are before something is read.
#[derive(Debug)]
pub struct Files {
    paths: Paths,
    owner: Option<OpenedBy>,
    shapes: [Option<Shape>; 2],
}

impl Files {
    /// Looks at the store at this path; `None` if there is none.
    ///
    /// # Errors
    /// `Invalid` if the path cannot be one of a file, `Failed` if what is there is no store or
    /// cannot be read, `Corrupt` if its header makes no sense, `Version` if another version of the
    /// schema wrote it.
    pub fn look(path: &Path) -> Result<Option<Self>, Error> {
        check_sqlite(rusqlite::version_number())?;
        let paths = Paths::resolve(path)?;
        let shapes = shapes(&paths);
        let owner = opened_by(path)?;
        let version = match paths.examine_to_read()? {
            Found::Nothing => return Ok(None),
            Found::Store(_, version) => version,
        };
        if version < schema::VERSION {
            return Err(paths.older(version));
        }
        Ok(Some(Self {
            paths,
            owner,
            shapes,
        }))
    }

    /// Returns whether what was read since the look is what is there.
    #[must_use]
    pub fn are_still(&self) -> bool {
        if self.owner.is_some() {
            return true;
        }
        matches!(opened_by(&self.paths.database), Ok(None)) && shapes(&self.paths) == self.shapes
    }

    /// Returns who owns the store.
    #[must_use]
    pub fn owner(&self) -> Option<&OpenedBy> {
        self.owner.as_ref()
    }

    /// Opens it to be read.
    ///
    /// # Errors
    /// As [`Files::look`].
    pub fn open(&self) -> Result<Onlooker, Error> {
        let paths = &self.paths;
        let conn = if self.owner.is_some() {
            Handle::reader(paths)
        } else {
            let has_wal = self.shapes[1].is_some_and(|(_, _, len, ..)| len > 0);
            Handle::onlooker(paths, has_wal)
        };
        let mut onlooker = Onlooker {
            reader: SqliteReader::on(paths, conn)?,
        };
        // The header that was looked at may be older than the WAL.
        let sql = "PRAGMA user_version";
        let version = |conn: &Handle| Ok(conn.query_row(sql, [], |row| row.get(0))?);
        match onlooker.reader.ask(|conn, _, _| version(conn))? {
            version if version > schema::VERSION => Err(paths.newer(version)),
            version if version < schema::VERSION => Err(paths.older(version)),
            _ => Ok(onlooker),
        }
    }
}

fn shapes(paths: &Paths) -> [Option<Shape>; 2] {
    [&paths.database, &paths.wal].map(|path| {
        let it = path.metadata().ok()?;
        let written = (it.mtime(), it.mtime_nsec());
        Some((it.dev(), it.ino(), it.len(), written))
    })
}

/// What the store says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// When something was recorded last.
    pub recorded_at: Option<Micros>,
    /// Whether the last engine ended in order.
    pub is_clean: bool,
}

/// A store that is open to be read.
pub struct Onlooker {
    reader: SqliteReader,
}

impl Onlooker {
    /// Returns what reads.
    pub fn reader(&mut self) -> &mut dyn Reader {
        &mut self.reader
    }

    /// Finds the ends of histories that no row of an instance tells yet: before a history is read.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn find_heads(&mut self) -> Result<(), Error> {
        let found = self.reader.ask(|conn, _, _| heads::unpersisted(conn))?;
        self.reader.published().lock().extend(found);
        Ok(())
    }

    /// Returns what the store says of itself.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn left(&mut self) -> Result<Left, Error> {
        self.reader.ask(|conn, _, _| {
            let clean: i64 = conn.query_row("SELECT clean FROM store", [], |row| row.get(0))?;
            let mut recorded_at = None;
            for sql in LASTS {
                recorded_at = recorded_at.max(one_time(conn, sql)?);
            }
            Ok(Left {
                recorded_at,
                is_clean: clean != 0,
            })
        })
    }

    /// Returns namespace, workflow and version of all there is.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn versions(&mut self) -> Result<Vec<[Box<str>; 3]>, Error> {
        self.reader.ask(|_, names, _| {
            let mut all: Vec<_> = names.all().collect();
            all.sort_unstable_by_key(|(id, _)| *id);
            let all = all.into_iter().map(|(_, it)| {
                let names = [&it.namespace, &it.workflow, &it.version];
                names.map(Clone::clone)
            });
            Ok(all.collect())
        })
    }

    /// Returns how many instances are in each state that any is in, by an index.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn counts(
        &mut self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Result<Vec<(Status, u64)>, Error> {
        self.reader.ask(|conn, names, _| {
            let mut count = conn.prepare_cached(COUNT)?;
            let mut counts = [0; Status::ALL.len()];
            for number in names.workflows(namespace, workflow) {
                for status in LIVE {
                    let found: i64 = count.query_row((number, status as i64), |row| row.get(0))?;
                    counts[status as usize] += found as u64;
                }
            }
            for it in read::ended(conn, names)? {
                let is_asked = namespace.is_none_or(|wanted| *wanted == *it.namespace)
                    && workflow.is_none_or(|wanted| *wanted == *it.workflow);
                let ends = [Status::Complete, Status::Errored, Status::Terminated];
                for (status, found) in ends.into_iter().zip(it.counts).filter(|_| is_asked) {
                    counts[status as usize] += found;
                }
            }
            let all = Status::ALL.into_iter().zip(counts);
            Ok(all.filter(|it| it.1 > 0).collect())
        })
    }

    /// Returns how many have ended, by workflow and version, and how many failed alike from this
    /// hour on.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn ended(&mut self, from_hour: i64) -> Result<(Vec<Ended>, Vec<Failed>), Error> {
        self.reader.ask(|conn, names, _| {
            Ok((
                read::ended(conn, names)?,
                read::failures(conn, names, from_hour)?,
            ))
        })
    }

    /// Hands over all instances that have not ended, each with its waits and the class of the error
    /// that it is blocked by, in transactions that are short.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn each_live(&mut self, into: &mut Into<'_>) -> Result<(), Error> {
        let listed = self
            .reader
            .ask(|_, names, _| Ok(names.workflows(None, None)))?;
        for workflow in listed {
            for status in LIVE {
                let mut beyond = -1;
                self.reader.ask_in_slices(|conn, names, go_on| {
                    some_live(conn, names, (workflow, status), &mut beyond, go_on, into)
                })?;
            }
        }
        Ok(())
    }
}

/// The last of each by number, where it lies.
const LASTS: [&str; 3] = [
    "SELECT at FROM journal ORDER BY seq DESC LIMIT 1",
    "SELECT max(created_at, updated_at) FROM instance ORDER BY no DESC LIMIT 1",
    "SELECT at FROM audit ORDER BY number DESC LIMIT 1",
];
const COUNT: &str = "SELECT count(*) FROM instance INDEXED BY instance_status \
    WHERE workflow = ? AND status = ?";

fn live() -> String {
    format!(
        "SELECT {} FROM instance i INDEXED BY instance_status \
         WHERE i.workflow = ? AND i.status = ? AND i.no > ? ORDER BY i.no",
        rows::INSTANCE
    )
}

fn one_time(conn: &Connection, sql: &str) -> rows::Result<Option<Micros>> {
    let mut look = conn.prepare_cached(sql)?;
    let mut found = look.query([])?;
    // One that is damaged says nothing.
    Ok(found.next()?.and_then(|row| row.get(0).ok()))
}

/// Hands over some of one workflow and state, beyond a number; `None`: there are more.
fn some_live(
    conn: &Connection,
    names: &Names,
    (workflow, status): (i64, Status),
    beyond: &mut i64,
    go_on: &dyn Fn() -> bool,
    into: &mut Into<'_>,
) -> rows::Result<Option<()>> {
    let mut look = conn.prepare_cached(&live())?;
    let mut found = look.query((workflow, status as i64, *beyond))?;
    let mut count = 0;
    while let Some(row) = found.next()? {
        *beyond = row.get(0)?;
        if let Some(it) = legible::listed_instance(row, names)? {
            let (waits, error) = more_of(conn, &it)?;
            into(&it, &waits, error.as_deref());
        }
        count += 1;
        if count % LOOK_EVERY == 0 && !go_on() {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

/// Returns what an instance waits for, and the class of the error that it is blocked by. What is
/// damaged is told where that instance is looked at.
fn more_of(conn: &Connection, it: &Row) -> rows::Result<(Vec<Wait>, Option<Box<str>>)> {
    let no: InstanceNo = it.no;
    match it.status {
        Status::Waiting | Status::Running => Ok((legible(read::waits(conn, no))?, None)),
        Status::Blocked if it.damage.is_none() => {
            let payloads = legible(read::payloads(conn, no))?;
            Ok((
                Vec::new(),
                payloads.result.as_deref().and_then(failure::class),
            ))
        }
        _ => Ok((Vec::new(), None)),
    }
}

fn legible<T: Default>(read: rows::Result<T>) -> rows::Result<T> {
    match read {
        Err(rows::Fault::Corrupt(_)) => Ok(T::default()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples::{append, create};
    use crate::store::sqlite::SqliteStore;
    use crate::store::Store;

    fn made(folder: &tempfile::TempDir) -> std::path::PathBuf {
        let path = folder.path().join("seen.db");
        let mut store = SqliteStore::open(&path, "test").unwrap();
        let some: Vec<_> = (1..=400).map(create).collect();
        let _ = store.commit(&some).unwrap();
        let _ = store
            .commit(&[append(1, "a"), append(2, "b"), append(1, "c")])
            .unwrap();
        drop(store); // as a kill
        path
    }

    #[test]
    fn each_look_is_led_by_an_index_and_sorts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::look(&made(&folder)).unwrap().unwrap();
        let mut seen = files.open().unwrap();
        let plan = |seen: &mut Onlooker, sql: &str| {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            let read = |conn: &Handle| {
                let mut plan = conn.prepare(&sql)?;
                let found = plan.query_map([], |row| row.get::<_, String>(3))?;
                Ok(found.collect::<rusqlite::Result<Vec<_>>>()?.join("; "))
            };
            seen.reader.ask(|conn, _, _| read(conn)).unwrap()
        };
        for sql in [COUNT.to_owned(), live()] {
            let sql = sql.replace('?', "1");
            let plan = plan(&mut seen, &sql);
            assert!(plan.starts_with("SEARCH "), "{sql}: {plan}");
            assert!(
                plan.contains("instance_status (workflow=? AND status=?"),
                "{sql}: {plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
        for sql in LASTS {
            // Its own order, from the end: one row is looked at.
            let plan = plan(&mut seen, sql);
            assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }

    #[test]
    fn what_a_kill_left_is_read_whole_and_in_slices() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(&folder);
        let files = Files::look(&path).unwrap().unwrap();
        let mut seen = files.open().unwrap();
        seen.reader.slice_at_once();
        let mut numbers = Vec::new();
        seen.each_live(&mut |row, _, _| numbers.push(row.no))
            .unwrap();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=400));
        let before = seen.reader().history(1).unwrap();
        assert!(
            before.is_empty(),
            "no row of the instance says where its history is"
        );
        seen.find_heads().unwrap();
        let history = seen.reader().history(1).unwrap();
        let names: Vec<_> = history
            .iter()
            .map(|it| &*it.record.operation.name)
            .collect();
        assert_eq!(names, ["a", "c"]);
        assert!(files.are_still());
    }

    #[test]
    fn what_was_read_while_somebody_wrote_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(&folder);
        let files = Files::look(&path).unwrap().unwrap();
        assert!(files.are_still());
        let mut store = SqliteStore::open(&path, "test").unwrap();
        assert!(!files.are_still(), "somebody owns it");
        let _ = store.commit(&[create(401)]).unwrap();
        drop(store);
        assert!(!files.are_still(), "somebody wrote");
        assert!(Files::look(&path).unwrap().unwrap().are_still());
    }
}
