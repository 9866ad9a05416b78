//! Two engines that come and go, the store between them, and what happens.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::dice::Dice;
use super::bodies::Running;
use super::outside::Outside;
use super::rules::Ledger;
use crate::engine::{Config, Core, Facts, Job};
use crate::ids::{InstanceNo, Micros, Range, RANGES};
use crate::lanes::Lanes;
use crate::letter::Address;
use crate::limits::FIRST_TICKET;
use crate::note::Note;
use crate::ranges::Domain;
use crate::registry::Registry;
use crate::residents::Residents;
use crate::runtime::loader::{known_ids, read_start, same, same_items, seen};
use crate::sequence::Sequence;
use crate::settings::{Layer, Limit};
use crate::store::memory::{Failure, MemoryStore};
use crate::store::{Error, Outcome, Reader, Store};
use crate::submission::Submission;

/// How far the batch of an engine is.
pub(super) enum Stage {
    Idle,
    Decided,
    Committed(Vec<Outcome>),
}

/// One engine, and all that dies with it.
pub(super) struct Life {
    pub(super) core: Core,
    facts: Facts,
    reader: Box<dyn Reader>,
    residents: Arc<Residents>,
    pub(super) sequence: Arc<Sequence>,
    engine: u64,
    stage: Stage,
    pub(super) inbox: Lanes,
    outbox: Vec<Note>,
    outbox_batch: u64,
    pub(super) seen: u64,
    jobs: VecDeque<Job>,
    pub(super) bodies: BTreeMap<InstanceNo, Running>,
    /// Whose records are under way.
    pub(super) tickets: BTreeMap<u64, InstanceNo>,
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) dice: Dice,
    pub(super) store: MemoryStore,
    pub(super) ledger: Ledger,
    pub(super) outside: Outside,
    pub(super) lives: Vec<Life>,
    /// Which engine owns each range, under which epoch.
    pub(super) owners: Vec<(usize, u64)>,
    pub(super) now: Micros,
    tickets: u64,
    boots: u64,
    traces: bool,
}

impl World {
    pub(super) fn new(seed: u64, traces: bool) -> Self {
        let mut dice = Dice::new(seed ^ 0x0077_6e65_7273);
        let store = MemoryStore::default();
        let epoch = store.hand_over((0..RANGES).map(Range));
        let owner = |dice: &mut Dice| (dice.roll(2) as usize, epoch);
        let owners = (0..RANGES).map(|_| owner(&mut dice)).collect();
        let outside = Outside::draw(seed, &mut dice);
        let mut world = Self {
            seed,
            dice,
            store,
            ledger: Ledger::default(),
            outside,
            lives: Vec::new(),
            owners,
            now: 1,
            tickets: FIRST_TICKET,
            boots: 0,
            traces,
        };
        for at in 0..2 {
            let life = world.boot(at);
            world.lives.push(life);
        }
        world
    }

    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.traces {
            println!("t={:<4} {}", self.now, line());
        }
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// An engine opens the store, with the ranges it owns by now.
    fn boot(&mut self, at: usize) -> Life {
        self.boots += 1;
        let handle: Box<dyn Store> = Box::new(self.store.reopen());
        let residents = Arc::new(Residents::default());
        // As if it had been given a block of numbers that nobody else ever gets.
        let sequence = Arc::new(Sequence::new(self.boots << 28));
        let reader = || self.store.reopen().reader().expect("memory is read");
        let limits = Layer::default()
            .with(Limit::Concurrency, 1_000)
            .with(Limit::QueueEntries, 1_000)
            .with(Limit::Recoveries, 1_000_000);
        let config = Config {
            workflows: vec![("w".into(), "1".into())],
            shards: Some(3),
            slots: 1_000,
            namespace: "default".into(),
            limits,
            workflow_limits: vec![],
            retentions: vec![],
            formerly: vec![],
        };
        let mine = (0..RANGES).map(Range).zip(&self.owners);
        let mine = mine.filter(|(_, owner)| owner.0 == at);
        let domain = Domain::part(mine.map(|(range, owner)| (range, owner.1)));
        let core = Core::new(
            config,
            Arc::new(Registry::new()),
            Arc::clone(&residents),
            Arc::clone(&sequence),
            Arc::default(),
        );
        let mut core = core.within(domain, self.boots);
        core.suspects.proof = 1;
        core.generated.count_from(self.boots);
        let mut facts = Facts {
            store: handle,
            reader: reader(),
        };
        core.begin(self.now);
        core.recover(&mut facts).expect("memory is read");
        core.finish_batch();
        self.trace(|| format!("{at}: boots as {}", self.boots));
        Life {
            core,
            facts,
            reader: reader(),
            residents,
            sequence,
            engine: self.boots,
            stage: Stage::Decided,
            inbox: Lanes::default(),
            outbox: Vec::new(),
            outbox_batch: 0,
            seen: 0,
            jobs: VecDeque::new(),
            bodies: BTreeMap::new(),
            tickets: BTreeMap::new(),
        }
    }

