//! The loader's side of the world: what is read for a body while the writer goes on.
//!
//! A START is read in two steps with anything between them, and told in a third: what a reader on
//! another thread may see is torn, and may be old when it is told.

use super::rules;
use super::world::World;
use super::writer::Stage;
use crate::audit;
use crate::bulk;
use crate::engine::Job;
use crate::history::Stored;
use crate::ids::{Incarnation, InstanceNo, Seq};
use crate::large::{LargeKey, Loose};
use crate::note::{Note, Start};
use crate::runtime::loader::{known_ids, read_start, same, same_items, seen};
use crate::schedule::{self, Firing, FiringQuery, Schedule};
use crate::store::{
    Answered, ApprovalFilter, ApprovalPage, Error, Filter, Page, Payloads, Reader, Row,
};
use crate::stream::StreamRow;
use crate::submission::Command;
use crate::wait::Wait;

/// A START on its way.
#[derive(Debug)]
pub(super) enum Loading {
    /// The first half is read: everything but the history.
    Begun(Wanted, Option<Box<Half>>),
    /// All is read.
    Read(Wanted, Option<Box<Start>>),
}

/// For whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    no: InstanceNo,
    incarnation: Incarnation,
    interrupted: bool,
}

#[derive(Debug)]
pub(super) struct Half {
    row: Row,
    payloads: Payloads,
    waits: Vec<Wait>,
}

/// A reader whose answers are from two moments.
struct Torn<'a> {
    half: Half,
    /// Whether the row was asked for: the next time it is as it is by then.
    asked: bool,
    now: &'a mut dyn Reader,
}

impl Reader for Torn<'_> {
    fn at_once(
        &mut self,
        ask: &mut dyn FnMut(&mut dyn Reader) -> Result<(), Error>,
    ) -> Result<(), Error> {
        ask(self)
    }

    fn last_seq(&mut self) -> Result<Seq, Error> {
        self.now.last_seq()
    }

    fn find(&mut self, namespace: &str, workflow: &str, id: &str) -> Result<Option<Row>, Error> {
        self.now.find(namespace, workflow, id)
    }

    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error> {
        if std::mem::replace(&mut self.asked, true) {
            return self.now.instance(no);
        }
        Ok(Some(self.half.row.clone()))
    }

    fn payloads(&mut self, _: InstanceNo) -> Result<Payloads, Error> {
        Ok(self.half.payloads.clone())
    }

    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error> {
        self.now.history(no)
    }

    fn waits(&mut self, _: InstanceNo) -> Result<Vec<Wait>, Error> {
        Ok(self.half.waits.clone())
    }

    fn seen(&mut self, no: InstanceNo, dedup: &str) -> Result<bool, Error> {
        self.now.seen(no, dedup)
    }

    fn asked(&mut self, no: InstanceNo, dedup: &str) -> Result<Answered, Error> {
        self.now.asked(no, dedup)
    }

    fn kept(&mut self, no: InstanceNo, types: u32) -> Result<Vec<(Box<str>, u64)>, Error> {
        self.now.kept(no, types)
    }

    fn page(&mut self, filter: &Filter) -> Result<Page, Error> {
        self.now.page(filter)
    }

    fn approvals_page(&mut self, filter: &ApprovalFilter) -> Result<ApprovalPage, Error> {
        self.now.approvals_page(filter)
    }

    fn audit(&mut self, page: &audit::Query) -> Result<audit::Rows, Error> {
        self.now.audit(page)
    }

    fn bulks(&mut self, page: &bulk::Query) -> Result<bulk::Rows, Error> {
        self.now.bulks(page)
    }

    fn schedules(&mut self, page: &schedule::Query) -> Result<schedule::Rows<Schedule>, Error> {
        self.now.schedules(page)
    }

    fn firings(&mut self, page: &FiringQuery) -> Result<schedule::Rows<Firing>, Error> {
        self.now.firings(page)
    }

    fn loose(&mut self, beyond: Option<LargeKey>, limit: u32) -> Result<Loose, Error> {
        self.now.loose(beyond, limit)
    }

    fn stream(
        &mut self,
        of: (InstanceNo, Incarnation),
        name: &str,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StreamRow>, Error> {
        self.now.stream(of, name, after, limit)
    }

    fn sent(&mut self, no: InstanceNo, of: Incarnation) -> Result<Vec<(Seq, u64)>, Error> {
        self.now.sent(no, of)
    }
}

