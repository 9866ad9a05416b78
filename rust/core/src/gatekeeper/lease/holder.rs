//! The shard's side of a lease: what it may run, what it claims, when everything has to stop.
//!
//! Invariant: it runs no more than it holds, and holds no more than the gatekeeper counts for it.
//! It reads one clock, its own, which is passed in and only goes on; it knows nothing of entries
//! but how many there are. Whoever uses it asks [`Holder::has_lapsed`] before anything else.

use std::collections::BTreeMap;

use super::{Answer, Claim, Reply, Request, Terms};
use crate::ids::Micros;

/// After this part of a lease without an answer the request is given up for a new one.
const PATIENCE: Micros = 4;

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    holds: u32,
    uses: u32,
    keep: u32,
}

/// A request that is not answered yet.
#[derive(Debug, Clone)]
struct Asking<H> {
    request: Request<H>,
    /// Before it was sent the first time: from here a lease counts.
    begun: Micros,
}

/// How many entries of a workflow wait, and the first of them.
#[derive(Debug, Clone, Copy)]
pub struct Want<H> {
    /// Which workflow.
    pub workflow: u32,
    /// How many.
    pub wanted: u32,
    /// The first of them.
    pub head: H,
}

/// What one shard holds.
#[derive(Debug, Clone)]
pub struct Holder<H> {
    shard: u32,
    epoch: u64,
    /// Since which epoch it was handed over in order.
    since: u64,
    terms: Terms,
    sequence: u64,
    open: Option<Asking<H>>,
    sent: Option<Micros>,
    /// From when the present lease counts.
    leased: Option<Micros>,
    lines: BTreeMap<u32, Held>,
    superseded: bool,
}

impl<H: Clone> Holder<H> {
    /// Returns a shard that holds nothing, under an epoch nobody had before.
    #[must_use]
    pub fn new(shard: u32, epoch: u64, terms: Terms) -> Self {
        Self {
            shard,
            epoch,
            since: epoch,
            terms,
            sequence: 0,
            open: None,
            sent: None,
            leased: None,
            lines: BTreeMap::new(),
            superseded: false,
        }
    }

    /// Hands the shard over within its process: what runs goes on under a higher epoch (C11).
    #[must_use]
    pub fn hand_over(self, epoch: u64) -> Self {
        assert!(epoch > self.epoch, "every hand-over raises the epoch");
        Self {
            epoch,
            sequence: 0,
            open: None,
            ..self
        }
    }

    /// Returns what to send now, if it is time to: a new request, or the last one once more.
    pub fn request(&mut self, wants: &[Want<H>], now: Micros) -> Option<Request<H>> {
        let early = self.sent.is_some_and(|at| now - at < self.terms.cycle);
        if early || self.superseded || self.has_lapsed(now) {
            return None;
        }
        self.sent = Some(now);
        if let Some(open) = &self.open {
            if now - open.begun < self.terms.lease / PATIENCE {
                return Some(open.request.clone());
            }
        }
        self.sequence += 1;
        let request = Request {
            shard: self.shard,
            epoch: self.epoch,
            sequence: self.sequence,
            since: self.since,
            claims: self.claims(wants),
        };
        self.open = Some(Asking {
            request: request.clone(),
            begun: now,
        });
        Some(request)
    }

    /// From here on it holds what it claims: free slots that have no use come back.
    fn claims(&mut self, wants: &[Want<H>]) -> Vec<Claim<H>> {
        for line in self.lines.values_mut() {
            line.holds = line.uses;
        }
        let mut claims: BTreeMap<u32, Claim<H>> = BTreeMap::new();
        for want in wants.iter().filter(|it| it.wanted > 0) {
            let head = Some(want.head.clone());
            let (workflow, wanted) = (want.workflow, want.wanted);
            let claim = Claim {
                workflow,
                holds: 0,
                uses: 0,
                wanted,
                head,
            };
            claims.insert(workflow, claim);
        }
        self.lines.retain(|_, it| it.uses > 0);
        for (workflow, line) in &self.lines {
            let new = || Claim {
                workflow: *workflow,
                holds: 0,
                uses: 0,
                wanted: 0,
                head: None,
            };
            let claim = claims.entry(*workflow).or_insert_with(new);
            (claim.holds, claim.uses) = (line.holds, line.uses);
        }
        claims.into_values().collect()
    }

    /// Takes an answer in. One to a request that is not the last, or of another epoch, is nothing.
    pub fn hear(&mut self, reply: &Reply, now: Micros) {
        if (reply.shard, reply.epoch) != (self.shard, self.epoch) || self.has_lapsed(now) {
            return;
        }
        let leases = match &reply.answer {
            Answer::Superseded => {
                self.superseded = true;
                self.stop();
                return;
            }
            Answer::Leased(leases) => leases,
        };
        let Some(open) = self
            .open
            .take_if(|it| it.request.sequence == reply.sequence)
        else {
            return;
        };
        self.leased = Some(open.begun);
        for line in self.lines.values_mut() {
            (line.holds, line.keep) = (0, 0);
        }
        for it in leases {
            let line = self.lines.entry(it.workflow).or_default();
            (line.holds, line.keep) = (it.slots, it.keep);
        }
        for line in self.lines.values() {
            assert!(line.uses <= line.holds, "C1: a slot in use was taken away");
        }
        // A lease that was long under way may be over as soon as it is there.
        let _ = self.has_lapsed(now);
    }

    /// Takes a slot for an instance, if there is one that may be used.
    #[must_use]
    pub fn start(&mut self, workflow: u32, now: Micros) -> bool {
        let half = self.terms.lease / 2;
        if self.has_lapsed(now) || self.leased.is_none_or(|from| now - from >= half) {
            return false;
        }
        let Some(line) = self.lines.get_mut(&workflow) else {
            return false;
        };
        let free = line.uses < line.holds.min(line.keep);
        line.uses += u32::from(free);
        free
    }

    /// An instance runs no more.
    pub fn end(&mut self, workflow: u32) {
        let line = self.lines.get_mut(&workflow);
        let line = line.filter(|it| it.uses > 0).expect("it runs on a slot");
        line.uses -= 1;
    }

    /// Returns whether everything has to have stopped: the lease is over, or somebody else has the
    /// shard. From then on it holds nothing.
    #[must_use]
    pub fn has_lapsed(&mut self, now: Micros) -> bool {
        let over = self
            .leased
            .is_some_and(|from| now - from >= self.terms.lease);
        if over {
            self.stop();
        }
        over || self.superseded
    }

    /// Returns when everything will have to have stopped, unless an answer comes before.
    #[must_use]
    pub fn stops_at(&self) -> Option<Micros> {
        self.leased.map(|from| from + self.terms.lease)
    }

    /// Returns how many instances of a workflow run.
    #[must_use]
    pub fn uses(&self, workflow: u32) -> u32 {
        self.lines.get(&workflow).map_or(0, |it| it.uses)
    }

    /// What was claimed is true no longer, so its answer counts for nothing.
    fn stop(&mut self) {
        self.lines.clear();
        self.open = None;
        self.leased = None;
    }
}