    /// An engine dies, and another one comes in its place.
    pub(super) fn crash(&mut self, at: usize) {
        self.trace(|| format!("{at}: dies"));
        self.outside.lost(at);
        self.lives[at] = self.boot(at);
    }

    pub(super) fn submit(&mut self, at: usize, submission: impl Into<Submission>) {
        let submission = submission.into();
        self.trace(|| format!("{at}: submitted {submission:?}"));
        self.lives[at].inbox.push(submission);
    }

    pub(super) fn run(&mut self) {
        for _ in 0..300 + self.dice.roll(500) {
            self.anything();
        }
        self.trace(|| "from now on nothing fails".into());
        for _ in 0..4_000 {
            for at in 0..2 {
                self.go_on(at);
            }
            self.errands(8);
            self.now += 1;
            if self.is_over() {
                self.judge_the_end();
                return;
            }
        }
        panic!("everything finishes once faults stop: {}", self.left());
    }

    fn anything(&mut self) {
        let at = self.dice.roll(2) as usize;
        match self.dice.roll(40) {
            0..=9 => self.decide(at),
            10..=14 => self.commit_or_fail(at),
            15..=18 => self.apply(at),
            19..=21 => self.hear_all(at),
            22..=23 => {
                self.load(at);
            }
            24..=31 => self.run_bodies(at, 2),
            32..=36 => self.errands(1),
            37 if self.dice.once_in(4) => self.crash(at),
            38 if self.dice.once_in(4) => self.hand_over(at),
            39 if self.dice.once_in(2) => self.pause_one(),
            _ => self.now += self.dice.roll(4) as i64,
        }
    }

    fn go_on(&mut self, at: usize) {
        self.commit(at, None);
        self.apply(at);
        self.hear_all(at);
        while self.load(at) {}
        self.hear_all(at);
        self.run_bodies(at, 1_000);
        self.read_letters(at);
        self.decide(at);
    }

    /// Some ranges get another owner, who starts anew with them; the old one goes on until it is
    /// refused.
    fn hand_over(&mut self, to: usize) {
        let share = self.dice.pick(&[2, 8, 64]);
        let dice = &mut self.dice;
        let theirs = (0..RANGES).filter(|it| self.owners[usize::from(*it)].0 != to);
        let ranges: Vec<Range> = theirs.filter(|_| dice.once_in(share)).map(Range).collect();
        let epoch = self.store.hand_over(ranges.iter().copied());
        for range in &ranges {
            self.owners[usize::from(range.0)] = (to, epoch);
        }
        self.trace(|| format!("{to}: is handed {} ranges, epoch {epoch}", ranges.len()));
        self.crash(to);
    }

    fn read_letters(&mut self, at: usize) {
        let life = &mut self.lives[at];
        let letters = life.facts.store.letters(life.core.domain(), life.engine);
        let letters = life.core.receive(letters.expect("memory is read"));
        for letter in letters {
            self.submit(at, letter);
        }
    }

    /// Decides a batch.
    fn decide(&mut self, at: usize) {
        if !matches!(self.lives[at].stage, Stage::Idle) {
            return;
        }
        if self.dice.once_in(2) {
            self.read_letters(at);
        }
        let most = self.dice.pick(&[1, 3, 64]);
        let life = &mut self.lives[at];
        life.core.begin(self.now);
        let (said, wanted) = life.inbox.next([usize::MAX; 2]);
        let needs = life.core.needs(said, wanted);
        let known = life.facts.store.look(needs);
        life.core.learn(known.expect("memory is read"));
        life.inbox.begin();
        for _ in 0..most {
            let half = self.dice.once_in(2);
            let Some(submission) = life.inbox.pop(half) else {
                break;
            };
            if let Some(later) = life.core.decide(submission) {
                life.inbox.push_front(later);
                break;
            }
        }
        life.core.finish_batch();
        life.stage = Stage::Decided;
        self.trace(|| format!("{at}: decided {:?}", self.lives[at].core.batch.steps));
    }

