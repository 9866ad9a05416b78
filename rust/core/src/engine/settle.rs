//! How a wait ends: its outcome becomes a record, and whoever waited is woken.
//!
//! E3: deadline and arrival are decided here, one after the other, and the first closes the wait.

use super::{After, Core, Due};
use crate::history::{Begun, Kind, Record, Verdict};
use crate::ids::{InstanceNo, Micros, WaitId};
use crate::limits::BATCH_TIMERS;
use crate::note::Settled;
use crate::store::Op;
use crate::wait::{ApprovalStatus, Event, Source, Wait};

/// What a wait resolved to.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub verdict: Option<Verdict>,
    pub kind: Option<Box<str>>,
    pub payload: Option<Box<[u8]>>,
    pub event: Option<u64>,
    /// When the event or the decision came, which may be long before its wait (E5).
    pub came_at: Option<Micros>,
}

impl Resolved {
    pub(super) fn new(verdict: Verdict) -> Self {
        Self {
            verdict: Some(verdict),
            ..Self::default()
        }
    }

    pub(super) fn failed(kind: &str) -> Self {
        Self {
            kind: Some(kind.into()),
            ..Self::new(Verdict::Failed)
        }
    }

    pub(super) fn of(event: Event) -> Self {
        Self {
            verdict: Some(Verdict::Done),
            kind: Some(event.kind),
            payload: event.payload,
            event: Some(event.id),
            came_at: Some(event.at),
        }
    }
}

impl Core {
    /// Opens a wait, or settles it at once with an event that was kept or a deadline that is over.
    pub(super) fn open(&mut self, no: InstanceNo, wait: Wait) {
        let event = self.live_mut(no).mailbox.take_first(&wait.source);
        if let Some(event) = event {
            self.push(Op::Take(no, event.id));
            self.live_mut(no).taken.insert(wait.id, (event.id, None));
            self.record_outcome(no, wait, &Resolved::of(event));
        } else if matches!(wait.source, Source::Timer | Source::Instant)
            && wait.until.is_some_and(|at| at <= self.now)
        {
            self.record_outcome(no, wait, &Resolved::new(Verdict::Done));
        } else {
            self.keep_open(no, wait);
        }
    }

    pub(super) fn keep_open(&mut self, no: InstanceNo, wait: Wait) {
        let incarnation = self.live_mut(no).incarnation;
        self.push(Op::Open(no, incarnation, wait.clone()));
        self.hook(no, &wait);
        self.live_mut(no).mailbox.open(wait);
    }

    /// Settles an open wait; one that is closed already stays as it is.
    pub(super) fn settle(&mut self, no: InstanceNo, id: WaitId, outcome: &Resolved) {
        let Some(live) = self.live.get_mut(&no) else {
            return;
        };
        assert!(!live.is_inert(), "nothing settles while it is inert");
        let Some(wait) = live.mailbox.close(id) else {
            return;
        };
        self.unhook(no, &wait);
        self.push(Op::Close(no, id));
        if matches!(wait.source, Source::Retry(_)) {
            self.wake(no);
            let told = self.told(no, id, &Resolved::new(Verdict::Done));
            self.then(told);
        } else {
            self.record_outcome(no, wait, outcome);
        }
    }

    /// Appends the outcome of a wait that is not open any more.
    pub(super) fn record_outcome(&mut self, no: InstanceNo, wait: Wait, outcome: &Resolved) {
        let (operation, begun) = (wait.operation, wait.begun);
        let called = match wait.source {
            Source::Child(child) if operation.kind == Kind::Call => Some(child),
            _ => None,
        };
        let what = Begun { operation, begun };
        let mut record = self.outcome_record(what, wait.opened_at, outcome);
        record.event = record.event.or(called);
        self.append_outcome(no, wait.id, record, outcome);
        self.wake(no);
    }

    /// Appends the outcome of an operation that has no attempts, and tells it under this number.
    pub(super) fn conclude(
        &mut self,
        no: InstanceNo,
        number: u64,
        what: Begun,
        started_at: Micros,
        outcome: &Resolved,
    ) {
        let record = self.outcome_record(what, started_at, outcome);
        self.append_outcome(no, number, record, outcome);
    }

