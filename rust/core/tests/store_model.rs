//! Random batches: `SQLite` answers and reads as the model store does, also after a crash.
#![allow(missing_docs)]

mod store_cases;

use std::fmt::Write;

use proptest::prelude::*;
use stepwell_core::audit::{Entry, Query};
use stepwell_core::bulk::{self, Bulk};
use stepwell_core::erasure::restarted;
use stepwell_core::ids::Range;
use stepwell_core::letter::{Address, Letter, Message};
use stepwell_core::lifecycle::Status;
use stepwell_core::limits::CHUNKS_KEPT;
use stepwell_core::ranges::Domain;
use stepwell_core::schedule::{self, Firing, FiringQuery, Schedule};
use stepwell_core::store::known::Need;
use stepwell_core::store::{
    Bucket, Called, Ended, Filter, Op, Outcome, Reader, Restart, Store, Transition,
};
use stepwell_core::stream::{Chunks, Mark, StreamRow};
use stepwell_core::undo::Undo;
use stepwell_core::wait::{Approval, ApprovalStatus, Source};
use store_cases::*;

const INSTANCES: u64 = 6;

/// An operation before its instance numbers are given out.
#[derive(Debug, Clone)]
enum Draft {
    Create {
        id: u8,
        version: u8,
        running: bool,
    },
    Child {
        id: u8,
        parent: u64,
        incarnation: u64,
    },
    Other(Op),
    Crash,
    Maintain,
}

