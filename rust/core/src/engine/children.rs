//! Children: created exactly once however often the parent replays (L10), and waited for.
//!
//! The writer looks the ids up first, so the store refuses a creation here only where others create
//! too; the child and the parent's record or wait ride in one commit.

use super::decide::Whereabouts;
use super::letters::nobody;
use super::restart::deleted;
use super::settle::Resolved;
use super::{After, Core};
use crate::codes;
use crate::history::{Begun, Verdict};
use crate::ids::{InstanceNo, Key, WaitId};
use crate::lifecycle::Status;
use crate::store::known::Damaged;
use crate::store::{Op, Row};
use crate::submission::{Body, Child, Code, Name, NewItem, Speech, Submission};
use crate::wait::{Source, Wait};

impl Core {
    /// Returns the name of an instance in the same namespace.
    pub(super) fn name(&mut self, by: InstanceNo, workflow: &str, id: &str) -> Name {
        let workflow_of_parent = self.live_mut(by).workflow as usize;
        let namespace = self.names[workflow_of_parent].0.clone();
        Name {
            namespace,
            workflow: workflow.into(),
            id: id.into(),
        }
    }

    fn bear(
        &mut self,
        by: InstanceNo,
        child: &Child,
        item: NewItem,
        called: Option<WaitId>,
    ) -> InstanceNo {
        let id = item.id.clone().unwrap_or_default();
        let name = self.name(by, &child.workflow, &id);
        let key = Key::new(&name.namespace, &name.workflow, &name.id);
        let code = Code {
            namespace: name.namespace,
            workflow: name.workflow,
            version: child.version.clone(),
        };
        let is_here = self.domain.has(key.range());
        let mut new = if is_here {
            self.admit(&code, item, key)
        } else {
            self.entrust(&code, item, key)
        };
        new.parent = Some(by);
        new.called = called.is_some();
        let no = new.no;
        self.push_then(Op::Create(new), After::Born(called));
        no
    }

    pub(super) fn call(&mut self, id: WaitId, by: Body, child: Box<Child>) -> Option<Submission> {
        let item = child.items[0].clone();
        let child_id = item.id.clone().unwrap_or_default();
        let name = self.name(by.no, &child.workflow, &child_id);
        let found = self.find(&name);
        let found = self.or_block(by.no, found)?;
        let wait = |source| Wait {
            begun: child.begun,
            id,
            operation: child.operation.clone(),
            source,
            opened_at: self.now,
            until: None,
        };
        match found {
            Whereabouts::Unsure => return Some(by.says(Speech::Call(id, child))),
            Whereabouts::Unknown => {
                let mut wait = wait(Source::Child(0));
                let no = self.bear(by.no, &child, item, Some(id));
                wait.source = Source::Child(no);
                self.keep_open(by.no, wait);
                let key = Key::new(&name.namespace, &name.workflow, &name.id);
                if !self.domain.has(key.range()) {
                    self.watch(by.no, id, no, key.range());
                }
            }
            Whereabouts::Here(no, ..)
            | Whereabouts::Elsewhere(no, _)
            | Whereabouts::Final(no, _) => {
                let wait = wait(Source::Child(no));
                self.record_outcome(by.no, wait, &Resolved::failed(codes::EXISTS));
            }
        }
        None
    }

    /// All children and one record, or (if an id is taken or given twice) only the record.
    /// An id that another operation of the same parent took is taken: a creation that was
    /// committed has its record, so no replay asks for it again.
    pub(super) fn create_children(
        &mut self,
        ticket: u64,
        by: Body,
        mut child: Box<Child>,
    ) -> Option<Submission> {
        let mut seen = rustc_hash::FxHashSet::default();
        let mut refused = false;
        for item in &child.items {
            let id = item.id.clone().unwrap_or_default();
            let name = self.name(by.no, &child.workflow, &id);
            let found = self.find(&name);
            refused |= match self.or_block(by.no, found)? {
                Whereabouts::Unsure => return Some(by.says(Speech::CreateChildren(ticket, child))),
                Whereabouts::Unknown => !seen.insert(id),
                Whereabouts::Here(..) | Whereabouts::Elsewhere(..) | Whereabouts::Final(..) => true,
            };
        }
        if !refused && !self.domain.is_whole() {
            self.create_across(ticket, by, child);
            return None;
        }
        let begun = child.begun();
        let outcome = if refused {
            Resolved::failed(codes::EXISTS)
        } else {
            for item in std::mem::take(&mut child.items) {
                self.bear(by.no, &child, item, None);
            }
            Resolved {
                payload: child.payload,
                ..Resolved::new(Verdict::Done)
            }
        };
        let now = self.now;
        self.conclude(by.no, ticket, begun, now, &outcome);
        None
    }

