//! Questions, answered from rows. Used by the writer's connection and by readers alike.
//!
//! Every function is to be called inside a transaction (or for a single statement) and with names
//! that are up to date.

use rusqlite::types::ValueRef;
use rusqlite::{params, Connection, Statement};

use super::legible;
use super::names::Names;
use super::rows::{self, Fault, Result};
use super::sums;
use crate::audit;
use crate::bulk;
use crate::erasure;
use crate::history::Stored;
use crate::ids::{InstanceNo, Seq};
use crate::lifecycle::Status;
use crate::limits::AUDIT_READ;
use crate::ranges::Domain;
use crate::store::known::Damaged;
use crate::store::{ApprovalFilter, ApprovalPage, Bucket, Delivery, Ended, Failed, Payloads, Row};
use crate::wait::{Approval, ApprovalStatus, Event, Wait};

/// Records between two looks at the clock.
pub(super) const LOOK_EVERY: usize = 64;

/// The question of [`find_with`].
pub(super) fn by_name() -> String {
    format!(
        "SELECT {} FROM instance i WHERE i.workflow = ? AND i.id = ?",
        rows::INSTANCE
    )
}

pub(super) fn find_with(
    look: &mut Statement<'_>,
    names: &Names,
    workflows: &[i64],
    id: &str,
) -> Result<Option<Row>> {
    for workflow in workflows {
        let mut found = look.query(params![workflow, id])?;
        if let Some(row) = found.next()? {
            return Ok(Some(rows::instance(row, names)?));
        }
    }
    Ok(None)
}

pub(super) fn find(
    conn: &Connection,
    names: &Names,
    [namespace, workflow, id]: [&str; 3],
) -> Result<Option<Row>> {
    let workflows = names.workflows(Some(namespace), Some(workflow));
    find_with(
        &mut *conn.prepare_cached(&by_name())?,
        names,
        &workflows,
        id,
    )
}

/// The question of [`instance_with`].
pub(super) fn by_number() -> String {
    format!("SELECT {} FROM instance i WHERE i.no = ?", rows::INSTANCE)
}

pub(super) fn instance_with(
    look: &mut Statement<'_>,
    names: &Names,
    no: InstanceNo,
) -> Result<Option<Row>> {
    let mut found = look.query([no as i64])?;
    match found.next()? {
        Some(row) => Ok(Some(rows::instance(row, names)?)),
        None => Ok(None),
    }
}

pub(super) fn instance(conn: &Connection, names: &Names, no: InstanceNo) -> Result<Option<Row>> {
    instance_with(&mut *conn.prepare_cached(&by_number())?, names, no)
}

/// Returns the instances that another one called, in order of number.
pub(super) fn called(conn: &Connection, names: &Names, parent: InstanceNo) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {} FROM instance i WHERE i.parent = ? AND i.called ORDER BY i.no",
        rows::INSTANCE
    );
    let mut look = conn.prepare_cached(&sql)?;
    let mut found = look.query([parent as i64])?;
    let mut called = Vec::new();
    while let Some(row) = found.next()? {
        called.push(rows::instance(row, names)?);
    }
    Ok(called)
}

/// The question of [`payload_with`].
pub(super) fn of_payload(table: &str) -> String {
    format!("SELECT crc, payload FROM {table} WHERE no = ?")
}

/// Reads one of the tables (no, crc, payload).
pub(super) fn payload(conn: &Connection, table: &str, no: InstanceNo) -> Result<Option<Box<[u8]>>> {
    payload_with(&mut *conn.prepare_cached(&of_payload(table))?, table, no)
}

pub(super) fn payload_with(
    look: &mut Statement<'_>,
    table: &str,
    no: InstanceNo,
) -> Result<Option<Box<[u8]>>> {
    let mut found = look.query([no as i64])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let payload = rows::bytes(row, 1)?;
    if rows::uint(row, 0)? != u64::from(sums::payload(table, no, payload.as_deref())) {
        return Err(Fault::Corrupt(format!(
            "the {table} of instance {no} (row {no}) fails its checksum"
        )));
    }
    Ok(payload)
}

