//! What can be asked of every store: the same facts over memory and `SQLite`.
#![allow(missing_docs, clippy::missing_panics_doc)]

#[macro_use]
mod store_cases;

use std::collections::HashSet;

use stepwell_core::ids::{InstanceNo, Key};
use stepwell_core::lifecycle::Status;
use stepwell_core::ranges::Domain;
use stepwell_core::store::{
    Ended, Filter, Newcomer, NumberedCode, Op, Recovery, Row, Store, Transition,
};
use stepwell_core::wait::{Approval, ApprovalStatus, Event, Source, Wait};
use store_cases::*;

suite!(
    approvals_are_replaced_by_id_and_listed_oldest_first,
    recovery_hands_over_what_is_not_final_in_order,
    the_owner_of_some_ranges_is_handed_what_is_in_them,
    a_few_live_instances_among_many_final_ones_are_recovered,
    lists_are_filtered_and_paged_by_number,
    newcomers_of_known_code_are_handed_over_as_such_and_nothing_else_is,
    what_has_ended_in_numbers_is_kept_per_workflow,
);

fn approvals_are_replaced_by_id_and_listed_oldest_first(place: &mut dyn Place) {
    let mut store = place.open();
    let mut other = new(2, "b");
    other.workflow = "refunds".into();
    let ask = |id: &str, no| Approval {
        id: id.into(),
        no,
        name: "ship".into(),
        detail: Some([1].into()),
        asked_at: Some(1),
        until: None,
        status: ApprovalStatus::Open,
        decision: None,
        decided_at: None,
        incarnation: 0,
    };
    let write = |it: &Approval| Op::Approval(it.clone().into());
    let (mut first, second, third) = (ask("z", 1), ask("a", 2), ask("m", 1));
    let _ = store
        .commit(&[
            create(1, "a"),
            Op::Create(other.into()),
            write(&first),
            write(&second),
            write(&third),
        ])
        .unwrap();
    first.status = ApprovalStatus::Rejected;
    first.decision = Some([7].into());
    first.decided_at = Some(9);
    let _ = commit_one(&mut *store, write(&first));
    assert_eq!(store.approval("z").unwrap().as_ref(), Some(&first));
    assert_eq!(store.approval("nobody").unwrap(), None);
    store = place.crash(store);
    let mut reader = store.reader().unwrap();
    let mut ids = |namespace, workflow, status| -> Vec<Box<str>> {
        let found = reader.approvals(namespace, workflow, status).unwrap();
        found
            .into_iter()
            .inspect(|it| assert_eq!(it.0.no, it.1.no))
            .map(|it| it.1.id)
            .collect()
    };
    assert_eq!(ids(None, None, None), ["z".into(), "a".into(), "m".into()]);
    assert_eq!(
        ids(None, None, Some(ApprovalStatus::Open)),
        ["a".into(), "m".into()]
    );
    assert_eq!(
        ids(None, Some("orders"), Some(ApprovalStatus::Open)),
        ["m".into()]
    );
    assert_eq!(
        ids(None, Some("orders"), Some(ApprovalStatus::Rejected)),
        ["z".into()]
    );
    assert_eq!(ids(None, Some("none"), None), []);
}

fn recovery_hands_over_what_is_not_final_in_order(place: &mut dyn Place) {
    let mut store = place.open();
    for status in Status::ALL {
        let no = 10 - status as u64;
        let mut one = new(no, &no.to_string());
        one.workflow = format!("w{}", no % 3).into();
        let _ = store
            .commit(&[Op::Create(one.into()), change(no, to(status, 3))])
            .unwrap();
    }
    store = place.crash(store);
    let rows = recovered(&mut *store).instances;
    let got: Vec<_> = rows.iter().map(|it| (it.no, it.status)).collect();
    let expected: Vec<_> = Status::ALL[..6]
        .iter()
        .rev()
        .map(|it| (10 - *it as u64, *it))
        .collect();
    assert_eq!(got, expected);
    let mut reader = store.reader().unwrap();
    for row in rows {
        assert_eq!(reader.instance(row.no).unwrap(), Some(row));
    }
}

