//! How an instance is deleted, with everything of it: one commit (L7).
//!
//! Its id is free at once. It ends as one that is terminated does, and whoever waits for it is told
//! so; but nothing of it is left that could be asked for. No undo runs.

use super::restart::deleted;
use super::{After, Core};
use crate::ids::{InstanceNo, Key};
use crate::lifecycle::{Effect, Happening, Status};
use crate::note::{Data, Note};
use crate::store::{Op, Row};

impl Core {
    /// Deletes an instance. Returns false if it has to wait for the next batch, `None` if it is
    /// refused.
    pub(super) fn delete(&mut self, ticket: u64, (no, key): (InstanceNo, Key)) -> Option<bool> {
        if self.is_changed(no, key) {
            return Some(false);
        }
        let is_done = if self.registry.view(key).is_some() {
            self.delete_live(no, key)
        } else {
            let known = self.batch.known.by_key(key).map(Option::<&Row>::cloned);
            let row = self.or_refuse(ticket, known)?;
            row.is_some_and(|it| self.delete_row(&it))
        };
        if is_done {
            self.say(Note::reply(ticket, Data::Nothing));
        }
        Some(is_done)
    }

    /// Deletes an instance of which the store has this row. Returns false if this batch decided
    /// about it before: then what is to be done is known after the batch.
    pub(super) fn delete_row(&mut self, row: &Row) -> bool {
        let key = Key::new(&row.namespace, &row.workflow, &row.id);
        if row.status.is_final() {
            if self.batch.gone.contains(&row.no) || self.registry.view(key).is_some() {
                return false;
            }
            let workflow = self.workflow(&row.namespace, &row.workflow);
            let of = (workflow, self.versions.number(workflow, &row.version));
            self.erase(row.no, of, row.status);
            return true;
        }
        self.delete_live(row.no, key)
    }

    /// Deletes an instance that has not ended.
    pub(super) fn delete_live(&mut self, no: InstanceNo, key: Key) -> bool {
        if !self.summon(no) {
            return false;
        }
        let body = self.seated(no);
        let owed = self.shift(no, Happening::Delete);
        owed.expect("whatever there is can be deleted").leaves(&[
            Effect::CloseWaits,
            Effect::TellParents,
            Effect::Supersede,
            Effect::Erase,
        ]);
        let called = self.close_waits(no);
        self.tell_parents(no, &deleted());
        for (child, error) in self.sentences(no, &called, "was deleted") {
            self.terminate(child, error);
        }
        let live = self.live.remove(&no).expect("it was summoned");
        self.registry.decide(key, Status::Terminated);
        self.batch.shown.push(key);
        self.erase(no, (live.workflow, live.version), live.counted);
        if let Some(note) = body {
            self.say(note);
        }
        true
    }

    fn erase(&mut self, no: InstanceNo, of: (u32, u32), counted: Status) {
        self.counts.gone(of, counted);
        self.batch.gone.insert(no);
        self.push_then(Op::Delete(no), After::Gone(no));
    }
}
