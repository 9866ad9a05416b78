//! The engine's own figures and the store's rows, against a recount (C1, C5, C6, C8, D1, T1).

use std::collections::BTreeMap;

use super::{holds, Verdict};
use crate::codes;
use crate::engine::simulation::facts::Truly;
use crate::engine::simulation::program::{kind_of, namespace, operation, Act, Program, ACCOUNTS};
use crate::engine::simulation::sight::{Reason, Sight};
use crate::engine::simulation::truth::Truth;
use crate::failures::{first_hour, HOUR};
use crate::history::Kind;
use crate::ids::Micros;
use crate::lifecycle::Status;
use crate::reasons::LATE;
use crate::tally::States;
use crate::wait::{Source, Wait};

pub(super) fn slots(truth: &Truth, sight: &mut Sight) -> Verdict {
    let (leased, held) = (sight.leased(), truth.held);
    holds!(leased == held, "{leased} slots are in use, {held} run");
    for account in 0..ACCOUNTS {
        let Some(free) = sight.free(account) else {
            continue;
        };
        let of = namespace(account);
        let plan = &truth.plan;
        let left = (plan.slots.saturating_sub(held))
            .min(
                plan.slots_of_namespace(of)
                    .saturating_sub(truth.held_in[of]),
            )
            .min(
                plan.slots_of_workflow(account)
                    .saturating_sub(truth.crowds[account].held),
            );
        holds!(
            free == left,
            "{free} slots are free for workflow {account}, not {left}"
        );
    }
    Ok(())
}

pub(super) fn places(truth: &Truth, sight: &mut Sight) -> Verdict {
    let ready: usize = truth.crowds.iter().map(|it| it.ready.len()).sum();
    let all: u32 = truth.crowds.iter().map(|it| it.queued).sum();
    let (queued, waiting) = sight.queued_and_waiting();
    let held_back = sight.held_back();
    holds!(
        queued == ready + held_back,
        "{queued} are in the queue, {ready} are ready, {held_back} held back"
    );
    let unripe = truth.unripe.len();
    let counted = ready + held_back + unripe;
    holds!(
        counted == all as usize,
        "{counted} in their places, {all} are queued"
    );
    let expected: u64 = truth
        .states
        .iter()
        .map(|it| it[Status::Waiting as usize])
        .sum();
    holds!(waiting == expected, "{waiting} wait, not {expected}");
    for (account, crowd) in truth.crowds.iter().enumerate() {
        let counted = sight.admitted(account);
        let right = counted == crowd.queued;
        holds!(
            right,
            "{counted} are queued in {account}, not {}",
            crowd.queued
        );
        let first = crowd.ready.first().map(|it| (crowd.ready.len(), it.no));
        let found = sight.demand(account);
        holds!(
            found == first,
            "{account} asks with {found:?}, not {first:?}"
        );
    }
    Ok(())
}

pub(super) fn limits(truth: &Truth, sight: &mut Sight) -> Verdict {
    let plan = &truth.plan;
    for account in 0..ACCOUNTS {
        let of = plan.slots_of_namespace(namespace(account));
        let slots = of.min(plan.slots_of_workflow(account));
        let expected = (slots, plan.queue_of(account), plan.recoveries(account));
        let found = sight.limits(account);
        holds!(
            found == expected,
            "{found:?} are the limits of {account}, not {expected:?}"
        );
    }
    Ok(())
}

/// What is counted without looking at anybody.
pub(super) fn counts(truth: &Truth, sight: &mut Sight) -> Verdict {
    for (account, states) in truth.states.iter().enumerate() {
        let expected = Status::ALL.iter().zip(states).filter(|it| *it.1 > 0);
        let found = sight.counts(account);
        let same = expected.map(|it| (*it.0, *it.1)).eq(found.iter().copied());
        holds!(same, "{found:?} are counted in {account}, not {states:?}");
    }
    Ok(())
}

/// The same by version, counted by asking each.
pub(super) fn versions(truth: &Truth, sight: &mut Sight) -> Verdict {
    let mut expected: [BTreeMap<Box<str>, States>; ACCOUNTS] = Default::default();
    for it in truth.all.values() {
        let of = expected[it.account].entry(it.version.clone()).or_default();
        of[it.status as usize] += 1;
    }
    for (account, expected) in expected.iter().enumerate() {
        let found = sight.versions(account);
        holds!(
            found == *expected,
            "{found:?} are counted in {account}, not {expected:?}"
        );
    }
    Ok(())
}

