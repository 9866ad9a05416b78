//! A seeded simulation: random programs on a random engine that crashes between any two commits.
//!
//! The world plays Python and the outside: it creates instances, sends events and decides
//! approvals until each is acknowledged, and runs bodies as the notes say. In the end every
//! instance must be complete with exactly one outcome per operation, or terminated with the call
//! that was given up; C1, C5, C6 and L10 are checked after every batch. A failure prints its seed.

mod checks;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::program::{boot, is_raced, operation, program, Act, Dice};
use super::{Core, Facts, Job};
use crate::history::{Record, Verdict};
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::note::{Data, Note, Start};
use crate::registry::Registry;
use crate::residents::Residents;
use crate::runtime::loader::read_start;
use crate::sequence::Sequence;
use crate::store::memory::MemoryStore;
use crate::store::Reader;
use crate::submission::{Body, Child, Code, Decision, IfExists, Letter, Name, NewItem, Submission};
use crate::wait::{Source, Wait};

/// A body as Python would run it: one operation after the other.
#[derive(Debug)]
struct Running {
    by: Body,
    id: String,
    at: usize,
    expects: Option<u64>,
    /// Up to which place the calls of races were made.
    called: Option<usize>,
    /// The open call of a race: its place and its wait.
    raced: Option<(usize, u64)>,
    retried: bool,
    seq: u64,
    told: bool,
}

struct World {
    dice: Dice,
    seed: u64,
    store: MemoryStore,
    core: Core,
    facts: Facts,
    reader: Box<dyn Reader>,
    residents: Arc<Residents>,
    registry: Arc<Registry>,
    sequence: Arc<Sequence>,
    now: i64,
    tickets: u64,
    seen: u64,
    bodies: BTreeMap<InstanceNo, Running>,
    /// What bodies had said when they were unwound: too late.
    late: BTreeSet<u64>,
    jobs: Vec<Job>,
    inbox: Vec<Submission>,
    /// What the outside still has to get acknowledged, and by which ticket it is tried.
    errands: BTreeMap<Errand, Option<u64>>,
    slots: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Errand {
    Create(String),
    Event(String, usize),
    Decide(String, usize),
}

const WORKFLOW: &str = "w";

fn name(id: &str) -> Name {
    Name {
        namespace: "default".into(),
        workflow: WORKFLOW.into(),
        id: id.into(),
    }
}

fn call(number: u64, by: Body, id: &str, at: usize) -> Submission {
    let item = NewItem {
        id: Some(format!("{id}.{at}").into()),
        ..NewItem::default()
    };
    let child = Child {
        by,
        operation: operation(Act::Call, at),
        workflow: WORKFLOW.into(),
        version: "1".into(),
        items: vec![item],
        payload: None,
    };
    Submission::Call(number, Box::new(child))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let store = MemoryStore::default();
        let slots = 1 + dice.roll(4) as u32;
        let (core, facts, residents, registry, sequence) = boot(&store, slots, 0);
        let mut errands = BTreeMap::new();
        for n in 0..=dice.roll(8) {
            let id = format!("i{}", (seed % 1_000) * 10 + n);
            Self::add_errands(&mut errands, &id);
            errands.insert(Errand::Create(id), None);
        }
        let reader = facts.store.reader().expect("memory is read");
        Self {
            dice,
            seed,
            store,
            core,
            facts,
            reader,
            residents,
            registry,
            sequence,
            now: 0,
            tickets: 1 << 62,
            seen: 0,
            bodies: BTreeMap::new(),
            late: BTreeSet::new(),
            jobs: Vec::new(),
            inbox: Vec::new(),
            errands,
            slots,
        }
    }