pub(super) fn payloads(conn: &Connection, no: InstanceNo) -> Result<Payloads> {
    Ok(Payloads {
        params: payload(conn, "params", no)?,
        result: payload(conn, "result", no)?,
        progress: payload(conn, "progress", no)?,
        attributes: payload(conn, "attributes", no)?,
    })
}

pub(super) fn meta(conn: &Connection, name: &str) -> Result<Option<Box<[u8]>>> {
    let mut look = conn.prepare_cached("SELECT value FROM meta WHERE name = ?")?;
    let mut found = look.query([name])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    match rows::bytes(row, 0) {
        Ok(Some(value)) => Ok(Some(value)),
        Ok(None) | Err(Fault::Corrupt(_)) => Err(Fault::Corrupt(format!(
            "setting {name:?} in table meta is no bytes"
        ))),
        Err(fault) => Err(fault),
    }
}

/// Returns the place of the last record, of whatever instance.
pub(super) fn last_seq(conn: &Connection) -> Result<Seq> {
    // A record at an impossible place is damaged.
    let sql = "SELECT coalesce(max(seq), 0) FROM journal WHERE seq < ?";
    let mut look = conn.prepare_cached(sql)?;
    let mut found = look.query([rows::NUMBERS_END as i64])?;
    match found.next()? {
        Some(row) => rows::uint(row, 0),
        None => Ok(0),
    }
}

/// Returns the head in the instance's row, which may lag behind.
pub(super) fn stored_head(conn: &Connection, no: InstanceNo) -> Result<Seq> {
    let mut look = conn.prepare_cached("SELECT head FROM instance WHERE no = ?")?;
    let mut found = look.query([no as i64])?;
    match found.next()? {
        Some(row) => rows::uint(row, 0),
        None => Ok(0),
    }
}

/// Returns a record of an instance and the place of the one before it.
pub(super) fn record(conn: &Connection, no: InstanceNo, seq: Seq) -> Result<(Stored, Seq)> {
    let sql = format!("SELECT {} FROM journal WHERE seq = ?", rows::JOURNAL);
    let mut look = conn.prepare_cached(&sql)?;
    let mut found = look.query([seq as i64])?;
    match found.next()? {
        Some(row) => rows::stored(row, no, seq),
        None => Err(missing(no, seq)),
    }
}

fn missing(no: InstanceNo, seq: Seq) -> Fault {
    Fault::Corrupt(format!("record {seq} of instance {no} is missing"))
}

/// Walks an instance's chain backwards from this record until there is no more, or until `go_on`,
/// which is asked now and then, says no. Returns where to go on, 0 at the end.
pub(super) fn walk(
    conn: &Connection,
    no: InstanceNo,
    from: Seq,
    chain: &mut Vec<Stored>,
    go_on: impl Fn() -> bool,
) -> Result<Seq> {
    let sql = format!("SELECT {} FROM journal WHERE seq = ?", rows::JOURNAL);
    let mut look = conn.prepare_cached(&sql)?;
    let mut at = from;
    let mut walked = 0;
    // It ends: `prev` is below `seq`, which `rows::stored` checks.
    while at != 0 {
        if walked % LOOK_EVERY == LOOK_EVERY - 1 && !go_on() {
            return Ok(at);
        }
        let mut found = look.query([at as i64])?;
        let Some(row) = found.next()? else {
            return Err(missing(no, at));
        };
        let (stored, prev) = rows::stored(row, no, at)?;
        let is_all = erasure::keeps_nothing(&stored.record);
        chain.push(stored);
        at = if is_all { 0 } else { prev };
        walked += 1;
    }
    Ok(0)
}

