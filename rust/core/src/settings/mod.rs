//! Limits that users set: which there are, what each may be, and which of several layers counts.
//!
//! Invariant: a [`Layer`] holds valid values only; whatever comes from outside passes [`checked`]
//! or [`Layer::changed`] first, which refuse a whole change, with a text for the user, before
//! anything of it is kept. A new limit is a row in [`TABLE`]. Nothing here enforces a limit, knows
//! what is in use, or when a change is durable; who set what where is in [`book`].

pub mod book;

use Limit::{
    ChunkBytes, Concurrency, CreateBurst, CreateRate, InstanceBytes, QueueEntries, Recoveries,
    Steps, StreamBytes, StreamChunks, ValueBytes,
};

/// A limit that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Instances that run at once.
    Concurrency,
    /// Instances of one workflow that wait for a slot.
    QueueEntries,
    /// Creations per second.
    CreateRate,
    /// Creations at once, on top of the rate.
    CreateBurst,
    /// `do` and `map` steps of one instance.
    Steps,
    /// Encoded size of one value.
    ValueBytes,
    /// Encoded size of all values of one instance.
    InstanceBytes,
    /// Unclean stops without progress after which an instance is blocked (L11).
    Recoveries,
    /// Encoded size of what one stream of an instance holds.
    StreamBytes,
    /// Chunks that it holds.
    StreamChunks,
    /// Encoded size of one of them.
    ChunkBytes,
}

/// What is to be known of a limit.
#[derive(Debug)]
pub struct Rule {
    /// Which limit.
    pub limit: Limit,
    /// Its name for users.
    pub name: &'static str,
    /// The least that makes sense.
    pub least: f64,
    /// More than this is a mistake.
    pub most: f64,
    /// Whether a fraction makes no sense.
    pub whole: bool,
    /// Whether a workflow may have a value of its own.
    pub of_workflow: bool,
    /// What it is where nobody sets it; `None`: there is no limit.
    pub default: Option<f64>,
}

const fn rule(
    limit: Limit,
    name: &'static str,
    range: (f64, f64),
    of_workflow: bool,
    default: Option<f64>,
) -> Rule {
    Rule {
        limit,
        name,
        least: range.0,
        most: range.1,
        whole: !matches!(limit, CreateRate),
        of_workflow,
        default,
    }
}

const KIB: f64 = 1024.0;
const MIB: f64 = KIB * KIB;

/// All limits, in the order of [`Limit`]. All are whole numbers below 2^53, but the rate: a
/// creation a day is about 0.00001 per second.
pub const TABLE: [Rule; 11] = [
    rule(Concurrency, "concurrency", (1.0, 1e6), true, Some(50_000.0)),
    rule(QueueEntries, "queue_entries", (1.0, 1e8), true, Some(2e6)),
    rule(CreateRate, "create_rate", (0.000_01, 1e9), false, None),
    rule(CreateBurst, "create_burst", (1.0, 1e9), false, None),
    rule(Steps, "steps", (1.0, 1e7), true, Some(100_000.0)),
    rule(
        ValueBytes,
        "value_bytes",
        (1.0, 64.0 * MIB),
        true,
        Some(MIB),
    ),
    rule(
        InstanceBytes,
        "instance_bytes",
        (1.0, KIB * KIB * KIB * MIB),
        false,
        Some(KIB * MIB),
    ),
    rule(Recoveries, "recoveries", (1.0, 1e6), false, Some(10.0)),
    rule(
        StreamBytes,
        "stream_bytes",
        (1.0, KIB * KIB * MIB),
        false,
        Some(16.0 * MIB),
    ),
    rule(
        StreamChunks,
        "stream_chunks",
        (1.0, 1e9),
        false,
        Some(100_000.0),
    ),
    rule(
        ChunkBytes,
        "chunk_bytes",
        (1.0, 16.0 * MIB),
        false,
        Some(256.0 * KIB),
    ),
];

impl Limit {
    /// Returns what is to be known of it.
    #[must_use]
    pub fn rule(self) -> &'static Rule {
        &TABLE[self as usize]
    }

    fn named(name: &str) -> Result<&'static Rule, String> {
        TABLE.iter().find(|it| it.name == name).ok_or_else(|| {
            let names: Vec<_> = TABLE.iter().map(|it| it.name).collect();
            format!(
                "there is no limit {name:?}; there are {}.",
                names.join(", ")
            )
        })
    }
}

/// Values of some limits, set together by somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Layer([Option<f64>; TABLE.len()]);

