//! `Core` itself: opened, polled, told the time, closed. What is done from outside stands in `acts`,
//! what is looked at in `looks`, what bodies say in `body`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyList;
use stepwell_core::engine::Config;
use stepwell_core::runtime::{Engine, Question, Refused};
use stepwell_core::submission::{Command, Deed, Submission, Verb};

use crate::arguments::{layer, name, ByTuple, LimitTuple, RetentionTuple};
use crate::error::{raise, unusable};
use crate::notes;

/// A running core.
#[pyclass(frozen, module = "stepwell._core")]
pub(crate) struct Core {
    pub(crate) engine: Engine,
    /// The id of the next call.
    once: Mutex<Option<Box<[u8]>>>,
}

impl Core {
    /// Takes the id of the next call, and puts this in its place.
    fn next_id(&self, id: Option<Box<[u8]>>) -> Option<Box<[u8]>> {
        let mut next = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *next, id)
    }

    fn of(engine: Engine) -> Self {
        let once = Mutex::default();
        Self { engine, once }
    }

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

    pub(crate) fn ask(&self, question: Question) -> PyResult<u64> {
        let asked = self.engine.ask(question);
        asked.map_err(|_| unusable(&self.engine))
    }

    pub(crate) fn act(
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

    pub(crate) fn submit_with_ticket(
        &self,
        py: Python<'_>,
        command: impl FnOnce(u64) -> Command,
    ) -> PyResult<u64> {
        let ticket = self.engine.draw_ticket();
        let command = command(ticket);
        let command = match self.next_id(None) {
            None => command,
            Some(id) => Command::Once(id, Box::new(command)),
        };
        self.submit(py, command.into())?;
        Ok(ticket)
    }
}

#[pymethods]
impl Core {
    #[staticmethod]
    #[pyo3(signature = (store, *, name, workflows, shards, slots, namespace, limits, workflow_limits, retentions, formerly, virtual_time))]
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
        formerly: Vec<(String, String)>,
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
            formerly: formerly
                .into_iter()
                .map(|(a, b)| (a.into(), b.into()))
                .collect(),
        };
        let engine = py.detach(|| Engine::open(store, name, config, virtual_time));
        let engine = engine.map_err(|error| raise(&error))?;
        Ok(Self::of(engine))
    }

    #[staticmethod]
    fn check_limits(limits: Vec<LimitTuple>) -> PyResult<()> {
        layer(limits, false).map(drop)
    }

    fn formerly(&self) -> Vec<(&str, &str)> {
        let pairs = self.engine.formerly().iter();
        pairs.map(|(old, new)| (&**old, &**new)).collect()
    }

    fn crash(&self, py: Python<'_>) {
        py.detach(|| self.engine.crash());
    }

    fn reopen(&self, py: Python<'_>) -> PyResult<Self> {
        let engine = py.detach(|| self.engine.reopen());
        let engine = engine.map_err(|error| raise(&error))?;
        Ok(Self::of(engine))
    }

    fn once(&self, id: Option<&[u8]>) {
        let _ = self.next_id(id.map(Into::into));
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
}
