//! Models of who has a body in memory: Python's thread parks it while the writer wakes it.

use shuttle::sync::Arc;
use shuttle::thread;

use crate::note::Note;
use crate::outbox::Outbox;
use crate::residents::Residents;

const NO: u64 = 7;
const LIFE: u64 = 1;

/// The writer's part when a wait has its outcome: wake who is here, or have it loaded.
/// Returns whether it was here.
fn settle(residents: &Residents, outbox: &Outbox, n: usize) -> bool {
    let here = residents.claim(NO);
    if !here {
        residents.load(NO, LIFE);
    }
    let told = residents.deliver(NO, Note::Told(0, n));
    assert_eq!(told, None, "it has no slot yet");
    if here {
        // It has a slot now.
        outbox.put(residents.wake(NO), None);
    }
    here
}

/// A body waits; its outcome comes while it is being parked. Either it stays and is woken, or it
/// leaves and is started again: never both, never neither, and the outcome is told once.
pub fn a_body_is_parked_or_woken() {
    let residents = Arc::new(Residents::default());
    let outbox = Arc::new(Outbox::new().unwrap());
    residents.start(NO, LIFE);
    residents.wait(NO);
    let python = {
        let residents = Arc::clone(&residents);
        thread::spawn(move || {
            assert!(!residents.park(NO, LIFE + 1), "that is another life");
            residents.park(NO, LIFE)
        })
    };
    let was_here = settle(&residents, &outbox, 0);
    let loader = {
        let (residents, outbox) = (Arc::clone(&residents), Arc::clone(&outbox));
        thread::spawn(move || {
            residents.loaded(NO, LIFE, |held| {
                outbox.put(vec![Note::Start], None);
                outbox.put(held, None);
            })
        })
    };
    // A second outcome, while it may be on its way back.
    if let Some(note) = residents.deliver(NO, Note::Told(0, 1)) {
        outbox.put(vec![note], None);
    }
    let parked = python.join().unwrap();
    let started = loader.join().unwrap();
    assert_ne!(parked, was_here);
    assert_eq!(parked, started);
    let mut expected = vec![Note::Told(0, 0), Note::Told(0, 1)];
    if parked {
        expected.insert(0, Note::Start);
    }
    assert_eq!(outbox.take(usize::MAX), expected);
    assert_eq!(residents.len(), 1);
}

/// A body that leaves memory for good while its START is read is not started.
pub fn a_body_that_left_is_not_started() {
    let residents = Arc::new(Residents::default());
    residents.load(NO, LIFE);
    let loader = {
        let residents = Arc::clone(&residents);
        thread::spawn(move || {
            let mut started = false;
            let loaded = residents.loaded(NO, LIFE, |_| started = true);
            assert_eq!(loaded, started);
            started
        })
    };
    residents.leave(NO);
    let told = residents.deliver(NO, Note::Idle);
    assert_eq!(told, None, "nobody is there");
    loader.join().unwrap();
    assert!(residents.is_empty());
}
