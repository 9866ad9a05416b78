//! A message as bytes, for stores that keep rows: one letter for the variant, then its parts in
//! order. Numbers are little-endian, texts and payloads come after their length.

use super::{Answer, Asked, Asker, Ending, Message, Told, Waiter};
use crate::audit::By;
use crate::codes;
use crate::history::{Kind, Operation, Verdict};
use crate::ids::{Range, RANGES};
use crate::lifecycle::Status;
use crate::rewind::From;
use crate::submission::{Anew, Decision, Deed, Name, Resolution, Verb};

impl Message {
    /// Returns it as bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut to = Pen(Vec::new());
        match self {
            Self::Born(no) => to.letter(b'B').number(*no),
            Self::Watch(no, by) => to.letter(b'W').number(*no).waiter(by),
            Self::Ended(by, ending) => to
                .letter(b'E')
                .waiter(by)
                .letter(ending.verdict as u8)
                .text_or_none(ending.kind.as_deref())
                .bytes_or_none(ending.payload.as_deref()),
            Self::Event {
                no,
                kind,
                payload,
                at,
                dedup,
                asks,
            } => to
                .letter(if *asks { b'Q' } else { b'V' })
                .number(*no)
                .text(kind)
                .bytes_or_none(payload.as_deref())
                .number(*at as u64)
                .text_or_none(dedup.as_deref()),
            Self::Terminate(no, error) => to.letter(b'T').number(*no).bytes(error),
            Self::Undo(no, error) => to.letter(b'U').number(*no).bytes(error),
            Self::Ask(by, what) => to
                .letter(b'A')
                .number(by.engine)
                .number(by.ticket)
                .asked(what),
            Self::Answer(ticket, answer) => to
                .letter(b'R')
                .number(*ticket)
                .text(answer.code)
                .told(&answer.data),
        };
        to.0
    }

    /// Returns what these bytes say; `None` if that makes no sense.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Eye(bytes);
        let message = from.message().ok()?;
        from.0.is_empty().then_some(message)
    }
}

/// Writes parts one after the other.
pub(crate) struct Pen(pub(crate) Vec<u8>);

impl Pen {
    pub(crate) fn letter(&mut self, it: u8) -> &mut Self {
        self.0.push(it);
        self
    }

    pub(crate) fn number(&mut self, it: u64) -> &mut Self {
        self.0.extend(it.to_le_bytes());
        self
    }

    pub(crate) fn bytes(&mut self, it: &[u8]) -> &mut Self {
        self.number(it.len() as u64);
        self.0.extend(it);
        self
    }

    pub(crate) fn bytes_or_none(&mut self, it: Option<&[u8]>) -> &mut Self {
        match it {
            None => self.letter(0),
            Some(it) => self.letter(1).bytes(it),
        }
    }

    pub(crate) fn text(&mut self, it: &str) -> &mut Self {
        self.bytes(it.as_bytes())
    }

    pub(crate) fn text_or_none(&mut self, it: Option<&str>) -> &mut Self {
        self.bytes_or_none(it.map(str::as_bytes))
    }

    fn name(&mut self, it: &Name) -> &mut Self {
        self.text(&it.namespace).text(&it.workflow).text(&it.id)
    }

    fn waiter(&mut self, it: &Waiter) -> &mut Self {
        self.number(it.no).number(it.range.0.into()).number(it.wait)
    }

    fn asked(&mut self, what: &Asked) -> &mut Self {
        match what {
            Asked::Decide(it) => self
                .letter(b'D')
                .text(&it.approval)
                .name(&it.of)
                .text(&it.name)
                .letter(it.approved.into())
                .bytes(&it.decision)
                .by(&it.by),
            Asked::Act(it) => self.letter(b'A').name(&it.to).verb(&it.verb).by(&it.by),
            Asked::Stand(name, priority) => self.letter(b'S').name(name).letter(*priority as u8),
        }
    }

    pub(crate) fn by(&mut self, by: &By) -> &mut Self {
        self.text_or_none(by.actor.as_deref())
            .text_or_none(by.note.as_deref())
    }

