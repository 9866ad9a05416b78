//! Whose head goes first: a tournament among the shards of one workflow.
//!
//! Invariant: a node holds the smaller of its two children, a leaf the order of its shard's first
//! place, or [`LAST`] if there is none. Finding the winner and changing one leaf cost as many steps
//! as the tree is high: twelve for 4,096 shards.

use super::order::LAST;

/// The first place of each shard.
#[derive(Debug)]
pub(super) struct Heads {
    tree: Box<[u64]>,
}

impl Heads {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            tree: vec![LAST; 2 * shards.next_power_of_two()].into(),
        }
    }

    fn leaf(&self, shard: usize) -> usize {
        self.tree.len() / 2 + shard
    }

    pub(super) fn get(&self, shard: usize) -> u64 {
        self.tree[self.leaf(shard)]
    }

    /// Notes the first place of a shard.
    pub(super) fn set(&mut self, shard: usize, order: u64) {
        let mut at = self.leaf(shard);
        self.tree[at] = order;
        while at > 1 {
            let less = self.tree[at].min(self.tree[at ^ 1]);
            at /= 2;
            if self.tree[at] == less {
                return;
            }
            self.tree[at] = less;
        }
    }

    /// Returns the order of the first place of all, or [`LAST`].
    pub(super) fn least(&self) -> u64 {
        self.tree[1]
    }

    /// Returns the shard whose head goes first.
    pub(super) fn best(&self) -> Option<usize> {
        let least = self.least();
        if least == LAST {
            return None;
        }
        let leaves = self.tree.len() / 2;
        let mut at = 1;
        while at < leaves {
            at *= 2;
            if self.tree[at] != least {
                at += 1;
            }
        }
        Some(at - leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_winner_is_the_least_of_all(
            shards in 1usize..20,
            changes in prop::collection::vec((0usize..20, prop::option::of(0u64..1_000)), 0..100)
        ) {
            let mut heads = Heads::new(shards);
            let mut model = vec![LAST; shards];
            for (shard, order) in changes {
                let shard = shard % shards;
                let order = order.filter(|it| !model.contains(it)).unwrap_or(LAST);
                heads.set(shard, order);
                model[shard] = order;
                let least = model.iter().copied().min();
                prop_assert_eq!(Some(heads.least()), least);
                let best = model.iter().position(|it| Some(*it) == least && *it != LAST);
                prop_assert_eq!(heads.best(), best);
                prop_assert_eq!(heads.get(shard), order);
            }
        }
    }
}
