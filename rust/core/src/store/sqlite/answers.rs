//! Events that want an answer, and the answers (E6): how their rows are written and read.

use rusqlite::types::ValueRef;
use rusqlite::{params, Connection, OptionalExtension};

use super::columns::{bytes, small, uint};
use super::fault::{Fault, Result};
use super::statements::Sql;
use super::sums;
use super::write::Writing;
use crate::history::Kind;
use crate::ids::{EventId, Incarnation, InstanceNo, Seq};
use crate::store::{Answered, Outcome};

impl Writing<'_> {
    /// An event that was kept wants an answer.
    pub(super) fn ask(&mut self, no: InstanceNo, event: EventId, dedup: &str) -> Result<Outcome> {
        let asks = self.sql.get(Sql::Ask)?.execute([no as i64, event as i64])?;
        if asks == 0 {
            return Ok(Outcome::Done(0));
        }
        self.run(Sql::AskedBy, params![no as i64, event as i64, dedup])
    }

    /// Answers the event that was taken at this place, if it wants that.
    pub(super) fn answer(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
        place: Seq,
        answer: &[u8],
    ) -> Result<Outcome> {
        if self.owned(no, incarnation)?.is_none() {
            return Ok(Outcome::Fenced);
        }
        let taken = self.sql.get(Sql::TakenAt)?;
        let taken = taken.query_row([no as i64, place as i64, Kind::Event as i64], |row| {
            row.get(0)
        });
        let event: Option<i64> = taken.optional()?.flatten();
        let Some(event) = event else {
            return Ok(Outcome::Done(0));
        };
        let crc = sums::answer(no, event as u64, answer);
        self.run(Sql::Answer, params![no as i64, event, crc, answer])
    }
}

/// Returns what came of an event that wants an answer.
pub(super) fn asked(conn: &Connection, no: InstanceNo, dedup: &str) -> Result<Answered> {
    let sql = "SELECT s.event, a.crc, a.payload FROM seen s \
        JOIN answer a ON a.no = s.no AND a.event = s.event WHERE s.no = ? AND s.dedup = ?";
    let mut found = conn.prepare_cached(sql)?;
    let mut rows = found.query(params![no as i64, dedup])?;
    let Some(row) = rows.next()? else {
        return Ok(Answered::Never);
    };
    if row.get_ref(1)? == ValueRef::Null {
        return Ok(Answered::Open);
    }
    let event = uint(row, 0)?;
    let answer = bytes(row, 2)?.unwrap_or_default();
    if small(row, 1)? != sums::answer(no, event, &answer) {
        return Err(Fault::Corrupt(format!(
            "the answer to event {event} of instance {no} fails its checksum"
        )));
    }
    Ok(Answered::With(answer))
}
