//! Decisions about what a body says: records, waits, and that it is quiet or at its end.
//!
//! Whatever comes from an outdated incarnation changes nothing (D6).

use rustc_hash::FxHashMap;

use super::{After, Core, Live};
use crate::codes;
use crate::failure;
use crate::history::{Begun, Kind, Record, Stored, Verdict};
use crate::ids::{EventId, InstanceNo, Seq, WaitId};
use crate::lifecycle::{Effect, Happening, Status};
use crate::note::Note;
use crate::store::known::Damaged;
use crate::store::Op;
use crate::stream::Chunks;
use crate::submission::{Body, Sent, Speech, Submission, Why, UNHEARD};
use crate::undo::Undo;
use crate::wait::{Event, Source, Wait};

use super::decide::Whereabouts;
use super::places::Queued;
use super::settle::Resolved;

impl Core {
    /// Returns the instance if this body may speak for it.
    pub(super) fn speaker(&mut self, by: Body) -> Option<&mut Live> {
        self.live
            .get_mut(&by.no)
            .map(AsMut::as_mut)
            .filter(|it| it.may_hear(by))
    }

    /// The hot path: one record, one operation, one effect.
    pub(super) fn record(&mut self, ticket: u64, by: Body, mut record: Record) {
        let now = self.now;
        let Some(live) = self.speaker(by) else {
            self.say(Note::Fenced { ticket });
            return;
        };
        let recovered = live.recoveries > 0 && record.verdict.is_outcome();
        record.at = now;
        self.batch.bytes += record.payload.as_ref().map_or(0, |it| it.len());
        let op = Op::Append(by.no, by.incarnation, record);
        self.push_then(op, After::Done(ticket));
        if recovered {
            self.progressed(by.no);
        }
    }

    /// Decides what a body said.
    pub(super) fn hear(&mut self, by: Body, speech: Speech) -> Option<Submission> {
        let Some(live) = self.speaker(by) else {
            let (Speech::Attributes(ticket, _)
            | Speech::Answer(ticket, ..)
            | Speech::Conclude(ticket, _)
            | Speech::Stream(ticket, _)) = speech
            else {
                return None;
            };
            if ticket != UNHEARD {
                self.say(Note::Fenced { ticket });
            }
            return None;
        };
        let no = by.no;
        if live.undo == Some(Undo::Running) && speech.begins() {
            return None; // it has not heard of it
        }
        match speech {
            Speech::Record(ticket, record) => self.record(ticket, by, record),
            Speech::Attributes(ticket, what) => {
                self.batch.bytes += what.1.len();
                self.push(Op::Attributes(no, by.incarnation, what.1));
                self.record(ticket, by, what.0);
            }
            Speech::Answer(ticket, place, record) => {
                let answer = record.payload.clone().unwrap_or_default();
                self.batch.bytes += answer.len();
                self.push(Op::Answer(no, by.incarnation, place, answer));
                self.record(ticket, by, *record);
            }
            Speech::Retry(id, record) => self.retry(id, by, *record),
            Speech::Open(wait) => {
                let opened_at = self.now;
                self.open(no, Wait { opened_at, ..*wait });
            }
            Speech::Quiet(seq, seen) => self.quiet(no, seq, seen),
            Speech::Withdraw(id) => self.withdraw(no, id),
            Speech::GiveBack(seq) => {
                let given_back = self.give_back(no, seq);
                self.or_block(no, given_back);
            }
            Speech::Report(progress) => {
                self.push(Op::Progress(no, progress));
            }
            Speech::Stream(ticket, chunks) => self.stream(ticket, by, chunks),
            Speech::Conclude(ticket, what) => {
                let (record, end) = *what;
                self.record(ticket, by, record);
                self.stream(UNHEARD, by, Box::new(end));
            }
            Speech::Hold => self.hold(no),
            // It did not know yet.
            Speech::Finish(..) | Speech::Continue(_) if live.undo == Some(Undo::Running) => {
                self.body_undoes(no, None);
            }
            Speech::Finish(status, payload, version) => self.finish(no, status, payload, version),
            Speech::Continue(how) => self.continue_as_new(no, *how),
            Speech::Undoes(error) => self.body_undoes(no, error),
            Speech::Undone(how, status, error) => self.undone(no, how, status, error),
            Speech::Block(why, error) => self.block(no, why, error),
            Speech::TakenUp => live.interrupted = false,
            Speech::Paused => self.paused(no),
            Speech::Release => self.leave(no, Happening::Release),
            Speech::Replay => self.leave(no, Happening::Replay),
            Speech::Ask(wait, detail) => return self.ask(by, wait, detail),
            Speech::Await(id, what) => return self.wait_child(id, by, what),
            Speech::Post(ticket, what) => return self.post(ticket, by, what),
            // It is deleted before it could be told of them.
            Speech::Call(..) | Speech::CreateChildren(..) if self.is_of_going(no) => {}
            Speech::Call(id, child) => return self.call(id, by, child),
            Speech::CreateChildren(ticket, child) => {
                return self.create_children(ticket, by, child);
            }
        }
        None
    }

