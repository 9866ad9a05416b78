//! Streams in SQLite's words: a row holds the chunks that came together, with what the stream holds
//! up to there, so that neither place nor limit needs more than a look at the last row.
//!
//! What nobody is told any more lies in the table `litter` until its rows are freed, a few at a time.

use rusqlite::types::ValueRef;
use rusqlite::{params, Connection, OptionalExtension, Row as Columns};

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
        let held_by = |row: &Columns| Ok((number(row, 0)?, [number(row, 1)?, number(row, 2)?]));
        let last = self.sql.get(Sql::LastChunk)?;
        let last = last.query_row(whose, held_by).optional()?;
        let (place, mut held) = last.unwrap_or((1, [0; 2]));
        let mut part = it.part;
        if it.mark == Mark::Recorded {
            let ended = self.sql.get(Sql::LastEnd)?;
            let ended = ended.query_row(whose, held_by).optional()?;
            let since: i64;
            (since, held) = ended.unwrap_or((0, [0; 2]));
            part = hot.head;
            let due = it.at + CHUNKS_KEPT;
            let crc = sums::litter([due, no as i64, of as i64, place, since], &it.stream);
            let rest = params![due, no as i64, of as i64, it.stream, place, since, crc];
            let _ = self.run(Sql::Litter, rest)?;
        } else if !it.mark.ends() {
            held[0] = held[0].saturating_add(it.chunks.len() as i64);
            held[1] = held[1].saturating_add(it.bytes() as i64);
            if held[0] as u64 > it.most[0] || held[1] as u64 > it.most[1] {
                return Ok(Outcome::Full);
            }
        }
        let payload = packed(&it.chunks);
        let crc = sums::chunks([no, of], [place as u64, part], it, &payload);
        let inserted = self.sql.get(Sql::Chunks)?.execute(params![
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
        ])?;
        // Where the last row is damaged the place may be another's: whoever reads is told.
        Ok(match inserted {
            0 => Outcome::Fenced,
            _ => Outcome::Done(place as u64),
        })
    }

    /// The streams of an instance, or of one incarnation of it, belong to nobody any more.
    pub(super) fn leave_streams(&mut self, no: InstanceNo, of: Option<Incarnation>) -> Result<()> {
        let of = of.map_or(ANY, |it| it as i64);
        let crc = sums::litter([0, no as i64, of, 0, 0], "");
        let _ = self.run(Sql::LitterAll, params![no as i64, of, crc])?;
        Ok(())
    }

    /// Frees some of what nobody is told any more since before this.
    pub(super) fn forget_chunks(&mut self, before: Micros) -> Result<Outcome> {
        let mut left = FORGOTTEN as usize;
        while left > 0 {
            let oldest = self.sql.get(Sql::OldestLitter)?;
            let Some((id, rest)) = oldest.query_row([before], litter).optional()? else {
                break;
            };
            // Of one that is damaged nobody knows what it was of: lost room, and no more.
            if let Some(([_, no, of, upto, since], stream)) = rest {
                let most = left as i64;
                left -= if stream.is_empty() {
                    let free = self.sql.get(Sql::FreeStreams)?;
                    free.execute(params![no, of, most])?
                } else {
                    let free = self.sql.get(Sql::FreeChunks)?;
                    free.execute(params![no, of, stream, since, upto, most])?
                };
            }
            if left > 0 {
                let _ = self.run(Sql::Unlitter, [id])?;
                left -= 1;
            }
        }
        Ok(Outcome::Done(u64::from(FORGOTTEN) - left as u64))
    }
}

/// When rows are to go, whose, of which incarnation, and between which places; and of which stream.
type Rest = ([i64; 5], String);

/// Returns the number of a row of the table `litter`, and what it says, if that is whole.
fn litter(row: &Columns) -> rusqlite::Result<(i64, Option<Rest>)> {
    let mut said = [0; 5];
    for (at, it) in [1, 2, 3, 5, 6].into_iter().zip(&mut said) {
        *it = number(row, at)?;
    }
    let stream = row.get_ref(4)?.as_str().unwrap_or_default().to_string();
    let is_whole = number(row, 7)? == sums::litter(said, &stream).into();
    Ok((row.get(0)?, is_whole.then_some((said, stream))))
}

/// Reads a number that no checksum covers, whatever is there.
fn number(row: &Columns, at: usize) -> rusqlite::Result<i64> {
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(it) => it,
        ValueRef::Real(it) => it as i64,
        _ => 0,
    })
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
        let damaged = || corrupt(format!("stream {name:?} of instance {no} in table chunk"));
        let (Some(chunks), part) = (unpacked(&payload), uint(row, 2)?) else {
            return damaged();
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
        let crc = sums::chunks([no, of], [place, part], &it, &payload);
        if crc != small(row, 6)? || it.places() != uint(row, 1)? {
            return damaged();
        }
        total += it.bytes();
        let outcome = match it.mark {
            Mark::Recorded if is_recorded(conn, no, part)? => {
                Some(Box::new(read::record(conn, no, part)?.0))
            }
            _ => None,
        };
        all.push(it.row(place, outcome));
    }
    Ok(all)
}

/// Whether the record is there; a history may have been freed before the streams beside it.
fn is_recorded(conn: &Connection, no: InstanceNo, seq: Seq) -> Result<bool> {
    let mut look = conn.prepare_cached("SELECT 1 FROM journal WHERE seq = ? AND no = ?")?;
    Ok(look.exists(params![seq as i64, no as i64])?)
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
