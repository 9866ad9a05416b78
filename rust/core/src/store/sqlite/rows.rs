//! How records become columns and columns become records.
//!
//! Anything that cannot be read back is a [`Fault::Corrupt`], never a guess. The checksums of rows
//! are in `sums`.

use rusqlite::types::ValueRef;
use rusqlite::Row as Columns;

pub(super) use super::columns::{bytes, code, code_or_none, int, text, time, time_or_none, uint};
use super::columns::{drawn, flag, int_or_none, number_or_none, small, text_or_none};
use super::fault::corrupt;
pub(super) use super::fault::{Fault, Fullness, Result};
use super::names::{Name, Names};
use super::sums::{self, Said};
use crate::audit;
use crate::bulk::Bulk;
use crate::history::{Kind, Operation, Record, Stored, Verdict};
use crate::ids::{InstanceNo, Key, Range, Seq, RANGES};
use crate::letter::{Address, Letter, Message};
use crate::lifecycle::Status;
pub(super) use crate::limits::NUMBERS_END;
use crate::store::{Newcomer, Row};
use crate::undo::Undo;
use crate::wait::{Approval, ApprovalStatus, Event, Source, Wait};

/// What a row (crc, payload) of such a table says, and its checksum.
pub(super) fn payload_said(table: &str, row: &Columns) -> Result<(Said, u32)> {
    let payload = bytes(row, 1)?;
    Ok((Said::of_payload(table, payload.as_deref()), small(row, 0)?))
}

/// Columns of [`instance`], in its order.
pub(super) const INSTANCE: &str = "i.no, i.version, i.id, i.incarnation, i.status, i.marked, \
     i.recoveries, i.priority, i.created_at, i.updated_at, i.started_at, i.ended_at, i.start_at, \
     i.parent, i.called, i.reason, i.step, i.format, i.seed, i.paused_at, \
     i.head, i.workflow, i.schedule, i.undo, i.born";
/// How many columns [`INSTANCE`] has.
pub(super) const INSTANCE_WIDTH: usize = 25;

/// Columns of [`newcomer`], in its order. The sixth says whether the instance was created, queued,
/// and never changed since: as [`Row::is_newcomer`]. There may be millions of them, so what else
/// their rows hold is looked at when they start, or are listed.
pub(super) const NEWCOMER: &str = "i.no, i.version, i.id, i.priority, i.start_at, \
     coalesce(i.status = 0 AND i.marked = 0 AND i.recoveries = 0 AND i.incarnation = i.no \
     AND i.head = 0 AND i.started_at IS NULL AND i.reason IS NULL, 0), i.workflow";

/// A newcomer whose key is still to be made: its version, its id, all else.
pub(super) type Unnamed<'r> = (i64, &'r str, Newcomer);

/// Returns the number of an instance and, if it is a newcomer, its version and all else that is to
/// be known of it, but for its key; that is made of names the caller has at hand, and this id.
pub(super) fn newcomer<'r>(row: &'r Columns) -> Result<(InstanceNo, Option<Unnamed<'r>>)> {
    let no = number(row)?;
    if !flag(row, 5)? {
        return Ok((no, None));
    }
    let version = int(row, 1)?;
    let ValueRef::Text(id) = row.get_ref(2)? else {
        return corrupt(format!("instance {no} has no id"));
    };
    let Ok(id) = std::str::from_utf8(id) else {
        return corrupt(format!("the id of instance {no} is not UTF-8"));
    };
    let newcomer = Newcomer {
        key: Key(0),
        no,
        code: u32::try_from(version).unwrap_or(u32::MAX),
        priority: priority(row, 3, no)?,
        start_at: time_or_none(row, 4)?,
    };
    Ok((no, Some((version, id, newcomer))))
}

fn number(row: &Columns) -> Result<InstanceNo> {
    let no = uint(row, 0)?;
    if no >= NUMBERS_END {
        return corrupt(format!("instance {no} has an impossible number"));
    }
    Ok(no)
}

pub(super) fn priority(row: &Columns, at: usize, no: InstanceNo) -> Result<i8> {
    match i8::try_from(int(row, at)?) {
        Ok(it) => Ok(it),
        Err(_) => corrupt(format!("instance {no} has an impossible priority")),
    }
}

