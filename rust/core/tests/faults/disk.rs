//! A folder whose files are watched: everything `SQLite` does to them, in order, and what of it
//! is made to fail.
//!
//! The files themselves are real and always up to date, as they are for a process that lives. What
//! a power loss would leave of them is decided later, from the log (`power`). What is done past
//! `SQLite` (the lock file) is not seen. The wal-index is not seen either: it is never durable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// Name and content.
pub type Files = BTreeMap<String, Vec<u8>>;
/// A file, whatever it is called: a name may be deleted and made anew.
pub type FileNo = usize;

/// What happened.
#[derive(Debug, Clone)]
pub enum Entry {
    Create {
        name: String,
        file: FileNo,
    },
    Write {
        file: FileNo,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: FileNo,
        len: usize,
    },
    /// The file is durable; with `folder` what was created and deleted is, too.
    Sync {
        file: FileNo,
        folder: bool,
    },
    /// A sync said no. What was to be synced may be there or not, and no later sync covers it:
    /// Linux marks such pages clean.
    SyncFailed {
        file: FileNo,
    },
    Delete {
        name: String,
        folder: bool,
    },
    Mark(Mark),
}

/// What the user of the store knew at this point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The batch with this number (from 1) was handed over.
    Begun(usize),
    /// Its commit has returned.
    Acked(usize),
    /// The store was opened and told this boot number.
    Opened(u64),
}

/// What is counted, and can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Create,
    Write,
    Truncate,
    Sync,
    Delete,
    Read,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// EIO; nothing is written.
    Io,
    /// EIO after half of the bytes.
    Short,
    /// ENOSPC after half of the bytes.
    Full,
    /// EIO of a read. Only reads are counted.
    Read,
}

/// The `at`th operation (from 1) fails, and with `lasting` all after it.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub at: u64,
    pub how: How,
    pub lasting: bool,
}

#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    log: Vec<Entry>,
    names: BTreeMap<String, FileNo>,
    files: usize,
    fault: Option<Fault>,
    count: u64,
    failed: Vec<Kind>,
}

static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());

impl Disk {
    /// Watches a folder that has exactly these files. They are durable.
    pub fn watch(folder: &Path, files: &Files) -> Arc<Self> {
        super::vfs::register();
        let mut inner = Inner::default();
        for name in files.keys() {
            inner.names.insert(name.clone(), inner.files);
            inner.files += 1;
        }
        let disk = Arc::new(Self {
            folder: folder.to_path_buf(),
            inner: Mutex::new(inner),
        });
        DISKS.lock().push(Arc::clone(&disk));
        disk
    }

    /// Returns the disk that watches this file, and how the file is called there.
    pub fn of(path: &Path) -> Option<(Arc<Self>, String)> {
        let name = path.file_name()?.to_str()?.to_owned();
        let folder = path.parent()?;
        let disks = DISKS.lock();
        let disk = disks.iter().find(|it| it.folder == folder)?;
        Some((Arc::clone(disk), name))
    }

    /// Stops watching: who opens its files from now on gets the plain ones.
    pub fn leave(&self) {
        DISKS.lock().retain(|it| it.folder != self.folder);
    }

    pub fn plan(&self, fault: Option<Fault>) {
        let mut inner = self.inner.lock();
        inner.fault = fault;
        inner.count = 0;
        inner.failed.clear();
    }

    /// What was made to fail since the plan was made.
    pub fn failed(&self) -> Vec<Kind> {
        self.inner.lock().failed.clone()
    }

    /// How many operations could have failed since the plan was made.
    pub fn count(&self) -> u64 {
        self.inner.lock().count
    }

    pub fn mark(&self, mark: Mark) {
        self.push(Entry::Mark(mark));
    }

    pub fn push(&self, entry: Entry) {
        self.inner.lock().log.push(entry);
    }

    /// What happened so far.
    pub fn log(&self) -> Vec<Entry> {
        self.inner.lock().log.clone()
    }

    /// Counts an operation; says how it has to fail.
    pub fn admit(&self, kind: Kind) -> Option<How> {
        let mut inner = self.inner.lock();
        let fault = inner.fault?;
        if (fault.how == How::Read) != (kind == Kind::Read) {
            return None;
        }
        inner.count += 1;
        let now = inner.count == fault.at || (fault.lasting && inner.count > fault.at);
        if !now {
            return None;
        }
        inner.failed.push(kind);
        Some(fault.how)
    }

    pub fn exists(&self, name: &str) -> bool {
        self.inner.lock().names.contains_key(name)
    }

    /// A file was opened; if it is a new one, that is noted.
    pub fn opened(&self, name: &str) -> FileNo {
        let mut inner = self.inner.lock();
        if let Some(file) = inner.names.get(name) {
            return *file;
        }
        let file = inner.files;
        inner.files += 1;
        inner.names.insert(name.to_owned(), file);
        let name = name.to_owned();
        inner.log.push(Entry::Create { name, file });
        file
    }

    pub fn deleted(&self, name: &str, folder: bool) {
        let mut inner = self.inner.lock();
        if inner.names.remove(name).is_some() {
            let name = name.to_owned();
            inner.log.push(Entry::Delete { name, folder });
        }
    }
}