    fn verb(&mut self, verb: &Verb) -> &mut Self {
        match verb {
            Verb::Resume => self.letter(b'R'),
            Verb::ResumeAs(how) => {
                self.letter(b'G')
                    .text_or_none(how.version.as_deref())
                    .number(how.forgets.len() as u64);
                for seq in &how.forgets {
                    self.number(*seq);
                }
                self
            }
            Verb::Terminate(why) => self.letter(b'T').text(why),
            Verb::Undo(why) => self.letter(b'U').text(why),
            Verb::RetryNow => self.letter(b'N'),
            Verb::Pause => self.letter(b'P'),
            Verb::Delete => self.letter(b'D'),
            Verb::SetPriority(it) => self.letter(b'Q').letter(*it as u8),
            Verb::StartNow => self.letter(b'S'),
            Verb::Resolve(it) => self
                .letter(b'O')
                .operation(&it.operation)
                .letter(it.verdict as u8)
                .bytes(&it.payload),
            Verb::Restart(From::Start) => self.letter(b'A').letter(b'S'),
            Verb::Restart(From::Failed) => self.letter(b'A').letter(b'F'),
            Verb::Restart(From::Operation(it)) => self.letter(b'A').letter(b'O').operation(it),
        }
    }

    fn operation(&mut self, it: &Operation) -> &mut Self {
        self.letter(it.kind as u8).text(&it.branch).text(&it.name);
        self.text_or_none(it.key.as_deref()).number(it.count.into())
    }

    fn told(&mut self, data: &Told) -> &mut Self {
        match data {
            Told::Nothing => self.letter(b'N'),
            Told::Bool(it) => self.letter(b'B').letter((*it).into()),
            Told::State(status) => self.letter(b'S').letter(*status as u8),
            Told::Text(text) => self.letter(b'T').text(text),
            Told::Standing(state, ahead, slots) => {
                self.letter(b'P').letter(state.is_some().into());
                if let Some(state) = state {
                    self.letter(*state as u8);
                }
                self.number(*ahead);
                for (used, limit) in slots {
                    self.number(u64::from(*used) << 32 | u64::from(*limit));
                }
                self
            }
        }
    }
}

/// These are no bytes of a message.
pub(crate) struct Nonsense;

pub(crate) type Read<T> = Result<T, Nonsense>;

/// Reads parts one after the other.
pub(crate) struct Eye<'b>(pub(crate) &'b [u8]);

