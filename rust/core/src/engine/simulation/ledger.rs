//! How operations become the truth: what each of them changes.

use rustc_hash::{FxHashMap, FxHashSet};

use super::facts::Truly;
use super::program::{account, namespace, Account};
use super::said::Stamp;
use super::truth::Truth;
use crate::codes::HELD_BACK;
use crate::history::{Kind, Record, Stored, Verdict};
use crate::ids::{EventId, InstanceNo, Key, Micros, Seq};
use crate::lifecycle::Status;
use crate::store::{NewInstance, Outcome, Transition};
use crate::undo::Undo;
use crate::wait::{Event, Source, Wait};

impl Truth {
    pub(super) fn number(&mut self, number: u64) {
        self.numbers.insert(number);
        self.highest = self.highest.max(number);
    }

    pub(super) fn create(&mut self, new: &NewInstance) -> Outcome {
        let key = Key::new(&new.namespace, &new.workflow, &new.id);
        let account = account(&new.namespace, &new.workflow);
        if let Some(no) = self.names.get(&key.0).copied() {
            self.commit.refused.push(new.no);
            self.commit.turned_away[account] += 1;
            self.peak(account);
            return Outcome::Exists(no, self.all[&no].status);
        }
        self.number(new.no);
        self.names.insert(key.0, new.no);
        let parent = new.parent.and_then(|it| self.all.get(&it));
        let bereft = self.deleted.contains(&key.0) || parent.is_some_and(|it| it.bereft);
        let ticket = new.attributes.as_deref().map(<[u8; 8]>::try_from);
        let ticket = ticket.map(|it| u64::from_le_bytes(it.expect("8 bytes")));
        self.creators.extend(ticket);
        self.waiting.retain(|it, _| Some(*it) != ticket);
        if new.parent.is_none() {
            self.promised.remove(&key.0);
            if let Some(rate) = &mut self.rates[namespace(account)] {
                rate.left -= 1.0;
            }
        }
        let it = Truly {
            no: new.no,
            key,
            id: new.id.clone(),
            account,
            version: new.version.clone(),
            parent: new.parent,
            called: new.called,
            status: new.status,
            marked: new.status == Status::Running,
            incarnation: new.incarnation,
            priority: new.priority,
            start_at: new.start_at,
            started: false,
            recoveries: 0,
            proof: None,
            reason: None,
            step: None,
            holds: false,
            paused_at: 0,
            cut: false,
            was_cut: false,
            place: None,
            waits: Vec::new(),
            events: Vec::new(),
            history: Vec::new(),
            outcomes: FxHashMap::default(),
            attempts: FxHashMap::default(),
            fruits: FxHashMap::default(),
            ended_at: None,
            keep: new.keep,
            undo: None,
            error: None,
            anew: bereft,
            bereft,
            consumed: FxHashMap::default(),
            arrived: FxHashSet::default(),
            last_events: [None; 2],
        };
        self.states[account][new.status as usize] += 1;
        self.all.insert(new.no, it);
        self.commit.touched.push(new.no);
        self.commit.created.push(new.no);
        if new.status == Status::Running {
            self.grant(new.no);
        } else {
            self.queue(new.no);
        }
        Outcome::Done(0)
    }

    pub(super) fn peak(&mut self, account: Account) {
        let queued = self.crowds[account].queued + self.commit.turned_away[account];
        let peak = &mut self.commit.peak[account];
        *peak = queued.max(*peak);
    }

    pub(super) fn append(&mut self, no: InstanceNo, record: &Record) -> Outcome {
        self.last_seq += 1;
        let taken = self.commit.taken.take();
        let closed = self.commit.closed.take();
        let closed = closed.filter(|it| it.1.operation == record.operation);
        if record.verdict == Verdict::Restarted {
            self.rewind(no, record);
            return Outcome::Done(self.last_seq);
        }
        let it = self.all.get_mut(&no).expect("a rule saw it");
        it.history.push(Stored {
            seq: self.last_seq,
            record: record.clone(),
        });
        if let Some(Source::Child(child)) = closed.map(|it| it.1.source) {
            let end = (child, record.verdict, record.event_type.clone());
            self.commit.ends.push(end);
            if record.operation.kind == Kind::Call {
                it.fruits.insert(record.operation.clone(), child);
            }
        }
        if record.verdict.is_outcome() {
            if it.recoveries > 0 && it.proof.is_none() {
                let at = self.now + self.plan.proof;
                it.proof = Some(at);
                self.proofs.insert((at, no));
            }
            let outcome = (self.last_seq, record.verdict);
            it.outcomes.insert(record.operation.clone(), outcome);
        } else if record.verdict != Verdict::Started {
            it.attempts.insert(record.operation.clone(), record.attempt);
        }
        if let Some(event) = record.taken() {
            it.consumed.insert(event, record.operation.clone());
            if taken.is_none() {
                let payload = record.payload.as_deref();
                self.arrive(no, event, payload);
            }
        }
        self.commit.touched.push(no);
        Outcome::Done(self.last_seq)
    }

    pub(super) fn arrive(&mut self, no: InstanceNo, event: EventId, payload: Option<&[u8]>) {
        self.number(event);
        let it = self.all.get_mut(&no).expect("a rule saw it");
        let stamp = payload.and_then(Stamp::read);
        it.arrived.extend(stamp.map(|it| it.name));
        if let Some(stamp) = stamp {
            it.last_events[stamp.lane()] = Some(stamp);
        }
    }

