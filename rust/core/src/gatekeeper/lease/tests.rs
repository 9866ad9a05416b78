//! One message at a time: what each loss, repetition and delay does, and does not do.

use super::holder::{Holder, Want};
use super::lessor::Lessor;
use super::*;
use crate::gatekeeper::Gatekeeper;

const SECOND: Micros = 1_000_000;
const TERMS: Terms = Terms {
    lease: 10 * SECOND,
    margin: SECOND,
    cycle: SECOND,
};

fn lessor(slots: u32) -> Lessor<u64> {
    let mut gate = Gatekeeper::new(slots);
    let namespace = gate.add_namespace(1_000);
    gate.add_workflow(namespace, None);
    gate.add_workflow(namespace, None);
    Lessor::new(gate, TERMS)
}

fn want(wanted: u32, head: u64) -> [Want<u64>; 1] {
    [Want {
        workflow: 0,
        wanted,
        head,
    }]
}

/// Starts as many as it may.
fn start_all(holder: &mut Holder<u64>, now: Micros) -> u32 {
    let mut started = 0;
    while holder.start(0, now) {
        started += 1;
    }
    started
}

/// One exchange without a fault; returns how many the shard starts then.
fn exchange(lessor: &mut Lessor<u64>, holder: &mut Holder<u64>, wanted: u32, now: Micros) -> u32 {
    let request = holder.request(&want(wanted, 1), now).expect("it is time");
    for reply in lessor.cycle(vec![request], now) {
        holder.hear(&reply, now);
    }
    start_all(holder, now)
}

#[test]
fn slots_are_leased_used_again_and_returned() {
    let (mut lessor, mut holder) = (lessor(5), Holder::new(0, 1, TERMS));
    assert_eq!(exchange(&mut lessor, &mut holder, 3, 0), 3);
    assert_eq!(lessor.gate().leased(), 3);
    holder.end(0);
    assert_eq!(start_all(&mut holder, 10), 1, "without asking");
    holder.end(0);
    assert!(holder.request(&[], 20).is_none(), "C7: once a cycle");
    assert_eq!(exchange(&mut lessor, &mut holder, 0, SECOND), 0);
    assert_eq!(lessor.gate().leased(), 2);
}

#[test]
fn an_answer_that_is_lost_is_given_again_and_costs_nothing() {
    let (mut lessor, mut holder) = (lessor(5), Holder::new(0, 1, TERMS));
    let request = holder.request(&want(3, 1), 0).expect("it is time");
    let lost = lessor.cycle(vec![request.clone()], 0);
    let again = holder.request(&want(9, 1), SECOND).expect("it is time");
    assert_eq!(again, request, "the same question");
    let replies = lessor.cycle(vec![again.clone(), again], SECOND);
    assert_eq!(
        (&replies[0], &replies[1]),
        (&lost[0], &lost[0]),
        "the same answer"
    );
    holder.hear(&replies[0], SECOND);
    holder.hear(&replies[1], SECOND);
    assert_eq!(start_all(&mut holder, SECOND), 3);
    assert_eq!(
        holder.stops_at(),
        Some(TERMS.lease),
        "from before it was sent first"
    );
    assert_eq!(lessor.gate().leased(), 3);
}

#[test]
fn what_was_granted_but_never_heard_of_comes_back_with_the_next_request() {
    let (mut lessor, mut holder) = (lessor(5), Holder::new(0, 1, TERMS));
    let request = holder.request(&want(5, 1), 0).expect("it is time");
    let late = lessor.cycle(vec![request], 0);
    assert_eq!(lessor.gate().leased(), 5);
    // It gives the question up for another one, and then takes no answer to the first.
    let request = holder.request(&want(2, 1), 3 * SECOND).expect("it is time");
    assert_eq!(request.sequence, 2);
    holder.hear(&late[0], 3 * SECOND);
    assert_eq!(start_all(&mut holder, 3 * SECOND), 0);
    let replies = lessor.cycle(vec![request], 3 * SECOND);
    assert_eq!(lessor.gate().leased(), 2);
    holder.hear(&replies[0], 3 * SECOND);
    assert_eq!(start_all(&mut holder, 3 * SECOND), 2);
}

