//! The loader: one thread with a reader of its own, for everything that may be slow.
//!
//! It reads what is committed and never waits for the writer. START of an instance that comes
//! back, answers to listings, comparisons of params. A damaged row blocks its instance, a
//! failing store stops the engine.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashSet;

use super::{guarded, Shared};
use crate::engine::Job;
use crate::failure::recorded;
use crate::ids::{Incarnation, InstanceNo};
use crate::note::{Data, Note, Start};
use crate::store::{Error, Filter, Payloads, Reader};
use crate::submission::{Body, Name, Submission};
use crate::wait::{tell_approvals, told_approval, ApprovalStatus};

/// A question that is answered by reading.
#[derive(Debug, Clone)]
pub enum Question {
    /// One instance, with payloads or without.
    Find(Name, bool),
    /// A page of instances.
    List(Filter),
    /// History and open waits.
    History(InstanceNo),
    /// Approvals of a namespace, of a workflow, with a status; `None`: of all.
    Approvals(Option<Box<str>>, Option<Box<str>>, Option<ApprovalStatus>),
}

/// What the loader does.
#[derive(Debug)]
pub(super) enum Task {
    Job(Job),
    Ask(u64, Question),
}

/// The loader's queue.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    queue: Mutex<(VecDeque<Task>, bool)>,
    some: Condvar,
}

impl Tasks {
    pub(super) fn push(&self, tasks: impl IntoIterator<Item = Task>) {
        let mut queue = self.queue.lock();
        queue.0.extend(tasks);
        self.some.notify_one();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.queue.lock().1
    }

    pub(super) fn end(&self) {
        self.queue.lock().1 = true;
        self.some.notify_one();
    }

    fn next(&self) -> Option<Task> {
        let mut queue = self.queue.lock();
        loop {
            if queue.1 {
                return None;
            }
            if let Some(task) = queue.0.pop_front() {
                return Some(task);
            }
            self.some.wait(&mut queue);
        }
    }
}

/// Runs until the engine ends.
pub(super) fn run(shared: &Arc<Shared>, mut reader: Box<dyn Reader>) {
    guarded(shared, || {
        while let Some(task) = shared.tasks.next() {
            let done = match task {
                Task::Job(Job::Start {
                    no,
                    incarnation,
                    interrupted,
                }) => start(shared, &mut *reader, no, incarnation, interrupted),
                Task::Job(Job::Same {
                    ticket,
                    name,
                    params,
                }) => {
                    let note = same(&mut *reader, ticket, &name, params.as_deref());
                    let note = note.unwrap_or_else(|error| refusal(ticket, &error));
                    shared.outbox.put(vec![note], None);
                    Ok(())
                }
                Task::Ask(ticket, question) => {
                    let note = match answer(&mut *reader, &question) {
                        Ok(data) => Note::reply(ticket, data),
                        Err(error) => refusal(ticket, &error),
                    };
                    shared.outbox.put(vec![note], None);
                    Ok(())
                }
            };
            if let Err(error) = done {
                shared.poison(&error.into());
            }
            shared.inbox.job_done(|| shared.say_idle());
        }
    });
}

/// Says no to a question because of the store.
pub(super) fn refusal(ticket: u64, error: &Error) -> Note {
    let code = match error {
        Error::Corrupt(_) | Error::Row(_) => "corrupt",
        Error::Invalid(_) => "invalid",
        _ => "store",
    };
    Note::refuse(ticket, code, Data::Text(error.to_string()))
}

fn start(
    shared: &Shared,
    reader: &mut dyn Reader,
    no: InstanceNo,
    incarnation: Incarnation,
    interrupted: bool,
) -> Result<(), Error> {
    let start = match read_start(reader, no) {
        Ok(start) => start,
        Err(Error::Row(message)) => {
            let by = Body { no, incarnation };
            let error = recorded("StoreCorrupt", &message);
            let block = Submission::Block(by, "corrupt".into(), error);
            // Only a closed inbox refuses, and then nothing is to be blocked any more.
            shared.submit_patiently(block);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if let Some(mut start) = start {
        start.interrupted = interrupted;
        shared.residents.loaded(no, incarnation, |held| {
            let mut notes = vec![Note::Start(Box::new(start))];
            notes.extend(held);
            shared.outbox.put(notes, None);
        });
    }
    Ok(())
}

pub(crate) fn read_start(reader: &mut dyn Reader, no: InstanceNo) -> Result<Option<Start>, Error> {
    let Some(row) = reader.instance(no)? else {
        return Ok(None);
    };
    let payloads = reader.payloads(no)?;
    // Waits before records: one settled in between is then in both, never in neither.
    let mut waits = reader.waits(no)?;
    let records = reader.history(no)?;
    let outcomes = records.iter().filter(|it| it.record.verdict.is_outcome());
    let settled: FxHashSet<_> = outcomes.map(|it| &it.record.operation).collect();
    waits.retain(|wait| !settled.contains(&wait.operation));
    drop(settled);
    tell_approvals(&row.namespace, &mut waits);
    Ok(Some(Start {
        no,
        incarnation: row.incarnation,
        namespace: row.namespace,
        workflow: row.workflow,
        version: row.version,
        id: row.id,
        params: payloads.params,
        attributes: payloads.attributes,
        created_at: row.created_at,
        parent: row.parent,
        interrupted: false,
        records,
        waits,
    }))
}

pub(crate) fn same(
    reader: &mut dyn Reader,
    ticket: u64,
    name: &Name,
    params: Option<&[u8]>,
) -> Result<Note, Error> {
    let Some(row) = reader.find(&name.namespace, &name.workflow, &name.id)? else {
        return Ok(Note::refuse(ticket, "not_found", Data::Nothing));
    };
    let stored = reader.payloads(row.no)?.params;
    if stored.as_deref() != params {
        let data = Data::Exists(row.no, row.status);
        return Ok(Note::refuse(ticket, "same_id_other_params", data));
    }
    let data = Data::Created {
        no: row.no,
        id: row.id,
        created: false,
        status: row.status,
    };
    Ok(Note::reply(ticket, data))
}

pub(crate) fn answer(reader: &mut dyn Reader, question: &Question) -> Result<Data, Error> {
    Ok(match question {
        Question::Find(name, with_payloads) => {
            match reader.find(&name.namespace, &name.workflow, &name.id)? {
                None => Data::Row(None),
                Some(row) => {
                    let payloads = if *with_payloads {
                        reader.payloads(row.no)?
                    } else {
                        Payloads::default()
                    };
                    Data::Row(Some(Box::new((row, payloads))))
                }
            }
        }
        Question::List(filter) => {
            let mut rows = Vec::new();
            for row in reader.list(filter)? {
                let mut payloads = reader.payloads(row.no)?;
                payloads.params = None;
                // The error of a blocked or failed one belongs to its summary; outputs may be big.
                if row.status == crate::lifecycle::Status::Complete {
                    payloads.result = None;
                }
                rows.push((row, payloads));
            }
            Data::Rows(rows)
        }
        Question::History(no) => {
            let mut waits = reader.waits(*no)?;
            if let Some(row) = reader.instance(*no)? {
                tell_approvals(&row.namespace, &mut waits);
            }
            Data::History(reader.history(*no)?, waits)
        }
        Question::Approvals(namespace, workflow, status) => {
            let (namespace, workflow) = (namespace.as_deref(), workflow.as_deref());
            let mut approvals = reader.approvals(namespace, workflow, *status)?;
            for (row, approval) in &mut approvals {
                approval.id = told_approval(&row.namespace, &approval.id).into();
            }
            Data::Approvals(approvals)
        }
    })
}
