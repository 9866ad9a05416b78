//! Descriptors whose locks must end with this process: a forked child closes its copies of them.
//!
//! Our locks belong to descriptors (see `ofd`, `lock`), and a child that was forked while a store
//! was open has the descriptors too. A pool of workers that outlives a killed engine would go on
//! holding its store, for nobody: it never uses it (see `connection`). So these descriptors are
//! listed here, and the first thing a forked child does is to close them. Closing a copy takes
//! nothing from the parent. A process that is started (`exec`) never has them: they are closed on
//! exec.
//!
//! What runs in a child right after the fork may neither allocate nor lock, so the list is a table
//! of atomics of fixed length. What finds no place in it is inherited, and whoever is refused the
//! store is told which process has it (`lock`).

use std::fs::{File, Metadata};
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::Once;

const MOST: usize = 4_096;
const NONE: RawFd = -1;

static LISTED: [AtomicI32; MOST] = [const { AtomicI32::new(NONE) }; MOST];
/// Places beyond it were never used.
static END: AtomicUsize = AtomicUsize::new(0);

/// An open file that a forked child does not keep.
#[derive(Debug)]
pub(super) struct Own(File);

impl From<File> for Own {
    fn from(file: File) -> Self {
        list(file.as_raw_fd());
        Self(file)
    }
}

impl Deref for Own {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        forget(self.0.as_raw_fd());
    }
}

/// Lists a descriptor, if it is not listed yet.
pub(super) fn list(file: RawFd) {
    static ONCE: Once = Once::new();
    ONCE.call_once(close_after_forks);
    let used = &LISTED[..END.load(Ordering::Acquire)];
    if used.iter().any(|it| it.load(Ordering::Acquire) == file) {
        return;
    }
    for (at, place) in LISTED.iter().enumerate() {
        let free = place.compare_exchange(NONE, file, Ordering::AcqRel, Ordering::Acquire);
        if free.is_ok() {
            END.fetch_max(at + 1, Ordering::AcqRel);
            return;
        }
    }
}

/// Takes a descriptor off the list; to be called before it is closed, for its number is given out
/// again.
pub(super) fn forget(file: RawFd) {
    for place in &LISTED[..END.load(Ordering::Acquire)] {
        let _ = place.compare_exchange(file, NONE, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Whether this process has the file open under a listed descriptor: an engine of its own holds it.
pub(super) fn holds(file: &Metadata) -> bool {
    let is_it = |place: &AtomicI32| {
        let fd = place.load(Ordering::Acquire);
        fd != NONE && identity(fd) == Some((file.dev(), file.ino()))
    };
    LISTED[..END.load(Ordering::Acquire)].iter().any(is_it)
}

#[expect(
    unsafe_code,
    reason = "the descriptor may be closed meanwhile, so it cannot be borrowed"
)]
fn identity(file: RawFd) -> Option<(u64, u64)> {
    // SAFETY: `stat` is plain data for which all zeroes is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: of a descriptor that is closed it says so; the pointer is to a live `stat`.
    let answer = unsafe { libc::fstat(file, &raw mut stat) };
    #[allow(
        clippy::unnecessary_cast,
        reason = "their widths differ between systems"
    )]
    (answer == 0).then_some((stat.st_dev as u64, stat.st_ino as u64))
}

#[expect(unsafe_code, reason = "no crate we use has a safe call for it")]
fn close_after_forks() {
    // SAFETY: the handler is a function that lives as long as the process, and does only what may
    // be done in a child of a process with threads.
    let answer = unsafe { libc::pthread_atfork(None, None, Some(close_all)) };
    assert_eq!(answer, 0, "there is memory for a handler");
}

/// Runs in a forked child, before anything else of it.
#[expect(unsafe_code, reason = "it closes what others have open")]
unsafe extern "C" fn close_all() {
    for place in &LISTED {
        let file = place.swap(NONE, Ordering::AcqRel);
        if file != NONE {
            // SAFETY: it was open at the fork. What had it open never runs in this process: a child
            // does not use the parent's store.
            unsafe { libc::close(file) };
        }
    }
}
