//! What the writer does while the store cannot take a batch: it waits, and stays the writer.
//!
//! A full disk and another program's lock pass. The batch that could not be committed is decided
//! already, so it is kept as it is and committed later, the very same operations on a connection
//! that can (docs/adr/0005); what bodies submit meanwhile is kept for the batches after it, and
//! creations are refused. Timers of the process ring, questions are answered, the engine can be
//! closed. Nothing is retried faster than [`DISK_RETRY`]. It does not know files.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::inbox::Phase;
use super::loader::Task;
use super::writer::Writer;
use super::Shared;
use crate::clock::moment;
use crate::codes;
use crate::engine::creations::existing;
use crate::engine::Job;
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::Status;
use crate::limits::{DISK_RETRY, DISK_RETRY_AFTER, LOCKED_TOLD};
use crate::note::{Data, Note};
use crate::store::{Error, Outcome};
use crate::submission::{Code, Command, Name, NewItem};

/// How long something has been in the way, and what was done about it.
#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
    /// When the store is tried again.
    next: Instant,
    told: bool,
    last_try: bool,
}

impl Patience {
    pub(super) fn new() -> Self {
        let now = moment();
        Self {
            since: now,
            next: now,
            told: false,
            last_try: false,
        }
    }
}

impl Writer {
    /// Makes the batch durable, however long that takes. Returns the answers; none if the engine
    /// was crashed meanwhile.
    pub(super) fn store_patiently(
        &mut self,
        shared: &Shared,
    ) -> Result<Option<Vec<Outcome>>, Error> {
        let mut patience = Patience::new();
        loop {
            match self.store_batch(shared) {
                Ok(outcomes) => {
                    if patience.told {
                        let message = "the store is no longer locked; everything goes on".into();
                        tell(
                            shared,
                            Note::Hindered {
                                now: false,
                                message,
                            },
                        );
                    }
                    return Ok(Some(outcomes));
                }
                Err(error) => {
                    if !self.outlast(shared, error, &mut patience)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Waits until it is worth trying again; returns false if the engine was crashed meanwhile.
    ///
    /// # Errors
    /// If this error does not pass, or did not before the engine is to be closed.
    pub(super) fn outlast(
        &mut self,
        shared: &Shared,
        error: Error,
        patience: &mut Patience,
    ) -> Result<bool, Error> {
        match error {
            Error::Full(_) => self.outlast_full(shared, patience),
            Error::Busy(text) => self.outlast_lock(shared, text, patience),
            other => Err(other),
        }
    }

    fn outlast_full(&mut self, shared: &Shared, patience: &mut Patience) -> Result<bool, Error> {
        self.look_at_room(shared);
        self.refuse_creations(shared, 0);
        loop {
            let nap = patience.next.saturating_duration_since(moment());
            let from = self.pending.others();
            let phase = self.meanwhile(shared, nap);
            self.refuse_creations(shared, from);
            if phase == Phase::Dead {
                return Ok(false);
            }
            if phase == Phase::Closing && std::mem::replace(&mut patience.last_try, true) {
                return Err(Error::Failed(format!(
                    "{} The engine was closed before it could record what its instances did last; \
                    they do that again. Nothing acknowledged is lost.",
                    self.short.as_deref().unwrap_or("The disk is full.")
                )));
            }
            if phase == Phase::Open && patience.next > moment() {
                continue;
            }
            patience.next = moment() + Duration::from_micros(DISK_RETRY as u64);
            match self.facts.store.resume() {
                Ok(()) => return Ok(true),
                Err(Error::Full(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The store has waited a while for the lock already, so this does not.
    fn outlast_lock(
        &mut self,
        shared: &Shared,
        text: String,
        patience: &mut Patience,
    ) -> Result<bool, Error> {
        let phase = self.meanwhile(shared, Duration::ZERO);
        let long = patience.since.elapsed() >= Duration::from_micros(LOCKED_TOLD as u64);
        match phase {
            Phase::Dead => return Ok(false),
            Phase::Closing if long => return Err(Error::Failed(text)),
            Phase::Closing | Phase::Open => {}
        }
        if long && !std::mem::replace(&mut patience.told, true) {
            let message = format!("{text} Everything waits for that, and then goes on.");
            tell(shared, Note::Hindered { now: true, message });
        }
        Ok(true)
    }

    /// Rings the alarms and takes what was submitted; naps if that is nothing.
    fn meanwhile(&mut self, shared: &Shared, nap: Duration) -> Phase {
        let next = self.ring(shared);
        let now = shared.clock.monotonic();
        let nap = match next.filter(|_| !shared.clock.is_virtual()) {
            Some(at) => nap.min(Duration::from_micros((at - now).max(1_000) as u64)),
            None => nap,
        };
        let held = self.pending.len();
        let phase = shared.inbox.take_meanwhile(&mut self.news, held, nap);
        self.pending.extend(&mut self.news);
        phase
    }

    /// Refuses the creations among what is pending, from this place on, but for those that wait for
    /// room and those whose ids exist: that is looked up first (L1). What bodies create is a record
    /// of theirs, and is kept.
    pub(super) fn refuse_creations(&mut self, shared: &Shared, from: usize) {
        let mut kept = Vec::new();
        let mut notes = Vec::new();
        let mut jobs = Vec::new();
        for command in self.pending.others_from(from) {
            let (creation, found) = match command {
                Command::Again(creation, found) => (*creation, found),
                other => (other, None),
            };
            let (ticket, ids) = match &creation {
                Command::Create(ticket, what, _) => (*ticket, std::slice::from_ref(&what.1)),
                Command::CreateBatch(ticket, what, _, false) => (*ticket, &what.1[..]),
                _ => {
                    kept.push(creation.with(found));
                    continue;
                }
            };
            let Some(known) = &found else {
                if ids.iter().any(|it| it.id.is_some()) {
                    self.core.expect_again(ticket);
                    jobs.push(Job::Look(Box::new(creation)));
                } else {
                    notes.push(refusal(ticket));
                }
                continue;
            };
            match &creation {
                // All exist: no room is needed.
                Command::CreateBatch(_, what, ..) if all_known(what, known) => {
                    kept.push(creation.with(found));
                    continue;
                }
                Command::Create(_, what, if_exists) => match known.values().next() {
                    None => notes.push(refusal(ticket)),
                    Some((no, status)) => {
                        let note = existing(ticket, what, *if_exists, *no, *status);
                        jobs.extend(note.is_none().then(|| same(ticket, what)));
                        notes.extend(note);
                    }
                },
                _ => notes.push(refusal(ticket)),
            }
            self.core.give_up(ticket);
        }
        for command in kept {
            self.pending.push_other(command);
        }
        shared.outbox.put(notes, None);
        for _ in &jobs {
            shared.inbox.job_begun();
        }
        shared.tasks.push(jobs.into_iter().map(Task::Job));
    }

    /// Closes the door to creations when the store is short of room, and opens it again; each is
    /// told once.
    pub(super) fn look_at_room(&mut self, shared: &Shared) {
        let shortage = self.facts.store.shortage();
        if shortage.is_some() == self.short.is_some() {
            return;
        }
        let message = match &shortage {
            Some(text) => format!(
                "{text} Until then creations are refused, and what runs goes on as far as there \
                is room. The engine resumes by itself; nothing acknowledged is lost."
            ),
            None => "the disk has room again; everything goes on".into(),
        };
        let now = shortage.is_some();
        self.short = shortage;
        self.core.set_short(now);
        shared.meter.set_disk_full(now);
        tell(shared, Note::Hindered { now, message });
    }
}

fn tell(shared: &Shared, note: Note) {
    shared.outbox.put(vec![note], None);
}

fn refusal(ticket: u64) -> Note {
    let data = Data::Overloaded(codes::DISK, DISK_RETRY_AFTER);
    Note::refuse(ticket, codes::OVERLOADED, data)
}

fn all_known(what: &(Code, Vec<NewItem>), known: &FxHashMap<u128, (InstanceNo, Status)>) -> bool {
    let (code, items) = what;
    let key = |id: &str| Key::new(&code.namespace, &code.workflow, id).0;
    let mut ids = items.iter().map(|it| it.id.as_deref());
    ids.all(|it| it.is_some_and(|id| known.contains_key(&key(id))))
}

/// Returns the job that compares the params of a creation with those of the instance there is.
fn same(ticket: u64, what: &(Code, NewItem)) -> Job {
    let (code, item) = what;
    Job::Same {
        ticket,
        name: Box::new(Name {
            namespace: code.namespace.clone(),
            workflow: code.workflow.clone(),
            id: item.id.clone().expect("it was looked up"),
        }),
        params: item.params.clone(),
    }
}
