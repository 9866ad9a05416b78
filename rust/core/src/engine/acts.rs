//! What somebody outside does to an instance: whether the table allows it, and what it changes.

use super::decide::Whereabouts;
use super::settle::Resolved;
use super::Core;
use crate::codes;
use crate::failure::recorded;
use crate::history::Verdict;
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::{react, Effect, Happening, Reaction, Status};
use crate::note::{Data, Note};
use crate::registry::View;
use crate::store::Op;
use crate::submission::{Command, Name, Verb};
use crate::wait::Source;

impl Core {
    /// Does this to an instance. Returns it if it has to wait for the next batch.
    pub(super) fn act(&mut self, ticket: u64, name: Box<Name>, verb: Verb) -> Option<Command> {
        let found = self.find(&name);
        match self.or_refuse(ticket, found)? {
            Whereabouts::Unsure => return Some(Command::Act(ticket, name, verb)),
            Whereabouts::Unknown => self.say(Note::refuse(ticket, codes::NOT_FOUND, Data::Nothing)),
            Whereabouts::Final(_, status) => {
                self.say(Note::refuse(ticket, codes::STATE, Data::State(status)));
            }
            Whereabouts::Live(no, key, status) => match verb {
                Verb::Resume => return self.resume(ticket, name, (no, key, status)),
                Verb::Terminate(why) => self.end(ticket, no, key, &why)?,
                Verb::RetryNow => {
                    self.retry_now(no);
                    self.say(Note::reply(ticket, Data::Nothing));
                }
            },
        }
        None
    }

    fn resume(
        &mut self,
        ticket: u64,
        name: Box<Name>,
        (no, key, status): (InstanceNo, Key, Status),
    ) -> Option<Command> {
        if matches!(react(status, Happening::Resume), Reaction::Goes(..)) {
            let refusal = self.without_code(no);
            if let Some(text) = self.or_refuse(ticket, refusal)? {
                self.say(Note::refuse(ticket, codes::MISSING_CODE, Data::Text(text)));
                return None;
            }
            if self.is_settled_by_batch(no) {
                return Some(Command::Act(ticket, name, Verb::Resume));
            }
            self.liven(no, key, &name);
            self.go_on(no);
        }
        self.say(Note::reply(ticket, Data::Nothing));
        None
    }

    fn end(&mut self, ticket: u64, no: InstanceNo, key: Key, why: &str) -> Option<()> {
        self.terminate(no, recorded("InstanceTerminated", why));
        let is_live = |it: View| !it.decided.is_final();
        if self.registry.view(key).is_some_and(is_live) {
            // It never ran, and its row, which says where it is queued, cannot be read.
            let known = self.batch.known.instance(no).map(|_| ());
            self.or_refuse(ticket, known)?;
        }
        self.say(Note::reply(ticket, Data::Nothing));
        Some(())
    }

    /// Retry delays are over. Where a human has to act first, the next attempt comes after that.
    fn retry_now(&mut self, no: InstanceNo) {
        let Some(live) = self.live.get(&no).filter(|it| !it.is_inert()) else {
            return;
        };
        let waits = live.mailbox.waits().iter();
        let delays = waits
            .filter(|it| it.source == Source::Retry)
            .map(|it| it.id);
        for id in delays.collect::<Vec<_>>() {
            self.settle(no, id, &Resolved::new(Verdict::Done));
        }
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
    pub(super) fn go_on(&mut self, no: InstanceNo) {
        let owed = self.shift(no, Happening::Resume);
        owed.expect("the caller asked the table")
            .leaves(&[Effect::Rearm]);
        let live = self.live_mut(no);
        (live.recoveries, live.proof) = (0, None);
        self.persist(no, None, None);
        self.rearm(no);
    }

    /// Sets the timers of all open waits and settles those whose outcome is there already.
    pub(super) fn rearm(&mut self, no: InstanceNo) {
        let waits = self.live_mut(no).mailbox.waits().to_vec();
        for wait in waits {
            self.hook(no, &wait);
            let outcome = match &wait.source {
                Source::Child(child) => self.child_outcome(*child),
                Source::Approval(id) => self.approval_outcome(id),
                Source::Event(_) | Source::Timer | Source::Retry => Ok(None),
            };
            match self.or_block(no, outcome) {
                None => return,
                Some(None) => {}
                Some(Some(outcome)) => self.settle(no, wait.id, &outcome),
            }
        }
        self.fit(no);
    }
}
