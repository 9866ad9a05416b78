//! Each model under the schedules of its seed. See docs/reliability.md for how many, and how to see
//! a failure again.

use stepwell_models::explore::explore;
use stepwell_models::{residing, telling, watching, writing};

macro_rules! models {
    ($($file:ident: $($model:ident),+;)+) => {
        $($(
            #[test]
            fn $model() {
                explore(stringify!($model), $file::$model);
            }
        )+)+
    };
}

models! {
    writing:
        every_submission_is_taken,
        a_nudge_is_seen,
        closing_loses_nothing_that_was_accepted,
        nobody_waits_for_a_dead_engine,
        idle_is_said_when_all_is_done_and_only_then;
    telling:
        no_note_is_without_a_byte,
        nothing_is_told_once_sealed,
        the_last_note_is_the_last;
    residing:
        a_body_is_parked_or_woken,
        a_body_that_left_is_not_started;
    watching:
        who_watches_and_then_looks_misses_nothing,
        a_timer_that_is_due_sooner_wakes_the_writer;
}
