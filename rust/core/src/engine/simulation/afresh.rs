//! Somebody restarts and deletes instances, and does again for a new life what was done for an
//! earlier one.

use super::facts::Truly;
use super::outside::{by, name};
use super::program::{namespace, operation, NAMESPACES};
use super::world::World;
use crate::history::Kind;
use crate::ids::InstanceNo;
use crate::rewind::From;
use crate::submission::{Command, Decision, Sent, Verb};
use crate::wait::{told_approval, Source};

impl World {
    /// Somebody lets an instance begin anew, in whatever state, from wherever.
    pub(super) fn restart_one(&mut self) -> bool {
        // Rather one of which something still runs.
        let lingering: Vec<_> = self.truth.lingering.keys().copied().collect();
        let lingers = |it: &Truly| lingering.contains(&it.no);
        let some = self.dice.once_in(3);
        let some = some.then(|| self.some_instance(lingers)).flatten();
        let Some(at) = some.or_else(|| self.some_instance(|_| true)) else {
            return false;
        };
        let it = &self.truth.all[&at];
        let recorded = it.history.iter().map(|it| &it.record.operation);
        let waits = it.waits.iter().map(|it| &it.operation);
        let operations: Vec<_> = recorded.chain(waits).collect();
        let from = match self.dice.roll(4) {
            0 => From::Failed,
            1 => From::Start,
            _ if operations.is_empty() || self.dice.once_in(12) => {
                From::Operation(Box::new(operation(Kind::Do, 0, 40, false)))
            }
            _ => From::Operation(Box::new(self.dice.pick(&operations).clone())),
        };
        self.act_on(at, Verb::Restart(from));
        true
    }

    /// Somebody deletes an instance, in whatever state.
    pub(super) fn delete_one(&mut self) -> bool {
        self.act_on_one(|_| true, Verb::Delete)
    }

    /// Somebody decides again, and sends again, what was decided and sent for an earlier life.
    pub(super) fn help_one(&mut self) -> bool {
        let lacks = |it: &Truly| it.anew && !it.is_inert() && !it.status.is_final();
        let Some(no) = self.some_instance(lacks) else {
            return false;
        };
        self.help(no);
        true
    }

    fn help(&mut self, no: InstanceNo) {
        let it = &self.truth.all[&no];
        if it.is_inert() {
            return;
        }
        let (account, id, bereft) = (it.account, it.id.clone(), it.bereft);
        for wait in it.waits.clone() {
            match wait.source {
                Source::Approval(stored) => {
                    let namespace = NAMESPACES[namespace(account)];
                    let ticket = self.ticket();
                    let decision = Decision {
                        approval: told_approval(namespace, &stored).into(),
                        of: name(account, &id),
                        name: "op".into(),
                        approved: self.dice.once_in(2),
                        decision: ticket.to_le_bytes().into(),
                        by: by(ticket),
                    };
                    self.submit(Command::Decide(ticket, Box::new(decision)));
                }
                Source::Event(types) if bereft => {
                    let ticket = self.ticket();
                    self.outside.events += 1;
                    let sent = Sent {
                        to: name(account, &id),
                        kind: types[0].clone(),
                        payload: Some(self.outside.write(self.outside.events)),
                    };
                    self.submit(Command::Send(ticket, Box::new(sent), None));
                }
                _ => {}
            }
        }
    }

    /// The same for all of them.
    pub(super) fn help_all(&mut self) {
        let all = self.truth.all.values().filter(|it| it.anew);
        let mut all: Vec<_> = all.map(|it| it.no).collect();
        all.sort_unstable();
        for no in all {
            self.help(no);
        }
    }
}
