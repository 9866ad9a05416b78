//! How one batch of operations becomes rows, inside a transaction that somebody else ends.
//!
//! What each operation means is told by the model store; this file only says it in SQL. Whether
//! an incarnation is the present one is answered from `heads` for instances that run, and from
//! the instance's row for the others.

use rusqlite::{params, Connection, OptionalExtension};

use super::expired;
use super::forgotten;
use super::heads::{Heads, Hot};
use super::names::Names;
use super::read;
use super::rows::{self, Fault};
use super::statements::{Sql, Statements};
use super::sums;
use crate::attributes::pairs;
use crate::audit;
use crate::bulk::Bulk;
use crate::history::{Record, Verdict};
use crate::ids::{Incarnation, InstanceNo, Micros};
use crate::letter::{Address, Letter, LetterId};
use crate::lifecycle::Status;
use crate::limits::FORGOTTEN;
use crate::store::{Called, NewInstance, Op, Outcome, Restart, Transition, FAILURE_HOURS};
use crate::wait::{Approval, ApprovalStatus, Event, Source, Wait};

/// A batch being applied.
pub(super) struct Writing<'c> {
    conn: &'c Connection,
    pub(super) sql: Statements<'c>,
    heads: &'c mut Heads,
    names: &'c mut Names,
}

impl<'c> Writing<'c> {
    pub(super) fn new(conn: &'c Connection, heads: &'c mut Heads, names: &'c mut Names) -> Self {
        Self {
            conn,
            sql: Statements::new(conn),
            heads,
            names,
        }
    }

    /// Applies one operation.
    pub(super) fn apply(&mut self, op: &Op) -> rows::Result<Outcome> {
        match op {
            Op::Create(new) => self.create(new),
            Op::CreateChildren(some, parent, incarnation, record) => {
                if self.owned(*parent, *incarnation)?.is_none() {
                    return Ok(Outcome::Fenced);
                }
                for new in some {
                    if let Some(taken) = self.taken(new)? {
                        return Ok(taken);
                    }
                }
                for new in some {
                    let _ = self.create(new)?;
                }
                self.append(*parent, *incarnation, record)
            }
            Op::Append(no, incarnation, record) => self.append(*no, *incarnation, record),
            Op::Open(no, incarnation, wait) => match self.owned(*no, *incarnation)? {
                Some(it) if !it.status.is_final() => self.open(*no, wait),
                _ => Ok(Outcome::Fenced),
            },
            Op::Close(no, id) => self.run(Sql::Close, params![*no as i64, *id as i64]),
            Op::Postpone(no, id, until) => {
                self.run(Sql::Postpone, params![*no as i64, *id as i64, until])
            }
            Op::Buffer(no, event, dedup) => match self.seen(*no, dedup.as_deref())? {
                Outcome::Done(_) => self.buffer(*no, event),
                outcome => Ok(outcome),
            },
            Op::Take(no, id) => self.run(Sql::Take, params![*no as i64, *id as i64]),
            Op::Seen(no, dedup) => self.seen(*no, Some(dedup)),
            Op::Ask(no, event, dedup) => self.ask(*no, *event, dedup),
            Op::Answer(no, incarnation, place, answer) => {
                self.answer(*no, *incarnation, *place, answer)
            }
            Op::Status(no, incarnation, to) => self.change(*no, *incarnation, to),
            Op::Version(no, incarnation, version) => self.convert(*no, *incarnation, version),
            Op::Place(no, of, priority, start_at) => match self.owned(*no, *of)? {
                Some(_) => self.run(Sql::Place, params![priority, start_at, *no as i64]),
                None => Ok(Outcome::Fenced),
            },
            Op::Attributes(no, incarnation, map) => self.describe_anew(*no, *incarnation, map),
            Op::Restart(no, incarnation, to) => self.restart(*no, *incarnation, to),
            Op::Delete(no) => self.delete(*no),
            Op::Progress(no, progress) => match self.look(*no)? {
                Some(_) => self.keep(Sql::Progress, *no, progress),
                None => Ok(Outcome::Fenced),
            },
            Op::Chunks(no, incarnation, it) => self.stream(*no, *incarnation, it),
            Op::ForgetChunks(before) => self.forget_chunks(*before),
            Op::Approval(approval) => self.approval(approval),
            Op::EndApproval(id, status) => self.end_approval(id, *status),
            Op::Leave(letter) => self.leave(letter),
            Op::TakeIn(id) => self.take_in(*id),
            Op::Audit(it) => self.audit(it),
            Op::Called(it) => self.called(it),
            Op::ForgetCalls(before) => self.forget(Sql::ForgetCalls, *before),
            Op::Forget(it) => forgotten::forget(self.conn, it).map(|()| Outcome::Done(0)),
            Op::Bulk(it) => self.bulk(it),
            Op::Touched(no, number) => self.run(Sql::Touched, [*no as i64, *number as i64]),
            Op::Schedule(it) => self.schedule(it),
            Op::Firing(it) => self.firing(it),
            Op::ForgetFirings(schedule, kept) => self.forget_firings(*schedule, *kept),
            Op::Unschedule(number) => self.unschedule(*number),
            Op::ForgetBulks(before) => self.forget(Sql::ForgetBulks, *before),
            Op::ForgetAudit(before) => self.forget(Sql::ForgetAudit, *before),
            Op::Large(_) | Op::ForgetLarge(_) => self.large(op),
            Op::Meta(name, value) => self.run(Sql::Meta, params![name, value]),
            Op::Ended(it) => {
                for (version, counts) in &it.versions {
                    let [complete, errored, terminated] = counts.map(|it| it as i64);
                    let names = (&it.namespace, &it.workflow, version);
                    let params = params![names.0, names.1, names.2, complete, errored, terminated];
                    let _ = self.run(Sql::EndedVersion, params)?;
                }
                let [complete, errored, terminated] = it.counts.map(|it| it as i64);
                let params = params![it.namespace, it.workflow, complete, errored, terminated];
                self.run(Sql::Ended, params)
            }
            Op::Failed(it) => {
                if it.count == 1 {
                    let _ = self.run(Sql::ForgetFailed, [it.hour - FAILURE_HOURS])?;
                }
                let (step, error) = (or_empty(it.step.as_deref()), or_empty(it.error.as_deref()));
                let (count, example) = (it.count as i64, it.example as i64);
                let params = params![
                    it.namespace,
                    it.workflow,
                    it.version,
                    it.hour,
                    step,
                    error,
                    count,
                    it.since,
                    example
                ];
                self.run(Sql::Failed, params)
            }
            Op::Bucket(it) => self.run(Sql::Bucket, params![it.namespace, it.millionths, it.at]),
        }
    }

