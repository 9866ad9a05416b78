//! Those outside: they create, send, decide and ask of either engine, again until they are
//! answered.

use std::collections::BTreeMap;

use super::super::dice::Dice;
use super::bodies::{approval_id, name};
use super::program::{self, Act, HUBS};
use super::world::World;
use crate::audit::By;
use crate::lifecycle::Status;
use crate::note::Data;
use crate::submission::{Code, Command, Decision, IfExists, NewItem, Sent, Verb};

/// What has to be done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Errand {
    Create(String),
    /// An event of this type for an instance that waits for it, with this payload, which is its
    /// `dedup_id` too.
    Send(String, &'static str, String),
    /// Decides what an instance asks for at this place, whether it asks already or not; the number
    /// tells those who decide apart.
    Decide(String, usize, u32),
    /// An event that nobody waits for, sent once.
    Throw(String, String),
    Stand(String),
    Act(String, Verb),
}

impl Errand {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Create(id)
            | Self::Send(id, ..)
            | Self::Decide(id, ..)
            | Self::Throw(id, _)
            | Self::Stand(id)
            | Self::Act(id, _) => id,
        }
    }
}

/// An errand under way: with which engine, and whether whoever it is about was there.
#[derive(Debug)]
pub(super) struct UnderWay {
    errand: Errand,
    with: usize,
    there: bool,
}

#[derive(Debug, Default)]
pub(super) struct Outside {
    roots: Vec<String>,
    to_do: Vec<Errand>,
    under_way: BTreeMap<u64, UnderWay>,
    created: Vec<String>,
    thrown: u64,
}

impl Outside {
    pub(super) fn draw(seed: u64, dice: &mut Dice) -> Self {
        let mut roots: Vec<String> = (0..2 + dice.roll(3)).map(|it| format!("r{it}")).collect();
        roots.extend(HUBS.map(Into::into));
        let mut to_do = Vec::new();
        for id in &roots {
            // More than one may want the same.
            to_do.extend(vec![Errand::Create(id.clone()); 1 + dice.roll(2) as usize]);
            for (at, act) in program::of(seed, id).into_iter().enumerate() {
                match act {
                    Act::Take("a") => {
                        to_do.push(Errand::Send(id.clone(), "a", format!("{id}<{at}")));
                    }
                    Act::Ask(_) => {
                        let some = 1 + dice.roll(3) as u32;
                        to_do.extend((0..some).map(|by| Errand::Decide(id.clone(), at, by)));
                    }
                    _ => {}
                }
            }
        }
        Self {
            roots,
            to_do,
            ..Self::default()
        }
    }

    /// An engine died: whoever waited for its answer asks again.
    pub(super) fn lost(&mut self, with: usize) {
        let lost = self.under_way.extract_if(.., |_, it| it.with == with);
        let again = lost.map(|it| it.1.errand);
        self.to_do
            .extend(again.filter(|it| !matches!(it, Errand::Throw(..))));
    }

    pub(super) fn is_content(&self) -> bool {
        self.to_do.is_empty() && self.under_way.is_empty()
    }
}

impl World {
    /// Those outside do so much.
    pub(super) fn errands(&mut self, most: usize) {
        self.end_hubs();
        self.resume_one();
        for _ in 0..most {
            let errand = self.draw_errand();
            let Some(errand) = errand else {
                return;
            };
            let with = self.dice.roll(2) as usize;
            let ticket = self.ticket();
            let there = self.is_there(errand.id());
            let command = command(ticket, &errand);
            self.outside.under_way.insert(
                ticket,
                UnderWay {
                    errand,
                    with,
                    there,
                },
            );
            self.submit(with, command);
        }
    }

