//! The life of an instance, as a table: state × event → state and effects.
//!
//! Every legal change is a row below; a pair without a row is refused and changes nothing. The
//! effects name what else has to happen; this file does not know who does it or how.

/// The states of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Has no slot yet.
    Queued = 0,
    /// Has a slot; its body may run.
    Running = 1,
    /// Every open operation is a wait; holds no slot.
    Waiting = 2,
    /// Asked to pause; running steps finish.
    WaitingForPause = 3,
    /// Paused.
    Paused = 4,
    /// Needs a human.
    Blocked = 5,
    /// Returned.
    Complete = 6,
    /// Raised.
    Errored = 7,
    /// Was stopped.
    Terminated = 8,
}

impl Status {
    /// All states, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::WaitingForPause,
        Self::Paused,
        Self::Blocked,
        Self::Complete,
        Self::Errored,
        Self::Terminated,
    ];

    /// Returns what the API calls it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::WaitingForPause => "waiting_for_pause",
            Self::Paused => "paused",
            Self::Blocked => "blocked",
            Self::Complete => "complete",
            Self::Errored => "errored",
            Self::Terminated => "terminated",
        }
    }

    /// Returns the state with this stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Returns whether nothing can change any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        self >= Self::Complete
    }

    /// Returns whether it is paused, or is to be.
    #[must_use]
    pub fn is_paused(self) -> bool {
        matches!(self, Self::WaitingForPause | Self::Paused)
    }

    /// Returns whether its code may run, or will, without anybody doing anything (L12).
    #[must_use]
    pub fn needs_code(self) -> bool {
        !self.is_final() && !matches!(self, Self::Paused | Self::Blocked)
    }
}

/// What can happen to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Happening {
    /// The gatekeeper granted it a slot.
    Start,
    /// Its body says that every open operation is a wait.
    Quiet,
    /// A wait was settled.
    Wake,
    /// Its body returned.
    Complete,
    /// Its body raised.
    Fail,
    /// It cannot go on without a human.
    Block,
    /// Somebody pauses it.
    Pause,
    /// The last running step of a pausing instance ended.
    Drained,
    /// Somebody resumes it.
    Resume,
    /// Somebody terminates it.
    Terminate,
    /// It is to undo what it did, and then to end.
    Undo,
    /// Somebody restarts it.
    Restart,
    /// Its body has ended, and goes on from the start with other params (L15).
    Continue,
    /// Somebody deletes it.
    Delete,
    /// Somebody sends it an event.
    Send,
    /// The engine shuts down and unwound its body (L14).
    Release,
    /// Its body was unwound to stop an attempt, and runs again from its history.
    Replay,
}

impl Happening {
    /// All events.
    pub const ALL: [Self; 17] = [
        Self::Start,
        Self::Quiet,
        Self::Wake,
        Self::Complete,
        Self::Fail,
        Self::Block,
        Self::Pause,
        Self::Drained,
        Self::Resume,
        Self::Terminate,
        Self::Undo,
        Self::Restart,
        Self::Continue,
        Self::Delete,
        Self::Send,
        Self::Release,
        Self::Replay,
    ];
}

/// What has to be done along with a change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Body code may run from now on: the running mark becomes durable (R3).
    Mark,
    /// No body code runs any more.
    Unmark,
    /// The slot goes back to the gatekeeper (C6).
    FreeSlot,
    /// It joins the queue, ahead of new ones (C4).
    Enqueue,
    /// Timers of its waits stop; settled waits and events are kept for later.
    Disarm,
    /// Timers run again; what happened meanwhile settles its waits.
    Rearm,
    /// Open waits are closed for good.
    CloseWaits,
    /// Whoever waits for its end is told.
    TellParents,
    /// Its body may not go on and leaves memory.
    Unseat,
    /// A new incarnation begins: whatever the old one still sends changes nothing (D6).
    Supersede,
    /// It leaves the queue.
    Dequeue,
    /// Everything stored of it goes.
    Erase,
}

