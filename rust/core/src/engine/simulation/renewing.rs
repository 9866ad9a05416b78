//! Bodies that go on as new (L15): when, and what they leave to their next run.

use rustc_hash::FxHashSet;

use super::bodies::{main_operation, Running, Side};
use super::program::{Act, For};
use crate::history::{Kind, Operation};
use crate::ids::{Seq, WaitId};
use crate::note::Start;

/// Returns which run of its instance a body is.
pub(super) fn run_of(start: &Start) -> u32 {
    let mut records = start.records.iter().map(|it| &it.record);
    let first = records.find(|it| it.begins_run());
    first.map_or(1, |it| it.operation.count)
}

impl Running {
    /// Whether it goes on as new when it is through.
    pub(super) fn continues(&self) -> bool {
        self.run <= self.program.renewals
    }

    /// Returns what it leaves to its next run: waits for events that are open as far as it knows, and
    /// places of events that were taken before it began and that it was not told of.
    pub(super) fn untold(&self, told: &FxHashSet<Operation>) -> (Vec<WaitId>, Vec<Seq>) {
        let left = self.left.iter().filter(|it| it.1.kind == Kind::Event);
        let mut waits: Vec<_> = left.map(|it| it.0).collect();
        let mut passed = Vec::new();
        for (strand, it) in self.strands.iter().enumerate() {
            if let Some(Act::Wait(For::Event(_), _)) = self.act(strand) {
                waits.extend(it.awaits);
            }
            if let (Some(Act::Race(For::Event(_))), Side::Open(id)) = (self.act(strand), it.side) {
                waits.push(id);
            }
        }
        for (strand, at, act) in self.program.acts() {
            if matches!(act, Act::Leave(For::Event(_))) && at < self.strands[strand].at {
                let main = main_operation(act, strand, at);
                if told.contains(&main) {
                    continue; // what an earlier life was told, this one comes to at the same place
                }
                waits.extend(self.past.open.get(&main));
                passed.extend(self.past.outcomes.get(&main));
            }
        }
        (waits, passed)
    }
}
