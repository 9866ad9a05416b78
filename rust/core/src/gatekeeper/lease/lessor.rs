//! The gatekeeper's side of leases: who holds what, until when, and who gets more.
//!
//! Invariant: whatever a shard may be running is counted in the accounts, so C1 is theirs to
//! assert. Each cycle it computes what would be fair if everything were handed out anew among all
//! that is claimed and wanted; whoever has less gets more as far as slots are free, whoever has
//! more may not use again what comes free. It reads one clock, its own, passed in and only going
//! on.

use rustc_hash::FxHashMap;

use super::super::{Demand, Gatekeeper};
use super::{Answer, Claim, Lease, Reply, Request, Terms};
use crate::ids::Micros;

/// Demands count for so many cycles: then the shard is taken for silent, and its share is for
/// others.
const RECENT: Micros = 2;

/// What is known of one shard.
#[derive(Debug, Clone)]
struct ShardSeat<H> {
    epoch: u64,
    sequence: u64,
    heard: Micros,
    /// After that its slots come back; `None`: they have.
    until: Option<Micros>,
    /// What it said last; `holds` is what is counted for it.
    claims: Vec<Claim<H>>,
    reply: Option<Reply>,
}

/// What an owner held whose shard has another one now.
#[derive(Debug, Clone)]
struct Ghost {
    until: Micros,
    slots: Vec<(u32, u32)>,
}

/// Leases slots to shards.
#[derive(Debug, Clone)]
pub struct Lessor<H> {
    gate: Gatekeeper,
    terms: Terms,
    seats: FxHashMap<u32, ShardSeat<H>>,
    ghosts: Vec<Ghost>,
    /// Until then it leases nothing and believes what is claimed.
    learns_until: Micros,
}

/// How urgent a shard's first entry is; one that has none comes last.
type Urgency<H> = (bool, Option<H>);

impl<H: Ord + Copy> Lessor<H> {
    /// Returns a lessor of these accounts, which has never leased anything.
    #[must_use]
    pub fn new(gate: Gatekeeper, terms: Terms) -> Self {
        Self {
            gate,
            terms,
            seats: FxHashMap::default(),
            ghosts: Vec::new(),
            learns_until: Micros::MIN,
        }
    }

    /// Returns one that takes over from another which is gone, with all that it knew.
    #[must_use]
    pub fn learning(gate: Gatekeeper, terms: Terms, now: Micros) -> Self {
        Self {
            learns_until: now + terms.lease + terms.margin,
            ..Self::new(gate, terms)
        }
    }

    /// Returns the accounts, to look at.
    #[must_use]
    pub fn gate(&self) -> &Gatekeeper {
        &self.gate
    }

    /// Returns the accounts, to change limits.
    pub fn gate_mut(&mut self) -> &mut Gatekeeper {
        &mut self.gate
    }

    /// Answers one cycle: all requests that have come, in any order.
    pub fn cycle(&mut self, requests: Vec<Request<H>>, now: Micros) -> Vec<Reply> {
        self.expire(now);
        let mut replies = Vec::new();
        let mut fresh = Vec::new();
        for request in requests {
            let shard = request.shard;
            match self.hear(request, now) {
                Heard::Fresh => fresh.push(shard),
                Heard::Known(reply) => replies.extend(reply),
            }
        }
        // Of several requests of one shard that came together the last one is answered.
        fresh.sort_unstable();
        fresh.dedup();
        let shares = self.shares(now);
        self.lease(&shares, &fresh, now);
        for shard in fresh {
            replies.push(self.answer(shard, &shares));
        }
        replies
    }

    /// Takes back what nobody can be using any more.
    fn expire(&mut self, now: Micros) {
        let over = |until: Micros| now - until >= self.terms.margin;
        let gate = &mut self.gate;
        self.ghosts.retain(|ghost| {
            let over = over(ghost.until);
            if over {
                give_back(gate, &ghost.slots);
            }
            !over
        });
        for seat in self.seats.values_mut() {
            if seat.until.is_some_and(over) {
                give_back(gate, &held(&seat.claims));
                seat.claims.clear();
                // It is known still, so that what comes late is known to be late.
                (seat.until, seat.reply) = (None, None);
            }
        }
    }

    fn hear(&mut self, request: Request<H>, now: Micros) -> Heard {
        let known = self.seats.get(&request.shard);
        let mut held_before = Vec::new();
        if let Some(seat) = known {
            if request.epoch < seat.epoch {
                return Heard::Known(Some(Reply {
                    shard: request.shard,
                    epoch: request.epoch,
                    sequence: request.sequence,
                    answer: Answer::Superseded,
                }));
            }
            if request.epoch == seat.epoch && request.sequence <= seat.sequence {
                let again = seat.reply.clone();
                return Heard::Known(again.filter(|it| it.sequence == request.sequence));
            }
            held_before = held(&seat.claims);
            if request.epoch > seat.epoch && request.since > seat.epoch {
                let until = seat.until.unwrap_or(now);
                held_before = self.bury(held_before, &request.claims, until);
            }
        }
        let learns = now < self.learns_until;
        let mut claims = request.claims;
        for claim in &mut claims {
            let before = take(&mut held_before, claim.workflow);
            if learns {
                (before..claim.holds).for_each(|_| self.gate.adopt(claim.workflow));
            }
            // What it was granted and has not heard of, it will never use.
            let holds = if learns {
                claim.holds
            } else {
                claim.holds.min(before)
            };
            (holds..before).for_each(|_| self.gate.give_back(claim.workflow));
            claim.holds = holds;
            claim.uses = claim.uses.min(holds);
        }
        give_back(&mut self.gate, &held_before);
        let seat = ShardSeat {
            epoch: request.epoch,
            sequence: request.sequence,
            heard: now,
            until: Some(now + self.terms.lease),
            claims,
            reply: None,
        };
        self.seats.insert(request.shard, seat);
        Heard::Fresh
    }