    fn stream(&mut self, ticket: u64, by: Body, mut chunks: Box<Chunks>) {
        chunks.at = self.now;
        self.batch.bytes += chunks.bytes() as usize;
        let op = Op::Chunks(by.no, by.incarnation, chunks);
        if ticket == UNHEARD {
            self.push(op);
        } else {
            self.push_then(op, After::Sent(ticket));
        }
    }

    /// R2: the failed attempt and its delay are one commit.
    fn retry(&mut self, id: WaitId, by: Body, mut record: Record) {
        record.at = self.now;
        let wait = Wait {
            begun: None,
            id,
            operation: record.operation.clone(),
            source: Source::Retry(record.payload.as_deref().and_then(failure::class)),
            opened_at: self.now,
            until: record.moment,
        };
        self.push(Op::Append(by.no, by.incarnation, record));
        if !self.undoes(by.no) || wait.operation.kind == Kind::Undo {
            self.keep_open(by.no, wait);
        }
    }

    /// Every open operation is a wait. Ignored if the body was told something it cannot have
    /// seen when it said so: it will say so again.
    fn quiet(&mut self, no: InstanceNo, seq: u64, seen: u64) {
        let live = self.live_mut(no);
        let stale = live.settled > seq || live.told > seen;
        if stale || live.mailbox.waits().is_empty() || !live.slot {
            return;
        }
        if let Some(owed) = self.shift(no, Happening::Quiet) {
            owed.leaves_nothing();
            let live = self.live_mut(no);
            live.taken = FxHashMap::default();
            live.interrupted = false;
            self.persist(no, None, None);
            self.then(After::Waits(no));
        }
    }

    /// I8: a wait the body gave up; an event it had taken already goes back to its old place, and
    /// a child that it called is terminated.
    fn withdraw(&mut self, no: InstanceNo, id: WaitId) {
        if let Some(wait) = self.live_mut(no).mailbox.close(id) {
            if let Some(child) = self.drop_wait(no, &wait) {
                self.orphan(no, &[child], "gave up the call");
            }
            return;
        }
        let taken = self.taken_by(no, id);
        self.live_mut(no).taken.remove(&id);
        if let Some(Some(event)) = self.or_block(no, taken) {
            self.put_back(no, event);
        }
    }

    /// Returns the event that a wait of this body took.
    pub(super) fn taken_by(&self, no: InstanceNo, id: WaitId) -> Result<Option<Event>, Damaged> {
        let Some((event, place)) = self.live[&no].taken.get(&id).copied() else {
            return Ok(None);
        };
        let taken = match place {
            None => self.taken_in_batch(no, event),
            Some(place) => Some(self.batch.known.record(no, place)?),
        };
        Ok(taken.map(|it| given_back(event, it)))
    }

    /// I8, after a crash between the commit that took an event and the one that gives it back.
    fn give_back(&mut self, no: InstanceNo, seq: Seq) -> Result<(), Damaged> {
        if let Some(event) = self.taken_at(no, seq)? {
            self.put_back(no, event);
        }
        Ok(())
    }

    /// Returns the event that was taken at this place of a history, if it did not come back since.
    pub(super) fn taken_at(&self, no: InstanceNo, seq: Seq) -> Result<Option<Event>, Damaged> {
        let records = self.batch.known.takings(no)?;
        let Some(taken) = records.iter().find(|it| it.seq == seq) else {
            return Ok(None);
        };
        let Some(id) = taken.record.taken() else {
            return Ok(None);
        };
        // One that was taken again later was given back before.
        let later = |it: &Stored| it.seq > seq && it.record.taken() == Some(id);
        let came_back = records.iter().any(later) || self.taken_in_batch(no, id).is_some();
        Ok((!came_back).then(|| given_back(id, &taken.record)))
    }

    /// Returns the last record of this batch that takes an event.
    fn taken_in_batch(&self, no: InstanceNo, id: EventId) -> Option<&Record> {
        self.batch.ops().rev().find_map(|op| match op {
            Op::Append(of, _, record) if *of == no && record.taken() == Some(id) => Some(record),
            _ => None,
        })
    }

    /// Keeps an event again that was taken; a wait may take it when the batch is complete.
    pub(super) fn put_back(&mut self, no: InstanceNo, event: Event) {
        if self.live_mut(no).mailbox.keeps(event.id) {
            return;
        }
        self.batch.bytes += event.payload.as_ref().map_or(0, |it| it.len());
        self.push(Op::Buffer(no, event.clone(), None));
        self.live_mut(no).mailbox.keep(event);
        self.refit.push(no);
    }

