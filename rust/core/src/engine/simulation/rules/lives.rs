//! The life of an instance: the table of the lifecycle, C5, C6, and the rules about marks,
//! unclean stops and children.

use super::{holds, undoing, Verdict};
use crate::codes::{MISSING_CODE, RECOVERIES};
use crate::engine::simulation::bodies::Running;
use crate::engine::simulation::facts::Truly;
use crate::engine::simulation::program::{account, workflow, VERSIONS};
use crate::engine::simulation::truth::Truth;
use crate::history::Kind;
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::store::{Op, Transition};
use crate::undo::Undo;
use crate::wait::Source;

/// Returns the instance and its new state, if the operation changes that.
fn change<'a>(truth: &'a Truth, op: &'a Op) -> Option<(&'a Truly, &'a Transition)> {
    match op {
        Op::Status(no, _, to) => Some((truth.all.get(no)?, to)),
        _ => None,
    }
}

pub(super) fn legal(truth: &Truth, op: &Op) -> Verdict {
    use Status::{
        Blocked, Complete, Errored, Paused, Queued, Running, Terminated, Waiting, WaitingForPause,
    };
    let Some((it, to)) = change(truth, op) else {
        return Ok(());
    };
    let body = (it.no, it.incarnation);
    let said = &truth.said;
    let undoes = undoing::begins(it, to);
    let legal = match (it.status, to.status) {
        // L8: what undoes is not to pause any more; what was to pause before is paused first.
        (Queued | Running, WaitingForPause | Paused) if it.undo == Some(Undo::Running) => false,
        (WaitingForPause, Running) | (Paused | Blocked, Queued) if undoes => true,
        // Who wants it once more lets it go on.
        (Paused | Blocked, Queued) if it.undo.is_some() && undoing::is_wanted(truth, it) => true,
        (Paused, Paused) | (Blocked, Blocked) if undoes => {
            truth.missing & 1 << workflow(it.account) != 0
        }
        (Waiting, Waiting) => to.recoveries < it.recoveries,
        (Queued | Waiting, Running | Queued)
        | (Running, Running)
        | (WaitingForPause, WaitingForPause)
        | (Queued | Running | Waiting | WaitingForPause | Paused | Blocked, Terminated) => true,
        (Running, Waiting) => said.quiet.contains(&body),
        (Queued | Waiting, Paused) | (Running, WaitingForPause) => said.paused.contains(&it.key.0),
        (WaitingForPause, Paused) => {
            let says = [&said.left, &said.released, &said.replayed];
            truth.booting || says.iter().any(|it| it.contains(&body))
        }
        (WaitingForPause, Running) | (Paused, Queued) => said.resumed.contains(&it.key.0),
        (Running | WaitingForPause, Complete | Errored) => {
            said.finished.contains(&(it.no, it.incarnation, to.status))
        }
        (Queued | Running | Waiting | WaitingForPause, Blocked) => {
            truth.booting || said.blocked.contains(&body)
        }
        // It ended before it heard that it is to undo.
        (Running, Queued) if it.undo == Some(Undo::Running) && has_ended(truth, it) => true,
        (Running, Queued) => {
            truth.booting || said.replayed.contains(&body) || said.left.contains(&body)
        }
        (Blocked, Blocked) => truth.booting,
        (Blocked, Queued) => truth.booting || said.resumed.contains(&it.key.0),
        _ => false,
    };
    holds!(legal, "nobody asked for this: {op:?}, it was {it:?}");
    Ok(())
}

/// Whether the body of an instance said that it ends.
fn has_ended(truth: &Truth, it: &Truly) -> bool {
    let said = &truth.said;
    let ends = |status| said.finished.contains(&(it.no, it.incarnation, status));
    let goes_on = said.continued.contains(&(it.no, it.incarnation));
    goes_on || [Status::Complete, Status::Errored].into_iter().any(ends)
}

