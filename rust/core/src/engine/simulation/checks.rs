//! What must hold: after every batch, and in the end.

use std::collections::BTreeSet;

use super::program::{is_raced, program};
use super::{Errand, World, WORKFLOW};
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::Status;
use crate::store::{Filter, Op, Row};
use crate::wait::Source;

impl World {
    pub(super) fn rows(&mut self) -> Vec<Row> {
        let filter = Filter {
            limit: 10_000,
            ..Filter::default()
        };
        self.reader.list(&filter).expect("memory is read")
    }

    /// L10: a called child is live only while its parent waits for it.
    pub(super) fn check_children(&mut self) {
        let seed = self.seed;
        for row in self.rows() {
            if row.called && !row.status.is_final() {
                let parent = row.parent.expect("it was called");
                let waits = self.core.live.get(&parent).map(|it| it.mailbox.waits());
                let source = Source::Child(row.no);
                let awaited = waits.is_some_and(|it| it.iter().any(|it| it.source == source));
                assert!(awaited, "seed {seed}: L10 {row:?}");
            }
        }
    }

    pub(super) fn check(&self) {
        let seed = self.seed;
        let slots = self.core.live.values().filter(|it| it.slot).count();
        assert_eq!(slots, self.core.gate.leased() as usize, "seed {seed}: C1");
        assert!(slots <= self.slots as usize, "seed {seed}: C1");
        let mut queued: BTreeSet<InstanceNo> = BTreeSet::new();
        for workflow in self.core.queues.workflows() {
            for (_, _, entry) in self.core.queues.entries(workflow) {
                queued.insert(entry.no);
            }
        }
        for (no, live) in &self.core.live {
            let runs = live.status == Status::Running;
            assert_eq!(live.slot, runs, "seed {seed}: C6 {live:?}");
            assert_eq!(live.slot, live.marked && runs, "seed {seed}: R3 {live:?}");
            assert!(!(live.slot && queued.contains(no)), "seed {seed}: C5");
            let waits = live.mailbox.waits().is_empty();
            let stuck = live.status == Status::Waiting && waits;
            assert!(!stuck, "seed {seed}: waits for nothing {live:?}");
            let view = self.registry.view(live.key).expect("live ones are known");
            assert_eq!(view.committed, Some(live.status), "seed {seed}: D1");
        }
    }

    /// Whether nobody is left who could create the one it is for.
    pub(super) fn is_orphaned(&mut self, errand: &Errand) -> bool {
        let (Errand::Create(id) | Errand::Event(id, _) | Errand::Decide(id, _)) = errand;
        let dots: Vec<_> = id.match_indices('.').map(|it| it.0).collect();
        dots.iter().any(|at| {
            let row = self.reader.find("default", WORKFLOW, &id[..*at]);
            let row = row.expect("memory is read");
            row.is_some_and(|it| it.status == Status::Terminated)
        })
    }

    pub(super) fn verify(&mut self) {
        let seed = self.seed;
        self.check_children();
        for row in self.rows() {
            let acts = program(&row.id);
            let history = self.reader.history(row.no).expect("memory is read");
            let outcomes = history.iter().filter(|it| it.record.verdict.is_outcome());
            let outcomes = outcomes.filter(|it| !is_raced(&acts, &it.record.operation));
            let counts: Vec<_> = outcomes.map(|it| it.record.operation.count).collect();
            let all = match row.status {
                Status::Complete => acts.len(),
                Status::Terminated if row.id.contains('.') => counts.len(),
                _ => panic!("seed {seed}: {row:?}"),
            };
            assert!(
                counts.iter().copied().eq(1..=all as u32),
                "seed {seed}: {row:?}"
            );
            let waits = self.reader.waits(row.no).expect("memory is read");
            assert!(waits.is_empty(), "seed {seed}: {waits:?}");
            let key = Key::new(&row.namespace, &row.workflow, &row.id);
            assert_eq!(self.registry.peek(key), None);
        }
        assert!(self.core.live.is_empty() && self.core.parents.is_empty());
        let ops = self.core.ops();
        assert!(!ops.iter().any(|op| matches!(op, Op::Create(_))));
    }
}
