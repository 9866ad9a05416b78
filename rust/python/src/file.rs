//! `StoreFile`: what can be looked at of a store without an engine. The calls are those of `Core`
//! that read, answered at once and without the GIL.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use stepwell_core::audit;
use stepwell_core::bulk;
use stepwell_core::error::Error;
use stepwell_core::lifecycle::Status;
use stepwell_core::note::Data;
use stepwell_core::runtime::{self, Question, Sight};
use stepwell_core::schedule::{FiringQuery, Query};
use stepwell_core::store::{ApprovalFilter, Filter};

use crate::arguments::{name, wanted, WantedArgument};
use crate::error::raise;
use crate::looks::{approval_status, parent_named, some, ParentArgument};
use crate::notes;

type Answer<'py> = PyResult<Bound<'py, PyAny>>;

/// A store, whoever owns it.
#[pyclass(frozen, module = "stepwell._core")]
pub(crate) struct StoreFile {
    file: runtime::StoreFile,
    seen: Mutex<Option<Sight>>,
}

impl StoreFile {
    /// Asks without the GIL, and keeps what there is to say of where the answer is from.
    fn told<T: Send>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(&runtime::StoreFile) -> Result<Option<(T, Sight)>, Error> + Send,
    ) -> PyResult<Option<T>> {
        let found = py.detach(|| ask(&self.file));
        let found = found.map_err(|error| raise(&error))?;
        let (found, sight) = found.map_or((None, None), |(it, sight)| (Some(it), Some(sight)));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = sight;
        Ok(found)
    }

    fn data<'py>(
        &self,
        py: Python<'py>,
        ask: impl FnOnce(&runtime::StoreFile) -> Result<Option<(Data, Sight)>, Error> + Send,
    ) -> Answer<'py> {
        let data = self.told(py, ask)?;
        notes::answer(py, &data.unwrap_or(Data::Nothing))
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is made for this")]
    fn ask<'py>(&self, py: Python<'py>, question: Question) -> Answer<'py> {
        self.data(py, |file| file.ask(&question))
    }
}

