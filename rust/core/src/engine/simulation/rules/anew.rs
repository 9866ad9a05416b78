//! Beginning anew and being deleted: L6, L7, and what they leave of D6, E4, E5 and L10.

use rustc_hash::FxHashSet;

use super::{holds, kept, Verdict};
use crate::codes::TERMINATED;
use crate::engine::simulation::facts::Truly;
use crate::engine::simulation::program::workflow;
use crate::engine::simulation::said::Asked;
use crate::engine::simulation::truth::Truth;
use crate::engine::simulation::undoing::{is_intent, undo_of};
use crate::history::{Kind, Operation, Record, Stored, Verdict as Said};
use crate::ids::Seq;
use crate::lifecycle::Status;
use crate::note::{Data, Note};
use crate::rewind::From;
use crate::store::Op;
use crate::wait::Source;

/// Whether an id is its user's and not made from who called it.
fn is_own(id: &str) -> bool {
    id.starts_with('i')
}

pub(super) fn asked_for(truth: &Truth, op: &Op) -> Verdict {
    match op {
        Op::Restart(no, by, to) if to.params.is_some() => {
            let asked = truth.said.continued.contains(&(*no, *by));
            holds!(asked, "its body did not say so: {op:?}");
        }
        Op::Restart(no, ..) => {
            let asked = truth.all.get(no).map(|it| it.key.0);
            let asked = asked.is_some_and(|it| truth.said.restarted.contains(&it));
            holds!(asked, "nobody asked for this: {op:?}");
        }
        Op::Delete(no) => {
            let Some(it) = truth.all.get(no) else {
                return Err(format!("there is no such instance: {op:?}"));
            };
            let asked = truth.said.deleted.contains(&it.key.0);
            let parent = it.parent.filter(|_| it.called && is_own(&it.id));
            let erased = parent.is_some_and(|it| truth.commit.anew.iter().any(|of| of.no == it));
            let over = kept::is_over(truth, it);
            holds!(asked || erased || over, "nobody asked for this: {it:?}");
        }
        _ => {}
    }
    Ok(())
}

/// One that ran has its slot all the time: the next that is said of it is that it runs, or that it is
/// paused, if it was to be and went on as new.
pub(super) fn keeps_its_slot(truth: &Truth, op: &Op) -> Verdict {
    if let Op::Status(no, _, to) = op {
        let between = truth.all.get(no);
        let between = between.filter(|it| it.holds && it.status == Status::Queued);
        let before = truth.commit.anew.iter().find(|it| it.no == *no);
        let before = before.filter(|_| truth.commit.continued.contains(no));
        let was_to_pause = before.is_some_and(|it| it.status == Status::WaitingForPause);
        let next = if was_to_pause {
            Status::Paused
        } else {
            Status::Running
        };
        let runs = to.status == next;
        holds!(between.is_none() || runs, "it had a slot: {op:?}");
    }
    Ok(())
}

/// Nobody waits for one that is not there; who is inert finds out when it goes on.
pub(super) fn nobody_waits(truth: &Truth, op: &Op) -> Verdict {
    if let Op::Delete(no) = op {
        let waits = |it: &&Truly| it.waits.iter().any(|it| it.source == Source::Child(*no));
        let left = truth.all.values().filter(|it| !it.is_inert()).find(waits);
        holds!(left.is_none(), "{left:?} waits: {op:?}");
    }
    Ok(())
}

/// How a child ends is what whoever waits is told; one that was deleted was terminated.
pub(super) fn ends_are_told(truth: &Truth) -> Verdict {
    for (child, verdict, word) in &truth.commit.ends {
        // What it was before this commit let it begin anew or go, or what it is.
        let before = truth.commit.anew.iter().chain(&truth.commit.gone);
        let before = before.filter(|it| it.no == *child);
        let is = before.map(|it| it.status);
        let is: Vec<_> = is.chain(truth.all.get(child).map(|it| it.status)).collect();
        let word = word.as_deref();
        let was_terminated = *verdict == Said::Failed && word == Some(TERMINATED);
        let right = |status: &Status| match status {
            Status::Complete => *verdict == Said::Done,
            Status::Errored => *verdict == Said::Failed && word.is_none(),
            Status::Terminated => was_terminated,
            _ => false,
        };
        let gone = !truth.all.contains_key(child) && was_terminated;
        holds!(
            gone || *verdict == Said::TimedOut || is.iter().any(right),
            "{child} is {is:?}, and it is told {verdict:?} {word:?}"
        );
    }
    Ok(())
}

