//! What is handed over at a start: everything that is not final.
//!
//! Mostly unfinished instances are read in one pass over the table; a few among many finished
//! ones are looked up by the index on status. Either way in ascending order of number.

use rusqlite::Connection;

use super::names::Names;
use super::rows;
use crate::lifecycle::Status;
use crate::store::Recovery;

/// Hands over instances, then waits, then events.
pub(super) fn recover(
    conn: &Connection,
    names: &Names,
    into: &mut dyn Recovery,
) -> rows::Result<()> {
    let live = live(conn, names)?;
    let highest: i64 = conn.query_row("SELECT coalesce(max(no), 0) FROM instance", [], |row| {
        row.get(0)
    })?;
    if live.len() as i64 > highest / 4 {
        let sql = format!(
            "SELECT {} FROM instance i NOT INDEXED ORDER BY i.no",
            rows::INSTANCE
        );
        let mut scan = conn.prepare(&sql)?;
        let mut found = scan.query([])?;
        while let Some(row) = found.next()? {
            if rows::uint(row, 4)? < Status::Complete as u64 {
                into.instance(rows::instance(row, names)?);
            }
        }
    } else {
        let sql = format!("SELECT {} FROM instance i WHERE i.no = ?", rows::INSTANCE);
        let mut look = conn.prepare(&sql)?;
        for no in live {
            let mut found = look.query([no])?;
            if let Some(row) = found.next()? {
                into.instance(rows::instance(row, names)?);
            }
        }
    }

    let mut scan = conn.prepare(&format!("SELECT {} FROM wait ORDER BY no, id", rows::WAIT))?;
    let mut found = scan.query([])?;
    while let Some(row) = found.next()? {
        let (no, wait) = rows::wait(row)?;
        into.wait(no, wait);
    }
    let mut scan = conn.prepare(&format!(
        "SELECT {} FROM event ORDER BY no, id",
        rows::EVENT
    ))?;
    let mut found = scan.query([])?;
    while let Some(row) = found.next()? {
        let (no, event) = rows::event(row)?;
        into.event(no, event);
    }
    Ok(())
}

/// Returns the numbers of all instances that are not final, ascending.
fn live(conn: &Connection, names: &Names) -> rows::Result<Vec<i64>> {
    let mut live = Vec::new();
    let mut scan = conn.prepare(
        "SELECT no FROM instance INDEXED BY instance_status WHERE workflow = ? AND status < ?",
    )?;
    for workflow in names.workflows(None, None) {
        let mut found = scan.query([workflow, Status::Complete as i64])?;
        while let Some(row) = found.next()? {
            live.push(row.get(0)?);
        }
    }
    live.sort_unstable();
    Ok(live)
}
