//! The embedded store: one SQLite file, owned by one engine.
//!
//! In reading order: `files` (what lies at the path), `lock` (one engine), `schema`, `connection`,
//! `ofd`, `inherited` and `guard` (locks nobody can take away, or keeps), `heads` (where histories
//! begin), `names`, `rows` (columns), `legible` (damaged ones), `statements` and `write` (a batch),
//! `fold` (checkpoints), `ballast` and `resume` (a full disk), `read`, `look` and `reader`,
//! `sweep` (what
//! no longer counts), `trace` (whose a damaged row is), `recover`, `copy`, `onlooker` (who reads
//! without being the owner).
//!
//! Invariants: a batch is durable when `commit` returns, or the connection is poisoned (an error
//! from a sync tells nothing about what is on the disk, so nothing is retried). A full disk has
//! synced nothing: then `resume` goes on with a new connection. All else is for ever.
//! Nothing is written to a file that is not ours. Nothing is deleted but an unfinished new store
//! or copy, and our own ballast.

#![expect(clippy::doc_markdown, reason = "SQLite is a name, not code")]

mod answers;
mod ballast;
mod columns;
mod connection;
mod copy;
mod expired;
mod fault;
mod files;
mod fold;
mod forgotten;
#[cfg(test)]
mod fuzz;
mod guard;
mod heads;
mod inherited;
mod large;
mod legible;
mod lock;
mod look;
mod names;
mod ofd;
mod onlooker;
mod open;
mod pages;
#[cfg(test)]
mod plans;
mod read;
mod reader;
mod recover;
mod renaming;
mod resume;
mod rows;
mod schedules;
mod schema;
mod statements;
mod streams;
mod sums;
mod sweep;
mod trace;
mod write;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

use super::known::{self, Known, Needs};
use super::renames::Renaming;
use super::within::Within;
use super::{
    Bucket, Copier, Delivery, Ended, Error, Expiry, Failed, Op, Outcome, Reader, Recovery, Store,
};
use crate::ranges::Domain;
use ballast::Ballast;
use connection::Handle;
use files::Paths;
use fold::Folder;
use guard::Guard;
use heads::Heads;
use lock::{EngineLock, Owned};
use names::Names;
use resume::Mark;
use rows::{Fault, Fullness};

pub use lock::{opened_by, OpenedBy};
pub use onlooker::{Files, Left, Onlooker};

/// How often BEGIN is tried, a second each, while a store is opened or closed and another program
/// keeps the write lock.
const BEGIN_TRIES: u32 = 60;

/// A store in one file. Dropped without [`Store::close`], it looks like one whose process was
/// killed.
#[derive(Debug)]
pub struct SqliteStore {
    // The order matters: connection, guard, lock are let go in this order.
    conn: Handle,
    guard: Arc<Guard>,
    // Given back before the lock, so that whoever waits for that is not refused because of this.
    owned: Owned,
    lock: EngineLock,
    paths: Paths,
    /// To be looked at; SQLite has a descriptor of its own.
    wal: File,
    heads: Heads,
    names: Names,
    folder: Folder,
    ballast: Ballast,
    boot: u64,
    /// Whether something was committed since the last `maintain`.
    busy: bool,
    /// Rows are to be freed, or pages to be given back.
    behind: bool,
    /// The last commit; none: not known now.
    mark: Option<Mark>,
    poison: Option<Error>,
    /// Most pages the database may have: a disk that is full, for tests.
    #[cfg(test)]
    pages_max: u32,
}

