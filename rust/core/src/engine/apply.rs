//! After the commit: what was decided becomes visible, and whoever waits for it is told.

use super::creations::there;
use super::{After, Applied, Core, Facts, ItemOf, Job};
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::Status;
use crate::note::{Data, Item, Note, Settled, Start};
use crate::store::{Error, NewInstance, Op, Outcome};
use crate::submission::{IfExists, Name};

impl Core {
    /// Applies the batch to memory. `outcomes` are the store's answers to [`Core::ops`].
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn apply(&mut self, outcomes: &[Outcome], facts: &mut Facts) -> Result<Applied, Error> {
        assert_eq!(
            outcomes.len(),
            self.batch.ops.len(),
            "one answer per operation"
        );
        let mut applied = Applied::default();
        let mut ops = std::mem::take(&mut self.batch.ops);
        let mut after = std::mem::take(&mut self.batch.after);
        self.batch.unjudged.clear();
        self.batch.approvals.clear();
        self.batch.taken.clear();
        for it in after.drain(..) {
            self.follow(it, &mut ops, outcomes, facts, &mut applied)?;
        }
        // After all answers, so that a creation the store refused was never seen.
        for key in self.batch.shown.drain(..) {
            self.registry.show(key);
        }
        self.show_counts();
        // After that, so that whoever watches and then looks misses nothing.
        self.tell_changes(&mut ops, &mut applied);
        ops.clear();
        self.batch.ops = ops;
        self.batch.after = after;
        self.batch.bytes = 0;
        self.batch.number += 1;
        Ok(applied)
    }

    fn tell_changes(&mut self, ops: &mut [Op], applied: &mut Applied) {
        for (no, op) in self.batch.changed.drain(..) {
            if !self.watches.has(no) {
                continue;
            }
            if let Op::Status(_, _, to) = &mut ops[op as usize] {
                applied.notes.push(Note::Changed {
                    no,
                    status: to.status,
                    reason: to.reason.take(),
                    payload: to.payload.take(),
                });
            }
        }
    }

    fn follow(
        &mut self,
        after: After,
        ops: &mut [Op],
        outcomes: &[Outcome],
        facts: &mut Facts,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        match after {
            After::Done { ticket, op } => match outcomes[op as usize] {
                Outcome::Done(_) => done(&mut applied.notes, self.now, ticket),
                _ => applied.notes.push(Note::Fenced { ticket }),
            },
            After::Say(note) => applied.notes.push(note),
            After::Created {
                ticket,
                op,
                if_exists,
            } => {
                let new = new_of(&mut ops[op as usize]);
                self.created(
                    ticket,
                    new,
                    outcomes[op as usize],
                    if_exists,
                    facts,
                    applied,
                )?;
            }
            After::Items {
                ticket,
                items,
                if_exists,
            } => self.items(ticket, items, if_exists, ops, outcomes, facts, applied)?,
            After::Born { op } => self.born(*new_of(&mut ops[op as usize]), applied),
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
            After::Settled { op, settled } => self.settled(op, settled, outcomes, applied),
            After::Load { .. } | After::Wake(_) | After::Waits(_) | After::Leaves(_) => {
                self.seat(&after, applied);
            }
            After::Changed { no, op } => self.batch.changed.push((no, op)),
            After::Limits { ticket, namespace } => {
                self.show_limits(&namespace);
                let reply = ticket.map(|it| Note::reply(it, Data::Nothing));
                applied.notes.extend(reply);
            }
            After::Kept { ticket, no, op } => {
                if let Outcome::Done(_) = outcomes[op as usize] {
                    self.kept(no, &ops[op as usize]);
                }
                applied.notes.push(Note::reply(ticket, Data::Nothing));
            }
        }
        Ok(())
    }