fn draft() -> impl Strategy<Value = Draft> {
    let no = 1..=INSTANCES;
    let incarnation = prop_oneof![9 => Just(1_u64), 1 => Just(2)];
    let owned = (no.clone(), incarnation.clone());
    let small = 0_u8..4;
    let dedup = proptest::option::of("[ab]").prop_map(|it| it.map(Into::into));
    prop_oneof![
        3 => (small.clone(), small.clone(), any::<bool>())
            .prop_map(|(id, version, running)| Draft::Create { id, version, running }),
        1 => (small.clone(), owned.clone())
            .prop_map(|(id, (parent, incarnation))| Draft::Child { id, parent, incarnation }),
        1 => Just(Draft::Crash),
        1 => Just(Draft::Maintain),
        20 => prop_oneof![
            6 => (owned.clone(), "\\PC{0,6}").prop_map(|((no, inc), name)| Op::Append(no, inc, record(&name))),
            2 => (owned.clone(), 1_u64..6, source()).prop_map(|((no, inc), id, source)| Op::Open(no, inc, wait(id, source))),
            1 => (no.clone(), 1_u64..6).prop_map(|(no, id)| Op::Close(no, id)),
            2 => (no.clone(), 1_u64..6, dedup).prop_map(|(no, id, dedup)| Op::Buffer(no, event(id), dedup)),
            1 => (no.clone(), 1_u64..6).prop_map(|(no, id)| Op::Take(no, id)),
            1 => (no.clone(), "[ab]").prop_map(|(no, dedup)| Op::Seen(no, dedup.into())),
            2 => (no.clone(), 1_u64..6, "[ab]").prop_map(|(no, id, dedup)| Op::Ask(no, id, dedup.into())),
            1 => (owned.clone(), kept()).prop_map(|((no, inc), kept)| Op::Append(no, inc, restarted(&kept, 5))),
            2 => (owned.clone(), restart()).prop_map(|((no, inc), it)| Op::Restart(no, inc, it.into())),
            1 => no.clone().prop_map(Op::Delete),
            4 => (owned.clone(), transition()).prop_map(|((no, inc), to)| Op::Status(no, inc, to)),
            1 => (no.clone(), any::<[u8; 2]>()).prop_map(|(no, bytes)| Op::Progress(no, bytes.into())),
            1 => (owned.clone(), "[12]").prop_map(|((no, inc), to)| Op::Version(no, inc, to.into())),
            1 => (owned.clone(), any::<i8>(), proptest::option::of(0_i64..9))
                .prop_map(|((no, inc), priority, at)| Op::Place(no, inc, priority, at)),
            1 => (owned.clone(), 0_u8..24).prop_map(|((no, inc), it)| {
                Op::Attributes(no, inc, [0xa1, 0x61, b'a' + it % 3, it].into())
            }),
            1 => (no, "[xyz]", 0_u8..5).prop_map(|(no, id, status)| Op::Approval(approval(no, &id, status).into())),
            1 => ("[xyz]", 0_usize..5).prop_map(|(id, status)| {
                Op::EndApproval(id.into(), APPROVAL_STATUSES[status])
            }),
            1 => ("[pq]", any::<[u8; 2]>()).prop_map(|(name, bytes)| Op::Meta(name.into(), bytes.into())),
            1 => ("orders|nobody's", any::<[u8; 3]>(), "1|2").prop_map(|(workflow, counts, version)| Op::Ended(Box::new(Ended {
                namespace: "default".into(),
                workflow: workflow.into(),
                counts: counts.map(u64::from),
                versions: vec![(version.into(), counts.map(|it| u64::from(it / 2)))],
            }))),
            1 => ("default|nobody's", any::<(i64, i64)>()).prop_map(|(namespace, (millionths, at))| {
                Op::Bucket(Box::new(Bucket { namespace: namespace.into(), millionths, at }))
            }),
            1 => (0_u16..4).prop_map(|it| Op::Leave(Box::new(Letter {
                to: if it < 3 { Address::Owner(Range(it)) } else { Address::Asker(9) },
                message: Message::Born(it.into()),
            }))),
            1 => (1_u64..4).prop_map(Op::TakeIn),
            1 => (1_u64..4, 0_i64..6).prop_map(|(number, at)| Op::Audit(Box::new(Entry {
                number, at, namespace: "default".into(), ..Entry::default()
            }))),
            1 => (0_i64..6).prop_map(Op::ForgetAudit),
            1 => (1_u64..4, 0_i64..6, any::<bool>()).prop_map(|(number, at, is_new)| Op::Bulk(Box::new(Bulk {
                number,
                namespace: "default".into(),
                ended_at: (at > 2).then_some(at),
                what: is_new.then(|| [at as u8].into()),
                ..Bulk::default()
            }))),
            1 => (1..=INSTANCES, 1_u64..4).prop_map(|(no, number)| Op::Touched(no, number)),
            1 => (0_i64..6).prop_map(Op::ForgetBulks),
            2 => (1_u64..4, 0_i64..6, any::<bool>()).prop_map(|(number, at, is_new)| Op::Schedule(Box::new(Schedule {
                number,
                namespace: "default".into(),
                id: number.to_string().into(),
                revision: at as u64,
                next: (at > 2).then_some(at),
                state: [at as u8].into(),
                what: is_new.then(|| [at as u8, 9].into()),
            }))),
            2 => (1_u64..4, 1_u64..6, 0_i64..6).prop_map(|(schedule, number, at)| Op::Firing(Box::new(Firing {
                schedule,
                number,
                at,
                until: (at > 3).then_some(at + 1),
                decided_at: at,
                outcome: "fired".into(),
                why: (at > 2).then(|| "overlap".into()),
                id: (at < 3).then(|| "1".into()),
            }))),
            1 => (1_u64..4, 0_u64..4).prop_map(|(schedule, kept)| Op::ForgetFirings(schedule, kept)),
            1 => (1_u64..4).prop_map(Op::Unschedule),
            2 => (1_u8..5, 0_i64..6).prop_map(|(id, at)| Op::Called(Box::new(Called {
                id: [id].into(),
                at,
                answer: [at as u8].into(),
            }))),
            1 => (0_i64..6).prop_map(Op::ForgetCalls),
            6 => (owned, chunks()).prop_map(|((no, inc), it)| Op::Chunks(no, inc, it.into())),
            1 => (0_i64..6).prop_map(|it| Op::ForgetChunks(it + CHUNKS_KEPT)),
            1 => Just(Op::ForgetChunks(1)),
        ].prop_map(Draft::Other),
    ]
}

/// Chunks of one of two streams, which holds six at most.
fn chunks() -> impl Strategy<Value = Chunks> {
    let some = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3), 1..4);
    (some, 0_usize..4, "[st]", 0_u64..3, 0_i64..6).prop_map(|(some, mark, stream, part, at)| {
        let mark = Mark::ALL[mark];
        let chunks = some.into_iter().map(Into::into).collect();
        Chunks {
            stream: stream.into(),
            part,
            attempt: u32::from(part == 0),
            mark,
            chunks: if mark.ends() { Vec::new() } else { chunks },
            most: [6, 12],
            at,
        }
    })
}

/// What a restart may keep: places of any instance, so that it keeps some of its own.
fn kept() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let bounds = proptest::collection::btree_set(0_u64..40, 0..6);
    bounds.prop_map(|it| {
        let bounds: Vec<_> = it.into_iter().collect();
        bounds.chunks_exact(2).map(|it| (it[0], it[1])).collect()
    })
}