/// Returns the names that a version's number stands for in the row of an instance.
pub(super) fn name(names: &Names, version: i64, no: InstanceNo) -> Result<&Name> {
    let Some(name) = names.get(version) else {
        return corrupt(format!(
            "instance {no} has a workflow version that is not listed"
        ));
    };
    // Keys are made of these, with a length of one byte each.
    if name.namespace.len().max(name.workflow.len()) > usize::from(u8::MAX) {
        return corrupt(format!("the workflow of instance {no} has too long a name"));
    }
    Ok(name)
}

pub(super) fn instance(row: &Columns, names: &Names) -> Result<Row> {
    match whole_instance(row, names) {
        Err(Fault::Corrupt(what)) => {
            let no = uint(row, 0)?;
            let whose = super::legible::legible(row, names, &what).map_or(String::new(), |it| {
                format!(
                    " (\"{}\" of \"{}\", namespace \"{}\")",
                    it.id, it.workflow, it.namespace
                )
            });
            corrupt(format!(
                "the row of instance {no}{whose} cannot be read: {what}"
            ))
        }
        other => other,
    }
}

fn whole_instance(row: &Columns, names: &Names) -> Result<Row> {
    let no = number(row)?;
    let name = name(names, int(row, 1)?, no)?;
    // What only the writer reads, or what finds it by its name.
    drawn(row, 20)?;
    if int(row, 21)? != name.workflow_id {
        return corrupt("its version is none of its workflow");
    }
    Ok(Row {
        no,
        namespace: name.namespace.clone(),
        workflow: name.workflow.clone(),
        version: name.version.clone(),
        id: text(row, 2)?,
        incarnation: drawn(row, 3)?,
        status: code(row, 4, Status::from_code)?,
        marked: flag(row, 5)?,
        recoveries: small(row, 6)?,
        priority: priority(row, 7, no)?,
        created_at: time(row, 8)?,
        updated_at: time(row, 9)?,
        started_at: time_or_none(row, 10)?,
        ended_at: time_or_none(row, 11)?,
        start_at: time_or_none(row, 12)?,
        parent: number_or_none(row, 13)?,
        called: flag(row, 14)?,
        reason: text_or_none(row, 15)?,
        step: text_or_none(row, 16)?,
        format: small(row, 17)?,
        seed: int_or_none(row, 18)?.map(|it| it as u64),
        paused_at: time_or_none(row, 19)?,
        schedule: text_or_none(row, 22)?,
        undo: code_or_none(row, 23, Undo::from_code)?,
        born: text_or_none(row, 24)?,
        damage: None,
    })
}

/// Columns of [`stored`], in its order.
pub(super) const JOURNAL: &str = "seq, no, prev, verdict, attempt, kind, count, started_at, at, \
     retry_at, event, event_type, crc, branch, name, key, payload, begun, erases";

/// Returns a record and the place of the one before it. `no` and `seq` are what was asked for.
pub(super) fn stored(row: &Columns, no: InstanceNo, seq: Seq) -> Result<(Stored, Seq)> {
    let (record, prev) = unchecked_record(row)?;
    if uint(row, 1)? != no
        || prev >= seq
        || uint(row, 12)? != u64::from(sums::record(no, seq, prev, &record))
    {
        return corrupt(format!("record {seq} of instance {no} fails its checksum"));
    }
    Ok((Stored { seq, record }, prev))
}

fn unchecked_record(row: &Columns) -> Result<(Record, Seq)> {
    let record = Record {
        operation: Operation {
            kind: code(row, 5, Kind::from_code)?,
            branch: text(row, 13)?,
            name: text(row, 14)?,
            key: text_or_none(row, 15)?,
            count: small(row, 6)?,
        },
        attempt: small(row, 4)?,
        verdict: code(row, 3, Verdict::from_code)?,
        started_at: int(row, 7)?,
        at: int(row, 8)?,
        begun: int_or_none(row, 17)?.map(|it| it as u64),
        erases: match int_or_none(row, 18)? {
            Some(_) => Some(small(row, 18)?),
            None => None,
        },
        moment: int_or_none(row, 9)?,
        event: int_or_none(row, 10)?.map(|it| it as u64),
        event_type: text_or_none(row, 11)?,
        payload: bytes(row, 16)?,
    };
    Ok((record, uint(row, 2)?))
}

/// What a record says, if all of it but whose it is can be read; and its checksum.
pub(super) fn record_said(row: &Columns, seq: Seq) -> Result<(Said, u32)> {
    let (record, prev) = unchecked_record(row)?;
    Ok((Said::of_record(seq, prev, &record), small(row, 12)?))
}

