//! Freeing rows of the journal that no longer count (see `erasure`), a few at a time.
//!
//! A history is a chain of rows, each with the place of the one before it, under a checksum. A step
//! walks it from its head, and where rows do not count it deletes them and leads the row after them
//! to the one before. Invariants: between two steps every chain is whole, so a kill costs nothing
//! but the walk so far; the last row of a chain always counts, so no head moves; and whose chain is
//! not done is in the table `sweep`. A reader whose walk takes several transactions may be led to a
//! row that is gone by then; it begins anew.
//!
//! A deleted instance leaves a chain that nobody reads any more: it lies in the table `grave`, and
//! is freed from its head on.

use std::collections::VecDeque;

use rusqlite::{params, Connection};

use super::heads::Heads;
use super::read;
use super::rows::{self, Fault};
use super::sums;
use crate::erasure::{Erasures, Fate};
use crate::ids::{InstanceNo, Seq};

/// Rows that one step looks at: about a millisecond.
const STEP: usize = 256;

/// Whose chains are to be walked.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    due: VecDeque<InstanceNo>,
    walk: Option<Walk>,
    graves: VecDeque<(InstanceNo, Seq)>,
    /// Pages may have become free.
    pub(super) freed: bool,
}

/// How far a walk has come.
#[derive(Debug)]
struct Walk {
    no: InstanceNo,
    /// The record for which it began; what one after it says is for another walk.
    said_by: Seq,
    /// The last row that was found to count.
    at: Seq,
    /// What all rows down to that one erase.
    erasures: Erasures,
}

impl Sweeps {
    /// Finds what the last engine left.
    pub(super) fn recover(conn: &Connection) -> rusqlite::Result<Self> {
        let mut select = conn.prepare("SELECT no FROM sweep ORDER BY seq")?;
        let due = select.query_map([], |row| row.get(0).map(|it: i64| it as u64))?;
        // Of what is damaged the rows stay where they are: lost room, and no more.
        let mut dug = conn.prepare(
            "SELECT no, head FROM grave WHERE typeof(no) = 'integer' AND head > 0 ORDER BY head",
        )?;
        let number = |row: &rusqlite::Row<'_>, at| row.get(at).map(|it: i64| it as u64);
        let graves = dug.query_map([], |row| Ok((number(row, 0)?, number(row, 1)?)))?;
        Ok(Self {
            due: due.collect::<rusqlite::Result<_>>()?,
            walk: None,
            graves: graves.collect::<rusqlite::Result<_>>()?,
            freed: false,
        })
    }

    /// This instance is deleted, and left a history.
    pub(super) fn bury(&mut self, no: InstanceNo, head: Seq) {
        self.walk.take_if(|it| it.no == no);
        self.graves.push_back((no, head));
    }

    /// A record of this instance says that others do not count.
    pub(super) fn add(&mut self, no: InstanceNo) {
        if !self.due.contains(&no) {
            self.due.push_back(no);
        }
    }

    /// Whether [`step`] has something to do.
    pub(super) fn is_due(&self) -> bool {
        self.walk.is_some() || !self.due.is_empty() || !self.graves.is_empty()
    }
}

/// Walks on for a while. Inside a transaction.
pub(super) fn step(conn: &Connection, heads: &mut Heads) -> rows::Result<()> {
    let walk = match heads.sweeps.walk.take() {
        None => begin(conn, heads)?,
        walk => walk,
    };
    let Some(mut walk) = walk else {
        dig(conn, heads)?;
        return Ok(());
    };
    let done = match go_on(conn, &mut walk) {
        // A history that is damaged is told to whoever reads it; here it is left alone.
        Err(Fault::Corrupt(_)) => true,
        done => done?,
    };
    if done {
        forget(conn, walk.no, walk.said_by)?;
    } else {
        heads.sweeps.walk = Some(walk);
    }
    Ok(())
}

/// Frees some rows of the oldest grave.
fn dig(conn: &Connection, heads: &mut Heads) -> rows::Result<()> {
    let Some((no, head)) = heads.sweeps.graves.pop_front() else {
        return Ok(());
    };
    let mut look = conn.prepare_cached("SELECT prev FROM journal WHERE seq = ? AND no = ?")?;
    let mut free = conn.prepare_cached("DELETE FROM journal WHERE seq = ?")?;
    let mut at = head;
    for _ in 0..STEP {
        let mut found = look.query(params![at as i64, no as i64])?;
        // A row that leads nowhere, or to another's, is damaged: there it ends.
        let prev = match found.next()? {
            Some(row) => rows::uint(row, 0).ok().filter(|it| *it < at),
            None => None,
        };
        drop(found);
        let Some(prev) = prev else {
            at = 0;
            break;
        };
        free.execute([at as i64])?;
        at = prev;
        if at == 0 {
            break;
        }
    }
    // The last record of all may be among them: its place is never given out again.
    conn.prepare_cached("UPDATE store SET last_seq = max(last_seq, ?)")?
        .execute([heads.last_seq as i64])?;
    conn.prepare_cached("DELETE FROM grave WHERE head = ?")?
        .execute([head as i64])?;
    if at != 0 {
        conn.prepare_cached("INSERT OR REPLACE INTO grave VALUES (?, ?)")?
            .execute(params![at as i64, no as i64])?;
        heads.sweeps.graves.push_front((no, at));
    }
    Ok(())
}