    pub(super) fn run(&mut self, sql: Sql, params: impl rusqlite::Params) -> rows::Result<Outcome> {
        self.sql.get(sql)?.execute(params)?;
        Ok(Outcome::Done(0))
    }

    fn called(&mut self, it: &Called) -> rows::Result<Outcome> {
        let crc = sums::call(&it.id, it.at, &it.answer);
        self.run(Sql::Called, params![it.id, it.at, crc, it.answer])
    }

    /// Writes a payload into one of the tables (no, crc, payload).
    fn keep(&mut self, sql: Sql, no: InstanceNo, payload: &[u8]) -> rows::Result<Outcome> {
        let table = match sql {
            Sql::Params | Sql::NewParams => "params",
            Sql::Attributes => "attributes",
            Sql::Progress => "progress",
            Sql::Result => "result",
            other => unreachable!("{other:?} writes no payload table"),
        };
        let crc = sums::payload(table, no, Some(payload));
        self.run(sql, params![no as i64, crc, payload])
    }

    fn end_approval(&mut self, id: &str, status: ApprovalStatus) -> rows::Result<Outcome> {
        match read::approval(self.conn, id) {
            Ok(Some(it)) if it.status == ApprovalStatus::Open => {
                self.approval(&Approval { status, ..it })
            }
            // Whoever reads a damaged one is told; here it is not wanted any more.
            Ok(_) | Err(Fault::Corrupt(_)) => Ok(Outcome::Done(0)),
            Err(fault) => Err(fault),
        }
    }

    /// Gives an instance another version of its workflow.
    fn convert(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
        version: &str,
    ) -> rows::Result<Outcome> {
        if self.owned(no, incarnation)?.is_none() {
            return Ok(Outcome::Fenced);
        }
        let had: i64 = self
            .sql
            .get(Sql::VersionOf)?
            .query_row([no as i64], |row| row.get(0))?;
        let name = rows::name(self.names, had, no)?;
        let (namespace, workflow) = (name.namespace.clone(), name.workflow.clone());
        let (_, number) = self
            .names
            .number(self.conn, [&namespace, &workflow, version])?;
        self.run(Sql::Version, params![number, no as i64])
    }

    /// Writes the attributes, and what they are found by.
    fn describe(&mut self, no: InstanceNo, map: &[u8]) -> rows::Result<Outcome> {
        for (key, value) in pairs(map).unwrap_or_default() {
            let _ = self.run(Sql::Attribute, params![key, value, no as i64])?;
        }
        self.keep(Sql::Attributes, no, map)
    }

