//! Creations per second, and moments reserved for those who came too soon (C10).
//!
//! A token bucket whose tokens may be below zero: whoever is refused pays for a moment of its own
//! in advance, and is told how far that is. So the next one is told a later moment, and a hundred
//! callers that wait as told all get in the first time they come back, at the rate.
//!
//! - A moment is valid for [`MOMENT_WINDOW`]. Who does not come back by then gives it back.
//! - Callers are strangers to the core, but for those that give an id, and those that wait in the
//!   engine: their moments are theirs, and coming too early tells them the same moment again.
//!   The moments of strangers are for any stranger who asks for as many creations; the one that
//!   ends first goes first, so that if each comes in its own window, all are served.
//! - The book of moments is bounded: [`MOMENTS`] creations or [`MOMENTS_SECONDS`] of them, and one
//!   batch of more than that. A caller beyond it is told an estimate and has nothing reserved, so
//!   who hammers pushes nobody further away than that. Strangers have a book of their own, so that
//!   they keep nobody who has an id out of his; who waits in the engine needs none, and its moment
//!   is kept until it comes for it.
//! - A batch of more than the burst waits until its tokens have gathered, like anybody else. To
//!   refuse it for good would be a surprise at the default (the burst is one second's worth, a
//!   batch up to 10,000); to let it in at once, and others pay, would be no limit.
//!
//! Invariant: up to any time, at most `burst + rate × time` were let in, over all lives of the
//! engine: what is left is stored in each commit that something was taken in, and an engine that
//! opens goes on from there ([`Rate::restore`]). Moments are promises of one life and go back with
//! it. Time is passed in and may jump: back counts as standing still, so that nobody waits for what
//! a clock made up, and gives nothing to one that opens.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::Who;
use crate::ids::Micros;
use crate::limits::{MOMENTS, MOMENTS_MAX, MOMENTS_SECONDS, MOMENT_WINDOW};

const MILLION: f64 = 1e6;

#[derive(Debug, Clone, Copy)]
struct Moment {
    /// By the bucket's own clock, which only goes on.
    at: Micros,
    count: u32,
    who: Who,
    /// It is more than the book has room for, and alone in that.
    large: bool,
}

/// Creations that have moments of their own.
#[derive(Debug, Clone, Copy, Default)]
struct Booked {
    few: u64,
    large: u32,
}

/// The creation rate of one namespace.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    burst: f64,
    /// What is there; less what is reserved.
    tokens: f64,
    /// The time that was passed in last.
    last: Micros,
    /// What has passed, without jumps back.
    clock: Micros,
    /// In order of time.
    moments: VecDeque<Moment>,
    /// When that of each who is known is; for so many creations, if it may have several.
    known: FxHashMap<(Who, u32), Micros>,
    strangers: Booked,
    ids: Booked,
    /// What is reserved.
    reserved: f64,
    /// What is stored is not what is left.
    spent: bool,
}

impl Rate {
    pub(super) fn new(per_second: f64, burst: f64, now: Micros) -> Self {
        Self {
            per_second,
            burst,
            tokens: burst,
            last: now,
            clock: 0,
            moments: VecDeque::new(),
            known: FxHashMap::default(),
            strangers: Booked::default(),
            ids: Booked::default(),
            reserved: 0.0,
            spent: true,
        }
    }

