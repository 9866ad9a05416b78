//! What was submitted and not decided yet, in two lanes: what bodies say, and everything else.
//!
//! A flood from outside (50,000 events at once) is worked off over a hundred commits. What a body
//! says does not wait behind it: half of each commit is for bodies, the other half for the others,
//! and either takes what the other leaves. So a record is in the very next commit, and neither lane
//! starves the other.
//!
//! Invariant: within a lane everything keeps its order, so all that one body says does. Between the
//! lanes no order was promised: whoever asks from outside and has an answer was decided before, and
//! who has none asks at the same time as the body speaks.

use std::collections::VecDeque;

use crate::submission::{Command, Submission};

/// Both lanes.
#[derive(Debug, Default)]
pub struct Lanes {
    bodies: VecDeque<Submission>,
    others: VecDeque<Command>,
    /// Some of the others waited through all of the last batch: the next one begins with them.
    owed: bool,
    /// None of the others was taken in this batch so far.
    passed: bool,
}

impl Lanes {
    /// Adds what was submitted last.
    pub fn push(&mut self, submission: Submission) {
        match submission {
            Submission::Outside(command) => self.others.push_back(command),
            of_body => self.bodies.push_back(of_body),
        }
    }

    /// Puts back what has to wait for the next batch, or came before all that is in its lane.
    pub fn push_front(&mut self, submission: Submission) {
        match submission {
            Submission::Outside(command) => self.others.push_front(command),
            of_body => self.bodies.push_front(of_body),
        }
    }

    /// Adds what somebody outside wants last of all.
    pub fn push_other(&mut self, command: Command) {
        self.others.push_back(command);
    }

    /// Adds all of them, in their order.
    pub fn extend(&mut self, submissions: &mut VecDeque<Submission>) {
        submissions.drain(..).for_each(|it| self.push(it));
    }

    /// A batch begins.
    pub fn begin(&mut self) {
        self.owed = self.passed && !self.others.is_empty();
        self.passed = true;
    }

    /// Takes what is decided next; `half` says whether half of the batch is full.
    pub fn pop(&mut self, half: bool) -> Option<Submission> {
        let others_first = half || std::mem::take(&mut self.owed);
        if self.bodies.is_empty() || (others_first && !self.others.is_empty()) {
            self.passed = false;
            return self.others.pop_front().map(Submission::Outside);
        }
        self.bodies.pop_front()
    }

    /// Returns what may be decided next of both lanes, at most so much of each.
    pub fn next(
        &self,
        [bodies, others]: [usize; 2],
    ) -> (
        impl Iterator<Item = &Submission>,
        impl Iterator<Item = &Command>,
    ) {
        (
            self.bodies.iter().take(bodies),
            self.others.iter().take(others),
        )
    }

    /// Returns what was not said by bodies, to be looked through: all that came after the first so
    /// many.
    pub fn others_from(&mut self, from: usize) -> VecDeque<Command> {
        self.others.split_off(from)
    }

    /// Returns how many wait that were not said by bodies.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others.len()
    }

    /// Returns how many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lens().iter().sum()
    }

    /// Returns how many wait of bodies, and of others.
    #[must_use]
    pub fn lens(&self) -> [usize; 2] {
        [self.bodies.len(), self.others.len()]
    }

    /// Returns whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Something that a body says, or somebody else.
    fn some(number: u64, body: bool) -> Submission {
        if body {
            Submission::LetGo(number)
        } else {
            Submission::Outside(Command::GiveUp(number))
        }
    }

    /// Decides a batch of so many, as the writer does.
    fn batch(lanes: &mut Lanes, most: usize) -> Vec<Submission> {
        lanes.begin();
        (0..most)
            .map_while(|at| lanes.pop(at >= most / 2))
            .collect()
    }

    #[test]
    fn what_a_body_says_is_in_the_very_next_batch_whatever_stands_before_it() {
        let mut lanes = Lanes::default();
        (0..50_000).for_each(|it| lanes.push(some(it, false)));
        batch(&mut lanes, 512);
        lanes.push(some(7, true));
        let next = batch(&mut lanes, 512);
        assert_eq!((&next[0], next.len()), (&some(7, true), 512));
    }

    #[test]
    fn each_lane_has_half_of_a_batch_while_both_are_long() {
        let mut lanes = Lanes::default();
        (0..1_000).for_each(|it| lanes.push(some(it, it % 2 == 0)));
        let bodies = batch(&mut lanes, 100)
            .iter()
            .filter(|it| matches!(it, Submission::LetGo(_)))
            .count();
        assert_eq!(bodies, 50);
    }

    /// One value may fill a batch.
    #[test]
    fn whoever_waited_through_a_batch_begins_the_next_one() {
        let mut lanes = Lanes::default();
        (0..9).for_each(|it| lanes.push(some(it, true)));
        (0..2).for_each(|it| lanes.push(some(it, false)));
        let expected = [(0, true), (0, false), (1, true), (1, false), (2, true)];
        let taken = (0..5).map(|_| {
            lanes.begin();
            lanes.pop(false).expect("enough")
        });
        assert!(taken.eq(expected.map(|it| some(it.0, it.1))));
    }

    proptest! {
            /// Nothing is lost or doubled, each lane keeps its order, also what was put back.
            #[test]
            fn each_lane_is_in_order(acts in prop::collection::vec((0u8..4, any::<bool>()), 1..200)) {
                let mut lanes = Lanes::default();
                let mut taken: [Vec<u64>; 2] = Default::default();
                let mut number = 0;
                let mut take = |lanes: &mut Lanes, half, back| match lanes.pop(half) {
                    Some(it) if back => lanes.push_front(it),
                    Some(Submission::LetGo(it)) => taken[1].push(it),
                    Some(Submission::Outside(Command::GiveUp(it))) => taken[0].push(it),
                    None => assert!(lanes.is_empty()),
                    other => unreachable!("{other:?}"),
                };
                for (act, flag) in acts {
                    match act {
                        0 => {
     lanes.push(some(number, flag));
     number += 1;
    }
                        1 => lanes.begin(),
                        2 => take(&mut lanes, flag, false),
                        _ => take(&mut lanes, flag, true),
                    }
                }
                while !lanes.is_empty() {
                    take(&mut lanes, false, false);
                }
                prop_assert!(taken.iter().all(|it| it.is_sorted()));
                let mut all = taken.concat();
                all.sort_unstable();
                prop_assert!(all.into_iter().eq(0..number));
            }
        }
}
