//! What is handed over at a start, for an owner of some ranges only.

use rustc_hash::FxHashSet;

use super::{Newcomer, NumberedCode, Recovery, Row};
use crate::ids::{InstanceNo, Key};
use crate::ranges::Domain;
use crate::wait::{Event, Wait};

/// Hands over what is of some ranges.
pub(super) struct Within<'r> {
    of: &'r Domain,
    into: &'r mut dyn Recovery,
    /// The instances that were handed over.
    some: FxHashSet<InstanceNo>,
}

impl<'r> Within<'r> {
    pub(super) fn new(of: &'r Domain, into: &'r mut dyn Recovery) -> Self {
        Self {
            of,
            into,
            some: FxHashSet::default(),
        }
    }

    fn has(&self, row: &Row) -> bool {
        let key = Key::new(&row.namespace, &row.workflow, &row.id);
        self.of.has(key.range())
    }
}

impl Recovery for Within<'_> {
    fn knows(&mut self, code: &NumberedCode<'_>) -> bool {
        self.into.knows(code)
    }

    fn newcomers(&mut self, some: &[Newcomer]) {
        let some = some.iter().filter(|it| self.of.has(it.key.range()));
        let some: Vec<Newcomer> = some.copied().collect();
        self.some.extend(some.iter().map(|it| it.no));
        self.into.newcomers(&some);
    }

    fn instance(&mut self, row: Row) {
        if self.has(&row) {
            self.some.insert(row.no);
            self.into.instance(row);
        }
    }

    fn wait(&mut self, no: InstanceNo, wait: Wait) {
        if self.some.contains(&no) {
            self.into.wait(no, wait);
        }
    }

    fn event(&mut self, no: InstanceNo, event: Event) {
        if self.some.contains(&no) {
            self.into.event(no, event);
        }
    }

    fn damaged(&mut self, no: InstanceNo, what: &str) {
        if self.some.contains(&no) {
            self.into.damaged(no, what);
        }
    }

    fn unreadable(&mut self, what: String, shown: Option<Row>) {
        // Of what has no names nobody knows whose it is.
        if shown.as_ref().is_none_or(|it| self.has(it)) {
            self.into.unreadable(what, shown);
        }
    }
}
