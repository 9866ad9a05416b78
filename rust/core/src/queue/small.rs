//! Sizes of a thread's queues, for tests: far below the real ones, so that a handful of entries
//! takes every form and is handed over in several slices.

use std::cell::Cell;

thread_local! {
    static TURN: Cell<Option<u32>> = const { Cell::new(None) };
    static SIZES: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Sets of how many slots of a priority one goes to the oldest new entry; `None`: as ever.
pub(crate) fn set_turn(turn: Option<u32>) {
    TURN.set(turn);
}

/// Returns of how many slots of a priority one goes to the oldest new entry.
pub(crate) fn turn() -> Option<u32> {
    TURN.get()
}

/// Sets how many entries lie in one piece, and how many are handed over in a batch; `None`: as
/// ever.
pub(crate) fn set(sizes: Option<(usize, usize)>) {
    SIZES.set(sizes);
}

/// Returns how many entries lie in one piece.
pub(super) fn short() -> Option<usize> {
    SIZES.get().map(|it| it.0)
}

/// Returns how many entries are handed over in a batch.
pub(crate) fn slice() -> Option<usize> {
    SIZES.get().map(|it| it.1)
}