impl SqliteStore {
    /// Opens the store at this path, making it if nothing is there. `name` names the engine to
    /// those who find the store locked.
    ///
    /// # Errors
    /// `Locked` if another engine owns it, `Version` if a newer Stepwell wrote it, `Corrupt` if it
    /// is damaged, `Invalid` if the path cannot be one of a file, `Failed` if what is there is not
    /// a store, cannot be written, or lies on a network file system. What was there before is
    /// unchanged then.
    pub fn open(path: &Path, name: &str) -> Result<Self, Error> {
        open::open(path, name)
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

    /// Runs something in a transaction that writes. Any error but BUSY poisons the connection.
    fn write<T>(
        &mut self,
        doing: &str,
        tries: u32,
        change: impl FnOnce(&Connection, &mut Heads, &mut Names) -> rows::Result<T>,
    ) -> Result<T, Error> {
        self.usable()?;
        if let Err(error) = self.begin(tries) {
            let fault = Fault::Sql(error);
            if fault.is_busy() {
                return Err(fault.explain(&self.paths.name, doing));
            }
            return Err(self.fail(fault, doing));
        }
        let done = finish(&self.conn, &mut self.heads, &mut self.names, change);
        match done {
            Ok(done) => {
                self.mark = None;
                match self.guard.missing() {
                    None => {
                        self.heads.publish();
                        Ok(done)
                    }
                    Some(path) => {
                        let error = Error::Failed(format!(
                            "{} was moved, replaced or deleted while the engine used it; nothing \
                            more is written.",
                            path.display()
                        ));
                        Err(self.poison(error))
                    }
                }
            }
            Err(fault) => Err(self.fail(fault, doing)),
        }
    }

    fn begin(&mut self, tries: u32) -> rusqlite::Result<()> {
        if self.mark.is_none() {
            self.mark = Some(Mark::now(&self.conn, &self.wal)?);
        }
        begin(&self.conn, tries)
    }

    /// Poisons the connection: until `resume` if the disk is full, else for ever.
    fn fail(&mut self, fault: Fault, doing: &str) -> Error {
        let full = match fault.fullness() {
            Fullness::Yes => true,
            Fullness::Perhaps => self.ballast.disk_is_full(),
            Fullness::No => false,
        };
        if full {
            let error = self.full();
            self.poison = Some(error.clone());
            return error;
        }
        let error = fault.explain(&self.paths.name, doing);
        self.poison(error)
    }

    fn full(&self) -> Error {
        Error::Full(format!(
            "the disk of {} is full. Make room on it.",
            self.paths.name
        ))
    }

    fn poison(&mut self, error: Error) -> Error {
        self.poison = Some(Error::Failed(format!(
            "{}: an earlier write failed ({error}); this engine must stop and open the store anew.",
            self.paths.name
        )));
        error
    }

    /// Opens the connection anew; its first transaction must succeed. Returns false if a commit
    /// that failed may be in the file all the same.
    fn reopen(&mut self) -> Result<bool, Fault> {
        // Dropping the old one ends whatever it still holds.
        self.conn = Handle::writer(&self.paths)?;
        self.limit_pages()?;
        let now = Mark::now(&self.conn, &self.wal)?;
        if self.mark.is_some_and(|before| !now.is_still(before)) {
            return Ok(false);
        }
        resume::catch_up(&self.conn, &mut self.heads, &mut self.names)?;
        Ok(true)
    }

    #[cfg(not(test))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "for tests only"
    )]
    fn limit_pages(&self) -> rusqlite::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn limit_pages(&self) -> rusqlite::Result<()> {
        let pragma = format!("PRAGMA max_page_count={}", self.pages_max);
        self.conn.query_row(&pragma, [], |_| Ok(()))
    }

    fn write_last(&mut self) -> Result<(), Error> {
        self.write("close", BEGIN_TRIES, |conn, heads, _| {
            heads.persist_all(conn)?;
            conn.execute("UPDATE store SET clean = 1", [])?;
            Ok(())
        })
    }

    fn read<T>(
        &mut self,
        question: impl FnOnce(&Connection, &Names) -> rows::Result<T>,
    ) -> Result<T, Error> {
        self.usable()?;
        question(&self.conn, &self.names).map_err(|it| it.explain(&self.paths.name, "read"))
    }
}

fn transact<T>(
    conn: &Connection,
    heads: &mut Heads,
    names: &mut Names,
    change: impl FnOnce(&Connection, &mut Heads, &mut Names) -> rows::Result<T>,
) -> rows::Result<T> {
    begin(conn, BEGIN_TRIES)?;
    finish(conn, heads, names, change)
}

/// Does the rest of a transaction that has begun.
fn finish<T>(
    conn: &Connection,
    heads: &mut Heads,
    names: &mut Names,
    change: impl FnOnce(&Connection, &mut Heads, &mut Names) -> rows::Result<T>,
) -> rows::Result<T> {
    let done = change(conn, heads, names)
        .and_then(|done| Ok(conn.prepare_cached("COMMIT")?.execute([]).map(|_| done)?));
    if done.is_err() && !conn.is_autocommit() {
        // It failed already; the connection is poisoned whatever this says.
        let _ = conn.execute_batch("ROLLBACK");
    }
    done
}

