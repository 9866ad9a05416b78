//! The gatekeeper: how many instances may run, and who is next when there are fewer slots than
//! wishes.
//!
//! Invariants: C1 (leased ≤ limit for the engine, each namespace, each workflow) is asserted at
//! every grant; a limit that is lowered below what is leased takes nothing back, it only grants
//! nothing until enough has come back. C2 (no slot stays free while somebody admissible asks). C3
//! (max-min fair between namespaces, then between workflows in one: see [`share`]; then between
//! shards, most urgent heads first: see [`split`]). It knows shards and workflows by number and
//! sees one batched demand per cycle (C7); it has never heard of an instance.
//!
//! Inside one process a grant is immediate: what [`Gatekeeper::grant`] returns is taken. Between
//! processes the same accounts stand behind [`lease`].

pub mod lease;
mod share;
mod split;

use share::Contender;
use split::Best;

/// A workflow that wants nothing in this cycle.
const NOWHERE: u32 = u32::MAX;

/// Slots in use under one limit.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    limit: u32,
    leased: u32,
    /// When it got a slot last, counted in slots: of two that have as many, the other is next.
    served: u64,
}

impl Account {
    fn free(self) -> u32 {
        self.limit.saturating_sub(self.leased)
    }

    fn take(&mut self, serial: u64) {
        self.leased += 1;
        self.served = serial;
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
#[derive(Debug, Clone)]
pub struct Gatekeeper {
    engine: Account,
    namespaces: Vec<Account>,
    /// Each with its namespace.
    workflows: Vec<(u32, Account)>,
    /// Slots granted so far.
    serial: u64,
    /// Scratch of a cycle: where a workflow stands among the contenders.
    places: Vec<u32>,
}

impl Gatekeeper {
    /// Returns a gatekeeper for so many slots.
    #[must_use]
    pub fn new(slots: u32) -> Self {
        Self {
            engine: Account {
                limit: slots,
                ..Account::default()
            },
            namespaces: Vec::new(),
            workflows: Vec::new(),
            serial: 0,
            places: Vec::new(),
        }
    }

    /// Adds a namespace and returns its number.
    pub fn add_namespace(&mut self, limit: u32) -> u32 {
        self.namespaces.push(Account {
            limit,
            ..Account::default()
        });
        (self.namespaces.len() - 1) as u32
    }

    /// Adds a workflow of a namespace and returns its number.
    pub fn add_workflow(&mut self, namespace: u32, limit: Option<u32>) -> u32 {
        let limit = limit.unwrap_or(u32::MAX);
        let account = Account {
            limit,
            ..Account::default()
        };
        self.workflows.push((namespace, account));
        (self.workflows.len() - 1) as u32
    }

    /// Returns the namespace of a workflow.
    #[must_use]
    pub fn namespace(&self, workflow: u32) -> u32 {
        self.workflows[workflow as usize].0
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

    /// Returns how many slots of a workflow are in use.
    #[must_use]
    pub fn leased_to(&self, workflow: u32) -> u32 {
        self.workflows[workflow as usize].1.leased
    }

    /// Returns (in use, limit) of the engine, of the workflow's namespace, and of the workflow.
    #[must_use]
    pub fn accounts(&self, workflow: u32) -> [(u32, u32); 3] {
        let (namespace, account) = self.workflows[workflow as usize];
        let all = [self.engine, self.namespaces[namespace as usize], account];
        all.map(|it| (it.leased, it.limit))
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
        self.serial += 1;
        let (namespace, account) = &mut self.workflows[workflow as usize];
        account.take(self.serial);
        self.namespaces[*namespace as usize].take(self.serial);
        self.engine.take(self.serial);
        true
    }

    /// Takes a slot back.
    pub fn give_back(&mut self, workflow: u32) {
        let (namespace, account) = &mut self.workflows[workflow as usize];
        account.give_back();
        self.namespaces[*namespace as usize].give_back();
        self.engine.give_back();
    }

    /// Counts a slot that somebody has already, whatever the limits say by now.
    pub fn adopt(&mut self, workflow: u32) {
        self.serial += 1;
        let (namespace, own) = &mut self.workflows[workflow as usize];
        let namespace = &mut self.namespaces[*namespace as usize];
        for account in [own, namespace, &mut self.engine] {
            account.leased += 1;
            account.served = self.serial;
        }
    }

    /// Returns one with the same limits and turns, of which nobody has a slot.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let mut gate = self.clone();
        gate.engine.leased = 0;
        let workflows = gate.workflows.iter_mut().map(|it| &mut it.1);
        for account in gate.namespaces.iter_mut().chain(workflows) {
            account.leased = 0;
        }
        gate
    }

    /// Changes a workflow's limit; more leases than that drain by themselves.
    pub fn set_limit(&mut self, workflow: u32, limit: Option<u32>) {
        self.workflows[workflow as usize].1.limit = limit.unwrap_or(u32::MAX);
    }

    /// Changes a namespace's limit; more leases than that drain by themselves.
    pub fn set_namespace_limit(&mut self, namespace: u32, limit: u32) {
        self.namespaces[namespace as usize].limit = limit;
    }

    /// Answers one cycle of demands: at most `most` slots, taken already when this returns.
    #[must_use]
    pub fn grant<H: Ord + Copy>(&mut self, demands: &[Demand<H>], most: u32) -> Vec<Grant> {
        let mut contenders = self.contenders(demands);
        self.share(&mut contenders, most);
        let grants = self.split(demands, &contenders);
        for it in &contenders {
            self.places[it.workflow as usize] = NOWHERE;
        }
        grants
    }

    /// Adds the demands up by workflow.
    fn contenders<H>(&mut self, demands: &[Demand<H>]) -> Vec<Contender> {
        self.places.resize(self.workflows.len(), NOWHERE);
        let mut contenders: Vec<Contender> = Vec::new();
        for demand in demands.iter().filter(|it| it.wanted > 0) {
            let place = &mut self.places[demand.workflow as usize];
            if *place == NOWHERE {
                *place = contenders.len() as u32;
                contenders.push(Contender::new(demand.workflow));
            }
            contenders[*place as usize].join(demand.wanted);
        }
        contenders
    }

    /// Says which shards get the slots that their workflows got.
    fn split<H: Ord + Copy>(&self, demands: &[Demand<H>], contenders: &[Contender]) -> Vec<Grant> {
        let best = contenders
            .iter()
            .map(|it| Best::new(it.granted as usize, it.shards));
        let mut best: Vec<Best<H>> = best.collect();
        for (at, demand) in (0u32..).zip(demands).filter(|it| it.1.wanted > 0) {
            let place = self.places[demand.workflow as usize] as usize;
            best[place].offer(demand.head, at);
        }
        let mut grants = Vec::new();
        for (contender, best) in contenders.iter().zip(best) {
            if contender.granted > 0 {
                split::split(demands, contender.granted, &best.take(), &mut grants);
            }
        }
        grants
    }
}

#[cfg(test)]
mod tests;
