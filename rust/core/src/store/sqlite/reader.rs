//! A read-only connection of its own, for questions that may take a while.
//!
//! Each question is one transaction, cut off after [`READ_MAX`], because a WAL cannot be folded
//! back past what the oldest open read transaction still sees. A history may be long and has to
//! be read, so it is read in several: its records never change. Between questions no transaction
//! is open. Questions that are asked at once share one, and so see one moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::connection::Handle;
use super::files::Paths;
use super::fold::Gate;
use super::guard::Guard;
use super::heads::Published;
use super::names::Names;
use super::{answers, large, pages, read, rows, schedules, streams};
use crate::audit;
use crate::bulk;
use crate::clock::moment;
use crate::erasure;
use crate::history::Stored;
use crate::ids::{Incarnation, InstanceNo, Seq};
use crate::large::{LargeKey, Loose};
use crate::schedule::{self, Firing, FiringQuery, Schedule};
use crate::store::{
    Answered, ApprovalFilter, ApprovalPage, Error, Filter, Page, Payloads, Reader, Row,
};
use crate::stream::StreamRow;
use crate::wait::Wait;

/// How long one question may take.
const READ_MAX: Duration = Duration::from_secs(5);
/// How long one transaction of several may take.
const SLICE: Duration = Duration::from_millis(250);
/// How often a history is read anew that was swept meanwhile.
const AGAIN: u32 = 5;
/// Instructions of SQLite's machine between two looks at the clock: well under a millisecond.
const LOOK_EVERY: i32 = 20_000;

/// See [`Reader`].
pub(super) struct SqliteReader {
    // Dropped before the guard: see `guard`.
    conn: Handle,
    names: Names,
    published: Published,
    /// When the present question is cut off.
    until: Arc<Mutex<Instant>>,
    /// See [`READ_MAX`] and [`SLICE`].
    limits: (Duration, Duration),
    /// Whether questions are asked at once: the transaction is open, and the gate passed.
    at_once: bool,
    paths: Paths,
    gate: Gate,
    _guard: Option<Arc<Guard>>,
}

impl SqliteReader {
    pub(super) fn open(
        paths: &Paths,
        published: &Published,
        guard: &Arc<Guard>,
        gate: &Gate,
    ) -> Result<Self, Error> {
        Ok(Self {
            published: Arc::clone(published),
            gate: Arc::clone(gate),
            _guard: Some(Arc::clone(guard)),
            ..Self::on(paths, Handle::reader(paths))?
        })
    }

    /// Reads by this connection, whoever owns the store.
    pub(super) fn on(paths: &Paths, conn: rusqlite::Result<Handle>) -> Result<Self, Error> {
        let until = Arc::new(Mutex::new(moment()));
        let end = Arc::clone(&until);
        let watched = conn.and_then(|conn| {
            conn.progress_handler(LOOK_EVERY, Some(move || moment() > *end.lock()))?;
            Ok(conn)
        });
        let conn =
            watched.map_err(|error| rows::Fault::Sql(error).explain(&paths.name, "open it"))?;
        Ok(Self {
            conn,
            names: Names::default(),
            published: Published::default(),
            until,
            limits: (READ_MAX, SLICE),
            at_once: false,
            paths: paths.clone(),
            gate: Gate::default(),
            _guard: None,
        })
    }

