//! Questions, answered from rows. Used by the writer's connection and by readers alike.
//!
//! Every function is to be called inside a transaction (or for a single statement) and with names
//! that are up to date.

use rusqlite::types::Value;
use rusqlite::{params, Connection};

use super::names::Names;
use super::rows::{self, Fault, Result};
use crate::history::Stored;
use crate::ids::{InstanceNo, Seq};
use crate::lifecycle::Status;
use crate::store::{Bucket, Ended, Filter, Payloads, Row};
use crate::wait::{Approval, ApprovalStatus, Wait};

/// Records between two looks at the clock.
pub(super) const LOOK_EVERY: usize = 64;

pub(super) fn find(
    conn: &Connection,
    names: &Names,
    [namespace, workflow, id]: [&str; 3],
) -> Result<Option<Row>> {
    for workflow in names.workflows(Some(namespace), Some(workflow)) {
        let sql = format!(
            "SELECT {} FROM instance i WHERE i.workflow = ? AND i.id = ?",
            rows::INSTANCE
        );
        let mut look = conn.prepare_cached(&sql)?;
        let mut found = look.query(params![workflow, id])?;
        if let Some(row) = found.next()? {
            return Ok(Some(rows::instance(row, names)?));
        }
    }
    Ok(None)
}

pub(super) fn instance(conn: &Connection, names: &Names, no: InstanceNo) -> Result<Option<Row>> {
    let sql = format!("SELECT {} FROM instance i WHERE i.no = ?", rows::INSTANCE);
    let mut look = conn.prepare_cached(&sql)?;
    let mut found = look.query([no as i64])?;
    match found.next()? {
        Some(row) => Ok(Some(rows::instance(row, names)?)),
        None => Ok(None),
    }
}