/// Returns a layer of these values, checked. A value that is absent is not set.
///
/// # Errors
/// A text for the user that says which limit, which value, and what it may be.
pub fn checked(
    values: &[(impl AsRef<str>, Option<f64>)],
    of_workflow: bool,
) -> Result<Layer, String> {
    Layer::default().changed(values, of_workflow)
}

impl Layer {
    /// Returns a layer with this value too; for what is known to be in range.
    #[must_use]
    pub fn with(mut self, limit: Limit, value: u32) -> Self {
        self.0[limit as usize] = Some(value.into());
        self
    }

    /// Returns whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Returns the value of a limit, if it is set here.
    #[must_use]
    pub fn get(&self, limit: Limit) -> Option<f64> {
        self.0[limit as usize]
    }

    /// Returns this layer with other values; an absent one clears what was set.
    ///
    /// # Errors
    /// As [`checked`]; nothing is changed then.
    pub fn changed(
        mut self,
        values: &[(impl AsRef<str>, Option<f64>)],
        of_workflow: bool,
    ) -> Result<Self, String> {
        for (name, value) in values {
            let rule = Limit::named(name.as_ref())?;
            if of_workflow && !rule.of_workflow {
                return Err(format!(
                    "{} is a limit of the namespace, not of one workflow; set it without naming a \
                    workflow.",
                    rule.name
                ));
            }
            if let Some(value) = value {
                check(rule, *value)?;
            }
            self.0[rule.limit as usize] = *value;
        }
        Ok(self)
    }
}

fn check(rule: &Rule, value: f64) -> Result<(), String> {
    let sensible = (rule.least..=rule.most).contains(&value);
    if sensible && !(rule.whole && value.fract() != 0.0) {
        return Ok(());
    }
    let kind = if rule.whole { "whole number" } else { "number" };
    // Numbers that nobody would count the digits of.
    let value = if value.abs() < 1e15 {
        format!("{value}")
    } else {
        format!("{value:e}")
    };
    Err(format!(
        "{} is {value}; give a {kind} from {} to {}.",
        rule.name,
        grouped(rule.least),
        grouped(rule.most)
    ))
}

/// Returns a number with a comma between thousands.
fn grouped(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Everything that was said about the limits of one workflow, or of a namespace.
///
/// | strongest first | said by | kept |
/// |---|---|---|
/// | `workflow_live` | `set_limits(workflow, …)` | in the store |
/// | `workflow_code` | `@workflow(…)` | in the code |
/// | `namespace_live` | `set_limits(…)` | in the store |
/// | `namespace_base` | `Limits(…)` when the engine or the namespace was opened | in the store |
/// | the default | [`TABLE`] | |
#[derive(Debug, Clone, Copy, Default)]
pub struct Layers {
    /// Set for the workflow while the engine runs.
    pub workflow_live: Layer,
    /// What the workflow's code says.
    pub workflow_code: Layer,
    /// Set for the namespace while the engine runs.
    pub namespace_live: Layer,
    /// What the namespace was opened with.
    pub namespace_base: Layer,
}

impl Layers {
    /// Returns what the workflow itself may use at most, if it has a limit of its own.
    #[must_use]
    pub fn own(&self, limit: Limit) -> Option<f64> {
        let live = self.workflow_live.get(limit);
        live.or_else(|| self.workflow_code.get(limit))
    }

    /// Returns what is in force for the namespace; `None`: no limit.
    #[must_use]
    pub fn of_namespace(&self, limit: Limit) -> Option<f64> {
        let said = self.namespace_live.get(limit);
        let said = said.or_else(|| self.namespace_base.get(limit));
        match limit {
            // What may come at once is a second's worth, unless somebody says otherwise.
            CreateBurst => {
                let rate = self.of_namespace(CreateRate)?;
                Some(said.unwrap_or(rate.max(1.0)))
            }
            _ => said.or(limit.rule().default),
        }
    }

    /// Returns what is in force for the workflow; `None`: no limit.
    #[must_use]
    pub fn in_force(&self, limit: Limit) -> Option<f64> {
        let namespace = self.of_namespace(limit);
        match (limit, self.own(limit)) {
            (_, None) => namespace,
            // Both accounts are asked for a slot.
            (Concurrency, Some(own)) => Some(namespace.map_or(own, |it| it.min(own))),
            (_, own) => own,
        }
    }
}

/// Returns whether something may be the name of a namespace or workflow.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |it: &u8| it.is_ascii_alphanumeric() || *it == b'_';
    (1..=64).contains(&bytes.len())
        && word(&bytes[0])
        && bytes.iter().all(|it| word(it) || *it == b'-')
}

#[cfg(test)]
mod tests;
