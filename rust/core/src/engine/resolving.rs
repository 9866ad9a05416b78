//! How somebody sets the outcome of a step by hand, because nothing else gives it one.
//!
//! A step that was attempted and has no outcome gets this as its outcome, as if its last attempt had
//! come to it. So does one whose failure the instance is blocked for, or whose value its body cannot
//! read: then the record of that counts no more. The body is told by its history alone: one that is
//! in memory leaves it, and is replayed. Nothing is resolved of an instance whose body runs, for then
//! an attempt may be under way that comes to something else.
//!
//! As with a restart, what the batch has changed of an instance comes first.

use super::{After, Core};
use crate::codes;
use crate::erasure::{all_but, restarted};
use crate::history::{Record, Stored, Verdict};
use crate::ids::{InstanceNo, Key, Seq};
use crate::lifecycle::{Happening, Status};
use crate::note::{Data, Note};
use crate::store::known::Need;
use crate::store::{Op, Row};
use crate::submission::Resolution;

/// What is recorded of a step.
struct Tried {
    /// Its last attempt.
    last: Record,
    /// Records that count no more from now on.
    replaced: Vec<Seq>,
}

impl Core {
    /// Sets the outcome of a step. Returns false if it has to wait for the next batch, `None` if it
    /// is refused.
    pub(super) fn resolve(
        &mut self,
        ticket: u64,
        it: &Resolution,
        (no, key, status): (InstanceNo, Key, Status),
    ) -> Option<bool> {
        if matches!(status, Status::Running | Status::WaitingForPause) || status.is_final() {
            self.say(Note::refuse(ticket, codes::STATE, Data::State(status)));
            return None;
        }
        if self.is_changed(no, key) {
            return Some(false);
        }
        let needs = [Need::Instance(no, false), Need::History(no)];
        for need in needs {
            if !self.batch.known.has(need) {
                self.missing.add(need);
                return Some(false);
            }
        }
        let known = self.found_to_restart(no);
        let (row, history) = self.or_refuse(ticket, known)?;
        let tried = match tried(&row, &history, it) {
            Ok(tried) => tried,
            Err(code) => {
                self.say(Note::refuse(ticket, code, Data::Nothing));
                return None;
            }
        };
        self.give_outcome(no, it, tried);
        self.replay_resting(no);
        self.say(Note::reply(ticket, Data::Nothing));
        Some(true)
    }

    fn give_outcome(&mut self, no: InstanceNo, it: &Resolution, tried: Tried) {
        let now = self.now;
        let live = self.live_mut(no);
        let (incarnation, is_inert) = (live.incarnation, live.is_inert());
        let waits = live.mailbox.waits().iter();
        let delay = waits
            .into_iter()
            .find(|wait| wait.operation == it.operation)
            .map(|it| it.id);
        if let Some(wait) = delay.and_then(|id| self.live_mut(no).mailbox.close(id)) {
            if !is_inert {
                self.unhook(no, &wait);
            }
            self.push(Op::Close(no, wait.id));
        }
        if !tried.replaced.is_empty() {
            let record = restarted(&all_but(&tried.replaced), now);
            self.push(Op::Append(no, incarnation, record));
        }
        let record = Record {
            verdict: it.verdict,
            at: now,
            moment: None,
            event_type: None,
            payload: Some(it.payload.clone()),
            ..tried.last
        };
        self.batch.bytes += it.payload.len();
        self.push(Op::Append(no, incarnation, record));
        self.progressed(no);
    }

    /// One that waits, or is queued after that, goes on from its history.
    fn replay_resting(&mut self, no: InstanceNo) {
        let status = self.live_mut(no).status;
        if !matches!(status, Status::Waiting | Status::Queued) {
            return;
        }
        let body = self.seated(no);
        if status == Status::Waiting {
            let owed = self.shift(no, Happening::Wake);
            owed.expect("a waiting one can be woken").leaves_nothing();
            self.persist(no, None, None);
        }
        self.live_mut(no).resident = false;
        self.then(After::Leaves(no));
        if let Some(note) = body {
            self.say(note);
        }
    }
}

/// Returns what is recorded of the step that is to be resolved, or the word for why it is not.
fn tried(row: &Row, history: &[Stored], it: &Resolution) -> Result<Tried, &'static str> {
    let of = || {
        history
            .iter()
            .filter(|at| at.record.operation == it.operation)
    };
    let Some(last) = of().next_back() else {
        return Err(codes::NO_STEP);
    };
    let last = last.record.clone();
    let outcome = of().find(|at| at.record.verdict.is_outcome());
    let replaced = match outcome {
        None => Vec::new(),
        Some(had) if is_stuck_at(row, had.record.verdict, it) => vec![had.seq],
        Some(_) => return Err(codes::RESOLVED),
    };
    Ok(Tried { last, replaced })
}

/// Whether an outcome is what an instance is blocked for, and another is not.
fn is_stuck_at(row: &Row, had: Verdict, it: &Resolution) -> bool {
    let is_for = |code| row.status == Status::Blocked && row.reason.as_deref() == Some(code);
    let failed = had == Verdict::Failed && it.verdict == Verdict::Done && is_for(BODY_FAILED);
    let at = row.step.as_deref() == Some(&*it.operation.name);
    failed || (had == Verdict::Done && at && is_for(UNDECODABLE))
}

/// Why an instance is blocked: its body raised.
const BODY_FAILED: &str = "body_failed";
/// Why an instance is blocked: what is recorded cannot become today's type.
const UNDECODABLE: &str = "undecodable";
