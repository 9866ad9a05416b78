//! Python's arguments as the core's plain data.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use stepwell_core::audit::By;
use stepwell_core::history::{Kind, Operation, Record, Verdict};
use stepwell_core::lifecycle::Status;
use stepwell_core::limits::PRIORITY_MAX;
use stepwell_core::retention::{Keep, Retention};
use stepwell_core::rewind;
use stepwell_core::settings::{checked, Layer};
use stepwell_core::stream::Mark;
use stepwell_core::submission::{
    Anew, Command, Decision, IfExists, Name, NewItem, Sent, Verb, OVERHEARD,
};
use stepwell_core::tally::Wanted;
use stepwell_core::wait::{Source, Wait};

use crate::error::invalid;

pub(crate) type Bytes = Option<Box<[u8]>>;

/// Copies bytes that may be absent.
pub(crate) fn bytes(of: Option<&[u8]>) -> Bytes {
    of.map(Into::into)
}

/// Copies attributes that may be absent.
pub(crate) fn attributes(of: Option<&[u8]>) -> PyResult<Bytes> {
    match of {
        Some(map) if stepwell_core::attributes::pairs(map).is_none() => Err(invalid(
            "attributes are a CBOR map of texts to texts, numbers and booleans",
        )),
        map => Ok(bytes(map)),
    }
}

pub(crate) fn kind(code: u8) -> PyResult<Kind> {
    Kind::from_code(code).ok_or_else(|| invalid("no kind has this code"))
}

pub(crate) fn mark(code: u8) -> PyResult<Mark> {
    Mark::from_code(code).ok_or_else(|| invalid("no row of a stream has this mark"))
}

pub(crate) fn verdict(code: u8) -> PyResult<Verdict> {
    Verdict::from_code(code).ok_or_else(|| invalid("no verdict has this code"))
}

pub(crate) fn status(code: u8) -> PyResult<Status> {
    Status::from_code(code).ok_or_else(|| invalid("no status has this code"))
}

pub(crate) fn priority(of: i64) -> PyResult<i8> {
    i8::try_from(of)
        .ok()
        .filter(|it| (-PRIORITY_MAX..=PRIORITY_MAX).contains(it))
        .ok_or_else(|| invalid("no priority is as high or low as this"))
}

pub(crate) fn if_exists(word: &str) -> PyResult<IfExists> {
    match word {
        "raise" => Ok(IfExists::Raise),
        "return" => Ok(IfExists::Return),
        "return_if_same" => Ok(IfExists::ReturnIfSame),
        _ => Err(invalid("if_exists is raise, return or return_if_same")),
    }
}

/// Names are hashed with a length of one byte; what is longer names nothing.
pub(crate) fn name(namespace: &str, workflow: &str, id: &str) -> PyResult<Name> {
    short(namespace)?;
    short(workflow)?;
    Ok(Name {
        namespace: namespace.into(),
        workflow: workflow.into(),
        id: id.into(),
    })
}

pub(crate) fn short(name: &str) -> PyResult<()> {
    if name.len() > usize::from(u8::MAX) {
        return Err(invalid("a name is at most 255 bytes"));
    }
    Ok(())
}

pub(crate) fn operation(kind: Kind, branch: &str, name: &str, count: u32) -> Operation {
    Operation {
        kind,
        branch: branch.into(),
        name: name.into(),
        key: None,
        count,
    }
}

/// What names an operation in Python: its kind, branch, name, key and count.
#[derive(FromPyObject)]
pub(crate) struct IdentityTuple(u8, String, String, Option<String>, u32);

impl IdentityTuple {
    pub(crate) fn into_operation(self) -> PyResult<Operation> {
        Ok(Operation {
            kind: kind(self.0)?,
            branch: self.1.into(),
            name: self.2.into(),
            key: self.3.map(Into::into),
            count: self.4,
        })
    }
}

/// A reason: its code, and the state, step and class of error of one row of the reasons.
pub(crate) type WantedArgument = (String, Option<(Option<u8>, Option<String>, Option<String>)>);

pub(crate) fn wanted((code, alike): WantedArgument) -> PyResult<Wanted> {
    let boxed = |it: Option<String>| it.map(Into::into);
    let alike = match alike {
        Some((state, step, error)) => {
            Some((state.map(status).transpose()?, boxed(step), boxed(error)))
        }
        None => None,
    };
    Ok(Wanted {
        code: code.into(),
        alike,
    })
}

/// From where a restarted instance goes on: what failed, or an operation.
#[derive(FromPyObject)]
pub(crate) enum FromArgument {
    Failed(String),
    Operation(IdentityTuple),
}

/// Without one it is from the start.
pub(crate) fn beginning(from: Option<FromArgument>) -> PyResult<rewind::From> {
    Ok(match from {
        None => rewind::From::Start,
        Some(FromArgument::Failed(word)) if word == "failed" => rewind::From::Failed,
        Some(FromArgument::Failed(_)) => {
            return Err(invalid("an instance restarts from no such word"))
        }
        Some(FromArgument::Operation(it)) => {
            rewind::From::Operation(Box::new(it.into_operation()?))
        }
    })
}

/// A record of an attempt; when it is recorded the core fills in.
pub(crate) fn record(
    operation: Operation,
    attempt: u32,
    verdict: Verdict,
    started_at: i64,
    payload: Option<&[u8]>,
) -> Record {
    Record {
        operation,
        attempt,
        verdict,
        started_at,
        at: 0,
        begun: None,
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: bytes(payload),
    }
}

/// A wait; when it opened the core fills in.
pub(crate) fn wait(id: u64, operation: Operation, begun: u64, source: Source, until: i64) -> Wait {
    Wait {
        begun: Some(begun),
        id,
        operation,
        source,
        opened_at: 0,
        until: Some(until),
    }
}

