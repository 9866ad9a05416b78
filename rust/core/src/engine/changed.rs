//! Which instances changed, for whoever follows over a restart of the engine.
//!
//! Each commit that brings an instance into another state says so in one row: the place of the
//! first change, how many there are, and whose they are unless those are too many. There are so
//! many rows, used in turn, so what is kept is bounded and nothing is ever deleted. What is not
//! said, does not fit together, or cannot be read, counts as forgotten, and whoever followed before
//! that is told to look anew.

use super::{Core, Facts};
use crate::changes::ChangeNo;
use crate::ids::InstanceNo;
use crate::letter::bytes::{Eye, Pen};
use crate::store::{Error, Op};

/// Commits whose changes are kept.
const ROWS: u64 = 4_096;
/// Instances that one row names at most: so all rows together have 4 million, in some 16 MiB.
const NAMED: usize = 1_024;
/// The setting that tells the changes of one store from those of another.
const EPOCH: &str = "changes";

/// What the writer knows of changes.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Which store's they are; 0: it is not known yet.
    epoch: u64,
    /// The place of the last that is committed.
    last: ChangeNo,
    /// Which row is next.
    row: u64,
    /// Those of the batch that is being decided, once they are written down.
    batch: Option<Vec<InstanceNo>>,
}

/// The changes of one commit.
struct Written {
    row: u64,
    first: ChangeNo,
    count: u64,
    /// Whose they are; none: of too many.
    some: Vec<InstanceNo>,
}

impl Written {
    fn bytes(&self) -> Box<[u8]> {
        let mut to = Pen(Vec::new());
        to.number(self.row).number(self.first).number(self.count);
        if self.some.len() <= NAMED {
            for no in &self.some {
                to.number(*no);
            }
        }
        to.0.into()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Eye(bytes);
        let mut number = || from.number().ok();
        let (row, first, count) = (number()?, number()?, number()?);
        let mut some = Vec::new();
        while !from.0.is_empty() {
            some.push(from.number().ok()?);
        }
        Some(Self {
            row,
            first,
            count,
            some,
        })
    }

    /// The place of the first change that comes after these.
    fn end(&self) -> ChangeNo {
        self.first.saturating_add(self.count)
    }

    /// Whether it says whose they are, and what comes next goes on from it.
    fn leads_to(&self, next: Option<&Self>) -> bool {
        let goes_on = |it: &Self| self.row + 1 == it.row && self.end() == it.first;
        self.some.len() as u64 == self.count && next.is_none_or(goes_on)
    }
}

fn setting(row: u64) -> Box<str> {
    format!("changes/{:03x}", row % ROWS).into()
}

/// Returns those whom an operation brings into another state.
fn moved(op: &Op) -> Vec<InstanceNo> {
    match op {
        Op::Create(new) => vec![new.no],
        Op::CreateChildren(new, ..) => new.iter().map(|it| it.no).collect(),
        Op::Status(no, ..) | Op::Restart(no, ..) => vec![*no],
        _ => Vec::new(),
    }
}

impl Core {
    /// Writes down whom this batch brings into another state. One that the store refuses to create
    /// is among them, and nobody finds it.
    pub(super) fn keep_changes(&mut self) {
        let some: Vec<_> = self.batch.ops().flat_map(moved).collect();
        if some.is_empty() || !self.domain.is_whole() {
            return;
        }
        let (row, first) = (self.changed.row, self.changed.last + 1);
        let count = some.len() as u64;
        let written = Written {
            row,
            first,
            count,
            some,
        };
        self.changed.row += 1;
        self.push(Op::Meta(setting(row), written.bytes()));
        self.changed.batch = Some(written.some);
    }

    /// Returns whom the batch that is durable now has brought into another state.
    pub(super) fn take_changes(&mut self) -> Vec<InstanceNo> {
        // What was not written down, because others own instances too, is told all the same.
        let written = self.changed.batch.take();
        let some = written.unwrap_or_else(|| self.batch.ops().flat_map(moved).collect());
        self.changed.last += some.len() as u64;
        some
    }

    /// Takes over what changed in earlier lives, as far as that is kept.
    pub(super) fn find_changes(&mut self, facts: &mut Facts) -> Result<(), Error> {
        let number = |it: Box<[u8]>| <[u8; 8]>::try_from(&*it).ok().map(u64::from_le_bytes);
        let kept = readable(facts.store.meta(EPOCH))?.and_then(number);
        self.changed.epoch = kept.unwrap_or(self.now as u64).max(1);
        if kept.is_none() {
            let value = self.changed.epoch.to_le_bytes();
            self.push(Op::Meta(EPOCH.into(), value.into()));
        }
        let mut all: Vec<Written> = Vec::new();
        for row in 0..ROWS {
            match readable(facts.store.meta(&setting(row)))? {
                Some(bytes) => all.extend(Written::read(&bytes)),
                None => break,
            }
        }
        all.sort_unstable_by_key(|it| it.row);
        let next = all.last().map_or(1, Written::end);
        self.changed.row = all.last().map_or(0, |it| it.row + 1);
        self.changed.last = next - 1;
        let mut at = all.len();
        while at > 0 && all[at - 1].leads_to(all.get(at)) {
            at -= 1;
        }
        let first = all.get(at).map_or(next, |it| it.first);
        let some = all[at..].iter().flat_map(|it| &it.some).copied();
        self.tally()
            .restore_changes(self.changed.epoch, first, some);
        Ok(())
    }
}

/// One that is damaged is as good as none.
fn readable(found: Result<Option<Box<[u8]>>, Error>) -> Result<Option<Box<[u8]>>, Error> {
    match found {
        Err(Error::Row(_)) => Ok(None),
        found => found,
    }
}
