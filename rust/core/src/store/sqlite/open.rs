//! From a path to a store that accepts commits, or to one clear sentence and unchanged files.
//!
//! Lock, header, schema version, guard, connection, integrity after an unclean end, heads that
//! were lost, new boot number: in this order, and nothing is written before all checks are passed.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::ballast::Ballast;
use super::connection::{check_sqlite, Handle};
use super::files::{Found, Paths};
use super::fold::Folder;
use super::guard::Guard;
use super::heads::Heads;
use super::lock::EngineLock;
use super::names::Names;
use super::rows::{self, Fault};
use super::{schema, transact, SqliteStore};
use crate::store::Error;

/// Up to this size a file is checked whole after an unclean end; a larger one would take seconds.
/// Then only its header is, and what is read later: SQLite checks each page's structure, our
/// checksums each payload, and SQLite's own check the whole file when asked to.
const CHECK_MAX: u64 = 64 << 20;

pub(super) fn open(path: &Path, owner: &str) -> Result<SqliteStore, Error> {
    check_sqlite(rusqlite::version_number())?;
    let paths = Paths::resolve(path)?;
    paths.check_writable()?;
    paths.check_file_system()?;
    if !paths.lock.exists() {
        // Nobody of ours has it open, so a look is harmless; a file that is not ours gets no
        // lock file beside it.
        paths.examine()?;
    }
    let lock = EngineLock::take(&paths, owner)?;
    match open_locked(&paths) {
        Ok(parts) => Ok(SqliteStore {
            conn: parts.conn,
            guard: parts.guard,
            lock,
            heads: parts.heads,
            names: parts.names,
            wal: parts.wal,
            folder: Folder::default(),
            ballast: Ballast::take(&paths),
            boot: parts.boot,
            paths,
            busy: true,
            mark: None,
            poison: None,
            #[cfg(test)]
            pages_max: u32::MAX - 1,
        }),
        Err(error) => {
            lock.remove(&paths);
            Err(match error {
                // A row that is needed to open the file is no less than the file.
                Error::Row(text) => Error::Corrupt(text),
                other => other,
            })
        }
    }
}

struct Parts {
    conn: Handle,
    guard: Arc<Guard>,
    heads: Heads,
    names: Names,
    wal: File,
    boot: u64,
}

fn open_locked(paths: &Paths) -> Result<Parts, Error> {
    let mut found = paths.examine()?;
    if matches!(found, Found::Nothing) {
        paths.create()?;
        found = paths.examine()?;
    }
    let Found::Store(database, version) = found else {
        return Err(Error::Failed(format!("{} vanished.", paths.name)));
    };
    let explain = |fault: Fault| fault.explain(&paths.name, "open it");
    let unguarded = |error| paths.failed("cannot guard it with locks", &error);
    let mut guard = Guard::take(database, paths).map_err(unguarded)?;
    if version < schema::VERSION {
        migrate(paths, version, &schema::MIGRATIONS[version as usize - 1..])?;
    }
    let conn = match Handle::writer(paths) {
        Ok(conn) => conn,
        Err(error) => {
            // SQLite could not leave the files as the last user does while they were guarded.
            drop(guard);
            let _ = Handle::writer(paths);
            return Err(explain(error.into()));
        }
    };
    guard.remember(paths).map_err(unguarded)?;
    // From here on it is dropped before the connection: nothing was acknowledged yet, and SQLite
    // is to leave a file that is refused as the last user does.
    let guard = guard;
    // The header that was looked at may be older than the WAL.
    let version = version_of(&conn).map_err(|error| explain(error.into()))?;
    if version != schema::VERSION {
        return Err(paths.newer(version));
    }
    let wal =
        File::open(&paths.wal).map_err(|error| paths.failed("cannot read its WAL", &error))?;
    let mut names = Names::default();
    let (clean, length) = state(&conn).map_err(explain)?;
    if !clean && length <= CHECK_MAX {
        check(&conn).map_err(explain)?;
    }
    names
        .refresh(&conn)
        .map_err(|error| explain(error.into()))?;
    let start = |conn: &Connection, heads: &mut Heads, _: &mut Names| {
        *heads = Heads::recover(conn)?;
        let sql = "UPDATE store SET boot = boot + 1, clean = 0 RETURNING boot";
        let boot: i64 = conn.query_row(sql, [], |row| row.get(0))?;
        Ok(boot as u64)
    };
    let mut heads = Heads::default();
    let boot = transact(&conn, &mut heads, &mut names, start).map_err(explain)?;
    Ok(Parts {
        conn,
        guard: Arc::new(guard),
        heads,
        names,
        wal,
        boot,
    })
}

