//! What the model store answers to those who read slowly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::model::Model;
use crate::attributes::pairs;
use crate::audit;
use crate::bulk;
use crate::erasure;
use crate::history::Stored;
use crate::ids::{EventId, Incarnation, InstanceNo, Seq, WaitId};
use crate::large::{named, LargeKey, Loose};
use crate::schedule::{self, Firing, FiringQuery, Schedule};
use crate::store::{
    Answered, ApprovalFilter, ApprovalPage, Error, Filter, Page, Payloads, Reader, Row,
};
use crate::stream::StreamRow;
use crate::wait::Wait;

/// Asks the records as they are at each question.
pub(super) struct MemoryReader(pub(super) Arc<Mutex<Model>>);

impl Reader for MemoryReader {
    fn at_once(
        &mut self,
        ask: &mut dyn FnMut(&mut dyn Reader) -> Result<(), Error>,
    ) -> Result<(), Error> {
        ask(&mut Moment(&self.0.lock()))
    }

    fn last_seq(&mut self) -> Result<Seq, Error> {
        Moment(&self.0.lock()).last_seq()
    }

    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error> {
        Moment(&self.0.lock()).find(namespace, workflow, id)
    }

    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
        Moment(&self.0.lock()).instance(no)
    }

    fn payloads(&mut self, no: InstanceNo) -> Result<Payloads, Error> {
        Moment(&self.0.lock()).payloads(no)
    }

    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
        Moment(&self.0.lock()).history(no)
    }

    fn waits(&mut self, no: InstanceNo) -> Result<Vec<Wait>, Error> {
        Moment(&self.0.lock()).waits(no)
    }

    fn seen(&mut self, no: InstanceNo, dedup: &str) -> Result<bool, Error> {
        Moment(&self.0.lock()).seen(no, dedup)
    }

    fn asked(&mut self, no: InstanceNo, dedup: &str) -> Result<Answered, Error> {
        Moment(&self.0.lock()).asked(no, dedup)
    }

    fn kept(&mut self, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>, Error> {
        Moment(&self.0.lock()).kept(no, types)
    }

    fn page(&mut self, filter: &Filter) -> Result<Page, Error> {
        Moment(&self.0.lock()).page(filter)
    }

    fn approvals_page(&mut self, filter: &ApprovalFilter) -> Result<ApprovalPage, Error> {
        Moment(&self.0.lock()).approvals_page(filter)
    }

    fn audit(&mut self, page: &audit::Query) -> Result<audit::Rows, Error> {
        Moment(&self.0.lock()).audit(page)
    }

    fn bulks(&mut self, page: &bulk::Query) -> Result<bulk::Rows, Error> {
        Moment(&self.0.lock()).bulks(page)
    }

    fn schedules(&mut self, page: &schedule::Query) -> Result<schedule::Rows<Schedule>, Error> {
        Moment(&self.0.lock()).schedules(page)
    }

    fn firings(&mut self, page: &FiringQuery) -> Result<schedule::Rows<Firing>, Error> {
        Moment(&self.0.lock()).firings(page)
    }

    fn loose(&mut self, beyond: Option<LargeKey>, limit: u32) -> Result<Loose, Error> {
        Moment(&self.0.lock()).loose(beyond, limit)
    }

    fn stream(
        &mut self,
        of: (InstanceNo, Incarnation),
        name: &str,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StreamRow>, Error> {
        Moment(&self.0.lock()).stream(of, name, after, limit)
    }

    fn sent(&mut self, no: InstanceNo, of: Incarnation) -> Result<Vec<(Seq, u64)>, Error> {
        Moment(&self.0.lock()).sent(no, of)
    }
}

/// The records while nobody can change them.
pub(super) struct Moment<'m>(pub(super) &'m Model);

