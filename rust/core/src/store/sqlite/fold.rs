//! Folding the WAL back into the database, and giving free pages back.
//!
//! Invariants: the WAL's length is bounded as long as every read transaction ends, and no fold
//! waits for a reader for longer than [`GAP`]. A fold goes as far as the oldest reader allows, and
//! the WAL can begin anew only in a moment in which nobody reads from it. Readers that overlap
//! would never leave such a moment, so above [`WAL_MAX`] our own are held back at the [`Gate`] for
//! an instant, and the WAL is cut off. A reader of another program is not waited for; when it
//! ends, the next fold goes on. A fold that was hindered is not repeated with every commit: it
//! would sort the whole WAL each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rusqlite::Connection;

use super::connection::BUSY;
use crate::clock::moment;

/// WAL pages not yet in the database after which they are folded back: 6 MiB.
pub(super) const WAL_PAGES: i64 = 1_536;
/// WAL pages, folded back or not, after which the WAL is cut off: 24 MiB.
const WAL_MAX: i64 = 4 * WAL_PAGES;
/// Free pages an idle fold gives back at once.
const VACUUM_PAGES: i64 = 256;
/// How long our readers may be waited for.
const GAP: Duration = Duration::from_millis(3);
/// When a fold that a reader hindered is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Readers hold it shared while they read; whoever cuts the WAL off holds it alone.
pub(super) type Gate = Arc<RwLock<()>>;

/// How long the WAL is, and how much of it is in the database already; in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    pub(super) whole: i64,
    folded: i64,
}

/// Looks at the WAL, folding it back in this mode first (`NOOP`: not at all).
pub(super) fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<Length> {
    let mut pragma = conn.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    pragma.query_row([], |row| {
        Ok(Length {
            whole: row.get(1)?,
            folded: row.get(2)?,
        })
    })
}

/// What folds.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) gate: Gate,
    hindered: Option<Instant>,
}

impl Folder {
    /// Folds the WAL back when it has grown, else gives free pages back when idle. Returns the
    /// length of the WAL if it is what it was before.
    pub(super) fn fold(
        &mut self,
        conn: &Connection,
        idle: bool,
    ) -> rusqlite::Result<Option<Length>> {
        let length = checkpoint(conn, "NOOP")?;
        let due = length.whole - length.folded >= WAL_PAGES || length.whole >= WAL_MAX;
        if due {
            if self.hindered.is_some_and(|it| it.elapsed() < AGAIN) {
                return Ok(Some(length));
            }
            let left = if length.whole >= WAL_MAX {
                self.cut_off(conn)?
            } else {
                checkpoint(conn, "PASSIVE")?
            };
            let done = left.whole < WAL_MAX && left.whole - left.folded < WAL_PAGES;
            self.hindered = (!done).then(moment);
            return Ok(None);
        }
        if idle {
            return give_back(conn).map(|gave| (!gave).then_some(length));
        }
        Ok(Some(length))
    }

    /// The disk was too full for a fold: commits go first for a while.
    pub(super) fn hinder(&mut self) {
        self.hindered = Some(moment());
    }

    /// Folds all of the WAL back and begins it anew, if no reader is in the way.
    fn cut_off(&self, conn: &Connection) -> rusqlite::Result<Length> {
        let Some(_alone) = self.gate.try_write_for(GAP) else {
            return checkpoint(conn, "PASSIVE");
        };
        conn.busy_timeout(Duration::ZERO)?;
        let done = checkpoint(conn, "TRUNCATE");
        conn.busy_timeout(BUSY)?;
        done
    }
}

/// Gives some free pages back to the file system; returns whether there were enough of them.
fn give_back(conn: &Connection) -> rusqlite::Result<bool> {
    let free: i64 = conn
        .prepare_cached("PRAGMA freelist_count")?
        .query_row([], |row| row.get(0))?;
    if free <= VACUUM_PAGES {
        return Ok(false);
    }
    conn.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    Ok(true)
}
