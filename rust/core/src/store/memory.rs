//! The model store: what every store means, without durability.
//!
//! Maps and nothing else, so that it is obviously right; the other stores are tested against it,
//! and the simulation runs on it. The data outlives the handle: after a simulated crash
//! [`MemoryStore::reopen`] gives a new handle on what was committed. It does not know files,
//! locks or checksums.

mod owners;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::known::{self, Known, Needs};
use super::within::Within;
use super::{
    ApprovalFilter, ApprovalPage, Bucket, Delivery, Ended, Error, Expiry, Failed, Filter,
    NewInstance, Newcomer, NumberedCode, Op, Outcome, Page, Payloads, Reader, Recovery, Restart,
    Row, Store, Transition, FAILURE_HOURS,
};
use crate::attributes::pairs;
use crate::audit;
use crate::bulk::{self, Bulk};
use crate::erasure;
use crate::history::{Record, Stored};
use crate::ids::{EventId, Incarnation, InstanceNo, Key, Micros, Seq, WaitId};
use crate::letter::{Letter, LetterId};
use crate::lifecycle::Status;
use crate::limits::FORGOTTEN;
use crate::ranges::Domain;
use crate::retention::Keep;
use crate::wait::{Approval, ApprovalStatus, Event, Wait};
use owners::Owners;
use shelf::Shelved;

/// A handle on records that live in memory. Clones share the records.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    model: Arc<Mutex<Model>>,
    /// Set by the first error; this handle refuses everything afterwards.
    failed: Option<Error>,
}

/// How many of a workflow have ended, and of each of its versions.
type OfWorkflow = ([u64; 3], BTreeMap<Box<str>, [u64; 3]>);

#[derive(Debug, Default)]
struct Model {
    instances: BTreeMap<InstanceNo, Instance>,
    names: BTreeMap<Name, InstanceNo>,
    /// Those that ever had an instance.
    workflows: BTreeSet<(Box<str>, Box<str>)>,
    /// Namespace, workflow and version of whatever was created.
    versions: BTreeSet<(Box<str>, Box<str>, Box<str>)>,
    waits: BTreeMap<(InstanceNo, WaitId), Wait>,
    events: BTreeMap<(InstanceNo, EventId), Event>,
    seen: BTreeSet<(InstanceNo, Box<str>)>,
    /// In the order in which they were first written.
    approvals: Vec<Approval>,
    meta: BTreeMap<Box<str>, Box<[u8]>>,
    ended: BTreeMap<(Box<str>, Box<str>), OfWorkflow>,
    failures: Vec<Failed>,
    buckets: BTreeMap<Box<str>, Bucket>,
    last_seq: Seq,
    letters: BTreeMap<LetterId, Letter>,
    audit: BTreeMap<u64, audit::Entry>,
    bulks: BTreeMap<u64, Bulk>,
    touched: BTreeMap<InstanceNo, u64>,
    owners: Owners,
    next_failure: Option<Failure>,
    full: bool,
}

const FULL: &str = "the memory was made to be full.";

type Name = (Box<str>, Box<str>, Box<str>);

#[derive(Debug)]
struct Instance {
    row: Row,
    keep: Option<Keep>,
    payloads: Payloads,
    history: Vec<Stored>,
}

/// How a commit fails, for simulations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of the batch is there after a reopen.
    Lost,
    /// All of the batch is there after a reopen, though the commit reported an error.
    Unreported,
}

impl MemoryStore {
    /// Returns a store without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a fresh handle on the same records, as a new process would get it after a crash.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self {
            model: Arc::clone(&self.model),
            failed: None,
        }
    }

    /// Lets every commit of any handle fail as on a full disk, until there is room again.
    pub fn set_full(&self, full: bool) {
        self.model.lock().full = full;
    }

    /// Makes the next commit of any handle fail.
    pub fn fail_next(&self, failure: Failure) {
        self.model.lock().next_failure = Some(failure);
    }
}

