//! Who may be killing the process: held back after a start, and tried a few at a time (L11).
//!
//! What kills a process may do so a little later than the step that caused it. So an outcome proves
//! an instance innocent only when the process has lived [`PROOF`] longer than it; until then the
//! instance is counted if the engine stops uncleanly.
//!
//! An instance is a suspect if the engine stopped uncleanly at least twice in a row and this one
//! was running each time without being proven innocent in between. Suspects are held back: they are
//! `queued`, as their state says (C5), but nobody's slot is theirs until it is their turn, so they
//! are not admissible and no slot counts as idle for them (C2). Everybody else starts as ever. A
//! suspect that was not started is not marked anew and not counted: its count rises when it starts.
//!
//! At most [`FEW`] are tried at once, those with the lowest count first; half as many for each stop
//! more, but at least one; and one more for each that was proven innocent. As soon as one more stop
//! would block it, one is tried alone. So what strikes is counted with at most as many others as
//! were proven innocent before, those are tried before it at the next start, and what is blocked in
//! the end was alone with nobody who was suspected. One that has ended, waits or is blocked keeps
//! its place among those that are tried as long as it would need to be proven innocent: else the
//! next one would be blamed for what it did. If the process dies meanwhile, the next engine names
//! it.
//!
//! How often the engine stopped uncleanly in a row is a setting in the store: every start adds one
//! in its first commit, a clean end sets it to 0 in its last. So are those that left their trial
//! and are not proven innocent yet.

use std::collections::BTreeSet;

use super::{Core, Due, Facts, Live};
use crate::ids::{InstanceNo, Micros};
use crate::queue::Entry;
use crate::store::{Error, Op, Row};

/// Suspects tried at once. Few, since each of them is counted when one of them kills the process;
/// more than one, so that a slow innocent does not hold up all others.
const FEW: usize = 4;
/// Unclean stops in a row from which on suspects are held back.
const UNCLEAN_STOPS: u32 = 2;
/// Microseconds that the process has to outlive what it is to be innocent of (L11).
const PROOF: Micros = 1_000_000;
/// Name of the setting that counts unclean stops.
const STOPS: &str = "unclean_stops";
/// Name of the setting that tells who left its trial and is not proven innocent.
const LEFT: &str = "left_trial";

/// One that is tried.
#[derive(Debug, Clone, Copy)]
struct Tried {
    /// Unclean stops under which it came.
    count: u32,
    no: InstanceNo,
    /// When it is proven innocent, if it runs no more.
    until: Option<Micros>,
}

/// The suspects.
#[derive(Debug)]
pub(super) struct Suspects {
    /// Whether there are any after this start.
    wanted: bool,
    /// By the count of unclean stops under which they came.
    held: BTreeSet<(u32, InstanceNo)>,
    tried: Vec<Tried>,
    /// How many were proven innocent since the start.
    innocent: usize,
    /// As stored: those that left their trial.
    left: Vec<InstanceNo>,
    /// Those that an earlier engine wrote down so.
    found: Vec<Row>,
    /// What the process has to outlive an outcome by.
    pub(super) proof: Micros,
}

impl Default for Suspects {
    fn default() -> Self {
        Self {
            wanted: false,
            held: BTreeSet::new(),
            tried: Vec::new(),
            innocent: 0,
            left: Vec::new(),
            found: Vec::new(),
            proof: PROOF,
        }
    }
}

impl Suspects {
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Holds one back, if it is a suspect; it had so many unclean stops without proof.
    pub(super) fn hold(&mut self, count: u32, no: InstanceNo) -> bool {
        self.wanted && count > 0 && self.held.insert((count, no))
    }

    /// Holds it back no longer; returns whether it was held back.
    pub(super) fn release(&mut self, count: u32, no: InstanceNo) -> bool {
        self.held.remove(&(count, no))
    }

    /// Whether it is held back.
    pub(super) fn holds(&self, count: u32, no: InstanceNo) -> bool {
        self.held.contains(&(count, no))
    }

    /// Whether it is tried: whoever restarts it proves nothing.
    pub(super) fn tries(&self, no: InstanceNo) -> bool {
        self.tried.iter().any(|it| it.no == no)
    }

    /// Whether one with this count may be tried along with those that are. Over `limit` stops it
    /// would be blocked.
    fn admits(&self, count: u32, limit: u32) -> bool {
        let highest = self.tried.iter().map(|it| it.count).max();
        let highest = highest.unwrap_or(0).max(count);
        let most = if highest + 1 >= limit {
            1
        } else {
            let few = FEW.checked_shr(highest - 1).unwrap_or(0).max(1);
            few + self.innocent
        };
        self.tried.len() < most
    }
}

