//! The size of a thread's book of moments, for tests: far below the real one, so that a few callers
//! fill it.

use std::cell::Cell;

thread_local! {
    static MOMENTS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Sets how many creations of strangers may have their moments reserved; `None`: as ever.
pub(crate) fn set_moments(most: Option<u64>) {
    MOMENTS.set(most);
}

/// Returns how many creations of strangers may have their moments reserved.
pub(super) fn moments() -> Option<u64> {
    MOMENTS.get()
}
