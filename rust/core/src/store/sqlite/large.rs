//! Keys of values in a payload store: how they are kept, and which of them nothing names.
//!
//! Payloads that name one are found by partial indexes, which hold nothing else, so whatever writes,
//! moves or frees a payload keeps them right.

use rusqlite::{params, Connection};

use super::columns::bytes;
use super::fault::{corrupt, Result};
use super::statements::Sql;
use super::write::Writing;
use crate::large::{LargeKey, Loose};
use crate::store::{Op, Outcome};

impl Writing<'_> {
    /// Keeps keys, or forgets them.
    pub(super) fn large(&mut self, op: &Op) -> Result<Outcome> {
        let (sql, keys) = match op {
            Op::Large(keys) => (Sql::Large, keys),
            Op::ForgetLarge(keys) => (Sql::ForgetLarge, keys),
            other => unreachable!("it is about no large value: {other:?}"),
        };
        for key in keys {
            let _ = self.run(sql, [&key[..]])?;
        }
        Ok(Outcome::Done(0))
    }
}

/// One column for each payload that may name a value: whether one does.
const LOOSE: &str = "SELECT key, \
    EXISTS (SELECT 1 FROM letter WHERE id > 0) \
    OR EXISTS (SELECT 1 FROM journal WHERE substr(payload, 3, 16) = large.key \
        AND payload >= x'FF06' AND payload < x'FF07') \
    OR EXISTS (SELECT 1 FROM params WHERE substr(payload, 3, 16) = large.key \
        AND payload >= x'FF06' AND payload < x'FF07') \
    OR EXISTS (SELECT 1 FROM result WHERE substr(payload, 3, 16) = large.key \
        AND payload >= x'FF06' AND payload < x'FF07') \
    OR EXISTS (SELECT 1 FROM event WHERE substr(payload, 3, 16) = large.key \
        AND payload >= x'FF06' AND payload < x'FF07') \
    OR EXISTS (SELECT 1 FROM answer WHERE substr(payload, 3, 16) = large.key \
        AND payload >= x'FF06' AND payload < x'FF07') \
    FROM large WHERE key > ? ORDER BY key LIMIT ?";

/// Returns which keys beyond this one nothing names, of the next few.
pub(super) fn loose(conn: &Connection, beyond: Option<LargeKey>, limit: u32) -> Result<Loose> {
    let mut select = conn.prepare_cached(LOOSE)?;
    let beyond = beyond.as_ref().map_or(&[][..], |it| &it[..]);
    let mut found = select.query(params![beyond, limit])?;
    let (mut loose, mut last, mut count) = (Vec::new(), None, 0);
    while let Some(row) = found.next()? {
        let key = bytes(row, 0)?.unwrap_or_default();
        let Ok(key) = LargeKey::try_from(&*key) else {
            return corrupt("the key of a value in a payload store is damaged");
        };
        if !row.get::<_, bool>(1)? {
            loose.push(key);
        }
        (last, count) = (Some(key), count + 1);
    }
    Ok((loose, last.filter(|_| count == limit)))
}
