//! Notes as tuples. `poll` is hot, so a note is built straight from what the core says.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use pyo3::IntoPyObjectExt;
use stepwell_core::audit::Entry;
use stepwell_core::bulk::Bulk;
use stepwell_core::codes;
use stepwell_core::history::Stored;
use stepwell_core::lifecycle::Status;
use stepwell_core::note::{Data, Note, Refusal, Rewound, Start};
use stepwell_core::rewind::No;
use stepwell_core::runtime::OfWorkflow;
use stepwell_core::schedule::{Firing, Schedule};
use stepwell_core::store::{Answered, Look, Row};
use stepwell_core::stream::StreamRow;
use stepwell_core::tally::ReasonTold;
use stepwell_core::undo::Undo;
use stepwell_core::wait::{Approval, Source, Wait};

pub(crate) const DONE: u8 = 1;
pub(crate) const REPLY: u8 = 2;
pub(crate) const START: u8 = 3;
pub(crate) const WAKE: u8 = 4;
pub(crate) const SETTLED: u8 = 5;
pub(crate) const TIMER: u8 = 6;
pub(crate) const CHANGED: u8 = 7;
pub(crate) const UNWIND: u8 = 8;
pub(crate) const FENCED: u8 = 9;
pub(crate) const IDLE: u8 = 10;
pub(crate) const FAILED: u8 = 11;
pub(crate) const HINDERED: u8 = 12;
pub(crate) const PAUSE: u8 = 13;
pub(crate) const GONE: u8 = 14;
pub(crate) const RECORDED: u8 = 15;
pub(crate) const PROGRESS: u8 = 16;
pub(crate) const NEWS: u8 = 17;
pub(crate) const UNDOES: u8 = 18;
pub(crate) const SCHEDULE: u8 = 19;
pub(crate) const STREAMED: u8 = 20;

type Any<'py> = PyResult<Bound<'py, PyAny>>;

/// A tuple of any length from values of any type.
macro_rules! tuple {
    ($py:expr; $($value:expr),+ $(,)?) => {
        PyTuple::new($py, [$($value.into_bound_py_any($py)?),+])?.into_bound_py_any($py)
    };
}

fn bytes<'py>(py: Python<'py>, of: Option<&[u8]>) -> Option<Bound<'py, PyBytes>> {
    of.map(|it| PyBytes::new(py, it))
}

fn each<'py, T>(
    py: Python<'py>,
    of: &[T],
    turn: impl Fn(Python<'py>, &T) -> Any<'py>,
) -> PyResult<Bound<'py, PyList>> {
    let items = of
        .iter()
        .map(|it| turn(py, it))
        .collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, items)
}

/// Turns the figures of workflows into tuples.
pub(crate) fn workflows<'py>(py: Python<'py>, of: &[OfWorkflow]) -> PyResult<Bound<'py, PyList>> {
    each(py, of, |py, it| {
        let figures = &it.figures;
        let of = |status| figures.of(status);
        tuple!(
            py; &*it.namespace, &*it.workflow, figures.leased, of(Status::Queued),
            of(Status::Waiting), of(Status::Paused), of(Status::Blocked), figures.created,
            figures.started, figures.ended
        )
    })
}

