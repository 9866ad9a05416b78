//! What instances of the simulation do, and how its engines boot.

use std::sync::Arc;

use super::WORKFLOW;
use crate::engine::{Config, Core, Facts};
use crate::history::{Kind, Operation};
use crate::registry::Registry;
use crate::residents::Residents;
use crate::sequence::Sequence;
use crate::settings::Layer;
use crate::store::memory::MemoryStore;
use crate::store::Store;

pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % sides
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Act {
    Step,
    Flaky,
    Sleep,
    Event,
    Approval,
    Call,
    /// A call that is given up when the step beside it is done.
    Race,
}

/// The program of an instance, by its id: children only call, and grandchildren call nobody.
pub(super) fn program(id: &str) -> Vec<Act> {
    let seed = id.bytes().fold(7u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut dice = Dice(seed);
    let sides = 7 - id.matches('.').count().min(2) as u64;
    let acts = [
        Act::Step,
        Act::Flaky,
        Act::Sleep,
        Act::Event,
        Act::Approval,
        Act::Call,
        Act::Race,
    ];
    (0..=dice.roll(6))
        .map(|_| acts[dice.roll(sides) as usize])
        .collect()
}

/// Opens an engine on what an earlier one left.
pub(super) fn boot(
    store: &MemoryStore,
    slots: u32,
    now: i64,
) -> (Core, Facts, Arc<Residents>, Arc<Registry>, Arc<Sequence>) {
    let mut store: Box<dyn Store> = Box::new(store.reopen());
    let ceiling = store.meta("sequence").expect("memory is read");
    let ceiling = ceiling.map_or(0, |it| {
        u64::from_le_bytes((*it).try_into().expect("8 bytes"))
    });
    let registry = Arc::new(Registry::new());
    let residents = Arc::new(Residents::default());
    let sequence = Arc::new(Sequence::new(ceiling));
    let reader = store.reader().expect("memory is read");
    let mut facts = Facts { store, reader };
    let config = Config {
        workflows: vec![(WORKFLOW.into(), "1".into())],
        shards: Some(3),
        slots,
        namespace: "default".into(),
        limits: Layer::default(),
        workflow_limits: vec![],
    };
    let mut core = Core::new(
        config,
        Arc::clone(&registry),
        Arc::clone(&residents),
        Arc::clone(&sequence),
        Arc::default(),
    );
    core.begin(now);
    core.recover(&mut facts).expect("memory is read");
    (core, facts, residents, registry, sequence)
}

/// The operation at this place of a program.
pub(super) fn operation(act: Act, at: usize) -> Operation {
    let kind = match act {
        Act::Step | Act::Flaky | Act::Race => Kind::Do,
        Act::Sleep => Kind::Sleep,
        Act::Event => Kind::Event,
        Act::Approval => Kind::Approval,
        Act::Call => Kind::Call,
    };
    Operation {
        kind,
        branch: "".into(),
        name: "op".into(),
        key: None,
        count: at as u32 + 1,
    }
}

/// Whether an operation is the call beside the step of a race, which may have no outcome.
pub(super) fn is_raced(acts: &[Act], operation: &Operation) -> bool {
    operation.kind == Kind::Call && acts[operation.count as usize - 1] == Act::Race
}
