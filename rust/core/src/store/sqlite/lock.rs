//! The engine lock: one engine owns an embedded store.
//!
//! A file beside the database (`audit.db.lock`), locked as long as the engine lives and saying who
//! that is, and a byte of the database itself, for who comes to it by another name. The locks end
//! with the process, however it ends (see `inherited`); the lock file may stay after a crash and
//! then means nothing. A lock counts only if the file at the path is still the locked one, so
//! removing the file at a clean close cannot let two engines in.

use std::fs::{DirEntry, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{flock, FlockOperation};
use rustix::process::{test_kill_process, Pid};

use super::files::{beside, Paths};
use super::guard::Guard;
use super::inherited::{self, Own};
use super::ofd;
use crate::clock;
use crate::ids::Micros;
use crate::store::Error;

/// How often, 10 ms apart, a lock that is held is tried again.
const LOOKS: u32 = 5;
/// Longest path of a socket.
const SOCKET_MAX: usize = 107;
const HEADING: &str = "stepwell engine";

/// Who has a store open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedBy {
    /// Its process.
    pub pid: u32,
    /// The name its user gave the engine.
    pub name: Box<str>,
    /// When it opened the store.
    pub since: Micros,
}

impl OpenedBy {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == HEADING).then_some(())?;
        let pid = lines.next()?.strip_prefix("pid ")?.parse().ok()?;
        let since = lines.next()?.strip_prefix("since ")?.parse().ok()?;
        let name = lines.next()?.strip_prefix("name ")?;
        // It goes into messages, and on to terminals; whoever may write here need not be us.
        let name = name.chars().filter(|it| !it.is_control()).collect();
        Some(Self { pid, name, since })
    }
}

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct EngineLock(Own);