    /// Replaces the attributes. Where those of before are damaged, some may be found by them yet.
    fn describe_anew(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
        map: &[u8],
    ) -> rows::Result<Outcome> {
        if self.owned(no, incarnation)?.is_none() {
            return Ok(Outcome::Fenced);
        }
        self.describe_no_more(no)?;
        self.describe(no, map)
    }

    /// It is found by none of its attributes any more.
    fn describe_no_more(&mut self, no: InstanceNo) -> rows::Result<()> {
        let had = self.sql.get(Sql::HadAttributes)?;
        let before = had.query_row([no as i64], |row| {
            Ok(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec())
        });
        let before = before.optional()?.unwrap_or_default();
        for (key, value) in pairs(&before).unwrap_or_default() {
            let _ = self.run(Sql::NoAttribute, params![key, value, no as i64])?;
        }
        Ok(())
    }

    fn look(&mut self, no: InstanceNo) -> rows::Result<Option<Hot>> {
        if let Some(hot) = self.heads.hot.get(&no) {
            return Ok(Some(*hot));
        }
        let look = self.sql.get(Sql::Look)?;
        let mut found = look.query([no as i64])?;
        let Some(row) = found.next()? else {
            return Ok(None);
        };
        let numbers = [0, 1, 2].map(|at| rows::uint(row, at));
        let [Ok(incarnation), Ok(status), Ok(head)] = numbers else {
            return Ok(None); // it is damaged: nothing of it is changed
        };
        let status = u8::try_from(status).ok().and_then(Status::from_code);
        let Some(status) = status else {
            return Ok(None);
        };
        Ok(Some(Hot {
            incarnation,
            status,
            head,
            stored: head,
        }))
    }

    /// Returns what is known of the instance if this is its present incarnation (D6).
    pub(super) fn owned(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
    ) -> rows::Result<Option<Hot>> {
        Ok(self.look(no)?.filter(|it| it.incarnation == incarnation))
    }

    /// Returns who has the id of a new instance, if it is taken.
    fn taken(&mut self, new: &NewInstance) -> rows::Result<Option<Outcome>> {
        let names = [&*new.namespace, &*new.workflow, &*new.version];
        let (workflow, _) = self.names.number(self.conn, names)?;
        let find = self.sql.get(Sql::FindNo)?;
        let mut found = find.query(params![workflow, new.id])?;
        let Some(row) = found.next()? else {
            return Ok(None);
        };
        let no: i64 = row.get(0)?;
        let status = rows::uint(row, 1).ok().and_then(|it| u8::try_from(it).ok());
        let status = status.and_then(Status::from_code);
        // One that is damaged takes the id all the same.
        let status = status.unwrap_or(Status::Blocked);
        Ok(Some(Outcome::Exists(no as u64, status)))
    }

    fn create(&mut self, new: &NewInstance) -> rows::Result<Outcome> {
        let names = [&*new.namespace, &*new.workflow, &*new.version];
        let (workflow, version) = self.names.number(self.conn, names)?;
        let running = new.status == Status::Running;
        let [keep_success, keep_error] = expired::columns(new.keep);
        let inserted = self.sql.get(Sql::Create)?.execute(params![
            new.no as i64,
            workflow,
            version,
            new.id,
            new.incarnation as i64,
            new.status as u8,
            running,
            new.priority,
            new.created_at,
            running.then_some(new.created_at),
            new.start_at,
            new.parent.map(|it| it as i64),
            new.called,
            new.format,
            new.seed.map(|it| it as i64),
            keep_success,
            keep_error,
            new.schedule,
        ])?;
        if inserted == 0 {
            let taken = self.taken(new)?;
            return Ok(taken.expect("that is why it was not inserted"));
        }
        if let Some(params) = &new.params {
            let _ = self.keep(Sql::Params, new.no, params)?;
        }
        if let Some(attributes) = &new.attributes {
            let _ = self.describe(new.no, attributes)?;
        }
        if running {
            let hot = Hot {
                incarnation: new.incarnation,
                status: new.status,
                head: 0,
                stored: 0,
            };
            self.heads.hot.insert(new.no, hot);
        }
        Ok(Outcome::Done(0))
    }

