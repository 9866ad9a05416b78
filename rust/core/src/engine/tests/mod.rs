//! Given these submissions, exactly these notes: the engine on the model store, with time by hand.

mod afresh;
mod code;
mod continued;
mod counted;
mod elsewhere;
mod ended;
mod found;
mod kept;
mod limits;
mod overloaded;
mod placed;
mod raced;
mod repeated;
mod resharded;
mod scheduled;
mod staged;
mod starved;
mod told;
mod undone;

use std::sync::Arc;

use super::{Applied, Config, Core, Facts, Job};
use crate::audit::By;
use crate::history::{Kind, Operation, Record, Verdict};
use crate::ids::Key;
use crate::lifecycle::Status;
use crate::note::{Data, Note};
use crate::ranges::Domain;
use crate::registry::Registry;
use crate::residents::Residents;
use crate::runtime::loader::{known_ids, same_items, seen};
use crate::sequence::Sequence;
use crate::settings::{Layer, Limit};
use crate::store::memory::MemoryStore;
use crate::store::{Op, Store};
use crate::submission::{
    Body, Child, Code, Command, Decision, IfExists, Name, NewItem, Sent, Speech, Submission, Verb,
};
use crate::wait::{Source, Wait};

struct Stage {
    store: MemoryStore,
    core: Core,
    facts: Facts,
    residents: Arc<Residents>,
    registry: Arc<Registry>,
    sequence: Arc<Sequence>,
    config: Config,
    now: i64,
}

fn config() -> Config {
    Config {
        workflows: vec![("w".into(), "1".into()), ("v".into(), "1".into())],
        shards: Some(2),
        slots: 2,
        namespace: "default".into(),
        limits: limits(100, 3, 10),
        workflow_limits: vec![],
        retentions: vec![],
        formerly: vec![],
    }
}

fn limits(concurrency: u32, queue_entries: u32, recoveries: u32) -> Layer {
    Layer::default()
        .with(Limit::Concurrency, concurrency)
        .with(Limit::QueueEntries, queue_entries)
        .with(Limit::Recoveries, recoveries)
}

impl Stage {
    fn open(store: &MemoryStore, config: Config, now: i64) -> Self {
        let ceiling = store.reopen().meta("sequence").expect("memory is read");
        let ceiling = ceiling.map_or(0, |it| {
            u64::from_le_bytes((*it).try_into().expect("8 bytes"))
        });
        Self::owner(store, config, now, Sequence::new(ceiling), |core| core)
    }

    /// One of several owners of a store.
    fn part(store: &MemoryStore, numbers: Sequence, domain: Domain, engine: u64) -> Self {
        Self::owner(store, config(), 100, numbers, |it| {
            it.within(domain, engine)
        })
    }

    fn owner(
        store: &MemoryStore,
        config: Config,
        now: i64,
        sequence: Sequence,
        within: impl FnOnce(Core) -> Core,
    ) -> Self {
        Self::over(
            Box::new(store.reopen()),
            store,
            config,
            now,
            sequence,
            within,
        )
    }

    /// Over whatever store; `store` is opened again after a crash.
    fn over(
        handle: Box<dyn Store>,
        store: &MemoryStore,
        config: Config,
        now: i64,
        sequence: Sequence,
        within: impl FnOnce(Core) -> Core,
    ) -> Self {
        let registry = Arc::new(Registry::new());
        let residents = Arc::new(Residents::default());
        let sequence = Arc::new(sequence);
        let reader = handle.reader().expect("memory is read");
        let mut stage = Self {
            core: within(Core::new(
                config.clone(),
                Arc::clone(&registry),
                Arc::clone(&residents),
                Arc::clone(&sequence),
                Arc::default(),
            )),
            store: store.clone(),
            facts: Facts {
                store: handle,
                reader,
            },
            residents,
            registry,
            sequence,
            config,
            now,
        };
        stage.core.begin(now);
        stage
            .core
            .recover(&mut stage.facts)
            .expect("memory is read");
        stage
    }

    fn new() -> Self {
        let mut stage = Self::open(&MemoryStore::default(), config(), 100);
        assert_eq!(stage.commit().notes, []);
        stage
    }

    fn with(config: Config) -> Self {
        let mut stage = Self::open(&MemoryStore::default(), config, 100);
        assert_eq!(stage.commit().notes, []);
        stage
    }

    fn crash(&mut self) -> Applied {
        let store = self.store.clone();
        *self = Self::open(&store, self.config.clone(), self.now);
        self.commit()
    }

    fn commit(&mut self) -> Applied {
        self.core.finish_batch();
        let outcomes = self
            .facts
            .store
            .commit_each(&mut self.core.ops(), self.core.domain());
        let outcomes = outcomes.expect("memory is written");
        self.core.apply(&outcomes)
    }

