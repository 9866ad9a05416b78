//! The embedded store: one SQLite file, owned by one engine.
//!
//! In reading order: `files` (what lies at the path), `lock` (one engine), `schema`,
//! `connection`, `ofd` and `guard` (locks nobody can take away), `heads` (where histories begin),
//! `names`, `rows` (columns), `statements` and `write` (a batch), `read` and `reader`, `recover`.
//!
//! Invariants: a batch is durable when `commit` returns, or the store is poisoned and says so for
//! ever (an error from a sync tells nothing about what is on the disk, so nothing is retried).
//! Nothing is written to a file that is not ours. Nothing is deleted but an unfinished new store.

#![expect(clippy::doc_markdown, reason = "SQLite is a name, not code")]

mod connection;
mod files;
mod guard;
mod heads;
mod lock;
mod names;
mod ofd;
mod open;
mod read;
mod reader;
mod recover;
mod rows;
mod schema;
mod statements;
mod write;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

use super::{Error, Op, Outcome, Reader, Recovery, Row, Store};
use crate::ids::InstanceNo;
use crate::wait::Approval;
use connection::Handle;
use files::Paths;
use guard::Guard;
use heads::Heads;
use lock::EngineLock;
use names::Names;

pub use lock::{owner, Owner};

/// WAL pages not yet in the database after which [`Store::maintain`] folds them back: 6 MiB.
const WAL_PAGES: i64 = 1_536;
/// Free pages an idle [`Store::maintain`] gives back at once.
const VACUUM_PAGES: i64 = 256;
/// How often BEGIN is tried when another program keeps the write lock, 10 s each.
const BEGIN_TRIES: u32 = 6;

/// A store in one file. Dropped without [`Store::close`], it looks like one whose process was killed.
#[derive(Debug)]
pub struct SqliteStore {
    // The order matters: connection, guard, lock are let go in this order.
    conn: Handle,
    guard: Arc<Guard>,
    lock: EngineLock,
    paths: Paths,
    heads: Heads,
    names: Names,
    boot: u64,
    /// Whether something was committed since the last `maintain`.
    busy: bool,
    poison: Option<Error>,
}

impl SqliteStore {
    /// Opens the store at this path, making it if nothing is there. `owner` names the engine to
    /// those who find the store locked.
    ///
    /// # Errors
    /// `Locked` if another engine owns it, `Version` if a newer Stepwell wrote it, `Corrupt` if it
    /// is damaged, `Invalid` if the path cannot be one of a file, `Failed` if what is there is not
    /// a store, cannot be written, or lies on a network file system. What was there before is
    /// unchanged then.
    pub fn open(path: &Path, owner: &str) -> Result<Self, Error> {
        open::open(path, owner)
    }

