//! Live resizing: another number of shards while everything goes on.
//!
//! A change is durable before anybody hears of it: one setting says how many shards are wanted, how
//! many were reached, and the highest epoch. A range moves in three steps: (1) from the batch that
//! decides the change on, nobody draws from its old queue, and whatever is created in it is filed
//! in the new one; (2) its entries are handed over, best first and a slice a batch, under a higher
//! epoch; (3) its new shard grants what it has got as soon as nothing better can be behind.
//! Registry, waits and timers go by range or number and stay where they are; bodies that run are
//! not touched (C11), and slots belong to workflows, so C1 has nothing to do with it.
//!
//! Invariants: one change at a time; the reply is in the commit that says it was reached. After a
//! crash half-way the engine builds its queues in the layout that is wanted, which ends the change;
//! if the change was not yet durable, that is the old one. Every start hands all ranges over to new
//! owners, so it raises the epoch too. It does not know how entries are kept or found.

use std::sync::Arc;

use super::{Core, Facts};
use crate::codes;
use crate::limits::SHARDS;
use crate::note::{Data, Note};
use crate::queue::Queues;
use crate::ranges::{Ranges, SHARDS_MAX};
use crate::store::{Error, Op};

/// Entries handed over in one batch: about a millisecond of the writer's time, so that whoever
/// waits for a commit meanwhile waits little longer.
const HANDED_OVER: usize = 4_096;
/// The same where there are more shards than a core's cache holds the ends of, and an entry costs
/// several misses.
const HANDED_OVER_FAR: usize = 1_024;
/// So many shards are few.
const NEAR: u32 = 512;
/// Name of the setting.
const SETTING: &str = "layout";

/// Returns how many entries are handed over in a batch, with so many shards on either side.
fn slice(shards: u32) -> usize {
    #[cfg(test)]
    if let Some(slice) = crate::queue::small::slice() {
        return slice;
    }
    if shards <= NEAR {
        HANDED_OVER
    } else {
        HANDED_OVER_FAR
    }
}

/// The layout as it is stored: little-endian, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StoredLayout {
    wanted: u32,
    reached: u32,
    epoch: u64,
}

impl StoredLayout {
    fn bytes(self) -> Box<[u8]> {
        let (wanted, reached) = (self.wanted.to_le_bytes(), self.reached.to_le_bytes());
        [&wanted[..], &reached, &self.epoch.to_le_bytes()]
            .concat()
            .into()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (wanted, rest) = bytes.split_first_chunk()?;
        let (reached, epoch) = rest.split_first_chunk()?;
        let stored = Self {
            wanted: u32::from_le_bytes(*wanted),
            reached: u32::from_le_bytes(*reached),
            epoch: u64::from_le_bytes(epoch.try_into().ok()?),
        };
        let shards = 1..=SHARDS_MAX;
        let makes_sense = shards.contains(&stored.wanted)
            && shards.contains(&stored.reached)
            && stored.epoch < u64::MAX >> 1;
        makes_sense.then_some(stored)
    }
}

/// A change that is under way.
#[derive(Debug, Clone, Copy)]
struct Change {
    ticket: u64,
    from: u32,
    entries: usize,
}

/// The shards, and their change if one is under way.
#[derive(Debug)]
pub(super) struct Shards {
    ranges: Ranges,
    change: Option<Change>,
}

impl Shards {
    /// Returns so many shards. What the store says comes later: see [`Core::lay_out`].
    pub(super) fn new(shards: Option<u32>) -> Self {
        Self {
            ranges: Ranges::new(shards.unwrap_or(SHARDS), 0),
            change: None,
        }
    }

    pub(super) fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    fn count(&self) -> u32 {
        self.ranges.layout().shards()
    }
}