fn forget(conn: &Connection, no: InstanceNo, said_by: Seq) -> rusqlite::Result<()> {
    let mut delete = conn.prepare_cached("DELETE FROM sweep WHERE no = ? AND seq = ?")?;
    delete.execute(params![no as i64, said_by as i64])?;
    Ok(())
}

fn begin(conn: &Connection, heads: &mut Heads) -> rows::Result<Option<Walk>> {
    let Some(no) = heads.sweeps.due.pop_front() else {
        return Ok(None);
    };
    let mut select = conn.prepare_cached("SELECT seq FROM sweep WHERE no = ?")?;
    let mut found = select.query([no as i64])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let Ok(said_by) = rows::uint(row, 0) else {
        // It frees room and no more: a chain with rows that do not count is as good as one without.
        let mut delete = conn.prepare_cached("DELETE FROM sweep WHERE no = ?")?;
        delete.execute([no as i64])?;
        return Ok(None);
    };
    let at = match heads.hot.get(&no) {
        Some(hot) => Ok(hot.head),
        None => read::stored_head(conn, no),
    };
    let mut erasures = Erasures::default();
    let at = match at.and_then(|at| read::record(conn, no, at)) {
        Ok((head, _)) => {
            let stays = erasures.judge(&head) != Fate::Gone;
            stays.then_some(head.seq)
        }
        Err(Fault::Corrupt(_)) => None,
        Err(fault) => return Err(fault),
    };
    let Some(at) = at else {
        forget(conn, no, said_by)?;
        return Ok(None);
    };
    Ok(Some(Walk {
        no,
        said_by,
        at,
        erasures,
    }))
}

/// Returns whether the walk has come to the end of the chain.
fn go_on(conn: &Connection, walk: &mut Walk) -> rows::Result<bool> {
    let mut left = STEP;
    loop {
        let (kept, before) = read::record(conn, walk.no, walk.at)?;
        let (mut prev, mut next) = (before, None);
        let mut damage = None;
        while prev != 0 && left > 0 {
            left -= 1;
            match read::record(conn, walk.no, prev) {
                Ok((older, _)) if walk.erasures.judge(&older) != Fate::Gone => {
                    next = Some(prev);
                    break;
                }
                Ok((_, older)) => {
                    let mut delete = conn.prepare_cached("DELETE FROM journal WHERE seq = ?")?;
                    delete.execute([prev as i64])?;
                    prev = older;
                }
                Err(fault) => {
                    damage = Some(fault);
                    break;
                }
            }
        }
        if prev != before {
            let crc = sums::record(walk.no, walk.at, prev, &kept.record);
            let mut lead =
                conn.prepare_cached("UPDATE journal SET prev = ?, crc = ? WHERE seq = ?")?;
            lead.execute(params![prev as i64, crc, walk.at as i64])?;
        }
        match (damage, next) {
            (Some(fault), _) => return Err(fault),
            (None, Some(next)) => walk.at = next,
            (None, None) => return Ok(prev == 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Verdict;
    use crate::store::samples::{append, create};
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Op, Store};

    fn attempt(attempt: u32, verdict: Verdict, erases: Option<u32>) -> Op {
        let Op::Append(no, incarnation, mut record) = append(1, "tried") else {
            unreachable!("it appends");
        };
        (record.attempt, record.verdict, record.erases) = (attempt, verdict, erases);
        Op::Append(no, incarnation, record)
    }

    fn rows(store: &SqliteStore, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        store.conn.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_does_not_count_is_freed_a_few_rows_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("audit.db"), "test").unwrap();
        let mut batch = vec![create(1)];
        batch.extend((1..=2_000).map(|it| attempt(it, Verdict::AttemptFailed, None)));
        batch.push(attempt(1_900, Verdict::Erased, Some(101)));
        let _ = store.commit(&batch).unwrap();
        assert_eq!((rows(&store, "journal"), rows(&store, "sweep")), (2_001, 1));
        let mut steps = 0;
        while store.heads.sweeps.is_due() {
            let before = rows(&store, "journal");
            store.maintain().unwrap();
            assert!(before - rows(&store, "journal") <= STEP as i64);
            steps += 1;
        }
        assert!((7..=9).contains(&steps), "{steps}");
        assert_eq!((rows(&store, "journal"), rows(&store, "sweep")), (201, 0));
        assert_eq!(store.reader().unwrap().history(1).unwrap().len(), 201);
    }

    #[test]
    fn a_damaged_row_is_left_to_whoever_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("audit.db"), "test").unwrap();
        let mut batch = vec![create(1), create(2)];
        batch.extend((1..=300).map(|it| attempt(it, Verdict::AttemptFailed, None)));
        batch.push(attempt(200, Verdict::Erased, Some(101)));
        let _ = store.commit(&batch).unwrap();
        let damage = "UPDATE journal SET crc = crc + 1 WHERE seq = 150";
        store.conn.execute(damage, []).unwrap();
        for _ in 0..5 {
            store.maintain().unwrap();
        }
        assert_eq!((rows(&store, "journal"), rows(&store, "sweep")), (251, 0));
        assert!(store.reader().unwrap().history(1).is_err());
        let _ = store.commit(&[append(2, "goes on")]).unwrap();
        assert_eq!(store.reader().unwrap().history(2).unwrap().len(), 1);
    }
}
