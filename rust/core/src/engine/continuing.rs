//! How an instance goes on as new (L15): one commit, as a restart that keeps nothing and has other
//! params, asked for by the body itself.
//!
//! The body has left by then, and nothing of it runs. What it was not told stays: events that came
//! for waits which it had open are kept again, in their old places, so that none is lost and none
//! comes twice. What it was told is gone with its history. The deadline over the whole instance is
//! the only wait that goes on, under a number of its own, so that no outcome of the old one can be
//! taken for one of the new one.
//!
//! Unlike a restart, which a person asks for, it proves nothing about crashes until the process has
//! outlived it (L11): else a body that begins with one could bring the process down for ever.

use super::Core;
use crate::history::{Kind, Operation, Record, Verdict};
use crate::ids::{InstanceNo, Micros};
use crate::lifecycle::{Effect, Happening};
use crate::store::known::Damaged;
use crate::store::Op;
use crate::submission::Continuation;
use crate::wait::{Event, Source, Wait};

impl Core {
    /// A body has left, and its instance begins anew.
    pub(super) fn continue_as_new(&mut self, no: InstanceNo, how: Continuation) {
        let untold = self.untold(no, &how);
        let Some(untold) = self.or_block(no, untold) else {
            return;
        };
        let body = self.seated(no);
        let limit = how.limit.map(|it| self.left_of(no, it));
        let Some(owed) = self.shift(no, Happening::Continue) else {
            return;
        };
        owed.leaves(&[Effect::CloseWaits, Effect::Supersede]);
        let called = self.close_waits(no);
        let children = self.sentences(no, &called, "has continued as new");
        let recoveries = self.live_mut(no).recoveries;
        self.batch.bytes += how.params.as_ref().map_or(0, |it| it.len());
        let incarnation = self.supersede(no, None, how.params);
        let now = self.now;
        self.push(Op::Append(
            no,
            incarnation,
            crate::erasure::restarted(&[], now),
        ));
        self.push(Op::Append(no, incarnation, begins(how.run, now)));
        for event in untold {
            self.put_back(no, event);
        }
        self.live_mut(no).recoveries = recoveries;
        self.progressed(no);
        if let Some(wait) = limit {
            self.carry_over(no, wait);
        }
        for (child, error) in children {
            self.terminate(child, error);
        }
        self.take_up(no);
        if let Some(note) = body {
            self.say(note);
        }
    }

    /// Returns the events that its waits took and that its body was never told of.
    fn untold(&self, no: InstanceNo, how: &Continuation) -> Result<Vec<Event>, Damaged> {
        let mut events = Vec::new();
        for id in &how.untold {
            events.extend(self.taken_by(no, *id)?);
        }
        for seq in &how.passed {
            events.extend(self.taken_at(no, *seq)?);
        }
        Ok(events)
    }

    /// Returns what is left of a deadline. One that nobody waits for any more is over, and its body
    /// was not told that yet.
    fn left_of(&mut self, no: InstanceNo, deadline: Operation) -> Wait {
        let (id, now) = (self.sequence.draw(), self.now);
        let waits = self.live[&no].mailbox.waits();
        let open = waits.iter().find(|it| it.operation == deadline);
        Wait {
            begun: Some(0),
            id,
            operation: deadline,
            source: Source::Timer,
            opened_at: open.map_or(now, |it| it.opened_at),
            until: Some(open.and_then(|it| it.until).unwrap_or(now)),
        }
    }

    fn carry_over(&mut self, no: InstanceNo, wait: Wait) {
        let live = self.live_mut(no);
        if live.is_inert() {
            // Its timer is set when it goes on.
            let incarnation = live.incarnation;
            live.mailbox.open(wait.clone());
            self.push(Op::Open(no, incarnation, wait));
        } else {
            self.keep_open(no, wait);
        }
    }
}

/// Returns the record with which a run begins.
fn begins(run: u32, at: Micros) -> Record {
    Record {
        operation: Operation {
            kind: Kind::Continue,
            branch: Box::default(),
            name: "run".into(),
            key: None,
            count: run,
        },
        attempt: 0,
        verdict: Verdict::Done,
        started_at: at,
        at,
        begun: Some(0),
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: None,
    }
}
