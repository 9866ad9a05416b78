//! Schedules: each change of one follows from the change before it, and is committed as a whole, with
//! the instances that it creates and the rows that tell of them.
//!
//! When a schedule fires is worked out outside; here is only when it is to be looked at next. Whoever
//! looks says which revision it has seen, so nothing is decided twice on the same: not by two at
//! once, nor by one whose answer was lost. An instance that a change creates and that is there
//! already, by its id, is left as it is.

use rustc_hash::FxHashMap;

use super::live::Due;
use super::{Core, Facts};
use crate::audit::Entry;
use crate::codes;
use crate::ids::{InstanceNo, Key, Micros};
use crate::lifecycle::Status;
use crate::limits::{FIRINGS_FORGOTTEN, FIRINGS_KEPT, SCHEDULES};
use crate::note::{Data, Note};
use crate::schedule::{Query, Schedule};
use crate::store::{Error, Op};
use crate::submission::{Code, Command, IfExists, KnownIds, NewItem, ScheduleChange, OVERHEARD};

/// All there are, by namespace and id.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    known: FxHashMap<(Box<str>, Box<str>), Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    number: u64,
    revision: u64,
    next: Option<Micros>,
}

impl Core {
    /// Loads all of them.
    pub(super) fn find_schedules(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let all = Query {
            limit: u32::MAX,
            ..Query::default()
        };
        for found in facts.reader.schedules(&all)? {
            match found {
                Ok(it) => {
                    let known = Known {
                        number: it.number,
                        revision: it.revision,
                        next: it.next,
                    };
                    self.keep_schedule((it.namespace, it.id), known);
                }
                Err((number, text)) => {
                    let text = format!("schedule {number} does not fire any more: {text}");
                    self.unreadable.push(text);
                }
            }
        }
        Ok(())
    }

    fn keep_schedule(&mut self, name: (Box<str>, Box<str>), known: Known) {
        if let Some(at) = known.next {
            self.timers.set(at, known.number, Due::Schedule);
        }
        self.schedules.known.insert(name, known);
    }

    /// Changes one. Returns the change if it has to wait for the next batch.
    pub(super) fn change_schedule(
        &mut self,
        ticket: u64,
        mut change: Box<ScheduleChange>,
    ) -> Option<Command> {
        let name = (change.namespace.clone(), change.id.clone());
        let known = self.schedules.known.get(&name).copied();
        if known.map_or(0, |it| it.revision) != change.revision {
            self.say(Note::refuse(ticket, codes::OUTDATED, Data::Nothing));
            return None;
        }
        if known.is_none() && self.refuses_going(ticket, &change.namespace) {
            return None;
        }
        if known.is_none() && self.schedules.known.len() >= SCHEDULES {
            let data = Data::Limit(codes::SCHEDULES, SCHEDULES as u64);
            self.say(Note::refuse(ticket, codes::LIMIT, data));
            return None;
        }
        if let Some(creates) = change.creates.take() {
            match self.create_scheduled(creates) {
                Scheduled::Done => {}
                Scheduled::Refused(code, data) => {
                    self.say(Note::refuse(ticket, code, data));
                    return None;
                }
                Scheduled::Later(creates) => {
                    change.creates = Some(creates);
                    return Some(Command::ChangeSchedule(ticket, change));
                }
            }
        }
        if let Some(Known {
            number,
            next: Some(at),
            ..
        }) = known
        {
            self.timers.cancel(at, number);
        }
        let known = known.unwrap_or_else(|| Known {
            number: self.sequence.draw(),
            revision: 0,
            next: None,
        });
        self.write_change(name, known, *change);
        self.say(Note::reply(ticket, Data::Number(known.number)));
        None
    }

    fn write_change(
        &mut self,
        name: (Box<str>, Box<str>),
        mut known: Known,
        change: ScheduleChange,
    ) {
        let (namespace, id) = name.clone();
        self.audit_schedule(&change);
        match change.becomes {
            None => {
                self.push(Op::Unschedule(known.number));
                self.schedules.known.remove(&name);
                return;
            }
            Some(it) => {
                (known.revision, known.next) = (known.revision + 1, it.next);
                let bytes = it.state.len() + it.what.as_ref().map_or(0, |it| it.len());
                self.batch.bytes += bytes;
                self.push(Op::Schedule(Box::new(Schedule {
                    number: known.number,
                    namespace,
                    id,
                    revision: known.revision,
                    next: it.next,
                    state: it.state,
                    what: it.what,
                })));
            }
        }
        for mut firing in change.firings {
            (firing.schedule, firing.number) = (known.number, self.sequence.draw());
            firing.decided_at = self.now;
            self.push(Op::Firing(Box::new(firing)));
        }
        if known.revision.is_multiple_of(FIRINGS_FORGOTTEN) {
            self.push(Op::ForgetFirings(known.number, FIRINGS_KEPT));
        }
        self.keep_schedule(name, known);
    }

    fn audit_schedule(&mut self, change: &ScheduleChange) {
        let Some(it) = &change.audited else {
            return;
        };
        self.audit(Entry {
            by: it.by.clone(),
            operation: it.operation.clone(),
            namespace: change.namespace.clone(),
            workflow: Some(it.workflow.clone()),
            id: it.id.clone(),
            filter: Some(format!("schedule={}", change.id).into()),
            result: it.result.clone(),
            ..Entry::default()
        });
    }

    /// Creates all of them, or none: as somebody outside would who gives their ids, each of which was
    /// looked up before.
    fn create_scheduled(&mut self, creates: Box<(Code, Vec<NewItem>)>) -> Scheduled {
        let (code, items) = &*creates;
        let keys = items.iter().filter_map(|it| it.id.as_deref());
        let keys = keys.map(|id| Key::new(&code.namespace, &code.workflow, id));
        // Those in memory are found there.
        let stored = keys.filter(|key| self.registry.view(*key).is_none());
        let found = stored.filter_map(|key| match self.batch.known.by_key(key) {
            Ok(row) => row.map(|it| (key.0, (it.no, it.status))),
            // One that is damaged has the id all the same, and is told of itself.
            Err(_) => Some((key.0, (0, Status::Blocked))),
        });
        let found: FxHashMap<u128, (InstanceNo, Status)> = found.collect();
        let found: KnownIds = Some(Box::new(found));
        let (later, refused) = self.overhearing(|core| {
            core.create_batch(OVERHEARD, creates, IfExists::Return, false, found)
        });
        match (later, refused) {
            (Some(Command::Again(batch, _)), _) => match *batch {
                Command::CreateBatch(_, creates, ..) => Scheduled::Later(creates),
                other => unreachable!("a batch was to be created: {other:?}"),
            },
            (Some(other), _) => unreachable!("its ids are known: {other:?}"),
            (None, Some((code, data))) => Scheduled::Refused(code, data),
            (None, None) => Scheduled::Done,
        }
    }

    /// One is to be looked at.
    pub(super) fn wake_schedule(&mut self, number: u64) {
        self.say(Note::Schedule { number });
    }
}

/// What became of the instances of a change.
enum Scheduled {
    Done,
    Refused(&'static str, Data),
    /// One of the ids may be created in this batch.
    Later(Box<(Code, Vec<NewItem>)>),
}
