//! What the engine comes to in numbers: answered from memory, cheap enough to be polled.

use std::sync::Arc;

use super::{Engine, Parent, Question, Refused};
use crate::changes::ChangeNo;
use crate::codes;
use crate::ids::Micros;
use crate::lifecycle::Status;
use crate::settings::Limit;
use crate::store::Filter;
use crate::tally::{Asked, Figures, States, Wanted};

/// A workflow in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfWorkflow {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub workflow: Arc<str>,
    /// Its figures.
    pub figures: Figures,
}

impl Engine {
    /// Returns the engine's figures.
    #[must_use]
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        let mut figures = self.shared.meter.figures();
        figures.push(("submitted_depth", self.shared.inbox.depth() as u64));
        figures.push(("resident", self.shared.residents.len() as u64));
        figures.push(("live", self.shared.registry.len() as u64));
        figures
    }

    /// Returns the figures of every workflow, as they were committed last.
    #[must_use]
    pub fn workflow_statistics(&self) -> Vec<OfWorkflow> {
        // A lock that somebody held at the fork is held for ever in the child.
        if !self.is_ours() {
            return Vec::new();
        }
        let all = self.shared.tally.workflows().into_iter();
        let row = |(namespace, workflow, figures)| OfWorkflow {
            namespace,
            workflow,
            figures,
        };
        all.map(row).collect()
    }

    /// Returns how many slots a workflow gave back within the last minutes, and how long they are, in
    /// microseconds.
    #[must_use]
    pub fn slots_freed(&self, namespace: &str, workflow: &str) -> (u64, Micros) {
        if !self.is_ours() {
            return (0, 0);
        }
        self.shared.tally.freed(namespace, workflow, self.now())
    }

    /// Returns how many instances are in each state that any is in, final ones too, of one
    /// namespace and workflow or of all.
    #[must_use]
    pub fn counts(&self, namespace: Option<&str>, workflow: Option<&str>) -> Vec<(Status, u64)> {
        if !self.is_ours() {
            return Vec::new();
        }
        self.shared.tally.counts(namespace, workflow)
    }

    /// Returns how many instances of each version are in each state, of one namespace and workflow
    /// or of all: workflow, version, counts.
    #[must_use]
    pub fn versions(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Vec<(Arc<str>, Arc<str>, States)> {
        if !self.is_ours() {
            return Vec::new();
        }
        self.shared.tally.versions(namespace, workflow)
    }

    /// Asks for the instances of a namespace that changed after a place, each as it is now. The
    /// answer is a reply to the ticket.
    ///
    /// # Errors
    /// If the engine is closed.
    pub fn changes(&self, namespace: &str, place: ChangeNo, limit: usize) -> Result<u64, Refused> {
        if !self.is_ours() {
            return Err(Refused::Closed);
        }
        let since = self.shared.tally.changes(place, limit);
        self.ask(Question::Changes(namespace.into(), since))
    }

    /// Returns what tells the places of changes of this store from those of another.
    #[must_use]
    pub fn change_epoch(&self) -> u64 {
        self.shared.tally.change_epoch()
    }

    /// Returns whether there is a change after a place; if not, there will be a note of the next.
    #[must_use]
    pub fn await_change(&self, place: ChangeNo) -> bool {
        self.is_ours() && self.shared.tally.await_change(place)
    }

    /// Returns how many instances are blocked by which code, of which version.
    #[must_use]
    pub fn blocked(
        &self,
        namespace: Option<&str>,
        workflow: Option<&str>,
    ) -> Vec<(Arc<str>, Arc<str>, u64)> {
        if !self.is_ours() {
            return Vec::new();
        }
        self.shared.tally.blocked(namespace, workflow)
    }

    /// Asks why instances are where they are, of one namespace and workflow or of all: the most
    /// frequent reason first. The answer is a reply to the ticket; all but ids is from memory.
    ///
    /// # Errors
    /// If the engine is closed.
    pub fn reasons(&self, namespace: Option<&str>, workflow: Option<&str>) -> Result<u64, Refused> {
        if !self.is_ours() {
            return Err(Refused::Closed);
        }
        let asked = (namespace, workflow);
        let now = self.now();
        let told = self.with_limit(|limit| self.shared.tally.reasons(asked, now, limit));
        self.ask(Question::Reasons(told, now))
    }

    /// Asks for a page of instances; of the children of one only; of those only that are counted as
    /// a reason, if one is given.
    ///
    /// # Errors
    /// If the engine is closed.
    pub fn list(
        &self,
        filter: Filter,
        parent: Option<Box<Parent>>,
        wanted: Option<&Wanted>,
    ) -> Result<u64, Refused> {
        if !self.is_ours() {
            return Err(Refused::Closed);
        }
        let is_narrow = parent.is_some() || filter.is_narrow();
        let among = wanted.map(|wanted| {
            let most = if is_narrow {
                filter.budget.unwrap_or(u32::MAX)
            } else {
                filter.limit
            };
            let asked = Asked {
                namespace: filter.namespace.as_deref(),
                workflow: filter.workflow.as_deref(),
                version: filter.version.as_deref(),
                statuses: &filter.statuses,
                beyond: filter.beyond,
                newest_first: filter.newest_first,
                most: most as usize,
                now: self.now(),
            };
            self.with_limit(|limit| self.shared.tally.among(wanted, &asked, limit))
        });
        self.ask(Question::List(
            Box::new(filter),
            parent,
            among.map(Box::new),
        ))
    }

    /// Calls this with what says which limit holds up those of a workflow that are queued, given the
    /// slots in use.
    fn with_limit<T>(
        &self,
        ask: impl FnOnce(&dyn Fn([u64; 3], &str, &str) -> &'static str) -> T,
    ) -> T {
        let limits = self.shared.limits.read();
        let limit = |[all, of_namespace, own]: [u64; 3], namespace: &str, workflow: &str| {
            let most = |workflow| {
                let most = limits
                    .layers(namespace, workflow)
                    .in_force(Limit::Concurrency);
                most.map_or(u64::MAX, |it| it as u64)
            };
            if all >= u64::from(self.config.slots) {
                codes::SLOTS
            } else if of_namespace >= most(None) {
                codes::NAMESPACE_CONCURRENCY
            } else if own >= most(Some(workflow)) {
                codes::CONCURRENCY
            } else {
                codes::STARTING
            }
        };
        ask(&limit)
    }
}
