//! What must hold, judged by what is in the store and by what was said, never by an engine.

use std::collections::{BTreeMap, BTreeSet};

use super::bodies::approval_id;
use super::outside::{asks, Errand};
use super::program::{Act, HUBS};
use super::world::World;
use crate::history::Verdict;
use crate::ids::{EventId, InstanceNo, Key};
use crate::lifecycle::Status;
use crate::note::{Data, Settled};
use crate::store::{Answered, Filter, NewInstance, Op, Outcome, Recovery, Row, Store};
use crate::submission::Verb;
use crate::wait::{Event, Wait};

/// What was committed, and promised.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    keys: BTreeMap<InstanceNo, Key>,
    /// Under which numbers each event arrived, by payload, and for whom.
    arrived: BTreeMap<Box<[u8]>, BTreeSet<(InstanceNo, EventId)>>,
    /// Events that were acknowledged, and for whom.
    acknowledged: Vec<(String, Box<[u8]>)>,
    /// Decisions of which somebody was told that it was theirs.
    decided: BTreeMap<Box<str>, u32>,
    created: BTreeSet<String>,
    /// Who is paused, or blocked.
    inert: BTreeSet<InstanceNo>,
    /// The last instances are being ended.
    pub(super) ending: bool,
}

/// The events that are kept in the store.
#[derive(Default)]
struct Kept(Vec<(InstanceNo, Event)>);

impl Recovery for Kept {
    fn instance(&mut self, _: Row) {}
    fn wait(&mut self, _: InstanceNo, _: Wait) {}
    fn event(&mut self, no: InstanceNo, event: Event) {
        self.0.push((no, event));
    }
    fn damaged(&mut self, _: InstanceNo, what: &str) {
        panic!("{what}");
    }
    fn unreadable(&mut self, what: String, _: Option<Row>) {
        panic!("{what}");
    }
}

fn key(new: &NewInstance) -> Key {
    Key::new(&new.namespace, &new.workflow, &new.id)
}

impl World {
    fn row(&self, id: &str) -> Option<Row> {
        let mut store = self.store.reopen();
        store.find("default", "w", id).expect("memory is read")
    }

    pub(super) fn is_there(&self, id: &str) -> bool {
        self.row(id).is_some()
    }

    fn rows(&self) -> Vec<Row> {
        let mut reader = self.store.reader().expect("memory is read");
        let all = Filter {
            limit: u32::MAX,
            ..Filter::default()
        };
        reader.list(&all).expect("memory is read")
    }

    /// Draws the id of one in such a state.
    pub(super) fn one_that(&mut self, is: impl Fn(Status) -> bool) -> Option<String> {
        let rows = self.rows().into_iter().filter(|it| is(it.status));
        let ids: Vec<Box<str>> = rows.map(|it| it.id).collect();
        let at = self.dice.roll(ids.len().max(1) as u64) as usize;
        ids.into_iter().nth(at).map(Into::into)
    }

    pub(super) fn all_ended(&self) -> bool {
        self.rows().iter().all(|it| it.status.is_final())
    }

    pub(super) fn only_hubs_left(&self) -> bool {
        let rows = self.rows();
        let is_hub = |it: &Row| HUBS.contains(&&*it.id);
        let ended = rows.iter().all(|it| is_hub(it) || it.status.is_final());
        let mut store = self.store.reopen();
        let whole = crate::ranges::Domain::Whole;
        let letters = store.letters(&whole, u64::MAX).expect("memory is read");
        ended && letters.is_empty() && rows.iter().filter(|it| is_hub(it)).count() == HUBS.len()
    }

    pub(super) fn left(&self) -> String {
        let rows = self.rows();
        let left: Vec<_> = rows.iter().filter(|it| !it.status.is_final()).collect();
        let bodies: Vec<_> = self.lives.iter().map(|it| &it.bodies).collect();
        let mut store = self.store.reopen();
        let letters = store.letters(&crate::ranges::Domain::Whole, 0);
        format!("{left:?}\n{:?}\n{bodies:?}\n{letters:?}", self.outside)
    }

