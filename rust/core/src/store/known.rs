//! What has to be known of what is committed before a batch is decided: asked at once, answered at
//! once.
//!
//! Invariant: an answer is true until the next commit, for only the writer changes anything. What
//! is damaged is an answer too: it concerns whoever needs it, and nobody else. This does not know
//! why something is asked.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Error, Expired, Expiry, Row};
use crate::history::{Record, Stored};
use crate::ids::{InstanceNo, Key, Micros, Seq};
use crate::wait::{Approval, Event};

/// One thing that has to be known.
#[derive(Debug, Clone, Copy)]
pub enum Need<'n> {
    /// The instance with this key of this namespace, workflow and id; with its output or error if
    /// the flag says so.
    Name(Key, [&'n str; 3], bool),
    /// The instance with this number; with its output or error if the flag says so.
    Instance(InstanceNo, bool),
    /// The approval with this stored id.
    Approval(&'n str),
    /// The record of this instance at this place.
    Record(InstanceNo, Seq),
    /// The records of this instance that took an event.
    Takings(InstanceNo),
    /// The whole history of this instance, as far as it counts.
    History(InstanceNo),
    /// The instances that this one called.
    Called(InstanceNo),
    /// The events that no wait of this instance has taken yet.
    Events(InstanceNo),
    /// What the call with this id was answered.
    Call(&'n [u8]),
}

impl<'n> Need<'n> {
    /// Returns the need of an instance by its namespace, workflow and id.
    #[must_use]
    pub fn named(name: [&'n str; 3], output: bool) -> Self {
        Self::Name(Key::new(name[0], name[1], name[2]), name, output)
    }
}

/// All that has to be known for a batch.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Namespaces and workflows of the names.
    workflows: Vec<[Box<str>; 2]>,
    /// Places of their workflows, ids, and whether outputs are wanted.
    names: FxHashMap<u128, (usize, Box<str>, bool)>,
    instances: FxHashMap<InstanceNo, bool>,
    approvals: FxHashSet<Box<str>>,
    records: FxHashSet<(InstanceNo, Seq)>,
    takings: FxHashSet<InstanceNo>,
    histories: FxHashSet<InstanceNo>,
    called: FxHashSet<InstanceNo>,
    events: FxHashSet<InstanceNo>,
    calls: FxHashSet<Box<[u8]>>,
    /// Instances that are to go.
    pub expired: Option<Expiry>,
}

impl Needs {
    /// Adds one.
    pub fn add(&mut self, need: Need<'_>) {
        match need {
            Need::Name(key, name, output) => self.add_name(key.0, name, output),
            Need::Instance(no, output) => *self.instances.entry(no).or_default() |= output,
            Need::Approval(id) => {
                self.approvals.insert(id.into());
            }
            Need::Record(no, seq) => {
                self.records.insert((no, seq));
            }
            Need::Takings(no) => {
                self.takings.insert(no);
            }
            Need::History(no) => {
                self.histories.insert(no);
            }
            Need::Called(no) => {
                self.called.insert(no);
            }
            Need::Events(no) => {
                self.events.insert(no);
            }
            Need::Call(id) => {
                self.calls.insert(id.into());
            }
        }
    }

    fn add_name(&mut self, key: u128, [namespace, workflow, id]: [&str; 3], output: bool) {
        if let Some(known) = self.names.get_mut(&key) {
            known.2 |= output;
            return;
        }
        // Those that come together are of few workflows.
        let is = |it: &[Box<str>; 2]| *it[1] == *workflow && *it[0] == *namespace;
        let at = self.workflows.iter().position(is).unwrap_or_else(|| {
            let names = [namespace, workflow];
            self.workflows.push(names.map(Into::into));
            self.workflows.len() - 1
        });
        self.names.insert(key, (at, id.into(), output));
    }

    /// Adds all of these.
    pub fn extend(&mut self, others: Self) {
        for (key, (at, id, output)) in others.names {
            let [namespace, workflow] = &others.workflows[at];
            self.add_name(key, [namespace, workflow, &id], output);
        }
        for (no, output) in others.instances {
            self.add(Need::Instance(no, output));
        }
        self.approvals.extend(others.approvals);
        self.records.extend(others.records);
        self.takings.extend(others.takings);
        self.histories.extend(others.histories);
        self.called.extend(others.called);
        self.events.extend(others.events);
        self.calls.extend(others.calls);
        self.expired = self.expired.take().or(others.expired);
    }

    /// Returns whether nothing has to be known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
            && self.instances.is_empty()
            && self.approvals.is_empty()
            && self.records.is_empty()
            && self.takings.is_empty()
            && self.histories.is_empty()
            && self.called.is_empty()
            && self.events.is_empty()
            && self.calls.is_empty()
            && self.expired.is_none()
    }
}

impl From<Need<'_>> for Needs {
    fn from(need: Need<'_>) -> Self {
        let mut needs = Self::default();
        needs.add(need);
        needs
    }
}

/// Why something is not known: it cannot be read. The text is for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged(pub String);

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Self::Row(damaged.0)
    }
}

