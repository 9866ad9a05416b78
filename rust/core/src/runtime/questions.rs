//! Questions that are answered by reading, and the answers.
//!
//! What an answer tells is of one moment, unless it is a history, whose records never change. What
//! of an instance is damaged is said in its place: one that cannot be read spoils no listing.

mod counted;

use crate::audit;
use crate::bulk;
use crate::changes::Since;
use crate::codes;
use crate::failure::recorded;
use crate::history::Stored;
use crate::ids::{Incarnation, InstanceNo, Micros};
use crate::large::LargeKey;
use crate::lifecycle::Status;
use crate::limits::{CHILDREN_NAMED, TYPES_NAMED};
use crate::note::Data;
use crate::rewind::{self, From};
use crate::schedule::{self, FiringQuery};
use crate::store::{ApprovalFilter, Error, Filter, Look, Payloads, Reader, Row};
use crate::submission::Name;
use crate::tally::{Among, ReasonTold};
use crate::wait::{tell_approvals, told_approval, Source, Wait};

/// An instance by id, of this workflow or of any.
pub type Parent = (Option<Box<str>>, Box<str>);

/// A question that is answered by reading.
#[derive(Debug, Clone)]
pub enum Question {
    /// One instance, with payloads or without.
    Find(Name, bool),
    /// A page of instances; of the children of one with this id only, of this workflow or of any;
    /// of those only that are counted as a reason.
    List(Box<Filter>, Option<Box<Parent>>, Option<Box<Among>>),
    /// What instances are at that changed, of this namespace.
    Changes(Box<str>, Since),
    /// Why instances are where they are, as the tally tells it at this time; of a namespace or all.
    Reasons(Vec<ReasonTold>, Micros),
    /// History and open waits.
    History(InstanceNo),
    /// A page of approvals.
    Approvals(ApprovalFilter),
    /// Who did what.
    Audit(audit::Query),
    /// What a restart from there would do to a history.
    Rewind(Name, From),
    /// An instance, and rows of a stream of it: of this incarnation, unless it has another by now, from
    /// the one on that holds the chunk after this place; at most so many.
    Stream(Name, Box<str>, (Incarnation, u64), u32),
    /// What is done to many.
    Bulks(bulk::Query),
    /// Schedules.
    Schedules(schedule::Query),
    /// What came of the times of one.
    Firings(FiringQuery),
    /// Which keys of large values nothing names, of the next few beyond one.
    Loose(Option<LargeKey>, u32),
    /// An instance, with its payloads, and what came of the event with this `dedup_id` that wanted an
    /// answer.
    Asked(Name, Box<str>),
}

