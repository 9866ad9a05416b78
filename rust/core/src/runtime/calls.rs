//! What the caller's thread does with a running engine: submits, asks, takes notes, and looks at
//! what is in memory. None of it waits for a commit or the store; in a forked child none of it does
//! anything.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::{inbox, loader, Engine, Question, Refused};
use crate::error::{Error, Kind};
use crate::ids::{Incarnation, InstanceNo, Key, Micros, WaitId};
use crate::lifecycle::Status;
use crate::note::Note;
use crate::settings::{checked, TABLE};
use crate::submission::{Command, Submission};

impl Engine {
    /// Draws a number for a wait.
    #[must_use]
    pub fn draw_wait(&self) -> WaitId {
        self.shared.sequence.draw()
    }

    /// Draws a ticket.
    #[must_use]
    pub fn draw_ticket(&self) -> u64 {
        self.shared.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Submits without waiting.
    ///
    /// # Errors
    /// If there is no room now, or the engine is closed.
    pub fn submit(&self, submission: Submission) -> Result<(), Refused> {
        self.open_here()?;
        self.shared.inbox.submit(submission)
    }

    /// Submits without waiting, and without waking a sleeping writer: `flush` follows soon.
    ///
    /// # Errors
    /// As `submit`.
    pub fn gather(&self, submission: Submission) -> Result<(), Refused> {
        self.open_here()?;
        self.shared.inbox.gather(submission)
    }

    /// Wakes the writer if something was gathered.
    pub fn flush(&self) {
        if self.is_ours() {
            self.shared.inbox.flush();
        }
    }

    /// Waits until there is room in the inbox.
    pub fn wait_for_room(&self) {
        self.shared.inbox.wait_for_room();
    }

    /// Asks the loader; the answer is a reply to the ticket.
    ///
    /// # Errors
    /// If the engine is closed.
    pub fn ask(&self, question: Question) -> Result<u64, Refused> {
        self.open_here()?;
        if self.shared.inbox.phase() == inbox::Phase::Closing {
            return Err(Refused::Closed);
        }
        let ticket = self.draw_ticket();
        self.shared.inbox.job_begun();
        let task = loader::Task::Ask(ticket, question);
        self.shared.tasks.push([task]);
        Ok(ticket)
    }

    /// Begins to copy the store to this path; the answer is a reply to the ticket.
    ///
    /// # Errors
    /// If the engine is closed, or its store has no file.
    pub fn backup(&self, to: &Path) -> Result<u64, Error> {
        let ticket = self.draw_ticket();
        self.copies.begin(&self.shared, to, ticket)?;
        Ok(ticket)
    }

    /// Takes all notes.
    #[must_use]
    pub fn poll(&self) -> Vec<Note> {
        self.poll_some(usize::MAX)
    }

    /// As `poll`, but of bodies that are to begin it takes no more than so many; one with a long
    /// history counts for several.
    #[must_use]
    pub fn poll_some(&self, starts: usize) -> Vec<Note> {
        self.shared.outbox.take(starts)
    }

    /// Returns the descriptor that becomes readable when there are notes.
    #[must_use]
    pub fn descriptor(&self) -> i32 {
        self.shared.outbox.descriptor()
    }

    /// Returns the last batch whose notes were polled.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.shared.outbox.seen()
    }