    /// Bodies enter, wake, wait in or leave their seats.
    fn seat(&mut self, after: &After, applied: &mut Applied) {
        match after {
            &After::Load { no, interrupted } => {
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
            &After::Wake(no) => {
                if let Some(live) = self.live.get(&no) {
                    let incarnation = live.incarnation;
                    applied.notes.push(Note::Wake { no, incarnation });
                    applied.notes.append(&mut self.residents.wake(no));
                }
            }
            // It may have been woken again in the same batch.
            &After::Waits(no) => {
                let waits = self.live.get(&no).map(|it| it.status) == Some(Status::Waiting);
                if waits {
                    self.residents.wait(no);
                }
            }
            &After::Leaves(no) => self.residents.leave(no),
            other => unreachable!("moves no body: {other:?}"),
        }
    }

    /// An event with a `dedup_id` is new: a wait may take it in the next batch.
    fn kept(&mut self, no: InstanceNo, op: &Op) {
        if let (Some(live), Op::Buffer(_, event, _)) = (self.live.get_mut(&no), op) {
            live.mailbox.keep(event.clone());
            self.refit.push(no);
        }
    }

    fn settled(
        &mut self,
        op: Option<u32>,
        mut settled: Box<Settled>,
        outcomes: &[Outcome],
        applied: &mut Applied,
    ) {
        let no = settled.no;
        let Some(live) = self.live.get_mut(&no) else {
            return;
        };
        if let Some(op) = op {
            let Outcome::Done(seq) = outcomes[op as usize] else {
                return;
            };
            settled.seq = seq;
            live.settled = seq;
        }
        let told = self.residents.deliver(no, Note::Settled(settled));
        applied.notes.extend(told);
    }

    /// A creation that is durable: its body starts if it got a slot, and was not terminated by
    /// the very batch that created it.
    fn born(&mut self, new: NewInstance, applied: &mut Applied) {
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
            format: new.format,
            interrupted: false,
            records: Vec::new(),
            waits: Vec::new(),
        })));
    }

    fn created(
        &mut self,
        ticket: u64,
        new: Box<NewInstance>,
        outcome: Outcome,
        if_exists: IfExists,
        facts: &mut Facts,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        if let Outcome::Done(_) = outcome {
            let data = Data::Created {
                no: new.no,
                id: new.id.clone(),
                created: true,
                status: new.status,
            };
            applied.notes.push(Note::reply(ticket, data));
            self.born(*new, applied);
            return Ok(());
        }
        let (no, status) = self.refused(&new, outcome, facts)?;
        let note = match if_exists {
            IfExists::Raise => Note::refuse(ticket, "exists", Data::Exists(no, status)),
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
                return Ok(());
            }
        };
        applied.notes.push(note);
        Ok(())
    }

    /// The id was taken by an instance that is final: forgets the new one, returns that one.
    fn refused(
        &mut self,
        new: &NewInstance,
        outcome: Outcome,
        facts: &mut Facts,
    ) -> Result<(InstanceNo, Status), Error> {
        let key = Key::new(&new.namespace, &new.workflow, &new.id);
        let workflow = self.workflow(&new.namespace, &new.workflow);
        self.displace(new.no, key, workflow, new.priority, new.start_at);
        let row = facts.store.find(&new.namespace, &new.workflow, &new.id);
        if let (Err(Error::Row(_)), Outcome::Exists(no)) = (&row, outcome) {
            return Ok((no, Status::Blocked)); // it is damaged, and takes the id all the same
        }
        Ok(row?.map_or((0, Status::Complete), |it| (it.no, it.status)))
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one answer")]
    fn items(
        &mut self,
        ticket: u64,
        items: Vec<ItemOf>,
        if_exists: IfExists,
        ops: &mut [Op],
        outcomes: &[Outcome],
        facts: &mut Facts,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let mut answers: Vec<Item> = Vec::with_capacity(items.len());
        let mut starts = Vec::new();
        for item in items {
            let answer = match item {
                ItemOf::There(item, params) => compared(item, params.as_deref(), if_exists, facts)?,
                ItemOf::SameAs(at, params) => {
                    let same = answers[at].clone();
                    let same = there(if_exists, same.no, same.id, same.status);
                    compared(same, params.as_deref(), if_exists, facts)?
                }
                ItemOf::Op(op) => {
                    let new = new_of(&mut ops[op as usize]);
                    if let Outcome::Done(_) = outcomes[op as usize] {
                        let (no, id, status) = (new.no, new.id.clone(), new.status);
                        starts.push(new);
                        Item {
                            code: "",
                            no,
                            id,
                            created: true,
                            status,
                        }
                    } else {
                        let (no, status) = self.refused(&new, outcomes[op as usize], facts)?;
                        let taken = there(if_exists, no, new.id, status);
                        compared(taken, new.params.as_deref(), if_exists, facts)?
                    }
                }
            };
            answers.push(answer);
        }
        let data = Data::Items(answers);
        applied.notes.push(Note::reply(ticket, data));
        for new in starts {
            self.born(*new, applied);
        }
        Ok(())
    }
}

/// `ReturnIfSame`: an instance that has the id counts only if it started with the same.
fn compared(
    item: Item,
    params: Option<&[u8]>,
    if_exists: IfExists,
    facts: &mut Facts,
) -> Result<Item, Error> {
    if !matches!(if_exists, IfExists::ReturnIfSame) {
        return Ok(item);
    }
    let code = match facts.reader.payloads(item.no) {
        Ok(stored) if stored.params.as_deref() == params => item.code,
        Ok(_) => "same_id_other_params",
        // Nobody can tell, and that concerns this item only.
        Err(Error::Row(_)) => "corrupt",
        Err(error) => return Err(error),
    };
    Ok(Item { code, ..item })
}

/// Adds a ticket to the last note if that is of the same commit, so that a note costs little.
fn done(notes: &mut Vec<Note>, now: crate::ids::Micros, ticket: u64) {
    if let Some(Note::Done { at, tickets }) = notes.last_mut() {
        if *at == now {
            tickets.push(ticket);
            return;
        }
    }
    let tickets = vec![ticket];
    notes.push(Note::Done { at: now, tickets });
}

fn new_of(op: &mut Op) -> Box<NewInstance> {
    let Op::Create(new) = op else {
        unreachable!("the effect belongs to a creation");
    };
    let spent = NewInstance {
        params: None,
        attributes: None,
        namespace: "".into(),
        workflow: "".into(),
        version: "".into(),
        id: "".into(),
        ..**new
    };
    std::mem::replace(new, Box::new(spent))
}