/// Answers a question.
///
/// # Errors
///
/// What the store says where one row, or all of it, cannot be read.
pub(crate) fn answer(reader: &mut dyn Reader, question: &Question) -> Result<Data, Error> {
    let mut data = Data::Nothing;
    // One moment for all of an answer: never the state of one and the result of another.
    match question {
        Question::Find(name, with_payloads) => reader.at_once(&mut |it| {
            let row = it.find(&name.namespace, &name.workflow, &name.id)?;
            let mut look = row.map(|row| look(it, row, *with_payloads)).transpose()?;
            if let Some(look) = look.as_mut().filter(|it| !it.waits.is_empty()) {
                look.kept = it.kept(look.row.no, TYPES_NAMED)?;
            }
            data = Data::Row(look.map(Box::new));
            Ok(())
        })?,
        Question::List(filter, parent, among) => reader.at_once(&mut |it| {
            let filter = with_parents(it, filter, parent.as_deref())?;
            let Some(filter) = filter else {
                data = Data::Rows(Vec::new(), None);
                return Ok(());
            };
            let page = match among {
                Some(among) => counted::page(it, filter, among)?,
                None => it.page(&filter)?,
            };
            let looks = page.rows.into_iter().map(|row| summary(it, row));
            let looks = looks.collect::<Result<_, Error>>()?;
            let at = match page.searched_to {
                Some(no) => Some((no, created_at(it, no)?)),
                None => None,
            };
            data = Data::Rows(looks, at);
            Ok(())
        })?,
        Question::Rewind(name, from) => data = rewound(reader, name, from)?,
        Question::Changes(namespace, since) => reader.at_once(&mut |it| {
            let mut rows = Vec::new();
            for (place, no) in &since.some {
                match it.instance(*no) {
                    Ok(row) => {
                        let row = row.filter(|it| it.namespace == *namespace);
                        rows.extend(row.map(|it| (*place, it)));
                    }
                    Err(Error::Row(_)) => {} // it is blocked, and listed as such
                    Err(error) => return Err(error),
                }
            }
            let to = since.some.last().map_or(since.last, |it| it.0);
            data = Data::Changes(since.is_lost, rows, to);
            Ok(())
        })?,
        Question::Reasons(told, now) => reader.at_once(&mut |it| {
            let named = told.iter().map(|told| named(it, told.clone(), *now));
            data = Data::Reasons(named.collect::<Result<_, Error>>()?);
            Ok(())
        })?,
        Question::History(no) => data = Data::History(history(reader, *no)?.map(Box::new)),
        Question::Approvals(filter) => {
            let mut page = reader.approvals_page(filter)?;
            for (_, row, approval) in &mut page.rows {
                approval.id = told_approval(&row.namespace, &approval.id).into();
            }
            data = Data::Approvals(page);
        }
        Question::Audit(page) => data = Data::Audit(reader.audit(page)?),
        Question::Asked(name, dedup) => reader.at_once(&mut |it| {
            let row = it.find(&name.namespace, &name.workflow, &name.id)?;
            let Some(row) = row else {
                data = Data::Asked(None);
                return Ok(());
            };
            let asked = it.asked(row.no, dedup)?;
            let look = look(it, row, true)?;
            data = Data::Asked(Some(Box::new((look, asked))));
            Ok(())
        })?,
        Question::Stream(name, stream, (incarnation, after), limit) => {
            reader.at_once(&mut |it| {
                let row = it.find(&name.namespace, &name.workflow, &name.id)?;
                let Some(row) = row else {
                    data = Data::Stream(None);
                    return Ok(());
                };
                let is_this = row.incarnation == *incarnation;
                let after = if is_this { *after } else { 0 };
                let rows = it.stream((row.no, row.incarnation), stream, after, *limit)?;
                data = Data::Stream(Some(Box::new((row, rows))));
                Ok(())
            })?;
        }
        Question::Bulks(page) => data = Data::Bulks(reader.bulks(page)?),
        Question::Schedules(page) => data = Data::Schedules(reader.schedules(page)?),
        Question::Firings(page) => data = Data::Firings(reader.firings(page)?),
        Question::Loose(beyond, limit) => data = Data::Loose(reader.loose(*beyond, *limit)?),
    }
    Ok(data)
}

fn rewound(reader: &mut dyn Reader, name: &Name, from: &From) -> Result<Data, Error> {
    let found = reader.find(&name.namespace, &name.workflow, &name.id)?;
    let Some(row) = found else {
        return Ok(Data::Rewound(None));
    };
    let error = reader.payloads(row.no)?.result;
    let history = reader.history(row.no)?;
    let waits = reader.waits(row.no)?;
    let plan = rewind::plan(&history, &waits, from, (row.status, error.as_deref()));
    let history = Box::new((row, history, plan));
    Ok(Data::Rewound(Some(history)))
}

/// Returns a filter that asks for the children of an instance, if there is one with this id.
fn with_parents(
    reader: &mut dyn Reader,
    filter: &Filter,
    parent: Option<&Parent>,
) -> Result<Option<Filter>, Error> {
    let Some((workflow, id)) = parent else {
        return Ok(Some(filter.clone()));
    };
    let named = Filter {
        namespace: filter.namespace.clone(),
        workflow: workflow.clone(),
        id: Some(id.clone()),
        limit: u32::MAX,
        ..Filter::default()
    };
    let parents = reader.list(&named)?.iter().map(|it| it.no).collect();
    let filter = Filter {
        parents,
        ..filter.clone()
    };
    Ok((!filter.parents.is_empty()).then_some(filter))
}