impl Store for MemoryStore {
    fn recover(&mut self, of: &Domain, into: &mut dyn Recovery) -> Result<(), Error> {
        let mut within;
        let into: &mut dyn Recovery = if of.is_whole() {
            into
        } else {
            within = Within::new(of, into);
            &mut within
        };
        let model = self.model.lock();
        let rows = model.instances.values().map(|it| &it.row);
        let rows: Vec<&Row> = rows.filter(|it| !it.status.is_final()).collect();
        let mut codes = BTreeMap::new();
        for row in &rows {
            codes.insert(code(row), None);
        }
        for (number, (names, known)) in (0..).zip(&mut codes) {
            let code = NumberedCode {
                number,
                namespace: names.0,
                workflow: names.1,
                version: names.2,
            };
            *known = into.knows(&code).then_some(number);
        }
        let (newcomers, others): (Vec<&Row>, Vec<&Row>) = rows
            .into_iter()
            .partition(|it| it.is_newcomer() && codes[&code(it)].is_some());
        let newcomer = |row: &&Row| Newcomer {
            key: Key::new(&row.namespace, &row.workflow, &row.id),
            no: row.no,
            code: codes[&code(row)].expect("it is known"),
            priority: row.priority,
            start_at: row.start_at,
        };
        let newcomers: Vec<Newcomer> = newcomers.iter().map(newcomer).collect();
        into.newcomers(&newcomers);
        for row in others {
            into.instance(row.clone());
        }
        for ((no, _), wait) in &model.waits {
            into.wait(*no, wait.clone());
        }
        for ((no, _), event) in &model.events {
            into.event(*no, event.clone());
        }
        Ok(())
    }

