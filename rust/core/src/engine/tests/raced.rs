//! Two things at once are done to one instance, in each state that it can be in: what comes of that is
//! what comes of them one after the other, in either order, and so are the answers. The process dies
//! right after the second, which is durable or not; then the first is done, and the second or nothing.
//!
//! Every pair of everything that can be done, on both stores; each in an instance of its own, all of
//! one state in one store.

use std::collections::BTreeMap;

use super::*;
use crate::audit::Query;
use crate::failure::at_fault;
use crate::ids::InstanceNo;
use crate::rewind::From;
use crate::store::sqlite::SqliteStore;
use crate::submission::{Continuation, LimitChange, Resolution, Why};

/// What can be done to an instance: with its ticket, to which one, and which body it had.
type Deed = fn(u64, &str, Body) -> Submission;

const DEEDS: &[(&str, Deed)] = &[
    ("pause", |ticket, id, _| act(ticket, id, Verb::Pause)),
    ("resume", |ticket, id, _| act(ticket, id, Verb::Resume)),
    ("terminate", |ticket, id, _| {
        act(ticket, id, Verb::Terminate("somebody".into()))
    }),
    ("terminate and undo", |ticket, id, _| {
        act(ticket, id, Verb::Undo("somebody".into()))
    }),
    ("restart", |ticket, id, _| {
        act(ticket, id, Verb::Restart(From::Start))
    }),
    ("restart from what failed", |ticket, id, _| {
        act(ticket, id, Verb::Restart(From::Failed))
    }),
    ("delete", |ticket, id, _| act(ticket, id, Verb::Delete)),
    ("retry_now", |ticket, id, _| act(ticket, id, Verb::RetryNow)),
    ("set_priority", |ticket, id, _| {
        act(ticket, id, Verb::SetPriority(7))
    }),
    ("start_now", |ticket, id, _| act(ticket, id, Verb::StartNow)),
    ("resolve", |ticket, id, _| {
        let resolution = Resolution {
            operation: operation(Kind::Do),
            verdict: Verdict::Done,
            payload: b"by hand".as_slice().into(),
        };
        act(ticket, id, Verb::Resolve(Box::new(resolution)))
    }),
    ("send_event", |ticket, id, _| send(ticket, id, "go", None)),
    ("send_event once", |ticket, id, _| {
        send(ticket, id, "go", Some("d"))
    }),
    ("continue_as_new", |_, _, by| {
        by.says(Speech::Continue(Box::new(Continuation {
            params: Some(b"more".as_slice().into()),
            run: 2,
            limit: None,
            untold: vec![],
            passed: vec![],
        })))
    }),
    ("its body returns", |_, _, by| finish(by)),
];

/// How an instance comes to be in a state: what is said, one after the other.
type Way = &'static [fn(&Stage, &str, Body) -> Submission];

const RESTS: fn(&Stage, &str, Body) -> Submission =
    |_, _, by| by.says(Speech::Quiet(1 << 40, 1 << 40));
const STEP: fn(&Stage, &str, Body) -> Submission = |_, _, by| by.says(Speech::Record(3, record()));
const WAIT: fn(&Stage, &str, Body) -> Submission = |stage, _, by| {
    let wait = stage.wait(Kind::Event, events(&["go"]), 900);
    by.says(Speech::Open(Box::new(wait)))
};
const RETRY: fn(&Stage, &str, Body) -> Submission = |stage, _, by| {
    let failed = Record {
        verdict: Verdict::AttemptFailed,
        moment: Some(900),
        ..record()
    };
    by.says(Speech::Retry(stage.sequence.draw(), Box::new(failed)))
};
const PAUSE: fn(&Stage, &str, Body) -> Submission = |_, id, _| act(2, id, Verb::Pause);
const UNDO: fn(&Stage, &str, Body) -> Submission = |_, id, _| act(2, id, Verb::Undo("x".into()));

