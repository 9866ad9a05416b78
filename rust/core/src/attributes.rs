//! The attributes of an instance, taken apart.
//!
//! They come as one CBOR map of texts to plain values, are stored as it and shown as it; what the
//! values mean the core does not know. It takes the map apart only to index it, so that instances
//! are found by their attributes: two values are the same if their bytes are.

use minicbor::data::Type;
use minicbor::Decoder;

/// A key, and the CBOR of its value.
pub type Pair<'a> = (&'a str, &'a [u8]);

/// Returns the pairs of a map, in its order; `None` if it is no map of texts to texts, numbers and
/// booleans, each of definite length.
#[must_use]
pub fn pairs(map: &[u8]) -> Option<Vec<Pair<'_>>> {
    let mut decoder = Decoder::new(map);
    let count = decoder.map().ok()??;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let key = decoder.str().ok()?;
        let start = decoder.position();
        plain(&mut decoder)?;
        pairs.push((key, &map[start..decoder.position()]));
    }
    (decoder.position() == map.len()).then_some(pairs)
}

/// Returns the maps from before and after a change, as its record has them; `None` if that says
/// something else.
#[must_use]
pub fn span(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut decoder = Decoder::new(record);
    let (mut before, mut after) = (None, None);
    for _ in 0..decoder.map().ok()?? {
        let side = match decoder.str().ok()? {
            "before" => &mut before,
            "after" => &mut after,
            _ => return None,
        };
        let start = decoder.position();
        decoder.skip().ok()?;
        let map = &record[start..decoder.position()];
        pairs(map)?;
        *side = Some(map);
    }
    Some((before?, after?))
}

/// Passes over a text, a number or a boolean.
fn plain(decoder: &mut Decoder<'_>) -> Option<()> {
    use Type::{Bool, Int, String, F16, F32, F64, I16, I32, I64, I8, U16, U32, U64, U8};
    let done = match decoder.datatype().ok()? {
        // Looked at, for a text has to be UTF-8.
        String => decoder.str().map(drop),
        Bool | U8 | U16 | U32 | U64 | I8 | I16 | I32 | I64 | Int | F16 | F32 | F64 => {
            decoder.skip()
        }
        _ => return None,
    };
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_map_comes_apart_into_keys_and_the_bytes_of_values() {
        let map = b"\xa5\x61a\x01\x61b\x39\x01\x00\x62\xc3\xbc\x61x\x61c\xf5\x61d\xfb\x3f\xf8\0\0\0\0\0\0";
        let expected: [Pair; 5] = [
            ("a", b"\x01"),
            ("b", b"\x39\x01\x00"),
            ("ü", b"\x61x"),
            ("c", b"\xf5"),
            ("d", b"\xfb\x3f\xf8\0\0\0\0\0\0"),
        ];
        assert_eq!(pairs(map).unwrap(), expected);
        assert_eq!(pairs(b"\xa0").unwrap(), []);
        let many: Vec<u8> = (b'A'..=b'`').flat_map(|it| [0x61, it, it & 15]).collect();
        assert_eq!(pairs(&[&[0xb8, 32], &many[..]].concat()).unwrap().len(), 32);
    }

    #[test]
    fn what_is_no_map_of_texts_to_plain_values_does_not() {
        let wrong: [&[u8]; 9] = [
            b"",
            b"\x01",
            b"\x81\x01",
            // A key that is a number, a value that is null, a list or of no definite length.
            b"\xa1\x01\x01",
            b"\xa1\x61a\xf6",
            b"\xa1\x61a\x81\x01",
            b"\xa1\x61a\x7f\x61x\xff",
            // More than it says, and a key that is no text.
            b"\xa1\x61a\x01\x01",
            b"\xa1\x61\xff\x01",
        ];
        for bytes in wrong {
            assert_eq!(pairs(bytes), None, "{bytes:?}");
        }
        let whole = b"\xa2\x61a\x63xyz\x61b\x19\x01\x00";
        for len in 0..whole.len() {
            assert_eq!(pairs(&whole[..len]), None, "{len}");
        }
    }

    #[test]
    fn a_change_has_what_was_before_and_after_it() {
        let record = b"\xa2\x66before\xa1\x61n\x01\x65after\xa0";
        assert_eq!(span(record), Some((&b"\xa1\x61n\x01"[..], &b"\xa0"[..])));
        let turned = b"\xa2\x65after\xa0\x66before\xa1\x61n\x01";
        assert_eq!(span(turned), span(record));
        let wrong: [&[u8]; 5] = [
            b"",
            b"\xa1\x66before\xa0",
            b"\xa1\x65other\xa0",
            b"\xa2\x66before\x01\x65after\xa0",
            &record[..record.len() - 1],
        ];
        for bytes in wrong {
            assert_eq!(span(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_apart_or_do_not(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(pairs) = pairs(&bytes) {
                let whole: usize = pairs.iter().map(|it| it.0.len() + it.1.len()).sum();
                prop_assert!(whole < bytes.len());
            }
        }
    }
}
