//! Children: created exactly once however often the parent replays (L10), and waited for.
//!
//! The writer looks the ids up first, so a creation here is never refused by the store; the
//! child and the parent's record or wait ride in one commit.

use super::decide::Whereabouts;
use super::settle::Resolved;
use super::{After, Core};
use crate::codes;
use crate::history::{Operation, Verdict};
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

    fn bear(&mut self, by: InstanceNo, child: &Child, item: NewItem, called: bool) -> InstanceNo {
        let id = item.id.clone().unwrap_or_default();
        let name = self.name(by, &child.workflow, &id);
        let key = Key::new(&name.namespace, &name.workflow, &name.id);
        let code = Code {
            namespace: name.namespace,
            workflow: name.workflow,
            version: child.version.clone(),
        };
        let mut new = self.admit(&code, item, key);
        new.parent = Some(by);
        new.called = called;
        let no = new.no;
        self.push_then(Op::Create(new), After::Born);
        no
    }

    pub(super) fn call(&mut self, id: WaitId, by: Body, child: Box<Child>) -> Option<Submission> {
        let item = child.items[0].clone();
        let child_id = item.id.clone().unwrap_or_default();
        let name = self.name(by.no, &child.workflow, &child_id);
        let found = self.find(&name);
        let found = self.or_block(by.no, found)?;
        let wait = |source| Wait {
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
                let no = self.bear(by.no, &child, item, true);
                wait.source = Source::Child(no);
                self.keep_open(by.no, wait);
            }
            Whereabouts::Live(no, ..) | Whereabouts::Final(no, _) => {
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
                Whereabouts::Live(..) | Whereabouts::Final(..) => true,
            };
        }
        let outcome = if refused {
            Resolved::failed(codes::EXISTS)
        } else {
            for item in std::mem::take(&mut child.items) {
                self.bear(by.no, &child, item, false);
            }
            Resolved {
                payload: child.payload,
                ..Resolved::new(Verdict::Done)
            }
        };
        let now = self.now;
        self.conclude(by.no, ticket, child.operation, now, &outcome);
        None
    }

    pub(super) fn wait_child(
        &mut self,
        id: WaitId,
        by: Body,
        what: Box<(Operation, Box<str>, Box<str>)>,
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
        let (child, outcome) = match found {
            Whereabouts::Live(no, ..) => (no, None),
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
            id,
            operation: what.0,
            source: Source::Child(child),
            opened_at: self.now,
            until: None,
        };
        match outcome {
            Some(outcome) => self.record_outcome(by.no, wait, &outcome),
            None => self.keep_open(by.no, wait),
        }
        None
    }

    /// Returns how a child ended while nobody could be told, if it did.
    pub(super) fn child_outcome(&self, child: InstanceNo) -> Result<Option<Resolved>, Damaged> {
        if self.live.contains_key(&child) {
            return Ok(None);
        }
        Ok(match self.batch.known.instance(child)? {
            None => Some(Resolved::failed(codes::NOT_FOUND)),
            Some(row) if row.status.is_final() => Some(self.end_of(row)?),
            Some(_) => None,
        })
    }

    /// Returns what waiting for a final instance yields.
    fn end_of(&self, row: &Row) -> Result<Resolved, Damaged> {
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
