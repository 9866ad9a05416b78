//! What the instances of a simulation do: small programs, drawn from the seed and the instance's
//! id.
//!
//! A program is a few strands that run side by side, each a list of acts; its operations are named
//! by strand and place, so a body that is started over finds itself in its history again. The
//! outside and the oracle can ask what an instance will do without running it.

use super::dice::Dice;
use crate::history::{Kind, Operation};
use crate::ids::Incarnation;

/// The namespaces of every simulation.
pub(super) const NAMESPACES: [&str; 2] = ["default", "b"];
/// The workflows of each namespace.
pub(super) const WORKFLOWS: [&str; 3] = ["w0", "w1", "w2"];
/// Those that each of them has.
pub(super) const VERSIONS: [&str; 2] = ["1", "2"];
/// Types of events that bodies wait for.
pub(super) const TYPES: [&str; 2] = ["a", "b"];

/// A workflow of a namespace, by number.
pub(super) type Account = usize;

/// How many accounts there are.
pub(super) const ACCOUNTS: usize = NAMESPACES.len() * WORKFLOWS.len();

/// Returns the number of the namespace of an account.
pub(super) fn namespace(account: Account) -> usize {
    account / WORKFLOWS.len()
}

/// Returns the number of the workflow of an account.
pub(super) fn workflow(account: Account) -> usize {
    account % WORKFLOWS.len()
}

/// Returns the account with these names.
pub(super) fn account(namespace: &str, workflow: &str) -> Account {
    let place = |names: &[&str], name| names.iter().position(|it| *it == name);
    let namespace = place(&NAMESPACES, namespace).expect("the simulation named it");
    let workflow = place(&WORKFLOWS, workflow).expect("the simulation named it");
    namespace * WORKFLOWS.len() + workflow
}

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Time: so many microseconds.
    Time(i64),
    /// An event of one of these types, as a set of bits.
    Event(u8),
    /// A decision.
    Approval,
    /// The end of a child that is created with the wait.
    Child,
}

/// One thing a strand does after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A step that works at once.
    Step,
    /// A step that reports, saves a value and then works.
    Save,
    /// A step that fails so often first.
    Flaky(u32),
    /// A wait, with a timeout or for ever.
    Wait(For, Option<i64>),
    /// Creates so many children and goes on.
    Spawn(u8),
    /// Waits for the first child that the act at this place created.
    Result(usize),
    /// Sends an event to the next instance.
    Post,
    /// Answers the event that the wait at this place took, if it took one.
    Answer(usize),
    /// A wait that is given up when the step beside it is done first.
    Race(For),
    /// A wait nobody looks at again: the end of the body gives it up.
    Leave(For),
}

/// A whole program.
#[derive(Debug)]
pub(super) struct Program {
    /// Lists of acts that run side by side.
    pub(super) strands: Vec<Vec<Act>>,
    /// Whether it raises in the end.
    pub(super) fails: bool,
    /// Whether an attempt that was given up outlives it.
    pub(super) lingers: bool,
    /// How often it goes on as new before it ends.
    pub(super) renewals: u32,
    /// Whether it does so when its first strand is through, whatever the others are at.
    pub(super) hasty: bool,
}

impl Program {
    /// Returns the program of an instance. One whose id was generated does nothing but a step:
    /// nobody knows in time what else it would wait for.
    pub(super) fn of(seed: u64, id: &str) -> Self {
        if !id.starts_with('i') {
            let sum: u32 = id.bytes().map(u32::from).sum();
            return Self {
                strands: vec![vec![Act::Step]],
                fails: false,
                lingers: sum.is_multiple_of(5),
                renewals: u32::from(sum.is_multiple_of(7)),
                hasty: false,
            };
        }
        let hash = |sum: u64, byte: u8| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte);
        let mut dice = Dice::new(id.bytes().fold(seed ^ 0x5157, hash));
        let depth = id.matches('.').count();
        let strands = 1 + usize::from(dice.once_in(3));
        let most = if depth == 0 { 4 } else { 2 };
        let strands = (0..strands).map(|_| strand(&mut dice, most, depth < 2));
        Self {
            strands: strands.collect(),
            fails: dice.once_in(8),
            lingers: dice.once_in(5),
            renewals: [0, 0, 0, 1, 2][dice.roll(5) as usize],
            hasty: dice.once_in(2),
        }
    }

    /// Returns how many of its waits take events of this type.
    pub(super) fn takers(&self, kind: usize) -> usize {
        let takes = |act: &&Act| match act {
            Act::Wait(For::Event(types), _)
            | Act::Race(For::Event(types))
            | Act::Leave(For::Event(types)) => types & 1 << kind != 0,
            _ => false,
        };
        self.strands.iter().flatten().filter(takes).count()
    }

    /// Returns its acts with their places.
    pub(super) fn acts(&self) -> impl Iterator<Item = (usize, usize, Act)> + '_ {
        let numbered = self.strands.iter().enumerate();
        numbered.flat_map(|(strand, acts)| {
            let acts = acts.iter().enumerate();
            acts.map(move |(at, act)| (strand, at, *act))
        })
    }
}