pub(super) fn waits(conn: &Connection, no: InstanceNo) -> Result<Vec<Wait>> {
    let sql = format!("SELECT {} FROM wait WHERE no = ? ORDER BY id", rows::WAIT);
    let mut look = conn.prepare_cached(&sql)?;
    let mut found = look.query([no as i64])?;
    let mut waits = Vec::new();
    while let Some(row) = found.next()? {
        waits.push(rows::wait(row)?.1);
    }
    Ok(waits)
}

/// Returns the numbers of instances that are in no state, ascending, of this workflow.
///
/// SQLite takes the schema's word that there is no NULL, so it cannot be asked for; but NULLs come
/// first in the order of an index.
pub(super) fn stateless(conn: &Connection, workflow: i64) -> Result<Vec<i64>> {
    let from = "SELECT no, status FROM instance INDEXED BY instance_status WHERE workflow = ?";
    let mut stateless = Vec::new();
    let mut first = conn.prepare_cached(&format!("{from} ORDER BY status"))?;
    let mut found = first.query([workflow])?;
    while let Some(row) = found.next()? {
        match row.get_ref(1)? {
            ValueRef::Integer(0..) => break,
            ValueRef::Real(it) if it >= 0.0 => break,
            _ => stateless.push(row.get(0)?),
        }
    }
    // What lies between the states that have not ended is met where those are read.
    let mut between = conn.prepare_cached(&format!("{from} AND status > ? AND status < ?"))?;
    let mut beyond = conn.prepare_cached(&format!("{from} AND status > ?"))?;
    for status in [Status::Complete, Status::Errored].map(|it| it as i64) {
        let numbers = between.query_map([workflow, status, status + 1], |row| row.get(0))?;
        stateless.extend(numbers.collect::<rusqlite::Result<Vec<i64>>>()?);
    }
    let numbers = beyond.query_map([workflow, Status::Terminated as i64], |row| row.get(0))?;
    stateless.extend(numbers.collect::<rusqlite::Result<Vec<i64>>>()?);
    stateless.sort_unstable();
    Ok(stateless)
}

/// Returns the numbers of instances whose workflow is not listed, in no order.
pub(super) fn unlisted(conn: &Connection, names: &Names) -> Result<Vec<i64>> {
    let from = "SELECT no, workflow FROM instance INDEXED BY instance_status";
    let listed = names.workflows(None, None);
    let mut unlisted = Vec::new();
    let mut first = conn.prepare_cached(&format!("{from} ORDER BY workflow"))?;
    let mut found = first.query([])?;
    while let Some(row) = found.next()? {
        // As in `stateless`.
        if row.get_ref(1)? != ValueRef::Null {
            break;
        }
        unlisted.push(row.get(0)?);
    }
    let mut between =
        conn.prepare_cached(&format!("{from} WHERE workflow > ? AND workflow < ?"))?;
    let mut before = i64::MIN;
    for workflow in listed {
        let numbers = between.query_map([before, workflow], |row| row.get(0))?;
        unlisted.extend(numbers.collect::<rusqlite::Result<Vec<i64>>>()?);
        before = workflow;
    }
    let mut beyond = conn.prepare_cached(&format!("{from} WHERE workflow > ?"))?;
    let numbers = beyond.query_map([before], |row| row.get(0))?;
    unlisted.extend(numbers.collect::<rusqlite::Result<Vec<i64>>>()?);
    Ok(unlisted)
}

pub(super) fn seen(conn: &Connection, no: InstanceNo, dedup: &str) -> Result<bool> {
    let mut found = conn.prepare_cached("SELECT 1 FROM seen WHERE no = ? AND dedup = ?")?;
    Ok(found.exists(params![no as i64, dedup])?)
}

