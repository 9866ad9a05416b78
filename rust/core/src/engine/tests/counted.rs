//! Whatever happens to an engine, its counts are those of its store, row by row.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::codes;
use crate::store::{Filter, Row};
use crate::submission::Why;

const NAMESPACES: [&str; 2] = ["default", "acme"];
const WORKFLOWS: [&str; 2] = ["w", "v"];

fn config(known: u8) -> Config {
    let all = ["w", "v"].iter().zip([1, 2]);
    let known = all.filter(|it| known & it.1 != 0);
    Config {
        workflows: known.map(|it| ((*it.0).into(), "1".into())).collect(),
        slots: 3,
        limits: limits(100, 1_000, 2),
        ..super::config()
    }
}

/// What happens: a sort, and two numbers that say to whom and how.
type Act = (u8, u8, u8);

struct World {
    stage: Stage,
    tickets: u64,
    held: Vec<(u64, Row)>,
}

impl World {
    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        (1 << 62) + self.tickets
    }

    fn rows(&mut self, status: Option<Status>) -> Vec<Row> {
        let filter = Filter {
            statuses: status.into_iter().collect(),
            limit: u32::MAX,
            ..Filter::default()
        };
        self.stage
            .facts
            .reader
            .list(&filter)
            .expect("memory is read")
    }

    fn code(to: u8) -> Code {
        Code {
            namespace: NAMESPACES[usize::from(to & 1)].into(),
            workflow: WORKFLOWS[usize::from(to >> 1 & 1)].into(),
            version: "1".into(),
        }
    }

    fn name(to: u8) -> Name {
        let Code {
            namespace,
            workflow,
            ..
        } = Self::code(to);
        let id = (to >> 2).to_string().into();
        Name {
            namespace,
            workflow,
            id,
        }
    }

    fn item(&self, to: u8, how: u8) -> NewItem {
        NewItem {
            start_at: how.is_multiple_of(5).then_some(self.stage.now + 50),
            priority: (how % 3) as i8,
            ..item(&(to >> 2).to_string())
        }
    }

    /// A running body, if there is one.
    fn body(&mut self, to: u8) -> Option<Body> {
        let running = self.rows(Some(Status::Running));
        let row = running.get(usize::from(to) % running.len().max(1))?;
        Some(Body {
            no: row.no,
            incarnation: row.incarnation,
        })
    }

    fn submissions(&mut self, (sort, to, how): Act) -> Vec<Submission> {
        let ticket = self.ticket();
        let of_body = self.body(to).filter(|_| matches!(sort, 4..=8));
        match (sort, of_body) {
            (0 | 1, _) => {
                let what = Box::new((Self::code(to), self.item(to, how)));
                vec![Submission::Outside(Command::Create(
                    ticket,
                    what,
                    IfExists::Return,
                ))]
            }
            (2, _) => {
                let items = (0..how % 5).map(|it| self.item(to ^ it << 2, how ^ it));
                let what = Box::new((Self::code(to), items.collect()));
                vec![Submission::Outside(Command::CreateBatch(
                    ticket,
                    what,
                    IfExists::Return,
                    false,
                ))]
            }
            (3, _) => {
                let sent = Sent {
                    to: Self::name(to),
                    kind: "go".into(),
                    payload: None,
                };
                vec![Submission::Outside(Command::Send(
                    ticket,
                    Box::new(sent),
                    None,
                ))]
            }
            (4 | 5, Some(by)) => {
                let end = [Status::Complete, Status::Errored][usize::from(how & 1)];
                let mut said = vec![by.says(Speech::Finish(end, None, None))];
                if how % 4 == 3 {
                    said.insert(0, by.says(Speech::Hold));
                    let row = self.rows(Some(Status::Running));
                    self.held.extend(
                        row.into_iter()
                            .filter(|it| it.no == by.no)
                            .map(|it| (by.no, it)),
                    );
                }
                said
            }
            (6, Some(by)) => {
                let why = Why {
                    code: ["race", "nondeterminism"][usize::from(how & 1)].into(),
                    step: (how & 2 == 0).then(|| "charge".into()),
                };
                vec![by.says(Speech::Block(why, b"why".as_slice().into()))]
            }
            (7, Some(by)) => {
                let wait = self
                    .stage
                    .wait(Kind::Event, events(&["go"]), self.stage.now + 80);
                let quiet = by.says(Speech::Quiet(u64::MAX, u64::MAX));
                vec![by.says(Speech::Open(Box::new(wait))), quiet]
            }
            (8, Some(by)) => {
                let child = Child {
                    begun: None,
                    operation: operation(Kind::Call),
                    workflow: WORKFLOWS[usize::from(how & 1)].into(),
                    version: "1".into(),
                    items: vec![item(&(how >> 1).to_string())],
                    payload: None,
                };
                let quiet = by.says(Speech::Quiet(u64::MAX, u64::MAX));
                vec![
                    by.says(Speech::Call(self.stage.sequence.draw(), Box::new(child))),
                    quiet,
                ]
            }
            (9, _) => vec![Submission::Outside(Command::Act(
                ticket,
                Verb::Resume.to(Self::name(to)),
            ))],
            (10, _) => {
                let held = std::mem::take(&mut self.held);
                held.iter().map(|it| Submission::LetGo(it.0)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether only what there is code for is created (L12).
    fn can_be_said(&self, submission: &Submission) -> bool {
        let workflow = match submission {
            Submission::Outside(Command::Create(_, what, _)) => &what.0.workflow,
            Submission::Outside(Command::CreateBatch(_, what, ..)) => &what.0.workflow,
            Submission::Said(_, Speech::Call(_, child)) => &child.workflow,
            _ => return true,
        };
        let known = &self.stage.config.workflows;
        known.iter().any(|it| it.0 == *workflow)
    }

    fn act(&mut self, act: Act) {
        let mut said = self.submissions(act);
        said.retain(|it| self.can_be_said(it));
        match act.0 {
            11 => self.stage.now += i64::from(act.1),
            12 => self.crash(act.1),
            // What is decided and not committed never was.
            13 => {
                let held = self.held.clone();
                let mut said = self.submissions((act.1 % 10, act.2, act.1));
                said.retain(|it| self.can_be_said(it));
                self.held = held;
                self.stage.begin(&said);
                for it in said {
                    let _ = self.stage.core.decide(it);
                }
                self.check();
                self.crash(3);
            }
            _ => {}
        }
        let _ = self.stage.say(said);
    }

    fn crash(&mut self, known: u8) {
        self.stage.config = config(known);
        self.held.clear();
        self.stage.crash();
        // What starts now, starts.
        let _ = self.stage.say(Vec::new());
    }

    /// Counts all rows anew.
    fn check(&mut self) {
        let rows = self.rows(None);
        let tally = self.stage.core.tally();
        for namespace in [None, Some("default"), Some("acme"), Some("nobody")] {
            for workflow in [None, Some("w"), Some("v")] {
                let asked = |it: &&Row| {
                    namespace.is_none_or(|wanted| *wanted == *it.namespace)
                        && workflow.is_none_or(|wanted| *wanted == *it.workflow)
                };
                let mut counts = BTreeMap::new();
                let mut reasons: BTreeMap<_, u64> = BTreeMap::new();
                for row in rows.iter().filter(asked) {
                    *counts.entry(row.status).or_insert(0) += 1;
                    if row.status == Status::Blocked {
                        let (code, version) = (row.reason.clone(), row.version.clone());
                        *reasons
                            .entry((code, row.step.clone(), version))
                            .or_default() += 1;
                    }
                }
                let counts: Vec<(Status, u64)> = counts.into_iter().collect();
                assert_eq!(tally.counts(namespace, workflow), counts);
                let mut found: BTreeMap<_, u64> = BTreeMap::new();
                for it in tally.reasons((namespace, workflow), 0, |_, _, _| codes::QUEUED) {
                    if it.status == Some(Status::Blocked) {
                        let boxed = |it: Option<Arc<str>>| it.map(|it| Box::from(&*it));
                        let version = boxed(it.version).unwrap_or_default();
                        let of = (boxed(Some(it.code)), boxed(it.step), version);
                        *found.entry(of).or_default() += it.count;
                    }
                }
                assert_eq!(found, reasons);
            }
        }
        let mut leased = 0;
        for (namespace, workflow, figures) in tally.workflows() {
            let is = |it: &&Row| *it.namespace == *namespace && *it.workflow == *workflow;
            let running = rows
                .iter()
                .filter(|it| it.status == Status::Running)
                .filter(is);
            let held = self.held.iter().map(|it| &it.1).filter(is);
            assert_eq!(figures.leased, (running.count() + held.count()) as u64);
            leased += figures.leased;
        }
        // The gatekeeper runs ahead of what is committed.
        if self.stage.core.ops().next().is_none() {
            assert_eq!(leased, u64::from(self.stage.core.gate.leased()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_those_of_the_store_after_every_batch_and_every_crash(
        acts in prop::collection::vec((0u8..14, 0u8..32, 0u8..32), 0..50)
    ) {
        let stage = Stage::open(&MemoryStore::default(), config(3), 100);
        let mut world = World { stage, tickets: 0, held: Vec::new() };
        world.stage.commit();
        for act in acts {
            world.act(act);
            world.check();
        }
    }
}

#[test]
fn figures_since_the_engine_opened_count_what_was_created_started_and_ended() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let _ = stage.create("b");
    let _ = stage.say(vec![create(1, "c"), create(2, "c")]);
    let wait = stage.wait(Kind::Event, events(&["go"]), 1_000);
    let quiet = by.says(Speech::Quiet(u64::MAX, u64::MAX));
    let _ = stage.say(vec![by.says(Speech::Open(Box::new(wait))), quiet]);
    let figures = |stage: &Stage| {
        let all = stage.core.tally().workflows();
        let (namespace, workflow, figures) = &all[0];
        assert_eq!((all.len(), &**namespace, &**workflow), (1, "default", "w"));
        (
            figures.created,
            figures.started,
            figures.ended,
            figures.leased,
        )
    };
    // "c" got the slot of "a".
    assert_eq!(figures(&stage), (3, 3, 0, 2));
    let _ = stage.say(vec![send(3, "a", "go", None)]);
    assert_eq!(figures(&stage), (3, 3, 0, 2));
    let rows = stage
        .facts
        .store
        .find("default", "w", "c")
        .expect("memory is read");
    let no = rows.expect("it is there").no;
    let _ = stage.say(vec![finish(Body {
        no,
        incarnation: no,
    })]);
    assert_eq!(figures(&stage), (3, 4, 1, 2));
    stage.crash();
    let (created, started, ended, leased) = figures(&stage);
    assert_eq!((created, ended, leased), (0, 0, 2));
    assert_eq!(started, 2, "those that ran start again");
}

#[test]
fn a_creation_that_the_store_refuses_is_counted_nowhere() {
    let mut stage = Stage::new();
    let by = stage.create("a");
    let _ = stage.say(vec![finish(by)]);
    let before = stage.core.tally().workflows();
    assert_eq!(
        codes(&stage.say(vec![create(1, "a")]).notes),
        [(1, "exists")]
    );
    let after = stage.core.tally().workflows();
    assert_eq!(before, after);
    assert_eq!(
        stage.core.tally().counts(None, None),
        [(Status::Complete, 1)]
    );
}
