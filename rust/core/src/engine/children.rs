//! Children: created exactly once however often the parent replays (L10), and waited for.
//!
//! The writer looks the ids up first, so a creation here is never refused by the store; the
//! child and the parent's record or wait ride in one commit.

use super::decide::Found;
use super::settle::Outcome;
use super::{After, Core, Decided, Facts};
use crate::history::{Operation, Verdict};
use crate::ids::{InstanceNo, Key, WaitId};
use crate::lifecycle::Status;
use crate::store::{Error, Op, Row};
use crate::submission::{Body, Child, Code, Name, NewItem, Speech};
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

    pub(super) fn call(
        &mut self,
        id: WaitId,
        by: Body,
        child: Box<Child>,
        facts: &mut Facts,
    ) -> Decided {
        let item = child.items[0].clone();
        let child_id = item.id.clone().unwrap_or_default();
        let name = self.name(by.no, &child.workflow, &child_id);
        let found = self.find(&name, facts)?;
        let wait = |source| Wait {
            id,
            operation: child.operation.clone(),
            source,
            opened_at: self.now,
            until: None,
        };
        match found {
            Found::Unsure => return Ok(Some(by.says(Speech::Call(id, child)))),
            Found::Unknown => {
                let mut wait = wait(Source::Child(0));
                let no = self.bear(by.no, &child, item, true);
                wait.source = Source::Child(no);
                self.keep_open(by.no, wait);
            }
            Found::Live(no, ..) | Found::Final(no, _) => {
                let wait = wait(Source::Child(no));
                self.record_outcome(by.no, wait, &Outcome::failed("exists"));
            }
        }
        Ok(None)
    }

    /// All children and one record, or (if an id is taken or given twice) only the record.
    /// An id that another operation of the same parent took is taken: a creation that was
    /// committed has its record, so no replay asks for it again.
    pub(super) fn create_children(
        &mut self,
        ticket: u64,
        by: Body,
        mut child: Box<Child>,
        facts: &mut Facts,
    ) -> Decided {
        let mut seen = rustc_hash::FxHashSet::default();
        let mut refused = false;
        for item in &child.items {
            let id = item.id.clone().unwrap_or_default();
            let name = self.name(by.no, &child.workflow, &id);
            refused |= match self.find(&name, facts)? {
                Found::Unsure => return Ok(Some(by.says(Speech::CreateChildren(ticket, child)))),
                Found::Unknown => !seen.insert(id),
                Found::Live(..) | Found::Final(..) => true,
            };
        }
        let outcome = if refused {
            Outcome::failed("exists")
        } else {
            for item in std::mem::take(&mut child.items) {
                self.bear(by.no, &child, item, false);
            }
            Outcome {
                payload: child.payload,
                ..Outcome::new(Verdict::Done)
            }
        };
        let now = self.now;
        self.conclude(by.no, ticket, child.operation, now, &outcome);
        Ok(None)
    }

    pub(super) fn wait_child(
        &mut self,
        id: WaitId,
        by: Body,
        what: Box<(Operation, Box<str>, Box<str>)>,
        facts: &mut Facts,
    ) -> Decided {
        let name = self.name(by.no, &what.1, &what.2);
        let found = self.find(&name, facts)?;
        // One that ends in this very batch has no durable output yet.
        let key = Key::new(&name.namespace, &name.workflow, &name.id);
        let ends = matches!(found, Found::Final(..)) && self.registry.view(key).is_some();
        if ends || matches!(found, Found::Unsure) {
            return Ok(Some(by.says(Speech::Await(id, what))));
        }
        let (child, outcome) = match found {
            Found::Live(no, ..) => (no, None),
            Found::Final(no, _) => match facts.reader.instance(no)? {
                Some(row) => (no, Some(end_of(row, facts)?)),
                None => (0, Some(Outcome::failed("not_found"))),
            },
            Found::Unknown | Found::Unsure => (0, Some(Outcome::failed("not_found"))),
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
        Ok(None)
    }

    /// Settles the wait for a child that ended while nobody could be told.
    pub(super) fn child_check(
        &mut self,
        no: InstanceNo,
        id: WaitId,
        child: InstanceNo,
        facts: &mut Facts,
    ) -> Result<(), Error> {
        let row = facts.reader.instance(child)?;
        let outcome = match row {
            None => Some(Outcome::failed("not_found")),
            Some(row) if row.status.is_final() => Some(end_of(row, facts)?),
            Some(_) => None,
        };
        if let Some(outcome) = outcome {
            self.settle(no, id, &outcome);
        }
        Ok(())
    }
}

/// Returns what waiting for a final instance yields.
fn end_of(row: Row, facts: &mut Facts) -> Result<Outcome, Error> {
    let (verdict, kind) = match row.status {
        Status::Complete => (Verdict::Done, Some(row.version)),
        Status::Terminated => (Verdict::Failed, Some("terminated".into())),
        _ => (Verdict::Failed, None),
    };
    let payload = facts.store.result(row.no)?;
    Ok(Outcome {
        kind,
        payload,
        ..Outcome::new(verdict)
    })
}
