use super::book::{Book, WORKFLOWS};
use super::*;
use proptest::prelude::*;

fn one(limit: Limit, value: f64) -> Layer {
    let name = limit.rule().name;
    checked(&[(name, Some(value))], false).expect("it is in range")
}

fn changes(of: &[(&str, Option<f64>)]) -> Vec<(Box<str>, Option<f64>)> {
    of.iter().map(|(name, it)| ((*name).into(), *it)).collect()
}

#[test]
fn the_table_is_in_order_and_its_defaults_are_in_range() {
    for (at, rule) in TABLE.iter().enumerate() {
        assert_eq!(rule.limit as usize, at, "{}", rule.name);
        assert_eq!(Limit::named(rule.name).map(|it| it.limit), Ok(rule.limit));
        if let Some(value) = rule.default {
            assert_eq!(check(rule, value), Ok(()), "{}", rule.name);
        }
    }
}

/// Every limit with every set of layers, against the sentence in the contract.
#[test]
fn the_strongest_layer_that_says_something_counts() {
    for rule in &TABLE {
        for said in 0..16u32 {
            let value = |bit: u32| f64::from(10 + bit);
            let layer = |bit: u32| {
                if said >> bit & 1 == 1 {
                    one(rule.limit, value(bit))
                } else {
                    Layer::default()
                }
            };
            let layers = Layers {
                workflow_live: layer(3),
                workflow_code: layer(2),
                namespace_live: layer(1),
                namespace_base: layer(0),
            };
            let first = |from: &[u32]| from.iter().find(|it| said >> **it & 1 == 1).copied();
            let namespace = first(&[1, 0]).map(value);
            let all = first(&[3, 2]).map(value).or(namespace).or(rule.default);
            let namespace = namespace.or(rule.default);
            let expected = match rule.limit {
                Limit::Concurrency => {
                    let own = first(&[3, 2]).map_or(f64::MAX, value);
                    Some(own.min(namespace.expect("it has a default")))
                }
                // It means nothing without a rate.
                Limit::CreateBurst => first(&[3, 2]).map(value),
                _ => all,
            };
            assert_eq!(
                layers.in_force(rule.limit),
                expected,
                "{} {said:04b}",
                rule.name
            );
        }
    }
}

#[test]
fn what_may_come_at_once_is_a_seconds_worth_and_at_least_one() {
    for (rate, burst) in [(300.0, 300.0), (2.5, 2.5), (0.25, 1.0)] {
        let mut layers = Layers {
            namespace_base: one(Limit::CreateRate, rate),
            ..Layers::default()
        };
        assert_eq!(layers.create_rate(), Some((rate, burst)));
        layers.namespace_live = one(Limit::CreateBurst, 7.0);
        assert_eq!(layers.create_rate(), Some((rate, 7.0)));
    }
    assert_eq!(Layers::default().create_rate(), None);
}

#[test]
fn values_out_of_range_are_refused_by_name_value_and_range() {
    let huge = f64::INFINITY;
    for rule in &TABLE {
        for value in [0.0, -1.0, f64::NAN, huge, -huge, rule.most * 2.0] {
            let text = checked(&[(rule.name, Some(value))], false).expect_err(rule.name);
            assert!(text.contains(rule.name) && text.contains("from"), "{text}");
        }
        for value in [rule.least, rule.most] {
            let layer = checked(&[(rule.name, Some(value))], false);
            assert_eq!(layer.map(|it| it.get(rule.limit)), Ok(Some(value)));
        }
        let fraction = checked(&[(rule.name, Some(rule.least + 0.5))], false);
        assert_eq!(fraction.is_err(), rule.whole, "{}", rule.name);
        let own = checked(&[(rule.name, Some(rule.least))], true);
        assert_eq!(own.is_ok(), rule.of_workflow, "{}", rule.name);
    }
    let text = checked(&[("concurrency", Some(1.5))], false).expect_err("no fraction");
    let says = "concurrency is 1.5; give a whole number from 1 to 1,000,000.";
    assert_eq!(text, says);
    let text = checked(&[("speed", Some(1.0))], false).expect_err("no such limit");
    assert!(
        text.contains("\"speed\"") && text.contains("create_rate"),
        "{text}"
    );
}

#[test]
fn a_change_with_one_wrong_value_changes_nothing() {
    let mut book = Book::default();
    let both = changes(&[("steps", Some(5.0)), ("concurrency", Some(0.0))]);
    assert!(book.change("a", None, &both).is_err());
    assert!(book.change("a", Some("w"), &both).is_err());
    assert_eq!(book.stored("a"), None);
    for name in ["", "-a", "a b", "ä", &"a".repeat(65), "a\n"] {
        let one = changes(&[("steps", Some(5.0))]);
        assert!(book.change(name, None, &one).is_err(), "{name:?}");
        assert!(book.change("a", Some(name), &one).is_err(), "{name:?}");
        assert!(book.open(name, Layer::default(), 0).is_err(), "{name:?}");
    }
    assert_eq!(book.stored("a"), None);
}