/// Columns of [`wait`], in its order.
pub(super) const WAIT: &str =
    "no, id, kind, count, source, opened_at, until, subject, branch, name, key, begun";

pub(super) fn wait(row: &Columns) -> Result<(InstanceNo, Wait)> {
    let no = uint(row, 0)?;
    match wait_of(row) {
        Ok(wait) => Ok((no, wait)),
        Err(Fault::Corrupt(what)) => corrupt(format!("a wait of instance {no}: {what}")),
        Err(fault) => Err(fault),
    }
}

fn wait_of(row: &Columns) -> Result<Wait> {
    let source = match int(row, 4)? {
        0 | 5 if row.get_ref(7)? != ValueRef::Null => {
            return corrupt("it has a subject that it cannot have");
        }
        0 => Source::Timer,
        1 => Source::Retry(text_or_none(row, 7)?),
        2 => match split_types(&text(row, 7)?) {
            Some(types) => Source::Event(types),
            None => return corrupt("its event types are unreadable"),
        },
        3 => Source::Approval(text(row, 7)?),
        4 => Source::Child(uint(row, 7)?),
        5 => Source::Instant,
        _ => return corrupt("its source is unknown"),
    };
    let until = time_or_none(row, 6)?;
    if until.is_none() && matches!(source, Source::Timer | Source::Instant | Source::Retry(_)) {
        return corrupt("it never ends");
    }
    Ok(Wait {
        id: uint(row, 1)?,
        operation: Operation {
            kind: code(row, 2, Kind::from_code)?,
            branch: text(row, 8)?,
            name: text(row, 9)?,
            key: text_or_none(row, 10)?,
            count: small(row, 3)?,
        },
        source,
        opened_at: time(row, 5)?,
        until,
        begun: int_or_none(row, 11)?.map(|it| it as u64),
    })
}

/// Joins event types so that any text can be taken apart again: `5:order4:paid`.
pub(super) fn join_types(types: &[Box<str>]) -> String {
    let mut joined = String::new();
    for one in types {
        joined.push_str(&one.len().to_string());
        joined.push(':');
        joined.push_str(one);
    }
    joined
}

/// Returns `None` for what [`join_types`] would not write.
pub(super) fn split_types(mut text: &str) -> Option<Vec<Box<str>>> {
    let mut types = Vec::new();
    while !text.is_empty() {
        let (len, rest) = text.split_once(':')?;
        let bytes: usize = len.parse().ok()?;
        // `parse` also takes "05" and "+5".
        if len != bytes.to_string() {
            return None;
        }
        let (one, rest) = rest.split_at_checked(bytes)?;
        types.push(one.into());
        text = rest;
    }
    Some(types)
}

/// Columns of [`event`], in its order.
pub(super) const EVENT: &str = "no, id, at, crc, type, payload";

pub(super) fn event(row: &Columns) -> Result<(InstanceNo, Event)> {
    let no = uint(row, 0)?;
    let event = unchecked_event(row)?;
    if uint(row, 3)? != u64::from(sums::event(no, &event)) {
        return corrupt(format!(
            "event {} of instance {no} fails its checksum",
            event.id
        ));
    }
    Ok((no, event))
}

fn unchecked_event(row: &Columns) -> Result<Event> {
    Ok(Event {
        id: uint(row, 1)?,
        kind: text(row, 4)?,
        payload: bytes(row, 5)?,
        at: int(row, 2)?,
    })
}

/// What an event says, and its checksum.
pub(super) fn event_said(row: &Columns) -> Result<(Said, u32)> {
    let event = unchecked_event(row)?;
    Ok((Said::of_event(&event), small(row, 3)?))
}

/// Columns of [`letter`], in its order.
pub(super) const LETTER: &str = "id, range, engine, crc, body";

pub(super) fn letter(row: &Columns) -> Result<Letter> {
    let id = uint(row, 0)?;
    let told = |fault| match fault {
        Fault::Corrupt(what) => Fault::Corrupt(format!("letter {id} cannot be read: {what}")),
        other => other,
    };
    unchecked_letter(row).map_err(told)
}

fn unchecked_letter(row: &Columns) -> Result<Letter> {
    let range = int_or_none(row, 1)?.map(|it| u16::try_from(it).ok().filter(|it| *it < RANGES));
    let to = match (range, int_or_none(row, 2)?) {
        (Some(Some(range)), None) => Address::Owner(Range(range)),
        (None, Some(engine)) => Address::Asker(engine as u64),
        _ => return corrupt("it is for nobody"),
    };
    let body = bytes(row, 4)?.unwrap_or_default();
    if small(row, 3)? != sums::letter(to, &body) {
        return corrupt("it fails its checksum");
    }
    match Message::read(&body) {
        Some(message) => Ok(Letter { to, message }),
        None => corrupt("it makes no sense"),
    }
}

