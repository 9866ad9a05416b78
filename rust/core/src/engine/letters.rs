//! Effects on instances that others own, on their way out and in.
//!
//! Where both are here an effect is a call, in the same batch. Where the other one is elsewhere it is
//! left as a letter in the same batch, and the batch of the owner that does what it says takes it
//! in. Between that lies nothing but the store: no core knows another. A letter that cannot be
//! decided yet waits for the next batch like any submission; [`Message::Watch`] stays until the end
//! that it asks for, and is found again at a start.
//!
//! To add a verb: a [`Message`], what it needs ([`super::needs`]), what it does ([`Core::take_in`]).

use rustc_hash::{FxHashMap, FxHashSet};

use super::batch::After;
use super::decide::Whereabouts;
use super::settle::Resolved;
use super::{Applied, Core};
use crate::codes;
use crate::history::Kind;
use crate::ids::{InstanceNo, Key, Micros, Range, WaitId};
use crate::letter::{
    Address, Answer, Asked, Asker, Ending, Letter, LetterId, Message, Told, Waiter,
};
use crate::note::{Data, Note};
use crate::store::known::Need;
use crate::store::{Delivery, NewInstance, Op, Outcome, Row};
use crate::submission::{Name, Submission};
use crate::wait::{Event, Wait};

/// Letters on their way in.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Those that were handed to this engine and are not taken in yet.
    in_hand: FxHashSet<LetterId>,
    /// How many of these are not decided yet.
    undecided: usize,
    /// Who waits elsewhere for the end of which instance, and the letters that say so.
    watchers: FxHashMap<InstanceNo, Vec<(LetterId, Waiter)>>,
    /// Who asked for what is being decided, if that was elsewhere.
    asker: Option<Asker>,
    /// Who waits for the end of a child that was not created.
    unborn: Vec<(InstanceNo, WaitId)>,
    /// What is to be decided once more, or was found at the start.
    again: Vec<Submission>,
}

/// What becomes of a letter.
enum Fate {
    /// What it says is done.
    Done,
    /// It is to stay.
    Stays,
    /// The next batch knows more.
    Later,
}

/// How an instance stands that a letter is about.
enum Addressee {
    /// It has not ended.
    Here(Key, Name),
    Ended(Box<Row>),
    Nobody,
    /// Whether it has ended is known after this batch.
    Unsure,
    /// Its row cannot be read: it is told when it is to start.
    Damaged,
}

impl Core {
    /// Takes what the store has for this engine. Returns what it does not have in hand already, to
    /// be submitted in this order before anything that was submitted later.
    pub fn receive(&mut self, letters: Vec<Delivery>) -> Vec<Submission> {
        let mut news = Vec::new();
        for (id, letter) in letters {
            if !self.mail.in_hand.insert(id) {
                continue;
            }
            match letter {
                Ok(letter) => {
                    self.mail.undecided += 1;
                    news.push(Submission::Letter(id, Box::new(letter)));
                }
                Err(damaged) => self.unreadable.push(damaged.0),
            }
        }
        news
    }

    /// Takes what is to be submitted again.
    pub(super) fn take_again(&mut self) -> Vec<Submission> {
        std::mem::take(&mut self.mail.again)
    }

    pub(super) fn decide_again(&mut self, some: impl IntoIterator<Item = Submission>) {
        self.mail.again.extend(some);
    }

    /// E3: whoever was acknowledged before something is due is in time, so that waits for letters
    /// that were read before.
    pub(super) fn reads_letters(&self) -> bool {
        self.mail.undecided > 0
    }

    /// Leaves a letter.
    pub(super) fn leave_letter(&mut self, to: Address, message: Message) {
        if let Message::Event { payload, .. } = &message {
            self.batch.bytes += payload.as_ref().map_or(0, |it| it.len());
        }
        self.push(Op::Leave(Box::new(Letter { to, message })));
    }

    /// Leaves what only the owner of this range can decide; it answers whoever asked.
    pub(super) fn ask_owner(&mut self, range: Range, ticket: u64, what: Asked) {
        let engine = self.engine;
        // It may have been asked elsewhere before, and moved.
        let by = self.mail.asker.unwrap_or(Asker { engine, ticket });
        self.leave_letter(Address::Owner(range), Message::Ask(by, what));
    }

