//! Room on the disk that is kept for the day it is full.
//!
//! A file beside the database (`audit.db.ballast`), really allocated. When a commit finds no room
//! the file is removed, so that what runs can record how it ends while somebody makes room; it is
//! made again when there is room for it twice over, so that the two do not alternate. It is
//! removed at a clean close, as the WAL is: whoever looks at a closed store sees one file.
//!
//! Invariant: without the ballast the store is short of room, unless this file system allows no
//! ballast at all. A file of somebody else under that name is left alone. This file does not know
//! SQLite.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{fallocate, statvfs, FallocateFlags};
use rustix::io::Errno;

use super::files::Paths;
use crate::clock::moment;

/// More than one fold of the WAL needs (see `fold`), so that a WAL without room to grow can be
/// folded back and be used anew: 8 MiB.
const SIZE: u64 = 8 << 20;
/// How often it is tried to make the ballast again.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// What must fit for the disk not to be full.
const PROBE: usize = 64 << 10;

/// The file, or the lack of it.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    folder: PathBuf,
    state: State,
    tried: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Held,
    /// There is no room for it.
    Short,
    /// This file system cannot, or somebody else's file is there.
    Without,
}

impl Ballast {
    /// Makes it if there is room. The caller owns the store.
    pub(super) fn take(paths: &Paths) -> Self {
        let mut ballast = Self {
            path: paths.ballast.clone(),
            folder: paths.folder.clone(),
            state: State::Short,
            tried: None,
        };
        ballast.renew();
        ballast
    }

    /// Whether there is no room for it: what is left is for what runs.
    pub(super) fn is_short(&self) -> bool {
        self.state == State::Short
    }

    /// Gives its room back.
    pub(super) fn free(&mut self) {
        if self.state == State::Held {
            let _ = std::fs::remove_file(&self.path);
            self.state = State::Short;
            self.tried = Some(moment());
        }
    }

    /// Makes it again if it is missing and there is room; looks at most once a second.
    pub(super) fn renew(&mut self) {
        if self.state != State::Short || self.tried.is_some_and(|it| it.elapsed() < TRY_EVERY) {
            return;
        }
        self.tried = Some(moment());
        self.state = self.make();
    }

    fn make(&self) -> State {
        match self.is_free() {
            Ok(true) => {}
            Ok(false) | Err(_) => return State::Without,
        }
        // One left by a crash counts as room.
        let left = self.path.metadata().map_or(0, |it| it.len());
        let room = statvfs(&self.folder).map_or(u64::MAX, |it| it.f_bavail * it.f_frsize);
        if room.saturating_add(left) < 2 * SIZE {
            let _ = std::fs::remove_file(&self.path);
            return State::Short;
        }
        match allocate(&self.path) {
            Ok(()) => State::Held,
            Err(error) => {
                let _ = std::fs::remove_file(&self.path);
                if is_full(&error) {
                    State::Short
                } else {
                    State::Without
                }
            }
        }
    }

    /// Whether the name is free, or has a ballast that a crash left: zeroes, and not too many.
    fn is_free(&self) -> io::Result<bool> {
        let found = match self.path.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        if !found.is_file() || found.len() > SIZE {
            return Ok(false);
        }
        let mut head = Vec::new();
        let file = File::open(&self.path)?;
        file.take(4_096).read_to_end(&mut head)?;
        Ok(head.iter().all(|it| *it == 0))
    }

    /// Whether a little more does not fit now.
    pub(super) fn disk_is_full(&self) -> bool {
        if self.state == State::Without {
            return false;
        }
        let probe = || {
            let mut file = open(&self.path)?;
            let end = file.seek(SeekFrom::End(0))?;
            let wrote = file.write_all(&vec![0; PROBE]);
            file.set_len(end)?;
            wrote
        };
        let full = probe().is_err_and(|error| is_full(&error));
        if self.state == State::Short {
            let _ = std::fs::remove_file(&self.path);
        }
        full
    }

    #[cfg(test)]
    pub(super) fn forget_the_last_try(&mut self) {
        self.tried = None;
    }

    /// Removes the file: the store is closed cleanly.
    pub(super) fn remove(&mut self) {
        self.free();
        self.state = State::Without;
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn allocate(path: &Path) -> io::Result<()> {
    let mut file = open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, SIZE) {
        Ok(()) => return Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let zeroes = vec![0; PROBE];
    for _ in 0..SIZE / PROBE as u64 {
        file.write_all(&zeroes)?;
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn paths() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(&folder.path().join("audit.db")).unwrap();
        (folder, paths)
    }

    #[test]
    fn it_is_really_allocated_and_private_and_a_crash_leaves_one_that_is_used_again() {
        let (_folder, paths) = paths();
        drop(Ballast::take(&paths));
        let found = paths.ballast.metadata().unwrap();
        assert_eq!(found.len(), SIZE);
        assert!(found.blocks() * 512 >= SIZE, "{} blocks", found.blocks());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        let mut again = Ballast::take(&paths);
        assert!(!again.is_short());
        assert_eq!(paths.ballast.metadata().unwrap().ino(), found.ino());
        again.free();
        assert!(again.is_short());
        assert!(!paths.ballast.exists());
        again.renew();
        assert!(again.is_short(), "not at once: somebody else may need it");
        again.forget_the_last_try();
        again.renew();
        assert!(!again.is_short());
        again.remove();
        assert!(!paths.ballast.exists());
        assert!(!again.is_short());
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let (folder, paths) = paths();
        let notes = folder.path().join("notes");
        std::fs::write(&notes, "my notes").unwrap();
        std::fs::write(&paths.ballast, "my notes").unwrap();
        let mut ballast = Ballast::take(&paths);
        assert!(!ballast.is_short() && !ballast.disk_is_full());
        ballast.free();
        ballast.remove();
        assert_eq!(std::fs::read(&paths.ballast).unwrap(), b"my notes");
        std::fs::remove_file(&paths.ballast).unwrap();
        std::os::unix::fs::symlink(&notes, &paths.ballast).unwrap();
        Ballast::take(&paths).remove();
        assert_eq!(std::fs::read(&notes).unwrap(), b"my notes");
        assert!(paths.ballast.is_symlink());
    }
}
