//! What bodies and the outside are told: only what is durable, only when it is time (C1, D1, D3,
//! R3, T1).

use super::{holds, Verdict};
use crate::engine::simulation::facts::{Commit, Layout};
use crate::engine::simulation::said::Asked;
use crate::engine::simulation::truth::{asker, Truth};
use crate::history::{Kind, Operation, Verdict as Said};
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::note::{Data, Note, Settled};
use crate::store::Op;

pub(super) fn only_to_the_running(truth: &Truth, note: &Note) -> Verdict {
    let no = match note {
        Note::Settled(it) => it.no,
        Note::Wake { no, .. } => *no,
        Note::Start(start) => start.no,
        _ => return Ok(()),
    };
    let Some(it) = truth.all.get(&no) else {
        return Err(format!("{note:?} is told to one that is gone"));
    };
    // The very commit that settled its wait may block it, queue it to be replayed or to undo, or
    // pause it: that unseats it afterwards.
    let said = &truth.said;
    let body = (it.no, it.incarnation);
    let leaves = [&said.replayed, &said.left, &said.blocked];
    let leaves = leaves.iter().any(|it| it.contains(&body));
    let leaves = leaves || truth.commit.continued.contains(&no) || it.undo.is_some();
    let runs = match it.status {
        Status::Running | Status::WaitingForPause | Status::Blocked => true,
        Status::Queued => leaves,
        Status::Paused => leaves || said.released.contains(&body),
        _ => false,
    };
    holds!(runs, "{note:?} is told to {it:?}");
    Ok(())
}

/// A full queue is full, or would be.
pub(super) fn refused_for_a_reason(truth: &Truth, note: &Note) -> Verdict {
    let Note::Reply { ticket, data, .. } = note else {
        return Ok(());
    };
    let asked = match truth.said.tickets.get(ticket) {
        Some(Asked::Create(account, keys)) => Some((account, keys.len())),
        Some(Asked::Stranger(account, count)) => Some((account, *count)),
        _ => None,
    };
    if let (Data::Overloaded("queue_entries", _), Some((account, count))) = (data, asked) {
        let claimed = truth.commit.wanted[*account] + truth.refused[*account];
        let (peak, most) = (
            truth.commit.peak[*account],
            truth.commit.least_queue[*account],
        );
        let over = peak as usize + count + claimed > most as usize;
        holds!(
            over,
            "{peak} of {most} were queued, {claimed} promised: {note:?}"
        );
    }
    Ok(())
}

/// Whoever comes at the moment it was told, or later, is let in.
pub(super) fn promise_kept(truth: &Truth, note: &Note) -> Verdict {
    let Note::Reply { ticket, data, .. } = note else {
        return Ok(());
    };
    let asked = truth.said.tickets.get(ticket);
    if let (Data::Overloaded("create_rate", _), Some(Asked::Create(_, keys))) = (data, asked) {
        let promised = truth.promised.get(&keys[0]).filter(|_| keys.len() == 1);
        let early = promised.is_none_or(|it| *it > truth.now);
        holds!(
            early,
            "it was told to come at {promised:?}, and it is {}",
            truth.now
        );
    }
    Ok(())
}

/// Whoever creates what is there already is told so, and whoever sends what has arrived.
pub(super) fn looked_up(truth: &Truth, note: &Note) -> Verdict {
    let Note::Reply { ticket, code, data } = note else {
        return Ok(());
    };
    if let (Data::Overloaded(..), Some(Asked::Create(..))) = (data, truth.said.tickets.get(ticket))
    {
        let new = truth.looked.get(ticket);
        let right = new.is_some_and(|it| *it > 0);
        holds!(right, "{new:?} of its ids are new: {note:?}");
    }
    if let (&"state", Some(Asked::Send(key, stamp, true))) = (code, truth.said.tickets.get(ticket))
    {
        let to = truth.names.get(key).map(|it| &truth.all[it]);
        let arrived = to.is_some_and(|it| it.arrived.contains(&stamp.name));
        holds!(!arrived, "E4: it has arrived: {note:?}");
    }
    Ok(())
}

