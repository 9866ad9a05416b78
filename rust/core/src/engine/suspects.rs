//! Who may be killing the process: held back after a start, and tried a few at a time (L11).
//!
//! An instance is a suspect if the engine stopped uncleanly at least twice in a row and this one
//! was running each time without an outcome in between. Suspects are held back: they are `queued`,
//! as their state says (C5), but nobody's slot is theirs until it is their turn, so they are not
//! admissible and no slot counts as idle for them (C2). Everybody else starts as ever. A suspect
//! that was not started is not marked anew and not counted: its count rises when it starts.
//!
//! At most [`FEW`] are tried at once, those with the lowest count first; the next one starts when
//! one of them has an outcome, waits, has ended or is blocked. The higher the counts, the fewer at
//! once: 4, 2, 1, and one alone as soon as one more stop would block it. So each time the guilty
//! one strikes, at most three others are counted with it; they are then tried before it, and what
//! is blocked in the end was alone with nobody who was suspected.
//!
//! How often the engine stopped uncleanly in a row is a setting in the store: every start adds one
//! in its first commit, a clean end sets it to 0 in its last. It knows neither clocks nor why a
//! process died.

use std::collections::BTreeSet;

use super::{Core, Facts};
use crate::ids::InstanceNo;
use crate::queue::Entry;
use crate::store::{Error, Op};

/// Suspects tried at once. Few, since each of them is counted when one of them kills the process;
/// more than one, so that a slow innocent does not hold up all others.
const FEW: usize = 4;
/// Unclean stops in a row from which on suspects are held back.
const UNCLEAN_STOPS: u32 = 2;
/// Name of the setting that counts them.
const SETTING: &str = "unclean_stops";

/// The suspects, each with the count of unclean stops under which it came.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Whether there are any after this start.
    wanted: bool,
    held: BTreeSet<(u32, InstanceNo)>,
    tried: Vec<(u32, InstanceNo)>,
}

impl Suspects {
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Holds one back, if it is a suspect; it had so many unclean stops without an outcome.
    pub(super) fn hold(&mut self, count: u32, no: InstanceNo) -> bool {
        self.wanted && count > 0 && self.held.insert((count, no))
    }

    /// Holds it back no longer; returns whether it was held back.
    pub(super) fn release(&mut self, count: u32, no: InstanceNo) -> bool {
        self.held.remove(&(count, no))
    }

    /// Whether one with this count may be tried along with those that are. Over `limit` stops it
    /// would be blocked.
    fn admits(&self, count: u32, limit: u32) -> bool {
        let highest = self.tried.iter().map(|it| it.0).max();
        let highest = highest.unwrap_or(0).max(count);
        let most = if highest + 1 >= limit {
            1
        } else {
            FEW.checked_shr(highest - 1).unwrap_or(0).max(1)
        };
        self.tried.len() < most
    }
}

impl Core {
    /// Reads how often the engine stopped uncleanly in a row, and counts this start until it ends
    /// cleanly.
    pub(super) fn count_unclean_stops(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let stored = facts.store.meta(SETTING)?;
        let stops = stored
            .and_then(|it| <[u8; 4]>::try_from(&*it).ok())
            .map_or(0, u32::from_le_bytes);
        self.suspects.wanted = stops >= UNCLEAN_STOPS;
        self.count_unclean(stops.saturating_add(1));
        Ok(())
    }

    /// Keeps the number of starts since the last clean end.
    pub(super) fn count_unclean(&mut self, starts: u32) {
        let value = starts.to_le_bytes().into();
        self.push(Op::Meta(SETTING.into(), value));
    }

    /// Returns the suspect whose turn it is, if there is room and a slot for it.
    pub(super) fn next_suspect(&self) -> Option<(u32, InstanceNo)> {
        if self.gate.leased() == self.gate.slots() {
            return None;
        }
        let admitted = |it: &&(u32, InstanceNo)| {
            let limit = self.recoveries(self.live[&it.1].workflow);
            self.suspects.admits(it.0, limit)
        };
        let mut admitted = self.suspects.held.iter().take_while(admitted);
        let free = |it: &&(u32, InstanceNo)| self.gate.free(self.live[&it.1].workflow) > 0;
        admitted.find(free).copied()
    }

    /// Starts those whose turn it is.
    pub(super) fn try_suspects(&mut self) {
        if self.suspects.held.is_empty() {
            return;
        }
        let live = &self.live;
        let unproven =
            |no: &InstanceNo| live.get(no).is_some_and(|it| it.slot && it.recoveries > 0);
        self.suspects.tried.retain(|it| unproven(&it.1));
        while let Some((count, no)) = self.next_suspect() {
            self.suspects.release(count, no);
            self.suspects.tried.push((count, no));
            let live = &self.live[&no];
            let (workflow, rank, entry) = (live.workflow, live.rank(), Entry::new(no, live.key));
            assert!(self.gate.take(workflow), "a slot is free");
            self.start(workflow, rank, entry);
        }
    }

    /// An outcome came: whoever was held back queues like everybody else.
    pub(super) fn acquit(&mut self, count: u32, no: InstanceNo) {
        if self.suspects.release(count, no) {
            let live = &self.live[&no];
            let (workflow, rank, entry) = (live.workflow, live.rank(), Entry::new(no, live.key));
            self.queues.push(workflow, rank, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_the_counts_the_fewer_are_tried_at_once() {
        let most = |count, limit| {
            let mut suspects = Suspects::default();
            while suspects.admits(count, limit) {
                let no = suspects.tried.len() as u64;
                suspects.tried.push((count, no));
            }
            suspects.tried.len()
        };
        let by_count: Vec<_> = (1..=7).map(|count| most(count, 100)).collect();
        assert_eq!(by_count, [4, 2, 1, 1, 1, 1, 1]);
        assert_eq!(most(2_000, 10_000), 1);
        // One more stop would block it.
        assert_eq!((most(1, 2), most(1, 3), most(2, 3)), (1, 4, 1));
    }

    #[test]
    fn one_with_a_high_count_is_tried_with_nobody() {
        let mut suspects = Suspects {
            wanted: true,
            ..Suspects::default()
        };
        suspects.tried.push((1, 7));
        assert!(suspects.admits(1, 10));
        assert!(suspects.admits(2, 10));
        assert!(!suspects.admits(3, 10));
        suspects.tried = vec![(3, 7)];
        assert!(!suspects.admits(1, 10));
    }
}
