//! Whose a damaged row is.
//!
//! A row that lost the number of its instance may still tell it: its checksum covers that number,
//! so of all instances only its own makes the checksum right. What is found is a fact for whoever
//! recovers: this instance, or nobody, lacks this row.

use rusqlite::Connection;

use super::rows;
use super::sums::Said;
use crate::ids::{InstanceNo, Seq};

/// Something that cannot be read, and whose it is, if that is known.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) no: Option<InstanceNo>,
    pub(super) what: String,
}

/// An instance and its last record.
type Tip = (InstanceNo, Seq);

/// Returns the instance whose number makes the checksum right.
pub(super) fn whose(
    conn: &Connection,
    said: rows::Result<(Said, u32)>,
) -> rows::Result<Option<InstanceNo>> {
    let (said, crc) = match said {
        Err(rows::Fault::Corrupt(_)) => return Ok(None),
        said => said?,
    };
    let mut scan = conn.prepare_cached("SELECT no FROM instance")?;
    let mut found = scan.query([])?;
    while let Some(row) = found.next()? {
        let no = rows::uint(row, 0)?;
        if said.by(no) == crc {
            return Ok(Some(no));
        }
    }
    Ok(None)
}

/// Says of a row that names no instance whose it is.
pub(super) fn told(
    conn: &Connection,
    row: &str,
    said: rows::Result<(Said, u32)>,
) -> rows::Result<Damage> {
    let no = whose(conn, said)?;
    let whose = no.map_or_else(
        || "whose it is cannot be told".to_owned(),
        |no| format!("by its checksum it is of instance {no}"),
    );
    let what = format!("{row} names another instance than its own, or none; {whose}");
    Ok(Damage { no, what })
}

/// Rows of tables by instance that lie where no instance is, in the order of their numbers.
pub(super) fn strays(conn: &Connection) -> rows::Result<Vec<Damage>> {
    let sql = "SELECT coalesce(max(no), 0) FROM instance WHERE no < ?";
    let last: i64 = conn.query_row(sql, [rows::NUMBERS_END as i64], |row| row.get(0))?;
    let mut damage = Vec::new();
    for table in ["params", "result", "progress", "attributes"] {
        let from = format!("SELECT crc, payload, no FROM {table} WHERE");
        for sql in [format!("{from} no > ?"), format!("{from} no < 1 AND ?")] {
            let mut look = conn.prepare(&sql)?;
            let mut found = look.query([last.max(1)])?;
            while let Some(row) = found.next()? {
                let name = format!("row {} of table {table}", row.get::<_, i64>(2)?);
                damage.push(told(conn, &name, rows::payload_said(table, row))?);
            }
        }
    }
    Ok(damage)
}

/// The records above the watermark, and any at impossible places, each read whole: the last one of
/// each instance, and what is damaged. Only asked for when something does not fit.
pub(super) fn heads(conn: &Connection, watermark: Seq) -> rows::Result<(Vec<Tip>, Vec<Damage>)> {
    let sql = format!(
        "SELECT {} FROM journal WHERE seq > ? OR seq < 1 ORDER BY seq NOT BETWEEN 1 AND ?, seq",
        rows::JOURNAL
    );
    let mut scan = conn.prepare(&sql)?;
    let mut found = scan.query([watermark as i64, rows::NUMBERS_END as i64])?;
    let (mut heads, mut damage) = (Vec::new(), Vec::new());
    while let Some(row) = found.next()? {
        let seq = rows::uint(row, 0)?;
        let named = rows::uint(row, 1).ok();
        let is_placed = (1..rows::NUMBERS_END).contains(&seq);
        if let Some(no) = named.filter(|it| is_placed && rows::stored(row, *it, seq).is_ok()) {
            heads.push((no, seq));
            continue;
        }
        let name = format!("record {} of the journal", seq as i64);
        let mut one = told(conn, &name, rows::record_said(row, seq))?;
        if let (None, Some(no)) = (one.no, named) {
            // Then what is damaged is something else of it.
            one = Damage {
                no: Some(no),
                what: format!("{name}, which names instance {no}, fails its checksum"),
            };
        }
        heads.extend(one.no.map(|no| (no, seq)));
        damage.push(one);
    }
    Ok((heads, damage))
}
