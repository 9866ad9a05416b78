//! Approvals (E5): the first decision wins, before the ask or after; later ones change nothing.
//!
//! The stored approval is the truth. A batch never decides about one that it has written
//! already: such a submission waits for the next batch and then finds the decision.
//!
//! Inside the core an approval has its stored id, with the namespace in front; bodies and
//! decisions come with the id their user knows, and the loader tells that one.

use super::decide::Whereabouts;
use super::settle::Resolved;
use super::Core;
use crate::codes;
use crate::history::Verdict;
use crate::ids::Micros;
use crate::letter::Asked;
use crate::note::{Data, Note};
use crate::store::known::{Damaged, Need};
use crate::store::Op;
use crate::submission::{Body, Command, Decision, Speech, Submission};
use crate::wait::{stored_approval, Approval, ApprovalStatus, Source, Wait};

/// Returns the outcome of a decided approval.
fn decided(approval: &Approval) -> Option<Resolved> {
    let kind = match approval.status {
        ApprovalStatus::Approved => codes::APPROVED,
        ApprovalStatus::Rejected => codes::REJECTED,
        _ => return None,
    };
    Some(Resolved {
        kind: Some(kind.into()),
        payload: approval.decision.clone(),
        came_at: approval.decided_at,
        ..Resolved::new(Verdict::Done)
    })
}

impl Core {
    fn write_approval(&mut self, approval: Approval) {
        self.batch.approvals.insert(approval.id.clone());
        self.push(Op::Approval(Box::new(approval)));
    }

    /// A body asks.
    pub(super) fn ask(
        &mut self,
        by: Body,
        mut wait: Box<Wait>,
        detail: Option<Box<[u8]>>,
    ) -> Option<Submission> {
        let Source::Approval(id) = &wait.source else {
            unreachable!("only approvals are asked for");
        };
        let workflow = self.live_mut(by.no).workflow as usize;
        let id = stored_approval(&self.names[workflow].0, id);
        if self.batch.approvals.contains(&id) {
            return Some(by.says(Speech::Ask(wait, detail)));
        }
        let known = self.batch.known.approval(&id);
        let known = self.or_block(by.no, known)?;
        wait.source = Source::Approval(id.clone());
        let mut approval = Approval {
            id,
            no: by.no,
            name: wait.operation.name.clone(),
            detail,
            asked_at: Some(self.now),
            until: wait.until,
            status: ApprovalStatus::Open,
            decision: None,
            decided_at: None,
            incarnation: by.incarnation,
        };
        let wait = Wait {
            opened_at: self.now,
            ..*wait
        };
        let of_this_life = |it: &Approval| it.is_of(by.no, by.incarnation);
        let early = known.filter(|it| of_this_life(it) && decided(it).is_some());
        if let Some(early) = early {
            approval.status = early.status;
            approval.decided_at = early.decided_at;
            approval.decision.clone_from(&early.decision);
            self.write_approval(approval);
            let outcome = decided(&early).expect("it was filtered");
            self.record_outcome(by.no, wait, &outcome);
        } else {
            self.write_approval(approval);
            self.keep_open(by.no, wait);
        }
        None
    }

    /// Somebody decides.
    pub(super) fn decide_approval(
        &mut self,
        ticket: u64,
        decision: Box<Decision>,
    ) -> Option<Command> {
        let id = stored_approval(&decision.of.namespace, &decision.approval);
        let need = Need::Approval(&id);
        if !self.batch.known.has(need) {
            self.missing.add(need);
            return Some(Command::Decide(ticket, decision));
        }
        if self.batch.approvals.contains(&id) {
            return Some(Command::Decide(ticket, decision));
        }
        let found = self.find(&decision.of);
        let found = self.or_refuse(ticket, found)?;
        if matches!(found, Whereabouts::Unsure) {
            return Some(Command::Decide(ticket, decision));
        }
        let known = self.batch.known.approval(&id);
        let mut known = self.or_refuse(ticket, known)?;
        let mut incarnation = 0;
        if let Whereabouts::Here(no, ..) = found {
            // One that has no live state was never restarted.
            incarnation = self.live.get(&no).map_or(no, |it| it.incarnation);
            known = known.filter(|it| it.is_of(no, incarnation));
        }
        let is_open = known
            .as_ref()
            .is_none_or(|it| it.status == ApprovalStatus::Open);
        let no = match found {
            Whereabouts::Here(no, ..) if is_open => no,
            // Its owner says who was first.
            Whereabouts::Elsewhere(_, range) => {
                self.ask_owner(range, ticket, Asked::Decide(decision));
                return None;
            }
            Whereabouts::Unknown => {
                self.say(Note::refuse(ticket, codes::NOT_FOUND, Data::Nothing));
                return None;
            }
            Whereabouts::Final(_, status) if known.is_none() => {
                self.say(Note::refuse(ticket, codes::STATE, Data::State(status)));
                return None;
            }
            _ => {
                self.say(Note::reply(ticket, Data::Bool(false)));
                return None;
            }
        };
        let mut approval = known.unwrap_or_else(|| Approval {
            id,
            no,
            name: decision.name.clone(),
            detail: None,
            asked_at: None,
            until: None,
            status: ApprovalStatus::Open,
            decision: None,
            decided_at: None,
            incarnation,
        });
        approval.status = if decision.approved {
            ApprovalStatus::Approved
        } else {
            ApprovalStatus::Rejected
        };
        approval.decision = Some(decision.decision);
        approval.decided_at = Some(self.now);
        let outcome = decided(&approval).expect("just decided");
        let operation = if decision.approved {
            "approve"
        } else {
            "reject"
        };
        self.audit_one(operation, decision.of, decision.by, decision.approval);
        let asked = self.asked.get(&approval.id).copied();
        self.write_approval(approval);
        if let Some((asker, wait)) = asked {
            // One that is inert finds the decision when it goes on.
            if self.live.get(&asker).is_some_and(|it| !it.is_inert()) {
                self.settle(asker, wait, &outcome);
            }
        }
        self.say(Note::reply(ticket, Data::Bool(true)));
        None
    }

    /// Nobody decided: it timed out or was withdrawn. One that was decided while its instance was
    /// inert stays decided.
    pub(super) fn close_approval(&mut self, id: &str, status: ApprovalStatus) {
        self.batch.approvals.insert(id.into());
        self.push(Op::EndApproval(id.into(), status));
    }

    /// It may be decided until a later moment.
    pub(super) fn lengthen_approval(&mut self, id: &str, until: Option<Micros>) {
        if let Ok(Some(approval)) = self.batch.known.approval(id) {
            self.batch.approvals.insert(id.into());
            let approval = Approval { until, ..approval };
            self.push(Op::Approval(Box::new(approval)));
        }
    }

    /// Returns how an approval was decided while its instance was inert.
    pub(super) fn approval_outcome(&self, id: &str) -> Result<Option<Resolved>, Damaged> {
        let approval = self.batch.known.approval(id)?;
        Ok(approval.as_ref().and_then(decided))
    }
}
