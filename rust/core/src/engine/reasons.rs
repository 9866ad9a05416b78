//! Why each instance is where it is, as it is counted with others of the same reason.
//!
//! Said of every instance that a batch may have moved, when that is durable, from what memory has of
//! it: so what is told is never remembered from an earlier state. Of those that never ran memory has
//! next to nothing, and nothing is said: how many they are, the counts say.

use super::{Core, Facts};
use crate::codes;
use crate::failure;
use crate::failures::{first_hour, Alike, Lately};
use crate::history::Kind;
use crate::ids::{InstanceNo, Micros};
use crate::lifecycle::Status;
use crate::queue::Class;
use crate::reasons::{Reason, Standing};
use crate::store::{Error, Failed, Op, Row};
use crate::wait::{Source, Wait};

/// What is said of an instance: a code, which step it is about, the class of the error, since when,
/// and when it goes on by itself.
struct Cause<'a> {
    code: &'a str,
    step: Option<&'a str>,
    error: Option<&'a str>,
    since: Micros,
    next: Option<Micros>,
}

impl<'a> Cause<'a> {
    fn plain(code: &'a str, since: Micros) -> Self {
        Self {
            code,
            step: None,
            error: None,
            since,
            next: None,
        }
    }

    fn of(wait: &'a Wait) -> Self {
        let code = match (&wait.source, wait.operation.kind) {
            (Source::Retry(_), _) => codes::RETRYING,
            (Source::Event(_), _) => codes::FOR_EVENT,
            (Source::Approval(_), _) => codes::FOR_APPROVAL,
            (Source::Child(_), _) => codes::FOR_CHILD,
            (Source::Timer | Source::Instant, _) => codes::FOR_SLEEP,
        };
        let error = match &wait.source {
            Source::Retry(error) => error.as_deref(),
            _ => None,
        };
        Self {
            code,
            step: Some(
                wait.operation
                    .key
                    .as_deref()
                    .unwrap_or(&wait.operation.name),
            ),
            error,
            since: wait.opened_at,
            next: wait.until,
        }
    }
}

impl<'a> Cause<'a> {
    /// What is said of an instance that is not queued. `why`: what a blocked one is blocked by.
    fn at(
        status: Status,
        waits: &'a [Wait],
        why: Option<(&'a str, Option<&'a str>, Option<&'a str>)>,
        since: Micros,
    ) -> Option<Self> {
        let is_retry = |it: &&Wait| matches!(it.source, Source::Retry(_));
        // One that waits for several things is counted by the step that fails, or by what it has
        // waited for longest; a deadline is what it would not wait beyond.
        let is_deadline = |it: &Wait| it.operation.kind == Kind::Deadline;
        let first = waits.iter().filter(is_retry).min_by_key(|it| it.until);
        let longest = || waits.iter().min_by_key(|it| (is_deadline(it), it.id));
        match status {
            Status::Blocked => {
                let (code, step, error) = why?;
                let plain = Self::plain(code, since);
                Some(Self {
                    step,
                    error,
                    ..plain
                })
            }
            Status::Paused | Status::WaitingForPause => Some(Self::plain(codes::PAUSED, since)),
            Status::Waiting => first.or_else(longest).map(Self::of),
            Status::Running => first.map(Self::of),
            Status::Queued | Status::Complete | Status::Errored | Status::Terminated => None,
        }
    }

    fn standing(self, (workflow, version): (u32, u32), status: Status) -> Standing {
        Standing {
            workflow,
            reason: Reason {
                version,
                status,
                code: self.code.into(),
                step: self.step.map(Into::into),
                error: self.error.map(Into::into),
            },
            since: self.since,
            next: self.next,
        }
    }
}

/// Returns where an instance is counted as it is stored, without an engine; nowhere, if nothing is
/// to be said of it. `of`: workflow and version; `error`: the class of what it is blocked by.
pub(crate) fn standing_of(
    row: &Row,
    of: (u32, u32),
    waits: &[Wait],
    error: Option<&str>,
) -> Option<Standing> {
    let said = match row.status {
        Status::Queued if row.reason.as_deref() == Some(codes::HELD_BACK) => {
            Cause::plain(codes::HELD_BACK, row.updated_at)
        }
        status => {
            let code = row.reason.as_deref().unwrap_or(codes::CORRUPT);
            let why = Some((code, row.step.as_deref(), error));
            Cause::at(status, waits, why, row.updated_at)?
        }
    };
    Some(said.standing(of, row.status))
}

impl Core {
    /// Returns the version of an instance that is queued, or more than that.
    pub(super) fn version_of(&self, workflow: u32, no: InstanceNo) -> u32 {
        let live = self.live.get(&no);
        live.map_or_else(|| self.versions.of_entrant(workflow, no), |it| it.version)
    }

    /// Returns where an instance is counted; nowhere, if nothing is to be said of it.
    pub(super) fn reason_of(&self, no: InstanceNo) -> Option<Standing> {
        let live = self.live.get(&no)?;
        let said = match live.status {
            Status::Queued if self.suspects.holds(live.recoveries, no) => {
                Cause::plain(codes::HELD_BACK, live.since)
            }
            Status::Queued if live.class == Class::New => return None,
            Status::Queued => Cause::plain(codes::QUEUED, live.since),
            status => {
                let why = live.why.as_deref();
                let why = why.map(|it| (&*it.code, it.step.as_deref(), it.error.as_deref()));
                Cause::at(status, live.mailbox.waits(), why, live.since)?
            }
        };
        Some(said.standing((live.workflow, live.version), live.status))
    }

    /// An instance ends with this error.
    pub(super) fn count_failed(&mut self, no: InstanceNo, of: (u32, u32), error: Option<&[u8]>) {
        let why = error.map_or((None, None), |it| (failure::step(it), failure::class(it)));
        let (alike, it) = self.counts.failures.add(self.now, no, of, why);
        let (namespace, workflow) = self.names[of.0 as usize].clone();
        let version = &self.versions.names(of.0)[of.1 as usize];
        let boxed = |it: std::sync::Arc<str>| Box::from(&*it);
        self.push(Op::Failed(Box::new(Failed {
            namespace,
            workflow,
            version: (&**version).into(),
            hour: alike.hour,
            step: alike.step.map(boxed),
            error: alike.error.map(boxed),
            count: it.count,
            since: it.since,
            example: it.example,
        })));
    }

    /// Takes over what failed in earlier lives, as far as that is told of.
    pub(super) fn count_failures(&mut self, facts: &mut Facts) -> Result<(), Error> {
        for it in facts.store.failures(first_hour(self.now))? {
            let workflow = self.workflow(&it.namespace, &it.workflow);
            let alike = Alike {
                hour: it.hour,
                workflow,
                version: self.versions.number(workflow, &it.version),
                step: it.step.map(Into::into),
                error: it.error.map(Into::into),
            };
            let lately = Lately {
                count: it.count,
                since: it.since,
                example: it.example,
            };
            self.counts.failures.found(alike, lately);
            self.counts.touch(workflow);
        }
        Ok(())
    }
}