/// Why instances are where they are, asking each.
pub(super) fn reasons(truth: &Truth, sight: &mut Sight) -> Verdict {
    let mut expected: [BTreeMap<Reason, (u64, Option<Micros>)>; ACCOUNTS] = Default::default();
    for it in truth.all.values() {
        if let Some((code, step, next)) = reason(truth, it) {
            let reason = (it.version.clone(), it.status, code, step);
            let group = expected[it.account].entry(reason).or_insert((0, None));
            group.0 += 1;
            group.1 = group.1.into_iter().chain(next).min();
        }
    }
    for (account, expected) in expected.iter().enumerate() {
        let mut found = sight.reasons(account, truth.now);
        let failed = found.extract_if(.., |reason, _| reason.1 == Status::Errored);
        let failed: u64 = failed.map(|it| it.1 .0).sum();
        let first = first_hour(truth.now);
        let lately = truth.errored[account].iter();
        let lately = lately.filter(|it| it.div_euclid(HOUR) >= first).count() as u64;
        holds!(
            failed == lately,
            "{failed} failed lately in {account}, not {lately}"
        );
        holds!(
            found == *expected,
            "{found:?} are the reasons in {account}, not {expected:?}"
        );
    }
    Ok(())
}

/// A code, a step, and when it goes on by itself.
type Said = (Box<str>, Option<Box<str>>, Option<Micros>);

/// Why an instance is where it is.
fn reason(truth: &Truth, it: &Truly) -> Option<Said> {
    let retries = it.waits.iter();
    let retries = retries.filter(|it| matches!(it.source, Source::Retry(_)));
    let retry = retries.min_by_key(|it| it.until);
    let wait = match it.status {
        Status::Blocked => return Some((it.reason.clone()?, it.step.clone(), None)),
        Status::Paused | Status::WaitingForPause => {
            return Some((codes::PAUSED.into(), None, None))
        }
        Status::Queued => {
            let place = it.place.expect("it is queued");
            let code = match place {
                _ if place.held_back => codes::HELD_BACK,
                _ if !place.ripe => codes::START_AT,
                _ => codes::QUEUED,
            };
            return Some((code.into(), None, None));
        }
        Status::Running => retry?,
        Status::Waiting => retry.or_else(|| {
            let is_deadline = |it: &Wait| it.operation.kind == Kind::Deadline;
            it.waits.iter().min_by_key(|it| (is_deadline(it), it.id))
        })?,
        Status::Complete | Status::Errored | Status::Terminated => return None,
    };
    let code = match wait.source {
        _ if wait.until.is_some_and(|it| it < truth.now - LATE) => codes::OVERDUE,
        Source::Retry(_) => codes::RETRYING,
        Source::Event(_) => codes::FOR_EVENT,
        Source::Approval(_) => codes::FOR_APPROVAL,
        Source::Child(_) => codes::FOR_CHILD,
        Source::Timer | Source::Instant => codes::FOR_SLEEP,
    };
    let operation = &wait.operation;
    let step = operation.key.as_ref().unwrap_or(&operation.name);
    Some((code.into(), Some(step.clone()), wait.until))
}

pub(super) fn touched(truth: &Truth, sight: &mut Sight) -> Verdict {
    for it in &truth.commit.gone {
        let found = sight.peek(it.key);
        let again = truth.names.contains_key(&it.key.0);
        holds!(
            found.is_none() || again,
            "{found:?} is what one sees of {it:?}, which is gone"
        );
    }
    for it in truth.changed() {
        let found = sight.peek(it.key);
        let expected = Some(it.status).filter(|it| !it.is_final());
        holds!(found == expected, "{found:?} is what one sees of {it:?}");
    }
    Ok(())
}

pub(super) fn nothing_overdue(truth: &Truth, sight: &mut Sight) -> Verdict {
    let next = sight.next_timer().filter(|_| !truth.closing);
    let overdue = next.filter(|it| *it <= truth.now);
    holds!(
        overdue.is_none(),
        "due at {overdue:?}, and it is {}",
        truth.now
    );
    Ok(())
}

