//! `Core`: what is done from outside, to one instance or to many; each is answered by a reply when
//! it is durable.

use pyo3::prelude::*;
use stepwell_core::bulk::Bulk;
use stepwell_core::history::Verdict;
use stepwell_core::large::LargeKey;
use stepwell_core::submission::{
    Code, Command, Decision, LimitChange, NewItem, Part, Resolution, Sent, Verb,
};

use crate::arguments::{
    attributes, beginning, bytes, if_exists, name, pairs, priority, resumed, short, status,
    ByTuple, FromArgument, IdentityTuple, ItemTuple, KeepTuple, LimitTuple, PartTuple,
};
use crate::core::Core;
use crate::error::{invalid, raise};

fn code(namespace: &str, workflow: &str, version: &str) -> PyResult<Code> {
    short(namespace)?;
    short(workflow)?;
    Ok(Code {
        namespace: namespace.into(),
        workflow: workflow.into(),
        version: version.into(),
    })
}

#[pymethods]
impl Core {
    #[pyo3(signature = (namespace, workflow, version, id, params, priority, start_at, attributes, keep, if_exists))]
    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn create(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        version: &str,
        id: Option<&str>,
        params: Option<&[u8]>,
        priority: i64,
        start_at: Option<i64>,
        attributes: Option<&[u8]>,
        keep: Option<KeepTuple>,
        if_exists: &str,
    ) -> PyResult<u64> {
        let item = NewItem {
            id: id.map(Into::into),
            params: bytes(params),
            priority: self::priority(priority)?,
            start_at,
            attributes: self::attributes(attributes)?,
            keep: keep.map(KeepTuple::keep),
            schedule: None,
        };
        let what = Box::new((code(namespace, workflow, version)?, item));
        let if_exists = self::if_exists(if_exists)?;
        self.submit_with_ticket(py, |ticket| Command::Create(ticket, what, if_exists))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn create_batch(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        version: &str,
        items: Vec<ItemTuple>,
        if_exists: &str,
        wait: bool,
    ) -> PyResult<u64> {
        let items = items.into_iter().map(ItemTuple::into_item);
        let items = items.collect::<PyResult<Vec<_>>>()?;
        let what = Box::new((code(namespace, workflow, version)?, items));
        let if_exists = self::if_exists(if_exists)?;
        self.submit_with_ticket(py, |ticket| {
            Command::CreateBatch(ticket, what, if_exists, wait)
        })
    }

    /// One that comes too late changes nothing. Returns whether there will be an answer.
    fn give_up(&self, py: Python<'_>, ticket: u64) -> bool {
        // Only a closed engine refuses, and that lets nothing in.
        self.submit(py, Command::GiveUp(ticket).into()).is_ok()
    }

    fn end_waiting(&self) {
        let _ = self.engine.submit(Command::EndWaiting.into());
    }

    #[pyo3(signature = (namespace, workflow, id, r#type, payload, dedup_id))]
    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn send_event(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        r#type: &str,
        payload: Option<&[u8]>,
        dedup_id: Option<&str>,
    ) -> PyResult<u64> {
        let sent = Box::new(Sent {
            to: name(namespace, workflow, id)?,
            kind: r#type.into(),
            payload: bytes(payload),
        });
        let dedup = dedup_id.map(Into::into);
        self.submit_with_ticket(py, |ticket| Command::Send(ticket, sent, dedup))
    }

    #[pyo3(signature = (namespace, workflow, id, r#type, payload, dedup_id))]
    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn request(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        r#type: &str,
        payload: Option<&[u8]>,
        dedup_id: &str,
    ) -> PyResult<u64> {
        let sent = Box::new(Sent {
            to: name(namespace, workflow, id)?,
            kind: r#type.into(),
            payload: bytes(payload),
        });
        let dedup = dedup_id.into();
        self.submit_with_ticket(py, |ticket| Command::Request(ticket, sent, dedup))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn decide(
        &self,
        py: Python<'_>,
        approval_id: &str,
        namespace: &str,
        workflow: &str,
        id: &str,
        name: &str,
        approved: bool,
        decision: &[u8],
        by: ByTuple,
    ) -> PyResult<u64> {
        let decision = Box::new(Decision {
            approval: approval_id.into(),
            of: self::name(namespace, workflow, id)?,
            name: name.into(),
            approved,
            decision: decision.into(),
            by: by.into_by(),
        });
        self.submit_with_ticket(py, |ticket| Command::Decide(ticket, decision))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn resume(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        by: ByTuple,
        to_version: Option<&str>,
        forgets: Vec<u64>,
    ) -> PyResult<u64> {
        self.act(
            py,
            namespace,
            workflow,
            id,
            resumed(to_version, forgets),
            by,
        )
    }

    fn pause(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        by: ByTuple,
    ) -> PyResult<u64> {
        self.act(py, namespace, workflow, id, Verb::Pause, by)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn terminate(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        why: &str,
        undo: bool,
        by: ByTuple,
    ) -> PyResult<u64> {
        let verb = if undo {
            Verb::Undo(why.into())
        } else {
            Verb::Terminate(why.into())
        };
        self.act(py, namespace, workflow, id, verb, by)
    }

    fn retry_now(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        by: ByTuple,
    ) -> PyResult<u64> {
        self.act(py, namespace, workflow, id, Verb::RetryNow, by)
    }

    #[pyo3(signature = (namespace, workflow, id, from_, by))]
    fn restart(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        from_: Option<FromArgument>,
        by: ByTuple,
    ) -> PyResult<u64> {
        let verb = Verb::Restart(beginning(from_)?);
        self.act(py, namespace, workflow, id, verb, by)
    }

    fn delete(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        by: ByTuple,
    ) -> PyResult<u64> {
        self.act(py, namespace, workflow, id, Verb::Delete, by)
    }

    fn set_priority(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        priority: i64,
        by: ByTuple,
    ) -> PyResult<u64> {
        let verb = Verb::SetPriority(self::priority(priority)?);
        self.act(py, namespace, workflow, id, verb, by)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn resolve(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        operation: IdentityTuple,
        failed: bool,
        payload: &[u8],
        by: ByTuple,
    ) -> PyResult<u64> {
        let verb = Verb::Resolve(Box::new(Resolution {
            operation: operation.into_operation()?,
            verdict: if failed {
                Verdict::Failed
            } else {
                Verdict::Done
            },
            payload: payload.into(),
        }));
        self.act(py, namespace, workflow, id, verb, by)
    }

    fn start_now(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        by: ByTuple,
    ) -> PyResult<u64> {
        self.act(py, namespace, workflow, id, Verb::StartNow, by)
    }

    fn stand(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        priority: i8,
    ) -> PyResult<u64> {
        let name = Box::new(name(namespace, workflow, id)?);
        self.submit_with_ticket(py, |ticket| Command::Stand(ticket, name, priority))
    }

    fn reshard(&self, py: Python<'_>, shards: i64) -> PyResult<u64> {
        self.submit_with_ticket(py, |ticket| Command::Reshard(ticket, shards))
    }

    #[pyo3(signature = (namespace, workflow, changes, by))]
    fn set_limits(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: Option<&str>,
        changes: Vec<LimitTuple>,
        by: ByTuple,
    ) -> PyResult<u64> {
        let change = Box::new(LimitChange {
            namespace: namespace.into(),
            workflow: workflow.map(Into::into),
            changes: pairs(changes),
            by: by.into_by(),
        });
        self.submit_with_ticket(py, |ticket| Command::SetLimits(ticket, change))
    }

    fn open_namespace(
        &self,
        py: Python<'_>,
        namespace: &str,
        limits: Vec<LimitTuple>,
    ) -> PyResult<()> {
        let opening = self.engine.open_namespace(namespace, pairs(limits));
        self.submit(py, opening.map_err(|error| raise(&error))?)
    }

    #[pyo3(signature = (namespace, operation, workflow, filter, frontier, what, by))]
    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn begin_bulk(
        &self,
        py: Python<'_>,
        namespace: &str,
        operation: &str,
        workflow: Option<&str>,
        filter: &str,
        frontier: Option<u64>,
        what: &[u8],
        by: ByTuple,
    ) -> PyResult<u64> {
        let bulk = Box::new(Bulk {
            namespace: namespace.into(),
            operation: operation.into(),
            workflow: workflow.map(Into::into),
            filter: filter.into(),
            frontier: frontier.unwrap_or(u64::MAX),
            what: Some(what.into()),
            by: by.into_by(),
            ..Bulk::default()
        });
        self.submit_with_ticket(py, |ticket| Command::BeginBulk(ticket, bulk))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (number, operation, namespace, items, text, payload, states, place, ends, payloads=None, forgets=None))]
    fn do_part(
        &self,
        py: Python<'_>,
        number: u64,
        operation: &str,
        namespace: &str,
        items: Vec<PartTuple>,
        text: Option<&str>,
        payload: Option<&[u8]>,
        states: Vec<u8>,
        place: u64,
        ends: bool,
        payloads: Option<Vec<Vec<u8>>>,
        forgets: Option<Vec<Vec<u64>>>,
    ) -> PyResult<u64> {
        let lengths = [
            payloads.as_ref().map(Vec::len),
            forgets.as_ref().map(Vec::len),
        ];
        if lengths.into_iter().flatten().any(|it| it != items.len()) {
            return Err(invalid("each item has its own, or none has"));
        }
        let mut own = payloads.into_iter().flatten();
        let mut forgets = forgets.into_iter().flatten();
        let items = items.into_iter().map(|it| {
            let (own, forgets) = (own.next(), forgets.next().unwrap_or_default());
            it.into_command(
                operation,
                namespace,
                text,
                own.as_deref().or(payload),
                forgets,
            )
        });
        let part = Box::new(Part {
            number,
            items: items.collect::<PyResult<_>>()?,
            states: states.into_iter().map(status).collect::<PyResult<_>>()?,
            place,
            ends,
        });
        self.submit_with_ticket(py, |ticket| Command::Part(ticket, part))
    }

    #[pyo3(signature = (keeps, forgets))]
    fn large(&self, py: Python<'_>, keeps: Vec<LargeKey>, forgets: Vec<LargeKey>) -> PyResult<u64> {
        self.submit_with_ticket(py, |ticket| Command::Large(ticket, keeps, forgets))
    }

    fn stop_bulk(&self, py: Python<'_>, number: u64, by: ByTuple) -> PyResult<u64> {
        let by = by.into_by();
        self.submit_with_ticket(py, |ticket| Command::StopBulk(ticket, number, by))
    }
}
