//! Instances of a workflow that has another name by now: see [`crate::store::renames`].
//!
//! Rows of instances are rewritten, once in the life of a name; so whatever finds them by workflow
//! finds them, and the index on (workflow, id) sees to it that an id stays unique. What is counted
//! of both names is added up. Of the audit the rows say the new name too, as those of its instances
//! are looked for by it.

use rusqlite::{params, Connection};

use super::fault::Result;
use super::names::Names;
use super::rows;
use super::sums;
use crate::store::renames::{is_taken, is_used, Renaming};

/// Returns why it cannot be done, if it cannot.
pub(super) fn hindrance(conn: &Connection, names: &Names, to: &Renaming) -> Result<Option<String>> {
    let mut born = conn.prepare("SELECT 1 FROM instance WHERE born = ? LIMIT 1")?;
    for (old, new) in &to.used_again {
        if born.exists([old])? {
            return Ok(Some(is_used(old, new)));
        }
    }
    let mut both = conn.prepare(
        "SELECT a.id FROM instance a JOIN instance b ON b.workflow = ?2 AND b.id = a.id
         WHERE a.workflow = ?1 LIMIT 1",
    )?;
    for (at, (old, new)) in to.moves.iter().enumerate() {
        // Whoever comes to that name before it, and who has it already.
        let others = to.moves[..at].iter().filter(|it| it.1 == *new);
        for other in others.map(|it| &it.0).chain([new]) {
            for from in names.workflows(None, Some(old)) {
                let Some((namespace, _)) = names.workflow(from) else {
                    continue;
                };
                for into in names.workflows(Some(namespace), Some(other)) {
                    let mut found = both.query([from, into])?;
                    if let Some(row) = found.next()? {
                        let id = rows::text(row, 0)?;
                        return Ok(Some(is_taken(namespace, [old, other], &id)));
                    }
                }
            }
        }
    }
    Ok(None)
}

/// Does it.
pub(super) fn rename(conn: &Connection, names: &mut Names, to: &Renaming) -> Result<()> {
    for (old, new) in &to.moves {
        for from in names.workflows(None, Some(old)) {
            let Some((namespace, _)) = names.workflow(from).cloned() else {
                continue;
            };
            let known = names.all().filter(|it| it.1.workflow_id == from);
            let versions: Vec<_> = known.map(|it| (it.0, it.1.version.clone())).collect();
            for (version, name) in versions {
                move_version(conn, names, (from, version, old), [&namespace, new, &name])?;
            }
            let told = "SELECT id FROM workflow WHERE namespace = ? AND name = ?";
            let mut told = conn.prepare_cached(told)?;
            let mut told = told.query(params![namespace, new])?;
            if let Some(row) = told.next()? {
                let into: i64 = row.get(0)?;
                conn.execute(
                    "INSERT INTO tally SELECT ?2, complete, errored, terminated FROM tally
                     WHERE workflow = ?1 ON CONFLICT DO UPDATE SET
                     complete = complete + excluded.complete, errored = errored + excluded.errored,
                     terminated = terminated + excluded.terminated",
                    [from, into],
                )?;
                conn.execute("DELETE FROM tally WHERE workflow = ?", [from])?;
            }
            rename_audit(conn, [&namespace, old, new])?;
        }
    }
    if let Some((name, value)) = &to.kept {
        conn.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            params![name, value],
        )?;
    }
    Ok(())
}

/// Moves what there is of one version.
fn move_version(
    conn: &Connection,
    names: &mut Names,
    (from, version, old): (i64, i64, &str),
    to: [&str; 3],
) -> Result<()> {
    let mut left = conn.prepare_cached(
        "SELECT 1 FROM instance WHERE workflow = ?1 UNION ALL SELECT 1 FROM ended WHERE version = ?2
         UNION ALL SELECT 1 FROM failure WHERE version = ?2 LIMIT 1",
    )?;
    if !left.exists([from, version])? {
        return Ok(());
    }
    let (into, becomes) = names.number(conn, to)?;
    conn.execute(
        "UPDATE instance SET born = coalesce(born, ?5), workflow = ?3, version = ?4
         WHERE workflow = ?1 AND version = ?2",
        params![from, version, into, becomes, old],
    )?;
    conn.execute(
        "INSERT INTO ended SELECT ?2, complete, errored, terminated FROM ended WHERE version = ?1
         ON CONFLICT DO UPDATE SET complete = complete + excluded.complete,
         errored = errored + excluded.errored, terminated = terminated + excluded.terminated",
        [version, becomes],
    )?;
    conn.execute("DELETE FROM ended WHERE version = ?", [version])?;
    conn.execute(
        "INSERT INTO failure SELECT hour, ?2, step, error, count, since, example FROM failure
         WHERE version = ?1 ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [version, becomes],
    )?;
    conn.execute("DELETE FROM failure WHERE version = ?", [version])?;
    Ok(())
}

/// A row that cannot be read is left as it is: it says so to whoever reads it.
fn rename_audit(conn: &Connection, [namespace, old, new]: [&str; 3]) -> Result<()> {
    let sql = format!(
        "SELECT {} FROM audit WHERE namespace = ? AND workflow = ?",
        rows::AUDIT
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut found = select.query([namespace, old])?;
    let mut entries = Vec::new();
    while let Some(row) = found.next()? {
        entries.extend(rows::audit(row).ok());
    }
    let mut update =
        conn.prepare_cached("UPDATE audit SET workflow = ?2, crc = ?3 WHERE number = ?1")?;
    for mut entry in entries {
        entry.workflow = Some(new.into());
        update.execute(params![entry.number as i64, new, sums::audit(&entry)])?;
    }
    Ok(())
}
