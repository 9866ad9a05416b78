//! What can be asked of every store: the same facts over memory and `SQLite`.
#![allow(missing_docs, clippy::missing_panics_doc)]

#[macro_use]
mod store_cases;

use std::collections::HashSet;

use stepwell_core::lifecycle::Status;
use stepwell_core::store::{Filter, Op, Row, Store};
use stepwell_core::wait::{Approval, ApprovalStatus};
use store_cases::*;

suite!(
    approvals_are_replaced_by_id_and_listed_oldest_first,
    recovery_hands_over_what_is_not_final_in_order,
    a_few_live_instances_among_many_final_ones_are_recovered,
    lists_are_filtered_and_paged_by_number,
    counts_name_every_state_there_is,
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
    let mut ids = |workflow, status| -> Vec<Box<str>> {
        let found = reader.approvals(workflow, status).unwrap();
        found
            .into_iter()
            .inspect(|it| assert_eq!(it.0.no, it.1.no))
            .map(|it| it.1.id)
            .collect()
    };
    assert_eq!(ids(None, None), ["z".into(), "a".into(), "m".into()]);
    assert_eq!(
        ids(None, Some(ApprovalStatus::Open)),
        ["a".into(), "m".into()]
    );
    assert_eq!(
        ids(Some("orders"), Some(ApprovalStatus::Open)),
        ["m".into()]
    );
    assert_eq!(
        ids(Some("orders"), Some(ApprovalStatus::Rejected)),
        ["z".into()]
    );
    assert_eq!(ids(Some("none"), None), []);
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

fn many(store: &mut dyn Store) {
    for no in 1..=60_u64 {
        let mut one = new(no, &no.to_string());
        one.namespace = if no % 2 == 0 { "even" } else { "odd" }.into();
        one.workflow = format!("w{}", no % 3).into();
        one.version = format!("v{}", no % 5).into();
        one.parent = (no % 7 == 0).then_some(7);
        let status = Status::ALL[no as usize % 9];
        let mut to = to(status, 9);
        to.reason = (status == Status::Blocked && no > 30).then(|| "missing_code".into());
        let _ = store
            .commit(&[Op::Create(one.into()), change(no, to)])
            .unwrap();
    }
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
            reason: Some("missing_code".into()),
            ..all.clone()
        },
        Filter {
            reason: Some("missing_code".into()),
            statuses: vec![Status::Paused],
            ..all.clone()
        },
        Filter {
            parent: Some(7),
            statuses: vec![Status::Complete, Status::Queued],
            ..all.clone()
        },
        Filter {
            created_after: Some(1_010),
            created_before: Some(1_020),
            ..all.clone()
        },
    ]
}

fn fits(filter: &Filter, row: &Row) -> bool {
    filter
        .namespace
        .as_ref()
        .is_none_or(|it| *it == row.namespace)
        && filter
            .workflow
            .as_ref()
            .is_none_or(|it| *it == row.workflow)
        && filter.version.as_ref().is_none_or(|it| *it == row.version)
        && (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
        && (filter.reason.is_none() || filter.reason == row.reason)
        && (filter.parent.is_none() || filter.parent == row.parent)
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
        }
    }
    assert!(seen.len() > 6, "the filters tell instances apart: {seen:?}");
}

fn counts_name_every_state_there_is(place: &mut dyn Place) {
    let mut store = place.open();
    many(&mut *store);
    let mut reader = store.reader().unwrap();
    let even: u64 = reader
        .count("even", None)
        .unwrap()
        .iter()
        .map(|it| it.1)
        .sum();
    assert_eq!(even, 30);
    // 1, 7, 13, …, 55: odd, and 1 when divided by 3.
    let one = reader.count("odd", Some("w1")).unwrap();
    assert_eq!(
        one,
        [
            (Status::Running, 4),
            (Status::Paused, 3),
            (Status::Errored, 3)
        ]
    );
    assert_eq!(reader.count("odd", Some("none")).unwrap(), []);
}
