//! `Core`: schedules, what is done to them, and what came of their times.

use pyo3::prelude::*;
use stepwell_core::runtime::Question;
use stepwell_core::schedule::{Firing, FiringQuery, Query};
use stepwell_core::submission::{Administered, Becomes, Code, Command, NewItem, ScheduleChange};

use crate::arguments::{bytes, short, ByTuple};
use crate::core::Core;
use crate::error::invalid;

/// When it is to be looked at next, how far it is, and what it is if that changes.
#[derive(FromPyObject)]
struct BecomesTuple(Option<i64>, Vec<u8>, Option<Vec<u8>>);

impl BecomesTuple {
    fn into_becomes(self) -> Becomes {
        Becomes {
            next: self.0,
            state: self.1.into(),
            what: self.2.map(Into::into),
        }
    }
}

/// The time, the last of several, what came of it, why, and the id of the instance.
#[derive(FromPyObject)]
struct FiringTuple(i64, Option<i64>, String, Option<String>, Option<String>);

impl FiringTuple {
    fn into_firing(self) -> Firing {
        Firing {
            at: self.0,
            until: self.1,
            outcome: self.2.into(),
            why: self.3.map(Into::into),
            id: self.4.map(Into::into),
            ..Firing::default()
        }
    }
}

/// Workflow, version and params of instances, and their ids.
#[derive(FromPyObject)]
struct CreatesTuple(String, String, Option<Vec<u8>>, Vec<String>);

impl CreatesTuple {
    /// `own`: of each of them its own params, in place of those that all have.
    fn into_creates(
        self,
        namespace: &str,
        schedule: &str,
        own: Option<Vec<Vec<u8>>>,
    ) -> PyResult<(Code, Vec<NewItem>)> {
        short(&self.0)?;
        if own.as_ref().is_some_and(|it| it.len() != self.3.len()) {
            return Err(invalid("each instance has params of its own, or none has"));
        }
        let code = Code {
            namespace: namespace.into(),
            workflow: self.0.into(),
            version: self.1.into(),
        };
        let (params, mut own) = (self.2, own.into_iter().flatten());
        let item = |id: String| NewItem {
            id: Some(id.into()),
            params: bytes(own.next().as_deref().or(params.as_deref())),
            schedule: Some(schedule.into()),
            ..NewItem::default()
        };
        Ok((code, self.3.into_iter().map(item).collect()))
    }
}

/// Who did what to which workflow's schedule, the instance that this created, and what came of it.
#[derive(FromPyObject)]
struct AuditedTuple(ByTuple, String, String, Option<String>, String);

impl AuditedTuple {
    fn into_audited(self) -> Administered {
        Administered {
            by: self.0.into_by(),
            operation: self.1.into(),
            workflow: self.2.into(),
            id: self.3.map(Into::into),
            result: self.4.into(),
        }
    }
}

#[pymethods]
impl Core {
    #[pyo3(signature = (namespace, id, revision, becomes, firings, creates, audited, params=None))]
    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn change_schedule(
        &self,
        py: Python<'_>,
        namespace: &str,
        id: &str,
        revision: u64,
        becomes: Option<BecomesTuple>,
        firings: Vec<FiringTuple>,
        creates: Option<CreatesTuple>,
        audited: Option<AuditedTuple>,
        params: Option<Vec<Vec<u8>>>,
    ) -> PyResult<u64> {
        short(namespace)?;
        let creates = creates
            .map(|it| it.into_creates(namespace, id, params))
            .transpose()?;
        let change = Box::new(ScheduleChange {
            namespace: namespace.into(),
            id: id.into(),
            revision,
            becomes: becomes.map(BecomesTuple::into_becomes),
            firings: firings.into_iter().map(FiringTuple::into_firing).collect(),
            creates: creates.map(Box::new),
            audited: audited.map(|it| Box::new(it.into_audited())),
        });
        self.submit_with_ticket(py, |ticket| Command::ChangeSchedule(ticket, change))
    }

    #[pyo3(signature = (namespace, id, beyond, limit))]
    fn schedules(
        &self,
        namespace: Option<&str>,
        id: Option<&str>,
        beyond: u64,
        limit: u32,
    ) -> PyResult<u64> {
        self.ask(Question::Schedules(Query {
            namespace: namespace.map(Into::into),
            id: id.map(Into::into),
            beyond,
            limit,
        }))
    }

    #[pyo3(signature = (schedule, beyond, limit))]
    fn firings(&self, schedule: u64, beyond: Option<u64>, limit: u32) -> PyResult<u64> {
        self.ask(Question::Firings(FiringQuery {
            schedule,
            beyond,
            limit,
        }))
    }
}
