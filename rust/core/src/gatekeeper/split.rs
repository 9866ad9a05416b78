//! How the slots of one workflow are split among its shards.
//!
//! C3: max-min, so no shard is left out while another gets a second slot. C4: where slots do not
//! reach for all, the most urgent heads go first; so a single slot goes to the best entry of all,
//! and the order across shards deviates by at most one batch of grants. Costs one pass over the
//! shards, and a sort of those that get something.

use super::{Demand, Grant};

/// Adds the grants of one workflow, most urgent heads first: so many slots, no more than wanted, among
/// the shards whose heads these are, each with the place of its demand.
pub(super) fn split<H: Ord + Copy>(
    demands: &[Demand<H>],
    slots: u32,
    mut heads: Vec<(H, u32)>,
    grants: &mut Vec<Grant>,
) {
    let served = slots as usize;
    if served < heads.len() {
        // One each for the most urgent ones, none for the others.
        heads.select_nth_unstable(served - 1);
        heads.truncate(served);
    }
    heads.sort_unstable();
    let demands: Vec<_> = heads.iter().map(|it| &demands[it.1 as usize]).collect();
    let wanted: Vec<u32> = demands.iter().map(|it| it.wanted).collect();
    for (demand, slots) in demands.iter().zip(level(slots, &wanted)) {
        grants.push(Grant {
            shard: demand.shard,
            workflow: demand.workflow,
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
