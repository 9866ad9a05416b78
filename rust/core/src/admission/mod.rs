//! Who may enter: room in a workflow's queue, and a creation rate where a namespace has one.
//!
//! Answers are values. Nothing here waits or touches the store, and a refused creation leaves
//! no trace but what is promised to it (C10): whoever has an id, or waits in the engine, is not
//! displaced by strangers (`places`, `rate`). It does not know instances, only how many there are,
//! nor who sets the limits.
//!
//! What a body creates (`step.create`, `step.call`) is not asked: it is a record of its parent's,
//! which was admitted, and a refusal would have to be recorded and replayed. Such children pay no
//! rate, but they do take places in the queue, so callers from outside wait for them.

mod drain;
mod places;
mod rate;
#[cfg(test)]
pub(crate) mod small;

use rustc_hash::FxHashMap;

use self::drain::Drain;
use self::places::{Claims, Wanted};
use self::rate::Rate;
use crate::codes::DISK;
use crate::ids::Micros;
use crate::limits::DISK_RETRY_AFTER;

/// Whether something may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admittance {
    /// It may.
    Admitted,
    /// It may not: which limit, and after how many microseconds to try again.
    Overloaded(&'static str, Micros),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// Somebody who cannot be told from others.
    Stranger,
    /// Whoever creates this id: known when it comes back.
    Id(u64),
    /// One that waits in the engine until it is let in; earlier ones have smaller numbers.
    Waits(u64),
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
    /// How many of them are queued whatever slots are free.
    pub later: u32,
    /// How many newcomers of the workflow would start at once.
    pub startable: u32,
    /// Who asks.
    pub who: Who,
}

impl Wish {
    fn need(self) -> Wanted {
        Wanted {
            now: self.count - self.later,
            later: self.later,
        }
    }
}

/// The queue of one workflow, as a number.
#[derive(Debug, Clone, Copy)]
struct Backlog {
    entries_max: u32,
    queued: u32,
    drain: Drain,
}

impl Backlog {
    fn room(&self) -> u32 {
        self.entries_max.saturating_sub(self.queued)
    }
}

/// Counts what is queued per workflow and what is created over time.
#[derive(Debug, Default)]
pub struct Admission {
    lines: Vec<Backlog>,
    /// Of queues that somebody was refused at.
    claims: FxHashMap<u32, Claims>,
    rates: Vec<Option<Rate>>,
    /// The store is short of room.
    short: bool,
    now: Micros,
    /// What has passed, without jumps back.
    clock: Micros,
}

impl Admission {
    /// Returns an admission that admits everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What follows happens at this time.
    pub fn begin(&mut self, now: Micros) {
        let elapsed = now.saturating_sub(self.now).max(0);
        self.clock = self.clock.saturating_add(elapsed);
        self.now = now;
    }