/// Whatever is created, queued, runs or waits could be run.
pub(super) fn has_code(truth: &Truth, op: &Op) -> Verdict {
    use Status::{Queued, Running, Waiting};
    let (account, status) = match op {
        Op::Create(new) => (account(&new.namespace, &new.workflow), new.status),
        Op::Status(no, _, to) => match truth.all.get(no) {
            Some(it) => (it.account, to.status),
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    let missing = truth.missing & 1 << workflow(account) != 0;
    let goes_on = matches!(status, Queued | Running | Waiting);
    holds!(!(missing && goes_on), "there is no code for it: {op:?}");
    Ok(())
}

pub(super) fn waits_for_something(truth: &Truth, op: &Op) -> Verdict {
    if let Some((it, to)) = change(truth, op) {
        let waits = to.status == Status::Waiting;
        holds!(
            !waits || !it.waits.is_empty(),
            "it has no open wait: {it:?}"
        );
    }
    Ok(())
}

pub(super) fn marked(truth: &Truth, op: &Op) -> Verdict {
    let Some((it, to)) = change(truth, op) else {
        return Ok(());
    };
    let released = truth.closing || truth.said.released.contains(&(it.no, it.incarnation));
    match to.status {
        Status::Running => holds!(to.marked || released, "runs without a mark: {op:?}"),
        Status::WaitingForPause => {}
        Status::Queued | Status::Blocked | Status::Paused => {
            let undoes = undoing::begins(it, to);
            holds!(
                !to.marked || it.marked || undoes,
                "marked, but it did not run: {op:?}"
            );
        }
        _ => holds!(!to.marked, "marked, but it does not run: {op:?}"),
    }
    Ok(())
}

/// A body that was interrupted has taken that up when it says so, or waits.
pub(super) fn remembered(truth: &Truth, op: &Op) -> Verdict {
    let Some((it, to)) = change(truth, op) else {
        return Ok(());
    };
    let body = (it.no, it.incarnation);
    let unmarked = it.status == Status::Running && it.marked && !to.marked;
    let untold = it.was_cut && !truth.said.taken_up.contains(&body);
    let over = to.status.is_final() || to.status == Status::Waiting;
    holds!(
        truth.booting || over || !(unmarked && untold),
        "nobody will be told that it was interrupted: {op:?}, it was {it:?}"
    );
    Ok(())
}

pub(super) fn terminated_for_a_reason(truth: &Truth, op: &Op) -> Verdict {
    let Some((it, to)) = change(truth, op) else {
        return Ok(());
    };
    if to.status == Status::Terminated {
        let parent = it.parent.and_then(|it| truth.all.get(&it));
        let awaited = parent.is_some_and(|it| calls(it, op_no(op)));
        let said = &truth.said;
        let asked = [&said.terminated, &said.undone]
            .iter()
            .any(|those| those.contains(&it.key.0));
        // L8: it has undone what it did.
        let asked = asked || said.finished.contains(&(it.no, it.incarnation, to.status));
        holds!(
            asked || (it.called && !awaited),
            "nobody asked for this, or somebody waits for it: {it:?}"
        );
    }
    Ok(())
}

/// L12. Only whoever resumes it gives an instance another version, and one that there is.
pub(super) fn another_version(truth: &Truth, op: &Op) -> Verdict {
    if let Op::Version(no, _, version) = op {
        let it = &truth.all[no];
        let asked = truth.said.resumed.contains(&it.key.0);
        holds!(
            asked && VERSIONS.contains(&&**version),
            "nobody asked for this version: {op:?}, it was {it:?}"
        );
    }
    Ok(())
}

fn op_no(op: &Op) -> InstanceNo {
    match op {
        Op::Status(no, ..) => *no,
        _ => 0,
    }
}

fn calls(parent: &Truly, child: InstanceNo) -> bool {
    let waits = parent.waits.iter();
    waits
        .filter(|it| it.operation.kind == Kind::Call)
        .any(|it| it.source == Source::Child(child))
}

pub(super) fn recoveries(truth: &Truth, op: &Op) -> Verdict {
    let Some((it, to)) = change(truth, op) else {
        return Ok(());
    };
    let starts = to.status == Status::Running && !truth.has_slot(it.no);
    if starts {
        let expected = it.recoveries + u32::from(it.cut);
        holds!(to.recoveries == expected, "expected {expected}: {op:?}");
        return Ok(());
    }
    let proven = it.proof.is_some_and(|at| truth.closing || at <= truth.now);
    let resumed = match to.status {
        Status::Queued => matches!(it.status, Status::Blocked | Status::Paused),
        Status::Running => it.status == Status::WaitingForPause,
        _ => false,
    };
    // One that is restarted while it is tried proves nothing by that.
    let anew = truth.commit.anew.iter().find(|before| before.no == it.no);
    let tried = anew.is_some_and(|before| before.recoveries == to.recoveries);
    // What took up no interruption is not counted for this start.
    let ran = matches!(it.status, Status::Running | Status::WaitingForPause);
    let untold = ran && it.was_cut && to.marked && to.recoveries + 1 == it.recoveries;
    let right = to.recoveries == it.recoveries
        || (to.recoveries == 0 && (proven || resumed))
        || tried
        || untold;
    holds!(right, "counted for no reason: {op:?}, it was {it:?}");
    Ok(())
}

/// An outcome that the engine outlives resets the count.
pub(super) fn proven(truth: &Truth) -> Verdict {
    let due = truth.proofs.iter().take_while(|it| it.0 <= truth.now);
    for it in due.map(|it| &truth.all[&it.1]) {
        holds!(it.is_inert(), "it is innocent, and counted: {it:?}");
    }
    Ok(())
}

pub(super) fn blocked_at_start(truth: &Truth, op: &Op) -> Verdict {
    let Some((it, to)) = change(truth, op) else {
        return Ok(());
    };
    if to.status == Status::Blocked && truth.booting {
        let missing = truth.missing & 1 << workflow(it.account) != 0;
        let guilty = it.cut && it.recoveries >= truth.plan.recoveries(it.account);
        let right = match to.reason.as_deref() {
            Some(MISSING_CODE) => missing,
            Some(RECOVERIES) => guilty,
            _ => false,
        };
        holds!(right, "blocked for no reason: {op:?}, it was {it:?}");
    }
    Ok(())
}

pub(super) fn unwound(truth: &Truth, body: &Running) -> Verdict {
    let it = truth.all.get(&body.by.no);
    let it = it.filter(|it| it.incarnation == body.by.incarnation);
    let lives = it.is_some_and(|it| !it.status.is_final() && !it.is_inert());
    holds!(lives, "it goes on: {body:?}, and it is {it:?}");
    Ok(())
}

/// One without a slot is told when it has one again.
pub(super) fn knows_of_pauses(truth: &Truth, body: &Running) -> Verdict {
    let status = truth.all[&body.by.no].status;
    let is_to = status == Status::WaitingForPause;
    let rests = !is_to && status != Status::Running;
    let knows = rests || body.pauses == is_to || body.is_undoing();
    holds!(knows, "it is to pause: {is_to}, and it knows: {body:?}");
    Ok(())
}

/// C5. The first commit of an engine has to say it of everybody.
pub(super) fn one_place(truth: &Truth) -> Verdict {
    if truth.booting {
        for it in truth.all.values() {
            place_of(truth, it)?;
            let missing = truth.missing & 1 << workflow(it.account) != 0;
            let inert = it.status.is_final() || it.is_inert();
            holds!(inert || !missing, "L12: there is no code for it: {it:?}");
        }
    }
    for it in truth.changed() {
        place_of(truth, it)?;
    }
    Ok(())
}

fn place_of(truth: &Truth, it: &Truly) -> Verdict {
    let right = match it.status {
        Status::Running | Status::WaitingForPause => truth.has_slot(it.no) && it.place.is_none(),
        Status::Queued => !it.holds && it.place.is_some(),
        Status::Waiting => !it.holds && it.place.is_none() && !it.waits.is_empty(),
        Status::Blocked | Status::Paused => !it.holds && it.place.is_none(),
        _ => !it.holds && it.place.is_none() && it.waits.is_empty(),
    };
    holds!(right, "it is in no place, or in two: {it:?}");
    Ok(())
}

pub(super) fn no_orphan(truth: &Truth) -> Verdict {
    for child in truth
        .commit
        .orphans
        .iter()
        .filter_map(|it| truth.all.get(it))
    {
        // One that had ended when it was waited for no longer may have begun anew since.
        let before = truth.commit.anew.iter().find(|it| it.no == child.no);
        let ended = before.is_some_and(|it| it.status.is_final());
        let right = child.status.is_final() || ended || child.undo.is_some();
        holds!(right, "nobody waits for it: {child:?}");
    }
    Ok(())
}

/// Whoever has ended is counted in the commit that ended it.
pub(super) fn ended_are_counted(truth: &Truth) -> Verdict {
    for ended in &truth.commit.ended {
        let account = account(&ended.namespace, &ended.workflow);
        let finals = [Status::Complete, Status::Errored, Status::Terminated];
        let counts = finals.map(|it| truth.states[account][it as usize]);
        holds!(ended.counts == counts, "{ended:?}, and it is {counts:?}");
        for (version, counts) in &ended.versions {
            let all = truth.all.values();
            let of = all.filter(|it| it.account == account && it.version == *version);
            let found = finals.map(|status| of.clone().filter(|it| it.status == status).count());
            let same = found.map(|it| it as u64) == *counts;
            holds!(same, "{ended:?}, and of {version} it is {found:?}");
        }
    }
    Ok(())
}
