//! What bodies and the outside asked of the engine, as far as a rule needs it.
//!
//! Noted when it is submitted, whether it is ever decided or not; what must not have any effect
//! (late and forged submissions) is not noted.

use rustc_hash::{FxHashMap, FxHashSet};

use super::plan::Change;
use super::program::{account, Account};
use crate::history::Operation;
use crate::ids::{Incarnation, InstanceNo, Key, Micros, WaitId};
use crate::lifecycle::Status;
use crate::rewind::From;
use crate::submission::{Body, Code, Command, Name, NewItem, Speech, Submission, Verb};
use crate::undo::Undo;
use crate::wait::{stored_approval, Source, Wait};

/// The payload of an event: which event it is, and which submission of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The same however often it is sent.
    pub(super) name: u32,
    /// Grows with every submission.
    pub(super) sent: u32,
}

impl Stamp {
    /// Set in the names of events that bodies write.
    pub(super) const FROM_BODY: u32 = 1 << 31;

    /// Says which lane of the inbox it comes by.
    pub(super) fn lane(self) -> usize {
        usize::from(self.name >= Self::FROM_BODY)
    }

    pub(super) fn write(self) -> Box<[u8]> {
        let mut bytes = self.name.to_le_bytes().to_vec();
        bytes.extend(self.sent.to_le_bytes());
        bytes.into()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (name, sent) = bytes.split_first_chunk::<4>()?;
        Some(Self {
            name: u32::from_le_bytes(*name),
            sent: u32::from_le_bytes(sent.try_into().ok()?),
        })
    }
}

/// What a ticket stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    /// The creation of instances of one workflow, with these keys.
    Create(Account, Vec<u128>),
    /// The creation of so many instances of one workflow by somebody who gives no ids.
    Stranger(Account, usize),
    /// An event for an instance; whether it is the same however often it is sent.
    Send(u128, Stamp, bool),
    /// A decision about a stored approval of an instance.
    Decide(u128, Box<str>, Box<[u8]>),
    /// A record of an instance.
    Record(Body, Operation),
    /// That nothing of an instance, by key, begins any more.
    Pause(u128),
    /// That an instance, by key, is ended.
    Terminate(u128),
    /// That an instance, by key, is ended when it has undone what it did.
    Undo(u128),
    /// That an instance, by key, begins anew from there.
    Restart(u128, From),
    /// That an instance, by key, is deleted.
    Delete(u128),
    /// Something else that is done to an instance.
    Act,
    /// Another number of shards.
    Reshard(u32),
    /// Other limits.
    Limits,
    /// Something a body is told the outcome of.
    Outcome(InstanceNo, Operation),
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// When each wait is over, if nothing else ends it.
    pub(super) until: FxHashMap<WaitId, Micros>,
    /// Whose operation each wait of this life is.
    pub(super) waits: FxHashMap<WaitId, (InstanceNo, Operation)>,
    /// What each ticket of this life stands for.
    pub(super) tickets: FxHashMap<u64, Asked>,
    /// Changes of limits that make sense, by ticket.
    pub(super) changes: FxHashMap<u64, Change>,
    /// Operations whose outcome a body was told: every later body must be told the same.
    pub(super) told: FxHashMap<(InstanceNo, Incarnation), FxHashSet<Operation>>,
    /// Types of events that an operation takes.
    pub(super) takes: FxHashMap<(InstanceNo, Operation), Vec<Box<str>>>,
    /// Waits that bodies gave up.
    pub(super) withdrawn: FxHashSet<(InstanceNo, Operation)>,
    /// Bodies that have taken up what a crash cut short.
    pub(super) taken_up: FxHashSet<(InstanceNo, Incarnation)>,
    /// Bodies that said that they only wait.
    pub(super) quiet: FxHashSet<(InstanceNo, Incarnation)>,
    /// Bodies that said that they ended, and how.
    pub(super) finished: FxHashSet<(InstanceNo, Incarnation, Status)>,
    /// Bodies that failed, and whose instances undo their steps.
    pub(super) failed: FxHashSet<(InstanceNo, Incarnation)>,
    /// Bodies that said how far they undid them.
    pub(super) had_undone: FxHashMap<(InstanceNo, Incarnation), Undo>,
    /// Bodies that said that they go on as new.
    pub(super) continued: FxHashSet<(InstanceNo, Incarnation)>,
    /// Bodies that said that they cannot go on.
    pub(super) blocked: FxHashSet<(InstanceNo, Incarnation)>,
    /// Bodies that run again from their history.
    pub(super) replayed: FxHashSet<(InstanceNo, Incarnation)>,
    /// Bodies that were unwound for a shutdown.
    pub(super) released: FxHashSet<(InstanceNo, Incarnation)>,
    /// Instances that somebody asked to resume, by key.
    pub(super) resumed: FxHashSet<u128>,
    /// Those that somebody asked to pause, by key.
    pub(super) paused: FxHashSet<u128>,
    /// Bodies that were to pause, and have left.
    pub(super) left: FxHashSet<(InstanceNo, Incarnation)>,
    /// Those that somebody asked to terminate, by key.
    pub(super) terminated: FxHashSet<u128>,
    /// Which instances somebody wants to undo what they did, by key.
    pub(super) undone: FxHashSet<u128>,
    /// Those that somebody asked to restart, and to delete, by key.
    pub(super) restarted: FxHashSet<u128>,
    pub(super) deleted: FxHashSet<u128>,
    /// From where instances begin anew that are restarted with others, by key.
    pub(super) begun_with_many: FxHashMap<u128, From>,
    /// Which operations an error says were at fault.
    pub(super) faults: FxHashMap<Box<[u8]>, Vec<Operation>>,
    /// Those whose retry delays somebody asked to end, by key.
    pub(super) hastened: FxHashSet<u128>,
    /// Steps whose outcomes somebody sets, of instances by key.
    pub(super) resolved: FxHashSet<(u128, Operation)>,
}

