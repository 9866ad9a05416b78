//! `Core`: what can be looked at. What is in memory is answered at once; what the store is asked for
//! comes as a reply.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use stepwell_core::audit;
use stepwell_core::bulk;
use stepwell_core::large::LargeKey;
use stepwell_core::lifecycle::Status;
use stepwell_core::runtime::{Parent, Question};
use stepwell_core::store::{ApprovalFilter, Filter};
use stepwell_core::wait::ApprovalStatus;

use crate::arguments::{beginning, name, short, status, wanted, FromArgument, WantedArgument};
use crate::codes;
use crate::core::Core;
use crate::error::{invalid, unusable};
use crate::notes;

/// The instance by whose children is asked: its workflow, if that is known, and its id.
pub(crate) type ParentArgument = (Option<String>, String);

pub(crate) fn parent_named((workflow, id): ParentArgument) -> Parent {
    (workflow.map(Into::into), id.into())
}

pub(crate) fn approval_status(code: u8) -> PyResult<ApprovalStatus> {
    ApprovalStatus::from_code(code).ok_or_else(|| invalid("no approval has this status"))
}

/// Returns a filter for those in some states that have some attributes.
pub(crate) fn some(statuses: Vec<u8>, attributes: Vec<(String, Vec<u8>)>) -> PyResult<Filter> {
    let attributes = attributes.into_iter();
    let statuses = statuses.into_iter().map(status);
    Ok(Filter {
        statuses: statuses.collect::<PyResult<_>>()?,
        attributes: attributes.map(|(a, b)| (a.into(), b.into())).collect(),
        ..Filter::default()
    })
}

