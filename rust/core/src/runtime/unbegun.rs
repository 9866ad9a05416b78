//! Bodies that are to begin and were not taken yet.
//!
//! A burst makes thousands of them, and each costs whoever takes it some room and time at once: a
//! start with its history becomes objects of Python. So they wait here, in their order, and so many
//! are taken at a time. Invariant: what is told to a body comes after its start, so while that
//! waits here all else about the body does.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::ids::InstanceNo;
use crate::note::Note;

#[derive(Debug, Default)]
pub(super) struct Unbegun {
    order: VecDeque<InstanceNo>,
    /// The start of a body, and what came behind it.
    notes: FxHashMap<InstanceNo, Vec<Note>>,
}

impl Unbegun {
    /// Returns the note if it may be taken now; else keeps it. `room` is for so much weight of
    /// starts.
    pub(super) fn pass(&mut self, note: Note, room: &mut usize) -> Option<Note> {
        let Some(no) = note.about() else {
            return Some(note);
        };
        if let Some(kept) = self.notes.get_mut(&no) {
            kept.push(note);
            return None;
        }
        let weight = note.weight();
        if weight == 0 || (self.is_empty() && *room > 0) {
            *room = room.saturating_sub(weight);
            return Some(note);
        }
        self.order.push_back(no);
        self.notes.insert(no, vec![note]);
        None
    }

    /// Takes as many as there is room for; the last of them may be heavier than what was left of
    /// it.
    pub(super) fn take(&mut self, room: &mut usize, into: &mut Vec<Note>) {
        while *room > 0 {
            let next = self.order.pop_front();
            let Some(notes) = next.and_then(|no| self.notes.remove(&no)) else {
                return;
            };
            let weight: usize = notes.iter().map(Note::weight).sum();
            *room = room.saturating_sub(weight);
            into.extend(notes);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