    /// Goes on from what was left at this time: that time may be to come, if the clock has jumped.
    pub(super) fn restore(&mut self, millionths: i64, at: Micros, now: Micros) {
        let elapsed = now.saturating_sub(at).max(0);
        let elapsed = Duration::from_micros(elapsed.unsigned_abs()).as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a burst is at most 1e9, so millionths of it are below 2^52"
        )]
        let millionths = millionths as f64;
        let left = millionths / MILLION + elapsed * self.per_second;
        self.tokens = left.min(self.burst);
    }

    /// Returns how many millionths of a creation are left, promises apart, if that is not stored.
    pub(super) fn take_spent(&mut self) -> Option<i64> {
        let left = self.tokens + self.reserved;
        std::mem::take(&mut self.spent).then_some((left * MILLION).floor() as i64)
    }

    /// Changes the limit from now on. Moments that were promised stay, but for those of whoever
    /// waits in the engine: they ask again at once, and may come sooner.
    pub(super) fn set(&mut self, per_second: f64, burst: f64, now: Micros) {
        self.pass(now);
        (self.per_second, self.burst) = (per_second, burst);
        let waits = |it: &Moment| matches!(it.who, Who::Waits(_));
        let given_up: f64 = self
            .moments
            .iter()
            .filter(|it| waits(it))
            .map(|it| f64::from(it.count))
            .sum();
        self.moments.retain(|it| !waits(it));
        self.reserved -= given_up;
        self.spent = true;
        self.known.retain(|it, _| !matches!(it.0, Who::Waits(_)));
        self.tokens = (self.tokens + given_up).min(burst);
    }

    /// Decides about `count` creations, all or none. Whoever is refused has taken nothing.
    pub(super) fn lets_in(&mut self, count: u32, who: Who, now: Micros) -> bool {
        self.pass(now);
        if let Some(at) = self.find(count, who) {
            // What others gave back may have paid for everybody by now.
            if self.moments[at].at > self.clock && self.tokens < 0.0 {
                return false;
            }
            self.take(at);
            self.spent = true;
            return true;
        }
        let wanted = f64::from(count);
        if self.tokens >= wanted {
            self.tokens -= wanted;
            self.spent = true;
            return true;
        }
        if who == Who::Stranger {
            let own = |it: &Moment| it.who == who && it.count == count;
            let due = self.moments.partition_point(|it| it.at <= self.clock);
            if let Some(at) = self.moments.iter().take(due).position(own) {
                self.take(at);
                self.spent = true;
                return true;
            }
        }
        false
    }

    /// Returns how long whoever was refused has to wait, and reserves a moment for it if it can.
    pub(super) fn promise(&mut self, count: u32, who: Who, now: Micros) -> Micros {
        self.pass(now);
        if let Some(at) = self.find(count, who) {
            return self.moments[at].at - self.clock;
        }
        // One that waits may have asked for another number before.
        self.forget(count, who);
        let wait = self.estimate(count);
        if let Some(large) = self.has_place(count, who) {
            self.tokens -= f64::from(count);
            let at = self.clock.saturating_add(wait);
            // A rate that was raised meanwhile lets later callers come before earlier ones.
            let place = self.moments.partition_point(|it| it.at <= at);
            let moment = Moment {
                at,
                count,
                who,
                large,
            };
            self.moments.insert(place, moment);
            self.book(moment, true);
        }
        wait
    }

    /// Returns in how many microseconds there are so many tokens that nobody else has reserved.
    pub(super) fn estimate(&self, count: u32) -> Micros {
        let missing = f64::from(count) - self.tokens;
        ((missing / self.per_second * 1e6).ceil() as Micros).max(1)
    }

    /// Returns where the moment of one who is known is.
    fn find(&self, count: u32, who: Who) -> Option<usize> {
        let at = self.place(count, who)?;
        (self.moments[at].count == count).then_some(at)
    }

    /// The same, for one that waits whatever it asked for.
    fn place(&self, count: u32, who: Who) -> Option<usize> {
        let at = *self.known.get(&key(count, who))?;
        let first = self.moments.partition_point(|it| it.at < at);
        let own = |it: &Moment| key(it.count, it.who) == key(count, who);
        let found = self.moments.iter().skip(first).position(own);
        Some(first + found.expect("it is known"))
    }

    /// Whether so many more creations may have a moment reserved; if so, whether they are many. Who
    /// waits in the engine always may: it is there as long as its call.
    fn has_place(&self, count: u32, who: Who) -> Option<bool> {
        let most = (MOMENTS_SECONDS * self.per_second) as u64;
        let most = most.clamp(MOMENTS, MOMENTS_MAX);
        #[cfg(test)]
        let most = match (who, super::small::moments()) {
            (Who::Stranger, Some(few)) => few,
            _ => most,
        };
        let booked = match who {
            Who::Waits(_) => return Some(false),
            Who::Stranger => self.strangers,
            Who::Id(_) => self.ids,
        };
        let count = u64::from(count);
        if count > most {
            (booked.large == 0).then_some(true)
        } else {
            (booked.few + count <= most).then_some(false)
        }
    }

    /// Notes a moment that is reserved, or is so no longer.
    fn book(&mut self, it: Moment, reserved: bool) {
        let count = f64::from(it.count);
        self.reserved += if reserved { count } else { -count };
        if it.who != Who::Stranger {
            if reserved {
                self.known.insert(key(it.count, it.who), it.at);
            } else {
                self.known.remove(&key(it.count, it.who));
            }
        }
        let booked = match it.who {
            Who::Waits(_) => return,
            Who::Stranger => &mut self.strangers,
            Who::Id(_) => &mut self.ids,
        };
        let (few, large) = if it.large {
            (0, 1)
        } else {
            (u64::from(it.count), 0)
        };
        if reserved {
            (booked.few, booked.large) = (booked.few + few, booked.large + large);
        } else {
            (booked.few, booked.large) = (booked.few - few, booked.large - large);
        }
    }

    /// Gives the moment of one who is known back.
    pub(super) fn forget(&mut self, count: u32, who: Who) {
        if let Some(at) = self.place(count, who) {
            let count = self.moments[at].count;
            self.take(at);
            self.give_back(count);
        }
    }

    /// Somebody was let in for nothing.
    pub(super) fn give_back(&mut self, count: u32) {
        self.spent = true;
        self.tokens = (self.tokens + f64::from(count)).min(self.burst);
    }

    fn take(&mut self, at: usize) {
        let moment = self.moments.remove(at).expect("the caller found it");
        self.book(moment, false);
    }

    /// Lets time go on: tokens gather, moments that nobody came for go back.
    fn pass(&mut self, now: Micros) {
        let elapsed = now.saturating_sub(self.last).max(0);
        self.last = now;
        self.clock = self.clock.saturating_add(elapsed);
        let elapsed = Duration::from_micros(elapsed.unsigned_abs());
        let gathered = elapsed.as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gathered).min(self.burst);
        while let Some(first) = self.moments.front().copied() {
            let over = first.at.saturating_add(MOMENT_WINDOW) < self.clock;
            // Who waits in the engine comes as soon as the engine gets to it.
            if !over || matches!(first.who, Who::Waits(_)) {
                break;
            }
            self.take(0);
            self.give_back(first.count);
        }
    }
}

/// Returns what the moment of one who is known is known by. Who waits has one at a time.
fn key(count: u32, who: Who) -> (Who, u32) {
    match who {
        Who::Waits(_) => (who, 0),
        _ => (who, count),
    }
}

#[cfg(test)]
mod tests;
