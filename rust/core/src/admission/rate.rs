//! Creations per second, and moments reserved for those who came too soon (C10).
//!
//! A token bucket whose tokens may be below zero: whoever is refused pays for a moment of its own
//! in advance, and is told how far that is. So the next one is told a later moment, and a hundred
//! callers that wait as told all get in the first time they come back, at the rate.
//!
//! - A moment is valid for [`MOMENT_WINDOW`]. Who does not come back by then gives it back.
//! - Callers are strangers to the core, but for those that give an id, and batches that wait in
//!   the engine: their moments are theirs, and coming too early tells them the same moment again.
//!   The moments of strangers are for any stranger who asks for as many creations; the one that
//!   ends first goes first, so that if each comes in its own window, all are served.
//! - The book of moments is bounded: [`MOMENTS`] creations or [`MOMENTS_SECONDS`] of them, and one
//!   batch of more than that. A caller beyond it is told an estimate and has nothing reserved, so
//!   who hammers pushes nobody further away than that.
//! - A batch of more than the burst waits until its tokens have gathered, like anybody else. To
//!   refuse it for good would be a surprise at the default (the burst is one second's worth, a
//!   batch up to 10,000); to let it in at once, and others pay, would be no limit.
//!
//! Invariant: up to any time, at most `burst + rate × time` were let in. Time is passed in and may
//! jump: back counts as standing still, so that nobody waits for what a clock made up.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::Micros;
use crate::limits::{MOMENTS, MOMENTS_MAX, MOMENTS_SECONDS, MOMENT_WINDOW};

#[derive(Debug, Clone, Copy)]
struct Moment {
    /// By the bucket's own clock, which only goes on.
    at: Micros,
    count: u32,
    owner: Option<u64>,
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
        }
    }

    /// Changes the limit from now on. Moments that were promised stay.
    pub(super) fn set(&mut self, per_second: f64, burst: f64, now: Micros) {
        self.pass(now);
        (self.per_second, self.burst) = (per_second, burst);
        self.tokens = self.tokens.min(burst);
    }

    /// Decides about `count` creations, all or none; returns how long to wait if it is too soon.
    pub(super) fn ask(&mut self, count: u32, owner: Option<u64>, now: Micros) -> Option<Micros> {
        self.pass(now);
        let own = |it: &Moment| it.owner == owner && it.count == count;
        if owner.is_some() {
            if let Some(at) = self.moments.iter().position(own) {
                let wait = self.moments[at].at - self.clock;
                // What others gave back may have paid for everybody by now.
                if wait > 0 && self.tokens < 0.0 {
                    return Some(wait);
                }
                self.take(at);
                return None;
            }
        }
        let wanted = f64::from(count);
        if self.tokens >= wanted {
            self.tokens -= wanted;
            return None;
        }
        if owner.is_none() {
            let due = self.moments.partition_point(|it| it.at <= self.clock);
            if let Some(at) = self.moments.iter().take(due).position(own) {
                self.take(at);
                return None;
            }
        }
        let wait = ((wanted - self.tokens) / self.per_second * 1e6).ceil() as Micros;
        if self.has_place(count) {
            self.tokens -= wanted;
            let at = self.clock.saturating_add(wait);
            // A rate that was raised meanwhile lets later callers come before earlier ones.
            let place = self.moments.partition_point(|it| it.at <= at);
            let moment = Moment { at, count, owner };
            self.moments.insert(place, moment);
        }
        Some(wait)
    }

    /// Whether so many more creations may have a moment reserved.
    fn has_place(&self, count: u32) -> bool {
        let most = (MOMENTS_SECONDS * self.per_second) as u64;
        let most = most.clamp(MOMENTS, MOMENTS_MAX);
        let (mut few, mut many) = (0, 0);
        for it in &self.moments {
            let count = u64::from(it.count);
            if count > most {
                many += 1;
            } else {
                few += count;
            }
        }
        let count = u64::from(count);
        if count > most {
            many == 0
        } else {
            few + count <= most
        }
    }

    /// Somebody was let in for nothing.
    pub(super) fn give_back(&mut self, count: u32) {
        self.tokens = (self.tokens + f64::from(count)).min(self.burst);
    }

    fn take(&mut self, at: usize) -> Moment {
        self.moments.remove(at).expect("the caller found it")
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
            if first.at.saturating_add(MOMENT_WINDOW) >= self.clock {
                break;
            }
            self.moments.pop_front();
            self.give_back(first.count);
        }
    }
}

#[cfg(test)]
mod tests;