impl Core {
    /// Takes the layout this engine was told, or the stored one, or the default. All ranges are
    /// handed over to it here, while there is nothing in them.
    pub(super) fn lay_out(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let stored = match facts.store.meta(SETTING)? {
            None => None,
            Some(bytes) => Some(StoredLayout::read(&bytes).ok_or_else(|| {
                Error::Corrupt(format!(
                    "setting {SETTING:?} in table meta of the store is damaged: {bytes:?} is no \
                    number of shards \
                     with its epoch. Restore the store from a backup, or ask for help with this \
                     text."
                ))
            })?),
        };
        let shards = self.config.shards.or(stored.map(|it| it.wanted));
        let epoch = stored.map_or(0, |it| it.epoch) + 1;
        self.shards.ranges = Ranges::new(shards.unwrap_or(SHARDS), epoch);
        assert!(self.queues.is_empty(), "ranges are handed over empty");
        self.queues = Queues::new(Arc::clone(self.shards.ranges.layout()));
        self.keep_layout(self.shards.count());
        Ok(())
    }

    fn keep_layout(&mut self, reached: u32) {
        let stored = StoredLayout {
            wanted: self.shards.count(),
            reached,
            epoch: self.shards.ranges.epoch(),
        };
        self.push(Op::Meta(SETTING.into(), stored.bytes()));
    }

    /// Begins to change the number of shards; the reply comes when that is done and durable.
    pub(super) fn reshard(&mut self, ticket: u64, shards: i64) {
        let wanted = u32::try_from(shards).unwrap_or(0);
        if !(1..=SHARDS_MAX).contains(&wanted) {
            let message = format!(
                "reshard({shards}): the number of shards must be 1 to {SHARDS_MAX}, the number of \
                 ranges they share"
            );
            self.say(Note::refuse(ticket, codes::INVALID, Data::Text(message)));
            return;
        }
        if let Some(change) = self.shards.change {
            let left = self.queues.left();
            let message = format!(
                "reshard({wanted}): reshard({}) from {} is under way; {} of {} queued instances \
                and \
                 {} of {SHARDS_MAX} ranges are still to move. Wait until it has returned",
                self.shards.count(),
                change.from,
                left.entries,
                change.entries,
                left.ranges,
            );
            self.say(Note::refuse(ticket, codes::UNDER_WAY, Data::Text(message)));
            return;
        }
        let from = self.shards.count();
        if wanted == from {
            self.say(Note::reply(ticket, Data::Nothing));
            return;
        }
        self.shards.ranges.change(wanted);
        let layout = Arc::clone(self.shards.ranges.layout());
        self.queues.relocate(layout);
        let entries = self.queues.left().entries;
        self.shards.change = Some(Change {
            ticket,
            from,
            entries,
        });
        self.keep_layout(from);
    }

    /// Hands over the next slice of what is under way.
    pub(super) fn hand_over(&mut self) {
        let from = self.shards.change.map_or(0, |it| it.from);
        self.queues.advance(slice(self.shards.count().max(from)));
        if self.queues.is_relocating() {
            return;
        }
        if let Some(change) = self.shards.change.take() {
            self.keep_layout(self.shards.count());
            self.say(Note::reply(change.ticket, Data::Nothing));
        }
    }

    /// The engine ends: a change that is under way is ended by the next one.
    pub(super) fn leave_change(&mut self) {
        if let Some(change) = self.shards.change.take() {
            self.say(Note::refuse(change.ticket, codes::CLOSED, Data::Nothing));
        }
    }

    /// Returns (shards, ranges still to move, queued instances still to move).
    #[must_use]
    pub fn layout_counts(&self) -> [u64; 3] {
        let left = self.queues.left();
        [
            self.shards.count().into(),
            left.ranges.into(),
            left.entries as u64,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_and_nothing_else() {
        let stored = StoredLayout {
            wanted: 64,
            reached: 4_096,
            epoch: 1 << 40,
        };
        let bytes = stored.bytes();
        assert_eq!(StoredLayout::read(&bytes), Some(stored));
        for cut in 0..bytes.len() {
            assert_eq!(StoredLayout::read(&bytes[..cut]), None);
        }
        assert_eq!(StoredLayout::read(&[&*bytes, &[0]].concat()), None);
        for (wanted, reached) in [(0, 1), (1, 0), (4_097, 1), (1, 4_097)] {
            let wrong = StoredLayout {
                wanted,
                reached,
                ..stored
            };
            assert_eq!(StoredLayout::read(&wrong.bytes()), None);
        }
    }
}
