//! What somebody outside does to an instance: whether the table allows it, and what it changes.

use super::decide::Whereabouts;
use super::settle::Resolved;
use super::{After, Core, Due};
use crate::codes;
use crate::erasure::{all_but, restarted};
use crate::failure::recorded;
use crate::history::Verdict;
use crate::ids::{InstanceNo, Key, Micros};
use crate::letter::Asked;
use crate::lifecycle::{react, Effect, Happening, Reaction, Status};
use crate::note::{Data, Note};
use crate::queue::{Class, Entry};
use crate::registry::View;
use crate::store::known::Need;
use crate::store::{Op, Row};
use crate::submission::{Anew, Command, Deed, Verb};
use crate::wait::{Source, Wait};

impl Core {
    /// Does this to an instance. Returns it if it has to wait for the next batch.
    pub(super) fn act(&mut self, ticket: u64, deed: Box<Deed>) -> Option<Command> {
        let found = self.find(&deed.to);
        match self.or_refuse(ticket, found)? {
            Whereabouts::Unsure => return Some(Command::Act(ticket, deed)),
            Whereabouts::Unknown => self.say(Note::refuse(ticket, codes::NOT_FOUND, Data::Nothing)),
            Whereabouts::Final(_, status) if !deed.verb.is_for_ended() => {
                self.say(Note::refuse(ticket, codes::STATE, Data::State(status)));
            }
            Whereabouts::Elsewhere(_, range) => {
                self.ask_owner(range, ticket, Asked::Act(deed));
            }
            Whereabouts::Final(no, status) => {
                let key = deed.to.key();
                if !self.domain.has(key.range()) {
                    self.ask_owner(key.range(), ticket, Asked::Act(deed));
                    return None;
                }
                // One that ends in this batch has ended after it.
                let is_new = self.registry.view(key).is_some();
                return self.act_here(ticket, deed, (no, key, status), is_new);
            }
            Whereabouts::Here(no, key, status) => {
                return self.act_here(ticket, deed, (no, key, status), false);
            }
        }
        None
    }

    /// Does this to one that is in memory, or has ended. Returns it if it has to wait for the next
    /// batch.
    fn act_here(
        &mut self,
        ticket: u64,
        deed: Box<Deed>,
        what: (InstanceNo, Key, Status),
        waits: bool,
    ) -> Option<Command> {
        let before = self.batch.steps.len();
        if waits || !self.do_verb(ticket, &deed, what)? {
            return Some(Command::Act(ticket, deed));
        }
        if self.batch.has_changed(before) {
            let known = self.registry.view(what.1);
            let is_gone = self.batch.gone.contains(&what.0);
            let result = known.filter(|_| !is_gone);
            self.audit_deed(*deed, result.map_or("gone", |it| it.decided.word()));
        }
        None
    }

    /// Does this. Returns false if it has to wait for the next batch, `None` if
    /// it is refused.
    fn do_verb(
        &mut self,
        ticket: u64,
        deed: &Deed,
        (no, key, status): (InstanceNo, Key, Status),
    ) -> Option<bool> {
        let undoes = self.undoes(no);
        match &deed.verb {
            Verb::Resume => {
                let as_before = Anew::default();
                return self.resume(ticket, deed, (no, key, status), &as_before);
            }
            Verb::ResumeAs(how) => {
                return self.resume(ticket, deed, (no, key, status), how);
            }
            Verb::Pause if undoes => self.say(Note::reply(ticket, Data::Nothing)),
            Verb::Pause => self.pause(ticket, no)?,
            Verb::Terminate(why) => {
                self.terminate(no, recorded("InstanceTerminated", why));
                self.say_ended(ticket, no, key)?;
            }
            Verb::Undo(why) => {
                self.terminate_undoing(no, recorded("InstanceTerminated", why));
                self.say_ended(ticket, no, key)?;
            }
            Verb::RetryNow => {
                self.retry_now(no);
                self.say(Note::reply(ticket, Data::Nothing));
            }
            Verb::Restart(_) | Verb::Resolve(_) if undoes => {
                self.say(Note::refuse(ticket, codes::STATE, Data::State(status)));
                return None;
            }
            Verb::Restart(from) => return self.restart(ticket, from, (no, key)),
            Verb::Delete => return self.delete(ticket, (no, key)),
            Verb::Resolve(it) => return self.resolve(ticket, it, (no, key, status)),
            Verb::SetPriority(_) | Verb::StartNow => {
                return self.place_anew(ticket, &deed.verb, (no, key, status));
            }
        }
        Some(true)
    }

