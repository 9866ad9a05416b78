//! After the commit: what was decided becomes visible, and whoever waits for it is told.

use std::collections::VecDeque;

use super::batch::Step;
use super::creations::there;
use super::{After, Applied, Core, ItemOf, Job};
use crate::codes;
use crate::history::{Stored, Verdict};
use crate::ids::{InstanceNo, Key, Seq};
use crate::lifecycle::Status;
use crate::note::{Data, Item, Note, Settled, Start};
use crate::store::known::Known;
use crate::store::{NewInstance, Op, Outcome, Transition};
use crate::submission::{IfExists, Name, OVERHEARD};
use crate::wait::Event;

/// What steps leave to later ones.
#[derive(Debug, Default)]
struct News {
    /// Creations that are items of one answer.
    created: VecDeque<(Box<NewInstance>, Outcome)>,
    /// Instances that are deleted.
    gone: Vec<InstanceNo>,
    /// New states, to be told when they are shown.
    changed: Vec<(InstanceNo, Transition)>,
}

impl Core {
    /// Applies the batch to memory. `outcomes` are the store's answers to [`Core::ops`].
    pub fn apply(&mut self, outcomes: &[Outcome]) -> Applied {
        let mut applied = Applied::default();
        let moved = self.take_changes();
        let mut steps = std::mem::take(&mut self.batch.steps);
        self.batch.unjudged.clear();
        self.batch.approvals.clear();
        self.batch.gone.clear();
        self.batch.placed.clear();
        self.batch.known = Known::default();
        let mut answers = outcomes.iter().copied();
        let mut news = News::default();
        let is_heard = self.watches.listens();
        for Step { op, then } in steps.drain(..) {
            let op = op.map(|op| (op, answers.next().expect("one answer per operation")));
            if let Some((op, outcome)) = &op {
                if is_heard {
                    applied.notes.extend(self.overheard(op, *outcome));
                }
            }
            if let Some(then) = then {
                self.follow(then, op, &mut news, &mut applied);
            }
        }
        assert!(answers.next().is_none(), "one answer per operation");
        // After all answers, so that a creation the store refused was never seen.
        for key in self.batch.shown.drain(..) {
            self.registry.show(key);
        }
        if self.show_counts(&moved) {
            applied.notes.push(Note::News);
        }
        // After that, so that whoever watches and then looks misses nothing.
        for (no, to) in news.changed {
            if self.watches.has(no) {
                applied.notes.push(Note::Changed {
                    no,
                    status: to.status,
                    reason: to.reason,
                    payload: to.payload,
                });
            }
        }
        let watched = news.gone.into_iter().filter(|it| self.watches.has(*it));
        applied.notes.extend(watched.map(|no| Note::Gone { no }));
        self.batch.steps = steps;
        self.batch.counts = [0; 2];
        self.batch.bytes = 0;
        self.batch.number += 1;
        applied
    }

    /// Returns what whoever listens to an instance is told of an operation.
    fn overheard(&self, op: &Op, outcome: Outcome) -> Option<Note> {
        let (no, record) = match op {
            Op::Append(no, _, record) => (*no, record),
            Op::CreateChildren(_, no, _, record) => (*no, &**record),
            Op::Progress(no, progress) if self.watches.hears(*no) => {
                return Some(Note::Progress(*no, progress.clone()));
            }
            Op::Chunks(no, incarnation, it) if self.watches.hears(*no) => {
                let Outcome::Done(place) = outcome else {
                    return None;
                };
                let row = it.row(place, None);
                let told = (*incarnation, it.stream.clone(), row);
                return Some(Note::Streamed(*no, Box::new(told)));
            }
            _ => return None,
        };
        let Outcome::Done(seq) = outcome else {
            return None;
        };
        let told = || {
            let record = record.clone();
            Note::Recorded(no, Box::new(Stored { seq, record }))
        };
        self.watches.hears(no).then(told)
    }