/// Turns a note into its tuple.
pub(crate) fn tuple<'py>(py: Python<'py>, note: &Note) -> Any<'py> {
    match note {
        Note::Done { at, tickets, seqs } => tuple!(
            py; DONE, at, PyList::new(py, tickets)?, PyList::new(py, seqs)?
        ),
        Note::Reply { ticket, code, data } => {
            tuple!(py; REPLY, ticket, PyString::intern(py, code), answer(py, data)?)
        }
        Note::Start(it) => tuple!(py; START, start(py, it)?),
        Note::Wake { no, incarnation } => tuple!(py; WAKE, no, incarnation),
        Note::Settled(it) => tuple!(
            py; SETTLED, it.no, it.number, it.seq, it.verdict as u8, it.kind.as_deref(),
            bytes(py, it.payload.as_deref()), it.at, it.came_at
        ),
        Note::Timer { ticket } => tuple!(py; TIMER, ticket),
        Note::Changed {
            no,
            status,
            reason,
            payload,
        } => tuple!(
            py; CHANGED, no, *status as u8, reason.as_deref(), bytes(py, payload.as_deref())
        ),
        Note::Pause {
            no,
            incarnation,
            is_on,
        } => tuple!(py; PAUSE, no, incarnation, is_on),
        Note::Recorded(no, stored) => tuple!(py; RECORDED, no, record(py, stored)?),
        Note::Progress(no, progress) => tuple!(py; PROGRESS, no, PyBytes::new(py, progress)),
        Note::Streamed(no, it) => tuple!(
            py; STREAMED, no, it.0, PyString::intern(py, &it.1), chunks(py, &it.2)?
        ),
        Note::Schedule { number } => tuple!(py; SCHEDULE, number),
        Note::News => tuple!(py; NEWS),
        Note::Unwind { no, incarnation } => tuple!(py; UNWIND, no, incarnation),
        Note::Undo { no, incarnation } => tuple!(py; UNDOES, no, incarnation),
        Note::Gone { no } => tuple!(py; GONE, no),
        Note::Fenced { ticket } => tuple!(py; FENCED, ticket),
        Note::Idle => tuple!(py; IDLE),
        Note::Hindered { now, message } => tuple!(py; HINDERED, now, message),
        Note::Failed { kind, message } => tuple!(py; FAILED, kind, message),
    }
}

/// Tens of thousands may be there at once: what is the same in all is one object, and without a
/// list in it the collector leaves a tuple alone.
fn start<'py>(py: Python<'py>, it: &Start) -> Any<'py> {
    let shared = |text| PyString::intern(py, text);
    tuple!(
        py; it.no, it.incarnation, shared(&it.namespace), shared(&it.workflow), shared(&it.version),
        &*it.id, bytes(py, it.params.as_deref()), bytes(py, it.attributes.as_deref()),
        it.created_at, it.parent, it.format, it.interrupted, each(py, &it.records, record)?.to_tuple(),
        each(py, &it.waits, wait)?.to_tuple(), it.seed, it.schedule.as_deref(),
        it.born.as_deref(), PyTuple::new(py, &it.sent)?
    )
}

fn chunks<'py>(py: Python<'py>, it: &StreamRow) -> Any<'py> {
    let outcome = it.outcome.as_deref().map(|it| record(py, it)).transpose()?;
    let chunks = it.chunks.iter().map(|it| PyBytes::new(py, it));
    tuple!(
        py; it.place, it.attempt, it.mark as u8, it.at, PyList::new(py, chunks.collect::<Vec<_>>())?,
        outcome
    )
}

fn rewound<'py>(py: Python<'py>, it: &Rewound) -> Any<'py> {
    let (row, history, plan) = it;
    let status = row.status as u8;
    match plan {
        Ok(plan) => {
            let kept = plan.kept.clone();
            tuple!(py; "", status, each(py, history, record)?, kept, plan.is_by_clock)
        }
        Err(No::Step) => tuple!(py; codes::NO_STEP, status, py.None(), py.None(), py.None()),
        Err(No::Sound) => {
            tuple!(py; codes::NOTHING_FAILED, status, py.None(), py.None(), py.None())
        }
    }
}

fn record<'py>(py: Python<'py>, it: &Stored) -> Any<'py> {
    let (record, operation) = (&it.record, &it.record.operation);
    tuple!(
        py; it.seq, operation.kind as u8, &*operation.branch, &*operation.name,
        operation.key.as_deref(), operation.count, record.attempt, record.verdict as u8,
        record.started_at, record.at, record.moment, record.event_type.as_deref(),
        bytes(py, record.payload.as_deref())
    )
}

fn wait<'py>(py: Python<'py>, it: &Wait) -> Any<'py> {
    let operation = &it.operation;
    tuple!(
        py; it.id, operation.kind as u8, &*operation.branch, &*operation.name,
        operation.key.as_deref(), operation.count, it.opened_at, it.until
    )
}

