//! What may happen, and how often: one action, one row.
//!
//! An action does one thing and returns true, or finds that it cannot happen now. Faults are
//! actions like any other. To add one, write the function and a row.

use super::plan::Plan;
use super::world::World;
use super::writer::Stage;
use super::FORGED;
use crate::history::{Kind, Operation, Record, Verdict};
use crate::ids::InstanceNo;
use crate::lifecycle::Status;
use crate::store::memory::Failure;
use crate::submission::{Body, Command, Speech, Submission, Why};
use crate::wait::{Source, Wait};

/// When an action can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// The engine takes submissions.
    Open,
    /// At any time.
    Always,
}

struct Action {
    name: &'static str,
    /// How often, among all.
    weight: u64,
    when: When,
    run: fn(&mut World) -> bool,
}

const fn row(name: &'static str, weight: u64, when: When, run: fn(&mut World) -> bool) -> Action {
    Action {
        name,
        weight,
        when,
        run,
    }
}

const ACTIONS: &[Action] = &[
    row(
        "the outside tries something",
        60,
        When::Open,
        World::run_errand,
    ),
    row("an event comes again", 4, When::Open, World::repeat),
    row(
        "somebody else creates the same",
        3,
        When::Open,
        World::rival,
    ),
    row("strangers create", 5, When::Open, World::strangers),
    row("a creation is given up", 4, When::Open, World::give_up),
    row(
        "somebody resumes what is blocked or paused",
        8,
        When::Open,
        World::resume_blocked,
    ),
    row("somebody pauses one", 5, When::Open, World::pause_one),
    row(
        "somebody terminates one",
        2,
        When::Open,
        World::terminate_one,
    ),
    row(
        "somebody ends one that undoes what it did",
        3,
        When::Open,
        World::undo_one,
    ),
    row("somebody restarts one", 5, When::Open, World::restart_one),
    row("somebody deletes one", 2, When::Open, World::delete_one),
    row(
        "somebody helps one that began anew",
        5,
        When::Open,
        World::help_one,
    ),
    row(
        "somebody wants the next attempt now",
        4,
        When::Open,
        World::retry_one,
    ),
    row(
        "somebody says what a step came to",
        4,
        When::Open,
        World::resolve_one,
    ),
    row(
        "somebody changes the place of one",
        5,
        When::Open,
        World::place_one,
    ),
    row(
        "somebody begins with many",
        2,
        When::Open,
        World::begin_many,
    ),
    row(
        "many are gone on with",
        8,
        When::Open,
        World::go_on_with_many,
    ),
    row("somebody stops that", 1, When::Open, World::stop_many),
    row("a body goes on", 90, When::Open, a_body_goes_on),
    row(
        "a body says that it only waits",
        25,
        When::Open,
        a_body_is_quiet,
    ),
    row("a body leaves memory", 12, When::Open, a_body_parks),
    row("a body cannot go on", 2, When::Open, a_body_blocks),
    row("a body runs again", 2, When::Open, a_body_is_replayed),
    row("the last attempt ends", 6, When::Open, World::let_go),
    row("something comes too late", 8, When::Open, something_late),
    row("Python hears", 50, When::Open, World::poll),
    row("the loader works", 40, When::Open, World::load),
    row("a batch", 70, When::Open, a_batch),
    row("the writer's next step", 60, When::Always, the_writer),
    row("time passes", 20, When::Always, time_passes),
    row("the next timer is due", 10, When::Always, the_next_timer),
    row("the clock jumps", 3, When::Always, the_clock_jumps),
    row("a commit fails", 2, When::Always, a_commit_fails),
    row("the disk is full or has room", 4, When::Always, the_disk),
    row("limits are set", 8, When::Open, limits_are_set),
    row("it is resized", 5, When::Open, it_is_resized),
    row("the process dies", 4, When::Always, it_dies),
    row("the process ends cleanly", 2, When::Open, it_ends),
];

/// Lets one of them happen.
pub(super) fn any(world: &mut World) {
    const SUM: u64 = {
        let (mut sum, mut at) = (0, 0);
        while at < ACTIONS.len() {
            sum += ACTIONS[at].weight;
            at += 1;
        }
        sum
    };
    let mut rolled = world.dice.roll(SUM);
    for action in ACTIONS {
        if rolled < action.weight {
            if action.when == When::Always || world.life.open {
                world.trace(|_| format!("- {}", action.name));
                (action.run)(world);
            }
            return;
        }
        rolled -= action.weight;
    }
}

fn some_body(world: &mut World) -> Option<InstanceNo> {
    let count = world.life.bodies.len() as u64;
    let at = (count > 0).then(|| world.dice.roll(count) as usize)?;
    world.life.bodies.keys().nth(at).copied()
}

fn a_body_goes_on(world: &mut World) -> bool {
    some_body(world).is_some_and(|no| world.run_body(no))
}

fn a_body_is_quiet(world: &mut World) -> bool {
    some_body(world).is_some_and(|no| world.hush(no, true))
}

fn a_body_parks(world: &mut World) -> bool {
    some_body(world).is_some_and(|no| world.park(no))
}

