//! How an engine comes back: every instance that is not final, exactly where it was.
//!
//! What was running when the engine stopped is first in line again, and counts as interrupted if
//! its mark was still set (R3); what was queued keeps its order; what waits is armed again. An
//! instance whose code is missing is blocked until the code is there (L12). The changes this
//! makes are the first batch of the new engine. It does not start anything: the next cycle does.

use super::live::Blocked;
use super::refill::Numbers;
use super::{Core, Due, Facts, Live};
use crate::codes::{HELD_BACK, MISSING_CODE, RECOVERIES};
use crate::failure::{self, recorded};
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::Status;
use crate::queue::{Class, Entry, Rank};
use crate::reasons::{Reason, Standing};
use crate::store::known::{Damaged, Need};
use crate::store::{Error, Newcomer, NumberedCode, Recovery, Row};
use crate::wait::{Event, Source, Wait};

struct Loading<'a> {
    core: &'a mut Core,
    numbers: Numbers,
    /// Instances that have waits or events: looked at again when all is read.
    involved: Vec<InstanceNo>,
    /// Events for instances that never ran and so are mere queue entries.
    early: Vec<(InstanceNo, Event)>,
    /// What cannot be read of which instances.
    damaged: Vec<(InstanceNo, String)>,
    /// Whose waits came although they themselves did not.
    strays: Vec<InstanceNo>,
}

