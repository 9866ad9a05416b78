//! Places in order: chunks of up to 256, with little more memory than they fill.
//!
//! Invariant: chunks are never empty, ascend, and so do the places in each. What arrives in order
//! is appended to the last chunk and taken from the first, at a cost that does not grow; what comes
//! out of order or leaves from the middle costs a search over the chunks and one move within a
//! chunk. A chunk that is full is split where the newcomer goes, so that streams that ascend side
//! by side (one per priority) fill their chunks. Memory grows and shrinks by an eighth of what
//! there is: in the mean 25.5 bytes for 24 (C9). It does not know what the places belong to.

use std::collections::VecDeque;

use super::order::Place;

/// Places in a chunk: few, so that a move within one costs no more than to find it, and enough that
/// the list of chunks stays short.
const CHUNK: usize = 256;

#[derive(Debug)]
struct Chunk {
    /// The order of the last place, so that a search does not look into the chunks.
    last: u64,
    places: VecDeque<Place>,
}

impl Chunk {
    fn of(places: VecDeque<Place>) -> Self {
        let last = places.back().expect("chunks are never empty").order;
        Self { last, places }
    }

    /// Makes room for one more: an eighth of what there is here, or, where many are expected, of so
    /// many there are in all chunks.
    fn stretch(&mut self, all: usize) {
        let len = self.places.len();
        if len == self.places.capacity() {
            let more = (len.max(all) / 8).max(4);
            self.places.reserve_exact(more.min(CHUNK - len));
        }
    }

    /// Gives back memory that is more than so many in all chunks take, if most of it is unused.
    fn trim(&mut self, all: usize) {
        let (len, room) = (self.places.len(), self.places.capacity());
        if room > 16 && len * 2 < room && all < room {
            self.places.shrink_to(len + len / 8);
        }
    }
}

/// Places in order.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    chunks: VecDeque<Chunk>,
    len: usize,
}

impl Sorted {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn first(&self) -> Option<Place> {
        self.chunks.front()?.places.front().copied()
    }

    /// Returns how many places come before this one: a look at every chunk's length.
    pub(super) fn before(&self, order: u64) -> usize {
        let at = self.chunk(order);
        let whole = self.chunks.range(..at).map(|it| it.places.len());
        let within = |it: &Chunk| it.places.partition_point(|it| it.order < order);
        whole.sum::<usize>() + self.chunks.get(at).map_or(0, within)
    }

    /// Returns the places from this order on, in order.
    pub(super) fn from(&self, order: u64) -> impl Iterator<Item = Place> + '_ {
        let at = self.chunk(order);
        let rest = self
            .chunks
            .range(at..)
            .flat_map(|it| it.places.iter().copied());
        rest.skip_while(move |it| it.order < order)
    }

    /// Returns all places, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.chunks.iter().flat_map(|it| it.places.iter().copied())
    }

    /// Adds a place.
    pub(super) fn push(&mut self, place: Place) {
        self.len += 1;
        match self.chunks.back_mut() {
            Some(chunk) if place.order < chunk.last => self.squeeze_in(place),
            Some(chunk) if chunk.places.len() < CHUNK => {
                chunk.stretch(self.len);
                chunk.places.push_back(place);
                chunk.last = place.order;
            }
            _ => self.insert_chunk(self.chunks.len(), place),
        }
    }

    fn insert_chunk(&mut self, at: usize, place: Place) {
        let mut places = VecDeque::new();
        places.reserve_exact(4);
        places.push_back(place);
        let chunks = &mut self.chunks;
        if chunks.len() == chunks.capacity() {
            chunks.reserve_exact((chunks.len() / 8).max(1));
        }
        chunks.insert(at, Chunk::of(places));
    }

    /// Returns the chunk in which a place is, or would be.
    fn chunk(&self, order: u64) -> usize {
        self.chunks.partition_point(|it| it.last < order)
    }

    /// Adds a place that goes before the last one.
    fn squeeze_in(&mut self, place: Place) {
        let at = self.chunk(place.order);
        let chunk = &mut self.chunks[at];
        let within = chunk.places.partition_point(|it| it.order < place.order);
        if chunk.places.len() < CHUNK {
            chunk.stretch(0);
            chunk.places.insert(within, place);
            return;
        }
        if within > 0 {
            self.split(at, within);
            let chunk = &mut self.chunks[at];
            chunk.stretch(0);
            chunk.places.push_back(place);
            chunk.last = place.order;
            return;
        }
        match at.checked_sub(1).map(|before| &mut self.chunks[before]) {
            Some(before) if before.places.len() < CHUNK => {
                before.stretch(0);
                before.places.push_back(place);
                before.last = place.order;
            }
            _ => self.insert_chunk(at, place),
        }
    }

    /// Splits a chunk; its second part joins the next chunk if that has room for it.
    fn split(&mut self, at: usize, within: usize) {
        let chunk = &mut self.chunks[at];
        let mut rest = chunk.places.split_off(within);
        chunk.last = chunk.places[within - 1].order;
        chunk.places.shrink_to(within + within / 8);
        match self.chunks.get_mut(at + 1) {
            Some(next) if next.places.len() + rest.len() <= CHUNK => {
                next.places.reserve_exact(rest.len());
                while let Some(place) = rest.pop_back() {
                    next.places.push_front(place);
                }
            }
            _ => {
                if self.chunks.len() == self.chunks.capacity() {
                    self.chunks.reserve_exact((self.chunks.len() / 8).max(1));
                }
                self.chunks.insert(at + 1, Chunk::of(rest));
            }
        }
    }

    /// Takes the first place.
    pub(super) fn pop(&mut self) -> Option<Place> {
        let chunk = self.chunks.front_mut()?;
        let place = chunk.places.pop_front().expect("chunks are never empty");
        self.len -= 1;
        if chunk.places.is_empty() {
            self.remove_chunk(0);
        } else {
            chunk.trim(self.len);
        }
        Some(place)
    }

    /// Removes a place; returns whether it was there.
    pub(super) fn remove(&mut self, place: Place) -> bool {
        let at = self.chunk(place.order);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return false;
        };
        let found = chunk
            .places
            .binary_search_by_key(&place.order, |it| it.order);
        let Ok(within) = found else {
            return false;
        };
        if chunk.places[within] != place {
            return false;
        }
        chunk.places.remove(within);
        self.len -= 1;
        if chunk.places.is_empty() {
            self.remove_chunk(at);
            return true;
        }
        chunk.last = chunk.places[chunk.places.len() - 1].order;
        chunk.trim(0);
        let sparse = chunk.places.len() < CHUNK / 4;
        if sparse && at + 1 < self.chunks.len() {
            self.merge(at);
        }
        true
    }

    /// Joins a chunk with the next one if both are rather empty.
    fn merge(&mut self, at: usize) {
        let (this, next) = (&self.chunks[at].places, &self.chunks[at + 1].places);
        if this.len() + next.len() > CHUNK / 2 {
            return;
        }
        let mut next = self.chunks.remove(at + 1).expect("it is there");
        let this = &mut self.chunks[at];
        this.places.reserve_exact(next.places.len());
        this.places.append(&mut next.places);
        this.last = next.last;
        self.trim();
    }

    fn remove_chunk(&mut self, at: usize) {
        self.chunks.remove(at);
        self.trim();
    }

    fn trim(&mut self) {
        let len = self.chunks.len();
        if self.chunks.capacity() > 8 && len * 2 < self.chunks.capacity() {
            self.chunks.shrink_to(len + len / 8);
        }
    }
}

