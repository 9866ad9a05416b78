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
use super::forgotten;
use super::guard::Guard;
use super::heads::Heads;
use super::lock::{self, EngineLock, Owned};
use super::names::Names;
use super::rows::{self, Fault};
use super::{schema, transact, SqliteStore};
use crate::store::Error;

/// Up to this size a file is checked whole after an unclean end; a larger one would take seconds.
/// Then only its header is, and what is read later: SQLite checks each page's structure, our
/// checksums each payload, and SQLite's own check the whole file when asked to.
const CHECK_MAX: u64 = 64 << 20;

pub(super) fn open(path: &Path, name: &str) -> Result<SqliteStore, Error> {
    check_sqlite(rusqlite::version_number())?;
    let paths = Paths::resolve(path)?;
    paths.check_writable()?;
    paths.check_file_system()?;
    paths.check_alone()?;
    if !paths.lock.exists() {
        // Nobody of ours has it open, so a look is harmless; a file that is not ours gets no
        // lock file beside it.
        paths.examine()?;
    }
    let lock = EngineLock::take(&paths, name)?;
    match open_locked(&paths) {
        Ok(parts) => Ok(SqliteStore {
            conn: parts.conn,
            owned: Owned::new(&parts.guard),
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
            behind: false,
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
    let database = lock::own(database, paths)?;
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
    let start = |conn: &Connection, heads: &mut Heads, names: &mut Names| {
        forgotten::sweep_names(conn)?;
        names.refresh(conn)?;
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

/// Returns whether the last engine ended cleanly, and how long the database is in bytes.
fn state(conn: &Connection) -> rows::Result<(bool, u64)> {
    let mut look =
        conn.prepare("SELECT boot, clean, watermark, last_seq FROM store WHERE one = 1")?;
    let mut found = look.query([])?;
    let Some(row) = found.next()? else {
        return Err(Fault::Corrupt("table store has no row".into()));
    };
    let mut numbers = [0; 4];
    for (at, number) in numbers.iter_mut().enumerate() {
        *number = match rows::uint(row, at) {
            Ok(it) if it < rows::NUMBERS_END => it,
            _ => {
                let column = row.as_ref().column_name(at)?;
                let what = format!("column {column} of table store holds no possible number");
                return Err(Fault::Corrupt(what));
            }
        };
    }
    let [_, clean, watermark, last_seq] = numbers;
    if watermark > last_seq {
        let what = "the watermark in table store lies above the last record";
        return Err(Fault::Corrupt(what.into()));
    }
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    Ok((clean != 0, (pages * page) as u64))
}

/// Checks the structure of the file. What is in the columns of a row is told where that row is
/// read: it is no reason to refuse the others.
fn check(conn: &Connection) -> rows::Result<()> {
    let mut check = conn.prepare(&format!("PRAGMA quick_check({})", i32::MAX))?;
    let mut found = check.query([])?;
    while let Some(row) = found.next()? {
        let verdict: String = row.get(0)?;
        // "NULL value in instance.status", "TEXT value in instance.priority".
        if verdict != "ok" && !verdict.contains(" value in ") {
            return Err(Fault::Corrupt(verdict));
        }
    }
    Ok(())
}

fn version_of(conn: &Connection) -> rusqlite::Result<u32> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings an older file up to date, after a copy was made beside it. A kill at any moment leaves
/// the old schema or the new one, and a copy of the old one that is whole or will be made again.
fn migrate(
    paths: &Paths,
    version: u32,
    steps: &[impl Fn(&Connection) -> rusqlite::Result<()>],
) -> Result<(), Error> {
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
    use super::super::sums;
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
        let bad = "ALTER TABLE nowhere ADD COLUMN a";
        let error = migrate(&paths, NOW, &[good, bad].map(step)).unwrap_err();
        let name = format!("audit.db.schema-{NOW}");
        let copy = folder.path().join(&name);
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(std::fs::read(&copy).unwrap(), before);
        assert_eq!(schema_of(&path), (NOW, 5));

        let more = "ALTER TABLE store ADD COLUMN b INTEGER";
        migrate(&paths, NOW, &[good, more].map(step)).unwrap();
        assert_eq!(schema_of(&path), (NOW + 2, 7));
        // As after a kill between the commit and the fold: the header that was read is old.
        migrate(&paths, NOW, &[good].map(step)).unwrap();
        assert_eq!(schema_of(&path), (NOW + 2, 7));
        assert_eq!(std::fs::read(&copy).unwrap(), before);
        assert!(matches!(open(&path, "test"), Err(Error::Version(_))));
    }

    /// What schema version 1 left behind: instances in all states, attributes, a damaged one.
    const OLD: &str = "
        INSERT INTO workflow VALUES (1, 'default', 'orders'), (2, 'acme', 'orders');
        INSERT INTO version VALUES (1, 1, '1'), (2, 2, '1');
        INSERT INTO instance WITH RECURSIVE n(no) AS (SELECT 1 UNION ALL SELECT no + 1 FROM n WHERE no < 90)
          SELECT no, 1 + no % 2, 1 + no % 2, no, no, no % 9, 0, 0, 0, 0, 5, 5, NULL, NULL, NULL, NULL, 0,
            iif(no % 9 = 5, 'race', NULL) FROM n;";

    #[test]
    fn a_store_of_schema_version_1_has_all_it_had_and_is_counted_and_found_by_attributes() {
        use crate::store::Filter;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let conn = Connection::open(&path).unwrap();
        let (id, schema) = (schema::APPLICATION_ID, include_str!("schema_1.sql"));
        conn.execute_batch(&format!(
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA application_id={id}; BEGIN; {schema} {OLD}
             PRAGMA user_version=1; COMMIT; PRAGMA journal_mode=WAL;"
        ))
        .unwrap();
        let map: &[u8] = b"\xa2\x64tier\x64gold\x61n\x07";
        for (no, map) in [(7, map), (8, map), (9, &map[1..])] {
            let crc = sums::payload("attributes", no, Some(map));
            let row = rusqlite::params![no as i64, crc, map];
            conn.execute("INSERT INTO attributes VALUES (?, ?, ?)", row)
                .unwrap();
        }
        conn.close().unwrap();

        let mut store = Box::new(open(&path, "test").unwrap());
        assert!(folder.path().join("audit.db.schema-1").exists());
        let ended: Vec<_> = store.ended().unwrap();
        let counts: Vec<_> = ended.iter().map(|it| (&*it.namespace, it.counts)).collect();
        assert_eq!(counts, [("acme", [5, 5, 5]), ("default", [5, 5, 5])]);
        let mut reader = store.reader().unwrap();
        let filter = Filter {
            attributes: vec![
                ("n".into(), [7].into()),
                ("tier".into(), b"\x64gold".as_slice().into()),
            ],
            limit: 10,
            ..Filter::default()
        };
        let found: Vec<_> = reader.list(&filter).unwrap();
        assert_eq!(found.iter().map(|it| it.no).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(reader.payloads(7).unwrap().attributes.as_deref(), Some(map));
        let blocked = reader.instance(5).unwrap().unwrap();
        assert_eq!(
            (blocked.reason.as_deref(), blocked.step),
            (Some("race"), None)
        );
        drop(reader);
        let _ = store.commit(&[crate::store::samples::create(91)]).unwrap();
        store.close().unwrap();
        open(&path, "test").unwrap();
    }

    /// Every table with the names and types of its columns, in order: what `INSERT` without names
    /// relies on.
    fn tables(path: &Path) -> Vec<(String, String, String)> {
        let conn = Connection::open(path).unwrap();
        let sql = "SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c
            WHERE t.type = 'table' ORDER BY t.name, c.cid";
        let mut select = conn.prepare(sql).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_migrated_schema_is_the_one_that_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old.db", "new.db"].map(|it| folder.path().join(it));
        let conn = Connection::open(&old).unwrap();
        let (id, schema) = (schema::APPLICATION_ID, include_str!("schema_1.sql"));
        conn.execute_batch(&format!(
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA application_id={id}; BEGIN; {schema}
             PRAGMA user_version=1; COMMIT; PRAGMA journal_mode=WAL;"
        ))
        .unwrap();
        conn.close().unwrap();
        for path in [&old, &new] {
            Box::new(open(path, "test").unwrap()).close().unwrap();
        }
        assert_eq!(tables(&old), tables(&new));
    }

    #[test]
    fn a_newer_schema_that_is_still_in_the_wal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        drop(open(&path, "test").unwrap());
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA wal_autocheckpoint=0; PRAGMA user_version=99;")
            .unwrap();
        let error = open(&path, "test").unwrap_err();
        assert!(
            matches!(&error, Error::Version(it) if it.contains('9')),
            "{error}"
        );
    }

    const CHILD: &str = "STEPWELL_MIGRATES";
    const STEPS: u32 = 40;

    const NOW: u32 = schema::VERSION;

    fn step(sql: impl AsRef<str>) -> impl Fn(&Connection) -> rusqlite::Result<()> {
        move |conn| conn.execute_batch(sql.as_ref())
    }

    fn migrate_far(paths: &Paths) {
        let sql = |n| format!("CREATE TABLE t{n} AS SELECT * FROM params");
        let steps: Vec<_> = (0..STEPS).map(|n| step(sql(n))).collect();
        migrate(paths, NOW, &steps).unwrap();
    }

    /// Run by the test below as a process of its own, which is killed.
    #[test]
    fn child_that_migrates() {
        let Some(path) = std::env::var_os(CHILD) else {
            return;
        };
        let paths = Paths::resolve(Path::new(&path)).unwrap();
        println!("begins");
        migrate_far(&paths);
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
                let _ = store.commit(&[crate::store::samples::create(no)]).unwrap();
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
                version == NOW || version == NOW + STEPS,
                "seed {seed}: {version}"
            );
            (old, new) = (
                old + u32::from(version == NOW),
                new + u32::from(version != NOW),
            );
            if version != NOW {
                let copy = folder.path().join(format!("audit.db.schema-{NOW}"));
                let copy = std::fs::read(copy).unwrap();
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
            migrate_far(&paths);
            assert_eq!(schema_of(&path).0, NOW + STEPS);
        }
        println!("{old} kills before the commit, {new} after it");
    }

    fn schema_of(path: &Path) -> (u32, u32) {
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
