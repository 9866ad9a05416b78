//! Events and approvals: E1 to E5.

use super::durable::closed;
use super::{holds, Verdict};
use crate::engine::simulation::facts::Truly;
use crate::engine::simulation::said::Stamp;
use crate::engine::simulation::sight::Sight;
use crate::engine::simulation::truth::Truth;
use crate::history::{Kind, Verdict as Said};
use crate::ids::{EventId, InstanceNo};
use crate::store::{Answered, Op};
use crate::wait::{ApprovalStatus, Source, Wait};

fn takes(wait: &Wait, kind: &str) -> bool {
    matches!(&wait.source, Source::Event(types) if types.iter().any(|it| &**it == kind))
}

/// Returns whether the operations before took this event out for the record that follows.
fn was_kept(truth: &Truth, no: InstanceNo, event: EventId) -> bool {
    let taken = truth.commit.taken.as_ref();
    taken.is_some_and(|it| (it.0, it.1.id) == (no, event))
}

pub(super) fn oldest(truth: &Truth, op: &Op) -> Verdict {
    let Op::Append(no, _, record) = op else {
        return Ok(());
    };
    let Some(event) = record.taken() else {
        return Ok(());
    };
    let it = &truth.all[no];
    let kind = record.event_type.as_deref().unwrap_or_default();
    let asked = truth.said.takes.get(&(*no, record.operation.clone()));
    let Some(types) = asked.filter(|it| it.iter().any(|it| &**it == kind)) else {
        return Err(format!("it waits for {asked:?}: {op:?}"));
    };
    let kept = was_kept(truth, *no, event);
    let older = it
        .events
        .iter()
        .find(|other| types.contains(&other.kind) && (!kept || other.id < event));
    holds!(older.is_none(), "{older:?} was there before: {op:?}");
    let id = closed(truth, *no, record).map_or(u64::MAX, |it| it.id);
    let before = it.waits.iter().find(|it| it.id < id && takes(it, kind));
    holds!(before.is_none(), "{before:?} was open before: {op:?}");
    Ok(())
}

/// An event that the store has not seen before: whose, and its stamp.
fn arrival<'a>(truth: &'a Truth, op: &Op) -> Option<(&'a Truly, Stamp, bool)> {
    let (no, payload, dedup) = match op {
        Op::Buffer(no, event, dedup) => {
            let back = truth.all[no].consumed.contains_key(&event.id);
            let back = back || truth.returns(*no, event.id);
            (
                no,
                event.payload.as_ref().filter(|_| !back),
                dedup.is_some(),
            )
        }
        Op::Append(no, _, record) => {
            let new = record.taken().filter(|it| !was_kept(truth, *no, *it));
            (no, record.payload.as_ref().filter(|_| new.is_some()), false)
        }
        _ => return None,
    };
    Some((&truth.all[no], Stamp::read(payload?)?, dedup))
}

pub(super) fn in_order(truth: &Truth, op: &Op) -> Verdict {
    if let Some((it, stamp, dedup)) = arrival(truth, op) {
        let again = dedup && it.arrived.contains(&stamp.name);
        let before = it.last_events[stamp.lane()].filter(|it| it.sent >= stamp.sent);
        holds!(
            again || before.is_none(),
            "{before:?} was sent later: {op:?}"
        );
    }
    Ok(())
}

pub(super) fn deduplicated(truth: &Truth, op: &Op) -> Verdict {
    if let Some((it, stamp, dedup)) = arrival(truth, op) {
        // With a `dedup_id` it is the store that says no.
        let again = !dedup && it.arrived.contains(&stamp.name);
        holds!(!again, "it came before: {op:?}");
    }
    Ok(())
}

