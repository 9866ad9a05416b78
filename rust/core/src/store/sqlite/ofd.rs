//! Open-file-description locks: they belong to a descriptor, not to the process.
//!
//! Nobody in the process can take them away by closing a file, and two users in one process see
//! each other's. Two things are made of them: the locks of `guard`, and, on Linux, those which our
//! own copy of SQLite takes on the wal-index. SQLite calls `fcntl` through a table that may be
//! changed; ours turns its requests for wal-index locks into requests for this kind, and sees to it
//! that a forked child does not keep them (see `inherited`). For SQLite nothing changes: it has one
//! descriptor of a wal-index per process and keeps count itself.
//!
//! One of them it is granted without asking: `FOLDING`, which `guard` holds shared as long as
//! anything of ours has the file open, so that nobody else can have it exclusively.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Where a lock begins and how long it is.
pub(super) type ByteRange = (i64, i64);
/// `WAL_CKPT_LOCK` of the wal-index.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "held on Linux only")
)]
pub(super) const FOLDING: ByteRange = (121, 1);
/// The others of the wal-index, before and after it.
#[cfg(target_os = "linux")]
const WRITING: ByteRange = (120, 1);
#[cfg(target_os = "linux")]
const REST: ByteRange = (122, 7);

/// A byte of the database that SQLite neither reads nor locks: the engine that has the store open holds it, by
/// whatever name it was opened.
pub(super) const ENGINE: ByteRange = (0x4000_0400, 1);

/// Locks a range together with others.
pub(super) fn share(file: &File, range: ByteRange) -> io::Result<()> {
    set(file, libc::F_RDLCK as _, range)
}

/// Locks a range against everybody else.
pub(super) fn exclude(file: &File, range: ByteRange) -> io::Result<()> {
    set(file, libc::F_WRLCK as _, range)
}

/// Lets a range go.
pub(super) fn release(file: &File, range: ByteRange) -> io::Result<()> {
    set(file, libc::F_UNLCK as _, range)
}

/// Returns whether somebody else has the lock.
pub(super) fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
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
fn set(file: &File, kind: libc::c_short, (start, len): ByteRange) -> io::Result<()> {
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

/// Makes our copy of SQLite lock wal-indexes in this way, once for the process. On macOS a
/// function of fixed arguments cannot stand in for `fcntl`, so nothing is changed there.
pub(super) fn teach_sqlite() {
    #[cfg(target_os = "linux")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(linux::replace_calls);
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{FOLDING, OFD_SETLK, REST, WRITING};
    use crate::store::sqlite::inherited;
    use libc::{c_int, c_void, flock, off_t, size_t};
    use rusqlite::ffi;

    type Fcntl = unsafe extern "C" fn(c_int, c_int, *mut flock) -> c_int;
    type Close = unsafe extern "C" fn(c_int) -> c_int;
    type Mmap =
        unsafe extern "C" fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void;
    type Untyped = unsafe extern "C" fn();

    #[expect(
        unsafe_code,
        reason = "SQLite's table of system calls is a C structure"
    )]
    pub(super) fn replace_calls() {
        // SAFETY: the name is a C string; SQLite initializes itself and returns null or a VFS
        // that lives as long as the process.
        let vfs = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
        assert!(!vfs.is_null(), "SQLite has this VFS on every Unix");
        // SAFETY: `vfs` is not null, see above.
        let replace = unsafe { (*vfs).xSetSystemCall }.expect("this VFS has a table of calls");
        // SAFETY: SQLite keeps the pointers untyped and calls them as what they stand in for; on
        // Linux the fixed arguments of ours are passed as the variable ones of `fcntl` are.
        let ours = unsafe {
            [
                (c"fcntl", std::mem::transmute::<Fcntl, Untyped>(fcntl)),
                (c"close", std::mem::transmute::<Close, Untyped>(close)),
                (c"mmap", std::mem::transmute::<Mmap, Untyped>(mmap)),
            ]
        };
        for (name, ours) in ours {
            // SAFETY: the names are C strings and the functions live as long as the process.
            let answer = unsafe { replace(vfs, name.as_ptr(), Some(ours)) };
            assert_eq!(answer, ffi::SQLITE_OK, "{name:?} is in SQLite's table");
        }
    }

    /// `mmap`, of a wal-index. A forked child does not get it: it would keep the file open, and
    /// with it our locks.
    #[expect(unsafe_code, reason = "it stands in for a C function")]
    unsafe extern "C" fn mmap(
        at: *mut c_void,
        len: size_t,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: off_t,
    ) -> *mut c_void {
        // SAFETY: what the caller asked for, unchanged.
        let mapped = unsafe { libc::mmap(at, len, protection, flags, file, offset) };
        if mapped != libc::MAP_FAILED {
            // SAFETY: it was mapped just now. If it fails, a child keeps what every child kept
            // before.
            let _ = unsafe { libc::madvise(mapped, len, libc::MADV_DONTFORK) };
        }
        mapped
    }

    /// `close`, of whatever SQLite has open.
    #[expect(unsafe_code, reason = "it stands in for a C function")]
    unsafe extern "C" fn close(file: c_int) -> c_int {
        inherited::forget(file);
        // SAFETY: what the caller asked for, unchanged.
        unsafe { libc::close(file) }
    }

    /// `fcntl`, but for locks of a wal-index.
    #[expect(unsafe_code, reason = "it stands in for a C function")]
    unsafe extern "C" fn fcntl(file: c_int, command: c_int, argument: *mut flock) -> c_int {
        if matches!(command, libc::F_SETLK | libc::F_GETLK) {
            // SAFETY: the argument of these commands points to a lock that the caller owns.
            let asked = unsafe { &mut *argument };
            // Those of a database begin at a gigabyte.
            if asked.l_start >= WRITING.0 && asked.l_start + asked.l_len <= REST.0 + REST.1 {
                // What it has to be for this kind; SQLite never reads it.
                asked.l_pid = 0;
                return if command == libc::F_SETLK {
                    inherited::list(file);
                    lock_parts(file, *asked)
                } else {
                    // SAFETY: the descriptor is SQLite's own and open; the pointer is good, see
                    // above.
                    unsafe { libc::fcntl(file, libc::F_OFD_GETLK, argument) }
                };
            }
        }
        // SAFETY: what the caller asked for, unchanged.
        unsafe { libc::fcntl(file, command, argument) }
    }

    /// Locks what lies before and after `FOLDING`. SQLite asks for several at once only when it
    /// recovers, and then before and after are not both asked for.
    #[expect(unsafe_code, reason = "it stands in for a C function")]
    fn lock_parts(file: c_int, mut asked: flock) -> c_int {
        let end = asked.l_start + asked.l_len;
        let start = if asked.l_start == FOLDING.0 {
            FOLDING.0 + FOLDING.1
        } else {
            asked.l_start
        };
        assert!(start != WRITING.0 || end <= FOLDING.0, "see above");
        if start >= end {
            return 0;
        }
        (asked.l_start, asked.l_len) = (start, end - start);
        // SAFETY: the descriptor is SQLite's own and open; the pointer is to a live `flock`.
        unsafe { libc::fcntl(file, OFD_SETLK, std::ptr::addr_of!(asked)) }
    }
}