    /// Tells whoever asked: here, or elsewhere by letter.
    pub(super) fn say(&mut self, note: Note) {
        let Some(note) = self.bulks.overhear(note) else {
            return;
        };
        let Some(by) = self.mail.asker else {
            self.then(After::Say(note));
            return;
        };
        match note {
            Note::Reply { ticket, code, data } if ticket == by.ticket => {
                let answer = Message::Answer(ticket, written(code, data));
                self.leave_letter(Address::Asker(by.engine), answer);
            }
            other => self.then(After::Say(other)),
        }
    }

    /// Lets the owner of an instance know who waits here for its end.
    pub(super) fn watch(&mut self, no: InstanceNo, wait: WaitId, child: InstanceNo, range: Range) {
        let at = self.live_mut(no).key.range();
        let by = Waiter {
            no,
            range: at,
            wait,
        };
        self.leave_letter(Address::Owner(range), Message::Watch(child, by));
    }

    /// Tells those who wait elsewhere for the end of an instance.
    pub(super) fn tell_watchers(&mut self, no: InstanceNo, outcome: &Resolved) {
        for (id, by) in self.mail.watchers.remove(&no).unwrap_or_default() {
            self.tell_watcher(by, outcome);
            self.done_with(id);
        }
    }

    fn tell_watcher(&mut self, by: Waiter, outcome: &Resolved) {
        let ending = Ending {
            verdict: outcome.verdict.expect("an outcome has a verdict"),
            kind: outcome.kind.clone(),
            payload: outcome.payload.clone(),
        };
        self.batch.bytes += ending.payload.as_ref().map_or(0, |it| it.len());
        self.leave_letter(Address::Owner(by.range), Message::Ended(by, ending));
    }

    fn done_with(&mut self, id: LetterId) {
        self.push_then(Op::TakeIn(id), After::TakenIn(id));
    }

    /// The letter is gone, and what it said is durable.
    pub(super) fn taken_in(&mut self, id: LetterId, outcome: Option<Outcome>) {
        let there = matches!(outcome, Some(Outcome::Done(_)));
        assert!(there, "a letter is taken in once: {id}");
        self.mail.in_hand.remove(&id);
    }

    /// Does what a letter says. Returns it if it has to wait for the next batch.
    pub(super) fn take_in(&mut self, id: LetterId, letter: Box<Letter>) -> Option<Submission> {
        let fate = match letter.message.clone() {
            Message::Born(no) => self.take_birth(no),
            Message::Watch(no, by) => self.take_watch(id, no, by),
            Message::Ended(by, ending) => self.take_end(by, ending),
            Message::Event {
                no,
                kind,
                payload,
                at,
                dedup,
                asks,
            } => self.take_event(no, (kind, payload, at), dedup.map(|it| (it, asks))),
            Message::Terminate(no, error) => {
                self.terminate(no, error);
                Fate::Done
            }
            Message::Undo(no, error) => {
                self.terminate_undoing(no, error);
                Fate::Done
            }
            Message::Ask(by, what) => self.take_question(by, what),
            Message::Answer(ticket, answer) => {
                let Answer { code, data } = answer;
                let data = read(data);
                self.say(Note::Reply { ticket, code, data });
                Fate::Done
            }
        };
        match fate {
            Fate::Later => return Some(Submission::Letter(id, letter)),
            Fate::Done => self.done_with(id),
            Fate::Stays => {}
        }
        self.mail.undecided -= 1;
        None
    }

    /// Makes one known that another created in a range of this owner, whether the letter that says
    /// so has come or not; so nothing that is done here overtakes what was done by letter.
    pub(super) fn adopt(&mut self, row: &Row) {
        let has_code = self.codes.has(&row.workflow, &row.version);
        self.restore(row, has_code);
    }

