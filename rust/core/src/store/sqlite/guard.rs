//! Locks of our own on the database and its wal-index, which nobody else can take away.
//!
//! SQLite guards its files with POSIX locks, and POSIX lets all of a process's locks on a file go
//! when *any* descriptor of that file is closed in the process. Python's `sqlite3` is a second
//! copy of SQLite in our process: when it closes our file, our locks are gone, it believes itself
//! the last user, folds the WAL back and deletes it under us, and what we then acknowledge is
//! lost. Open-file-description locks belong to a descriptor instead. Two shared ones, on the
//! ranges SQLite must lock exclusively before it may delete a WAL or reset a wal-index, make that
//! deletion impossible; they do not hinder readers and writers. What these ranges are is part of
//! SQLite's file format (os.h, os_unix.c).
//!
//! For the same reason this process closes its descriptors of these files only after SQLite has
//! closed its own: readers hold the guard too.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::Paths;

/// `SHARED_FIRST` and `SHARED_SIZE` of the database file.
const SHARED_RANGE: (i64, i64) = (0x4000_0002, 510);
/// The dead-man switch of the wal-index: `UNIX_SHM_DMS`.
const SWITCH: (i64, i64) = (128, 1);

/// Two shared locks, and the identity of the files they are on.
#[derive(Debug)]
pub(super) struct Guard {
    database: File,
    index: File,
    identities: Vec<(PathBuf, (u64, u64))>,
}

impl Guard {
    /// Takes the locks. `database` is open for reading; the wal-index exists because SQLite has
    /// read the file through a connection that is still open.
    pub(super) fn take(database: File, paths: &Paths) -> io::Result<Self> {
        let index = File::open(&paths.index)?;
        shared_lock(&database, SHARED_RANGE)?;
        shared_lock(&index, SWITCH)?;
        let mut identities = Vec::new();
        for path in [&paths.database, &paths.wal, &paths.index, &paths.lock] {
            identities.push((path.clone(), identity(&path.metadata()?)));
        }
        Ok(Self {
            database,
            index,
            identities,
        })
    }

    /// Returns the first of our files that is no longer the one we opened, if any. Called after
    /// each commit and before it is acknowledged: what went into a deleted file is lost.
    pub(super) fn missing(&self) -> Option<&Path> {
        let gone = |(path, known): &&(PathBuf, (u64, u64))| {
            path.metadata().map_or(true, |it| identity(&it) != *known)
        };
        self.identities.iter().find(gone).map(|(path, _)| &**path)
    }

    /// Lets the locks go, so that SQLite may remove its WAL on close. The descriptors stay open.
    pub(super) fn release(&self) -> io::Result<()> {
        unlock(&self.index, SWITCH)?;
        unlock(&self.database, SHARED_RANGE)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn shared_lock(file: &File, range: (i64, i64)) -> io::Result<()> {
    set_lock(file, libc::F_RDLCK as _, range)
}

fn unlock(file: &File, range: (i64, i64)) -> io::Result<()> {
    set_lock(file, libc::F_UNLCK as _, range)
}

/// `F_OFD_SETLK`; on macOS it has no name in the public headers.
#[cfg(target_os = "linux")]
const OFD_SETLK: libc::c_int = libc::F_OFD_SETLK;
#[cfg(target_os = "macos")]
const OFD_SETLK: libc::c_int = 90;

#[expect(
    unsafe_code,
    reason = "no crate we use has a safe call for open-file-description locks"
)]
fn set_lock(file: &File, kind: libc::c_short, (start, len): (i64, i64)) -> io::Result<()> {
    // SAFETY: `flock` is plain data for which all zeroes is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = start;
    lock.l_len = len;
    // SAFETY: the descriptor is open as long as `file` lives; the pointer is to a live `flock`,
    // which is what this command takes.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), OFD_SETLK, std::ptr::addr_of!(lock)) };
    if answer == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