impl Core {
    /// Reads how often the engine stopped uncleanly in a row, and counts this start until it ends
    /// cleanly.
    pub(super) fn count_unclean_stops(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let stored = match facts.store.meta(STOPS) {
            Ok(None) => Some(0),
            Ok(Some(it)) => <[u8; 4]>::try_from(&*it).ok().map(u32::from_le_bytes),
            Err(Error::Row(_)) => None,
            Err(other) => return Err(other),
        };
        if stored.is_none() {
            // It counts, and no more: nothing is lost.
            let what = format!("setting {STOPS:?} in table meta is no number");
            self.unreadable.push(what);
        }
        let stops = stored.unwrap_or(0);
        self.suspects.wanted = stops >= UNCLEAN_STOPS;
        self.count_unclean(stops.saturating_add(1));
        Ok(())
    }

    /// Keeps the number of starts since the last clean end.
    fn count_unclean(&mut self, starts: u32) {
        let value = starts.to_le_bytes().into();
        self.push(Op::Meta(STOPS.into(), value));
    }

    /// Finds those that had left their trial when the process died, too early to be proven
    /// innocent.
    pub(super) fn find_left(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let stored = facts.store.meta(LEFT)?.unwrap_or_default();
        let (numbers, _) = stored.as_chunks();
        for no in numbers {
            match facts.reader.instance(InstanceNo::from_le_bytes(*no)) {
                Ok(row) => self.suspects.found.extend(row),
                // It is told of where it is read for its own sake.
                Err(Error::Row(_)) => {}
                Err(other) => return Err(other),
            }
        }
        if !numbers.is_empty() {
            self.keep_left(&[]);
        }
        Ok(())
    }

    fn keep_left(&mut self, left: &[InstanceNo]) {
        let bytes: Vec<_> = left.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.push(Op::Meta(LEFT.into(), bytes.into()));
    }

    /// The engine ends cleanly: nobody kills it.
    pub(super) fn end_row_of_stops(&mut self) {
        self.count_unclean(0);
        if !self.suspects.left.is_empty() {
            self.keep_left(&[]);
        }
    }

    /// Returns those that the store named when the engine opened.
    pub fn take_suspected(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.suspects.found)
    }

    /// An outcome: if the process outlives it, the count of unclean stops falls.
    pub(super) fn progressed(&mut self, no: InstanceNo) {
        let at = self.now + self.suspects.proof;
        let live = self.live_mut(no);
        if live.recoveries > 0 && live.proof.is_none() {
            live.proof = Some(at);
            self.timers.set(at, no, Due::Proof(no));
        }
    }

    /// The process has outlived an outcome of it, or the end of its trial.
    pub(super) fn prove(&mut self, no: InstanceNo) {
        let now = self.now;
        let due = |it: &&mut Box<Live>| it.proof.is_some_and(|at| at <= now) && !it.is_inert();
        if let Some(live) = self.live.get_mut(&no).filter(due) {
            live.proof = None;
            let count = std::mem::take(&mut live.recoveries);
            self.acquit(count, no);
            self.persist(no, None, None);
        }
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
        if !self.suspects.tried.is_empty() {
            self.end_trials();
        }
        while let Some((count, no)) = self.next_suspect() {
            self.suspects.release(count, no);
            let until = None;
            self.suspects.tried.push(Tried { count, no, until });
            let live = &self.live[&no];
            let (workflow, rank, entry) = (live.workflow, live.rank(), Entry::new(no, live.key));
            assert!(self.gate.take(workflow), "a slot is free");
            self.start(workflow, rank, entry);
        }
    }

    /// Ends the trials of those that are proven innocent, and writes down who runs no more and is
    /// not.
    fn end_trials(&mut self) {
        let (now, until) = (self.now, self.now + self.suspects.proof);
        let (live, timers) = (&self.live, &mut self.timers);
        let before = self.suspects.tried.len();
        self.suspects.tried.retain_mut(|it| {
            let known = live.get(&it.no);
            if known.is_some_and(|live| live.slot) {
                it.until = None;
                return known.is_some_and(|live| live.recoveries > 0);
            }
            let until = *it.until.get_or_insert_with(|| {
                timers.set(until, it.no, Due::Proof(it.no));
                until
            });
            until > now
        });
        self.suspects.innocent += before - self.suspects.tried.len();
        let left = self.suspects.tried.iter().filter(|it| it.until.is_some());
        let left: Vec<_> = left.map(|it| it.no).collect();
        if left != self.suspects.left {
            self.keep_left(&left);
            self.suspects.left = left;
        }
    }

    /// It is proven innocent: if it was held back, it queues like everybody else.
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

    fn tried(count: u32) -> Tried {
        let (no, until) = (7, None);
        Tried { count, no, until }
    }

    #[test]
    fn the_higher_the_counts_the_fewer_are_tried_at_once() {
        let most = |count, limit| {
            let mut suspects = Suspects::default();
            while suspects.admits(count, limit) {
                suspects.tried.push(tried(count));
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
        suspects.tried.push(tried(1));
        assert!(suspects.admits(1, 10));
        assert!(suspects.admits(2, 10));
        assert!(!suspects.admits(3, 10));
        suspects.tried = vec![tried(3)];
        assert!(!suspects.admits(1, 10));
    }
}