const STATES: &[(&str, Way)] = &[
    ("queued", &[]),
    ("running", &[STEP]),
    ("waiting", &[STEP, WAIT, RESTS]),
    ("between attempts", &[RETRY, RESTS]),
    ("to pause", &[STEP, PAUSE]),
    ("paused", &[STEP, WAIT, RESTS, PAUSE]),
    ("paused between attempts", &[RETRY, RESTS, PAUSE]),
    (
        "blocked",
        &[RETRY, |_, _, by| {
            by.says(Speech::Block("race".into(), Box::default()))
        }],
    ),
    (
        "blocked for a step",
        &[
            |_, _, by| {
                let failed = Record {
                    verdict: Verdict::Failed,
                    ..record()
                };
                by.says(Speech::Record(3, failed))
            },
            |_, _, by| {
                let error = at_fault(&[operation(Kind::Do)]).into();
                by.says(Speech::Block(Why::from("body_failed"), error))
            },
        ],
    ),
    ("to undo", &[STEP, UNDO]),
    (
        "undoing",
        &[STEP, UNDO, |_, _, by| by.says(Speech::Undoes(None))],
    ),
    ("complete", &[STEP, |_, _, by| finish(by)]),
    (
        "errored",
        &[STEP, |_, _, by| {
            let error = at_fault(&[operation(Kind::Do)]).into();
            by.says(Speech::Finish(Status::Errored, Some(error), None))
        }],
    ),
    (
        "terminated",
        &[STEP, |_, id, _| act(2, id, Verb::Terminate("x".into()))],
    ),
];

fn act(ticket: u64, id: &str, verb: Verb) -> Submission {
    Command::Act(ticket, verb.to(name(id))).into()
}

/// Where it is stored.
enum Place {
    Memory(MemoryStore),
    File(tempfile::TempDir),
}

impl Place {
    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Memory(store) => Box::new(store.reopen()),
            Self::File(folder) => {
                let path = folder.path().join("a.db");
                Box::new(SqliteStore::open(&path, "default").expect("it opens"))
            }
        }
    }
}

/// How the second follows the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The first, and nothing else.
    Alone,
    /// One after the other.
    InTurn,
    /// In one commit.
    Together,
    /// The process dies before the commit of the second, or right after it, before anybody knows.
    Lost,
    Kept,
}

/// What there is of an instance: its state, and all else that is told.
type Told = (String, String);

/// What came of it: the answers, what there is then, and after the process has died.
type Outcome = (Vec<String>, Told, Told);

/// Instances in one state, one for each pair.
struct Field {
    place: Place,
    stage: Stage,
    bodies: Vec<Body>,
}

fn id(at: usize) -> String {
    format!("a{at}")
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let all = 0..DEEDS.len();
    all.clone()
        .flat_map(move |one| all.clone().map(move |other| (one, other)))
}

fn opened(place: &Place) -> Stage {
    let mut handle = place.open();
    let ceiling = handle.meta("sequence").expect("it is read");
    let ceiling = ceiling.map_or(0, |it| {
        u64::from_le_bytes((*it).try_into().expect("8 bytes"))
    });
    let config = Config {
        slots: 10_000,
        limits: limits(10_000, 10_000, 10),
        ..config()
    };
    let memory = MemoryStore::default();
    let mut stage = Stage::over(handle, &memory, config, 100, Sequence::new(ceiling), |it| {
        it
    });
    stage.commit();
    stage
}

impl Field {
    fn new(place: Place, way: Way) -> Self {
        let stage = opened(&place);
        let mut field = Self {
            place,
            stage,
            bodies: Vec::new(),
        };
        let create = |at: usize| {
            let item = NewItem {
                start_at: way.is_empty().then_some(1_000_000),
                ..item(&id(at))
            };
            let ticket = 1_000_000 + at as u64;
            Submission::Outside(Command::Create(
                ticket,
                Box::new((code(), item)),
                IfExists::Raise,
            ))
        };
        let many = pairs().count();
        field.occupy();
        field.stage.say((0..many).map(create).collect());
        for at in 0..many {
            let row = field.row(at).expect("it was created");
            field.bodies.push(Body {
                no: row.no,
                incarnation: row.incarnation,
            });
        }
        for say in way {
            let some = field.bodies.iter().enumerate();
            let some = some
                .map(|(at, by)| say(&field.stage, &id(at), *by))
                .collect();
            field.stage.say(some);
        }
        field.starve();
        field
    }

