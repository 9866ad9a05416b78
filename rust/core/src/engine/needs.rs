//! What deciding a submission needs to know of the store, said before it is decided.
//!
//! A batch asks once, for all that is submitted, and is answered once; then decisions read nothing:
//! there is no store in reach of them. What has to be known follows from the submission and from
//! memory. Memory changes within a batch; so each decision looks whether it has what it needs, and
//! if it does not the submission waits for the next batch, which asks for that too. Nothing was
//! changed then.
//!
//! Whoever needs what is damaged is blocked by it or refused, and why an instance is blocked is told
//! with its id: so damage is one need more.

use rustc_hash::FxHashSet;

use super::Core;
use crate::history::Kind;
use crate::ids::{InstanceNo, Key};
use crate::letter::{Asked, Message};
use crate::lifecycle::Status;
use crate::queue::Class;
use crate::store::known::{Known, Need, Needs};
use crate::store::{Op, Row};
use crate::submission::{Body, Command, Decision, Deed, Name, Speech, Submission, Verb};
use crate::wait::{stored_approval, Source};

/// Whom a need is said to.
type Say<'s> = &'s mut dyn FnMut(Need<'_>);

impl Core {
    /// Returns what has to be known to decide these, as far as that can be told now. The store's
    /// answer goes to [`Core::learn`], before the first of them is decided.
    pub fn needs<'s>(
        &mut self,
        said: impl IntoIterator<Item = &'s Submission>,
        wanted: impl IntoIterator<Item = &'s Command>,
    ) -> Needs {
        let mut needs = std::mem::take(&mut self.missing);
        for submission in said {
            self.needs_of(submission, &mut |it| needs.add(it));
        }
        for command in wanted {
            self.needs_of_command(command, &mut |it| needs.add(it));
        }
        self.needs_to_purge(&mut needs);
        needs
    }

    /// Takes what the store knows. It is true until the batch is committed.
    pub fn learn(&mut self, known: Known) {
        self.batch.known.extend(known);
    }

    /// Returns whether something is not known that deciding this needs; the next batch asks for it.
    pub(super) fn lacks(&mut self, submission: &Submission) -> bool {
        let known = &self.batch.known;
        let mut missing: Option<Needs> = None;
        self.needs_of(submission, &mut |it| {
            if !known.has(it) {
                missing.get_or_insert_default().add(it);
            }
        });
        match missing {
            None => false,
            Some(missing) => {
                self.missing.extend(missing);
                true
            }
        }
    }

    fn needs_of(&self, submission: &Submission, say: Say<'_>) {
        match submission {
            Submission::Outside(command) => self.needs_of_command(command, say),
            Submission::Said(by, speech) => self.needs_of_speech(*by, speech, say),
            Submission::Letter(_, letter) => self.needs_of_letter(&letter.message, say),
            Submission::LetGo(_) => {}
        }
    }

    fn needs_of_command(&self, command: &Command, say: Say<'_>) {
        match command {
            Command::Send(_, sent, _) | Command::Request(_, sent, _) => {
                self.needs_of_name(&sent.to, say);
            }
            Command::Decide(_, decision) => self.needs_of_decision(decision, say),
            Command::Act(_, deed) => self.needs_of_act(deed, say),
            Command::Part(_, part) => {
                for (_, command) in &part.items {
                    self.needs_of_command(command, say);
                }
            }
            Command::ChangeSchedule(_, change) => {
                if let Some((code, items)) = change.creates.as_deref() {
                    for item in items {
                        let id = item.id.as_deref().unwrap_or_default();
                        self.needs_of_names([&code.namespace, &code.workflow, id], false, say);
                    }
                }
            }
            Command::Once(id, command) => {
                say(Need::Call(id));
                self.needs_of_command(command, say);
            }
            Command::Create(..)
            | Command::CreateBatch(..)
            | Command::Again(..)
            | Command::GiveUp(_)
            | Command::BeginBulk(..)
            | Command::StopBulk(..)
            | Command::Large(..)
            | Command::EndWaiting
            | Command::SetLimits(..)
            | Command::OpenNamespace(..)
            | Command::Reshard(..)
            | Command::Stand(..) => {}
        }
    }

    fn needs_of_decision(&self, decision: &Decision, say: Say<'_>) {
        self.needs_of_name(&decision.of, say);
        let id = stored_approval(&decision.of.namespace, &decision.approval);
        say(Need::Approval(&id));
    }

    fn needs_of_act(&self, deed: &Deed, say: Say<'_>) {
        let name = &deed.to;
        self.needs_of_name(name, say);
        let key = Key::new(&name.namespace, &name.workflow, &name.id);
        let Some(view) = self.registry.view(key) else {
            return;
        };
        match &deed.verb {
            Verb::Resume => self.needs_to_go_on(view.no, say),
            Verb::ResumeAs(_) => {
                say(Need::Instance(view.no, false));
                self.needs_to_rearm(view.no, say);
            }
            Verb::Terminate(_) | Verb::Undo(_) => self.needs_to_terminate(vec![view.no], say),
            Verb::Pause if self.never_ran(view.no) => say(Need::Instance(view.no, false)),
            Verb::Pause | Verb::RetryNow => {}
            Verb::SetPriority(_) | Verb::StartNow => say(Need::Instance(view.no, false)),
            Verb::Resolve(_) => {
                say(Need::Instance(view.no, true)); // as of what is restarted
                say(Need::History(view.no));
            }
            Verb::Restart(_) => {
                Self::needs_to_restart(view.no, say);
                self.needs_to_terminate(vec![view.no], say);
            }
            Verb::Delete => {
                say(Need::Instance(view.no, false));
                self.needs_to_terminate(vec![view.no], say);
            }
        }
    }

    fn needs_to_restart(no: InstanceNo, say: Say<'_>) {
        say(Need::Instance(no, true)); // the error says what failed
        say(Need::History(no));
        say(Need::Called(no));
    }

    /// Returns what is still to be asked before an instance can be restarted that was found in the
    /// store.
    pub(super) fn missing_to_restart(&self, no: InstanceNo) -> Needs {
        let mut missing = Needs::default();
        let mut say = |it: Need<'_>| {
            if !self.batch.known.has(it) {
                missing.add(it);
            }
        };
        Self::needs_to_restart(no, &mut say);
        if !self.live.contains_key(&no) {
            say(Need::Events(no));
        }
        missing
    }

    /// Returns what is still to be asked before these can end with one that called them.
    pub(super) fn missing_to_end(&self, children: &[Row]) -> Needs {
        let mut missing = Needs::default();
        let live = children.iter().map(|it| it.no);
        let live = live.filter(|it| self.live.contains_key(it)).collect();
        self.needs_to_terminate(live, &mut |it| {
            if !self.batch.known.has(it) {
                missing.add(it);
            }
        });
        missing
    }

    fn needs_of_letter(&self, message: &Message, say: Say<'_>) {
        match message {
            Message::Born(no) => say(Need::Instance(*no, false)),
            Message::Watch(no, _) if !self.live.contains_key(no) => {
                say(Need::Instance(*no, true));
            }
            Message::Event { no, .. } if !self.live.contains_key(no) => {
                say(Need::Instance(*no, false));
            }
            Message::Terminate(no, _) | Message::Undo(no, _) => {
                say(Need::Instance(*no, false));
                self.needs_to_terminate(vec![*no], say);
            }
            Message::Ask(_, Asked::Decide(decision)) => self.needs_of_decision(decision, say),
            Message::Ask(_, Asked::Act(deed)) => self.needs_of_act(deed, say),
            Message::Ask(_, Asked::Stand(..))
            | Message::Watch(..)
            | Message::Ended(..)
            | Message::Event { .. }
            | Message::Answer(..) => {}
        }
    }

    fn needs_of_speech(&self, by: Body, speech: &Speech, say: Say<'_>) {
        let no = by.no;
        // Most of what bodies say.
        if let Speech::Record(..) | Speech::Open(_) | Speech::Quiet(..) = speech {
            return;
        }
        let Some(live) = self.live.get(&no).filter(|it| it.may_hear(by)) else {
            return;
        };
        let namespace = &*self.names[live.workflow as usize].0;
        self.with_damage(no, say, |say| match speech {
            Speech::Post(_, what) => {
                let to = [namespace, &what.1.to.workflow, &what.1.to.id];
                self.needs_of_names(to, false, say);
            }
            Speech::Call(_, child) | Speech::CreateChildren(_, child) => {
                for item in &child.items {
                    let id = item.id.as_deref().unwrap_or_default();
                    self.needs_of_names([namespace, &child.workflow, id], false, say);
                }
            }
            Speech::Await(_, what) => {
                self.needs_of_names([namespace, &what.1, &what.2], true, say);
            }
            Speech::Ask(wait, _) => {
                if let Source::Approval(id) = &wait.source {
                    say(Need::Approval(&stored_approval(namespace, id)));
                }
            }
            Speech::Withdraw(id) => match live.mailbox.wait(*id) {
                Some(wait) => {
                    if let (Kind::Call, Source::Child(child)) = (wait.operation.kind, &wait.source)
                    {
                        self.needs_to_orphan(no, vec![*child], say);
                    }
                }
                // What this batch takes is in this batch.
                None => {
                    if let Some((_, Some(place))) = live.taken.get(id) {
                        say(Need::Record(no, *place));
                    }
                }
            },
            Speech::GiveBack(_) => say(Need::Takings(no)),
            Speech::Finish(..) | Speech::Undoes(_) | Speech::Undone(..) => {
                self.needs_to_orphan(no, self.called_by(no), say);
            }
            Speech::Continue(it) => {
                for id in &it.untold {
                    if let Some((_, Some(place))) = live.taken.get(id) {
                        say(Need::Record(no, *place));
                    }
                }
                if !it.passed.is_empty() {
                    say(Need::Takings(no));
                }
                self.needs_to_orphan(no, self.called_by(no), say);
            }
            Speech::Block(..) => say(Need::Instance(no, false)),
            Speech::Record(..)
            | Speech::Attributes(..)
            | Speech::Answer(..)
            | Speech::Retry(..)
            | Speech::Open(_)
            | Speech::Quiet(..)
            | Speech::Report(_)
            | Speech::Stream(..)
            | Speech::Conclude(..)
            | Speech::Hold
            | Speech::TakenUp
            | Speech::Paused
            | Speech::Release
            | Speech::Replay => {}
        });
    }

    /// Says what is needed, and what telling of its damage needs.
    fn with_damage(&self, no: InstanceNo, say: Say<'_>, needs: impl FnOnce(Say<'_>)) {
        let mut damaged = false;
        needs(&mut |it| {
            damaged |= self.batch.known.is_damaged(it);
            say(it);
        });
        if damaged {
            say(Need::Instance(no, false));
        }
    }

    fn needs_of_name(&self, name: &Name, say: Say<'_>) {
        let Name {
            namespace,
            workflow,
            id,
        } = name;
        self.needs_of_names([namespace, workflow, id], false, say);
    }

    /// What is in memory has not ended, or ends in this batch: then whoever asks waits.
    fn needs_of_names(&self, name: [&str; 3], output: bool, say: Say<'_>) {
        let key = Key::new(name[0], name[1], name[2]);
        if self.registry.view(key).is_none() {
            say(Need::Name(key, name, output));
        }
    }

    fn needs_to_go_on(&self, no: InstanceNo, say: Say<'_>) {
        let Some(live) = self.live.get(&no) else {
            return;
        };
        if live.status.is_paused() {
            say(Need::Instance(no, false)); // to tell for how long it was
        }
        if !(live.is_inert() || live.status.is_paused()) {
            return;
        }
        if live.has_code {
            self.needs_to_rearm(no, say);
        } else {
            say(Need::Instance(no, false)); // to tell which code is missing
        }
    }

    /// Whether what it waits for has come while it could not be told.
    fn needs_to_rearm(&self, no: InstanceNo, say: Say<'_>) {
        let waits = self.live.get(&no).map_or(&[][..], |it| it.mailbox.waits());
        self.with_damage(no, say, |say| {
            for wait in waits {
                match &wait.source {
                    // One that is live has not ended.
                    Source::Child(child) if !self.live.contains_key(child) => {
                        say(Need::Instance(*child, true));
                    }
                    Source::Approval(id) => say(Need::Approval(id)),
                    _ => {}
                }
            }
        });
    }

    /// Returns what is still to be asked before [`Core::rearm`].
    pub(super) fn missing_to_rearm(&self, no: InstanceNo) -> Needs {
        let mut missing = Needs::default();
        self.needs_to_rearm(no, &mut |it| {
            if !self.batch.known.has(it) {
                missing.add(it);
            }
        });
        missing
    }

    /// Returns the children that an instance called and waits for.
    pub(super) fn called_by(&self, no: InstanceNo) -> Vec<InstanceNo> {
        let waits = self.live.get(&no).map_or(&[][..], |it| it.mailbox.waits());
        let called = waits.iter().filter_map(|it| match &it.source {
            Source::Child(child) if it.operation.kind == Kind::Call => Some(*child),
            _ => None,
        });
        called.collect()
    }

    /// To terminate children, and down the tree those they called: who called them is told, and of
    /// those that never ran memory knows too little.
    fn needs_to_orphan(&self, parent: InstanceNo, called: Vec<InstanceNo>, say: Say<'_>) {
        if called.is_empty() {
            return;
        }
        say(Need::Instance(parent, false));
        self.needs_to_terminate(called, say);
    }

    /// The same of these, and down the tree.
    fn needs_to_terminate(&self, mut doomed: Vec<InstanceNo>, say: Say<'_>) {
        let created = self.created_in_batch();
        while let Some(no) = doomed.pop() {
            let called = self.called_by(no);
            if !called.is_empty() || (self.never_ran(no) && !created.contains(&no)) {
                say(Need::Instance(no, false));
            }
            doomed.extend(called);
        }
    }

    /// Whether an instance that has not ended is queued, and never ran.
    fn never_ran(&self, no: InstanceNo) -> bool {
        let known = self.live.get(&no);
        known.is_none_or(|it| it.status == Status::Queued && it.class == Class::New)
    }

    fn created_in_batch(&self) -> FxHashSet<InstanceNo> {
        let created = self.batch.ops().filter_map(|op| match op {
            Op::Create(new) => Some(new.no),
            _ => None,
        });
        created.collect()
    }
}