fn restart() -> impl Strategy<Value = Restart> {
    let params = proptest::option::of(any::<[u8; 2]>());
    (1_u64..3, any::<bool>(), params, 0_i64..100).prop_map(|(incarnation, kept, params, at)| {
        Restart {
            incarnation,
            seed: kept.then_some(1),
            params: params.map(Into::into),
            at,
        }
    })
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Timer),
        "[ab]".prop_map(|it| Source::Retry(Some(it.into()))),
        proptest::collection::vec("\\PC{0,4}", 0..3)
            .prop_map(|it| Source::Event(it.into_iter().map(Into::into).collect())),
        "\\PC{0,8}".prop_map(|it| Source::Approval(it.into())),
        (1..=INSTANCES).prop_map(Source::Child),
    ]
}

fn transition() -> impl Strategy<Value = Transition> {
    let payload = proptest::option::of(any::<[u8; 3]>());
    (0_usize..9, any::<bool>(), 0_u32..3, payload, 0_i64..100).prop_map(
        |(status, marked, recoveries, payload, at)| Transition {
            status: Status::ALL[status],
            marked,
            recoveries,
            reason: marked.then(|| "nondeterminism".into()),
            step: (marked && at % 2 == 0).then(|| "charge".into()),
            payload: payload.map(Into::into),
            undo: Undo::from_code(recoveries as u8 ^ u8::from(marked)),
            at,
        },
    )
}

fn approval(no: u64, id: &str, status: u8) -> Approval {
    Approval {
        id: id.into(),
        no,
        name: "ship".into(),
        detail: Some([status].into()),
        asked_at: None,
        until: Some(3),
        status: APPROVAL_STATUSES[usize::from(status)],
        decision: None,
        decided_at: Some(i64::from(status)),
        incarnation: u64::from(status) % 3,
    }
}

const APPROVAL_STATUSES: [ApprovalStatus; 5] = [
    ApprovalStatus::Open,
    ApprovalStatus::Approved,
    ApprovalStatus::Rejected,
    ApprovalStatus::TimedOut,
    ApprovalStatus::Withdrawn,
];

/// What is kept of schedules.
fn scheduled(reader: &mut dyn Reader) -> String {
    let mut text = String::new();
    let mut say = |what: &dyn std::fmt::Debug| writeln!(text, "{what:#?}").unwrap();
    for beyond in [0, 1] {
        say(&reader.schedules(&schedule::Query {
            beyond,
            limit: 2,
            ..schedule::Query::default()
        }));
    }
    for schedule in 1..4 {
        for beyond in [None, Some(3)] {
            say(&reader.firings(&FiringQuery {
                schedule,
                beyond,
                limit: 3,
            }));
        }
    }
    say(&reader.list(&Filter {
        schedule: Some("nightly".into()),
        newest_first: true,
        limit: 1_000,
        ..Filter::default()
    }));
    text
}

/// What is kept of streams.
fn streamed(reader: &mut dyn Reader) -> String {
    let mut text = String::new();
    for of in (1..=INSTANCES).flat_map(|no| [(no, 1), (no, 2)]) {
        for (name, after) in [("s", 0), ("s", 2), ("t", 0), ("t", 5)] {
            for row in reader.stream(of, name, after, 4).unwrap() {
                // When a history is freed that nobody reads any more is each store's own affair.
                let row = StreamRow {
                    outcome: None,
                    ..row
                };
                writeln!(text, "{row:?}").unwrap();
            }
        }
        writeln!(text, "{:?}", reader.sent(of.0, of.1)).unwrap();
    }
    text
}

