//! Which code there is (L12): known when the engine opens, and the same as long as it is open.

use rustc_hash::FxHashMap;

/// The versions of each workflow there is code for.
#[derive(Debug, Default)]
pub(super) struct Codes(FxHashMap<Box<str>, Vec<Box<str>>>);

impl Codes {
    pub(super) fn new(workflows: &[(Box<str>, Box<str>)]) -> Self {
        let mut codes = Self::default();
        for (workflow, version) in workflows {
            let versions = codes.0.entry(workflow.clone()).or_default();
            versions.push(version.clone());
        }
        codes
    }

    pub(super) fn has(&self, workflow: &str, version: &str) -> bool {
        let versions = self.0.get(workflow);
        versions.is_some_and(|it| it.iter().any(|it| **it == *version))
    }
}
