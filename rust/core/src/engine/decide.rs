//! Decisions about what comes from outside: creations, events, watches, resumes.

use rustc_hash::FxHashMap;

use super::{After, Core, Decided, Facts, ItemOf, Live};
use crate::admission::Verdict as Entry;
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::{react, Event as Happening, Reaction, Status};
use crate::limits::EVENTS;
use crate::note::{Data, Item, Note};
use crate::store::{Error, NewInstance, Op, FORMAT};
use crate::submission::{Code, IfExists, Letter, Name, NewItem, Submission};
use crate::wait::{Event, Source};

/// Where an instance was found by name.
pub(super) enum Found {
    /// In memory, so not final.
    Live(InstanceNo, Key, Status),
    /// Whether it exists is known after this batch.
    Unsure,
    /// Final.
    Final(InstanceNo, Status),
    /// Nowhere.
    Unknown,
}

impl Core {
    /// Decides one submission. Returns it if it has to wait for the next batch.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn decide(&mut self, submission: Submission, facts: &mut Facts) -> Decided {
        match submission {
            Submission::Record(ticket, by, record) => {
                self.record(ticket, by, record);
                Ok(None)
            }
            Submission::Create(ticket, what, if_exists) => Ok(self.create(ticket, what, if_exists)),
            Submission::CreateBatch(ticket, what, if_exists, wait) => {
                Ok(self.create_batch(ticket, what, if_exists, wait))
            }
            Submission::Send(ticket, letter, dedup) => self.send(ticket, letter, dedup, facts),
            Submission::Decide(ticket, decision) => self.decide_approval(ticket, decision, facts),
            Submission::Resume(ticket, name) => self.resume(ticket, name, facts),
            Submission::Reshard(ticket, shards) => {
                self.reshard(ticket, shards);
                Ok(None)
            }
            Submission::Stand(ticket, name, priority) => {
                self.stand(ticket, &name, priority);
                Ok(None)
            }
            Submission::SetLimits(ticket, what) => {
                self.set_limits(ticket, &what);
                Ok(None)
            }
            Submission::OpenNamespace(ticket, namespace, base) => {
                self.open_namespace(ticket, &namespace, &base);
                Ok(None)
            }
            Submission::LetGo(no) => {
                self.let_go(no);
                Ok(None)
            }
            from_body => self.hear(from_body, facts),
        }
    }

    /// Looks an instance up by name.
    pub(super) fn find(&self, name: &Name, facts: &mut Facts) -> Result<Found, Error> {
        let key = Key::new(&name.namespace, &name.workflow, &name.id);
        if let Some(view) = self.registry.view(key) {
            return Ok(match view.committed {
                None => Found::Unsure,
                Some(_) if view.decided.is_final() => Found::Final(view.no, view.decided),
                Some(_) => Found::Live(view.no, key, view.decided),
            });
        }
        let row = facts
            .store
            .find(&name.namespace, &name.workflow, &name.id)?;
        Ok(row.map_or(Found::Unknown, |row| Found::Final(row.no, row.status)))
    }

    /// Returns the live state of an instance, which it gets now if it was only a queue entry.
    pub(super) fn liven(&mut self, no: InstanceNo, key: Key, name: &Name) -> &mut Live {
        let workflow = self.workflow(&name.namespace, &name.workflow);
        self.live
            .entry(no)
            .or_insert_with(|| Box::new(Live::new(key, no, workflow, 0)))
    }

    /// Numbers a new instance and places it.
    pub(super) fn admit(&mut self, code: &Code, item: NewItem, key: Key) -> Box<NewInstance> {
        let no = self.sequence.draw();
        let workflow = self.workflow(&code.namespace, &code.workflow);
        let status = self.place(no, key, workflow, item.priority, item.start_at);
        self.batch.bytes += item.params.as_ref().map_or(0, |it| it.len()) + 64;
        Box::new(NewInstance {
            no,
            incarnation: no,
            namespace: code.namespace.clone(),
            workflow: code.workflow.clone(),
            version: code.version.clone(),
            id: item.id.expect("it was given or generated"),
            params: item.params,
            attributes: item.attributes,
            priority: item.priority,
            created_at: self.now,
            start_at: item.start_at,
            status,
            parent: None,
            called: false,
            format: FORMAT,
            seed: None,
        })
    }

    fn create(
        &mut self,
        ticket: u64,
        mut what: Box<(Code, NewItem)>,
        if_exists: IfExists,
    ) -> Option<Submission> {
        let (code, item) = &mut *what;
        let named = item.id.is_some();
        let id = item.id.get_or_insert_with(|| self.generated.next(self.now));
        let key = Key::new(&code.namespace, &code.workflow, id);
        if let Some(view) = self.registry.view(key) {
            if view.committed.is_none() {
                return Some(Submission::Create(ticket, what, if_exists));
            }
            self.taken(ticket, &what, if_exists, view.no, view.decided);
            return None;
        }
        let workflow = self.workflow(&code.namespace, &code.workflow);
        let later = self.comes_later(&what.1);
        let queued = u32::from(later || self.startable(workflow) == 0);
        let who = named.then_some(key.0 as u64);
        if let Entry::Overloaded(limit, after) = self.entry(workflow, 1, queued, who) {
            let data = Data::Overloaded(limit, after);
            self.say(Note::refuse(ticket, "overloaded", data));
            return None;
        }
        let new = self.admit(&what.0, what.1, key);
        let op = self.push(Op::Create(new));
        self.batch.after.push(After::Created {
            ticket,
            op,
            if_exists,
        });
        None
    }

    fn taken(
        &mut self,
        ticket: u64,
        what: &(Code, NewItem),
        if_exists: IfExists,
        no: InstanceNo,
        status: Status,
    ) {
        let id = what.1.id.clone().expect("it was given");
        match if_exists {
            IfExists::Raise => self.say(Note::refuse(ticket, "exists", Data::Exists(no, status))),
            IfExists::Return => self.say(Note::reply(
                ticket,
                Data::Created {
                    no,
                    id,
                    created: false,
                    status,
                },
            )),
            IfExists::ReturnIfSame => {
                let name = Box::new(Name {
                    namespace: what.0.namespace.clone(),
                    workflow: what.0.workflow.clone(),
                    id,
                });
                let params = what.1.params.clone();
                self.batch.after.push(After::Compare {
                    ticket,
                    name,
                    params,
                });
            }
        }
    }

    fn create_batch(
        &mut self,
        ticket: u64,
        mut what: Box<(Code, Vec<NewItem>)>,
        if_exists: IfExists,
        wait: bool,
    ) -> Option<Submission> {
        let (code, items) = &mut *what;
        let workflow = self.workflow(&code.namespace, &code.workflow);
        let mut keys = Vec::with_capacity(items.len());
        let mut first = None;
        for item in items.iter_mut() {
            let named = item.id.is_some();
            let id = item.id.get_or_insert_with(|| self.generated.next(self.now));
            let key = Key::new(&code.namespace, &code.workflow, id);
            if keys.is_empty() && named {
                first = Some(key.0 as u64);
            }
            let view = self.registry.view(key);
            if view.is_some_and(|it| it.committed.is_none()) {
                return Some(Submission::CreateBatch(ticket, what, if_exists, wait));
            }
            keys.push((key, view));
        }
        let new = || items.iter().zip(&keys).filter(|it| it.1 .1.is_none());
        let count = new().count() as u32;
        let later = new().filter(|it| self.comes_later(it.0)).count() as u32;
        let queued = later + (count - later).saturating_sub(self.startable(workflow));
        let least = later + (count - later).saturating_sub(self.gate.most(workflow));
        // One that waits is known by its ticket, others by their first id if somebody gave it.
        let who = if wait { Some(ticket) } else { first };
        match self.entry(workflow, count, queued, who) {
            // One that no queue has room for, however empty, would wait for ever.
            Entry::Overloaded(limit, after) if wait && self.admission.fits(workflow, least) => {
                let again = Submission::CreateBatch(ticket, what, if_exists, wait);
                let moment = (limit == "create_rate").then_some(after);
                self.wait_for_room(ticket, again, workflow, count, moment);
                return None;
            }
            Entry::Overloaded(limit, after) => {
                let data = Data::Overloaded(limit, after);
                self.say(Note::refuse(ticket, "overloaded", data));
                return None;
            }
            Entry::Admitted => {}
        }
        let (code, items) = *what;
        let mut first: FxHashMap<u128, usize> = FxHashMap::default();
        let mut answers = Vec::with_capacity(items.len());
        for (at, (item, (key, view))) in items.into_iter().zip(keys).enumerate() {
            let answer = if let Some(view) = view {
                let id = item.id.expect("it was given");
                let there = there(if_exists, view.no, id, view.decided);
                ItemOf::There(there, item.params)
            } else if let Some(same) = first.get(&key.0) {
                ItemOf::SameAs(*same, item.params)
            } else {
                first.insert(key.0, at);
                let new = self.admit(&code, item, key);
                ItemOf::Op(self.push(Op::Create(new)))
            };
            answers.push(answer);
        }
        self.batch.after.push(After::Items {
            ticket,
            items: answers,
            if_exists,
        });
        None
    }

    fn send(
        &mut self,
        ticket: u64,
        letter: Box<Letter>,
        dedup: Option<Box<str>>,
        facts: &mut Facts,
    ) -> Decided {
        let (no, key) = match self.find(&letter.to, facts)? {
            Found::Unsure => return Ok(Some(Submission::Send(ticket, letter, dedup))),
            Found::Live(no, ..) if self.batch.unjudged.contains(&no) => {
                return Ok(Some(Submission::Send(ticket, letter, dedup)));
            }
            Found::Live(no, key, _) => (no, key),
            Found::Final(_, status) => {
                self.say(Note::refuse(ticket, "state", Data::State(status)));
                return Ok(None);
            }
            Found::Unknown => {
                self.say(Note::refuse(ticket, "not_found", Data::Nothing));
                return Ok(None);
            }
        };
        let kept = self.liven(no, key, &letter.to).mailbox.kept();
        if kept >= EVENTS {
            let data = Data::Limit("buffered_events", EVENTS as u64);
            self.say(Note::refuse(ticket, "limit", data));
            return Ok(None);
        }
        let event = self.event(letter.kind, letter.payload);
        if dedup.is_some() {
            // The store judges whether it is new; only then may a wait take it (see `After::Kept`).
            self.batch.unjudged.insert(no);
            let op = self.push(Op::Buffer(no, event, dedup));
            self.batch.after.push(After::Kept { ticket, no, op });
        } else {
            self.arrive(no, event);
            self.say(Note::reply(ticket, Data::Nothing));
        }
        Ok(None)
    }

    pub(super) fn event(&mut self, kind: Box<str>, payload: Option<Box<[u8]>>) -> Event {
        Event {
            id: self.sequence.draw(),
            kind,
            payload,
            at: self.now,
        }
    }

    fn resume(&mut self, ticket: u64, name: Box<Name>, facts: &mut Facts) -> Decided {
        match self.find(&name, facts)? {
            Found::Unsure => return Ok(Some(Submission::Resume(ticket, name))),
            Found::Unknown => self.say(Note::refuse(ticket, "not_found", Data::Nothing)),
            Found::Final(_, status) => {
                self.say(Note::refuse(ticket, "state", Data::State(status)));
            }
            Found::Live(no, key, status) => {
                if matches!(react(status, Happening::Resume), Reaction::Goes(..)) {
                    if self.is_settled_by_batch(no) {
                        return Ok(Some(Submission::Resume(ticket, name)));
                    }
                    self.liven(no, key, &name);
                    self.go_on(no, facts)?;
                }
                self.say(Note::reply(ticket, Data::Nothing));
            }
        }
        Ok(None)
    }

    /// Whether this batch decides what an inert instance waits for: then what it finds when it goes
    /// on is not durable yet.
    fn is_settled_by_batch(&self, no: InstanceNo) -> bool {
        let waits = self.live.get(&no).map_or(&[][..], |it| it.mailbox.waits());
        let ends = |child| {
            let ended = |op: &Op| matches!(op, Op::Status(no, _, to) if *no == child && to.status.is_final());
            self.batch.ops.iter().any(ended)
        };
        waits.iter().any(|it| match &it.source {
            Source::Child(child) => ends(*child),
            Source::Approval(id) => self.batch.approvals.contains(id),
            Source::Event(_) | Source::Timer | Source::Retry => false,
        })
    }

    /// A paused or blocked instance goes on: what happened meanwhile settles its waits.
    pub(super) fn go_on(&mut self, no: InstanceNo, facts: &mut Facts) -> Result<(), Error> {
        assert!(
            self.shift(no, Happening::Resume),
            "the caller asked the table"
        );
        self.live_mut(no).recoveries = 0;
        self.persist(no, None, None);
        self.rearm(no, facts)
    }

    /// Sets the timers of all open waits and settles those whose outcome is there already.
    pub(super) fn rearm(&mut self, no: InstanceNo, facts: &mut Facts) -> Result<(), Error> {
        let waits = self.live_mut(no).mailbox.waits().to_vec();
        for wait in waits {
            self.hook(no, &wait);
            match &wait.source {
                Source::Child(child) => self.child_check(no, wait.id, *child, facts)?,
                Source::Approval(id) => self.approval_check(no, wait.id, id, facts)?,
                Source::Event(_) | Source::Timer | Source::Retry => {}
            }
        }
        self.fit(no);
        Ok(())
    }
}

/// The answer for an item whose id is taken.
pub(super) fn there(if_exists: IfExists, no: InstanceNo, id: Box<str>, status: Status) -> Item {
    let code = match if_exists {
        IfExists::Raise => "exists",
        IfExists::Return | IfExists::ReturnIfSame => "",
    };
    Item {
        code,
        no,
        id,
        status,
    }
}