/// Begins to write. Another program's lock is waited for: nothing was changed yet.
fn begin(conn: &Connection, tries: u32) -> rusqlite::Result<()> {
    let mut begin = conn.prepare_cached("BEGIN IMMEDIATE")?;
    let mut waits = 1;
    loop {
        match begin.execute([]) {
            Ok(_) => return Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && waits < tries =>
            {
                waits += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

impl Store for SqliteStore {
    fn recover(&mut self, of: &Domain, into: &mut dyn Recovery) -> Result<(), Error> {
        self.usable()?;
        let mut within;
        let into: &mut dyn Recovery = if of.is_whole() {
            into
        } else {
            within = Within::new(of, into);
            &mut within
        };
        let damage = std::mem::take(&mut self.heads.damage);
        recover::recover(&mut self.conn, &self.names, damage, into)
            .map_err(|it| it.explain(&self.paths.name, "read"))
    }

    /// Whose batch it is does not matter: the lock on the file lets in one engine.
    fn commit_each(
        &mut self,
        batch: &mut dyn Iterator<Item = &Op>,
        _: &Domain,
    ) -> Result<Vec<Outcome>, Error> {
        self.busy = true;
        self.write("write", 1, |conn, heads, names| {
            let mut applied = write::Writing::new(conn, heads, names);
            batch.map(|op| applied.apply(op)).collect()
        })
    }

    fn look(&mut self, needs: Needs) -> Result<Known, Error> {
        self.usable()?;
        let mut look = look::LookUp::new(&self.conn, &self.names, &self.heads, &self.paths.name);
        known::look(needs, &mut look)
    }

    fn letters(&mut self, of: &Domain, engine: u64) -> Result<Vec<Delivery>, Error> {
        let file = self.paths.name.clone();
        self.read(|conn, _| read::letters(conn, of, engine, &file))
    }

    fn meta(&mut self, name: &str) -> Result<Option<Box<[u8]>>, Error> {
        self.read(|conn, _| read::meta(conn, name))
    }

    fn ended(&mut self) -> Result<Vec<Ended>, Error> {
        self.read(read::ended)
    }

    fn failures(&mut self, from_hour: i64) -> Result<Vec<Failed>, Error> {
        self.read(|conn, names| read::failures(conn, names, from_hour))
    }

    fn rename(&mut self, to: &Renaming) -> Result<(), Error> {
        if let Some(why) = self.read(|conn, names| renaming::hindrance(conn, names, to))? {
            return Err(Error::Invalid(why));
        }
        self.write("rename a workflow in", BEGIN_TRIES, |conn, _, names| {
            renaming::rename(conn, names, to)
        })
    }

    fn overdue(&mut self, what: &Expiry) -> Result<u64, Error> {
        self.read(|conn, names| {
            let workflows = names.workflows(Some(&what.namespace), Some(&what.workflow));
            let mut count = 0;
            for workflow in workflows {
                count += expired::expired(conn, workflow, what)?.numbers.len() as u64;
            }
            Ok(count)
        })
    }

    fn buckets(&mut self) -> Result<Vec<Bucket>, Error> {
        self.read(|conn, _| read::buckets(conn))
    }

    fn maintain(&mut self) -> Result<(), Error> {
        self.usable()?;
        self.ballast.renew();
        if self.heads.is_due() {
            let persisted = self.write("write heads", 1, |conn, heads, _| {
                Ok(heads.persist_some(conn)?)
            });
            match persisted {
                Ok(()) | Err(Error::Busy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let sweeps = self.heads.sweeps.is_due();
        if sweeps {
            match self.write("sweep", 1, |conn, heads, _| sweep::step(conn, heads)) {
                Ok(()) | Err(Error::Busy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let idle = !std::mem::take(&mut self.busy);
        let freed = std::mem::take(&mut self.heads.sweeps.freed) || sweeps;
        match self.folder.fold(&self.conn, idle) {
            Ok(length) => {
                // What gave some room back may have more.
                self.behind = freed || (idle && length.is_none());
                self.mark = length.map(|it| Mark::at(it, &self.wal));
                Ok(())
            }
            // Another program is reading or folding; the next call comes soon.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            Err(error) => {
                // No batch was under way.
                self.mark = None;
                self.folder.hinder();
                Err(self.fail(Fault::Sql(error), "checkpoint"))
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.behind
    }

    fn resume(&mut self) -> Result<(), Error> {
        self.conn.check_process(&self.paths)?;
        match &self.poison {
            None => return Ok(()),
            Some(Error::Full(_)) => {}
            Some(error) => return Err(error.clone()),
        }
        self.ballast.free();
        match self.reopen() {
            Ok(true) => {
                self.mark = None;
                self.poison = None;
                Ok(())
            }
            Ok(false) => {
                let error = Error::Failed(format!(
                    "{}: the disk was full, and it cannot be told whether the last write is \
                    there. Open the store anew; nothing acknowledged is lost.",
                    self.paths.name
                ));
                self.poison = Some(error.clone());
                Err(error)
            }
            Err(fault) if fault.is_busy() => Err(self.full()),
            Err(fault) => Err(self.fail(fault, "go on")),
        }
    }

    fn shortage(&self) -> Option<String> {
        match &self.poison {
            Some(Error::Full(text)) => Some(text.clone()),
            _ => self.ballast.is_short().then(|| self.full().to_string()),
        }
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Error> {
        self.usable()?;
        let reader = reader::SqliteReader::open(
            &self.paths,
            &self.heads.published,
            &self.guard,
            &self.folder.gate,
        )?;
        Ok(Box::new(reader))
    }

    fn copier(&self) -> Option<Arc<dyn Copier>> {
        Some(Arc::new(copy::SqliteCopier {
            paths: self.paths.clone(),
            guard: Arc::clone(&self.guard),
        }))
    }

    fn close(mut self: Box<Self>) -> Result<(), Error> {
        match self.write_last() {
            Err(Error::Full(_)) => self.resume().and_then(|()| self.write_last())?,
            done => done?,
        }
        self.ballast.remove();
        let Self {
            conn,
            guard,
            lock,
            owned,
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
        drop(owned);
        lock.remove(&paths);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
