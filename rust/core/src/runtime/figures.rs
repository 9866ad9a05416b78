//! What the engine comes to in numbers: answered from memory, cheap enough to be polled.

use std::sync::Arc;

use super::Engine;
use crate::lifecycle::Status;
use crate::tally::{Figures, Group, States};

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

    /// Returns why instances are blocked, of one namespace and workflow or of all: the most
    /// frequent reason first.
    #[must_use]
    pub fn reasons(&self, namespace: Option<&str>, workflow: Option<&str>) -> Vec<Group> {
        if !self.is_ours() {
            return Vec::new();
        }
        self.shared.tally.reasons(namespace, workflow)
    }
}
