//! A namespace of which nothing is left.
//!
//! The names of its workflows and versions have numbers that connections remember as long as they are
//! open, so those rows go when the store is opened next.

use rusqlite::{params, Connection};

use super::fault::Result;
use super::rows;
use crate::store::Forgotten;

/// Name of a setting, before that of a namespace: its names are to go.
const NAMES_OF: &str = "forgotten/";

/// Forgets what there is of it, but for names.
pub(super) fn forget(conn: &Connection, it: &Forgotten) -> Result<()> {
    let of = &it.namespace;
    for (name, value) in &it.settings {
        match value {
            Some(value) => conn.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                params![name, value],
            )?,
            None => conn.execute("DELETE FROM meta WHERE name = ?", [name])?,
        };
    }
    let mut select = conn.prepare(&format!("SELECT {} FROM bulk", rows::BULK))?;
    let mut found = select.query([])?;
    let mut gone = Vec::new();
    while let Some(row) = found.next()? {
        // One that cannot be read says so, and is nobody's.
        if rows::bulk(row).is_ok_and(|bulk| bulk.namespace == *of && bulk.number != it.bulk) {
            gone.push(row.get::<_, i64>(0)?);
        }
    }
    for number in gone {
        conn.execute("DELETE FROM bulk WHERE number = ?", [number])?;
    }
    forget_counts(conn, of)?;
    // Those are gone already that could be read.
    conn.execute(
        "DELETE FROM firing WHERE schedule IN (SELECT number FROM schedule WHERE namespace = ?)",
        [of],
    )?;
    conn.execute("DELETE FROM schedule WHERE namespace = ?", [of])?;
    conn.execute("DELETE FROM bucket WHERE namespace = ?", [of])?;
    conn.execute(
        "INSERT OR REPLACE INTO meta VALUES (? || ?, x'')",
        params![NAMES_OF, of],
    )?;
    Ok(())
}

/// Removes the names of namespaces that were forgotten, where nothing was created since. Nothing else
/// has the store open.
pub(super) fn sweep_names(conn: &Connection) -> Result<()> {
    let sql = "SELECT substr(name, ?2) FROM meta WHERE name >= ?1 AND name < ?1 || char(1114111)";
    let mut select = conn.prepare(sql)?;
    let after = NAMES_OF.len() as i64 + 1;
    let found = select.query_map(params![NAMES_OF, after], |row| row.get(0))?;
    for namespace in found.collect::<rusqlite::Result<Vec<String>>>()? {
        conn.execute(
            "DELETE FROM meta WHERE name = ? || ?",
            params![NAMES_OF, namespace],
        )?;
        let sql = "SELECT 1 FROM workflow w WHERE namespace = ?
                   AND EXISTS (SELECT 1 FROM instance WHERE workflow = w.id) LIMIT 1";
        if !conn.prepare(sql)?.exists([&namespace])? {
            forget_counts(conn, &namespace)?;
            let sql = "DELETE FROM version WHERE workflow IN (SELECT id FROM workflow WHERE namespace = ?)";
            conn.execute(sql, [&namespace])?;
            conn.execute("DELETE FROM workflow WHERE namespace = ?", [&namespace])?;
        }
    }
    Ok(())
}

/// Removes how many have ended, and failed.
fn forget_counts(conn: &Connection, namespace: &str) -> Result<()> {
    const WORKFLOWS: &str = "SELECT id FROM workflow WHERE namespace = ?";
    const VERSIONS: &str = "SELECT v.id FROM version v JOIN workflow w ON w.id = v.workflow
                            WHERE w.namespace = ?";
    for (table, column, numbers) in [
        ("tally", "workflow", WORKFLOWS),
        ("ended", "version", VERSIONS),
        ("failure", "version", VERSIONS),
    ] {
        conn.execute(
            &format!("DELETE FROM {table} WHERE {column} IN ({numbers})"),
            [namespace],
        )?;
    }
    Ok(())
}
