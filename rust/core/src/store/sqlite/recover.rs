//! What is handed over at a start: everything that is not final.
//!
//! Mostly unfinished instances are read in one pass over the table; a few among many finished
//! ones are looked up by the index on status. Either way in ascending order of number. Most of
//! them may have been queued and never changed since: of those only what queues them again is
//! read, five columns and no text of their own in memory.

use std::panic::resume_unwind;
use std::sync::mpsc::{sync_channel, SyncSender};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use rustc_hash::FxHashSet;

use super::legible;
use super::names::{Name, Names};
use super::read;
use super::rows::{self, Fault};
use super::trace::{self, Damage};
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::Status;
use crate::store::{Newcomer, NumberedCode, Recovery};

/// Newcomers handed over at once: enough that whoever takes them can put them in an order in which
/// they are cheap to place, few enough to take no room to speak of.
const CHUNK: usize = 1 << 17;

/// Hands over instances, then waits, then events. Reading is half of the work and a thread of its
/// own, so that the other half, which is that of `into`, goes on at the same time.
pub(super) fn recover(
    conn: &mut Connection,
    names: &Names,
    mut damage: Vec<Damage>,
    into: &mut dyn Recovery,
) -> rows::Result<()> {
    let known: FxHashSet<i64> = names
        .all()
        .filter(|(id, name)| {
            u32::try_from(*id).is_ok_and(|number| {
                into.knows(&NumberedCode {
                    number,
                    namespace: &name.namespace,
                    workflow: &name.workflow,
                    version: &name.version,
                })
            })
        })
        .map(|(id, _)| id)
        .collect();
    let (chunks, arrived) = sync_channel(1);
    let reading = &mut *conn;
    let others = std::thread::scope(|scope| {
        let reader = std::thread::Builder::new()
            .name("stepwell-recovery".into())
            .spawn_scoped(scope, move || read(reading, names, &known, &chunks));
        let reader = reader.map_err(|error| Fault::Thread(error.to_string()))?;
        for chunk in arrived {
            into.newcomers(&chunk);
        }
        reader.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    let sql = format!("SELECT {} FROM instance i WHERE i.no = ?", rows::INSTANCE);
    let mut look = conn.prepare(&sql)?;
    for no in others {
        let mut found = look.query([no as i64])?;
        if let Some(row) = found.next()? {
            match rows::instance(row, names) {
                Ok(whole) => into.instance(whole),
                Err(Fault::Corrupt(what)) => {
                    into.unreadable(what, legible::listed_instance(row, names)?);
                }
                Err(fault) => return Err(fault),
            }
        }
    }
    rest(conn, into, &mut damage)?;
    damage.extend(trace::strays(conn)?);
    for Damage { no, what } in damage {
        match no {
            Some(no) => into.damaged(no, &what),
            None => into.unreadable(what, None),
        }
    }
    Ok(())
}

/// Sends newcomers of known codes; returns the numbers of all other instances that are not final.
fn read(
    conn: &Connection,
    names: &Names,
    known: &FxHashSet<i64>,
    chunks: &SyncSender<Vec<Newcomer>>,
) -> rows::Result<Vec<InstanceNo>> {
    let mut reading = Reading {
        names,
        known,
        chunks,
        code: None,
        chunk: Vec::new(),
        others: Vec::new(),
    };
    // One transaction, so that not each look takes and gives back a lock.
    let _read = conn.unchecked_transaction()?;
    let sql = "SELECT CAST(total(complete + errored + terminated) AS INTEGER) FROM tally";
    let ended: i64 = conn.query_row(sql, [], |row| row.get(0))?;
    let few = usize::try_from(ended / 4).unwrap_or(0);
    if let Some(live) = live(conn, names, few)? {
        let sql = format!("SELECT {} FROM instance i WHERE i.no = ?", rows::NEWCOMER);
        let mut look = conn.prepare(&sql)?;
        for no in live {
            let mut found = look.query([no])?;
            if let Some(row) = found.next()? {
                reading.take(row)?;
            }
        }
    } else {
        let sql = format!(
            "SELECT {} FROM instance i NOT INDEXED WHERE i.status < ? ORDER BY i.no",
            rows::NEWCOMER
        );
        let mut scan = conn.prepare(&sql)?;
        let mut found = scan.query([Status::Complete as i64])?;
        while let Some(row) = found.next()? {
            reading.take(row)?;
        }
    }
    reading.send();
    let mut others = reading.others;
    others.extend(stray(conn, names)?);
    others.sort_unstable();
    others.dedup();
    Ok(others)
}

struct Reading<'a> {
    names: &'a Names,
    known: &'a FxHashSet<i64>,
    chunks: &'a SyncSender<Vec<Newcomer>>,
    /// The code of the row before, for most are of the same: its names, if it is known.
    code: Option<(i64, Option<&'a Name>)>,
    chunk: Vec<Newcomer>,
    others: Vec<InstanceNo>,
}

impl<'a> Reading<'a> {
    fn take(&mut self, row: &Row<'_>) -> rows::Result<()> {
        match self.take_newcomer(row) {
            Ok(true) => {}
            // What cannot be read is told when all of it is looked at.
            Ok(false) | Err(Fault::Corrupt(_)) => self.others.push(rows::uint(row, 0)?),
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn take_newcomer(&mut self, row: &Row<'_>) -> rows::Result<bool> {
        let (no, newcomer) = rows::newcomer(row)?;
        let Some((version, id, newcomer)) = newcomer else {
            return Ok(false);
        };
        let Some(name) = self.name(version, no)? else {
            return Ok(false);
        };
        if row.get_ref(6)? != ValueRef::Integer(name.workflow_id) {
            return Ok(false);
        }
        let key = Key::new(&name.namespace, &name.workflow, id);
        if self.chunk.capacity() == 0 {
            self.chunk.reserve_exact(CHUNK);
        }
        self.chunk.push(Newcomer { key, ..newcomer });
        if self.chunk.len() == CHUNK {
            self.send();
        }
        Ok(true)
    }

    /// Returns the names of a code, if newcomers that have it are wanted.
    fn name(&mut self, version: i64, no: InstanceNo) -> rows::Result<Option<&'a Name>> {
        if let Some((_, name)) = self.code.filter(|it| it.0 == version) {
            return Ok(name);
        }
        let name = rows::name(self.names, version, no)?;
        let name = self.known.contains(&version).then_some(name);
        self.code = Some((version, name));
        Ok(name)
    }

    fn send(&mut self) {
        // Nobody takes it only if whoever should has panicked, which says enough.
        let _ = self.chunks.send(std::mem::take(&mut self.chunk));
    }
}

/// Hands over waits and events.
fn rest(conn: &Connection, into: &mut dyn Recovery, damage: &mut Vec<Damage>) -> rows::Result<()> {
    let mut scan = conn.prepare(&format!("SELECT {} FROM wait ORDER BY no, id", rows::WAIT))?;
    let mut found = scan.query([])?;
    while let Some(row) = found.next()? {
        match rows::wait(row) {
            Ok((no, wait)) => into.wait(no, wait),
            Err(Fault::Corrupt(what)) => damage.push(Damage {
                no: rows::uint(row, 0).ok(),
                what: format!("a row of table wait: {what}"),
            }),
            Err(fault) => return Err(fault),
        }
    }
    // What is kept of those that have ended is for a restart, which asks for it.
    let mut scan = conn.prepare(&format!(
        "SELECT {} FROM event WHERE coalesce( \
            (SELECT status FROM instance WHERE instance.no = event.no), 0) NOT IN (6, 7, 8) \
        ORDER BY no, id",
        rows::EVENT
    ))?;
    let mut found = scan.query([])?;
    while let Some(row) = found.next()? {
        match rows::event(row) {
            Ok((no, event)) => into.event(no, event),
            Err(Fault::Corrupt(what)) => {
                let mut one = trace::told(conn, "a row of table event", rows::event_said(row))?;
                if let (None, Ok(no)) = (one.no, rows::uint(row, 0)) {
                    one = Damage { no: Some(no), what };
                }
                damage.push(one);
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// Returns the numbers of all instances that are not final, ascending; `None` if they are more
/// than `few`.
fn live(conn: &Connection, names: &Names, few: usize) -> rows::Result<Option<Vec<i64>>> {
    let mut live = Vec::new();
    let mut scan = conn.prepare(
        "SELECT no FROM instance INDEXED BY instance_status WHERE workflow = ? AND status < ?",
    )?;
    for workflow in names.workflows(None, None) {
        let mut found = scan.query([workflow, Status::Complete as i64])?;
        while let Some(row) = found.next()? {
            if live.len() >= few {
                return Ok(None);
            }
            live.push(row.get(0)?);
        }
    }
    live.sort_unstable();
    Ok(Some(live))
}

/// Returns the numbers of instances that no other look would come across: their workflow is not
/// listed, their state is none, or their own number is impossible. Each look is a place in an
/// index.
fn stray(conn: &Connection, names: &Names) -> rows::Result<Vec<InstanceNo>> {
    let mut found = read::unlisted(conn, names)?;
    for workflow in names.workflows(None, None) {
        found.extend(read::stateless(conn, workflow)?);
    }
    let mut look = conn.prepare("SELECT no FROM instance WHERE no < 1 OR no >= ?")?;
    for no in look.query_map([rows::NUMBERS_END as i64], |row| row.get(0))? {
        found.push(no?);
    }
    Ok(found.into_iter().map(|no| no as InstanceNo).collect())
}