type Legible<T> = Result<T, Damaged>;

/// What a call was answered.
type CallAnswer = Box<[u8]>;

/// What is known.
#[derive(Debug, Default)]
pub struct Known {
    names: FxHashMap<u128, Legible<Option<Row>>>,
    instances: FxHashMap<InstanceNo, Legible<Option<Row>>>,
    outputs: FxHashMap<InstanceNo, Legible<Option<Box<[u8]>>>>,
    approvals: FxHashMap<Box<str>, Legible<Option<Approval>>>,
    records: FxHashMap<(InstanceNo, Seq), Legible<Record>>,
    takings: FxHashMap<InstanceNo, Legible<Vec<Stored>>>,
    histories: FxHashMap<InstanceNo, Legible<Vec<Stored>>>,
    called: FxHashMap<InstanceNo, Legible<Vec<Row>>>,
    events: FxHashMap<InstanceNo, Legible<Vec<Event>>>,
    calls: FxHashMap<Box<[u8]>, Legible<Option<CallAnswer>>>,
    expired: Leaving,
}

/// Instances that are to go, none for each that cannot be read, and when there may be others.
#[derive(Debug, Default)]
pub struct Leaving {
    /// The instances.
    pub rows: Vec<Option<Row>>,
    /// When the time of the first of the others is over.
    pub next: Option<Micros>,
}

/// What is known of something that was not asked for: a bug of whoever says what is needed.
const ASKED: &str = "what a decision needs was asked for";

impl Known {
    /// Returns whether this was asked for.
    #[must_use]
    pub fn has(&self, need: Need<'_>) -> bool {
        let with_output = |row: &Legible<Option<Row>>, output: bool| match row {
            Ok(Some(row)) if output => self.outputs.contains_key(&row.no),
            _ => true,
        };
        match need {
            Need::Name(key, _, output) => {
                let row = self.names.get(&key.0);
                row.is_some_and(|it| with_output(it, output))
            }
            Need::Instance(no, output) => {
                let row = self.instances.get(&no);
                row.is_some_and(|it| with_output(it, output))
            }
            Need::Approval(id) => self.approvals.contains_key(id),
            Need::Record(no, seq) => self.records.contains_key(&(no, seq)),
            Need::Takings(no) => self.takings.contains_key(&no),
            Need::History(no) => self.histories.contains_key(&no),
            Need::Called(no) => self.called.contains_key(&no),
            Need::Events(no) => self.events.contains_key(&no),
            Need::Call(id) => self.calls.contains_key(id),
        }
    }

