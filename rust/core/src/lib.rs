//! The engine of Stepwell, without Python.
//!
//! An instance is created: [`admission`] lets it in, one commit of the [`store`] makes it exist,
//! the [`registry`] knows it from then on and the [`queue`] holds it until the [`gatekeeper`] has a
//! slot. Its body runs outside, in Python; what the body does arrives as a [`submission`]. The
//! [`engine`] decides what follows, as operations for the store and effects for after the commit;
//! the table it obeys is [`lifecycle`]. Outcomes become [`history`]. What the body waits for lies
//! in [`waits`] and [`timer`]s; while it only waits it holds no slot and may leave memory
//! ([`residents`]). After a crash [`engine::recovery`] rebuilds all of this from the store. The
//! [`runtime`] drives it: one writer thread that commits in batches, one loader thread that reads,
//! an inbox and an outbox. What there is in numbers is in the [`tally`]. Everything but the runtime
//! and the stores is a function of state, input and a time that is passed in.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::unwrap_used))]

pub mod admission;
pub mod attributes;
pub mod audit;
pub mod bulk;
pub mod changes;
pub mod clock;
pub mod codes;
pub mod engine;
pub mod erasure;
pub mod error;
mod failure;
mod failures;
pub mod gatekeeper;
pub mod history;
pub mod ids;
mod lanes;
pub mod large;
pub mod letter;
pub mod lifecycle;
pub mod limits;
pub mod note;
mod pace;
pub mod queue;
pub mod ranges;
pub mod reasons;
pub mod registry;
pub mod residents;
pub mod retention;
pub mod rewind;
pub mod runtime;
pub mod schedule;
pub mod sequence;
pub mod settings;
pub mod store;
pub mod stream;
pub mod submission;
pub mod tally;
pub mod timer;
pub mod undo;
pub mod wait;
pub mod waits;
pub mod watches;
