//! The limits of one simulation: what was set where, and what is in force because of that.
//!
//! The oracle's own reading of the layers, strongest first: set live for the workflow, in its code,
//! set live for the namespace, what the namespace was opened with, the default.

use super::dice::Dice;
use super::program::{namespace, workflow, Account, NAMESPACES, WORKFLOWS};
use crate::ids::Micros;
use crate::retention::{Keep, Retention};

/// Limits that a simulation sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Slots.
    Concurrency,
    /// Entries of one workflow's queue.
    QueueEntries,
    /// Unclean stops without an outcome after which an instance is blocked.
    Recoveries,
    /// Creations per second.
    CreateRate,
    /// Creations at once.
    CreateBurst,
}

/// All of them with their names, and whether a workflow may have its own.
pub(super) const LIMITS: [(Limit, &str, bool); 5] = [
    (Limit::Concurrency, "concurrency", true),
    (Limit::QueueEntries, "queue_entries", true),
    (Limit::Recoveries, "recoveries", false),
    (Limit::CreateRate, "create_rate", false),
    (Limit::CreateBurst, "create_burst", false),
];

impl Limit {
    pub(super) fn name(self) -> &'static str {
        LIMITS[self as usize].1
    }

    /// Draws a value; sometimes none, which clears what was set.
    fn draw(self, dice: &mut Dice) -> Option<u32> {
        let values: &[u32] = match self {
            Self::Concurrency => &[1, 2, 3, 1_000],
            Self::QueueEntries => &[1, 2, 4, 1_000],
            Self::Recoveries => &[1, 2, 5, 10],
            // One in fifty microseconds, in five, in one.
            Self::CreateRate => &[20_000, 200_000, 1_000_000],
            Self::CreateBurst => &[1, 2, 4],
        };
        (!dice.once_in(4)).then(|| dice.pick(values))
    }
}

/// Limits that were set together.
pub(super) type Layer = [Option<u32>; LIMITS.len()];

/// A change of limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Live, for a namespace.
    Live(usize, Vec<(Limit, Option<u32>)>),
    /// Live, for a workflow of a namespace.
    Own(Account, Vec<(Limit, Option<u32>)>),
    /// A namespace is opened with these.
    Base(usize, Layer),
}

fn keep(dice: &mut Dice) -> Keep {
    let mut time = || dice.once_in(2).then(|| dice.roll(120) as Micros);
    Keep {
        success: time(),
        error: time(),
    }
}

fn retention(dice: &mut Dice) -> Retention {
    Retention {
        keep: keep(dice),
        count: dice.once_in(3).then(|| dice.roll(4)),
    }
}