    /// Returns whether this was asked for and cannot be read.
    #[must_use]
    pub fn is_damaged(&self, need: Need<'_>) -> bool {
        let output = |row: Option<&Legible<Option<Row>>>| match row {
            Some(Ok(Some(row))) => matches!(self.outputs.get(&row.no), Some(Err(_))),
            Some(Err(_)) => true,
            Some(Ok(None)) | None => false,
        };
        match need {
            Need::Name(key, ..) => output(self.names.get(&key.0)),
            Need::Instance(no, _) => output(self.instances.get(&no)),
            Need::Approval(id) => matches!(self.approvals.get(id), Some(Err(_))),
            Need::Record(no, seq) => matches!(self.records.get(&(no, seq)), Some(Err(_))),
            Need::Takings(no) => matches!(self.takings.get(&no), Some(Err(_))),
            Need::History(no) => matches!(self.histories.get(&no), Some(Err(_))),
            Need::Called(no) => matches!(self.called.get(&no), Some(Err(_))),
            Need::Events(no) => matches!(self.events.get(&no), Some(Err(_))),
            Need::Call(id) => matches!(self.calls.get(id), Some(Err(_))),
        }
    }

    /// Returns the instance with this key.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn by_key(&self, key: Key) -> Legible<Option<&Row>> {
        borrowed(self.names.get(&key.0).expect(ASKED))
    }

    /// Returns the instance with this number.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn instance(&self, no: InstanceNo) -> Legible<Option<&Row>> {
        borrowed(self.instances.get(&no).expect(ASKED))
    }

    /// Returns the output or error of an instance.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn output(&self, no: InstanceNo) -> Legible<Option<Box<[u8]>>> {
        self.outputs.get(&no).expect(ASKED).clone()
    }

    /// Returns an approval, open or decided.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn approval(&self, id: &str) -> Legible<Option<Approval>> {
        self.approvals.get(id).expect(ASKED).clone()
    }

    /// Returns the record at a place.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn record(&self, no: InstanceNo, seq: Seq) -> Legible<&Record> {
        let record = self.records.get(&(no, seq)).expect(ASKED);
        record.as_ref().map_err(Clone::clone)
    }

    /// Returns the records that took an event, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn takings(&self, no: InstanceNo) -> Legible<&[Stored]> {
        let records = self.takings.get(&no).expect(ASKED);
        records.as_deref().map_err(Clone::clone)
    }

    /// Returns the history of an instance, oldest first.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn history(&self, no: InstanceNo) -> Legible<&[Stored]> {
        let records = self.histories.get(&no).expect(ASKED);
        records.as_deref().map_err(Clone::clone)
    }

    /// Returns the instances that this one called.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn called(&self, no: InstanceNo) -> Legible<&[Row]> {
        let rows = self.called.get(&no).expect(ASKED);
        rows.as_deref().map_err(Clone::clone)
    }

    /// Returns the events that no wait of an instance has taken yet, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn events(&self, no: InstanceNo) -> Legible<&[Event]> {
        let events = self.events.get(&no).expect(ASKED);
        events.as_deref().map_err(Clone::clone)
    }

    /// Returns what a call was answered; none if it was not.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn call(&self, id: &[u8]) -> Legible<Option<Box<[u8]>>> {
        self.calls.get(id).expect(ASKED).clone()
    }

    /// Takes the instances that are to go.
    pub fn take_expired(&mut self) -> Leaving {
        std::mem::take(&mut self.expired)
    }

    /// Adds what others know.
    pub fn extend(&mut self, others: Self) {
        self.names.extend(others.names);
        self.instances.extend(others.instances);
        self.outputs.extend(others.outputs);
        self.approvals.extend(others.approvals);
        self.records.extend(others.records);
        self.takings.extend(others.takings);
        self.histories.extend(others.histories);
        self.called.extend(others.called);
        self.events.extend(others.events);
        self.calls.extend(others.calls);
        if !others.expired.rows.is_empty() || others.expired.next.is_some() {
            self.expired = others.expired;
        }
    }
}

