//! What the model store holds, and what each change does to it.

use std::collections::{BTreeMap, BTreeSet};

use super::owners::Owners;
use super::schedules::Schedules;
use super::streams::Streams;
use super::Failure;
use crate::audit;
use crate::bulk::Bulk;
use crate::history::{Record, Stored};
use crate::ids::{EventId, Incarnation, InstanceNo, Micros, Seq, WaitId};
use crate::large::LargeKey;
use crate::letter::{Letter, LetterId};
use crate::lifecycle::Status;
use crate::limits::FORGOTTEN;
use crate::retention::Keep;
use crate::store::{
    Bucket, Called, Ended, Failed, Forgotten, NewInstance, Op, Outcome, Payloads, Restart, Row,
    Transition, FAILURE_HOURS,
};
use crate::stream::Chunks;
use crate::wait::{Approval, ApprovalStatus, Event, Wait};

/// How many of a workflow have ended, and of each of its versions.
pub(super) type Endings = ([u64; 3], BTreeMap<Box<str>, [u64; 3]>);

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) instances: BTreeMap<InstanceNo, Instance>,
    pub(super) names: BTreeMap<Name, InstanceNo>,
    /// Those that ever had an instance.
    pub(super) workflows: BTreeSet<(Box<str>, Box<str>)>,
    /// Namespace, workflow and version of whatever was created.
    pub(super) versions: BTreeSet<(Box<str>, Box<str>, Box<str>)>,
    pub(super) waits: BTreeMap<(InstanceNo, WaitId), Wait>,
    pub(super) events: BTreeMap<(InstanceNo, EventId), Event>,
    pub(super) seen: BTreeSet<(InstanceNo, Box<str>)>,
    /// Events that want an answer, by their `dedup_id`, and by their number, with the answer.
    pub(super) asked: BTreeMap<(InstanceNo, Box<str>), EventId>,
    pub(super) answers: BTreeMap<(InstanceNo, EventId), Option<Box<[u8]>>>,
    /// In the order in which they were first written.
    pub(super) approvals: Vec<Approval>,
    pub(super) meta: BTreeMap<Box<str>, Box<[u8]>>,
    pub(super) ended: BTreeMap<(Box<str>, Box<str>), Endings>,
    pub(super) failures: Vec<Failed>,
    pub(super) buckets: BTreeMap<Box<str>, Bucket>,
    pub(super) last_seq: Seq,
    pub(super) letters: BTreeMap<LetterId, Letter>,
    pub(super) audit: BTreeMap<u64, audit::Entry>,
    /// What calls were answered.
    pub(super) calls: BTreeMap<Box<[u8]>, Called>,
    pub(super) bulks: BTreeMap<u64, Bulk>,
    pub(super) schedules: Schedules,
    pub(super) large: BTreeSet<LargeKey>,
    pub(super) streams: Streams,
    pub(super) touched: BTreeMap<InstanceNo, u64>,
    pub(super) owners: Owners,
    pub(super) next_failure: Option<Failure>,
    pub(super) full: bool,
}

pub(super) type Name = (Box<str>, Box<str>, Box<str>);

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) row: Row,
    pub(super) keep: Option<Keep>,
    pub(super) payloads: Payloads,
    pub(super) history: Vec<Stored>,
}

impl Model {
    fn keep_failed(&mut self, it: &Failed) -> Outcome {
        let code = (
            it.namespace.clone(),
            it.workflow.clone(),
            it.version.clone(),
        );
        if self.versions.contains(&code) {
            let is_same = |other: &Failed| other.is_like(it);
            let is_old = |other: &Failed| other.hour < it.hour - FAILURE_HOURS;
            self.failures.retain(|it| !is_same(it) && !is_old(it));
            self.failures.push(it.clone());
        }
        Outcome::Done(0)
    }

