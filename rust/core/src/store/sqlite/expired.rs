//! Which instances are to go because their time is over, and when the next are.
//!
//! Each way to be over is a range of an index, so it costs what it finds. What in a row is no time
//! is never over.

use rusqlite::{params, Connection};

use super::rows::Result;
use crate::ids::{InstanceNo, Micros};
use crate::lifecycle::Status;
use crate::retention::Keep;
use crate::store::{Expired, Expiry};

/// The states in which one has ended, and those of them that count as an error last.
const ENDS: [Status; 3] = [Status::Complete, Status::Errored, Status::Terminated];

/// Those that are kept as long as their workflow says.
const PLAIN: &str = "FROM instance INDEXED BY instance_ended \
    WHERE workflow = ?1 AND status = ?2 AND ended_at IS NOT NULL AND keep_success IS NULL";
/// When those go that have a time of their own.
macro_rules! own_end {
    () => {
        "ended_at + nullif(CASE status WHEN 6 THEN keep_success ELSE keep_error END, -1)"
    };
}
const OWN: &str = "FROM instance INDEXED BY instance_keep \
    WHERE workflow = ?1 AND ended_at IS NOT NULL AND keep_success IS NOT NULL";

/// Returns how a time of one's own stands in its row: no time at all is less than none.
pub(super) fn columns(keep: Option<Keep>) -> [Option<Micros>; 2] {
    let column = |time: Option<Micros>| time.unwrap_or(-1);
    match keep {
        Some(keep) => [Some(column(keep.success)), Some(column(keep.error))],
        None => [None, None],
    }
}

/// Finds those of this workflow.
pub(super) fn expired(conn: &Connection, workflow: i64, what: &Expiry) -> Result<Expired> {
    let mut found: Vec<(Micros, InstanceNo)> = Vec::new();
    let mut first = Vec::new();
    let mut next = None;
    let sooner = |next: Option<Micros>, at: Option<Micros>| next.into_iter().chain(at).min();
    for status in ENDS {
        if let Some(keep) = what.keep.of(status) {
            let over = what.now.saturating_sub(keep);
            let sql = format!(
                "SELECT no, ended_at {PLAIN} AND ended_at <= ?3 ORDER BY ended_at LIMIT ?4"
            );
            let ended = some(conn, &sql, params![workflow, status as u8, over, what.most])?;
            found.extend(
                ended
                    .into_iter()
                    .map(|(at, no)| (at.saturating_add(keep), no)),
            );
            let sql = format!(
                "SELECT min(ended_at) {PLAIN} AND ended_at > ?3 AND typeof(ended_at) = 'integer'"
            );
            let at = least(conn, &sql, params![workflow, status as u8, over])?;
            next = sooner(next, at.map(|it| it.saturating_add(keep)));
        }
        if what.surplus > 0 {
            let most = what.surplus.min(what.most.into()) as i64;
            let sql = format!("SELECT no, ended_at {PLAIN} AND typeof(ended_at) = 'integer' ORDER BY ended_at LIMIT ?3");
            first.extend(some(conn, &sql, params![workflow, status as u8, most])?);
        }
    }
    let end = own_end!();
    let sql = format!("SELECT no, {end} AS over {OWN} AND {end} <= ?2 ORDER BY {end} LIMIT ?3");
    found.extend(some(conn, &sql, params![workflow, what.now, what.most])?);
    let sql = format!("SELECT min({end}) {OWN} AND {end} > ?2 AND typeof({end}) = 'integer'");
    next = sooner(next, least(conn, &sql, params![workflow, what.now])?);
    first.sort_unstable();
    first.truncate(usize::try_from(what.surplus).unwrap_or(usize::MAX));
    found.sort_unstable();
    let mut numbers: Vec<_> = found.into_iter().map(|it| it.1).collect();
    let timely: rustc_hash::FxHashSet<_> = numbers.iter().copied().collect();
    numbers.extend(
        first
            .into_iter()
            .map(|it| it.1)
            .filter(|it| !timely.contains(it)),
    );
    numbers.truncate(what.most as usize);
    Ok(Expired { numbers, next })
}

fn some(
    conn: &Connection,
    sql: &str,
    of: impl rusqlite::Params,
) -> Result<Vec<(Micros, InstanceNo)>> {
    let mut look = conn.prepare_cached(sql)?;
    let rows = look.query_map(of, |row| Ok((row.get(1)?, row.get::<_, i64>(0)? as u64)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn least(conn: &Connection, sql: &str, of: impl rusqlite::Params) -> Result<Option<Micros>> {
    Ok(conn.prepare_cached(sql)?.query_row(of, |row| row.get(0))?)
}
