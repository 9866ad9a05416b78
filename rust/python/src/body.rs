//! `Core`: the calls from the body of a running instance. `record` is the hot one.

use pyo3::prelude::*;
use stepwell_core::history::{Begun, Kind, Verdict};
use stepwell_core::lifecycle::Status;
use stepwell_core::stream::{Chunks, Mark};
use stepwell_core::submission::{
    Body, Child, Continuation, Name, NewItem, Sent, Speech, Submission, Why, UNHEARD,
};
use stepwell_core::undo::Undo;
use stepwell_core::wait::Source;

use crate::arguments::{
    attributes, bytes, kind, mark, operation, record, short, status, verdict, wait, ChildTuple,
    IdentityTuple,
};
use crate::core::Core;
use crate::error::invalid;

#[pymethods]
impl Core {
    #[pyo3(signature = (no, incarnation, begun, identity, attempt, verdict, started_at, payload, erases=None))]
    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn record(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        identity: IdentityTuple,
        attempt: u32,
        verdict: u8,
        started_at: i64,
        payload: Option<&[u8]>,
        erases: Option<u32>,
    ) -> PyResult<u64> {
        let verdict = self::verdict(verdict)?;
        let mut record = record(
            identity.into_operation()?,
            attempt,
            verdict,
            started_at,
            payload,
        );
        (record.begun, record.erases) = (Some(begun), erases);
        let ticket = self.engine.draw_ticket();
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Record(ticket, record)))?;
        Ok(ticket)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn set_attributes(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        identity: IdentityTuple,
        at: i64,
        payload: &[u8],
        attributes: &[u8],
    ) -> PyResult<u64> {
        let given = self::attributes(Some(attributes))?.expect("some were given");
        let mut record = record(
            identity.into_operation()?,
            0,
            Verdict::Done,
            at,
            Some(payload),
        );
        record.begun = Some(begun);
        let ticket = self.engine.draw_ticket();
        let by = Body { no, incarnation };
        self.submit(
            py,
            by.says(Speech::Attributes(ticket, Box::new((record, given)))),
        )?;
        Ok(ticket)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn answer(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        identity: IdentityTuple,
        place: u64,
        at: i64,
        payload: &[u8],
    ) -> PyResult<u64> {
        let answered = identity.into_operation()?;
        let mut record = record(answered, 0, Verdict::Done, at, Some(payload));
        record.begun = Some(begun);
        let ticket = self.engine.draw_ticket();
        let by = Body { no, incarnation };
        let answer = Speech::Answer(ticket, place, Box::new(record));
        self.submit(py, by.says(answer))?;
        Ok(ticket)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn retry(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        identity: IdentityTuple,
        attempt: u32,
        started_at: i64,
        error: &[u8],
        retry_at: i64,
    ) -> PyResult<u64> {
        let step = identity.into_operation()?;
        let failed = Verdict::AttemptFailed;
        let mut record = record(step, attempt, failed, started_at, Some(error));
        (record.begun, record.moment) = (Some(begun), Some(retry_at));
        let id = self.engine.draw_wait();
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Retry(id, Box::new(record))))?;
        Ok(id)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (no, incarnation, begun, kind, branch, name, count, until, is_fixed=false))]
    fn sleep(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        kind: u8,
        branch: &str,
        name: &str,
        count: u32,
        until: i64,
        is_fixed: bool,
    ) -> PyResult<u64> {
        let kind = self::kind(kind)?;
        if !matches!(kind, Kind::Sleep | Kind::Deadline) {
            return Err(invalid("sleeps and deadlines end by the clock alone"));
        }
        let id = self.engine.draw_wait();
        let operation = operation(kind, branch, name, count);
        let source = if is_fixed {
            Source::Instant
        } else {
            Source::Timer
        };
        let wait = wait(id, operation, begun, source, until);
        self.submit(
            py,
            Body { no, incarnation }.says(Speech::Open(Box::new(wait))),
        )?;
        Ok(id)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn wait_event(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        branch: &str,
        name: &str,
        count: u32,
        types: Vec<String>,
        until: i64,
    ) -> PyResult<u64> {
        let id = self.engine.draw_wait();
        let types = types.into_iter().map(Into::into).collect();
        let operation = operation(Kind::Event, branch, name, count);
        let wait = wait(id, operation, begun, Source::Event(types), until);
        self.submit(
            py,
            Body { no, incarnation }.says(Speech::Open(Box::new(wait))),
        )?;
        Ok(id)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (no, incarnation, begun, branch, name, count, approval_id, detail, until))]
    fn wait_approval(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        branch: &str,
        name: &str,
        count: u32,
        approval_id: &str,
        detail: Option<&[u8]>,
        until: i64,
    ) -> PyResult<u64> {
        let id = self.engine.draw_wait();
        let operation = operation(Kind::Approval, branch, name, count);
        let source = Source::Approval(approval_id.into());
        let wait = wait(id, operation, begun, source, until);
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Ask(Box::new(wait), bytes(detail))))?;
        Ok(id)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn wait_child(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        branch: &str,
        name: &str,
        count: u32,
        workflow: &str,
        id: &str,
    ) -> PyResult<u64> {
        short(workflow)?;
        let number = self.engine.draw_wait();
        let operation = operation(Kind::Result, branch, name, count);
        let begun = Some(begun);
        let what = Begun { operation, begun };
        let what = Box::new((what, workflow.into(), id.into()));
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Await(number, what)))?;
        Ok(number)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (no, incarnation, begun, branch, name, count, workflow, version, id, params))]
    fn call(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        branch: &str,
        name: &str,
        count: u32,
        workflow: &str,
        version: &str,
        id: &str,
        params: Option<&[u8]>,
    ) -> PyResult<u64> {
        short(workflow)?;
        let number = self.engine.draw_wait();
        let by = Body { no, incarnation };
        let child = Box::new(Child {
            begun: Some(begun),
            operation: operation(Kind::Call, branch, name, count),
            workflow: workflow.into(),
            version: version.into(),
            items: vec![item(id, params, None)?],
            payload: None,
        });
        self.submit(py, by.says(Speech::Call(number, child)))?;
        Ok(number)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (no, incarnation, begun, branch, name, count, workflow, version, id, params, attributes, payload))]
    fn create_child(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        branch: &str,
        name: &str,
        count: u32,
        workflow: &str,
        version: &str,
        id: &str,
        params: Option<&[u8]>,
        attributes: Option<&[u8]>,
        payload: &[u8],
    ) -> PyResult<u64> {
        short(workflow)?;
        let ticket = self.engine.draw_ticket();
        let by = Body { no, incarnation };
        let child = Box::new(Child {
            begun: Some(begun),
            operation: operation(Kind::Create, branch, name, count),
            workflow: workflow.into(),
            version: version.into(),
            items: vec![item(id, params, attributes)?],
            payload: Some(payload.into()),
        });
        self.submit(py, by.says(Speech::CreateChildren(ticket, child)))?;
        Ok(ticket)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn create_children(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        branch: &str,
        name: &str,
        count: u32,
        workflow: &str,
        version: &str,
        items: Vec<ChildTuple>,
        payload: &[u8],
    ) -> PyResult<u64> {
        short(workflow)?;
        let ticket = self.engine.draw_ticket();
        let items = items.into_iter();
        let by = Body { no, incarnation };
        let child = Box::new(Child {
            begun: Some(begun),
            operation: operation(Kind::CreateBatch, branch, name, count),
            workflow: workflow.into(),
            version: version.into(),
            items: items
                .map(|ChildTuple(id, params, attributes)| {
                    item(&id, params.as_deref(), attributes.as_deref())
                })
                .collect::<PyResult<_>>()?,
            payload: Some(payload.into()),
        });
        self.submit(py, by.says(Speech::CreateChildren(ticket, child)))?;
        Ok(ticket)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    #[pyo3(signature = (no, incarnation, begun, branch, name, count, workflow, id, r#type, payload))]
    fn send(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        branch: &str,
        name: &str,
        count: u32,
        workflow: &str,
        id: &str,
        r#type: &str,
        payload: Option<&[u8]>,
    ) -> PyResult<u64> {
        short(workflow)?;
        let ticket = self.engine.draw_ticket();
        let sent = Sent {
            // The namespace is the sender's, which the core knows.
            to: Name {
                namespace: "".into(),
                workflow: workflow.into(),
                id: id.into(),
            },
            kind: r#type.into(),
            payload: bytes(payload),
        };
        let (operation, begun) = (operation(Kind::Send, branch, name, count), Some(begun));
        let what = Box::new((Begun { operation, begun }, sent));
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Post(ticket, what)))?;
        Ok(ticket)
    }

    fn withdraw(&self, py: Python<'_>, no: u64, incarnation: u64, number: u64) -> PyResult<()> {
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Withdraw(number)))
    }

    fn give_back(&self, py: Python<'_>, no: u64, incarnation: u64, seq: u64) -> PyResult<()> {
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::GiveBack(seq)))
    }

    fn quiet(&self, py: Python<'_>, no: u64, incarnation: u64, seq: u64) -> PyResult<()> {
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Quiet(seq, self.engine.seen())))
    }

    fn park(&self, no: u64, incarnation: u64) -> bool {
        self.engine.park(no, incarnation)
    }

    fn report(&self, py: Python<'_>, no: u64, incarnation: u64, progress: &[u8]) -> PyResult<()> {
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Report(progress.into())))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn send_chunks(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        stream: &str,
        part: u64,
        attempt: u32,
        mark: u8,
        chunks: Vec<Vec<u8>>,
        most: [u64; 2],
        is_heard: bool,
    ) -> PyResult<u64> {
        let mark = self::mark(mark)?;
        if mark == Mark::Recorded || mark.ends() != chunks.is_empty() {
            return Err(invalid("chunks end nothing, and an end has none"));
        }
        let ticket = if is_heard {
            self.engine.draw_ticket()
        } else {
            UNHEARD
        };
        let chunks = Box::new(Chunks {
            stream: stream.into(),
            part,
            attempt,
            mark,
            chunks: chunks.into_iter().map(Into::into).collect(),
            most,
            at: 0,
        });
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Stream(ticket, chunks)))?;
        Ok(ticket)
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn conclude(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        begun: u64,
        identity: IdentityTuple,
        attempt: u32,
        started_at: i64,
        payload: Option<&[u8]>,
        stream: &str,
    ) -> PyResult<u64> {
        let step = identity.into_operation()?;
        let mut record = record(step, attempt, Verdict::Done, started_at, payload);
        record.begun = Some(begun);
        let end = Chunks {
            stream: stream.into(),
            attempt,
            mark: Mark::Recorded,
            ..Chunks::default()
        };
        let ticket = self.engine.draw_ticket();
        let by = Body { no, incarnation };
        self.submit(
            py,
            by.says(Speech::Conclude(ticket, Box::new((record, end)))),
        )?;
        Ok(ticket)
    }

    #[pyo3(signature = (no, incarnation, status, payload, version=None))]
    fn finish(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        status: u8,
        payload: Option<&[u8]>,
        version: Option<&str>,
    ) -> PyResult<()> {
        let status = self::status(status)?;
        if !matches!(status, Status::Complete | Status::Errored) {
            return Err(invalid("a body ends complete or errored"));
        }
        let by = Body { no, incarnation };
        self.submit(
            py,
            by.says(Speech::Finish(
                status,
                bytes(payload),
                version.map(Into::into),
            )),
        )
    }

    fn hold(&self, py: Python<'_>, no: u64, incarnation: u64) -> PyResult<()> {
        self.submit(py, Body { no, incarnation }.says(Speech::Hold))
    }

    fn let_go(&self, py: Python<'_>, no: u64) -> PyResult<()> {
        self.submit(py, Submission::LetGo(no))
    }

    #[pyo3(signature = (no, incarnation, reason, error, step=None))]
    fn block(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        reason: &str,
        error: &[u8],
        step: Option<&str>,
    ) -> PyResult<()> {
        let by = Body { no, incarnation };
        let why = Why {
            code: reason.into(),
            step: step.map(Into::into),
        };
        self.submit(py, by.says(Speech::Block(why, error.into())))
    }

    fn replay(&self, py: Python<'_>, no: u64, incarnation: u64) -> PyResult<()> {
        self.submit(py, Body { no, incarnation }.says(Speech::Replay))
    }

    #[expect(clippy::too_many_arguments, reason = "the border is flat")]
    fn continue_as_new(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        params: Option<&[u8]>,
        run: u32,
        limit: Option<IdentityTuple>,
        untold: Vec<u64>,
        passed: Vec<u64>,
    ) -> PyResult<()> {
        if run < 2 {
            return Err(invalid("the first run of an instance is its creation"));
        }
        let how = Continuation {
            params: bytes(params),
            run,
            limit: limit.map(IdentityTuple::into_operation).transpose()?,
            untold,
            passed,
        };
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Continue(Box::new(how))))
    }

    #[pyo3(signature = (no, incarnation, error))]
    fn undoes(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        error: Option<&[u8]>,
    ) -> PyResult<()> {
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Undoes(bytes(error))))
    }

    fn undone(
        &self,
        py: Python<'_>,
        no: u64,
        incarnation: u64,
        outcome: &str,
        status: u8,
        error: &[u8],
    ) -> PyResult<()> {
        let how = Undo::ALL.into_iter().find(|it| it.word() == outcome);
        let how = how.filter(|it| *it != Undo::Running);
        let how = how.ok_or_else(|| invalid("undoing ends complete or failed"))?;
        let status = self::status(status)?;
        if !matches!(status, Status::Errored | Status::Terminated) {
            return Err(invalid(
                "what has undone its steps ends errored or terminated",
            ));
        }
        let by = Body { no, incarnation };
        self.submit(py, by.says(Speech::Undone(how, status, error.into())))
    }

    fn paused(&self, py: Python<'_>, no: u64, incarnation: u64) -> PyResult<()> {
        self.submit(py, Body { no, incarnation }.says(Speech::Paused))
    }

    fn taken_up(&self, py: Python<'_>, no: u64, incarnation: u64) -> PyResult<()> {
        self.submit(py, Body { no, incarnation }.says(Speech::TakenUp))
    }

    fn release(&self, py: Python<'_>, no: u64, incarnation: u64) -> PyResult<()> {
        self.submit(py, Body { no, incarnation }.says(Speech::Release))
    }
}

fn item(id: &str, params: Option<&[u8]>, attributes: Option<&[u8]>) -> PyResult<NewItem> {
    Ok(NewItem {
        id: Some(id.into()),
        params: bytes(params),
        attributes: self::attributes(attributes)?,
        ..NewItem::default()
    })
}