/// Reads one of the tables (no, crc, payload).
pub(super) fn payload(conn: &Connection, table: &str, no: InstanceNo) -> Result<Option<Box<[u8]>>> {
    let sql = format!("SELECT crc, payload FROM {table} WHERE no = ?");
    let mut look = conn.prepare_cached(&sql)?;
    let mut found = look.query([no as i64])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let payload = rows::bytes(row, 1)?;
    if rows::uint(row, 0)? != u64::from(rows::payload_checksum(table, no, payload.as_deref())) {
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
    match found.next()? {
        Some(row) => rows::bytes(row, 0),
        None => Ok(None),
    }
}

/// Returns the place of the last record, of whatever instance.
pub(super) fn last_seq(conn: &Connection) -> Result<Seq> {
    let mut look = conn.prepare_cached("SELECT coalesce(max(seq), 0) FROM journal")?;
    let mut found = look.query([])?;
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
        chain.push(stored);
        at = prev;
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

/// Returns one page. Each (workflow, state) asked for is a range of the index on status, in order
/// of number; the ranges are merged here, because SQLite would sort them whole.
pub(super) fn seen(conn: &Connection, no: InstanceNo, dedup: &str) -> Result<bool> {
    let mut found = conn.prepare_cached("SELECT 1 FROM seen WHERE no = ? AND dedup = ?")?;
    Ok(found.exists(params![no as i64, dedup])?)
}

pub(super) fn list(conn: &Connection, names: &Names, filter: &Filter) -> Result<Vec<Row>> {
    let mut statuses = filter.statuses.clone();
    if filter.reason.is_some() {
        let blocked_asked = statuses.is_empty() || statuses.contains(&Status::Blocked);
        statuses = if blocked_asked {
            vec![Status::Blocked]
        } else {
            return Ok(Vec::new());
        };
    }
    let workflows = names.workflows(filter.namespace.as_deref(), filter.workflow.as_deref());
    let versions = filter.version.as_ref().map(|it| names.versions(it));
    let mut page = Vec::new();
    // What has an attribute lies in order of number in the index on it.
    let is_found = !filter.attributes.is_empty();
    if is_found || filter.parent.is_some() || (statuses.is_empty() && filter.workflow.is_none()) {
        let mut query = Query::new(filter, versions.as_deref());
        query.all_of("workflow", &workflows);
        if !statuses.is_empty() {
            let codes: Vec<i64> = statuses.iter().map(|it| *it as i64).collect();
            query.all_of("status", &codes);
        }
        query.run(conn, names, &mut page)?;
        return Ok(page);
    }
    // Damaged ones, which are in no state, belong to all.
    let mut stateless: &[(&str, i64)] = &[];
    if statuses.is_empty() {
        statuses = Status::ALL.to_vec();
        stateless = &[
            ("i.status < ?", Status::ALL[0] as i64),
            ("i.status > ?", Status::Terminated as i64),
        ];
    }
    statuses.sort_unstable();
    statuses.dedup();
    for workflow in &workflows {
        for (range, edge) in stateless {
            let mut query = Query::new(filter, versions.as_deref());
            query.and("i.workflow = ?", *workflow);
            query.and(range, *edge);
            query.run(conn, names, &mut page)?;
        }
        for status in &statuses {
            let mut query = Query::new(filter, versions.as_deref());
            query.and("i.workflow = ?", *workflow);
            query.and("i.status = ?", *status as i64);
            query.run(conn, names, &mut page)?;
        }
    }
    page.sort_unstable_by_key(|it| it.no);
    if filter.newest_first {
        page.reverse();
    }
    page.truncate(filter.limit as usize);
    Ok(page)
}

/// One `SELECT` of a listing.
struct Query<'f> {
    filter: &'f Filter,
    /// Where instances are looked for.
    table: &'static str,
    /// Their number there.
    no: &'static str,
    conditions: String,
    values: Vec<Value>,
}

impl<'f> Query<'f> {
    fn new(filter: &'f Filter, versions: Option<&[i64]>) -> Self {
        let mut query = Self {
            filter,
            table: "instance i",
            no: "i.no",
            conditions: "1".into(),
            values: Vec::new(),
        };
        query.having(&filter.attributes);
        if let Some(versions) = versions {
            query.all_of("version", versions);
        }
        if let Some(reason) = &filter.reason {
            query.and("i.reason = ?", reason.to_string());
        }
        if let Some(parent) = filter.parent {
            query.and("i.parent = ?", parent as i64);
        }
        if let Some(after) = filter.created_after {
            query.and("i.created_at >= ?", after);
        }
        if let Some(before) = filter.created_before {
            query.and("i.created_at < ?", before);
        }
        if let Some(beyond) = filter.beyond {
            let side = if filter.newest_first { "<" } else { ">" };
            query.and(&format!("{} {side} ?", query.no), beyond as i64);
        }
        query
    }

    /// Adds that instances have all these attributes: they are found by the first, and looked at
    /// for the others.
    fn having(&mut self, attributes: &[(Box<str>, Box<[u8]>)]) {
        for (at, (key, value)) in attributes.iter().enumerate() {
            let (key, value) = (Value::Text(key.to_string()), Value::Blob(value.to_vec()));
            self.values.extend([key, value]);
            self.conditions.push_str(if at == 0 {
                (self.table, self.no) = ("attribute a CROSS JOIN instance i ON i.no = a.no", "a.no");
                " AND a.key = ? AND a.value = ?"
            } else {
                " AND EXISTS (SELECT 1 FROM attribute b WHERE b.key = ? AND b.value = ? AND b.no = a.no)"
            });
        }
    }

    fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.conditions.push_str(" AND ");
        self.conditions.push_str(condition);
        self.values.push(value.into());
    }

    /// Adds that a column holds one of these numbers. The `+` keeps SQLite from using an index
    /// on it, which would cost the order by number.
    fn all_of(&mut self, column: &str, numbers: &[i64]) {
        let list: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let list = list.join(",");
        for part in [" AND +i.", column, " IN (", &list, ")"] {
            self.conditions.push_str(part);
        }
    }

    fn run(mut self, conn: &Connection, names: &Names, page: &mut Vec<Row>) -> Result<()> {
        let order = if self.filter.newest_first {
            "DESC"
        } else {
            "ASC"
        };
        let sql = format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {} {order} LIMIT ?",
            rows::INSTANCE,
            self.table,
            self.conditions,
            self.no
        );
        self.values
            .push(Value::Integer(i64::from(self.filter.limit)));
        let mut select = conn.prepare_cached(&sql)?;
        let mut found = select.query(rusqlite::params_from_iter(self.values))?;
        while let Some(row) = found.next()? {
            page.extend(rows::listed_instance(row, names)?);
        }
        Ok(())
    }
}