impl Core {
    /// Loads everything of its domain that is not final. The first batch is then open: finish and
    /// commit it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn recover(&mut self, facts: &mut Facts) -> Result<(), Error> {
        self.lay_out(facts)?;
        self.count_unclean_stops(facts)?;
        self.find_left(facts)?;
        self.load_limits(facts)?;
        self.count_ended(facts)?;
        self.count_failures(facts)?;
        self.find_changes(facts)?;
        let domain = self.domain.clone();
        let mut loading = Loading {
            core: self,
            numbers: Numbers::default(),
            involved: Vec::new(),
            early: Vec::new(),
            damaged: Vec::new(),
            strays: Vec::new(),
        };
        facts.store.recover(&domain, &mut loading)?;
        let Loading {
            mut involved,
            early,
            damaged,
            strays,
            ..
        } = loading;
        for (no, event) in early {
            if self.find_early(no, facts)? {
                self.live_mut(no).mailbox.keep(event);
            } else {
                self.tell_stray(no, "an event", facts)?;
            }
        }
        for no in strays {
            self.tell_stray(no, "a wait", facts)?;
        }
        for (no, what) in damaged {
            if self.find_early(no, facts)? {
                self.stop_damaged(no, &what, facts)?;
            } else {
                self.unreadable.push(what);
            }
        }
        for (no, live) in &mut self.live {
            // What it is blocked by is told with its class, which its row has no room for.
            if let Some(why) = live.why.as_mut().filter(|_| live.status == Status::Blocked) {
                let told = facts.reader.payloads(*no).ok().and_then(|it| it.result);
                why.error = told.as_deref().and_then(failure::class);
            }
        }
        involved.extend(
            self.live
                .iter()
                .filter(|(_, it)| it.status == Status::Waiting)
                .map(|(no, _)| *no),
        );
        involved.sort_unstable();
        involved.dedup();
        for no in involved {
            if self.live.get(&no).is_none_or(|it| it.is_inert()) {
                continue;
            }
            loop {
                let missing = self.missing_to_rearm(no);
                if missing.is_empty() {
                    break;
                }
                self.learn(facts.store.look(missing)?);
            }
            self.rearm(no);
            // Nothing would ever wake it: replay finds out what it is about.
            let live = self.live_mut(no);
            if live.status == Status::Waiting && live.mailbox.waits().is_empty() {
                self.wake(no);
            }
        }
        if self.domain.is_whole() {
            self.find_bulks(facts)?;
            self.find_schedules(facts)?;
        }
        self.load_retention(facts)?;
        let letters = facts.store.letters(&self.domain, self.engine)?;
        let letters = self.receive(letters);
        self.decide_again(letters);
        Ok(())
    }

    /// Tells of a wait or an event that names an instance which is not there.
    fn tell_stray(&mut self, no: InstanceNo, what: &str, facts: &mut Facts) -> Result<(), Error> {
        match facts.reader.instance(no) {
            Ok(Some(_)) | Err(Error::Row(_)) => {} // it is told itself
            Ok(None) => {
                let no = no as i64;
                let what = format!("{what} names instance {no}, which is not there");
                self.unreadable.push(what);
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// Returns what there is to say of what cannot be read, as the start found it.
    pub fn take_unreadable(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unreadable)
    }

    /// Makes more of an instance than a queue entry. Returns false if it is final.
    fn find_early(&mut self, no: InstanceNo, facts: &mut Facts) -> Result<bool, Error> {
        if self.live.contains_key(&no) {
            return Ok(true);
        }
        let row = match facts.reader.instance(no) {
            Err(Error::Row(_)) => return Ok(false), // it is told already, or when it is to start
            row => row?,
        };
        let Some(row) = row.filter(|it| !it.status.is_final()) else {
            return Ok(false);
        };
        let key = Key::new(&row.namespace, &row.workflow, &row.id);
        let workflow = self.workflow(&row.namespace, &row.workflow);
        let version = self.versions.number(workflow, &row.version);
        let live = Live::new(key, no, (workflow, version), row.priority);
        self.live.insert(no, Box::new(live));
        Ok(true)
    }

    /// An instance of which a wait or an event cannot be read does not go on without it.
    fn stop_damaged(&mut self, no: InstanceNo, what: &str, facts: &mut Facts) -> Result<(), Error> {
        let need = Need::Instance(no, false);
        self.learn(facts.store.look(need.into())?);
        let row = self.batch.known.instance(no).ok().flatten();
        let start_at = row.and_then(|it| it.start_at);
        if let Some(Due::StartAt(workflow, rank, entry)) =
            start_at.and_then(|at| self.timers.cancel(at, no))
        {
            // From the queue it can be taken.
            self.ripen(workflow, rank, entry);
        }
        let text = format!(
            "{what}. Nothing was changed. Keep a copy of the store, and restore it from a backup."
        );
        self.or_block(no, Err::<(), _>(Damaged(text)));
        Ok(())
    }

    fn line_up(&mut self, no: InstanceNo, key: Key, workflow: u32, rank: Rank, row: &Row) {
        let entry = Entry::new(no, key);
        self.admission.joined(workflow);
        match row
            .start_at
            .filter(|at| *at > self.now && rank.class == Class::New)
        {
            Some(at) => {
                self.counts
                    .later((workflow, self.version_of(workflow, no)), 1);
                let due = super::Due::StartAt(workflow, rank, entry);
                self.timers.set(at, no, due);
            }
            None => self.queues.push(workflow, rank, entry),
        }
    }

    /// Makes an instance known that another life or another owner left in the store.
    pub(super) fn restore(&mut self, row: &Row, has_code: bool) {
        let key = Key::new(&row.namespace, &row.workflow, &row.id);
        let workflow = self.workflow(&row.namespace, &row.workflow);
        let of = (workflow, self.versions.number(workflow, &row.version));
        let was_missing = row.reason.as_deref() == Some(MISSING_CODE);
        let returns = row.status == Status::Blocked && was_missing && has_code;
        let class = match row.status {
            Status::Running | Status::WaitingForPause => Class::Resumed,
            // It ran, and since then no start got as far as to run it again.
            Status::Queued | Status::Blocked if row.marked => Class::Resumed,
            // One that was restarted goes before those that are new.
            Status::Queued | Status::Paused | Status::Blocked
                if row.started_at.is_none() && row.incarnation == row.no =>
            {
                Class::New
            }
            _ => Class::Woken,
        };
        let rank = Rank::new(row.priority, class);
        let missing = !has_code && row.status != Status::Blocked && row.status != Status::Paused;
        if class == Class::New && row.status == Status::Queued && !missing {
            self.registry.restore(key, row.no, Status::Queued);
            self.counts.found(of, Status::Queued, 1);
            self.versions.enters(workflow, row.no, of.1);
            self.line_up(row.no, key, workflow, rank, row);
            return;
        }
        let mut live = Live::new(key, row.incarnation, of, row.priority);
        live.class = class;
        live.has_code = has_code;
        live.recoveries = row.recoveries;
        live.interrupted = row.marked;
        // A paused one runs only when somebody wants it to.
        let poison =
            row.marked && !row.status.is_paused() && row.recoveries >= self.recoveries(workflow);
        live.status = match row.status {
            _ if missing || poison => Status::Blocked,
            Status::Running => Status::Queued,
            // What ran of it has ended with the engine.
            Status::WaitingForPause => Status::Paused,
            _ if returns => Status::Queued,
            status => status,
        };
        live.counted = row.status;
        self.counts.found(of, row.status, 1);
        // The mark survives in the store until a body runs again: so does the interruption.
        live.marked = row.marked;
        live.since = row.updated_at;
        live.undo = row.undo;
        if live.status == Status::Blocked {
            live.why = Some(Box::new(Blocked {
                code: row.reason.clone().unwrap_or_default(),
                step: row.step.clone(),
                error: None,
            }));
        }
        self.batch.touched.insert(row.no);
        let status = live.status;
        self.waiting += u64::from(status == Status::Waiting);
        self.registry.restore(key, row.no, status);
        self.live.insert(row.no, Box::new(live));
        let (mut reason, mut error) = (None, None);
        if missing {
            reason = Some(MISSING_CODE);
        } else if poison {
            self.live_mut(row.no).marked = false;
            reason = Some(RECOVERIES);
            error = Some(poisoned(row.recoveries, self.recoveries(workflow)));
        } else if status == Status::Queued {
            if row.marked && self.suspects.hold(row.recoveries, row.no) {
                self.admission.joined(workflow);
                reason = Some(HELD_BACK);
            } else {
                self.line_up(row.no, key, workflow, rank, row);
            }
        }
        let says_why = status != Status::Queued || reason == row.reason.as_deref();
        if missing || poison || status != row.status || !says_why {
            // The store says so too, or more would seem to run than have a slot (C1).
            self.persist(row.no, reason.map(Into::into), error);
        }
    }
}

impl Loading<'_> {
    /// Returns the live state of a known instance.
    fn live(&mut self, no: InstanceNo) -> Option<&mut Live> {
        self.involved.push(no);
        self.core.live.get_mut(&no).map(AsMut::as_mut)
    }
}