impl World {
    /// Does the loader's next step; returns false if it has nothing to do.
    pub(super) fn load(&mut self) -> bool {
        let life = &mut self.life;
        match life.loading.take() {
            None => match life.jobs.pop_front() {
                None => return false,
                Some(Job::Same {
                    ticket,
                    name,
                    params,
                }) => {
                    let note = same(&mut *life.reader, ticket, &name, params.as_deref());
                    let note = note.expect("memory is read");
                    rules::read(&self.truth, &note);
                    life.outbox.push(note);
                }
                Some(Job::SameItems {
                    ticket,
                    items,
                    taken,
                }) => {
                    let note = same_items(&mut *life.reader, ticket, items, &taken);
                    let note = note.expect("memory is read");
                    rules::read(&self.truth, &note);
                    life.outbox.push(note);
                }
                Some(Job::Look(creation)) => {
                    let ticket = match &*creation {
                        Command::Create(ticket, ..) | Command::CreateBatch(ticket, ..) => *ticket,
                        other => unreachable!("creates nothing: {other:?}"),
                    };
                    let again = known_ids(&mut *life.reader, *creation);
                    life.inbox.push(again.expect("memory is read"));
                    self.truth.looked_up(ticket);
                }
                Some(Job::Seen { no, dedup, refusal }) => {
                    let note = seen(&mut *life.reader, no, &dedup, refusal);
                    // Whoever it is about may have begun anew since, or be gone.
                    let it = self.truth.all.get(&no);
                    if it.is_some_and(|it| !it.anew) {
                        rules::read(&self.truth, &note);
                    }
                    life.outbox.push(note);
                }
                Some(Job::Start {
                    no,
                    incarnation,
                    interrupted,
                }) => {
                    let wanted = Wanted {
                        no,
                        incarnation,
                        interrupted,
                    };
                    let half = begin(&mut *life.reader, no).expect("memory is read");
                    life.loading = Some(Loading::Begun(wanted, half));
                }
            },
            Some(Loading::Begun(wanted, half)) => {
                let start = half.map(|half| {
                    let mut torn = Torn {
                        half: *half,
                        asked: false,
                        now: &mut *life.reader,
                    };
                    read_start(&mut torn, wanted.no, wanted.incarnation).expect("memory is read")
                });
                let start = start.flatten().map(Box::new);
                life.loading = Some(Loading::Read(wanted, start));
            }
            Some(Loading::Read(wanted, start)) => {
                if let Some(mut start) = start {
                    start.interrupted = wanted.interrupted;
                    let mut told = Vec::new();
                    life.residents
                        .loaded(wanted.no, wanted.incarnation, |held| {
                            told.push(Note::Start(start));
                            told.extend(held);
                        });
                    let it = self.truth.all.get(&wanted.no);
                    let lives = it.is_some_and(|it| it.incarnation == wanted.incarnation);
                    // A new life that is durable and not known yet ends this one.
                    let stale = !lives && matches!(life.stage, Stage::Committed(_));
                    let judge = if stale { rules::read_late } else { rules::read };
                    for note in &told {
                        judge(&self.truth, note);
                    }
                    life.outbox.extend(told);
                }
            }
        }
        self.trace(|it| format!("loader: {:?}", it.life.loading));
        true
    }
}

fn begin(reader: &mut dyn Reader, no: InstanceNo) -> Result<Option<Box<Half>>, Error> {
    let Some(row) = reader.instance(no)? else {
        return Ok(None);
    };
    let half = Half {
        row,
        payloads: reader.payloads(no)?,
        waits: reader.waits(no)?,
    };
    Ok(Some(Box::new(half)))
}