impl Said {
    /// Notes a submission that may have an effect.
    pub(super) fn note(&mut self, submission: &Submission) {
        self.ask(submission);
        match submission {
            Submission::Said(by, Speech::Open(wait) | Speech::Ask(wait, _)) => {
                self.wait(by.no, wait);
            }
            Submission::Said(by, Speech::Retry(id, record)) => {
                let until = record.moment.expect("a retry has its time");
                self.until.insert(*id, until);
                self.waits.insert(*id, (by.no, record.operation.clone()));
            }
            Submission::Said(by, Speech::Call(id, child)) => {
                let operation = child.operation.clone();
                self.waits.insert(*id, (by.no, operation));
            }
            Submission::Said(_, Speech::Withdraw(id)) => {
                self.withdrawn.extend(self.waits.get(id).cloned());
            }
            Submission::Said(by, Speech::Quiet(..)) => {
                self.quiet.insert((by.no, by.incarnation));
            }
            Submission::Said(by, Speech::Finish(status, ..)) => {
                self.finished.insert((by.no, by.incarnation, *status));
            }
            Submission::Said(by, Speech::Undoes(error)) => {
                self.replayed.insert((by.no, by.incarnation));
                if error.is_some() {
                    self.failed.insert((by.no, by.incarnation));
                }
            }
            Submission::Said(by, Speech::Undone(how, status, _)) => {
                self.finished.insert((by.no, by.incarnation, *status));
                self.had_undone.insert((by.no, by.incarnation), *how);
            }
            Submission::Said(by, Speech::Continue(_)) => {
                self.continued.insert((by.no, by.incarnation));
            }
            Submission::Said(by, Speech::Block(..)) => {
                self.blocked.insert((by.no, by.incarnation));
            }
            Submission::Said(by, Speech::TakenUp) => {
                self.taken_up.insert((by.no, by.incarnation));
            }
            Submission::Said(by, Speech::Replay) => {
                self.replayed.insert((by.no, by.incarnation));
            }
            Submission::Said(by, Speech::Release) => {
                self.released.insert((by.no, by.incarnation));
            }
            Submission::Said(by, Speech::Paused) => {
                self.left.insert((by.no, by.incarnation));
            }
            Submission::Outside(Command::Act(_, deed)) => {
                self.deed(key(&deed.to), &deed.verb);
            }
            _ => {}
        }
    }

    /// Notes what is done to many, by key.
    pub(super) fn done_to_many(&mut self, some: Vec<(u128, Verb)>) {
        for (key, verb) in some {
            if let Verb::Restart(from) = &verb {
                self.begun_with_many.insert(key, from.clone());
            }
            self.deed(key, &verb);
        }
    }

    fn deed(&mut self, key: u128, verb: &Verb) {
        let those = match verb {
            Verb::Resume | Verb::ResumeAs(_) => &mut self.resumed,
            Verb::Pause => &mut self.paused,
            Verb::Terminate(_) => &mut self.terminated,
            Verb::Undo(_) => &mut self.undone,
            Verb::RetryNow => &mut self.hastened,
            Verb::Restart(_) => &mut self.restarted,
            Verb::Delete => &mut self.deleted,
            // Whoever is queued anew is told by the store alone.
            Verb::SetPriority(_) | Verb::StartNow => return,
            Verb::Resolve(it) => {
                self.resolved.insert((key, it.operation.clone()));
                return;
            }
        };
        those.insert(key);
    }

