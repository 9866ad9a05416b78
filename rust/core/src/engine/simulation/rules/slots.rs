//! Who gets a slot: C1 to C4, C10 and `start_at`.

use super::{holds, Verdict};
use crate::engine::simulation::facts::{Granted, Order};
use crate::engine::simulation::program::{namespace, Account, ACCOUNTS};
use crate::engine::simulation::said::Asked;
use crate::engine::simulation::truth::Truth;
use crate::ids::Key;
use crate::lifecycle::Status;
use crate::queue::small;
use crate::store::{NewInstance, Op};

/// Returns the account of a creation that is not refused.
fn created(truth: &Truth, new: &NewInstance) -> Option<Account> {
    let key = Key::new(&new.namespace, &new.workflow, &new.id);
    let account = crate::engine::simulation::program::account(&new.namespace, &new.workflow);
    (!truth.names.contains_key(&key.0)).then_some(account)
}

/// C1. A commit is one moment: what it gives and takes back counts together. Where a limit was
/// lowered more may run than it allows, but nobody starts; so the last one that started did so
/// within the limits of that moment, were they set by the same commit.
pub(super) fn within_limits(truth: &Truth) -> Verdict {
    for granted in &truth.commit.granted {
        let account = granted.account;
        let of = namespace(account);
        let last = |same: &dyn Fn(Account) -> bool| {
            let all = truth.commit.granted.iter();
            all.rev().find(|it| same(it.account)).expect("this one")
        };
        let in_workflow = last(&|it| it == account).most.0;
        let in_namespace = last(&|it| namespace(it) == of).most.1;
        let crowd = truth.crowds[account].held;
        let right = truth.held <= truth.plan.slots
            && truth.held_in[of] <= in_namespace
            && crowd <= in_workflow;
        holds!(
            right,
            "{} slots are taken, {} in the namespace, {crowd} in workflow {account}: {granted:?}",
            truth.held,
            truth.held_in[of]
        );
    }
    Ok(())
}

pub(super) fn within_capacity(truth: &Truth, op: &Op) -> Verdict {
    let Op::Create(new) = op else {
        return Ok(());
    };
    // Children are their parents' affair.
    if new.status != Status::Queued || new.parent.is_some() {
        return Ok(());
    }
    if let Some(account) = created(truth, new) {
        let queued = truth.crowds[account].queued;
        let most = truth.plan.queue_of(account);
        holds!(
            queued < most,
            "{queued} of {most} are queued already: {op:?}"
        );
    }
    Ok(())
}

pub(super) fn within_rate(truth: &Truth, op: &Op) -> Verdict {
    let Op::Create(new) = op else {
        return Ok(());
    };
    let Some(account) = created(truth, new).filter(|_| new.parent.is_none()) else {
        return Ok(());
    };
    if let Some(rate) = truth.rates[namespace(account)] {
        // Sums of fractions are off by a little.
        let enough = rate.left > 1.0 - 1e-6;
        holds!(enough, "only {rate:?} is left: {op:?}");
    }
    Ok(())
}

