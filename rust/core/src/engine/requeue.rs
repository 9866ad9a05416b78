//! What somebody changes of an instance while it is queued: its priority, and the moment before which
//! it does not start.
//!
//! It keeps its age, so among those of its new priority it is where it would have been if it had been
//! created with that. No limit gives way: one that starts now stands in its queue like the others.
//! Of an instance that this batch has changed nothing is changed that follows from its row: then the
//! row is not true any more, and the next batch asks for it again.

use super::{Core, Due};
use crate::codes;
use crate::ids::{InstanceNo, Key, Micros};
use crate::lifecycle::Status;
use crate::note::{Data, Note};
use crate::queue::{Class, Entry, Rank};
use crate::store::known::Need;
use crate::store::{Op, Row};
use crate::submission::Verb;

impl Core {
    /// Sets the priority of a queued instance, or lets it start now. Returns false if it has to wait
    /// for the next batch, `None` if it is refused.
    pub(super) fn place_anew(
        &mut self,
        ticket: u64,
        verb: &Verb,
        (no, key, status): (InstanceNo, Key, Status),
    ) -> Option<bool> {
        if status != Status::Queued {
            self.say(Note::refuse(ticket, codes::STATE, Data::State(status)));
            return None;
        }
        if self.is_changed(no, key) {
            return Some(false);
        }
        if !self.batch.known.has(Need::Instance(no, false)) {
            self.missing.add(Need::Instance(no, false));
            return Some(false);
        }
        let row = self.batch.known.instance(no).map(Option::<&Row>::cloned);
        let row = self.or_refuse(ticket, row)?.expect("it is queued");
        let priority = match verb {
            Verb::SetPriority(it) => *it,
            _ => row.priority,
        };
        let start_at = self.line_up_anew(&row, key, priority, *verb == Verb::StartNow);
        if (priority, start_at) != (row.priority, row.start_at) {
            self.batch.placed.insert(no, (priority, start_at));
            self.push(Op::Place(no, row.incarnation, priority, start_at));
        }
        self.say(Note::reply(ticket, Data::Nothing));
        Some(true)
    }

    /// It leaves its place, and takes that of its new priority. Returns when it is to start.
    fn line_up_anew(&mut self, row: &Row, key: Key, priority: i8, now: bool) -> Option<Micros> {
        let (no, entry) = (row.no, Entry::new(row.no, key));
        let workflow = self.workflow(&row.namespace, &row.workflow);
        let class = self.live.get(&no).map_or(Class::New, |it| it.class);
        let (before, rank) = (Rank::new(row.priority, class), Rank::new(priority, class));
        if let Some(live) = self.live.get_mut(&no) {
            live.priority = priority;
        }
        let start_at = row.start_at.filter(|_| class == Class::New);
        match start_at.filter(|at| self.timers.cancel(*at, no).is_some()) {
            Some(at) if now || at <= self.now => self.ripen(workflow, rank, entry),
            Some(at) => self.timers.set(at, no, Due::StartAt(workflow, rank, entry)),
            // Of those that are suspected of an unclean stop only some are in a queue.
            None => {
                if self.queues.remove(workflow, before, entry) {
                    self.queues.push(workflow, rank, entry);
                }
                return row.start_at;
            }
        }
        start_at.filter(|_| !now)
    }
}
