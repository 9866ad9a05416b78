//! How an instance is ended from outside, and with it whatever it called: one commit (I8, L10).
//!
//! Invariant: a child that was *called* is live only while its parent's wait for it is open. So
//! whoever closes such a wait before the child has ended terminates the child in the same batch:
//! a withdrawal, the parent's own end, its termination. Children that were created, and those
//! somebody awaits by `Child.result`, are nobody's to end.
//!
//! The table's effects, as they come about here: `shift` gives back the slot or the place in the
//! queue and lets the body leave its seat, and Python is told to unwind it (P1); waits are closed,
//! approvals withdrawn, parents told. What supersedes the old life is that its live state goes:
//! without it no body may speak, so whatever it still sends is fenced (D6), and nothing brings it
//! back under the same incarnation.
//!
//! It does not know who may terminate what. An instance that undoes what it did and is terminated
//! without more words undoes nothing further (`undo`).

use super::settle::Resolved;
use super::{Core, Live};
use crate::codes;
use crate::failure::recorded;
use crate::history::Kind;
use crate::ids::{InstanceNo, Key, Micros};
use crate::letter::{Address, Message};
use crate::lifecycle::{Effect, Happening, Status};
use crate::note::Note;
use crate::queue::{Class, Entry};
use crate::store::known::Need;
use crate::store::Op;
use crate::undo::Undo;
use crate::wait::{ApprovalStatus, Source, Wait};

/// What is known of an instance that never ran.
struct Entrant {
    key: Key,
    workflow: u32,
    priority: i8,
    start_at: Option<Micros>,
}

/// An instance that is to be terminated, and the error that says why.
type Doomed = (InstanceNo, Box<[u8]>);

impl Core {
    /// Terminates an instance and, down the tree, those it called; one that has ended already stays
    /// as it is. `error` is what everybody is told and the store keeps as the reason.
    pub(super) fn terminate(&mut self, no: InstanceNo, error: Box<[u8]>) {
        let mut doomed = vec![(no, error)];
        while let Some((no, error)) = doomed.pop() {
            if let Some(range) = self.afar(no) {
                let message = Message::Terminate(no, error);
                self.leave_letter(Address::Owner(range), message);
                continue;
            }
            if !self.summon(no) {
                continue;
            }
            let live = self.live_mut(no);
            live.undo = live.undo.map(|it| match it {
                Undo::Running => Undo::Failed,
                it => it,
            });
            let body = self.seated(no);
            let owed = self.shift(no, Happening::Terminate);
            let owed = owed.expect("whatever is live can be terminated");
            // It is superseded by leaving memory: whatever its body still says is of nobody.
            owed.leaves(&[Effect::CloseWaits, Effect::TellParents, Effect::Supersede]);
            let called = self.close_waits(no);
            let outcome = Resolved {
                payload: Some(error),
                ..Resolved::failed(codes::TERMINATED)
            };
            self.tell_parents(no, &outcome);
            self.persist(no, None, outcome.payload);
            doomed.extend(self.sentences(no, &called, "has ended"));
            self.live.remove(&no);
            if let Some(note) = body {
                self.say(note);
            }
        }
    }

    /// Terminates children whose parent waits for them no longer.
    pub(super) fn orphan(&mut self, parent: InstanceNo, called: &[InstanceNo], why: &str) {
        for (child, error) in self.sentences(parent, called, why) {
            self.terminate(child, error);
        }
    }

    /// Returns called children with the error that says why they end.
    pub(super) fn sentences(
        &self,
        parent: InstanceNo,
        called: &[InstanceNo],
        why: &str,
    ) -> Vec<Doomed> {
        if called.is_empty() {
            return Vec::new();
        }
        let workflow = &self.names[self.live[&parent].workflow as usize].1;
        // One whose row is damaged has no id that could be told.
        let row = self.batch.known.instance(parent).ok().flatten();
        let id = row.map_or("?", |it| &*it.id);
        let text = format!("{workflow}/{id}, which called it, {why}");
        let error = recorded("InstanceTerminated", &text);
        let sentence = |child: &InstanceNo| (*child, error.clone());
        called.iter().map(sentence).collect()
    }

    /// Closes all waits of an instance for good; returns the children it called and waits for.
    pub(super) fn close_waits(&mut self, no: InstanceNo) -> Vec<InstanceNo> {
        let mut called = Vec::new();
        for wait in self.live_mut(no).mailbox.waits().to_vec() {
            called.extend(self.drop_wait(no, &wait));
        }
        self.live_mut(no).mailbox.close_all();
        called
    }

