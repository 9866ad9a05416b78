//! What is done to many: to each that was there when it began, once, whoever dies on the way.

use super::{holds, Verdict};
use crate::engine::simulation::truth::Truth;
use crate::store::Op;

/// No instance is changed twice by one of them, nor after its place was passed, nor if it came
/// later.
pub(super) fn once(truth: &Truth, op: &Op) -> Verdict {
    let Op::Touched(no, number) = op else {
        return Ok(());
    };
    let bulk = truth.bulks.get(number).ok_or("it was never begun")?;
    let twice = truth.touched.contains(&(*number, *no));
    holds!(!twice, "bulk {number} has changed {no} before: {bulk:?}");
    holds!(
        bulk.place < *no && *no <= bulk.frontier && bulk.ended_at.is_none(),
        "{no} is not one of those: {bulk:?}"
    );
    Ok(())
}

/// Its place only grows, with what was done up to there; and it ends once.
pub(super) fn further(truth: &Truth, op: &Op) -> Verdict {
    let Op::Bulk(bulk) = op else {
        return Ok(());
    };
    let Some(before) = truth.bulks.get(&bulk.number) else {
        holds!(
            bulk.place == 0 && bulk.ended_at.is_none(),
            "it is new: {bulk:?}"
        );
        return Ok(());
    };
    holds!(
        before.ended_at.is_none() && before.place <= bulk.place,
        "it was {before:?} before: {bulk:?}"
    );
    let touched = truth.touched.iter().filter(|it| it.0 == bulk.number);
    let done = touched.count() as u64;
    // Of those that are deleted nothing says by whom.
    let gone = truth.commit.gone.len() as u64;
    let more = bulk.done - before.done;
    let right = if &*bulk.operation == "delete" {
        more <= gone
    } else {
        bulk.done == done
    };
    holds!(right, "{done} were changed, and {gone} are gone: {bulk:?}");
    Ok(())
}
