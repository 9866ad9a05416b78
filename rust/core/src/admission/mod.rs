//! Who may enter: room in a workflow's queue, and a creation rate where a namespace has one.
//!
//! Verdicts are values. Nothing here waits or touches the store, and a refused creation leaves
//! no trace but the moment reserved for it (C10). It does not know instances, only how many there
//! are, nor who sets the limits.
//!
//! What a body creates (`step.create`, `step.call`) is not asked: it is a record of its parent's,
//! which was admitted, and a refusal would have to be recorded and replayed. Such children pay no
//! rate, but they do take places in the queue, so callers from outside wait for them.

mod drain;
mod rate;

use self::drain::Drain;
use self::rate::Rate;
use crate::ids::Micros;
use crate::limits::DISK_RETRY_AFTER;

/// Whether something may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It may.
    Admitted,
    /// It may not: which limit, and after how many microseconds to try again.
    Overloaded(&'static str, Micros),
}

/// What somebody wants to create, all or none.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// In which namespace.
    pub namespace: u32,
    /// Instances of which workflow.
    pub workflow: u32,
    /// How many.
    pub count: u32,
    /// How many of them need a place in the queue.
    pub queued: u32,
    /// Something that tells this caller from others, if there is anything.
    pub who: Option<u64>,
}

/// The queue of one workflow, as a number.
#[derive(Debug, Clone, Copy)]
struct Line {
    entries_max: u32,
    queued: u32,
    drain: Drain,
}

/// Counts what is queued per workflow and what is created over time.
#[derive(Debug, Default)]
pub struct Admission {
    lines: Vec<Line>,
    rates: Vec<Option<Rate>>,
    /// The store is short of room.
    short: bool,
    now: Micros,
}

impl Admission {
    /// Returns an admission that admits everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What follows happens at this time.
    pub fn begin(&mut self, now: Micros) {
        self.now = now;
    }

    /// Closes or opens the door to all creations: the room that is left is for what runs.
    pub fn set_short(&mut self, short: bool) {
        self.short = short;
    }

    /// Decides about creations as far as the store's room is concerned; [`Self::admit`] follows.
    pub fn has_room(&self) -> Verdict {
        if self.short {
            return Verdict::Overloaded("disk", DISK_RETRY_AFTER);
        }
        Verdict::Admitted
    }

    /// Sets or clears a namespace's limit: creations per second, and how many may come at once.
    pub fn set_rate(&mut self, namespace: u32, limit: Option<(f64, f64)>) {
        let at = namespace as usize;
        if self.rates.len() <= at {
            self.rates.resize_with(at + 1, || None);
        }
        let now = self.now;
        match (&mut self.rates[at], limit) {
            (Some(rate), Some((per_second, burst))) => rate.set(per_second, burst, now),
            (rate, limit) => *rate = limit.map(|it| Rate::new(it.0, it.1, now)),
        }
    }

    /// Sets how many entries a workflow's queue may have; those that are there stay.
    pub fn set_entries(&mut self, workflow: u32, entries_max: u32) {
        self.line(workflow).entries_max = entries_max;
    }

    /// Decides about creations. The queue is asked first, so that no moment is reserved in vain.
    pub fn admit(&mut self, wish: Wish) -> Verdict {
        let now = self.now;
        let line = *self.line(wish.workflow);
        let missing = (line.queued.saturating_add(wish.queued)).saturating_sub(line.entries_max);
        if wish.queued > 0 && missing > 0 {
            let wait = line.drain.estimate(missing, now);
            return Verdict::Overloaded("queue_entries", wait);
        }
        let rate = self.rates.get_mut(wish.namespace as usize);
        if let (Some(rate), true) = (rate.and_then(Option::as_mut), wish.count > 0) {
            if let Some(wait) = rate.ask(wish.count, wish.who, now) {
                return Verdict::Overloaded("create_rate", wait);
            }
        }
        Verdict::Admitted
    }

    /// One that was admitted was not created after all: its id was taken.
    pub fn not_created(&mut self, namespace: u32) {
        if let Some(rate) = &mut self.rates[namespace as usize] {
            rate.give_back(1);
        }
    }

    /// Returns whether so many creations would have room in an empty queue.
    #[must_use]
    pub fn fits(&self, workflow: u32, count: u32) -> bool {
        let line = self.lines.get(workflow as usize);
        line.is_none_or(|it| count <= it.entries_max)
    }

    /// Returns whether the queue has so many places, and the store room.
    #[must_use]
    pub fn has_places(&self, workflow: u32, count: u32) -> bool {
        let line = self.lines.get(workflow as usize);
        let places = |it: &Line| it.entries_max.saturating_sub(it.queued);
        !self.short && line.is_none_or(|it| count <= places(it))
    }