    /// Asks what needs no more than a moment: a part of something longer.
    pub(super) fn ask_in_slices<T>(
        &mut self,
        mut question: impl FnMut(&Handle, &Names, &dyn Fn() -> bool) -> rows::Result<Option<T>>,
    ) -> Result<T, Error> {
        let slice = self.limits.1;
        loop {
            let go_on = |began: Instant| move || began.elapsed() < slice;
            let found = self.ask(|conn, names, began| question(conn, names, &go_on(began)))?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    /// Makes each slice as short as it can be.
    #[cfg(test)]
    pub(super) fn slice_at_once(&mut self) {
        self.limits.1 = Duration::ZERO;
    }

    /// Where histories begin whose heads are not persisted.
    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    pub(super) fn ask<T>(
        &mut self,
        question: impl FnOnce(&Handle, &Names, Instant) -> rows::Result<T>,
    ) -> Result<T, Error> {
        let mut question = Some(question);
        let mut answer = None;
        let mut ask = |it: &mut Self, now| {
            let question = question.take().expect("it is asked once");
            let found = question(&it.conn, &it.names, now);
            answer = Some(found.map_err(|fault| fault.explain(&it.paths.name, "read"))?);
            Ok(())
        };
        if self.at_once {
            ask(self, moment())?;
        } else {
            self.in_transaction(&mut ask)?;
        }
        Ok(answer.expect("it was asked"))
    }

    /// Runs this in a read transaction of its own.
    fn in_transaction(
        &mut self,
        read: &mut dyn FnMut(&mut Self, Instant) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.conn.check_process(&self.paths)?;
        let gate = Arc::clone(&self.gate);
        let _shared = gate.read();
        let now = moment();
        *self.until.lock() = now + self.limits.0;
        let begun = self.conn.execute_batch("BEGIN");
        let begun = begun.and_then(|()| self.names.refresh(&self.conn));
        let found = match begun {
            Ok(()) => read(self, now),
            Err(error) => Err(rows::Fault::from(error).explain(&self.paths.name, "read")),
        };
        // A rollback is all a read needs; where none is open, SQLite has ended it itself.
        if !self.conn.is_autocommit() {
            let ended = self.conn.execute_batch("ROLLBACK");
            ended.map_err(|error| rows::Fault::from(error).explain(&self.paths.name, "read"))?;
        }
        found
    }
}

impl SqliteReader {
    /// Reads a history, the last record first.
    fn walk(&mut self, no: InstanceNo, chain: &mut Vec<Stored>) -> Result<(), Error> {
        // Before the transaction begins: see `heads`.
        let published = self.published.lock().get(&no).copied().unwrap_or(0);
        let mut at = self.ask(|conn, _, _| Ok(published.max(read::stored_head(conn, no)?)))?;
        let slice = self.limits.1;
        while at != 0 {
            at = self.ask(|conn, _, began| {
                read::walk(conn, no, at, chain, || began.elapsed() < slice)
            })?;
        }
        Ok(())
    }
}

impl Reader for SqliteReader {
    fn at_once(
        &mut self,
        ask: &mut dyn FnMut(&mut dyn Reader) -> Result<(), Error>,
    ) -> Result<(), Error> {
        assert!(!self.at_once, "a moment has no moments");
        self.in_transaction(&mut |it, _| {
            it.at_once = true;
            let asked = ask(it);
            it.at_once = false;
            asked
        })
    }

    fn last_seq(&mut self) -> Result<Seq, Error> {
        self.ask(|conn, _, _| read::last_seq(conn))
    }

    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error> {
        self.ask(|conn, names, _| read::find(conn, names, [namespace, workflow, id]))
    }

    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
        self.ask(|conn, names, _| read::instance(conn, names, no))
    }

    fn payloads(&mut self, no: InstanceNo) -> Result<Payloads, Error> {
        self.ask(|conn, _, _| read::payloads(conn, no))
    }

    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
        assert!(!self.at_once, "a history is read in several transactions");
        let mut left = AGAIN;
        loop {
            let mut chain = Vec::new();
            match self.walk(no, &mut chain) {
                // What takes several transactions may be led to where the writer has swept
                // meanwhile (see `sweep`).
                Err(Error::Row(_)) if left > 0 && chain.len() >= read::LOOK_EVERY => left -= 1,
                walked => {
                    chain.reverse();
                    erasure::keep_what_counts(&mut chain);
                    return walked.map(|()| chain);
                }
            }
        }
    }

    fn waits(&mut self, no: InstanceNo) -> Result<Vec<Wait>, Error> {
        self.ask(|conn, _, _| read::waits(conn, no))
    }

    fn seen(&mut self, no: InstanceNo, dedup: &str) -> Result<bool, Error> {
        self.ask(|conn, _, _| read::seen(conn, no, dedup))
    }

    fn asked(&mut self, no: InstanceNo, dedup: &str) -> Result<Answered, Error> {
        self.ask(|conn, _, _| answers::asked(conn, no, dedup))
    }