/// How a store answers, one thing after the other.
pub(super) trait Shelf {
    /// From now on instances of this workflow are looked up by name.
    fn open(&mut self, namespace: &str, workflow: &str);
    fn by_id(&mut self, id: &str) -> Result<Option<Row>, Error>;
    fn instance(&mut self, no: InstanceNo) -> Result<Option<Row>, Error>;
    fn output(&mut self, no: InstanceNo) -> Result<Option<Box<[u8]>>, Error>;
    fn approval(&mut self, id: &str) -> Result<Option<Approval>, Error>;
    fn record(&mut self, no: InstanceNo, seq: Seq) -> Result<Record, Error>;
    /// The whole history, as far as it counts, oldest first.
    fn history(&mut self, no: InstanceNo) -> Result<Vec<Stored>, Error>;
    /// The instances that this one called, in order of number.
    fn called(&mut self, no: InstanceNo) -> Result<Vec<Row>, Error>;
    /// The events that no wait of this instance has taken yet, oldest first.
    fn events(&mut self, no: InstanceNo) -> Result<Vec<Event>, Error>;
    /// What the call with this id was answered.
    fn call(&mut self, id: &[u8]) -> Result<Option<Box<[u8]>>, Error>;
    /// The instances that are to go.
    fn expired(&mut self, what: &Expiry) -> Result<Expired, Error>;
}

/// Looks everything up.
pub(super) fn look(needs: Needs, from: &mut dyn Shelf) -> Result<Known, Error> {
    let mut known = Known::default();
    known.names.reserve(needs.names.len());
    let mut open = None;
    for (key, (at, id, output)) in needs.names {
        if open != Some(at) {
            let [namespace, workflow] = &needs.workflows[at];
            from.open(namespace, workflow);
            open = Some(at);
        }
        let row = answer(from.by_id(&id))?;
        known.look_into(&row, output, from)?;
        known.names.insert(key, row);
    }
    for (no, output) in needs.instances {
        let row = answer(from.instance(no))?;
        known.look_into(&row, output, from)?;
        known.instances.insert(no, row);
    }
    known.approvals.reserve(needs.approvals.len());
    for id in needs.approvals {
        let approval = answer(from.approval(&id))?;
        known.approvals.insert(id, approval);
    }
    for (no, seq) in needs.records {
        let record = answer(from.record(no, seq))?;
        known.records.insert((no, seq), record);
    }
    for no in needs.takings {
        let mut records = answer(from.history(no))?;
        if let Ok(records) = &mut records {
            records.retain(|it| it.record.taken().is_some());
        }
        known.takings.insert(no, records);
    }
    for no in needs.histories {
        let records = answer(from.history(no))?;
        known.histories.insert(no, records);
    }
    for no in needs.called {
        let rows = answer(from.called(no))?;
        known.called.insert(no, rows);
    }
    for no in needs.events {
        let events = answer(from.events(no))?;
        known.events.insert(no, events);
    }
    for id in needs.calls {
        let found = answer(from.call(&id))?;
        known.calls.insert(id, found);
    }
    if let Some(what) = needs.expired {
        let Expired { numbers, next } = from.expired(&what)?;
        let rows = numbers.into_iter().map(|no| from.instance(no));
        let rows = rows.map(|it| Ok(answer(it)?.ok().flatten()));
        let rows = rows.collect::<Result<_, Error>>()?;
        known.expired = Leaving { rows, next };
    }
    Ok(known)
}

impl Known {
    fn look_into(
        &mut self,
        row: &Legible<Option<Row>>,
        output: bool,
        from: &mut dyn Shelf,
    ) -> Result<(), Error> {
        if let (true, Ok(Some(row))) = (output, row) {
            let output = answer(from.output(row.no))?;
            self.outputs.insert(row.no, output);
        }
        Ok(())
    }
}

fn answer<T>(read: Result<T, Error>) -> Result<Legible<T>, Error> {
    match read {
        Err(Error::Row(text)) => Ok(Err(Damaged(text))),
        read => read.map(Ok),
    }
}

fn borrowed(row: &Legible<Option<Row>>) -> Legible<Option<&Row>> {
    row.as_ref().map(Option::as_ref).map_err(Clone::clone)
}
