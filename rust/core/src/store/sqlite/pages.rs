//! Pages of instances, by number, which is the order of creation.
//!
//! Where an index leads to those that are wanted, in order of number, it is followed: a parent, an
//! attribute, a workflow and a state; of an id's beginning the numbers are collected first, if they
//! are not too many, and those that are named are looked up. All else is looked at row by row, and no more than the filter's budget: a page
//! may end with fewer instances than there is room for, and says then how far it has looked.
//! Moments become numbers by bisection, so what lies outside of them is not looked at.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row as Columns};

use super::legible;
use super::names::Names;
use super::read::{stateless, unlisted};
use super::rows::{self, Result};
use crate::ids::{InstanceNo, Micros};
use crate::lifecycle::Status;
use crate::store::{Filter, Page, Row};

/// Most instances whose ids begin alike that are put in order of number.
const ALIKE: usize = 20_000;

/// Returns one page.
pub(super) fn page(conn: &Connection, names: &Names, filter: &Filter) -> Result<Page> {
    let mut look = Search::new(conn, names, filter);
    let Some(filter) = with_numbers(conn, filter)? else {
        return Ok(Page::default());
    };
    look.filter = &filter;
    if let Some(numbers) = look.alike()? {
        look.each(&numbers)?;
    } else {
        look.ranges()?;
    }
    Ok(look.done())
}

/// Returns the filter with its moments as numbers too; none if nobody can be between them.
fn with_numbers(conn: &Connection, filter: &Filter) -> Result<Option<Filter>> {
    let mut filter = filter.clone();
    if let Some(after) = filter.created_after {
        filter.from = filter.from.max(first_since(conn, after)?);
    }
    if let Some(before) = filter.created_before {
        let to = first_since(conn, before)?;
        filter.to = Some(filter.to.map_or(to, |it| it.min(to)));
    }
    match (filter.beyond, filter.newest_first) {
        (Some(beyond), true) => {
            filter.to = Some(filter.to.map_or(beyond, |it| it.min(beyond)));
        }
        (Some(beyond), false) => filter.from = filter.from.max(beyond.saturating_add(1)),
        (None, _) => {}
    }
    Ok(filter
        .to
        .is_none_or(|it| it > filter.from)
        .then_some(filter))
}

/// Returns the number of the first instance that was created at this moment or later, or one above
/// all.
fn first_since(conn: &Connection, at: Micros) -> Result<InstanceNo> {
    let mut next = conn
        .prepare_cached("SELECT no, created_at FROM instance WHERE no >= ? ORDER BY no LIMIT 1")?;
    let mut last = conn.prepare_cached("SELECT coalesce(max(no), -1) FROM instance")?;
    let (mut low, mut high) = (0, last.query_row([], |row| row.get::<_, i64>(0))? + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let mut found = next.query([middle])?;
        match found.next()? {
            // What is damaged was created whenever that may help.
            Some(row) if row.get(1).is_ok_and(|it: i64| it < at) => low = row.get::<_, i64>(0)? + 1,
            _ => high = middle,
        }
    }
    Ok(u64::try_from(low).unwrap_or(0))
}

struct Search<'a> {
    conn: &'a Connection,
    names: &'a Names,
    filter: &'a Filter,
    /// The states asked for; none: all.
    statuses: Vec<Status>,
    workflows: Vec<i64>,
    /// All workflows there are.
    listed: Vec<i64>,
    versions: Option<Vec<i64>>,
    rows: Vec<Row>,
    /// How far those ranges were looked at that were not looked at to their end, the nearest.
    cut: Option<i64>,
}

/// Where numbers are looked for: a table, the column, and conditions that its index answers.
struct Stretch<'a> {
    table: &'a str,
    no: &'a str,
    conditions: &'a str,
    values: Vec<Value>,
}

impl<'a> Search<'a> {
    fn new(conn: &'a Connection, names: &'a Names, filter: &'a Filter) -> Self {
        let mut statuses = filter.statuses.clone();
        statuses.sort_unstable();
        statuses.dedup();
        Self {
            conn,
            names,
            filter,
            statuses,
            workflows: names.workflows(filter.namespace.as_deref(), filter.workflow.as_deref()),
            listed: names.workflows(None, None),
            versions: filter.version.as_ref().map(|it| names.versions(it)),
            rows: Vec::new(),
            cut: None,
        }
    }