    /// Somebody runs who is the most urgent of all, here and after a crash.
    fn occupy(&mut self) {
        let item = NewItem {
            priority: 100,
            ..item("urgent")
        };
        let create = Command::Create(999_999, Box::new((code(), item)), IfExists::Raise);
        self.stage.say(vec![create.into()]);
    }

    /// From now on no slot is free: nobody gets one between the first deed and the second, who would
    /// get none in one commit.
    fn starve(&mut self) {
        let change = LimitChange {
            namespace: "default".into(),
            workflow: None,
            changes: vec![("concurrency".into(), Some(1.0))],
            by: By::default(),
        };
        self.stage
            .say(vec![Command::SetLimits(4, Box::new(change)).into()]);
    }

    fn row(&mut self, at: usize) -> Option<crate::store::Row> {
        let found = self.stage.facts.store.find("default", "w", &id(at));
        found.expect("it is read")
    }

    /// Does one of each pair, and says it to the instance of that pair.
    fn deeds(&self, first: bool, turned: bool) -> Vec<Submission> {
        let each = pairs().enumerate().map(|(at, (one, other))| {
            let deed = if first == turned { other } else { one };
            let ticket = 2 * at as u64 + u64::from(first == turned) + 10_000;
            DEEDS[deed].1(ticket, &id(at), self.bodies[at])
        });
        each.collect()
    }

    /// Does both of each pair, the other way round if `turned`.
    fn race(mut self, (order, turned): (Order, bool)) -> Vec<Outcome> {
        let (first, second) = (self.deeds(true, turned), self.deeds(false, turned));
        let mut notes = Vec::new();
        match order {
            Order::Together => {
                let both = first.into_iter().zip(second);
                let both = both.flat_map(|(one, other)| [one, other]).collect();
                notes.extend(self.stage.say(both).notes);
            }
            Order::Alone => notes.extend(self.stage.say(first).notes),
            Order::InTurn | Order::Lost | Order::Kept => {
                notes.extend(self.stage.say(first).notes);
                if order == Order::InTurn {
                    notes.extend(self.stage.say(second).notes);
                } else {
                    self.decide(second);
                }
            }
        }
        if order == Order::Kept {
            self.stage.core.finish_batch();
            let stored = self
                .stage
                .facts
                .store
                .commit_each(&mut self.stage.core.ops(), self.stage.core.domain());
            stored.expect("it is written");
        }
        let told: BTreeMap<u64, &str> = codes(&notes).into_iter().collect();
        let answers: Vec<_> = (0..self.bodies.len() as u64)
            .map(|at| {
                let of = [10_000 + 2 * at, 10_001 + 2 * at];
                let answer = |it| told.get(&it).map_or("-".into(), |it| (*it).into());
                of.map(answer).to_vec()
            })
            .collect();
        let now = (0..self.bodies.len())
            .map(|at| self.tell(at))
            .collect::<Vec<_>>();
        // The lock on the file is given back first.
        drop(self.stage);
        self.stage = opened(&self.place);
        let later = (0..self.bodies.len())
            .map(|at| self.tell(at))
            .collect::<Vec<_>>();
        let all = answers.into_iter().zip(now).zip(later);
        all.map(|((answers, now), later)| (answers, now, later))
            .collect()
    }

    /// Decides what it can, and commits nothing.
    fn decide(&mut self, submissions: Vec<Submission>) {
        self.stage.begin(&submissions);
        for submission in submissions {
            if self.stage.core.decide(submission).is_some() {
                return;
            }
        }
    }