#[pymethods]
impl StoreFile {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "as it comes from Python")]
    fn new(store: PathBuf) -> Self {
        Self {
            file: runtime::StoreFile::new(Path::new(&store)),
            seen: Mutex::default(),
        }
    }

    #[expect(clippy::type_complexity, reason = "the border is flat")]
    fn seen(&self) -> Option<(Option<(u32, String)>, Option<i64>, bool)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Sight { owner, left } = seen.as_ref()?;
        let owner = owner.as_ref().map(|it| (it.pid, String::from(&*it.name)));
        Some((owner, left.recorded_at, left.is_clean))
    }

    fn names(&self, py: Python<'_>) -> PyResult<Vec<(String, String, String)>> {
        let names = self.told(py, runtime::StoreFile::names)?;
        let names = names.unwrap_or_default().into_iter();
        Ok(names
            .map(|[a, b, c]| (a.into(), b.into(), c.into()))
            .collect())
    }

    #[pyo3(signature = (namespace, workflow))]
    fn counts(
        &self,
        py: Python<'_>,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> PyResult<Vec<(u8, u64)>> {
        let counts = self.told(py, |file| file.counts(namespace, workflow))?;
        let counts = counts.unwrap_or_default().into_iter();
        Ok(counts
            .map(|(status, count)| (status as u8, count))
            .collect())
    }

    #[pyo3(signature = (namespace, workflow))]
    fn versions(
        &self,
        py: Python<'_>,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> PyResult<Vec<(String, String, [u64; Status::ALL.len()])>> {
        let versions = self.told(py, |file| file.versions(namespace, workflow))?;
        let versions = versions.unwrap_or_default().into_iter();
        Ok(versions
            .map(|(workflow, version, counts)| {
                (String::from(&*workflow), String::from(&*version), counts)
            })
            .collect())
    }

    #[pyo3(signature = (namespace, workflow))]
    fn reasons<'py>(
        &self,
        py: Python<'py>,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Answer<'py> {
        self.data(py, |file| file.reasons(namespace, workflow))
    }

    fn find<'py>(
        &self,
        py: Python<'py>,
        namespace: &str,
        workflow: &str,
        id: &str,
        payloads: bool,
    ) -> Answer<'py> {
        let name = name(namespace, workflow, id)?;
        self.ask(py, Question::Find(name, payloads))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (namespace, workflow, statuses, version, reason, parent, created_after, created_before, beyond, newest_first, limit, attributes=Vec::new(), id_prefix=None, budget=None, schedule=None))]
    fn list<'py>(
        &self,
        py: Python<'py>,
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
    ) -> Answer<'py> {
        let parent = parent.map(parent_named);
        let wanted = reason.map(wanted).transpose()?;
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
        self.data(py, |file| {
            file.list(&filter, parent.as_ref(), wanted.as_ref())
        })
    }

    fn history<'py>(&self, py: Python<'py>, no: u64) -> Answer<'py> {
        self.ask(py, Question::History(no))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        namespace: &str,
        workflow: &str,
        id: &str,
        stream: &str,
        incarnation: u64,
        after: u64,
        limit: u32,
    ) -> Answer<'py> {
        let name = name(namespace, workflow, id)?;
        let after = (incarnation, after);
        self.ask(py, Question::Stream(name, stream.into(), after, limit))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (namespace, workflow, status, beyond, limit, budget))]
    fn approvals<'py>(
        &self,
        py: Python<'py>,
        namespace: Option<&str>,
        workflow: Option<&str>,
        status: Option<u8>,
        beyond: Option<u64>,
        limit: u32,
        budget: Option<u32>,
    ) -> Answer<'py> {
        let filter = ApprovalFilter {
            namespace: namespace.map(Into::into),
            workflow: workflow.map(Into::into),
            status: status.map(approval_status).transpose()?,
            beyond,
            limit,
            budget,
        };
        self.ask(py, Question::Approvals(filter))
    }

    #[pyo3(signature = (namespace, number, open, beyond, limit))]
    fn bulks<'py>(
        &self,
        py: Python<'py>,
        namespace: Option<&str>,
        number: Option<u64>,
        open: bool,
        beyond: Option<u64>,
        limit: u32,
    ) -> Answer<'py> {
        let query = bulk::Query {
            namespace: namespace.map(Into::into),
            number,
            open,
            beyond,
            limit,
        };
        self.ask(py, Question::Bulks(query))
    }

    #[pyo3(signature = (namespace, workflow, id, beyond, limit))]
    fn audit<'py>(
        &self,
        py: Python<'py>,
        namespace: &str,
        workflow: Option<&str>,
        id: Option<&str>,
        beyond: Option<u64>,
        limit: u32,
    ) -> Answer<'py> {
        let query = audit::Query {
            namespace: namespace.into(),
            workflow: workflow.map(Into::into),
            id: id.map(Into::into),
            beyond,
            limit,
        };
        self.ask(py, Question::Audit(query))
    }

    #[pyo3(signature = (namespace, id, beyond, limit))]
    fn schedules<'py>(
        &self,
        py: Python<'py>,
        namespace: Option<&str>,
        id: Option<&str>,
        beyond: u64,
        limit: u32,
    ) -> Answer<'py> {
        let query = Query {
            namespace: namespace.map(Into::into),
            id: id.map(Into::into),
            beyond,
            limit,
        };
        self.ask(py, Question::Schedules(query))
    }

    #[pyo3(signature = (schedule, beyond, limit))]
    fn firings<'py>(
        &self,
        py: Python<'py>,
        schedule: u64,
        beyond: Option<u64>,
        limit: u32,
    ) -> Answer<'py> {
        let query = FiringQuery {
            schedule,
            beyond,
            limit,
        };
        self.ask(py, Question::Firings(query))
    }
}
