//! Names of workflows and versions, and the small numbers that stand for them in rows.
//!
//! Numbers are given out once and never change, so what was read stays true; only news must be
//! looked for. A name that cannot be read is not there: instances that have it say so, each for
//! itself.

use hashbrown::{Equivalent, HashMap};
use rusqlite::{params, Connection};

/// What a version's number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) workflow_id: i64,
    pub(super) namespace: Box<str>,
    pub(super) workflow: Box<str>,
    pub(super) version: Box<str>,
}

/// All names known to one connection.
#[derive(Debug)]
pub(super) struct Names {
    by_id: HashMap<i64, Name>,
    ids: HashMap<Full, (i64, i64)>,
    /// Namespace and name of each workflow, also of one without a version that can be read.
    workflows: HashMap<i64, (Box<str>, Box<str>)>,
    /// The highest numbers seen of workflows and versions.
    seen: (i64, i64),
}

impl Default for Names {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            ids: HashMap::new(),
            workflows: HashMap::new(),
            seen: (i64::MIN, i64::MIN),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Full(Box<str>, Box<str>, Box<str>);

#[derive(Hash)]
struct Borrowed<'a>(&'a str, &'a str, &'a str);

impl Equivalent<Full> for Borrowed<'_> {
    fn equivalent(&self, it: &Full) -> bool {
        *self.0 == *it.0 && *self.1 == *it.1 && *self.2 == *it.2
    }
}

impl Names {
    /// Reads the names that came since the last look.
    pub(super) fn refresh(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let mut news = conn
            .prepare_cached("SELECT id, namespace, name FROM workflow WHERE id > ? ORDER BY id")?;
        let mut rows = news.query([self.seen.0])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            if let (Some(namespace), Some(name)) = (text(row, 1)?, text(row, 2)?) {
                self.workflows.insert(id, (namespace, name));
            }
            see(&mut self.seen.0, id);
        }
        let mut news =
            conn.prepare_cached("SELECT id, workflow, name FROM version WHERE id > ? ORDER BY id")?;
        let mut rows = news.query([self.seen.1])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let workflow = row.get_ref(1)?.as_i64().ok();
            let names = workflow.and_then(|it| Some((it, self.workflows.get(&it)?)));
            if let (Some((workflow_id, (namespace, workflow))), Some(version)) =
                (names, text(row, 2)?)
            {
                let name = Name {
                    workflow_id,
                    namespace: namespace.clone(),
                    workflow: workflow.clone(),
                    version,
                };
                self.learn(id, name);
            }
            see(&mut self.seen.1, id);
        }
        Ok(())
    }

    /// Returns namespace and name of a workflow.
    pub(super) fn workflow(&self, id: i64) -> Option<&(Box<str>, Box<str>)> {
        self.workflows.get(&id)
    }

    /// Returns what a version's number stands for.
    pub(super) fn get(&self, version: i64) -> Option<&Name> {
        self.by_id.get(&version)
    }

    /// Returns (workflow, version) as numbers, giving out new ones if need be.
    pub(super) fn number(
        &mut self,
        conn: &Connection,
        [namespace, workflow, version]: [&str; 3],
    ) -> rusqlite::Result<(i64, i64)> {
        if let Some(ids) = self.ids.get(&Borrowed(namespace, workflow, version)) {
            return Ok(*ids);
        }
        // DO UPDATE, for DO NOTHING returns no row. A number that is damaged may be the last there
        // is.
        let workflow_id = conn.query_row(
            "INSERT INTO workflow (id, namespace, name)
             SELECT max(0, coalesce(max(id), 0)) + 1, ?, ? FROM workflow WHERE id < ?
             ON CONFLICT DO UPDATE SET name = name RETURNING id",
            params![namespace, workflow, i64::MAX],
            |row| row.get(0),
        )?;
        let version_id = conn.query_row(
            "INSERT INTO version (id, workflow, name)
             SELECT max(0, coalesce(max(id), 0)) + 1, ?, ? FROM version WHERE id < ?
             ON CONFLICT DO UPDATE SET name = name RETURNING id",
            params![workflow_id, version, i64::MAX],
            |row| row.get(0),
        )?;
        let name = Name {
            workflow_id,
            namespace: namespace.into(),
            workflow: workflow.into(),
            version: version.into(),
        };
        self.learn(version_id, name);
        Ok((workflow_id, version_id))
    }

    /// Returns the numbers of the workflows with this namespace and name; `None` means any.
    pub(super) fn workflows(&self, namespace: Option<&str>, workflow: Option<&str>) -> Vec<i64> {
        let wanted = self.workflows.iter().filter(|(_, it)| {
            namespace.is_none_or(|wanted| wanted == &*it.0)
                && workflow.is_none_or(|wanted| wanted == &*it.1)
        });
        let mut ids: Vec<i64> = wanted.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Returns all versions, each with its number.
    pub(super) fn all(&self) -> impl Iterator<Item = (i64, &Name)> {
        self.by_id.iter().map(|(id, name)| (*id, name))
    }

    /// Returns the numbers of the versions of this name.
    pub(super) fn versions(&self, version: &str) -> Vec<i64> {
        let wanted = self.by_id.iter().filter(|(_, it)| &*it.version == version);
        wanted.map(|(id, _)| *id).collect()
    }

    fn learn(&mut self, id: i64, name: Name) {
        let full = Full(
            name.namespace.clone(),
            name.workflow.clone(),
            name.version.clone(),
        );
        self.workflows
            .entry(name.workflow_id)
            .or_insert_with(|| (name.namespace.clone(), name.workflow.clone()));
        self.ids.insert(full, (name.workflow_id, id));
        self.by_id.insert(id, name);
    }
}

/// The very last number, which only damage gives, hides none that comes after it.
fn see(seen: &mut i64, id: i64) {
    if id < i64::MAX {
        *seen = id.max(*seen);
    }
}

fn text(row: &rusqlite::Row, at: usize) -> rusqlite::Result<Option<Box<str>>> {
    Ok(row.get_ref(at)?.as_str().ok().map(Into::into))
}