/// Returns whether the last owner ended cleanly, and how long the database is in bytes.
fn state(conn: &Connection) -> rows::Result<(bool, u64)> {
    let clean: i64 = conn.query_row("SELECT clean FROM store WHERE one = 1", [], |row| {
        row.get(0)
    })?;
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok((clean != 0, (pages * page) as u64))
}

fn check(conn: &Connection) -> rows::Result<()> {
    let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(Fault::Corrupt(verdict))
}

fn version_of(conn: &Connection) -> rusqlite::Result<u32> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings an older file up to date, after a copy was made beside it. A kill at any moment leaves
/// the old schema or the new one, and a copy of the old one that is whole or will be made again.
fn migrate(paths: &Paths, version: u32, steps: &[&str]) -> Result<(), Error> {
    let explain = |error: rusqlite::Error| Fault::Sql(error).explain(&paths.name, "migrate it");
    let fold =
        |conn: &Connection| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let conn = Handle::writer(paths).map_err(explain)?;
    fold(&conn).map_err(explain)?;
    let now = version_of(&conn).map_err(explain)?;
    conn.close().map_err(explain)?;
    if now != version {
        // It was migrated before, by an engine that was killed before it could fold the WAL back.
        return Ok(());
    }
    let copy = paths.back_up(version)?;
    let mut conn = Handle::writer(paths).map_err(explain)?;
    schema::migrate(&mut conn, version, steps)
        .and_then(|()| fold(&conn))
        .and_then(|()| conn.close())
        .map_err(|error| {
            let more = |text| format!("{text} A copy from before is at {copy}.");
            match explain(error) {
                Error::Failed(text) | Error::Full(text) | Error::Busy(text) => {
                    Error::Failed(more(text))
                }
                Error::Corrupt(text) => Error::Corrupt(more(text)),
                other => other,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Op, Store};

    #[test]
    fn an_older_schema_is_migrated_in_one_transaction_after_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let mut store = Box::new(open(&path, "test").unwrap());
        let _ = store
            .commit(&[Op::Meta("kept".into(), [1].into())])
            .unwrap();
        store.close().unwrap();
        let before = std::fs::read(&path).unwrap();
        let paths = Paths::resolve(&path).unwrap();
        let good = "ALTER TABLE store ADD COLUMN a INTEGER";
        let error = migrate(&paths, 1, &[good, "ALTER TABLE nowhere ADD COLUMN a"]).unwrap_err();
        let copy = folder.path().join("audit.db.schema-1");
        assert!(error.to_string().contains("audit.db.schema-1"), "{error}");
        assert_eq!(std::fs::read(&copy).unwrap(), before);
        assert_eq!(schema_of(&path), (1, 5));

        migrate(&paths, 1, &[good, "ALTER TABLE store ADD COLUMN b INTEGER"]).unwrap();
        assert_eq!(schema_of(&path), (3, 7));
        // As after a kill between the commit and the fold: the header that was read is old.
        migrate(&paths, 1, &[good]).unwrap();
        assert_eq!(schema_of(&path), (3, 7));
        assert_eq!(std::fs::read(&copy).unwrap(), before);
        assert!(matches!(open(&path, "test"), Err(Error::Version(_))));
    }

    #[test]
    fn a_newer_schema_that_is_still_in_the_wal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        drop(open(&path, "test").unwrap());
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA user_version=9;")
            .unwrap();
        let error = open(&path, "test").unwrap_err();
        assert!(
            matches!(&error, Error::Version(it) if it.contains('9')),
            "{error}"
        );
    }

    const CHILD: &str = "STEPWELL_MIGRATES";
    const STEPS: u32 = 40;

    fn steps() -> Vec<String> {
        let step = |n| format!("CREATE TABLE t{n} AS SELECT * FROM params");
        (0..STEPS).map(step).collect()
    }

    /// Run by the test below as a process of its own, which is killed.
    #[test]
    fn child_that_migrates() {
        let Some(path) = std::env::var_os(CHILD) else {
            return;
        };
        let paths = Paths::resolve(Path::new(&path)).unwrap();
        let steps = steps();
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        println!("begins");
        migrate(&paths, 1, &steps).unwrap();
    }

    #[test]
    fn a_kill_in_the_middle_of_a_migration_leaves_the_old_schema_or_the_new_one() {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};
        let seed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .subsec_nanos();
        println!("seed {seed}");
        let mut random = u64::from(seed) | 1;
        let (mut old, mut new) = (0, 0);
        for round in 0..12 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("audit.db");
            let mut store = Box::new(open(&path, "test").unwrap());
            for no in 1..=100 {
                let _ = store.commit(&[super::super::tests::create(no)]).unwrap();
            }
            store.close().unwrap();
            let before = std::fs::read(&path).unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "store::sqlite::open::tests::child_that_migrates",
                    "--nocapture",
                ])
                .env(CHILD, &path)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            while !lines.next().unwrap().unwrap().contains("begins") {}
            // A short xorshift: from at once to after the end.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            std::thread::sleep(std::time::Duration::from_micros(random % 250_000));
            child.kill().unwrap();
            child.wait().unwrap();
            let version = {
                let conn = Connection::open(&path).unwrap();
                let verdict: String = conn
                    .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                    .unwrap();
                assert_eq!(verdict, "ok", "seed {seed}, round {round}");
                version_of(&conn).unwrap()
            };
            assert!(
                version == 1 || version == 1 + STEPS,
                "seed {seed}: {version}"
            );
            (old, new) = (old + u32::from(version == 1), new + u32::from(version != 1));
            if version != 1 {
                let copy = std::fs::read(folder.path().join("audit.db.schema-1")).unwrap();
                assert!(copy == before, "seed {seed}: the copy is whole");
                continue;
            }
            // The next engine brings it to the end, with everything that was acknowledged.
            let mut store = open(&path, "test").unwrap();
            for no in 1..=100_u64 {
                let workflow = format!("w{}", no % 7);
                let found = store.find("default", &workflow, &no.to_string()).unwrap();
                assert_eq!(
                    found.map(|it| it.no),
                    Some(no),
                    "seed {seed}, round {round}"
                );
            }
            Box::new(store).close().unwrap();
            let paths = Paths::resolve(&path).unwrap();
            let steps = steps();
            migrate(
                &paths,
                1,
                &steps.iter().map(String::as_str).collect::<Vec<_>>(),
            )
            .unwrap();
            assert_eq!(schema_of(&path).0, i64::from(1 + STEPS));
        }
        println!("{old} kills before the commit, {new} after it");
    }

    fn schema_of(path: &Path) -> (i64, i64) {
        let conn = Connection::open(path).unwrap();
        let one = |sql| conn.query_row(sql, [], |row| row.get(0)).unwrap();
        (
            one("PRAGMA user_version"),
            one("SELECT count(*) FROM pragma_table_info('store')"),
        )
    }

    #[test]
    fn a_forked_child_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let mut store = open(&path, "test").unwrap();
        store.conn.pretend_forked();
        let error = store.commit(&[]).unwrap_err();
        assert!(error.to_string().contains("forked child"), "{error}");
        assert!(store.reader().is_err());
        drop(store);
        let wal = path.with_extension("db-wal");
        assert!(wal.exists(), "the child closed nothing");
    }
}
