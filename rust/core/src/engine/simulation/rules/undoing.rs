//! Undoing: who does it and why, that nothing keeps it from its end, and that all of it is done (L8).

use super::{holds, Verdict};
use crate::engine::simulation::bodies::Running;
use crate::engine::simulation::facts::Truly;
use crate::engine::simulation::sight::Sight;
use crate::engine::simulation::truth::Truth;
use crate::engine::simulation::undoing::{has_undo, is_intent, undo_of};
use crate::history::{Kind, Verdict as Said};
use crate::lifecycle::Status;
use crate::store::{Op, Transition};
use crate::undo::Undo;
use crate::wait::Source;

/// Whether an instance is to undo its steps from here on.
pub(super) fn begins(it: &Truly, to: &Transition) -> bool {
    it.undo.is_none() && to.undo == Some(Undo::Running)
}

/// Whether somebody wants an instance to undo what it did: by name, or whoever called it and waits
/// for it no longer.
pub(super) fn is_wanted(truth: &Truth, it: &Truly) -> bool {
    let parent = it.parent.filter(|_| it.called);
    let parent = parent.and_then(|it| truth.all.get(&it));
    let left = parent.is_some_and(|parent| {
        let waits = parent.waits.iter();
        parent.undo.is_some()
            && waits
                .clone()
                .all(|wait| wait.source != Source::Child(it.no))
    });
    left || truth.said.undone.contains(&it.key.0)
}

pub(super) fn for_a_reason(truth: &Truth, op: &Op) -> Verdict {
    let Op::Status(no, _, to) = op else {
        return Ok(());
    };
    let Some(it) = truth.all.get(no) else {
        return Ok(());
    };
    let body = (it.no, it.incarnation);
    let said = truth.said.had_undone.get(&body);
    let right = match (it.undo, to.undo) {
        (None, Some(Undo::Running)) => truth.said.failed.contains(&body) || is_wanted(truth, it),
        // One that never ran has nothing to undo.
        (None, Some(Undo::Complete)) => {
            !it.started && to.status == Status::Terminated && is_wanted(truth, it)
        }
        (Some(Undo::Running), Some(Undo::Running)) => !to.status.is_final(),
        (Some(Undo::Running), how) if said.is_some() && said == how.as_ref() => {
            let mut history = it.history.iter();
            let intent = history.find(|it| is_intent(&it.record));
            let same = intent.is_some_and(|it| it.record.payload == to.payload);
            let was_told = truth.said.terminated.contains(&it.key.0);
            to.status.is_final() && (same || was_told)
        }
        // Who is terminated without more words undoes nothing further.
        (Some(Undo::Running), Some(Undo::Failed)) => to.status == Status::Terminated,
        (before, now) => before == now,
    };
    holds!(right, "nobody asked for this: {op:?}, it was {it:?}");
    Ok(())
}

/// What a block or the end of a process cut short may have done something: whoever is replayed to
/// undo hears of that.
pub(super) fn knows_what_was_cut(truth: &Truth, op: &Op) -> Verdict {
    if let Op::Status(no, _, to) = op {
        let it = truth.all.get(no).filter(|it| begins(it, to));
        let cut = it.is_some_and(|it| it.cut || it.status == Status::Blocked);
        let is_told = to.marked || to.status != Status::Queued;
        holds!(!cut || is_told, "nobody hears of it: {op:?}, it was {it:?}");
    }
    Ok(())
}

/// Somebody wants it of all that belongs to an instance: nobody whom it called ends without that.
pub(super) fn with_children(truth: &Truth, op: &Op) -> Verdict {
    let Op::Status(no, _, to) = op else {
        return Ok(());
    };
    let it = truth
        .all
        .get(no)
        .filter(|_| to.status == Status::Terminated);
    let Some(it) = it.filter(|it| it.called && !truth.said.terminated.contains(&it.key.0)) else {
        return Ok(());
    };
    let parent = it.parent.and_then(|it| truth.all.get(&it));
    let undoes = parent.is_some_and(|it| it.undo == Some(Undo::Running) && is_asked_to(it));
    holds!(
        !undoes || to.undo.is_some(),
        "it undoes nothing: {op:?}, it was {it:?}"
    );
    Ok(())
}

/// Whether it was somebody who wanted it, and not a failure.
fn is_asked_to(it: &Truly) -> bool {
    let mut intents = it.history.iter().filter(|it| is_intent(&it.record));
    intents.any(|it| it.record.event_type.is_some())
}

pub(super) fn is_known(truth: &Truth, body: &Running) -> Verdict {
    let is_to = truth.all[&body.by.no].undo == Some(Undo::Running);
    let knows = body.is_undoing() == is_to;
    holds!(knows, "it is to undo: {is_to}, and it knows: {body:?}");
    Ok(())
}

pub(super) fn not_anew(truth: &Truth, op: &Op) -> Verdict {
    if let Op::Restart(no, ..) = op {
        let it = truth
            .all
            .get(no)
            .filter(|it| it.undo == Some(Undo::Running));
        holds!(it.is_none(), "it undoes: {op:?}, it is {it:?}");
    }
    Ok(())
}

/// What its body begins before it has heard of it comes to nothing.
pub(super) fn remembered(truth: &Truth) -> Verdict {
    for it in truth.changed() {
        let intents = it.history.iter().filter(|it| is_intent(&it.record)).count();
        let undoes = it.undo == Some(Undo::Running);
        holds!(
            !undoes || intents == 1,
            "it is recorded {intents} times: {it:?}"
        );
        holds!(
            it.undo.is_some() || intents == 0,
            "it is recorded, and it does not undo: {it:?}"
        );
        let mut waits = it.waits.iter();
        let other = waits.find(|wait| undoes && wait.operation.kind != Kind::Undo);
        holds!(other.is_none(), "{other:?} is waited for: {it:?}");
        let rests = undoes && it.status == Status::Waiting;
        holds!(!rests, "it waits, and undoes nothing: {it:?}");
    }
    Ok(())
}

/// Of one that has undone everything, each step that had begun and can be undone.
pub(super) fn all_undone(truth: &Truth, _: &mut Sight) -> Verdict {
    for it in truth.all.values() {
        let undo = it.undo.filter(|_| it.started);
        let steps = it.history.iter().map(|it| &it.record.operation);
        let mut steps = steps.filter(|it| has_undo(it)).map(undo_of);
        let mut lacks = steps.clone();
        let is_done = |of: crate::history::Operation| {
            let outcome = it.outcomes.get(&of);
            outcome.is_some_and(|it| it.1 == Said::Done)
        };
        let left = lacks.find(|of| !is_done(of.clone()));
        let complete = undo == Some(Undo::Complete);
        holds!(
            !complete || left.is_none(),
            "{left:?} is not undone: {it:?}"
        );
        // And nothing is undone that was not to be.
        let undone = steps.find(|of| it.outcomes.contains_key(of));
        holds!(
            undo.is_some() || undone.is_none(),
            "{undone:?} is undone: {it:?}"
        );
    }
    Ok(())
}
