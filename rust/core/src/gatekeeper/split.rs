//! How the slots of one workflow are split among its shards.
//!
//! C3: max-min, so no shard is left out while another gets a second slot. C4: where slots do not
//! reach for all, the most urgent heads go first; so a single slot goes to the best entry of all,
//! and the order across shards deviates by at most one batch of grants. Costs one pass over the
//! shards, and a sort of those that get something.

use super::{Demand, Grant};

/// How many times more heads are kept than are wanted, before the others are dropped: the more, the
/// less often, even if they come with the least urgent first.
const SPARE: usize = 8;

/// The most urgent heads of one workflow's shards, as many as it got slots. What is no better than
/// the best so far is not kept, so that a few slots for thousands of shards cost a comparison each.
#[derive(Debug)]
pub(super) struct Best<H> {
    most: usize,
    /// With the places of their demands; up to [`SPARE`] times as many as are wanted.
    heads: Vec<(H, u32)>,
    /// None that is as urgent as this one or less is among the best.
    limit: Option<(H, u32)>,
}

impl<H: Ord + Copy> Best<H> {
    pub(super) fn new(slots: usize, shards: usize) -> Self {
        let most = slots.min(shards);
        Self {
            most,
            heads: Vec::with_capacity((SPARE * most).min(shards)),
            limit: None,
        }
    }

    pub(super) fn offer(&mut self, head: H, at: u32) {
        if self.limit.is_some_and(|limit| (head, at) >= limit) || self.most == 0 {
            return;
        }
        self.heads.push((head, at));
        if self.heads.len() == SPARE * self.most {
            self.drop_others();
        }
    }

    fn drop_others(&mut self) {
        if self.heads.len() > self.most {
            self.heads.select_nth_unstable(self.most - 1);
            self.heads.truncate(self.most);
            self.limit = self.heads.last().copied();
        }
    }

    /// Returns them, the most urgent first.
    pub(super) fn take(mut self) -> Vec<(H, u32)> {
        self.drop_others();
        self.heads.sort_unstable();
        self.heads
    }
}

/// Adds the grants of one workflow: so many slots, no more than wanted, among the shards whose
/// heads these are, each with the place of its demand.
pub(super) fn split<H>(
    demands: &[Demand<H>],
    slots: u32,
    heads: &[(H, u32)],
    grants: &mut Vec<Grant>,
) {
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
