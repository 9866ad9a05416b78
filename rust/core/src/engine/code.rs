//! Which code there is, and that nothing goes on without it (L12).
//!
//! Invariant: what has no code has no place in a queue and no slot: nothing could run it, so its
//! slot would never come back. What code there is is known when the engine opens and stays. So
//! whether an instance has code is found out once, where it is read at a start
//! ([`super::recovery`]); what is new has code ([`Core::admit`]); and the table moves nothing that
//! has none (`shift`).

use rustc_hash::FxHashMap;

use super::Core;
use crate::codes::MISSING_CODE;
use crate::ids::InstanceNo;
use crate::store::known::Damaged;
use crate::store::Row;
use crate::submission::Name;

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

    /// Returns why an instance cannot have this version, if there is no code for it.
    pub(super) fn lacks(&self, of: &Name, version: &str) -> Option<String> {
        let Name { id, workflow, .. } = of;
        (!self.has(workflow, version)).then(|| {
            format!(
                "instance \"{id}\" of \"{workflow}\" cannot go on as version \"{version}\", which is \
                 not registered with this engine (registered: {}). Nothing was changed.",
                self.instead(workflow)
            )
        })
    }

    /// Returns what there is instead of one version: other versions, or other workflows.
    fn instead(&self, workflow: &str) -> String {
        let quoted = |it: &[&str]| {
            let each: Vec<_> = it.iter().map(|it| format!("\"{it}\"")).collect();
            each.join(", ")
        };
        if let Some(versions) = self.0.get(workflow) {
            let versions: Vec<_> = versions.iter().map(|it| &**it).collect();
            return format!("version {}", quoted(&versions));
        }
        let mut names: Vec<_> = self.0.keys().map(|it| &**it).collect();
        names.sort_unstable();
        if names.is_empty() {
            return "no workflow".into();
        }
        quoted(&names)
    }

    /// Says why an instance cannot be resumed, and what to do.
    pub(super) fn refusal(&self, row: &Row) -> String {
        let Row {
            id,
            workflow,
            version,
            ..
        } = row;
        let then = if row.reason.as_deref() == Some(MISSING_CODE) {
            "the instance goes on by itself, without resume()"
        } else {
            "then resume() it"
        };
        format!(
            "instance \"{id}\" of \"{workflow}\" cannot be resumed here: version \"{version}\" \
            of \"{workflow}\" is not \
             registered with this engine (registered: {}). Nothing was changed. Pass it in \
             Engine(workflows=[…]); {then}.",
            self.instead(workflow)
        )
    }
}

impl Core {
    /// Returns why an instance cannot go on, if there is no code for it.
    pub(super) fn without_code(&self, no: InstanceNo) -> Result<Option<String>, Damaged> {
        if self.live.get(&no).is_none_or(|it| it.has_code) {
            return Ok(None);
        }
        let row = self.batch.known.instance(no)?;
        let row = row.expect("what is live is stored");
        Ok(Some(self.codes.refusal(row)))
    }
}
