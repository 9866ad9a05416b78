//! The loader: one thread with a reader of its own, for everything that may be slow.
//!
//! It reads what is committed and never waits for the writer. START of an instance that comes
//! back, comparisons of params, and whatever somebody asks (`questions`). A damaged row blocks its
//! instance, a failing store stops the engine.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use rustc_hash::{FxHashMap, FxHashSet};

use super::questions::{answer, Question};
use super::{guarded, Shared};
use crate::codes;
use crate::engine::Job;
use crate::failure::recorded;
use crate::history::Kind;
use crate::ids::{Incarnation, InstanceNo, Key};
use crate::note::{Data, Item, Note, Start};
use crate::store::{Error, Reader, Row};
use crate::submission::{Body, Command, Name, Speech, Submission};
use crate::wait::tell_approvals;

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
                Task::Job(Job::SameItems {
                    ticket,
                    items,
                    taken,
                }) => {
                    let note = same_items(&mut *reader, ticket, items, &taken);
                    let note = note.unwrap_or_else(|error| refusal(ticket, &error));
                    shared.outbox.put(vec![note], None);
                    Ok(())
                }
                Task::Job(Job::Look(creation)) => {
                    look_up(shared, &mut *reader, *creation);
                    Ok(())
                }
                Task::Job(Job::Seen { no, dedup, refusal }) => {
                    let note = seen(&mut *reader, no, &dedup, refusal);
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
        Error::Corrupt(_) | Error::Row(_) => codes::CORRUPT,
        Error::Invalid(_) => codes::INVALID,
        _ => codes::STORE,
    };
    Note::refuse(ticket, code, Data::Text(error.to_string()))
}

fn look_up(shared: &Shared, reader: &mut dyn Reader, creation: Command) {
    let (Command::Create(ticket, ..) | Command::CreateBatch(ticket, ..)) = creation else {
        unreachable!("creates nothing: {creation:?}");
    };
    match known_ids(reader, creation) {
        // Only a closed inbox refuses, and then whoever asked is told so.
        Ok(again) => {
            shared.submit_patiently(again);
        }
        Err(error) => {
            shared.outbox.put(vec![refusal(ticket, &error)], None);
            // The engine waits for it to come again, and keeps what it promised it.
            shared.submit_patiently(Command::GiveUp(ticket).into());
        }
    }
}

/// Returns a creation with what the store knows of its ids.
pub(crate) fn known_ids(reader: &mut dyn Reader, creation: Command) -> Result<Submission, Error> {
    let (code, items) = match &creation {
        Command::Create(_, what, _) => (&what.0, std::slice::from_ref(&what.1)),
        Command::CreateBatch(_, what, ..) => (&what.0, &what.1[..]),
        other => unreachable!("creates nothing: {other:?}"),
    };
    let mut found = FxHashMap::default();
    for id in items.iter().filter_map(|it| it.id.as_deref()) {
        if let Some(row) = reader.find(&code.namespace, &code.workflow, id)? {
            let key = Key::new(&code.namespace, &code.workflow, id);
            found.insert(key.0, (row.no, row.status));
        }
    }
    Ok(creation.with(Some(Box::new(found))).into())
}

/// Answers an event that would be refused: one that arrived before is no other one (E4).
pub(crate) fn seen(reader: &mut dyn Reader, no: InstanceNo, dedup: &str, told: Note) -> Note {
    let Note::Reply { ticket, .. } = told else {
        return told;
    };
    match reader.seen(no, dedup) {
        Ok(true) => Note::reply(ticket, Data::Nothing),
        Ok(false) => told,
        Err(error) => refusal(ticket, &error),
    }
}

fn start(
    shared: &Shared,
    reader: &mut dyn Reader,
    no: InstanceNo,
    incarnation: Incarnation,
    interrupted: bool,
) -> Result<(), Error> {
    let start = match read_start(reader, no, incarnation) {
        Ok(start) => start,
        Err(Error::Row(message)) => {
            let by = Body { no, incarnation };
            let error = recorded("StoreCorrupt", &message);
            let block = by.says(Speech::Block(codes::CORRUPT.into(), error));
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

/// Reads the START of this life of an instance; nothing if that is over.
pub(crate) fn read_start(
    reader: &mut dyn Reader,
    no: InstanceNo,
    incarnation: Incarnation,
) -> Result<Option<Start>, Error> {
    let is_this = |it: &Row| it.incarnation == incarnation;
    let Some(row) = reader.instance(no)?.filter(is_this) else {
        return Ok(None);
    };
    let payloads = reader.payloads(no)?;
    // Waits before records: one settled in between is then in both, never in neither.
    let mut waits = reader.waits(no)?;
    let records = reader.history(no)?;
    let streams = records
        .iter()
        .any(|it| it.record.operation.kind == Kind::Stream);
    let sent = if streams {
        reader.sent(no, incarnation)?
    } else {
        Vec::new()
    };
    // D6: a restart or a deletion in between takes out of the history what this life had finished,
    // and nobody is to do that again for it.
    if reader.instance(no)?.is_none_or(|it| !is_this(&it)) {
        return Ok(None);
    }
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
        schedule: row.schedule,
        born: row.born,
        format: row.format,
        seed: row.seed.unwrap_or(row.incarnation),
        interrupted: false,
        records,
        waits,
        sent,
    }))
}

pub(crate) fn same(
    reader: &mut dyn Reader,
    ticket: u64,
    name: &Name,
    params: Option<&[u8]>,
) -> Result<Note, Error> {
    let Some(row) = reader.find(&name.namespace, &name.workflow, &name.id)? else {
        return Ok(Note::refuse(ticket, codes::NOT_FOUND, Data::Nothing));
    };
    let stored = reader.payloads(row.no)?.params;
    if stored.as_deref() != params {
        let data = Data::Exists(row.no, row.status);
        return Ok(Note::refuse(ticket, codes::SAME_ID_OTHER_PARAMS, data));
    }
    let data = Data::Created {
        no: row.no,
        id: row.id,
        created: false,
        status: row.status,
    };
    Ok(Note::reply(ticket, data))
}

/// Answers a batch: an instance that has an id counts only if it started with the same.
pub(crate) fn same_items(
    reader: &mut dyn Reader,
    ticket: u64,
    mut items: Vec<Item>,
    taken: &[(usize, Option<Box<[u8]>>)],
) -> Result<Note, Error> {
    for (at, params) in taken {
        let item = &mut items[*at];
        match reader.payloads(item.no) {
            Ok(stored) if stored.params == *params => {}
            Ok(_) => item.code = codes::SAME_ID_OTHER_PARAMS,
            // Nobody can tell, and that concerns this item only.
            Err(Error::Row(_)) => item.code = codes::CORRUPT,
            Err(error) => return Err(error),
        }
    }
    Ok(Note::reply(ticket, Data::Items(items)))
}