/// Which of two operations of an instance began first: by turn if that is known of both, else by the
/// clock; in one turn, or at one time, the identity says (I4).
fn began_before(it: &Truly, one: &Operation, other: &Operation) -> bool {
    let began = |of: &Operation| {
        let records = it.history.iter().map(|it| &it.record);
        let of_records = records.filter(|it| it.operation == *of);
        let of_records = of_records.map(|it| (it.begun, it.started_at));
        let waits = it.waits.iter().filter(|it| it.operation == *of);
        let of_waits = waits.map(|it| (it.begun, it.opened_at));
        let of_records: Vec<_> = of_records.collect();
        // Of an open wait nothing else says it.
        let of: Vec<_> = if of_records.is_empty() {
            of_waits.collect()
        } else {
            of_records
        };
        (of.iter().find_map(|it| it.0), of[0].1)
    };
    let ((turn, at), (than, since)) = (began(one), began(other));
    let time = match (turn, than) {
        (Some(turn), Some(than)) => turn.cmp(&than),
        _ => at.cmp(&since),
    };
    let identity = |it: &Operation| (it.branch.clone(), it.kind, it.name.clone(), it.count);
    time.then(identity(one).cmp(&identity(other))).is_lt()
}

/// The step that began first of those whose undo began (L8).
fn first_undone(it: &Truly) -> Option<&Operation> {
    let has = |of: &Operation| it.history.iter().any(|it| it.record.operation == *of);
    let steps = it.history.iter().map(|it| &it.record.operation);
    let undone = steps.filter(|it| it.kind == Kind::Do && has(&undo_of(it)));
    undone.reduce(|one, other| {
        if began_before(it, other, one) {
            other
        } else {
            one
        }
    })
}

/// What is to be left of a history: places that are kept, and what was given up and succeeded.
fn left(truth: &Truth, before: &Truly, from: &From) -> Option<(Vec<Seq>, Vec<Record>)> {
    let none = Vec::new();
    let faults = before
        .error
        .as_ref()
        .and_then(|it| truth.said.faults.get(it));
    let faults = faults.unwrap_or(&none);
    let undone = first_undone(before);
    let stays = |it: &Record| match from {
        _ if it.begins_run() => true,
        _ if it.operation.kind == Kind::Undo => false,
        From::Start => false,
        From::Operation(of) if of.kind == Kind::Continue => false,
        From::Operation(of) => began_before(before, &it.operation, of),
        From::Failed => match undone {
            Some(first) => began_before(before, &it.operation, first),
            None => !faults.contains(&it.operation),
        },
    };
    let possible = match from {
        From::Start => true,
        From::Operation(of) => {
            let recorded = before.history.iter().any(|it| it.record.operation == **of);
            recorded || before.waits.iter().any(|it| it.operation == **of)
        }
        From::Failed if undone.is_some() => true,
        From::Failed => match before.status {
            Status::Errored | Status::Terminated => true,
            status => status == Status::Blocked && !faults.is_empty(),
        },
    };
    if !possible {
        return None;
    }
    let stay = before.history.iter().filter(|it| stays(&it.record));
    let (given_up, kept): (Vec<_>, Vec<_>) =
        stay.partition(|it| it.record.verdict == Said::Abandoned);
    let value = |it: &&Stored| {
        let payload = it.record.payload.as_deref()?;
        let value = payload.strip_prefix(b"\xa1\x65value\x41")?;
        Some(Record {
            verdict: Said::Done,
            payload: Some(value.into()),
            at: truth.now,
            ..it.record.clone()
        })
    };
    let redeemed = given_up.iter().filter_map(value).collect();
    Some((kept.iter().map(|it| it.seq).collect(), redeemed))
}

/// Who asked for a restart that this commit made, by the audit, which tells of many only once.
fn wanted<'a>(truth: &'a Truth, of: &Truly) -> Option<&'a From> {
    let tickets = truth.commit.audited.iter().rev();
    let mut alone = tickets.filter_map(|it| match truth.said.tickets.get(it) {
        Some(Asked::Restart(key, from)) if *key == of.key.0 => Some(from),
        _ => None,
    });
    let with_many = || truth.said.begun_with_many.get(&of.key.0);
    alone.next().or_else(with_many)
}

/// One that goes on as new has nothing of its history but which run it is.
fn renewed(before: &Truly, it: &Truly) -> Verdict {
    let run = |it: &Truly| {
        let first = it.history.first().filter(|it| it.record.begins_run());
        first.map_or(1, |it| it.record.operation.count)
    };
    // Somebody may want it to undo that in the same commit.
    let kept = it.history.iter().filter(|it| !is_intent(&it.record));
    let right = kept.count() == 1 && run(it) == run(before) + 1;
    holds!(right, "that is no new run: {it:?}, it was {before:?}");
    Ok(())
}

pub(super) fn rewound(truth: &Truth) -> Verdict {
    for before in &truth.commit.anew {
        if truth.commit.continued.contains(&before.no) {
            if let Some(it) = truth.all.get(&before.no) {
                renewed(before, it)?;
            }
            continue;
        }
        let (Some(from), Some(it)) = (wanted(truth, before), truth.all.get(&before.no)) else {
            return Err(format!("who wanted that is not in the audit: {before:?}"));
        };
        let Some((kept, redeemed)) = left(truth, before, from) else {
            return Err(format!("not from {from:?}: {before:?}"));
        };
        let places = it.history.iter().map(|it| it.seq);
        let found: Vec<_> = places.take(kept.len()).collect();
        holds!(
            found == kept,
            "{kept:?} is kept from {from:?} on, not {found:?}: {before:?}"
        );
        let more = it.history[kept.len()..].iter().map(|it| &it.record);
        // Somebody may want it to undo that in the same commit.
        let more: Vec<_> = more.filter(|it| !is_intent(it)).collect();
        let right = more == redeemed.iter().collect::<Vec<_>>();
        holds!(right, "{redeemed:?} is redeemed, not {more:?}: {before:?}");
    }
    Ok(())
}

