//! The world of one seed: an engine, the bodies it runs, the outside that uses it, and a clock.
//!
//! It keeps two sorts of state apart: [`Life`] dies with the process, everything else survives. It
//! drives; what may happen is in the actions, what must hold in the rules.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::actions;
use super::bodies::Running;
use super::dice::Dice;
use super::loader::Loading;
use super::outside::Outside;
use super::plan::Plan;
use super::rules;
use super::truth::Truth;
use super::waits::FOR_EVER;
use super::writer::{boot, Stage};
use crate::engine::{Core, Facts, Job};
use crate::ids::{InstanceNo, Micros};
use crate::lanes::Lanes;
use crate::limits::FIRST_TICKET;
use crate::note::Note;
use crate::queue::small;
use crate::registry::Registry;
use crate::residents::Residents;
use crate::sequence::Sequence;
use crate::store::memory::MemoryStore;
use crate::store::Reader;
use crate::submission::{Body, Submission};

/// Everything that dies with the process.
pub(super) struct Life {
    pub(super) core: Core,
    pub(super) facts: Facts,
    pub(super) reader: Box<dyn Reader>,
    pub(super) residents: Arc<Residents>,
    pub(super) registry: Arc<Registry>,
    pub(super) sequence: Arc<Sequence>,
    /// Its first commit is applied: it takes submissions.
    pub(super) open: bool,
    /// The engine knows that the store is short of room.
    pub(super) short: bool,
    pub(super) stage: Stage,
    pub(super) inbox: Lanes,
    pub(super) outbox: Vec<Note>,
    /// The batch whose notes were last put into the outbox, and the last one whose were taken out.
    pub(super) outbox_batch: u64,
    pub(super) seen: u64,
    pub(super) jobs: VecDeque<Job>,
    pub(super) loading: Option<Loading>,
    pub(super) bodies: BTreeMap<InstanceNo, Running>,
    /// Bodies that were unwound, whose attempts may still say something.
    pub(super) unwound: Vec<Body>,
    /// Parts of what is done to many that are under way: of which each is, by ticket.
    pub(super) parts: FxHashMap<u64, u64>,
    /// Tickets that must not have an effect.
    pub(super) late: FxHashSet<u64>,
    /// Instances that have ended, but for an attempt.
    pub(super) lingering: Vec<InstanceNo>,
}

impl Life {
    pub(super) fn new(
        core: Core,
        facts: Facts,
        reader: Box<dyn Reader>,
        residents: Arc<Residents>,
        registry: Arc<Registry>,
        sequence: Arc<Sequence>,
        now: Micros,
    ) -> Self {
        Self {
            core,
            facts,
            reader,
            residents,
            registry,
            sequence,
            open: false,
            short: false,
            stage: Stage::Decided(now, Vec::new()),
            inbox: Lanes::default(),
            outbox: Vec::new(),
            outbox_batch: 0,
            seen: 0,
            jobs: VecDeque::new(),
            loading: None,
            bodies: BTreeMap::new(),
            unwound: Vec::new(),
            parts: FxHashMap::default(),
            late: FxHashSet::default(),
            lingering: Vec::new(),
        }
    }
}

/// One simulation.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) dice: Dice,
    pub(super) store: MemoryStore,
    pub(super) truth: Truth,
    pub(super) outside: Outside,
    pub(super) life: Life,
    pub(super) now: Micros,
    tickets: u64,
    /// The workflow there is no code for.
    pub(super) missing: Option<usize>,
    pub(super) full: bool,
    traces: bool,
    steps: u64,
}

impl World {
    pub(super) fn new(seed: u64, traces: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        // With a few entries all forms of a queue are seen, and a change of shards takes a while.
        let sizes = (dice.pick(&[0, 1, 4]), dice.pick(&[1, 2, 100]));
        small::set((!dice.once_in(4)).then_some(sizes));
        let store = MemoryStore::default();
        let outside = Outside::draw(seed, &mut dice, &plan);
        let shards = 1 + dice.roll(6) as u32;
        small::set_turn(Some(dice.pick(&[2, 3, 8])));
        crate::admission::small::set_moments(Some(dice.pick(&[1, 2, 128])));
        let life = boot(&store, &plan, Some(shards), None, 0);
        life.core.generated.count_from(FIRST_TICKET);
        let mut truth = Truth::new(plan);
        truth.reboot(0);
        let world = Self {
            seed,
            dice,
            store,
            truth,
            outside,
            life,
            now: 0,
            tickets: FIRST_TICKET,
            missing: None,
            full: false,
            traces,
            steps: 0,
        };
        world.trace(|it| format!("{:?}, {shards} shards, {:?}", it.truth.plan, it.outside));
        world
    }

