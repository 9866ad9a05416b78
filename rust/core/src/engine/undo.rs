//! How an instance undoes what it did, and then ends (L8).
//!
//! That it is to is one commit: its state says so from then on, and a record says why, so that no
//! crash forgets it. Nothing of what it waited for is waited for any more, and those that it called
//! end with it, undoing what they did if somebody wanted that. A body that is in memory first lets
//! what runs of it come to an end; then it leaves, and the instance is queued and replayed, by which
//! its body registers what is to be undone and begins nothing. What it begins before it has heard of
//! this comes to nothing. What is undone, and in which order, is the body's side of it; from here it
//! is records like others. Until its end it is neither paused nor restarted.

use super::{After, Core};
use crate::codes;
use crate::history::{Kind, Operation, Record, Verdict};
use crate::ids::InstanceNo;
use crate::letter::{Address, Message};
use crate::lifecycle::{Effect, Happening, Status};
use crate::queue::Class;
use crate::store::Op;
use crate::submission::{Speech, Why};
use crate::undo::Undo;

impl Core {
    /// Whether an instance is to undo its steps, or does.
    pub(super) fn undoes(&self, no: InstanceNo) -> bool {
        let live = self.live.get(&no);
        live.is_some_and(|it| it.undo == Some(Undo::Running))
    }

    /// Terminates an instance, and down the tree those it called, when they have undone what they
    /// did. One that never ran has nothing to undo.
    pub(super) fn terminate_undoing(&mut self, no: InstanceNo, error: Box<[u8]>) {
        let mut doomed = vec![(no, error)];
        while let Some((no, error)) = doomed.pop() {
            if let Some(range) = self.afar(no) {
                self.leave_letter(Address::Owner(range), Message::Undo(no, error));
                continue;
            }
            if !self.summon(no) {
                continue;
            }
            let live = self.live_mut(no);
            if live.undo.is_some() {
                self.go_on_undoing(no);
            } else if live.class == Class::New && live.status != Status::Running {
                live.undo = Some(Undo::Complete);
                self.terminate(no, error);
            } else {
                let called = self.begin_undoing(no, error);
                doomed.extend(self.sentences(no, &called, "undoes what it did"));
            }
        }
    }

    /// Somebody wants it once more: what keeps it from going on does so no longer.
    fn go_on_undoing(&mut self, no: InstanceNo) {
        let live = self.live_mut(no);
        if live.is_inert() && live.has_code {
            self.go_on(no);
        }
    }

    /// From now on it undoes. Returns the children that it called and waits for no longer.
    fn begin_undoing(&mut self, no: InstanceNo, error: Box<[u8]>) -> Vec<InstanceNo> {
        let live = self.live_mut(no);
        let runs = matches!(live.status, Status::Running | Status::WaitingForPause);
        let resident = live.resident;
        // What was cut short, by a block or by the end of an engine, may have done something.
        live.interrupted |= match live.status {
            Status::Blocked => true,
            Status::Running => !resident,
            _ => live.class == Class::Resumed,
        };
        let is_inert = live.is_inert();
        let body = if runs { None } else { self.seated(no) };
        let called = self.close_waits(no);
        self.intend(no, error, Some(codes::TERMINATED));
        match self.shift(no, Happening::Undo) {
            Some(owed) => {
                owed.leaves(&[Effect::CloseWaits]);
                if runs && !resident {
                    self.keep_interruption(no);
                } else if !runs {
                    // It was not started since, so no start is taken back (L11).
                    let live = self.live_mut(no);
                    live.marked |= live.interrupted;
                    if is_inert {
                        (live.recoveries, live.proof) = (0, None); // as when it is resumed
                    }
                }
                self.persist(no, None, None);
            }
            // It goes on when its code is there (L12).
            None => self.persist(no, Some(Why::from(codes::MISSING_CODE)), None),
        }
        if let Some(note) = body {
            self.say(note);
        }
        if runs && resident {
            self.then(After::Undoes(no));
        }
        called
    }

    /// It is to undo, because of this error: so it is with the next state that is persisted. The
    /// word says that somebody wants it.
    fn intend(&mut self, no: InstanceNo, error: Box<[u8]>, word: Option<&str>) {
        let now = self.now;
        let live = self.live_mut(no);
        live.undo = Some(Undo::Running);
        let incarnation = live.incarnation;
        self.batch.bytes += error.len();
        let record = Record {
            event_type: word.map(Into::into),
            ..intent(error, now)
        };
        self.push(Op::Append(no, incarnation, record));
    }

    /// What ran of a body has ended, and it has left: it is replayed, and undoes. With an error it is
    /// that what the body raised is why it does; else somebody wanted it before.
    pub(super) fn body_undoes(&mut self, no: InstanceNo, error: Option<Box<[u8]>>) {
        let called = self.close_waits(no);
        match error {
            Some(error) if self.live[&no].undo.is_none() => self.intend(no, error, None),
            _ => {}
        }
        self.leave(no, Happening::Replay);
        self.orphan(no, &called, "has failed");
    }

    /// All that could be undone is: it ends.
    pub(super) fn undone(&mut self, no: InstanceNo, how: Undo, status: Status, error: Box<[u8]>) {
        let live = self.live_mut(no);
        if live.undo != Some(Undo::Running) || live.status != Status::Running {
            return;
        }
        live.undo = Some(how);
        match status {
            Status::Terminated => self.terminate(no, error),
            _ => self.finish(no, Status::Errored, Some(error), None),
        }
    }
}

impl Speech {
    /// Whether a body begins something with this that is no undo.
    pub(super) fn begins(&self) -> bool {
        match self {
            Self::Open(wait) | Self::Ask(wait, _) => wait.operation.kind != Kind::Undo,
            Self::Await(..) | Self::Post(..) | Self::Call(..) | Self::CreateChildren(..) => true,
            _ => false,
        }
    }
}

/// Returns the record that says that an instance undoes its steps from here on, and why.
fn intent(error: Box<[u8]>, now: crate::ids::Micros) -> Record {
    Record {
        operation: Operation {
            kind: Kind::Undo,
            branch: Box::default(),
            name: Box::default(),
            key: None,
            count: 0,
        },
        attempt: 0,
        verdict: Verdict::Started,
        started_at: now,
        at: now,
        begun: None,
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: Some(error),
    }
}
