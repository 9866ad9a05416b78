//! Figures about the engine, cheap to keep and read from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::store::Op;

/// How many commits the latency figures look back.
const WINDOW: usize = 1024;

/// The engine's counters.
#[derive(Debug, Default)]
pub struct Meter {
    counts: [AtomicU64; 4],
    layout: [AtomicU64; 3],
    commits: AtomicU64,
    operations: AtomicU64,
    records: AtomicU64,
    batch_max: AtomicU64,
    disk_full: AtomicU64,
    latencies: Mutex<(Vec<u32>, usize)>,
}

impl Meter {
    pub(super) fn committed<'o>(&self, ops: impl Iterator<Item = &'o Op>, took: Duration) {
        let (mut all, mut records) = (0, 0);
        for op in ops {
            all += 1;
            records += u64::from(matches!(op, Op::Append(..)));
        }
        self.records.fetch_add(records, Relaxed);
        self.commits.fetch_add(1, Relaxed);
        self.operations.fetch_add(all, Relaxed);
        self.batch_max.fetch_max(all, Relaxed);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let mut ring = self.latencies.lock();
        let at = ring.1 % WINDOW;
        ring.1 += 1;
        if ring.0.len() < WINDOW {
            ring.0.push(micros);
        } else {
            ring.0[at] = micros;
        }
    }

    pub(super) fn counted(&self, counts: [u64; 4]) {
        for (to, from) in self.counts.iter().zip(counts) {
            to.store(from, Relaxed);
        }
    }

    pub(super) fn laid_out(&self, counts: [u64; 3]) {
        for (to, from) in self.layout.iter().zip(counts) {
            to.store(from, Relaxed);
        }
    }

    pub(super) fn set_disk_full(&self, full: bool) {
        self.disk_full.store(full.into(), Relaxed);
    }

    pub(super) fn figures(&self) -> Vec<(&'static str, u64)> {
        let mut latencies = self.latencies.lock().0.clone();
        // Not sorted: that would cost more than all the rest.
        let mut at = |share: usize| {
            let place = latencies.len() * share / 100;
            (place < latencies.len()).then(|| *latencies.select_nth_unstable(place).1)
        };
        let (p50, p99) = (at(50), at(99));
        let [slots, leased, queued, waiting] = &self.counts;
        let [shards, ranges_to_move, queued_to_move] = &self.layout;
        vec![
            ("slots", slots.load(Relaxed)),
            ("leased", leased.load(Relaxed)),
            ("queued", queued.load(Relaxed)),
            ("waiting", waiting.load(Relaxed)),
            ("shards", shards.load(Relaxed)),
            ("ranges_to_move", ranges_to_move.load(Relaxed)),
            ("queued_to_move", queued_to_move.load(Relaxed)),
            ("commits", self.commits.load(Relaxed)),
            ("records", self.records.load(Relaxed)),
            ("operations", self.operations.load(Relaxed)),
            ("batch_max", self.batch_max.load(Relaxed)),
            ("disk_full", self.disk_full.load(Relaxed)),
            ("commit_p50_us", p50.unwrap_or(0).into()),
            ("commit_p99_us", p99.unwrap_or(0).into()),
        ]
    }
}