/// Returns how many instances of each workflow have ended.
pub(super) fn ended(conn: &Connection) -> Result<Vec<Ended>> {
    let mut select = conn.prepare(
        "SELECT w.namespace, w.name, t.complete, t.errored, t.terminated, w.id
         FROM tally t JOIN workflow w ON w.id = t.workflow ORDER BY w.namespace, w.name",
    )?;
    let mut found = select.query([])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let names = (row.get(0), row.get(1));
        // Nothing of a workflow whose name cannot be read is shown.
        if let (Ok(namespace), Ok(workflow)) = names {
            all.push(Ended {
                namespace,
                workflow,
                counts: counts(conn, row)?,
            });
        }
    }
    Ok(all)
}

/// Returns the numbers of a row; what is none of it is counted anew.
fn counts(conn: &Connection, row: &rusqlite::Row<'_>) -> Result<[u64; 3]> {
    let kept = [rows::uint(row, 2), rows::uint(row, 3), rows::uint(row, 4)];
    if let [Ok(complete), Ok(errored), Ok(terminated)] = kept {
        return Ok([complete, errored, terminated]);
    }
    let mut count =
        conn.prepare_cached("SELECT count(*) FROM instance WHERE workflow = ? AND status = ?")?;
    let workflow = row.get::<_, i64>(5)?;
    let mut counts = [0; 3];
    for (count_of, status) in
        counts
            .iter_mut()
            .zip([Status::Complete, Status::Errored, Status::Terminated])
    {
        *count_of = count.query_row([workflow, status as i64], |row| row.get::<_, i64>(0))? as u64;
    }
    Ok(counts)
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

pub(super) fn approval(conn: &Connection, id: &str) -> Result<Option<Approval>> {
    let sql = format!("SELECT {} FROM approval a WHERE a.id = ?", rows::APPROVAL);
    let mut look = conn.prepare_cached(&sql)?;
    let mut found = look.query([id])?;
    match found.next()? {
        Some(row) => Ok(Some(rows::approval(row, 0)?)),
        None => Ok(None),
    }
}

pub(super) fn approvals(
    conn: &Connection,
    names: &Names,
    namespace: Option<&str>,
    workflow: Option<&str>,
    status: Option<ApprovalStatus>,
) -> Result<Vec<(Row, Approval)>> {
    let by_status = if status.is_some() {
        "a.status = ?"
    } else {
        "? IS NULL"
    };
    let sql = format!(
        "SELECT {}, {} FROM approval a CROSS JOIN instance i ON i.no = a.no
         WHERE {by_status} ORDER BY a.number",
        rows::INSTANCE,
        rows::APPROVAL
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut found = select.query([status.map(|it| it as i64)])?;
    let mut approvals = Vec::new();
    while let Some(row) = found.next()? {
        let Some(instance) = rows::listed_instance(row, names)? else {
            continue;
        };
        if namespace.is_none_or(|it| it == &*instance.namespace)
            && workflow.is_none_or(|it| it == &*instance.workflow)
        {
            approvals.push((instance, rows::listed_approval(row, rows::INSTANCE_WIDTH)?));
        }
    }
    Ok(approvals)
}
