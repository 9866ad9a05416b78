//! Where each instance's chain of records begins: its last record.
//!
//! The journal has no index, so a history is read from its head backwards. Writing the head into
//! the instance's row with every record would double the writes; so heads that moved live here
//! and are persisted with the next change of state, or by a round that visits all of them when
//! many records lie above the watermark.
//!
//! Invariant: for every instance, its last record at or below the watermark is reachable from
//! `instance.head` or from a record above the watermark. So after a crash a scan of the records
//! above it finds every head that was lost.
//!
//! Two copies: the writer's, which runs ahead inside a batch, and the published one, which holds
//! only what is committed. A reader looks at the published one first and *then* begins its read
//! transaction: a head that is published is committed, and one that is not published any more
//! was persisted before. Of the two it finds, the higher is right.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{params, Connection};
use rustc_hash::FxHashMap;

use super::read;
use super::rows;
use super::sweep::Sweeps;
use super::trace::{self, Damage};
use crate::ids::{Incarnation, InstanceNo, Seq};
use crate::lifecycle::Status;

/// Records above the watermark after which a round starts.
const ABOVE_MAX: u64 = 200_000;
/// Heads one call of [`Heads::persist_some`] writes.
const ROUND_STEP: usize = 4_096;

/// What the writer knows of an instance that runs or whose head has moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hot {
    pub(super) incarnation: Incarnation,
    pub(super) status: Status,
    pub(super) head: Seq,
    /// The head in the instance's row.
    pub(super) stored: Seq,
}

/// Heads of committed records, for readers.
pub(super) type Published = Arc<Mutex<FxHashMap<InstanceNo, Seq>>>;

/// The writer's copy.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pub(super) hot: FxHashMap<InstanceNo, Hot>,
    /// Whose head may have moved in this batch.
    pub(super) touched: Vec<InstanceNo>,
    pub(super) published: Published,
    pub(super) last_seq: Seq,
    /// Whose histories have rows that no longer count.
    pub(super) sweeps: Sweeps,
    /// Records that were found damaged at the start, until it is told.
    pub(super) damage: Vec<Damage>,
    watermark: Seq,
    round: Option<Round>,
}

/// A visit to all heads that were not persisted when it began.
#[derive(Debug)]
struct Round {
    /// The last record when it began; the watermark when it has ended.
    up_to: Seq,
    /// Whom to visit, last first: ascending numbers lie side by side in the table.
    left: Vec<InstanceNo>,
}

impl Heads {
    /// Finds the heads that were lost with the last engine and persists them. Inside a transaction.
    pub(super) fn recover(conn: &Connection) -> rows::Result<Self> {
        let (watermark, last_seq): (u64, u64) = conn.query_row(
            "SELECT watermark, max(last_seq, (SELECT coalesce(max(seq), 0) FROM journal WHERE seq \
            < ?)) FROM store",
            [rows::NUMBERS_END as i64],
            |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)),
        )?;
        let mut heads = Self {
            last_seq,
            watermark: last_seq,
            sweeps: Sweeps::recover(conn)?,
            ..Self::default()
        };
        if let Some(mut lost) = lost(conn, watermark)? {
            lost.sort_unstable();
            let mut persist = conn.prepare(PERSIST)?;
            for (no, head) in lost {
                persist.execute(params![head as i64, no as i64])?;
            }
        } else {
            // The last record of each that is told, damaged or not: whoever reads the history then
            // comes across what is damaged.
            let (found, damage) = trace::heads(conn, watermark)?;
            let sql = "UPDATE instance SET head = ? WHERE no = ? AND typeof(head) = 'integer'";
            let mut persist = conn.prepare(sql)?;
            for (no, head) in found {
                persist.execute(params![head as i64, no as i64])?;
            }
            heads.damage = damage;
        }
        heads.move_watermark(conn)?;
        Ok(heads)
    }

    /// Returns where the chain of an instance begins, 0 if it has no record.
    pub(super) fn head(&self, conn: &Connection, no: InstanceNo) -> rows::Result<Seq> {
        match self.hot.get(&no) {
            Some(hot) => Ok(hot.head),
            None => read::stored_head(conn, no),
        }
    }

    /// Shows readers what a batch has changed. After its commit.
    pub(super) fn publish(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let mut published = self.published.lock();
        for no in self.touched.drain(..) {
            match self.hot.get(&no) {
                Some(hot) if hot.head > hot.stored => published.insert(no, hot.head),
                _ => published.remove(&no),
            };
        }
    }

    /// Whether [`Self::persist_some`] has something to do.
    pub(super) fn is_due(&self) -> bool {
        self.round.is_some() || self.last_seq - self.watermark > ABOVE_MAX
    }

    /// Persists some heads; moves the watermark when a round is complete. Inside a transaction;
    /// [`Self::publish`] follows its commit.
    pub(super) fn persist_some(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let hot = &mut self.hot;
        let last_seq = self.last_seq;
        let round = self.round.get_or_insert_with(|| {
            let moved = hot.iter().filter(|(_, it)| it.head > it.stored);
            let mut left: Vec<InstanceNo> = moved.map(|(no, _)| *no).collect();
            left.sort_unstable_by(|a, b| b.cmp(a));
            Round {
                up_to: last_seq,
                left,
            }
        });
        let mut persist = conn.prepare_cached(PERSIST)?;
        for no in round
            .left
            .drain(round.left.len().saturating_sub(ROUND_STEP)..)
            .rev()
        {
            // One that is no longer here was persisted by a change of state.
            if let Some(it) = hot.get_mut(&no) {
                persist.execute(params![it.head as i64, no as i64])?;
                it.stored = it.head;
                self.touched.push(no);
            }
        }
        if round.left.is_empty() {
            self.watermark = round.up_to;
            self.round = None;
            self.move_watermark(conn)?;
        }
        Ok(())
    }

    /// Persists all heads. Inside a transaction, before a clean close.
    pub(super) fn persist_all(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut persist = conn.prepare_cached(PERSIST)?;
        for (no, it) in self.hot.iter().filter(|(_, it)| it.head > it.stored) {
            persist.execute(params![it.head as i64, *no as i64])?;
        }
        self.watermark = self.last_seq;
        self.move_watermark(conn)
    }

    fn move_watermark(&self, conn: &Connection) -> rusqlite::Result<()> {
        conn.execute(
            "UPDATE store SET watermark = ?, last_seq = ?",
            params![self.watermark as i64, self.last_seq as i64],
        )?;
        Ok(())
    }
}

