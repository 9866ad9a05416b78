//! Keys of values in a payload store: none is loose that a stored payload names, whatever became of
//! its row, and whichever nothing names is, once what was erased is freed.
#![allow(missing_docs)]

mod store_cases;

use std::collections::BTreeSet;

use proptest::prelude::*;
use stepwell_core::erasure::restarted;
use stepwell_core::large::{named, LargeKey, MARK};
use stepwell_core::letter::{Address, Letter, Message};
use stepwell_core::lifecycle::Status;
use stepwell_core::store::known::Need;
use stepwell_core::store::{Op, Restart, Store};
use store_cases::*;

const KEYS: u8 = 12;

fn key(n: u8) -> LargeKey {
    let mut key = [n; 16];
    key[0] = 0; // a text would end here
    key
}

/// A payload that names a value, or one that only begins like that, or is none.
fn payload(n: u8) -> Box<[u8]> {
    match n {
        0 => MARK[..1].into(),
        KEYS.. => [0x42, 0xff, 0x06].into(),
        _ => [&MARK[..], &key(n), &[9; 41]].concat().into(),
    }
}

#[derive(Debug, Clone)]
enum Draft {
    Create(u8),
    Does(Op),
    Crash,
    Maintain,
}

fn draft() -> impl Strategy<Value = Draft> {
    let (no, n) = (1_u64..5, 0..=KEYS);
    let both = (no.clone(), n.clone());
    prop_oneof![
        3 => n.clone().prop_map(Draft::Create),
        1 => Just(Draft::Crash),
        3 => Just(Draft::Maintain),
        20 => prop_oneof![
            5 => both.clone().prop_map(|(no, n)| {
                let mut it = record("a step");
                it.payload = Some(payload(n));
                it.operation.key = Some("key".into());
                Op::Append(no, 1, it)
            }),
            3 => both.clone().prop_map(|(no, n)| {
                let mut it = event(u64::from(n));
                it.payload = Some(payload(n));
                Op::Buffer(no, it, Some("a".into()))
            }),
            2 => both.clone().prop_map(|(no, n)| Op::Take(no, n.into())),
            2 => both.clone().prop_map(|(no, n)| Op::Ask(no, n.into(), "a".into())),
            2 => (both.clone(), 0_usize..9).prop_map(|((no, n), status)| {
                let mut it = to(Status::ALL[status], 7);
                it.payload = Some(payload(n));
                change(no, it)
            }),
            1 => (both, any::<bool>()).prop_map(|((no, n), anew)| Op::Restart(no, 1, Box::new(Restart {
                incarnation: 1,
                seed: None,
                params: anew.then(|| payload(n)),
                at: 8,
            }))),
            1 => (no.clone(), 0_u64..9).prop_map(|(no, from)| {
                Op::Append(no, 1, restarted(&[(from, from + 4)], 5))
            }),
            2 => no.prop_map(Op::Delete),
            3 => proptest::collection::vec(n.clone(), 0..4)
                .prop_map(|it| Op::Large(it.into_iter().map(key).collect())),
            1 => n.prop_map(|it| Op::ForgetLarge(vec![key(it)])),
        ].prop_map(Draft::Does),
    ]
}

/// Which keys are told loose, some at a time.
fn loose(store: &dyn Store, limit: u32) -> BTreeSet<LargeKey> {
    let mut reader = store.reader().unwrap();
    let (mut all, mut beyond) = (BTreeSet::new(), None);
    loop {
        let (keys, last) = reader.loose(beyond, limit).unwrap();
        all.extend(keys);
        beyond = last;
        if beyond.is_none() {
            return all;
        }
    }
}

/// Which are named by anything that can be seen.
fn seen(store: &mut dyn Store) -> BTreeSet<LargeKey> {
    let mut reader = store.reader().unwrap();
    let mut all: Vec<Option<Box<[u8]>>> = Vec::new();
    for no in 1..60 {
        let known = store.look(Need::Events(no).into()).unwrap();
        let events = known.events(no).unwrap().iter();
        all.extend(events.map(|it| it.payload.clone()));
        let own = reader.payloads(no).unwrap();
        all.extend([own.params, own.result]);
        let history = reader.history(no).unwrap();
        all.extend(history.into_iter().map(|it| it.record.payload));
    }
    all.iter().flatten().filter_map(|it| named(it)).collect()
}

fn kept(ops: &[Op], keys: &mut BTreeSet<LargeKey>) {
    for op in ops {
        match op {
            Op::Large(some) => keys.extend(some),
            Op::ForgetLarge(some) => keys.retain(|it| !some.contains(it)),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_is_named_is_never_loose_and_all_else_is_in_the_end(
        batches in proptest::collection::vec(proptest::collection::vec(draft(), 0..10), 1..8)
    ) {
        let mut place = OnDisk::default();
        let mut store = place.open();
        let (mut next, mut keys) = (1, BTreeSet::new());
        for drafts in batches {
            let mut batch = Vec::new();
            let (mut crash, mut maintain) = (false, false);
            for draft in drafts {
                match draft {
                    Draft::Create(n) => {
                        let mut one = new(next, &(next % 3).to_string());
                        (next, one.incarnation) = (next + 1, 1);
                        one.params = Some(payload(n));
                        batch.push(Op::Create(one.into()));
                    }
                    Draft::Does(op) => batch.push(op),
                    Draft::Crash => crash = true,
                    Draft::Maintain => maintain = true,
                }
            }
            let _ = store.commit(&batch).unwrap();
            kept(&batch, &mut keys);
            if maintain {
                store.maintain().unwrap();
            }
            if crash {
                store = place.crash(store);
            }
            let (seen, loose) = (seen(&mut *store), loose(&*store, 3));
            prop_assert!(loose.is_disjoint(&seen), "{loose:?} {seen:?}");
            prop_assert!(loose.is_subset(&keys));
        }
        store.maintain().unwrap();
        while store.is_behind() {
            store.maintain().unwrap();
        }
        let seen = seen(&mut *store);
        let unseen: BTreeSet<_> = keys.difference(&seen).copied().collect();
        prop_assert_eq!(loose(&*store, 5), unseen);
    }
}

#[test]
fn nothing_is_loose_while_there_is_a_letter() {
    let mut place = OnDisk::default();
    let mut store = place.open();
    let letter = Letter {
        to: Address::Asker(9),
        message: Message::Born(1),
    };
    let ops = [Op::Large(vec![key(1)]), Op::Leave(letter.into())];
    let _ = store.commit(&ops).unwrap();
    assert_eq!(loose(&*store, 5), BTreeSet::new());
    let _ = commit_one(&mut *store, Op::TakeIn(1));
    assert_eq!(loose(&*store, 5), BTreeSet::from([key(1)]));
}

#[test]
fn a_copy_owns_no_values_of_the_store_that_it_is_of() {
    let mut place = OnDisk::default();
    let mut store = place.open();
    let _ = store.commit(&[Op::Large(vec![key(1)])]).unwrap();
    let to = beside(&place.path(), ".copy");
    store.copier().unwrap().copy(&to, &|| true).unwrap();
    assert_eq!(loose(&*store, 5), BTreeSet::from([key(1)]));
    let copy = stepwell_core::store::sqlite::SqliteStore::open(&to, "test").unwrap();
    assert_eq!(loose(&copy, 5), BTreeSet::new());
}