    fn append(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
        record: &Record,
    ) -> rows::Result<Outcome> {
        let Some(mut hot) = self.owned(no, incarnation)? else {
            return Ok(Outcome::Fenced);
        };
        let seq = self.heads.last_seq + 1;
        let operation = &record.operation;
        self.sql.get(Sql::Append)?.execute(params![
            seq as i64,
            no as i64,
            hot.head as i64,
            record.verdict as u8,
            record.attempt,
            operation.kind as u8,
            operation.count,
            record.started_at,
            record.at,
            record.moment,
            record.event.map(|it| it as i64),
            record.event_type,
            sums::record(no, seq, hot.head, record),
            operation.branch,
            operation.name,
            operation.key,
            record.payload,
            record.begun.map(|it| it as i64),
            record.erases,
        ])?;
        if matches!(record.verdict, Verdict::Erased | Verdict::Restarted) {
            let _ = self.run(Sql::Sweep, [no as i64, seq as i64])?;
            self.heads.sweeps.add(no);
        }
        hot.head = seq;
        self.heads.last_seq = seq;
        self.heads.hot.insert(no, hot);
        self.heads.touched.push(no);
        Ok(Outcome::Done(seq))
    }

    fn open(&mut self, no: InstanceNo, wait: &Wait) -> rows::Result<Outcome> {
        let types;
        let child;
        let (source, subject): (u8, &dyn rusqlite::ToSql) = match &wait.source {
            Source::Timer => (0, &rusqlite::types::Null),
            Source::Instant => (5, &rusqlite::types::Null),
            Source::Retry(error) => (1, error),
            Source::Event(list) => {
                types = rows::join_types(list);
                (2, &types)
            }
            Source::Approval(id) => (3, id),
            Source::Child(no) => {
                child = *no as i64;
                (4, &child)
            }
        };
        let operation = &wait.operation;
        let params = params![
            no as i64,
            wait.id as i64,
            operation.kind as u8,
            operation.count,
            source,
            wait.opened_at,
            wait.until,
            subject,
            operation.branch,
            operation.name,
            operation.key,
            wait.begun.map(|it| it as i64),
        ];
        self.run(Sql::Open, params)
    }

    /// Remembers a `dedup_id`, if there is one and the instance can still get events (E4).
    fn seen(&mut self, no: InstanceNo, dedup: Option<&str>) -> rows::Result<Outcome> {
        match self.look(no)? {
            Some(it) if !it.status.is_final() => {}
            _ => return Ok(Outcome::Fenced),
        }
        let Some(dedup) = dedup else {
            return Ok(Outcome::Done(0));
        };
        let inserted = self
            .sql
            .get(Sql::Seen)?
            .execute(params![no as i64, dedup])?;
        Ok(if inserted == 0 {
            Outcome::Seen
        } else {
            Outcome::Done(0)
        })
    }

    fn buffer(&mut self, no: InstanceNo, event: &Event) -> rows::Result<Outcome> {
        let crc = sums::event(no, event);
        let params = params![
            no as i64,
            event.id as i64,
            event.at,
            crc,
            event.kind,
            event.payload
        ];
        self.run(Sql::Buffer, params)
    }

    fn change(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
        to: &Transition,
    ) -> rows::Result<Outcome> {
        let hot = self.heads.hot.get(&no).copied();
        if hot.is_some_and(|it| it.incarnation != incarnation) {
            return Ok(Outcome::Fenced);
        }
        let head = hot.map_or(0, |it| it.head);
        let running = to.status == Status::Running;
        let is_final = to.status.is_final();
        let updated = self.sql.get(Sql::Status)?.execute(params![
            to.status as u8,
            to.marked,
            to.recoveries,
            to.reason,
            to.at,
            running.then_some(to.at),
            is_final.then_some(to.at),
            head as i64,
            no as i64,
            incarnation as i64,
            to.step,
            to.status.is_paused(),
            to.undo.map(|it| it as u8),
        ])?;
        if updated == 0 {
            return Ok(Outcome::Fenced);
        }
        let _ = match &to.payload {
            Some(payload) => self.keep(Sql::Result, no, payload)?,
            None => self.run(Sql::ClearResult, [no as i64])?,
        };
        if is_final {
            // Which events it got stays known: one that is sent again is no other one; and those
            // that nobody took are there for a restart (E4).
            let _ = self.run(Sql::CloseAll, [no as i64])?;
        }
        // Only what runs is worth remembering: 2,000,000 that wait must not be in memory here.
        if running {
            if let Some(hot) = self.heads.hot.get_mut(&no) {
                hot.status = to.status;
                hot.stored = hot.head;
            }
        } else {
            self.heads.hot.remove(&no);
        }
        self.heads.touched.push(no);
        Ok(Outcome::Done(0))
    }

