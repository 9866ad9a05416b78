//! Streams in SQLite's words: a row holds the chunks that came together, with what the stream holds
//! up to there, so that neither place nor limit needs more than a look at the last row.
//!
//! What nobody is told any more lies in the table `litter` until its rows are freed, a few at a time.

use rusqlite::{params, Connection, OptionalExtension};

use super::columns::{bytes, code, small, time, uint};
use super::fault::{corrupt, Result};
use super::read;
use super::statements::Sql;
use super::sums;
use super::write::Writing;
use crate::ids::{Incarnation, InstanceNo, Micros, Seq};
use crate::limits::{CHUNKS_KEPT, FORGOTTEN, STREAM_READ};
use crate::store::Outcome;
use crate::stream::{packed, unpacked, Chunks, Mark, StreamRow};

/// In place of an incarnation: any.
const ANY: i64 = -1;

impl Writing<'_> {
    /// Adds a row to a stream.
    pub(super) fn stream(
        &mut self,
        no: InstanceNo,
        of: Incarnation,
        it: &Chunks,
    ) -> Result<Outcome> {
        let hot = match self.owned(no, of)? {
            Some(hot) if !hot.status.is_final() => hot,
            _ => return Ok(Outcome::Fenced),
        };
        let whose = params![no as i64, of as i64, it.stream];
        let last = self.sql.get(Sql::LastChunk)?;
        let last = last.query_row(whose, |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?])));
        let (place, mut held): (i64, [i64; 2]) = last.optional()?.unwrap_or((1, [0; 2]));
        let mut part = it.part;
        if it.mark == Mark::Recorded {
            let ended = self.sql.get(Sql::LastEnd)?;
            let ended = ended.query_row(whose, |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?])));
            let since: i64;
            (since, held) = ended.optional()?.unwrap_or((0, [0; 2]));
            part = hot.head;
            let due = it.at + CHUNKS_KEPT;
            let rest = params![due, no as i64, of as i64, it.stream, place, since];
            let _ = self.run(Sql::Litter, rest)?;
        } else if !it.mark.ends() {
            held[0] += it.chunks.len() as i64;
            held[1] += it.bytes() as i64;
            if held[0] as u64 > it.most[0] || held[1] as u64 > it.most[1] {
                return Ok(Outcome::Full);
            }
        }
        let payload = packed(&it.chunks);
        let crc = sums::chunks([no, of], [place as u64, part], it, &payload);
        let _ = self.run(
            Sql::Chunks,
            params![
                no as i64,
                of as i64,
                it.stream,
                place,
                it.places() as i64,
                held[0],
                held[1],
                part as i64,
                it.attempt,
                it.mark as u8,
                it.at,
                crc,
                payload,
            ],
        )?;
        Ok(Outcome::Done(place as u64))
    }

    /// The streams of an instance, or of one incarnation of it, belong to nobody any more.
    pub(super) fn leave_streams(&mut self, no: InstanceNo, of: Option<Incarnation>) -> Result<()> {
        let of = of.map_or(ANY, |it| it as i64);
        let _ = self.run(Sql::LitterAll, params![no as i64, of])?;
        Ok(())
    }

    /// Frees some of what nobody is told any more since before this.
    pub(super) fn forget_chunks(&mut self, before: Micros) -> Result<Outcome> {
        let mut left = FORGOTTEN as usize;
        while left > 0 {
            let oldest = self.sql.get(Sql::OldestLitter)?;
            let oldest = oldest.query_row([before], |row| {
                let whose: (i64, i64, i64, String) =
                    (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok((whose, row.get(4)?, row.get(5)?))
            });
            let Some(((due, no, of, stream), upto, since)) = oldest.optional()? else {
                break;
            };
            let (upto, since): (i64, i64) = (upto, since);
            let gone = if stream.is_empty() {
                let free = self.sql.get(Sql::FreeStreams)?;
                free.execute(params![no, of, left as i64])?
            } else {
                let free = self.sql.get(Sql::FreeChunks)?;
                free.execute(params![no, of, stream, since, upto, left as i64])?
            };
            left -= gone;
            if left > 0 {
                let _ = self.run(Sql::Unlitter, params![due, no, of, stream, upto])?;
                left -= 1;
            }
        }
        Ok(Outcome::Done(u64::from(FORGOTTEN) - left as u64))
    }
}

/// Returns the rows of a stream from the one on that holds the chunk after this place.
pub(super) fn rows(
    conn: &Connection,
    (no, of): (InstanceNo, Incarnation),
    name: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<StreamRow>> {
    let mut select = conn.prepare_cached(
        "SELECT place, count, part, attempt, mark, at, crc, payload FROM chunk \
        WHERE no = ?1 AND incarnation = ?2 AND stream = ?3 AND place >= coalesce( \
            (SELECT max(place) FROM chunk \
            WHERE no = ?1 AND incarnation = ?2 AND stream = ?3 AND place <= ?4 + 1), 0) \
        AND place + count > ?4 + 1 ORDER BY place LIMIT ?5",
    )?;
    let mut found = select.query(params![no as i64, of as i64, name, after as i64, limit])?;
    let (mut all, mut total) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        if total >= STREAM_READ {
            break;
        }
        let (place, payload) = (uint(row, 0)?, bytes(row, 7)?.unwrap_or_default());
        let (Some(chunks), part) = (unpacked(&payload), uint(row, 2)?) else {
            return corrupt(format!("stream {name:?} of an instance is damaged"));
        };
        let it = Chunks {
            stream: name.into(),
            part,
            attempt: small(row, 3)?,
            mark: code(row, 4, Mark::from_code)?,
            chunks,
            most: [0; 2],
            at: time(row, 5)?,
        };
        if sums::chunks([no, of], [place, part], &it, &payload) != small(row, 6)? {
            return corrupt(format!("stream {name:?} of an instance is damaged"));
        }
        total += it.bytes();
        let outcome = match it.mark {
            Mark::Recorded if part != 0 => Some(Box::new(read::record(conn, no, part)?.0)),
            _ => None,
        };
        all.push(it.row(place, outcome));
    }
    Ok(all)
}

/// Returns how many places each block of the body took.
pub(super) fn sent(conn: &Connection, no: InstanceNo, of: Incarnation) -> Result<Vec<(Seq, u64)>> {
    let mut select = conn.prepare_cached(
        "SELECT part, sum(count) FROM chunk WHERE no = ? AND incarnation = ? AND part > 0 \
        AND mark <> 3 GROUP BY part ORDER BY part",
    )?;
    let mut found = select.query(params![no as i64, of as i64])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push((uint(row, 0)?, uint(row, 1)?));
    }
    Ok(all)
}