    /// Its body has left memory, and it lives on.
    pub(super) fn leave(&mut self, no: InstanceNo, event: Happening) {
        if let Some(owed) = self.shift(no, event) {
            owed.leaves_nothing();
            self.keep_interruption(no);
            self.persist(no, None, None);
        }
    }

    /// What ran of a body that was to pause has ended, and it has left. One that was resumed
    /// meanwhile begins again from its history.
    fn paused(&mut self, no: InstanceNo) {
        let live = self.live_mut(no);
        match live.status {
            Status::WaitingForPause => self.leave(no, Happening::Drained),
            Status::Running => self.leave(no, Happening::Replay),
            // It had said before that it only waits.
            _ => {
                live.resident = false;
                self.residents.leave(no);
            }
        }
    }

    /// I8: what runs on for an instance that ends counts as running, so no other gets its slot
    /// (C1).
    fn hold(&mut self, no: InstanceNo) {
        let live = self.live_mut(no);
        if std::mem::take(&mut live.slot) {
            let workflow = live.workflow;
            // One that was restarted may have left one behind before.
            self.held.entry(no).or_insert((workflow, 0)).1 += 1;
        }
    }

    /// Nothing runs for it any more.
    pub(super) fn let_go(&mut self, no: InstanceNo) {
        if let Some((workflow, count)) = self.held.get_mut(&no) {
            let workflow = *workflow;
            *count -= 1;
            if *count == 0 {
                self.held.remove(&no);
            }
            self.gate.give_back(workflow);
            self.counts.touch(workflow);
            self.contended = Queued::Unknown;
            self.rooms.made = true;
        }
    }

    pub(super) fn finish(
        &mut self,
        no: InstanceNo,
        status: Status,
        payload: Option<Box<[u8]>>,
        version: Option<Box<str>>,
    ) {
        let event = match status {
            Status::Complete => Happening::Complete,
            _ => Happening::Fail,
        };
        let Some(owed) = self.shift(no, event) else {
            return;
        };
        owed.leaves(&[Effect::CloseWaits, Effect::TellParents]);
        let called = self.close_waits(no);
        // An error needs no version to be read, and one may be called as a word of `codes`.
        let (verdict, kind) = match status {
            Status::Complete => (Verdict::Done, version),
            _ => (Verdict::Failed, None),
        };
        let outcome = Resolved {
            kind,
            payload,
            ..Resolved::new(verdict)
        };
        self.tell_parents(no, &outcome);
        self.persist(no, None, outcome.payload);
        self.orphan(no, &called, "has ended");
        self.live.remove(&no);
    }

    pub(super) fn block(&mut self, no: InstanceNo, why: Why, error: Box<[u8]>) {
        if let Some(owed) = self.shift(no, Happening::Block) {
            owed.leaves_nothing();
            self.keep_interruption(no);
            self.persist(no, Some(why), Some(error));
        }
    }

    /// An event from one instance to another: sent and recorded, both or neither.
    fn post(&mut self, ticket: u64, by: Body, mut what: Box<(Begun, Sent)>) -> Option<Submission> {
        let to = &what.1.to;
        what.1.to = self.name(by.no, &to.workflow, &to.id);
        let found = self.find(&what.1.to);
        let outcome = match self.or_block(by.no, found)? {
            Whereabouts::Unsure => return Some(by.says(Speech::Post(ticket, what))),
            Whereabouts::Here(no, ..) if self.batch.unjudged.contains(&no) => {
                return Some(by.says(Speech::Post(ticket, what)));
            }
            Whereabouts::Here(no, key, _) => {
                let has_room = self.liven(no, key, &what.1.to).has_room_for(&what.1.kind);
                has_room.then_some((no, None)).ok_or(codes::LIMIT)
            }
            Whereabouts::Elsewhere(no, range) => Ok((no, Some(range))),
            Whereabouts::Final(..) => Err(codes::STATE),
            Whereabouts::Unknown => Err(codes::NOT_FOUND),
        };
        let (operation, sent) = *what;
        let now = self.now;
        let told = match outcome {
            Ok(_) => Resolved::new(Verdict::Done),
            Err(why) => Resolved::failed(why),
        };
        self.conclude(by.no, ticket, operation, now, &told);
        match outcome {
            Ok((no, None)) => {
                let event = self.event(sent.kind, sent.payload);
                self.arrive(no, event);
            }
            Ok((no, Some(range))) => self.send_elsewhere((no, range), sent, None, false),
            Err(_) => {}
        }
        None
    }
}

/// Rebuilds an event from the record that took it.
pub(super) fn given_back(id: EventId, taken: &Record) -> Event {
    Event {
        id,
        kind: taken.event_type.clone().unwrap_or_default(),
        payload: taken.payload.clone(),
        at: taken.moment.unwrap_or(taken.at),
    }
}