    fn kept(&mut self, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>, Error> {
        self.ask(|conn, _, _| read::kept(conn, no, types))
    }

    fn page(&mut self, filter: &Filter) -> Result<Page, Error> {
        self.ask(|conn, names, _| pages::page(conn, names, filter))
    }

    fn approvals_page(&mut self, filter: &ApprovalFilter) -> Result<ApprovalPage, Error> {
        self.ask(|conn, names, _| read::approvals(conn, names, filter))
    }

    fn audit(&mut self, page: &audit::Query) -> Result<audit::Rows, Error> {
        let file = self.paths.name.clone();
        self.ask(|conn, _, _| read::audit(conn, page, &file))
    }

    fn bulks(&mut self, page: &bulk::Query) -> Result<bulk::Rows, Error> {
        let file = self.paths.name.clone();
        self.ask(|conn, _, _| read::bulks(conn, page, &file))
    }

    fn schedules(&mut self, page: &schedule::Query) -> Result<schedule::Rows<Schedule>, Error> {
        let file = self.paths.name.clone();
        self.ask(|conn, _, _| schedules::schedules(conn, page, &file))
    }

    fn firings(&mut self, page: &FiringQuery) -> Result<schedule::Rows<Firing>, Error> {
        let file = self.paths.name.clone();
        self.ask(|conn, _, _| schedules::firings(conn, page, &file))
    }

    fn loose(&mut self, beyond: Option<LargeKey>, limit: u32) -> Result<Loose, Error> {
        self.ask(|conn, _, _| large::loose(conn, beyond, limit))
    }

    fn stream(
        &mut self,
        of: (InstanceNo, Incarnation),
        name: &str,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StreamRow>, Error> {
        self.ask(|conn, _, _| streams::rows(conn, of, name, after, limit))
    }

    fn sent(&mut self, no: InstanceNo, of: Incarnation) -> Result<Vec<(Seq, u64)>, Error> {
        self.ask(|conn, _, _| streams::sent(conn, no, of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Status;
    use crate::store::samples::{append, create};
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Op, Store, Transition};

    #[test]
    fn a_question_that_takes_too_long_is_cut_off_and_a_history_is_read_in_several_transactions() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("audit.db"), "test").unwrap();
        let mut batch: Vec<Op> = (1..=300).map(create).collect();
        batch.extend((0..300).map(|n| append(1, &n.to_string())));
        let _ = store.commit(&batch).unwrap();
        let gate = Arc::clone(&store.folder.gate);
        let (published, guard) = (&store.heads.published, &store.guard);
        let mut reader = SqliteReader::open(&store.paths, published, guard, &gate).unwrap();
        reader
            .conn
            .progress_handler(
                1,
                Some({
                    let until = Arc::clone(&reader.until);
                    move || Instant::now() > *until.lock()
                }),
            )
            .unwrap();
        reader.limits = (Duration::ZERO, Duration::ZERO);
        let error = reader.list(&Filter::default()).unwrap_err();
        assert!(error.to_string().contains("took too long"), "{error}");
        assert!(reader.conn.is_autocommit(), "no transaction is left open");

        reader.limits = (READ_MAX, Duration::ZERO);
        let history = reader.history(1).unwrap();
        let names = history.iter().map(|it| it.record.operation.name.parse());
        assert!(names.eq((0..300).map(Ok::<i32, _>)));
        assert!(reader.conn.is_autocommit(), "no transaction is left open");
    }

    #[test]
    fn questions_that_are_asked_at_once_see_one_moment() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("audit.db"), "test").unwrap();
        let _ = store.commit(&[create(1), append(1, "a")]).unwrap();
        let mut reader = store.reader().unwrap();
        let ended = |payload: u8| {
            let to = Transition {
                status: Status::Complete,
                marked: false,
                recoveries: 0,
                reason: None,
                step: None,
                payload: Some([payload].into()),
                undo: None,
                at: 2,
            };
            Op::Status(1, 1, to)
        };
        let look = |it: &mut dyn Reader| {
            let (row, payloads) = (it.instance(1).unwrap().unwrap(), it.payloads(1).unwrap());
            (row.status, payloads.result, it.last_seq().unwrap())
        };
        reader
            .at_once(&mut |it| {
                let before = look(it);
                let _ = store.commit(&[ended(7), append(1, "b")]).unwrap();
                assert_eq!(look(it), before);
                Ok(())
            })
            .unwrap();
        let (status, result, last) = look(&mut *reader);
        assert_eq!(
            (status, result.as_deref(), last),
            (Status::Complete, Some(&[7][..]), 2)
        );
        // A question that fails leaves no transaction and no moment behind.
        let failed = reader.at_once(&mut |_| Err(Error::Row("bad".into())));
        assert_eq!(failed, Err(Error::Row("bad".into())));
        assert_eq!(look(&mut *reader).2, 2);
    }
}
