use super::*;
use proptest::prelude::*;

const SECOND: Micros = 1_000_000;

impl Rate {
    /// Asks as the engine does; returns how long to wait if it is too soon.
    fn ask(&mut self, count: u32, id: Option<u64>, now: Micros) -> Option<Micros> {
        let who = id.map_or(Who::Stranger, Who::Id);
        let refused = !self.lets_in(count, who, now);
        refused.then(|| self.promise(count, who, now))
    }
}

fn micros(of: Micros) -> f64 {
    Duration::from_micros(of.unsigned_abs()).as_secs_f64() * 1e6
}

#[test]
fn c10_a_hundred_callers_that_wait_as_told_all_get_in_the_first_time_they_come_back() {
    for per_second in [0.5, 10.0, 333.0] {
        let mut rate = Rate::new(per_second, 1.0, 0);
        assert_eq!(rate.ask(1, None, 0), None);
        let told: Vec<_> = (0..100).map(|_| rate.ask(1, None, 0)).collect();
        for (at, wait) in (1u32..).zip(&told) {
            let expected = f64::from(at) / per_second * 1e6;
            let wait = micros(wait.expect("the burst is used up"));
            assert!((wait - expected).abs() <= 1.0, "{wait} {expected}");
        }
        // A little late, as sleepers are.
        for wait in told.into_iter().flatten() {
            assert_eq!(rate.ask(1, None, wait + 1_500), None, "after {wait}");
        }
    }
}

#[test]
fn c10_a_moment_is_given_back_when_its_window_is_over() {
    let mut rate = Rate::new(1.0, 1.0, 0);
    assert_eq!(rate.ask(1, None, 0), None);
    assert_eq!(rate.ask(1, None, 0), Some(SECOND));
    assert_eq!(rate.ask(1, None, 0), Some(2 * SECOND));
    // The first of the two never comes: a stranger gets what it left, and the second its own.
    let after = 2 * SECOND + 10;
    assert_eq!(rate.ask(1, Some(7), after), None);
    assert_eq!(rate.ask(1, None, after), None);
    assert_eq!(rate.ask(1, None, after), Some(SECOND));
}

#[test]
fn c10_one_that_is_known_keeps_its_moment_however_often_it_comes_too_early() {
    let mut rate = Rate::new(1.0, 1.0, 0);
    assert_eq!(rate.ask(1, Some(7), 0), None);
    assert_eq!(rate.ask(1, Some(8), 0), Some(SECOND));
    for now in (0..SECOND).step_by(1_000) {
        assert_eq!(rate.ask(1, Some(8), now), Some(SECOND - now));
    }
    // Nobody was pushed away by that, and no stranger takes what is not his.
    assert_eq!(rate.ask(1, None, SECOND), Some(SECOND));
    assert_eq!(rate.ask(1, Some(8), SECOND), None);
    assert_eq!(rate.ask(1, None, 2 * SECOND), None);
}

#[test]
fn c10_whoever_hammers_pushes_others_a_bounded_time_away() {
    for (per_second, farthest) in [(1.0, 129.0), (300.0, 10.1), (100_000.0, 0.1)] {
        let mut rate = Rate::new(per_second, 1.0, 0);
        let told = (0..20_000).map(|_| rate.ask(1, None, 0));
        let told = micros(told.flatten().max().expect("refused")) / 1e6;
        assert!(told <= farthest, "{told} at {per_second} per second");
        assert!(rate.moments.len() as u64 <= MOMENTS_MAX);
        // Nobody comes back: in the end all is as it was.
        assert_eq!(rate.ask(1, Some(1), 1_000 * SECOND), None);
        assert!(rate.moments.is_empty());
    }
}

