//! Streams: what an instance sends out while it runs, chunk by chunk, for readers beside it.
//!
//! A stream belongs to one incarnation and has a name. It is a list of chunks, each with its place,
//! counted from 1. One writer sends at a time: the body, in a block that its history knows, or an
//! attempt of a step. What it sends from its first chunk to its end is a passage. If the end is
//! recorded with the outcome of a step, that outcome stands for the passage: readers are told it,
//! the chunks no longer count, and they go after [`CHUNKS_KEPT`](crate::limits::CHUNKS_KEPT). What a
//! chunk says is opaque here.

use crate::history::Stored;
use crate::ids::{Micros, Seq};

/// What a row of a stream is in its passage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// Some of its chunks.
    #[default]
    GoesOn = 0,
    /// The first of an attempt, or of a block.
    Opens = 1,
    /// Its end, without a chunk.
    Ends = 2,
    /// The same, and what it came to is the last record of the instance.
    Recorded = 3,
}

impl Mark {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 4] = [Self::GoesOn, Self::Opens, Self::Ends, Self::Recorded];

    /// Returns the mark with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Whether it ends a passage.
    #[must_use]
    pub fn ends(self) -> bool {
        matches!(self, Self::Ends | Self::Recorded)
    }
}

/// Chunks that are sent together, or the end of a passage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunks {
    /// Name of the stream.
    pub stream: Box<str>,
    /// Place of the record of the block in which the body sends them; 0: a step does.
    pub part: Seq,
    /// The attempt that sends them; of a body always 1.
    pub attempt: u32,
    /// What they are in their passage.
    pub mark: Mark,
    /// The chunks; none at an end.
    pub chunks: Vec<Box<[u8]>>,
    /// How many chunks and bytes the stream may hold; more are refused.
    pub most: [u64; 2],
    /// When they were sent.
    pub at: Micros,
}

impl Chunks {
    /// Returns how many places they take.
    #[must_use]
    pub fn places(&self) -> u64 {
        if self.mark.ends() {
            1
        } else {
            self.chunks.len() as u64
        }
    }

    /// Returns the row that they are at this place.
    #[must_use]
    pub fn row(&self, place: u64, outcome: Option<Box<Stored>>) -> StreamRow {
        StreamRow {
            place,
            attempt: self.attempt,
            mark: self.mark,
            chunks: self.chunks.clone(),
            outcome,
            at: self.at,
        }
    }

    /// Returns how many bytes they are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|it| it.len() as u64).sum()
    }
}

/// A row of a stream, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// Place of its first chunk.
    pub place: u64,
    /// The attempt that sent it; of a body always 1.
    pub attempt: u32,
    /// What it is in its passage.
    pub mark: Mark,
    /// The chunks.
    pub chunks: Vec<Box<[u8]>>,
    /// What the passage came to, if this is its end and that is recorded: the outcome of a step.
    pub outcome: Option<Box<Stored>>,
    /// When it was sent.
    pub at: Micros,
}

/// Returns chunks as they are stored: each after its length.
pub(crate) fn packed(chunks: &[Box<[u8]>]) -> Vec<u8> {
    let mut all = Vec::with_capacity(chunks.iter().map(|it| it.len() + 4).sum());
    for chunk in chunks {
        let len = u32::try_from(chunk.len()).expect("a chunk is limited far below that");
        all.extend(len.to_le_bytes());
        all.extend_from_slice(chunk);
    }
    all
}

/// Returns the chunks that are stored like this; none if that makes no sense.
pub(crate) fn unpacked(mut all: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut chunks = Vec::new();
    while !all.is_empty() {
        let (len, rest) = all.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        chunks.push(rest.get(..len)?.into());
        all = &rest[len..];
    }
    Some(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_as_they_were_packed() {
        let chunks: Vec<Box<[u8]>> = vec![[1, 2].into(), [].into(), [0; 300].into()];
        assert_eq!(unpacked(&packed(&chunks)), Some(chunks));
        assert_eq!(unpacked(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_was_cut_short_is_no_chunks() {
        let all = packed(&[[1, 2, 3].into()]);
        for cut in 1..all.len() {
            assert_eq!(unpacked(&all[..cut]), None, "cut at {cut}");
        }
    }
}