    /// Says all there is of an instance: what is stored, and what the engine has in memory.
    fn tell(&mut self, at: usize) -> Told {
        let by = self.bodies[at];
        let Some(row) = self.row(at) else {
            return ("gone".into(), String::new());
        };
        let is_same = row.no == by.no;
        let no: InstanceNo = row.no;
        let reader = &mut self.stage.facts.reader;
        let history = reader.history(no).expect("it is read");
        let history: Vec<_> = history
            .iter()
            .map(|it| {
                (
                    it.record.operation.kind,
                    it.record.verdict,
                    it.record.attempt,
                )
            })
            .collect();
        let waits = reader.waits(no).expect("it is read");
        let waits: Vec<_> = waits
            .iter()
            .map(|it| (it.operation.kind, it.until))
            .collect();
        let kept = reader.kept(no, 10).expect("it is read");
        let payloads = reader.payloads(no).expect("it is read");
        let audit = reader.audit(&Query {
            namespace: "default".into(),
            workflow: Some("w".into()),
            id: Some(id(at).into()),
            beyond: None,
            limit: 100,
        });
        let audit = audit.expect("it is read").0.into_iter();
        let audit: Vec<_> = audit
            .map(|it| it.map(|it| (it.operation, it.result)))
            .collect();
        let live = self.stage.core.live.get(&no).map(|it| {
            let mut waits: Vec<_> = it.mailbox.waits().iter().map(|it| it.until).collect();
            waits.sort_unstable();
            let state = (it.status, it.slot, it.marked, it.interrupted, it.undo);
            let place = (it.priority, it.class, it.recoveries, it.mailbox.kept());
            (state, place, waits)
        });
        let names = (
            is_same,
            row.incarnation == by.incarnation,
            row.seed == Some(by.incarnation),
        );
        let state = (
            row.status,
            row.undo,
            row.reason,
            row.step,
            row.marked,
            row.recoveries,
        );
        let place = (row.priority, row.start_at, row.paused_at);
        (
            format!("{names:?} {state:?} {place:?} {audit:?}"),
            format!("{history:?} {waits:?} {kept:?} {payloads:?} {live:?}"),
        )
    }
}

/// Races all pairs in one state.
fn in_memory(way: Way, how: (Order, bool)) -> Vec<Outcome> {
    Field::new(Place::Memory(MemoryStore::default()), way).race(how)
}

#[test]
fn two_deeds_at_once_are_one_after_the_other() {
    for (state, way) in STATES {
        one_after_the_other(state, way);
    }
}

fn one_after_the_other(state: &str, way: Way) {
    let run = |order, turned| in_memory(way, (order, turned));
    let in_turn = [run(Order::InTurn, false), run(Order::InTurn, true)];
    let together = run(Order::Together, false);
    let alone = run(Order::Alone, false);
    let (lost, kept) = (run(Order::Lost, false), run(Order::Kept, false));
    for (at, (one, other)) in pairs().enumerate() {
        let names = (DEEDS[one].0, DEEDS[other].0);
        let serial = [&in_turn[0][at], &in_turn[1][at]];
        // Whether an event is new is known when it is durable: until then no wait takes it, and one
        // that does not come to that keeps it.
        let is_kept = |it: &&Outcome| {
            let state = |it: &Outcome| (it.0.clone(), it.1 .0.clone(), it.2 .0.clone());
            names.0 == "send_event once" && state(it) == state(&together[at])
        };
        assert!(
            serial.contains(&&together[at]) || serial.iter().copied().any(|it| is_kept(&it)),
            "{state}: {names:?} at once comes to\n{:#?}\nand one after the other to\n{serial:#?}",
            together[at]
        );
        assert_eq!(
            lost[at].2, alone[at].2,
            "{state}: {names:?}, and the second is lost"
        );
        let possible = [&alone[at].2, &serial[0].2];
        assert!(
            possible.contains(&&kept[at].2),
            "{state}: {names:?}, and nobody heard of the second: {:#?}\n{possible:#?}",
            kept[at].2
        );
    }
}

#[test]
fn two_deeds_at_once_are_on_disk_what_they_are_in_memory() {
    for (state, way) in STATES {
        for order in [Order::Together, Order::Kept] {
            let place = Place::File(tempfile::tempdir().expect("there is room"));
            let on_disk = Field::new(place, way).race((order, false));
            let in_memory = in_memory(way, (order, false));
            for (at, (one, other)) in pairs().enumerate() {
                let names = (DEEDS[one].0, DEEDS[other].0);
                assert_eq!(on_disk[at], in_memory[at], "{state}: {names:?}, {order:?}");
            }
        }
    }
}