    /// Closes or opens the door to all creations: the room that is left is for what runs.
    pub fn set_short(&mut self, short: bool) {
        self.short = short;
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

    /// A namespace's rate had so many millionths of a creation left at this time, in an earlier
    /// life.
    pub fn restore_rate(&mut self, namespace: u32, millionths: i64, at: Micros) {
        let now = self.now;
        if let Some(rate) = self.rate(namespace) {
            rate.restore(millionths, at, now);
        }
    }

    /// Returns the rates of which something was taken since this was last asked: their namespaces,
    /// and how many millionths of a creation they have left.
    pub fn take_spent(&mut self) -> Vec<(u32, i64)> {
        let rates = (0..).zip(&mut self.rates);
        let spent = rates.filter_map(|(of, rate)| Some((of, rate.as_mut()?.take_spent()?)));
        spent.collect()
    }

    /// Sets how many entries a workflow's queue may have; those that are there stay.
    pub fn set_entries(&mut self, workflow: u32, entries_max: u32) {
        self.line(workflow).entries_max = entries_max;
    }

    /// Decides about creations. Whoever is refused has taken nothing, and is told an estimate; see
    /// [`Self::promise`].
    pub fn admit(&mut self, wish: Wish) -> Admittance {
        if wish.count == 0 {
            return Admittance::Admitted;
        }
        if self.short {
            return Admittance::Overloaded(DISK, DISK_RETRY_AFTER);
        }
        // The queue is asked first, so that no moment is taken in vain.
        let missing = self.missing(wish);
        if missing > 0 {
            let now = self.now;
            let wait = self.line(wish.workflow).drain.estimate(missing, now);
            return Admittance::Overloaded("queue_entries", wait);
        }
        let now = self.now;
        if let Some(rate) = self.rate(wish.namespace) {
            if !rate.lets_in(wish.count, wish.who, now) {
                let wait = rate.estimate(wish.count);
                return Admittance::Overloaded("create_rate", wait);
            }
        }
        if let Some(claims) = self.claims.get_mut(&wish.workflow) {
            claims.forget(wish.who);
            self.tidy(wish.workflow);
        }
        Admittance::Admitted
    }

    /// Whoever was refused is given what it is told, as far as it can be known when it comes back:
    /// a moment, or a place. Returns which limit refused it, and after how many microseconds it is
    /// let in, or should try again.
    pub fn promise(&mut self, wish: Wish) -> (&'static str, Micros) {
        let now = self.now;
        let missing = self.missing(wish);
        let line = *self.line(wish.workflow);
        let told = if self.short {
            (DISK, DISK_RETRY_AFTER)
        } else if missing > 0 {
            ("queue_entries", line.drain.estimate(missing, now))
        } else {
            let rate = self.rate(wish.namespace).expect("nothing else refuses");
            ("create_rate", rate.promise(wish.count, wish.who, now))
        };
        if wish.who != Who::Stranger {
            let until = self.clock.saturating_add(told.1);
            let claims = self.claims.entry(wish.workflow).or_default();
            let placed = told.0 == "create_rate";
            claims.promise(wish.who, wish.need(), placed, line.entries_max, until);
            self.tidy(wish.workflow);
        }
        told
    }

    /// What was promised for so many creations is not wanted any more.
    pub fn forget(&mut self, namespace: u32, workflow: u32, count: u32, who: Who) {
        if let Some(claims) = self.claims.get_mut(&workflow) {
            claims.forget(who);
            self.tidy(workflow);
        }
        if let Some(rate) = self.rate(namespace) {
            rate.forget(count, who);
        }
    }

    /// One that was admitted was not created after all: its id was taken.
    pub fn not_created(&mut self, namespace: u32) {
        if let Some(rate) = &mut self.rates[namespace as usize] {
            rate.give_back(1);
        }
    }

    /// Returns whether so many creations, that need this many places at least, would have room in
    /// an empty queue.
    #[must_use]
    pub fn fits(&self, workflow: u32, places: u32) -> bool {
        let line = self.lines.get(workflow as usize);
        line.is_none_or(|it| places <= it.entries_max)
    }

    /// Returns the workflows in whose queues somebody waits for places.
    #[must_use]
    pub fn waited_for(&self) -> Vec<u32> {
        let waits = self.claims.iter().filter(|it| it.1.waits());
        waits.map(|it| *it.0).collect()
    }

    /// Returns those who wait for places of this queue and find them now, if so many newcomers
    /// would start at once.
    #[must_use]
    pub fn hopeful(&self, workflow: u32, startable: u32) -> Vec<u64> {
        let (Some(claims), false) = (self.claims.get(&workflow), self.short) else {
            return Vec::new();
        };
        let room = self
            .lines
            .get(workflow as usize)
            .map_or(u32::MAX, Backlog::room);
        claims.hopeful(|it| it.places(startable) <= room)
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

    /// Returns how many places are missing for a wish, besides those that are promised to others.
    /// What takes none of what others lack may enter, whatever they lack.
    fn missing(&mut self, wish: Wish) -> u32 {
        let (need, clock) = (wish.need(), self.clock);
        let mut before = Wanted::default();
        if let Some(claims) = self.claims.get_mut(&wish.workflow) {
            before = claims.before(wish.who, clock);
        }
        let room = self.line(wish.workflow).room();
        let missing = |it: Wanted| it.places(wish.startable).saturating_sub(room);
        let all = missing(before.and(need));
        if all > missing(before) {
            all
        } else {
            0
        }
    }

    fn rate(&mut self, namespace: u32) -> Option<&mut Rate> {
        self.rates.get_mut(namespace as usize)?.as_mut()
    }

    fn tidy(&mut self, workflow: u32) {
        if self.claims.get(&workflow).is_some_and(Claims::is_empty) {
            self.claims.remove(&workflow);
        }
    }

    fn line(&mut self, workflow: u32) -> &mut Backlog {
        let at = workflow as usize;
        if self.lines.len() <= at {
            let new = Backlog {
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
            later: 0,
            startable: 0,
            who: Who::Stranger,
        }
    }

    /// Asks as the engine does: who is refused is promised something.
    fn ask(admission: &mut Admission, wish: Wish) -> Admittance {
        match admission.admit(wish) {
            Admittance::Admitted => Admittance::Admitted,
            Admittance::Overloaded(limit, _) => {
                let (promised, after) = admission.promise(wish);
                assert_eq!(promised, limit);
                Admittance::Overloaded(limit, after)
            }
        }
    }

    #[test]
    fn c10_a_full_queue_refuses_and_one_that_has_room_again_admits() {
        let mut admission = Admission::new();
        admission.set_entries(3, 2);
        assert_eq!(admission.admit(wish(3, 2)), Admittance::Admitted);
        admission.joined(3);
        admission.joined(3);
        let refused = |wait| Admittance::Overloaded("queue_entries", wait);
        assert_eq!(admission.admit(wish(3, 1)), refused(QUEUE_RETRY));
        assert_eq!(admission.admit(wish(0, 1)), Admittance::Admitted);
        admission.left(3);
        assert_eq!(admission.admit(wish(3, 1)), Admittance::Admitted);
        let told = admission.admit(wish(3, 2));
        assert!(matches!(told, Admittance::Overloaded("queue_entries", it) if it < QUEUE_RETRY));
        // Those that start at once need no place.
        let at_once = Wish {
            startable: 1,
            ..wish(3, 2)
        };
        assert_eq!(admission.admit(at_once), Admittance::Admitted);
        assert!(admission.fits(3, 2) && !admission.fits(3, 3));
    }

    #[test]
    fn a_queue_above_a_lowered_limit_keeps_what_it_has_and_admits_nothing() {
        let mut admission = Admission::new();
        (0..3).for_each(|_| admission.joined(0));
        admission.set_entries(0, 1);
        assert_eq!(admission.queued(0), 3);
        let refused = admission.admit(wish(0, 1));
        assert_eq!(
            refused,
            Admittance::Overloaded("queue_entries", QUEUE_RETRY)
        );
    }

    #[test]
    fn a_store_that_is_short_of_room_admits_nothing() {
        let mut admission = Admission::new();
        assert_eq!(admission.admit(wish(0, 1)), Admittance::Admitted);
        admission.set_short(true);
        let refused = Admittance::Overloaded(DISK, DISK_RETRY_AFTER);
        assert_eq!(admission.admit(wish(0, 1)), refused);
        // What is there already is no creation.
        assert_eq!(admission.admit(wish(0, 0)), Admittance::Admitted);
        admission.set_short(false);
        assert_eq!(admission.admit(wish(0, 1)), Admittance::Admitted);
    }

    #[test]
    fn the_rate_counts_what_is_created_whether_it_is_queued_or_not() {
        let mut admission = Admission::new();
        admission.set_rate(0, Some((10.0, 2.0)));
        let at_once = |count| Wish {
            startable: u32::MAX,
            ..wish(0, count)
        };
        assert_eq!(admission.admit(at_once(2)), Admittance::Admitted);
        let refused = Admittance::Overloaded("create_rate", 100_000);
        assert_eq!(ask(&mut admission, at_once(1)), refused);
        assert_eq!(admission.admit(at_once(0)), Admittance::Admitted);
        let elsewhere = Wish {
            namespace: 1,
            ..at_once(9)
        };
        assert_eq!(admission.admit(elsewhere), Admittance::Admitted);
        admission.begin(100_000);
        assert_eq!(admission.admit(at_once(1)), Admittance::Admitted);
        admission.not_created(0);
        assert_eq!(admission.admit(at_once(1)), Admittance::Admitted);
        admission.set_rate(0, None);
        assert_eq!(admission.admit(at_once(1_000)), Admittance::Admitted);
    }

    #[test]
    fn no_moment_is_reserved_for_what_the_queue_has_no_room_for() {
        let mut admission = Admission::new();
        admission.set_rate(0, Some((1.0, 1.0)));
        admission.set_entries(0, 1);
        for _ in 0..5 {
            let refused = admission.admit(wish(0, 2));
            assert_eq!(
                refused,
                Admittance::Overloaded("queue_entries", QUEUE_RETRY)
            );
        }
        assert_eq!(admission.admit(wish(0, 1)), Admittance::Admitted);
    }

    /// A full queue of ten from which one leaves at a time.
    fn full() -> Admission {
        let mut admission = Admission::new();
        admission.set_entries(0, 10);
        (0..10).for_each(|_| admission.joined(0));
        admission
    }

    fn of(who: Who, count: u32) -> Wish {
        Wish {
            who,
            ..wish(0, count)
        }
    }

    #[test]
    fn c10_places_are_for_who_waits_then_for_ids_and_then_for_strangers() {
        let mut admission = full();
        let id = of(Who::Id(7), 2);
        let (late, early) = (of(Who::Waits(9), 1), of(Who::Waits(8), 5));
        for it in [id, late, early, wish(0, 1)] {
            assert!(matches!(
                ask(&mut admission, it),
                Admittance::Overloaded("queue_entries", _)
            ));
        }
        for left in 1..=8 {
            admission.left(0);
            assert_eq!(
                ask(&mut admission, wish(0, 1)),
                admission.admit(wish(0, 1)),
                "{left}"
            );
            assert_ne!(
                admission.admit(wish(0, 1)),
                Admittance::Admitted,
                "{left}: a stranger"
            );
            let hopeful: &[u64] = match left {
                0..=4 => &[],
                5 => &[8],
                _ => &[8, 9],
            };
            assert_eq!(admission.hopeful(0, 0), hopeful, "{left}");
            assert_eq!(admission.missing(id) == 0, left >= 8, "{left}");
            assert_eq!(admission.missing(late) == 0, left >= 6, "{left}");
        }
        (0..2).for_each(|_| admission.left(0));
        for it in [early, late, id, wish(0, 1), wish(0, 1)] {
            assert_eq!(admission.admit(it), Admittance::Admitted);
            (0..it.count).for_each(|_| admission.joined(0));
        }
        assert!(admission.claims.is_empty());
    }

    #[test]
    fn c10_an_id_that_does_not_come_back_leaves_its_place_and_ids_leave_half() {
        let mut admission = full();
        let (limit, after) = admission.promise(of(Who::Id(1), 1));
        assert_eq!(limit, "queue_entries");
        for id in 2..100 {
            admission.promise(of(Who::Id(id), 1));
        }
        (0..6).for_each(|_| admission.left(0));
        assert_eq!(admission.admit(wish(0, 1)), Admittance::Admitted);
        admission.joined(0);
        assert_ne!(admission.admit(wish(0, 1)), Admittance::Admitted);
        assert_eq!(admission.admit(of(Who::Id(5), 1)), Admittance::Admitted);
        // Whoever comes at its moment, or a little later, finds its place; after that anybody does.
        admission.begin(after + crate::limits::MOMENT_WINDOW);
        assert_ne!(admission.admit(wish(0, 5)), Admittance::Admitted);
        admission.begin(QUEUE_RETRY + crate::limits::MOMENT_WINDOW + 100_000_000);
        assert_eq!(admission.admit(wish(0, 5)), Admittance::Admitted);
        assert_eq!(admission.admit(of(Who::Id(77), 5)), Admittance::Admitted);
    }

    #[test]
    fn c10_who_gives_up_leaves_its_place_and_its_moment() {
        let mut admission = full();
        admission.promise(of(Who::Waits(1), 4));
        (0..4).for_each(|_| admission.left(0));
        assert_ne!(admission.admit(wish(0, 4)), Admittance::Admitted);
        admission.set_rate(0, Some((1.0, 4.0)));
        assert_eq!(admission.admit(of(Who::Waits(1), 4)), Admittance::Admitted);
        let (limit, after) = admission.promise(of(Who::Waits(2), 4));
        assert_eq!((limit, after), ("create_rate", 4_000_000));
        assert_eq!(
            admission.waited_for(),
            [0; 0],
            "it has its places, and waits for its moment"
        );
        admission.forget(0, 0, 4, Who::Waits(2));
        admission.begin(4_000_000);
        assert_eq!(admission.admit(wish(0, 4)), Admittance::Admitted);
    }
}
