//! What is recorded: once, by whom it concerns, never early (D2, D6, E3, R2, T1).

use super::{holds, Verdict};
use crate::engine::simulation::facts::Layout;
use crate::engine::simulation::truth::Truth;
use crate::engine::simulation::undoing::is_intent;
use crate::engine::simulation::FORGED;
use crate::history::{Kind, Record, Verdict as Said};
use crate::ids::{InstanceNo, Key};
use crate::store::Op;
use crate::wait::Wait;

/// Returns the outcome that an operation records, and whose.
fn outcome(op: &Op) -> Option<(InstanceNo, &Record)> {
    match op {
        Op::Append(no, _, record) if record.verdict.is_outcome() => Some((*no, record)),
        _ => None,
    }
}

/// Returns the wait that the operation before closed, if the record is its outcome.
pub(super) fn closed<'a>(truth: &'a Truth, no: InstanceNo, record: &Record) -> Option<&'a Wait> {
    let (of, wait) = truth.commit.closed.as_ref()?;
    (*of == no && wait.operation == record.operation).then_some(wait)
}

pub(super) fn fresh(truth: &Truth, op: &Op) -> Verdict {
    let number = match op {
        Op::Create(new) => {
            let key = Key::new(&new.namespace, &new.workflow, &new.id);
            let taken = truth.names.contains_key(&key.0);
            (!taken).then_some(new.no)
        }
        Op::Open(_, _, wait) => Some(wait.id),
        Op::Restart(_, _, to) => Some(to.incarnation),
        Op::Buffer(no, event, _) => {
            let before = truth
                .all
                .get(no)
                .map(|it| it.consumed.contains_key(&event.id));
            let returns = before.is_some() && truth.returns(*no, event.id);
            (before == Some(false) && !returns).then_some(event.id)
        }
        Op::Append(no, _, record) => record.taken().filter(|id| {
            let taken = truth.commit.taken.as_ref();
            taken.is_none_or(|it| (it.0, it.1.id) != (*no, *id))
        }),
        _ => None,
    };
    let again = number.is_some_and(|it| truth.numbers.contains(&it));
    holds!(!again, "this number was given out before: {op:?}");
    Ok(())
}

pub(super) fn owned(truth: &Truth, op: &Op) -> Verdict {
    let (no, incarnation, forged) = match op {
        Op::Append(no, incarnation, record) => {
            (no, Some(incarnation), &*record.operation.name == FORGED)
        }
        Op::Open(no, incarnation, wait) => (no, Some(incarnation), &*wait.operation.name == FORGED),
        Op::Status(no, incarnation, _)
        | Op::Attributes(no, incarnation, _)
        | Op::Version(no, incarnation, _)
        | Op::Place(no, incarnation, ..)
        | Op::Answer(no, incarnation, ..)
        | Op::Restart(no, incarnation, _) => (no, Some(incarnation), false),
        Op::Close(no, _) | Op::Buffer(no, ..) | Op::Take(no, _) | Op::Progress(no, _) => {
            (no, None, false)
        }
        _ => return Ok(()),
    };
    let Some(it) = truth.all.get(no) else {
        return Err(format!("there is no such instance: {op:?}"));
    };
    let speaks = matches!(
        op,
        Op::Append(..) | Op::Open(..) | Op::Take(..) | Op::Answer(..)
    );
    let ended = it.status.is_final() && !matches!(op, Op::Restart(..));
    holds!(!ended, "it has ended: {op:?}, it is {it:?}");
    holds!(
        !speaks || !it.is_inert() || is_set_by_hand(truth, op),
        "it is blocked: {op:?}, it is {it:?}"
    );
    let current = incarnation.is_none_or(|of| *of == it.incarnation);
    holds!(current && !forged, "it came too late: {op:?}, it is {it:?}");
    Ok(())
}

/// Whether somebody set this outcome, or wants the instance to undo what it did: nobody but a body
/// says anything else.
fn is_set_by_hand(truth: &Truth, op: &Op) -> bool {
    let Op::Append(no, _, record) = op else {
        return false;
    };
    if is_intent(record) {
        return truth.all[no].undo.is_none();
    }
    let of = (truth.all[no].key.0, record.operation.clone());
    record.verdict == Said::Done && truth.said.resolved.contains(&of)
}

pub(super) fn once(truth: &Truth, op: &Op) -> Verdict {
    if let Some((no, record)) = outcome(op) {
        let before = truth.all[&no].outcomes.get(&record.operation);
        holds!(before.is_none(), "it had {before:?} before {op:?}");
    }
    Ok(())
}

pub(super) fn attempts_grow(truth: &Truth, op: &Op) -> Verdict {
    if let Op::Append(no, _, record) = op {
        let before = truth.all[no].attempts.get(&record.operation);
        let ends = matches!(record.verdict, Said::AttemptFailed | Said::Interrupted);
        let grows = before.is_none_or(|it| *it < record.attempt);
        holds!(!ends || grows, "attempt {before:?} came before {op:?}");
    }
    Ok(())
}

pub(super) fn ends_a_wait(truth: &Truth, op: &Op) -> Verdict {
    let Some((no, record)) = outcome(op) else {
        return Ok(());
    };
    let it = &truth.all[&no];
    let open = it.waits.iter().find(|it| it.operation == record.operation);
    // A retry delay is part of its step.
    let open = open.filter(|_| record.operation.kind != Kind::Do);
    holds!(open.is_none(), "{open:?} stays open: {op:?}");
    let timed_out = record.verdict == Said::TimedOut;
    let ended = closed(truth, no, record).is_some();
    holds!(!timed_out || ended, "nothing was open: {op:?}");
    Ok(())
}

pub(super) fn not_early(truth: &Truth, op: &Op) -> Verdict {
    let Some((no, record)) = outcome(op) else {
        return Ok(());
    };
    let by_time = record.verdict == Said::TimedOut || record.operation.kind == Kind::Sleep;
    if let Some(wait) = closed(truth, no, record).filter(|_| by_time) {
        let due = wait.until.is_some_and(|at| at <= truth.now);
        holds!(due, "now is {}: {wait:?}", truth.now);
    }
    Ok(())
}

pub(super) fn ceiling(truth: &Truth) -> Verdict {
    let (highest, ceiling) = (truth.highest, truth.ceiling);
    holds!(highest < ceiling, "{highest} is in use, {ceiling} promised");
    Ok(())
}

/// Every hand-over of a range, by a change or by another engine, has a higher epoch.
pub(super) fn epochs_rise(truth: &Truth, op: &Op) -> Verdict {
    if let Op::Meta(name, value) = op {
        if &**name == "layout" {
            let (old, new) = (truth.layout, Layout::read(value));
            let moves = truth.booting || new.wanted != old.wanted;
            let rises = new.epoch > old.epoch || (!moves && new.epoch == old.epoch);
            holds!(rises, "{new:?} after {old:?}");
        }
    }
    Ok(())
}

/// The first commit of an engine says how many shards it has; nothing is on its way then.
pub(super) fn laid_out(truth: &Truth) -> Verdict {
    let layout = truth.layout;
    let right = !truth.booting || layout.wanted == layout.reached;
    holds!(right && layout.wanted > 0, "{layout:?}");
    Ok(())
}
