//! How an instance begins anew, under the same id and number: one commit (L6).
//!
//! A new incarnation supersedes the old life: whatever its body and attempts still send is fenced
//! (D6). What of the history is kept is decided by `rewind`; one record says so, and nothing is
//! rewritten. Events that erased waits took go back to where they were, attributes are what they were,
//! approvals are asked again, and children that erased operations called are ended, or deleted if
//! their ids are to be free.
//!
//! A batch restarts nobody of whom it has changed anything else: then what is committed is not the
//! whole truth yet, and the restart comes first in the next batch.

use rustc_hash::FxHashSet;

use super::settle::Resolved;
use super::{Core, Live};
use crate::codes;
use crate::erasure::{has, restarted};
use crate::failure::recorded;
use crate::history::{Kind, Record, Stored};
use crate::ids::{Incarnation, InstanceNo, Key};
use crate::lifecycle::{Effect, Happening};
use crate::note::{Data, Note};
use crate::queue::{Class, Entry};
use crate::rewind::{self, From, No, Plan};
use crate::store::known::Damaged;
use crate::store::{Op, Restart, Row};
use crate::wait::Event;

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
        let missing = self.missing_to_end(&called);
        if !missing.is_empty() {
            self.missing.extend(missing);
            return Some(false);
        }
        // What is known of them is not true any more.
        if called.iter().any(|it| self.is_changed(it.no, key_of(it))) {
            return Some(false);
        }
        let error = self.batch.known.output(no);
        let error = self.or_refuse(ticket, error)?;
        let live = self.live.get(&no);
        let waits = live.map_or(&[][..], |it| it.mailbox.waits());
        let state = (row.status, error.as_deref());
        let plan = match rewind::plan(&history, waits, from, state) {
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
            let events = self.batch.known.events(no).map(<[Event]>::to_vec);
            let events = self.or_refuse(ticket, events)?;
            self.revive(&row, key, events);
        } else {
            self.summon(no);
        }
        let seed = (*from != From::Start).then(|| row.seed.unwrap_or(row.incarnation));
        let called = self.called_by_erased(no, called, &history, &plan);
        self.begin_anew(no, seed, (&plan, &history), &called);
        self.say(Note::reply(ticket, Data::Nothing));
        Some(true)
    }

    /// Whether this batch has changed anything of an instance.
    pub(super) fn is_changed(&self, no: InstanceNo, key: Key) -> bool {
        self.batch.shown.contains(&key) || self.batch.ops().any(|it| it.of() == Some(no))
    }

    pub(super) fn found_to_restart(&self, no: InstanceNo) -> Result<(Row, Vec<Stored>), Damaged> {
        let row = self.batch.known.instance(no)?;
        let row = row.ok_or_else(|| Damaged("it has no row any more".into()))?;
        Ok((row.clone(), self.batch.known.history(no)?.to_vec()))
    }

    /// One that had ended is in memory again, in its state, with the events that nobody took (E4).
    fn revive(&mut self, row: &Row, key: Key, events: Vec<Event>) {
        let workflow = self.workflow(&row.namespace, &row.workflow);
        let version = self.versions.number(workflow, &row.version);
        let mut live = Live::new(key, row.incarnation, (workflow, version), row.priority);
        (live.status, live.counted) = (row.status, row.status);
        live.class = Class::Woken;
        for event in events {
            live.mailbox.keep(event);
        }
        self.registry.announce(key, row.no, row.status);
        self.live.insert(row.no, Box::new(live));
    }

    /// The old life ends, and a new one is queued; one that had a slot keeps it.
    fn begin_anew(
        &mut self,
        no: InstanceNo,
        seed: Option<Incarnation>,
        (plan, history): (&Plan, &[Stored]),
        called: &[Row],
    ) {
        let body = self.seated(no);
        let owed = self.shift(no, Happening::Restart);
        owed.expect("whatever is known can be restarted")
            .leaves(&[Effect::CloseWaits, Effect::Supersede]);
        let orphans = self.close_waits(no);
        let children = called.iter().map(|it| it.no);
        let others = orphans
            .iter()
            .filter(|no| called.iter().all(|it| it.no != **no));
        let children: Vec<_> = children.chain(others.copied()).collect();
        let sentences = self.sentences(no, &children, "was restarted");
        let incarnation = self.supersede(no, seed, None);
        if !self.suspects.tries(no) {
            self.live_mut(no).recoveries = 0;
        }
        self.rewind(no, incarnation, plan);
        self.return_events(no, plan, history);
        for (child, error) in sentences {
            let row = called.iter().find(|it| it.no == child && has_own_id(it));
            match row.filter(|it| self.domain.has(key_of(it).range())) {
                Some(row) => {
                    self.delete_row(row);
                }
                None => self.terminate(child, error),
            }
        }
        self.take_up(no);
        if let Some(note) = body {
            self.say(note);
        }
    }

    /// The new life is queued; one that had a slot keeps it.
    pub(super) fn take_up(&mut self, no: InstanceNo) {
        let live = self.live_mut(no);
        if live.slot {
            let (workflow, rank, entry) = (live.workflow, live.rank(), Entry::new(no, live.key));
            assert!(self.queues.remove(workflow, rank, entry), "just queued");
            self.start(workflow, rank, entry);
        } else {
            self.persist(no, None, None);
        }
    }

    /// A new incarnation begins, with these params, or those of before. Returns it.
    pub(super) fn supersede(
        &mut self,
        no: InstanceNo,
        seed: Option<Incarnation>,
        params: Option<Box<[u8]>>,
    ) -> Incarnation {
        let (incarnation, at) = (self.sequence.draw(), self.now);
        let live = self.live_mut(no);
        let before = std::mem::replace(&mut live.incarnation, incarnation);
        live.taken.clear();
        (live.proof, live.interrupted) = (None, false);
        (live.settled, live.told) = (0, 0);
        let to = Restart {
            incarnation,
            seed,
            params,
            at,
        };
        self.push(Op::Restart(no, before, Box::new(to)));
        incarnation
    }

    /// Of the history this counts from now on.
    fn rewind(&mut self, no: InstanceNo, incarnation: Incarnation, plan: &Plan) {
        let at = self.now;
        self.push(Op::Append(no, incarnation, restarted(&plan.kept, at)));
        if let Some(map) = &plan.attributes {
            self.push(Op::Attributes(no, incarnation, map.clone()));
        }
        for record in &plan.redeemed {
            let record = Record {
                at,
                ..record.clone()
            };
            self.push(Op::Append(no, incarnation, record));
        }
    }

    /// Events that erased waits took go back to their old places (E4), unless they came back before
    /// and what is kept took them.
    fn return_events(&mut self, no: InstanceNo, plan: &Plan, history: &[Stored]) {
        let kept = history.iter().filter(|it| has(&plan.kept, it.seq));
        let kept: FxHashSet<_> = kept.filter_map(|it| it.record.taken()).collect();
        for record in &plan.erased {
            if let Some(id) = record.taken().filter(|it| !kept.contains(it)) {
                let event = super::body::given_back(id, record);
                self.put_back(no, event);
            }
        }
    }

    /// Returns those of the called children that nothing of what is kept called.
    fn called_by_erased(
        &self,
        no: InstanceNo,
        mut called: Vec<Row>,
        history: &[Stored],
        plan: &Plan,
    ) -> Vec<Row> {
        let calls = |it: &&Record| it.operation.kind == Kind::Call;
        let kept = history.iter().filter(|it| has(&plan.kept, it.seq));
        let kept: Vec<_> = kept.map(|it| &it.record).filter(calls).collect();
        let is_taken = |it: &Record| it.event_type.as_deref() == Some(codes::EXISTS);
        let names = |some: &[&Record], no| {
            let mut made = some.iter().filter(|it| !is_taken(it));
            made.any(|it| it.event == Some(no))
        };
        called.retain(|it| !names(&kept, it.no));
        // Records of old do not say which child it was: then only those are known that others name.
        let is_of_old = |it: &&Record| it.event.is_none() && !is_taken(it);
        if kept.iter().any(is_of_old) {
            let erased: Vec<_> = plan.erased.iter().filter(calls).collect();
            let awaited = self.called_by(no);
            called.retain(|it| awaited.contains(&it.no) || names(&erased, it.no));
        }
        called
    }
}

fn key_of(row: &Row) -> Key {
    Key::new(&row.namespace, &row.workflow, &row.id)
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