    /// Finds the instance that a letter is about.
    fn addressee(&mut self, no: InstanceNo) -> Addressee {
        let row = match self.batch.known.instance(no) {
            Err(_) => return Addressee::Damaged,
            Ok(None) => return Addressee::Nobody,
            Ok(Some(row)) => row.clone(),
        };
        if row.status.is_final() {
            return Addressee::Ended(Box::new(row));
        }
        let key = Key::new(&row.namespace, &row.workflow, &row.id);
        match self.registry.view(key) {
            // It ends in this batch, or this batch tries to create another one with its id.
            Some(view) if view.no != no || view.decided.is_final() => return Addressee::Unsure,
            Some(_) => {}
            None => self.adopt(&row),
        }
        let Row {
            namespace,
            workflow,
            id,
            ..
        } = row;
        let name = Name {
            namespace,
            workflow,
            id,
        };
        Addressee::Here(key, name)
    }

    fn take_birth(&mut self, no: InstanceNo) -> Fate {
        match self.addressee(no) {
            // Its id was taken, or it was found in another way and has ended since.
            Addressee::Here(..) | Addressee::Ended(_) | Addressee::Nobody => Fate::Done,
            Addressee::Unsure => Fate::Later,
            Addressee::Damaged => Fate::Stays,
        }
    }

    fn take_watch(&mut self, id: LetterId, no: InstanceNo, by: Waiter) -> Fate {
        if self.domain.has(by.range) {
            return Fate::Done; // it has come here since, and is told as all who are here
        }
        if !self.live.contains_key(&no) {
            let outcome = match self.addressee(no) {
                Addressee::Here(..) => None,
                Addressee::Nobody => Some(Ok(Resolved::failed(codes::NOT_FOUND))),
                Addressee::Ended(row) => Some(self.end_of(&row)),
                Addressee::Unsure => return Fate::Later,
                Addressee::Damaged => return Fate::Stays,
            };
            match outcome {
                None => {}
                Some(Err(_)) => return Fate::Stays,
                Some(Ok(outcome)) => {
                    self.tell_watcher(by, &outcome);
                    return Fate::Done;
                }
            }
        }
        let watchers = self.mail.watchers.entry(no).or_default();
        // Whoever comes back from a crash asks again.
        if watchers.iter().any(|it| it.1.wait == by.wait) {
            return Fate::Done;
        }
        watchers.push((id, by));
        Fate::Stays
    }

    fn take_end(&mut self, by: Waiter, ending: Ending) -> Fate {
        let live = self.live.get(&by.no);
        // One that is inert finds out when it goes on.
        let Some(live) = live.filter(|it| !it.is_inert()) else {
            return Fate::Done;
        };
        let Some(wait) = live.mailbox.wait(by.wait) else {
            return Fate::Done;
        };
        let outcome = match ending.kind.as_deref() {
            Some(codes::NOT_FOUND) => nobody(wait),
            _ => Resolved {
                kind: ending.kind,
                payload: ending.payload,
                ..Resolved::new(ending.verdict)
            },
        };
        self.settle(by.no, by.wait, &outcome);
        Fate::Done
    }

    fn take_event(
        &mut self,
        no: InstanceNo,
        (kind, payload, at): (Box<str>, Option<Box<[u8]>>, Micros),
        dedup: Option<(Box<str>, bool)>,
    ) -> Fate {
        if self.batch.unjudged.contains(&no) {
            return Fate::Later;
        }
        if !self.live.contains_key(&no) {
            match self.addressee(no) {
                Addressee::Here(key, name) => {
                    self.liven(no, key, &name);
                }
                // It ended after the event was sent.
                Addressee::Ended(_) | Addressee::Nobody => return Fate::Done,
                Addressee::Unsure => return Fate::Later,
                Addressee::Damaged => return Fate::Stays,
            }
        }
        // Its place in the order is where it arrives.
        let id = self.sequence.draw();
        let event = Event {
            id,
            kind,
            payload,
            at,
        };
        match dedup {
            Some(dedup) => self.keep_unjudged(no, event, dedup, None),
            None => self.arrive(no, event),
        }
        Fate::Done
    }

    fn take_question(&mut self, by: Asker, what: Asked) -> Fate {
        self.mail.asker = Some(by);
        let later = match what {
            Asked::Decide(decision) => self.decide_approval(by.ticket, decision),
            Asked::Act(deed) => self.act(by.ticket, deed),
            Asked::Stand(name, priority) => self.stand(by.ticket, name, priority),
        };
        self.mail.asker = None;
        match later {
            None => Fate::Done,
            Some(_) => Fate::Later,
        }
    }

