//! Who gets the next slot: max-min between namespaces, then between workflows in one (C3).
//!
//! Slot by slot to whoever has least: the namespace with the fewest leased, in it the workflow with
//! the fewest. Among those with as many, whoever waited longest since it got one: with a single
//! slot, which is all anybody ever has, they take turns, and a newcomer is next. What a workflow or
//! namespace cannot use (its limit, an empty queue) goes to the others, so no slot idles (C2).
//!
//! Two levels of heaps, so that a slot costs a few comparisons however many workflows share a
//! namespace. It knows nothing of shards.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Gatekeeper;

/// A workflow that competes for slots in one cycle.
#[derive(Debug)]
pub(super) struct Contender {
    pub workflow: u32,
    /// How many shards want slots for it.
    pub shards: usize,
    /// How many slots they want together.
    pub wanted: u32,
    pub granted: u32,
}

impl Contender {
    pub(super) fn new(workflow: u32) -> Self {
        Self {
            workflow,
            shards: 0,
            wanted: 0,
            granted: 0,
        }
    }

    pub(super) fn join(&mut self, wanted: u32) {
        self.shards += 1;
        self.wanted = self.wanted.saturating_add(wanted);
    }
}

/// How many it has, when it got the last one, and who it is: smaller goes first.
type Burden = Reverse<(u32, u64, usize)>;

/// The contenders of one namespace.
#[derive(Debug)]
struct House {
    namespace: u32,
    heap: BinaryHeap<Burden>,
}

impl Gatekeeper {
    /// Takes at most `most` slots for the contenders and says how many each got.
    pub(super) fn share(&mut self, contenders: &mut [Contender], most: u32) {
        if let [only] = contenders {
            only.granted = only.wanted.min(self.free(only.workflow)).min(most);
            for _ in 0..only.granted {
                assert!(self.take(only.workflow), "free says so");
            }
            return;
        }
        let mut houses = self.houses(contenders);
        let mut heap: BinaryHeap<Burden> = (0..houses.len())
            .map(|at| self.house_burden(&houses[at], at))
            .collect();
        let mut left = most.min(self.engine.free());
        while left > 0 {
            let Some(Reverse((_, _, at))) = heap.pop() else {
                return;
            };
            let house = &mut houses[at];
            if self.serve(house, contenders) {
                left -= 1;
                heap.push(self.house_burden(house, at));
            }
        }
    }

    /// Gives one slot to a workflow of this namespace; false if none can use one.
    fn serve(&mut self, house: &mut House, contenders: &mut [Contender]) -> bool {
        while let Some(Reverse((_, _, at))) = house.heap.pop() {
            let it = &mut contenders[at];
            // One that meets its limit, or has all it wants, is out for this cycle.
            if it.granted < it.wanted && self.take(it.workflow) {
                it.granted += 1;
                house.heap.push(self.burden(it.workflow, at));
                return true;
            }
        }
        false
    }

    fn houses(&self, contenders: &[Contender]) -> Vec<House> {
        let mut places = vec![usize::MAX; self.namespaces.len()];
        let mut houses: Vec<House> = Vec::new();
        for (at, it) in contenders.iter().enumerate() {
            let namespace = self.namespace(it.workflow);
            let place = &mut places[namespace as usize];
            if *place == usize::MAX {
                *place = houses.len();
                let heap = BinaryHeap::new();
                houses.push(House { namespace, heap });
            }
            let burden = self.burden(it.workflow, at);
            houses[*place].heap.push(burden);
        }
        houses
    }

    fn burden(&self, workflow: u32, at: usize) -> Burden {
        let account = self.workflows[workflow as usize].1;
        Reverse((account.leased, account.served, at))
    }

    fn house_burden(&self, house: &House, at: usize) -> Burden {
        let account = self.namespaces[house.namespace as usize];
        Reverse((account.leased, account.served, at))
    }
}
