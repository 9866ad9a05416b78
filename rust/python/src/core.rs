//! `Core`: the calls from outside a body. Those of a body are in `body`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use stepwell_core::audit;
use stepwell_core::bulk::{self, Bulk};
use stepwell_core::engine::Config;
use stepwell_core::lifecycle::Status;
use stepwell_core::runtime::{Engine, Question, Refused};
use stepwell_core::store::{ApprovalFilter, Filter};
use stepwell_core::submission::{
    Anew, Code, Command, Decision, Deed, LimitChange, NewItem, Part, Sent, Submission, Verb,
};
use stepwell_core::wait::ApprovalStatus;

use crate::arguments::{
    attributes, beginning, bytes, if_exists, layer, name, pairs, priority, short, status, ByTuple,
    FromArgument, ItemTuple, KeepTuple, LimitTuple, PartTuple, RetentionTuple,
};
use crate::codes;
use crate::error::{invalid, raise, unusable};
use crate::notes;

/// A running core.
#[pyclass(frozen, module = "stepwell._core")]
pub(crate) struct Core {
    pub(crate) engine: Engine,
}

impl Core {
    /// Submits; waits for room, without the GIL, only if there is none.
    #[inline]
    pub(crate) fn submit(&self, py: Python<'_>, submission: Submission) -> PyResult<()> {
        let mut waiting = submission;
        loop {
            match self.engine.gather(waiting) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed) => return Err(unusable(&self.engine)),
                Err(Refused::Full(again)) => {
                    waiting = *again;
                    py.detach(|| self.engine.wait_for_room());
                }
            }
        }
    }

    fn ask(&self, question: Question) -> PyResult<u64> {
        let asked = self.engine.ask(question);
        asked.map_err(|_| unusable(&self.engine))
    }

    fn act(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        verb: Verb,
        by: ByTuple,
    ) -> PyResult<u64> {
        let to = name(namespace, workflow, id)?;
        let by = by.into_by();
        let deed = Box::new(Deed { to, verb, by });
        self.submit_with_ticket(py, |ticket| Command::Act(ticket, deed))
    }

    fn submit_with_ticket(
        &self,
        py: Python<'_>,
        command: impl FnOnce(u64) -> Command,
    ) -> PyResult<u64> {
        let ticket = self.engine.draw_ticket();
        self.submit(py, command(ticket).into())?;
        Ok(ticket)
    }
}

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
    #[staticmethod]
    #[pyo3(signature = (store, *, name, workflows, shards, slots, namespace, limits, workflow_limits, retentions, virtual_time))]
    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn open(
        py: Python<'_>,
        store: PathBuf,
        name: &str,
        workflows: Vec<(String, String)>,
        shards: Option<u32>,
        slots: u32,
        namespace: &str,
        limits: Vec<LimitTuple>,
        workflow_limits: Vec<(String, Vec<LimitTuple>)>,
        retentions: Vec<RetentionTuple>,
        virtual_time: Option<i64>,
    ) -> PyResult<Self> {
        let pairs = workflows.into_iter();
        let own = workflow_limits.into_iter();
        let own = own.map(|(of, limits)| Ok((of.into(), layer(limits, true)?)));
        let config = Config {
            workflows: pairs.map(|(a, b)| (a.into(), b.into())).collect(),
            shards,
            slots,
            namespace: namespace.into(),
            limits: layer(limits, false)?,
            workflow_limits: own.collect::<PyResult<_>>()?,
            retentions: retentions.into_iter().map(RetentionTuple::named).collect(),
        };
        let engine = py.detach(|| Engine::open(store, name, config, virtual_time));
        let engine = engine.map_err(|error| raise(&error))?;
        Ok(Self { engine })
    }

    #[staticmethod]
    fn check_limits(limits: Vec<LimitTuple>) -> PyResult<()> {
        layer(limits, false).map(drop)
    }

    fn crash(&self, py: Python<'_>) {
        py.detach(|| self.engine.crash());
    }

    fn reopen(&self, py: Python<'_>) -> PyResult<Self> {
        let engine = py.detach(|| self.engine.reopen());
        let engine = engine.map_err(|error| raise(&error))?;
        Ok(Self { engine })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = py.detach(|| self.engine.close());
        closed.map_err(|error| raise(&error))
    }

    fn flush(&self) {
        self.engine.flush();
    }

    fn fileno(&self) -> i32 {
        self.engine.descriptor()
    }

    #[pyo3(signature = (starts = None))]
    fn poll<'py>(&self, py: Python<'py>, starts: Option<usize>) -> PyResult<Bound<'py, PyList>> {
        if !self.engine.is_ours() {
            return Err(unusable(&self.engine));
        }
        let notes = self.engine.poll_some(starts.unwrap_or(usize::MAX));
        let list = PyList::empty(py);
        for note in &notes {
            list.append(notes::tuple(py, note)?)?;
        }
        Ok(list)
    }

    fn now(&self) -> i64 {
        self.engine.now()
    }

    fn monotonic(&self) -> i64 {
        self.engine.monotonic()
    }

    fn jump(&self, by: i64) {
        self.engine.jump(by);
    }

    fn next_timer(&self) -> Option<i64> {
        self.engine.next_timer()
    }

    fn advance(&self, to: i64) {
        self.engine.advance(to);
    }

    fn busy(&self) -> bool {
        self.engine.is_busy()
    }

    fn arm(&self, delay: i64) -> u64 {
        self.engine.arm(delay)
    }

    fn disarm(&self, ticket: u64) {
        self.engine.disarm(ticket);
    }

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
        let verb = if to_version.is_none() && forgets.is_empty() {
            Verb::Resume
        } else {
            let version = to_version.map(Into::into);
            Verb::ResumeAs(Box::new(Anew { version, forgets }))
        };
        self.act(py, namespace, workflow, id, verb, by)
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

    fn terminate(
        &self,
        py: Python<'_>,
        namespace: &str,
        workflow: &str,
        id: &str,
        why: &str,
        by: ByTuple,
    ) -> PyResult<u64> {
        self.act(py, namespace, workflow, id, Verb::Terminate(why.into()), by)
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

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (namespace, workflow, statuses, version, reason, parent, created_after, created_before, beyond, newest_first, limit, attributes=Vec::new(), id_prefix=None, budget=None))]
    fn list(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
        statuses: Vec<u8>,
        version: Option<&str>,
        reason: Option<&str>,
        parent: Option<(Option<String>, String)>,
        created_after: Option<i64>,
        created_before: Option<i64>,
        beyond: Option<u64>,
        newest_first: bool,
        limit: u32,
        attributes: Vec<(String, Vec<u8>)>,
        id_prefix: Option<&str>,
        budget: Option<u32>,
    ) -> PyResult<u64> {
        let parent = parent.map(|(workflow, id)| Box::new((workflow.map(Into::into), id.into())));
        let attributes = attributes.into_iter();
        let statuses = statuses.into_iter().map(status);
        let filter = Filter {
            namespace: namespace.map(Into::into),
            workflow: workflow.map(Into::into),
            statuses: statuses.collect::<PyResult<_>>()?,
            version: version.map(Into::into),
            reason: reason.map(Into::into),
            id_prefix: id_prefix.map(Into::into),
            created_after,
            created_before,
            beyond,
            newest_first,
            limit,
            attributes: attributes.map(|(a, b)| (a.into(), b.into())).collect(),
            budget,
            ..Filter::default()
        };
        self.ask(Question::List(filter, parent))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "a path is taken out of what Python gives"
    )]
    fn backup(&self, path: PathBuf) -> PyResult<u64> {
        if !self.engine.is_ours() {
            return Err(unusable(&self.engine));
        }
        let ticket = self.engine.backup(&path);
        ticket.map_err(|error| raise(&error))
    }

    fn history(&self, no: u64) -> PyResult<u64> {
        self.ask(Question::History(no))
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
        let status = status.map(|code| {
            ApprovalStatus::from_code(code).ok_or_else(|| invalid("no approval has this status"))
        });
        self.ask(Question::Approvals(ApprovalFilter {
            namespace: namespace.map(Into::into),
            workflow: workflow.map(Into::into),
            status: status.transpose()?,
            beyond,
            limit,
            budget,
        }))
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
    ) -> PyResult<u64> {
        let items = items
            .into_iter()
            .map(|it| it.into_command(operation, namespace, text, payload));
        let part = Box::new(Part {
            number,
            items: items.collect::<PyResult<_>>()?,
            states: states.into_iter().map(status).collect::<PyResult<_>>()?,
            place,
            ends,
        });
        self.submit_with_ticket(py, |ticket| Command::Part(ticket, part))
    }

    fn stop_bulk(&self, py: Python<'_>, number: u64, by: ByTuple) -> PyResult<u64> {
        let by = by.into_by();
        self.submit_with_ticket(py, |ticket| Command::StopBulk(ticket, number, by))
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
        self.ask(Question::Bulks(bulk::Page {
            namespace: namespace.map(Into::into),
            number,
            open,
            beyond,
            limit,
        }))
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
        self.ask(Question::Audit(audit::Page {
            namespace: namespace.into(),
            workflow: workflow.map(Into::into),
            id: id.map(Into::into),
            beyond,
            limit,
        }))
    }
}
