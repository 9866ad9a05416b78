//! Calls from outside that may come twice, because whoever made them did not hear the answer: under
//! an id that each has of its own, they are done once.
//!
//! What a call was answered is kept in the commit of what it changed, so both are there or neither;
//! for [`CALLS_KEPT`](crate::limits::CALLS_KEPT), which whoever repeats calls knows. A call that
//! was refused changed nothing: it is not kept, and a repeat is decided anew. Of creations the
//! numbers that were drawn are kept, for whether an id was free only the commit says: an instance is
//! the call's own if it has the number. This does not know what a call does.

use super::batch::{After, ItemOf, Step};
use super::decide::Whereabouts;
use super::Core;
use crate::codes;
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::note::{Data, Item, Note};
use crate::store::{Called, Op};
use crate::submission::{Code, Command, IfExists, Name, NewItem};

/// What a call was answered, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Nothing,
    Bool(bool),
    Number(u64),
    /// The numbers of the instances that it created, in the order of its items; 0 for each item
    /// that was refused.
    Created(Vec<InstanceNo>),
}

impl Answer {
    fn of(data: &Data) -> Option<Self> {
        match data {
            Data::Nothing => Some(Self::Nothing),
            Data::Bool(it) => Some(Self::Bool(*it)),
            Data::Number(it) => Some(Self::Number(*it)),
            _ => None,
        }
    }

    fn bytes(&self) -> Box<[u8]> {
        let (tag, numbers): (u8, &[u64]) = match self {
            Self::Nothing => (0, &[]),
            Self::Bool(it) => (1, &[u64::from(*it)]),
            Self::Number(it) => (2, &[*it]),
            Self::Created(them) => (3, them),
        };
        let numbers = numbers.iter().flat_map(|it| it.to_le_bytes());
        std::iter::once(tag).chain(numbers).collect()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let chunks = rest.chunks_exact(8);
        chunks.remainder().is_empty().then_some(())?;
        let numbers = chunks.map(|it| u64::from_le_bytes(it.try_into().expect("8 bytes")));
        let numbers: Vec<u64> = numbers.collect();
        match (tag, &numbers[..]) {
            (0, []) => Some(Self::Nothing),
            (1, [it]) => Some(Self::Bool(*it != 0)),
            (2, [it]) => Some(Self::Number(*it)),
            (3, _) => Some(Self::Created(numbers)),
            _ => None,
        }
    }
}

impl Core {
    /// Decides a call that may have been made before. Returns it if it has to wait for the next
    /// batch.
    pub(super) fn obey_once(&mut self, id: Box<[u8]>, command: Command) -> Option<Command> {
        let Some(ticket) = command.ticket() else {
            return self.obey_now(command);
        };
        let known = self.batch.known.call(&id);
        if let Some(answer) = self.or_refuse(ticket, known)? {
            let Some(answer) = Answer::parse(&answer) else {
                let text = "the answer to a call is of a newer version".into();
                self.say(Note::refuse(ticket, codes::CORRUPT, Data::Text(text)));
                return None;
            };
            let later = self.answer_again(ticket, command, answer);
            return later.map(|it| Command::Once(id, Box::new(it)));
        }
        if self.answers_in_batch(&id) {
            return Some(Command::Once(id, Box::new(command)));
        }
        if self.calls.values().any(|it| *it == id) {
            let text = "this call waits to be answered already".into();
            self.say(Note::refuse(ticket, codes::CORRUPT, Data::Text(text)));
            return None;
        }
        self.calls.insert(ticket, id);
        let later = self.obey_now(command)?;
        let id = self.calls.remove(&ticket).expect("it was not answered");
        Some(Command::Once(id, Box::new(later)))
    }

    fn answers_in_batch(&self, id: &[u8]) -> bool {
        let is = |op: &Op| matches!(op, Op::Called(it) if *it.id == *id);
        self.batch.ops().any(is)
    }

    /// Keeps what calls are answered by the steps since this one.
    pub(super) fn keep_answers(&mut self, since: usize) {
        if self.calls.is_empty() {
            return;
        }
        let mut answered = Vec::new();
        let mut created = Vec::new();
        for Step { op, then } in &self.batch.steps[since..] {
            match then {
                Some(After::Say(Note::Reply { ticket, code, data })) => {
                    let answer = code.is_empty().then(|| Answer::of(data)).flatten();
                    answered.push((*ticket, answer));
                }
                Some(After::Created(ticket, _)) => {
                    answered.push((*ticket, Some(Answer::Created(vec![drawn(op.as_ref())]))));
                }
                Some(After::Item) => created.push(drawn(op.as_ref())),
                Some(After::Items { ticket, items, .. }) => {
                    let mut new = created.drain(..);
                    let number = |it: &ItemOf| match it {
                        ItemOf::New => new.next().expect("each was created before"),
                        ItemOf::SameAs(..) | ItemOf::There(..) => 0,
                    };
                    let numbers: Vec<_> = items.iter().map(number).collect();
                    let any = numbers.iter().any(|it| *it != 0);
                    answered.push((*ticket, any.then_some(Answer::Created(numbers))));
                }
                Some(
                    After::Kept(Some(ticket), _)
                    | After::Limits {
                        ticket: Some(ticket),
                        ..
                    },
                ) => {
                    answered.push((*ticket, Some(Answer::Nothing)));
                }
                Some(After::Compare { ticket, .. }) => answered.push((*ticket, None)),
                Some(After::Seen {
                    refusal: Note::Reply { ticket, .. },
                    ..
                }) => {
                    answered.push((*ticket, None));
                }
                _ => {}
            }
        }
        for (ticket, answer) in answered {
            if let (Some(id), Some(answer)) = (self.calls.remove(&ticket), answer) {
                let (at, answer) = (self.now, answer.bytes());
                self.push(Op::Called(Box::new(Called { id, at, answer })));
            }
        }
    }

