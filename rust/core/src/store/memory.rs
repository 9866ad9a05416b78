//! The model store: what every store means, without durability.
//!
//! Maps and nothing else, so that it is obviously right; the other stores are tested against it,
//! and the simulation runs on it. The data outlives the handle: after a simulated crash
//! [`MemoryStore::reopen`] gives a new handle on what was committed. It does not know files,
//! locks or checksums.

mod model;
mod moment;
mod owners;
mod renamed;
mod schedules;
mod shelf;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::known::{self, Known, Needs};
use super::renames::Renaming;
use super::within::Within;
use super::{
    Bucket, Delivery, Ended, Error, Expiry, Failed, Newcomer, NumberedCode, Op, Outcome, Reader,
    Recovery, Row, Store,
};
use crate::ids::Key;
use crate::ranges::Domain;
use model::Model;
use moment::{MemoryReader, Moment};
use shelf::Shelved;

/// A handle on records that live in memory. Clones share the records.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    model: Arc<Mutex<Model>>,
    /// Set by the first error; this handle refuses everything afterwards.
    failed: Option<Error>,
}

const FULL: &str = "the memory was made to be full.";

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
            let instance = model.instances.get(no);
            if instance.is_none_or(|it| !it.row.status.is_final()) {
                into.event(*no, event.clone());
            }
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

    fn rename(&mut self, to: &Renaming) -> Result<(), Error> {
        self.model.lock().rename(to).map_err(Error::Invalid)
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

/// Returns what names the code of an instance.
fn code(row: &Row) -> (&str, &str, &str) {
    (&row.namespace, &row.workflow, &row.version)
}
