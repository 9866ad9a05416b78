//! What instances do here: one act after the other, drawn from the seed and their id.

use super::super::dice::Dice;

/// Those who get the events that nobody else waits for, and end last.
pub(super) const HUBS: [&str; 3] = ["hub0", "hub1", "hub2"];
/// Ids that more than one instance wants to create.
const SHARED: [&str; 3] = ["s0", "s1", "s2"];

/// One thing that a body does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Step,
    /// Sends an event to the instance with this id.
    Post(String),
    /// Waits for an event of this type.
    Take(&'static str),
    /// Creates this child and waits for its end.
    Call(String),
    /// Calls a child that never ends by itself, and gives that up.
    GiveUp(String),
    /// Creates these children.
    Create(Vec<String>),
    /// Waits for the end of an instance that an earlier act created, if it did.
    Await(String),
    /// Asks for an approval, for so long.
    Ask(Option<i64>),
}

/// Returns the acts of an instance.
pub(super) fn of(seed: u64, id: &str) -> Vec<Act> {
    if HUBS.contains(&id) {
        return vec![Act::Take("end")];
    }
    let hash = |sum: u64, byte: u8| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte);
    let mut dice = Dice::new(id.bytes().fold(seed ^ 0x0a5e, hash));
    if id.ends_with('!') {
        // One that is given up may have called another.
        let calls = !id.ends_with("!!") && dice.once_in(2);
        return vec![if calls {
            Act::Call(format!("{id}!"))
        } else {
            Act::Take("never")
        }];
    }
    let depth = id.matches('.').count();
    let root = id.starts_with('r') && depth == 0;
    let last = id.starts_with('s') || depth > 1;
    let mut acts = Vec::new();
    for at in 0..=dice.roll(if root { 5 } else { 2 }) {
        let child = format!("{id}.{at}");
        match dice.roll(10) {
            0 => acts.push(Act::Step),
            1 if root => acts.push(Act::Take("a")),
            2 if root => acts.push(Act::Ask((!dice.once_in(3)).then_some(1 << 60))),
            3 | 4 if !last => acts.push(Act::Call(shared(&mut dice, 4).unwrap_or(child))),
            5 if !last => acts.push(Act::GiveUp(format!("{child}!"))),
            6 | 7 if !last => {
                let mut some = vec![child.clone()];
                if dice.once_in(2) {
                    some.push(shared(&mut dice, 2).unwrap_or(format!("{child}b")));
                }
                acts.push(Act::Create(some));
                acts.push(Act::Await(child));
            }
            8 => acts.push(Act::Post(format!("r{}", dice.roll(4)))),
            _ => acts.push(Act::Post(dice.pick(&HUBS).into())),
        }
    }
    acts
}

/// Returns an id that others want as well, once in so many times.
fn shared(dice: &mut Dice, times: u64) -> Option<String> {
    dice.once_in(times).then(|| dice.pick(&SHARED).into())
}

/// Returns whether an instance raises in the end.
pub(super) fn fails(seed: u64, id: &str) -> bool {
    let hash = |sum: u64, byte: u8| sum.wrapping_mul(31) ^ u64::from(byte);
    Dice::new(id.bytes().fold(seed ^ 0xfa11, hash)).once_in(5)
}