#[test]
fn a_request_that_is_late_or_repeated_changes_nothing() {
    let (mut lessor, mut holder) = (lessor(5), Holder::new(0, 1, TERMS));
    let early = holder.request(&want(5, 1), 0).expect("it is time");
    for reply in lessor.cycle(vec![early.clone()], 0) {
        holder.hear(&reply, 0);
    }
    let next = holder.request(&[], SECOND).expect("it is time");
    assert_eq!(lessor.cycle(vec![next.clone()], SECOND).len(), 1);
    assert_eq!(lessor.gate().leased(), 0, "unused ones come back");
    assert_eq!(lessor.cycle(vec![early], 2 * SECOND), []);
    assert_eq!(lessor.cycle(vec![next], 2 * SECOND).len(), 1);
    assert_eq!(lessor.gate().leased(), 0);
}

#[test]
fn a_silent_shard_starts_nothing_after_half_the_time_stops_at_the_end_and_its_slots_come_back_later(
) {
    let (mut lessor, mut holder) = (lessor(5), Holder::new(0, 1, TERMS));
    assert_eq!(exchange(&mut lessor, &mut holder, 4, 0), 4);
    holder.end(0);
    assert_eq!(start_all(&mut holder, TERMS.lease / 2 - 1), 1);
    holder.end(0);
    assert_eq!(start_all(&mut holder, TERMS.lease / 2), 0);
    assert!(!holder.has_lapsed(TERMS.lease - 1));
    assert_eq!(holder.uses(0), 3);
    assert!(holder.has_lapsed(TERMS.lease));
    assert_eq!(holder.uses(0), 0);
    assert_eq!(lessor.cycle(vec![], TERMS.lease + TERMS.margin - 1), []);
    assert_eq!(
        lessor.gate().leased(),
        4,
        "C1: the clocks may differ by the margin"
    );
    assert_eq!(lessor.cycle(vec![], TERMS.lease + TERMS.margin), []);
    assert_eq!(lessor.gate().leased(), 0);
}

#[test]
fn what_a_shard_claimed_before_its_lease_ended_is_not_believed_after() {
    let (mut lessor, mut holder) = (lessor(5), Holder::new(0, 1, TERMS));
    assert_eq!(exchange(&mut lessor, &mut holder, 4, 0), 4);
    let late = holder.request(&want(1, 1), SECOND).expect("it is time");
    assert!(holder.has_lapsed(TERMS.lease));
    let now = TERMS.lease + TERMS.margin;
    let replies = lessor.cycle(vec![late], now);
    assert_eq!(lessor.gate().leased(), 1, "as if it had claimed nothing");
    holder.hear(&replies[0], now);
    assert_eq!(start_all(&mut holder, now), 0, "the answer is void");
    assert_eq!(exchange(&mut lessor, &mut holder, 2, now), 2);
    assert_eq!(lessor.gate().leased(), 2);
}

#[test]
fn a_newer_epoch_replaces_an_older_one_whose_slots_stay_counted_until_its_lease_has_ended() {
    let (mut lessor, mut old) = (lessor(5), Holder::new(0, 1, TERMS));
    assert_eq!(exchange(&mut lessor, &mut old, 4, 0), 4);
    let mut new = Holder::new(0, 2, TERMS);
    assert_eq!(
        exchange(&mut lessor, &mut new, 4, SECOND),
        1,
        "what is free"
    );
    let request = old.request(&[], SECOND).expect("it is time");
    let replies = lessor.cycle(vec![request], SECOND);
    assert_eq!(replies[0].answer, Answer::Superseded);
    old.hear(&replies[0], SECOND);
    assert!(old.has_lapsed(SECOND) && old.uses(0) == 0);
    assert!(old.request(&want(1, 1), 5 * SECOND).is_none());
    let over = TERMS.lease + TERMS.margin;
    assert_eq!(exchange(&mut lessor, &mut new, 3, over - SECOND), 0);
    assert_eq!(exchange(&mut lessor, &mut new, 3, over), 3);
}