/// Everything that can be asked.
fn all_answers(store: &mut dyn Store) -> String {
    let mut text = format!("{:#?}", recovered(store));
    let mut reader = store.reader().unwrap();
    let page = Filter {
        limit: 1_000,
        ..Filter::default()
    };
    for id in 1..5 {
        let known = store.look(Need::Call(&[id]).into()).unwrap();
        writeln!(text, "{:?}", known.call(&[id])).unwrap();
    }
    let mut say = |what: &dyn std::fmt::Debug| writeln!(text, "{what:#?}").unwrap();
    say(&reader.list(&page));
    say(&reader.list(&Filter {
        workflow: Some("orders".into()),
        newest_first: true,
        ..page.clone()
    }));
    say(&reader.list(&Filter {
        statuses: vec![Status::Blocked, Status::Queued],
        ..page.clone()
    }));
    say(&reader.list(&Filter {
        among: Some(vec![1, 3, 4]),
        ..page.clone()
    }));
    say(&reader.list(&Filter {
        parents: vec![1],
        ..page.clone()
    }));
    for attributes in [
        &[("k", 2)][..],
        &[("l", 7)],
        &[("l", 7), ("k", 3)],
        &[("k", 7)],
    ] {
        let pair = |(key, value): &(&str, u8)| ((*key).into(), [*value].into());
        let attributes: Vec<_> = attributes.iter().map(pair).collect();
        say(&reader.list(&Filter {
            attributes: attributes.clone(),
            ..page.clone()
        }));
        say(&reader.list(&Filter {
            attributes,
            statuses: vec![Status::Running, Status::Complete],
            version: Some("1".into()),
            newest_first: true,
            ..page.clone()
        }));
    }
    say(&(store.ended(), store.buckets()));
    say(&reader.approvals(None, None, None));
    say(&reader.approvals(None, Some("orders"), Some(ApprovalStatus::Open)));
    // Numbers beyond the last are asked for too.
    for no in 0..60 {
        say(&(
            reader.history(no),
            reader.payloads(no),
            reader.waits(no),
            ["a", "b"].map(|it| reader.asked(no, it)),
            store.result(no),
        ));
    }
    let some = Domain::part([(Range(1), 1), (Range(2), 1)]);
    say(&(store.letters(&Domain::Whole, 9), store.letters(&some, 8)));
    say(&reader.audit(&Query {
        namespace: "default".into(),
        limit: 9,
        ..Query::default()
    }));
    say(&reader.bulks(&bulk::Query {
        limit: 9,
        ..bulk::Query::default()
    }));
    say(&scheduled(&mut *reader));
    say(&streamed(&mut *reader));
    for id in ["1", "2"] {
        say(&reader.audit(&Query {
            namespace: "default".into(),
            workflow: Some("orders".into()),
            id: Some(id.into()),
            beyond: None,
            limit: 9,
        }));
    }
    for id in ["x", "y", "z"] {
        say(&store.approval(id));
    }
    say(&(
        store.meta("p"),
        store.meta("q"),
        store.find("default", "orders", "1"),
    ));
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_does_what_the_model_does(
        batches in proptest::collection::vec(proptest::collection::vec(draft(), 0..12), 1..8)
    ) {
        let (mut memory, mut disk) = (InMemory::default(), OnDisk::default());
        let (mut model, mut store) = (memory.open(), disk.open());
        let mut next = 1;
        let mut instance = |id: u8| {
            let mut one = new(next, &id.to_string());
            next += 1;
            one.seed = (id == 2).then_some(next);
            one.attributes = match id {
                1 => Some([id].into()),
                2 | 3 => Some([0xa2, 0x61, b'k', id, 0x61, b'l', 7].into()),
                _ => None,
            };
            one
        };
        for drafts in batches {
            let mut batch = Vec::new();
            let (mut crash, mut maintain) = (false, false);
            for draft in drafts {
                match draft {
                    Draft::Create { id, version, running } => {
                        let mut one = instance(id);
                        one.version = version.to_string().into();
                        one.schedule = (version > 1).then(|| "nightly".into());
                        one.status = if running { Status::Running } else { Status::Queued };
                        batch.push(Op::Create(one.into()));
                    }
                    Draft::Child { id, parent, incarnation } => {
                        let mut one = instance(id);
                        one.parent = Some(parent);
                        batch.push(Op::CreateChildren(vec![one], parent, incarnation, record("created").into()));
                    }
                    Draft::Other(op) => batch.push(op),
                    Draft::Crash => crash = true,
                    Draft::Maintain => maintain = true,
                }
            }
            let expected: Vec<Outcome> = model.commit(&batch).unwrap();
            prop_assert_eq!(store.commit(&batch).unwrap(), expected);
            if maintain {
                store.maintain().unwrap();
            }
            if crash {
                model = memory.crash(model);
                store = disk.crash(store);
            }
        }
        prop_assert_eq!(all_answers(&mut *store), all_answers(&mut *model));
        store = disk.crash(store);
        prop_assert_eq!(all_answers(&mut *store), all_answers(&mut *model));
        store.close().unwrap();
        store = disk.open();
        prop_assert_eq!(all_answers(&mut *store), all_answers(&mut *model));
    }
}
