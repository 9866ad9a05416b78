//! C9: what a queued instance costs in memory, counted by the allocator, as the number grows.
//!
//! Each thread counts for itself: the test runner allocates as it likes meanwhile.
//! `STEPWELL_TABLE=1 cargo test --release -p stepwell-core --test memory_per_entry -- --nocapture`
//! prints the whole table, in a minute.

#![expect(unsafe_code, reason = "an allocator is unsafe to write")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::sync::Arc;

use stepwell_core::ids::Key;
use stepwell_core::lifecycle::Status;
use stepwell_core::queue::{Class, Entry, Queues, Rank};
use stepwell_core::ranges::Layout;
use stepwell_core::registry::Registry;

thread_local! {
    /// Bytes this thread allocated and did not free; below zero if it freed another's.
    static IN_USE: Cell<isize> = const { Cell::new(0) };
}

fn in_use() -> isize {
    IN_USE.get()
}

fn count(came: usize, went: usize) {
    IN_USE.set(in_use() + came.cast_signed() - went.cast_signed());
}

struct Counting;

// SAFETY: whatever is asked of it, the system's allocator does unchanged; counting allocates
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        count(memory.size(), 0);
        System.alloc(memory)
    }

    unsafe fn dealloc(&self, at: *mut u8, memory: Memory) {
        count(0, memory.size());
        System.dealloc(at, memory);
    }

    unsafe fn realloc(&self, at: *mut u8, memory: Memory, size: usize) -> *mut u8 {
        count(size, memory.size());
        System.realloc(at, memory, size)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn key(no: u64) -> Key {
    Key::new("default", "bench", &no.to_string())
}

/// Returns (workflow, rank, number) of the entry that comes `at`th.
type Arrival = fn(u64) -> (u32, Rank, u64);

/// In which order and of what sort entries come.
const ARRIVALS: [(&str, Arrival); 4] = [
    ("in order", |at| (0, Rank::new(0, Class::New), at)),
    ("201 priorities", |at| {
        (0, Rank::new((at % 201) as i8 - 100, Class::New), at)
    }),
    ("woken, scattered", |at| {
        let no = at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        (0, Rank::new(0, Class::Woken), no)
    }),
    ("1,000 workflows", |at| {
        ((at % 1_000) as u32, Rank::new(0, Class::New), at)
    }),
];

/// Fills a queue; returns bytes per entry, all told, and lets it drain to nothing.
fn queue(shards: u32, entries: u64, arrival: Arrival) -> f64 {
    let layout = Arc::new(Layout::new(shards));
    let before = in_use();
    let mut queues = Queues::new(layout);
    for at in 0..entries {
        let (workflow, rank, no) = arrival(at);
        queues.push(workflow, rank, Entry::new(no, key(at)));
    }
    while queues.is_moving() {
        queues.advance(8_192);
    }
    let full = in_use() - before;
    let workflows: Vec<u32> = queues.workflows().collect();
    let mut halved = 0;
    for round in 0.. {
        if queues.is_empty() {
            break;
        }
        for workflow in &workflows {
            queues.draw(*workflow, 512);
            queues.advance(8_192);
        }
        if queues.len() * 2 <= entries as usize && halved == 0 {
            halved = in_use() - before;
        }
        assert!(round < 1_000_000, "it does not drain");
    }
    // Memory is given back while it drains, not at the end of it.
    assert!(
        entries < 100_000 || halved * 10 < full * 8,
        "{halved} of {full}"
    );
    drop(workflows);
    let rest = in_use() - before;
    assert!(rest < 100_000, "{rest} bytes of an empty queue");
    full as f64 / entries as f64
}

/// Fills a registry; returns bytes per entry beyond an empty one, and lets it drain.
fn registry(entries: u64) -> f64 {
    let registry = Registry::new();
    let before = in_use();
    for no in 0..entries {
        registry.restore(key(no), no, Status::Queued);
    }
    let full = in_use() - before;
    for no in 0..entries {
        registry.forget(key(no));
    }
    assert_eq!(in_use(), before, "all of it is given back");
    full as f64 / entries as f64
}

/// What is measured: (entries, shards).
fn sizes() -> Vec<(u64, u32)> {
    if std::env::var_os("STEPWELL_TABLE").is_none() {
        // The last one has just so many that a queue per shard pays.
        return vec![(1_000, 64), (100_000, 64), (140_000, 4_096)];
    }
    let entries = [
        1_000, 10_000, 100_000, 140_000, 500_000, 1_000_000, 2_000_000,
    ];
    let all = entries.map(|it| [1, 64, 4_096].map(|shards| (it, shards)));
    all.concat()
}

fn tell(entries: u64, shards: u32, arriving: &str, bytes: f64) {
    println!("{entries:>10} {shards:>7}  {arriving:<18} {bytes:>6.1}");
}

#[test]
fn c9_a_queued_instance_costs_at_most_64_bytes_32_of_them_in_the_queue() {
    println!("   entries  shards  arriving            bytes each");
    let headline = registry(2_000_000);
    tell(2_000_000, 0, "(registry)", headline);
    assert!(headline <= 32.0);
    let queued = queue(64, 2_000_000, ARRIVALS[0].1);
    tell(2_000_000, 64, ARRIVALS[0].0, queued);
    assert!(queued <= 32.0 && headline + queued <= 64.0);
    for (entries, shards) in sizes() {
        let known = registry(entries);
        tell(entries, shards, "(registry)", known);
        // A few instances are spread over many small tables; that is bytes, not megabytes.
        let most = if entries < 100_000 { 48.0 } else { 32.0 };
        assert!(known <= most, "registry: {known} bytes at {entries}");
        for (name, arrival) in ARRIVALS {
            let queued = queue(shards, entries, arrival);
            tell(entries, shards, name, queued);
            // However many shards there are, a workflow with one entry costs one piece.
            let few = name == "1,000 workflows" && entries < 100_000;
            let most = if few { 400.0 } else { 32.0 };
            assert!(
                queued <= most,
                "{name}, {shards} shards: {queued} bytes at {entries}"
            );
        }
    }
}