#[test]
fn c11_an_orderly_hand_over_keeps_what_runs_and_leaves_nothing_behind() {
    let (mut lessor, mut old) = (lessor(5), Holder::new(0, 1, TERMS));
    assert_eq!(exchange(&mut lessor, &mut old, 5, 0), 5);
    old.end(0);
    let late = old.request(&want(9, 1), SECOND).expect("it is time");
    let mut new = old.hand_over(2);
    new.end(0);
    assert_eq!(lessor.cycle(vec![late], SECOND).len(), 1);
    assert_eq!(exchange(&mut lessor, &mut new, 0, 2 * SECOND), 0);
    assert_eq!((lessor.gate().leased(), new.uses(0)), (3, 3));
    assert_eq!(exchange(&mut lessor, &mut new, 9, 3 * SECOND), 2);
}

#[test]
fn a_lowered_limit_drains_down_and_slots_above_it_are_not_used_again() {
    let (mut lessor, mut holder) = (lessor(50), Holder::new(0, 1, TERMS));
    assert_eq!(exchange(&mut lessor, &mut holder, 9, 0), 9);
    lessor.gate_mut().set_limit(0, Some(4));
    assert_eq!(exchange(&mut lessor, &mut holder, 9, SECOND), 0);
    for left in (4..9).rev() {
        holder.end(0);
        assert_eq!((start_all(&mut holder, SECOND), holder.uses(0)), (0, left));
    }
    assert_eq!(exchange(&mut lessor, &mut holder, 9, 2 * SECOND), 0);
    assert_eq!(lessor.gate().leased(), 4);
    holder.end(0);
    assert_eq!(start_all(&mut holder, 2 * SECOND), 1);
}

#[test]
fn c4_one_slot_goes_to_the_best_head_of_all_shards_though_another_has_it() {
    let mut lessor = lessor(1);
    let (mut one, mut two) = (Holder::new(0, 1, TERMS), Holder::new(1, 1, TERMS));
    assert_eq!(exchange(&mut lessor, &mut one, 5, 0), 1);
    for now in [SECOND, 2 * SECOND] {
        let better = two.request(&want(5, 0), now).expect("it is time");
        let other = one.request(&want(5, 1), now).expect("it is time");
        for reply in lessor.cycle(vec![other, better], now) {
            one.hear(&reply, now);
            two.hear(&reply, now);
        }
        if now == SECOND {
            one.end(0);
            assert_eq!(start_all(&mut one, now), 0, "it is not to keep it");
        }
    }
    assert_eq!(
        (
            start_all(&mut one, 2 * SECOND),
            start_all(&mut two, 2 * SECOND)
        ),
        (0, 1)
    );
}

#[test]
fn a_gatekeeper_that_starts_anew_believes_claims_and_leases_nothing_for_a_lease() {
    let (mut first, mut holder) = (lessor(5), Holder::new(0, 1, TERMS));
    assert_eq!(exchange(&mut first, &mut holder, 3, 0), 3);
    let mut other = Holder::new(1, 1, TERMS);
    assert_eq!(exchange(&mut first, &mut other, 1, 0), 1);
    let gate = lessor(5).gate().clone();
    let mut second = Lessor::learning(gate, TERMS, SECOND);
    let mut new = Holder::new(2, 1, TERMS);
    let mut now = SECOND;
    while now < SECOND + TERMS.lease + TERMS.margin {
        assert_eq!(exchange(&mut second, &mut holder, 9, now), 0);
        assert_eq!(exchange(&mut second, &mut new, 9, now), 0);
        now += SECOND;
    }
    assert_eq!(second.gate().leased(), 3, "the other one has lapsed");
    assert_eq!(exchange(&mut second, &mut new, 1, now), 1);
    assert_eq!(holder.uses(0), 3);
}

#[test]
fn c2_the_share_of_a_shard_that_went_silent_is_set_aside_for_two_cycles_only() {
    let mut lessor = lessor(1);
    let (mut silent, mut other) = (Holder::new(0, 1, TERMS), Holder::new(1, 1, TERMS));
    assert_eq!(exchange(&mut lessor, &mut other, 1, 0), 1);
    let request = silent.request(&want(5, 0), SECOND).expect("it is time");
    assert_eq!(lessor.cycle(vec![request], SECOND).len(), 1);
    other.end(0);
    let mut started = Vec::new();
    for now in 2..5 {
        started.push(exchange(&mut lessor, &mut other, 5, now * SECOND));
    }
    assert_eq!(started, [0, 0, 1]);
}