fn strand(dice: &mut Dice, most: u64, bears: bool) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    for at in 0..=dice.roll(most) as usize {
        let what = wait(dice, bears);
        let act = match dice.roll(16) {
            0..=2 => Act::Step,
            3 => Act::Save,
            4 | 5 => Act::Flaky(1 + dice.roll(2) as u32),
            6..=9 => {
                let timed = !matches!(what, For::Time(_) | For::Child) && dice.once_in(3);
                Act::Wait(what, timed.then(|| 1 + dice.roll(12) as i64))
            }
            10 | 11 => Act::Race(what),
            12 => Act::Leave(what),
            13 => Act::Post,
            14 if bears => Act::Spawn(1 + dice.roll(2) as u8),
            _ => match acts.iter().position(|it| matches!(it, Act::Spawn(_))) {
                Some(spawn) if spawn < at => Act::Result(spawn),
                _ => answer_or_step(&acts),
            },
        };
        acts.push(act);
    }
    acts
}

/// An event that was waited for is answered, and perhaps a second time.
fn answer_or_step(acts: &[Act]) -> Act {
    let takes = |it: &Act| matches!(it, Act::Wait(For::Event(_), _));
    acts.iter().rposition(takes).map_or(Act::Step, Act::Answer)
}

fn wait(dice: &mut Dice, bears: bool) -> For {
    match dice.roll(8) {
        0 | 1 => For::Time(dice.roll(10) as i64),
        2..=4 => For::Event(1 + dice.roll(3) as u8),
        5 | 6 => For::Approval,
        _ if bears => For::Child,
        _ => For::Event(1),
    }
}

/// Returns the operation at a place; `side` for the wait of a race.
pub(super) fn operation(kind: Kind, strand: usize, at: usize, side: bool) -> Operation {
    Operation {
        kind,
        branch: ["", "1"][strand].into(),
        name: if side { "side" } else { "op" }.into(),
        key: None,
        count: at as u32 + 1,
    }
}

/// Returns the kind of a wait's operation.
pub(super) fn kind_of(what: For) -> Kind {
    match what {
        For::Time(_) => Kind::Sleep,
        For::Event(_) => Kind::Event,
        For::Approval => Kind::Approval,
        For::Child => Kind::Call,
    }
}

/// Returns the id of a child of the act at a place.
pub(super) fn child_id(id: &str, strand: usize, at: usize, which: u8) -> String {
    format!("{id}.{strand}{at}{which}")
}

/// Whether the child that an act calls has an id of its own.
pub(super) fn has_own_id(strand: usize, at: usize) -> bool {
    (strand + at) % 3 != 1
}

/// Returns the id of a child that is called without one: it is made from who calls it.
pub(super) fn derived_id(by: Incarnation, strand: usize, at: usize) -> String {
    format!("{by:08x}-0000-5000-8000-0000000000{strand}{at}")
}

/// Returns the id of an approval asked for at a place, as its user knows it.
pub(super) fn approval_id(account: Account, id: &str, strand: usize, at: usize) -> Box<str> {
    format!("{}/{id}#{strand}#{at}", WORKFLOWS[workflow(account)]).into()
}

/// Returns the account in which an instance's children run.
pub(super) fn account_of_children(parent: Account) -> Account {
    namespace(parent) * WORKFLOWS.len() + (workflow(parent) + 1) % WORKFLOWS.len()
}
