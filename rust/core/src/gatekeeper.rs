//! The gatekeeper: how many instances may run, and who is next when there are fewer slots than wishes.
//!
//! Invariants: C1 (leased ≤ limit for the engine, each namespace, each workflow) is asserted at
//! every grant; C2 (no slot stays free while somebody admissible asks); C3 (max-min fair between
//! namespaces, between workflows in one, between shards). It knows shards and workflows by
//! number and sees one batched demand per cycle (C7); it has never heard of an instance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Slots in use under one limit.
#[derive(Debug, Clone, Copy)]
struct Account {
    limit: u32,
    leased: u32,
}

impl Account {
    fn free(self) -> u32 {
        self.limit.saturating_sub(self.leased)
    }

    fn take(&mut self) {
        self.leased += 1;
        assert!(self.leased <= self.limit, "C1: more slots than the limit");
    }

    fn give_back(&mut self) {
        assert!(self.leased > 0, "C1: a slot came back twice");
        self.leased -= 1;
    }
}

/// What one shard wants for one workflow; `H` says how urgent its first entry is, smaller first.
#[derive(Debug, Clone, Copy)]
pub struct Demand<H> {
    /// Which shard.
    pub shard: u32,
    /// Which workflow.
    pub workflow: u32,
    /// How many entries it has.
    pub wanted: u32,
    /// Its head.
    pub head: H,
}

/// Slots for one shard and workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Which shard.
    pub shard: u32,
    /// Which workflow.
    pub workflow: u32,
    /// How many slots.
    pub slots: u32,
}

/// Keeps the count of slots.
#[derive(Debug)]
pub struct Gatekeeper {
    engine: Account,
    namespaces: Vec<Account>,
    workflows: Vec<(u32, Account)>,
}

/// A workflow that competes for slots in one cycle.
struct Contender<'a, H> {
    workflow: u32,
    shards: Vec<&'a Demand<H>>,
    wanted: u32,
    granted: u32,
}

impl Gatekeeper {
    /// Returns a gatekeeper for so many slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            engine: Account {
                limit: slots,
                leased: 0,
            },
            namespaces: Vec::new(),
            workflows: Vec::new(),
        }
    }

    /// Adds a namespace and returns its number.
    pub fn add_namespace(&mut self, limit: u32) -> u32 {
        self.namespaces.push(Account { limit, leased: 0 });
        (self.namespaces.len() - 1) as u32
    }

    /// Adds a workflow of a namespace and returns its number.
    pub fn add_workflow(&mut self, namespace: u32, limit: Option<u32>) -> u32 {
        let limit = limit.unwrap_or(u32::MAX);
        self.workflows
            .push((namespace, Account { limit, leased: 0 }));
        (self.workflows.len() - 1) as u32
    }

    /// Returns how many more instances of this workflow could run now.
    #[must_use]
    pub fn free(&self, workflow: u32) -> u32 {
        let (namespace, account) = self.workflows[workflow as usize];
        account
            .free()
            .min(self.namespaces[namespace as usize].free())
            .min(self.engine.free())
    }

    /// Returns how many instances of this workflow could run if nothing else did.
    #[must_use]
    pub fn most(&self, workflow: u32) -> u32 {
        let (namespace, account) = self.workflows[workflow as usize];
        account
            .limit
            .min(self.namespaces[namespace as usize].limit)
            .min(self.engine.limit)
    }

    /// Returns how many slots are in use.
    #[must_use]
    pub fn leased(&self) -> u32 {
        self.engine.leased
    }

    /// Returns how many slots there are.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.engine.limit
    }

    /// Takes one slot if one is free.
    #[must_use]
    pub fn take(&mut self, workflow: u32) -> bool {
        if self.free(workflow) == 0 {
            return false;
        }
        let (namespace, account) = &mut self.workflows[workflow as usize];
        account.take();
        self.namespaces[*namespace as usize].take();
        self.engine.take();
        true
    }

    /// Takes a slot back.
    pub fn give_back(&mut self, workflow: u32) {
        let (namespace, account) = &mut self.workflows[workflow as usize];
        account.give_back();
        self.namespaces[*namespace as usize].give_back();
        self.engine.give_back();
    }

    /// Changes a workflow's limit; more leases than that drain by themselves.
    pub fn set_limit(&mut self, workflow: u32, limit: Option<u32>) {
        self.workflows[workflow as usize].1.limit = limit.unwrap_or(u32::MAX);
    }

    /// Answers one cycle of demands: at most `most` slots, taken already when this returns.
    #[must_use]
    pub fn grant<H: Ord + Copy>(&mut self, demands: &[Demand<H>], most: u32) -> Vec<Grant> {
        let mut contenders: Vec<Contender<H>> = Vec::new();
        let mut sorted: Vec<&Demand<H>> = demands.iter().filter(|it| it.wanted > 0).collect();
        sorted.sort_unstable_by_key(|it| (it.workflow, it.head));
        for demand in sorted {
            match contenders.last_mut() {
                Some(it) if it.workflow == demand.workflow => {
                    it.wanted = it.wanted.saturating_add(demand.wanted);
                    it.shards.push(demand);
                }
                _ => contenders.push(Contender {
                    workflow: demand.workflow,
                    shards: vec![demand],
                    wanted: demand.wanted,
                    granted: 0,
                }),
            }
        }
        self.share(&mut contenders, most);
        contenders.iter().flat_map(Contender::split).collect()
    }

    /// Hands out slot by slot to whoever has least: its namespace first, then the workflow itself.
    fn share<H>(&mut self, contenders: &mut [Contender<H>], most: u32) {
        if let [only] = contenders {
            only.granted = only.wanted.min(self.free(only.workflow)).min(most);
            for _ in 0..only.granted {
                assert!(self.take(only.workflow), "free says so");
            }
            return;
        }
        let mut heap: BinaryHeap<_> = (0..contenders.len())
            .map(|at| Reverse(self.burden(contenders[at].workflow, at)))
            .collect();
        let mut left = most;
        while left > 0 {
            let Some(Reverse(burden)) = heap.pop() else {
                return;
            };
            let at = burden.2;
            let contender = &mut contenders[at];
            // A neighbour in the namespace got one meanwhile: look again.
            let current = self.burden(contender.workflow, at);
            if current != burden {
                heap.push(Reverse(current));
                continue;
            }
            if contender.granted == contender.wanted || !self.take(contender.workflow) {
                continue;
            }
            contender.granted += 1;
            left -= 1;
            heap.push(Reverse(self.burden(contender.workflow, at)));
        }
    }

    fn burden(&self, workflow: u32, at: usize) -> (u32, u32, usize) {
        let (namespace, account) = self.workflows[workflow as usize];
        (
            self.namespaces[namespace as usize].leased,
            account.leased,
            at,
        )
    }
}