    /// Does what is left to do of one step; an operation comes with the store's answer.
    fn follow(
        &mut self,
        then: After,
        op: Option<(Op, Outcome)>,
        news: &mut News,
        applied: &mut Applied,
    ) {
        let outcome = op.as_ref().map(|it| it.1);
        match then {
            After::Done(ticket) => match outcome {
                Some(Outcome::Done(seq)) => done(&mut applied.notes, self.now, ticket, seq),
                _ => applied.notes.push(Note::Fenced { ticket }),
            },
            After::Sent(ticket) => match op {
                Some((_, Outcome::Done(place))) => {
                    done(&mut applied.notes, self.now, ticket, place);
                }
                Some((Op::Chunks(no, ..), Outcome::Full)) => {
                    applied.notes.push(self.full(no, ticket));
                }
                _ => applied.notes.push(Note::Fenced { ticket }),
            },
            After::Say(note) => applied.notes.push(note),
            After::Created(ticket, if_exists) => {
                let (new, outcome) = new_of(op);
                self.created(ticket, new, outcome, if_exists, applied);
            }
            After::Item => news.created.push_back(new_of(op)),
            After::Items {
                ticket,
                items,
                if_exists,
            } => self.items(ticket, items, if_exists, news, applied),
            After::Born(waits) => {
                let (new, outcome) = new_of(op);
                self.child_born(new, outcome, waits, applied);
            }
            After::Compare {
                ticket,
                name,
                params,
            } => applied.jobs.push(Job::Same {
                ticket,
                name,
                params,
            }),
            After::Look(creation) => applied.jobs.push(Job::Look(creation)),
            After::Seen { no, dedup, refusal } => {
                applied.jobs.push(Job::Seen { no, dedup, refusal });
            }
            After::Settled(settled) => self.settled(settled, outcome, applied),
            After::Load { no, interrupted } => self.load(no, interrupted, applied),
            After::Wake(no) => {
                if let Some(live) = self.live.get(&no) {
                    let incarnation = live.incarnation;
                    applied.notes.push(Note::Wake { no, incarnation });
                    applied.notes.append(&mut self.residents.wake(no));
                }
            }
            // It may have been woken again in the same batch.
            After::Waits(no) => {
                let waits = self.live.get(&no).map(|it| it.status) == Some(Status::Waiting);
                if waits {
                    self.residents.wait(no);
                }
            }
            After::Pauses(no, is_on) => {
                if let Some(live) = self.live.get(&no) {
                    let incarnation = live.incarnation;
                    let note = Note::Pause {
                        no,
                        incarnation,
                        is_on,
                    };
                    applied.notes.extend(self.residents.deliver(no, note));
                }
            }
            After::Undoes(no) => {
                if let Some(live) = self.live.get(&no) {
                    let incarnation = live.incarnation;
                    let note = Note::Undo { no, incarnation };
                    applied.notes.extend(self.residents.deliver(no, note));
                }
            }
            After::Leaves(no) => self.residents.leave(no),
            After::Gone(no) => news.gone.push(no),
            After::Changed(no) => {
                if let Some((Op::Status(_, _, to), _)) = op {
                    news.changed.push((no, to));
                }
            }
            After::Limits { ticket, namespace } => {
                self.show_limits(&namespace);
                let reply = ticket.map(|it| Note::reply(it, Data::Nothing));
                applied.notes.extend(reply);
            }
            After::Kept(ticket, no) => {
                if let Some((Op::Buffer(_, event, _), Outcome::Done(_))) = op {
                    self.kept(no, event);
                }
                let reply = ticket.map(|it| Note::reply(it, Data::Nothing));
                applied.notes.extend(reply);
            }
            After::Children(told, again) => self.children_created(told, *again, outcome, applied),
            After::Forgotten => self.forgotten(outcome),
            After::TakenIn(id) => self.taken_in(id, outcome),
        }
    }

    /// Says that a stream holds what it may.
    fn full(&self, no: InstanceNo, ticket: u64) -> Note {
        Note::Settled(Box::new(Settled {
            no,
            number: ticket,
            seq: 0,
            verdict: Verdict::Failed,
            kind: Some(codes::LIMIT.into()),
            payload: None,
            at: self.now,
            came_at: None,
        }))
    }

    fn load(&mut self, no: InstanceNo, interrupted: bool, applied: &mut Applied) {
        if let Some(live) = self.live.get(&no) {
            let incarnation = live.incarnation;
            self.residents.load(no, incarnation);
            applied.jobs.push(Job::Start {
                no,
                incarnation,
                interrupted,
            });
        }
    }

    /// An event with a `dedup_id` is new: a wait may take it in the next batch.
    fn kept(&mut self, no: InstanceNo, event: Event) {
        if let Some(live) = self.live.get_mut(&no) {
            live.mailbox.keep(event);
            self.refit.push(no);
        }
    }

    /// Tells a body an outcome, if the store took its record.
    pub(super) fn settled(
        &mut self,
        mut settled: Box<Settled>,
        outcome: Option<Outcome>,
        applied: &mut Applied,
    ) {
        let no = settled.no;
        let Some(live) = self.live.get_mut(&no) else {
            return;
        };
        match outcome {
            None => {}
            Some(Outcome::Done(seq)) => {
                (settled.seq, live.settled) = (seq, seq);
                if let Some((_, place)) = live.taken.get_mut(&settled.number) {
                    *place = Some(seq);
                }
            }
            Some(_) => return,
        }
        let told = self.residents.deliver(no, Note::Settled(settled));
        applied.notes.extend(told);
    }