pub(super) fn once(truth: &Truth, op: &Op) -> Verdict {
    match op {
        Op::Append(no, _, record) => {
            if let Some(event) = record.taken() {
                let taker = truth.all[no].consumed.get(&event);
                holds!(taker.is_none(), "{taker:?} took it before: {op:?}");
            }
        }
        Op::Buffer(no, event, _) => {
            let it = &truth.all[no];
            if let Some(taker) = it.consumed.get(&event.id) {
                let given_up = truth.said.withdrawn.contains(&(*no, taker.clone()))
                    || !it.outcomes.contains_key(taker);
                holds!(given_up, "{taker:?} has it: {op:?}");
            }
            let twice = it.events.iter().any(|it| it.id == event.id);
            holds!(!twice, "it is kept already: {op:?}");
        }
        Op::Take(no, event) => {
            let kept = truth.all[no].events.iter().any(|it| it.id == *event);
            holds!(kept, "it is not kept: {op:?}");
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn first_decision(truth: &Truth, op: &Op) -> Verdict {
    match op {
        Op::Approval(new) => {
            let it = &truth.all[&new.no];
            let current = new.is_of(it.no, it.incarnation);
            holds!(current, "it is of an earlier life: {op:?}, it is {it:?}");
            let old = truth.approvals.get(&new.id);
            let Some(old) = old.filter(|it| it.is_of(new.no, new.incarnation)) else {
                let decided = new.asked_at.is_some() && new.decision.is_some();
                holds!(!decided, "it was decided for an earlier life: {op:?}");
                return Ok(());
            };
            let same = (old.status, &old.decision) == (new.status, &new.decision);
            let open = old.status == ApprovalStatus::Open;
            holds!(open || same, "it was settled: {old:?} before {op:?}");
        }
        Op::Append(no, _, record) if record.operation.kind == Kind::Approval => {
            let Some(wait) = closed(truth, *no, record) else {
                return Ok(());
            };
            let Source::Approval(id) = &wait.source else {
                return Err(format!("it waits for no approval: {wait:?}"));
            };
            let approval = truth.approvals.get(id);
            let status = match (record.verdict, record.event_type.as_deref()) {
                (Said::TimedOut, _) => ApprovalStatus::TimedOut,
                (Said::Done, Some("approved")) => ApprovalStatus::Approved,
                (Said::Done, Some("rejected")) => ApprovalStatus::Rejected,
                _ => return Err(format!("that is no decision: {op:?}")),
            };
            let incarnation = truth.all[no].incarnation;
            let right = approval.is_some_and(|it| {
                let same = it.status == status && it.decision == record.payload;
                same && it.is_of(*no, incarnation)
            });
            holds!(right, "the approval says {approval:?}: {op:?}");
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn answered_by_its_taker(truth: &Truth, op: &Op) -> Verdict {
    let (no, incarnation, place, answer) = match op {
        Op::Answer(no, incarnation, place, answer) => (no, *incarnation, *place, answer),
        Op::Ask(no, event, dedup) => {
            let it = &truth.all[no];
            let kept = it.events.iter().find(|it| it.id == *event);
            let stamp = kept.and_then(|it| Stamp::read(it.payload.as_deref()?));
            let same = stamp.is_none_or(|it| **dedup == *format!("d{}", it.name));
            holds!(same, "{kept:?} is another one: {op:?}");
            return Ok(());
        }
        _ => return Ok(()),
    };
    let it = &truth.all[no];
    holds!(it.incarnation == incarnation, "of another life: {op:?}");
    let taken = it.history.iter().find(|it| it.seq == place);
    let said = taken.and_then(|it| it.record.payload.as_ref());
    let is_of_it = said.is_some_and(|it| answer.starts_with(it));
    holds!(place == 0 || is_of_it, "{taken:?}: {op:?}");
    Ok(())
}

/// Whoever asks finds the first answer, whatever has happened since.
pub(super) fn answers(truth: &Truth, sight: &mut Sight) -> Verdict {
    for ((no, name), event) in &truth.asked {
        let found = sight.asked(*no, &format!("d{name}"));
        let first = truth.answers.get(&(*no, *event)).cloned();
        let right = first.clone().map_or(Answered::Open, Answered::With);
        holds!(
            found == right,
            "{found:?} is found of {name} of {no}, it is {first:?}"
        );
    }
    Ok(())
}

pub(super) fn no_misfit(truth: &Truth) -> Verdict {
    // The last commit of an engine matches nothing any more; the next one begins with that.
    if truth.closing {
        return Ok(());
    }
    if truth.booting {
        for it in truth.all.values() {
            fits(truth, it)?;
        }
    }
    for it in truth.changed() {
        fits(truth, it)?;
    }
    Ok(())
}

fn fits(truth: &Truth, it: &Truly) -> Verdict {
    if it.is_inert() {
        return Ok(());
    }
    for event in &it.events {
        if truth.commit.unjudged.contains(&event.id) {
            continue;
        }
        let taker = it.waits.iter().find(|it| takes(it, &event.kind));
        holds!(taker.is_none(), "{taker:?} waits beside {event:?}");
    }
    Ok(())
}