/// Returns the ticket of a creation from outside.
fn ticket(new: &NewInstance) -> Option<u64> {
    let bytes = new.attributes.as_deref()?;
    Some(u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
}

/// Whoever gives no id and does not wait gets a place only if there is one for all who wait, too.
pub(super) fn not_displaced(truth: &Truth, op: &Op) -> Verdict {
    let Op::Create(new) = op else {
        return Ok(());
    };
    if new.parent.is_some() || new.status != Status::Queued {
        return Ok(());
    }
    let asked = ticket(new).and_then(|it| truth.said.tickets.get(&it));
    if let Some(Asked::Stranger(account, _)) = asked {
        let (queued, wanted) = (truth.crowds[*account].queued, truth.wanted(*account));
        let most = truth.plan.queue_of(*account);
        // Otherwise some of them could start without a place.
        let full = truth.is_full(*account);
        holds!(
            wanted == 0 || !full || queued as usize + wanted < most as usize,
            "{queued} of {most} are queued and {wanted} wait: {op:?}"
        );
    }
    Ok(())
}

pub(super) fn not_given_up(truth: &Truth, op: &Op) -> Verdict {
    if let Op::Create(new) = op {
        if let Some(ticket) = ticket(new).filter(|_| new.parent.is_none()) {
            holds!(!truth.given_up.contains(&ticket), "it was given up: {op:?}");
            let waits = truth.waiting.contains_key(&ticket);
            holds!(!(truth.draining && waits), "the engine drains: {op:?}");
        }
    }
    Ok(())
}

pub(super) fn not_before_start_at(truth: &Truth, op: &Op) -> Verdict {
    let early = |at: Option<i64>| at.is_some_and(|at| at > truth.now);
    match op {
        Op::Create(new) if new.status == Status::Running => {
            holds!(!early(new.start_at), "now is {}: {op:?}", truth.now);
        }
        Op::Status(no, _, to) if to.status == Status::Running => {
            let it = &truth.all[no];
            let came = it.started || it.place.is_some_and(|it| it.ripe);
            holds!(came || !early(it.start_at), "now is {}: {it:?}", truth.now);
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn no_idle_slot(truth: &Truth) -> Verdict {
    // What a refused creation was given is free after the commit; the next one has it. The last
    // commit of an engine gives nothing.
    if !truth.commit.refused.is_empty() || truth.closing {
        return Ok(());
    }
    for account in 0..ACCOUNTS {
        let first = truth.crowds[account].ready.first();
        holds!(
            first.is_none() || truth.is_full(account),
            "{} of {} slots are taken, and {first:?} of workflow {account} does not run",
            truth.held,
            truth.plan.slots
        );
    }
    Ok(())
}

/// Whoever was ready before this slot was given, and is still.
fn passed_over<'a>(
    truth: &'a Truth,
    account: Account,
    granted: &'a Granted,
) -> impl Iterator<Item = &'a Order> + 'a {
    let before = move |it: &&Order| {
        let place = truth.all[&it.no].place;
        place.is_some_and(|it| it.since < granted.at)
    };
    truth.crowds[account].ready.iter().filter(before)
}

/// C3: nobody gets a slot who has more than one that competes. Somebody who was passed over and
/// could still run now has at most one slot less than whoever got one; so a workflow without a
/// slot waits for a free one, and for nobody's queue.
pub(super) fn fair(truth: &Truth) -> Verdict {
    // A refused creation may have had its share until the store answered.
    if !truth.commit.refused.is_empty() {
        return Ok(());
    }
    for granted in truth.commit.granted.iter().filter(|it| !it.held_back) {
        for rival in (0..ACCOUNTS).filter(|it| granted.rivals & 1 << it != 0) {
            if truth.is_at_limit(rival) || passed_over(truth, rival, granted).next().is_none() {
                continue;
            }
            let neighbours = namespace(rival) == namespace(granted.account);
            let (got, has) = if neighbours {
                (granted.held.0, truth.crowds[rival].held)
            } else {
                (granted.held.1, truth.held_in[namespace(rival)])
            };
            holds!(
                got <= has + 1,
                "workflow {rival} is passed over with {has} slots: {granted:?}"
            );
        }
    }
    Ok(())
}

/// Whether a slot may have been a new entry's turn: it is the oldest of its priority that never
/// ran.
fn is_turn(truth: &Truth, it: &Granted) -> bool {
    let same = |other: &&Order| other.new && other.falling == it.order.falling;
    let older = |other: &Order| other.no < it.order.no;
    it.order.new && !passed_over(truth, it.account, it).filter(same).any(older)
}

/// C4: each eighth slot of a priority goes to its oldest new entry; so from when it is the oldest
/// none sees a turn's worth of others go before it.
pub(super) fn newcomers_turn(truth: &Truth) -> Verdict {
    let turn = small::turn().unwrap_or(8);
    for (which, (no, passed)) in &truth.passed {
        holds!(
            *passed < turn,
            "{passed} of {which:?} went before {no}, each {turn}th is for a new one"
        );
    }
    Ok(())
}

/// C4: exact within a shard, but for the turns of new entries; across shards the best of all that
/// are queued is among those that a commit starts, or would have been if the store had not refused
/// it.
pub(super) fn in_order(truth: &Truth) -> Verdict {
    let granted = &truth.commit.granted;
    let refused = !truth.commit.refused.is_empty();
    for it in granted
        .iter()
        .filter(|it| !it.held_back && !is_turn(truth, it))
    {
        let best = granted
            .iter()
            .filter(|other| other.account == it.account && !other.held_back)
            .map(|other| other.order)
            .min();
        let before = passed_over(truth, it.account, it).take_while(|other| **other < it.order);
        for other in before {
            let together = truth.shard(other.no) == truth.shard(it.order.no);
            holds!(!together, "{other:?} is passed over in its shard: {it:?}");
            let behind = refused || best < Some(*other);
            holds!(behind, "{other:?} is passed over: {it:?}");
        }
    }
    Ok(())
}