    /// Returns the numbers of those that are asked for, or whose ids begin as is asked, in the order
    /// of the page, if they are few enough.
    fn alike(&self) -> Result<Option<Vec<i64>>> {
        if let Some(among) = &self.filter.among {
            let numbers = among.iter().map(|it| *it as i64).collect();
            return Ok(Some(self.in_order(numbers)));
        }
        let (from, end) = match (&self.filter.id, &self.filter.id_prefix) {
            (Some(id), _) => (id, format!("{id}\0")),
            (None, Some(prefix)) => (prefix, format!("{prefix}\u{10ffff}")),
            (None, None) => return Ok(None),
        };
        let mut select = self.conn.prepare_cached(
            "SELECT no FROM instance INDEXED BY instance_id \
             WHERE workflow = ? AND id >= ? AND id < ? LIMIT ?",
        )?;
        let mut numbers: Vec<i64> = Vec::new();
        for workflow in &self.workflows {
            let left = (ALIKE + 1 - numbers.len()) as i64;
            let found = select.query_map((workflow, &**from, &end, left), |row| row.get(0))?;
            numbers.extend(found.collect::<rusqlite::Result<Vec<i64>>>()?);
            if numbers.len() > ALIKE {
                return Ok(None);
            }
        }
        Ok(Some(self.in_order(numbers)))
    }

    /// Returns those of these numbers that the page may reach, in its order.
    fn in_order(&self, mut numbers: Vec<i64>) -> Vec<i64> {
        let filter = self.filter;
        numbers.retain(|no| {
            let no = *no as u64;
            no >= filter.from && filter.to.is_none_or(|to| no < to)
        });
        numbers.sort_unstable();
        if filter.newest_first {
            numbers.reverse();
        }
        numbers
    }

    /// Looks at these.
    fn each(&mut self, numbers: &[i64]) -> Result<()> {
        for no in numbers {
            if self.rows.len() >= self.filter.limit as usize {
                break;
            }
            let range = Stretch {
                table: "instance i",
                no: "i.no",
                conditions: "i.no = ?",
                values: vec![Value::from(*no)],
            };
            self.read(range, None)?;
        }
        Ok(())
    }

    /// Looks where an index leads, or at all.
    fn ranges(&mut self) -> Result<()> {
        let filter = self.filter;
        let budget = filter.budget;
        if !filter.parents.is_empty() {
            let share = share(budget, filter.parents.len());
            for parent in &filter.parents {
                let range = Stretch {
                    table: "instance i INDEXED BY instance_parent",
                    no: "i.no",
                    conditions: "i.parent = ?",
                    values: vec![Value::from(*parent as i64)],
                };
                self.read(range, share)?;
            }
            return Ok(());
        }
        if let Some(schedule) = &filter.schedule {
            let range = Stretch {
                table: "instance i INDEXED BY instance_schedule",
                no: "i.no",
                conditions: "i.schedule = ?",
                values: vec![Value::Text(schedule.to_string())],
            };
            return self.read(range, budget);
        }
        if let Some((key, value)) = filter.attributes.first() {
            let range = Stretch {
                table: "attribute a CROSS JOIN instance i ON i.no = a.no",
                no: "a.no",
                conditions: "a.key = ? AND a.value = ?",
                values: vec![Value::Text(key.to_string()), Value::Blob(value.to_vec())],
            };
            return self.read(range, budget);
        }
        if self.statuses.is_empty() && filter.workflow.is_none() {
            let range = Stretch {
                table: "instance i NOT INDEXED",
                no: "i.no",
                conditions: "1",
                values: Vec::new(),
            };
            return self.read(range, budget);
        }
        self.states(budget)
    }

    /// Each (workflow, state) is a range of the index on states, in order of number.
    fn states(&mut self, budget: Option<u32>) -> Result<()> {
        let mut statuses = self.statuses.clone();
        let workflows = self.workflows.clone();
        // Damaged ones, which are in no state, belong to all; and so do those of no workflow.
        if statuses.is_empty() {
            statuses = Status::ALL.to_vec();
            let mut damaged = unlisted(self.conn, self.names)?;
            for workflow in &workflows {
                damaged.extend(stateless(self.conn, *workflow)?);
            }
            self.each(&self.in_order(damaged))?;
        }
        let share = share(budget, workflows.len() * statuses.len());
        for workflow in &workflows {
            for status in &statuses {
                let range = Stretch {
                    table: "instance i INDEXED BY instance_status",
                    no: "i.no",
                    conditions: "i.workflow = ? AND i.status = ?",
                    values: vec![Value::from(*workflow), Value::from(*status as i64)],
                };
                self.read(range, share)?;
            }
        }
        Ok(())
    }

