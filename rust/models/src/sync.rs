//! `parking_lot`'s locks and conditions as the core uses them, on `shuttle`'s.
//!
//! Time has no meaning under a scheduler that tries orders, so a timed wait is one of two things.
//! A long one ([`NAP`] or more) is not ended by time: whoever relies on that where a notification
//! was due stands still, and that is reported as a deadlock. A short one may end at any moment.
//! Now and then a long one ends for no reason, as if a nap were over just then.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use shuttle::rand::{thread_rng, Rng};
use shuttle::sync::atomic::{AtomicU64, Ordering};

/// From here on a wait is long.
pub const NAP: Duration = Duration::from_secs(1);
/// How often a short wait looks before it is over at the latest.
const LOOKS: u32 = 3;
/// One long wait in so many ends for no reason.
const SPURIOUS: u32 = 8;

/// A lock.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    inner: shuttle::sync::Mutex<T>,
    /// How often it was let go. Counting that is a place at which others may go on: `shuttle`
    /// has one before a lock is let go, and what follows it (a byte is written) needs one too.
    let_go: AtomicU64,
}

/// A lock that is held.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    /// None only while it waits.
    inner: Option<shuttle::sync::MutexGuard<'a, T>>,
    of: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    /// Returns a lock around this.
    pub const fn new(value: T) -> Self {
        Self {
            inner: shuttle::sync::Mutex::new(value),
            let_go: AtomicU64::new(0),
        }
    }

    /// Takes the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            inner: Some(taken(self.inner.lock())),
            of: self,
        }
    }
}

/// A model in which a thread panics has failed; what the lock holds does not matter any more.
fn taken<G>(lock: shuttle::sync::LockResult<G>) -> G {
    lock.unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.inner.as_ref().expect("it is held but while it waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("it is held but while it waits")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.inner = None;
        if !std::thread::panicking() {
            self.of.let_go.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A condition.
#[derive(Debug, Default)]
pub struct Condvar {
    inner: shuttle::sync::Condvar,
    /// How often it was notified, which is what ends a short wait early.
    rung: AtomicU64,
}

impl Condvar {
    /// Returns a condition nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inner: shuttle::sync::Condvar::new(),
            rung: AtomicU64::new(0),
        }
    }

    /// Wakes one that waits.
    pub fn notify_one(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.inner.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.inner.notify_all();
    }

    /// Waits until it is notified.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.inner.take().expect("it is held");
        guard.inner = Some(taken(self.inner.wait(held)));
    }

    /// Waits until it is notified or, if the nap is a short one, a moment.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, nap: Duration) {
        let long = nap >= NAP;
        if long && thread_rng().gen_range(0..SPURIOUS) > 0 {
            return self.wait(guard);
        }
        let before = self.rung.load(Ordering::SeqCst);
        guard.inner = None;
        let looks = if long {
            1
        } else {
            thread_rng().gen_range(1..=LOOKS)
        };
        for _ in 0..looks {
            shuttle::thread::yield_now();
            if self.rung.load(Ordering::SeqCst) != before {
                break;
            }
        }
        guard.inner = Some(taken(guard.of.inner.lock()));
    }
}