    /// What the owner before may still be running stays counted until it cannot be any more.
    /// Returns what the new one has taken over.
    fn bury(&mut self, old: Vec<(u32, u32)>, new: &[Claim<H>], until: Micros) -> Vec<(u32, u32)> {
        let mut kept = Vec::new();
        let mut slots = Vec::new();
        for (workflow, count) in old {
            let claimed = new.iter().find(|it| it.workflow == workflow);
            let taken = claimed.map_or(0, |it| it.holds.min(count));
            kept.push((workflow, taken));
            slots.push((workflow, count - taken));
        }
        slots.retain(|it| it.1 > 0);
        if !slots.is_empty() {
            self.ghosts.push(Ghost { until, slots });
        }
        kept
    }

    /// Returns what each shard should have of each workflow, if all slots were handed out anew.
    fn shares(&self, now: Micros) -> FxHashMap<(u32, u32), u32> {
        let mut gate = self.gate.emptied();
        for (workflow, count) in self.ghosts.iter().flat_map(|it| &it.slots) {
            (0..*count).for_each(|_| gate.adopt(*workflow));
        }
        let mut demands: Vec<Demand<Urgency<H>>> = Vec::new();
        let mut shards: Vec<_> = self.seats.iter().collect();
        shards.sort_unstable_by_key(|it| *it.0);
        for (shard, seat) in shards {
            let recent = now - seat.heard <= RECENT * self.terms.cycle;
            for it in &seat.claims {
                let wanted = if recent { it.wanted } else { 0 };
                demands.push(Demand {
                    shard: *shard,
                    workflow: it.workflow,
                    wanted: it.holds.max(it.uses.saturating_add(wanted)),
                    head: (it.head.is_none(), it.head),
                });
            }
        }
        let grants = gate.grant(&demands, u32::MAX);
        let grants = grants.iter().map(|it| ((it.shard, it.workflow), it.slots));
        grants.collect()
    }

    /// Leases free slots to those who hold less than their share. Of those who did not ask in this
    /// cycle the share is only set aside: they get it when they ask, soon.
    fn lease(&mut self, shares: &FxHashMap<(u32, u32), u32>, asked: &[u32], now: Micros) {
        if now < self.learns_until {
            return;
        }
        let mut demands: Vec<Demand<Urgency<H>>> = Vec::new();
        for ((shard, workflow), share) in shares {
            let claims = &self.seats[shard].claims;
            let claim = claims.iter().find(|it| it.workflow == *workflow);
            let claim = claim.expect("a share is of a claim");
            demands.push(Demand {
                shard: *shard,
                workflow: *workflow,
                wanted: share.saturating_sub(claim.holds),
                head: (claim.head.is_none(), claim.head),
            });
        }
        demands.sort_unstable_by_key(|it| (it.workflow, it.shard));
        // On a copy: what is only set aside is nobody's turn.
        for grant in self.gate.clone().grant(&demands, u32::MAX) {
            if asked.binary_search(&grant.shard).is_err() {
                continue;
            }
            let seat = self.seats.get_mut(&grant.shard).expect("it asked");
            let of = |it: &&mut Claim<H>| it.workflow == grant.workflow;
            let claim = seat.claims.iter_mut().find(of);
            claim.expect("it wanted some").holds += grant.slots;
            for _ in 0..grant.slots {
                assert!(self.gate.take(grant.workflow), "it was free on the copy");
            }
        }
    }

    fn answer(&mut self, shard: u32, shares: &FxHashMap<(u32, u32), u32>) -> Reply {
        let seat = self.seats.get_mut(&shard).expect("it asked");
        let leases = seat.claims.iter().map(|it| Lease {
            workflow: it.workflow,
            slots: it.holds,
            keep: shares.get(&(shard, it.workflow)).copied().unwrap_or(0),
        });
        let reply = Reply {
            shard,
            epoch: seat.epoch,
            sequence: seat.sequence,
            answer: Answer::Leased(leases.filter(|it| it.slots > 0).collect()),
        };
        seat.reply = Some(reply.clone());
        reply
    }
}

/// What came of a request.
enum Heard {
    /// It is answered with this cycle.
    Fresh,
    /// It changed nothing; the answer to it, if it has one.
    Known(Option<Reply>),
}

fn held<H>(claims: &[Claim<H>]) -> Vec<(u32, u32)> {
    claims.iter().map(|it| (it.workflow, it.holds)).collect()
}

fn take(slots: &mut [(u32, u32)], workflow: u32) -> u32 {
    let of = slots.iter_mut().find(|it| it.0 == workflow);
    of.map_or(0, |it| std::mem::take(&mut it.1))
}

fn give_back(gate: &mut Gatekeeper, slots: &[(u32, u32)]) {
    for (workflow, count) in slots {
        (0..*count).for_each(|_| gate.give_back(*workflow));
    }
}
