//! Creations from outside, one or many at once: all of them, or none and a promise (C10).
//!
//! Invariants: nothing is half-created; an id that is taken costs nothing and waits for nothing
//! (L1). Whether an id is taken by an instance that has ended only the store knows. A creation that
//! is let in finds out by its own commit, which costs nothing more; one that would be refused is
//! looked up first, by the loader, and comes again with what that found ([`Command::Again`]).
//! What was taken for an id that turned out to exist goes back.

use rustc_hash::FxHashMap;

use super::{After, Core, ItemOf};
use crate::admission::{Admittance, Who, Wish};
use crate::codes;
use crate::ids::{InstanceNo, Key};
use crate::letter::{Address, Message};
use crate::lifecycle::Status;
use crate::note::{Data, Item, Note};
use crate::store::{NewInstance, Op, FORMAT};
use crate::submission::{Code, Command, IfExists, KnownIds, Name, NewItem};

/// What is to be done about one item of a batch.
#[derive(Debug, Clone, Copy)]
enum Spot {
    /// It is new, under this key if it has an id.
    New(Option<Key>),
    /// It has the id of an earlier one.
    SameAs(usize),
    /// The id is taken.
    There(InstanceNo, Status),
}

impl Core {
    /// Numbers a new instance and places it.
    pub(super) fn admit(&mut self, code: &Code, item: NewItem, key: Key) -> Box<NewInstance> {
        let no = self.sequence.draw();
        let workflow = self.workflow(&code.namespace, &code.workflow);
        let of = (workflow, self.versions.number(workflow, &code.version));
        let status = self.place(no, key, of, item.priority, item.start_at);
        self.new_instance(no, code, item, status)
    }

    /// Numbers a new instance; the owner of its range places it.
    pub(super) fn entrust(&mut self, code: &Code, item: NewItem, key: Key) -> Box<NewInstance> {
        let no = self.sequence.draw();
        self.leave_letter(Address::Owner(key.range()), Message::Born(no));
        self.new_instance(no, code, item, Status::Queued)
    }

    fn new_instance(
        &mut self,
        no: InstanceNo,
        code: &Code,
        item: NewItem,
        status: Status,
    ) -> Box<NewInstance> {
        assert!(
            self.codes.has(&code.workflow, &code.version),
            "L12: nothing is created without code"
        );
        self.batch.bytes += item.params.as_ref().map_or(0, |it| it.len()) + 64;
        self.keeps(item.keep);
        Box::new(NewInstance {
            no,
            incarnation: no,
            namespace: code.namespace.clone(),
            workflow: code.workflow.clone(),
            version: code.version.clone(),
            id: item.id.expect("it was given or generated"),
            params: item.params,
            attributes: item.attributes,
            priority: item.priority,
            created_at: self.now,
            start_at: item.start_at,
            status,
            parent: None,
            called: false,
            format: FORMAT,
            seed: None,
            keep: item.keep,
            schedule: item.schedule,
        })
    }

    /// A creation comes again: its ids were looked up, or there may be room for it now.
    pub(super) fn create_again(&mut self, creation: Command, found: KnownIds) -> Option<Command> {
        let (ticket, waits) = match &creation {
            Command::Create(ticket, ..) => (*ticket, false),
            Command::CreateBatch(ticket, .., waits) => (*ticket, *waits),
            other => unreachable!("creates nothing: {other:?}"),
        };
        // What was given up meanwhile never happens.
        let under_way = self.rooms.out.remove(&ticket)?;
        if waits && self.rooms.ended {
            self.turn_away(ticket);
            return None;
        }
        let later = match creation {
            Command::Create(_, what, if_exists) => self.create(ticket, what, if_exists, found),
            Command::CreateBatch(_, what, if_exists, wait) => {
                self.create_batch(ticket, what, if_exists, wait, found)
            }
            other => unreachable!("creates nothing: {other:?}"),
        };
        if later.is_some() {
            self.rooms.out.insert(ticket, under_way);
        }
        later
    }

