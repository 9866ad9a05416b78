//! What the core costs without Python: queue, registry and the memory store, per operation.

use std::hint::black_box;

use criterion::{criterion_group, criterion_main, BatchSize, Criterion, Throughput};
use stepwell_core::history::{Kind, Operation, Record, Verdict};
use stepwell_core::ids::Key;
use stepwell_core::lifecycle::Status;
use stepwell_core::queue::{Class, Entry, Queues, Rank};
use stepwell_core::registry::Registry;
use stepwell_core::store::sqlite::SqliteStore;
use stepwell_core::store::{NewInstance, Op, Store};

const ENTRIES: u64 = 100_000;

fn key(no: u64) -> Key {
    Key::new("default", "bench", &no.to_string())
}

fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(ENTRIES));
    let entries: Vec<Entry> = (1..=ENTRIES).map(|no| Entry::new(no, key(no))).collect();
    group.bench_function("push 100,000", |bencher| {
        bencher.iter_batched(
            || Queues::new(64),
            |mut queues| {
                for entry in &entries {
                    queues.push(0, Rank::new(0, Class::New), *entry);
                }
                queues
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn registry(criterion: &mut Criterion) {
    let registry = Registry::new(64);
    let keys: Vec<Key> = (1..=ENTRIES).map(key).collect();
    for (no, key) in keys.iter().enumerate() {
        registry.restore(*key, no as u64 + 1, Status::Queued);
    }
    let mut at = 0;
    criterion.bench_function("registry/peek among 100,000", |bencher| {
        bencher.iter(|| {
            at = (at + 7919) % keys.len();
            black_box(registry.peek(keys[at]))
        });
    });
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
        retry_at: None,
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

criterion_group!(benches, queue, registry, commits);
criterion_main!(benches);
