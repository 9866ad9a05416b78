//! How the slots of one workflow are split among its shards.
//!
//! C3: max-min, so no shard is left out while another gets a second slot. C4: where slots do not
//! reach for all, the most urgent heads go first; so a single slot goes to the best entry of all,
//! and the order across shards deviates by at most one batch of grants. Costs one pass over the
//! shards, and a sort of those that get something.

use super::share::Contender;
use super::{Demand, Grant};

/// Adds the grants of this workflow, most urgent heads first.
pub(super) fn split<H: Ord + Copy>(
    demands: &[Demand<H>],
    contender: &mut Contender,
    grants: &mut Vec<Grant>,
) {
    let granted = contender.granted as usize;
    if granted == 0 {
        return;
    }
    let head = |at: &u32| (demands[*at as usize].head, *at);
    let shards = &mut contender.demands;
    if granted < shards.len() {
        // One each for the most urgent ones, none for the others.
        shards.select_nth_unstable_by_key(granted - 1, head);
        shards.truncate(granted);
    }
    shards.sort_unstable_by_key(head);
    let wanted: Vec<u32> = shards
        .iter()
        .map(|it| demands[*it as usize].wanted)
        .collect();
    let slots = level(contender.granted, &wanted);
    for (at, slots) in shards.iter().zip(slots) {
        grants.push(Grant {
            shard: demands[*at as usize].shard,
            workflow: contender.workflow,
            slots,
        });
    }
}

/// Returns the max-min shares of so many slots, of which at most the sum is wanted and everybody
/// gets at least one; what cannot be split evenly goes to the first.
fn level(slots: u32, wanted: &[u32]) -> Vec<u32> {
    let mut shares = vec![0u32; wanted.len()];
    let mut left = slots;
    while left > 0 {
        let hungry = shares.iter().zip(wanted);
        let hungry = hungry.filter(|(share, wanted)| share < wanted).count() as u32;
        assert!(hungry > 0, "no more is granted than is wanted");
        let each = (left / hungry).max(1);
        for (share, wanted) in shares.iter_mut().zip(wanted) {
            let more = each.min(wanted - *share).min(left);
            *share += more;
            left -= more;
        }
    }
    shares
}