    fn resume(
        &mut self,
        ticket: u64,
        deed: &Deed,
        (no, key, status): (InstanceNo, Key, Status),
        how: &Anew,
    ) -> Option<bool> {
        if how.version.is_some() && !matches!(status, Status::Paused | Status::Blocked) {
            self.say(Note::refuse(ticket, codes::STATE, Data::State(status)));
            return None;
        }
        if matches!(react(status, Happening::Resume), Reaction::Goes(..)) {
            let refusal = match &how.version {
                Some(version) => Ok(self.codes.lacks(&deed.to, version)),
                None => self.without_code(no),
            };
            if let Some(text) = self.or_refuse(ticket, refusal)? {
                self.say(Note::refuse(ticket, codes::MISSING_CODE, Data::Text(text)));
                return None;
            }
            // Since when it is paused is known when that is durable.
            let is_new = status.is_paused() && self.batch.shown.contains(&key);
            if is_new || self.is_settled_by_batch(no) {
                return Some(false);
            }
            self.liven(no, key, &deed.to);
            let row = self.batch.known.has(Need::Instance(no, false));
            let row = row.then(|| self.batch.known.instance(no).map(Option::<&Row>::cloned));
            let row = self.or_refuse(ticket, row.transpose())?.flatten();
            self.renew(no, how);
            self.go_on(no);
            if let Some(row) = row.filter(|_| status.is_paused()) {
                self.end_pause(no, &row);
            }
        }
        self.say(Note::reply(ticket, Data::Nothing));
        Some(true)
    }

    /// It goes on as another version, or as if some of what is recorded were not.
    fn renew(&mut self, no: InstanceNo, how: &Anew) {
        let now = self.now;
        let live = self.live_mut(no);
        let (incarnation, is_blocked) = (live.incarnation, live.status == Status::Blocked);
        if let Some(version) = &how.version {
            live.has_code = true;
            let (of, counted) = ((live.workflow, live.version), live.counted);
            let number = self.versions.number(of.0, version);
            self.live_mut(no).version = number;
            self.counts.converted(of, number, counted);
            self.push(Op::Version(no, incarnation, version.clone()));
        }
        if is_blocked && !how.forgets.is_empty() {
            let record = restarted(&all_but(&how.forgets), now);
            self.push(Op::Append(no, incarnation, record));
        }
    }

    /// What runs of it ends, and is recorded; nothing begins.
    fn pause(&mut self, ticket: u64, no: InstanceNo) -> Option<()> {
        if !self.summon(no) {
            // It never ran, and its row, which says where it is queued, cannot be read.
            let known = self.batch.known.instance(no).map(|_| ());
            self.or_refuse(ticket, known)?;
        }
        let runs = self.live_mut(no).status == Status::Running;
        let resting = matches!(self.live_mut(no).status, Status::Queued | Status::Waiting);
        let body = if resting { self.seated(no) } else { None };
        if let Some(owed) = self.shift(no, Happening::Pause) {
            owed.leaves_nothing();
            self.persist(no, None, None);
            if let Some(note) = body {
                self.say(note);
            }
            if runs && self.live_mut(no).resident {
                self.then(After::Pauses(no, true));
            } else if runs {
                self.leave(no, Happening::Drained);
            }
        }
        self.say(Note::reply(ticket, Data::Nothing));
        Some(())
    }

    /// A paused instance goes on: whatever lasts a while lasts as much longer (L4), and one that
    /// never ran is queued as it was.
    fn end_pause(&mut self, no: InstanceNo, row: &Row) {
        let since = row.paused_at.unwrap_or(self.now);
        for wait in self.live_mut(no).mailbox.waits().to_vec() {
            // One that came while the last attempts ended was not there all the time.
            let longer = (self.now - since.max(wait.opened_at)).max(0);
            let until = wait.until.filter(|_| wait.source != Source::Instant);
            if let Some(until) = until.filter(|_| longer > 0) {
                self.postpone(no, &wait, until.saturating_add(longer));
            }
        }
        let live = &self.live[&no];
        let (workflow, rank, entry) = (live.workflow, live.rank(), Entry::new(no, live.key));
        let is_new = live.status == Status::Queued && live.class == Class::New;
        if let Some(at) = row.start_at.filter(|at| is_new && *at > self.now) {
            assert!(self.queues.remove(workflow, rank, entry), "just queued");
            self.counts
                .later((workflow, self.version_of(workflow, no)), 1);
            self.timers.set(at, no, Due::StartAt(workflow, rank, entry));
        }
    }

