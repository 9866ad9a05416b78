//! Damaged input for decoders: a seeded mutator and the loop around it.
//!
//! An input is a valid encoding changed in one to four places (bits, bytes, numbers, pieces cut
//! out, doubled, swapped in from another one), or plain noise. Which ones follows from
//! `STEPWELL_SEED` and the target's name; `STEPWELL_FUZZ` says how many. An input that makes a
//! check panic is printed as hex, with the command that runs this input alone. It does not know
//! what the bytes mean.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::env::var;
use std::fmt::Write;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// Numbers at which things break.
const EDGES: [i64; 14] = [
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    256,
    1 << 31,
    1 << 32,
    1 << 56,
    1 << 62,
    i64::MIN,
    i64::MAX,
];

/// `SplitMix64`: small, and the same on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, name: &str) -> Self {
        let mix = |seed: u64, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, mix))
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() % end as u64) as usize
    }

    pub fn edge(&mut self) -> i64 {
        match self.below(4) {
            0 => self.word() as i64,
            _ => EDGES[self.below(EDGES.len())],
        }
    }

    fn noise(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1))
            .map(|_| self.word() as u8)
            .collect()
    }

    fn piece(&mut self, of: &[u8]) -> std::ops::Range<usize> {
        let (a, b) = (self.below(of.len() + 1), self.below(of.len() + 1));
        a.min(b)..a.max(b)
    }

    /// Changes one thing.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len() + 1);
        match self.below(10) {
            0..=2 if at < input.len() => input[at] ^= 1 << self.below(8),
            3 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            4 => input.truncate(at),
            5 => drop(input.drain(self.piece(input))),
            6 => {
                let piece = input[self.piece(input)].to_vec();
                input.splice(at..at, piece);
            }
            7 => {
                let piece = other[self.piece(other)].to_vec();
                let gone = self.piece(input);
                input.splice(gone, piece);
            }
            8 => {
                // A number where one may be: as bytes, or as digits.
                let edge = self.edge();
                let number = if self.below(3) == 0 {
                    edge.to_string().into_bytes()
                } else if self.below(2) == 0 {
                    edge.to_le_bytes().to_vec()
                } else {
                    edge.to_be_bytes()[4..].to_vec()
                };
                let end = input.len().min(at + number.len());
                input.splice(at..end, number);
            }
            _ => {
                let noise = self.noise(9);
                input.splice(at..at, noise);
            }
        }
    }

    /// Returns a damaged one of these.
    pub fn damaged(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        if self.below(16) == 0 {
            return self.noise(200);
        }
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let other = &corpus[self.below(corpus.len())];
            self.mutate(&mut input, other);
        }
        input
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
    )
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("STEPWELL_INPUT is hex");
    (0..text.len()).step_by(2).map(pair).collect()
}

/// Checks the corpus and `usual` damaged inputs (or as many as `STEPWELL_FUZZ` says). `test` is
/// how cargo finds the test: `--lib store::sqlite::fuzz::waits`.
pub fn fuzz(test: &str, corpus: &[Vec<u8>], usual: u64, check: impl Fn(&[u8])) {
    if let Ok(text) = var("STEPWELL_INPUT") {
        return check(&unhex(&text));
    }
    let seed = number("STEPWELL_SEED").unwrap_or(1);
    let inputs = number("STEPWELL_FUZZ").unwrap_or(usual);
    let mut dice = Dice::new(seed, test);
    let try_one = |input: &[u8], n: u64| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
            println!(
                "input {n} of seed {seed}; to see it again:\nSTEPWELL_INPUT={} cargo test \
                --release -p stepwell-core {test}",
                hex(input)
            );
            resume_unwind(panic);
        }
    };
    for input in corpus {
        try_one(input, 0);
    }
    for n in 1..=inputs {
        try_one(&dice.damaged(corpus), n);
    }
}
