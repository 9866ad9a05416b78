//! What the model store answers before a batch is decided.

use super::model::{Instance, Model};
use super::moment::Moment;
use crate::history::{Record, Stored};
use crate::ids::{EventId, InstanceNo, Micros, Seq};
use crate::store::known::Shelf;
use crate::store::{Error, Expired, Expiry, Reader, Row};
use crate::wait::{Approval, Event};

/// The records as one look finds them.
pub(super) struct Shelved<'m> {
    pub(super) moment: Moment<'m>,
    /// Namespace and name of the workflow whose instances are looked up by name.
    pub(super) workflow: (Box<str>, Box<str>),
}

impl Shelf for Shelved<'_> {
    fn open(&mut self, namespace: &str, workflow: &str) {
        self.workflow = (namespace.into(), workflow.into());
    }

    fn by_id(&mut self, id: &str) -> Result<Option<Row>, Error> {
        let (namespace, workflow) = &self.workflow;
        Ok(self.moment.0.find(namespace, workflow, id))
    }

    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
        self.moment.instance(no)
    }

    fn output(&mut self, no: InstanceNo) -> Result<Option<Box<[u8]>>, Error> {
        Ok(self.moment.payloads(no)?.result)
    }

    fn approval(&mut self, id: &str) -> Result<Option<Approval>, Error> {
        let approvals = &self.moment.0.approvals;
        Ok(approvals.iter().find(|it| &*it.id == id).cloned())
    }

    fn record(&mut self, no: InstanceNo, seq: Seq) -> Result<Record, Error> {
        let history = self.moment.0.instances.get(&no).map(|it| &it.history);
        let found = history.and_then(|it| it.iter().find(|it| it.seq == seq));
        let found = found.map(|it| it.record.clone());
        found.ok_or_else(|| Error::Row(format!("record {seq} of instance {no} is missing")))
    }

    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
        self.moment.history(no)
    }

    fn called(&mut self, no: InstanceNo) -> Result<Vec<Row>, Error> {
        let rows = self.moment.0.instances.values().map(|it| &it.row);
        let called = rows.filter(|it| it.called && it.parent == Some(no));
        Ok(called.cloned().collect())
    }

    fn events(&mut self, no: InstanceNo) -> Result<Vec<Event>, Error> {
        let mine = self.moment.0.events.range((no, 0)..=(no, EventId::MAX));
        Ok(mine.map(|(_, it)| it.clone()).collect())
    }

    fn call(&mut self, id: &[u8]) -> Result<Option<Box<[u8]>>, Error> {
        Ok(self.moment.0.calls.get(id).map(|it| it.answer.clone()))
    }

    fn expired(&mut self, what: &Expiry) -> Result<Expired, Error> {
        let (mut numbers, next) = self.moment.0.over(what);
        numbers.truncate(what.most as usize);
        Ok(Expired { numbers, next })
    }
}

impl Model {
    /// Returns all that are to go, and when the time of the first of the others is over.
    pub(super) fn over(&self, what: &Expiry) -> (Vec<InstanceNo>, Option<Micros>) {
        let (mut timely, mut plain, mut next) = (Vec::new(), Vec::new(), None);
        for (no, Instance { row, keep, .. }) in &self.instances {
            let is_of = row.namespace == what.namespace && row.workflow == what.workflow;
            let Some(ended_at) = row.ended_at.filter(|_| is_of) else {
                continue;
            };
            let keeps = keep.unwrap_or(what.keep).of(row.status);
            match keeps.map(|it| ended_at.saturating_add(it)) {
                Some(over) if over <= what.now => timely.push((over, *no)),
                over => next = next.into_iter().chain(over).min(),
            }
            if keep.is_none() {
                plain.push((ended_at, *no));
            }
        }
        timely.sort_unstable();
        plain.sort_unstable();
        let mut numbers: Vec<_> = timely.into_iter().map(|it| it.1).collect();
        for (_, no) in plain.into_iter().take(what.surplus as usize) {
            if !numbers.contains(&no) {
                numbers.push(no);
            }
        }
        (numbers, next)
    }
}
