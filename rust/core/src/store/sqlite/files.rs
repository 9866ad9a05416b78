//! What lies at a path before SQLite may touch it: nothing, a store of ours, or something else.
//!
//! Something else is refused and stays as it was, byte for byte, with nothing left beside it. So
//! the decision is made from the file's first 100 bytes, and a new store is built under another
//! name and renamed when complete: a file of ours is never seen half made, and an empty file is
//! not ours. Reading the header closes a descriptor of the database, which would cost a SQLite in
//! this process its locks (see `guard`); that is why the engine lock is taken or known to be free
//! first. This file does not know the schema.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::schema;
use crate::store::Error;

const HEADER: usize = 100;
/// How the name of a copy ends that is being made.
pub(super) const UNFINISHED: &str = ".unfinished";
/// How many links may lead to a store.
const LINKS: u32 = 40;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The files of a store.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) database: PathBuf,
    pub(super) wal: PathBuf,
    /// The wal-index.
    pub(super) index: PathBuf,
    pub(super) lock: PathBuf,
    /// Room for bad days.
    pub(super) ballast: PathBuf,
    /// Where a copy is built that will be called like the database.
    pub(super) copy: PathBuf,
    /// Where a new store is built.
    fresh: PathBuf,
    pub(super) folder: PathBuf,
    /// How messages call it: the database's file name.
    pub(super) name: String,
}

/// What is at the path.
pub(super) enum Found {
    Nothing,
    /// A store of ours with this schema version. The file is open.
    Store(File, u32),
}

impl Paths {
    /// Follows links, so that one database has one lock. The folder must exist.
    pub(super) fn resolve(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let Some(name) = path.file_name() else {
            return Err(Error::Invalid(format!(
                "{shown} names no file; give the path of a file."
            )));
        };
        if path.as_os_str() == ":memory:" {
            return Err(Error::Invalid(":memory: is not a file.".into()));
        }
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let folder = folder
            .unwrap_or(Path::new("."))
            .canonicalize()
            .map_err(|error| {
                Error::Invalid(format!(
                    "The folder of {shown} cannot be used: {error}. {}",
                    match error.kind() {
                        io::ErrorKind::NotFound => "Make it first.",
                        io::ErrorKind::PermissionDenied =>
                            "Change its permissions or give another path.",
                        _ => "Give another path.",
                    }
                ))
            })?;
        let database = follow(folder.join(name), &shown)?;
        let folder = database.parent().unwrap_or(&folder).to_path_buf();
        if database.is_dir() {
            return Err(Error::Invalid(format!(
                "{shown} is a folder; give the path of a file."
            )));
        }
        let beside = |suffix| beside(&database, suffix);
        Ok(Self {
            wal: beside("-wal"),
            index: beside("-shm"),
            lock: beside(".lock"),
            ballast: beside(".ballast"),
            copy: beside(UNFINISHED),
            fresh: beside(".new"),
            name: name.to_string_lossy().into_owned(),
            folder,
            database,
        })
    }

    /// Returns the error for something the operating system refused.
    pub(super) fn failed(&self, what: &str, error: &io::Error) -> Error {
        Error::Failed(format!("{}: Stepwell {what}: {error}.", self.name))
    }

