//! The oracle: one rule, one row. Written against the rules of the product, not against the engine.
//!
//! A rule is a function of the [`Truth`] and of what it looks at: an operation before it is
//! applied, a commit as a whole, a note before it is heard, the engine's own figures after a commit
//! was applied, everything there is. To add one, write the function and a row.

mod anew;
pub(super) mod counted;
mod durable;
mod events;
mod kept;
mod lives;
mod many;
mod slots;
mod told;
mod undoing;

use super::bodies::Running;
use super::sight::Sight;
use super::truth::Truth;
use crate::ids::Micros;
use crate::note::Note;
use crate::store::{Op, Outcome};

/// What a rule says: nothing, or what is wrong.
pub(super) type Verdict = Result<(), String>;

/// Breaks a rule unless something holds.
macro_rules! holds {
    ($what:expr, $($text:tt)+) => {
        if !$what {
            return Err(format!($($text)+));
        }
    };
}
use holds;

type Rows<F> = &'static [(&'static str, F)];

/// Before each operation of a commit is applied.
const OPERATIONS: Rows<fn(&Truth, &Op) -> Verdict> = &[
    (
        "C10 no entry over the queue's capacity",
        slots::within_capacity,
    ),
    ("C10 no creation over the rate", slots::within_rate),
    (
        "C10 no stranger takes the place of one that waits",
        slots::not_displaced,
    ),
    ("C10 what was given up is never let in", slots::not_given_up),
    (
        "T1 nothing starts before its start_at",
        slots::not_before_start_at,
    ),
    ("L only what the table allows", lives::legal),
    ("L12 nothing goes on without code", lives::has_code),
    (
        "C6 whoever waits, waits for something",
        lives::waits_for_something,
    ),
    (
        "R3 the running mark is durable with the slot",
        lives::marked,
    ),
    (
        "R3 an interruption is told until a body has taken it up",
        lives::remembered,
    ),
    (
        "L5, L10 only who is asked for, or a child nobody waits for, is terminated",
        lives::terminated_for_a_reason,
    ),
    (
        "L8 those that it called undo theirs",
        undoing::with_children,
    ),
    (
        "L12: a version is changed by a resume",
        lives::another_version,
    ),
    (
        "L11 unclean stops are counted one by one",
        lives::recoveries,
    ),
    (
        "L11, L12 blocked at a start for a reason",
        lives::blocked_at_start,
    ),
    (
        "D6 numbers and incarnations are never reused",
        durable::fresh,
    ),
    ("D6 what comes too late changes nothing", durable::owned),
    ("D2 one outcome for each operation", durable::once),
    ("R2 attempts are remembered", durable::attempts_grow),
    ("C11 every hand-over raises the epoch", durable::epochs_rise),
    (
        "E3 an outcome ends an open wait, or comes at once",
        durable::ends_a_wait,
    ),
    ("T1 no deadline early", durable::not_early),
    ("E1 the oldest event to the oldest wait", events::oldest),
    (
        "E1 events arrive in the order in which they were sent",
        events::in_order,
    ),
    (
        "E1 an event comes once, and goes back only if its wait was given up",
        events::once,
    ),
    ("E4 an event arrives once", events::deduplicated),
    ("E5 the first decision wins", events::first_decision),
    (
        "E6 an event is answered by whoever took it",
        events::answered_by_its_taker,
    ),
    (
        "L6, L7 only who is asked for begins anew or is deleted",
        anew::asked_for,
    ),
    ("L6 one that ran keeps its slot", anew::keeps_its_slot),
    (
        "L7 whoever waits for one that is deleted is told",
        anew::nobody_waits,
    ),
    (
        "L8 it undoes for a reason, and to its end",
        undoing::for_a_reason,
    ),
    ("L8 what undoes does not begin anew", undoing::not_anew),
    (
        "L8 what was cut short may be undone",
        undoing::knows_what_was_cut,
    ),
    ("the audit tells once what was asked for", told::asked),
    ("what is done to many is done to each once", many::once),
    (
        "what is done to many goes on from where it was",
        many::further,
    ),
];

/// After each commit.
const COMMITS: Rows<fn(&Truth) -> Verdict> = &[
    ("C1 no slot over a limit", slots::within_limits),
    (
        "C2 no slot idles while somebody could use it",
        slots::no_idle_slot,
    ),
    ("C3 max-min fair", slots::fair),
    ("C4 in order", slots::in_order),
    ("C4 new ones have their turns", slots::newcomers_turn),
    ("C5 in exactly one place", lives::one_place),
    (
        "E2 no event lies beside a wait that takes it",
        events::no_misfit,
    ),
    (
        "L11 an outcome that the engine outlives resets the count",
        lives::proven,
    ),
    (
        "L10 a called child is live only while its parent waits",
        lives::no_orphan,
    ),
    (
        "L8 that it is to undo is recorded with it, and nothing else is waited for",
        undoing::remembered,
    ),
    ("who has ended is counted", lives::ended_are_counted),
    (
        "L6 what had begun before is kept, and what succeeded is redeemed",
        anew::rewound,
    ),
    (
        "E4 events of erased waits are back in their places",
        anew::events_are_back,
    ),
    (
        "L6 children of what is erased end, or are deleted",
        anew::no_child_of_erased,
    ),
    (
        "L7 an end is told as it was, and a deletion as a termination",
        anew::ends_are_told,
    ),
    ("C11 a start ends a change of shards", durable::laid_out),
    (
        "D6 the stored ceiling lies above all numbers",
        durable::ceiling,
    ),
];