#[test]
fn what_the_code_says_holds_in_every_namespace_until_it_is_overridden() {
    let code = |value| one(Limit::Steps, value);
    let mut book = Book::new(&[("w".into(), code(5.0)), ("w".into(), code(6.0))]);
    let steps = |book: &Book, namespace| book.layers(namespace, Some("w")).in_force(Limit::Steps);
    assert_eq!(steps(&book, "any"), Some(6.0), "the last version's");
    book.change("any", None, &changes(&[("steps", Some(4.0))]))
        .expect("in range");
    assert_eq!(steps(&book, "any"), Some(6.0));
    book.change("any", Some("w"), &changes(&[("steps", Some(7.0))]))
        .expect("in range");
    assert_eq!(
        (steps(&book, "any"), steps(&book, "other")),
        (Some(7.0), Some(6.0))
    );
    book.change("any", Some("w"), &changes(&[("steps", None)]))
        .expect("cleared");
    assert_eq!(steps(&book, "any"), Some(6.0));
}

#[test]
fn opening_without_limits_keeps_what_is_stored_and_with_some_replaces_all_of_it() {
    let mut book = Book::default();
    assert_eq!(book.open("a", one(Limit::Steps, 5.0), 0), Ok(true));
    assert_eq!(book.open("a", Layer::default(), 0), Ok(false));
    assert_eq!(book.layers("a", None).in_force(Limit::Steps), Some(5.0));
    assert_eq!(book.open("a", one(Limit::Steps, 5.0), 0), Ok(false));
    assert_eq!(book.open("a", one(Limit::Recoveries, 3.0), 0), Ok(true));
    assert_eq!(
        book.layers("a", None).in_force(Limit::Steps),
        Some(100_000.0)
    );
}

#[test]
fn the_number_of_workflows_with_limits_of_their_own_is_bounded_and_clearing_makes_room() {
    let mut book = Book::default();
    let set = changes(&[("steps", Some(5.0))]);
    for at in 0..WORKFLOWS {
        book.change("a", Some(&format!("w{at}")), &set)
            .expect("there is room");
    }
    let text = book.change("a", Some("more"), &set).expect_err("no room");
    assert!(
        text.contains("1000 workflows") && text.contains("clear"),
        "{text}"
    );
    book.change("a", Some("w7"), &set)
        .expect("it is there already");
    book.change("a", Some("w7"), &changes(&[("steps", None)]))
        .expect("cleared");
    book.change("a", Some("more"), &set).expect("there is room");
}

fn layers() -> impl Strategy<Value = Vec<(Box<str>, Option<f64>)>> {
    let value = prop::option::of(1u32..1_000).prop_map(|it| it.map(f64::from));
    prop::collection::vec((0..TABLE.len(), value), 0..6).prop_map(|it| {
        it.into_iter()
            .map(|(at, value)| (TABLE[at].name.into(), value))
            .collect()
    })
}

proptest! {
    #[test]
    fn what_is_stored_comes_back(
        acts in prop::collection::vec((0usize..3, prop::option::of(0usize..4), layers()), 0..30)
    ) {
        let mut book = Book::default();
        for (namespace, workflow, changes) in acts {
            let namespace = ["a", "b-2", "C"][namespace];
            let workflow = workflow.map(|it| ["w", "x", "y_1", "z"][it]);
            // Some are refused: they name a limit that no workflow has.
            let _ = book.change(namespace, workflow, &changes);
        }
        let mut again = Book::default();
        let mut places = Vec::new();
        for namespace in ["a", "b-2", "C"] {
            if let Some((place, bytes)) = book.stored(namespace) {
                places.push(place);
                prop_assert!(again.restore(place, &bytes));
            }
        }
        places.sort_unstable();
        prop_assert!(places.iter().copied().eq(0..places.len() as u32), "{places:?}");
        for namespace in ["a", "b-2", "C"] {
            prop_assert_eq!(again.stored(namespace), book.stored(namespace));
            for workflow in [None, Some("w"), Some("x"), Some("y_1"), Some("z")] {
                let of = |it: &Book| it.in_force(namespace, workflow);
                prop_assert_eq!(of(&again), of(&book));
            }
        }
    }

    #[test]
    fn whatever_was_stored_is_read_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..80), whole in any::<bool>(), at in any::<prop::sample::Index>(), by in any::<u8>(),
    ) {
        if whole {
            let mut book = Book::default();
            let set: Vec<(Box<str>, _)> = vec![("steps".into(), Some(5.0))];
            prop_assert!(book.change("name", None, &set).is_ok());
            prop_assert!(book.change("name", Some("w"), &set).is_ok());
            bytes = book.stored("name").expect("it was set").1.into();
            let at = at.index(bytes.len());
            bytes[at] ^= by;
        }
        let mut book = Book::default();
        if book.restore(0, &bytes) {
            // It holds valid values only, so that it can be stored again.
            let names = ["name", "w"];
            prop_assert!(names.iter().all(|it| book.stored(it).is_none_or(|it| it.0 == 0)));
        }
    }
}
