//! Sizes of a thread's queues and books, for tests: far below the real ones, so that a handful of entries
//! takes every form and is handed over in several slices, and a few callers fill a book.

use std::cell::Cell;

thread_local! {
    static SIZES: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
    static MOMENTS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Sets how many creations of strangers may have their moments reserved; `None`: as ever.
pub(crate) fn set_moments(most: Option<u64>) {
    MOMENTS.set(most);
}

/// Returns how many creations of strangers may have their moments reserved.
pub(crate) fn moments() -> Option<u64> {
    MOMENTS.get()
}

/// Sets how many entries lie in one piece, and how many are handed over in a batch; `None`: as ever.
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