impl Eye<'_> {
    fn message(&mut self) -> Read<Message> {
        Ok(match self.letter()? {
            b'B' => Message::Born(self.number()?),
            b'W' => Message::Watch(self.number()?, self.waiter()?),
            b'E' => {
                let by = self.waiter()?;
                let ending = Ending {
                    verdict: Verdict::from_code(self.letter()?).ok_or(Nonsense)?,
                    kind: self.text_or_none()?,
                    payload: self.bytes_or_none()?,
                };
                Message::Ended(by, ending)
            }
            it @ (b'V' | b'Q') => Message::Event {
                no: self.number()?,
                kind: self.text()?,
                payload: self.bytes_or_none()?,
                at: self.number()? as i64,
                dedup: self.text_or_none()?,
                asks: it == b'Q',
            },
            b'T' => Message::Terminate(self.number()?, self.bytes()?),
            b'U' => Message::Undo(self.number()?, self.bytes()?),
            b'A' => {
                let by = Asker {
                    engine: self.number()?,
                    ticket: self.number()?,
                };
                Message::Ask(by, self.asked()?)
            }
            b'R' => {
                let ticket = self.number()?;
                let code = self.code()?;
                let data = self.told()?;
                Message::Answer(ticket, Answer { code, data })
            }
            _ => return Err(Nonsense),
        })
    }

    fn code(&mut self) -> Read<&'static str> {
        let code = self.text()?;
        let mut known = codes::ALL.iter().map(|it| it.1).chain([""]);
        known.find(|it| **it == *code).ok_or(Nonsense)
    }

    fn status(&mut self) -> Read<Status> {
        Status::from_code(self.letter()?).ok_or(Nonsense)
    }

    pub(crate) fn letter(&mut self) -> Read<u8> {
        let (first, rest) = self.0.split_first().ok_or(Nonsense)?;
        self.0 = rest;
        Ok(*first)
    }

    fn flag(&mut self) -> Read<bool> {
        let flag = [false, true].get(usize::from(self.letter()?)).copied();
        flag.ok_or(Nonsense)
    }

    pub(crate) fn number(&mut self) -> Read<u64> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Nonsense)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*first))
    }

    pub(crate) fn bytes(&mut self) -> Read<Box<[u8]>> {
        let length = usize::try_from(self.number()?).map_err(|_| Nonsense)?;
        let (first, rest) = self.0.split_at_checked(length).ok_or(Nonsense)?;
        self.0 = rest;
        Ok(first.into())
    }

    pub(crate) fn bytes_or_none(&mut self) -> Read<Option<Box<[u8]>>> {
        let there = self.flag()?;
        there.then(|| self.bytes()).transpose()
    }

    pub(crate) fn text(&mut self) -> Read<Box<str>> {
        let text = String::from_utf8(self.bytes()?.into());
        text.map(Into::into).map_err(|_| Nonsense)
    }

    pub(crate) fn text_or_none(&mut self) -> Read<Option<Box<str>>> {
        let there = self.flag()?;
        there.then(|| self.text()).transpose()
    }

    fn name(&mut self) -> Read<Name> {
        Ok(Name {
            namespace: self.text()?,
            workflow: self.text()?,
            id: self.text()?,
        })
    }

    fn waiter(&mut self) -> Read<Waiter> {
        let no = self.number()?;
        let range = u16::try_from(self.number()?).ok();
        let range = range.filter(|it| *it < RANGES).map(Range);
        let range = range.ok_or(Nonsense)?;
        let wait = self.number()?;
        Ok(Waiter { no, range, wait })
    }

    fn asked(&mut self) -> Read<Asked> {
        Ok(match self.letter()? {
            b'D' => Asked::Decide(Box::new(Decision {
                approval: self.text()?,
                of: self.name()?,
                name: self.text()?,
                approved: self.flag()?,
                decision: self.bytes()?,
                by: self.by()?,
            })),
            b'A' => Asked::Act(Box::new(Deed {
                to: self.name()?,
                verb: self.verb()?,
                by: self.by()?,
            })),
            b'S' => Asked::Stand(Box::new(self.name()?), self.letter()? as i8),
            _ => return Err(Nonsense),
        })
    }

    pub(crate) fn by(&mut self) -> Read<By> {
        let actor = self.text_or_none()?;
        let note = self.text_or_none()?;
        Ok(By { actor, note })
    }

    fn verb(&mut self) -> Read<Verb> {
        Ok(match self.letter()? {
            b'R' => Verb::Resume,
            b'G' => {
                let version = self.text_or_none()?;
                let count = self.number()?;
                let forgets = (0..count).map(|_| self.number()).collect::<Read<_>>()?;
                Verb::ResumeAs(Box::new(Anew { version, forgets }))
            }
            b'T' => Verb::Terminate(self.text()?),
            b'U' => Verb::Undo(self.text()?),
            b'N' => Verb::RetryNow,
            b'P' => Verb::Pause,
            b'D' => Verb::Delete,
            b'Q' => Verb::SetPriority(self.letter()? as i8),
            b'S' => Verb::StartNow,
            b'O' => Verb::Resolve(Box::new(Resolution {
                operation: self.operation()?,
                verdict: Verdict::from_code(self.letter()?).ok_or(Nonsense)?,
                payload: self.bytes()?,
            })),
            b'A' => Verb::Restart(match self.letter()? {
                b'S' => From::Start,
                b'F' => From::Failed,
                b'O' => From::Operation(Box::new(self.operation()?)),
                _ => return Err(Nonsense),
            }),
            _ => return Err(Nonsense),
        })
    }

    fn operation(&mut self) -> Read<Operation> {
        Ok(Operation {
            kind: Kind::from_code(self.letter()?).ok_or(Nonsense)?,
            branch: self.text()?,
            name: self.text()?,
            key: self.text_or_none()?,
            count: u32::try_from(self.number()?).map_err(|_| Nonsense)?,
        })
    }

    fn told(&mut self) -> Read<Told> {
        Ok(match self.letter()? {
            b'N' => Told::Nothing,
            b'B' => Told::Bool(self.flag()?),
            b'S' => Told::State(self.status()?),
            b'T' => Told::Text(self.text()?.into()),
            b'P' => {
                let stands = self.flag()?;
                let state = stands.then(|| self.status()).transpose()?;
                let ahead = self.number()?;
                let mut slots = [(0, 0); 3];
                for slot in &mut slots {
                    let both = self.number()?;
                    *slot = ((both >> 32) as u32, both as u32);
                }
                Told::Standing(state, ahead, slots)
            }
            _ => return Err(Nonsense),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: &str) -> Name {
        Name {
            namespace: "default".into(),
            workflow: "orders".into(),
            id: id.into(),
        }
    }

    /// One of each.
    fn messages() -> Vec<Message> {
        let (no, range, wait) = (7, Range(4_095), 1 << 40);
        let by = Waiter { no, range, wait };
        let (engine, ticket) = (3, u64::MAX);
        let asker = Asker { engine, ticket };
        let ending = |kind: Option<&str>, payload: Option<&[u8]>| Ending {
            verdict: Verdict::Failed,
            kind: kind.map(Into::into),
            payload: payload.map(Into::into),
        };
        let event = |payload: Option<&[u8]>, dedup: Option<&str>| Message::Event {
            no: 3,
            kind: "paid".into(),
            payload: payload.map(Into::into),
            at: -5,
            dedup: dedup.map(Into::into),
            asks: payload.is_some(),
        };
        let answer = |code, data| Message::Answer(4, Answer { code, data });
        let decision = Decision {
            approval: "orders/1#ship#1".into(),
            of: name("1"),
            name: "ship".into(),
            approved: true,
            decision: b"by".as_slice().into(),
            by: By {
                actor: Some("ann".into()),
                note: None,
            },
        };
        let act = |id, verb: Verb| Message::Ask(asker, Asked::Act(verb.to(name(id))));
        let operation = Operation {
            kind: Kind::Event,
            branch: "n#1/2".into(),
            name: "é".into(),
            key: Some("".into()),
            count: u32::MAX,
        };
        let noted = Deed {
            by: By {
                actor: None,
                note: Some("why".into()),
            },
            ..*Verb::Pause.to(name("3"))
        };
        let slots = [(1, 2), (0, u32::MAX), (u32::MAX, 0)];
        vec![
            Message::Born(1),
            Message::Watch(2, by),
            Message::Ended(by, ending(Some("terminated"), Some(b""))),
            Message::Ended(by, ending(None, None)),
            event(Some(b"\x00x"), Some("once")),
            event(None, Some("once")),
            event(None, None),
            Message::Terminate(4, b"why".as_slice().into()),
            Message::Undo(4, b"why".as_slice().into()),
            Message::Ask(asker, Asked::Decide(Box::new(decision))),
            act("é", Verb::Resume),
            act("2", Verb::Terminate("unwanted".into())),
            act("2", Verb::Undo("unwanted".into())),
            act("2", Verb::RetryNow),
            act("2", Verb::Pause),
            act("2", Verb::Delete),
            act("2", Verb::SetPriority(-100)),
            act("2", Verb::StartNow),
            act(
                "2",
                Verb::Resolve(Box::new(Resolution {
                    operation: operation.clone(),
                    verdict: Verdict::Failed,
                    payload: [1, 2].into(),
                })),
            ),
            act("2", Verb::Restart(From::Start)),
            act("2", Verb::Restart(From::Failed)),
            act("2", Verb::Restart(From::Operation(Box::new(operation)))),
            act(
                "2",
                Verb::ResumeAs(Box::new(Anew {
                    version: Some("2".into()),
                    forgets: vec![3, u64::MAX],
                })),
            ),
            act("2", Verb::ResumeAs(Box::default())),
            Message::Ask(asker, Asked::Act(Box::new(noted))),
            Message::Ask(asker, Asked::Stand(Box::new(name("")), -100)),
            answer("", Told::Nothing),
            answer("", Told::Bool(true)),
            answer(codes::STATE, Told::State(Status::Complete)),
            answer(codes::MISSING_CODE, Told::Text("pass it in".into())),
            answer("", Told::Standing(Some(Status::Queued), 12, slots)),
            answer("", Told::Standing(None, 0, slots)),
        ]
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for message in messages() {
            let bytes = message.bytes();
            assert_eq!(Message::read(&bytes).as_ref(), Some(&message));
            for cut in 0..bytes.len() {
                assert_eq!(Message::read(&bytes[..cut]), None, "{message:?}");
            }
            assert_eq!(Message::read(&[&*bytes, &[0]].concat()), None);
        }
    }
}