impl EngineLock {
    /// Takes the lock for this process.
    pub(super) fn take(paths: &Paths, name: &str) -> Result<Self, Error> {
        for attempt in 0.. {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&paths.lock)
                .map_err(|error| paths.failed("cannot make its lock file", &error))?;
            let text =
                read(&mut file).map_err(|error| paths.failed("cannot read its lock", &error))?;
            // Nobody syncs it, so a power loss may leave its length without its text.
            if !text.trim_matches('\0').is_empty() && !text.starts_with(HEADING) {
                return Err(Error::Failed(format!(
                    "{}.lock was not written by Stepwell. Move it away, or give another path.",
                    paths.name
                )));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                // Somebody may just be looking (`opened_by`), or taking the lock and not have signed
                // yet.
                Err(rustix::io::Errno::WOULDBLOCK) if attempt < LOOKS => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken(paths, &file, &text)),
                Err(error) => return Err(paths.failed("cannot lock it", &error.into())),
            }
            if is_at(&file, &paths.lock) {
                write(&mut file, name)
                    .map_err(|error| paths.failed("cannot write its lock", &error))?;
                return Ok(Self(file.into()));
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Removes the file, then lets the lock go.
    pub(super) fn remove(self, paths: &Paths) {
        // A file that stays does no harm: without a lock on it, it means nothing.
        let _ = std::fs::remove_file(&paths.lock);
        drop(self.0);
    }
}

/// Returns who has the store open at this path now, without disturbing it; `None` if nobody does.
///
/// # Errors
/// `Failed` if the lock file cannot be read.
pub fn opened_by(path: &Path) -> Result<Option<OpenedBy>, Error> {
    let paths = Paths::resolve(path)?;
    let mut file = match File::open(&paths.lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(paths.failed("cannot read its lock", &error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let text =
                read(&mut file).map_err(|error| paths.failed("cannot read its lock", &error))?;
            Ok(OpenedBy::parse(&text))
        }
        Err(error) => Err(paths.failed("cannot read its lock", &error.into())),
    }
}

/// Keeps every other engine from the database itself, by whatever name it comes to it.
pub(super) fn own(database: File, paths: &Paths) -> Result<Own, Error> {
    match ofd::exclude(&database, ofd::ENGINE) {
        Ok(()) => Ok(database.into()),
        Err(error) if ofd::is_taken(&error) => {
            if database.metadata().is_ok_and(|it| inherited::holds(&it)) {
                let by = format!("({}), under another name", process::id());
                return Err(in_use_here(paths, &by));
            }
            let by = match holders(&database).first() {
                Some(it) => format!("process {}, as {}", it.pid, it.path.display()),
                None => "another process, under another name".into(),
            };
            Err(in_use(paths, &by))
        }
        Err(error) => Err(paths.failed("cannot lock it", &error)),
    }
}

/// What [`own`] took, held until dropped: the descriptor itself is closed only when the last reader
/// is gone.
#[derive(Debug)]
pub(super) struct Owned(Arc<Guard>);

impl Owned {
    pub(super) fn new(guard: &Arc<Guard>) -> Self {
        Self(Arc::clone(guard))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.disown();
    }
}

fn in_use(paths: &Paths, by: &str) -> Error {
    let name = &paths.name;
    let socket = beside(&paths.database, ".sock");
    // One whose path would be too long is in a folder of the user's.
    let answers = socket.as_os_str().len() > SOCKET_MAX || socket.exists();
    let ask = if answers {
        format!("use stepwell.Client({name:?}) here, which asks that one, or give")
    } else {
        "give".into()
    };
    Error::Locked(format!(
        "{name} is in use by {by}. One engine owns an embedded store: {ask} this engine another \
        file."
    ))
}

/// The process is the caller's own, which need not end.
fn in_use_here(paths: &Paths, by: &str) -> Error {
    Error::Locked(format!(
        "{} is in use by this process {by}. One engine owns an embedded store: use that engine, \
        or leave its block before you open \
         another one, or give this engine another file. In a notebook it may have been opened by \
         a cell that was run before.",
        paths.name
    ))
}

fn taken(paths: &Paths, file: &File, text: &str) -> Error {
    let Some(by) = OpenedBy::parse(text) else {
        return in_use(paths, "another process");
    };
    let OpenedBy { pid, name, .. } = &by;
    let by = match whose(file, *pid) {
        Whose::Ours => return in_use_here(paths, &format!("({pid}, engine \"{name}\")")),
        Whose::TheirOwn => format!("process {pid} (engine \"{name}\")"),
        Whose::Forked(child) => format!(
            "process {child}, which was forked from process {pid} (engine \"{name}\") and still \
            has its lock"
        ),
        Whose::Unseen => format!("process {pid} of another container (engine \"{name}\")"),
    };
    in_use(paths, &by)
}

/// Who has a lock whose file names a process.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// Another engine of this process.
    Ours,
    /// The process that is named, as far as can be told.
    TheirOwn,
    /// One that was forked from it, while it is gone.
    Forked(u32),
    /// A process with a number of another namespace: here that is nobody, or somebody else.
    Unseen,
}

fn whose(file: &File, named: u32) -> Whose {
    if file.metadata().is_ok_and(|it| inherited::holds(&it)) {
        return Whose::Ours;
    }
    let holders = holders(file);
    match holders.first() {
        Some(_) if holders.iter().any(|it| it.pid == named) => Whose::TheirOwn,
        Some(other) => Whose::Forked(other.pid),
        None if named == process::id() || !is_alive(named) => Whose::Unseen,
        None => Whose::TheirOwn,
    }
}

/// Another process that has a file open, and by which name.
struct Foreigner {
    pid: u32,
    path: PathBuf,
}

/// Returns the other processes that have a file open, as far as they can be seen: those of the same
/// user, on Linux.
fn holders(file: &File) -> Vec<Foreigner> {
    let (Ok(wanted), Ok(processes)) = (file.metadata(), Path::new("/proc").read_dir()) else {
        return Vec::new();
    };
    let number = |it: &DirEntry| it.file_name().to_str()?.parse().ok();
    let others = processes
        .flatten()
        .filter_map(|it| Some((number(&it)?, it.path())));
    let others = others.filter(|(pid, _)| *pid != process::id());
    others
        .filter_map(|(pid, process)| {
            let files = process.join("fd").read_dir().ok()?;
            let found = files.flatten().map(|it| it.path()).find(|it| {
                it.metadata()
                    .is_ok_and(|it| (it.dev(), it.ino()) == (wanted.dev(), wanted.ino()))
            })?;
            let path = found.read_link().unwrap_or(found);
            Some(Foreigner { pid, path })
        })
        .collect()
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|it| test_kill_process(it) != Err(rustix::io::Errno::SRCH))
}

/// Whether the file at this path is the open one.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(4096).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(file: &mut File, name: &str) -> io::Result<()> {
    let since = clock::wall().max(0);
    let name: String = name.chars().filter(|it| !it.is_control()).collect();
    let text = format!(
        "{HEADING}\npid {}\nsince {since}\nname {name}\n",
        process::id()
    );
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}