/// One item of `create_batch`.
#[derive(FromPyObject)]
pub(crate) struct ItemTuple(
    pub Option<String>,
    pub Option<Vec<u8>>,
    pub i64,
    pub Option<i64>,
    pub Option<Vec<u8>>,
    pub Option<KeepTuple>,
);

impl ItemTuple {
    pub(crate) fn into_item(self) -> PyResult<NewItem> {
        Ok(NewItem {
            id: self.0.map(Into::into),
            params: self.1.map(Into::into),
            priority: priority(self.2)?,
            start_at: self.3,
            attributes: attributes(self.4.as_deref())?,
            keep: self.5.map(KeepTuple::keep),
            schedule: None,
        })
    }
}

/// How long an instance is kept after its end, in success and in error.
#[derive(FromPyObject)]
pub(crate) struct KeepTuple(Option<i64>, Option<i64>);

impl KeepTuple {
    pub(crate) fn keep(self) -> Keep {
        Keep {
            success: self.0,
            error: self.1,
        }
    }
}

/// The same of a workflow, and how many.
#[derive(FromPyObject)]
pub(crate) struct RetentionTuple(String, Option<i64>, Option<i64>, Option<u64>);

impl RetentionTuple {
    pub(crate) fn named(self) -> (Box<str>, Retention) {
        let keep = KeepTuple(self.1, self.2).keep();
        let count = self.3;
        (self.0.into(), Retention { keep, count })
    }
}

/// One item of `create_children`.
#[derive(FromPyObject)]
pub(crate) struct ChildTuple(pub String, pub Option<Vec<u8>>, pub Option<Vec<u8>>);

/// One limit to set, or to clear if it has no value.
#[derive(FromPyObject)]
pub(crate) struct LimitTuple(String, Option<Amount>);

/// A number of any size: what no float can hold is too much for any limit.
struct Amount(f64);

impl<'py> FromPyObject<'_, 'py> for Amount {
    type Error = PyErr;

    fn extract(it: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match it.extract::<f64>() {
            Ok(amount) => Ok(Self(amount)),
            Err(error) if error.is_instance_of::<PyOverflowError>(it.py()) => {
                Ok(Self(f64::INFINITY))
            }
            Err(error) => Err(error),
        }
    }
}

/// Limits by name, as the core checks them.
pub(crate) fn pairs(of: Vec<LimitTuple>) -> Vec<(Box<str>, Option<f64>)> {
    let pairs = of.into_iter();
    pairs.map(|it| (it.0.into(), it.1.map(|it| it.0))).collect()
}

/// Limits that are checked here and now.
pub(crate) fn layer(of: Vec<LimitTuple>, of_workflow: bool) -> PyResult<Layer> {
    checked(&pairs(of), of_workflow).map_err(|text| invalid(&text))
}

/// Who does something, and what they say to it.
#[derive(FromPyObject)]
pub(crate) struct ByTuple(Option<String>, Option<String>);

impl ByTuple {
    pub(crate) fn into_by(self) -> By {
        By {
            actor: self.0.map(Into::into),
            note: self.1.map(Into::into),
        }
    }
}

/// Lets an instance go on, perhaps as another version, without some of its records.
pub(crate) fn resumed(version: Option<&str>, forgets: Vec<u64>) -> Verb {
    if version.is_none() && forgets.is_empty() {
        return Verb::Resume;
    }
    let version = version.map(Into::into);
    Verb::ResumeAs(Box::new(Anew { version, forgets }))
}

/// One instance of many: the place that is reached with it, its workflow and id, and of an approval
/// its id and name.
#[derive(FromPyObject)]
pub(crate) struct PartTuple(u64, String, String, Option<(String, String)>);

impl PartTuple {
    /// Returns what is to be done to it. `text`: what everybody is told, the type of an event, or the
    /// version as which it goes on; `payload`: the payload of that event, or a decision; `forgets`:
    /// places of records that it has no more when it goes on.
    pub(crate) fn into_command(
        self,
        operation: &str,
        namespace: &str,
        text: Option<&str>,
        payload: Option<&[u8]>,
        forgets: Vec<u64>,
    ) -> PyResult<(u64, Command)> {
        let Self(place, workflow, id, approval) = self;
        let to = name(namespace, &workflow, &id)?;
        let verb = match operation {
            "resume" => Some(resumed(text, forgets)),
            "pause" => Some(Verb::Pause),
            "terminate" => Some(Verb::Terminate(text.unwrap_or_default().into())),
            "undo" => Some(Verb::Undo(text.unwrap_or_default().into())),
            "retry_now" => Some(Verb::RetryNow),
            "restart" if text == Some("failed") => Some(Verb::Restart(rewind::From::Failed)),
            "restart" => Some(Verb::Restart(rewind::From::Start)),
            "delete" => Some(Verb::Delete),
            _ => None,
        };
        if let Some(verb) = verb {
            return Ok((place, Command::Act(OVERHEARD, verb.to(to))));
        }
        let command = match (operation, approval) {
            ("send_event", None) => {
                let sent = Sent {
                    to,
                    kind: text.unwrap_or_default().into(),
                    payload: bytes(payload),
                };
                Command::Send(OVERHEARD, Box::new(sent), None)
            }
            ("approve" | "reject", Some((approval, name))) => {
                let decision = Decision {
                    approval: approval.into(),
                    of: to,
                    name: name.into(),
                    approved: operation == "approve",
                    decision: payload.unwrap_or_default().into(),
                    by: By::default(),
                };
                Command::Decide(OVERHEARD, Box::new(decision))
            }
            _ => return Err(invalid("nothing like this is done to many")),
        };
        Ok((place, command))
    }
}