    /// A batch is durable: whoever committed it owns all that it changes.
    pub(super) fn committed(&mut self, at: usize, ops: &[Op], outcomes: &[Outcome]) {
        for (op, outcome) in ops.iter().zip(outcomes) {
            let done = matches!(outcome, Outcome::Done(_));
            let changed = match op {
                Op::Create(new) if done => {
                    self.ledger.keys.insert(new.no, key(new));
                    (new.status != Status::Queued).then_some(new.no)
                }
                Op::CreateChildren(some, parent, ..) => {
                    if done {
                        let keys = some.iter().map(|it| (it.no, key(it)));
                        self.ledger.keys.extend(keys);
                    }
                    Some(*parent)
                }
                Op::Append(no, ..)
                | Op::Open(no, ..)
                | Op::Close(no, _)
                | Op::Buffer(no, ..)
                | Op::Take(no, _)
                | Op::Status(no, ..) => Some(*no),
                Op::Approval(it) => Some(it.no),
                _ => None,
            };
            let key = changed.and_then(|it| self.ledger.keys.get(&it));
            if let Some(key) = key {
                let (owner, _) = self.owners[usize::from(key.range().0)];
                assert_eq!(
                    owner, at,
                    "whoever is not the owner changes nothing: {op:?}"
                );
            }
            if done {
                self.note_arrival(op);
                self.judge_pause(op);
            }
        }
    }

    /// L3: nothing of one that is paused begins or is decided.
    fn judge_pause(&mut self, op: &Op) {
        match op {
            Op::Status(no, _, to) if matches!(to.status, Status::Paused | Status::Blocked) => {
                self.ledger.inert.insert(*no);
            }
            Op::Status(no, ..) => {
                self.ledger.inert.remove(no);
            }
            Op::Append(no, ..) | Op::Open(no, ..) | Op::CreateChildren(_, no, ..) => {
                assert!(!self.ledger.inert.contains(no), "nothing goes on: {op:?}");
            }
            _ => {}
        }
    }

    fn note_arrival(&mut self, op: &Op) {
        let arrived = match op {
            Op::Buffer(no, event, _) => (event.payload.clone(), *no, event.id),
            Op::Append(no, _, record) => match record.taken() {
                Some(id) => (record.payload.clone(), *no, id),
                None => return,
            },
            _ => return,
        };
        if let (Some(payload), no, id) = arrived {
            let all = self.ledger.arrived.entry(payload.clone()).or_default();
            all.insert((no, id));
            let text = String::from_utf8_lossy(&payload).into_owned();
            assert_eq!(all.len(), 1, "{text:?} arrives once: {all:?}");
        }
    }

    /// The same, where the engine was not told.
    pub(super) fn found_committed(&mut self, ops: &[Op]) {
        for row in self.rows() {
            let key = Key::new(&row.namespace, &row.workflow, &row.id);
            self.ledger.keys.insert(row.no, key);
            if matches!(row.status, Status::Paused | Status::Blocked) {
                self.ledger.inert.insert(row.no);
            } else {
                self.ledger.inert.remove(&row.no);
            }
        }
        let mut kept = Kept::default();
        let mut store = self.store.reopen();
        let whole = crate::ranges::Domain::Whole;
        store.recover(&whole, &mut kept).expect("memory is read");
        for op in ops {
            let is_kept = |no: &InstanceNo, event: &Event| {
                kept.0.iter().any(|it| it.0 == *no && it.1.id == event.id)
            };
            match op {
                Op::Buffer(no, event, _) if !is_kept(no, event) => {}
                op => self.note_arrival(op),
            }
        }
    }

    /// What a body was told is so.
    pub(super) fn judge_outcome(&mut self, id: &str, told: &Settled, act: &Act, there: bool) {
        let kind = told.kind.as_deref();
        let fails = told.verdict == Verdict::Failed;
        match act {
            Act::Post(to) => match kind {
                None => {
                    let place = self.record_of(told).expect("it is durable");
                    let payload = format!("{id}/{place:03}").into_bytes();
                    self.ledger.acknowledged.push((to.clone(), payload.into()));
                }
                Some("state") => self.has_ended(to),
                Some("not_found") => assert!(!there, "{to} was there"),
                other => panic!("nobody expects {other:?}"),
            },
            Act::Call(child) | Act::GiveUp(child) | Act::Await(child) => match kind {
                Some("not_found") if fails => assert!(!there, "{child} was there"),
                Some("exists") if fails => assert!(self.is_there(child), "{child} is not there"),
                _ => {
                    let row = self.row(child).expect("it ended");
                    let expected = match row.status {
                        Status::Complete => (Verdict::Done, Some("1")),
                        Status::Errored => (Verdict::Failed, None),
                        Status::Terminated => (Verdict::Failed, Some("terminated")),
                        other => panic!("{id} was told of the end of {child}, which is {other:?}"),
                    };
                    assert_eq!((told.verdict, kind), expected, "the end of {child}");
                }
            },
            Act::Create(ids) => {
                let mine = |child: &String| {
                    let row = self.row(child);
                    row.map(|it| it.parent == Some(told.no))
                };
                if fails {
                    // The first is wanted by nobody else.
                    let taken = ids[1..].iter().any(|it| self.is_there(it));
                    assert!(taken && mine(&ids[0]).is_none(), "all of {ids:?} or none");
                } else {
                    let born = ids.iter().all(|it| mine(it) == Some(true));
                    assert!(born, "{ids:?} were created");
                }
            }
            Act::Step | Act::Take(_) | Act::Ask(_) => {}
        }
    }

