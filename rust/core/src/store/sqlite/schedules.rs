//! Schedules and their firings: how their rows are written and read.

use rusqlite::{params, Connection, Row as Columns};

use super::columns::{bytes, int, int_or_none, text, text_or_none, uint};
use super::fault::{corrupt, Fault, Result};
use super::statements::Sql;
use super::sums;
use super::write::Writing;
use crate::schedule::{Firing, FiringQuery, Query, Rows, Schedule};
use crate::store::Outcome;

impl Writing<'_> {
    pub(super) fn schedule(&mut self, it: &Schedule) -> Result<Outcome> {
        let (number, revision) = (it.number as i64, it.revision as i64);
        let (namespace, id, crc) = (&it.namespace, &it.id, sums::schedule(it));
        match &it.what {
            None => {
                let changed = params![number, namespace, id, revision, it.next, crc, it.state];
                self.run(Sql::GoOn, changed)
            }
            Some(what) => {
                let of_what = sums::scheduled(it.number, what);
                let row =
                    params![number, namespace, id, revision, it.next, crc, it.state, of_what, what];
                self.run(Sql::Schedule, row)
            }
        }
    }

    pub(super) fn firing(&mut self, it: &Firing) -> Result<Outcome> {
        let row = params![
            it.schedule as i64,
            it.number as i64,
            it.at,
            it.until,
            it.decided_at,
            sums::firing(it),
            it.outcome,
            it.why,
            it.id,
        ];
        self.run(Sql::Firing, row)
    }

    pub(super) fn forget_firings(&mut self, schedule: u64, kept: u64) -> Result<Outcome> {
        let old = params![schedule as i64, kept as i64];
        let gone = self.sql.get(Sql::ForgetFirings)?.execute(old)?;
        Ok(Outcome::Done(gone as u64))
    }

    pub(super) fn unschedule(&mut self, number: u64) -> Result<Outcome> {
        let _ = self.run(Sql::Unfire, params![number as i64])?;
        self.run(Sql::Unschedule, params![number as i64])
    }
}

/// Returns schedules, in order of their numbers.
pub(super) fn schedules(conn: &Connection, page: &Query, file: &str) -> Result<Rows<Schedule>> {
    let sql = "SELECT number, namespace, id, revision, next, crc, state, what_crc, what \
               FROM schedule WHERE number > ? ORDER BY number";
    let mut select = conn.prepare_cached(sql)?;
    let mut found = select.query([page.beyond as i64])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()?.filter(|_| all.len() < page.limit as usize) {
        match legible(row, schedule(row), file)? {
            Ok(it) if !page.has(&it) => {}
            it => all.push(it),
        }
    }
    Ok(all)
}

/// Returns firings of a schedule, the last decided first.
pub(super) fn firings(conn: &Connection, page: &FiringQuery, file: &str) -> Result<Rows<Firing>> {
    let sql = "SELECT number, schedule, at, until, decided_at, crc, outcome, why, id \
               FROM firing WHERE schedule = ? AND number < ? ORDER BY number DESC LIMIT ?";
    let mut select = conn.prepare_cached(sql)?;
    let end = page.beyond.map_or(i64::MAX, |it| it as i64);
    let mut found = select.query(params![page.schedule as i64, end, page.limit])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push(legible(row, firing(row), file)?);
    }
    Ok(all)
}

/// What cannot be read says so, with its number, which is the first column.
fn legible<T>(
    row: &Columns,
    read: Result<T>,
    file: &str,
) -> Result<std::result::Result<T, (u64, String)>> {
    match read {
        Ok(it) => Ok(Ok(it)),
        Err(fault @ Fault::Corrupt(_)) => {
            let number: i64 = row.get(0)?;
            Ok(Err((
                number as u64,
                fault.explain(file, "read").to_string(),
            )))
        }
        Err(fault) => Err(fault),
    }
}

fn schedule(row: &Columns) -> Result<Schedule> {
    let what = bytes(row, 8)?.unwrap_or_default();
    let it = Schedule {
        number: uint(row, 0)?,
        namespace: text(row, 1)?,
        id: text(row, 2)?,
        revision: uint(row, 3)?,
        next: int_or_none(row, 4)?,
        state: bytes(row, 6)?.unwrap_or_default(),
        what: None,
    };
    if uint(row, 5)? != u64::from(sums::schedule(&it))
        || uint(row, 7)? != u64::from(sums::scheduled(it.number, &what))
    {
        return corrupt("it fails its checksum");
    }
    let what = Some(what);
    Ok(Schedule { what, ..it })
}

fn firing(row: &Columns) -> Result<Firing> {
    let it = Firing {
        schedule: uint(row, 1)?,
        number: uint(row, 0)?,
        at: int(row, 2)?,
        until: int_or_none(row, 3)?,
        decided_at: int(row, 4)?,
        outcome: text(row, 6)?,
        why: text_or_none(row, 7)?,
        id: text_or_none(row, 8)?,
    };
    if uint(row, 5)? != u64::from(sums::firing(&it)) {
        return corrupt("it fails its checksum");
    }
    Ok(it)
}
