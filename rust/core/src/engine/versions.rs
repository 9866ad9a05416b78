//! Which version of its workflow an instance is of, in a few bytes.
//!
//! A version is a number within its workflow. What is more than a queue entry knows its own
//! ([`super::Live`]). For those that never ran there may be millions of entries and no room in
//! them; but numbers ascend with creation, and what is created runs the newest code, so versions
//! lie in runs: [`Runs`] keeps where one begins, which costs nothing per instance.

use std::sync::Arc;

use crate::ids::InstanceNo;

/// Versions by the number of their workflow.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<WorkflowVersions>);

#[derive(Debug, Default)]
struct WorkflowVersions {
    names: Vec<Arc<str>>,
    entrants: Runs,
}

impl Versions {
    /// There is one more workflow.
    pub(super) fn add_workflow(&mut self) {
        self.0.push(WorkflowVersions::default());
    }

    /// Returns the number of a version, which it gets now if it is new.
    pub(super) fn number(&mut self, workflow: u32, name: &str) -> u32 {
        let names = &mut self.0[workflow as usize].names;
        let known = names.iter().position(|it| **it == *name);
        let number = known.unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        });
        number as u32
    }

    /// Returns the versions of a workflow, by number.
    pub(super) fn names(&self, workflow: u32) -> &[Arc<str>] {
        &self.0[workflow as usize].names
    }

    /// An instance is queued that never ran.
    pub(super) fn enters(&mut self, workflow: u32, no: InstanceNo, version: u32) {
        self.0[workflow as usize].entrants.set(no, version);
    }

    /// Returns the version of an instance that never ran.
    pub(super) fn of_entrant(&self, workflow: u32, no: InstanceNo) -> u32 {
        self.0[workflow as usize].entrants.get(no)
    }

    /// Nobody of this workflow is queued any more.
    pub(super) fn none_left(&mut self, workflow: u32) {
        self.0[workflow as usize].entrants = Runs::default();
    }
}

/// A value for each number, of which neighbours have the same.
#[derive(Debug, Default)]
struct Runs {
    /// Where each run begins, and its value.
    starts: Vec<(InstanceNo, u32)>,
    /// No number above this one was given a value.
    end: InstanceNo,
}

impl Runs {
    /// Returns the value of a number; 0 if it has none.
    fn get(&self, no: InstanceNo) -> u32 {
        let after = self.starts.partition_point(|it| it.0 <= no);
        after.checked_sub(1).map_or(0, |at| self.starts[at].1)
    }

    /// Gives one number a value.
    fn set(&mut self, no: InstanceNo, value: u32) {
        let before = self.get(no);
        if before != value {
            let at = self.starts.partition_point(|it| it.0 < no);
            let begins = self.starts.get(at).is_some_and(|it| it.0 == no);
            // Whoever comes after it keeps what it has.
            let next = at + usize::from(begins);
            let follows = self.starts.get(next).is_some_and(|it| it.0 == no + 1);
            if no < self.end && !follows {
                self.starts.insert(next, (no + 1, before));
            }
            if begins {
                self.starts[at].1 = value;
            } else {
                self.starts.insert(at, (no, value));
            }
        }
        self.end = self.end.max(no);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn every_number_has_the_value_it_was_given_last(
            given in prop::collection::vec((0u64..40, 0u32..4), 0..60)
        ) {
            let (mut runs, mut model) = (Runs::default(), BTreeMap::new());
            for (no, value) in given {
                runs.set(no, value);
                model.insert(no, value);
                for (no, value) in &model {
                    prop_assert_eq!(runs.get(*no), *value, "{} in {:?}", no, runs);
                }
                prop_assert!(runs.starts.is_sorted_by(|a, b| a.0 < b.0));
            }
        }
    }

    #[test]
    fn numbers_in_a_row_cost_one_entry() {
        let mut versions = Versions::default();
        versions.add_workflow();
        let (first, second) = (versions.number(0, "1"), versions.number(0, "2"));
        for no in 0..1_000 {
            versions.enters(0, no, if no < 600 { first } else { second });
        }
        assert_eq!(versions.0[0].entrants.starts.len(), 1);
        assert_eq!(versions.of_entrant(0, 599), first);
        assert_eq!(versions.of_entrant(0, 600), second);
    }
}