fn the_owner_of_some_ranges_is_handed_what_is_in_them(place: &mut dyn Place) {
    let mut store = place.open();
    let key = |no: u64| Key::new("default", "orders", &no.to_string());
    for no in 1..=20 {
        let batch = [
            create(no, &no.to_string()),
            change(no, to(Status::Waiting, 3)),
            Op::Open(no, 1, wait(100 + no, Source::Timer)),
            Op::Buffer(no, event(200 + no), None),
        ];
        // Every second one stays as it was created.
        let some = if no % 2 == 0 { &batch[..1] } else { &batch[..] };
        let _ = store.commit(some).unwrap();
    }
    let mine: Vec<u64> = (1..=20).filter(|no| no % 3 == 0).collect();
    let domain = Domain::part(mine.iter().map(|no| (key(*no).range(), 1)));
    let mut some = Recovered::default();
    store.recover(&domain, &mut some).unwrap();
    let numbers: Vec<_> = some.instances.iter().map(|it| it.no).collect();
    assert_eq!(numbers, mine);
    let odd: Vec<u64> = mine.into_iter().filter(|no| no % 2 == 1).collect();
    assert!(some.waits.iter().map(|it| it.0).eq(odd.iter().copied()));
    assert!(some.events.iter().map(|it| it.0).eq(odd));
}

fn a_few_live_instances_among_many_final_ones_are_recovered(place: &mut dyn Place) {
    let mut store = place.open();
    let mut batch: Vec<Op> = (1..=100).map(|no| create(no, &no.to_string())).collect();
    let finished = (1..=100).filter(|no| no % 40 != 7);
    batch.extend(finished.map(|no| change(no, to(Status::Complete, 3))));
    let _ = store.commit(&batch).unwrap();
    let numbers: Vec<_> = recovered(&mut *store)
        .instances
        .iter()
        .map(|it| it.no)
        .collect();
    assert_eq!(numbers, [7, 47, 87]);
}

/// Every third has a "tier", every second a "size": 3 times a small number.
fn attributes_of(no: u64) -> Option<Box<[u8]>> {
    let (tier, size) = (no.is_multiple_of(3), no.is_multiple_of(2));
    let mut map = vec![0xa0 | (u8::from(tier) + u8::from(size))];
    if tier {
        map.extend(b"\x64tier\x64gold");
    }
    if size {
        map.extend(b"\x64size");
        map.push((no % 4) as u8 * 3);
    }
    (map.len() > 1).then(|| map.into())
}

fn many(store: &mut dyn Store) {
    for no in 1..=60_u64 {
        let mut one = new(no, &no.to_string());
        one.namespace = if no % 2 == 0 { "even" } else { "odd" }.into();
        one.workflow = format!("w{}", no % 3).into();
        one.version = format!("v{}", no % 5).into();
        one.parent = (no % 7 == 0).then_some(7);
        one.attributes = attributes_of(no);
        let status = Status::ALL[no as usize % 9];
        let mut to = to(status, 9);
        to.reason = (status == Status::Blocked && no > 30).then(|| "missing_code".into());
        let _ = store
            .commit(&[Op::Create(one.into()), change(no, to)])
            .unwrap();
    }
}

fn tier(value: &str) -> (Box<str>, Box<[u8]>) {
    let text = [&[0x60 | value.len() as u8], value.as_bytes()].concat();
    ("tier".into(), text.into())
}

fn size(value: u8) -> (Box<str>, Box<[u8]>) {
    ("size".into(), [value].into())
}

