//! What bodies ask the engine for: waits, children, events to others, and their end.

use std::rc::Rc;

use super::bodies::{main_operation, Running};
use super::program::{
    account_of_children, approval_id, child_id, derived_id, has_own_id, kind_of, operation,
    workflow, Account, For, TYPES, WORKFLOWS,
};
use super::world::World;
use crate::failure::at_fault;
use crate::history::{Begun, Kind, Operation};
use crate::ids::{InstanceNo, Seq};
use crate::lifecycle::Status;
use crate::submission::{Body, Child, Continuation, Name, NewItem, Sent, Speech, Submission, Why};
use crate::wait::{Source, Wait};

/// The deadline of a wait without one.
pub(super) const FOR_EVER: i64 = i64::MAX / 2;

/// Who does something, and where in its program.
struct Doer {
    by: Body,
    id: String,
    account: Account,
    at: usize,
    begun: Option<Seq>,
}

impl Doer {
    fn of(body: &Running, strand: usize) -> Self {
        Self {
            by: body.by,
            id: body.id.to_string(),
            account: body.account,
            at: body.strands[strand].at,
            begun: body.begun(),
        }
    }

    fn begins(&self, operation: Operation) -> Begun {
        let begun = self.begun;
        Begun { operation, begun }
    }
}

impl World {
    /// Opens a wait and returns its number; none if there is no code for the child it is for.
    pub(super) fn wait(
        &mut self,
        no: InstanceNo,
        strand: usize,
        what: For,
        timeout: Option<i64>,
        side: bool,
    ) -> Option<u64> {
        let it = Doer::of(&self.life.bodies[&no], strand);
        let operation = operation(kind_of(what), strand, it.at, side);
        if what == For::Child && !self.has_code(account_of_children(it.account)) {
            return None;
        }
        let id = self.life.sequence.draw();
        let until = timeout.map_or(FOR_EVER, |it| self.now + it);
        let wait = |source, until| {
            Box::new(Wait {
                begun: it.begun,
                id,
                operation: operation.clone(),
                source,
                opened_at: 0,
                until: Some(until),
            })
        };
        let submission = match what {
            For::Time(delay) => it
                .by
                .says(Speech::Open(wait(Source::Timer, self.now + delay))),
            For::Event(bits) => {
                let types = (0..TYPES.len()).filter(|it| bits & 1 << it != 0);
                let types = types.map(|it| TYPES[it].into()).collect();
                it.by.says(Speech::Open(wait(Source::Event(types), until)))
            }
            For::Approval => {
                let approval = approval_id(it.account, &it.id, strand, it.at);
                it.by
                    .says(Speech::Ask(wait(Source::Approval(approval), until), None))
            }
            For::Child => it.by.says(Speech::Call(
                id,
                Box::new(Self::child(&it, strand, operation, 1)),
            )),
        };
        self.submit(submission);
        Some(id)
    }

    fn has_code(&self, account: Account) -> bool {
        Some(workflow(account)) != self.missing
    }

    fn child(it: &Doer, strand: usize, operation: Operation, count: u8) -> Child {
        let item = |which| {
            let calls = operation.kind == Kind::Call;
            let id = if calls && !has_own_id(strand, it.at) {
                derived_id(it.by.incarnation, strand, it.at)
            } else {
                child_id(&it.id, strand, it.at, which)
            };
            NewItem {
                id: Some(id.into()),
                ..NewItem::default()
            }
        };
        let items = (0..count).map(item).collect();
        Child {
            begun: it.begun,
            operation,
            workflow: WORKFLOWS[workflow(account_of_children(it.account))].into(),
            version: "1".into(),
            items,
            payload: None,
        }
    }

    /// Creates children; returns the ticket, or none if there is no code for them.
    pub(super) fn spawn(&mut self, no: InstanceNo, strand: usize, count: u8) -> Option<u64> {
        let it = Doer::of(&self.life.bodies[&no], strand);
        if !self.has_code(account_of_children(it.account)) {
            return None;
        }
        let operation = operation(Kind::CreateBatch, strand, it.at, false);
        let ticket = self.ticket();
        let child = Box::new(Self::child(&it, strand, operation, count));
        self.submit(it.by.says(Speech::CreateChildren(ticket, child)));
        Some(ticket)
    }

    /// Waits for the first child that the act at this place created.
    pub(super) fn await_child(&mut self, no: InstanceNo, strand: usize, of: usize) -> u64 {
        let it = Doer::of(&self.life.bodies[&no], strand);
        let operation = operation(Kind::Result, strand, it.at, false);
        let workflow = WORKFLOWS[workflow(account_of_children(it.account))];
        let id = child_id(&it.id, strand, of, 0);
        let number = self.life.sequence.draw();
        let what = Box::new((it.begins(operation), workflow.into(), id.into()));
        self.submit(it.by.says(Speech::Await(number, what)));
        number
    }

