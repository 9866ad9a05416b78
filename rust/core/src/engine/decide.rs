//! Decisions about what comes from outside: who decides what, and events. Creations have their own
//! files, and so has what is done to an instance.

use super::{After, Core, Live};
use crate::codes;
use crate::failure::recorded;
use crate::ids::{InstanceNo, Key, Range};
use crate::large::LargeKey;
use crate::letter::{Address, Message};
use crate::lifecycle::Status;
use crate::limits::EVENTS;
use crate::note::{Data, Note};
use crate::store::known::{Damaged, Need};
use crate::store::Op;
use crate::submission::{Command, Name, Sent, Speech, Submission};
use crate::wait::Event;

/// Where an instance was found by name.
pub(super) enum Whereabouts {
    /// In memory, so it has not ended.
    Here(InstanceNo, Key, Status),
    /// In a range that another owns, and had not ended when the store was asked: what is to happen
    /// to it goes there as a letter.
    Elsewhere(InstanceNo, Range),
    /// Whether it exists is known after this batch.
    Unsure,
    /// In the store, which says that it has ended.
    Final(InstanceNo, Status),
    /// Not in the store.
    Unknown,
}

impl Core {
    /// Decides one submission. Returns it if it has to wait for the next batch.
    pub fn decide(&mut self, submission: Submission) -> Option<Submission> {
        if let Submission::Said(by, Speech::Record(ticket, record)) = submission {
            self.record(ticket, by, record);
            return None;
        }
        // These find out on their way.
        let looks = matches!(
            submission,
            Submission::Outside(
                Command::Send(..) | Command::Request(..) | Command::Decide(..) | Command::Part(..)
            )
        );
        if !looks && self.lacks(&submission) {
            return Some(submission);
        }
        match submission {
            Submission::Said(by, speech) => self.hear(by, speech),
            Submission::Outside(command) => self.obey(command).map(Submission::Outside),
            Submission::Letter(id, letter) => self.take_in(id, letter),
            Submission::LetGo(no) => {
                self.let_go(no);
                None
            }
        }
    }

    /// Decides what somebody outside wants. Returns it if it has to wait for the next batch.
    pub(super) fn obey(&mut self, command: Command) -> Option<Command> {
        let since = self.batch.steps.len();
        let later = self.obey_now(command);
        self.keep_answers(since);
        later
    }

