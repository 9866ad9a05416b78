//! What is done to many instances, as something durable: who wants what, and how far it is.
//!
//! Its number is that of its row in the audit. Which instances it is about is for whoever runs it to
//! know (`what`); those with numbers beyond `frontier` are not. Each commit that does a part of it
//! says how far that is, so whoever goes on after a crash leaves nothing out and does nothing twice.

use crate::audit::{By, Entry};
use crate::ids::{InstanceNo, Micros};
use crate::letter::bytes::{Eye, Nonsense, Pen};

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bulk {
    /// Its number.
    pub number: u64,
    /// In which namespace.
    pub namespace: Box<str>,
    /// What is done, as the API calls it.
    pub operation: Box<str>,
    /// To instances of which workflow.
    pub workflow: Option<Box<str>>,
    /// To which instances, in words.
    pub filter: Box<str>,
    /// By whom.
    pub by: By,
    /// The highest instance number that it is about.
    pub frontier: InstanceNo,
    /// Which instances, and what else there is to know; opaque to the core. `None`: as it is stored.
    pub what: Option<Box<[u8]>>,
    /// How far it is: nothing up to there is left to do.
    pub place: u64,
    /// To how many instances it was done.
    pub done: u64,
    /// How many refused it, by code.
    pub failed: Vec<(Box<str>, u64)>,
    /// Whether somebody stopped it.
    pub stopped: bool,
    /// When it began.
    pub began_at: Micros,
    /// When it ended, or was stopped.
    pub ended_at: Option<Micros>,
}

/// Which of them somebody wants to see, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only in this namespace.
    pub namespace: Option<Box<str>>,
    /// Only this one.
    pub number: Option<u64>,
    /// Only those that have not ended.
    pub open: bool,
    /// Only older ones than this.
    pub beyond: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// What was found; one that cannot be read says why, with its number.
pub type Rows = Vec<Result<Bulk, (u64, String)>>;

impl Query {
    /// Returns whether one is on it, but for the limit.
    #[must_use]
    pub fn has(&self, it: &Bulk) -> bool {
        self.namespace.as_ref().is_none_or(|of| *of == it.namespace)
            && self.number.is_none_or(|number| number == it.number)
            && (!self.open || it.ended_at.is_none())
            && self.beyond.is_none_or(|beyond| it.number < beyond)
    }
}

impl Bulk {
    /// Counts one that refused it.
    pub fn count_failed(&mut self, code: &str) {
        match self.failed.iter_mut().find(|it| *it.0 == *code) {
            Some(known) => known.1 += 1,
            None => self.failed.push((code.into(), 1)),
        }
    }

    /// Returns its row in the audit as it is now.
    #[must_use]
    pub fn audited(&self) -> Entry {
        let how = match (self.ended_at, self.stopped) {
            (None, _) => "under way",
            (Some(_), true) => "stopped",
            (Some(_), false) => "ended",
        };
        let mut result = vec![format!("{how}, done: {}", self.done)];
        result.extend(self.failed.iter().map(|it| format!("{}: {}", it.0, it.1)));
        Entry {
            number: self.number,
            at: self.began_at,
            by: self.by.clone(),
            operation: self.operation.clone(),
            namespace: self.namespace.clone(),
            workflow: self.workflow.clone(),
            id: None,
            filter: Some(self.filter.clone()),
            result: result.join(", ").into(),
        }
    }

    /// Returns all but its number and `what` as bytes, for stores that keep rows.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut to = Pen(Vec::new());
        to.text(&self.namespace)
            .text(&self.operation)
            .text_or_none(self.workflow.as_deref())
            .text(&self.filter)
            .by(&self.by);
        let ended = self.ended_at.unwrap_or(0) as u64;
        let failed = self.failed.len() as u64;
        to.letter(u8::from(self.stopped) | u8::from(self.ended_at.is_some()) << 1);
        for number in [
            self.frontier,
            self.place,
            self.done,
            self.began_at as u64,
            ended,
            failed,
        ] {
            to.number(number);
        }
        for (code, count) in &self.failed {
            to.text(code).number(*count);
        }
        to.0
    }

    /// Returns the one with this number that these bytes say; `None` if that makes no sense.
    #[must_use]
    pub fn read(number: u64, what: Option<Box<[u8]>>, bytes: &[u8]) -> Option<Self> {
        let mut from = Eye(bytes);
        let bulk = Self::of(number, what, &mut from).ok()?;
        from.0.is_empty().then_some(bulk)
    }

    fn of(number: u64, what: Option<Box<[u8]>>, from: &mut Eye<'_>) -> Result<Self, Nonsense> {
        let (namespace, operation) = (from.text()?, from.text()?);
        let (workflow, filter) = (from.text_or_none()?, from.text()?);
        let by = from.by()?;
        let flags = from.letter()?;
        let mut numbers = [0; 6];
        for it in &mut numbers {
            *it = from.number()?;
        }
        let [frontier, place, done, began_at, ended_at, kinds] = numbers;
        let failed = (0..kinds).map(|_| Ok((from.text()?, from.number()?)));
        Ok(Self {
            failed: failed.collect::<Result<_, Nonsense>>()?,
            stopped: flags & 1 != 0,
            began_at: began_at as i64,
            ended_at: (flags & 2 != 0).then_some(ended_at as i64),
            number,
            namespace,
            operation,
            workflow,
            filter,
            by,
            frontier,
            what,
            place,
            done,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let mut bulk = Bulk {
            number: 7,
            namespace: "default".into(),
            operation: "pause".into(),
            filter: "status=waiting".into(),
            frontier: 9,
            what: Some([1].into()),
            place: 3,
            done: 2,
            began_at: -5,
            ..Bulk::default()
        };
        let read = |bulk: &Bulk| Bulk::read(7, bulk.what.clone(), &bulk.bytes());
        assert_eq!(read(&bulk).as_ref(), Some(&bulk));
        bulk.count_failed("state");
        bulk.count_failed("not_found");
        bulk.count_failed("state");
        (bulk.workflow, bulk.ended_at, bulk.stopped) = (Some("w".into()), Some(0), true);
        assert_eq!(read(&bulk).as_ref(), Some(&bulk));
        let result = bulk.audited().result;
        assert_eq!(&*result, "stopped, done: 2, state: 2, not_found: 1");
        let bytes = bulk.bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Bulk::read(7, None, &bytes[..cut]), None);
        }
        assert_eq!(Bulk::read(7, None, &[&*bytes, &[0]].concat()), None);
    }
}