    pub(super) fn create(
        &mut self,
        ticket: u64,
        what: Box<(Code, NewItem)>,
        if_exists: IfExists,
        found: KnownIds,
    ) -> Option<Command> {
        let (code, item) = &*what;
        if self.refuses_going(ticket, &code.namespace) {
            return None;
        }
        let workflow = self.workflow(&code.namespace, &code.workflow);
        let key = item
            .id
            .as_deref()
            .map(|id| Key::new(&code.namespace, &code.workflow, id));
        if let Some(key) = key {
            match self.look_up(key, &found) {
                Ok(None) => {}
                Ok(Some((no, status))) => {
                    let namespace = self.gate.namespace(workflow);
                    self.admission
                        .forget(namespace, workflow, 1, Who::Id(key.0 as u64));
                    self.taken(ticket, &what, if_exists, no, status);
                    return None;
                }
                Err(Uncommitted) => {
                    return Some(Command::Create(ticket, what, if_exists).with(found))
                }
            }
        }
        if let Some(key) = key.filter(|it| !self.domain.has(it.range())) {
            let (code, item) = *what;
            let new = self.entrust(&code, item, key);
            self.push_then(Op::Create(new), After::Created(ticket, if_exists));
            return None;
        }
        let later = u32::from(self.comes_later(item));
        let who = key.map_or(Who::Stranger, |it| Who::Id(it.0 as u64));
        let wish = self.wish(workflow, 1, later, who);
        if let Admittance::Overloaded(..) = self.admission.admit(wish) {
            if key.is_some() && found.is_none() {
                self.look(ticket, Command::Create(ticket, what, if_exists), None);
            } else {
                self.refuse(ticket, wish);
            }
            return None;
        }
        let (code, mut item) = *what;
        let key = key.unwrap_or_else(|| self.generate(&code, &mut item));
        let new = self.admit(&code, item, key);
        self.push_then(Op::Create(new), After::Created(ticket, if_exists));
        None
    }

    /// Gives an instance an id.
    fn generate(&self, code: &Code, item: &mut NewItem) -> Key {
        loop {
            let id = self.generated.next(self.now);
            let key = Key::new(&code.namespace, &code.workflow, &id);
            // One that is free to choose is born where it is created.
            if self.domain.has(key.range()) {
                item.id = Some(id);
                return key;
            }
        }
    }

    /// Returns who has an id, as far as memory and `found` know; an error if this batch may create
    /// it.
    fn look_up(
        &self,
        key: Key,
        found: &KnownIds,
    ) -> Result<Option<(InstanceNo, Status)>, Uncommitted> {
        if let Some(view) = self.registry.view(key) {
            return match view.committed {
                None => Err(Uncommitted),
                Some(_) => Ok(Some((view.no, view.decided))),
            };
        }
        Ok(found.as_ref().and_then(|it| it.get(&key.0).copied()))
    }

    fn wish(&mut self, workflow: u32, count: u32, later: u32, who: Who) -> Wish {
        Wish {
            namespace: self.gate.namespace(workflow),
            workflow,
            count,
            later,
            startable: self.startable(workflow),
            who,
        }
    }

    /// A creation that would be refused is looked up in the store, and comes again; what it is
    /// promised meanwhile is in this namespace and workflow.
    fn look(&mut self, ticket: u64, creation: Command, promised: Option<(u32, u32)>) {
        self.rooms.out.insert(ticket, promised);
        self.then(After::Look(Box::new(creation)));
    }

    fn refuse(&mut self, ticket: u64, wish: Wish) {
        let (limit, after) = self.admission.promise(wish);
        let data = Data::Overloaded(limit, after);
        self.say(Note::refuse(ticket, codes::OVERLOADED, data));
    }

    fn taken(
        &mut self,
        ticket: u64,
        what: &(Code, NewItem),
        if_exists: IfExists,
        no: InstanceNo,
        status: Status,
    ) {
        match existing(ticket, what, if_exists, no, status) {
            Some(note) => self.say(note),
            None => self.then(After::Compare {
                ticket,
                name: Box::new(name(what)),
                params: what.1.params.clone(),
            }),
        }
    }

