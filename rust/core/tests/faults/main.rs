//! The `SQLite` store against power loss, failing I/O and damaged files, by `SQLite`'s own method.
//!
//! In reading order: `dice` (seeds), `disk` (what was asked of the files, and what fails), `vfs`
//! (how `SQLite` is made to ask it), `power` (what a power loss may leave), `workload`, `truth`
//! (what must be there), `campaign` (how many, which seed, and how a failure is replayed), and
//! the tests: `images`, `failing`, `damage`. docs/reliability.md says what is modelled.
#![allow(missing_docs)]

mod campaign;
mod damage;
mod dice;
mod disk;
mod failing;
mod images;
mod power;
mod truth;
mod vfs;
mod workload;
