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

use crate::submission::Submission;

/// Both lanes.
#[derive(Debug, Default)]
pub struct Lanes {
    bodies: VecDeque<Submission>,
    others: VecDeque<Submission>,
    /// Some of the others waited through all of the last batch: the next one begins with them.
    owed: bool,
    /// None of the others was taken in this batch so far.
    passed: bool,
}

impl Lanes {
    /// Adds what was submitted last.
    pub fn push(&mut self, submission: Submission) {
        self.lane(&submission).push_back(submission);
    }

    /// Puts back what has to wait for the next batch, or came before all that is in its lane.
    pub fn push_front(&mut self, submission: Submission) {
        self.lane(&submission).push_front(submission);
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
            return self.others.pop_front();
        }
        self.bodies.pop_front()
    }

    /// Returns what was not said by bodies, to be looked through: all that came after the first so
    /// many.
    pub fn others_from(&mut self, from: usize) -> VecDeque<Submission> {
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
        self.bodies.len() + self.others.len()
    }

    /// Returns whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lane(&mut self, submission: &Submission) -> &mut VecDeque<Submission> {
        if is_said_by_body(submission) {
            &mut self.bodies
        } else {
            &mut self.others
        }
    }
}

fn is_said_by_body(submission: &Submission) -> bool {
    match submission {
        Submission::Record(..)
        | Submission::Retry(..)
        | Submission::Open(..)
        | Submission::Ask(..)
        | Submission::Await(..)
        | Submission::Call(..)
        | Submission::CreateChild(..)
        | Submission::CreateChildren(..)
        | Submission::Post(..)
        | Submission::Withdraw(..)
        | Submission::GiveBack(..)
        | Submission::Quiet(..)
        | Submission::Report(..)
        | Submission::Finish(..)
        | Submission::Hold(..)
        | Submission::LetGo(..)
        | Submission::Block(..)
        | Submission::TakenUp(..)
        | Submission::Release(..)
        | Submission::Replay(..) => true,
        Submission::Create(..)
        | Submission::CreateBatch(..)
        | Submission::Again(..)
        | Submission::GiveUp(..)
        | Submission::EndWaiting
        | Submission::Send(..)
        | Submission::Decide(..)
        | Submission::SetLimits(..)
        | Submission::OpenNamespace(..)
        | Submission::Resume(..)
        | Submission::Reshard(..)
        | Submission::Stand(..) => false,
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
            Submission::GiveUp(number)
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
            .filter(|it| is_said_by_body(it))
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
                    Some(Submission::GiveUp(it)) => taken[0].push(it),
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