impl<H> Contender<'_, H> {
    /// Splits what the workflow got max-min among its shards; most urgent heads come first, so a
    /// single slot goes to the best entry of all (C4).
    fn split(&self) -> Vec<Grant> {
        let mut shares = vec![0u32; self.shards.len()];
        let mut left = self.granted;
        while left > 0 {
            let open = (0..shares.len())
                .filter(|at| shares[*at] < self.shards[*at].wanted)
                .count() as u32;
            let each = (left / open.max(1)).max(1);
            for (share, demand) in shares.iter_mut().zip(&self.shards) {
                let more = each.min(demand.wanted - *share).min(left);
                *share += more;
                left -= more;
            }
        }
        let grants = self.shards.iter().zip(shares);
        grants
            .filter(|(_, slots)| *slots > 0)
            .map(|(demand, slots)| Grant {
                shard: demand.shard,
                workflow: self.workflow,
                slots,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn demand(shard: u32, workflow: u32, wanted: u32, head: u64) -> Demand<u64> {
        Demand {
            shard,
            workflow,
            wanted,
            head,
        }
    }

    #[test]
    fn one_slot_goes_to_the_best_head_of_all_shards() {
        let mut gate = Gatekeeper::new(1);
        let namespace = gate.add_namespace(10);
        let workflow = gate.add_workflow(namespace, None);
        let demands = [demand(0, workflow, 5, 9), demand(1, workflow, 1, 3)];
        let grants = gate.grant(&demands, 100);
        assert_eq!(
            grants,
            [Grant {
                shard: 1,
                workflow,
                slots: 1
            }]
        );
        assert_eq!(gate.grant(&demands, 100), []);
    }

    #[test]
    fn a_long_queue_does_not_starve_another_workflow() {
        let mut gate = Gatekeeper::new(10);
        let namespace = gate.add_namespace(10);
        let (long, short) = (
            gate.add_workflow(namespace, None),
            gate.add_workflow(namespace, None),
        );
        let demands = [demand(0, long, 2_000_000, 1), demand(0, short, 2, 2)];
        let grants = gate.grant(&demands, 100);
        let slots = |workflow| {
            grants
                .iter()
                .filter(|it| it.workflow == workflow)
                .map(|it| it.slots)
                .sum::<u32>()
        };
        assert_eq!((slots(long), slots(short)), (8, 2));
    }

    proptest! {
        #[test]
        fn limits_hold_and_no_slot_idles(
            slots in 0u32..20,
            namespaces in prop::collection::vec(0u32..15, 1..4),
            workflows in prop::collection::vec((0usize..4, prop::option::of(0u32..10)), 1..6),
            cycles in prop::collection::vec(
                (prop::collection::vec((0u32..4, 0usize..6, 0u32..8, 0u64..100), 0..12), 0usize..10),
                1..12,
            ),
        ) {
            let mut gate = Gatekeeper::new(slots);
            for limit in &namespaces {
                gate.add_namespace(*limit);
            }
            for (namespace, limit) in &workflows {
                gate.add_workflow((namespace % namespaces.len()) as u32, *limit);
            }
            let mut running: Vec<u32> = Vec::new();
            for (wishes, ends) in cycles {
                for _ in 0..ends.min(running.len()) {
                    gate.give_back(running.remove(0));
                }
                let mut demands: Vec<Demand<u64>> = Vec::new();
                for (shard, workflow, wanted, head) in wishes {
                    let workflow = (workflow % workflows.len()) as u32;
                    if !demands.iter().any(|it| (it.shard, it.workflow) == (shard, workflow)) {
                        demands.push(demand(shard, workflow, wanted, head));
                    }
                }
                let grants = gate.grant(&demands, u32::MAX);
                for asked in &demands {
                    let got: u32 = grants
                        .iter()
                        .filter(|it| (it.shard, it.workflow) == (asked.shard, asked.workflow))
                        .map(|it| it.slots)
                        .sum();
                    prop_assert!(got <= asked.wanted);
                    // C2: whoever got less than it asked for met a limit.
                    prop_assert!(got == asked.wanted || gate.free(asked.workflow) == 0);
                    running.extend(std::iter::repeat_n(asked.workflow, got as usize));
                }
                prop_assert_eq!(gate.leased() as usize, running.len());
                prop_assert!(gate.leased() <= slots);
            }
        }
    }
}
