//! Models of the outbox: several threads put notes in, one sleeps on the descriptor and takes them.
//!
//! The socket is a real one; nothing blocks on it. A note without a byte lets the taker look at
//! the descriptor for ever, which is reported.

use shuttle::sync::Arc;
use shuttle::thread;

use crate::note::Note;
use crate::outbox::Outbox;

const TELLERS: usize = 2;
const EACH: usize = 3;

/// Returns whether whoever sleeps on the descriptor would wake.
#[expect(
    unsafe_code,
    reason = "the standard library cannot ask without reading"
)]
pub(crate) fn readable(outbox: &Outbox) -> bool {
    let mut asked = libc::pollfd {
        fd: outbox.descriptor(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `asked` is one live `pollfd`, and the descriptor is open as long as the outbox lives.
    let answer = unsafe { libc::poll(&raw mut asked, 1, 0) };
    assert!(answer >= 0, "{}", std::io::Error::last_os_error());
    answer == 1
}

fn sleep_and_take(outbox: &Outbox) -> Vec<Note> {
    while !readable(outbox) {
        thread::yield_now();
    }
    outbox.take(usize::MAX)
}

fn check_order(notes: &[Note]) {
    let mut next = [0; TELLERS];
    for note in notes {
        if let Note::Told(teller, n) = note {
            assert_eq!(
                next[*teller], *n,
                "lost, doubled or out of order: {notes:?}"
            );
            next[*teller] += 1;
        }
    }
}

/// Every note wakes the taker, comes once and in order; `seen` is the last batch that was taken.
pub fn no_note_is_without_a_byte() {
    let outbox = Arc::new(Outbox::new().unwrap());
    let tellers: Vec<_> = (0..TELLERS)
        .map(|teller| {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || {
                for n in 0..EACH {
                    // The first of them is the writer, whose notes come in batches.
                    let batch = (teller == 0).then_some(n as u64 + 1);
                    outbox.put(vec![Note::Told(teller, n)], batch);
                    outbox.put(Vec::new(), None);
                }
            })
        })
        .collect();
    let mut notes = Vec::new();
    while notes.len() < TELLERS * EACH {
        notes.extend(sleep_and_take(&outbox));
        let batches = notes.iter().filter(|it| matches!(it, Note::Told(0, _)));
        assert_eq!(outbox.seen(), batches.count() as u64);
    }
    check_order(&notes);
    for teller in tellers {
        teller.join().unwrap();
    }
    assert!(outbox.is_empty());
    assert!(outbox.take(usize::MAX).is_empty());
    assert!(!readable(&outbox), "a byte for nothing stays only once");
}

/// After a crash nothing is told, whoever still tries.
pub fn nothing_is_told_once_sealed() {
    let outbox = Arc::new(Outbox::new().unwrap());
    let tellers: Vec<_> = (0..TELLERS)
        .map(|teller| {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || {
                for n in 0..EACH {
                    outbox.put(vec![Note::Told(teller, n)], None);
                }
            })
        })
        .collect();
    outbox.seal();
    assert!(outbox.take(usize::MAX).is_empty());
    for teller in tellers {
        teller.join().unwrap();
    }
    assert!(outbox.take(usize::MAX).is_empty());
}

/// The engine fails while others tell: that it failed is the last thing told, and is told.
pub fn the_last_note_is_the_last() {
    let outbox = Arc::new(Outbox::new().unwrap());
    let teller = {
        let outbox = Arc::clone(&outbox);
        thread::spawn(move || {
            for n in 0..EACH {
                outbox.put(vec![Note::Told(0, n)], None);
            }
        })
    };
    let failing = {
        let outbox = Arc::clone(&outbox);
        thread::spawn(move || outbox.put_last(Note::Failed))
    };
    let mut notes = Vec::new();
    while !notes.contains(&Note::Failed) {
        notes.extend(sleep_and_take(&outbox));
    }
    teller.join().unwrap();
    failing.join().unwrap();
    notes.extend(outbox.take(usize::MAX));
    check_order(&notes);
    assert_eq!(notes.last(), Some(&Note::Failed), "{notes:?}");
}
