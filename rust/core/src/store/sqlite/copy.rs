//! A copy of a running store in a new file.
//!
//! Invariants: under the name that was asked for there is the whole copy or nothing, however this
//! ends; what was there before is never touched. So the copy is built under another name
//! (`backup.db.unfinished`, locked while it is being built), synced, renamed. One that a kill has
//! left goes when the next copy is made in the same folder.
//!
//! The pages are read in one read transaction, so the copy is the store at one moment, and commits
//! go on meanwhile; the WAL cannot be folded back past that moment until the copy is complete. The
//! copy is what a kill at that moment would have left, and is opened like that. SQLite's own
//! incremental copying would begin anew with every commit, which is why the transaction is held.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{flock, renameat_with, FlockOperation, RenameFlags, CWD};
use rustix::io::Errno;

use super::connection::Handle;
use super::files::{Paths, UNFINISHED};
use super::guard::Guard;
use super::inherited::Own;
use super::lock::is_at;
use super::rows::{self, Fault};
use super::schema;
use crate::store::{Copier, Error};

/// Pages copied between two looks at whether to go on: 1 MiB, about a millisecond.
const STEP: i32 = 256;

/// See [`Copier`].
#[derive(Debug)]
pub(super) struct SqliteCopier {
    pub(super) paths: Paths,
    pub(super) guard: Arc<Guard>,
}

impl Copier for SqliteCopier {
    fn copy(&self, to: &Path, go_on: &dyn Fn() -> bool) -> Result<(), Error> {
        let is_link = to.symlink_metadata().is_ok_and(|it| it.is_symlink());
        let to = Paths::resolve(to)?;
        to.check_writable()?;
        to.check_file_system()?;
        if is_link {
            return Err(is_there(&to));
        }
        check_nothing_there(&to)?;
        let file = claim(&to)?;
        remove_unfinished(&to);
        let made = self.build(&to, &file, go_on);
        if made.is_err() {
            let _ = std::fs::remove_file(&to.copy);
        }
        made
    }
}

impl SqliteCopier {
    fn build(&self, to: &Paths, file: &File, go_on: &dyn Fn() -> bool) -> Result<(), Error> {
        let complete = self.copy_pages(&to.copy, go_on).map_err(|fault| {
            match fault.explain(&self.paths.name, "copy it") {
                Error::Full(_) => Error::Full(format!(
                    "the disk of {} is full; no copy was made. Give a path on another disk.",
                    to.name
                )),
                other => other,
            }
        })?;
        if !complete {
            return Err(Error::Failed(format!(
                "{}: the engine ended before the copy was complete; none was made.",
                to.name
            )));
        }
        let io = |error: io::Error| to.failed("cannot make it", &error);
        file.sync_all().map_err(io)?;
        match renameat_with(CWD, &to.copy, CWD, &to.database, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(is_there(to)),
            // This file system cannot refuse to replace.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                check_nothing_there(to)?;
                std::fs::rename(&to.copy, &to.database).map_err(io)?;
            }
            Err(error) => return Err(io(error.into())),
        }
        File::open(&to.folder)
            .and_then(|it| it.sync_all())
            .map_err(io)
    }

    /// Returns false if it was told to stop.
    fn copy_pages(&self, to: &Path, go_on: &dyn Fn() -> bool) -> rows::Result<bool> {
        let _guard = Arc::clone(&self.guard);
        let from = Handle::reader(&self.paths)?;
        let _moment = from.unchecked_transaction()?;
        from.query_row("SELECT one FROM store", [], |_| Ok(()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(to, flags)?;
        copy.execute_batch(
            "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF; PRAGMA cache_size=-4096;",
        )?;
        let backup = Backup::new(&from, &mut copy)?;
        loop {
            if !go_on() {
                return Ok(false);
            }
            match backup.step(STEP)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ => {
                    return Err(Fault::Sql(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                        None,
                    )))
                }
            }
        }
        drop(backup);
        // What lies in a payload store is the original's, who may go on: a copy never deletes there.
        copy.execute_batch("DELETE FROM large")?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(true)
    }
}

fn is_there(to: &Paths) -> Error {
    Error::Invalid(format!(
        "{} is there already and stays as it is. Give a path where nothing is.",
        to.name
    ))
}

fn check_nothing_there(to: &Paths) -> Result<(), Error> {
    for path in [&to.database, &to.wal, &to.index] {
        if path.symlink_metadata().is_ok() {
            return Err(is_there(to));
        }
    }
    Ok(())
}

/// Opens the file under whose name the copy is built, empty, and locks it for this copy.
fn claim(to: &Paths) -> Result<Own, Error> {
    let io = |error: io::Error| to.failed("cannot make it", &error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&to.copy)
        .map_err(io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // It may have become a complete copy before it was locked.
        Ok(()) if is_at(&file, &to.copy) => {}
        Ok(()) | Err(Errno::WOULDBLOCK) => {
            return Err(Error::Failed(format!(
                "another copy is being made to {}. Wait for that one.",
                to.name
            )))
        }
        Err(error) => return Err(io(error.into())),
    }
    let mut head = Vec::new();
    (&file).take(16).read_to_end(&mut head).map_err(io)?;
    if head != b"SQLite format 3\0" && head.iter().any(|it| *it != 0) {
        return Err(Error::Invalid(format!(
            "{}.unfinished was not written by Stepwell. Move it away, or give another path.",
            to.name
        )));
    }
    file.set_len(0).map_err(io)?;
    Ok(file.into())
}

/// Removes what killed copies have left in this folder: backups often have a new name each day, and
/// each may be as long as the store. Not what is being made, and not what is no store of ours.
fn remove_unfinished(to: &Paths) {
    let Ok(folder) = to.folder.read_dir() else {
        return;
    };
    for path in folder.flatten().map(|it| it.path()) {
        let is_named_so = path.as_os_str().as_bytes().ends_with(UNFINISHED.as_bytes());
        if is_named_so && path != to.copy && is_left(&path) {
            // Whoever cannot be removed stays; the copy does not depend on it.
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Whether nobody makes this copy, and it is one: nothing yet, or of our application.
fn is_left(path: &Path) -> bool {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path);
    let Ok(mut file) = file else {
        return false;
    };
    let mut head = [0; 72];
    let length = file.read(&mut head).unwrap_or(0);
    let is_ours = head[68..] == schema::APPLICATION_ID.to_be_bytes();
    (length == 0 || is_ours || head.iter().all(|it| *it == 0))
        && file.metadata().is_ok_and(|it| it.is_file())
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}