/// All, and then one question of each sort.
fn filters() -> Vec<Filter> {
    let all = Filter {
        limit: 1_000,
        ..Filter::default()
    };
    vec![
        all.clone(),
        Filter {
            namespace: Some("even".into()),
            ..all.clone()
        },
        Filter {
            namespace: Some("nobody".into()),
            ..all.clone()
        },
        Filter {
            workflow: Some("w1".into()),
            ..all.clone()
        },
        Filter {
            statuses: vec![Status::Queued, Status::Errored, Status::Queued],
            ..all.clone()
        },
        Filter {
            workflow: Some("w2".into()),
            statuses: vec![Status::Running],
            ..all.clone()
        },
        Filter {
            version: Some("v3".into()),
            ..all.clone()
        },
        Filter {
            version: Some("v9".into()),
            ..all.clone()
        },
        Filter {
            among: Some((1..60).filter(|no| no % 7 < 3).collect()),
            ..all.clone()
        },
        Filter {
            among: Some((1..60).filter(|no| no % 7 < 3).collect()),
            statuses: vec![Status::Paused],
            ..all.clone()
        },
        Filter {
            parents: vec![7],
            statuses: vec![Status::Complete, Status::Queued],
            ..all.clone()
        },
        Filter {
            attributes: vec![tier("gold")],
            ..all.clone()
        },
        Filter {
            attributes: vec![tier("lead")],
            ..all.clone()
        },
        Filter {
            attributes: vec![tier("gold"), size(6)],
            ..all.clone()
        },
        Filter {
            attributes: vec![size(0), size(6)],
            ..all.clone()
        },
        Filter {
            attributes: vec![size(0)],
            workflow: Some("w1".into()),
            namespace: Some("even".into()),
            statuses: vec![Status::Blocked, Status::Waiting],
            created_after: Some(1_010),
            version: Some("v1".into()),
            ..all.clone()
        },
        Filter {
            created_after: Some(1_010),
            created_before: Some(1_020),
            ..all.clone()
        },
        Filter {
            created_after: Some(1_030),
            workflow: Some("w1".into()),
            ..all.clone()
        },
        Filter {
            parents: vec![7, 8],
            created_before: Some(1_040),
            ..all.clone()
        },
        Filter {
            id_prefix: Some("i1".into()),
            ..all.clone()
        },
        Filter {
            id_prefix: Some("i".into()),
            namespace: Some("odd".into()),
            created_after: Some(1_020),
            ..all.clone()
        },
    ]
}