    /// Returns how many times this store was opened, this one included.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.boot
    }

    fn usable(&self) -> Result<(), Error> {
        self.conn.check_process(&self.paths)?;
        match &self.poison {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Runs something in a transaction that writes. Any error poisons the store.
    fn write<T>(
        &mut self,
        doing: &str,
        change: impl FnOnce(&Connection, &mut Heads, &mut Names) -> rows::Result<T>,
    ) -> Result<T, Error> {
        self.usable()?;
        let done = transact(&self.conn, &mut self.heads, &mut self.names, change);
        match done {
            Ok(done) => match self.guard.missing() {
                None => {
                    self.heads.publish();
                    Ok(done)
                }
                Some(path) => Err(self.poison(Error::Failed(format!(
                    "{} was moved, replaced or deleted while the engine used it; nothing more is written.",
                    path.display()
                )))),
            },
            Err(fault) => {
                let error = fault.explain(&self.paths.name, doing);
                Err(self.poison(error))
            }
        }
    }

    fn poison(&mut self, error: Error) -> Error {
        self.poison = Some(Error::Failed(format!(
            "{}: an earlier write failed ({error}); this engine must stop and open the store anew.",
            self.paths.name
        )));
        error
    }

    fn read<T>(
        &mut self,
        question: impl FnOnce(&Connection, &Names) -> rows::Result<T>,
    ) -> Result<T, Error> {
        self.usable()?;
        question(&self.conn, &self.names).map_err(|it| it.explain(&self.paths.name, "read"))
    }

    /// Folds the WAL back when it has grown, and gives free pages back when idle.
    fn fold(&mut self, idle: bool) -> rusqlite::Result<()> {
        let pending = |mode: &str| {
            let mut pragma = self
                .conn
                .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
            pragma.query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
        };
        if pending("NOOP")? >= WAL_PAGES {
            pending("PASSIVE")?;
        } else if idle {
            let free: i64 = self
                .conn
                .prepare_cached("PRAGMA freelist_count")?
                .query_row([], |row| row.get(0))?;
            if free > VACUUM_PAGES {
                self.conn
                    .execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
            }
        }
        Ok(())
    }
}

fn transact<T>(
    conn: &Connection,
    heads: &mut Heads,
    names: &mut Names,
    change: impl FnOnce(&Connection, &mut Heads, &mut Names) -> rows::Result<T>,
) -> rows::Result<T> {
    begin(conn)?;
    let done = change(conn, heads, names)
        .and_then(|done| Ok(conn.prepare_cached("COMMIT")?.execute([]).map(|_| done)?));
    if done.is_err() && !conn.is_autocommit() {
        // It failed already; the store is poisoned whatever this says.
        let _ = conn.execute_batch("ROLLBACK");
    }
    done
}

/// Begins to write. Another program's lock is waited for: nothing was changed yet.
fn begin(conn: &Connection) -> rusqlite::Result<()> {
    let mut begin = conn.prepare_cached("BEGIN IMMEDIATE")?;
    let mut tries = 1;
    loop {
        match begin.execute([]) {
            Ok(_) => return Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && tries < BEGIN_TRIES =>
            {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Store for SqliteStore {
    fn recover(&mut self, into: &mut dyn Recovery) -> Result<(), Error> {
        self.read(|conn, names| recover::recover(conn, names, into))
    }

    fn commit(&mut self, batch: &[Op]) -> Result<Vec<Outcome>, Error> {
        self.busy = true;
        self.write("write", |conn, heads, names| {
            let mut applied = write::Batch::new(conn, heads, names);
            batch.iter().map(|op| applied.apply(op)).collect()
        })
    }

    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error> {
        self.read(|conn, names| read::find(conn, names, [namespace, workflow, id]))
    }

    fn approval(&mut self, id: &str) -> Result<Option<Approval>, Error> {
        self.read(|conn, _| read::approval(conn, id))
    }

    fn result(&mut self, no: InstanceNo) -> Result<Option<Box<[u8]>>, Error> {
        self.read(|conn, _| read::payload(conn, "result", no))
    }

    fn meta(&mut self, name: &str) -> Result<Option<Box<[u8]>>, Error> {
        self.read(|conn, _| read::meta(conn, name))
    }

    fn maintain(&mut self) -> Result<(), Error> {
        self.usable()?;
        if self.heads.is_due() {
            self.write(
                "write heads",
                |conn, heads, _| Ok(heads.persist_some(conn)?),
            )?;
        }
        let idle = !std::mem::take(&mut self.busy);
        match self.fold(idle) {
            Ok(()) => Ok(()),
            // Another program is reading or folding; the next call comes soon.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            Err(error) => {
                let error = rows::Fault::Sql(error).explain(&self.paths.name, "checkpoint");
                Err(self.poison(error))
            }
        }
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Error> {
        self.usable()?;
        let reader = reader::SqliteReader::open(&self.paths, &self.heads.published, &self.guard)?;
        Ok(Box::new(reader))
    }

    fn close(mut self: Box<Self>) -> Result<(), Error> {
        self.write("close", |conn, heads, _| {
            heads.persist_all(conn)?;
            conn.execute("UPDATE store SET clean = 1", [])?;
            Ok(())
        })?;
        let Self {
            conn,
            guard,
            lock,
            paths,
            ..
        } = *self;
        let close = || {
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            // Without the guard SQLite can tell that it is the last user, and removes its WAL.
            let _ = guard.release();
            conn.close()
        };
        close().map_err(|error| rows::Fault::Sql(error).explain(&paths.name, "close"))?;
        drop(guard);
        lock.remove(&paths);
        Ok(())
    }
}
