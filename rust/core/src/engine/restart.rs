//! How an instance begins anew, under the same id and number: one commit (L6).
//!
//! A new incarnation supersedes the old life: whatever its body and attempts still send is fenced
//! (D6). What of the history is kept is decided by `rewind`; one record says so, and nothing is
//! rewritten. Events that erased waits took go back to where they were, approvals are asked again,
//! and children that erased operations called are ended, or deleted if their ids are to be free.
//!
//! A batch restarts nobody of whom it has changed anything else: then what is committed is not the
//! whole truth yet, and the restart comes first in the next batch.

use super::settle::Resolved;
use super::{Core, Live};
use crate::codes;
use crate::erasure::restarted;
use crate::failure::recorded;
use crate::history::{Kind, Record, Stored};
use crate::ids::{Incarnation, InstanceNo, Key};
use crate::lifecycle::{Effect, Happening};
use crate::note::{Data, Note};
use crate::queue::{Class, Entry};
use crate::rewind::{self, From, No, Plan};
use crate::store::known::Damaged;
use crate::store::{Op, Restart, Row};

impl Core {
    /// Restarts an instance, whatever state it is in. Returns false if it has to wait for the next
    /// batch, `None` if it is refused.
    pub(super) fn restart(
        &mut self,
        ticket: u64,
        from: &From,
        (no, key): (InstanceNo, Key),
    ) -> Option<bool> {
        if self.is_changed(no, key) {
            return Some(false);
        }
        let missing = self.missing_to_restart(no);
        if !missing.is_empty() {
            self.missing.extend(missing);
            return Some(false);
        }
        let known = self.found_to_restart(no);
        let (row, history) = self.or_refuse(ticket, known)?;
        let called = self.batch.known.called(no).map(<[Row]>::to_vec);
        let called = self.or_refuse(ticket, called)?;
        let error = self.batch.known.output(no);
        let error = self.or_refuse(ticket, error)?;
        let plan = match rewind::plan(&history, from, (row.status, error.as_deref())) {
            Ok(plan) => plan,
            Err(why) => {
                let (code, data) = match why {
                    No::Step => (codes::NO_STEP, Data::Nothing),
                    No::Sound => (codes::NOTHING_FAILED, Data::State(row.status)),
                };
                self.say(Note::refuse(ticket, code, data));
                return None;
            }
        };
        if !self.codes.has(&row.workflow, &row.version) {
            let text = self.codes.refusal(&row);
            self.say(Note::refuse(ticket, codes::MISSING_CODE, Data::Text(text)));
            return None;
        }
        if row.status.is_final() {
            self.revive(&row, key);
        } else {
            self.summon(no);
        }
        let seed = (*from != From::Start).then(|| row.seed.unwrap_or(row.incarnation));
        self.begin_anew(no, seed, &plan, &called);
        self.say(Note::reply(ticket, Data::Nothing));
        Some(true)
    }

    /// Whether this batch has changed anything of an instance.
    pub(super) fn is_changed(&self, no: InstanceNo, key: Key) -> bool {
        self.batch.shown.contains(&key) || self.batch.ops().any(|it| it.of() == Some(no))
    }

    fn found_to_restart(&self, no: InstanceNo) -> Result<(Row, Vec<Stored>), Damaged> {
        let row = self.batch.known.instance(no)?;
        let row = row.ok_or_else(|| Damaged("it has no row any more".into()))?;
        Ok((row.clone(), self.batch.known.history(no)?.to_vec()))
    }

    /// One that had ended is in memory again, in its state.
    fn revive(&mut self, row: &Row, key: Key) {
        let workflow = self.workflow(&row.namespace, &row.workflow);
        let version = self.versions.number(workflow, &row.version);
        let mut live = Live::new(key, row.incarnation, (workflow, version), row.priority);
        (live.status, live.counted) = (row.status, row.status);
        live.class = Class::Woken;
        self.registry.announce(key, row.no, row.status);
        self.live.insert(row.no, Box::new(live));
    }

    /// The old life ends, and a new one is queued; one that had a slot keeps it.
    fn begin_anew(
        &mut self,
        no: InstanceNo,
        seed: Option<Incarnation>,
        plan: &Plan,
        called: &[Row],
    ) {
        let body = self.seated(no);
        let owed = self.shift(no, Happening::Restart);
        owed.expect("whatever is known can be restarted")
            .leaves(&[Effect::CloseWaits, Effect::Supersede]);
        let orphans = self.close_waits(no);
        let ended = self.sentences(no, &orphans, "was restarted");
        self.supersede(no, seed, plan);
        for record in &plan.erased {
            self.return_event(no, record);
        }
        for (child, error) in ended {
            // One with an id of its own is deleted below, and then it need not end before.
            if !called.iter().any(|it| it.no == child && has_own_id(it)) {
                self.terminate(child, error);
            }
        }
        let is_erased = |row: &Row| {
            let calls = |it: &Record| it.operation.kind == Kind::Call && it.event == Some(row.no);
            orphans.contains(&row.no) || plan.erased.iter().any(calls)
        };
        for child in called.iter().filter(|it| has_own_id(it) && is_erased(it)) {
            self.delete_row(child);
        }
        let live = self.live_mut(no);
        if live.slot {
            let (workflow, rank, entry) = (live.workflow, live.rank(), Entry::new(no, live.key));
            assert!(self.queues.remove(workflow, rank, entry), "just queued");
            self.start(workflow, rank, entry);
        } else {
            self.persist(no, None, None);
        }
        if let Some(note) = body {
            self.say(note);
        }
    }

    fn supersede(&mut self, no: InstanceNo, seed: Option<Incarnation>, plan: &Plan) {
        let (incarnation, at) = (self.sequence.draw(), self.now);
        let live = self.live_mut(no);
        let before = std::mem::replace(&mut live.incarnation, incarnation);
        live.mailbox.close_all();
        live.taken.clear();
        (live.recoveries, live.proof, live.interrupted) = (0, None, false);
        (live.settled, live.told) = (0, 0);
        let to = Restart {
            incarnation,
            seed,
            params: None,
            at,
        };
        self.push(Op::Restart(no, before, Box::new(to)));
        self.push(Op::Append(no, incarnation, restarted(&plan.kept, at)));
        for record in &plan.redeemed {
            let record = Record {
                at,
                ..record.clone()
            };
            self.push(Op::Append(no, incarnation, record));
        }
    }

    /// An event that an erased wait took goes back to its old place (E4).
    fn return_event(&mut self, no: InstanceNo, record: &Record) {
        if let Some(id) = record.taken() {
            let event = super::body::given_back(id, record);
            self.put_back(no, event);
        }
    }
}

/// Whether a child was given its id, and did not get one derived from its parent: a UUID of version
/// 5.
fn has_own_id(row: &Row) -> bool {
    let is_derived = uuid::Uuid::try_parse(&row.id).is_ok_and(|it| it.get_version_num() == 5);
    !is_derived
}

/// What whoever waits for a deleted instance is told.
pub(super) fn deleted() -> Resolved {
    Resolved {
        payload: Some(recorded("InstanceTerminated", "it was deleted")),
        ..Resolved::failed(codes::TERMINATED)
    }
}