/// Returns the heads that are not persisted, as whoever opens the store next would find them.
pub(super) fn unpersisted(conn: &Connection) -> rows::Result<Vec<(InstanceNo, Seq)>> {
    let sql = "SELECT watermark FROM store";
    let watermark = conn.query_row(sql, [], |row| row.get::<_, i64>(0))? as u64;
    match lost(conn, watermark)? {
        Some(found) => Ok(found),
        None => Ok(trace::heads(conn, watermark)?.0),
    }
}

/// Returns the last record above the watermark of each instance that has any; none if a record is
/// not where it can be, or does not continue what its instance has: then one of them is damaged.
fn lost(conn: &Connection, watermark: Seq) -> rows::Result<Option<Vec<(InstanceNo, Seq)>>> {
    let misplaced = "SELECT 1 FROM journal WHERE seq < 1 OR seq >= ?";
    if conn
        .prepare(misplaced)?
        .exists([rows::NUMBERS_END as i64])?
    {
        return Ok(None);
    }
    let mut lost = FxHashMap::default();
    let sql = "SELECT seq, no, prev FROM journal WHERE seq > ? ORDER BY seq";
    let mut scan = conn.prepare(sql)?;
    let mut found = scan.query([watermark as i64])?;
    while let Some(row) = found.next()? {
        let seq = rows::uint(row, 0)?;
        let (Ok(no), Ok(prev)) = (rows::uint(row, 1), rows::uint(row, 2)) else {
            return Ok(None);
        };
        let continues = match lost.insert(no, seq) {
            Some(before) => prev == before,
            None => prev <= watermark,
        };
        if !continues {
            return Ok(None);
        }
    }
    // One that continues nothing names its instance alone, and nothing contradicts it but its
    // checksum.
    let mut look = conn.prepare("SELECT head FROM instance WHERE no = ?")?;
    for (no, head) in &lost {
        let mut found = look.query([*no as i64])?;
        let is_known = match found.next()? {
            Some(row) => rows::uint(row, 0).is_ok_and(|it| it >= *head),
            None => false,
        };
        match if is_known {
            None
        } else {
            Some(read::record(conn, *no, *head))
        } {
            Some(Err(rows::Fault::Corrupt(_))) => return Ok(None),
            Some(Err(fault)) => return Err(fault),
            None | Some(Ok(_)) => {}
        }
    }
    Ok(Some(lost.into_iter().collect()))
}

/// A head that cannot be read is left alone, as all of that row.
const PERSIST: &str =
    "UPDATE instance SET head = ?1 WHERE no = ?2 AND typeof(head) = 'integer' AND head >= 0 AND \
    head < ?1";
