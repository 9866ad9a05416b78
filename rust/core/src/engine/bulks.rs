//! What is done to many: part by part, each in one batch with the place that it reaches.
//!
//! A part is a list of commands, as if somebody gave them one by one; what each would be answered is
//! overheard and counted. One that has to wait for the next batch cuts the part in two: what was
//! done is committed with its place, and the rest comes again. So a crash leaves nothing out and
//! does nothing twice. Which instances there are is found outside; numbers only grow, so whatever is
//! created later lies beyond the frontier.

use rustc_hash::FxHashMap;

use super::forgetting::DELETE_ALL;
use super::{Core, Facts};
use crate::audit::{By, Entry};
use crate::bulk::{Bulk, Query};
use crate::codes;
use crate::ids::Micros;
use crate::limits::{BULK_KEPT, NUMBERS_END};
use crate::note::{Data, Note, Refusal};
use crate::store::{Error, Op};
use crate::submission::{Command, Part, Submission, OVERHEARD};

/// Those that have not ended.
#[derive(Debug, Default)]
pub(super) struct Bulks {
    open: FxHashMap<u64, Open>,
    /// Whether a part is being decided.
    busy: bool,
    /// What the last command of it was answered.
    heard: Option<(&'static str, Data)>,
}

#[derive(Debug)]
struct Open {
    bulk: Bulk,
    /// Who refused it, of the part that is being done.
    refused: Vec<Refusal>,
}

impl Bulks {
    /// Whether what is done is in the audit as a whole.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether everything in this namespace is being deleted.
    pub(super) fn is_going(&self, namespace: &str) -> bool {
        let open = || self.open.values().map(|it| &it.bulk);
        !self.open.is_empty()
            && open().any(|it| *it.operation == *DELETE_ALL && *it.namespace == *namespace)
    }

    /// Takes an answer to a command of a part; returns any other note.
    pub(super) fn overhear(&mut self, note: Note) -> Option<Note> {
        match note {
            Note::Reply { ticket, code, data } if ticket == OVERHEARD => {
                self.heard = Some((code, data));
                None
            }
            other => Some(other),
        }
    }
}

impl Core {
    /// Loads those that have not ended.
    pub(super) fn find_bulks(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let open = Query {
            open: true,
            limit: u32::MAX,
            ..Query::default()
        };
        for found in facts.reader.bulks(&open)? {
            match found {
                Ok(bulk) => self.keep_open_bulk(bulk),
                Err((number, text)) => {
                    let text = format!("what was being done to many as bulk {number}: {text}");
                    self.unreadable.push(text);
                }
            }
        }
        Ok(())
    }

    fn keep_open_bulk(&mut self, bulk: Bulk) {
        let (number, refused) = (bulk.number, Vec::new());
        let bulk = Bulk { what: None, ..bulk };
        self.bulks.open.insert(number, Open { bulk, refused });
    }

    /// Begins one; its number is the answer.
    pub(super) fn begin_bulk(&mut self, ticket: u64, mut bulk: Box<Bulk>) {
        if self.refuses_going(ticket, &bulk.namespace) {
            return;
        }
        // Whatever was created before has a lower number.
        bulk.number = self.sequence.draw();
        bulk.frontier = match &*bulk.operation {
            DELETE_ALL => NUMBERS_END,
            _ => bulk.frontier.min(bulk.number),
        };
        bulk.began_at = self.now;
        self.push(Op::Audit(Box::new(bulk.audited())));
        self.keep_open_bulk((*bulk).clone());
        let number = bulk.number;
        self.batch.bytes += bulk.what.as_ref().map_or(0, |it| it.len());
        self.push(Op::Bulk(bulk));
        self.say(Note::reply(ticket, Data::Number(number)));
    }

    /// Does a part of one. Returns what has to wait for the next batch.
    pub(super) fn do_part(&mut self, ticket: u64, mut part: Box<Part>) -> Option<Command> {
        // It was stopped meanwhile.
        let Some(mut open) = self.bulks.open.remove(&part.number) else {
            self.say(Note::refuse(ticket, codes::NOT_FOUND, Data::Nothing));
            return None;
        };
        let before = (open.bulk.place, open.bulk.done, open.bulk.failed.clone());
        self.bulks.busy = true;
        while let Some((place, command)) = part.items.pop_front() {
            if let Some(later) = self.do_one(&part, place, command, &mut open) {
                part.items.push_front((place, later));
                break;
            }
            let next = part.items.front().map_or(part.place, |it| it.0);
            if next != place {
                open.bulk.place = place;
            }
        }
        self.bulks.busy = false;
        let done = part.items.is_empty();
        if done {
            open.bulk.place = part.place;
            open.bulk.ended_at = part.ends.then_some(self.now);
        }
        let Open { bulk, refused } = &mut open;
        if done || (bulk.place, bulk.done, bulk.failed.clone()) != before {
            if bulk.ended_at.is_some() {
                self.push(Op::Audit(Box::new(bulk.audited())));
            }
            self.push(Op::Bulk(Box::new(bulk.clone())));
        }
        if bulk.ended_at.is_some() && *bulk.operation == *DELETE_ALL {
            let (namespace, number) = (bulk.namespace.clone(), bulk.number);
            self.forget_namespace(&namespace, number);
        }
        if !done {
            self.bulks.open.insert(part.number, open);
            return Some(Command::Part(ticket, part));
        }
        let data = Data::Part(std::mem::take(refused), bulk.done);
        if bulk.ended_at.is_none() {
            self.bulks.open.insert(part.number, open);
        }
        self.say(Note::reply(ticket, data));
        None
    }