    /// A creation that is durable: its body starts if it got a slot, and was not terminated by
    /// the very batch that created it.
    pub(super) fn born(&mut self, new: NewInstance, applied: &mut Applied) {
        if new.status != Status::Running || !self.live.contains_key(&new.no) {
            return;
        }
        self.residents.start(new.no, new.incarnation);
        applied.notes.push(Note::Start(Box::new(Start {
            no: new.no,
            incarnation: new.incarnation,
            namespace: new.namespace,
            workflow: new.workflow,
            version: new.version,
            id: new.id,
            params: new.params,
            attributes: new.attributes,
            created_at: new.created_at,
            parent: new.parent,
            schedule: new.schedule,
            born: None,
            format: new.format,
            seed: new.seed.unwrap_or(new.incarnation),
            interrupted: false,
            records: Vec::new(),
            waits: Vec::new(),
            sent: Vec::new(),
        })));
    }

    fn created(
        &mut self,
        ticket: u64,
        new: Box<NewInstance>,
        outcome: Outcome,
        if_exists: IfExists,
        applied: &mut Applied,
    ) {
        let Outcome::Exists(no, status) = outcome else {
            let data = Data::Created {
                no: new.no,
                id: new.id.clone(),
                created: true,
                status: new.status,
            };
            applied.notes.push(Note::reply(ticket, data));
            self.born(*new, applied);
            return;
        };
        self.take_back(&new);
        let note = match if_exists {
            IfExists::Raise => Note::refuse(ticket, codes::EXISTS, Data::Exists(no, status)),
            IfExists::Return => {
                let (id, created) = (new.id, false);
                let data = Data::Created {
                    no,
                    id,
                    created,
                    status,
                };
                Note::reply(ticket, data)
            }
            IfExists::ReturnIfSame => {
                let name = Box::new(Name {
                    namespace: new.namespace,
                    workflow: new.workflow,
                    id: new.id,
                });
                applied.jobs.push(Job::Same {
                    ticket,
                    name,
                    params: new.params,
                });
                return;
            }
        };
        applied.notes.push(note);
    }

    /// The id was taken by an instance that is final: forgets the new one, if it was placed here.
    pub(super) fn take_back(&mut self, new: &NewInstance) {
        let key = Key::new(&new.namespace, &new.workflow, &new.id);
        if !self.domain.has(key.range()) {
            return;
        }
        let workflow = self.workflow(&new.namespace, &new.workflow);
        let of = (workflow, self.versions.number(workflow, &new.version));
        self.displace(new.no, key, of, new.priority, new.start_at);
    }

    fn items(
        &mut self,
        ticket: u64,
        items: Vec<ItemOf>,
        if_exists: IfExists,
        news: &mut News,
        applied: &mut Applied,
    ) {
        let mut answers: Vec<Item> = Vec::with_capacity(items.len());
        let mut taken = Vec::new();
        let mut starts = Vec::new();
        for item in items {
            let (answer, params) = match item {
                ItemOf::There(item, params) => (item, params),
                ItemOf::SameAs(at, params) => {
                    let same = answers[at].clone();
                    (there(if_exists, same.no, same.id, same.status), params)
                }
                ItemOf::New => {
                    let (mut new, outcome) = news.created.pop_front().expect("it came before");
                    if let Outcome::Exists(no, status) = outcome {
                        self.take_back(&new);
                        let id = std::mem::take(&mut new.id);
                        (there(if_exists, no, id, status), new.params)
                    } else {
                        answers.push(Item {
                            code: "",
                            no: new.no,
                            id: new.id.clone(),
                            created: true,
                            status: new.status,
                        });
                        starts.push(new);
                        continue;
                    }
                }
            };
            taken.push((answers.len(), params));
            answers.push(answer);
        }
        if ticket == OVERHEARD {
            // Whoever had them created answers.
        } else if if_exists == IfExists::ReturnIfSame && !taken.is_empty() {
            applied.jobs.push(Job::SameItems {
                ticket,
                items: answers,
                taken,
            });
        } else {
            let data = Data::Items(answers);
            applied.notes.push(Note::reply(ticket, data));
        }
        for new in starts {
            self.born(*new, applied);
        }
    }
}

/// Adds a ticket to the last note if that is of the same commit, so that a note costs little.
fn done(notes: &mut Vec<Note>, now: crate::ids::Micros, ticket: u64, seq: Seq) {
    if let Some(Note::Done { at, tickets, seqs }) = notes.last_mut() {
        if *at == now {
            tickets.push(ticket);
            seqs.push(seq);
            return;
        }
    }
    notes.push(Note::Done {
        at: now,
        tickets: vec![ticket],
        seqs: vec![seq],
    });
}

/// Returns what was to be created, and the store's answer.
fn new_of(op: Option<(Op, Outcome)>) -> (Box<NewInstance>, Outcome) {
    let Some((Op::Create(new), outcome)) = op else {
        unreachable!("what follows a creation belongs to one");
    };
    (new, outcome)
}