    /// Where others create too, an id may be taken at this very moment, which the store finds out:
    /// then this is decided once more. Until it is known nobody is placed, so those who are born
    /// here come by letter as well.
    fn create_across(&mut self, ticket: u64, by: Body, child: Box<Child>) {
        let mut some = Vec::with_capacity(child.items.len());
        for item in child.items.clone() {
            let id = item.id.clone().unwrap_or_default();
            let Name {
                namespace,
                workflow,
                id,
            } = self.name(by.no, &child.workflow, &id);
            let key = Key::new(&namespace, &workflow, &id);
            let code = Code {
                namespace,
                workflow,
                version: child.version.clone(),
            };
            let mut new = self.entrust(&code, item, key);
            new.parent = Some(by.no);
            some.push(*new);
        }
        let outcome = Resolved {
            payload: child.payload.clone(),
            ..Resolved::new(Verdict::Done)
        };
        let record = self.outcome_record(child.begun(), self.now, &outcome);
        let told = self.settled_as(by.no, ticket, &outcome);
        let again = by.says(Speech::CreateChildren(ticket, child));
        self.push_then(
            Op::CreateChildren(some, by.no, by.incarnation, Box::new(record)),
            After::Children(Box::new(told), Box::new(again)),
        );
        self.progressed(by.no);
    }

    pub(super) fn wait_child(
        &mut self,
        id: WaitId,
        by: Body,
        what: Box<(Begun, Box<str>, Box<str>)>,
    ) -> Option<Submission> {
        let name = self.name(by.no, &what.1, &what.2);
        let found = self.find(&name);
        let found = self.or_block(by.no, found)?;
        // One that ends in this very batch has no durable output yet.
        let key = Key::new(&name.namespace, &name.workflow, &name.id);
        let ends = matches!(found, Whereabouts::Final(..)) && self.registry.view(key).is_some();
        if ends || matches!(found, Whereabouts::Unsure) {
            return Some(by.says(Speech::Await(id, what)));
        }
        let afar = found.elsewhere();
        let (child, outcome) = match found {
            Whereabouts::Here(no, ..) | Whereabouts::Elsewhere(no, _) => (no, None),
            Whereabouts::Final(no, _) => {
                let end = self.batch.known.by_key(key).and_then(|row| {
                    let row = row.expect("it was found");
                    self.end_of(row)
                });
                (no, Some(self.or_block(by.no, end)?))
            }
            Whereabouts::Unknown | Whereabouts::Unsure => {
                (0, Some(Resolved::failed(codes::NOT_FOUND)))
            }
        };
        let wait = Wait {
            begun: what.0.begun,
            id,
            operation: what.0.operation,
            source: Source::Child(child),
            opened_at: self.now,
            until: None,
        };
        match outcome {
            Some(outcome) => self.record_outcome(by.no, wait, &outcome),
            None => self.keep_open(by.no, wait),
        }
        if let Some(range) = afar {
            self.watch(by.no, id, child, range);
        }
        None
    }

    /// Returns how a child ended while nobody could be told, if it did.
    pub(super) fn child_outcome(
        &self,
        child: InstanceNo,
        wait: &Wait,
    ) -> Result<Option<Resolved>, Damaged> {
        if self.live.contains_key(&child) {
            return Ok(None);
        }
        Ok(match self.batch.known.instance(child)? {
            // Where nobody else creates it was there when the wait was opened.
            None if self.domain.is_whole() => Some(deleted()),
            None => Some(nobody(wait)),
            Some(row) if row.status.is_final() => Some(self.end_of(row)?),
            Some(_) => None,
        })
    }

    /// Returns what waiting for a final instance yields.
    pub(super) fn end_of(&self, row: &Row) -> Result<Resolved, Damaged> {
        let (verdict, kind) = match row.status {
            Status::Complete => (Verdict::Done, Some(row.version.clone())),
            Status::Terminated => (Verdict::Failed, Some(codes::TERMINATED.into())),
            _ => (Verdict::Failed, None),
        };
        let payload = self.batch.known.output(row.no)?;
        Ok(Resolved {
            kind,
            payload,
            ..Resolved::new(verdict)
        })
    }
}
