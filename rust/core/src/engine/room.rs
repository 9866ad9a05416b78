//! Who waits until there is room (`on_overload="wait"`), and how that ends.
//!
//! A creation that is to wait is kept as it was submitted and decided again when its chances have
//! changed: there are places for it, or the moment that the creation rate gave it has come. What it
//! is promised meanwhile admission keeps under its ticket, in the order of tickets, so nobody who
//! came later, or does not wait, is let in before it. Deciding costs a look at every item, so
//! nothing is decided in vain each time that any slot comes free.
//!
//! Invariant: whoever gives up before it is let in is never let in, wherever its creation is by
//! then; and once the engine drains nobody is let in who waited. All who still wait are told so.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{Core, Due};
use crate::admission::{Who, Wish};
use crate::codes;
use crate::ids::Micros;
use crate::note::{Data, Note};
use crate::submission::{Command, KnownIds, Submission};

/// What is to be forgotten of one that waited: its namespace and workflow.
type Promised = Option<(u32, u32)>;

/// A creation that waits.
#[derive(Debug)]
struct Guest {
    creation: Command,
    found: KnownIds,
    namespace: u32,
    workflow: u32,
    /// The moment that the creation rate gave it.
    at: Option<Micros>,
}

/// Those who wait, by ticket: in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    guests: BTreeMap<u64, Guest>,
    /// Creations that are on their way to be decided again, or looked up, by ticket.
    pub out: FxHashMap<u64, Promised>,
    /// Places or slots came free since they were decided.
    pub made: bool,
    /// Whose moments have come.
    pub due: Vec<u64>,
    /// Limits are others, or the clock has jumped: everything is to be decided again.
    pub changed: bool,
    /// The engine drains.
    pub ended: bool,
}

#[cfg(test)]
impl Rooms {
    /// Returns how many wait.
    pub fn len(&self) -> usize {
        self.guests.len() + self.out.len()
    }
}

impl Core {
    /// Keeps a creation until it is worth another look.
    pub(super) fn wait_for_room(
        &mut self,
        ticket: u64,
        creation: Command,
        found: KnownIds,
        wish: Wish,
    ) {
        if self.rooms.ended {
            self.turn_away(ticket);
            return;
        }
        let (limit, after) = self.admission.promise(wish);
        let at = (limit == "create_rate").then(|| self.now.saturating_add(after));
        if let Some(at) = at {
            self.timers.set(at, ticket, Due::Room);
        }
        let Wish {
            namespace,
            workflow,
            ..
        } = wish;
        let guest = Guest {
            creation,
            found,
            namespace,
            workflow,
            at,
        };
        self.rooms.guests.insert(ticket, guest);
    }

    /// Takes the submissions that are to be decided once more: first those that were decided in
    /// vain, then those that waited for room and may find some now, those who came first first.
    pub fn take_hopeful(&mut self) -> Vec<Submission> {
        let made = std::mem::take(&mut self.rooms.made);
        let mut hopeful = std::mem::take(&mut self.rooms.due);
        if std::mem::take(&mut self.rooms.changed) {
            hopeful = self.rooms.guests.keys().copied().collect();
        } else if made && !self.rooms.guests.is_empty() {
            for workflow in self.admission.waited_for() {
                let startable = self.startable(workflow);
                hopeful.extend(self.admission.hopeful(workflow, startable));
            }
        }
        hopeful.sort_unstable();
        let mut taken = self.take_again();
        taken.extend(hopeful.into_iter().filter_map(|it| self.call_in(it)));
        taken
    }

    fn call_in(&mut self, ticket: u64) -> Option<Submission> {
        let guest = self.leave_room(ticket)?;
        let promised = Some((guest.namespace, guest.workflow));
        self.rooms.out.insert(ticket, promised);
        Some(Command::Again(Box::new(guest.creation), guest.found).into())
    }

    fn leave_room(&mut self, ticket: u64) -> Option<Guest> {
        let guest = self.rooms.guests.remove(&ticket)?;
        if let Some(at) = guest.at {
            self.timers.cancel(at, ticket);
        }
        Some(guest)
    }

    /// This creation is being looked up, and comes again.
    pub(crate) fn expect_again(&mut self, ticket: u64) {
        self.rooms.out.insert(ticket, None);
    }

    /// Whoever asked for this creation wants it no more. One that was let in stays. Returns whether
    /// this one was not, so that no other answer to it comes.
    pub(crate) fn give_up(&mut self, ticket: u64) -> bool {
        let (was_there, promised) = match self.leave_room(ticket) {
            Some(guest) => (true, Some((guest.namespace, guest.workflow))),
            None => match self.rooms.out.remove(&ticket) {
                Some(promised) => (true, promised),
                None => (false, None),
            },
        };
        if let Some((namespace, workflow)) = promised {
            self.admission
                .forget(namespace, workflow, 0, Who::Waits(ticket));
            self.rooms.made = true;
        }
        was_there
    }

    /// The store is short of room from now on, or no longer.
    pub fn set_short(&mut self, short: bool) {
        self.admission.set_short(short);
        self.rooms.changed |= !short;
    }

    /// The engine drains: there will be no room.
    pub(super) fn end_waiting(&mut self) {
        self.rooms.ended = true;
        while let Some((ticket, _)) = self.rooms.guests.first_key_value() {
            let ticket = *ticket;
            self.give_up(ticket);
            self.turn_away(ticket);
        }
    }

    pub(super) fn turn_away(&mut self, ticket: u64) {
        self.say(Note::refuse(ticket, codes::DRAINS, Data::Nothing));
    }
}