    pub(super) fn open(&mut self, no: InstanceNo, wait: &Wait) {
        self.number(wait.id);
        let it = self.all.get_mut(&no).expect("a rule saw it");
        it.waits.push(wait.clone());
        self.commit.touched.push(no);
    }

    pub(super) fn postpone(&mut self, no: InstanceNo, id: u64, until: Micros) {
        let it = self.all.get_mut(&no).expect("a rule saw it");
        if let Some(wait) = it.waits.iter_mut().find(|it| it.id == id) {
            wait.until = Some(until);
        }
        self.commit.touched.push(no);
    }

    pub(super) fn close(&mut self, no: InstanceNo, id: u64) {
        let it = self.all.get_mut(&no).expect("a rule saw it");
        if let Some(at) = it.waits.iter().position(|it| it.id == id) {
            let wait = it.waits.remove(at);
            if let (Source::Child(child), Kind::Call) = (&wait.source, wait.operation.kind) {
                self.commit.orphans.push(*child);
            }
            self.commit.closings.push((no, wait.clone()));
            self.commit.closed = Some((no, wait));
            self.commit.touched.push(no);
        }
    }

    pub(super) fn buffer(&mut self, no: InstanceNo, event: &Event, has_dedup: bool) -> Outcome {
        let it = self.all.get_mut(&no).expect("a rule saw it");
        if it.status.is_final() {
            return Outcome::Fenced;
        }
        let stamp = event.payload.as_deref().and_then(Stamp::read);
        let known = stamp.is_some_and(|stamp| it.arrived.contains(&stamp.name));
        if has_dedup && known {
            return Outcome::Seen;
        }
        let place = it.events.partition_point(|other| other.id < event.id);
        it.events.insert(place, event.clone());
        let was_taken = it.consumed.remove(&event.id).is_some();
        if !was_taken && !self.returns(no, event.id) {
            self.arrive(no, event.id, event.payload.as_deref());
        }
        if has_dedup {
            self.commit.unjudged.push(event.id);
        }
        self.commit.touched.push(no);
        Outcome::Done(0)
    }

    /// One that came before is not kept, and stays what it is.
    pub(super) fn ask(&mut self, no: InstanceNo, event: EventId, dedup: &str) {
        let it = &self.all[&no];
        if it.events.iter().any(|it| it.id == event) {
            let name = dedup.trim_start_matches('d').parse();
            self.asked.insert((no, name.expect("its name")), event);
        }
    }

    pub(super) fn answer(&mut self, no: InstanceNo, place: Seq, answer: &[u8]) {
        let mut history = self.all[&no].history.iter();
        let taken = history.find(|it| it.seq == place);
        let event = taken.and_then(|it| it.record.taken());
        let wanted = event.filter(|event| {
            let mut asked = self.asked.iter();
            asked.any(|(of, it)| of.0 == no && it == event)
        });
        if let Some(event) = wanted {
            let first = self.answers.entry((no, event));
            first.or_insert_with(|| answer.into());
        }
    }

    pub(super) fn change(&mut self, no: InstanceNo, to: &Transition) {
        let it = self.all.get_mut(&no).expect("a rule saw it");
        let (account, from) = (it.account, it.status);
        let undoes = it.undo.is_none() && to.undo == Some(Undo::Running);
        if it.undo == Some(Undo::Running) {
            self.commit.undid.push(no);
        }
        it.undo = to.undo;
        // What may have been cut short of it counts when it starts: it is replayed.
        it.cut |= undoes && to.marked && to.status == Status::Queued;
        // Its body left before it had taken up that a crash interrupted it.
        let can_run = |it| matches!(it, Status::Running | Status::WaitingForPause);
        let returns = can_run(from) && !can_run(to.status) && to.marked;
        it.cut |= returns;
        let now = self.now;
        if to.status.is_paused() && !from.is_paused() {
            it.paused_at = now;
        } else if from.is_paused() && matches!(to.status, Status::Queued | Status::Running) {
            // L4: what lasts a while lasts as much longer.
            for wait in it.waits.iter().filter(|it| it.source != Source::Instant) {
                let longer = (now - it.paused_at.max(wait.opened_at)).max(0);
                let until = wait.until.map(|it| it.saturating_add(longer));
                self.said.until.extend(until.map(|it| (wait.id, it)));
            }
        }
        it.ended_at = to.status.is_final().then_some(now);
        (it.status, it.marked, it.recoveries) = (to.status, to.marked, to.recoveries);
        if (to.recoveries == 0 && !returns) || to.status.is_final() {
            if let Some(at) = it.proof.take() {
                self.proofs.remove(&(at, no));
            }
        }
        it.error.clone_from(&to.payload);
        it.reason.clone_from(&to.reason);
        it.step.clone_from(&to.step);
        self.commit.touched.push(no);
        self.states[account][from as usize] -= 1;
        self.states[account][to.status as usize] += 1;
        if to.status == Status::Errored {
            self.errored[account].push(now);
        }
        match to.status {
            Status::Running => {
                if !self.has_slot(no) {
                    self.grant(no);
                }
            }
            Status::WaitingForPause => {}
            Status::Queued => {
                self.release(no);
                if undoes {
                    self.unqueue(no); // it stands in line anew
                }
                self.queue(no);
                self.hold_back(no, to.reason.as_deref() == Some(HELD_BACK));
            }
            _ => {
                let quiet = (no, self.all[&no].incarnation);
                self.said.quiet.remove(&quiet);
                self.release(no);
                self.unqueue(no);
                if to.status.is_final() {
                    let it = self.all.get_mut(&no).expect("it is there");
                    it.place = None;
                }
            }
        }
    }
}