#[cfg(test)]
impl Sorted {
    /// Panics if an invariant does not hold.
    pub(super) fn check(&self) {
        let mut last = None;
        let mut len = 0;
        for chunk in &self.chunks {
            assert!((1..=CHUNK).contains(&chunk.places.len()));
            assert_eq!(chunk.places.back().map(|it| it.order), Some(chunk.last));
            for place in &chunk.places {
                assert!(last.is_none_or(|it| it < place.order), "out of order");
                last = Some(place.order);
                len += 1;
            }
        }
        assert_eq!(len, self.len);
    }

    /// Returns the places there is memory for.
    fn room(&self) -> usize {
        self.chunks.iter().map(|it| it.places.capacity()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::{Class, Entry, Rank};
    use super::*;
    use crate::ids::Key;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn place(priority: i8, no: u64) -> Place {
        let rank = Rank::new(priority, Class::New);
        Place::new(rank, Entry::new(no, Key(u128::from(no) << 70)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn places_are_kept_as_a_tree_would_keep_them(
            actions in prop::collection::vec((0u8..8, 0u64..5_000, 1usize..900), 0..40)
        ) {
            let mut sorted = Sorted::default();
            let mut model: BTreeMap<u64, Place> = BTreeMap::new();
            for (action, from, count) in actions {
                for step in 0..count as u64 {
                    // In order, in reverse, scattered.
                    let no = match action % 3 {
                        0 => from + step,
                        1 => from + 1_000 - step,
                        _ => (from + step * 7_919) % 5_000,
                    };
                    let place = place((action / 4) as i8, no);
                    match action {
                        0..=4 => {
                            if model.insert(place.order, place).is_none() {
                                sorted.push(place);
                            }
                        }
                        5..=6 => {
                            let there = model.remove(&place.order).is_some();
                            prop_assert_eq!(sorted.remove(place), there);
                        }
                        _ => prop_assert_eq!(sorted.pop(), model.pop_first().map(|it| it.1)),
                    }
                }
                sorted.check();
                prop_assert_eq!(sorted.len(), model.len());
                prop_assert_eq!(sorted.first(), model.values().next().copied());
            }
            prop_assert!(sorted.iter().eq(model.values().copied()));
        }
    }

    #[test]
    fn a_place_of_another_instance_is_not_removed() {
        let mut sorted = Sorted::default();
        sorted.push(place(0, 1));
        let rank = Rank::new(0, Class::New);
        assert!(!sorted.remove(Place::new(rank, Entry::new(1, Key(9)))));
        assert!(sorted.remove(place(0, 1)));
    }

    #[test]
    fn c9_however_they_arrive_and_leave_little_room_is_unused() {
        let scattered = |no: u64| no.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
        let orders: [(&str, &dyn Fn(u64) -> Place); 4] = [
            ("in order", &|no| place(0, no)),
            ("in reverse", &|no| place(0, 200_000 - no)),
            ("scattered", &|no| place(0, scattered(no))),
            ("201 priorities", &|no| {
                place(((no % 201) as i16 - 100) as i8, no)
            }),
        ];
        for (name, order) in orders {
            let mut sorted = Sorted::default();
            for no in 0..100_000 {
                sorted.push(order(no));
            }
            sorted.check();
            let (room, chunks) = (sorted.room(), sorted.chunks.len());
            assert!(
                room * 24 + chunks * 40 <= 100_000 * 28,
                "{name}: {room} {chunks}"
            );
            for no in (0..100_000).filter(|it| it % 16 > 0) {
                assert!(sorted.remove(order(no)), "{name}");
            }
            sorted.check();
            let (room, chunks) = (sorted.room(), sorted.chunks.len());
            assert!(
                room * 24 + chunks * 40 <= 6_250 * 52,
                "{name}: {room} {chunks}"
            );
        }
    }
}