/// Returns the events kept for an instance, oldest first.
pub(super) fn events(conn: &Connection, no: InstanceNo) -> Result<Vec<Event>> {
    let sql = format!("SELECT {} FROM event WHERE no = ? ORDER BY id", rows::EVENT);
    let mut look = conn.prepare_cached(&sql)?;
    let mut found = look.query([no as i64])?;
    let mut kept = Vec::new();
    while let Some(row) = found.next()? {
        kept.push(rows::event(row)?.1);
    }
    Ok(kept)
}

/// Returns the types of the events kept for an instance, and how many of each. Of one that is
/// damaged its owner is told, not whoever looks.
pub(super) fn kept(conn: &Connection, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>> {
    let sql = "SELECT type, count(*) FROM event WHERE no = ? AND typeof(type) = 'text' \
        GROUP BY type ORDER BY type LIMIT ?";
    let mut count = conn.prepare_cached(sql)?;
    let mut found = count.query(params![no as i64, types])?;
    let mut kept = Vec::new();
    while let Some(row) = found.next()? {
        kept.push((rows::text(row, 0)?, rows::uint(row, 1)?));
    }
    Ok(kept)
}

/// Returns how many instances of each workflow have ended, as a listing shows them.
pub(super) fn ended(conn: &Connection, names: &Names) -> Result<Vec<Ended>> {
    let mut kept =
        conn.prepare("SELECT complete, errored, terminated FROM tally WHERE workflow = ?")?;
    let listed = names.workflows(None, None);
    let mut rows = conn.prepare("SELECT workflow FROM tally")?;
    let mut rows = rows.query([])?;
    let mut is_any_lost = false;
    while let Some(row) = rows.next()? {
        is_any_lost |= listed.binary_search(&row.get(0)?).is_err();
    }
    let mut all = Vec::new();
    for workflow in listed {
        let mut found = kept.query([workflow])?;
        let kept = match found.next()? {
            Some(row) => kept_counts(row)?,
            None if is_any_lost => None,
            None => continue,
        };
        // What cannot be read is counted anew, and so is what may have been another state before it
        // was damaged.
        let counts = match kept {
            Some(counts) if stateless(conn, workflow)?.is_empty() => counts,
            _ => counts(conn, workflow)?,
        };
        if let Some((namespace, name)) = names.workflow(workflow).cloned() {
            all.push(Ended {
                namespace,
                workflow: name,
                counts,
                versions: ended_of(conn, names, workflow)?,
            });
        }
    }
    all.sort_unstable_by(|a, b| (&a.namespace, &a.workflow).cmp(&(&b.namespace, &b.workflow)));
    Ok(all)
}

/// Returns the same for each version of a workflow, in order of name. What cannot be read is counted
/// anew.
fn ended_of(conn: &Connection, names: &Names, workflow: i64) -> Result<Vec<(Box<str>, [u64; 3])>> {
    let mut kept =
        conn.prepare_cached("SELECT complete, errored, terminated FROM ended WHERE version = ?")?;
    let mut count = conn.prepare_cached(
        "SELECT count(*) FROM instance WHERE workflow = ? AND status = ? AND version = ?",
    )?;
    let mut all = Vec::new();
    for (version, name) in names.all().filter(|it| it.1.workflow_id == workflow) {
        let mut found = kept.query([version])?;
        let Some(row) = found.next()? else {
            continue;
        };
        let counts = match kept_counts(row)? {
            Some(counts) => counts,
            None => counted(|status| {
                count.query_row(params![workflow, status, version], |row| row.get(0))
            })?,
        };
        all.push((name.version.clone(), counts));
    }
    all.sort_unstable();
    Ok(all)
}

/// Returns the numbers of a row, if they are possible.
fn kept_counts(row: &rusqlite::Row<'_>) -> Result<Option<[u64; 3]>> {
    let mut counts = [0; 3];
    for (at, count) in counts.iter_mut().enumerate() {
        match row.get_ref(at)? {
            ValueRef::Integer(it) if (0..rows::NUMBERS_END as i64).contains(&it) => {
                *count = it as u64;
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(counts))
}

fn counts(conn: &Connection, workflow: i64) -> Result<[u64; 3]> {
    let mut count =
        conn.prepare_cached("SELECT count(*) FROM instance WHERE workflow = ? AND status = ?")?;
    counted(|status| count.query_row([workflow, status], |row| row.get(0)))
}

/// Returns how many have ended, asking for each state.
fn counted(mut count: impl FnMut(i64) -> rusqlite::Result<i64>) -> Result<[u64; 3]> {
    let mut counts = [0; 3];
    for (count_of, status) in
        counts
            .iter_mut()
            .zip([Status::Complete, Status::Errored, Status::Terminated])
    {
        *count_of = count(status as i64)? as u64;
    }
    Ok(counts)
}

/// Returns how many failed alike, from this hour on. What cannot be read is not told.
pub(super) fn failures(conn: &Connection, names: &Names, from_hour: i64) -> Result<Vec<Failed>> {
    let mut select = conn.prepare(
        "SELECT hour, version, step, error, count, since, example FROM failure WHERE hour >= ?",
    )?;
    let mut found = select.query([from_hour])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let name = row.get(1).ok().and_then(|it| names.get(it));
        let text = |at| rows::text(row, at).ok();
        let number = |at| {
            rows::uint(row, at)
                .ok()
                .filter(|it| *it < rows::NUMBERS_END)
        };
        let Some(name) = name else {
            continue;
        };
        if let (Ok(hour), Some(step), Some(error), Some(count), Ok(since), Some(example)) = (
            row.get(0),
            text(2),
            text(3),
            number(4),
            rows::time(row, 5),
            number(6),
        ) {
            let known = |it: Box<str>| Some(it).filter(|it| !it.is_empty());
            all.push(Failed {
                namespace: name.namespace.clone(),
                workflow: name.workflow.clone(),
                version: name.version.clone(),
                hour,
                step: known(step),
                error: known(error),
                count,
                since,
                example,
            });
        }
    }
    Ok(all)
}

/// Returns what the creation rates had left.
pub(super) fn buckets(conn: &Connection) -> Result<Vec<Bucket>> {
    let mut select =
        conn.prepare("SELECT namespace, millionths, at FROM bucket ORDER BY namespace")?;
    let mut found = select.query([])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        // One that cannot be read is full again.
        if let (Ok(namespace), Ok(millionths), Ok(at)) = (row.get(0), row.get(1), row.get(2)) {
            all.push(Bucket {
                namespace,
                millionths,
                at,
            });
        }
    }
    Ok(all)
}

/// Returns the letters of the owner of these ranges, which has this number.
pub(super) fn letters(
    conn: &Connection,
    of: &Domain,
    engine: u64,
    file: &str,
) -> Result<Vec<Delivery>> {
    let mut select = conn.prepare(&format!("SELECT {} FROM letter ORDER BY id", rows::LETTER))?;
    let mut found = select.query([])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let id = rows::uint(row, 0)?;
        match rows::letter(row) {
            Ok(letter) if letter.to.is_of(of, engine) => all.push((id, Ok(letter))),
            Ok(_) => {}
            Err(fault @ Fault::Corrupt(_)) => {
                let text = fault.explain(file, "read").to_string();
                all.push((id, Err(Damaged(text))));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(all)
}

/// Returns what a call was answered.
pub(super) fn call(conn: &Connection, id: &[u8]) -> Result<Option<Box<[u8]>>> {
    let mut look = conn.prepare_cached("SELECT at, crc, answer FROM call WHERE id = ?")?;
    let mut found = look.query([id])?;
    match found.next()? {
        Some(row) => Ok(Some(rows::call(row, id)?)),
        None => Ok(None),
    }
}

/// The question of [`approval_with`].
pub(super) fn by_approval() -> String {
    format!("SELECT {} FROM approval a WHERE a.id = ?", rows::APPROVAL)
}

pub(super) fn approval_with(look: &mut Statement<'_>, id: &str) -> Result<Option<Approval>> {
    let mut found = look.query([id])?;
    match found.next()? {
        Some(row) => Ok(Some(rows::approval(row, 0)?)),
        None => Ok(None),
    }
}

pub(super) fn approval(conn: &Connection, id: &str) -> Result<Option<Approval>> {
    approval_with(&mut *conn.prepare_cached(&by_approval())?, id)
}

pub(super) fn approvals(
    conn: &Connection,
    names: &Names,
    filter: &ApprovalFilter,
) -> Result<ApprovalPage> {
    let select = |condition: &str| {
        let columns = [rows::INSTANCE, rows::APPROVAL].join(", ");
        format!(
            "SELECT {columns} FROM approval a LEFT JOIN instance i ON i.no = a.no
             WHERE {condition} ORDER BY a.number"
        )
    };
    let is = |asked: &Option<Box<str>>, it: &str| asked.as_deref().is_none_or(|asked| asked == it);
    let mut found_all = Vec::new();
    let (mut searched_to, mut budget) = (None, filter.budget.unwrap_or(u32::MAX));
    let mut look = |sql: &str, values: &[i64]| -> Result<()> {
        let mut select = conn.prepare_cached(sql)?;
        let mut found = select.query(rusqlite::params_from_iter(values))?;
        let mut left = filter.limit;
        while left > 0 {
            let Some(row) = found.next()? else {
                break;
            };
            let number: i64 = row.get(rows::INSTANCE_WIDTH + 11)?;
            let listed = legible::listed_approval(row, names)?.filter(|(it, _)| {
                is(&filter.namespace, &it.namespace) && is(&filter.workflow, &it.workflow)
            });
            if let Some((row, approval)) = listed {
                found_all.push((number as u64, row, approval));
                left -= 1;
            }
            budget = budget.saturating_sub(1);
            if budget == 0 {
                searched_to = Some(number as u64);
                break;
            }
        }
        Ok(())
    };
    let beyond = filter.beyond.map_or(i64::MIN, |it| it as i64);
    if let Some(status) = filter.status {
        // Damaged ones stand nowhere, and so in every list.
        for number in undecided(conn)? {
            look(&select("a.number = ? AND a.number > ?"), &[number, beyond])?;
        }
        let values = [status as i64, beyond];
        look(&select("a.status = ? AND a.number > ?"), &values)?;
    } else {
        look(&select("a.number > ?"), &[beyond])?;
    }
    found_all.sort_by_key(|it| it.0);
    if let Some(to) = searched_to {
        found_all.retain(|it| it.0 <= to);
    }
    let is_full = found_all.len() >= filter.limit as usize;
    found_all.truncate(filter.limit as usize);
    Ok(ApprovalPage {
        rows: found_all,
        searched_to: searched_to.filter(|_| !is_full),
    })
}

/// Returns the numbers of approvals whose status is none.
fn undecided(conn: &Connection) -> Result<Vec<i64>> {
    let from = "SELECT number, status FROM approval INDEXED BY approval_status";
    let mut undecided = Vec::new();
    let mut first = conn.prepare_cached(&format!("{from} ORDER BY status"))?;
    let mut found = first.query([])?;
    while let Some(row) = found.next()? {
        // As in `stateless`.
        if matches!(row.get_ref(1)?, ValueRef::Integer(0..)) {
            break;
        }
        undecided.push(row.get(0)?);
    }
    let mut beyond = conn.prepare_cached(&format!("{from} WHERE status > ?"))?;
    let last = ApprovalStatus::Withdrawn as i64;
    for number in beyond.query_map([last], |row| row.get(0))? {
        undecided.push(number?);
    }
    Ok(undecided)
}

/// Returns rows of the audit, newest first, and how far down was searched.
pub(super) fn audit(conn: &Connection, page: &audit::Query, file: &str) -> Result<audit::Rows> {
    let select = |condition: &str| {
        let columns = rows::AUDIT;
        let sql = format!("SELECT {columns} FROM audit WHERE {condition} ORDER BY number DESC");
        conn.prepare_cached(&sql)
    };
    let last = page.beyond.map_or(i64::MAX, |it| it as i64 - 1);
    let mut some;
    let (mut found, mut of_many) = (None, None);
    if let (Some(workflow), Some(id)) = (&page.workflow, &page.id) {
        some = select("number <= ? AND namespace = ? AND workflow = ? AND id = ?")?;
        found = Some(some.query(params![last, page.namespace, workflow, id])?);
        of_many = last_bulk(conn, [&page.namespace, workflow, id])?;
        of_many = of_many.filter(|it| page.reaches(*it));
    } else {
        some = select("number <= ?")?;
        found.replace(some.query([last])?);
    }
    let mut found = found.expect("it is asked for");
    let (mut rows, mut looked) = (Vec::new(), 0);
    let told = |row: rows::Result<audit::Entry>, number: i64| match row {
        Ok(entry) => Ok(Ok(entry)),
        Err(fault @ Fault::Corrupt(_)) => Ok(Err((
            number as u64,
            fault.explain(file, "read").to_string(),
        ))),
        Err(fault) => Err(fault),
    };
    let mut one = select("number = ?")?;
    while rows.len() < page.limit as usize {
        let row = found.next()?;
        let number: Option<i64> = row.map(|it| it.get(0)).transpose()?;
        if let Some(many) = of_many.filter(|it| number.is_none_or(|no| (no as u64) < *it)) {
            of_many = None;
            let mut found = one.query([many as i64])?;
            if let Some(row) = found.next()? {
                rows.push(told(rows::audit(row), many as i64)?);
            }
        }
        let (Some(row), Some(number)) = (row, number) else {
            break;
        };
        match told(rows::audit(row), number)? {
            Ok(entry) if !page.has(&entry) => {}
            row => rows.push(row),
        }
        looked += 1;
        if looked == AUDIT_READ {
            return Ok((rows, Some(number as u64)));
        }
    }
    rows.truncate(page.limit as usize);
    Ok((rows, None))
}

/// Returns the number of what was done to many last, and to this instance among them.
fn last_bulk(conn: &Connection, [namespace, workflow, id]: [&str; 3]) -> Result<Option<u64>> {
    let sql = "SELECT i.bulk FROM instance i JOIN workflow w ON w.id = i.workflow \
               WHERE w.namespace = ? AND w.name = ? AND i.id = ?";
    let mut select = conn.prepare_cached(sql)?;
    let mut found = select.query([namespace, workflow, id])?;
    let row = found.next()?;
    Ok(row
        .and_then(|it| it.get::<_, i64>(0).ok())
        .map(|it| it as u64))
}

/// Returns what is done to many, newest first.
pub(super) fn bulks(conn: &Connection, page: &bulk::Query, file: &str) -> Result<bulk::Rows> {
    let sql = format!(
        "SELECT {} FROM bulk WHERE number <= ? ORDER BY number DESC",
        rows::BULK
    );
    let mut select = conn.prepare_cached(&sql)?;
    let last = page.beyond.map_or(i64::MAX, |it| it as i64 - 1);
    let mut found = select.query([last])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()?.filter(|_| all.len() < page.limit as usize) {
        match rows::bulk(row) {
            Ok(it) if page.has(&it) => all.push(Ok(it)),
            Ok(_) => {}
            Err(fault @ Fault::Corrupt(_)) => {
                let number: i64 = row.get(0)?;
                if page.number.is_none_or(|it| it == number as u64) {
                    all.push(Err((
                        number as u64,
                        fault.explain(file, "read").to_string(),
                    )));
                }
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(all)
}
