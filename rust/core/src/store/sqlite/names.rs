//! Names of workflows and versions, and the small numbers that stand for them in rows.
//!
//! Numbers are given out once and never change, so what was read stays true; only news must be
//! looked for.

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
#[derive(Debug, Default)]
pub(super) struct Names {
    by_id: HashMap<i64, Name>,
    ids: HashMap<Full, (i64, i64)>,
    last_id: i64,
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
        let mut news = conn.prepare_cached(
            "SELECT v.id, w.id, w.namespace, w.name, v.name FROM version v
             JOIN workflow w ON w.id = v.workflow WHERE v.id > ? ORDER BY v.id",
        )?;
        let mut rows = news.query([self.last_id])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            // One that cannot be read is not there: instances that have it say so, each for itself.
            match name_of(row) {
                Err(error) if super::rows::is_nonsense(&error) => self.last_id = id,
                name => self.learn(id, name?),
            }
        }
        Ok(())
    }

    /// Returns any version's names of a workflow.
    pub(super) fn of_workflow(&self, id: i64) -> Option<&Name> {
        self.by_id.values().find(|it| it.workflow_id == id)
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
        // DO UPDATE, for DO NOTHING returns no row.
        let workflow_id = conn.query_row(
            "INSERT INTO workflow (namespace, name) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET name = name RETURNING id",
            params![namespace, workflow],
            |row| row.get(0),
        )?;
        let version_id = conn.query_row(
            "INSERT INTO version (workflow, name) VALUES (?, ?)
             ON CONFLICT DO UPDATE SET name = name RETURNING id",
            params![workflow_id, version],
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
        let mut ids: Vec<i64> = self
            .by_id
            .values()
            .filter(|it| namespace.is_none_or(|wanted| wanted == &*it.namespace))
            .filter(|it| workflow.is_none_or(|wanted| wanted == &*it.workflow))
            .map(|it| it.workflow_id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
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
        self.ids.insert(full, (name.workflow_id, id));
        self.by_id.insert(id, name);
        self.last_id = self.last_id.max(id);
    }
}

fn name_of(row: &rusqlite::Row) -> rusqlite::Result<Name> {
    Ok(Name {
        workflow_id: row.get(1)?,
        namespace: row.get(2)?,
        workflow: row.get(3)?,
        version: row.get(4)?,
    })
}
