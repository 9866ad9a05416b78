//! Ids for instances whose creator gave none: UUIDs of version 7, in ascending order.
//!
//! Ascending ids lie side by side in the store's index, which makes creating them three times as
//! fast as random ones. Invariant: an id is greater than all before it, also when time goes
//! backwards. The time is passed in; randomness is a generator's of this thread, for a system call
//! per id costs more than all else that is done for it.

use uuid::timestamp::context::ContextV7;
use uuid::{Timestamp, Uuid};

use crate::ids::Micros;

/// The source of ids.
#[derive(Debug, Default)]
pub(super) struct Generated {
    context: ContextV7,
    /// In a simulation, which must repeat itself: the number of the next one.
    #[cfg(test)]
    count: std::cell::Cell<Option<u64>>,
}

impl Generated {
    /// Returns the next id.
    pub(super) fn next(&self, now: Micros) -> Box<str> {
        #[cfg(test)]
        if let Some(count) = self.count.get() {
            self.count.set(Some(count + 1));
            return format!("g{count}").into();
        }
        let now = u64::try_from(now).unwrap_or(0);
        let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
        let time = Timestamp::from_unix(&self.context, seconds, micros as u32 * 1_000);
        let mut text = Uuid::encode_buffer();
        (&*Uuid::new_v7(time).hyphenated().encode_lower(&mut text)).into()
    }
}

#[cfg(test)]
impl Generated {
    /// Counts from here on instead of drawing.
    pub(super) fn count_from(&self, ticket: u64) {
        // Far from what it counts to before the next ticket.
        self.count.set(Some(ticket << 1 << 20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_whatever_the_clock_does() {
        let generated = Generated::default();
        let mut last = String::new();
        for round in 0..100_000_i64 {
            let now =
                1_700_000_000_000_000 + [0, 999, -5_000_000, 1_000][round as usize % 4] + round;
            let id = generated.next(now);
            assert!(*id > *last, "{last} {id}");
            last = id.into();
        }
    }

    #[test]
    fn the_time_of_an_id_is_that_of_its_creation_and_the_rest_differs_between_engines() {
        let ids = [(); 2].map(|()| Generated::default().next(1_700_000_000_123_456));
        assert_ne!(ids[0], ids[1]);
        for id in ids {
            assert_eq!(&id[..15], "018bcfe5-687b-7", "1,700,000,000,123 ms");
        }
    }
}
