//! Answers to what a batch has to know, in one pass over the writer's connection: each question is
//! prepared at most once.
//!
//! What it is asked is committed, and nobody else writes, so it needs no transaction. It does not
//! know why something is asked.

use rusqlite::{CachedStatement, Connection};

use super::expired;
use super::heads::Heads;
use super::names::Names;
use super::read;
use super::rows::{self, Fault};
use crate::erasure;
use crate::history::{Record, Stored};
use crate::ids::{InstanceNo, Seq};
use crate::store::known::Shelf;
use crate::store::{Error, Expired, Expiry, Row};
use crate::wait::{Approval, Event};

pub(super) struct LookUp<'c> {
    conn: &'c Connection,
    names: &'c Names,
    heads: &'c Heads,
    /// Name of the database.
    file: &'c str,
    /// Numbers of the workflow whose instances are looked up by name.
    workflows: Vec<i64>,
    by_name: Option<CachedStatement<'c>>,
    by_number: Option<CachedStatement<'c>>,
    by_approval: Option<CachedStatement<'c>>,
    output: Option<CachedStatement<'c>>,
}

impl<'c> LookUp<'c> {
    pub(super) fn new(
        conn: &'c Connection,
        names: &'c Names,
        heads: &'c Heads,
        file: &'c str,
    ) -> Self {
        let (by_name, by_number, by_approval, output) = (None, None, None, None);
        Self {
            conn,
            names,
            heads,
            file,
            workflows: Vec::new(),
            by_name,
            by_number,
            by_approval,
            output,
        }
    }

    fn told<T>(&self, read: rows::Result<T>) -> Result<T, Error> {
        read.map_err(|it: Fault| it.explain(self.file, "read"))
    }
}

/// Returns a statement, prepared now if it was not before.
fn ready<'s, 'c>(
    statement: &'s mut Option<CachedStatement<'c>>,
    conn: &'c Connection,
    sql: impl FnOnce() -> String,
) -> rows::Result<&'s mut CachedStatement<'c>> {
    match statement {
        Some(statement) => Ok(statement),
        None => Ok(statement.insert(conn.prepare_cached(&sql())?)),
    }
}

impl Shelf for LookUp<'_> {
    fn open(&mut self, namespace: &str, workflow: &str) {
        self.workflows = self.names.workflows(Some(namespace), Some(workflow));
    }

    fn by_id(&mut self, id: &str) -> Result<Option<Row>, Error> {
        let find = ready(&mut self.by_name, self.conn, read::by_name);
        let row = find.and_then(|it| read::find_with(it, self.names, &self.workflows, id));
        self.told(row)
    }

    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
        let find = ready(&mut self.by_number, self.conn, read::by_number);
        let row = find.and_then(|it| read::instance_with(it, self.names, no));
        self.told(row)
    }

    fn output(&mut self, no: InstanceNo) -> Result<Option<Box<[u8]>>, Error> {
        let find = ready(&mut self.output, self.conn, || read::of_payload("result"));
        let output = find.and_then(|it| read::payload_with(it, "result", no));
        self.told(output)
    }

    fn approval(&mut self, id: &str) -> Result<Option<Approval>, Error> {
        let find = ready(&mut self.by_approval, self.conn, read::by_approval);
        let approval = find.and_then(|it| read::approval_with(it, id));
        self.told(approval)
    }

    fn record(&mut self, no: InstanceNo, seq: Seq) -> Result<Record, Error> {
        let record = read::record(self.conn, no, seq);
        self.told(record.map(|(it, _)| it.record))
    }

    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
        let mut chain = Vec::new();
        let head = self.told(self.heads.head(self.conn, no))?;
        self.told(read::walk(self.conn, no, head, &mut chain, || true))?;
        chain.reverse();
        erasure::keep_what_counts(&mut chain);
        Ok(chain)
    }

    fn called(&mut self, no: InstanceNo) -> Result<Vec<Row>, Error> {
        let rows = read::called(self.conn, self.names, no);
        self.told(rows)
    }

    fn events(&mut self, no: InstanceNo) -> Result<Vec<Event>, Error> {
        self.told(read::events(self.conn, no))
    }

    fn call(&mut self, id: &[u8]) -> Result<Option<Box<[u8]>>, Error> {
        self.told(read::call(self.conn, id))
    }

    fn expired(&mut self, what: &Expiry) -> Result<Expired, Error> {
        let workflows = self
            .names
            .workflows(Some(&what.namespace), Some(&what.workflow));
        let mut of = workflows.into_iter();
        let found = of.next().map(|it| expired::expired(self.conn, it, what));
        self.told(found.unwrap_or_else(|| Ok(Expired::default())))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use crate::store::known::Need;
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Called, Op, Store};

    #[test]
    fn a_damaged_answer_is_told_to_whoever_repeats_the_call_and_to_nobody_else() {
        for damage in ["at = at + 1", "crc = crc + 1", "answer = x'01'"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("audit.db");
            let mut store = SqliteStore::open(&path, "test").unwrap();
            let answered = |id: u8| Called {
                id: [id].into(),
                at: 7,
                answer: [0].into(),
            };
            let ops = [1, 2].map(|it| Op::Called(Box::new(answered(it))));
            let _ = store.commit(&ops).unwrap();
            let sql = format!("UPDATE call SET {damage} WHERE id = x'01'");
            Connection::open(&path).unwrap().execute(&sql, []).unwrap();
            let mut known = |id: u8| {
                let known = store.look(Need::Call(&[id]).into()).unwrap();
                known.call(&[id])
            };
            assert!(known(1).unwrap_err().0.contains("answer"), "{damage}");
            assert_eq!(known(2), Ok(Some([0].into())));
        }
    }
}