/// Limits are changed, or it is said what is wrong with them.
pub(super) fn limits_answered(truth: &Truth, note: &Note) -> Verdict {
    let Note::Reply { ticket, code, data } = note else {
        return Ok(());
    };
    if truth.said.tickets.get(ticket) == Some(&Asked::Limits) {
        let valid = truth.said.changes.contains_key(ticket);
        let right = if valid {
            code.is_empty()
        } else {
            *code == "invalid"
        };
        holds!(
            right,
            "{code} {data:?} to {:?}",
            truth.said.changes.get(ticket)
        );
    }
    Ok(())
}

/// Resized means: all is moved, and that is durable.
pub(super) fn resized(truth: &Truth, note: &Note) -> Verdict {
    let Note::Reply { ticket, code, data } = note else {
        return Ok(());
    };
    if let Some(Asked::Reshard(shards)) = truth.said.tickets.get(ticket) {
        let layouts = &truth.commit.layouts;
        let reached = |it: &Layout| (it.wanted, it.reached) == (*shards, *shards);
        let done = code.is_empty() && layouts.iter().any(reached);
        let valid = (1..=4_096).contains(shards);
        let changes = layouts.len() > 1 || layouts.iter().any(|it| it.wanted != it.reached);
        let refused = !code.is_empty() && (!valid || changes || truth.closing);
        holds!(done || refused, "{layouts:?}: {code} {data:?} to {shards}");
    }
    Ok(())
}

pub(super) fn history(truth: &Truth, note: &Note) -> Verdict {
    let Note::Start(start) = note else {
        return Ok(());
    };
    let it = &truth.all[&start.no];
    let mut told = 0;
    let before = truth.said.told.get(&(start.no, it.incarnation));
    for stored in &start.records {
        let record = &stored.record;
        if record.verdict.is_outcome() {
            let true_one = it.outcomes.get(&record.operation);
            let same = true_one == Some(&(stored.seq, record.verdict));
            holds!(same, "{true_one:?} is the outcome, not {stored:?}");
            told += usize::from(before.is_some_and(|it| it.contains(&record.operation)));
        }
    }
    let expected = before.map_or(0, rustc_hash::FxHashSet::len);
    holds!(
        told == expected,
        "of {before:?} there are {told} in {start:?}"
    );
    let known = |id| start.waits.iter().any(|it| it.id == id);
    let forgotten = it.waits.iter().find(|it| !known(it.id));
    holds!(forgotten.is_none(), "{forgotten:?} is not in {start:?}");
    let current = start.incarnation == it.incarnation;
    holds!(current, "an old life: {start:?}, it is {it:?}");
    Ok(())
}

/// A life that this commit ended, and that does not know it yet, is handed all that it was told.
pub(super) fn last_life(truth: &Truth, note: &Note) -> Verdict {
    let Note::Start(start) = note else {
        return Ok(());
    };
    let told = truth.said.told.get(&(start.no, start.incarnation));
    let records = || start.records.iter().map(|it| &it.record);
    let has = |of: &Operation| records().any(|it| it.operation == *of && it.verdict.is_outcome());
    let lost = told.into_iter().flatten().find(|it| !has(it));
    holds!(lost.is_none(), "{lost:?} would run again: {start:?}");
    Ok(())
}

pub(super) fn interrupted(truth: &Truth, note: &Note) -> Verdict {
    if let Note::Start(start) = note {
        let it = &truth.all[&start.no];
        let right = start.interrupted == it.was_cut;
        holds!(right, "it is {it:?}: {start:?}");
    }
    Ok(())
}

pub(super) fn durable(truth: &Truth, note: &Note) -> Verdict {
    // What a run is still told that this commit ended: its body has left, and nothing of it counts.
    let is_over = |no| truth.commit.continued.contains(no);
    match note {
        Note::Done { tickets, .. } => {
            for ticket in tickets {
                let asked = truth.said.tickets.get(ticket);
                let Some(Asked::Record(by, operation)) = asked else {
                    return Err(format!("ticket {ticket} is no record: {asked:?}"));
                };
                let it = &truth.all[&by.no];
                let mut history = it.history.iter();
                let recorded =
                    history.any(|it| it.record.operation == *operation) || is_over(&by.no);
                holds!(recorded, "{operation:?} is not recorded: {it:?}");
            }
        }
        Note::Settled(it) if is_over(&it.no) => {}
        Note::Settled(it) => return settled(truth, it),
        Note::Reply { ticket, code, data } => {
            if let Some(asked) = truth.said.tickets.get(ticket) {
                return answered(truth, *ticket, asked, code, data);
            }
        }
        _ => {}
    }
    Ok(())
}

