//! Decisions about what comes from outside: events, watches, resumes. Creations have their own
//! file.

use super::recovery::MISSING_CODE;
use super::{After, Core, Decided, Facts, Live};
use crate::failure::recorded;
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::{react, Effect, Event as Happening, Reaction, Status};
use crate::limits::EVENTS;
use crate::note::{Data, Note};
use crate::store::{Error, Op};
use crate::submission::{Command, Letter, Name, Speech, Submission};
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

/// What came of what somebody outside wants: the command itself, if it has to wait for the next
/// batch.
pub(super) type Obeyed = Result<Option<Command>, Error>;

impl Core {
    /// Decides one submission. Returns it if it has to wait for the next batch.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn decide(&mut self, submission: Submission, facts: &mut Facts) -> Decided {
        match submission {
            Submission::Said(by, Speech::Record(ticket, record)) => {
                self.record(ticket, by, record);
                Ok(None)
            }
            Submission::Said(by, speech) => self.hear(by, speech, facts),
            Submission::Outside(command) => {
                let later = self.obey(command, facts)?;
                Ok(later.map(Submission::Outside))
            }
            Submission::LetGo(no) => {
                self.let_go(no);
                Ok(None)
            }
        }
    }

    /// Decides what somebody outside wants. Returns it if it has to wait for the next batch.
    fn obey(&mut self, command: Command, facts: &mut Facts) -> Obeyed {
        match command {
            Command::Create(ticket, what, if_exists) => {
                return Ok(self.create(ticket, what, if_exists, None));
            }
            Command::CreateBatch(ticket, what, if_exists, wait) => {
                return Ok(self.create_batch(ticket, what, if_exists, wait, None));
            }
            Command::Again(creation, found) => return Ok(self.create_again(*creation, found)),
            Command::Send(ticket, letter, dedup) => {
                let sent = self.send(ticket, letter, dedup, facts);
                return self.or_refuse(ticket, sent);
            }
            Command::Decide(ticket, decision) => {
                let decided = self.decide_approval(ticket, decision, facts);
                return self.or_refuse(ticket, decided);
            }
            Command::Resume(ticket, name) => {
                let resumed = self.resume(ticket, name, facts);
                return self.or_refuse(ticket, resumed);
            }
            Command::GiveUp(ticket) => {
                if self.give_up(ticket) {
                    self.say(Note::refuse(ticket, "given_up", Data::Nothing));
                }
            }
            Command::EndWaiting => self.end_waiting(),
            Command::Reshard(ticket, shards) => self.reshard(ticket, shards),
            Command::Stand(ticket, name, priority) => self.stand(ticket, &name, priority),
            Command::SetLimits(ticket, what) => self.set_limits(ticket, &what),
            Command::OpenNamespace(ticket, namespace, base) => {
                self.open_namespace(ticket, &namespace, &base);
            }
        }
        Ok(None)
    }

    /// What somebody asks for and what is damaged concern each other only: nothing was changed yet.
    fn or_refuse(&mut self, ticket: u64, decided: Obeyed) -> Obeyed {
        if let Err(Error::Row(message)) = decided {
            self.say(Note::refuse(ticket, "corrupt", Data::Text(message)));
            return Ok(None);
        }
        decided
    }

    /// What an instance depends on and is damaged blocks that instance, and nobody else.
    pub(super) fn or_block<T>(
        &mut self,
        no: InstanceNo,
        read: Result<T, Error>,
        facts: &mut Facts,
    ) -> Result<Option<T>, Error> {
        if let Err(Error::Row(message)) = &read {
            let error = recorded("StoreCorrupt", message);
            self.block(no, "corrupt".into(), error, facts)?;
            return Ok(None);
        }
        read.map(Some)
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

    fn send(
        &mut self,
        ticket: u64,
        letter: Box<Letter>,
        dedup: Option<Box<str>>,
        facts: &mut Facts,
    ) -> Obeyed {
        let (no, key) = match self.find(&letter.to, facts)? {
            Found::Unsure => return Ok(Some(Command::Send(ticket, letter, dedup))),
            Found::Live(no, ..) if self.batch.unjudged.contains(&no) => {
                return Ok(Some(Command::Send(ticket, letter, dedup)));
            }
            Found::Live(no, key, _) => (no, key),
            Found::Final(no, status) => {
                let refusal = Note::refuse(ticket, "state", Data::State(status));
                self.refuse_event(no, dedup, refusal);
                return Ok(None);
            }
            Found::Unknown => {
                self.say(Note::refuse(ticket, "not_found", Data::Nothing));
                return Ok(None);
            }
        };
        if !self.liven(no, key, &letter.to).has_room_for(&letter.kind) {
            let data = Data::Limit("buffered_events", EVENTS as u64);
            self.refuse_event(no, dedup, Note::refuse(ticket, "limit", data));
            return Ok(None);
        }
        let event = self.event(letter.kind, letter.payload);
        if dedup.is_some() {
            // The store judges whether it is new; only then may a wait take it (see `After::Kept`).
            self.batch.unjudged.insert(no);
            self.push_then(Op::Buffer(no, event, dedup), After::Kept(ticket, no));
        } else {
            self.arrive(no, event);
            self.say(Note::reply(ticket, Data::Nothing));
        }
        Ok(None)
    }

    /// E4: an event that would be refused may have arrived before; then it is no other one.
    fn refuse_event(&mut self, no: InstanceNo, dedup: Option<Box<str>>, refusal: Note) {
        match dedup {
            None => self.say(refusal),
            Some(dedup) => self.then(After::Seen { no, dedup, refusal }),
        }
    }

    pub(super) fn event(&mut self, kind: Box<str>, payload: Option<Box<[u8]>>) -> Event {
        Event {
            id: self.sequence.draw(),
            kind,
            payload,
            at: self.now,
        }
    }

    fn resume(&mut self, ticket: u64, name: Box<Name>, facts: &mut Facts) -> Obeyed {
        match self.find(&name, facts)? {
            Found::Unsure => return Ok(Some(Command::Resume(ticket, name))),
            Found::Unknown => self.say(Note::refuse(ticket, "not_found", Data::Nothing)),
            Found::Final(_, status) => {
                self.say(Note::refuse(ticket, "state", Data::State(status)));
            }
            Found::Live(no, key, status) => {
                if matches!(react(status, Happening::Resume), Reaction::Goes(..)) {
                    if let Some(text) = self.without_code(no, facts)? {
                        self.say(Note::refuse(ticket, MISSING_CODE, Data::Text(text)));
                        return Ok(None);
                    }
                    if self.is_settled_by_batch(no) {
                        return Ok(Some(Command::Resume(ticket, name)));
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
            self.batch.ops().any(ended)
        };
        waits.iter().any(|it| match &it.source {
            Source::Child(child) => ends(*child),
            Source::Approval(id) => self.batch.approvals.contains(id),
            Source::Event(_) | Source::Timer | Source::Retry => false,
        })
    }

    /// A paused or blocked instance goes on: what happened meanwhile settles its waits.
    pub(super) fn go_on(&mut self, no: InstanceNo, facts: &mut Facts) -> Result<(), Error> {
        let owed = self.shift(no, Happening::Resume);
        owed.expect("the caller asked the table")
            .leaves(&[Effect::Rearm]);
        let live = self.live_mut(no);
        (live.recoveries, live.proof) = (0, None);
        self.persist(no, None, None);
        self.rearm(no, facts)
    }

    /// Sets the timers of all open waits and settles those whose outcome is there already.
    pub(super) fn rearm(&mut self, no: InstanceNo, facts: &mut Facts) -> Result<(), Error> {
        let waits = self.live_mut(no).mailbox.waits().to_vec();
        for wait in waits {
            self.hook(no, &wait);
            let checked = match &wait.source {
                Source::Child(child) => self.child_check(no, wait.id, *child, facts),
                Source::Approval(id) => self.approval_check(no, wait.id, id, facts),
                Source::Event(_) | Source::Timer | Source::Retry => Ok(()),
            };
            if self.or_block(no, checked, facts)?.is_none() {
                return Ok(());
            }
        }
        self.fit(no);
        Ok(())
    }
}
