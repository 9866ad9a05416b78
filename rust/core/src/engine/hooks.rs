//! By what an open wait is found when its outcome comes: a timer, a child, an approval.
//!
//! Events find it by themselves: they are sent to its instance.

use super::{Core, Due};
use crate::ids::InstanceNo;
use crate::wait::{Source, Wait};

impl Core {
    /// Makes an open wait known to what may settle it.
    pub(super) fn hook(&mut self, no: InstanceNo, wait: &Wait) {
        // While it is to pause time stands still for it.
        let stands_still = self.live[&no].status.is_paused();
        if let Some(until) = wait.until.filter(|_| !stands_still) {
            self.timers.set(until, wait.id, Due::Wait(no));
        }
        match &wait.source {
            Source::Child(child) => {
                let parents = self.parents.entry(*child).or_default();
                if !parents.contains(&(no, wait.id)) {
                    parents.push((no, wait.id));
                }
            }
            Source::Approval(id) => {
                self.asked.insert(id.clone(), (no, wait.id));
            }
            _ => {}
        }
    }

    /// Takes back what `hook` did.
    pub(super) fn unhook(&mut self, no: InstanceNo, wait: &Wait) {
        if let Some(until) = wait.until {
            self.timers.cancel(until, wait.id);
        }
        match &wait.source {
            Source::Child(child) => {
                if let Some(parents) = self.parents.get_mut(child) {
                    parents.retain(|it| *it != (no, wait.id));
                    if parents.is_empty() {
                        self.parents.remove(child);
                    }
                }
            }
            Source::Approval(id) => {
                self.asked.remove(id);
            }
            _ => {}
        }
    }
}