impl Reader for Moment<'_> {
    fn at_once(
        &mut self,
        ask: &mut dyn FnMut(&mut dyn Reader) -> Result<(), Error>,
    ) -> Result<(), Error> {
        ask(self)
    }

    fn last_seq(&mut self) -> Result<Seq, Error> {
        Ok(self.0.last_seq)
    }

    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error> {
        Ok(self.0.find(namespace, workflow, id))
    }

    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
        Ok(self.0.instances.get(&no).map(|it| it.row.clone()))
    }

    fn payloads(&mut self, no: InstanceNo) -> Result<Payloads, Error> {
        let model = self.0;
        Ok(model
            .instances
            .get(&no)
            .map(|it| it.payloads.clone())
            .unwrap_or_default())
    }

    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
        let model = self.0;
        let mut history = model
            .instances
            .get(&no)
            .map(|it| it.history.clone())
            .unwrap_or_default();
        erasure::keep_what_counts(&mut history);
        Ok(history)
    }

    fn waits(&mut self, no: InstanceNo) -> Result<Vec<Wait>, Error> {
        let model = self.0;
        let range = model.waits.range((no, 0)..=(no, WaitId::MAX));
        Ok(range.map(|(_, wait)| wait.clone()).collect())
    }

    fn seen(&mut self, no: InstanceNo, dedup: &str) -> Result<bool, Error> {
        Ok(self.0.seen.contains(&(no, dedup.into())))
    }

    fn asked(&mut self, no: InstanceNo, dedup: &str) -> Result<Answered, Error> {
        let event = self.0.asked.get(&(no, dedup.into()));
        let answer = event.map(|it| self.0.answers.get(&(no, *it)));
        Ok(match answer {
            None => Answered::Never,
            Some(None | Some(None)) => Answered::Open,
            Some(Some(Some(answer))) => Answered::With(answer.clone()),
        })
    }

    fn kept(&mut self, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>, Error> {
        let mut counts = BTreeMap::new();
        for (_, event) in self.0.events.range((no, 0)..=(no, EventId::MAX)) {
            *counts.entry(event.kind.clone()).or_default() += 1;
        }
        Ok(counts.into_iter().take(types as usize).collect())
    }

    fn page(&mut self, filter: &Filter) -> Result<Page, Error> {
        let model = self.0;
        let beyond = |no: &InstanceNo| match filter.beyond {
            Some(it) if filter.newest_first => *no < it,
            Some(it) => *no > it,
            None => true,
        };
        let mut numbers: Vec<InstanceNo> = model.instances.keys().copied().collect();
        let is_between = |no: &InstanceNo| {
            let at = model.instances[no].row.created_at;
            filter.created_after.is_none_or(|it| at >= it)
                && filter.created_before.is_none_or(|it| at < it)
        };
        numbers.retain(is_between);
        if filter.newest_first {
            numbers.reverse();
        }
        let mut page = Page::default();
        let mut budget = filter.budget.unwrap_or(u32::MAX);
        for no in numbers.into_iter().filter(beyond) {
            if page.rows.len() >= filter.limit as usize {
                break;
            }
            let it = &model.instances[&no];
            if matches(filter, &it.row) && has(&it.payloads, &filter.attributes) {
                page.rows.push(it.row.clone());
            }
            budget -= 1;
            if budget == 0 && page.rows.len() < filter.limit as usize {
                page.searched_to = Some(no);
                break;
            }
        }
        Ok(page)
    }

    fn approvals_page(&mut self, filter: &ApprovalFilter) -> Result<ApprovalPage, Error> {
        let model = self.0;
        let mut page = ApprovalPage::default();
        let mut budget = filter.budget.unwrap_or(u32::MAX);
        let numbered = (1..).zip(&model.approvals);
        for (number, approval) in numbered.filter(|it| filter.beyond.is_none_or(|at| it.0 > at)) {
            if page.rows.len() >= filter.limit as usize {
                break;
            }
            let is = |asked: &Option<Box<str>>, it: &str| {
                asked.as_deref().is_none_or(|asked| asked == it)
            };
            if let Some(instance) = model.instances.get(&approval.no) {
                let row = &instance.row;
                if filter.status.is_none_or(|it| it == approval.status)
                    && is(&filter.namespace, &row.namespace)
                    && is(&filter.workflow, &row.workflow)
                {
                    page.rows.push((number, row.clone(), approval.clone()));
                }
            }
            budget -= 1;
            if budget == 0 && page.rows.len() < filter.limit as usize {
                page.searched_to = Some(number);
                break;
            }
        }
        Ok(page)
    }

    fn audit(&mut self, page: &audit::Query) -> Result<audit::Rows, Error> {
        let of_many = page.workflow.as_ref().zip(page.id.as_ref());
        let of_many = of_many.and_then(|(workflow, id)| {
            let name = (page.namespace.clone(), workflow.clone(), id.clone());
            self.0.touched.get(self.0.names.get(&name)?)
        });
        let is_last = |it: &audit::Entry| of_many == Some(&it.number) && page.reaches(it.number);
        let rows = self.0.audit.values().rev();
        let rows = rows.filter(|it| page.has(it) || is_last(it));
        let rows = rows.take(page.limit as usize).cloned().map(Ok);
        Ok((rows.collect(), None))
    }

    fn bulks(&mut self, page: &bulk::Query) -> Result<bulk::Rows, Error> {
        let all = self.0.bulks.values().rev().filter(|it| page.has(it));
        Ok(all.take(page.limit as usize).cloned().map(Ok).collect())
    }

    fn schedules(&mut self, page: &schedule::Query) -> Result<schedule::Rows<Schedule>, Error> {
        Ok(self.0.schedules.page(page))
    }

    fn firings(&mut self, page: &FiringQuery) -> Result<schedule::Rows<Firing>, Error> {
        Ok(self.0.schedules.firings(page))
    }

    fn loose(&mut self, beyond: Option<LargeKey>, limit: u32) -> Result<Loose, Error> {
        let mut all = self.0.large.iter().copied().collect::<Vec<_>>();
        all.retain(|it| beyond.is_none_or(|beyond| *it > beyond));
        all.truncate(limit as usize);
        let last = all.last().copied().filter(|_| all.len() == limit as usize);
        let mut payloads = Vec::new();
        for (no, it) in &self.0.instances {
            payloads.extend([it.payloads.params.clone(), it.payloads.result.clone()]);
            let history = self.history(*no)?; // without what was erased
            payloads.extend(history.into_iter().map(|it| it.record.payload));
        }
        payloads.extend(self.0.events.values().map(|it| it.payload.clone()));
        payloads.extend(self.0.answers.values().cloned());
        let in_use: BTreeSet<_> = payloads
            .iter()
            .flatten()
            .filter_map(|it| named(it))
            .collect();
        all.retain(|it| self.0.letters.is_empty() && !in_use.contains(it));
        Ok((all, last))
    }

    fn stream(
        &mut self,
        (no, of): (InstanceNo, Incarnation),
        name: &str,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StreamRow>, Error> {
        let rows = self.0.streams.rows(no, of, name, after, limit);
        let history = self.0.instances.get(&no).map(|it| &it.history);
        let recorded = |place: Seq| {
            let mut records = history?.iter();
            records.find(|it| it.seq == place).cloned()
        };
        Ok(rows.map(|it| it.read(recorded)).collect())
    }

    fn sent(&mut self, no: InstanceNo, of: Incarnation) -> Result<Vec<(Seq, u64)>, Error> {
        Ok(self.0.streams.sent(no, of))
    }
}

/// Whether these are among the attributes.
fn has(payloads: &Payloads, wanted: &[(Box<str>, Box<[u8]>)]) -> bool {
    let map = payloads.attributes.as_deref().and_then(pairs);
    let pairs = map.unwrap_or_default();
    let mut wanted = wanted.iter();
    wanted.all(|(key, value)| pairs.contains(&(key, value)))
}

fn matches(filter: &Filter, row: &Row) -> bool {
    filter
        .namespace
        .as_ref()
        .is_none_or(|it| *it == row.namespace)
        && filter
            .workflow
            .as_ref()
            .is_none_or(|it| *it == row.workflow)
        && (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
        && filter.version.as_ref().is_none_or(|it| *it == row.version)
        && filter.among.as_ref().is_none_or(|it| it.contains(&row.no))
        && (filter.parents.is_empty() || row.parent.is_some_and(|it| filter.parents.contains(&it)))
        && (filter.schedule.is_none() || filter.schedule == row.schedule)
        && filter.id.as_ref().is_none_or(|it| *it == row.id)
        && filter
            .id_prefix
            .as_ref()
            .is_none_or(|it| row.id.starts_with(&**it))
        && row.no >= filter.from
        && filter.to.is_none_or(|it| row.no < it)
        && filter.created_after.is_none_or(|it| row.created_at >= it)
        && filter.created_before.is_none_or(|it| row.created_at < it)
}
