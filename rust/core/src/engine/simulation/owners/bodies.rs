//! Bodies: they know what they were told, and find their place again in their history.

use super::program::{self, Act};
use super::world::World;
use crate::history::{Kind, Operation, Record, Verdict};
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::limits::FIRST_TICKET;
use crate::note::{Note, Settled, Start};
use crate::submission::{Body, Child, Name, NewItem, Sent, Speech};
use crate::wait::{Source, Wait};

/// A body in memory.
#[derive(Debug)]
pub(super) struct Running {
    by: Body,
    pub(super) id: Box<str>,
    acts: Vec<Act>,
    at: usize,
    /// The wait or the ticket whose outcome it needs to go on.
    awaits: Option<u64>,
    /// Whether whoever it names in its act was there when it began that.
    there: bool,
    seq: u64,
    /// It has said that it only waits, and was told nothing since.
    hushed: bool,
    mood: Mood,
}

/// Whether a body goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Goes,
    /// It is to pause.
    Pauses,
    /// It says nothing more.
    Over,
}

/// Returns the name of the operation at this place.
fn operation(kind: Kind, at: usize, beside: &str) -> Operation {
    Operation {
        kind,
        branch: "".into(),
        name: format!("{at}{beside}").into(),
        key: None,
        count: 1,
    }
}

pub(super) fn approval_id(id: &str, at: usize) -> Box<str> {
    format!("w/{id}#{at}#1").into()
}

pub(super) fn name(id: &str) -> Name {
    Name {
        namespace: "default".into(),
        workflow: "w".into(),
        id: id.into(),
    }
}

impl Running {
    fn of(seed: u64, start: &Start) -> Self {
        let acts = program::of(seed, &start.id);
        let has = |at: usize| {
            let names = [at.to_string(), format!("{at}.over")];
            let mut records = start.records.iter().map(|it| &it.record);
            records
                .any(|it| it.verdict.is_outcome() && names.contains(&it.operation.name.to_string()))
        };
        let at = (0..acts.len()).find(|it| !has(*it)).unwrap_or(acts.len());
        let mut waits = start.waits.iter();
        let open = waits.find(|it| *it.operation.name == *at.to_string());
        Self {
            by: Body {
                no: start.no,
                incarnation: start.incarnation,
            },
            id: start.id.clone(),
            acts,
            at,
            awaits: open.map(|it| it.id),
            there: false,
            seq: start.records.last().map_or(0, |it| it.seq),
            hushed: false,
            mood: Mood::Goes,
        }
    }
}

impl World {
    pub(super) fn hear(&mut self, at: usize, note: Note) {
        match note {
            Note::Start(start) => {
                let body = Running::of(self.seed, &start);
                if start.interrupted {
                    self.submit(at, body.by.says(Speech::TakenUp));
                }
                self.lives[at].bodies.insert(start.no, body);
            }
            Note::Done { tickets, .. } => {
                for ticket in tickets {
                    if let Some(no) = self.lives[at].tickets.remove(&ticket) {
                        self.told(at, no, ticket);
                    }
                }
            }
            Note::Settled(settled) => self.settled(at, &settled),
            Note::Wake { no, .. } => {
                if let Some(body) = self.lives[at].bodies.get_mut(&no) {
                    body.hushed = false;
                }
            }
            Note::Pause { no, is_on, .. } => {
                let body = self.lives[at].bodies.get_mut(&no);
                if let Some(body) = body.filter(|it| it.mood != Mood::Over) {
                    body.mood = if is_on { Mood::Pauses } else { Mood::Goes };
                }
            }
            Note::Unwind { no, incarnation } => {
                let bodies = &mut self.lives[at].bodies;
                if bodies
                    .get(&no)
                    .is_some_and(|it| it.by.incarnation == incarnation)
                {
                    bodies.remove(&no);
                }
            }
            Note::Reply { ticket, code, data } => self.replied(ticket, code, &data),
            Note::Fenced { .. } | Note::Changed { .. } => {}
            other => panic!("nobody expects {other:?}"),
        }
    }

    /// The record under this number is there.
    fn told(&mut self, at: usize, no: InstanceNo, number: u64) -> bool {
        let Some(body) = self.lives[at].bodies.get_mut(&no) else {
            return false;
        };
        let awaited = body.awaits == Some(number);
        if awaited {
            (body.awaits, body.hushed) = (None, false);
            body.at += 1;
        }
        awaited
    }

    fn settled(&mut self, at: usize, settled: &Settled) {
        let Some(body) = self.lives[at].bodies.get_mut(&settled.no) else {
            return;
        };
        body.seq = body.seq.max(settled.seq);
        let (act, id, there) = (body.acts.get(body.at).cloned(), body.id.clone(), body.there);
        if self.told(at, settled.no, settled.number) {
            let act = act.expect("it awaits something");
            self.judge_outcome(&id, settled, &act, there);
        }
    }

    /// Bodies do what they can, at most so much.
    pub(super) fn run_bodies(&mut self, at: usize, most: usize) {
        let numbers: Vec<_> = self.lives[at].bodies.keys().copied().collect();
        if numbers.is_empty() {
            return;
        }
        let first = self.dice.roll(numbers.len() as u64) as usize;
        for step in 0..numbers.len().min(most) {
            self.run_body(at, numbers[(first + step) % numbers.len()]);
        }
    }