    /// Answers a call as it was answered before. Returns it if it has to wait for the next batch.
    fn answer_again(&mut self, ticket: u64, command: Command, answer: Answer) -> Option<Command> {
        let data = match (answer, command) {
            (Answer::Created(numbers), Command::Create(_, what, if_exists)) => {
                let one = std::slice::from_ref(&what.1);
                let Some(items) = self.created_before(ticket, &what.0, one, &numbers, if_exists)?
                else {
                    return Some(Command::Create(ticket, what, if_exists));
                };
                return self.answer_creation(ticket, items);
            }
            (Answer::Created(numbers), Command::CreateBatch(_, what, if_exists, wait)) => {
                let Some(items) =
                    self.created_before(ticket, &what.0, &what.1, &numbers, if_exists)?
                else {
                    return Some(Command::CreateBatch(ticket, what, if_exists, wait));
                };
                Data::Items(items)
            }
            (Answer::Nothing, _) => Data::Nothing,
            (Answer::Bool(it), _) => Data::Bool(it),
            (Answer::Number(it), _) => Data::Number(it),
            (Answer::Created(_), _) => {
                let text = "this call has the id of another one, which created instances".into();
                self.say(Note::refuse(ticket, codes::CORRUPT, Data::Text(text)));
                return None;
            }
        };
        self.say(Note::reply(ticket, data));
        None
    }

    fn answer_creation(&mut self, ticket: u64, mut items: Vec<Item>) -> Option<Command> {
        let it = items.pop().expect("it was one");
        let note = if it.code.is_empty() {
            let data = Data::Created {
                no: it.no,
                id: it.id,
                created: it.created,
                status: it.status,
            };
            Note::reply(ticket, data)
        } else {
            Note::refuse(ticket, it.code, Data::Exists(it.no, it.status))
        };
        self.say(note);
        None
    }

    /// Returns what became of creations; `Some(None)` if that is known with the next batch, `None`
    /// if whoever asks was refused.
    #[expect(clippy::option_option, reason = "refused, not yet, or known")]
    fn created_before(
        &mut self,
        ticket: u64,
        code: &Code,
        items: &[NewItem],
        numbers: &[InstanceNo],
        if_exists: IfExists,
    ) -> Option<Option<Vec<Item>>> {
        let (mut told, mut is_sure) = (Vec::with_capacity(items.len()), true);
        for (item, drawn) in items.iter().zip(numbers) {
            let id = item.id.clone().unwrap_or_default();
            let name = Name {
                namespace: code.namespace.clone(),
                workflow: code.workflow.clone(),
                id: id.clone(),
            };
            let found = self.find(&name);
            let there = match self.or_refuse(ticket, found)? {
                Whereabouts::Unsure => {
                    is_sure = false;
                    continue;
                }
                Whereabouts::Here(no, _, status) | Whereabouts::Final(no, status) => {
                    Some((no, status))
                }
                Whereabouts::Elsewhere(no, _) => Some((no, Status::Queued)),
                Whereabouts::Unknown => None,
            };
            let is_own = |no: InstanceNo| *drawn != 0 && no == *drawn;
            told.push(match there {
                Some((no, status)) if !is_own(no) => Item {
                    code: taken(if_exists),
                    no,
                    id,
                    created: false,
                    status,
                },
                // It was deleted since, or what was in its way.
                _ => Item {
                    code: "",
                    no: *drawn,
                    id,
                    created: true,
                    status: there.map_or(Status::Queued, |it| it.1),
                },
            });
        }
        Some(is_sure.then_some(told))
    }
}

/// What somebody is told whose id is taken; whether the params are the same they look themselves.
fn taken(if_exists: IfExists) -> &'static str {
    match if_exists {
        IfExists::Raise => codes::EXISTS,
        IfExists::Return => "",
        IfExists::ReturnIfSame => codes::SAME_ID_OTHER_PARAMS,
    }
}

fn drawn(op: Option<&Op>) -> InstanceNo {
    match op {
        Some(Op::Create(new)) => new.no,
        other => unreachable!("creates nothing: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn an_answer_is_read_as_it_was_kept_and_nothing_else_is() {
        for answer in [
            Answer::Nothing,
            Answer::Bool(true),
            Answer::Number(7),
            Answer::Created(vec![3, 0, u64::MAX]),
        ] {
            assert_eq!(Answer::parse(&answer.bytes()), Some(answer));
        }
        for bytes in [&[][..], &[9], &[1], &[2, 1], &[0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Answer::parse(bytes), None, "{bytes:?}");
        }
    }
}