    pub(super) fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Create(new) => self.create(new),
            Op::CreateChildren(some, parent, incarnation, record) => {
                if self.owned(*parent, *incarnation).is_none() {
                    return Outcome::Fenced;
                }
                for new in some {
                    self.number(new);
                    if let Some(taken) = self.taken(new) {
                        return taken;
                    }
                }
                for new in some {
                    let _ = self.create(new);
                }
                self.append(*parent, *incarnation, record)
            }
            Op::Append(no, incarnation, record) => self.append(*no, *incarnation, record),
            Op::Open(no, incarnation, wait) => match self.owned(*no, *incarnation) {
                Some(instance) if !instance.row.status.is_final() => {
                    self.waits.insert((*no, wait.id), wait.clone());
                    Outcome::Done(0)
                }
                _ => Outcome::Fenced,
            },
            Op::Close(no, id) => {
                self.waits.remove(&(*no, *id));
                Outcome::Done(0)
            }
            Op::Postpone(no, id, until) => {
                if let Some(wait) = self.waits.get_mut(&(*no, *id)) {
                    wait.until = Some(*until);
                }
                Outcome::Done(0)
            }
            Op::Buffer(no, event, dedup) => {
                let outcome = self.seen(*no, dedup.as_deref());
                if matches!(outcome, Outcome::Done(_)) {
                    self.events.insert((*no, event.id), event.clone());
                }
                outcome
            }
            Op::Take(no, id) => {
                self.events.remove(&(*no, *id));
                Outcome::Done(0)
            }
            Op::Seen(no, dedup) => self.seen(*no, Some(dedup)),
            Op::Ask(no, event, dedup) => self.ask(*no, *event, dedup),
            Op::Answer(no, incarnation, place, answer) => {
                self.answer(*no, *incarnation, *place, answer)
            }
            Op::Status(no, incarnation, to) => self.change(*no, *incarnation, to),
            Op::Restart(no, incarnation, to) => self.restart(*no, *incarnation, to),
            Op::Delete(no) => self.delete(*no),
            Op::Version(no, incarnation, version) => self.convert(*no, *incarnation, version),
            Op::Place(no, of, priority, start_at) => self.place(*no, *of, *priority, *start_at),
            Op::Attributes(no, incarnation, map) => {
                let instance = self.owned(*no, *incarnation);
                replace(instance.map(|it| &mut it.payloads.attributes), map)
            }
            Op::Progress(no, progress) => self.report(*no, progress),
            Op::Chunks(no, incarnation, it) => self.stream(*no, *incarnation, it),
            Op::ForgetChunks(before) => self.streams.forget(*before),
            Op::Approval(approval) => self.keep_approval(approval),
            Op::EndApproval(id, status) => {
                let open = |it: &&mut Approval| it.id == *id && it.status == ApprovalStatus::Open;
                if let Some(approval) = self.approvals.iter_mut().find(open) {
                    approval.status = *status;
                }
                Outcome::Done(0)
            }
            Op::Leave(letter) => self.leave(letter),
            Op::TakeIn(id) => self.take_in(*id),
            Op::Meta(name, value) => {
                self.meta.insert(name.clone(), value.clone());
                Outcome::Done(0)
            }
            Op::Audit(it) => self.keep_audit(it),
            Op::Bulk(it) => self.keep_bulk(it),
            Op::Touched(no, number) => self.touch(*no, *number),
            Op::ForgetBulks(before) => self.forget_bulks(*before),
            Op::ForgetAudit(before) => self.forget_audit(*before),
            Op::Called(it) => {
                self.calls.insert(it.id.clone(), (**it).clone());
                Outcome::Done(0)
            }
            Op::ForgetCalls(before) => self.forget_calls(*before),
            Op::Forget(it) => self.forget(it),
            Op::Schedule(_) | Op::Firing(_) | Op::ForgetFirings(..) | Op::Unschedule(_) => {
                self.schedules.apply(op)
            }
            Op::Large(_) | Op::ForgetLarge(_) => self.large(op),
            Op::Ended(it) => self.keep_ended(it),
            Op::Failed(it) => self.keep_failed(it),
            Op::Bucket(it) => {
                self.buckets.insert(it.namespace.clone(), (**it).clone());
                Outcome::Done(0)
            }
        }
    }

    fn large(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Large(keys) => self.large.extend(keys),
            Op::ForgetLarge(keys) => self.large.retain(|it| !keys.contains(it)),
            other => unreachable!("it is about no large value: {other:?}"),
        }
        Outcome::Done(0)
    }

    fn keep_approval(&mut self, approval: &Approval) -> Outcome {
        match self.approvals.iter_mut().find(|it| it.id == approval.id) {
            Some(present) => *present = approval.clone(),
            None => self.approvals.push(approval.clone()),
        }
        Outcome::Done(0)
    }

    fn keep_audit(&mut self, it: &audit::Entry) -> Outcome {
        self.audit.insert(it.number, it.clone());
        Outcome::Done(0)
    }

    fn forget_audit(&mut self, before: Micros) -> Outcome {
        let oldest = self.audit.values().take(FORGOTTEN as usize);
        let old = oldest.filter(|it| it.at < before).map(|it| it.number);
        let old: Vec<u64> = old.collect();
        for number in &old {
            self.audit.remove(number);
        }
        Outcome::Done(old.len() as u64)
    }

    fn forget(&mut self, it: &Forgotten) -> Outcome {
        let of = &it.namespace;
        for (name, value) in &it.settings {
            match value {
                Some(value) => self.meta.insert(name.clone(), value.clone()),
                None => self.meta.remove(name),
            };
        }
        self.bulks
            .retain(|no, bulk| *no == it.bulk || bulk.namespace != *of);
        self.failures.retain(|it| it.namespace != *of);
        self.ended.retain(|it, _| it.0 != *of);
        self.workflows.retain(|it| it.0 != *of);
        self.versions.retain(|it| it.0 != *of);
        self.buckets.remove(of);
        Outcome::Done(0)
    }

    fn forget_calls(&mut self, before: Micros) -> Outcome {
        let old = self.calls.values().filter(|it| it.at < before);
        let mut old: Vec<_> = old.map(|it| (it.at, it.id.clone())).collect();
        old.sort_unstable();
        old.truncate(FORGOTTEN as usize);
        for (_, id) in &old {
            self.calls.remove(id);
        }
        Outcome::Done(old.len() as u64)
    }

    fn leave(&mut self, letter: &Letter) -> Outcome {
        let id = self.letters.last_key_value().map_or(1, |it| it.0 + 1);
        self.letters.insert(id, letter.clone());
        Outcome::Done(id)
    }

    fn take_in(&mut self, id: LetterId) -> Outcome {
        match self.letters.remove(&id) {
            Some(_) => Outcome::Done(0),
            None => Outcome::Fenced,
        }
    }

    fn touch(&mut self, no: InstanceNo, number: u64) -> Outcome {
        if self.instances.contains_key(&no) {
            self.touched.insert(no, number);
        }
        Outcome::Done(0)
    }

    fn keep_bulk(&mut self, it: &Bulk) -> Outcome {
        let mut new = it.clone();
        if let Some(known) = self.bulks.get_mut(&it.number) {
            new.what = new.what.or_else(|| known.what.take());
        } else if new.what.is_none() {
            return Outcome::Done(0); // it goes on with one that is not there
        }
        self.bulks.insert(it.number, new);
        Outcome::Done(0)
    }

    fn forget_bulks(&mut self, before: Micros) -> Outcome {
        let old = |it: &&Bulk| it.ended_at.is_some_and(|at| at < before);
        let old = self.bulks.values().filter(old).take(FORGOTTEN as usize);
        let old: Vec<u64> = old.map(|it| it.number).collect();
        for number in &old {
            self.bulks.remove(number);
        }
        Outcome::Done(old.len() as u64)
    }

    fn keep_ended(&mut self, it: &Ended) -> Outcome {
        let name = (it.namespace.clone(), it.workflow.clone());
        if self.workflows.contains(&name) {
            let kept = self.ended.entry(name.clone()).or_default();
            kept.0 = it.counts;
            for (version, counts) in &it.versions {
                let full = (name.0.clone(), name.1.clone(), version.clone());
                if self.versions.contains(&full) {
                    kept.1.insert(version.clone(), *counts);
                }
            }
        }
        Outcome::Done(0)
    }

    fn owned(&mut self, no: InstanceNo, incarnation: Incarnation) -> Option<&mut Instance> {
        self.instances
            .get_mut(&no)
            .filter(|it| it.row.incarnation == incarnation)
    }

    /// Returns who has the id of a new instance, if it is taken.
    fn taken(&self, new: &NewInstance) -> Option<Outcome> {
        let name = (new.namespace.clone(), new.workflow.clone(), new.id.clone());
        let no = self.names.get(&name)?;
        Some(Outcome::Exists(*no, self.instances[no].row.status))
    }

    /// A name has its number whatever becomes of the creation.
    fn number(&mut self, new: &NewInstance) {
        let code = (
            new.namespace.clone(),
            new.workflow.clone(),
            new.version.clone(),
        );
        self.versions.insert(code);
    }

    fn create(&mut self, new: &NewInstance) -> Outcome {
        self.number(new);
        if let Some(taken) = self.taken(new) {
            return taken;
        }
        let name = (new.namespace.clone(), new.workflow.clone(), new.id.clone());
        let running = new.status == Status::Running;
        let row = Row {
            no: new.no,
            incarnation: new.incarnation,
            namespace: new.namespace.clone(),
            workflow: new.workflow.clone(),
            version: new.version.clone(),
            id: new.id.clone(),
            status: new.status,
            marked: running,
            recoveries: 0,
            reason: None,
            step: None,
            priority: new.priority,
            created_at: new.created_at,
            started_at: running.then_some(new.created_at),
            ended_at: None,
            updated_at: new.created_at,
            start_at: new.start_at,
            parent: new.parent,
            called: new.called,
            format: new.format,
            seed: new.seed,
            paused_at: None,
            schedule: new.schedule.clone(),
            undo: None,
            born: None,
            damage: None,
        };
        let instance = Instance {
            row,
            keep: new.keep,
            payloads: Payloads {
                params: new.params.clone(),
                attributes: new.attributes.clone(),
                ..Payloads::default()
            },
            history: Vec::new(),
        };
        let before = self.instances.insert(new.no, instance);
        assert!(before.is_none(), "number {} was given out twice", new.no);
        self.workflows.insert((name.0.clone(), name.1.clone()));
        self.names.insert(name, new.no);
        Outcome::Done(0)
    }

    fn append(&mut self, no: InstanceNo, incarnation: Incarnation, record: &Record) -> Outcome {
        let seq = self.last_seq + 1;
        let Some(instance) = self.owned(no, incarnation) else {
            return Outcome::Fenced;
        };
        instance.history.push(Stored {
            seq,
            record: record.clone(),
        });
        self.last_seq = seq;
        Outcome::Done(seq)
    }

    fn convert(&mut self, no: InstanceNo, incarnation: Incarnation, version: &str) -> Outcome {
        let Some(instance) = self.owned(no, incarnation) else {
            return Outcome::Fenced;
        };
        let row = &mut instance.row;
        row.version = version.into();
        let code = (
            row.namespace.clone(),
            row.workflow.clone(),
            row.version.clone(),
        );
        self.versions.insert(code);
        Outcome::Done(0)
    }

    fn place(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
        priority: i8,
        start_at: Option<Micros>,
    ) -> Outcome {
        let Some(instance) = self.owned(no, incarnation) else {
            return Outcome::Fenced;
        };
        (instance.row.priority, instance.row.start_at) = (priority, start_at);
        Outcome::Done(0)
    }

    fn seen(&mut self, no: InstanceNo, dedup: Option<&str>) -> Outcome {
        match self.instances.get(&no) {
            Some(instance) if !instance.row.status.is_final() => {}
            _ => return Outcome::Fenced,
        }
        match dedup {
            Some(dedup) if !self.seen.insert((no, dedup.into())) => Outcome::Seen,
            _ => Outcome::Done(0),
        }
    }

    fn stream(&mut self, no: InstanceNo, incarnation: Incarnation, it: &Chunks) -> Outcome {
        let Some(instance) = self.owned(no, incarnation) else {
            return Outcome::Fenced;
        };
        if instance.row.status.is_final() {
            return Outcome::Fenced;
        }
        let last = instance.history.last().map_or(0, |it| it.seq);
        self.streams.add(no, incarnation, it, last)
    }

    fn report(&mut self, no: InstanceNo, progress: &[u8]) -> Outcome {
        let instance = self.instances.get_mut(&no);
        replace(instance.map(|it| &mut it.payloads.progress), progress)
    }

    fn ask(&mut self, no: InstanceNo, event: EventId, dedup: &str) -> Outcome {
        let place = (no, event);
        if self.events.contains_key(&place) && !self.answers.contains_key(&place) {
            self.answers.insert(place, None);
            let name = (no, dedup.into());
            if self.seen.contains(&name) {
                self.asked.insert(name, event);
            }
        }
        Outcome::Done(0)
    }

    fn answer(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
        place: Seq,
        answer: &[u8],
    ) -> Outcome {
        let Some(instance) = self.owned(no, incarnation) else {
            return Outcome::Fenced;
        };
        let taken = instance.history.iter().find(|it| it.seq == place);
        let event = taken.and_then(|it| it.record.taken());
        let wanted = event.and_then(|it| self.answers.get_mut(&(no, it)));
        if let Some(wanted) = wanted {
            wanted.get_or_insert_with(|| answer.into());
        }
        Outcome::Done(0)
    }

    fn change(&mut self, no: InstanceNo, incarnation: Incarnation, to: &Transition) -> Outcome {
        let Some(instance) = self.owned(no, incarnation) else {
            return Outcome::Fenced;
        };
        let row = &mut instance.row;
        row.status = to.status;
        row.marked = to.marked;
        row.recoveries = to.recoveries;
        row.reason.clone_from(&to.reason);
        row.step.clone_from(&to.step);
        row.updated_at = to.at;
        row.paused_at = to
            .status
            .is_paused()
            .then(|| row.paused_at.unwrap_or(to.at));
        row.undo = to.undo;
        row.ended_at = to.status.is_final().then_some(to.at);
        if to.status == Status::Running && row.started_at.is_none() {
            row.started_at = Some(to.at);
        }
        instance.payloads.result.clone_from(&to.payload);
        if to.status.is_final() {
            self.waits.retain(|(of, _), _| *of != no);
        }
        Outcome::Done(0)
    }

    fn restart(&mut self, no: InstanceNo, incarnation: Incarnation, to: &Restart) -> Outcome {
        let Some(instance) = self.owned(no, incarnation) else {
            return Outcome::Fenced;
        };
        let row = &mut instance.row;
        *row = Row {
            incarnation: to.incarnation,
            seed: to.seed,
            status: Status::Queued,
            marked: false,
            recoveries: 0,
            reason: None,
            step: None,
            started_at: None,
            ended_at: None,
            start_at: None,
            paused_at: None,
            undo: None,
            updated_at: to.at,
            ..row.clone()
        };
        let payloads = &mut instance.payloads;
        (payloads.result, payloads.progress) = (None, None);
        if to.params.is_some() {
            payloads.params.clone_from(&to.params);
        }
        self.waits.retain(|(owner, _), _| *owner != no);
        self.streams.leave(no, Some(incarnation));
        Outcome::Done(0)
    }

    fn delete(&mut self, no: InstanceNo) -> Outcome {
        if let Some(Instance { row, .. }) = self.instances.remove(&no) {
            self.names.remove(&(row.namespace, row.workflow, row.id));
        }
        self.waits.retain(|(owner, _), _| *owner != no);
        self.events.retain(|(owner, _), _| *owner != no);
        self.seen.retain(|(owner, _)| *owner != no);
        self.asked.retain(|(owner, _), _| *owner != no);
        self.answers.retain(|(owner, _), _| *owner != no);
        self.touched.remove(&no);
        self.approvals.retain(|it| it.no != no);
        self.streams.leave(no, None);
        Outcome::Done(0)
    }

    pub(super) fn find(&self, namespace: &str, workflow: &str, id: &str) -> Option<Row> {
        let no = self
            .names
            .get(&(namespace.into(), workflow.into(), id.into()))?;
        Some(self.instances[no].row.clone())
    }
}

/// Replaces a payload of an instance, if that is there.
fn replace(payload: Option<&mut Option<Box<[u8]>>>, by: &[u8]) -> Outcome {
    match payload {
        Some(payload) => {
            *payload = Some(by.into());
            Outcome::Done(0)
        }
        None => Outcome::Fenced,
    }
}