    /// Adds those of a range that are asked for, at most a page of them, looking at no more rows
    /// than this.
    fn read(&mut self, range: Stretch<'_>, budget: Option<u32>) -> Result<()> {
        let Stretch {
            table,
            no,
            conditions,
            mut values,
        } = range;
        let filter = self.filter;
        values.push(Value::from(filter.from as i64));
        values.extend(filter.to.map(|to| Value::from(to as i64)));
        let below = filter
            .to
            .map_or_else(String::new, |_| format!(" AND {no} < ?"));
        let order = if filter.newest_first { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT {} FROM {table} WHERE {conditions} AND {no} >= ?{below} ORDER BY {no} {order}",
            rows::INSTANCE
        );
        let mut select = self.conn.prepare_cached(&sql)?;
        let mut found = select.query(rusqlite::params_from_iter(values))?;
        let (mut left, mut budget) = (filter.limit, budget);
        while left > 0 {
            let Some(row) = found.next()? else {
                return Ok(());
            };
            if self.may_be(row)? {
                let shown = legible::listed_instance(row, self.names)?;
                if let Some(row) = shown.filter(|it| self.is_asked(it)) {
                    if self.has_all(row.no)? {
                        self.rows.push(row);
                        left -= 1;
                    }
                }
            }
            if let Some(left) = &mut budget {
                *left -= 1;
                if *left == 0 {
                    let at: i64 = row.get(0)?;
                    let nearer = |it: i64| {
                        if filter.newest_first {
                            it.max(at)
                        } else {
                            it.min(at)
                        }
                    };
                    self.cut = Some(self.cut.map_or(at, nearer));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether a row may be one that is asked for, by the numbers in it. Damaged ones, whose
    /// workflow is none, are read, and then it is known whether they belong here.
    fn may_be(&self, row: &Columns<'_>) -> Result<bool> {
        let number = |at| -> Result<Option<i64>> {
            Ok(match row.get_ref(at)? {
                ValueRef::Integer(it) => Some(it),
                _ => None,
            })
        };
        let has = |some: &[i64], it: Option<i64>| it.is_some_and(|it| some.contains(&it));
        if let Some(versions) = &self.versions {
            if !has(versions, number(1)?) {
                return Ok(false);
            }
        }
        if self.filter.namespace.is_some() || self.filter.workflow.is_some() {
            let workflow = number(21)?;
            if !has(&self.workflows, workflow) && has(&self.listed, workflow) {
                return Ok(false);
            }
        }
        if self.statuses.is_empty() {
            return Ok(true);
        }
        let status = number(4)?;
        Ok(self.statuses.iter().any(|it| status == Some(*it as i64)))
    }

    fn is_asked(&self, row: &Row) -> bool {
        let filter = self.filter;
        let is =
            |asked: &Option<Box<str>>, it: &str| asked.as_deref().is_none_or(|asked| asked == it);
        is(&filter.namespace, &row.namespace)
            && is(&filter.workflow, &row.workflow)
            && filter.created_after.is_none_or(|it| row.created_at >= it)
            && filter.created_before.is_none_or(|it| row.created_at < it)
            && is(&filter.id, &row.id)
            && filter
                .id_prefix
                .as_ref()
                .is_none_or(|it| row.id.starts_with(&**it))
            && (filter.schedule.is_none() || filter.schedule == row.schedule)
            && (filter.parents.is_empty()
                || row.parent.is_some_and(|it| filter.parents.contains(&it)))
    }

    /// Whether an instance has all the attributes.
    fn has_all(&self, no: InstanceNo) -> Result<bool> {
        let mut look = self
            .conn
            .prepare_cached("SELECT 1 FROM attribute WHERE key = ? AND value = ? AND no = ?")?;
        for (key, value) in &self.filter.attributes {
            if !look.exists((&**key, &**value, no as i64))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn done(mut self) -> Page {
        self.rows.sort_unstable_by_key(|it| it.no as i64);
        if self.filter.newest_first {
            self.rows.reverse();
        }
        if let Some(cut) = self.cut {
            let newest_first = self.filter.newest_first;
            let is_before = |no: i64| if newest_first { no >= cut } else { no <= cut };
            self.rows.retain(|it| is_before(it.no as i64));
        }
        let limit = self.filter.limit as usize;
        let is_full = self.rows.len() >= limit;
        self.rows.truncate(limit);
        Page {
            rows: self.rows,
            searched_to: self.cut.filter(|_| !is_full).map(|it| it as u64),
        }
    }
}

/// Returns what each of so many ranges may look at: something in any case, so that pages go on.
fn share(budget: Option<u32>, ranges: usize) -> Option<u32> {
    budget.map(|it| (it / u32::try_from(ranges.max(1)).unwrap_or(u32::MAX)).max(1))
}