    /// Sends an event to another instance, which may not exist.
    pub(super) fn post(&mut self, no: InstanceNo, strand: usize) -> u64 {
        let it = Doer::of(&self.life.bodies[&no], strand);
        let operation = operation(Kind::Send, strand, it.at, false);
        let roots = &self.outside.roots;
        let (account, id) = roots[(no as usize + it.at) % roots.len()].clone();
        // The same event however often it is tried in one life.
        let name = super::said::Stamp::FROM_BODY
            | (it.by.incarnation as u32) << 6
            | (strand as u32) << 5
            | it.at as u32;
        let ticket = self.ticket();
        let sent = Sent {
            to: Name {
                namespace: "".into(),
                workflow: WORKFLOWS[workflow(account)].into(),
                id: id.into(),
            },
            kind: TYPES[it.at % TYPES.len()].into(),
            payload: Some(self.outside.write(name)),
        };
        self.submit(
            it.by
                .says(Speech::Post(ticket, Box::new((it.begins(operation), sent)))),
        );
        ticket
    }

    /// A body ends.
    pub(super) fn end(&mut self, no: InstanceNo) {
        let body = self.life.bodies.get_mut(&no).expect("it is there");
        body.over = true;
        let (by, lingers) = (body.by, body.program.lingers);
        let run = body.run + 1;
        if body.continues() {
            let told = self.truth.said.told.get(&(no, by.incarnation));
            let told = told.cloned().unwrap_or_default();
            let (untold, passed) = self.life.bodies[&no].untold(&told);
            let how = Continuation {
                params: Some(b"more".as_slice().into()),
                run,
                limit: None,
                untold,
                passed,
            };
            self.submit(by.says(Speech::Continue(Box::new(how))));
            return;
        }
        let (fails, undoes) = (body.program.fails, body.program.can_undo());
        if fails && undoes {
            let error = self.error(no);
            self.submit(by.says(Speech::Undoes(Some(error))));
            return;
        }
        let status = if fails {
            Status::Errored
        } else {
            Status::Complete
        };
        if lingers {
            self.submit(by.says(Speech::Hold));
            self.life.lingering.push(no);
        }
        let payload = match status {
            Status::Errored => Some(self.error(no)),
            _ => Some(b"out".as_slice().into()),
        };
        self.submit(by.says(Speech::Finish(status, payload, None)));
    }

    /// Returns an error that names some of a body's operations, or none.
    fn error(&mut self, no: InstanceNo) -> Box<[u8]> {
        let program = Rc::clone(&self.life.bodies[&no].program);
        let all: Vec<_> = program.acts().collect();
        let some = (0..self.dice.roll(3)).map(|_| self.dice.pick(&all));
        let faults = some.map(|(strand, at, act)| main_operation(act, strand, at));
        let faults: Vec<_> = faults.collect();
        let error: Box<[u8]> = at_fault(&faults).into();
        self.truth.said.faults.insert(error.clone(), faults);
        error
    }

    /// The last attempt of one that has ended ends too.
    pub(super) fn let_go(&mut self) -> bool {
        let Some(no) = self.life.lingering.pop() else {
            return false;
        };
        self.submit(Submission::LetGo(no));
        true
    }

    /// An attempt of a body took too long, and is stopped by running the body again.
    pub(super) fn replay_body(&mut self, no: InstanceNo) -> bool {
        let bodies = &mut self.life.bodies;
        let Some(body) = bodies.get_mut(&no).filter(|it| !it.over && !it.hushed) else {
            return false;
        };
        body.over = true;
        let by = body.by;
        self.submit(by.says(Speech::Replay));
        true
    }

    /// A body that is to pause begins nothing, and leaves.
    pub(super) fn pause(&mut self, no: InstanceNo) -> bool {
        let body = self.life.bodies.get_mut(&no).expect("it is there");
        body.over = true;
        let by = body.by;
        self.submit(by.says(Speech::Paused));
        true
    }

    /// Something in the code of a body has changed, and it says that it cannot go on.
    pub(super) fn block(&mut self, no: InstanceNo) -> bool {
        let Some(body) = self.life.bodies.get_mut(&no).filter(|it| !it.over) else {
            return false;
        };
        body.over = true;
        let by = body.by;
        let step = self.dice.once_in(2).then(|| "op".into());
        let code = self.dice.pick(&["nondeterminism", "race"]).into();
        let why = Why { code, step };
        let error = self.error(no);
        self.submit(by.says(Speech::Block(why, error)));
        true
    }
}
