//! The engine lock: one engine owns an embedded store.
//!
//! A file beside the database (`audit.db.lock`), locked as long as the engine lives and saying
//! who that is. The lock ends with the process, however it ends; the file may stay after a crash
//! and then means nothing. A lock counts only if the file at the path is still the locked one,
//! so removing the file at a clean close cannot let two engines in.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{flock, FlockOperation};

use super::files::Paths;
use crate::ids::Micros;
use crate::store::Error;

/// How often, 10 ms apart, a lock that is held is tried again.
const LOOKS: u32 = 5;
const HEADING: &str = "stepwell engine";

/// Who owns a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// The name its user gave the engine.
    pub name: Box<str>,
    /// When it opened the store.
    pub since: Micros,
}

impl Owner {
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
pub(super) struct EngineLock(File);

impl EngineLock {
    /// Takes the lock for this process.
    pub(super) fn take(paths: &Paths, owner: &str) -> Result<Self, Error> {
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
                // Somebody may just be looking (`owner`), or taking the lock and not have signed yet.
                Err(rustix::io::Errno::WOULDBLOCK) if attempt < LOOKS => {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken(paths, &text)),
                Err(error) => return Err(paths.failed("cannot lock it", &error.into())),
            }
            if is_at(&file, &paths.lock) {
                write(&mut file, owner)
                    .map_err(|error| paths.failed("cannot write its lock", &error))?;
                return Ok(Self(file));
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

/// Returns who owns the store at this path now, without disturbing it; `None` if nobody does.
///
/// # Errors
/// `Failed` if the lock file cannot be read.
pub fn owner(path: &Path) -> Result<Option<Owner>, Error> {
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
            Ok(Owner::parse(&text))
        }
        Err(error) => Err(paths.failed("cannot read its lock", &error.into())),
    }
}

fn taken(paths: &Paths, text: &str) -> Error {
    let by = Owner::parse(text).map_or_else(
        || "another process".to_owned(),
        |it| format!("process {} (engine \"{}\")", it.pid, it.name),
    );
    Error::Locked(format!(
        "{} is in use by {by}. One engine owns an embedded store: stop that process, run one worker, or give this engine another \
         file. stepwell.Client, for calls from other processes, is not in this version.",
        paths.name
    ))
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

fn write(file: &mut File, owner: &str) -> io::Result<()> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_micros());
    let name: String = owner.chars().filter(|it| !it.is_control()).collect();
    let text = format!(
        "{HEADING}\npid {}\nsince {since}\nname {name}\n",
        std::process::id()
    );
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}