    /// Returns the engine's time: the wall clock, which is what is durable.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.shared.clock.now()
    }

    /// Returns a time that only goes on, for durations within this process (T2).
    #[must_use]
    pub fn monotonic(&self) -> Micros {
        self.shared.clock.monotonic()
    }

    /// Returns when the earliest timer of any sort is due, by the wall clock as it goes now.
    #[must_use]
    pub fn next_timer(&self) -> Option<Micros> {
        let durable = self.shared.next_timer.load(Ordering::Acquire);
        let durable = Some(durable).filter(|at| *at != i64::MAX);
        let ahead = self.now() - self.monotonic();
        let alarm = self.shared.alarms.next();
        let alarm = alarm.map(|at| at.saturating_add(ahead));
        durable.into_iter().chain(alarm).min()
    }

    /// Moves a virtual clock forward and lets what is due happen.
    pub fn advance(&self, to: Micros) {
        self.shared.clock.advance(to);
        self.shared.inbox.nudge();
    }

    /// Makes the wall time of a virtual clock jump, either way, and lets what is due happen.
    pub fn jump(&self, by: Micros) {
        self.shared.clock.jump(by);
        self.shared.inbox.nudge();
    }

    /// Returns whether something is under way or notes wait.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.shared.inbox.is_busy() || !self.shared.outbox.is_empty()
    }

    /// Starts a timer that dies with the process.
    #[must_use]
    pub fn arm(&self, delay: Micros) -> u64 {
        let ticket = self.draw_ticket();
        if !self.is_ours() {
            return ticket;
        }
        let at = self.monotonic().saturating_add(delay.max(0));
        if self.shared.alarms.set(at, ticket) {
            self.shared.inbox.nudge();
        }
        ticket
    }

    /// Stops such a timer.
    pub fn disarm(&self, ticket: u64) {
        if self.is_ours() {
            self.shared.alarms.stop(ticket);
        }
    }

    /// Returns the committed state of an instance that is not final.
    #[must_use]
    pub fn peek(&self, namespace: &str, workflow: &str, id: &str) -> Option<Status> {
        self.shared.registry.peek(Key::new(namespace, workflow, id))
    }

    /// Returns the number of an instance that is not final, once its creation is durable.
    #[must_use]
    pub fn number(&self, namespace: &str, workflow: &str, id: &str) -> Option<InstanceNo> {
        let view = self
            .shared
            .registry
            .view(Key::new(namespace, workflow, id))?;
        view.committed.map(|_| view.no)
    }

    /// Returns every limit in force for a workflow, or a namespace, by name; `None`: no limit.
    #[must_use]
    pub fn limits(
        &self,
        namespace: &str,
        workflow: Option<&str>,
    ) -> [(&'static str, Option<f64>); TABLE.len()] {
        self.shared.limits.read().in_force(namespace, workflow)
    }

    /// Says what a namespace is opened with: in force for everything that is submitted after this,
    /// and seen by `limits` when this returns.
    ///
    /// # Errors
    /// If a limit or the name makes no sense, or the engine is closed.
    pub fn open_namespace(
        &self,
        namespace: &str,
        limits: Vec<(Box<str>, Option<f64>)>,
    ) -> Result<Submission, Error> {
        let invalid = |text| Error::new(Kind::Invalid, text);
        let base = checked(&limits, false).map_err(invalid)?;
        let ticket = self.draw_ticket();
        let opened = self.shared.limits.write().open(namespace, base, ticket);
        opened.map_err(invalid)?;
        Ok(Submission::Outside(Command::OpenNamespace(
            ticket,
            namespace.into(),
            limits,
        )))
    }

    /// Changes of this instance are told from now on, before this returns.
    pub fn watch(&self, no: InstanceNo) {
        if self.is_ours() {
            self.shared.watches.add(no);
        }
    }

    /// Takes one `watch` back.
    pub fn unwatch(&self, no: InstanceNo) {
        if self.is_ours() {
            self.shared.watches.remove(no);
        }
    }

    /// As `watch`; records and reports are told, too.
    pub fn listen(&self, no: InstanceNo) {
        if self.is_ours() {
            self.shared.watches.listen(no);
        }
    }

    /// Takes one `listen` back.
    pub fn ignore(&self, no: InstanceNo) {
        if self.is_ours() {
            self.shared.watches.ignore(no);
        }
    }

    /// Returns whether a waiting body may leave memory now.
    #[must_use]
    pub fn park(&self, no: InstanceNo, incarnation: Incarnation) -> bool {
        self.is_ours() && self.shared.residents.park(no, incarnation)
    }
}
