//! Values that lie in a payload store, beside the store: what names them in a stored payload.
//!
//! Whoever writes a large value puts it there first and hands over a reference, which begins with
//! two bytes that no other payload begins with, then the key of the value. The rest of it is for
//! whoever reads. Keys are kept from before a value is put until after it was deleted there, so a
//! crash in between leaves nothing behind that nobody knows of. Which of them are in use is not
//! counted: a key that no stored payload names is loose.

/// What a value is found by in its payload store: unlike that of any other.
pub type LargeKey = [u8; 16];

/// What a reference begins with.
pub const MARK: [u8; 2] = [0xff, 0x06];

/// Some keys, and the last that was looked at if there may be others beyond it.
pub type Loose = (Vec<LargeKey>, Option<LargeKey>);

/// Returns which value a payload names, if it is a reference.
#[must_use]
pub fn named(payload: &[u8]) -> Option<LargeKey> {
    payload.strip_prefix(&MARK)?.first_chunk().copied()
}