    /// Does it to one instance. Returns it if it has to wait for the next batch.
    fn do_one(
        &mut self,
        part: &Part,
        place: u64,
        command: Command,
        open: &mut Open,
    ) -> Option<Command> {
        let looks = matches!(command, Command::Send(..) | Command::Decide(..));
        let submission = Submission::Outside(command);
        let lacks = !looks && self.lacks(&submission);
        let Submission::Outside(command) = submission else {
            unreachable!("it was a command");
        };
        if lacks {
            return Some(command);
        }
        let name = match &command {
            Command::Act(_, deed) => &deed.to,
            Command::Send(_, sent, _) => &sent.to,
            Command::Decide(_, decision) => &decision.of,
            other => unreachable!("it is done to one: {other:?}"),
        };
        let key = name.key();
        let view = self.registry.view(key);
        // The one that was found was deleted, and whoever has its id now came after this began.
        let known = || self.batch.known.by_key(key).ok().flatten();
        let no = view.map(|it| it.no);
        let no = no.or_else(|| (!looks).then(known).flatten().map(|it| it.no));
        if no.is_some_and(|it| it > open.bulk.frontier) {
            return None;
        }
        // It has moved on since it was found.
        if view.is_some_and(|it| !part.states.is_empty() && !part.states.contains(&it.decided)) {
            return None;
        }
        let steps = self.batch.steps.len();
        let (later, refused) = self.overhearing(|core| core.obey(command));
        if later.is_some() {
            return later;
        }
        match refused {
            Some((code, data)) => {
                open.bulk.count_failed(code);
                open.refused.push((place, code, data));
            }
            _ if self.batch.has_changed(steps) => {
                open.bulk.done += 1;
                // One that had ended is known by now, and one that was deleted is nobody's any more.
                let touched = view.or_else(|| self.registry.view(key)).map(|it| it.no);
                let touched = touched.filter(|no| !self.batch.gone.contains(no));
                let touched = touched.map(|no| Op::Touched(no, part.number));
                self.batch.extend(touched);
            }
            _ => {}
        }
        None
    }

    /// Has something done whose ticket is [`OVERHEARD`]. Returns what comes of it, and how it was
    /// refused.
    pub(super) fn overhearing<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> T,
    ) -> (T, Option<(&'static str, Data)>) {
        self.bulks.heard = None;
        let came = act(self);
        let heard = self.bulks.heard.take();
        (came, heard.filter(|(code, _)| !code.is_empty()))
    }

    /// Nothing more of it is done.
    pub(super) fn stop_bulk(&mut self, ticket: u64, number: u64, by: By) {
        let open = self.bulks.open.get(&number);
        if open.is_some_and(|it| *it.bulk.operation == *DELETE_ALL) {
            let text = "delete_all is not stopped: what is left would be no whole namespace".into();
            self.say(Note::refuse(ticket, codes::UNDER_WAY, Data::Text(text)));
            return;
        }
        let Some(Open { mut bulk, .. }) = self.bulks.open.remove(&number) else {
            self.say(Note::refuse(ticket, codes::NOT_FOUND, Data::Nothing));
            return;
        };
        (bulk.stopped, bulk.ended_at) = (true, Some(self.now));
        self.push(Op::Audit(Box::new(bulk.audited())));
        self.audit(Entry {
            by,
            operation: "bulk.stop".into(),
            namespace: bulk.namespace.clone(),
            workflow: bulk.workflow.clone(),
            filter: Some(bulk.filter.clone()),
            result: bulk.audited().result,
            ..Entry::default()
        });
        self.push(Op::Bulk(Box::new(bulk)));
        self.say(Note::reply(ticket, Data::Nothing));
    }

    /// Returns before when those ended that are forgotten now.
    pub(super) fn bulks_kept_since(&self) -> Micros {
        self.now - BULK_KEPT
    }
}