    /// Counts an entry that joined the queue.
    pub fn joined(&mut self, workflow: u32) {
        self.line(workflow).queued += 1;
    }

    /// Counts an entry that left the queue.
    pub fn left(&mut self, workflow: u32) {
        let now = self.now;
        let line = self.line(workflow);
        line.queued = line
            .queued
            .checked_sub(1)
            .expect("it joined before it leaves");
        line.drain.left(now);
    }

    /// Returns how many entries of a workflow are queued.
    #[must_use]
    pub fn queued(&self, workflow: u32) -> u32 {
        self.lines.get(workflow as usize).map_or(0, |it| it.queued)
    }

    fn line(&mut self, workflow: u32) -> &mut Line {
        let at = workflow as usize;
        if self.lines.len() <= at {
            let new = Line {
                entries_max: u32::MAX,
                queued: 0,
                drain: Drain::default(),
            };
            self.lines.resize(at + 1, new);
        }
        &mut self.lines[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::QUEUE_RETRY;

    fn wish(workflow: u32, count: u32) -> Wish {
        Wish {
            namespace: 0,
            workflow,
            count,
            queued: count,
            who: None,
        }
    }

    #[test]
    fn c10_a_full_queue_refuses_and_one_that_has_room_again_admits() {
        let mut admission = Admission::new();
        admission.set_entries(3, 2);
        assert_eq!(admission.admit(wish(3, 2)), Verdict::Admitted);
        admission.joined(3);
        admission.joined(3);
        let refused = |wait| Verdict::Overloaded("queue_entries", wait);
        assert_eq!(admission.admit(wish(3, 1)), refused(QUEUE_RETRY));
        assert_eq!(admission.admit(wish(0, 1)), Verdict::Admitted);
        admission.left(3);
        assert_eq!(admission.admit(wish(3, 1)), Verdict::Admitted);
        let told = admission.admit(wish(3, 2));
        assert!(matches!(told, Verdict::Overloaded("queue_entries", it) if it < QUEUE_RETRY));
        // Those that start at once need no place.
        let at_once = Wish {
            queued: 1,
            ..wish(3, 2)
        };
        assert_eq!(admission.admit(at_once), Verdict::Admitted);
        assert!(admission.fits(3, 2) && !admission.fits(3, 3));
    }

    #[test]
    fn a_queue_above_a_lowered_limit_keeps_what_it_has_and_admits_nothing() {
        let mut admission = Admission::new();
        (0..3).for_each(|_| admission.joined(0));
        admission.set_entries(0, 1);
        assert_eq!(admission.queued(0), 3);
        let refused = admission.admit(wish(0, 1));
        assert_eq!(refused, Verdict::Overloaded("queue_entries", QUEUE_RETRY));
    }

    #[test]
    fn a_store_that_is_short_of_room_admits_nothing() {
        let mut admission = Admission::new();
        assert_eq!(admission.has_room(), Verdict::Admitted);
        admission.set_short(true);
        let refused = Verdict::Overloaded("disk", DISK_RETRY_AFTER);
        assert_eq!(admission.has_room(), refused);
        admission.set_short(false);
        assert_eq!(admission.has_room(), Verdict::Admitted);
    }

    #[test]
    fn the_rate_counts_what_is_created_whether_it_is_queued_or_not() {
        let mut admission = Admission::new();
        admission.set_rate(0, Some((10.0, 2.0)));
        let at_once = |count| Wish {
            queued: 0,
            ..wish(0, count)
        };
        assert_eq!(admission.admit(at_once(2)), Verdict::Admitted);
        let refused = Verdict::Overloaded("create_rate", 100_000);
        assert_eq!(admission.admit(at_once(1)), refused);
        assert_eq!(admission.admit(at_once(0)), Verdict::Admitted);
        let elsewhere = Wish {
            namespace: 1,
            ..at_once(9)
        };
        assert_eq!(admission.admit(elsewhere), Verdict::Admitted);
        admission.begin(100_000);
        assert_eq!(admission.admit(at_once(1)), Verdict::Admitted);
        admission.not_created(0);
        assert_eq!(admission.admit(at_once(1)), Verdict::Admitted);
        admission.set_rate(0, None);
        assert_eq!(admission.admit(at_once(1_000)), Verdict::Admitted);
    }

    #[test]
    fn no_moment_is_reserved_for_what_the_queue_has_no_room_for() {
        let mut admission = Admission::new();
        admission.set_rate(0, Some((1.0, 1.0)));
        admission.set_entries(0, 1);
        for _ in 0..5 {
            let refused = admission.admit(wish(0, 2));
            assert_eq!(refused, Verdict::Overloaded("queue_entries", QUEUE_RETRY));
        }
        assert_eq!(admission.admit(wish(0, 1)), Verdict::Admitted);
    }
}