fn a_body_blocks(world: &mut World) -> bool {
    some_body(world).is_some_and(|no| world.block(no))
}

fn a_body_is_replayed(world: &mut World) -> bool {
    some_body(world).is_some_and(|no| world.replay_body(no))
}

/// A body that was unwound, or one of another life of the instance, says something.
fn something_late(world: &mut World) -> bool {
    let mut all: Vec<_> = world
        .truth
        .all
        .values()
        .map(|it| (it.no, it.incarnation))
        .collect();
    all.sort_unstable();
    if all.is_empty() {
        return false;
    }
    let (no, incarnation) = world.dice.pick(&all);
    let incarnation = incarnation + (1 << 40);
    let mut by = Body { no, incarnation };
    if !world.life.unwound.is_empty() && world.dice.once_in(2) {
        by = world.dice.pick(&world.life.unwound);
    }
    let ticket = world.ticket();
    let it = world.truth.all.get(&by.no);
    let open = it.and_then(|it| it.waits.first()).map_or(1, |it| it.id);
    let operation = Operation {
        kind: Kind::Do,
        branch: "".into(),
        name: FORGED.into(),
        key: None,
        count: 1,
    };
    let record = Record {
        operation: operation.clone(),
        attempt: 1,
        verdict: Verdict::Done,
        started_at: 0,
        at: 0,
        begun: None,
        erases: None,
        moment: Some(world.now),
        event: None,
        event_type: None,
        payload: None,
    };
    let number = world.life.sequence.draw();
    let wait = Wait {
        begun: None,
        id: number,
        operation,
        source: Source::Timer,
        opened_at: 0,
        until: Some(world.now + 3),
    };
    let nothing = || FORGED.as_bytes().into();
    let submission = match world.dice.roll(8) {
        0 | 1 => by.says(Speech::Record(ticket, record)),
        2 => by.says(Speech::Retry(number, Box::new(record))),
        3 => by.says(Speech::Open(Box::new(wait))),
        4 => by.says(Speech::Quiet(u64::MAX, u64::MAX)),
        5 => by.says(Speech::Finish(Status::Complete, None, None)),
        6 => by.says(Speech::Withdraw(open)),
        _ => by.says(Speech::Block(Why::from("late"), nothing())),
    };
    world.submit_late(submission);
    world.life.late.insert(ticket);
    true
}

fn a_batch(world: &mut World) -> bool {
    if !matches!(world.life.stage, Stage::Idle) {
        return false;
    }
    let most = 1 + world.dice.roll(12) as usize;
    world.batch(most);
    true
}

/// Decides, commits or applies.
fn the_writer(world: &mut World) -> bool {
    match world.life.stage {
        Stage::Idle => {
            let most = 1 + world.dice.roll(12) as usize;
            world.decide(most);
        }
        Stage::Decided(..) => {
            world.commit(None);
        }
        Stage::Committed(_) => world.apply(),
    }
    true
}

fn time_passes(world: &mut World) -> bool {
    world.now += 1 + world.dice.roll(3) as i64;
    true
}

fn the_next_timer(world: &mut World) -> bool {
    let next = world.life.core.next_timer();
    let near = next.filter(|it| *it < world.now + 1_000);
    world.now = world.now.max(near.unwrap_or(0));
    near.is_some()
}

fn the_clock_jumps(world: &mut World) -> bool {
    let far = world.dice.pick(&[3, 20, 500]);
    world.now += world.dice.roll(2 * far + 1) as i64 - far as i64;
    true
}

/// The store reports an error; what it was given is lost, or there all the same.
fn a_commit_fails(world: &mut World) -> bool {
    if !matches!(world.life.stage, Stage::Decided(..)) || world.full {
        return false;
    }
    let failure = world.dice.pick(&[Failure::Lost, Failure::Unreported]);
    world.commit(Some(failure));
    true
}

fn the_disk(world: &mut World) -> bool {
    if world.full {
        world.room_again();
    } else {
        world.full = world.dice.once_in(3);
        world.store.set_full(world.full);
    }
    true
}

fn it_dies(world: &mut World) -> bool {
    let shards = shards(world);
    let missing = world.dice.once_in(8).then(|| world.dice.roll(3) as usize);
    world.restart(shards, missing);
    true
}

/// How many shards the next engine is told to have.
fn shards(world: &mut World) -> Option<u32> {
    let told = world.dice.once_in(4);
    told.then(|| 1 + world.dice.roll(6) as u32)
}

fn limits_are_set(world: &mut World) -> bool {
    let change = Plan::change(&mut world.dice, world.missing);
    let nonsense = world.dice.once_in(8);
    world.set_limits(change, nonsense);
    true
}

fn it_is_resized(world: &mut World) -> bool {
    let shards = world.dice.pick(&[0, 1, 2, 3, 7, 64, 4_096, 4_097]);
    let ticket = world.ticket();
    world.submit(Submission::Outside(Command::Reshard(ticket, shards)));
    true
}

fn it_ends(world: &mut World) -> bool {
    if world.full || !matches!(world.life.stage, Stage::Idle) {
        return false;
    }
    world.close();
    let shards = shards(world);
    world.restart(shards, None);
    true
}