#[pymethods]
impl Core {
    #[pyo3(signature = (namespace, workflow))]
    fn limits<'py>(
        &self,
        py: Python<'py>,
        namespace: &str,
        workflow: Option<&str>,
    ) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (name, value) in self.engine.limits(namespace, workflow) {
            let name = PyString::intern(py, name);
            list.append((name, value.map(|it| codes::number(py, it)).transpose()?))?;
        }
        Ok(list)
    }

    fn watch(&self, no: u64) {
        self.engine.watch(no);
    }

    fn unwatch(&self, no: u64) {
        self.engine.unwatch(no);
    }

    fn peek(&self, namespace: &str, workflow: &str, id: &str) -> PyResult<Option<u8>> {
        short(namespace)?;
        short(workflow)?;
        let status = self.engine.peek(namespace, workflow, id);
        Ok(status.map(|it| it as u8))
    }

    fn number(&self, namespace: &str, workflow: &str, id: &str) -> PyResult<Option<u64>> {
        short(namespace)?;
        short(workflow)?;
        Ok(self.engine.number(namespace, workflow, id))
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let figures = PyDict::new(py);
        for (name, value) in self.engine.statistics() {
            figures.set_item(name, value)?;
        }
        Ok(figures)
    }

    fn workflow_statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        notes::workflows(py, &self.engine.workflow_statistics())
    }

    fn slots_freed(&self, namespace: &str, workflow: &str) -> (u64, i64) {
        self.engine.slots_freed(namespace, workflow)
    }

    fn suspected(&self) -> Vec<(&str, &str, &str, u8)> {
        let rows = self.engine.suspected().iter();
        rows.map(|it| (&*it.namespace, &*it.workflow, &*it.id, it.status as u8))
            .collect()
    }

    fn found(&self) -> u64 {
        self.engine.found()
    }

    fn unreadable(&self) -> Vec<&str> {
        self.engine
            .unreadable()
            .iter()
            .map(String::as_str)
            .collect()
    }

    fn overdue(&self) -> Option<(u64, i64)> {
        self.engine.overdue()
    }

    #[pyo3(signature = (namespace, workflow))]
    fn counts(&self, namespace: Option<&str>, workflow: Option<&str>) -> Vec<(u8, u64)> {
        let counts = self.engine.counts(namespace, workflow).into_iter();
        counts
            .map(|(status, count)| (status as u8, count))
            .collect()
    }

    #[pyo3(signature = (namespace, workflow))]
    fn reasons(&self, namespace: Option<&str>, workflow: Option<&str>) -> PyResult<u64> {
        let asked = self.engine.reasons(namespace, workflow);
        asked.map_err(|_| unusable(&self.engine))
    }

    fn changes(&self, namespace: &str, place: u64, limit: usize) -> PyResult<u64> {
        let asked = self.engine.changes(namespace, place, limit);
        asked.map_err(|_| unusable(&self.engine))
    }

    fn change_epoch(&self) -> u64 {
        self.engine.change_epoch()
    }

    fn await_change(&self, place: u64) -> bool {
        self.engine.await_change(place)
    }

    fn listen(&self, no: u64) {
        self.engine.listen(no);
    }

    fn ignore(&self, no: u64) {
        self.engine.ignore(no);
    }

    #[pyo3(signature = (namespace, workflow))]
    fn blocked(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Vec<(String, String, u64)> {
        let blocked = self.engine.blocked(namespace, workflow).into_iter();
        blocked
            .map(|(code, version, count)| (String::from(&*code), String::from(&*version), count))
            .collect()
    }

    #[pyo3(signature = (namespace, workflow))]
    fn versions(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Vec<(String, String, [u64; Status::ALL.len()])> {
        let versions = self.engine.versions(namespace, workflow);
        let versions = versions.into_iter();
        versions
            .map(|(workflow, version, counts)| {
                (String::from(&*workflow), String::from(&*version), counts)
            })
            .collect()
    }

    fn find(&self, namespace: &str, workflow: &str, id: &str, payloads: bool) -> PyResult<u64> {
        let name = name(namespace, workflow, id)?;
        self.ask(Question::Find(name, payloads))
    }

    fn asked(&self, namespace: &str, workflow: &str, id: &str, dedup_id: &str) -> PyResult<u64> {
        let name = name(namespace, workflow, id)?;
        self.ask(Question::Asked(name, dedup_id.into()))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (namespace, workflow, statuses, version, reason, parent, created_after, created_before, beyond, newest_first, limit, attributes=Vec::new(), id_prefix=None, budget=None, schedule=None))]
    fn list(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
        statuses: Vec<u8>,
        version: Option<&str>,
        reason: Option<WantedArgument>,
        parent: Option<ParentArgument>,
        created_after: Option<i64>,
        created_before: Option<i64>,
        beyond: Option<u64>,
        newest_first: bool,
        limit: u32,
        attributes: Vec<(String, Vec<u8>)>,
        id_prefix: Option<&str>,
        budget: Option<u32>,
        schedule: Option<&str>,
    ) -> PyResult<u64> {
        let parent = parent.map(|it| Box::new(parent_named(it)));
        let filter = Filter {
            namespace: namespace.map(Into::into),
            workflow: workflow.map(Into::into),
            version: version.map(Into::into),
            id_prefix: id_prefix.map(Into::into),
            schedule: schedule.map(Into::into),
            created_after,
            created_before,
            beyond,
            newest_first,
            limit,
            budget,
            ..some(statuses, attributes)?
        };
        let wanted = reason.map(wanted).transpose()?;
        let asked = self.engine.list(filter, parent, wanted.as_ref());
        asked.map_err(|_| unusable(&self.engine))
    }

    fn history(&self, no: u64) -> PyResult<u64> {
        self.ask(Question::History(no))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn stream(
        &self,
        namespace: &str,
        workflow: &str,
        id: &str,
        stream: &str,
        incarnation: u64,
        after: u64,
        limit: u32,
    ) -> PyResult<u64> {
        let name = name(namespace, workflow, id)?;
        let after = (incarnation, after);
        self.ask(Question::Stream(name, stream.into(), after, limit))
    }

    #[pyo3(signature = (namespace, workflow, status, beyond, limit, budget))]
    fn approvals(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
        status: Option<u8>,
        beyond: Option<u64>,
        limit: u32,
        budget: Option<u32>,
    ) -> PyResult<u64> {
        let status = status.map(approval_status);
        self.ask(Question::Approvals(ApprovalFilter {
            namespace: namespace.map(Into::into),
            workflow: workflow.map(Into::into),
            status: status.transpose()?,
            beyond,
            limit,
            budget,
        }))
    }

    #[pyo3(signature = (namespace, workflow, id, from_))]
    fn rewind(
        &self,
        namespace: &str,
        workflow: &str,
        id: &str,
        from_: Option<FromArgument>,
    ) -> PyResult<u64> {
        let name = name(namespace, workflow, id)?;
        self.ask(Question::Rewind(name, beginning(from_)?))
    }

    #[pyo3(signature = (namespace, number, open, beyond, limit))]
    fn bulks(
        &self,
        namespace: Option<&str>,
        number: Option<u64>,
        open: bool,
        beyond: Option<u64>,
        limit: u32,
    ) -> PyResult<u64> {
        self.ask(Question::Bulks(bulk::Query {
            namespace: namespace.map(Into::into),
            number,
            open,
            beyond,
            limit,
        }))
    }

    #[pyo3(signature = (beyond, limit))]
    fn loose(&self, beyond: Option<LargeKey>, limit: u32) -> PyResult<u64> {
        self.ask(Question::Loose(beyond, limit))
    }

    #[pyo3(signature = (namespace, workflow, id, beyond, limit))]
    fn audit(
        &self,
        namespace: &str,
        workflow: Option<&str>,
        id: Option<&str>,
        beyond: Option<u64>,
        limit: u32,
    ) -> PyResult<u64> {
        self.ask(Question::Audit(audit::Query {
            namespace: namespace.into(),
            workflow: workflow.map(Into::into),
            id: id.map(Into::into),
            beyond,
            limit,
        }))
    }
}