    fn restart(
        &mut self,
        no: InstanceNo,
        incarnation: Incarnation,
        to: &Restart,
    ) -> rows::Result<Outcome> {
        let updated = self.sql.get(Sql::Restart)?.execute(params![
            to.incarnation as i64,
            to.seed.map(|it| it as i64),
            to.at,
            no as i64,
            incarnation as i64,
        ])?;
        if updated == 0 {
            return Ok(Outcome::Fenced);
        }
        for sql in [Sql::ClearResult, Sql::ClearProgress, Sql::CloseAll] {
            let _ = self.run(sql, [no as i64])?;
        }
        self.leave_streams(no, Some(incarnation))?;
        if let Some(params) = &to.params {
            let _ = self.keep(Sql::NewParams, no, params)?;
        }
        if let Some(hot) = self.heads.hot.get_mut(&no) {
            (hot.incarnation, hot.status) = (to.incarnation, Status::Queued);
        }
        Ok(Outcome::Done(0))
    }

    /// The id is free at once; the history goes to where it is freed a few rows at a time.
    fn delete(&mut self, no: InstanceNo) -> rows::Result<Outcome> {
        let head = match self.heads.head(self.conn, no) {
            // A row that cannot be read is deleted all the same, and what it led to is lost room.
            Err(Fault::Corrupt(_)) => 0,
            head => head?,
        };
        if head != 0 {
            let _ = self.run(Sql::Bury, [head as i64, no as i64])?;
            self.heads.sweeps.bury(no, head);
        }
        self.describe_no_more(no)?;
        self.leave_streams(no, None)?;
        for sql in [
            Sql::ClearParams,
            Sql::ClearResult,
            Sql::ClearProgress,
            Sql::ClearAttributes,
            Sql::CloseAll,
            Sql::TakeAll,
            Sql::Unsee,
            Sql::Unanswer,
            Sql::ClearApprovals,
            Sql::Unsweep,
            Sql::Delete,
        ] {
            let _ = self.run(sql, [no as i64])?;
        }
        self.heads.hot.remove(&no);
        self.heads.touched.push(no);
        self.heads.sweeps.freed = true;
        Ok(Outcome::Done(0))
    }

    fn leave(&mut self, letter: &Letter) -> rows::Result<Outcome> {
        let (range, engine) = match letter.to {
            Address::Owner(range) => (Some(range.0), None),
            Address::Asker(engine) => (None, Some(engine as i64)),
        };
        let body = letter.message.bytes();
        let crc = sums::letter(letter.to, &body);
        let _ = self.run(Sql::Leave, params![range, engine, crc, body])?;
        Ok(Outcome::Done(self.conn.last_insert_rowid() as u64))
    }

    fn take_in(&mut self, id: LetterId) -> rows::Result<Outcome> {
        let gone = self.sql.get(Sql::TakeIn)?.execute([id as i64])?;
        Ok(match gone {
            0 => Outcome::Fenced,
            _ => Outcome::Done(0),
        })
    }

    fn audit(&mut self, it: &audit::Entry) -> rows::Result<Outcome> {
        let params = params![
            it.number as i64,
            it.at,
            sums::audit(it),
            it.by.actor,
            it.by.note,
            it.operation,
            it.namespace,
            it.workflow,
            it.id,
            it.filter,
            it.result,
        ];
        self.run(Sql::Audit, params)
    }

    /// Forgets some rows from before this.
    fn forget(&mut self, sql: Sql, before: Micros) -> rows::Result<Outcome> {
        let gone = self.sql.get(sql)?.execute(params![FORGOTTEN, before])?;
        Ok(Outcome::Done(gone as u64))
    }

    fn bulk(&mut self, it: &Bulk) -> rows::Result<Outcome> {
        let (number, body) = (it.number as i64, it.bytes());
        let crc = sums::bulk("body", it.number, &body);
        match &it.what {
            None => self.run(Sql::Advance, params![number, it.ended_at, crc, body]),
            Some(what) => {
                let of_what = sums::bulk("what", it.number, what);
                let params = params![number, it.ended_at, crc, body, of_what, what];
                self.run(Sql::Bulk, params)
            }
        }
    }

    fn approval(&mut self, it: &Approval) -> rows::Result<Outcome> {
        let params = params![
            it.id,
            it.no as i64,
            it.name,
            it.status as u8,
            it.asked_at,
            it.until,
            it.decided_at,
            sums::approval(it),
            it.detail,
            it.decision,
            (it.incarnation != 0).then_some(it.incarnation as i64),
        ];
        self.run(Sql::Approval, params)
    }
}

/// In a key nothing is an empty text: no step and no class is one.
fn or_empty(text: Option<&str>) -> &str {
    text.unwrap_or_default()
}
