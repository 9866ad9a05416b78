//! The engine's side of the world: batches in three steps, and how an engine comes and goes.
//!
//! Deciding, committing and applying are separate, so that anything can happen between them: bodies
//! and the outside go on, time passes, the process dies. What the store refuses for a while is
//! committed later, as the runtime does; any other failure ends this engine.

use std::sync::Arc;

use super::plan::{Change, Plan, LIMITS};
use super::program::{NAMESPACES, VERSIONS, WORKFLOWS};
use super::rules;
use super::sight::Sight;
use super::truth::Truth;
use super::world::{Life, World};
use crate::engine::{Config, Core, Facts};
use crate::ids::{InstanceNo, Micros};
use crate::registry::Registry;
use crate::residents::Residents;
use crate::sequence::Sequence;
use crate::settings::{checked, Layer};
use crate::store::memory::{Failure, MemoryStore};
use crate::store::{Error, Outcome, Store};
use crate::submission::{Body, Command, Speech, Submission};

/// What was decided without leaving an operation.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    Linger(Body),
    LetGo(InstanceNo),
    Limits(Change),
    /// A creation that is to wait, with when its items are to start; whether its ids were looked
    /// up.
    Came(u64, Vec<Option<Micros>>, bool),
    GaveUp(u64),
    Drains,
}

impl Mark {
    fn of(submission: &Submission, truth: &Truth) -> Option<Self> {
        match submission {
            Submission::Outside(command) => Self::of_command(command, truth),
            Submission::Said(by, Speech::Hold) => Some(Self::Linger(*by)),
            Submission::LetGo(no) => Some(Self::LetGo(*no)),
            Submission::Said(..) | Submission::Letter(..) => None,
        }
    }

    fn of_command(command: &Command, truth: &Truth) -> Option<Self> {
        match command {
            Command::SetLimits(ticket, _) | Command::OpenNamespace(ticket, ..) => {
                let change = truth.said.changes.get(ticket)?;
                Some(Self::Limits(change.clone()))
            }
            Command::CreateBatch(ticket, what, _, true) => {
                let starts = what.1.iter().map(|it| it.start_at);
                Some(Self::Came(*ticket, starts.collect(), false))
            }
            Command::Again(creation, found) => match Self::of_command(creation, truth)? {
                Self::Came(ticket, starts, _) => Some(Self::Came(ticket, starts, found.is_some())),
                other => unreachable!("creates nothing: {other:?}"),
            },
            Command::GiveUp(ticket) => Some(Self::GaveUp(*ticket)),
            Command::EndWaiting => Some(Self::Drains),
            _ => None,
        }
    }

    pub(super) fn apply(&self, truth: &mut Truth) {
        match self {
            Self::Linger(by) => truth.linger(by.no, by.incarnation),
            Self::LetGo(no) => truth.let_go(*no),
            // In force for all that is decided after it, also in its own commit.
            Self::Limits(change) => truth.limit(change),
            Self::Came(ticket, starts, known) => truth.came(*ticket, starts, *known),
            Self::GaveUp(ticket) => truth.give_up(*ticket),
            Self::Drains => truth.draining = true,
        }
    }
}

/// How far the batch is.
#[derive(Debug, Default)]
pub(super) enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// Decided at this time, with these marks at their places between the operations.
    Decided(Micros, Vec<(usize, Mark)>),
    /// Durable; these are the store's answers.
    Committed(Vec<Outcome>),
}

fn layer(of: super::plan::Layer) -> Layer {
    let values = LIMITS.iter().zip(of);
    let values: Vec<_> = values
        .map(|((_, name, _), value)| (*name, value.map(f64::from)))
        .collect();
    checked(&values, false).expect("they are valid")
}