impl Recovery for Loading<'_> {
    fn knows(&mut self, code: &NumberedCode<'_>) -> bool {
        let has_code = self.core.codes.has(code.workflow, code.version);
        if has_code {
            let workflow = self.core.workflow(code.namespace, code.workflow);
            let version = self.core.versions.number(workflow, code.version);
            self.numbers.insert(code.number, (workflow, version));
        }
        has_code
    }

    fn newcomers(&mut self, some: &[Newcomer]) {
        self.core.refill(&self.numbers, some);
    }

    fn instance(&mut self, row: Row) {
        let has_code = self.core.codes.has(&row.workflow, &row.version);
        self.core.restore(&row, has_code);
    }

    fn wait(&mut self, no: InstanceNo, wait: Wait) {
        if let Some(live) = self.live(no) {
            let inert = live.is_inert();
            live.mailbox.open(wait.clone());
            // An inert one is told of decisions when it goes on; its approval can be found, and its
            // timers stand still.
            match &wait.source {
                _ if !inert => self.core.hook(no, &wait),
                Source::Approval(id) => {
                    self.core.asked.insert(id.clone(), (no, wait.id));
                }
                _ => {}
            }
        } else {
            self.strays.push(no);
        }
    }

    fn damaged(&mut self, no: InstanceNo, what: &str) {
        self.damaged.push((no, what.into()));
    }

    fn unreadable(&mut self, what: String, shown: Option<Row>) {
        self.core.unreadable.push(what);
        // What has ended is counted already.
        if let Some(row) = shown.filter(|it| !it.status.is_final()) {
            let workflow = self.core.workflow(&row.namespace, &row.workflow);
            let version = self.core.versions.number(workflow, &row.version);
            self.core.counts.found((workflow, version), row.status, 1);
            let reason = Reason {
                version,
                status: row.status,
                code: row.reason.unwrap_or_default().into(),
                step: None,
                error: None,
            };
            let place = Standing {
                workflow,
                reason,
                since: row.updated_at,
                next: None,
            };
            self.core.counts.stays(row.no, place);
        }
    }

    fn event(&mut self, no: InstanceNo, event: Event) {
        match self.live(no) {
            Some(live) => live.mailbox.keep(event),
            None => self.early.push((no, event)),
        }
    }
}

/// What is recorded of one that was running too often when the process died.
fn poisoned(recoveries: u32, limit: u32) -> Box<[u8]> {
    let text = format!(
        "it was started {} times in a row and each time the process stopped uncleanly before \
         it had finished anything, or less than a second after that; Limits.recoveries allows \
         {limit}. It may be what kills the process, so nothing of it runs now, and everything \
         else goes on. Its history ends with the last step that worked: find out what that one \
         or the next does to the process, then resume() it, which starts the count anew.",
        u64::from(recoveries) + 1
    );
    recorded("LimitReached", &text)
}