    /// Notes what the ticket of a submission stands for.
    fn ask(&mut self, submission: &Submission) {
        let (ticket, asked) = match submission {
            Submission::Outside(Command::Create(ticket, what, _)) => {
                (ticket, keys(&what.0, std::slice::from_ref(&what.1)))
            }
            Submission::Outside(Command::CreateBatch(ticket, what, ..)) => {
                (ticket, keys(&what.0, &what.1))
            }
            Submission::Outside(Command::Send(ticket, sent, dedup)) => {
                let stamp = sent.payload.as_deref().and_then(Stamp::read);
                let stamp = stamp.expect("every event has a stamp");
                (ticket, Asked::Send(key(&sent.to), stamp, dedup.is_some()))
            }
            Submission::Outside(Command::Request(ticket, sent, _)) => {
                let stamp = sent.payload.as_deref().and_then(Stamp::read);
                let stamp = stamp.expect("every event has a stamp");
                (ticket, Asked::Send(key(&sent.to), stamp, true))
            }
            Submission::Outside(Command::Decide(ticket, it)) => {
                let id = stored_approval(&it.of.namespace, &it.approval);
                (ticket, Asked::Decide(key(&it.of), id, it.decision.clone()))
            }
            Submission::Said(by, Speech::Record(ticket, record)) => {
                (ticket, Asked::Record(*by, record.operation.clone()))
            }
            Submission::Said(by, Speech::Answer(ticket, _, record)) => {
                (ticket, Asked::Record(*by, record.operation.clone()))
            }
            Submission::Said(by, Speech::Post(ticket, what)) => {
                (ticket, Asked::Outcome(by.no, what.0.operation.clone()))
            }
            Submission::Said(by, Speech::CreateChildren(ticket, child)) => {
                (ticket, Asked::Outcome(by.no, child.operation.clone()))
            }
            Submission::Outside(Command::Act(ticket, deed)) => match &deed.verb {
                Verb::Pause => (ticket, Asked::Pause(key(&deed.to))),
                Verb::Terminate(_) => (ticket, Asked::Terminate(key(&deed.to))),
                Verb::Undo(_) => (ticket, Asked::Undo(key(&deed.to))),
                Verb::Restart(from) => (ticket, Asked::Restart(key(&deed.to), from.clone())),
                Verb::Delete => (ticket, Asked::Delete(key(&deed.to))),
                Verb::Resume
                | Verb::ResumeAs(_)
                | Verb::RetryNow
                | Verb::SetPriority(_)
                | Verb::Resolve(_)
                | Verb::StartNow => (ticket, Asked::Act),
            },
            Submission::Outside(Command::Reshard(ticket, shards)) => {
                (ticket, Asked::Reshard(u32::try_from(*shards).unwrap_or(0)))
            }
            Submission::Outside(
                Command::SetLimits(ticket, _) | Command::OpenNamespace(ticket, ..),
            ) => (ticket, Asked::Limits),
            Submission::Said(by, Speech::Await(id, what)) => {
                (id, Asked::Outcome(by.no, what.0.operation.clone()))
            }
            _ => return,
        };
        self.tickets.insert(*ticket, asked);
    }

    fn wait(&mut self, no: InstanceNo, wait: &Wait) {
        self.until.extend(wait.until.map(|it| (wait.id, it)));
        self.waits.insert(wait.id, (no, wait.operation.clone()));
        if let Source::Event(types) = &wait.source {
            let operation = (no, wait.operation.clone());
            self.takes.insert(operation, types.clone());
        }
    }

    /// A wait that a body found open when it was started over.
    pub(super) fn found(&mut self, no: InstanceNo, wait: &Wait) {
        self.waits.insert(wait.id, (no, wait.operation.clone()));
    }

    /// The process that said it is gone. What it gave up stays given up.
    pub(super) fn forget(&mut self) {
        self.changes.clear();
        self.tickets.clear();
        self.taken_up.clear();
        self.quiet.clear();
        self.finished.clear();
        self.failed.clear();
        self.had_undone.clear();
        self.continued.clear();
        self.blocked.clear();
        self.replayed.clear();
        self.released.clear();
        self.resumed.clear();
        self.paused.clear();
        self.left.clear();
        self.terminated.clear();
        self.undone.clear();
        self.restarted.clear();
        self.deleted.clear();
        self.begun_with_many.clear();
        self.hastened.clear();
        self.resolved.clear();
    }
}

fn key(name: &Name) -> u128 {
    Key::new(&name.namespace, &name.workflow, &name.id).0
}

fn keys(code: &Code, items: &[NewItem]) -> Asked {
    let key = |item: &NewItem| {
        let id = item.id.as_deref()?;
        Some(Key::new(&code.namespace, &code.workflow, id).0)
    };
    let account = account(&code.namespace, &code.workflow);
    match items.iter().map(key).collect() {
        Some(keys) => Asked::Create(account, keys),
        None => Asked::Stranger(account, items.len()),
    }
}
