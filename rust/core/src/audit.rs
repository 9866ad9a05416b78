//! Who did what: one row for each operation from outside that changed something, in the commit of
//! the change.
//!
//! Creations and events are not among them: their number is the load, and each is to be seen in what
//! it made. It does not know what an operation does.

use crate::ids::Micros;

/// Who does something, and what they say to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Option<Box<str>>,
    /// What they say to it.
    pub note: Option<Box<str>>,
}

/// One row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its number, unique in its store for ever, in order of decision.
    pub number: u64,
    /// When.
    pub at: Micros,
    /// By whom.
    pub by: By,
    /// What was done, as the API calls it.
    pub operation: Box<str>,
    /// In which namespace.
    pub namespace: Box<str>,
    /// To which workflow, or instances of which.
    pub workflow: Option<Box<str>>,
    /// To which instance.
    pub id: Option<Box<str>>,
    /// To which instances, if to many.
    pub filter: Option<Box<str>>,
    /// What came of it.
    pub result: Box<str>,
}

/// Which rows somebody wants to see, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only of this namespace.
    pub namespace: Box<str>,
    /// Only of this workflow.
    pub workflow: Option<Box<str>>,
    /// Only of the instance of that workflow that has this id.
    pub id: Option<Box<str>>,
    /// Only older ones than this.
    pub beyond: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

impl Query {
    /// Returns whether a row is on it, but for the limit.
    #[must_use]
    pub fn has(&self, it: &Entry) -> bool {
        let wanted = |of: &Option<Box<str>>, has: &Option<Box<str>>| of.is_none() || of == has;
        self.namespace == it.namespace
            && wanted(&self.workflow, &it.workflow)
            && wanted(&self.id, &it.id)
            && self.reaches(it.number)
    }

    /// Returns whether a row with this number may be on it.
    #[must_use]
    pub fn reaches(&self, number: u64) -> bool {
        self.beyond.is_none_or(|beyond| number < beyond)
    }
}

/// What was found: rows that cannot be read say why, with their numbers; and the number down to which
/// was searched, if that is not all.
pub type Rows = (Vec<Result<Entry, (u64, String)>>, Option<u64>);