#[test]
fn c10_a_batch_is_let_in_as_a_whole_and_one_beyond_the_burst_waits_for_its_tokens() {
    let mut rate = Rate::new(100.0, 50.0, 0);
    assert_eq!(rate.ask(20, None, 0), None);
    assert_eq!(rate.ask(40, Some(1), 0), Some(SECOND / 10));
    assert_eq!(rate.ask(40, Some(1), SECOND / 10), None);
    let mut rate = Rate::new(100.0, 50.0, 0);
    assert_eq!(rate.ask(10_000, Some(1), 0), Some(99 * SECOND + SECOND / 2));
    // Another one of that size is told when to ask again; single ones get moments of their own.
    assert_eq!(
        rate.ask(10_000, Some(2), 0),
        Some(199 * SECOND + SECOND / 2)
    );
    assert_eq!(
        rate.ask(1, None, 0),
        Some(99 * SECOND + SECOND / 2 + SECOND / 100)
    );
    assert_eq!(rate.ask(10_000, Some(1), 99 * SECOND + SECOND / 2), None);
}

#[test]
fn a_clock_that_jumps_back_makes_nobody_wait_for_it() {
    let mut rate = Rate::new(1.0, 1.0, 0);
    let day = 86_400 * SECOND;
    assert_eq!(rate.ask(1, None, day), None);
    assert_eq!(rate.ask(1, Some(3), day), Some(SECOND));
    assert_eq!(rate.ask(1, Some(3), 5), Some(SECOND));
    assert_eq!(rate.ask(1, Some(3), 5 + SECOND), None);
}

#[test]
fn another_rate_counts_at_once_and_promises_are_kept() {
    let mut rate = Rate::new(1.0, 100.0, 0);
    assert_eq!(rate.ask(99, None, 0), None);
    assert_eq!(rate.ask(3, Some(1), 0), Some(2 * SECOND));
    rate.set(1_000.0, 10.0, 0);
    assert_eq!(rate.ask(1, Some(2), 0), Some(3_000));
    assert_eq!(rate.ask(3, Some(1), 2 * SECOND), None);
    assert_eq!(
        rate.ask(11, Some(9), 10 * SECOND),
        Some(1_000),
        "the burst is 10 now"
    );
}

