//! A read-only connection of its own, for questions that may take a while.
//!
//! Each question is one transaction, cut off after [`READ_MAX`], because a WAL cannot be folded
//! back past what the oldest open read transaction still sees.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::connection::Handle;
use super::files::Paths;
use super::guard::Guard;
use super::heads::Published;
use super::names::Names;
use super::{read, rows};
use crate::history::Stored;
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::store::{Error, Filter, Payloads, Reader, Row};
use crate::wait::{Approval, ApprovalStatus, Wait};

/// How long one question may take.
const READ_MAX: Duration = Duration::from_secs(5);
/// Instructions of SQLite's machine between two looks at the clock: well under a millisecond.
const LOOK_EVERY: i32 = 20_000;

/// See [`Reader`].
pub(super) struct SqliteReader {
    // Dropped before the guard: see `guard`.
    conn: Handle,
    names: Names,
    published: Published,
    began: Arc<Mutex<Instant>>,
    paths: Paths,
    _guard: Arc<Guard>,
}

impl SqliteReader {
    pub(super) fn open(
        paths: &Paths,
        published: &Published,
        guard: &Arc<Guard>,
    ) -> Result<Self, Error> {
        let began = Arc::new(Mutex::new(Instant::now()));
        let since = Arc::clone(&began);
        let open = || {
            let conn = Handle::reader(paths)?;
            conn.progress_handler(LOOK_EVERY, Some(move || since.lock().elapsed() > READ_MAX))?;
            Ok(conn)
        };
        let conn =
            open().map_err(|error| rows::Fault::Sql(error).explain(&paths.name, "open it"))?;
        Ok(Self {
            conn,
            names: Names::default(),
            published: Arc::clone(published),
            began,
            paths: paths.clone(),
            _guard: Arc::clone(guard),
        })
    }

    fn ask<T>(
        &mut self,
        question: impl FnOnce(&Handle, &Names, Instant) -> rows::Result<T>,
    ) -> Result<T, Error> {
        self.conn.check_process(&self.paths)?;
        let now = Instant::now();
        *self.began.lock() = now;
        let answer = || {
            // Ends by rollback when dropped, which is all a read needs.
            let _read = self.conn.unchecked_transaction()?;
            self.names.refresh(&self.conn)?;
            question(&self.conn, &self.names, now)
        };
        answer().map_err(|fault| fault.explain(&self.paths.name, "read"))
    }
}

impl Reader for SqliteReader {
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
        // Before the transaction begins: see `heads`.
        let published = self.published.lock().get(&no).copied().unwrap_or(0);
        self.ask(|conn, _, began| {
            let head = published.max(read::stored_head(conn, no)?);
            read::history(conn, no, head, || began.elapsed() < READ_MAX)
        })
    }

    fn waits(&mut self, no: InstanceNo) -> Result<Vec<Wait>, Error> {
        self.ask(|conn, _, _| read::waits(conn, no))
    }

    fn list(&mut self, filter: &Filter) -> Result<Vec<Row>, Error> {
        self.ask(|conn, names, _| read::list(conn, names, filter))
    }

    fn count(
        &mut self,
        namespace: &str,
        workflow: Option<&str>,
    ) -> Result<Vec<(Status, u64)>, Error> {
        self.ask(|conn, names, _| read::count(conn, names, namespace, workflow))
    }

    fn approvals(
        &mut self,
        workflow: Option<&str>,
        status: Option<ApprovalStatus>,
    ) -> Result<Vec<(Row, Approval)>, Error> {
        self.ask(|conn, names, _| read::approvals(conn, names, workflow, status))
    }
}
