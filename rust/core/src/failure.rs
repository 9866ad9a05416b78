//! Errors that the core itself records: in the form in which errors of bodies are recorded.
//!
//! A CBOR map of three texts, as whoever reads a recorded error expects it. It is the only payload
//! the core writes; all it reads of one is which operations were at fault.

use minicbor::Decoder;

use crate::history::{Kind, Operation};

/// Returns the operations whose failures left a body with this error (L6); none if it does not say.
pub(crate) fn faults(error: &[u8]) -> Vec<Operation> {
    let mut decoder = Decoder::new(error);
    let Ok(Some(pairs)) = decoder.map() else {
        return Vec::new();
    };
    for _ in 0..pairs {
        match decoder.str() {
            Ok("faults") => return read_faults(&mut decoder).unwrap_or_default(),
            Ok(_) if decoder.skip().is_ok() => {}
            _ => break,
        }
    }
    Vec::new()
}

/// Reads a list of lists: kind, branch, name, key, occurrence.
fn read_faults(decoder: &mut Decoder<'_>) -> Option<Vec<Operation>> {
    let count = decoder.array().ok()??;
    let mut faults = Vec::new();
    for _ in 0..count {
        if decoder.array().ok()? != Some(5) {
            return None;
        }
        let kind = Kind::from_code(decoder.u8().ok()?)?;
        let (branch, name) = (decoder.str().ok()?.into(), decoder.str().ok()?.into());
        let key: Option<&str> = decoder.decode().ok()?;
        let count = decoder.u32().ok()?;
        faults.push(Operation {
            kind,
            branch,
            name,
            key: key.map(Into::into),
            count,
        });
    }
    Some(faults)
}

/// Returns the stored form of an error of this public class.
pub(crate) fn recorded(class: &str, message: &str) -> Box<[u8]> {
    let pairs = [
        ("module", "stepwell"),
        ("class", class),
        ("message", message),
    ];
    let mut bytes = vec![0xa0 | pairs.len() as u8];
    for (name, value) in pairs {
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes.into()
}

/// Appends a text in the shortest form.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("messages are short");
    match length {
        0..=23 => bytes.push(0x60 | length as u8),
        24..=0xff => bytes.extend([0x78, length as u8]),
        0x100..=0xffff => {
            bytes.push(0x79);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x7a);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_map_of_texts_in_their_shortest_form() {
        let short = recorded("Gone", "ü");
        assert_eq!(
            &*short,
            b"\xa3\x66module\x68stepwell\x65class\x64Gone\x67message\x62\xc3\xbc"
        );
        let heads: [(usize, &[u8]); 5] = [
            (23, &[0x77]),
            (24, &[0x78, 24]),
            (256, &[0x79, 1, 0]),
            (65_535, &[0x79, 0xff, 0xff]),
            (65_536, &[0x7a, 0, 1, 0, 0]),
        ];
        for (length, head) in heads {
            let bytes = recorded("", &"x".repeat(length));
            let message = &bytes[bytes.len() - length - head.len()..];
            assert_eq!(&message[..head.len()], head, "{length}");
        }
    }
}
