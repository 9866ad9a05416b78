//! Two engines on one store, each the owner of some ranges: parents and children, senders and
//! receivers, those who ask and those who decide on either side of the border.
//!
//! As in the simulation of one engine a seed draws what happens, one small step at a time, with
//! crashes between any two commits and commits that fail; and ranges are handed over under a higher
//! epoch, of which the old owner hears only when the store refuses its batch. Anybody may be paused
//! at any time, by either engine, and is resumed when somebody finds it so. The rules (`rules`):
//! nobody is told that somebody has ended or is not there who lives elsewhere; what goes over the
//! border arrives once; what a stale owner decided is never there; of one that is paused nothing
//! goes on. In the end faults stop, and everything must finish, which it does not where a letter was
//! lost.
//!
//! Same settings as there: `STEPWELL_SEEDS`, `STEPWELL_FIRST_SEED`, `STEPWELL_SEED`.

mod bodies;
mod outside;
mod program;
mod rules;
mod world;

use super::run_seeds;
use world::World;

#[test]
fn what_goes_from_owner_to_owner_arrives_once() {
    let life = |seed, traces| World::new(seed, traces).run();
    run_seeds("what_goes_from_owner_to_owner", life);
}