    fn draw_errand(&mut self) -> Option<Errand> {
        let outside = &mut self.outside;
        let created = &outside.created;
        let can = |it: &Errand| {
            matches!(it, Errand::Create(_) | Errand::Act(..))
                || created.iter().any(|id| id == it.id())
        };
        let can: Vec<usize> = (0..outside.to_do.len())
            .filter(|at| can(&outside.to_do[*at]))
            .collect();
        if !can.is_empty() {
            return Some(outside.to_do.swap_remove(self.dice.pick(&can)));
        }
        if outside.thrown > 20 {
            return None;
        }
        outside.thrown += 1;
        let id = outside.roots[self.dice.roll(outside.roots.len() as u64) as usize].clone();
        let verb = match self.dice.roll(4) {
            0 if !HUBS.contains(&id.as_str()) => Verb::Terminate("unwanted".into()),
            1 => Verb::RetryNow,
            _ => Verb::Resume,
        };
        Some(match self.dice.roll(4) {
            0 => Errand::Stand(id),
            1 => Errand::Act(id, verb),
            _ => Errand::Throw(id, format!("thrown/{:03}", outside.thrown)),
        })
    }

    /// Somebody wants one paused, whoever it may be, children too.
    pub(super) fn pause_one(&mut self) {
        if let Some(id) = self.one_that(|it| !it.is_final()) {
            self.outside.to_do.push(Errand::Act(id, Verb::Pause));
        }
    }

    /// Somebody finds one that is paused, and resumes it. What asked for the pause may have come
    /// late, by letter, so that there is no end to looking.
    fn resume_one(&mut self) {
        if !self.dice.once_in(3) {
            return;
        }
        let Some(id) = self.one_that(Status::is_paused) else {
            return;
        };
        let errand = Errand::Act(id, Verb::Resume);
        let asked = self
            .outside
            .under_way
            .values()
            .any(|it| it.errand == errand);
        if !asked && !self.outside.to_do.contains(&errand) {
            self.outside.to_do.push(errand);
        }
    }

    /// When all others have ended and nothing is on its way, so do those who took what was left.
    fn end_hubs(&mut self) {
        if self.outside.is_content()
            && self.outside.thrown > 20
            && !self.ledger.ending
            && self.only_hubs_left()
        {
            self.ledger.ending = true;
            self.judge_hubs();
            let end = HUBS.map(|it| Errand::Send(it.into(), "end", format!("{it}<end")));
            self.outside.to_do.extend(end);
        }
    }

    pub(super) fn replied(&mut self, ticket: u64, code: &'static str, data: &Data) {
        let Some(it) = self.outside.under_way.remove(&ticket) else {
            return;
        };
        self.judge_reply(&it.errand, it.there, code, data);
        if let (Errand::Create(id), "") = (&it.errand, code) {
            self.outside.created.push(id.clone());
        }
    }
}

fn command(ticket: u64, errand: &Errand) -> Command {
    let sent = |id: &str, kind: &str, payload: &str| {
        Box::new(Sent {
            to: name(id),
            kind: kind.into(),
            payload: Some(payload.as_bytes().into()),
        })
    };
    match errand {
        Errand::Create(id) => {
            let code = Code {
                namespace: "default".into(),
                workflow: "w".into(),
                version: "1".into(),
            };
            let item = NewItem {
                id: Some(id.as_str().into()),
                ..NewItem::default()
            };
            Command::Create(ticket, Box::new((code, item)), IfExists::Return)
        }
        Errand::Send(id, kind, payload) => {
            let (sent, dedup) = (sent(id, kind, payload), payload.as_str().into());
            if asks(payload) {
                Command::Request(ticket, sent, dedup)
            } else {
                Command::Send(ticket, sent, Some(dedup))
            }
        }
        Errand::Throw(id, payload) => Command::Send(ticket, sent(id, "p", payload), None),
        Errand::Decide(id, at, by) => {
            let decision = Decision {
                approval: approval_id(id, *at),
                of: name(id),
                name: at.to_string().into(),
                approved: by % 2 == 0,
                decision: by.to_string().into_bytes().into(),
                by: By::default(),
            };
            Command::Decide(ticket, Box::new(decision))
        }
        Errand::Stand(id) => Command::Stand(ticket, Box::new(name(id)), 0),
        Errand::Act(id, verb) => Command::Act(ticket, verb.clone().to(name(id))),
    }
}

/// Whether an event that says this wants an answer.
pub(super) fn asks(payload: &str) -> bool {
    payload.len().is_multiple_of(2)
}