    fn commit_or_fail(&mut self, at: usize) {
        let failure = match self.dice.roll(24) {
            0 => Some(Failure::Lost),
            1 => Some(Failure::Unreported),
            _ => None,
        };
        self.commit(at, failure);
    }

    fn commit(&mut self, at: usize, failure: Option<Failure>) {
        if !matches!(self.lives[at].stage, Stage::Decided) {
            return;
        }
        let life = &mut self.lives[at];
        let ops: Vec<_> = life.core.ops().cloned().collect();
        if let Some(failure) = failure {
            self.store.fail_next(failure);
        }
        let of = life.core.domain();
        match life.facts.store.commit_each(&mut ops.iter(), of) {
            Ok(outcomes) => {
                self.committed(at, &ops, &outcomes);
                self.lives[at].stage = Stage::Committed(outcomes);
                self.trace(|| format!("{at}: committed"));
            }
            Err(Error::NotYours(text)) => {
                self.trace(|| format!("{at}: refused: {text}"));
                self.crash(at);
            }
            Err(_) => {
                if failure == Some(Failure::Unreported) {
                    self.found_committed(&ops);
                }
                self.trace(|| format!("{at}: {failure:?}"));
                self.crash(at);
            }
        }
    }

    fn apply(&mut self, at: usize) {
        let life = &mut self.lives[at];
        if !matches!(life.stage, Stage::Committed(_)) {
            return;
        }
        let Stage::Committed(outcomes) = std::mem::replace(&mut life.stage, Stage::Idle) else {
            unreachable!("it was looked at");
        };
        let number = life.core.batch_number();
        let applied = life.core.apply(&outcomes);
        life.outbox.extend(applied.notes);
        life.outbox_batch = number;
        life.jobs.extend(applied.jobs);
        for again in life.core.take_hopeful().into_iter().rev() {
            life.inbox.push_front(again);
        }
        self.trace(|| format!("{at}: applied"));
    }

    fn load(&mut self, at: usize) -> bool {
        let life = &mut self.lives[at];
        let reader = &mut *life.reader;
        match life.jobs.pop_front() {
            None => return false,
            Some(Job::Same {
                ticket,
                name,
                params,
            }) => {
                let note = same(reader, ticket, &name, params.as_deref());
                life.outbox.push(note.expect("memory is read"));
            }
            Some(Job::SameItems {
                ticket,
                items,
                taken,
            }) => {
                let note = same_items(reader, ticket, items, &taken);
                life.outbox.push(note.expect("memory is read"));
            }
            Some(Job::Look(creation)) => {
                let again = known_ids(reader, *creation);
                life.inbox.push(again.expect("memory is read"));
            }
            Some(Job::Seen { no, dedup, refusal }) => {
                let note = seen(reader, no, &dedup, refusal);
                life.outbox.push(note);
            }
            Some(Job::Start {
                no,
                incarnation,
                interrupted,
            }) => {
                let start = read_start(reader, no, incarnation).expect("memory is read");
                if let Some(mut start) = start {
                    start.interrupted = interrupted;
                    let outbox = &mut life.outbox;
                    life.residents.loaded(no, incarnation, |held| {
                        outbox.push(Note::Start(Box::new(start)));
                        outbox.extend(held);
                    });
                }
            }
        }
        true
    }

    fn hear_all(&mut self, at: usize) {
        let life = &mut self.lives[at];
        life.seen = life.outbox_batch;
        for note in std::mem::take(&mut life.outbox) {
            self.trace(|| format!("{at}: says {note:?}"));
            self.hear(at, note);
        }
    }

    fn is_over(&mut self) -> bool {
        let mut store = self.store.reopen();
        let letters = store.letters(&Domain::Whole, 0).expect("memory is read");
        // Whoever asked may be gone.
        let gone = |to| matches!(to, Address::Asker(_));
        let is_read = letters.iter().all(|(_, it)| match it {
            Ok(letter) => gone(letter.to),
            Err(_) => false,
        });
        let rests = |it: &Life| {
            let idle = it.inbox.is_empty() && it.jobs.is_empty() && it.outbox.is_empty();
            idle && it.core.batch.steps.is_empty()
        };
        is_read && self.lives.iter().all(rests) && self.outside.is_content() && self.all_ended()
    }
}
