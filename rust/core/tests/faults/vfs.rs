//! A shim over `SQLite`'s own VFS, registered as this process's default, so that the product's
//! code runs on it unchanged.
//!
//! Files of a watched folder (`disk`) are wrapped: an operation is counted, made to fail or handed
//! on, and noted if it was done. All other files are opened by the VFS beneath, into the same
//! memory and with its own methods, as if the shim were not there. Locks, the wal-index and what
//! the device promises (among it `POWERSAFE_OVERWRITE`) are the VFS's own.
#![allow(unsafe_code, reason = "a VFS is a table of C functions")]

use std::ffi::{c_char, c_int, c_void, CStr, OsStr};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Once};

use rusqlite::ffi;

use super::disk::{Disk, Entry, FileNo, How, Kind};

/// What `SQLite` sees as an open file. The file of the VFS beneath follows it in memory.
#[repr(C)]
struct Shim {
    base: ffi::sqlite3_file,
    tap: *mut Tap,
}

struct Tap {
    disk: Arc<Disk>,
    file: FileNo,
    /// Whether the next sync makes the folder durable too: `UNIXFILE_DIRSYNC` in `os_unix.c`.
    folder: bool,
}

/// Makes the shim the default VFS of this process, once.
pub fn register() {
    static ONCE: Once = Once::new();
    // SAFETY: the found VFS and its table live as long as the process, and so does our copy.
    ONCE.call_once(|| unsafe {
        let real = ffi::sqlite3_vfs_find(std::ptr::null());
        let mut shim = *real;
        shim.zName = c"stepwell-faults".as_ptr();
        shim.szOsFile += size_of::<Shim>() as c_int;
        shim.pAppData = real.cast();
        shim.pNext = std::ptr::null_mut();
        shim.xOpen = Some(open);
        shim.xDelete = Some(delete);
        let done = ffi::sqlite3_vfs_register(Box::leak(Box::new(shim)), 1);
        assert_eq!(done, ffi::SQLITE_OK);
    });
}

unsafe fn beneath(vfs: *mut ffi::sqlite3_vfs) -> *mut ffi::sqlite3_vfs {
    (*vfs).pAppData.cast()
}

unsafe fn watched(name: *const c_char) -> Option<(Arc<Disk>, String)> {
    if name.is_null() {
        return None;
    }
    Disk::of(Path::new(OsStr::from_bytes(
        CStr::from_ptr(name).to_bytes(),
    )))
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let vfs = beneath(vfs);
    let open = (*vfs).xOpen.expect("every VFS has it");
    let Some((disk, called)) = watched(name) else {
        return open(vfs, name, file, flags, out);
    };
    (*file).pMethods = std::ptr::null();
    let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
    if create && !disk.exists(&called) && disk.admit(Kind::Create).is_some() {
        return ffi::SQLITE_CANTOPEN;
    }
    let done = open(vfs, name, real(file), flags, out);
    if done != ffi::SQLITE_OK {
        return done;
    }
    let journal =
        ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
    let tap = Tap {
        file: disk.opened(&called),
        disk,
        folder: create && flags & journal != 0,
    };
    let shim = file.cast::<Shim>();
    (*shim).tap = Box::into_raw(Box::new(tap));
    (*shim).base.pMethods = &raw const METHODS;
    done
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    folder: c_int,
) -> c_int {
    let vfs = beneath(vfs);
    let delete = (*vfs).xDelete.expect("every VFS has it");
    let Some((disk, called)) = watched(name) else {
        return delete(vfs, name, folder);
    };
    if disk.admit(Kind::Delete).is_some() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    let done = delete(vfs, name, folder);
    if done == ffi::SQLITE_OK {
        disk.deleted(&called, folder & 1 != 0);
    }
    done
}

/// The file of the VFS beneath.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    file.cast::<Shim>().add(1).cast()
}

unsafe fn tap<'f>(file: *mut ffi::sqlite3_file) -> &'f mut Tap {
    &mut *(*file.cast::<Shim>()).tap
}

/// Calls a method of the file beneath.
macro_rules! hand_on {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let real = real($file);
        let method = (*(*real).pMethods).$method.expect("the unix VFS has all methods");
        method(real $(, $argument)*)
    }};
}

/// Methods that are only handed on.
macro_rules! plain {
    ($($name:ident = $method:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)?;)+) => {
        $(unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) $(-> $answer)? {
            hand_on!(file, $method $(, $argument)*)
        })+
    };
}

plain! {
    size = xFileSize(size: *mut i64) -> c_int;
    lock = xLock(level: c_int) -> c_int;
    unlock = xUnlock(level: c_int) -> c_int;
    reserved = xCheckReservedLock(answer: *mut c_int) -> c_int;
    control = xFileControl(op: c_int, argument: *mut c_void) -> c_int;
    sector = xSectorSize() -> c_int;
    device = xDeviceCharacteristics() -> c_int;
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, to: *mut *mut c_void) -> c_int;
    shm_lock = xShmLock(offset: c_int, n: c_int, flags: c_int) -> c_int;
    shm_barrier = xShmBarrier();
    shm_unmap = xShmUnmap(delete: c_int) -> c_int;
    fetch = xFetch(at: i64, len: c_int, to: *mut *mut c_void) -> c_int;
    unfetch = xUnfetch(at: i64, page: *mut c_void) -> c_int;
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    drop(Box::from_raw((*file.cast::<Shim>()).tap));
    hand_on!(file, xClose)
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    len: c_int,
    at: i64,
) -> c_int {
    if tap(file).disk.admit(Kind::Read).is_some() {
        return ffi::SQLITE_IOERR_READ;
    }
    hand_on!(file, xRead, to, len, at)
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    len: c_int,
    at: i64,
) -> c_int {
    let Tap { disk, file: no, .. } = tap(file);
    let (len, failure) = match disk.admit(Kind::Write) {
        None => (len, None),
        Some(How::Io | How::Read) => return ffi::SQLITE_IOERR_WRITE,
        Some(How::Short) => (len / 2, Some(ffi::SQLITE_IOERR_WRITE)),
        Some(How::Full) => (len / 2, Some(ffi::SQLITE_FULL)),
    };
    let done = hand_on!(file, xWrite, from, len, at);
    if done == ffi::SQLITE_OK {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), len as usize).to_vec();
        disk.push(Entry::Write {
            file: *no,
            at: at as usize,
            bytes,
        });
    }
    failure.unwrap_or(done)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    let Tap { disk, file: no, .. } = tap(file);
    if disk.admit(Kind::Truncate).is_some() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    let done = hand_on!(file, xTruncate, len);
    if done == ffi::SQLITE_OK {
        disk.push(Entry::Truncate {
            file: *no,
            len: len as usize,
        });
    }
    done
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let tap = tap(file);
    if tap.disk.admit(Kind::Sync).is_some() {
        tap.disk.push(Entry::SyncFailed { file: tap.file });
        return ffi::SQLITE_IOERR_FSYNC;
    }
    let done = hand_on!(file, xSync, flags);
    if done == ffi::SQLITE_OK {
        tap.disk.push(Entry::Sync {
            file: tap.file,
            folder: std::mem::take(&mut tap.folder),
        });
    }
    done
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector),
    xDeviceCharacteristics: Some(device),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};
