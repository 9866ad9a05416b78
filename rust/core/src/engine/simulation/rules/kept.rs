//! Retention: nothing goes before its time, and nothing stays after it (L9).

use super::{holds, Verdict};
use crate::engine::simulation::facts::Truly;
use crate::engine::simulation::program::{workflow, ACCOUNTS};
use crate::engine::simulation::sight::Sight;
use crate::engine::simulation::truth::Truth;
use crate::wait::Source;

/// Whether an instance may go by itself: its time is over, or there are more than are kept; whoever
/// called it knows its end; and there is code that says so.
pub(super) fn is_over(truth: &Truth, it: &Truly) -> bool {
    let parent = it.parent.filter(|_| it.called);
    let parent = parent.and_then(|it| truth.all.get(&it));
    let waits = |parent: &Truly| {
        let mut waits = parent.waits.iter();
        waits.any(|wait| wait.source == Source::Child(it.no))
    };
    let timely = truth.kept_until(it).is_some_and(|at| at <= truth.now);
    let by_code = it.keep.is_none() && truth.missing & 1 << workflow(it.account) != 0;
    let goes = timely || truth.commit.surplus.contains(&it.no);
    it.status.is_final() && goes && !by_code && !parent.is_some_and(waits)
}

pub(super) fn nothing_over(truth: &Truth, _: &mut Sight) -> Verdict {
    let over = |it: &&Truly| truth.kept_until(it).is_some_and(|at| at <= truth.now);
    let stays = truth.all.values().find(over);
    holds!(stays.is_none(), "its time is over: {stays:?}");
    for account in 0..ACCOUNTS {
        let many = truth.surplus(account);
        holds!(many.is_empty(), "{many:?} are more than are kept");
    }
    Ok(())
}
