//! What of a history a restart keeps (L6).
//!
//! Pure questions about records: which operations had begun before another one, and what became of
//! those that the body gave up. This knows neither how an instance is restarted nor how a body is
//! replayed.

use minicbor::Decoder;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::erasure::{self, Kept};
use crate::failure::faults;
use crate::history::{Kind, Operation, Record, Stored, Verdict};
use crate::ids::Micros;
use crate::lifecycle::Status;

/// From where a restarted instance goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// From the start: nothing is kept.
    Start,
    /// From this operation: what had begun before it is kept.
    Operation(Box<Operation>),
    /// From what failed: all is kept but the operations whose failures left the body.
    Failed,
}

/// What a restart does to a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The places that are kept.
    pub kept: Kept,
    /// The records that are not.
    pub erased: Vec<Record>,
    /// Outcomes of attempts that succeeded after the body had given their steps up: now they are
    /// their steps' own, and nothing is run again.
    pub redeemed: Vec<Record>,
    /// Some of it says by the clock only when it began, because it is of old.
    pub is_by_clock: bool,
}

/// Why an instance cannot be restarted from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// It has no such operation.
    Step,
    /// Nothing of it failed.
    Sound,
}

/// Returns what a restart does to a history, oldest record first, of an instance in this state, with
/// this error.
///
/// # Errors
/// If it cannot be restarted from there.
pub fn plan(
    history: &[Stored],
    from: &From,
    (status, error): (Status, Option<&[u8]>),
) -> Result<Plan, No> {
    match from {
        From::Start => Ok(keep(history, |_| false)),
        From::Operation(operation) => before(history, operation).ok_or(No::Step),
        From::Failed => {
            let faults = error.map(faults).unwrap_or_default();
            // One that is blocked failed if its error says what of it did.
            let has_failed = match status {
                Status::Errored | Status::Terminated => true,
                Status::Blocked => !faults.is_empty(),
                _ => false,
            };
            let plan = || keep(history, |it| !faults.contains(&it.operation));
            has_failed.then(plan).ok_or(No::Sound)
        }
    }
}

fn before(history: &[Stored], from: &Operation) -> Option<Plan> {
    let begun = beginnings(history);
    let first = begun.get(from)?;
    // Records of old say no turn; if one of the two is of old the clock decides.
    let is_before = |it: &Operation| {
        let one = &begun[it];
        let sooner = match (one.turn, first.turn) {
            (Some(one), Some(first)) => one.cmp(&first),
            _ => one.at.cmp(&first.at),
        };
        sooner.then_with(|| order(it).cmp(&order(from))).is_lt()
    };
    let kept: FxHashSet<_> = begun.keys().filter(|it| is_before(it)).collect();
    let plan = keep(history, |it| kept.contains(&&it.operation));
    Some(Plan {
        is_by_clock: begun.values().any(|it| it.turn.is_none()),
        ..plan
    })
}

/// When an operation began: in which turn, if that is recorded, and by the clock.
struct Beginning {
    turn: Option<u64>,
    at: Micros,
}

fn beginnings(history: &[Stored]) -> FxHashMap<&Operation, Beginning> {
    let mut begun = FxHashMap::default();
    for Stored { record, .. } in history {
        let known = begun.entry(&record.operation).or_insert(Beginning {
            turn: record.begun,
            at: record.started_at,
        });
        known.turn = known.turn.or(record.begun);
    }
    begun
}

/// The order of operations that began in one turn (I4).
fn order(it: &Operation) -> (&str, Kind, &str, u32, Option<&str>) {
    (&it.branch, it.kind, &it.name, it.count, it.key.as_deref())
}

fn keep(history: &[Stored], keeps: impl Fn(&Record) -> bool) -> Plan {
    // What the body gave up it is to have: whether it gives that up again is its own decision.
    let is_kept = |it: &Record| keeps(it) && it.verdict != Verdict::Abandoned;
    let records = || history.iter().map(|it| &it.record);
    let given_up = records().filter(|it| keeps(it) && it.verdict == Verdict::Abandoned);
    Plan {
        kept: erasure::kept(history, |it| is_kept(&it.record)),
        erased: records().filter(|it| !is_kept(it)).cloned().collect(),
        redeemed: given_up.filter_map(redeemed).collect(),
        is_by_clock: false,
    }
}

/// Returns the outcome that an abandoned attempt would have been, if it succeeded.
fn redeemed(abandoned: &Record) -> Option<Record> {
    let mut decoder = Decoder::new(abandoned.payload.as_deref()?);
    let (count, key) = (decoder.map().ok()?, decoder.str().ok()?);
    let value = decoder.bytes().ok()?;
    if (count, key) != (Some(1), "value") {
        return None;
    }
    Some(Record {
        verdict: Verdict::Done,
        payload: Some(value.into()),
        ..abandoned.clone()
    })
}
