//! Names for the numbers and words that cross the border, as constants of the module.
//!
//! The core says what there is; here each gets the name that Python code has for it, and what users
//! read of operations, records, states and approvals gets its word. Python lists none of them again.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyTuple};
use pyo3::IntoPyObjectExt;
use stepwell_core::codes;
use stepwell_core::error;
use stepwell_core::history::{Kind, Verdict};
use stepwell_core::lifecycle::Status;
use stepwell_core::limits::{ANSWERS, EVENTS, PRIORITY_MAX};
use stepwell_core::ranges::SHARDS_MAX;
use stepwell_core::settings::TABLE;
use stepwell_core::store::FORMAT;
use stepwell_core::stream::Mark;
use stepwell_core::wait::ApprovalStatus;

use crate::notes;

const NOTES: [(&str, u8); 20] = [
    ("DONE", notes::DONE),
    ("REPLY", notes::REPLY),
    ("START", notes::START),
    ("WAKE", notes::WAKE),
    ("SETTLED", notes::SETTLED),
    ("TIMER", notes::TIMER),
    ("CHANGED", notes::CHANGED),
    ("GONE", notes::GONE),
    ("PAUSE", notes::PAUSE),
    ("RECORDED", notes::RECORDED),
    ("PROGRESS", notes::PROGRESS),
    ("STREAMED", notes::STREAMED),
    ("NEWS", notes::NEWS),
    ("UNDOES", notes::UNDOES),
    ("SCHEDULE", notes::SCHEDULE),
    ("UNWIND", notes::UNWIND),
    ("FENCED", notes::FENCED),
    ("IDLE", notes::IDLE),
    ("FAILED", notes::FAILED),
    ("HINDERED", notes::HINDERED),
];

/// Name and word.
fn kind(of: Kind) -> (&'static str, &'static str) {
    match of {
        Kind::Do => ("DO", "do"),
        Kind::Sleep => ("SLEEP", "sleep"),
        Kind::Event => ("EVENT", "event"),
        Kind::Approval => ("APPROVAL", "approval"),
        Kind::Create => ("CREATE", "create"),
        Kind::CreateBatch => ("CREATE_BATCH", "create_batch"),
        Kind::Call => ("CALL", "call"),
        Kind::Result => ("RESULT", "result"),
        Kind::Send => ("SEND", "send_event"),
        Kind::Patched => ("PATCHED", "patched"),
        Kind::Deadline => ("DEADLINE", "deadline"),
        Kind::Attributes => ("ATTRIBUTES", "set_attributes"),
        Kind::Undo => ("UNDO", "undo"),
        Kind::Reply => ("REPLIED", "reply"),
        Kind::Continue => ("CONTINUED", "continue_as_new"),
        Kind::Stream => ("STREAM", "stream"),
    }
}

/// Name and word. `DONE` and `FAILED` are notes.
fn verdict(of: Verdict) -> (&'static str, &'static str) {
    match of {
        Verdict::Done => ("OK", "done"),
        Verdict::Failed => ("GAVE_UP", "failed"),
        Verdict::TimedOut => ("TIMED_OUT", "timed_out"),
        Verdict::AttemptFailed => ("ATTEMPT_FAILED", "attempt_failed"),
        Verdict::Interrupted => ("INTERRUPTED", "interrupted"),
        Verdict::Saved => ("SAVED", "saved"),
        Verdict::Started => ("STARTED", "started"),
        Verdict::Abandoned => ("ABANDONED", "abandoned"),
        Verdict::Erased => ("ERASED", "attempts"),
        Verdict::Refused => ("REFUSED", "refused"),
        Verdict::Restarted => ("RESTARTED", "restarted"),
    }
}

fn mark(of: Mark) -> &'static str {
    match of {
        Mark::GoesOn => "GOES_ON",
        Mark::Opens => "OPENS",
        Mark::Ends => "ENDS",
        Mark::Recorded => "CONCLUDES",
    }
}

fn approval(of: ApprovalStatus) -> &'static str {
    match of {
        ApprovalStatus::Open => "open",
        ApprovalStatus::Approved => codes::APPROVED,
        ApprovalStatus::Rejected => codes::REJECTED,
        ApprovalStatus::TimedOut => "timed_out",
        ApprovalStatus::Withdrawn => "withdrawn",
    }
}

/// Adds all of them to the module.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for (name, code) in NOTES {
        module.add(name, code)?;
    }
    for of in Kind::ALL {
        module.add(kind(*of).0, *of as u8)?;
    }
    for of in Verdict::ALL {
        module.add(verdict(*of).0, *of as u8)?;
    }
    for of in Mark::ALL {
        module.add(mark(of), of as u8)?;
    }
    for (name, word) in codes::ALL {
        module.add(*name, *word)?;
    }
    let kinds = Kind::ALL.iter().map(|it| kind(*it).1);
    let verdicts = Verdict::ALL.iter().map(|it| verdict(*it).1);
    let outcomes = Verdict::ALL.iter().filter(|it| it.is_outcome());
    let outcomes = outcomes.map(|it| *it as u8);
    let finals = Status::ALL.into_iter().filter(|it| it.is_final());
    words(module, "KINDS", kinds.collect())?;
    words(module, "VERDICTS", verdicts.collect())?;
    module.add("OUTCOMES", PyFrozenSet::new(module.py(), outcomes)?)?;
    words(module, "STATES", Status::ALL.map(Status::word).to_vec())?;
    words(module, "FINAL_STATES", finals.map(Status::word).collect())?;
    words(
        module,
        "APPROVALS",
        ApprovalStatus::ALL.map(approval).to_vec(),
    )?;
    words(
        module,
        "FAILURES",
        error::Kind::ALL.map(error::Kind::as_str).to_vec(),
    )?;
    module.add("LIMITS", limits(module.py())?)?;
    module.add("FORMAT", FORMAT)?;
    module.add("SHARDS_MAX", SHARDS_MAX)?;
    module.add("PRIORITY_MAX", PRIORITY_MAX)?;
    module.add("EVENTS_MAX", EVENTS)?;
    module.add("ANSWERS_MAX", ANSWERS)
}

fn words(module: &Bound<'_, PyModule>, name: &str, words: Vec<&str>) -> PyResult<()> {
    module.add(name, PyTuple::new(module.py(), words)?)
}

/// Least, most, whether a workflow may have its own, and the default, by name.
fn limits(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let limits = PyDict::new(py);
    for it in &TABLE {
        let default = it.default.map(|it| number(py, it)).transpose()?;
        let rule = (
            number(py, it.least)?,
            number(py, it.most)?,
            it.of_workflow,
            default,
        );
        limits.set_item(it.name, rule)?;
    }
    Ok(limits)
}

/// What is counted in whole numbers is an int.
pub(crate) fn number(py: Python<'_>, of: f64) -> PyResult<Bound<'_, PyAny>> {
    if of.fract() == 0.0 {
        (of as i64).into_bound_py_any(py)
    } else {
        of.into_bound_py_any(py)
    }
}