    /// Returns the range of an instance that has not ended and that another owns, by what is known
    /// of it.
    pub(super) fn afar(&mut self, no: InstanceNo) -> Option<Range> {
        if self.domain.is_whole() || self.live.contains_key(&no) {
            return None;
        }
        let key = if self.batch.known.has(Need::Instance(no, false)) {
            let row = self.batch.known.instance(no).ok().flatten();
            let row = row.filter(|it| !it.status.is_final())?.clone();
            let key = Key::new(&row.namespace, &row.workflow, &row.id);
            if self.domain.has(key.range()) && self.registry.view(key).is_none() {
                self.adopt(&row);
            }
            Some(key)
        } else {
            self.batch.ops().find_map(|op| match op {
                Op::Create(new) if new.no == no => {
                    Some(Key::new(&new.namespace, &new.workflow, &new.id))
                }
                _ => None,
            })
        };
        key.map(Key::range).filter(|it| !self.domain.has(*it))
    }

    /// A child is created, or its id was taken at this very moment: then its parent, if it waits, is
    /// told with the next batch.
    pub(super) fn child_born(
        &mut self,
        new: Box<NewInstance>,
        outcome: Outcome,
        waits: Option<WaitId>,
        applied: &mut Applied,
    ) {
        if !matches!(outcome, Outcome::Exists(..)) {
            self.born(*new, applied);
            return;
        }
        let key = Key::new(&new.namespace, &new.workflow, &new.id);
        let view = self.registry.view(key);
        if view.is_some_and(|it| it.no == new.no && !it.decided.is_final()) {
            self.take_back(&new);
        }
        let parent = new.parent.expect("it is a child");
        self.mail.unborn.extend(waits.map(|it| (parent, it)));
    }

    /// Tells those whose children were not created.
    pub(super) fn tell_unborn(&mut self) {
        for (parent, wait) in std::mem::take(&mut self.mail.unborn) {
            if self.live.get(&parent).is_some_and(|it| !it.is_inert()) {
                self.settle(parent, wait, &Resolved::failed(codes::EXISTS));
            }
        }
    }

    pub(super) fn has_unborn(&self) -> bool {
        !self.mail.unborn.is_empty()
    }

    /// Creations whose ids turned out to be taken are decided once more, and find that.
    pub(super) fn children_created(
        &mut self,
        told: Box<crate::note::Settled>,
        again: Submission,
        outcome: Option<Outcome>,
        applied: &mut Applied,
    ) {
        match outcome {
            Some(Outcome::Exists(..)) => self.decide_again([again]),
            other => self.settled(told, other, applied),
        }
    }
}

impl Whereabouts {
    /// Returns the range of whoever lives elsewhere.
    pub(super) fn elsewhere(&self) -> Option<Range> {
        match self {
            Self::Elsewhere(_, range) => Some(*range),
            _ => None,
        }
    }
}

/// What waiting for an instance yields that is not there. One that was called is not there if its
/// id was taken at the same moment.
pub(super) fn nobody(wait: &Wait) -> Resolved {
    Resolved::failed(match wait.operation.kind {
        Kind::Call => codes::EXISTS,
        _ => codes::NOT_FOUND,
    })
}

fn written(code: &'static str, data: Data) -> Answer {
    let data = match data {
        Data::Nothing => Told::Nothing,
        Data::Bool(it) => Told::Bool(it),
        Data::State(status) => Told::State(status),
        Data::Text(text) => Told::Text(text),
        Data::Standing(state, ahead, slots) => Told::Standing(state, ahead, slots),
        other => unreachable!("owners do not answer with {other:?}"),
    };
    Answer { code, data }
}

fn read(told: Told) -> Data {
    match told {
        Told::Nothing => Data::Nothing,
        Told::Bool(it) => Data::Bool(it),
        Told::State(status) => Data::State(status),
        Told::Text(text) => Data::Text(text),
        Told::Standing(state, ahead, slots) => Data::Standing(state, ahead, slots),
    }
}