/// What an event does in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reaction {
    /// It goes to this state, with these effects.
    Goes(Status, &'static [Effect]),
    /// Nothing to do, no error.
    Stays,
    /// It is gone, with these effects.
    Gone(&'static [Effect]),
    /// `InvalidState`: nothing changes.
    Refused,
}

use Effect::{
    CloseWaits, Dequeue, Disarm, Enqueue, Erase, FreeSlot, Mark, Rearm, Supersede, TellParents,
    Unmark, Unseat,
};
use Reaction::{Goes, Gone, Stays};
use Status::{
    Blocked, Complete, Errored, Paused, Queued, Running, Terminated, Waiting, WaitingForPause,
};

const ENDED: &[Effect] = &[Unmark, FreeSlot, CloseWaits, TellParents, Unseat];
const KILLED: &[Effect] = &[
    Unmark,
    FreeSlot,
    Dequeue,
    CloseWaits,
    TellParents,
    Supersede,
    Unseat,
];
const AGAIN: &[Effect] = &[Unmark, Dequeue, CloseWaits, Supersede, Unseat, Enqueue];
const PAUSED_ANEW: &[Effect] = &[Unmark, FreeSlot, CloseWaits, Supersede, Unseat];
const REPLAYED: &[Effect] = &[Unmark, Dequeue, CloseWaits, Unseat, Enqueue];
const ERASED: &[Effect] = &[
    Unmark,
    FreeSlot,
    Dequeue,
    CloseWaits,
    TellParents,
    Supersede,
    Unseat,
    Erase,
];
#[cfg(test)]
const FINAL: &[Status] = &[Complete, Errored, Terminated];
const ACTIVE: &[Status] = &[Running, WaitingForPause];

/// THE table. A pair that no row names is refused.
const TABLE: &[(Happening, &[Status], Reaction)] = &[
    (Happening::Start, &[Queued], Goes(Running, &[Mark])),
    (
        Happening::Quiet,
        &[Running],
        Goes(Waiting, &[Unmark, FreeSlot]),
    ),
    // Its body says when it has left.
    (Happening::Quiet, &[WaitingForPause], Stays),
    (Happening::Wake, &[Waiting], Goes(Queued, &[Enqueue])),
    (
        Happening::Wake,
        &[Queued, Running, WaitingForPause, Paused, Blocked],
        Stays,
    ),
    (Happening::Complete, ACTIVE, Goes(Complete, ENDED)),
    (Happening::Fail, ACTIVE, Goes(Errored, ENDED)),
    (
        Happening::Block,
        &[Queued, Running, Waiting, WaitingForPause],
        Goes(Blocked, &[Unmark, FreeSlot, Dequeue, Disarm, Unseat]),
    ),
    (Happening::Block, &[Blocked], Stays),
    (
        Happening::Pause,
        &[Queued, Waiting],
        Goes(Paused, &[Dequeue, Disarm, Unseat]),
    ),
    (
        Happening::Pause,
        &[Running],
        Goes(WaitingForPause, &[Disarm]),
    ),
    (Happening::Pause, &[WaitingForPause, Paused, Blocked], Stays),
    (
        Happening::Drained,
        &[WaitingForPause],
        Goes(Paused, &[Unmark, FreeSlot, Disarm, Unseat]),
    ),
    (Happening::Resume, &[Queued, Running, Waiting], Stays),
    (
        Happening::Resume,
        &[WaitingForPause],
        Goes(Running, &[Rearm]),
    ),
    (
        Happening::Resume,
        &[Paused, Blocked],
        Goes(Queued, &[Rearm, Enqueue]),
    ),
    (
        Happening::Terminate,
        &[Queued, Running, Waiting, WaitingForPause, Paused, Blocked],
        Goes(Terminated, KILLED),
    ),
    // L8: what runs of it comes to an end first; all others are replayed at once.
    (Happening::Undo, ACTIVE, Goes(Running, &[CloseWaits])),
    (
        Happening::Undo,
        &[Queued, Waiting, Paused, Blocked],
        Goes(Queued, REPLAYED),
    ),
    // L6: a running instance keeps its slot while it starts over.
    (
        Happening::Restart,
        &[
            Queued,
            Running,
            Waiting,
            WaitingForPause,
            Paused,
            Blocked,
            Complete,
            Errored,
            Terminated,
        ],
        Goes(Queued, AGAIN),
    ),
    // L15: the same, but for one that is to pause, which is paused where it begins.
    (Happening::Continue, &[Running], Goes(Queued, AGAIN)),
    (
        Happening::Continue,
        &[WaitingForPause],
        Goes(Paused, PAUSED_ANEW),
    ),
    (Happening::Delete, &Status::ALL, Gone(ERASED)),
    (
        Happening::Send,
        &[Queued, Running, Waiting, WaitingForPause, Paused, Blocked],
        Stays,
    ),
    // L14: still `running` in the store, without the mark: the next engine starts it, not as
    // interrupted.
    (
        Happening::Release,
        &[Running],
        Goes(Running, &[Unmark, Unseat]),
    ),
    (
        Happening::Release,
        &[WaitingForPause],
        Goes(Paused, &[Unmark, FreeSlot, Disarm, Unseat]),
    ),
    (
        Happening::Replay,
        &[Running],
        Goes(Queued, &[Unmark, FreeSlot, Unseat, Enqueue]),
    ),
    (
        Happening::Replay,
        &[WaitingForPause],
        Goes(Paused, &[Unmark, FreeSlot, Disarm, Unseat]),
    ),
];

/// Returns what `event` does to an instance in `status`.
pub fn react(status: Status, event: Happening) -> Reaction {
    TABLE
        .iter()
        .find(|(on, from, _)| *on == event && from.contains(&status))
        .map_or(Reaction::Refused, |(_, _, reaction)| *reaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The L table of the rules, column by column; `-` nothing to do, `x` refused, `~` gone.
    const RULES: [(Happening, &str); 6] = [
        (Happening::Pause, "P W P - - - x x x"),
        (Happening::Resume, "- - - R Q Q x x x"),
        (Happening::Terminate, "T T T T T T x x x"),
        (Happening::Undo, "Q R Q R Q Q x x x"),
        (Happening::Restart, "Q Q Q Q Q Q Q Q Q"),
        (Happening::Delete, "~ ~ ~ ~ ~ ~ ~ ~ ~"),
    ];

    fn letter(reaction: Reaction) -> &'static str {
        match reaction {
            Goes(Queued, _) => "Q",
            Goes(Running, _) => "R",
            Goes(Waiting, _) => "A",
            Goes(WaitingForPause, _) => "W",
            Goes(Paused, _) => "P",
            Goes(Blocked, _) => "B",
            Goes(Complete, _) => "C",
            Goes(Errored, _) => "E",
            Goes(Terminated, _) => "T",
            Stays => "-",
            Gone(_) => "~",
            Reaction::Refused => "x",
        }
    }

    #[test]
    fn every_pair_of_state_and_event_does_what_the_rules_say() {
        let engine = [
            (Happening::Start, "R x x x x x x x x"),
            (Happening::Quiet, "x A x - x x x x x"),
            (Happening::Wake, "- - Q - - - x x x"),
            (Happening::Complete, "x C x C x x x x x"),
            (Happening::Fail, "x E x E x x x x x"),
            (Happening::Block, "B B B B x - x x x"),
            (Happening::Drained, "x x x P x x x x x"),
            (Happening::Continue, "x Q x P x x x x x"),
            (Happening::Send, "- - - - - - x x x"),
            (Happening::Release, "x R x P x x x x x"),
            (Happening::Replay, "x Q x P x x x x x"),
        ];
        let rows: Vec<_> = RULES.into_iter().chain(engine).collect();
        assert_eq!(rows.len(), Happening::ALL.len());
        for (event, expected) in rows {
            let found: Vec<_> = Status::ALL
                .iter()
                .map(|status| letter(react(*status, event)))
                .collect();
            assert_eq!(found.join(" "), expected, "{event:?}");
        }
    }

    #[test]
    fn no_pair_is_named_twice() {
        for event in Happening::ALL {
            for status in Status::ALL {
                let rows = TABLE
                    .iter()
                    .filter(|(on, from, _)| *on == event && from.contains(&status));
                assert!(rows.count() <= 1, "{status:?} {event:?}");
            }
        }
    }

    #[test]
    fn whoever_ends_or_waits_gives_its_slot_back() {
        for (on, from, reaction) in TABLE {
            let Goes(to, effects) = reaction else {
                continue;
            };
            let leaves_slot = from.iter().any(|it| ACTIVE.contains(it)) && !ACTIVE.contains(to);
            if leaves_slot && *to != Queued && *to != Paused {
                assert!(effects.contains(&FreeSlot), "{from:?} to {to:?}");
            }
            assert_eq!(
                effects.contains(&CloseWaits),
                FINAL.contains(to)
                    || matches!(
                        on,
                        Happening::Undo | Happening::Restart | Happening::Continue
                    )
            );
        }
    }
}
