//! What the core costs without Python: queue, registry and the store, per operation, and what
//! changes as there is more of it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use stepwell_core::history::{Kind, Operation, Record, Verdict};
use stepwell_core::ids::Key;
use stepwell_core::lifecycle::Status;
use stepwell_core::queue::{Class, Entry, Queues, Rank};
use stepwell_core::ranges::Layout;
use stepwell_core::registry::Registry;
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::{NewInstance, Op, Store};

/// Entries: the slope from the first to the last is what matters.
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 2_000_000];

fn key(no: u64) -> Key {
    Key::new("default", "bench", &no.to_string())
}

fn entries(count: u64) -> Vec<Entry> {
    (1..=count).map(|no| Entry::new(no, key(no))).collect()
}

fn filled(shards: u32, entries: &[Entry], ranks: &[Rank]) -> Queues {
    let mut queues = Queues::new(Arc::new(Layout::new(shards)));
    for (at, entry) in entries.iter().enumerate() {
        queues.push(0, ranks[at % ranks.len()], *entry);
    }
    queues
}

fn drained(mut queues: Queues) -> Queues {
    while !queues.is_empty() {
        black_box(queues.draw(0, 64));
    }
    queues
}

/// Filling and draining, per entry: in order, and with all priorities mixed.
fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.sample_size(10);
    let one = [Rank::new(0, Class::New)];
    let all: Vec<Rank> = (-100..=100).map(|it| Rank::new(it, Class::New)).collect();
    for size in SIZES {
        let entries = entries(size);
        group.throughput(Throughput::Elements(size));
        for shards in [1, 64, 4_096] {
            for (name, ranks) in [("in order", &one[..]), ("201 priorities", &all)] {
                let of = format!("{shards} shards, {name}, {size}");
                group.bench_function(format!("fill {of}"), |bencher| {
                    bencher.iter_with_large_drop(|| filled(shards, &entries, ranks));
                });
                group.bench_function(format!("drain {of}"), |bencher| {
                    let full = || filled(shards, &entries, ranks);
                    bencher.iter_batched(full, drained, BatchSize::PerIteration);
                });
            }
        }
    }
    group.finish();
}

/// Handing over, per entry that changes its shard.
fn reshard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reshard");
    group.sample_size(10);
    let entries = entries(2_000_000);
    group.throughput(Throughput::Elements(2_000_000));
    for (from, to) in [(1, 64), (64, 1), (64, 4_096), (4_096, 1)] {
        group.bench_function(format!("{from} to {to} shards, 2,000,000"), |bencher| {
            bencher.iter_batched(
                || filled(from, &entries, &[Rank::new(0, Class::New)]),
                |mut queues| {
                    queues.relocate(Arc::new(Layout::new(to)));
                    while queues.is_moving() {
                        queues.advance(8_192);
                    }
                    queues
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn registry(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registry");
    group.sample_size(10);
    for size in SIZES {
        let keys: Vec<Key> = (1..=size).map(key).collect();
        let names: Vec<String> = (1..=size).map(|no| no.to_string()).collect();
        let filled = || {
            let registry = Registry::new();
            for (no, key) in keys.iter().enumerate() {
                registry.restore(*key, no as u64 + 1, Status::Queued);
            }
            registry
        };
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("fill {size}"), |bencher| {
            bencher.iter_with_large_drop(filled);
        });
        group.throughput(Throughput::Elements(1));
        let registry = filled();
        for threads in [1, 2, 4] {
            group.bench_function(format!("peek among {size}, {threads} threads"), |bencher| {
                bencher.iter_custom(|times| peeks(&registry, &names, threads, times));
            });
        }
    }
    group.finish();
}

/// Returns how long one peek by name takes where so many threads peek at once, so many times over.
fn peeks(registry: &Registry, names: &[String], threads: usize, times: u64) -> Duration {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut at = thread * names.len() / threads;
                for _ in 0..times {
                    at = (at + 7_919) % names.len();
                    black_box(registry.peek(Key::new("default", "bench", &names[at])));
                }
            });
        }
    });
    // What a core spends on one: with more threads than cores they take turns.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let in_turn = threads.div_ceil(cores).max(1) as u32;
    began.elapsed() / in_turn
}

fn append(no: u64) -> Op {
    let operation = Operation {
        kind: Kind::Do,
        branch: "".into(),
        name: "step".into(),
        key: None,
        count: 1,
    };
    let record = Record {
        operation,
        attempt: 1,
        verdict: Verdict::Done,
        started_at: 1,
        at: 2,
        begun: None,
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: Some(vec![7; 100].into()),
    };
    Op::Append(no, no, record)
}

fn created(no: u64) -> Op {
    Op::Create(Box::new(NewInstance {
        no,
        incarnation: no,
        namespace: "default".into(),
        workflow: "bench".into(),
        version: "1".into(),
        id: no.to_string().into(),
        params: None,
        attributes: None,
        priority: 0,
        created_at: 1,
        start_at: None,
        status: Status::Running,
        parent: None,
        called: false,
        format: 1,
        seed: None,
        keep: None,
        schedule: None,
    }))
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sqlite");
    for size in [1_u64, 100, 1_000] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bench.db");
        let mut store = SqliteStore::open(&path, "bench").expect("a store");
        let creates: Vec<Op> = (1..=1_000).map(created).collect();
        assert_eq!(store.commit(&creates).expect("created").len(), 1_000);
        let batch: Vec<Op> = (1..=size).map(append).collect();
        group.throughput(Throughput::Elements(size));
        group.bench_function(format!("commit of {size} records"), |bencher| {
            bencher.iter(|| {
                let outcomes = store.commit(&batch).expect("committed");
                store.maintain().expect("maintained");
                outcomes
            });
        });
    }
    group.finish();
}

criterion_group!(benches, queue, reshard, registry, commits);
criterion_main!(benches);