pub(super) fn rows(truth: &Truth, sight: &mut Sight) -> Verdict {
    let rows = sight.rows();
    holds!(rows.len() == truth.all.len(), "{} rows", rows.len());
    for row in rows {
        let it = &truth.all[&row.no];
        let same = (
            row.status,
            row.marked,
            row.incarnation,
            row.recoveries,
            row.priority,
        ) == (
            it.status,
            it.marked,
            it.incarnation,
            it.recoveries,
            it.priority,
        );
        holds!(
            same && row.reason == it.reason,
            "{row:?} is stored of {it:?}"
        );
        let (records, waits) = sight.history(row.no);
        let mut open: Vec<_> = it.waits.iter().map(|it| it.id).collect();
        open.sort_unstable();
        holds!(waits == open, "{waits:?} are stored of {it:?}");
        let outcomes = records.iter().filter(|it| it.record.verdict.is_outcome());
        let mut count = 0;
        for stored in outcomes {
            let true_one = it.outcomes.get(&stored.record.operation);
            let same = true_one == Some(&(stored.seq, stored.record.verdict));
            holds!(same, "{stored:?} is stored of {it:?}");
            count += 1;
        }
        holds!(
            count == it.outcomes.len(),
            "{records:?} are stored of {it:?}"
        );
    }
    Ok(())
}

/// Every entry is in its queue, in its shard, once and in order; and so many timers are set as must
/// be.
pub(super) fn queues(truth: &Truth, sight: &mut Sight) -> Verdict {
    for (account, crowd) in truth.crowds.iter().enumerate() {
        let ready = crowd.ready.iter();
        let expected: Vec<_> = ready.map(|it| (truth.shard(it.no), it.no)).collect();
        let found = sight.queue(account);
        holds!(
            found == expected,
            "{found:?} are queued in {account}, not {expected:?}"
        );
    }
    let live = truth.all.values();
    let live = live.filter(|it| !it.is_inert() && !it.status.is_paused());
    let armed = live
        .flat_map(|it| &it.waits)
        .filter(|it| it.until.is_some());
    let expected = armed.count() + truth.unripe.len();
    let timers = sight.timers();
    holds!(
        timers == expected,
        "{timers} timers are set, not {expected}"
    );
    Ok(())
}

pub(super) fn lookups(truth: &Truth, sight: &mut Sight) -> Verdict {
    for it in truth.all.values() {
        let found = sight.peek(it.key);
        let expected = Some(it.status).filter(|it| !it.is_final());
        holds!(found == expected, "{found:?} is what one sees of {it:?}");
    }
    let live = truth
        .all
        .values()
        .filter(|it| !it.status.is_final())
        .count();
    holds!(
        sight.known() == live,
        "{} are known, {live} are live",
        sight.known()
    );
    Ok(())
}

pub(super) fn all_final(truth: &Truth, sight: &mut Sight) -> Verdict {
    for it in truth.all.values() {
        let program = Program::of(sight.seed, &it.id);
        let right = match it.status {
            Status::Complete => !program.fails,
            Status::Errored => program.fails,
            Status::Terminated => true, // whether it should was judged then
            _ => false,
        };
        holds!(right, "it did not end as it must: {it:?}");
    }
    Ok(())
}

pub(super) fn all_done(truth: &Truth, sight: &mut Sight) -> Verdict {
    let through = |it: &&Truly| matches!(it.status, Status::Complete | Status::Errored);
    for it in truth.all.values().filter(through) {
        for (strand, at, act) in Program::of(sight.seed, &it.id).acts() {
            let kind = match act {
                Act::Leave(_) => continue,
                Act::Step | Act::Save | Act::Flaky(_) | Act::Race(_) => Kind::Do,
                Act::Wait(what, _) => kind_of(what),
                Act::Spawn(_) => Kind::CreateBatch,
                Act::Result(_) => Kind::Result,
                Act::Post => Kind::Send,
                Act::Answer(_) => Kind::Reply,
            };
            let operation = operation(kind, strand, at, false);
            let has = it.outcomes.contains_key(&operation);
            holds!(has, "{act:?} has no outcome: {it:?}");
        }
    }
    Ok(())
}

pub(super) fn nothing_left(_: &Truth, sight: &mut Sight) -> Verdict {
    let left = sight.left();
    holds!(left.is_empty(), "{left}");
    Ok(())
}