    pub(super) fn create_batch(
        &mut self,
        ticket: u64,
        what: Box<(Code, Vec<NewItem>)>,
        if_exists: IfExists,
        wait: bool,
        found: KnownIds,
    ) -> Option<Command> {
        let (code, items) = &*what;
        if self.refuses_going(ticket, &code.namespace) {
            return None;
        }
        let workflow = self.workflow(&code.namespace, &code.workflow);
        let Ok(spots) = self.spots(code, items, &found) else {
            let batch = Command::CreateBatch(ticket, what, if_exists, wait);
            return Some(batch.with(found));
        };
        let here = |it: Key| self.domain.has(it.range());
        let new = || {
            items
                .iter()
                .zip(&spots)
                .filter(|it| matches!(it.1, Spot::New(key) if key.is_none_or(here)))
        };
        let count = new().count() as u32;
        let later = new().filter(|it| self.comes_later(it.0)).count() as u32;
        let who = match spots.first() {
            _ if wait => Who::Waits(ticket),
            // Others are known by their first id, if somebody gave it.
            Some(Spot::New(Some(key))) => Who::Id(key.0 as u64),
            _ => Who::Stranger,
        };
        let wish = self.wish(workflow, count, later, who);
        if let Admittance::Overloaded(..) = self.admission.admit(wish) {
            let named = spots.iter().any(|it| matches!(it, Spot::New(Some(_))));
            let least = later + (count - later).saturating_sub(self.gate.most(workflow));
            let batch = Command::CreateBatch(ticket, what, if_exists, wait);
            let waits = wait && self.admission.fits(workflow, least);
            if named && found.is_none() {
                // Whoever waits has its place in the line from now on.
                let promised = waits.then_some((wish.namespace, workflow));
                if waits && !self.rooms.ended {
                    self.admission.promise(wish);
                }
                self.look(ticket, batch, promised);
            } else if waits {
                self.wait_for_room(ticket, batch, found, wish);
            } else {
                // One that no queue has room for, however empty, would wait for ever.
                self.refuse(ticket, wish);
                self.admission
                    .forget(wish.namespace, workflow, count, Who::Waits(ticket));
            }
            return None;
        }
        if count == 0 {
            self.admission.forget(wish.namespace, workflow, 0, who);
        }
        self.let_in(ticket, *what, if_exists, spots);
        None
    }

    /// Says of each item of a batch whether it is new.
    fn spots(
        &self,
        code: &Code,
        items: &[NewItem],
        found: &KnownIds,
    ) -> Result<Vec<Spot>, Uncommitted> {
        let mut first: FxHashMap<u128, usize> = FxHashMap::default();
        let mut spots = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let Some(id) = &item.id else {
                spots.push(Spot::New(None));
                continue;
            };
            let key = Key::new(&code.namespace, &code.workflow, id);
            spots.push(match self.look_up(key, found)? {
                Some((no, status)) => Spot::There(no, status),
                None => match *first.entry(key.0).or_insert(at) {
                    earlier if earlier < at => Spot::SameAs(earlier),
                    _ => Spot::New(Some(key)),
                },
            });
        }
        Ok(spots)
    }

    fn let_in(
        &mut self,
        ticket: u64,
        what: (Code, Vec<NewItem>),
        if_exists: IfExists,
        spots: Vec<Spot>,
    ) {
        let (code, items) = what;
        let mut answers = Vec::with_capacity(items.len());
        for (mut item, spot) in items.into_iter().zip(spots) {
            answers.push(match spot {
                Spot::There(no, status) => {
                    let id = item.id.expect("it was given");
                    ItemOf::There(there(if_exists, no, id, status), item.params)
                }
                Spot::SameAs(earlier) => ItemOf::SameAs(earlier, item.params),
                Spot::New(key) => {
                    let key = key.unwrap_or_else(|| self.generate(&code, &mut item));
                    let new = if self.domain.has(key.range()) {
                        self.admit(&code, item, key)
                    } else {
                        self.entrust(&code, item, key)
                    };
                    self.push_then(Op::Create(new), After::Item);
                    ItemOf::New
                }
            });
        }
        self.then(After::Items {
            ticket,
            items: answers,
            if_exists,
        });
    }
}

/// Whether an id exists is known after this batch.
struct Uncommitted;

fn name(what: &(Code, NewItem)) -> Name {
    Name {
        namespace: what.0.namespace.clone(),
        workflow: what.0.workflow.clone(),
        id: what.1.id.clone().expect("it was given"),
    }
}

/// Returns the answer to the creation of an instance that is there already; none if its params are
/// to be compared first.
pub(crate) fn existing(
    ticket: u64,
    what: &(Code, NewItem),
    if_exists: IfExists,
    no: InstanceNo,
    status: Status,
) -> Option<Note> {
    match if_exists {
        IfExists::Raise => Some(Note::refuse(
            ticket,
            codes::EXISTS,
            Data::Exists(no, status),
        )),
        IfExists::Return => {
            let data = Data::Created {
                no,
                id: what.1.id.clone().expect("it was given"),
                created: false,
                status,
            };
            Some(Note::reply(ticket, data))
        }
        IfExists::ReturnIfSame => None,
    }
}

/// The answer for an item whose id is taken.
pub(super) fn there(if_exists: IfExists, no: InstanceNo, id: Box<str>, status: Status) -> Item {
    let code = match if_exists {
        IfExists::Raise => codes::EXISTS,
        IfExists::Return | IfExists::ReturnIfSame => "",
    };
    Item {
        code,
        no,
        id,
        created: false,
        status,
    }
}
