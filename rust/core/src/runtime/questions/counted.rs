//! Pages of those instances that are counted as a reason.

use std::sync::Arc;

use crate::codes;
use crate::failure;
use crate::lifecycle::Status;
use crate::store::{Error, Filter, Page, Reader, Row};
use crate::tally::Among;

/// Rows that are read at once where each has to be judged.
const SOME: u32 = 500;

/// Returns one page of those of a filter that are counted as a reason.
pub(super) fn page(reader: &mut dyn Reader, filter: Filter, among: &Among) -> Result<Page, Error> {
    match among {
        Among::Members { numbers, is_cut } => of_members(reader, filter, numbers, *is_cut),
        _ => judged(reader, filter, among),
    }
}

/// Who they are memory said a moment ago, and some may have moved on since.
fn of_members(
    reader: &mut dyn Reader,
    filter: Filter,
    numbers: &[u64],
    is_cut: bool,
) -> Result<Page, Error> {
    let limit = filter.limit as usize;
    let mut page = reader.page(&Filter {
        among: Some(numbers.to_vec()),
        ..filter
    })?;
    if page.rows.len() < limit && page.searched_to.is_none() && is_cut {
        page.searched_to = numbers.last().copied();
    }
    Ok(page)
}

/// Those in its state are looked at until the page is full, or the budget is used up.
fn judged(reader: &mut dyn Reader, mut filter: Filter, among: &Among) -> Result<Page, Error> {
    let state = among.state().expect("that is why they are judged");
    if !filter.statuses.is_empty() && !filter.statuses.contains(&state) {
        return Ok(Page::default());
    }
    let limit = filter.limit as usize;
    filter.statuses = vec![state];
    filter.limit = SOME;
    let mut page = Page::default();
    let mut left = filter.budget.unwrap_or(u32::MAX);
    loop {
        let found = reader.page(&filter)?;
        let (last, count) = (found.rows.last().map(|it| it.no), found.rows.len());
        for row in found.rows {
            let no = row.no;
            if is_among(&row, among) && has_error(reader, &row, among)? {
                page.rows.push(row);
                if page.rows.len() == limit {
                    return Ok(page);
                }
            }
            left = left.saturating_sub(1);
            if left == 0 {
                page.searched_to = Some(no);
                return Ok(page);
            }
        }
        if found.searched_to.is_some() || count < SOME as usize {
            page.searched_to = found.searched_to;
            return Ok(page);
        }
        filter.beyond = last;
    }
}

/// Whether an instance in the state of those that are judged is one of them, but for what its error
/// says.
fn is_among(row: &Row, among: &Among) -> bool {
    let is_held_back = row.reason.as_deref() == Some(codes::HELD_BACK);
    match among {
        Among::Members { .. } => true,
        Among::Queued(of, now) => {
            let name =
                |it: &(Arc<str>, Arc<str>)| *it.0 == *row.namespace && *it.1 == *row.workflow;
            row.start_at.is_none_or(|it| it <= *now) && !is_held_back && of.iter().any(name)
        }
        Among::Later(now) => !is_held_back && row.start_at.is_some_and(|it| it > *now),
        Among::Errored(since, _) => row.updated_at >= *since,
    }
}

/// Whether an instance ended with the error that is asked for. One that cannot be read may have.
fn has_error(reader: &mut dyn Reader, row: &Row, among: &Among) -> Result<bool, Error> {
    let Among::Errored(_, Some((status, step, class))) = among else {
        return Ok(true);
    };
    let error = match reader.payloads(row.no) {
        Ok(it) => it.result.unwrap_or_default(),
        Err(Error::Row(_)) => return Ok(true),
        Err(error) => return Err(error),
    };
    Ok(*status == Some(Status::Errored)
        && failure::step(&error) == *step
        && failure::class(&error) == *class)
}