    fn add_errands(errands: &mut BTreeMap<Errand, Option<u64>>, id: &str) {
        for (at, act) in program(id).iter().enumerate() {
            match act {
                Act::Event => errands.insert(Errand::Event(id.into(), at), None),
                Act::Approval => errands.insert(Errand::Decide(id.into(), at), None),
                Act::Call | Act::Race => {
                    Self::add_errands(errands, &format!("{id}.{at}"));
                    None
                }
                _ => None,
            };
        }
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn crash(&mut self) {
        let (core, facts, residents, registry, sequence) = boot(&self.store, self.slots, self.now);
        self.reader = facts.store.reader().expect("memory is read");
        (self.core, self.facts, self.residents) = (core, facts, residents);
        (self.registry, self.sequence) = (registry, sequence);
        self.seen = 0;
        self.bodies.clear();
        self.jobs.clear();
        self.inbox.clear();
        for ticket in self.errands.values_mut() {
            *ticket = None;
        }
    }

    /// Tries one errand that nobody has acknowledged.
    fn run_errand(&mut self) {
        let open: Vec<_> = self
            .errands
            .iter()
            .filter(|(_, ticket)| ticket.is_none())
            .map(|(errand, _)| errand.clone())
            .collect();
        if open.is_empty() {
            return;
        }
        let errand = open[self.dice.roll(open.len() as u64) as usize].clone();
        let ticket = self.ticket();
        let submission = match &errand {
            Errand::Create(id) => {
                let code = Code {
                    namespace: "default".into(),
                    workflow: WORKFLOW.into(),
                    version: "1".into(),
                };
                let item = NewItem {
                    id: Some(id.as_str().into()),
                    start_at: (self.dice.roll(4) == 0).then_some(self.now + 5),
                    ..NewItem::default()
                };
                Submission::Create(ticket, Box::new((code, item)), IfExists::Return)
            }
            Errand::Event(id, at) => {
                let letter = Letter {
                    to: name(id),
                    kind: format!("e{at}").into(),
                    payload: None,
                };
                let dedup = Some(format!("d{at}").into());
                Submission::Send(ticket, Box::new(letter), dedup)
            }
            Errand::Decide(id, at) => Submission::Decide(
                ticket,
                Box::new(Decision {
                    approval: format!("{WORKFLOW}/{id}#{at}").into(),
                    of: name(id),
                    name: "ask".into(),
                    approved: true,
                    decision: b"yes".as_slice().into(),
                }),
            ),
        };
        self.errands.insert(errand, Some(ticket));
        self.inbox.push(submission);
    }

    /// One batch; the store may be asked to crash the world before or after the commit.
    fn batch(&mut self, crash: u64) {
        self.core.begin(self.now);
        let mut pending: Vec<_> = std::mem::take(&mut self.inbox);
        let most = self.dice.roll(6) as usize + 1;
        let mut rest = pending.split_off(most.min(pending.len()));
        let mut decided = pending.into_iter();
        while let Some(submission) = decided.next() {
            let later = self.core.decide(submission, &mut self.facts);
            if let Some(later) = later.expect("memory is read") {
                let mut again = vec![later];
                again.extend(decided);
                again.append(&mut rest);
                rest = again;
                break;
            }
        }
        self.inbox = rest;
        let finished = self.core.finish_batch(&mut self.facts);
        finished.expect("memory is read");
        if crash == 1 {
            self.crash();
            return;
        }
        let outcomes = self.facts.store.commit(self.core.ops());
        let outcomes = outcomes.expect("memory is written");
        if crash == 2 {
            self.crash();
            return;
        }
        let number = self.core.batch_number();
        let applied = self.core.apply(&outcomes, &mut self.facts);
        let applied = applied.expect("memory is read");
        self.jobs.extend(applied.jobs);
        for note in applied.notes {
            self.hear(note);
        }
        self.seen = number;
        self.check();
        if number.is_multiple_of(8) {
            self.check_children();
        }
    }

    fn hear(&mut self, note: Note) {
        match note {
            Note::Start(start) => self.start(*start),
            Note::Done { tickets, .. } => {
                for ticket in tickets {
                    self.done(ticket, 0);
                }
            }
            Note::Settled(it) => {
                let Some(body) = self.bodies.get_mut(&it.no) else {
                    panic!("seed {}: told an absent body {it:?}", self.seed);
                };
                if it.seq != 0 && it.seq <= body.seq {
                    return;
                }
                body.seq = body.seq.max(it.seq);
                if body.raced.is_some_and(|raced| raced.1 == it.number) {
                    body.raced = None;
                }
                if body.expects == Some(it.number) {
                    assert_ne!(it.verdict, Verdict::TimedOut, "seed {}", self.seed);
                    if it.seq == 0 {
                        body.retried = true;
                        body.expects = None;
                        return;
                    }
                    self.done(it.number, it.seq);
                }
            }
            Note::Reply { ticket, code, data } => {
                let errand = self.errands.iter().find(|it| *it.1 == Some(ticket));
                let Some(errand) = errand.map(|it| it.0.clone()) else {
                    return;
                };
                // A child that is not created yet is tried again; one that is final had its event.
                let again = code == "not_found";
                let expected = code.is_empty() || again || code == "state";
                assert!(expected, "seed {}: {code} {data:?}", self.seed);
                if again && !self.is_orphaned(&errand) {
                    self.errands.insert(errand, None);
                } else {
                    if matches!(errand, Errand::Create(_)) {
                        assert!(matches!(data, Data::Created { .. }));
                    }
                    self.errands.remove(&errand);
                }
            }
            Note::Wake { no, .. } => {
                assert!(self.bodies.contains_key(&no), "seed {}", self.seed);
            }
            Note::Unwind { no, incarnation } => {
                if let Some(body) = self.bodies.remove(&no) {
                    assert_eq!(body.by.incarnation, incarnation, "seed {}", self.seed);
                    self.late.extend(body.expects);
                }
            }
            Note::Fenced { ticket } => {
                assert!(self.late.contains(&ticket), "seed {}: fenced", self.seed);
            }
            _ => {}
        }
    }

    fn done(&mut self, ticket: u64, seq: u64) {
        for body in self.bodies.values_mut() {
            if body.expects == Some(ticket) {
                body.expects = None;
                body.retried = false;
                body.at += 1;
                body.seq = body.seq.max(seq);
            }
        }
    }

    fn start(&mut self, start: Start) {
        let acts = program(&start.id);
        let mut outcomes = BTreeMap::new();
        let (mut called, mut raced, mut expects) = (None, None, None);
        for it in &start.records {
            let operation = &it.record.operation;
            if is_raced(&acts, operation) {
                called = called.max(Some(operation.count as usize - 1));
            } else if it.record.verdict.is_outcome() {
                let twice = outcomes.insert(operation.count, it.seq);
                assert_eq!(twice, None, "seed {}: recorded twice {start:?}", self.seed);
            }
        }
        for it in &start.waits {
            if is_raced(&acts, &it.operation) {
                let place = it.operation.count as usize - 1;
                assert_eq!(raced, None, "seed {}: {start:?}", self.seed);
                (called, raced) = (called.max(Some(place)), Some((place, it.id)));
            } else {
                expects = Some(it.id);
            }
        }
        let at = outcomes.len();
        assert!(
            outcomes.keys().copied().eq(1..=at as u32),
            "seed {}",
            self.seed
        );
        let failed = start
            .records
            .iter()
            .any(|it| it.record.operation.count == at as u32 + 1);
        let body = Running {
            by: Body {
                no: start.no,
                incarnation: start.incarnation,
            },
            id: start.id.into(),
            at,
            expects,
            called,
            raced,
            retried: failed,
            seq: start.records.last().map_or(0, |it| it.seq),
            told: false,
        };
        let there = self.bodies.insert(start.no, body);
        assert!(there.is_none(), "seed {}: started twice", self.seed);
    }

    /// Lets one body go on: next operation, quiet, or park.
    fn run_body(&mut self) {
        let nos: Vec<_> = self.bodies.keys().copied().collect();
        if nos.is_empty() {
            return;
        }
        let no = nos[self.dice.roll(nos.len() as u64) as usize];
        let acts = program(&self.bodies[&no].id);
        if self.race(no, &acts) {
            return;
        }
        let body = &self.bodies[&no];
        let by = body.by;
        if let Some(number) = body.expects {
            let waits = number < 1 << 62;
            if waits && self.dice.roll(2) == 0 {
                self.inbox.push(Submission::Quiet(by, body.seq, self.seen));
            } else if waits && self.dice.roll(2) == 0 && self.residents.park(no, by.incarnation) {
                self.bodies.remove(&no);
            }
            return;
        }
        if body.told {
            return;
        }
        let Some(act) = acts.get(body.at).copied() else {
            let body = self.bodies.get_mut(&no).expect("it is there");
            body.told = true;
            let finish = Submission::Finish(by, Status::Complete, Some(b"out".as_slice().into()));
            self.inbox.push(finish);
            return;
        };
        let (submission, number) = self.act(no, act);
        self.bodies.get_mut(&no).expect("it is there").expects = Some(number);
        self.inbox.push(submission);
    }

    /// Makes the call of a race, or gives it up when the step beside it is done. One that is open
    /// when the body ends is given up by that.
    fn race(&mut self, no: InstanceNo, acts: &[Act]) -> bool {
        let body = &self.bodies[&no];
        let (by, at, id) = (body.by, body.at, body.id.clone());
        let submission = if let Some((_, number)) = body.raced.filter(|it| it.0 < at) {
            if at == acts.len() && self.dice.roll(2) == 0 {
                return false;
            }
            self.bodies.get_mut(&no).expect("it is there").raced = None;
            Submission::Withdraw(by, number)
        } else if acts.get(at) == Some(&Act::Race) && body.called < Some(at) {
            let number = self.sequence.draw();
            let body = self.bodies.get_mut(&no).expect("it is there");
            (body.called, body.raced) = (Some(at), Some((at, number)));
            call(number, by, &id, at)
        } else {
            return false;
        };
        self.inbox.push(submission);
        true
    }

    fn act(&mut self, no: InstanceNo, act: Act) -> (Submission, u64) {
        let body = &self.bodies[&no];
        let (by, id, at, retried) = (body.by, body.id.clone(), body.at, body.retried);
        let operation = operation(act, at);
        let mut record = Record {
            operation: operation.clone(),
            attempt: 1,
            verdict: Verdict::Done,
            started_at: self.now,
            at: 0,
            retry_at: None,
            event: None,
            event_type: None,
            payload: None,
        };
        let number = self.sequence.draw();
        let wait = |source, until| {
            Box::new(Wait {
                id: number,
                operation: operation.clone(),
                source,
                opened_at: 0,
                until: Some(until),
            })
        };
        let for_ever = i64::MAX / 2;
        let submission = match act {
            Act::Flaky if !retried => {
                record.verdict = Verdict::AttemptFailed;
                record.retry_at = Some(self.now + self.dice.roll(5) as i64);
                Submission::Retry(number, by, Box::new(record))
            }
            Act::Step | Act::Flaky | Act::Race => {
                let ticket = self.ticket();
                return (Submission::Record(ticket, by, record), ticket);
            }
            Act::Sleep => {
                let until = self.now + self.dice.roll(9) as i64;
                Submission::Open(by, wait(Source::Timer, until))
            }
            Act::Event => {
                let types = vec![format!("e{at}").into()];
                Submission::Open(by, wait(Source::Event(types), for_ever))
            }
            Act::Approval => {
                let approval = format!("{WORKFLOW}/{id}#{at}").into();
                Submission::Ask(by, wait(Source::Approval(approval), for_ever), None)
            }
            Act::Call => call(number, by, &id, at),
        };
        (submission, number)
    }

    fn load(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.jobs.remove(0);
        if let Job::Start {
            no,
            incarnation,
            interrupted,
        } = job
        {
            let start = read_start(&mut *self.reader, no).expect("memory is read");
            let mut start = start.expect("it is there");
            start.interrupted = interrupted;
            let mut notes = Vec::new();
            if !self.residents.loaded(no, incarnation, |held| notes = held) {
                return;
            }
            self.hear(Note::Start(Box::new(start)));
            for note in notes {
                self.hear(note);
            }
        }
    }

    fn finished(&mut self) -> bool {
        self.errands.is_empty() && self.registry.is_empty() && self.inbox.is_empty()
    }

    fn run(&mut self) {
        for round in 0..20_000 {
            // Crashes stop after a while, so that the end is reached.
            let crash = if round < 300 { self.dice.roll(60) } else { 0 };
            match self.dice.roll(10) {
                0 | 1 => self.run_errand(),
                2..=4 => self.run_body(),
                5 => self.load(),
                6 => self.now += 1,
                _ => self.batch(crash),
            }
            if self.finished() {
                return;
            }
        }
        panic!(
            "seed {}: never ended: {:?} {:?}",
            self.seed, self.bodies, self.core
        );
    }
}

#[test]
fn nothing_is_lost_or_doubled_whatever_crashes() {
    let from = std::env::var("SEED").ok().and_then(|it| it.parse().ok());
    let seeds = std::env::var("SEEDS").ok().and_then(|it| it.parse().ok());
    let from: u64 = from.unwrap_or(0);
    for seed in from..from + seeds.unwrap_or(400) {
        let mut world = World::new(seed);
        world.run();
        world.verify();
    }
}