    /// Refuses folders and files without write permission, also to a user who may ignore it.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        for path in [&self.folder, &self.database] {
            if path.metadata().is_ok_and(|it| it.permissions().readonly()) {
                return Err(Error::Failed(format!(
                    "{} is read-only; a store must be writable. Change its permissions or give \
                    another path.",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Looks at the header of what is at the path.
    pub(super) fn examine(&self) -> Result<Found, Error> {
        self.look_at("writing")
    }

    /// The same, for whoever will not write.
    pub(super) fn examine_to_read(&self) -> Result<Found, Error> {
        self.look_at("reading")
    }

    fn look_at(&self, mode: &str) -> Result<Found, Error> {
        let file = match OpenOptions::new()
            .read(true)
            .write(mode == "writing")
            .open(&self.database)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.wal.metadata().is_ok_and(|it| it.len() > 0) {
                    return Err(Error::Failed(format!(
                        "{0} is missing but {0}-wal is there, with records that belong to it. Put \
                        {0} back, or move {0}-wal away.",
                        self.name
                    )));
                }
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(self.failed(&format!("cannot open it for {mode}"), &error)),
        };
        let metadata = file
            .metadata()
            .map_err(|error| self.failed("cannot read it", &error))?;
        let len = metadata.len();
        let mut header = [0; HEADER];
        let had = HEADER.min(usize::try_from(len).unwrap_or(HEADER));
        if !metadata.is_file() {
            return Err(Error::Invalid(format!(
                "{} is not a plain file.",
                self.name
            )));
        }
        file.read_exact_at(&mut header[..had], 0)
            .map_err(|error| self.failed("cannot read it", &error))?;
        let has_wal = self.wal.metadata().is_ok_and(|it| it.len() > 0);
        let version = self.judge(&header[..had], len, has_wal)?;
        Ok(Found::Store(file, version))
    }

    /// Returns the error for a schema that this code does not know.
    pub(super) fn newer(&self, version: u32) -> Error {
        let copy = self.copy_of(schema::VERSION);
        let back = if copy.exists() {
            format!(
                " What it was before it was migrated is at {}; nothing that happened since is in \
                that.",
                copy.display()
            )
        } else {
            String::new()
        };
        Error::Version(format!(
            "{} was written by a newer Stepwell (schema {version}; this one knows {}). Install \
            that version or newer.{back}",
            self.name,
            schema::VERSION
        ))
    }

    /// Returns the error for a schema that only an engine of this version can bring up to date.
    pub(super) fn older(&self, version: u32) -> Error {
        Error::Version(format!(
            "{} was written by an older Stepwell (schema {version}; this one reads {}). Open it, or a \
            copy of it, once with an engine of this version, which brings it up to date; or look \
            at it with the older one. Nothing was changed.",
            self.name,
            schema::VERSION
        ))
    }

    /// Where the copy is that is made before this version of the schema is migrated.
    fn copy_of(&self, version: u32) -> PathBuf {
        beside(&self.database, &format!(".schema-{version}"))
    }

    /// Returns the schema version of a store of ours.
    pub(super) fn judge(&self, header: &[u8], len: u64, has_wal: bool) -> Result<u32, Error> {
        let name = &self.name;
        let elsewhere = "Give another path.";
        if header.is_empty() {
            return Err(Error::Failed(format!(
                "{name} is empty; Stepwell did not write it. Delete it or give another path."
            )));
        }
        if !header.starts_with(MAGIC) {
            return Err(Error::Failed(format!(
                "{name} is not a SQLite database; Stepwell did not write it. {elsewhere}"
            )));
        }
        if header.len() < HEADER {
            return Err(Error::Corrupt(format!(
                "{name} ends after {len} bytes, inside its header. Restore it from a backup."
            )));
        }
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if word(68) != schema::APPLICATION_ID {
            return Err(Error::Failed(format!(
                "{name} is the database of another application; Stepwell did not write it. \
                {elsewhere}"
            )));
        }
        let version = word(60);
        if version > schema::VERSION {
            return Err(self.newer(version));
        }
        if version == 0 {
            return Err(Error::Corrupt(format!(
                "{name} has no schema version. Restore it from a backup."
            )));
        }
        let page = match u64::from(header[16]) << 8 | u64::from(header[17]) {
            1 => 65_536,
            size => size,
        };
        let whole = u64::from(word(28)) * page;
        // A crash during a checkpoint leaves a short file and a WAL that has the rest.
        if len < whole && !has_wal {
            return Err(Error::Corrupt(format!(
                "{name} is cut short: {len} of {whole} bytes are there. Restore it from a backup."
            )));
        }
        Ok(version)
    }

    /// Makes a new, empty store. The caller holds the engine lock and has found nothing.
    pub(super) fn create(&self) -> Result<(), Error> {
        self.clear_unfinished()?;
        let made = self.build();
        if made.is_err() {
            let _ = std::fs::remove_file(&self.fresh);
        }
        made
    }

    fn build(&self) -> Result<(), Error> {
        let io = |error: io::Error| self.failed("cannot make it", &error);
        let sql = |error: rusqlite::Error| {
            Error::Failed(format!("{}: Stepwell cannot make it: {error}.", self.name))
        };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.fresh)
            .map_err(io)?;
        let conn = Connection::open(&self.fresh).map_err(sql)?;
        conn.execute_batch(&format!(
            "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF; PRAGMA auto_vacuum=INCREMENTAL;
             PRAGMA application_id={}; BEGIN; {} PRAGMA user_version={}; COMMIT; PRAGMA journal_mode=WAL;",
            schema::APPLICATION_ID,
            schema::CREATE,
            schema::VERSION,
        ))
        .map_err(sql)?;
        conn.close().map_err(|(_, error)| sql(error))?;
        File::open(&self.fresh)
            .and_then(|it| it.sync_all())
            .map_err(io)?;
        std::fs::rename(&self.fresh, &self.database).map_err(io)?;
        File::open(&self.folder)
            .and_then(|it| it.sync_all())
            .map_err(io)
    }

    /// Removes what a crash while making a store has left; it never held a record.
    fn clear_unfinished(&self) -> Result<(), Error> {
        for suffix in ["", "-wal", "-shm"] {
            let path = beside(&self.fresh, suffix);
            if path.exists() {
                std::fs::remove_file(&path)
                    .map_err(|error| self.failed("cannot remove an unfinished store", &error))?;
            }
        }
        Ok(())
    }

    /// Copies the database before a migration; returns the name of the copy. No connection of
    /// ours is open and there is no WAL.
    pub(super) fn back_up(&self, version: u32) -> Result<String, Error> {
        let copy = self.copy_of(version);
        let unfinished = beside(&copy, ".new");
        std::fs::copy(&self.database, &unfinished)
            .and_then(|_| File::open(&unfinished)?.sync_all())
            .and_then(|()| std::fs::rename(&unfinished, &copy))
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .map_err(|error| self.failed("cannot back it up before migrating it", &error))?;
        Ok(copy.display().to_string())
    }

    /// Refuses a file that has other names, or is mounted by itself: the WAL and the lock lie
    /// beside one of its names, and who comes by another one sees neither.
    pub(super) fn check_alone(&self) -> Result<(), Error> {
        let names = self.database.metadata().map_or(1, |it| it.nlink());
        if names > 1 {
            return Err(Error::Failed(format!(
                "{} has {names} names (hard links). Its WAL and its lock lie beside one of them, \
                so records would be lost to the others. \
                 Remove the other names (`find -samefile` shows them), or make a copy of the file \
                 and open that.",
                self.database.display()
            )));
        }
        if is_mounted(&self.database) {
            return Err(Error::Failed(format!(
                "{} is mounted as a single file. Its WAL and its lock would lie beside the mount \
                and be lost with whatever holds that (a \
                 container, say). Mount the folder that the file is in, and give the path in \
                 there.",
                self.database.display()
            )));
        }
        Ok(())
    }

    /// Refuses network file systems, on which WAL and locks do not work.
    pub(super) fn check_file_system(&self) -> Result<(), Error> {
        let Some(kind) = network_file_system(&self.folder) else {
            return Ok(());
        };
        Err(Error::Failed(format!(
            "{} lies on a network file system ({kind}), where SQLite loses data. Put it on a \
            local disk, or use PostgreSQL.",
            self.name
        )))
    }
}

/// Follows a link at the end of a path, also to where nothing is yet: a store made there is at the
/// end of the link.
fn follow(mut path: PathBuf, shown: &std::path::Display<'_>) -> Result<PathBuf, Error> {
    for _ in 0..LINKS {
        let Ok(to) = path.read_link() else {
            return Ok(path);
        };
        let to = path.parent().unwrap_or(Path::new("/")).join(to);
        let folder = to.parent().unwrap_or(Path::new("/")).canonicalize();
        path = match (folder, to.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            (Ok(folder), None) => folder,
            (Err(error), _) => {
                return Err(Error::Invalid(format!(
                    "{shown} is a link to {}, whose folder cannot be used: {error}. Make it \
                    first, or mend the link.",
                    to.display()
                )))
            }
        };
    }
    Err(Error::Invalid(format!(
        "{shown} is a link that leads back to itself. Give the path of a file."
    )))
}

/// Returns the path with something added to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(target_os = "linux")]
fn network_file_system(folder: &Path) -> Option<&'static str> {
    const FUSE: u64 = 0x6573_5546;
    let kind = u64::from(rustix::fs::statfs(folder).ok()?.f_type as u32);
    match kind {
        0x6969 => Some("nfs"),
        0x517b | 0xfe53_4d42 => Some("smb"),
        0xff53_4d42 => Some("cifs"),
        0x5346_414f | 0x6b41_4653 => Some("afs"),
        FUSE => {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
            (mounted_as(&mounts, folder)? == "fuse.sshfs").then_some("sshfs")
        }
        _ => None,
    }
}

/// Returns the type of the file system a folder is on, from the text of `mountinfo`.
#[cfg(target_os = "linux")]
pub(super) fn mounted_as<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let (Some(point), Some((_, rest))) = (mount_point(line), line.split_once(" - ")) else {
            continue;
        };
        let kind = rest.split(' ').next()?;
        // A later mount on the same point hides the earlier one.
        let len = point.as_os_str().len();
        if folder.starts_with(&point) && best.is_none_or(|(longest, _)| len >= longest) {
            best = Some((len, kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// Returns where a line of `mountinfo` says that something is mounted. Blanks and the like are
/// written as `\040`.
#[cfg(target_os = "linux")]
fn mount_point(line: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = line.split(' ').nth(4)?.bytes();
    let mut point = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' {
            let digits = [bytes.next()?, bytes.next()?, bytes.next()?];
            let code = std::str::from_utf8(&digits).ok()?;
            point.push(u8::from_str_radix(code, 8).ok()?);
        } else {
            point.push(byte);
        }
    }
    Some(std::ffi::OsString::from_vec(point).into())
}

/// Whether a file, by its real path, is a mount of its own.
#[cfg(target_os = "linux")]
fn is_mounted(file: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().filter_map(mount_point).any(|it| it == file)
}

/// Whether a file, by its real path, is a mount of its own: here only folders can be.
#[cfg(target_os = "macos")]
fn is_mounted(_: &Path) -> bool {
    false
}

#[cfg(target_os = "macos")]
fn network_file_system(folder: &Path) -> Option<&'static str> {
    let name = rustix::fs::statfs(folder).ok()?.f_fstypename;
    let name: Vec<u8> = name
        .iter()
        .take_while(|it| **it != 0)
        .map(|it| *it as u8)
        .collect();
    match name.as_slice() {
        b"nfs" => Some("nfs"),
        b"smbfs" => Some("smb"),
        b"afpfs" => Some("afp"),
        b"webdav" => Some("webdav"),
        _ => None,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /home/me/far rw shared:1 - \
        fuse.sshfs host: rw\n";
        assert_eq!(
            mounted_as(mounts, Path::new("/home/me/far/x")),
            Some("fuse.sshfs")
        );
        assert_eq!(
            mounted_as(mounts, Path::new("/home/me/farther")),
            Some("ext4")
        );
    }

    #[test]
    fn mount_points_with_blanks_are_read_as_they_are() {
        let line = r"2 1 0:5 / /home/my\040files/ü\134x rw shared:1 - fuse.sshfs host: rw";
        let point = mount_point(line).unwrap();
        assert_eq!(point, Path::new(r"/home/my files/ü\x"));
        let far = point.join("far");
        assert_eq!(mounted_as(line, &far), Some("fuse.sshfs"));
        for broken in [r"2 1 0:5 / /a\04", r"2 1 0:5 / /a\999 rw", "2 1"] {
            assert_eq!(mount_point(broken), None, "{broken}");
        }
    }
}