    fn postpone(&mut self, no: InstanceNo, wait: &Wait, until: Micros) {
        self.unhook(no, wait);
        self.live_mut(no).mailbox.postpone(wait.id, until);
        self.push(Op::Postpone(no, wait.id, until));
        if let Source::Approval(id) = &wait.source {
            self.lengthen_approval(id, Some(until));
        }
        let wait = Wait {
            until: Some(until),
            ..wait.clone()
        };
        self.hook(no, &wait);
    }

    /// Answers that it has ended, or is to when it has undone what it did.
    fn say_ended(&mut self, ticket: u64, no: InstanceNo, key: Key) -> Option<()> {
        let is_live = |it: View| !it.decided.is_final();
        if self.registry.view(key).is_some_and(is_live) && !self.undoes(no) {
            // It never ran, and its row, which says where it is queued, cannot be read.
            let known = self.batch.known.instance(no).map(|_| ());
            self.or_refuse(ticket, known)?;
        }
        self.say(Note::reply(ticket, Data::Nothing));
        Some(())
    }

    /// Retry delays are over. Where a human has to act first, the next attempt comes after that.
    fn retry_now(&mut self, no: InstanceNo) {
        let Some(live) = self.live.get(&no) else {
            return;
        };
        let waits = live.mailbox.waits().iter();
        let delays = waits
            .filter(|it| matches!(it.source, Source::Retry(_)))
            .map(|it| it.id);
        let (delays, is_inert) = (delays.collect::<Vec<_>>(), live.is_inert());
        for id in delays {
            if is_inert {
                // No body is there to be told; the one that comes finds no delay.
                self.live_mut(no).mailbox.close(id);
                self.push(Op::Close(no, id));
            } else {
                self.settle(no, id, &Resolved::new(Verdict::Done));
            }
        }
    }

    /// Whether this batch decides what an inert instance waits for: then what it finds when it goes
    /// on is not durable yet.
    fn is_settled_by_batch(&self, no: InstanceNo) -> bool {
        let waits = self.live.get(&no).map_or(&[][..], |it| it.mailbox.waits());
        let ends = |child| {
            let ended = |op: &Op| match op {
                Op::Status(no, _, to) => *no == child && to.status.is_final(),
                Op::Delete(no) => *no == child,
                _ => false,
            };
            self.batch.ops().any(ended)
        };
        waits.iter().any(|it| match &it.source {
            Source::Child(child) => ends(*child),
            Source::Approval(id) => self.batch.approvals.contains(id),
            Source::Event(_) | Source::Timer | Source::Instant | Source::Retry(_) => false,
        })
    }

    /// A paused or blocked instance goes on: what happened meanwhile settles its waits.
    pub(super) fn go_on(&mut self, no: InstanceNo) {
        let owed = self.shift(no, Happening::Resume);
        owed.expect("the caller asked the table")
            .leaves(&[Effect::Rearm]);
        let live = self.live_mut(no);
        (live.recoveries, live.proof) = (0, None);
        let runs = live.status == Status::Running;
        self.persist(no, None, None);
        self.rearm(no);
        if runs {
            self.then(After::Pauses(no, false));
        }
    }

    /// Sets the timers of all open waits and settles those whose outcome is there already.
    pub(super) fn rearm(&mut self, no: InstanceNo) {
        let waits = self.live_mut(no).mailbox.waits().to_vec();
        for wait in waits {
            self.hook(no, &wait);
            let outcome = match &wait.source {
                Source::Child(child) => self.child_outcome(*child, &wait),
                Source::Approval(id) => self.approval_outcome(id),
                Source::Event(_) | Source::Timer | Source::Instant | Source::Retry(_) => Ok(None),
            };
            match self.or_block(no, outcome) {
                None => return,
                Some(None) => {
                    if let Source::Child(child) = wait.source {
                        if let Some(range) = self.afar(child) {
                            self.watch(no, wait.id, child, range);
                        }
                    }
                }
                Some(Some(outcome)) => self.settle(no, wait.id, &outcome),
            }
        }
        self.fit(no);
    }
}