#[derive(Debug, Clone)]
enum Act {
    /// Somebody asks, and comes back so many microseconds after it was told to, if at all.
    Ask(u32, Option<i64>),
    Pass(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let count = prop_oneof![4 => Just(1u32), 1 => 1u32..40];
    let late = prop_oneof![3 => (0..MOMENT_WINDOW).prop_map(Some), 1 => Just(None)];
    let ask = (count, late).prop_map(|(count, late)| Act::Ask(count, late));
    let pass = (-SECOND..3 * SECOND).prop_map(Act::Pass);
    prop::collection::vec(prop_oneof![4 => ask, 1 => pass], 1..120)
}

proptest! {
    /// However callers come, the sum of what was let in stays under the line. Whoever waits as
    /// told is let in then, as long as no stranger asks for what is not reserved meanwhile.
    #[test]
    fn no_more_than_the_rate_is_let_in_and_who_waits_as_told_is(
        acts in acts(), per_second in 1u32..200, burst in 1u32..20,
    ) {
        let (per_second, burst) = (f64::from(per_second), f64::from(burst));
        let mut rate = Rate::new(per_second, burst, 0);
        let (mut now, mut clock, mut owner, mut let_in) = (0i64, 0i64, 0u64, 0.0);
        // Who will come back: when on the clock that never jumps, and as whom.
        let mut later: Vec<(i64, u32, u64, bool)> = Vec::new();
        for act in acts {
            match act {
                Act::Ask(count, late) => {
                    owner += 1;
                    let places = rate.moments.len();
                    match rate.ask(count, Some(owner), now) {
                        None => let_in += f64::from(count),
                        Some(wait) => {
                            prop_assert!(wait > 0);
                            let promised = rate.moments.len() > places;
                            later.extend(late.map(|it| (clock + wait + it, count, owner, promised)));
                        }
                    }
                }
                Act::Pass(by) => {
                    let to = clock + by.max(0);
                    later.sort_unstable();
                    let due = later.partition_point(|it| it.0 <= to);
                    for (at, count, owner, promised) in later.drain(..due) {
                        now += at - clock;
                        clock = at;
                        let told = rate.ask(count, Some(owner), now);
                        prop_assert!(told.is_none() || !promised, "{told:?}");
                        let_in += if told.is_none() { f64::from(count) } else { 0.0 };
                        let line = burst + micros(clock) / 1e6 * per_second;
                        prop_assert!(let_in <= line + 1e-3, "{let_in} over {line}");
                    }
                    now += if by < 0 { by } else { to - clock };
                    clock = to;
                    // What passed before a jump back that nobody saw is not known.
                    rate.pass(now);
                }
            }
            let line = burst + micros(clock) / 1e6 * per_second;
            prop_assert!(let_in <= line + 1e-3, "{let_in} over {line}");
        }
        // C2 for the rate: when all promises are over, a full burst is there again.
        let rest = (burst / per_second * 1e6).ceil() as i64 + 10_000 * SECOND;
        prop_assert_eq!(rate.ask(burst as u32, Some(0), now + rest), None);
    }

    /// Strangers, all alike: whoever comes within the window of its own moment is let in, whatever
    /// the order in which they come.
    #[test]
    fn strangers_that_wait_as_told_are_let_in_in_whatever_order_they_come(
        late in prop::collection::vec(0..MOMENT_WINDOW, 1..128), per_second in 1u32..500,
    ) {
        let mut rate = Rate::new(f64::from(per_second), 1.0, 0);
        prop_assert_eq!(rate.ask(1, None, 0), None);
        let mut comes: Vec<i64> = Vec::new();
        for late in late {
            comes.push(rate.ask(1, None, 0).expect("too soon") + late);
        }
        comes.sort_unstable();
        for now in comes {
            prop_assert_eq!(rate.ask(1, None, now), None);
        }
    }
}

#[test]
fn c10_strangers_that_hammer_keep_nobody_out_who_has_an_id_or_waits() {
    for who in [Who::Id(1), Who::Waits(1)] {
        let mut rate = Rate::new(20.0, 5.0, 0);
        let mut told = None;
        let mut let_in = 0;
        for now in (0..30 * SECOND).step_by(1_000) {
            let_in += u32::from(rate.ask(1, None, now).is_none());
            if now == 3 * SECOND {
                assert!(!rate.lets_in(1, who, now));
                told = Some(now + rate.promise(1, who, now));
            }
            if told.is_some_and(|it| it <= now) {
                assert!(rate.lets_in(1, who, now), "it comes as told");
                assert!(now <= 13_100_000, "{now}");
                told = None;
            }
        }
        assert!(let_in > 590, "the rate is used: {let_in}");
    }
}

#[test]
fn c10_whoever_waits_has_a_moment_however_many_do_and_comes_sooner_at_a_higher_rate() {
    let mut rate = Rate::new(1.0, 1.0, 0);
    assert!(rate.lets_in(1, Who::Stranger, 0));
    for ticket in 1..=10_000 {
        let wait = rate.promise(1, Who::Waits(ticket), 0);
        assert_eq!(wait, ticket as i64 * SECOND);
    }
    // It is there, however long its moment is past.
    assert!(rate.lets_in(1, Who::Waits(1), 100 * SECOND));
    rate.set(1_000.0, 1.0, 100 * SECOND);
    assert!(rate.lets_in(1, Who::Waits(2), 100 * SECOND));
    assert_eq!(rate.promise(1, Who::Waits(3), 100 * SECOND), 1_000);
    rate.forget(1, Who::Waits(3));
    assert_eq!(rate.promise(1, Who::Waits(4), 100 * SECOND), 1_000);
}

#[test]
fn c10_what_is_left_is_known_in_the_next_life_whatever_the_clock_did_meanwhile() {
    let mut rate = Rate::new(10.0, 20.0, 0);
    assert!(rate.lets_in(20, Who::Stranger, 0));
    // Moments are promises of this life: they are no part of what was taken.
    assert_eq!(rate.ask(5, Some(1), 0), Some(SECOND / 2));
    let left = rate.take_spent().expect("it was taken");
    assert_eq!((left, rate.take_spent()), (0, None));
    for (now, expected) in [(SECOND, 10), (9 * SECOND, 20), (0, 0), (-90 * SECOND, 0)] {
        let mut next = Rate::new(10.0, 20.0, now);
        next.restore(left, 0, now);
        let let_in = (0..40)
            .filter(|_| next.lets_in(1, Who::Stranger, now))
            .count();
        assert_eq!(let_in, expected, "{now}");
    }
}
