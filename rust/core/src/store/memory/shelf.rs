//! What the model store answers before a batch is decided.

use super::{Moment, Reader};
use crate::history::{Record, Stored};
use crate::ids::{InstanceNo, Seq};
use crate::store::known::Shelf;
use crate::store::{Error, Row};
use crate::wait::Approval;

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
}