fn fits(filter: &Filter, row: &Row) -> bool {
    let has = |pair: &(Box<str>, Box<[u8]>)| match &*pair.0 {
        "tier" => row.no.is_multiple_of(3) && *pair == tier("gold"),
        _ => row.no.is_multiple_of(2) && *pair == size((row.no % 4) as u8 * 3),
    };
    filter.attributes.iter().all(has)
        && filter
            .namespace
            .as_ref()
            .is_none_or(|it| *it == row.namespace)
        && filter
            .workflow
            .as_ref()
            .is_none_or(|it| *it == row.workflow)
        && filter.version.as_ref().is_none_or(|it| *it == row.version)
        && (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
        && filter.among.as_ref().is_none_or(|it| it.contains(&row.no))
        && (filter.parents.is_empty() || row.parent.is_some_and(|it| filter.parents.contains(&it)))
        && filter
            .id_prefix
            .as_ref()
            .is_none_or(|it| row.id.starts_with(&**it))
        && filter.created_after.is_none_or(|it| row.created_at >= it)
        && filter.created_before.is_none_or(|it| row.created_at < it)
}

fn lists_are_filtered_and_paged_by_number(place: &mut dyn Place) {
    let mut store = place.open();
    many(&mut *store);
    let mut reader = store.reader().unwrap();
    let filters = filters();
    let all = filters[0].clone();
    let rows = reader.list(&all).unwrap();
    assert_eq!(rows.len(), 60);
    let mut seen = HashSet::new();
    for filter in filters {
        let mut expected: Vec<_> = rows
            .iter()
            .filter(|row| fits(&filter, row))
            .cloned()
            .collect();
        seen.insert(expected.len());
        for newest_first in [false, true] {
            if newest_first {
                expected.reverse();
            }
            let mut got = Vec::new();
            let mut page = Filter {
                newest_first,
                limit: 7,
                ..filter.clone()
            };
            loop {
                let rows = reader.list(&page).unwrap();
                assert!(rows.len() <= 7);
                let Some(last) = rows.last() else { break };
                page.beyond = Some(last.no);
                got.extend(rows);
            }
            assert_eq!(got, expected, "{filter:?}");
            // The same, a few rows at a time: nothing is passed over.
            (got, page.beyond, page.budget) = (Vec::new(), None, Some(5));
            loop {
                let found = reader.page(&page).unwrap();
                let last = found.rows.last().map(|it| it.no);
                let is_full = found.rows.len() == 7;
                assert!(!is_full || found.searched_to.is_none());
                got.extend(found.rows);
                page.beyond = found.searched_to.or(last.filter(|_| is_full));
                if page.beyond.is_none() {
                    break;
                }
            }
            assert_eq!(got, expected, "{filter:?}");
        }
    }
    assert!(seen.len() > 6, "the filters tell instances apart: {seen:?}");
}

/// Knows the code of versions "v0" to "v3".
#[derive(Default)]
struct Knowing {
    codes: Vec<(u32, String)>,
    newcomers: Vec<Newcomer>,
    rows: Vec<Row>,
}

impl Recovery for Knowing {
    fn knows(&mut self, code: &NumberedCode<'_>) -> bool {
        assert!(self.newcomers.is_empty() && self.rows.is_empty());
        let name = format!("{}/{}/{}", code.namespace, code.workflow, code.version);
        self.codes.push((code.number, name));
        code.version != "v4"
    }

    fn newcomers(&mut self, some: &[Newcomer]) {
        assert!(self.rows.is_empty());
        self.newcomers.extend(some);
    }

    fn instance(&mut self, row: Row) {
        self.rows.push(row);
    }

    fn wait(&mut self, _: InstanceNo, _: Wait) {}

    fn event(&mut self, _: InstanceNo, _: Event) {}

    fn damaged(&mut self, no: InstanceNo, what: &str) {
        panic!("{no}: {what}");
    }

    fn unreadable(&mut self, what: String, _: Option<Row>) {
        panic!("{what}");
    }
}

fn newcomers_of_known_code_are_handed_over_as_such_and_nothing_else_is(place: &mut dyn Place) {
    let mut store = place.open();
    many(&mut *store);
    let mut batch = Vec::new();
    for no in 61..=100 {
        let mut one = new(no, &no.to_string());
        one.version = format!("v{}", no % 5).into();
        one.incarnation = if no % 7 == 0 { 1 } else { no };
        one.priority = (no % 11) as i8 - 5;
        one.start_at = (no % 3 == 0).then_some(-5);
        one.status = [Status::Queued, Status::Running][usize::from(no % 13 == 0)];
        batch.push(Op::Create(one.into()));
        let stopped = Transition {
            marked: no % 17 == 0,
            recoveries: u32::from(no % 19 == 0),
            reason: (no % 23 == 0).then(|| "held_back".into()),
            ..to(Status::Queued, 3)
        };
        batch.push(Op::Status(no, if no % 7 == 0 { 1 } else { no }, stopped));
    }
    let _ = store.commit(&batch).unwrap();
    let expected = recovered(&mut *store).instances;
    store = place.crash(store);
    let mut knowing = Knowing::default();
    store.recover(&Domain::Whole, &mut knowing).unwrap();
    let (newcomers, rows): (Vec<Row>, Vec<Row>) = expected
        .into_iter()
        .partition(|it| it.is_newcomer() && &*it.version != "v4");
    assert!(
        newcomers.len() > 15 && rows.len() > 50,
        "{}",
        newcomers.len()
    );
    assert_eq!(knowing.rows, rows);
    assert_eq!(knowing.newcomers.len(), newcomers.len());
    for (found, row) in knowing.newcomers.iter().zip(newcomers) {
        let code = knowing.codes.iter().find(|it| it.0 == found.code).unwrap();
        assert_eq!(
            code.1,
            format!("{}/{}/{}", row.namespace, row.workflow, row.version)
        );
        assert_eq!(found.key, Key::new(&row.namespace, &row.workflow, &row.id));
        let same = (row.no, row.priority, row.start_at);
        assert_eq!((found.no, found.priority, found.start_at), same);
    }
}

fn what_has_ended_in_numbers_is_kept_per_workflow(place: &mut dyn Place) {
    let mut store = place.open();
    let of = |namespace: &str, workflow: &str, counts| Ended {
        namespace: namespace.into(),
        workflow: workflow.into(),
        counts,
        versions: vec![("1".into(), counts)],
    };
    let op = |it: &Ended| Op::Ended(Box::new(it.clone()));
    let mut other = new(2, "b");
    other.namespace = "acme".into();
    let (first, second) = (
        of("default", "orders", [1, 0, 7]),
        of("acme", "orders", [0, 2, 0]),
    );
    let _ = store
        .commit(&[
            create(1, "a"),
            Op::Create(other.into()),
            op(&first),
            op(&second),
        ])
        .unwrap();
    let mut more = of("default", "orders", [2, 0, 7]);
    // A version of which there never was an instance has ended nothing.
    more.versions.push(("9".into(), [1, 1, 1]));
    // One without instances has ended nothing.
    let nobody = of("default", "nobody", [1, 1, 1]);
    let _ = store.commit(&[op(&more), op(&nobody)]).unwrap();
    more.versions.pop();
    assert_eq!(store.ended().unwrap(), [second.clone(), more.clone()]);
    store = place.crash(store);
    assert_eq!(store.ended().unwrap(), [second, more]);
}