    /// Prints a line of what happens, if this is a replay.
    pub(super) fn trace(&self, line: impl FnOnce(&Self) -> String) {
        if self.traces {
            println!("{:4} t={:<4} {}", self.steps, self.now, line(self));
        }
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Submits what may have an effect.
    pub(super) fn submit(&mut self, submission: impl Into<Submission>) {
        let submission = submission.into();
        self.truth.said.note(&submission);
        self.submit_late(submission);
    }

    /// Submits what must not have one.
    pub(super) fn submit_late(&mut self, submission: Submission) {
        self.trace(|_| format!("submits {submission:?}"));
        self.life.inbox.push(submission);
    }

    /// Lets anything happen for a while, then stops all faults and lets everything finish.
    pub(super) fn run(&mut self) {
        let steps = 100 + self.dice.roll(250);
        for _ in 0..steps {
            self.steps += 1;
            actions::any(self);
        }
        self.trace(|_| "from now on nothing fails".into());
        self.finish();
        self.let_time_pass();
        self.judge_the_end();
    }

    /// Whatever has ended goes whose time comes (L9).
    fn let_time_pass(&mut self) {
        for _ in 0..1_000 {
            let Some(next) = self.life.core.next_timer() else {
                return;
            };
            self.now = self.now.max(next);
            self.batch(64);
            self.poll();
        }
        panic!("L9: something is always to go");
    }

    fn finish(&mut self) {
        self.room_again();
        if self.missing.is_some() {
            self.restart(None, None);
        }
        let mut room = false;
        for _ in 0..4_000 {
            self.steps += 1;
            if self.life.open && !std::mem::replace(&mut room, true) {
                self.make_room();
            }
            self.go_on();
            if self.is_over() {
                return;
            }
        }
        let left: Vec<_> = self.truth.all.values().collect();
        let left: Vec<_> = left.iter().filter(|it| !it.status.is_final()).collect();
        panic!(
            "everything finishes once faults stop: {left:?}, {:?}, {:?}",
            self.outside, self.life.bodies
        );
    }

    /// Everybody does what they can; if nobody can, time passes.
    fn go_on(&mut self) {
        let mut busy = false;
        if matches!(self.life.stage, Stage::Decided(..)) {
            busy = true;
            self.commit(None);
        }
        if matches!(self.life.stage, Stage::Committed(_)) {
            busy = true;
            self.apply();
        }
        self.poll();
        loop {
            // The outside may ask in vain until time passes, also for what has to be looked up.
            let asks = matches!(self.life.jobs.front(), Some(Job::Look(_)));
            let asks = asks && self.life.loading.is_none();
            if !self.load() {
                break;
            }
            busy |= !asks;
        }
        self.poll();
        self.run_errands();
        self.resume_blocked();
        let bodies: Vec<_> = self.life.bodies.keys().copied().collect();
        for no in bodies {
            while self.run_body(no) {
                busy = true;
            }
            busy |= self.hush(no, false);
        }
        while self.let_go() {
            busy = true;
        }
        let life = &self.life;
        // Room in the store comes without a word: while it is short, the writer looks again and
        // again.
        if !life.inbox.is_empty() || life.core.has_work(self.now) || life.short {
            self.batch(64);
        }
        if !busy && self.life.inbox.is_empty() {
            self.help_all();
        }
        if !busy {
            let next = self.life.core.next_timer();
            let near = next.filter(|it| *it < FOR_EVER);
            // Somebody outside may wait for time to pass.
            self.now = self.now.max(near.unwrap_or(self.now + 10));
        }
    }

    fn is_over(&self) -> bool {
        let life = &self.life;
        let idle = matches!(life.stage, Stage::Idle) && life.inbox.is_empty();
        let quiet = life.outbox.is_empty() && life.jobs.is_empty() && life.lingering.is_empty();
        idle && quiet && life.registry.is_empty() && self.outside.is_content()
    }

    /// The disk has room again.
    pub(super) fn room_again(&mut self) {
        if std::mem::take(&mut self.full) {
            self.store.set_full(false);
            assert!(self.resume_store(), "there is room");
        }
    }

    /// Python takes all notes, but for some of the answers if there are many, and hears them.
    pub(super) fn poll(&mut self) -> bool {
        let mut room = match self.dice.roll(4) {
            0 => self.dice.roll(3),
            _ => u64::MAX,
        };
        let notes = std::mem::take(&mut self.life.outbox);
        let (notes, late): (Vec<_>, Vec<_>) = notes.into_iter().partition(|it| {
            let now = !it.can_wait() || room > 0;
            room -= u64::from(it.can_wait() && now);
            now
        });
        self.life.outbox = late;
        self.life.seen = self.life.outbox_batch;
        let some = !notes.is_empty();
        for note in notes {
            self.trace(|_| format!("hears {note:?}"));
            self.hear(note);
        }
        if matches!(self.life.stage, Stage::Idle) {
            rules::heard(&self.truth, self.life.bodies.values().filter(|it| !it.over));
        }
        some
    }
}
