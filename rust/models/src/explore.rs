//! How often a model is run, and how a failure is seen again.
//!
//! Half of the schedules are drawn uniformly at every step, half by PCT, which gives threads
//! priorities and changes them at few places: rare orders of few steps are found by the one, long
//! starvation by the other. Both follow from the seed.

use std::env::var;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Schedules of a model if nobody says otherwise: a second or so for all of them.
const SCHEDULES: usize = 2_000;
/// Steps after which a model that still runs is said to go round in circles.
const STEPS: usize = 20_000;
/// Changes of priority: what most known bugs of this sort need at the most.
const DEPTH: usize = 3;

/// Runs a model under `STEPWELL_SCHEDULES` schedules that follow from `STEPWELL_SEED`; or under the
/// one in `STEPWELL_SCHEDULE`, as a failure printed it.
pub fn explore(name: &str, model: fn()) {
    if let Ok(schedule) = var("STEPWELL_SCHEDULE") {
        return shuttle::replay(model, &schedule);
    }
    let seed = number("STEPWELL_SEED").unwrap_or(1);
    let schedules = number("STEPWELL_SCHEDULES").map_or(SCHEDULES, |it| it as usize);
    println!(
        "to see it again: STEPWELL_SEED={seed} STEPWELL_SCHEDULES={schedules} cargo test \
        --release -p stepwell-models --test handoffs {name}"
    );
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(STEPS);
    let uniform = RandomScheduler::new_from_seed(seed, schedules.div_ceil(2));
    Runner::new(uniform, config.clone()).run(model);
    let pct = PctScheduler::new_from_seed(seed, DEPTH, schedules / 2);
    Runner::new(pct, config).run(model);
}

fn number(variable: &str) -> Option<u64> {
    let text = var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
    )
}
