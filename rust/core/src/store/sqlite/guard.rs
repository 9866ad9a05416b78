//! Locks of our own on the database and its wal-index, which nobody else can take away.
//!
//! SQLite guards its files with POSIX locks. They do not exist between two users in one process,
//! and POSIX lets all of a process's locks on a file go when *any* descriptor of that file is
//! closed in the process. Python's `sqlite3` is a second copy of SQLite in our process: it sees no
//! lock of ours, and takes them away when it closes our file. Then it believes itself the last
//! user, folds the WAL back and deletes it under us, and what we then acknowledge is lost; or it
//! folds and resets the WAL, because somebody asked it to, while we write into it.
//!
//! Open-file-description locks belong to a descriptor instead (see `ofd`). We hold three, all
//! shared, from before SQLite opens the file, on what SQLite must lock exclusively before it may
//!
//! - delete the WAL when it closes (`SHARED_RANGE` of the database),
//! - reset the wal-index when it opens (`SWITCH` of the wal-index),
//! - fold the WAL back or rebuild the wal-index (`FOLDING` of the wal-index; on Linux).
//!
//! They hinder neither readers nor writers. We alone fold: our own copy of SQLite does not lock
//! `FOLDING`, because it has us. What these ranges are is part of SQLite's file format (os.h,
//! os_unix.c, wal.c).
//!
//! For the same reason this process closes its descriptors of these files only after SQLite has
//! closed its own: readers hold the guard too.

use std::fs::{Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::Paths;
use super::inherited::Own;
use super::ofd::{self, is_taken, FOLDING};

/// `SHARED_FIRST` and `SHARED_SIZE` of the database file.
const SHARED_RANGE: (i64, i64) = (0x4000_0002, 510);
/// The dead-man switch of the wal-index: `UNIX_SHM_DMS`.
const SWITCH: (i64, i64) = (128, 1);
/// How often, 1 ms apart, a lock is tried that another program holds while it folds or closes.
const TRIES: u32 = 10_000;

/// The locks, and the identity of the files they are on.
#[derive(Debug)]
pub(super) struct Guard {
    database: Own,
    index: Own,
    identities: Vec<(PathBuf, (u64, u64))>,
}

impl Guard {
    /// Takes the locks. Nothing of ours has the database open yet: an intruder that closes it
    /// between that and this would delete the WAL we have just opened. `database` is open for
    /// reading.
    pub(super) fn take(database: Own, paths: &Paths) -> io::Result<Self> {
        ofd::teach_sqlite();
        patiently(|| ofd::share(&database, SHARED_RANGE))?;
        let index: Own = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&paths.index)?
            .into();
        // As SQLite does it: the first user of all begins with an empty wal-index, because the one
        // that is there may have survived the loss of power that the WAL did not.
        match ofd::exclude(&index, SWITCH) {
            Ok(()) => index.set_len(0)?,
            Err(error) if is_taken(&error) => {}
            Err(error) => return Err(error),
        }
        patiently(|| ofd::share(&index, SWITCH))?;
        #[cfg(target_os = "linux")]
        patiently(|| ofd::share(&index, FOLDING))?;
        Ok(Self {
            database,
            index,
            identities: Vec::new(),
        })
    }

    /// Remembers which files SQLite works with, which has read the database through a connection
    /// that is still open.
    pub(super) fn remember(&mut self, paths: &Paths) -> io::Result<()> {
        for path in [&paths.database, &paths.wal, &paths.index, &paths.lock] {
            let there = identity(&path.metadata()?);
            self.identities.push((path.clone(), there));
        }
        Ok(())
    }

    /// Returns the first of our files that is no longer the one we opened, if any. Called after
    /// each commit and before it is acknowledged: what went into a deleted file is lost.
    pub(super) fn missing(&self) -> Option<&Path> {
        let gone = |(path, known): &&(PathBuf, (u64, u64))| {
            path.metadata().map_or(true, |it| identity(&it) != *known)
        };
        self.identities.iter().find(gone).map(|(path, _)| &**path)
    }

    /// Lets others own the database, though readers still have it open.
    pub(super) fn disown(&self) {
        // If that fails, closing the descriptor does the same.
        let _ = ofd::release(&self.database, ofd::ENGINE);
    }

    /// Lets SQLite remove its WAL on close, after a last fold. The descriptors stay open.
    pub(super) fn release(&self) -> io::Result<()> {
        ofd::release(&self.index, SWITCH)?;
        ofd::release(&self.database, SHARED_RANGE)
    }
}

/// Tries again while somebody else has the lock.
fn patiently(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..TRIES {
        match lock() {
            Err(error) if is_taken(&error) => std::thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
    lock()
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