fn settled(truth: &Truth, note: &Settled) -> Verdict {
    let said = &truth.said;
    let operation = match said.tickets.get(&note.number) {
        Some(Asked::Outcome(_, operation)) => Some(operation),
        _ => said.waits.get(&note.number).map(|it| &it.1),
    };
    // A wait that this process did not open and no body came to yet.
    let Some(operation) = operation else {
        return Ok(());
    };
    let it = &truth.all[&note.no];
    if note.seq == 0 {
        let failed = it.attempts.contains_key(operation);
        holds!(failed, "no attempt of {operation:?} failed: {note:?}");
        return Ok(());
    }
    let true_one = it.outcomes.get(operation);
    let same = true_one == Some(&(note.seq, note.verdict));
    holds!(same, "{true_one:?} is durable, not {note:?}");
    Ok(())
}

/// Whether an instance has ended, or had before this commit let it begin anew or deleted it.
fn has_ended(truth: &Truth, key: u128) -> bool {
    let Commit { anew, gone, .. } = &truth.commit;
    let here = truth.names.get(&key).map(|it| &truth.all[it]);
    let mut all = here.into_iter().chain(anew).chain(gone);
    all.any(|it| it.key.0 == key && it.status.is_final())
}

fn is_gone(truth: &Truth, key: u128) -> bool {
    truth.commit.gone.iter().any(|it| it.key.0 == key)
}

/// Whether an id was free at some time in this commit.
fn is_unknown(truth: &Truth, key: u128) -> bool {
    let here = truth.names.get(&key);
    is_gone(truth, key) || here.is_none_or(|it| truth.commit.created.contains(it))
}

/// Whether this is who has the id, or had it.
fn is_known(truth: &Truth, key: u128, no: InstanceNo) -> bool {
    truth.names.get(&key) == Some(&no) || truth.dead.contains(&no)
}

