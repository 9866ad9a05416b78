//! A connection to the database, set up as every one of ours must be.
//!
//! It belongs to the process that opened it: SQLite must not be used, and not even closed, in a
//! forked child, where closing would drop nothing of the parent's but might fold its WAL.

use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::files::Paths;
use super::statements;
use crate::store::Error;

/// Before this version two connections that write and checkpoint at once can lose WAL pages.
const SQLITE_MIN: i32 = 3_051_003;
/// How long SQLite waits for another program's lock before it reports BUSY to the writer, which
/// has other things to do meanwhile.
pub(super) const BUSY: Duration = Duration::from_secs(1);
/// The same for readers.
const BUSY_READER: Duration = Duration::from_secs(10);

/// An open connection of this process.
#[derive(Debug)]
pub(super) struct Handle {
    /// `None` only inside `close` and `drop`.
    conn: Option<Connection>,
    pid: u32,
}

impl Handle {
    /// Opens the connection that writes.
    pub(super) fn writer(paths: &Paths) -> rusqlite::Result<Self> {
        let conn = Connection::open_with_flags(
            &paths.database,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(BUSY)?;
        let mode: String = conn.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        assert_eq!(mode, "wal", "SQLite refused WAL mode on a local file");
        conn.execute_batch(
            "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-32768;
             PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF;",
        )?;
        #[cfg(target_os = "macos")]
        conn.execute_batch("PRAGMA fullfsync=ON; PRAGMA checkpoint_fullfsync=ON;")?;
        conn.set_prepared_statement_cache_capacity(statements::CACHE);
        // The first read recovers the WAL and makes the wal-index, which the guard locks.
        conn.query_row("SELECT count(*) FROM store", [], |_| Ok(()))?;
        Ok(Self::own(conn))
    }

    /// Opens a connection that only reads.
    pub(super) fn reader(paths: &Paths) -> rusqlite::Result<Self> {
        let conn = Connection::open_with_flags(
            &paths.database,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(BUSY_READER)?;
        conn.execute_batch(
            "PRAGMA query_only=ON; PRAGMA cache_size=-4096; PRAGMA trusted_schema=OFF;",
        )?;
        Ok(Self::own(conn))
    }

    /// Opens a connection that reads files which nobody writes, and leaves nothing beside them: no
    /// lock is taken, and the index of the WAL, if there is one to read, is made in memory. Whether
    /// that was so has to be looked at afterwards.
    pub(super) fn onlooker(paths: &Paths, has_wal: bool) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = if has_wal {
            let conn = Connection::open_with_flags_and_vfs(&paths.database, flags, c"unix-none")?;
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            conn.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
            conn
        } else {
            let uri = immutable(&paths.database);
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
        };
        conn.execute_batch(
            "PRAGMA query_only=ON; PRAGMA cache_size=-4096; PRAGMA trusted_schema=OFF;",
        )?;
        Ok(Self::own(conn))
    }

    fn own(conn: Connection) -> Self {
        Self {
            conn: Some(conn),
            pid: std::process::id(),
        }
    }

    /// Refuses a forked child.
    pub(super) fn check_process(&self, paths: &Paths) -> Result<(), Error> {
        if self.pid == std::process::id() {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "{} was opened by process {} and cannot be used in its forked child. Open an engine \
            in the child, or start it with \"spawn\".",
            paths.name, self.pid
        )))
    }

    /// Makes it look as if this process were a child of the one that opened it.
    #[cfg(test)]
    pub(super) fn pretend_forked(&mut self) {
        self.pid = 0;
    }

    /// Closes it and reports what went wrong.
    pub(super) fn close(mut self) -> rusqlite::Result<()> {
        match self.conn.take() {
            Some(conn) => conn.close().map_err(|(_, error)| error),
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            std::mem::forget(self.conn.take());
        }
    }
}

impl Deref for Handle {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn.as_ref().expect("it is open until it is dropped")
    }
}

impl DerefMut for Handle {
    fn deref_mut(&mut self) -> &mut Connection {
        self.conn.as_mut().expect("it is open until it is dropped")
    }
}

/// Returns how SQLite is told of a file that does not change.
fn immutable(database: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in database.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push('%');
            for digit in [byte >> 4, byte & 15] {
                uri.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    uri + "?immutable=1"
}

/// Refuses a SQLite that can lose data.
pub(super) fn check_sqlite(version: i32) -> Result<(), Error> {
    if version >= SQLITE_MIN {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "This build of Stepwell has SQLite {}.{}.{}, which can lose records; 3.51.3 or newer is \
        needed.",
        version / 1_000_000,
        version / 1_000 % 1_000,
        version % 1_000
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_that_can_lose_wal_pages_is_refused() {
        assert!(check_sqlite(3_051_002)
            .unwrap_err()
            .to_string()
            .contains("3.51.2"));
        assert!(check_sqlite(rusqlite::version_number()).is_ok());
    }
}
