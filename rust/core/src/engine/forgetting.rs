//! A namespace that goes with everything of it (`delete_all`).
//!
//! It is something that is done to many: its instances are deleted part by part, whoever dies. From
//! when it has begun until it has ended nothing is created in it: whoever asks from outside is refused,
//! and a body that creates children is deleted before it could be told of them. So it ends, and cannot
//! be stopped, as what has begun to go is whole no more. With its last part goes what is left
//! of the namespace: limits, rates, counts of failures, and what was done to many before.

use super::Core;
use crate::codes;
use crate::ids::InstanceNo;
use crate::note::{Data, Note};
use crate::store::{Forgotten, Op};

/// What it is called.
pub(super) const DELETE_ALL: &str = "delete_all";

impl Core {
    /// Refuses a call for a namespace that is going. Returns whether it did.
    pub(super) fn refuses_going(&mut self, ticket: u64, namespace: &str) -> bool {
        let going = self.bulks.is_going(namespace);
        if going {
            let text = format!(
                "namespace {namespace:?} is being deleted with everything of it; nothing was \
                 created or changed. Try again when its delete_all has ended."
            );
            self.say(Note::refuse(ticket, codes::UNDER_WAY, Data::Text(text)));
        }
        going
    }

    /// Whether an instance is of a namespace that is going: nothing it begins now would be told to
    /// anybody.
    pub(super) fn is_of_going(&self, no: InstanceNo) -> bool {
        let live = self.live.get(&no);
        live.is_some_and(|it| self.bulks.is_going(&self.names[it.workflow as usize].0))
    }

    /// Forgets a namespace whose instances and schedules are gone.
    pub(super) fn forget_namespace(&mut self, namespace: &str, bulk: u64) {
        let settings = self.forget_limits(namespace);
        self.push(Op::Forget(Box::new(Forgotten {
            namespace: namespace.into(),
            bulk,
            settings,
        })));
        let here = self.workflows.get(namespace).into_iter().flatten();
        let here: Vec<u32> = here.map(|(_, number)| *number).collect();
        self.counts.forget_failures(&here);
    }
}
