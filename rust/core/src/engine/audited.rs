//! What of all that is done from outside goes into the audit: a row in the batch that does it.
//!
//! What changed nothing, or was refused, leaves no row. Who owns the instance writes it, wherever
//! somebody asked. It does not know what an operation does.

use super::{After, Core};
use crate::audit::{By, Entry};
use crate::ids::Micros;
use crate::limits::{AUDIT_KEPT, CALLS_KEPT, FORGETTING, FORGOTTEN};
use crate::store::{Op, Outcome};
use crate::submission::{Deed, Name};

impl Core {
    /// Something was done to one instance.
    pub(super) fn audit_deed(&mut self, deed: Deed, state: &str) {
        let result = deed.verb.result(state);
        self.audit_one(deed.verb.word(), deed.to, deed.by, result);
    }

    /// As `audit_deed`, whatever it was. What is done to many has one row.
    pub(super) fn audit_one(&mut self, operation: &str, to: Name, by: By, result: Box<str>) {
        if self.bulks.is_busy() {
            return;
        }
        self.audit(Entry {
            by,
            operation: operation.into(),
            namespace: to.namespace,
            workflow: Some(to.workflow),
            id: Some(to.id),
            result,
            ..Entry::default()
        });
    }

    /// Writes a row, now and with a number of its own.
    pub(super) fn audit(&mut self, entry: Entry) {
        let (number, at) = (self.sequence.draw(), self.now);
        self.push(Op::Audit(Box::new(Entry {
            number,
            at,
            ..entry
        })));
    }

    /// Forgets the oldest rows, now and then and a few at a time, beside what is committed anyway.
    pub(super) fn forget_audit(&mut self) {
        if self.now >= self.forgets_at && self.batch.counts[0] > 0 {
            self.forgets_at = self.now + FORGETTING;
            let before = self.now - AUDIT_KEPT;
            self.push_then(Op::ForgetAudit(before), After::Forgotten);
            self.push_then(Op::ForgetBulks(self.bulks_kept_since()), After::Forgotten);
            self.push_then(Op::ForgetCalls(self.now - CALLS_KEPT), After::Forgotten);
            self.push_then(Op::ForgetChunks(self.now), After::Forgotten);
        }
    }

    /// Where so many were old there may be more.
    pub(super) fn forgotten(&mut self, outcome: Option<Outcome>) {
        if outcome == Some(Outcome::Done(FORGOTTEN.into())) {
            self.forgets_at = Micros::MIN;
        }
    }
}