/// Returns when the last instance was created that a page looked at; nobody knows of a damaged one.
fn created_at(reader: &mut dyn Reader, no: InstanceNo) -> Result<Micros, Error> {
    match reader.instance(no) {
        Ok(row) => Ok(row.map_or(0, |it| it.created_at)),
        Err(Error::Row(_)) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Adds to a reason the id of the instance that has been there longest. Which that is of those that
/// never ran, memory does not know: the store has them in order.
fn named(
    reader: &mut dyn Reader,
    mut told: ReasonTold,
    now: Micros,
) -> Result<(ReasonTold, Option<Box<str>>), Error> {
    let first = || Filter {
        limit: 1,
        ..Filter::default()
    };
    let is_queued = told.status == Some(Status::Queued) && &*told.code != codes::HELD_BACK;
    if let (Some((namespace, workflow)), true) = (&told.workflow, is_queued) {
        let queued = reader.list(&Filter {
            namespace: Some((&**namespace).into()),
            workflow: Some((&**workflow).into()),
            version: told.version.as_deref().map(Into::into),
            statuses: vec![Status::Queued],
            ..first()
        })?;
        let first = queued.into_iter().next();
        let ahead = |it: &Row| it.start_at.filter(|at| *at > now);
        let fits = |it: &Row| ahead(it).is_some() == (&*told.code == codes::START_AT);
        let is_first = |it: &Row| told.since.is_none_or(|since| it.updated_at < since);
        if let Some(it) = first.filter(|it| fits(it) && is_first(it)) {
            (told.since, told.example) = (Some(it.updated_at), Some(it.no));
            told.next = ahead(&it);
            return Ok((told, Some(it.id)));
        }
    }
    let Some(no) = told.example else {
        return Ok((told, None));
    };
    let id = match reader.instance(no) {
        Ok(row) => row.map(|it| it.id),
        // A listing shows what can be read of it.
        Err(Error::Row(_)) => {
            let rows = reader.list(&Filter {
                beyond: no.checked_sub(1),
                ..first()
            })?;
            rows.into_iter().find(|it| it.no == no).map(|it| it.id)
        }
        Err(error) => return Err(error),
    };
    Ok((told, id))
}

/// Adds to a row what else there is of its instance.
fn look(reader: &mut dyn Reader, row: Row, with_payloads: bool) -> Result<Look, Error> {
    let mut waits = Vec::new();
    if !row.status.is_final() {
        waits = reader.waits(row.no)?;
        tell_approvals(&row.namespace, &mut waits);
    }
    let payloads = if with_payloads {
        reader.payloads(row.no)?
    } else {
        Payloads::default()
    };
    let children = waited_for(reader, &waits)?;
    Ok(Look {
        row,
        payloads,
        waits,
        children,
        kept: Vec::new(),
    })
}

/// Returns the children whose ends are waited for longest, but for those that cannot be read: that
/// is theirs to tell.
fn waited_for(reader: &mut dyn Reader, waits: &[Wait]) -> Result<Vec<Row>, Error> {
    let awaited = waits.iter().filter_map(|it| match it.source {
        Source::Child(no) => Some(no),
        _ => None,
    });
    let mut children = Vec::new();
    for no in awaited.take(CHILDREN_NAMED) {
        match reader.instance(no) {
            Ok(child) => children.extend(child),
            Err(Error::Row(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

/// Returns what a listing shows. What of an instance is damaged is said in its place: the others of
/// the page are as good as ever.
fn summary(reader: &mut dyn Reader, row: Row) -> Result<Look, Error> {
    let is_complete = row.status == Status::Complete;
    let looked = match &row.damage {
        Some(what) => Err(Error::Row(format!("the store is damaged: {what}"))),
        None => look(reader, row.clone(), true),
    };
    let mut look = match looked {
        Err(Error::Row(message)) => {
            return Ok(Look {
                row,
                payloads: Payloads {
                    result: Some(recorded("StoreCorrupt", &message)),
                    ..Payloads::default()
                },
                waits: Vec::new(),
                children: Vec::new(),
                kept: Vec::new(),
            })
        }
        look => look?,
    };
    look.payloads.params = None;
    // The error of a blocked or failed one belongs to its summary; outputs may be big.
    if is_complete {
        look.payloads.result = None;
    }
    Ok(look)
}

/// Returns an instance with the records that it had at the moment of the look.
fn history(reader: &mut dyn Reader, no: InstanceNo) -> Result<Option<(Look, Vec<Stored>)>, Error> {
    let (mut found, mut last) = (None, 0);
    reader.at_once(&mut |it| {
        let row = it.instance(no)?;
        found = row.map(|row| look(it, row, true)).transpose()?;
        last = it.last_seq()?;
        Ok(())
    })?;
    let Some(look) = found else {
        return Ok(None);
    };
    let mut records = reader.history(no)?;
    records.retain(|it| it.seq <= last);
    Ok(Some((look, records)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Seq;
    use crate::large::Loose;
    use crate::schedule::{Firing, Schedule};
    use crate::store::memory::MemoryStore;
    use crate::store::samples::{append, create};
    use crate::store::Store;
    use crate::store::{Answered, ApprovalPage, Page};
    use crate::stream::StreamRow;

    /// A reader whose histories are read after one more record was committed.
    struct Late(Box<dyn Reader>, MemoryStore);

    impl Reader for Late {
        fn at_once(
            &mut self,
            ask: &mut dyn FnMut(&mut dyn Reader) -> Result<(), Error>,
        ) -> Result<(), Error> {
            self.0.at_once(ask)
        }

        fn last_seq(&mut self) -> Result<Seq, Error> {
            self.0.last_seq()
        }

        fn find(
            &mut self,
            namespace: &str,
            workflow: &str,
            id: &str,
        ) -> Result<Option<Row>, Error> {
            self.0.find(namespace, workflow, id)
        }

        fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
            self.0.instance(no)
        }

        fn payloads(&mut self, no: InstanceNo) -> Result<Payloads, Error> {
            self.0.payloads(no)
        }

        fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
            let _ = self.1.commit(&[append(1, "later")])?;
            self.0.history(no)
        }

        fn waits(&mut self, no: InstanceNo) -> Result<Vec<Wait>, Error> {
            self.0.waits(no)
        }

        fn seen(&mut self, no: InstanceNo, dedup: &str) -> Result<bool, Error> {
            self.0.seen(no, dedup)
        }

        fn asked(&mut self, no: InstanceNo, dedup: &str) -> Result<Answered, Error> {
            self.0.asked(no, dedup)
        }

        fn kept(&mut self, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>, Error> {
            self.0.kept(no, types)
        }

        fn page(&mut self, filter: &Filter) -> Result<Page, Error> {
            self.0.page(filter)
        }

        fn approvals_page(&mut self, filter: &ApprovalFilter) -> Result<ApprovalPage, Error> {
            self.0.approvals_page(filter)
        }

        fn audit(&mut self, page: &audit::Query) -> Result<audit::Rows, Error> {
            self.0.audit(page)
        }

        fn bulks(&mut self, page: &bulk::Query) -> Result<bulk::Rows, Error> {
            self.0.bulks(page)
        }

        fn schedules(&mut self, page: &schedule::Query) -> Result<schedule::Rows<Schedule>, Error> {
            self.0.schedules(page)
        }

        fn firings(&mut self, page: &FiringQuery) -> Result<schedule::Rows<Firing>, Error> {
            self.0.firings(page)
        }

        fn loose(&mut self, beyond: Option<LargeKey>, limit: u32) -> Result<Loose, Error> {
            self.0.loose(beyond, limit)
        }

        fn stream(
            &mut self,
            of: (InstanceNo, Incarnation),
            name: &str,
            after: u64,
            limit: u32,
        ) -> Result<Vec<StreamRow>, Error> {
            self.0.stream(of, name, after, limit)
        }

        fn sent(&mut self, no: InstanceNo, of: Incarnation) -> Result<Vec<(Seq, u64)>, Error> {
            self.0.sent(no, of)
        }
    }

    #[test]
    fn a_history_is_told_as_it_was_when_the_instance_was_looked_at() {
        let mut store = MemoryStore::new();
        let _ = store.commit(&[create(1), append(1, "first")]).unwrap();
        let mut reader = Late(store.reader().unwrap(), store.clone());
        let Ok(Data::History(Some(told))) = answer(&mut reader, &Question::History(1)) else {
            panic!("it is there");
        };
        let names: Vec<_> = told.1.iter().map(|it| &*it.record.operation.name).collect();
        assert_eq!(names, ["first"]);
        assert_eq!(reader.history(1).unwrap().len(), 3);
    }
}