    fn run_body(&mut self, at: usize, no: InstanceNo) {
        let body = &self.lives[at].bodies[&no];
        match body.mood {
            Mood::Pauses => {
                let by = body.by;
                self.change(at, no, |it| it.mood = Mood::Over);
                return self.submit(at, by.says(Speech::Paused));
            }
            Mood::Goes if !body.hushed => {}
            _ => return,
        }
        let (by, act) = (body.by, body.acts.get(body.at).cloned());
        match (body.awaits, act) {
            (None, Some(act)) => self.begin(at, no, &act),
            (None, None) => {
                let (status, payload) = if program::fails(self.seed, &body.id) {
                    (Status::Errored, b"error".as_slice())
                } else {
                    (Status::Complete, b"value".as_slice())
                };
                self.change(at, no, |it| it.mood = Mood::Over);
                let version = (status == Status::Complete).then(|| "1".into());
                let end = Speech::Finish(status, Some(payload.into()), version);
                self.submit(at, by.says(end));
            }
            (Some(wait), Some(Act::GiveUp(_))) => {
                if wait < FIRST_TICKET && self.dice.once_in(3) {
                    self.submit(at, by.says(Speech::Withdraw(wait)));
                    self.record(at, no, ".over");
                }
            }
            (Some(wait), _) => {
                let body = &self.lives[at].bodies[&no];
                let quiet = Speech::Quiet(body.seq, self.lives[at].seen);
                if wait < FIRST_TICKET && self.dice.once_in(2) {
                    self.submit(at, by.says(quiet));
                    self.change(at, no, |it| it.hushed = true);
                }
            }
        }
    }

    fn change(&mut self, at: usize, no: InstanceNo, change: impl FnOnce(&mut Running)) {
        change(self.lives[at].bodies.get_mut(&no).expect("it is there"));
    }

    /// Appends a record of the present act.
    fn record(&mut self, at: usize, no: InstanceNo, beside: &str) {
        let ticket = self.ticket();
        let (by, place) = {
            let body = &self.lives[at].bodies[&no];
            (body.by, body.at)
        };
        let record = Record {
            operation: operation(Kind::Do, place, beside),
            attempt: 1,
            verdict: Verdict::Done,
            started_at: self.now,
            at: 0,
            begun: None,
            erases: None,
            moment: None,
            event: None,
            event_type: None,
            payload: None,
        };
        self.lives[at].tickets.insert(ticket, no);
        self.change(at, no, |it| it.awaits = Some(ticket));
        self.submit(at, by.says(Speech::Record(ticket, record)));
    }

    fn begin(&mut self, at: usize, no: InstanceNo, act: &Act) {
        let (by, place, id) = {
            let body = &self.lives[at].bodies[&no];
            (body.by, body.at, body.id.clone())
        };
        let number = match act {
            Act::Step => return self.record(at, no, ""),
            Act::Post(_) | Act::Create(_) => self.ticket(),
            _ => self.lives[at].sequence.draw(),
        };
        let wait = |kind, source, until| Wait {
            begun: None,
            id: number,
            operation: operation(kind, place, ""),
            source,
            opened_at: 0,
            until,
        };
        let children = |kind, ids: &[String]| {
            let item = |id: &String| NewItem {
                id: Some(id.as_str().into()),
                ..NewItem::default()
            };
            Box::new(Child {
                begun: None,
                operation: operation(kind, place, ""),
                workflow: "w".into(),
                version: "1".into(),
                items: ids.iter().map(item).collect(),
                payload: None,
            })
        };
        let (speech, there) = match act {
            Act::Step => unreachable!("it is recorded"),
            Act::Post(to) => {
                let sent = Sent {
                    to: name(to),
                    kind: "p".into(),
                    payload: Some(format!("{id}/{place:03}").into_bytes().into()),
                };
                let what = Box::new((operation(Kind::Send, place, "").into(), sent));
                (Speech::Post(number, what), self.is_there(to))
            }
            Act::Take(kind) => {
                let source = Source::Event(vec![(*kind).into()]);
                let wait = wait(Kind::Event, source, Some(1 << 60));
                (Speech::Open(Box::new(wait)), true)
            }
            Act::Call(child) | Act::GiveUp(child) => {
                let some = children(Kind::Call, std::slice::from_ref(child));
                (Speech::Call(number, some), true)
            }
            Act::Create(ids) => (
                Speech::CreateChildren(number, children(Kind::Create, ids)),
                true,
            ),
            Act::Await(child) => {
                let what = (
                    operation(Kind::Result, place, "").into(),
                    "w".into(),
                    child.as_str().into(),
                );
                (Speech::Await(number, Box::new(what)), self.is_there(child))
            }
            Act::Ask(until) => {
                let source = Source::Approval(approval_id(&id, place));
                let until = until.map_or(self.now + 20, |it| it);
                let wait = wait(Kind::Approval, source, Some(until));
                (Speech::Ask(Box::new(wait), None), true)
            }
        };
        self.change(at, no, |it| (it.awaits, it.there) = (Some(number), there));
        self.submit(at, by.says(speech));
    }
}
