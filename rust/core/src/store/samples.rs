//! An instance and a record, for tests of stores and of what reads them. Large enough that some
//! fill a page.

use super::{NewInstance, Op};
use crate::history::{Kind, Operation, Record, Verdict};
use crate::ids::InstanceNo;
use crate::lifecycle::Status;

/// Creates an instance with this number.
pub(crate) fn create(no: InstanceNo) -> Op {
    Op::Create(Box::new(NewInstance {
        no,
        incarnation: 1,
        namespace: "default".into(),
        workflow: format!("w{}", no % 7).into(),
        version: no.to_string().into(),
        id: no.to_string().into(),
        params: Some(vec![7; 5_000].into()),
        attributes: None,
        priority: 0,
        created_at: 1,
        start_at: None,
        status: Status::Running,
        parent: None,
        called: false,
        format: 1,
        seed: None,
        keep: None,
        schedule: None,
    }))
}

/// Appends a step of this name to it.
pub(crate) fn append(no: InstanceNo, name: &str) -> Op {
    let record = Record {
        operation: Operation {
            kind: Kind::Do,
            branch: "".into(),
            name: name.into(),
            key: None,
            count: 1,
        },
        attempt: 1,
        verdict: Verdict::Done,
        started_at: 1,
        at: 1,
        begun: None,
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: Some(vec![9; 3_000].into()),
    };
    Op::Append(no, 1, record)
}
