//! Who may enter now, and who waits until there is room.
//!
//! A batch that is to wait (`on_overload="wait"`) is kept as it was submitted and decided again when
//! its chances have changed: there are places for it, or the moment that the creation rate gave it
//! has come, which it keeps meanwhile since it is known by its ticket. Deciding costs a look at
//! every item, so nothing is decided in vain each time that any slot comes free. Whoever still
//! waits when the engine ends is told so.

use super::{Core, Due};
use crate::admission::{Verdict, Wish};
use crate::ids::Micros;
use crate::note::{Data, Note};
use crate::submission::Submission;

/// What a batch waits for.
#[derive(Debug, Clone, Copy)]
enum Lacks {
    /// So many places, less the slots that are free then, for its workflow.
    Places(u32, u32),
    /// The moment that the creation rate gave it.
    Moment,
}

/// A batch that waits.
#[derive(Debug)]
struct Guest {
    batch: Submission,
    lacks: Lacks,
}

/// Those who wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    guests: Vec<Guest>,
    /// Places or slots came free since they were decided.
    pub made: bool,
    /// A moment has come.
    pub due: bool,
    /// Limits are others, or the clock has jumped: everything is to be decided again.
    pub changed: bool,
}

#[cfg(test)]
impl Rooms {
    /// Returns how many wait.
    pub fn len(&self) -> usize {
        self.guests.len()
    }
}

impl Core {
    /// Decides about `count` creations, of which `queued` need a place in the queue.
    pub(super) fn entry(
        &mut self,
        workflow: u32,
        count: u32,
        queued: u32,
        who: Option<u64>,
    ) -> Verdict {
        match self.admission.has_room() {
            Verdict::Overloaded(..) if count == 0 => {}
            Verdict::Overloaded(limit, after) => return Verdict::Overloaded(limit, after),
            Verdict::Admitted => {}
        }
        self.admission.admit(Wish {
            namespace: self.gate.namespace(workflow),
            workflow,
            count,
            queued,
            who,
        })
    }

    /// Keeps a batch of so many creations until it is worth another look. `moment` says in how
    /// many microseconds the creation rate lets it in, if that is what refused it.
    pub(super) fn wait_for_room(
        &mut self,
        ticket: u64,
        batch: Submission,
        workflow: u32,
        count: u32,
        moment: Option<Micros>,
    ) {
        let lacks = match moment {
            None => Lacks::Places(workflow, count),
            Some(after) => {
                let at = self.now.saturating_add(after);
                self.timers.set(at, ticket, Due::Room);
                Lacks::Moment
            }
        };
        self.rooms.guests.push(Guest { batch, lacks });
    }

    /// Takes the submissions that waited for room and may find some now.
    pub fn take_hopeful(&mut self) -> Vec<Submission> {
        let made = std::mem::take(&mut self.rooms.made);
        let due = std::mem::take(&mut self.rooms.due);
        let changed = std::mem::take(&mut self.rooms.changed);
        if self.rooms.guests.is_empty() || !(made || due || changed) {
            return Vec::new();
        }
        let mut hopeful = Vec::new();
        for it in std::mem::take(&mut self.rooms.guests) {
            let hopes = match it.lacks {
                Lacks::Moment => due,
                Lacks::Places(workflow, count) => {
                    made && {
                        let queued = count.saturating_sub(self.startable(workflow));
                        self.admission.has_places(workflow, queued)
                    }
                }
            };
            if changed || hopes {
                hopeful.push(it.batch);
            } else {
                self.rooms.guests.push(it);
            }
        }
        hopeful
    }

    /// The store is short of room from now on, or no longer.
    pub fn set_short(&mut self, short: bool) {
        self.admission.set_short(short);
        self.rooms.changed |= !short;
    }

    /// The engine ends: there will be no room.
    pub(super) fn refuse_hopeless(&mut self) {
        for hopeless in std::mem::take(&mut self.rooms.guests) {
            if let Submission::CreateBatch(ticket, ..) = hopeless.batch {
                self.say(Note::refuse(ticket, "closed", Data::Nothing));
            }
        }
    }
}
