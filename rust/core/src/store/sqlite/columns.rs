//! How one column is read; the only place that casts.
//!
//! SQLite's integers are signed; our unsigned numbers keep their bits. Anything that cannot be
//! read back is a [`super::fault::Fault::Corrupt`], never a guess.

use rusqlite::types::ValueRef;
use rusqlite::Row as Columns;

use super::fault::{corrupt, Result};
use crate::limits::NUMBERS_END;

pub(super) fn uint(row: &Columns, at: usize) -> Result<u64> {
    match row.get_ref(at)? {
        ValueRef::Integer(it) => Ok(it as u64),
        other => corrupt(format!("column {at} holds {}", other.data_type())),
    }
}

pub(super) fn int(row: &Columns, at: usize) -> Result<i64> {
    uint(row, at).map(|it| it as i64)
}

pub(super) fn int_or_none(row: &Columns, at: usize) -> Result<Option<i64>> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        _ => int(row, at).map(Some),
    }
}

pub(super) fn small(row: &Columns, at: usize) -> Result<u32> {
    let Ok(it) = u32::try_from(int(row, at)?) else {
        return corrupt(format!("column {at} is out of range"));
    };
    Ok(it)
}

pub(super) fn flag(row: &Columns, at: usize) -> Result<bool> {
    code(row, at, |it| [false, true].get(usize::from(it)).copied())
}

/// A code, where there may be none.
pub(super) fn code_or_none<T>(
    row: &Columns,
    at: usize,
    from: impl Fn(u8) -> Option<T>,
) -> Result<Option<T>> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        _ => code(row, at, from).map(Some),
    }
}

pub(super) fn code<T>(row: &Columns, at: usize, from: impl Fn(u8) -> Option<T>) -> Result<T> {
    match u8::try_from(int(row, at)?).ok().and_then(from) {
        Some(it) => Ok(it),
        None => corrupt(format!("column {at} holds an unknown code")),
    }
}

pub(super) fn text_or_none(row: &Columns, at: usize) -> Result<Option<Box<str>>> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(it) => Ok(Some(it.into())),
            Err(_) => corrupt(format!("column {at} is not UTF-8")),
        },
        other => corrupt(format!("column {at} holds {}", other.data_type())),
    }
}

pub(super) fn text(row: &Columns, at: usize) -> Result<Box<str>> {
    match text_or_none(row, at)? {
        Some(it) => Ok(it),
        None => corrupt(format!("column {at} is empty")),
    }
}

pub(super) fn bytes(row: &Columns, at: usize) -> Result<Option<Box<[u8]>>> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(it) => Ok(Some(it.into())),
        other => corrupt(format!("column {at} holds {}", other.data_type())),
    }
}

/// A number that was given out by the core.
pub(super) fn drawn(row: &Columns, at: usize) -> Result<u64> {
    match uint(row, at)? {
        it if it < NUMBERS_END => Ok(it),
        _ => corrupt(format!("column {at} holds an impossible number")),
    }
}

pub(super) fn number_or_none(row: &Columns, at: usize) -> Result<Option<u64>> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        _ => drawn(row, at).map(Some),
    }
}

/// A time that Python can tell: from year 1 to year 9999.
pub(super) fn time(row: &Columns, at: usize) -> Result<i64> {
    match int(row, at)? {
        it @ -62_135_596_800_000_000..=253_402_300_799_999_999 => Ok(it),
        _ => corrupt(format!("column {at} holds an impossible time")),
    }
}

pub(super) fn time_or_none(row: &Columns, at: usize) -> Result<Option<i64>> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        _ => time(row, at).map(Some),
    }
}
