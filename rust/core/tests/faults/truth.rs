//! What must be in a store: everything that can be asked of it, and the model store's answers
//! after each batch of a workload.

use std::collections::HashMap;
use std::rc::Rc;

use stepwell_core::history::Stored;
use stepwell_core::ids::InstanceNo;
use stepwell_core::ranges::Domain;
use stepwell_core::store::memory::MemoryStore;
use stepwell_core::store::{Ended, Error, Filter, Op, Outcome, Payloads, Recovery, Row, Store};
use stepwell_core::wait::{Approval, Event, Wait};

use super::workload::{probe, Step, APPROVALS, METAS, TEAMS};

/// All answers of a store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    pub handed_over: HandedOver,
    pub instances: Vec<Instance>,
    pub ended: Vec<Ended>,
    /// Instances by their attribute.
    pub teams: Vec<Vec<InstanceNo>>,
    pub approvals: Vec<(Row, Approval)>,
    pub by_id: Vec<Option<Approval>>,
    pub meta: Vec<Option<Box<[u8]>>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub row: Row,
    /// The row as found by its name.
    pub found: Option<Row>,
    pub history: Vec<Stored>,
    pub payloads: Payloads,
    pub waits: Vec<Wait>,
}

/// What [`Store::recover`] hands over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HandedOver {
    pub instances: Vec<Row>,
    pub waits: Vec<(InstanceNo, Wait)>,
    pub events: Vec<(InstanceNo, Event)>,
    /// What was told of waits and events that cannot be read.
    pub damaged: Vec<String>,
}

impl Recovery for HandedOver {
    fn instance(&mut self, row: Row) {
        self.instances.push(row);
    }

    fn wait(&mut self, no: InstanceNo, wait: Wait) {
        self.waits.push((no, wait));
    }

    fn event(&mut self, no: InstanceNo, event: Event) {
        self.events.push((no, event));
    }

    fn damaged(&mut self, _: InstanceNo, what: &str) {
        self.damaged.push(what.into());
    }

    fn unreadable(&mut self, what: String, _: Option<Row>) {
        self.damaged.push(what);
    }
}

impl Truth {
    /// Asks everything.
    pub fn read(store: &mut dyn Store) -> Result<Self, Error> {
        let mut truth = Self::default();
        store.recover(&Domain::Whole, &mut truth.handed_over)?;
        if let Some(what) = truth.handed_over.damaged.pop() {
            return Err(Error::Corrupt(what));
        }
        let mut reader = store.reader()?;
        let all = Filter {
            limit: 10_000,
            ..Filter::default()
        };
        for row in reader.list(&all)? {
            truth.instances.push(Instance {
                found: store.find(&row.namespace, &row.workflow, &row.id)?,
                history: reader.history(row.no)?,
                payloads: reader.payloads(row.no)?,
                waits: reader.waits(row.no)?,
                row,
            });
        }
        truth.ended = store.ended()?;
        for team in 0..TEAMS {
            let of_team = Filter {
                attributes: vec![("team".into(), [team].into())],
                ..all.clone()
            };
            let found = reader.list(&of_team)?;
            truth.teams.push(found.iter().map(|it| it.no).collect());
        }
        truth.approvals = reader.approvals(None, None, None)?;
        for id in APPROVALS {
            truth.by_id.push(store.approval(id)?);
        }
        for name in METAS {
            truth.meta.push(store.meta(name)?);
        }
        Ok(truth)
    }

    /// Says where two truths part, shortly.
    pub fn difference(&self, other: &Self) -> String {
        fn first<T: PartialEq + std::fmt::Debug>(what: &str, a: &[T], b: &[T]) -> Option<String> {
            let cut = |it: Option<&T>| format!("{it:?}").chars().take(1_200).collect::<String>();
            let place = (0..a.len().max(b.len())).find(|at| a.get(*at) != b.get(*at))?;
            let (a, b) = (cut(a.get(place)), cut(b.get(place)));
            Some(format!("{what} {place}:\n  is        {a}\n  should be {b}"))
        }
        let (a, b) = (&self.handed_over, &other.handed_over);
        first("instance", &self.instances, &other.instances)
            .or_else(|| first("approval", &self.approvals, &other.approvals))
            .or_else(|| first("approval by id", &self.by_id, &other.by_id))
            .or_else(|| first("meta", &self.meta, &other.meta))
            .or_else(|| first("team", &self.teams, &other.teams))
            .or_else(|| first("number of ended", &self.ended, &other.ended))
            .or_else(|| first("instance handed over", &a.instances, &b.instances))
            .or_else(|| first("wait handed over", &a.waits, &b.waits))
            .or_else(|| first("event handed over", &a.events, &b.events))
            .unwrap_or_else(|| "no difference".to_owned())
    }
}

/// A prefix of a workload, and what follows when the probe is committed on top of it.
pub struct Known {
    pub truth: Truth,
    pub probed: Vec<Outcome>,
    pub after: Truth,
}

/// The truths of one workload: after no batch, after the first, and so on.
pub struct Truths {
    batches: Vec<Vec<Op>>,
    known: HashMap<usize, Rc<Known>>,
}

impl Truths {
    pub fn of(steps: &[Step]) -> Self {
        let batches = steps.iter().filter_map(|step| match step {
            Step::Commit(batch) => Some(batch.clone()),
            _ => None,
        });
        Self {
            batches: batches.collect(),
            known: HashMap::new(),
        }
    }

    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// What the model answers to each batch.
    pub fn outcomes(&self) -> Vec<Vec<Outcome>> {
        let mut model = MemoryStore::new();
        let commit = |batch: &Vec<Op>| model.commit(batch).expect("the model never fails");
        self.batches.iter().map(commit).collect()
    }

    /// The truth after so many batches.
    pub fn after(&mut self, count: usize) -> Rc<Known> {
        let batches = &self.batches;
        let known = self.known.entry(count).or_insert_with(|| {
            let mut model = MemoryStore::new();
            for batch in &batches[..count] {
                let _ = model.commit(batch).expect("the model never fails");
            }
            let truth = Truth::read(&mut model).expect("the model never fails");
            let probed = model.commit(&probe()).expect("the model never fails");
            let after = Truth::read(&mut model).expect("the model never fails");
            Rc::new(Known {
                truth,
                probed,
                after,
            })
        });
        Rc::clone(known)
    }
}