    fn commit_each(
        &mut self,
        batch: &mut dyn Iterator<Item = &Op>,
        of: &Domain,
    ) -> Result<Vec<Outcome>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut model = self.model.lock();
        if model.full {
            let error = Error::Full(FULL.into());
            self.failed = Some(error.clone());
            return Err(error);
        }
        let failure = model.next_failure.take();
        if let Some(range) = model.owners.lost(of) {
            let text = format!("range {} was handed over to another owner", range.0);
            let error = Error::NotYours(text);
            self.failed = Some(error.clone());
            return Err(error);
        }
        if failure == Some(Failure::Lost) {
            let error = Error::Failed("a commit was made to fail; its batch is lost".into());
            self.failed = Some(error.clone());
            return Err(error);
        }
        let outcomes = batch.map(|op| model.apply(op)).collect();
        if failure == Some(Failure::Unreported) {
            let error = Error::Failed("a commit was made to fail; its batch is durable".into());
            self.failed = Some(error.clone());
            return Err(error);
        }
        Ok(outcomes)
    }

    fn look(&mut self, needs: Needs) -> Result<Known, Error> {
        let model = self.model.lock();
        let workflow = Default::default();
        let moment = Moment(&model);
        known::look(needs, &mut Shelved { moment, workflow })
    }

    fn letters(&mut self, of: &Domain, engine: u64) -> Result<Vec<Delivery>, Error> {
        let model = self.model.lock();
        let all = model.letters.iter();
        let some = all.filter(|(_, it)| it.to.is_of(of, engine));
        Ok(some.map(|(id, it)| (*id, Ok(it.clone()))).collect())
    }

    fn meta(&mut self, name: &str) -> Result<Option<Box<[u8]>>, Error> {
        Ok(self.model.lock().meta.get(name).cloned())
    }

    fn ended(&mut self) -> Result<Vec<Ended>, Error> {
        let model = self.model.lock();
        let ended = model.ended.iter().map(|(name, counts)| Ended {
            namespace: name.0.clone(),
            workflow: name.1.clone(),
            counts: counts.0,
            versions: counts
                .1
                .iter()
                .map(|(name, it)| (name.clone(), *it))
                .collect(),
        });
        Ok(ended.collect())
    }

    fn failures(&mut self, from_hour: i64) -> Result<Vec<Failed>, Error> {
        let model = self.model.lock();
        let some = model.failures.iter().filter(|it| it.hour >= from_hour);
        Ok(some.cloned().collect())
    }

    fn overdue(&mut self, what: &Expiry) -> Result<u64, Error> {
        let over = self.model.lock().over(what).0;
        Ok(over.len().min(what.most as usize) as u64)
    }

    fn buckets(&mut self) -> Result<Vec<Bucket>, Error> {
        Ok(self.model.lock().buckets.values().cloned().collect())
    }

    fn maintain(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Error> {
        if self.model.lock().full {
            return Err(Error::Full(FULL.into()));
        }
        match self.failed.take() {
            None | Some(Error::Full(_)) => Ok(()),
            Some(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn shortage(&self) -> Option<String> {
        self.model.lock().full.then(|| FULL.into())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(MemoryReader(Arc::clone(&self.model))))
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        Ok(())
    }
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

    fn apply(&mut self, op: &Op) -> Outcome {
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
            Op::Status(no, incarnation, to) => self.change(*no, *incarnation, to),
            Op::Restart(no, incarnation, to) => self.restart(*no, *incarnation, to),
            Op::Delete(no) => self.delete(*no),
            Op::Version(no, incarnation, version) => self.convert(*no, *incarnation, version),
            Op::Attributes(no, incarnation, map) => {
                let instance = self.owned(*no, *incarnation);
                replace(instance.map(|it| &mut it.payloads.attributes), map)
            }
            Op::Progress(no, progress) => {
                let instance = self.instances.get_mut(no);
                replace(instance.map(|it| &mut it.payloads.progress), progress)
            }
            Op::Approval(approval) => {
                match self.approvals.iter_mut().find(|it| it.id == approval.id) {
                    Some(present) => *present = (**approval).clone(),
                    None => self.approvals.push((**approval).clone()),
                }
                Outcome::Done(0)
            }
            Op::EndApproval(id, status) => {
                let open = |it: &&mut Approval| it.id == *id && it.status == ApprovalStatus::Open;
                if let Some(approval) = self.approvals.iter_mut().find(open) {
                    approval.status = *status;
                }
                Outcome::Done(0)
            }
            Op::Leave(letter) => self.leave(letter),
            Op::TakeIn(id) => match self.letters.remove(id) {
                Some(_) => Outcome::Done(0),
                None => Outcome::Fenced,
            },
            Op::Meta(name, value) => {
                self.meta.insert(name.clone(), value.clone());
                Outcome::Done(0)
            }
            Op::Audit(it) => {
                self.audit.insert(it.number, (**it).clone());
                Outcome::Done(0)
            }
            Op::Bulk(it) => self.keep_bulk(it),
            Op::Touched(no, number) => self.touch(*no, *number),
            Op::ForgetBulks(before) => self.forget_bulks(*before),
            Op::ForgetAudit(before) => self.forget_audit(*before),
            Op::Ended(it) => self.keep_ended(it),
            Op::Failed(it) => self.keep_failed(it),
            Op::Bucket(it) => {
                self.buckets.insert(it.namespace.clone(), (**it).clone());
                Outcome::Done(0)
            }
        }
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

    fn leave(&mut self, letter: &Letter) -> Outcome {
        let id = self.letters.last_key_value().map_or(1, |it| it.0 + 1);
        self.letters.insert(id, letter.clone());
        Outcome::Done(id)
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
        row.ended_at = to.status.is_final().then_some(to.at);
        if to.status == Status::Running && row.started_at.is_none() {
            row.started_at = Some(to.at);
        }
        instance.payloads.result.clone_from(&to.payload);
        if to.status.is_final() {
            self.waits.retain(|(of, _), _| *of != no);
            self.events.retain(|(of, _), _| *of != no);
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
            updated_at: to.at,
            ..row.clone()
        };
        let payloads = &mut instance.payloads;
        (payloads.result, payloads.progress) = (None, None);
        if to.params.is_some() {
            payloads.params.clone_from(&to.params);
        }
        self.waits.retain(|(owner, _), _| *owner != no);
        Outcome::Done(0)
    }

    fn delete(&mut self, no: InstanceNo) -> Outcome {
        if let Some(Instance { row, .. }) = self.instances.remove(&no) {
            self.names.remove(&(row.namespace, row.workflow, row.id));
        }
        self.waits.retain(|(owner, _), _| *owner != no);
        self.events.retain(|(owner, _), _| *owner != no);
        self.seen.retain(|(owner, _)| *owner != no);
        self.touched.remove(&no);
        self.approvals.retain(|it| it.no != no);
        Outcome::Done(0)
    }

    fn find(&self, namespace: &str, workflow: &str, id: &str) -> Option<Row> {
        let no = self
            .names
            .get(&(namespace.into(), workflow.into(), id.into()))?;
        Some(self.instances[no].row.clone())
    }
}

struct MemoryReader(Arc<Mutex<Model>>);

impl Reader for MemoryReader {
    fn at_once(
        &mut self,
        ask: &mut dyn FnMut(&mut dyn Reader) -> Result<(), Error>,
    ) -> Result<(), Error> {
        ask(&mut Moment(&self.0.lock()))
    }

    fn last_seq(&mut self) -> Result<Seq, Error> {
        Moment(&self.0.lock()).last_seq()
    }

    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error> {
        Moment(&self.0.lock()).find(namespace, workflow, id)
    }

    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
        Moment(&self.0.lock()).instance(no)
    }

    fn payloads(&mut self, no: InstanceNo) -> Result<Payloads, Error> {
        Moment(&self.0.lock()).payloads(no)
    }

    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
        Moment(&self.0.lock()).history(no)
    }

    fn waits(&mut self, no: InstanceNo) -> Result<Vec<Wait>, Error> {
        Moment(&self.0.lock()).waits(no)
    }

    fn seen(&mut self, no: InstanceNo, dedup: &str) -> Result<bool, Error> {
        Moment(&self.0.lock()).seen(no, dedup)
    }

    fn kept(&mut self, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>, Error> {
        Moment(&self.0.lock()).kept(no, types)
    }

    fn page(&mut self, filter: &Filter) -> Result<Page, Error> {
        Moment(&self.0.lock()).page(filter)
    }

    fn approvals_page(&mut self, filter: &ApprovalFilter) -> Result<ApprovalPage, Error> {
        Moment(&self.0.lock()).approvals_page(filter)
    }

    fn audit(&mut self, page: &audit::Query) -> Result<audit::Rows, Error> {
        Moment(&self.0.lock()).audit(page)
    }

    fn bulks(&mut self, page: &bulk::Query) -> Result<bulk::Rows, Error> {
        Moment(&self.0.lock()).bulks(page)
    }
}

/// The records while nobody can change them.
struct Moment<'m>(&'m Model);