    /// Closes a wait without an outcome; returns the child that nobody waits for now.
    pub(super) fn drop_wait(&mut self, no: InstanceNo, wait: &Wait) -> Option<InstanceNo> {
        self.unhook(no, wait);
        self.push(Op::Close(no, wait.id));
        match &wait.source {
            Source::Approval(id) => {
                self.close_approval(id, ApprovalStatus::Withdrawn);
                None
            }
            Source::Child(child) if wait.operation.kind == Kind::Call => Some(*child),
            _ => None,
        }
    }

    /// Settles the waits of those who wait for the end of this instance.
    pub(super) fn tell_parents(&mut self, no: InstanceNo, outcome: &Resolved) {
        for (parent, wait) in self.parents.remove(&no).unwrap_or_default() {
            // One that is inert finds out when it goes on.
            if self.live.get(&parent).is_some_and(|it| !it.is_inert()) {
                self.settle(parent, wait, outcome);
            }
        }
        self.tell_watchers(no, outcome);
    }

    /// Returns the order to unwind the body of an instance, if there is one or will be one.
    pub(super) fn seated(&mut self, no: InstanceNo) -> Option<Note> {
        let live = &self.live[&no];
        let (incarnation, resident) = (live.incarnation, live.resident);
        let created = self.registry.view(live.key);
        let there = match live.status {
            // It may have been parked meanwhile, and may not be any more.
            Status::Waiting => self.residents.claim(no),
            // One that this very batch created is never started.
            _ => resident && created.is_some_and(|it| it.committed.is_some()),
        };
        there.then_some(Note::Unwind { no, incarnation })
    }

    /// Makes sure that an instance has its live state, with its true place in the queue. Returns
    /// false if it has ended.
    pub(super) fn summon(&mut self, no: InstanceNo) -> bool {
        let known = self.live.get(&no);
        if known.is_some_and(|it| it.status != Status::Queued || it.class != Class::New) {
            return true;
        }
        let Some(it) = self.entrant(no) else {
            return false;
        };
        let of = (it.workflow, self.version_of(it.workflow, no));
        let new = || Box::new(Live::new(it.key, no, of, it.priority));
        let live = self.live.entry(no).or_insert_with(new);
        // One that became live by an event did so without its priority.
        live.priority = it.priority;
        let rank = live.rank();
        // Until its `start_at` it lies among the timers.
        if let Some(at) = it.start_at {
            if self.timers.cancel(at, no).is_some() {
                self.counts.later(of, -1);
                self.queues.push(it.workflow, rank, Entry::new(no, it.key));
            }
        }
        true
    }

    /// Returns what the store, or this batch, knows of an instance that never ran.
    fn entrant(&mut self, no: InstanceNo) -> Option<Entrant> {
        if !self.batch.known.has(Need::Instance(no, false)) {
            return self.entrant_of_batch(no);
        }
        // One that is damaged is blocked when it is to start.
        let row = self.batch.known.instance(no).ok().flatten()?;
        let key = Key::new(&row.namespace, &row.workflow, &row.id);
        let placed = self.batch.placed.get(&no).copied();
        let (priority, start_at) = placed.unwrap_or((row.priority, row.start_at));
        let names = (row.namespace.clone(), row.workflow.clone());
        // It may have ended in this batch.
        let view = self.registry.view(key).filter(|it| it.no == no)?;
        (!view.decided.is_final()).then(|| Entrant {
            key,
            workflow: self.workflow(&names.0, &names.1),
            priority,
            start_at,
        })
    }

    fn entrant_of_batch(&mut self, no: InstanceNo) -> Option<Entrant> {
        let new = self.batch.ops().find_map(|op| match op {
            Op::Create(new) if new.no == no => Some(new),
            _ => None,
        });
        let new = new?;
        let key = Key::new(&new.namespace, &new.workflow, &new.id);
        let (priority, start_at) = (new.priority, new.start_at);
        let names = (new.namespace.clone(), new.workflow.clone());
        let view = self.registry.view(key)?;
        (!view.decided.is_final()).then(|| Entrant {
            key,
            workflow: self.workflow(&names.0, &names.1),
            priority,
            start_at,
        })
    }
}