/// When a note leaves the engine or the loader; the truth is that of the last commit.
const NOTES: Rows<fn(&Truth, &Note) -> Verdict> = &[
    ("D3 a body is handed its history", told::history),
    (
        "R3 interrupted means that the mark was set",
        told::interrupted,
    ),
    ("D1 told is durable", told::durable),
    ("T1 nobody is told early", told::not_early),
    ("what is done is in the audit", told::audited),
];

/// When the notes of a commit leave the engine.
const SENT: Rows<fn(&Truth, &Note) -> Verdict> = &[
    (
        "C1 a body without a slot is told nothing",
        told::only_to_the_running,
    ),
    ("C10 refused for a reason", told::refused_for_a_reason),
    ("C10 a reserved moment is kept", told::promise_kept),
    ("L1 what exists is refused nothing", told::looked_up),
    ("C10 limits are set or refused", told::limits_answered),
    ("C11 resized when all is moved", told::resized),
    ("L6, L7 what was asked for is done", anew::answered),
];

/// After each commit was applied; costs a few look-ups.
const FIGURES: Rows<fn(&Truth, &mut Sight) -> Verdict> = &[
    (
        "C1, C6 the slots in use are those of running instances",
        counted::slots,
    ),
    ("C5 the engine counts its places right", counted::places),
    ("counts are those of a recount", counted::counts),
    ("reasons are those of a recount", counted::reasons),
    (
        "C10 limits in force are those that are stored",
        counted::limits,
    ),
    ("C8 a look-up finds what is durable", counted::touched),
    ("T1 what is due is done", counted::nothing_overdue),
];

/// Now and then, and in the end: everything.
const RECOUNT: Rows<fn(&Truth, &mut Sight) -> Verdict> = &[
    ("D1 the store holds what was committed", counted::rows),
    ("C5 queue and timers hold what they must", counted::queues),
    ("E6 an event has the first answer it got", events::answers),
    ("versions are counted as they are", counted::versions),
    ("C8 every look-up agrees", counted::lookups),
];

/// When nothing is left to do.
const END: Rows<fn(&Truth, &mut Sight) -> Verdict> = &[
    ("everything finishes once faults stop", counted::all_final),
    ("D2 every operation has its outcome", counted::all_done),
    ("L8 what had begun is undone", undoing::all_undone),
    ("L9 what is over is gone", kept::nothing_over),
    ("nothing is left in memory", counted::nothing_left),
];

/// What a life is still told that has ended.
const LAST: Rows<fn(&Truth, &Note) -> Verdict> = &[(
    "D6 nobody does again what an ended life had done",
    told::last_life,
)];

/// What a body knows that has heard everything.
const BODIES: Rows<fn(&Truth, &Running) -> Verdict> = &[
    (
        "L5, L6, L7 a body that may not go on is unwound",
        lives::unwound,
    ),
    (
        "L3, L4 whoever is to pause knows that",
        lives::knows_of_pauses,
    ),
    ("L8 whoever is to undo knows that", undoing::is_known),
];

fn must(rule: &str, verdict: Verdict) {
    if let Err(text) = verdict {
        panic!("{rule}: {text}");
    }
}

/// Judges the operations of a commit one by one, then the commit. `marks` tells what the engine
/// decided between them that leaves no operation; `answers` are the store's, if it gave any.
pub(super) fn committed(
    truth: &mut Truth,
    now: Micros,
    ops: &[Op],
    marks: &[(usize, super::writer::Mark)],
    answers: Option<&[Outcome]>,
) {
    truth.begin(now);
    let mut marks = marks.iter().peekable();
    for at in 0..=ops.len() {
        while let Some((_, mark)) = marks.next_if(|it| it.0 == at) {
            mark.apply(truth);
        }
        let Some(op) = ops.get(at) else {
            break;
        };
        let answer = if truth.is_void(op) {
            Outcome::Fenced
        } else {
            for (rule, check) in OPERATIONS {
                must(rule, check(truth, op));
            }
            truth.apply(op)
        };
        if let Some(answers) = answers {
            assert_eq!(answers[at], answer, "the store answers as it must: {op:?}");
        }
    }
    // The last commit of an engine does not look at its timers.
    if !truth.closing {
        truth.ripen();
    }
    truth.pass_over();
    for (rule, check) in COMMITS {
        must(rule, check(truth));
    }
    truth.booting = false;
}

/// Judges the notes of a commit when they leave the engine.
pub(super) fn sent(truth: &Truth, notes: &[Note]) {
    for note in notes {
        for (rule, check) in SENT {
            must(rule, check(truth, note));
        }
        read(truth, note);
    }
}

/// Judges a note that leaves the loader.
pub(super) fn read(truth: &Truth, note: &Note) {
    for (rule, check) in NOTES {
        must(rule, check(truth, note));
    }
}

/// Judges a note that leaves the loader for a life that the last commit ended.
pub(super) fn read_late(truth: &Truth, note: &Note) {
    for (rule, check) in LAST {
        must(rule, check(truth, note));
    }
}

/// Judges bodies that have heard all that is durable.
pub(super) fn heard<'b>(truth: &Truth, bodies: impl Iterator<Item = &'b Running>) {
    for body in bodies {
        for (rule, check) in BODIES {
            must(rule, check(truth, body));
        }
    }
}

/// Judges the engine's figures.
pub(super) fn figures(truth: &Truth, sight: &mut Sight) {
    for (rule, check) in FIGURES {
        must(rule, check(truth, sight));
    }
}

/// Judges everything.
pub(super) fn recount(truth: &Truth, sight: &mut Sight) {
    for (rule, check) in RECOUNT {
        must(rule, check(truth, sight));
    }
}

/// Judges the end.
pub(super) fn ended(truth: &Truth, sight: &mut Sight) {
    for (rule, check) in END {
        must(rule, check(truth, sight));
    }
}