/// Every event that an erased wait had is kept again, under its old number, in its old place.
pub(super) fn events_are_back(truth: &Truth) -> Verdict {
    for before in &truth.commit.anew {
        let Some(it) = truth.all.get(&before.no) else {
            continue;
        };
        for (event, taker) in before.consumed.iter().filter(|_| !it.status.is_final()) {
            let told = truth.said.told.get(&(before.no, before.incarnation));
            // L15: what its body was told of is over, and nothing else.
            let kept = if truth.commit.continued.contains(&before.no) {
                told.is_some_and(|it| it.contains(taker))
            } else {
                it.outcomes.contains_key(taker)
            };
            let back = it.events.iter().any(|it| it.id == *event);
            holds!(
                kept != back,
                "{event} is back: {back}, and {taker:?} is kept: {kept}; {it:?}"
            );
        }
        let ordered = it.events.is_sorted_by_key(|it| it.id);
        holds!(ordered, "they are not in their places: {it:?}");
        if it.status.is_final() {
            continue; // it was ended at once
        }
        // What was kept is kept.
        for event in &before.events {
            let kept = it.events.iter().any(|it| it == event);
            holds!(kept, "{event:?} is lost: {it:?}");
        }
    }
    Ok(())
}

/// Whoever was called by what is erased has ended, or is gone if its id is to be free. One that has
/// ended may have been restarted since, by somebody else.
pub(super) fn no_child_of_erased(truth: &Truth) -> Verdict {
    for before in &truth.commit.anew {
        let Some(parent) = truth.all.get(&before.no) else {
            continue;
        };
        let kept: FxHashSet<_> = parent.fruits.values().copied().collect();
        let children = truth.all.values().filter(|it| it.parent == Some(parent.no));
        for child in children.filter(|it| it.called && !kept.contains(&it.no)) {
            let continued = truth.commit.continued.contains(&parent.no);
            let again = |it: &Truly| it.no == child.no && it.status.is_final();
            let ended = child.status.is_final() || truth.commit.anew.iter().any(again);
            // One that somebody began anew after its parent was told its end is nobody's part.
            let mut waits = before.waits.iter();
            let awaited = waits.any(|it| it.source == Source::Child(child.no));
            let right = if continued {
                ended || !awaited
            } else {
                ended && !is_own(&child.id)
            };
            holds!(right, "nothing of {parent:?} called it: {child:?}");
        }
        for child in &kept {
            let gone = truth.commit.gone.iter().find(|it| it.no == *child);
            let asked = gone.is_none_or(|it| truth.said.deleted.contains(&it.key.0));
            holds!(asked, "it was called by what is kept: {gone:?}");
        }
    }
    Ok(())
}

/// What somebody is told who wanted a restart or a deletion.
pub(super) fn answered(truth: &Truth, note: &Note) -> Verdict {
    let Note::Reply { ticket, code, data } = note else {
        return Ok(());
    };
    let (key, from) = match truth.said.tickets.get(ticket) {
        Some(Asked::Restart(key, from)) => (key, Some(from)),
        Some(Asked::Delete(key)) => (key, None),
        _ => return Ok(()),
    };
    let commit = &truth.commit;
    let here = truth.names.get(key).map(|it| &truth.all[it]);
    let is = |it: &Truly| it.key.0 == *key;
    let gone = commit.gone.iter().any(is);
    let new = here.is_none_or(|it| commit.created.contains(&it.no));
    let right = match (*code, from, data) {
        ("", Some(_), _) => commit.anew.iter().any(is),
        ("", None, _) => gone,
        ("not_found", ..) => new || gone,
        ("missing_code", Some(_), _) => {
            let here = here.or_else(|| commit.gone.iter().find(|it| is(it)));
            here.is_some_and(|it| truth.missing & 1 << workflow(it.account) != 0)
        }
        ("no_step", Some(from), _) => {
            let same = |it: &Truly| !commit.touched.contains(&it.no);
            let has = here.is_some_and(|it| same(it) && left(truth, it, from).is_some());
            matches!(from, From::Operation(_)) && !has
        }
        // L8: what undoes does that to its end.
        ("state", Some(_), _) => {
            let undid = here.is_some_and(|it| it.undo.is_some() || commit.undid.contains(&it.no));
            undid || commit.gone.iter().any(|it| is(it) && it.undo.is_some())
        }
        ("nothing_failed", Some(From::Failed), Data::State(status)) => {
            !matches!(status, Status::Errored | Status::Terminated)
        }
        _ => false,
    };
    holds!(right, "{code} {data:?} to {from:?}: {here:?}");
    Ok(())
}
