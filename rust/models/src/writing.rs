//! Models of the inbox: who submits, the writer, the loader, and who closes.
//!
//! A wake-up that is lost leaves the writer asleep for ever here, and the model stands still.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::rand::{thread_rng, Rng};
use shuttle::sync::Arc;
use shuttle::thread;

use crate::inbox::{Inbox, Phase, Refused};
use crate::note::Note;
use crate::outbox::Outbox;
use crate::submission::Submission;
use crate::sync::NAP;
use crate::telling::readable;

const CALLERS: usize = 2;
/// Of each caller; together more than there is room for.
const EACH: usize = 3;

/// How the writer naps: mostly long, at times not at all, as when a timer is due.
fn nap() -> Option<Duration> {
    match thread_rng().gen_range(0..6) {
        0 => None,
        1 => Some(Duration::ZERO),
        _ => Some(NAP),
    }
}

fn submit_patiently(inbox: &Inbox, mut submission: Submission) -> bool {
    loop {
        match inbox.submit(submission) {
            Ok(()) => return true,
            Err(Refused::Closed) => return false,
            Err(Refused::Full(again)) => {
                submission = *again;
                inbox.wait_for_room();
            }
        }
    }
}

/// Submits one after the other or gathers them, as the driver does in a round of its loop.
fn submit_all(inbox: &Inbox, caller: usize) -> usize {
    for n in 0..EACH {
        let submission = Submission(caller, n);
        if thread_rng().gen_bool(0.5) {
            match inbox.gather(submission) {
                Ok(()) => {}
                Err(Refused::Closed) => return n,
                Err(Refused::Full(again)) => {
                    if !submit_patiently(inbox, *again) {
                        return n;
                    }
                }
            }
            if thread_rng().gen_bool(0.5) {
                inbox.flush();
            }
        } else if !submit_patiently(inbox, submission) {
            return n;
        }
    }
    inbox.flush();
    EACH
}

/// Checks that each caller's submissions came once and in order; returns how many of each came.
fn tally(taken: &[Submission]) -> [usize; CALLERS] {
    let mut next = [0; CALLERS];
    for Submission(caller, n) in taken {
        assert_eq!(
            next[*caller], *n,
            "lost, doubled or out of order: {taken:?}"
        );
        next[*caller] += 1;
    }
    next
}

/// Two callers submit, gather, flush and wait for room; one nudges. The writer gets everything.
pub fn every_submission_is_taken() {
    let inbox = Arc::new(Inbox::new());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || assert_eq!(submit_all(&inbox, caller), EACH))
        })
        .collect();
    let nudger = {
        let inbox = Arc::clone(&inbox);
        thread::spawn(move || inbox.nudge())
    };
    let mut taken = Vec::new();
    let mut batch = VecDeque::new();
    while taken.len() < CALLERS * EACH {
        // What did not fit into a commit is left over, and then the writer does not nap.
        let nap = if batch.is_empty() { nap() } else { None };
        assert_eq!(inbox.take(&mut batch, nap, || {}), Phase::Open);
        let some = thread_rng().gen_range(0..=batch.len());
        taken.extend(batch.drain(..some));
        if some == 0 {
            taken.extend(batch.pop_front());
        }
    }
    tally(&taken);
    for thread in callers {
        thread.join().unwrap();
    }
    nudger.join().unwrap();
    assert_eq!(inbox.depth(), 0);
}

/// Somebody nudges a writer that sleeps or is about to; nothing else happens.
pub fn a_nudge_is_seen() {
    let inbox = Arc::new(Inbox::new());
    let due = Arc::new(AtomicUsize::new(0));
    let nudger = {
        let (inbox, due) = (Arc::clone(&inbox), Arc::clone(&due));
        thread::spawn(move || {
            due.store(1, Ordering::SeqCst);
            inbox.nudge();
        })
    };
    let mut batch = VecDeque::new();
    while due.load(Ordering::SeqCst) == 0 {
        inbox.take(&mut batch, Some(NAP), || {});
    }
    nudger.join().unwrap();
}

/// The engine closes while callers submit: what was accepted is taken before the writer ends.
pub fn closing_loses_nothing_that_was_accepted() {
    let inbox = Arc::new(Inbox::new());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || submit_all(&inbox, caller))
        })
        .collect();
    let closer = {
        let inbox = Arc::clone(&inbox);
        thread::spawn(move || inbox.enter(Phase::Closing))
    };
    let mut taken = Vec::new();
    let mut batch = VecDeque::new();
    loop {
        let phase = inbox.take(&mut batch, nap(), || {});
        taken.extend(batch.drain(..));
        if phase == Phase::Closing && inbox.depth() == 0 {
            break;
        }
    }
    let accepted: Vec<_> = callers.into_iter().map(|it| it.join().unwrap()).collect();
    assert_eq!(tally(&taken).as_slice(), accepted);
    closer.join().unwrap();
}