impl Reader for Moment<'_> {
    fn at_once(
        &mut self,
        ask: &mut dyn FnMut(&mut dyn Reader) -> Result<(), Error>,
    ) -> Result<(), Error> {
        ask(self)
    }

    fn last_seq(&mut self) -> Result<Seq, Error> {
        Ok(self.0.last_seq)
    }

    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error> {
        Ok(self.0.find(namespace, workflow, id))
    }

    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
        Ok(self.0.instances.get(&no).map(|it| it.row.clone()))
    }

    fn payloads(&mut self, no: InstanceNo) -> Result<Payloads, Error> {
        let model = self.0;
        Ok(model
            .instances
            .get(&no)
            .map(|it| it.payloads.clone())
            .unwrap_or_default())
    }

    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
        let model = self.0;
        let mut history = model
            .instances
            .get(&no)
            .map(|it| it.history.clone())
            .unwrap_or_default();
        erasure::keep_what_counts(&mut history);
        Ok(history)
    }

    fn waits(&mut self, no: InstanceNo) -> Result<Vec<Wait>, Error> {
        let model = self.0;
        let range = model.waits.range((no, 0)..=(no, WaitId::MAX));
        Ok(range.map(|(_, wait)| wait.clone()).collect())
    }

    fn seen(&mut self, no: InstanceNo, dedup: &str) -> Result<bool, Error> {
        Ok(self.0.seen.contains(&(no, dedup.into())))
    }

    fn kept(&mut self, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>, Error> {
        let mut counts = BTreeMap::new();
        for (_, event) in self.0.events.range((no, 0)..=(no, EventId::MAX)) {
            *counts.entry(event.kind.clone()).or_default() += 1;
        }
        Ok(counts.into_iter().take(types as usize).collect())
    }

    fn page(&mut self, filter: &Filter) -> Result<Page, Error> {
        let model = self.0;
        let beyond = |no: &InstanceNo| match filter.beyond {
            Some(it) if filter.newest_first => *no < it,
            Some(it) => *no > it,
            None => true,
        };
        let mut numbers: Vec<InstanceNo> = model.instances.keys().copied().collect();
        let is_between = |no: &InstanceNo| {
            let at = model.instances[no].row.created_at;
            filter.created_after.is_none_or(|it| at >= it)
                && filter.created_before.is_none_or(|it| at < it)
        };
        numbers.retain(is_between);
        if filter.newest_first {
            numbers.reverse();
        }
        let mut page = Page::default();
        let mut budget = filter.budget.unwrap_or(u32::MAX);
        for no in numbers.into_iter().filter(beyond) {
            if page.rows.len() >= filter.limit as usize {
                break;
            }
            let it = &model.instances[&no];
            if matches(filter, &it.row) && has(&it.payloads, &filter.attributes) {
                page.rows.push(it.row.clone());
            }
            budget -= 1;
            if budget == 0 && page.rows.len() < filter.limit as usize {
                page.searched_to = Some(no);
                break;
            }
        }
        Ok(page)
    }

    fn approvals_page(&mut self, filter: &ApprovalFilter) -> Result<ApprovalPage, Error> {
        let model = self.0;
        let mut page = ApprovalPage::default();
        let mut budget = filter.budget.unwrap_or(u32::MAX);
        let numbered = (1..).zip(&model.approvals);
        for (number, approval) in numbered.filter(|it| filter.beyond.is_none_or(|at| it.0 > at)) {
            if page.rows.len() >= filter.limit as usize {
                break;
            }
            let is = |asked: &Option<Box<str>>, it: &str| {
                asked.as_deref().is_none_or(|asked| asked == it)
            };
            if let Some(instance) = model.instances.get(&approval.no) {
                let row = &instance.row;
                if filter.status.is_none_or(|it| it == approval.status)
                    && is(&filter.namespace, &row.namespace)
                    && is(&filter.workflow, &row.workflow)
                {
                    page.rows.push((number, row.clone(), approval.clone()));
                }
            }
            budget -= 1;
            if budget == 0 && page.rows.len() < filter.limit as usize {
                page.searched_to = Some(number);
                break;
            }
        }
        Ok(page)
    }

    fn audit(&mut self, page: &audit::Query) -> Result<audit::Rows, Error> {
        let of_many = page.workflow.as_ref().zip(page.id.as_ref());
        let of_many = of_many.and_then(|(workflow, id)| {
            let name = (page.namespace.clone(), workflow.clone(), id.clone());
            self.0.touched.get(self.0.names.get(&name)?)
        });
        let is_last = |it: &audit::Entry| of_many == Some(&it.number) && page.reaches(it.number);
        let rows = self.0.audit.values().rev();
        let rows = rows.filter(|it| page.has(it) || is_last(it));
        let rows = rows.take(page.limit as usize).cloned().map(Ok);
        Ok((rows.collect(), None))
    }

    fn bulks(&mut self, page: &bulk::Query) -> Result<bulk::Rows, Error> {
        let all = self.0.bulks.values().rev().filter(|it| page.has(it));
        Ok(all.take(page.limit as usize).cloned().map(Ok).collect())
    }
}

