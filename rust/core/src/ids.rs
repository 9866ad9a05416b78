//! The numbers and names by which things are known.
//!
//! An instance has two identities: the one its user knows (namespace, workflow, id) and a number
//! that is never reused in a store. Everything in memory and every stored row goes by the number.

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Number of an instance, unique in its store for ever, in order of creation.
pub type InstanceNo = u64;
/// Stamp of one life of an instance (D6): new at create, restart and terminate, never reused.
pub type Incarnation = u64;
/// Number of an open wait, unique in its store for ever, in order of opening.
pub type WaitId = u64;
/// Number of a buffered event, unique in its store for ever, in order of arrival.
pub type EventId = u64;
/// Position of a record in the store's journal; grows with every record of every instance.
pub type Seq = u64;
/// Microseconds since 1970-01-01 UTC.
pub type Micros = i64;

/// Number of hash ranges into which all instances fall; shards own ranges.
pub const RANGES: u16 = 4096;

/// One of [`RANGES`] hash ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range(pub u16);

/// What stands for (namespace, workflow, id) in memory: 128 bits of hash.
///
/// The names are length-prefixed, so no two different triples have the same input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub u128);

impl Key {
    /// Returns the key of an instance.
    #[must_use]
    pub fn new(namespace: &str, workflow: &str, id: &str) -> Self {
        // Lookups are hot: names within the limits are hashed from the stack.
        let mut short = [0u8; 512];
        let size = namespace.len() + workflow.len() + id.len() + 2;
        let mut long = Vec::new();
        let bytes = if size <= short.len() {
            &mut short[..size]
        } else {
            long.resize(size, 0);
            &mut long[..]
        };
        let mut at = 0;
        for part in [namespace, workflow] {
            bytes[at] = u8::try_from(part.len()).expect("names are at most 255 bytes");
            bytes[at + 1..=at + part.len()].copy_from_slice(part.as_bytes());
            at += 1 + part.len();
        }
        bytes[at..].copy_from_slice(id.as_bytes());
        Self(xxh3_128_with_seed(bytes, 0x5357_4b45_5953_0001))
    }

    /// Returns the range the instance falls into.
    #[must_use]
    pub fn range(self) -> Range {
        Range((self.0 >> 116) as u16)
    }
}