/// Columns of [`approval`], in its order.
pub(super) const APPROVAL: &str =
    "a.id, a.no, a.name, a.status, a.asked_at, a.until, a.decided_at, a.crc, a.detail, \
    a.decision, a.incarnation, a.number";

/// Reads an approval from columns that begin at `at`.
pub(super) fn approval(row: &Columns, at: usize) -> Result<Approval> {
    let approval = unchecked_approval(row, at).map_err(|fault| match fault {
        Fault::Corrupt(what) => {
            let id = text(row, at).unwrap_or_default();
            Fault::Corrupt(format!("approval {id} cannot be read: {what}"))
        }
        other => other,
    })?;
    if uint(row, at + 7)? != u64::from(sums::approval(&approval)) {
        return corrupt(format!(
            "approval {} of instance {} fails its checksum",
            approval.id, approval.no
        ));
    }
    Ok(approval)
}

fn unchecked_approval(row: &Columns, at: usize) -> Result<Approval> {
    Ok(Approval {
        id: text(row, at)?,
        no: uint(row, at + 1)?,
        name: text(row, at + 2)?,
        status: code(row, at + 3, approval_status)?,
        asked_at: int_or_none(row, at + 4)?,
        until: int_or_none(row, at + 5)?,
        decided_at: int_or_none(row, at + 6)?,
        detail: bytes(row, at + 8)?,
        decision: bytes(row, at + 9)?,
        incarnation: match int_or_none(row, at + 10)? {
            None => 0,
            Some(0) => return corrupt("no life has number 0"),
            Some(it) => it as u64,
        },
    })
}

pub(super) fn approval_status(code: u8) -> Option<ApprovalStatus> {
    use ApprovalStatus as Is;
    [
        Is::Open,
        Is::Approved,
        Is::Rejected,
        Is::TimedOut,
        Is::Withdrawn,
    ]
    .into_iter()
    .find(|it| *it as u8 == code)
}

/// Columns of [`audit`], in its order.
pub(super) const AUDIT: &str =
    "number, at, crc, actor, note, operation, namespace, workflow, id, filter, result";

/// Reads a row of the audit.
/// Reads (at, crc, answer) of the answer to the call with this id.
pub(super) fn call(row: &Columns, id: &[u8]) -> Result<Box<[u8]>> {
    let (at, answer) = (time(row, 0)?, bytes(row, 2)?.unwrap_or_default());
    if uint(row, 1)? != u64::from(sums::call(id, at, &answer)) {
        return corrupt("the answer to a call");
    }
    Ok(answer)
}

pub(super) fn audit(row: &Columns) -> Result<audit::Entry> {
    let entry = audit::Entry {
        number: uint(row, 0)?,
        at: int(row, 1)?,
        by: audit::By {
            actor: text_or_none(row, 3)?,
            note: text_or_none(row, 4)?,
        },
        operation: text(row, 5)?,
        namespace: text(row, 6)?,
        workflow: text_or_none(row, 7)?,
        id: text_or_none(row, 8)?,
        filter: text_or_none(row, 9)?,
        result: text(row, 10)?,
    };
    if uint(row, 2)? != u64::from(sums::audit(&entry)) {
        return corrupt("it fails its checksum");
    }
    Ok(entry)
}

/// Columns of [`bulk`], in its order.
pub(super) const BULK: &str = "number, ended_at, crc, body, what_crc, what";

/// Reads what is done to many.
pub(super) fn bulk(row: &Columns) -> Result<Bulk> {
    let number = uint(row, 0)?;
    let (body, what) = (bytes(row, 3)?.unwrap_or_default(), bytes(row, 5)?);
    let whole = |half, at, bytes: &[u8]| -> Result<bool> {
        let crc = uint(row, at)?;
        Ok(crc == u64::from(sums::bulk(half, number, bytes)))
    };
    if !whole("body", 2, &body)? || !whole("what", 4, what.as_deref().unwrap_or_default())? {
        return corrupt("it fails its checksum");
    }
    match Bulk::read(number, what, &body) {
        Some(bulk) if bulk.ended_at == int_or_none(row, 1)? => Ok(bulk),
        _ => corrupt("it makes no sense"),
    }
}
