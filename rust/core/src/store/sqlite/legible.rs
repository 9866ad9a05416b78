//! What can still be told of a damaged row, for lists: which it is, and what of it is damaged.

use rusqlite::types::ValueRef;
use rusqlite::Row as Columns;

use super::names::Names;
use super::rows::{
    approval, approval_status, code, instance, int, priority, text, time, time_or_none, uint,
    Fault, Result, INSTANCE_WIDTH,
};
use crate::failure::recorded;
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::store::Row;
use crate::wait::{asker_of, Approval, ApprovalStatus};

/// As [`instance`], for a list: one that is damaged says so, if it can be told which it is; else
/// there is none.
pub(super) fn listed_instance(row: &Columns, names: &Names) -> Result<Option<Row>> {
    match instance(row, names) {
        Err(Fault::Corrupt(what)) => Ok(legible(row, names, &what)),
        other => other.map(Some),
    }
}

/// Returns what can be told of an instance whose row is damaged: it is blocked, if it has not
/// ended. One whose id is lost goes by the number of its row.
pub(super) fn legible(row: &Columns, names: &Names, what: &str) -> Option<Row> {
    let no = uint(row, 0).ok()?;
    let version = int(row, 1).ok().and_then(|it| names.get(it));
    let workflow = int(row, 21).ok().and_then(|it| names.workflow(it));
    let (namespace, workflow) = match (workflow, version) {
        (Some((namespace, workflow)), _) => (namespace, workflow),
        (None, version) => version.map(|it| (&it.namespace, &it.workflow))?,
    };
    let status = code(row, 4, Status::from_code).ok();
    let status = status.filter(|it| it.is_final()).unwrap_or(Status::Blocked);
    Some(Row {
        version: version.map_or_else(Box::default, |it| it.version.clone()),
        incarnation: uint(row, 3).unwrap_or(no),
        status,
        priority: priority(row, 7, no).unwrap_or(0),
        created_at: time(row, 8).unwrap_or(0),
        updated_at: time(row, 9).unwrap_or(0),
        started_at: time_or_none(row, 10).unwrap_or(None),
        ended_at: time_or_none(row, 11).unwrap_or(None),
        start_at: time_or_none(row, 12).unwrap_or(None),
        reason: (status == Status::Blocked).then(|| "corrupt".into()),
        ..nameplate(
            no,
            [
                namespace,
                workflow,
                &text(row, 2).unwrap_or_else(|_| format!("(row {no})").into()),
            ],
            what,
        )
    })
}

/// Returns an instance of which only the names are known.
fn nameplate(no: InstanceNo, [namespace, workflow, id]: [&str; 3], what: &str) -> Row {
    Row {
        no,
        namespace: namespace.into(),
        workflow: workflow.into(),
        version: Box::default(),
        id: id.into(),
        incarnation: no,
        status: Status::Blocked,
        marked: false,
        recoveries: 0,
        priority: 0,
        created_at: 0,
        updated_at: 0,
        started_at: None,
        ended_at: None,
        start_at: None,
        parent: None,
        called: false,
        reason: None,
        step: None,
        format: 0,
        seed: None,
        paused_at: None,
        schedule: None,
        born: None,
        undo: None,
        damage: Some(what.into()),
    }
}

/// As [`approval`], for a list, with the instance that asks, whose columns come first: what is
/// damaged says so in place of its detail, and the others are as good as ever. None if nobody knows
/// of what it is an approval.
pub(super) fn listed_approval(row: &Columns, names: &Names) -> Result<Option<(Row, Approval)>> {
    let at = INSTANCE_WIDTH;
    let is_there = row.get_ref(0)? != ValueRef::Null;
    let (approval, asks) = match approval(row, at) {
        Err(Fault::Corrupt(what)) => {
            let approval = legible_approval(row, at, &what);
            let asks = if is_there {
                listed_instance(row, names)?
            } else {
                asker(&approval, &what)
            };
            (approval, asks)
        }
        Ok(approval) if is_there => (approval, listed_instance(row, names)?),
        // Then what is damaged is its instance, which is told itself.
        other => (other?, None),
    };
    Ok(asks.map(|it| (it, approval)))
}

/// Returns what an approval's id says of the instance that asks.
fn asker(approval: &Approval, what: &str) -> Option<Row> {
    let (namespace, workflow, id) = asker_of(&approval.id)?;
    Some(nameplate(approval.no, [namespace, workflow, id], what))
}

/// Returns what can be told of an approval that is damaged.
fn legible_approval(row: &Columns, at: usize, what: &str) -> Approval {
    let number = || int(row, at + 11).unwrap_or(0);
    let told = format!("the store is damaged: {what}");
    Approval {
        id: text(row, at).unwrap_or_else(|_| format!("(row {})", number()).into()),
        no: uint(row, at + 1).unwrap_or(0),
        name: text(row, at + 2).unwrap_or_default(),
        status: code(row, at + 3, approval_status).unwrap_or(ApprovalStatus::Open),
        asked_at: time_or_none(row, at + 4).unwrap_or(None),
        until: time_or_none(row, at + 5).unwrap_or(None),
        decided_at: time_or_none(row, at + 6).unwrap_or(None),
        detail: Some(recorded("StoreCorrupt", &told)),
        decision: None,
        incarnation: 0,
    }
}