/// Also tells what is waited for: which child, and what it is at; events of which types; which
/// approval.
fn wait_in<'py>(py: Python<'py>, look: &Look, it: &Wait) -> Any<'py> {
    let child = match it.source {
        Source::Child(no) => look.children.iter().find(|row| row.no == no),
        _ => None,
    };
    let child =
        child.map(|it| tuple!(py; &*it.workflow, &*it.id, it.status as u8, it.reason.as_deref()));
    let types = match &it.source {
        Source::Event(types) => &types[..],
        _ => &[],
    };
    let approval = match &it.source {
        Source::Approval(id) => Some(&**id),
        _ => None,
    };
    let types = each(py, types, |py, it| it.into_bound_py_any(py))?;
    wait(py, it)?.add(tuple!(py; child.transpose()?, types, approval)?)
}

fn look<'py>(py: Python<'py>, look: &Look) -> Any<'py> {
    let (it, payloads) = (&look.row, &look.payloads);
    tuple!(
        py; it.no, &*it.namespace, &*it.workflow, &*it.version, &*it.id, it.status as u8,
        it.reason.as_deref(), it.created_at, it.started_at, it.ended_at, it.updated_at, it.parent,
        bytes(py, payloads.params.as_deref()), bytes(py, payloads.result.as_deref()),
        bytes(py, payloads.progress.as_deref()), bytes(py, payloads.attributes.as_deref()),
        it.priority, it.start_at, each(py, &look.waits, |py, it| wait_in(py, look, it))?,
        each(py, &look.kept, |py, (kind, count)| tuple!(py; &**kind, *count))?,
        it.undo.map(Undo::word), it.format, it.seed.unwrap_or(it.incarnation), it.born.as_deref()
    )
}

fn approval<'py>(py: Python<'py>, (number, row, it): &(u64, Row, Approval)) -> Any<'py> {
    tuple!(
        py; &*it.id, &*row.namespace, &*row.workflow, &*row.id, &*it.name,
        bytes(py, it.detail.as_deref()), it.asked_at, it.until, it.status as u8,
        bytes(py, it.decision.as_deref()), number
    )
}

/// A row that cannot be read says so as its result.
fn audited<'py>(py: Python<'py>, row: &Result<Entry, (u64, String)>) -> Any<'py> {
    let damaged;
    let it = match row {
        Ok(it) => it,
        Err((number, what)) => {
            damaged = Entry {
                number: *number,
                result: what.as_str().into(),
                ..Entry::default()
            };
            &damaged
        }
    };
    tuple!(
        py; it.number, it.at, it.by.actor.as_deref(), it.by.note.as_deref(), &*it.operation,
        it.workflow.as_deref(), it.id.as_deref(), it.filter.as_deref(), &*it.result
    )
}

fn reason<'py>(py: Python<'py>, (it, id): &(ReasonTold, Option<Box<str>>)) -> Any<'py> {
    tuple!(
        py; it.workflow.as_ref().map(|it| &*it.1), it.version.as_deref(),
        it.status.map(|it| it as u8), &*it.code, it.step.as_deref(), it.error.as_deref(), it.count,
        it.since, it.next, id.as_deref()
    )
}

/// One that cannot be read says so in place of what it is.
fn bulk<'py>(py: Python<'py>, found: &Result<Bulk, (u64, String)>) -> Any<'py> {
    match found {
        Ok(it) => {
            let failed = each(
                py,
                &it.failed,
                |py, (code, count)| tuple!(py; &**code, count),
            )?;
            tuple!(
                py; it.number, &*it.namespace, &*it.operation, it.workflow.as_deref(), &*it.filter,
                it.by.actor.as_deref(), it.by.note.as_deref(), it.frontier,
                bytes(py, it.what.as_deref()), it.place, it.done, failed, it.stopped, it.began_at,
                it.ended_at
            )
        }
        Err((number, what)) => tuple!(py; number, what),
    }
}

/// One that cannot be read says so in place of what it is.
fn schedule<'py>(py: Python<'py>, found: &Result<Schedule, (u64, String)>) -> Any<'py> {
    match found {
        Ok(it) => tuple!(
            py; it.number, &*it.namespace, &*it.id, it.revision, it.next, PyBytes::new(py, &it.state),
            bytes(py, it.what.as_deref())
        ),
        Err((number, what)) => tuple!(py; number, what),
    }
}