/// The engine dies: the writer and whoever waits for room go on at once, and nothing is kept.
pub fn nobody_waits_for_a_dead_engine() {
    let inbox = Arc::new(Inbox::new());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || submit_all(&inbox, caller))
        })
        .collect();
    let mut batch = VecDeque::new();
    let killer = if thread_rng().gen_bool(0.5) {
        // The writer ended with an error, takes nothing more, and says so itself.
        inbox.enter(Phase::Dead);
        None
    } else {
        let inbox = Arc::clone(&inbox);
        Some(thread::spawn(move || inbox.enter(Phase::Dead)))
    };
    while killer.is_some() && inbox.take(&mut batch, Some(NAP), || {}) != Phase::Dead {
        batch.clear();
    }
    for thread in callers {
        assert_eq!(
            thread.join().unwrap(),
            EACH,
            "a dead engine takes everything"
        );
    }
    if let Some(killer) = killer {
        killer.join().unwrap();
    }
    assert_eq!(inbox.depth(), 0);
    assert!(!inbox.is_busy());
}

/// What the engine does for a caller on a virtual clock, who sleeps on the descriptor and may go
/// on only when nothing is under way: submissions with a reply each, of which some give the
/// loader a job, and questions to the loader.
pub fn idle_is_said_when_all_is_done_and_only_then() {
    const ROUNDS: usize = 2;
    let inbox = Arc::new(Inbox::new());
    let outbox = Arc::new(Outbox::new().unwrap());
    let jobs = Arc::new((
        crate::Mutex::new((VecDeque::new(), false)),
        crate::Condvar::new(),
    ));
    // What is certainly under way: counted after it was accepted, no longer when it is about to
    // end.
    let under_way = Arc::new(AtomicIsize::new(0));
    let idle = |outbox: &Outbox, under_way: &AtomicIsize| {
        assert!(
            under_way.load(Ordering::SeqCst) <= 0,
            "idle is said too early"
        );
        outbox.put(vec![Note::Idle], None);
    };
    let writer = {
        let (inbox, outbox, jobs) = (Arc::clone(&inbox), Arc::clone(&outbox), Arc::clone(&jobs));
        let under_way = Arc::clone(&under_way);
        thread::spawn(move || {
            let mut batch = VecDeque::new();
            while inbox.take(&mut batch, Some(NAP), || idle(&outbox, &under_way)) == Phase::Open {
                while let Some(Submission(caller, n)) = batch.pop_front() {
                    if caller == 1 {
                        inbox.job_begun();
                        under_way.fetch_add(1, Ordering::SeqCst);
                        jobs.0.lock().0.push_back(n);
                        jobs.1.notify_one();
                    } else {
                        outbox.put(vec![Note::Told(0, n)], Some(n as u64));
                    }
                    under_way.fetch_sub(1, Ordering::SeqCst);
                }
            }
        })
    };
    let loader = {
        let (inbox, outbox, jobs) = (Arc::clone(&inbox), Arc::clone(&outbox), Arc::clone(&jobs));
        let under_way = Arc::clone(&under_way);
        thread::spawn(move || loop {
            let mut queue = jobs.0.lock();
            while queue.0.is_empty() && !queue.1 {
                jobs.1.wait(&mut queue);
            }
            let Some(n) = queue.0.pop_front() else { return };
            drop(queue);
            outbox.put(vec![Note::Told(1, n)], None);
            under_way.fetch_sub(1, Ordering::SeqCst);
            inbox.job_done(|| idle(&outbox, &under_way));
        })
    };
    for n in 0..ROUNDS {
        for caller in 0..2 {
            inbox.submit(Submission(caller, n)).unwrap();
            under_way.fetch_add(1, Ordering::SeqCst);
        }
        // A question, which the writer has no part in.
        inbox.job_begun();
        under_way.fetch_add(1, Ordering::SeqCst);
        jobs.0.lock().0.push_back(ROUNDS + n);
        jobs.1.notify_one();
        let mut told = Vec::new();
        let mut said = false;
        while inbox.is_busy() || !outbox.is_empty() || !said {
            while !readable(&outbox) {
                thread::yield_now();
            }
            for note in outbox.take(usize::MAX) {
                said = note == Note::Idle;
                if !said {
                    told.push(note);
                }
            }
        }
        assert!(told.contains(&Note::Told(0, n)), "{told:?}");
        assert!(told.contains(&Note::Told(1, n)), "{told:?}");
        assert!(told.contains(&Note::Told(1, ROUNDS + n)), "{told:?}");
        assert_eq!(told.len(), 3, "{told:?}");
    }
    inbox.enter(Phase::Dead);
    jobs.0.lock().1 = true;
    jobs.1.notify_one();
    writer.join().unwrap();
    loader.join().unwrap();
}
