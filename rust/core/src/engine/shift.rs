//! Changes of state: the table says which, and what has to be done along with each.
//!
//! Effects that concern memory only are done here. The others need facts or payloads: they are
//! [`Owed`], and whoever caused the event names them when it does them, so that a row of the table
//! with an effect that nobody does fails the first time it comes about.

use super::batch::After;
use super::places::Queued;
use super::Core;
use crate::ids::InstanceNo;
use crate::lifecycle::{react, Effect, Happening, Reaction, Status};
use crate::queue::{Class, Entry};

/// Effects of the table that are left to whoever caused the event.
#[derive(Debug)]
#[must_use = "what the table says has to be done"]
pub(super) struct Owed(&'static [Effect]);

impl Owed {
    /// The caller does these effects, which are all that are owed.
    pub(super) fn leaves(self, done: &[Effect]) {
        let left = |it: &&Effect| {
            matches!(
                it,
                Effect::Rearm
                    | Effect::CloseWaits
                    | Effect::TellParents
                    | Effect::Supersede
                    | Effect::Erase
            )
        };
        assert!(
            self.0.iter().filter(left).eq(done),
            "the table owes {:?}, and {done:?} are done",
            self.0.iter().filter(left).collect::<Vec<_>>()
        );
    }

    /// The caller has nothing to do.
    pub(super) fn leaves_nothing(self) {
        self.leaves(&[]);
    }
}

impl Core {
    /// Changes the state by the table and carries out the effects that concern memory only; returns
    /// those that are left to do. `None`, having changed nothing: the table refuses, or it would go
    /// on without code: whatever brings an instance back into a queue or a slot comes through here
    /// (L12).
    pub(super) fn shift(&mut self, no: InstanceNo, event: Happening) -> Option<Owed> {
        let live = self.live.get_mut(&no).expect("the caller found it live");
        let from = live.status;
        let (to, effects) = match react(from, event) {
            Reaction::Goes(to, effects) => (to, effects),
            // As long as anybody looks it has ended.
            Reaction::Gone(effects) => (Status::Terminated, effects),
            Reaction::Stays | Reaction::Refused => return None,
        };
        if !live.has_code && to.needs_code() {
            return None;
        }
        live.status = to;
        if to == Status::Running {
            live.class = Class::Woken; // from now on it is none that never ran
        }
        self.waiting += u64::from(to == Status::Waiting);
        self.waiting -= u64::from(from == Status::Waiting);
        for effect in effects {
            let live = self.live.get_mut(&no).expect("effects keep it");
            match effect {
                Effect::Mark => live.marked = true,
                Effect::Unmark => live.marked = false,
                Effect::FreeSlot => {
                    if std::mem::take(&mut live.slot) {
                        self.gate.give_back(live.workflow);
                        self.contended = Queued::Unknown;
                        self.rooms.made = true;
                    }
                }
                Effect::Enqueue => {
                    // One that was paused before it ever ran keeps its place when it goes on.
                    let goes_on = event == Happening::Resume && from == Status::Paused;
                    let never_ran = goes_on && live.class == Class::New;
                    if !never_ran {
                        live.class = Class::Woken;
                    }
                    let (workflow, rank) = (live.workflow, live.rank());
                    let entry = Entry::new(no, live.key);
                    self.admission.joined(workflow);
                    self.queues.push(workflow, rank, entry);
                }
                Effect::Dequeue => {
                    let (workflow, rank) = (live.workflow, live.rank());
                    let (entry, count) = (Entry::new(no, live.key), live.recoveries);
                    if from == Status::Queued
                        && (self.queues.remove(workflow, rank, entry)
                            || self.suspects.release(count, no))
                    {
                        self.admission.left(workflow);
                        self.rooms.made = true;
                    }
                }
                Effect::Disarm => {
                    for wait in live.mailbox.waits() {
                        if let Some(until) = wait.until {
                            self.timers.cancel(until, wait.id);
                        }
                    }
                }
                Effect::Unseat => {
                    live.resident = false;
                    self.then(After::Leaves(no));
                }
                // Owed.
                Effect::Rearm
                | Effect::CloseWaits
                | Effect::TellParents
                | Effect::Supersede
                | Effect::Erase => {}
            }
        }
        Some(Owed(effects))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shift_does_itself_is_not_owed() {
        Owed(&[Effect::Unmark, Effect::FreeSlot, Effect::Unseat]).leaves_nothing();
        Owed(&[Effect::Unmark, Effect::CloseWaits, Effect::TellParents])
            .leaves(&[Effect::CloseWaits, Effect::TellParents]);
    }

    #[test]
    #[should_panic(expected = "the table owes [Rearm], and [] are done")]
    fn an_effect_that_nobody_does_is_found() {
        Owed(&[Effect::Rearm, Effect::Enqueue]).leaves_nothing();
    }
}