/// The same.
fn firing<'py>(py: Python<'py>, found: &Result<Firing, (u64, String)>) -> Any<'py> {
    match found {
        Ok(it) => tuple!(
            py; it.number, it.at, it.until, it.decided_at, &*it.outcome, it.why.as_deref(),
            it.id.as_deref()
        ),
        Err((number, what)) => tuple!(py; number, what),
    }
}

/// Turns what a question is answered with into plain objects.
pub(crate) fn answer<'py>(py: Python<'py>, data: &Data) -> Any<'py> {
    match data {
        Data::Nothing
        | Data::Row(None)
        | Data::History(None)
        | Data::Rewound(None)
        | Data::Asked(None)
        | Data::Stream(None) => Ok(py.None().into_bound(py)),
        Data::Bool(it) => it.into_bound_py_any(py),
        Data::Created {
            no,
            id,
            created,
            status,
        } => tuple!(py; no, &**id, created, *status as u8),
        Data::Items(items) => {
            let one = |py, it: &stepwell_core::note::Item| tuple!(py; PyString::intern(py, it.code), it.no, &*it.id, it.created, it.status as u8);
            each(py, items, one)?.into_bound_py_any(py)
        }
        Data::Exists(no, status) => tuple!(py; no, *status as u8),
        Data::State(status) => (*status as u8).into_bound_py_any(py),
        Data::Overloaded(limit, after) => tuple!(py; limit, after),
        Data::Limit(limit, value) => tuple!(py; limit, value),
        Data::Standing(state, ahead, accounts) => {
            let accounts = accounts.map(|it| (it.0, it.1)).to_vec();
            tuple!(py; state.map(|it| it as u8), *ahead, accounts)
        }
        Data::Text(text) => text.into_bound_py_any(py),
        Data::Row(Some(it)) => look(py, it),
        Data::Rows(rows, searched_to) => tuple!(py; each(py, rows, look)?, *searched_to),
        Data::History(Some(it)) => tuple!(py; look(py, &it.0)?, each(py, &it.1, record)?),
        Data::Rewound(Some(it)) => rewound(py, it),
        Data::Number(it) => it.into_bound_py_any(py),
        Data::Part(refused, done) => {
            let one = |py, (place, code, data): &Refusal| tuple!(py; place, PyString::intern(py, code), answer(py, data)?);
            tuple!(py; each(py, refused, one)?, done)
        }
        Data::Schedules(some) => each(py, some, schedule)?.into_bound_py_any(py),
        Data::Loose((keys, last)) => {
            let keys = keys.iter().map(|it| PyBytes::new(py, it));
            let keys: Vec<_> = keys.collect();
            tuple!(py; keys, bytes(py, last.as_ref().map(|it| &it[..])))
        }
        Data::Firings(some) => each(py, some, firing)?.into_bound_py_any(py),
        Data::Bulks(some) => each(py, some, bulk)?.into_bound_py_any(py),
        Data::Asked(Some(it)) => {
            let (found, asked) = &**it;
            let (is_known, answer) = match asked {
                Answered::Never => (false, None),
                Answered::Open => (true, None),
                Answered::With(answer) => (true, Some(&**answer)),
            };
            tuple!(py; look(py, found)?, is_known, bytes(py, answer))
        }
        Data::Stream(Some(it)) => {
            let (found, rows) = &**it;
            let status = found.status as u8;
            tuple!(py; found.no, found.incarnation, status, each(py, rows, chunks)?)
        }
        Data::Audit((rows, searched_to)) => tuple!(py; each(py, rows, audited)?, *searched_to),
        Data::Changes(is_lost, rows, to) => {
            let one = |py, (place, it): &(u64, Row)| tuple!(py; place, &*it.workflow, &*it.id, it.status as u8, it.updated_at);
            tuple!(py; is_lost, each(py, rows, one)?, to)
        }
        Data::Reasons(reasons) => each(py, reasons, reason)?.into_bound_py_any(py),
        Data::Approvals(page) => {
            tuple!(py; each(py, &page.rows, approval)?, page.searched_to)
        }
    }
}
