//! What of a history a restart keeps (L6).
//!
//! Pure questions about records: which operations had begun before another one, and what became of
//! those that the body gave up. This knows neither how an instance is restarted nor how a body is
//! replayed.

use std::cmp::Ordering;

use minicbor::Decoder;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::attributes::span;
use crate::erasure::{self, Kept};
use crate::failure::faults;
use crate::history::{Kind, Operation, Record, Stored, Verdict};
use crate::ids::Micros;
use crate::lifecycle::Status;
use crate::wait::Wait;

/// From where a restarted instance goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// From the start: nothing is kept but which run it is (L15).
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
    /// The attributes that the instance has again, if what is erased changed them.
    pub attributes: Option<Box<[u8]>>,
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

/// Returns what a restart does to a history, oldest record first, of an instance that has these waits
/// open, is in this state, and has this error.
///
/// # Errors
/// If it cannot be restarted from there.
pub fn plan(
    history: &[Stored],
    waits: &[Wait],
    from: &From,
    (status, error): (Status, Option<&[u8]>),
) -> Result<Plan, No> {
    match from {
        From::Start => Ok(keep(history, |_| false)),
        From::Operation(operation) if operation.kind == Kind::Continue => {
            let is_there = history.iter().any(|it| it.record.operation == **operation);
            is_there.then(|| keep(history, |_| false)).ok_or(No::Step)
        }
        From::Operation(operation) => before(history, waits, operation).ok_or(No::Step),
        From::Failed => match first_undone(history) {
            Some(operation) => before(history, waits, &operation).ok_or(No::Step),
            None => from_failed(history, (status, error)),
        },
    }
}

