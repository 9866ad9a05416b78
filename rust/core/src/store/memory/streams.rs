//! Streams in the model store, and which of their rows are to be freed when.

use std::collections::BTreeMap;

use crate::history::Stored;
use crate::ids::{Incarnation, InstanceNo, Micros, Seq};
use crate::limits::{CHUNKS_KEPT, FORGOTTEN, STREAM_READ};
use crate::store::Outcome;
use crate::stream::{Chunks, Mark, StreamRow};

type Name = (InstanceNo, Incarnation, Box<str>);

/// What nobody is told any more: since when, whose, of which incarnation (none: of any) and stream
/// (none: of all), and up to which place.
type Rest = (
    Micros,
    InstanceNo,
    Option<Incarnation>,
    Option<Box<str>>,
    u64,
);

#[derive(Debug, Default)]
pub(super) struct Streams {
    all: BTreeMap<Name, BTreeMap<u64, Kept>>,
    /// With the place after which it begins.
    litter: BTreeMap<Rest, u64>,
}

/// A row of a stream.
#[derive(Debug)]
pub(super) struct Kept {
    place: u64,
    it: Chunks,
    /// Chunks and bytes that the stream holds with this row.
    held: [u64; 2],
}

impl Kept {
    /// Returns it as it is read; an end that is recorded with what that record says.
    pub(super) fn read(&self, recorded: impl Fn(Seq) -> Option<Stored>) -> StreamRow {
        let is_recorded = self.it.mark == Mark::Recorded;
        let outcome = is_recorded.then(|| recorded(self.it.part)).flatten();
        self.it.row(self.place, outcome.map(Box::new))
    }
}

impl Streams {
    /// Adds a row; `last` is the place of the instance's last record.
    pub(super) fn add(
        &mut self,
        no: InstanceNo,
        of: Incarnation,
        it: &Chunks,
        last: Seq,
    ) -> Outcome {
        let rows = self.all.entry((no, of, it.stream.clone())).or_default();
        let (place, mut held) = rows
            .values()
            .next_back()
            .map_or((1, [0; 2]), |it| (it.place + it.it.places(), it.held));
        let mut it = it.clone();
        if it.mark == Mark::Recorded {
            let ended = rows.values().rev().find(|it| it.it.mark.ends());
            let since = ended.map_or(0, |it| it.place);
            held = ended.map_or([0; 2], |it| it.held);
            it.part = last;
            let rest = (
                it.at + CHUNKS_KEPT,
                no,
                Some(of),
                Some(it.stream.clone()),
                place,
            );
            self.litter.insert(rest, since);
        } else if !it.mark.ends() {
            held = [held[0] + it.chunks.len() as u64, held[1] + it.bytes()];
            if held[0] > it.most[0] || held[1] > it.most[1] {
                return Outcome::Full;
            }
        }
        rows.insert(place, Kept { place, it, held });
        Outcome::Done(place)
    }

    /// The instance, or this incarnation of it, is gone.
    pub(super) fn leave(&mut self, no: InstanceNo, of: Option<Incarnation>) {
        let is = |it: &Name| it.0 == no && of.is_none_or(|of| it.1 == of);
        if self.all.iter().any(|(it, rows)| is(it) && !rows.is_empty()) {
            self.litter.insert((0, no, of, None, u64::MAX), 0);
        }
    }

    /// Frees what nobody is told any more since before this.
    pub(super) fn forget(&mut self, before: Micros) -> Outcome {
        let mut left = u64::from(FORGOTTEN);
        while left > 0 {
            let Some((rest, since)) = self.litter.first_key_value() else {
                break;
            };
            if rest.0 >= before {
                break;
            }
            let (_, no, of, stream, upto) = rest;
            let is = |it: &Name| {
                it.0 == *no
                    && of.is_none_or(|of| it.1 == of)
                    && stream.as_ref().is_none_or(|stream| it.2 == *stream)
            };
            for rows in self.all.iter_mut().filter(|it| is(it.0)).map(|it| it.1) {
                let mut gone: Vec<u64> = rows.keys().copied().collect();
                gone.retain(|place| since < place && place < upto);
                gone.retain(|place| stream.is_none() || rows[place].it.part == 0);
                gone.truncate(left as usize);
                left -= gone.len() as u64;
                rows.retain(|place, _| !gone.contains(place));
            }
            if left > 0 {
                self.litter.pop_first();
                left -= 1;
            }
        }
        Outcome::Done(u64::from(FORGOTTEN) - left)
    }

    /// Returns rows from the one on that holds the chunk after this place.
    pub(super) fn rows(
        &self,
        no: InstanceNo,
        of: Incarnation,
        name: &str,
        after: u64,
        limit: u32,
    ) -> impl Iterator<Item = &Kept> {
        let rows = self.all.get(&(no, of, name.into()));
        let rows = rows.into_iter().flat_map(BTreeMap::values);
        let rows = rows.filter(move |it| it.place + it.it.places() > after + 1);
        let mut bytes = 0;
        rows.take(limit as usize).take_while(move |it| {
            let has_room = bytes < STREAM_READ;
            bytes += it.it.bytes();
            has_room
        })
    }

    /// Returns how many places each block of the body took.
    pub(super) fn sent(&self, no: InstanceNo, of: Incarnation) -> Vec<(Seq, u64)> {
        let mut sent = BTreeMap::new();
        let mine = self.all.iter().filter(|(it, _)| it.0 == no && it.1 == of);
        for row in mine.flat_map(|it| it.1.values()) {
            if row.it.part != 0 && row.it.mark != Mark::Recorded {
                *sent.entry(row.it.part).or_default() += row.it.places();
            }
        }
        sent.into_iter().collect()
    }
}