    /// Returns the place of the act whose record this is.
    fn record_of(&self, told: &Settled) -> Option<usize> {
        let mut reader = self.store.reader().expect("memory is read");
        let history = reader.history(told.no).expect("memory is read");
        let record = history.iter().find(|it| it.seq == told.seq)?;
        record.record.operation.name.parse().ok()
    }

    fn has_ended(&self, id: &str) {
        let row = self.row(id);
        let ended = row.as_ref().is_some_and(|it| it.status.is_final());
        assert!(ended, "it was told that {id} has ended: {row:?}");
    }

    /// What somebody outside was told is so.
    pub(super) fn judge_reply(&mut self, errand: &Errand, there: bool, code: &str, data: &Data) {
        match (errand, code, data) {
            (_, "not_found", _) => assert!(!there, "{errand:?}: it was there"),
            (Errand::Create(id), "", Data::Created { created: true, .. }) => {
                let first = self.ledger.created.insert(id.clone());
                assert!(first, "{id} is created once");
            }
            (Errand::Create(id), "", Data::Created { .. }) => assert!(self.is_there(id)),
            (errand, "state", _) => self.has_ended(errand.id()),
            (Errand::Act(id, Verb::Terminate(_)), "", _) => self.has_ended(id),
            (Errand::Send(id, _, payload) | Errand::Throw(id, payload), "", _) => {
                let payload = payload.as_bytes().into();
                self.ledger.acknowledged.push((id.clone(), payload));
            }
            (Errand::Decide(id, at, by), "", Data::Bool(true)) => {
                let before = self.ledger.decided.insert(approval_id(id, *at), *by);
                let alone = before.is_none_or(|it| it == *by);
                assert!(alone, "{id}: {by} decided, and {before:?}");
            }
            (Errand::Decide(..), "", Data::Bool(false)) | (Errand::Act(..), "", _) => {}
            (Errand::Stand(id), "", Data::Standing(state, ..)) => {
                if state.is_none() && there {
                    self.has_ended(id);
                }
            }
            other => panic!("nobody expects {other:?}"),
        }
    }

    /// Whoever lives as long as anybody sends got everything that was acknowledged, in the order of
    /// each sender.
    pub(super) fn judge_hubs(&self) {
        let mut last: BTreeMap<(String, String), (EventId, String)> = BTreeMap::new();
        for (id, payload) in &self.ledger.acknowledged {
            if !HUBS.contains(&id.as_str()) {
                continue;
            }
            let text = String::from_utf8_lossy(payload).into_owned();
            let arrived = self.ledger.arrived.get(payload);
            let arrived = arrived.unwrap_or_else(|| panic!("{text:?} for {id} never arrived"));
            let (_, event) = *arrived.first().expect("it arrived");
            let (sender, _) = text.split_once('/').expect("it says by whom");
            if sender != "thrown" {
                let by = (id.clone(), sender.to_owned());
                let before = last.insert(by, (event, text.clone()));
                if let Some((number, before)) = before {
                    let in_order = (number < event) == (before < text);
                    assert!(in_order || number == event, "{before:?} and {text:?}");
                }
            }
        }
    }

    /// Every operation has one outcome, and an approval is what its decider was told; whoever
    /// asked one that took everything finds that it was asked.
    pub(super) fn judge_the_end(&self) {
        let mut reader = self.store.reader().expect("memory is read");
        for id in HUBS {
            let (no, end) = (self.row(id).expect("it was there").no, format!("{id}<end"));
            let asked = reader.asked(no, &end).expect("memory is read");
            assert_eq!(asked != Answered::Never, asks(&end), "{end:?}: {asked:?}");
        }
        for row in self.rows() {
            let history = reader.history(row.no).expect("memory is read");
            let mut names = BTreeSet::new();
            for it in &history {
                let name = &it.record.operation.name;
                assert!(names.insert(name.clone()), "{} of {} twice", name, row.id);
                let asked = name.parse().ok().map(|at| approval_id(&row.id, at));
                let decided = asked.and_then(|it| self.ledger.decided.get(&it));
                if let Some(by) = decided {
                    let payload = it.record.payload.as_deref();
                    assert_eq!(payload, Some(by.to_string().as_bytes()), "{}", row.id);
                }
            }
        }
    }
}