fn answered(truth: &Truth, ticket: u64, asked: &Asked, code: &str, data: &Data) -> Verdict {
    let created = truth.creators.contains(&ticket);
    match (asked, data) {
        (
            Asked::Create(_, keys),
            Data::Created {
                no, created: new, ..
            },
        ) => {
            let there = is_known(truth, keys[0], *no);
            holds!(there && *new == created, "it is not so: {data:?}");
        }
        (Asked::Create(_, keys), Data::Items(items)) => {
            holds!(items.len() == keys.len(), "not one answer each: {data:?}");
            for (key, item) in keys.iter().zip(items) {
                let there = is_known(truth, *key, item.no);
                holds!(there, "it is not there: {item:?}");
                holds!(created || !item.created, "nothing was: {item:?}");
            }
        }
        (Asked::Stranger(..), Data::Created { .. } | Data::Items(_)) => {
            holds!(created, "it was not created: {data:?}");
        }
        (Asked::Create(..) | Asked::Stranger(..), _) => {
            holds!(!created, "{code}, and yet something was created: {data:?}");
        }
        (Asked::Send(key, stamp, _), _) if code.is_empty() => {
            let to = truth.names.get(key).map(|it| &truth.all[it]);
            let arrived = to.is_some_and(|it| it.arrived.contains(&stamp.name));
            holds!(arrived, "{stamp:?} was acknowledged and is lost: {to:?}");
        }
        (Asked::Send(key, ..) | Asked::Decide(key, ..), _) if code == "state" => {
            holds!(has_ended(truth, *key), "it has not ended: {asked:?}");
        }
        (Asked::Pause(key), _) => {
            let of = truth.names.get(key).map(|it| &truth.all[it]);
            let right = match code {
                "" => of.is_some() || is_gone(truth, *key), // it may have been resumed in the same commit
                "state" => has_ended(truth, *key),
                "not_found" => is_unknown(truth, *key),
                _ => false,
            };
            holds!(right, "L3: it was told {code:?}: {of:?}");
        }
        (Asked::Terminate(key), _) => {
            let of = truth.names.get(key).map(|it| &truth.all[it]);
            let status = of.map(|it| it.status);
            let right = match code {
                "" => status == Some(Status::Terminated),
                "state" => has_ended(truth, *key),
                "not_found" => is_unknown(truth, *key),
                _ => false,
            };
            holds!(right, "L5: it was told {code:?}: {of:?}");
        }
        (Asked::Undo(key), _) => {
            let of = truth.names.get(key).map(|it| &truth.all[it]);
            let right = match code {
                "" => of.is_some_and(|it| it.undo.is_some()) || is_gone(truth, *key),
                "state" => has_ended(truth, *key),
                "not_found" => is_unknown(truth, *key),
                _ => false,
            };
            holds!(right, "L8: it was told {code:?}: {of:?}");
        }
        (Asked::Decide(_, id, decision), Data::Bool(won)) => {
            let true_one = truth.approvals.get(id).and_then(|it| it.decision.as_ref());
            let mine = true_one == Some(decision);
            holds!(!won || mine, "it was told that {decision:?} won: {id}");
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn not_early(truth: &Truth, note: &Note) -> Verdict {
    let Note::Settled(it) = note else {
        return Ok(());
    };
    let sleeps = |number| {
        let wait = truth.said.waits.get(&number);
        wait.is_some_and(|it| it.1.kind == Kind::Sleep)
    };
    let by_time = it.verdict == Said::TimedOut || it.seq == 0 || sleeps(it.number);
    if by_time {
        let key = truth.all.get(&it.no).map(|it| it.key.0);
        let hastened = key.filter(|it| truth.said.hastened.contains(it));
        let hastened = it.seq == 0 && hastened.is_some();
        if let Some(until) = truth.said.until.get(&it.number).filter(|_| !hastened) {
            holds!(*until <= it.at, "it is due at {until}: {it:?}");
        }
    }
    Ok(())
}

/// Before it is applied.
pub(super) fn asked(truth: &Truth, op: &Op) -> Verdict {
    let Op::Audit(entry) = op else {
        return Ok(());
    };
    // What is done to many has rules of its own.
    if entry.filter.is_some() {
        return Ok(());
    }
    let ticket = asker(entry).ok_or("it was nobody")?;
    let asked = truth.said.tickets.get(&ticket);
    let right = match asked {
        Some(Asked::Pause(_)) => &*entry.operation == "pause",
        Some(Asked::Terminate(_) | Asked::Undo(_)) => &*entry.operation == "terminate",
        Some(Asked::Decide(..)) => matches!(&*entry.operation, "approve" | "reject"),
        Some(Asked::Limits) => &*entry.operation == "set_limits",
        Some(Asked::Restart(..)) => &*entry.operation == "restart",
        Some(Asked::Delete(_)) => &*entry.operation == "delete",
        Some(Asked::Act) => matches!(
            &*entry.operation,
            "resume" | "retry_now" | "set_priority" | "start_now" | "resolve"
        ),
        _ => false,
    };
    holds!(right, "{asked:?} was asked for: {entry:?}");
    let twice = truth.audited.contains(&ticket);
    holds!(!twice, "it is told twice: {entry:?}");
    Ok(())
}

/// Whoever is told that something is done finds it in the audit, and what was refused is not there.
pub(super) fn audited(truth: &Truth, note: &Note) -> Verdict {
    let Note::Reply { ticket, code, data } = note else {
        return Ok(());
    };
    let there = truth.audited.contains(ticket);
    let done = match (truth.said.tickets.get(ticket), data) {
        (Some(Asked::Decide(..)), Data::Bool(won)) => *won,
        (Some(Asked::Terminate(_) | Asked::Restart(..) | Asked::Delete(_)), _) => code.is_empty(),
        // It may have been so already.
        (Some(Asked::Pause(_) | Asked::Undo(_) | Asked::Act | Asked::Limits), _) => {
            there && code.is_empty()
        }
        _ => false,
    };
    holds!(there == done, "in the audit: {there}, and told: {note:?}");
    Ok(())
}