    /// Begins a batch that is to decide these.
    fn begin<'s>(&mut self, submissions: impl IntoIterator<Item = &'s Submission>) {
        self.core.begin(self.now);
        let needs = self.core.needs(submissions, []);
        let known = self.facts.store.look(needs);
        self.core.learn(known.expect("memory is read"));
    }

    /// Everything in one batch, and what has to wait in the next ones; what is to be looked up is.
    /// The process lives long enough to prove innocent whoever had an outcome or has stopped (L11).
    fn outlive(&mut self) -> Applied {
        self.now += self.core.suspects.proof;
        self.say(vec![])
    }

    fn say(&mut self, submissions: Vec<Submission>) -> Applied {
        let mut all = Applied::default();
        let mut rest: std::collections::VecDeque<_> = submissions.into();
        loop {
            self.begin(&rest);
            while let Some(submission) = rest.pop_front() {
                if let Some(later) = self.core.decide(submission) {
                    rest.push_front(later);
                    break;
                }
            }
            let applied = self.commit();
            all.notes.extend(applied.notes);
            for job in applied.jobs {
                match job {
                    Job::Look(creation) => {
                        let again = known_ids(&mut *self.facts.reader, *creation);
                        rest.push_back(again.expect("memory is read"));
                    }
                    Job::SameItems {
                        ticket,
                        items,
                        taken,
                    } => {
                        let reader = &mut *self.facts.reader;
                        let note = same_items(reader, ticket, items, &taken);
                        all.notes.push(note.expect("memory is read"));
                    }
                    Job::Seen { no, dedup, refusal } => {
                        let note = seen(&mut *self.facts.reader, no, &dedup, refusal);
                        all.notes.push(note);
                    }
                    other => all.jobs.push(other),
                }
            }
            if rest.is_empty() && !self.core.has_work(self.now) {
                return all;
            }
        }
    }

    fn create(&mut self, id: &str) -> Body {
        let applied = self.say(vec![create(1, id)]);
        match &applied.notes[..] {
            [Note::Reply { .. }, Note::Start(start)] => Body {
                no: start.no,
                incarnation: start.incarnation,
            },
            other => panic!("not started: {other:?}"),
        }
    }

    fn wait(&self, kind: Kind, source: Source, until: i64) -> Wait {
        Wait {
            begun: None,
            id: self.sequence.draw(),
            operation: operation(kind),
            source,
            opened_at: 0,
            until: Some(until),
        }
    }
}

fn operation(kind: Kind) -> Operation {
    Operation {
        kind,
        branch: "".into(),
        name: "op".into(),
        key: None,
        count: 1,
    }
}

fn record() -> Record {
    Record {
        operation: operation(Kind::Do),
        attempt: 1,
        verdict: Verdict::Done,
        started_at: 100,
        at: 0,
        begun: None,
        erases: None,
        moment: None,
        event: None,
        event_type: None,
        payload: Some(b"value".as_slice().into()),
    }
}

fn code() -> Code {
    Code {
        namespace: "default".into(),
        workflow: "w".into(),
        version: "1".into(),
    }
}

fn name(id: &str) -> Name {
    Name {
        namespace: "default".into(),
        workflow: "w".into(),
        id: id.into(),
    }
}

fn item(id: &str) -> NewItem {
    NewItem {
        id: Some(id.into()),
        params: Some(id.as_bytes().into()),
        ..NewItem::default()
    }
}

fn create(ticket: u64, id: &str) -> Submission {
    Submission::Outside(Command::Create(
        ticket,
        Box::new((code(), item(id))),
        IfExists::Raise,
    ))
}

fn send(ticket: u64, id: &str, kind: &str, dedup: Option<&str>) -> Submission {
    let sent = Sent {
        to: name(id),
        kind: kind.into(),
        payload: Some(kind.as_bytes().into()),
    };
    Submission::Outside(Command::Send(ticket, Box::new(sent), dedup.map(Into::into)))
}

fn decide(ticket: u64, id: &str, approved: bool) -> Submission {
    Submission::Outside(Command::Decide(
        ticket,
        Box::new(Decision {
            approval: format!("w/{id}#ask#1").into(),
            of: name(id),
            name: "ask".into(),
            approved,
            decision: b"why".as_slice().into(),
            by: By::default(),
        }),
    ))
}

fn finish(by: Body) -> Submission {
    by.says(Speech::Finish(
        Status::Complete,
        Some(b"out".as_slice().into()),
        Some("1".into()),
    ))
}

fn events(kinds: &[&str]) -> Source {
    Source::Event(kinds.iter().map(|it| (*it).into()).collect())
}

/// The settlements among the notes: number, verdict, type.
fn settled(notes: &[Note]) -> Vec<(u64, Verdict, Option<&str>)> {
    let found = notes.iter().filter_map(|note| match note {
        Note::Settled(it) => Some((it.number, it.verdict, it.kind.as_deref())),
        _ => None,
    });
    found.collect()
}

fn codes(notes: &[Note]) -> Vec<(u64, &str)> {
    let found = notes.iter().filter_map(|note| match note {
        Note::Reply { ticket, code, .. } => Some((*ticket, *code)),
        _ => None,
    });
    found.collect()
}