    fn append_outcome(&mut self, no: InstanceNo, number: u64, record: Record, outcome: &Resolved) {
        let incarnation = self.live_mut(no).incarnation;
        self.batch.bytes += record.payload.as_ref().map_or(0, |it| it.len());
        let told = self.told(no, number, outcome);
        self.push_then(Op::Append(no, incarnation, record), told);
        self.progressed(no);
    }

    pub(super) fn outcome_record(
        &self,
        what: Begun,
        started_at: Micros,
        outcome: &Resolved,
    ) -> Record {
        Record {
            operation: what.operation,
            attempt: 0,
            verdict: outcome.verdict.expect("an outcome has a verdict"),
            started_at,
            at: self.now,
            begun: what.begun,
            erases: None,
            moment: outcome.came_at,
            event: outcome.event,
            event_type: outcome.kind.clone(),
            payload: outcome.payload.clone(),
        }
    }

    /// Returns what follows: a body is told an outcome.
    fn told(&mut self, no: InstanceNo, number: u64, outcome: &Resolved) -> After {
        After::Settled(Box::new(self.settled_as(no, number, outcome)))
    }

    /// Returns what a body is told of an outcome.
    pub(super) fn settled_as(
        &mut self,
        no: InstanceNo,
        number: u64,
        outcome: &Resolved,
    ) -> Settled {
        let batch = self.batch.number;
        self.live_mut(no).told = batch;
        Settled {
            no,
            number,
            seq: 0,
            verdict: outcome.verdict.expect("an outcome has a verdict"),
            kind: outcome.kind.clone(),
            payload: outcome.payload.clone(),
            at: self.now,
            came_at: outcome.came_at,
        }
    }

    /// An event arrives whose sender is sure to be first: it is taken by a wait, or kept.
    pub(super) fn arrive(&mut self, no: InstanceNo, event: Event) {
        let live = self.live_mut(no);
        let inert = live.is_inert();
        let receiver = live.mailbox.receiver(&event.kind).filter(|_| !inert);
        if let Some(id) = receiver {
            self.live_mut(no).taken.insert(id, (event.id, None));
            self.settle(no, id, &Resolved::of(event));
        } else {
            self.batch.bytes += event.payload.as_ref().map_or(0, |it| it.len());
            self.push(Op::Buffer(no, event.clone(), None));
            self.live_mut(no).mailbox.keep(event);
        }
    }

    /// Gives kept events to the waits they fit.
    pub(super) fn fit(&mut self, no: InstanceNo) {
        loop {
            let Some(live) = self.live.get_mut(&no).filter(|it| !it.is_inert()) else {
                return;
            };
            let Some((id, _)) = live.mailbox.fit() else {
                return;
            };
            let source = live.mailbox.wait(id).map(|it| it.source.clone());
            let source = source.expect("fit names an open wait");
            let event = live.mailbox.take(&source).expect("fit names a kept event");
            self.push(Op::Take(no, event.id));
            self.live_mut(no).taken.insert(id, (event.id, None));
            self.settle(no, id, &Resolved::of(event));
        }
    }

    /// Lets what is due happen, in due order, at a bounded rate (T1).
    pub(super) fn fire_due(&mut self) {
        if self.reads_letters() {
            return;
        }
        for _ in 0..BATCH_TIMERS {
            let Some((number, due)) = self.timers.take_due(self.now) else {
                break;
            };
            match due {
                Due::StartAt(workflow, rank, entry) => self.ripen(workflow, rank, entry),
                Due::Wait(no) => self.run_out(no, number),
                Due::Proof(no) => self.prove(no),
                Due::Room => self.rooms.due.push(number),
                Due::Schedule => self.wake_schedule(number),
            }
        }
    }

    fn run_out(&mut self, no: InstanceNo, id: WaitId) {
        let live = self.live.get(&no).filter(|it| !it.is_inert());
        let Some(wait) = live.and_then(|it| it.mailbox.wait(id)) else {
            return;
        };
        let verdict = match &wait.source {
            Source::Timer | Source::Instant | Source::Retry(_) => Verdict::Done,
            Source::Event(_) | Source::Child(_) => Verdict::TimedOut,
            Source::Approval(approval) => {
                let approval = approval.clone();
                self.close_approval(&approval, ApprovalStatus::TimedOut);
                Verdict::TimedOut
            }
        };
        self.settle(no, id, &Resolved::new(verdict));
    }
}