/// Opens an engine on what an earlier one left, and lets it decide its first batch.
pub(super) fn boot(
    store: &MemoryStore,
    plan: &Plan,
    shards: Option<u32>,
    missing: Option<usize>,
    now: Micros,
) -> Life {
    let mut handle: Box<dyn Store> = Box::new(store.reopen());
    let ceiling = handle.meta("sequence").expect("memory is read");
    let ceiling = ceiling.map_or(0, |it| {
        u64::from_le_bytes((*it).try_into().expect("8 bytes"))
    });
    let registry = Arc::new(Registry::new());
    let residents = Arc::new(Residents::default());
    let sequence = Arc::new(Sequence::new(ceiling));
    let reader = handle.reader().expect("memory is read");
    let mut facts = Facts {
        reader: handle.reader().expect("memory is read"),
        store: handle,
    };
    let with_code = (0..WORKFLOWS.len()).filter(|it| Some(*it) != missing);
    let retentions = with_code
        .clone()
        .map(|it| (WORKFLOWS[it].into(), plan.retention(it)));
    let limits = (0..WORKFLOWS.len()).map(|it| (WORKFLOWS[it].into(), layer(plan.code(it))));
    let config = Config {
        workflows: with_code
            .flat_map(|it| VERSIONS.map(|version| (WORKFLOWS[it].into(), version.into())))
            .collect(),
        shards,
        slots: plan.slots,
        namespace: NAMESPACES[0].into(),
        limits: layer(plan.base()),
        workflow_limits: limits.collect(),
        retentions: retentions.collect(),
        formerly: vec![],
    };
    let mut core = Core::new(
        config,
        Arc::clone(&registry),
        Arc::clone(&residents),
        Arc::clone(&sequence),
        Arc::default(),
    );
    core.suspects.proof = plan.proof;
    core.begin(now);
    core.recover(&mut facts).expect("memory is read");
    core.finish_batch();
    Life::new(core, facts, reader, residents, registry, sequence, now)
}

impl World {
    /// Decides what was submitted, at most so much, and what is due.
    pub(super) fn decide(&mut self, most: usize) {
        let now = self.now;
        let life = &mut self.life;
        life.core.begin(now);
        let (said, wanted) = life.inbox.next([usize::MAX; 2]);
        let needs = life.core.needs(said, wanted);
        let known = life.facts.store.look(needs);
        life.core.learn(known.expect("memory is read"));
        life.inbox.begin();
        let mut marks = Vec::new();
        for _ in 0..most {
            let half = self.dice.roll(2) == 0;
            let Some(submission) = life.inbox.pop(half) else {
                break;
            };
            let mark = Mark::of(&submission, &self.truth);
            marks.extend(mark.map(|it| (life.core.ops().count(), it)));
            if let Some(later) = life.core.decide(submission) {
                life.inbox.push_front(later);
                break;
            }
        }
        life.core.finish_batch();
        life.stage = Stage::Decided(now, marks);
        self.trace(|it| format!("decided {:?}", it.life.core.batch.steps));
        self.check_unseen();
    }

    /// D1: what is decided and not durable is seen by nobody.
    fn check_unseen(&self) {
        for op in self.life.core.ops() {
            let key = match op {
                crate::store::Op::Create(new) => {
                    crate::ids::Key::new(&new.namespace, &new.workflow, &new.id)
                }
                crate::store::Op::Status(no, ..) => match self.truth.all.get(no) {
                    Some(it) => it.key,
                    None => continue,
                },
                _ => continue,
            };
            let durable = self.truth.by_key(key).map(|it| it.status);
            let durable = durable.filter(|it| !it.is_final());
            let seen = self.life.registry.peek(key);
            assert_eq!(seen, durable, "D1: seen before it was durable: {op:?}");
        }
    }

    /// Commits what was decided. Returns false if the store did not take it.
    pub(super) fn commit(&mut self, failure: Option<Failure>) -> bool {
        let Stage::Decided(now, marks) = std::mem::take(&mut self.life.stage) else {
            unreachable!("there is something to commit");
        };
        let life = &mut self.life;
        let ops: Vec<_> = life.core.ops().cloned().collect();
        let stored = if ops.is_empty() {
            Ok(Vec::new())
        } else {
            if let Some(failure) = failure {
                self.store.fail_next(failure);
            }
            life.facts.store.commit(&ops)
        };
        match stored {
            Ok(outcomes) => {
                rules::committed(&mut self.truth, now, &ops, &marks, Some(&outcomes));
                life.stage = Stage::Committed(outcomes);
                self.trace(|_| "committed".into());
                true
            }
            Err(Error::Full(_)) => {
                life.look_at_room();
                life.stage = Stage::Decided(now, marks);
                self.trace(|_| "the disk is full".into());
                false
            }
            Err(_) => {
                if failure == Some(Failure::Unreported) {
                    rules::committed(&mut self.truth, now, &ops, &marks, None);
                }
                self.trace(|_| format!("the commit failed: {failure:?}"));
                self.crash();
                false
            }
        }
    }