fn from_failed(history: &[Stored], (status, error): (Status, Option<&[u8]>)) -> Result<Plan, No> {
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

fn before(history: &[Stored], waits: &[Wait], from: &Operation) -> Option<Plan> {
    let mut begun = beginnings(history);
    for wait in waits {
        // A retry delay is part of its step.
        begun.entry(&wait.operation).or_insert(Beginning {
            turn: wait.begun,
            at: wait.opened_at,
        });
    }
    begun.get(from)?;
    let is_before = |it: &Operation| began_before(&begun, it, from).is_lt();
    let kept: FxHashSet<_> = begun.keys().filter(|it| is_before(it)).collect();
    let plan = keep(history, |it| kept.contains(&&it.operation));
    Some(Plan {
        is_by_clock: begun.values().any(|it| it.turn.is_none()),
        ..plan
    })
}

/// Returns the step that began first of those whose undo began (L8): what it did may be undone, and
/// what came after it was made with it.
fn first_undone(history: &[Stored]) -> Option<Operation> {
    let begun = beginnings(history);
    let undone = begun.keys().filter(|it| it.kind == Kind::Undo);
    let steps = undone.map(|it| Operation {
        kind: Kind::Do,
        ..(*it).clone()
    });
    let known = steps.filter(|it| begun.contains_key(it));
    known.min_by(|one, other| began_before(&begun, one, other))
}

/// When an operation began: in which turn, if that is recorded, and by the clock.
struct Beginning {
    turn: Option<u64>,
    at: Micros,
}

/// Records of old say no turn; if one of the two is of old the clock decides.
fn began_before(
    begun: &FxHashMap<&Operation, Beginning>,
    one: &Operation,
    other: &Operation,
) -> Ordering {
    let (first, second) = (&begun[one], &begun[other]);
    let sooner = match (first.turn, second.turn) {
        (Some(first), Some(second)) => first.cmp(&second),
        _ => first.at.cmp(&second.at),
    };
    sooner.then_with(|| order(one).cmp(&order(other)))
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
    // What was undone is done anew, and may be undone again.
    let keeps = |it: &Record| it.begins_run() || (it.operation.kind != Kind::Undo && keeps(it));
    let is_kept = |it: &Record| keeps(it) && it.verdict != Verdict::Abandoned;
    let records = || history.iter().map(|it| &it.record);
    let given_up = records().filter(|it| keeps(it) && it.verdict == Verdict::Abandoned);
    Plan {
        kept: erasure::kept(history, |it| is_kept(&it.record)),
        erased: records().filter(|it| !is_kept(it)).cloned().collect(),
        redeemed: given_up.filter_map(redeemed).collect(),
        attributes: attributes(history, is_kept),
        is_by_clock: false,
    }
}

/// Returns what the attributes were after the last change that is kept, or before all of them;
/// `None` if no change is erased.
fn attributes(history: &[Stored], is_kept: impl Fn(&Record) -> bool) -> Option<Box<[u8]>> {
    let is_change =
        |it: &&Record| it.operation.kind == Kind::Attributes && it.verdict == Verdict::Done;
    let changes = || history.iter().map(|it| &it.record).filter(is_change);
    if changes().all(&is_kept) {
        return None;
    }
    let map = match changes().filter(|it| is_kept(it)).last() {
        Some(last) => span(last.payload.as_deref()?)?.1,
        None => span(changes().next()?.payload.as_deref()?)?.0,
    };
    Some(map.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erasure::restarted;
    use crate::failure::at_fault;
    use crate::ids::Seq;
    use crate::wait::Source;

    /// What is recorded of an attempt that went on after its step was given up.
    const VALUE: &[u8] = b"\xa1\x65value\x41v";
    const ERROR: &[u8] = b"\xa1\x65error\x41v";

    fn step(count: u32) -> Operation {
        Operation {
            kind: Kind::Do,
            branch: "".into(),
            name: "op".into(),
            key: None,
            count,
        }
    }

    fn line(seq: Seq, operation: Operation, verdict: Verdict, begun: Option<u64>) -> Stored {
        let record = Record {
            operation,
            attempt: 1,
            verdict,
            begun,
            started_at: seq as Micros,
            ..restarted(&[], 100)
        };
        Stored { seq, record }
    }

    /// Steps that succeeded one after the other, but for what `change` makes of them.
    fn steps(count: u32, change: impl Fn(u32, &mut Record)) -> Vec<Stored> {
        let done = |it: u32| {
            let mut line = line(it.into(), step(it), Verdict::Done, Some((it - 1).into()));
            change(it, &mut line.record);
            line
        };
        (1..=count).map(done).collect()
    }

    fn from(history: &[Stored], operation: &Operation) -> Result<Plan, No> {
        let from = From::Operation(Box::new(operation.clone()));
        plan(history, &[], &from, (Status::Running, None))
    }

    fn failed(history: &[Stored], status: Status, faults: Option<&[u32]>) -> Result<Plan, No> {
        let named = |it: &[u32]| it.iter().map(|it| step(*it)).collect::<Vec<_>>();
        let error = faults.map(|it| at_fault(&named(it)));
        plan(history, &[], &From::Failed, (status, error.as_deref()))
    }

    fn erased(plan: &Plan) -> Vec<u32> {
        plan.erased.iter().map(|it| it.operation.count).collect()
    }

    #[test]
    fn l6_from_the_start_nothing_is_kept() {
        let history = steps(3, |at, it| {
            if at == 2 {
                (it.verdict, it.payload) = (Verdict::Abandoned, Some(VALUE.into()));
            }
        });
        let plan = plan(&history, &[], &From::Start, (Status::Queued, None)).expect("it can");
        assert_eq!((&plan.kept, erased(&plan)), (&vec![], vec![1, 2, 3]));
        assert_eq!((plan.redeemed, plan.is_by_clock), (vec![], false));
    }

    #[test]
    fn l6_what_began_in_an_earlier_turn_is_kept_whenever_it_ended() {
        // The second began last and ended first.
        let turns = [0, 2, 1];
        let history = steps(3, |at, it| it.begun = Some(turns[at as usize - 1]));
        assert_eq!(erased(&from(&history, &step(2)).expect("it can")), [2]);
        assert_eq!(erased(&from(&history, &step(3)).expect("it can")), [2, 3]);
        let all = from(&history, &step(1)).expect("it can");
        assert_eq!((all.kept.len(), erased(&all)), (0, vec![1, 2, 3]));
        assert!(!all.is_by_clock);
    }

    #[test]
    fn l6_in_one_turn_the_identity_says_what_began_before() {
        let of = |branch: &str, kind, name: &str, key: Option<&str>, count| Operation {
            kind,
            branch: branch.into(),
            name: name.into(),
            key: key.map(Into::into),
            count,
        };
        let order = [
            of("", Kind::Do, "a", None, 1),
            of("", Kind::Do, "b", None, 1),
            of("", Kind::Do, "b", None, 2),
            of("", Kind::Do, "b", Some("a"), 2),
            of("", Kind::Sleep, "a", None, 1),
            of("1", Kind::Do, "a", None, 1),
        ];
        // They end in the opposite order, and the clock stands still.
        let lines = (1..).zip(order.iter().rev());
        let history: Vec<_> = lines
            .map(|(seq, it)| line(seq, it.clone(), Verdict::Done, Some(4)))
            .map(|it| Stored {
                record: Record {
                    started_at: 7,
                    ..it.record
                },
                ..it
            })
            .collect();
        for (at, operation) in order.iter().enumerate() {
            let plan = from(&history, operation).expect("it can");
            let mut left: Vec<_> = plan.erased.iter().map(|it| &it.operation).collect();
            left.sort_by_key(|it| order.iter().position(|other| other == *it));
            assert_eq!(left, order[at..].iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn l6_records_of_old_are_told_apart_by_the_clock_and_the_plan_says_so() {
        let begun = [5, 1, 9, 7];
        let history = steps(4, |at, it| {
            it.started_at = begun[at as usize - 1];
            it.begun = (at == 4).then_some(1);
        });
        let plan = from(&history, &step(1)).expect("it can");
        assert_eq!((erased(&plan), plan.is_by_clock), (vec![1, 3, 4], true));
        // One that has its turn and one that has none.
        assert_eq!(erased(&from(&history, &step(4)).expect("it can")), [3, 4]);
        let plan = from(&steps(2, |_, _| {}), &step(2)).expect("it can");
        assert!(!plan.is_by_clock);
    }

    #[test]
    fn l6_an_operation_began_with_its_first_record_and_goes_with_all_of_them() {
        let failed = |seq, count, begun| line(seq, step(count), Verdict::AttemptFailed, begun);
        let history = [
            failed(1, 1, None),
            failed(2, 2, Some(1)),
            line(3, step(2), Verdict::Done, Some(1)),
            line(4, step(1), Verdict::Done, Some(0)),
        ];
        let plan = from(&history, &step(2)).expect("it can");
        assert_eq!((plan.kept, plan.is_by_clock), (vec![(1, 1), (4, 4)], false));
    }

    #[test]
    fn l6_from_an_open_wait_what_had_begun_before_it_is_kept() {
        let history = steps(3, |at, it| it.begun = Some(u64::from(at)));
        let wait = |count, begun, opened_at| Wait {
            id: 1,
            operation: Operation {
                kind: Kind::Event,
                ..step(count)
            },
            source: Source::Timer,
            opened_at,
            until: None,
            begun,
        };
        let kept = |wait: &Wait| {
            let from = From::Operation(Box::new(wait.operation.clone()));
            plan(
                &history,
                std::slice::from_ref(wait),
                &from,
                (Status::Waiting, None),
            )
        };
        let first = kept(&wait(1, Some(2), 9)).expect("it is open");
        assert_eq!((&first.kept, erased(&first)), (&vec![(1, 2)], vec![3]));
        assert!(!first.is_by_clock);
        let of_old = kept(&wait(1, None, 2)).expect("it is open");
        assert_eq!((of_old.kept, of_old.is_by_clock), (vec![(1, 2)], true));
        let closed = From::Operation(Box::new(wait(2, None, 0).operation));
        let waits = [wait(1, None, 0)];
        let none = plan(&history, &waits, &closed, (Status::Waiting, None));
        assert_eq!(none, Err(No::Step));
    }

    #[test]
    fn l6_an_unknown_operation_is_refused() {
        let history = steps(2, |_, _| {});
        assert_eq!(from(&history, &step(3)), Err(No::Step));
        assert_eq!(from(&[], &step(1)), Err(No::Step));
        let other = Operation {
            key: Some("k".into()),
            ..step(1)
        };
        assert_eq!(from(&history, &other), Err(No::Step));
    }

    #[test]
    fn l6_from_what_failed_only_the_failures_that_left_the_body_go() {
        let history = steps(4, |at, it| {
            if at % 2 == 0 {
                it.verdict = Verdict::Failed; // the second was caught
            }
        });
        let plan = failed(&history, Status::Errored, Some(&[4])).expect("it can");
        assert_eq!((&plan.kept, erased(&plan)), (&vec![(1, 3)], vec![4]));
        let plan = failed(&history, Status::Errored, Some(&[2, 4])).expect("it can");
        assert_eq!(plan.kept, [(1, 1), (3, 3)]);
    }

    #[test]
    fn l6_after_an_error_of_the_body_itself_all_is_kept() {
        let history = steps(3, |_, _| {});
        for (status, faults) in [
            (Status::Errored, Some(&[][..])),
            (Status::Errored, None),
            (Status::Terminated, None),
        ] {
            let plan = failed(&history, status, faults).expect("it can");
            assert_eq!((plan.kept, plan.erased), (vec![(1, 3)], vec![]));
        }
    }

    #[test]
    fn l6_where_nothing_failed_nothing_can_go_on_from_what_failed() {
        let history = steps(1, |_, it| it.verdict = Verdict::Failed);
        for status in Status::ALL {
            let with_fault = failed(&history, status, Some(&[1]));
            let could = matches!(
                status,
                Status::Errored | Status::Terminated | Status::Blocked
            );
            assert_eq!(with_fault.is_ok(), could, "{status:?}");
            let without = failed(&history, status, None);
            let could = could && status != Status::Blocked;
            assert_eq!(without.is_ok(), could, "{status:?}");
            assert!(without.is_ok() || without == Err(No::Sound));
        }
    }

    #[test]
    fn l8_what_was_undone_is_done_anew_from_the_first_step_whose_undo_began() {
        let mut history = steps(4, |_, _| {});
        let undo = |count| Operation {
            kind: Kind::Undo,
            ..step(count)
        };
        let intent = Operation {
            name: "".into(),
            ..undo(0)
        };
        history.push(line(5, intent, Verdict::Started, None));
        // Nothing was undone yet: what is recorded stays.
        let plan = failed(&history, Status::Errored, Some(&[4])).expect("it can");
        assert_eq!((&plan.kept, erased(&plan)), (&vec![(1, 3)], vec![4, 0]));
        history.push(line(6, undo(4), Verdict::Done, Some(0)));
        history.push(line(7, undo(3), Verdict::Started, Some(0)));
        let plan = failed(&history, Status::Errored, Some(&[4])).expect("it can");
        assert_eq!((plan.kept, plan.redeemed), (vec![(1, 2)], vec![]));
        let plan = failed(&history, Status::Terminated, None).expect("it can");
        assert_eq!(plan.kept, [(1, 2)]);
        let plan = from(&history, &step(4)).expect("it can");
        assert_eq!(plan.kept, [(1, 3)], "what begins it is no part of the body");
    }

    #[test]
    fn l6_what_was_given_up_and_succeeded_is_its_steps_own_now() {
        let payloads = [Some(VALUE), Some(ERROR), None, Some(&VALUE[..1])];
        let history = steps(5, |at, it| {
            if let Some(payload) = payloads.get(at as usize - 1) {
                it.verdict = Verdict::Abandoned;
                it.payload = payload.map(Into::into);
            }
        });
        for plan in [
            from(&history, &step(5)).expect("it can"),
            failed(&history, Status::Terminated, None).expect("it can"),
        ] {
            // None is handed to the body as it is: that was told that it is cancelled.
            assert_eq!(erased(&plan)[..4], [1, 2, 3, 4]);
            let redeemed: Vec<_> = plan.redeemed.iter().collect();
            let [one] = redeemed[..] else {
                panic!("{redeemed:?}");
            };
            assert_eq!((&one.operation, one.verdict), (&step(1), Verdict::Done));
            assert_eq!(one.payload.as_deref(), Some(b"v".as_slice()));
            assert_eq!(one.begun, Some(0), "it began when it began");
        }
        // Not if it is to run again itself.
        let plan = from(&history, &step(1)).expect("it can");
        assert_eq!(plan.redeemed, []);
        let plan = failed(&history, Status::Errored, Some(&[1])).expect("it can");
        assert_eq!(plan.redeemed, []);
    }
}
