//! How SQLite answers whatever is listed: by an index or by number, never by looking at all there
//! is, and in the order in which it lies there.

use std::cell::RefCell;

use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::{large, pages, read, schedules, SqliteStore};
use crate::audit;
use crate::bulk;
use crate::lifecycle::Status;
use crate::schedule::{self, FiringQuery};
use crate::store::samples::{append, create};
use crate::store::{ApprovalFilter, Filter, Store};
use crate::wait::ApprovalStatus;

thread_local! {
    static ASKED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What ends at its first row, unless that is damaged: SQLite cannot be asked for NULL where the
/// schema says that there is none, so those are sought at the beginning of an index.
const FIRST_ROW: [&str; 2] = [
    "SELECT no, workflow FROM instance INDEXED BY instance_status ORDER BY workflow",
    "SELECT number, status FROM approval INDEXED BY approval_status ORDER BY status",
];
/// What is put in order of number by the reader, if there are not too many.
const FEW: &str = "INDEXED BY instance_id WHERE workflow = ? AND id >= ? AND id < ? LIMIT ?";

fn opened(folder: &tempfile::TempDir) -> SqliteStore {
    let mut store = SqliteStore::open(&folder.path().join("plans.db"), "test").unwrap();
    let some: Vec<_> = (1..=40).map(create).collect();
    let _ = store.commit(&some).unwrap();
    let _ = store.commit(&[append(1, "a"), append(2, "b")]).unwrap();
    store
}

/// Filters that ask for each thing there is to ask for, alone and with others.
fn filters() -> Vec<Filter> {
    let all = Filter {
        limit: 5,
        budget: Some(20_000),
        ..Filter::default()
    };
    let mut some = vec![
        all.clone(),
        Filter {
            namespace: Some("default".into()),
            ..all.clone()
        },
        Filter {
            workflow: Some("w1".into()),
            ..all.clone()
        },
        Filter {
            statuses: vec![Status::Running, Status::Queued],
            ..all.clone()
        },
        Filter {
            version: Some("7".into()),
            ..all.clone()
        },
        Filter {
            attributes: vec![("a".into(), [1].into())],
            ..all.clone()
        },
        Filter {
            parents: vec![1, 2],
            ..all.clone()
        },
        Filter {
            schedule: Some("nightly".into()),
            ..all.clone()
        },
        Filter {
            id: Some("7".into()),
            ..all.clone()
        },
        Filter {
            id_prefix: Some("1".into()),
            ..all.clone()
        },
        Filter {
            among: Some(vec![3, 4, 5]),
            ..all.clone()
        },
        Filter {
            created_after: Some(1),
            created_before: Some(9),
            ..all.clone()
        },
    ];
    for it in some.clone() {
        some.push(Filter {
            workflow: Some("w1".into()),
            statuses: vec![Status::Running],
            ..it
        });
    }
    let turned = some.clone().into_iter().map(|it| Filter {
        newest_first: true,
        beyond: Some(30),
        ..it
    });
    some.extend(turned);
    some
}

/// Asks for everything that can be listed.
fn ask(store: &SqliteStore) {
    let (conn, names) = (&store.conn, &store.names);
    for filter in filters() {
        pages::page(conn, names, &filter).unwrap();
    }
    for status in [
        None,
        Some(ApprovalStatus::Open),
        Some(ApprovalStatus::Approved),
    ] {
        let page = ApprovalFilter {
            status,
            namespace: Some("default".into()),
            beyond: Some(1),
            limit: 5,
            ..ApprovalFilter::default()
        };
        read::approvals(conn, names, &page).unwrap();
    }
    for id in [None, Some("1".into())] {
        let page = audit::Query {
            namespace: "default".into(),
            workflow: Some("w1".into()),
            id,
            beyond: None,
            limit: 5,
        };
        read::audit(conn, &page, "plans.db").unwrap();
    }
    let some = bulk::Query {
        limit: 5,
        ..bulk::Query::default()
    };
    read::bulks(conn, &some, "plans.db").unwrap();
    let some = schedule::Query {
        limit: 5,
        ..schedule::Query::default()
    };
    schedules::schedules(conn, &some, "plans.db").unwrap();
    let some = FiringQuery {
        schedule: 1,
        limit: 5,
        ..FiringQuery::default()
    };
    schedules::firings(conn, &some, "plans.db").unwrap();
    large::loose(conn, None, 5).unwrap();
    read::find(conn, names, ["default", "w1", "1"]).unwrap();
    read::waits(conn, 1).unwrap();
    read::payloads(conn, 1).unwrap();
    read::kept(conn, 1, 5).unwrap();
    read::called(conn, names, 1).unwrap();
    read::seen(conn, 1, "d").unwrap();
}

#[test]
fn nothing_is_listed_by_looking_at_all_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder);
    let keep = |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(_, sql) = event {
            ASKED.with_borrow_mut(|it| it.push(sql.to_owned()));
        }
    };
    store
        .conn
        .trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(keep));
    ask(&store);
    store.conn.trace_v2(TraceEventCodes::empty(), None);
    let mut asked = ASKED.take();
    asked.sort();
    asked.dedup();
    assert!(asked.len() > 20, "{asked:#?}");
    for sql in asked {
        let mut explain = store
            .conn
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let mut plan = explain.raw_query();
        while let Some(step) = plan.next().unwrap() {
            let step: String = step.get(3).unwrap();
            let is_known = FIRST_ROW.contains(&&*sql);
            assert!(is_known || !step.starts_with("SCAN"), "{sql}\n{step}");
            let is_few = sql.ends_with(FEW) || sql.contains("GROUP BY type");
            assert!(is_few || !step.contains("TEMP B-TREE"), "{sql}\n{step}");
        }
    }
}
