//! A running engine for tests that look at it from outside: how it is set up, and when it is at
//! rest.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::time::{Duration, Instant};

use stepwell_core::engine::Config;
use stepwell_core::note::Note;
use stepwell_core::runtime::Engine;
use stepwell_core::settings::{Layer, Limit};

/// One workflow, ten slots, a hundred places in its queue.
pub fn config() -> Config {
    Config {
        workflows: vec![("w".into(), "1".into())],
        shards: Some(4),
        slots: 10,
        namespace: "default".into(),
        limits: Layer::default()
            .with(Limit::Concurrency, 10)
            .with(Limit::QueueEntries, 100)
            .with(Limit::Recoveries, 10),
        workflow_limits: vec![],
        retentions: vec![],
        formerly: vec![],
    }
}

/// Polls until nothing is under way; IDLE notes are left out.
pub fn settle(engine: &Engine) -> Vec<Note> {
    let began = Instant::now();
    let mut notes = Vec::new();
    while engine.is_busy() {
        notes.extend(engine.poll());
        assert!(began.elapsed() < Duration::from_secs(10), "{notes:?}");
        std::thread::yield_now();
    }
    notes.extend(engine.poll());
    notes.retain(|note| *note != Note::Idle);
    notes
}
