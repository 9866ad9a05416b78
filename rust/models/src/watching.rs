//! Models of who waits for an instance to change, and of timers that die with the process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use shuttle::sync::Arc;
use shuttle::thread;

use crate::alarms::Alarms;
use crate::ids::Key;
use crate::inbox::Inbox;
use crate::lifecycle::Status;
use crate::note::Note;
use crate::outbox::Outbox;
use crate::registry::Registry;
use crate::sync::NAP;
use crate::watches::Watches;

const NO: u64 = 7;

/// An instance ends while somebody begins to wait for that: whoever watches and then looks either
/// finds it gone or is told; who watches no more leaves nothing behind.
pub fn who_watches_and_then_looks_misses_nothing() {
    let key = Key::new("default", "w", "1");
    let registry = Arc::new(Registry::new());
    let watches = Arc::new(Watches::default());
    let told = Arc::new(AtomicBool::new(false));
    registry.announce(key, NO, Status::Queued);
    assert_eq!(registry.peek(key), None, "its creation is not durable");
    registry.show(key);
    let writer = {
        let (registry, watches, told) = (registry.clone(), watches.clone(), told.clone());
        thread::spawn(move || {
            registry.decide(key, Status::Running);
            registry.show(key);
            registry.decide(key, Status::Complete);
            registry.show(key);
            if watches.has(NO) {
                told.store(true, Ordering::SeqCst);
            }
        })
    };
    let passer_by = {
        let watches = watches.clone();
        thread::spawn(move || {
            watches.add(NO);
            watches.remove(NO);
        })
    };
    watches.add(NO);
    let looked = registry.peek(key);
    assert_ne!(looked, Some(Status::Complete), "final ones leave");
    writer.join().unwrap();
    assert!(looked.is_none() || told.load(Ordering::SeqCst));
    watches.remove(NO);
    passer_by.join().unwrap();
    assert!(!watches.has(NO));
}

/// Timers are set, stopped and come due while the writer works, sleeps or is about to: one that is
/// due sooner than it would wake by itself is told all the same, and none twice.
pub fn a_timer_that_is_due_sooner_wakes_the_writer() {
    const LATER: i64 = 10;
    let clock = Arc::new(AtomicI64::new(0));
    let alarms = Arc::new(Alarms::default());
    let inbox = Arc::new(Inbox::new());
    let outbox = Arc::new(Outbox::new().unwrap());
    let python = {
        let (clock, alarms, inbox) = (clock.clone(), alarms.clone(), inbox.clone());
        thread::spawn(move || {
            let set = |at, ticket| {
                if alarms.set(at, ticket) {
                    inbox.nudge();
                }
            };
            set(LATER + 90, 1); // never due
            set(LATER - 2, 2);
            clock.store(LATER, Ordering::SeqCst);
            inbox.nudge();
            set(LATER - 1, 3);
            alarms.stop(3);
            set(LATER, 4);
        })
    };
    let mut batch = VecDeque::new();
    let mut rung = Vec::new();
    let due = |ticket| Note::Timer { ticket };
    while !(rung.contains(&due(2)) && rung.contains(&due(4))) {
        let now = clock.load(Ordering::SeqCst);
        let mut notes = Vec::new();
        let next = alarms.take_due(now, Some(LATER + 100), &mut notes);
        assert!(next.is_some_and(|it| it > now));
        outbox.put(notes, None);
        rung.extend(outbox.take(usize::MAX));
        if !(rung.contains(&due(2)) && rung.contains(&due(4))) {
            inbox.take(&mut batch, Some(NAP), || {});
        }
    }
    python.join().unwrap();
    let times = |ticket| rung.iter().filter(|it| **it == due(ticket)).count();
    assert_eq!((times(1), times(2), times(4)), (0, 1, 1), "{rung:?}");
    assert!(times(3) <= 1, "{rung:?}");
    assert_eq!(alarms.next(), Some(LATER + 90));
}
