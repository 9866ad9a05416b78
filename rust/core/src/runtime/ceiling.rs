//! Which numbers of instances, waits and events are used up: a setting of the store.

use crate::limits::NUMBERS_END;
use crate::sequence::SETTING;
use crate::store::{Error, Filter, Reader, Store};

/// Returns the number above all those that were ever used: one that is used twice would mix two
/// instances.
pub(super) fn read(store: &mut dyn Store, reader: &mut dyn Reader) -> Result<u64, Error> {
    let stored = store.meta(SETTING)?;
    let read = stored
        .as_deref()
        .map(|it| <[u8; 8]>::try_from(it).map(u64::from_le_bytes));
    match read {
        Some(Ok(it)) if it < NUMBERS_END => return Ok(it),
        None => {
            let any = Filter {
                limit: 1,
                ..Filter::default()
            };
            if reader.list(&any)?.is_empty() {
                return Ok(0);
            }
        }
        Some(_) => {}
    }
    Err(Error::Corrupt(format!(
        "setting {SETTING:?} in table meta of the store is damaged: it says which numbers are \
        used up. Nothing was changed. Keep a copy, \
         and restore the file from a backup."
    )))
}
