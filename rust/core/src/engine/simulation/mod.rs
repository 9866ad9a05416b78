//! A seeded simulation: random workloads on the model store, with every fault at every moment.
//!
//! One number draws an engine with its limits, instances with their programs, and what happens, one
//! small step at a time (`actions`): the outside and bodies submit, the writer decides, commits and
//! applies, the loader reads, Python hears, the clock passes and jumps, commits fail or the disk is
//! full, the process dies or ends and another one opens the store. An oracle (`rules`) that knows
//! only what was committed and what was asked for (`truth`, `said`) judges every operation, commit
//! and note. In the end faults stop, and everything must finish.
//!
//! `cargo test` runs a few hundred seeds. `STEPWELL_SEEDS=20000` runs so many, from
//! `STEPWELL_FIRST_SEED` on if that is set; `STEPWELL_SEED=7` runs one and prints every step.

mod actions;
mod afresh;
mod anew;
mod bodies;
mod dice;
mod facts;
mod ledger;
mod line;
mod loader;
mod many;
mod outside;
mod owners;
mod plan;
mod program;
mod renewing;
mod rules;
mod said;
mod sight;
mod steps;
mod truth;
mod undoing;
mod waits;
mod world;
mod writer;

use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use world::World;

/// What submissions carry that must not have any effect.
const FORGED: &str = "forged";
/// Seeds of an ordinary test run.
const SEEDS: u64 = 400;

thread_local! {
    /// Where a panic of this thread is noted instead of printed.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of simulations quiet: they are told with their seed.
fn catch_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let noted = CAUGHT.with_borrow_mut(|caught| {
                let place = info.location().map(ToString::to_string);
                let text = info.payload_as_str().unwrap_or("a panic");
                let noted = caught.as_mut();
                noted.map(|it| *it = format!("{text} ({})", place.unwrap_or_default()))
            });
            if noted.is_none() {
                before(info);
            }
        }));
    });
}

/// Runs one seed; returns what broke.
fn run(seed: u64, traces: bool, life: impl Fn(u64, bool)) -> Result<(), String> {
    CAUGHT.set(Some(String::new()));
    let ran = catch_unwind(AssertUnwindSafe(|| life(seed, traces)));
    let text = CAUGHT.take().unwrap_or_default();
    ran.map_err(|_| text)
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

/// Runs seeds on all cores until one breaks; returns the lowest that did.
fn run_all(first: u64, count: u64, life: impl Fn(u64, bool) + Sync) -> Option<(u64, String)> {
    let next = AtomicU64::new(first);
    let broken: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count || broken.lock().expect("nobody panics").is_some() {
                    return;
                }
                if let Err(text) = run(seed, false, &life) {
                    let mut broken = broken.lock().expect("nobody panics");
                    if broken.as_ref().is_none_or(|it| seed < it.0) {
                        *broken = Some((seed, text));
                    }
                }
            });
        }
    });
    broken.into_inner().expect("nobody panics")
}

/// Runs the seeds that are asked for, each a life of its own, for the test of this name.
fn run_seeds(test: &str, life: impl Fn(u64, bool) + Sync) {
    catch_quietly();
    if let Some(seed) = number("STEPWELL_SEED") {
        if let Err(text) = run(seed, true, life) {
            panic!("seed {seed}: {text}");
        }
        return;
    }
    let first = number("STEPWELL_FIRST_SEED").unwrap_or(0);
    let count = number("STEPWELL_SEEDS").unwrap_or(SEEDS);
    if let Some((seed, text)) = run_all(first, count, life) {
        panic!(
            "seed {seed}: {text}\nrun it alone: STEPWELL_SEED={seed} cargo test --release --locked \
             -p stepwell-core --lib {test} -- --nocapture"
        );
    }
}

#[test]
fn every_rule_holds_whatever_happens() {
    let life = |seed, traces| World::new(seed, traces).run();
    run_seeds("every_rule_holds", life);
}

#[test]
fn a_seed_repeats_itself() {
    let life = |seed| {
        let mut world = World::new(seed, false);
        world.run();
        (world.now, world.truth.clock, world.dice.roll(u64::MAX))
    };
    for seed in 0..5 {
        assert_eq!(life(seed), life(seed));
    }
}
