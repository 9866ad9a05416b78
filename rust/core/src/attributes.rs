//! The attributes of an instance, taken apart.
//!
//! They come as one CBOR map of texts to plain values, are stored as it and shown as it; what the
//! values mean the core does not know. It takes the map apart only to index it, so that instances
//! are found by their attributes: two values are the same if their bytes are.

/// A key, and the CBOR of its value.
pub type Pair<'a> = (&'a str, &'a [u8]);

/// Returns the pairs of a map, in its order; `None` if it is no map of texts to texts, numbers and
/// booleans, each of definite length.
#[must_use]
pub fn pairs(map: &[u8]) -> Option<Vec<Pair<'_>>> {
    let (5, count, mut rest) = head(map)? else {
        return None;
    };
    let mut pairs = Vec::new();
    for _ in 0..count {
        let (3, _, _) = head(rest)? else {
            return None;
        };
        let (key, after) = item(rest)?;
        let (value, after) = item(after)?;
        let (_, _, text) = head(key)?;
        pairs.push((std::str::from_utf8(text).ok()?, value));
        rest = after;
    }
    rest.is_empty().then_some(pairs)
}

/// Splits off the first item, which is a text, a number or a boolean.
fn item(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (major, value, rest) = head(bytes)?;
    let start = bytes.len() - rest.len();
    let len = match major {
        0 | 1 => start,
        3 => {
            let len = usize::try_from(value).ok()?;
            std::str::from_utf8(rest.get(..len)?).ok()?;
            start + len
        }
        // False and true, and what is a float by its length.
        7 if matches!(bytes[0] & 31, 20 | 21 | 25..=27) => start,
        _ => return None,
    };
    Some(bytes.split_at(len))
}

/// Splits off the head of an item: its major type and its number.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let len = match first & 31 {
        small @ 0..=23 => return Some((first >> 5, small.into(), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(len)?;
    let value = number.iter().fold(0, |sum, it| sum << 8 | u64::from(*it));
    Some((first >> 5, value, rest))
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