    /// The store is tried again after it was full.
    pub(super) fn resume_store(&mut self) -> bool {
        self.life.facts.store.resume().is_ok()
    }

    /// Applies what is durable and sends its notes.
    pub(super) fn apply(&mut self) {
        let Stage::Committed(outcomes) = std::mem::take(&mut self.life.stage) else {
            unreachable!("there is something to apply");
        };
        let life = &mut self.life;
        let number = life.core.batch_number();
        let applied = life.core.apply(&outcomes);
        self.truth.refusals(&applied.notes);
        rules::sent(&self.truth, &applied.notes);
        self.truth.told(&applied.notes);
        life.outbox.extend(applied.notes);
        life.outbox_batch = number;
        life.jobs.extend(applied.jobs);
        life.look_at_room();
        for hopeful in life.core.take_hopeful().into_iter().rev() {
            life.inbox.push_front(hopeful);
        }
        let first = !std::mem::replace(&mut life.open, true);
        self.trace(|it| format!("applied; {:?}", it.life.outbox));
        rules::figures(&self.truth, &mut self.life.sight(self.seed));
        if first || number.is_multiple_of(16) {
            rules::recount(&self.truth, &mut self.life.sight(self.seed));
        }
    }

    /// All three.
    pub(super) fn batch(&mut self, most: usize) {
        self.decide(most);
        if self.commit(None) {
            self.apply();
        }
    }

    /// The process dies and another one opens the store, with so many shards (or as many as are
    /// stored) and without the code of this workflow.
    pub(super) fn restart(&mut self, shards: Option<u32>, missing: Option<usize>) {
        self.life = boot(&self.store, &self.truth.plan, shards, missing, self.now);
        let ticket = self.ticket();
        self.life.core.generated.count_from(ticket);
        self.missing = missing;
        self.truth.missing = missing.map_or(0, |it| 1 << it);
        self.truth.reboot(self.now);
        self.outside.lost();
        self.trace(|it| format!("restarted; decided {:?}", it.life.core.batch.steps));
    }

    /// The process dies.
    pub(super) fn crash(&mut self) {
        self.restart(None, self.missing);
    }

    /// The process ends cleanly: bodies are unwound, what was submitted is committed.
    pub(super) fn close(&mut self) {
        if self.dice.once_in(2) {
            self.submit(Command::EndWaiting);
        }
        let bodies: Vec<_> = self.life.bodies.values().map(|it| it.by).collect();
        for by in bodies {
            self.submit(by.says(Speech::Release));
        }
        self.life.bodies.clear();
        for _ in 0..1_000 {
            if self.life.inbox.is_empty() {
                break;
            }
            self.batch(64);
        }
        assert!(self.life.inbox.is_empty(), "what was submitted is decided");
        self.truth.closing = true;
        let life = &mut self.life;
        life.core.begin(self.now);
        life.core.clear_marks();
        life.stage = Stage::Decided(self.now, Vec::new());
        self.trace(|it| format!("closing {:?}", it.life.core.batch.steps));
        if self.commit(None) {
            self.apply();
        }
    }

    /// Returns a look at the engine for the oracle.
    pub(super) fn judge_the_end(&mut self) {
        let mut sight = self.life.sight(self.seed);
        rules::recount(&self.truth, &mut sight);
        rules::ended(&self.truth, &mut sight);
    }
}

impl Life {
    /// Closes the door to creations while the store is short of room.
    fn look_at_room(&mut self) {
        let short = self.facts.store.shortage().is_some();
        if std::mem::replace(&mut self.short, short) != short {
            self.core.set_short(short);
        }
    }

    fn sight(&mut self, seed: u64) -> Sight<'_> {
        Sight {
            core: &self.core,
            registry: &self.registry,
            reader: &mut *self.reader,
            seed,
        }
    }
}
