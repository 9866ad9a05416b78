//! Ids for instances whose creator gave none: UUIDs of version 7, in ascending order.
//!
//! Ascending ids lie side by side in the store's index, which makes creating them three times as
//! fast as random ones. Invariants: an id is greater than all before it, also when time goes
//! backwards; 48 bits of it, and where the counter of a millisecond begins, are unpredictable. The
//! time is passed in. Randomness is what the standard library keeps its hash tables safe with:
//! `SipHash` of a counter, under a key from the system that is drawn once; a system call per id costs
//! more than all else that is done for it.

use std::hash::{BuildHasher, RandomState};

use crate::ids::Micros;

/// The counter within a millisecond has 26 bits and begins in the lower half.
const COUNTER_BITS: u32 = 26;

/// The source of ids.
#[derive(Debug, Default)]
pub(super) struct Generated {
    random: RandomState,
    drawn: u64,
    millis: u64,
    counter: u64,
}

impl Generated {
    /// Returns the next id.
    pub(super) fn next(&mut self, now: Micros) -> Box<str> {
        let now = u64::try_from(now / 1_000).unwrap_or(0) & ((1 << 48) - 1);
        let random = self.draw();
        if now > self.millis {
            self.millis = now;
            self.counter = self.draw() >> (65 - COUNTER_BITS);
        } else {
            self.counter += 1;
            if self.counter >> COUNTER_BITS != 0 {
                // More than 2^25 in a millisecond: the next one lends its ids.
                (self.millis, self.counter) = (self.millis + 1, 0);
            }
        }
        // RFC 9562: 48 bits of time, version, 12 bits, variant, 62 bits.
        let high = self.millis << 16 | 7 << 12 | self.counter >> 14;
        let low = 2 << 62 | (self.counter & 0x3fff) << 48 | random >> 16;
        let id = uuid::Uuid::from_u64_pair(high, low);
        let mut text = uuid::Uuid::encode_buffer();
        (&*id.hyphenated().encode_lower(&mut text)).into()
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.random.hash_one(self.drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_whatever_the_clock_does() {
        let mut generated = Generated::default();
        let mut last = String::new();
        for round in 0..100_000_i64 {
            let now =
                1_700_000_000_000_000 + [0, 999, -5_000_000, 1_000][round as usize % 4] + round;
            let id = generated.next(now);
            assert!(*id > *last, "{last} {id}");
            let uuid = uuid::Uuid::try_parse(&id).expect("a UUID");
            assert_eq!(uuid.get_version_num(), 7);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
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

    #[test]
    fn a_millisecond_that_is_full_borrows_from_the_next() {
        let mut generated = Generated::default();
        let first = generated.next(1_000);
        generated.counter = (1 << COUNTER_BITS) - 1;
        let second = generated.next(1_000);
        assert_eq!(
            (&first[..13], &second[..13]),
            ("00000000-0001", "00000000-0002")
        );
        assert!(generated.next(1_000) > second);
    }
}