/// Returns what names the code of an instance.
fn code(row: &Row) -> (&str, &str, &str) {
    (&row.namespace, &row.workflow, &row.version)
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

/// Whether these are among the attributes.
fn has(payloads: &Payloads, wanted: &[(Box<str>, Box<[u8]>)]) -> bool {
    let map = payloads.attributes.as_deref().and_then(pairs);
    let pairs = map.unwrap_or_default();
    let mut wanted = wanted.iter();
    wanted.all(|(key, value)| pairs.contains(&(key, value)))
}

fn matches(filter: &Filter, row: &Row) -> bool {
    filter
        .namespace
        .as_ref()
        .is_none_or(|it| *it == row.namespace)
        && filter
            .workflow
            .as_ref()
            .is_none_or(|it| *it == row.workflow)
        && (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
        && filter.version.as_ref().is_none_or(|it| *it == row.version)
        && (filter.reason.is_none()
            || (row.status == Status::Blocked && filter.reason == row.reason))
        && (filter.parents.is_empty() || row.parent.is_some_and(|it| filter.parents.contains(&it)))
        && filter.id.as_ref().is_none_or(|it| *it == row.id)
        && filter
            .id_prefix
            .as_ref()
            .is_none_or(|it| row.id.starts_with(&**it))
        && row.no >= filter.from
        && filter.to.is_none_or(|it| row.no < it)
        && filter.created_after.is_none_or(|it| row.created_at >= it)
        && filter.created_before.is_none_or(|it| row.created_at < it)
}