    pub(super) fn obey_now(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Once(id, command) => return self.obey_once(id, *command),
            Command::Create(ticket, what, if_exists) => {
                return self.create(ticket, what, if_exists, None);
            }
            Command::CreateBatch(ticket, what, if_exists, wait) => {
                return self.create_batch(ticket, what, if_exists, wait, None);
            }
            Command::Again(creation, found) => return self.create_again(*creation, found),
            Command::Send(ticket, sent, dedup) => {
                let (sent, dedup) = self.send(ticket, sent, dedup, false)?;
                return Some(Command::Send(ticket, sent, dedup));
            }
            Command::Request(ticket, sent, dedup) => {
                let (sent, dedup) = self.send(ticket, sent, Some(dedup), true)?;
                let dedup = dedup.expect("it was given");
                return Some(Command::Request(ticket, sent, dedup));
            }
            Command::Decide(ticket, decision) => return self.decide_approval(ticket, decision),
            Command::Act(ticket, deed) => return self.act(ticket, deed),
            Command::Part(ticket, part) => return self.do_part(ticket, part),
            Command::BeginBulk(ticket, bulk) => self.begin_bulk(ticket, bulk),
            Command::ChangeSchedule(ticket, change) => {
                return self.change_schedule(ticket, change);
            }
            Command::StopBulk(ticket, number, by) => self.stop_bulk(ticket, number, by),
            Command::Large(ticket, keeps, forgets) => {
                self.batch.bytes += (keeps.len() + forgets.len()) * size_of::<LargeKey>();
                self.push(Op::Large(keeps));
                self.push(Op::ForgetLarge(forgets));
                self.say(Note::reply(ticket, Data::Nothing));
            }
            Command::GiveUp(ticket) => {
                if self.give_up(ticket) {
                    self.say(Note::refuse(ticket, codes::GIVEN_UP, Data::Nothing));
                }
            }
            Command::EndWaiting => self.end_waiting(),
            Command::Reshard(ticket, shards) => self.reshard(ticket, shards),
            Command::Stand(ticket, name, priority) => {
                return self.stand(ticket, name, priority);
            }
            Command::SetLimits(ticket, what) => self.set_limits(ticket, &what),
            Command::OpenNamespace(ticket, namespace, base) => {
                self.open_namespace(ticket, &namespace, &base);
            }
        }
        None
    }

    /// What somebody asks for and what is damaged concern each other only: nothing was changed yet.
    pub(super) fn or_refuse<T>(&mut self, ticket: u64, known: Result<T, Damaged>) -> Option<T> {
        if let Err(Damaged(message)) = known {
            self.say(Note::refuse(ticket, codes::CORRUPT, Data::Text(message)));
            return None;
        }
        known.ok()
    }

    /// What an instance depends on and is damaged blocks that instance, and nobody else.
    pub(super) fn or_block<T>(&mut self, no: InstanceNo, known: Result<T, Damaged>) -> Option<T> {
        if let Err(Damaged(message)) = &known {
            let error = recorded("StoreCorrupt", message);
            self.block(no, codes::CORRUPT.into(), error);
            return None;
        }
        known.ok()
    }

    /// Looks an instance up by name. What was not asked is asked with the next batch.
    pub(super) fn find(&mut self, name: &Name) -> Result<Whereabouts, Damaged> {
        let key = name.key();
        if let Some(view) = self.registry.view(key) {
            return Ok(match view.committed {
                None => Whereabouts::Unsure,
                Some(_) if self.batch.gone.contains(&view.no) => Whereabouts::Unsure,
                Some(_) if view.decided.is_final() => Whereabouts::Final(view.no, view.decided),
                Some(_) => Whereabouts::Here(view.no, key, view.decided),
            });
        }
        let need = Need::Name(key, [&name.namespace, &name.workflow, &name.id], false);
        if !self.batch.known.has(need) {
            self.missing.add(need);
            return Ok(Whereabouts::Unsure);
        }
        let Some(row) = self.batch.known.by_key(key)? else {
            return Ok(Whereabouts::Unknown);
        };
        if self.batch.gone.contains(&row.no) {
            return Ok(Whereabouts::Unsure);
        }
        // The only owner has everybody in memory who has not ended, but whom a start could not read.
        if row.status.is_final() || self.domain.is_whole() {
            return Ok(Whereabouts::Final(row.no, row.status));
        }
        if !self.domain.has(key.range()) {
            return Ok(Whereabouts::Elsewhere(row.no, key.range()));
        }
        // What is to be known of one who is here was not asked.
        let row = row.clone();
        self.adopt(&row);
        Ok(Whereabouts::Unsure)
    }

    /// Returns the live state of an instance, which it gets now if it was only a queue entry.
    pub(super) fn liven(&mut self, no: InstanceNo, key: Key, name: &Name) -> &mut Live {
        let workflow = self.workflow(&name.namespace, &name.workflow);
        let of = (workflow, self.versions.of_entrant(workflow, no));
        self.live
            .entry(no)
            .or_insert_with(|| Box::new(Live::new(key, no, of, 0)))
    }

    /// Sends an event; returns it if that has to wait for the next batch.
    fn send(
        &mut self,
        ticket: u64,
        sent: Box<Sent>,
        dedup: Option<Box<str>>,
        asks: bool,
    ) -> Option<(Box<Sent>, Option<Box<str>>)> {
        let found = self.find(&sent.to);
        let (no, key) = match self.or_refuse(ticket, found)? {
            Whereabouts::Unsure => return Some((sent, dedup)),
            Whereabouts::Here(no, ..) if self.batch.unjudged.contains(&no) => {
                return Some((sent, dedup));
            }
            Whereabouts::Here(no, key, _) => (no, key),
            Whereabouts::Elsewhere(no, range) => {
                self.send_elsewhere((no, range), *sent, dedup, asks);
                self.say(Note::reply(ticket, Data::Nothing));
                return None;
            }
            Whereabouts::Final(no, status) => {
                let refusal = Note::refuse(ticket, codes::STATE, Data::State(status));
                self.refuse_event(no, dedup, refusal);
                return None;
            }
            Whereabouts::Unknown => {
                self.say(Note::refuse(ticket, codes::NOT_FOUND, Data::Nothing));
                return None;
            }
        };
        if !self.liven(no, key, &sent.to).has_room_for(&sent.kind) {
            let data = Data::Limit(codes::BUFFERED_EVENTS, EVENTS as u64);
            self.refuse_event(no, dedup, Note::refuse(ticket, codes::LIMIT, data));
            return None;
        }
        let event = self.event(sent.kind, sent.payload);
        if let Some(dedup) = dedup {
            self.keep_unjudged(no, event, (dedup, asks), Some(ticket));
        } else {
            self.arrive(no, event);
            self.say(Note::reply(ticket, Data::Nothing));
        }
        None
    }

    /// The store judges whether it is new; only then may a wait take it (see `After::Kept`), and
    /// only then is it answered, if it asks for that.
    pub(super) fn keep_unjudged(
        &mut self,
        no: InstanceNo,
        event: Event,
        (dedup, asks): (Box<str>, bool),
        ticket: Option<u64>,
    ) {
        self.batch.unjudged.insert(no);
        let asked = asks.then(|| Op::Ask(no, event.id, dedup.clone()));
        self.push_then(Op::Buffer(no, event, Some(dedup)), After::Kept(ticket, no));
        self.batch.extend(asked);
    }

    /// It is acknowledged with the letter: its owner keeps it, however many are kept already.
    pub(super) fn send_elsewhere(
        &mut self,
        (no, range): (InstanceNo, Range),
        sent: Sent,
        dedup: Option<Box<str>>,
        asks: bool,
    ) {
        let event = Message::Event {
            no,
            kind: sent.kind,
            payload: sent.payload,
            at: self.now,
            dedup,
            asks,
        };
        self.leave_letter(Address::Owner(range), event);
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
}
