//! Slots on lease: how shards in several processes hold what the gatekeeper counts.
//!
//! Once a cycle a shard sends one [`Request`] ([`holder`]), and the gatekeeper answers all that
//! came in one go ([`lessor`]). Messages may be lost, late, repeated and out of order, processes
//! may die or be cut off, clocks differ and go a little faster or slower; C1 holds throughout:
//!
//! - **A request says all.** It names what the shard holds, not what changed: what it was leased
//!   and does not claim comes back, also what it was granted by an answer it never heard. An answer
//!   says all too. So nothing is ever counted twice or forgotten, whatever gets lost.
//! - **A request is numbered** within its epoch. The same number again gets the same answer and
//!   changes nothing; a smaller one is too late and changes nothing. The shard sends the same
//!   request again until it is answered; once it sends another one it takes no answer to an older
//!   one.
//! - **A lease has an end.** The shard counts it from before it sent the request, starts nothing
//!   after half of it without a new answer, and at the end of it everything it runs has stopped.
//!   The gatekeeper counts it from when it heard the request, which is later, and takes the slots
//!   of a silent shard back only after a margin on top, which covers how far apart two clocks
//!   drift.
//! - **A shard with a newer epoch replaces the older one**, which is told to stop. What that one
//!   held and the newer one does not claim stays counted until its lease has ended, unless it was
//!   handed over in order, from owner to owner without a gap.
//! - **A gatekeeper that starts anew** and remembers nothing leases nothing for as long as a lease
//!   may last, and believes what shards claim meanwhile.
//!
//! Nothing is revoked: an answer also says how many a shard may *keep*, its fair share (C3). A slot
//! above that is not used again when its instance ends, but goes back; below it the shard starts
//! its next entry at once, so that no slot idles for want of a message (C2). Traffic is one request
//! and one answer per shard and cycle (C7), as long as the workflows that the shard has entries of.
//!
//! Inside one process none of this is needed: there the engine asks [`super::Gatekeeper::grant`].

pub mod holder;
pub mod lessor;

use crate::ids::Micros;

/// What gatekeeper and shards have agreed on.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long a lease lasts.
    pub lease: Micros,
    /// How much longer the gatekeeper waits before it takes slots back: more than two clocks can
    /// drift apart during a lease.
    pub margin: Micros,
    /// At most one request per shard in this time; a small part of the lease.
    pub cycle: Micros,
}

/// What a shard says about one workflow; `H` says how urgent its first entry is, smaller first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<H> {
    /// Which workflow.
    pub workflow: u32,
    /// Slots it holds and goes on to hold; whatever else it was leased it returns.
    pub holds: u32,
    /// Of these, how many run an instance.
    pub uses: u32,
    /// How many entries wait for a slot.
    pub wanted: u32,
    /// The first of them.
    pub head: Option<H>,
}

/// What a shard sends once a cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<H> {
    /// Which shard.
    pub shard: u32,
    /// Which of its owners speaks: each has a higher one than the last.
    pub epoch: u64,
    /// Which request of this epoch.
    pub sequence: u64,
    /// Since which epoch each owner has handed over to the next in order: what these held and is
    /// not claimed here, nobody uses. Its own epoch, if it found the shard without an owner.
    pub since: u64,
    /// One for every workflow it holds slots or has entries of.
    pub claims: Vec<Claim<H>>,
}

/// Slots of one workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Which workflow.
    pub workflow: u32,
    /// All that the shard holds now.
    pub slots: u32,
    /// How many of them it may use again when they come free.
    pub keep: u32,
}

/// What the gatekeeper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This is what the shard holds, and for how long again.
    Leased(Vec<Lease>),
    /// The shard has another owner now: stop everything.
    Superseded,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// To which shard.
    pub shard: u32,
    /// To which epoch of it.
    pub epoch: u64,
    /// To which request.
    pub sequence: u64,
    /// What.
    pub answer: Answer,
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
