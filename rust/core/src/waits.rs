//! What one instance waits on, matched with the events it was sent.
//!
//! Invariant: the oldest wait of a type gets the oldest event (E1). So no open wait and no kept
//! event fit each other while the instance is live, but for events that came back, or were judged
//! to be new, within a batch: they are matched when it is complete, and nothing passes them until
//! then. It decides who gets what; making that durable and telling somebody is the engine's affair.

use crate::ids::{EventId, Micros, WaitId};
use crate::wait::{Event, Source, Wait};

/// The open waits and kept events of an instance, each oldest first.
#[derive(Debug, Default)]
pub struct Mailbox {
    waits: Vec<Wait>,
    events: Vec<Event>,
}

impl Mailbox {
    /// Opens a wait that nothing settles yet.
    pub fn open(&mut self, wait: Wait) {
        let place = self.waits.partition_point(|it| it.id < wait.id);
        self.waits.insert(place, wait);
    }

    /// Closes a wait and returns it, if it was open.
    pub fn close(&mut self, id: WaitId) -> Option<Wait> {
        let place = self.waits.iter().position(|it| it.id == id)?;
        Some(self.waits.remove(place))
    }

    /// Closes all waits; what is kept stays.
    pub fn close_all(&mut self) {
        self.waits.clear();
    }

    /// Moves the deadline of an open wait.
    pub fn postpone(&mut self, id: WaitId, until: Micros) {
        if let Some(wait) = self.waits.iter_mut().find(|it| it.id == id) {
            wait.until = Some(until);
        }
    }

    /// Returns the open waits, oldest first.
    #[must_use]
    pub fn waits(&self) -> &[Wait] {
        &self.waits
    }

    /// Returns an open wait.
    #[must_use]
    pub fn wait(&self, id: WaitId) -> Option<&Wait> {
        self.waits.iter().find(|it| it.id == id)
    }

    /// Returns the oldest wait that takes events of this type.
    fn taker(&self, kind: &str) -> Option<WaitId> {
        self.waits
            .iter()
            .find(|it| takes(&it.source, kind))
            .map(|it| it.id)
    }

    /// Keeps an event in its place by number: a withdrawn one goes back where it was (I8).
    pub fn keep(&mut self, event: Event) {
        let place = self.events.partition_point(|it| it.id < event.id);
        self.events.insert(place, event);
    }

    /// Takes the oldest kept event of one of these types.
    pub fn take(&mut self, source: &Source) -> Option<Event> {
        let place = self.events.iter().position(|it| takes(source, &it.kind))?;
        Some(self.events.remove(place))
    }

    /// Takes the oldest kept event of one of these types for a wait that is about to open, unless
    /// an older wait is to have that one (E1): then both are still to be matched.
    pub fn take_first(&mut self, source: &Source) -> Option<Event> {
        let first = self.events.iter().find(|it| takes(source, &it.kind))?;
        let claimed = self.taker(&first.kind).is_some();
        if claimed {
            return None;
        }
        self.take(source)
    }

    /// Returns the oldest wait that takes an event of this type when it arrives. None if an event
    /// that came before is still to be matched with that wait.
    #[must_use]
    pub fn receiver(&self, kind: &str) -> Option<WaitId> {
        let id = self.taker(kind)?;
        let source = &self.wait(id)?.source;
        let claimed = self.events.iter().any(|it| takes(source, &it.kind));
        (!claimed).then_some(id)
    }

    /// Returns the oldest pair of a wait and a kept event that fit.
    #[must_use]
    pub fn fit(&self) -> Option<(WaitId, EventId)> {
        if self.events.is_empty() {
            return None;
        }
        self.waits.iter().find_map(|wait| {
            let event = self
                .events
                .iter()
                .find(|it| takes(&wait.source, &it.kind))?;
            Some((wait.id, event.id))
        })
    }

    /// Returns whether this event is kept.
    #[must_use]
    pub fn keeps(&self, id: EventId) -> bool {
        self.events.iter().any(|it| it.id == id)
    }

    /// Returns how many events are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.events.len()
    }
}

fn takes(source: &Source, kind: &str) -> bool {
    matches!(source, Source::Event(types) if types.iter().any(|it| &**it == kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Kind, Operation};

    fn wait(id: u64, types: &[&str]) -> Wait {
        Wait {
            begun: None,
            id,
            operation: Operation {
                kind: Kind::Event,
                branch: "".into(),
                name: "w".into(),
                key: None,
                count: 1,
            },
            source: Source::Event(types.iter().map(|it| (*it).into()).collect()),
            opened_at: 0,
            until: None,
        }
    }

    fn event(id: u64, kind: &str) -> Event {
        Event {
            id,
            kind: kind.into(),
            payload: None,
            at: 0,
        }
    }

    #[test]
    fn nothing_passes_an_event_that_is_still_to_be_matched() {
        let mut mailbox = Mailbox::default();
        mailbox.open(wait(1, &["a"]));
        assert_eq!(mailbox.receiver("a"), Some(1));
        mailbox.keep(event(2, "a"));
        assert_eq!(mailbox.receiver("a"), None);
        assert_eq!(mailbox.take_first(&wait(3, &["a", "b"]).source), None);
        mailbox.keep(event(4, "b"));
        assert_eq!(mailbox.receiver("b"), None);
        let first = mailbox.take_first(&wait(3, &["b"]).source);
        assert_eq!(first.map(|it| it.id), Some(4));
        assert_eq!(mailbox.fit(), Some((1, 2)));
    }

    #[test]
    fn the_oldest_wait_of_a_type_gets_the_oldest_event() {
        let mut mailbox = Mailbox::default();
        mailbox.open(wait(1, &["a"]));
        mailbox.open(wait(2, &["a", "b"]));
        assert_eq!(mailbox.taker("b"), Some(2));
        assert_eq!(mailbox.taker("a"), Some(1));
        assert_eq!(mailbox.taker("c"), None);
        mailbox.keep(event(4, "c"));
        mailbox.keep(event(5, "b"));
        assert_eq!(mailbox.fit(), Some((2, 5)));
        mailbox.keep(event(3, "b"));
        let taken = mailbox.take(&wait(2, &["b"]).source);
        assert_eq!(taken.map(|it| it.id), Some(3));
        assert_eq!(mailbox.close(1).map(|it| it.id), Some(1));
        assert_eq!(mailbox.close(1), None);
        assert_eq!(mailbox.kept(), 2);
    }
}