/// The limits of one simulation.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Slots of the whole engine.
    pub(super) slots: u32,
    /// How long an engine has to outlive an outcome for the count of unclean stops to fall.
    pub(super) proof: Micros,
    /// How long instances of each workflow are kept, by its code; `None`: nothing ever goes.
    retention: Option<[Retention; WORKFLOWS.len()]>,
    base: [Layer; NAMESPACES.len()],
    live: [Layer; NAMESPACES.len()],
    code: [Layer; WORKFLOWS.len()],
    own: [[Layer; WORKFLOWS.len()]; NAMESPACES.len()],
}

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mut base = Layer::default();
        for (limit, ..) in &LIMITS[..3] {
            base[*limit as usize] = limit.draw(dice);
        }
        if dice.once_in(6) {
            let rate = Limit::CreateRate;
            base[rate as usize] = rate.draw(dice);
        }
        let mut code = [Layer::default(); WORKFLOWS.len()];
        for layer in &mut code {
            let limit = Limit::Concurrency;
            layer[limit as usize] = limit.draw(dice).filter(|it| *it < 3);
        }
        Self {
            slots: 1 + dice.roll(5) as u32,
            proof: 1 + dice.roll(60) as Micros,
            retention: dice
                .once_in(3)
                .then(|| std::array::from_fn(|_| retention(dice))),
            base: [base, Layer::default()],
            live: Default::default(),
            code,
            own: Default::default(),
        }
    }

    /// Draws a change.
    pub(super) fn change(dice: &mut Dice, missing: Option<usize>) -> Change {
        let of = dice.roll(NAMESPACES.len() as u64) as usize;
        let own = dice.roll(WORKFLOWS.len() as u64) as usize;
        let some = |dice: &mut Dice, own: bool| {
            let fit = LIMITS.iter().filter(|it| it.2 || !own);
            let fit: Vec<_> = fit.map(|it| it.0).collect();
            let limit = dice.pick(&fit);
            vec![(limit, limit.draw(dice))]
        };
        match dice.roll(5) {
            0 => {
                let mut base = Layer::default();
                for (limit, ..) in &LIMITS[..3] {
                    base[*limit as usize] = limit.draw(dice);
                }
                Change::Base(of, base)
            }
            1 | 2 if missing != Some(own) => {
                Change::Own(of * WORKFLOWS.len() + own, some(dice, true))
            }
            _ => Change::Live(of, some(dice, false)),
        }
    }

    /// A change is in force from now on.
    pub(super) fn apply(&mut self, change: &Change) {
        let (layer, changes) = match change {
            Change::Live(of, changes) => (&mut self.live[*of], changes),
            Change::Own(account, changes) => (
                &mut self.own[namespace(*account)][workflow(*account)],
                changes,
            ),
            Change::Base(of, base) => {
                // Opened with nothing: it stays as it is stored.
                if base.iter().any(Option::is_some) {
                    self.base[*of] = *base;
                }
                return;
            }
        };
        for (limit, value) in changes {
            layer[*limit as usize] = *value;
        }
    }

    /// How long instances of a workflow are kept that were created without a word about it.
    pub(super) fn retention(&self, workflow: usize) -> Retention {
        self.retention
            .map_or_else(Retention::default, |it| it[workflow])
    }

    /// For how long an instance is to be kept that is created now, if that is said.
    pub(super) fn keep(&self, dice: &mut Dice) -> Option<Keep> {
        let says = self.retention.is_some() && dice.once_in(6);
        says.then(|| keep(dice))
    }

    /// What the namespace of the engine was opened with.
    pub(super) fn base(&self) -> Layer {
        self.base[0]
    }

    /// What the code of a workflow says.
    pub(super) fn code(&self, workflow: usize) -> Layer {
        self.code[workflow]
    }

    fn of_namespace(&self, namespace: usize, limit: Limit) -> Option<u32> {
        let at = limit as usize;
        self.live[namespace][at].or(self.base[namespace][at])
    }

    fn own(&self, account: Account, limit: Limit) -> Option<u32> {
        let at = limit as usize;
        let live = self.own[namespace(account)][workflow(account)][at];
        live.or(self.code[workflow(account)][at])
    }

    pub(super) fn slots_of_namespace(&self, namespace: usize) -> u32 {
        let set = self.of_namespace(namespace, Limit::Concurrency);
        set.unwrap_or(50_000)
    }

    pub(super) fn slots_of_workflow(&self, account: Account) -> u32 {
        self.own(account, Limit::Concurrency).unwrap_or(u32::MAX)
    }

    pub(super) fn queue_of(&self, account: Account) -> u32 {
        let own = self.own(account, Limit::QueueEntries);
        let of = || self.of_namespace(namespace(account), Limit::QueueEntries);
        own.or_else(of).unwrap_or(2_000_000)
    }

    pub(super) fn recoveries(&self, account: Account) -> u32 {
        let set = self.of_namespace(namespace(account), Limit::Recoveries);
        set.unwrap_or(10)
    }

    /// Returns creations per second and creations at once, if there is a limit.
    pub(super) fn rate(&self, namespace: usize) -> Option<(f64, f64)> {
        let rate = self.of_namespace(namespace, Limit::CreateRate)?;
        let burst = self.of_namespace(namespace, Limit::CreateBurst);
        Some((rate.into(), burst.unwrap_or(rate).into()))
    }
}
