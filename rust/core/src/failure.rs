//! Errors that the core itself records: in the form in which errors of bodies are recorded.
//!
//! A CBOR map of texts, as whoever reads a recorded error expects it. It is the only payload that the
//! core writes; all that it reads of any is which operations were at fault, and, so that instances
//! that failed alike are counted together, what class the error is of and which step's.

use minicbor::data::Type;
use minicbor::Decoder;

use crate::history::{Kind, Operation};

/// Longest name of a class that is told, in bytes.
const CLASS_MAX: usize = 200;

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

/// Returns the class of a recorded error, with its module unless that is Python's own.
pub(crate) fn class(payload: &[u8]) -> Option<Box<str>> {
    let [module, class, _] = texts(payload);
    let class = class?;
    let name = match module {
        None | Some("" | "builtins") => class.into(),
        Some(module) => format!("{module}.{class}"),
    };
    (name.len() <= CLASS_MAX).then(|| name.into())
}

/// Returns the step that a recorded error is of, if it is one's.
pub(crate) fn step(payload: &[u8]) -> Option<Box<str>> {
    let [.., step] = texts(payload);
    step.map(Into::into)
}

/// Returns module, class and step of a recorded error.
fn texts(payload: &[u8]) -> [Option<&str>; 3] {
    let mut found = [None; 3];
    let mut decoder = Decoder::new(payload);
    let Ok(Some(count)) = decoder.map() else {
        return found;
    };
    for _ in 0..count {
        let Ok(key) = decoder.str() else {
            break;
        };
        let place = ["module", "class", "step"].iter().position(|it| *it == key);
        let is_text = matches!(decoder.datatype(), Ok(Type::String));
        if let (Some(place), true) = (place, is_text) {
            found[place] = decoder.str().ok();
        } else if decoder.skip().is_err() {
            break;
        }
    }
    found
}

/// Returns what a body's error is recorded as that these operations are at fault for.
#[cfg(test)]
pub(crate) fn at_fault(faults: &[Operation]) -> Vec<u8> {
    use minicbor::encode::write::Cursor;
    let mut bytes = [0; 512];
    let mut to = minicbor::Encoder::new(Cursor::new(&mut bytes[..]));
    let mut write = || {
        to.map(3)?.str("class")?.str("Failed")?;
        to.str("faults")?.array(faults.len() as u64)?;
        for it in faults {
            to.array(5)?.u8(it.kind as u8)?.str(&it.branch)?;
            to.str(&it.name)?.encode(it.key.as_deref())?.u32(it.count)?;
        }
        to.str("fields")?.map(0).map(|_| ())
    };
    write().expect("there are few");
    let length = to.writer().position();
    bytes[..length].to_vec()
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
    use proptest::prelude::*;

    prop_compose! {
        fn operation()(
            kind in prop::sample::select(Kind::ALL),
            branch in ".{0,3}",
            name in ".{0,3}",
            key in prop::option::of(".{0,3}"),
            count in any::<u32>(),
        ) -> Operation {
            Operation {
                kind,
                branch: branch.into(),
                name: name.into(),
                key: key.map(Into::into),
                count,
            }
        }
    }

    proptest! {
        #[test]
        fn l6_the_operations_at_fault_are_read_back(
            some in prop::collection::vec(operation(), 0..4),
        ) {
            prop_assert_eq!(faults(&at_fault(&some)), some);
        }

        #[test]
        fn whatever_an_error_is_it_is_asked_for_its_faults(
            garbage in prop::collection::vec(any::<u8>(), 0..64),
            some in prop::collection::vec(operation(), 0..3),
            spots in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            faults(&garbage);
            let mut bytes = at_fault(&some);
            prop_assert!(faults(&bytes[..cut.index(bytes.len())]).len() <= some.len());
            for (at, to) in spots {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            faults(&bytes);
        }
    }

    #[test]
    fn an_error_without_faults_has_none() {
        assert_eq!(faults(&recorded("InstanceTerminated", "why")), []);
        assert_eq!(faults(b""), []);
        let no_kind = b"\xa1\x66faults\x81\x85\x18\xff\x60\x60\xf6\x01";
        assert_eq!(faults(no_kind), []);
        let too_short = b"\xa1\x66faults\x81\x84\x00\x60\x60\xf6";
        assert_eq!(faults(too_short), []);
        // So many do not fit into memory, and are not there.
        let endless = b"\xa1\x66faults\x9b\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(faults(endless), []);
    }

    #[test]
    fn class_and_step_are_found_whatever_else_is_told() {
        assert_eq!(
            class(&recorded("Gone", "x")).as_deref(),
            Some("stepwell.Gone")
        );
        assert_eq!(step(&recorded("Gone", "x")), None);
        let told = b"\xa4\x66module\x68builtins\x68attempts\x03\x65class\x66IOErro\x64step\x61s";
        assert_eq!(class(told).as_deref(), Some("IOErro"));
        assert_eq!(step(told).as_deref(), Some("s"));
        for nothing in [
            &b""[..],
            b"\x00",
            b"\xa1\x65class\x00",
            b"\xa2\x65class",
            b"\xbf\xff",
        ] {
            assert_eq!((class(nothing), step(nothing)), (None, None), "{nothing:?}");
        }
        let long = recorded(&"x".repeat(CLASS_MAX), "");
        assert_eq!(class(&long), None);
    }

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
