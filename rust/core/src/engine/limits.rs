//! Limits that are settings: who may set them, when they are in force, and where they are enforced.
//!
//! Invariant: every decision meets what was said before it. A change is in force, for the
//! gatekeeper and for admission, from the decision about it on, also for what rides in its own
//! commit; it is stored in the commit of its answer, and then whoever reads sees it. What a
//! namespace is opened with is seen at once: that call does not wait for its commit. A limit below
//! what is in use takes nothing away: what runs drains down, what is queued stays (C1). `settings`
//! says which value counts; this says only where it goes.

use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::places::Queued;
use super::{After, Core, Facts};
use crate::audit::Entry;
use crate::codes;
use crate::note::{Data, Note};
use crate::settings::book::{whole, Book};
use crate::settings::{checked, Layer, Layers, Limit};
use crate::store::{Bucket, Error, Op, Setting};
use crate::submission::LimitChange;

/// Name of the setting at a place of the book.
fn setting(place: u32) -> Box<str> {
    format!("limits/{place}").into()
}

/// Returns changes as a line of text.
fn told(changes: &[(Box<str>, Option<f64>)]) -> Box<str> {
    let one = |(name, value): &(Box<str>, Option<f64>)| match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name} cleared"),
    };
    let all: Vec<_> = changes.iter().map(one).collect();
    all.join(", ").into()
}

/// What the engine keeps about limits.
#[derive(Debug)]
pub(super) struct Limited {
    /// By which everything is decided: with what is not durable yet.
    decided: Book,
    /// What whoever reads is shown.
    shown: Arc<RwLock<Book>>,
    /// The gatekeeper's number of each namespace.
    accounts: FxHashMap<Box<str>, u32>,
    /// By that number.
    names: Vec<Box<str>>,
    /// By that number (L11).
    recoveries: Vec<u32>,
    /// What earlier engines left of creation rates, of namespaces that were not named yet.
    left: FxHashMap<Box<str>, Bucket>,
}

impl Limited {
    pub(super) fn new(code: &[(Box<str>, Layer)]) -> Self {
        let decided = Book::new(code);
        Self {
            shown: Arc::new(RwLock::new(decided.clone())),
            decided,
            accounts: FxHashMap::default(),
            names: Vec::new(),
            recoveries: Vec::new(),
            left: FxHashMap::default(),
        }
    }

    fn layers(&self, namespace: &str, workflow: Option<&str>) -> Layers {
        self.decided.layers(namespace, workflow)
    }
}

impl Core {
    /// Returns the limits that are in force, for whoever wants to read them.
    #[must_use]
    pub fn limits_in_force(&self) -> Arc<RwLock<Book>> {
        Arc::clone(&self.limited.shown)
    }

    /// Returns how many unclean stops an instance of this workflow may survive (L11).
    pub(super) fn recoveries(&self, workflow: u32) -> u32 {
        self.limited.recoveries[self.gate.namespace(workflow) as usize]
    }

    /// Reads what is stored, and takes in what this engine was opened with. Comes before the first
    /// instance, which would be counted under the defaults.
    pub(super) fn load_limits(&mut self, facts: &mut Facts) -> Result<(), Error> {
        for place in 0.. {
            let name = setting(place);
            let Some(bytes) = facts.store.meta(&name)? else {
                break;
            };
            if !self.limited.decided.restore(place, &bytes) {
                return Err(Error::Corrupt(format!(
                    "setting {name:?} in table meta of the store is damaged: it says which limits \
                    are in force for a namespace. Restore the store from a backup."
                )));
            }
        }
        for (old, new) in &self.config.formerly {
            self.limited.decided.rename(old, new);
        }
        let buckets = facts.store.buckets()?.into_iter();
        self.limited.left = buckets.map(|it| (it.namespace.clone(), it)).collect();
        let (namespace, base) = (self.config.namespace.clone(), self.config.limits);
        let opened = self.limited.decided.open(&namespace, base, 0);
        if opened.map_err(Error::Invalid)? {
            self.keep_limits(None, &namespace);
        }
        // Nobody has been answered by this engine yet, so nobody can tell that it is early.
        *self.limited.shown.write() = self.limited.decided.clone();
        Ok(())
    }

    pub(super) fn set_limits(&mut self, ticket: u64, what: &LimitChange) {
        let LimitChange {
            namespace,
            workflow,
            changes,
            by,
        } = what;
        if self.refuses_going(ticket, namespace) {
            return;
        }
        let changed = self.known(namespace, workflow.as_deref()).and_then(|()| {
            let decided = &mut self.limited.decided;
            decided.change(namespace, workflow.as_deref(), changes)
        });
        if changed.is_ok() {
            self.audit(Entry {
                by: by.clone(),
                operation: "set_limits".into(),
                namespace: namespace.clone(),
                workflow: workflow.clone(),
                result: told(changes),
                ..Entry::default()
            });
        }
        self.answer(ticket, namespace, changed.map(|()| true));
    }

    pub(super) fn open_namespace(
        &mut self,
        ticket: u64,
        namespace: &str,
        limits: &[(Box<str>, Option<f64>)],
    ) {
        let opened = checked(limits, false).and_then(|it| {
            self.limited.shown.write().open(namespace, it, ticket)?;
            self.limited.decided.open(namespace, it, ticket)
        });
        self.answer(ticket, namespace, opened);
    }

    fn answer(&mut self, ticket: u64, namespace: &str, changed: Result<bool, String>) {
        match changed {
            Ok(true) => {
                self.keep_limits(Some(ticket), namespace);
                self.enforce(namespace);
            }
            Ok(false) => self.say(Note::reply(ticket, Data::Nothing)),
            Err(text) => self.say(Note::refuse(ticket, codes::INVALID, Data::Text(text))),
        }
    }

    /// A name nobody has heard of is a slip of the pen. What has limits already may be cleared.
    fn known(&self, namespace: &str, workflow: Option<&str>) -> Result<(), String> {
        let Some(name) = workflow else {
            return Ok(());
        };
        let has_code = self.config.workflows.iter().any(|it| &*it.0 == name);
        let here = self.workflows.get(namespace);
        let has_instances = here.is_some_and(|it| it.contains_key(name));
        let layers = self.limited.decided.layers(namespace, workflow);
        if has_code || has_instances || !layers.workflow_live.is_empty() {
            return Ok(());
        }
        Err(format!(
            "no workflow {name:?} is registered, and namespace {namespace:?} has no instance of \
            one; check the name, or register it with Engine(workflows=…) first."
        ))
    }

    /// Makes the limits of a namespace durable; they are shown after the commit.
    fn keep_limits(&mut self, ticket: Option<u64>, namespace: &str) {
        if let Some((place, bytes)) = self.limited.decided.stored(namespace) {
            self.push(Op::Meta(setting(place), bytes));
        }
        let namespace = namespace.into();
        self.then(After::Limits { ticket, namespace });
    }

    /// Nothing is set for a namespace any more, but what the engine was opened with for its own.
    /// Returns what becomes of which setting.
    pub(super) fn forget_limits(&mut self, namespace: &str) -> Vec<Setting> {
        let is_own = *self.config.namespace == *namespace;
        let places = self.limited.decided.forget(namespace, is_own);
        self.limited.left.remove(namespace);
        self.enforce(namespace);
        self.then(After::Limits {
            ticket: None,
            namespace: namespace.into(),
        });
        places
            .into_iter()
            .map(|(place, it)| (setting(place), it))
            .collect()
    }

    /// What was decided about a namespace's limits is durable.
    pub(super) fn show_limits(&mut self, namespace: &str) {
        let limited = &mut self.limited;
        limited.shown.write().copy(&limited.decided, namespace);
    }

    /// Brings what is in force for a namespace to where it is enforced.
    fn enforce(&mut self, namespace: &str) {
        let Some(account) = self.limited.accounts.get(namespace).copied() else {
            return;
        };
        self.enforce_on_namespace(namespace, account);
        let workflows = self.workflows.get(namespace).into_iter().flatten();
        let workflows: Vec<_> = workflows.map(|(name, no)| (name.clone(), *no)).collect();
        for (name, number) in workflows {
            self.enforce_on_workflow(namespace, &name, number);
        }
        // Whoever waits for room may have some now, or never.
        self.rooms.changed = true;
        self.contended = Queued::Unknown;
    }

    fn enforce_on_namespace(&mut self, namespace: &str, account: u32) {
        let layers = self.limited.layers(namespace, None);
        let slots = whole(layers.of_namespace(Limit::Concurrency));
        self.gate.set_namespace_limit(account, slots);
        self.admission.set_rate(account, layers.create_rate());
        let recoveries = whole(layers.of_namespace(Limit::Recoveries));
        self.limited.recoveries[account as usize] = recoveries;
    }

    fn enforce_on_workflow(&mut self, namespace: &str, workflow: &str, number: u32) {
        let layers = self.limited.layers(namespace, Some(workflow));
        let own = layers.own(Limit::Concurrency);
        self.gate.set_limit(number, own.map(|it| it as u32));
        let entries = whole(layers.in_force(Limit::QueueEntries));
        self.admission.set_entries(number, entries);
    }

    /// Returns the number of a workflow, which it gets when it is first named.
    pub(super) fn workflow(&mut self, namespace: &str, workflow: &str) -> u32 {
        let known = self
            .workflows
            .get(namespace)
            .and_then(|it| it.get(workflow));
        if let Some(number) = known {
            return *number;
        }
        let account = self.account(namespace);
        let number = self.gate.add_workflow(account, None);
        let inner = self.workflows.entry(namespace.into()).or_default();
        inner.insert(workflow.into(), number);
        self.names.push((namespace.into(), workflow.into()));
        self.counts.add_workflow();
        self.versions.add_workflow();
        self.enforce_on_workflow(namespace, workflow, number);
        number
    }

    fn account(&mut self, namespace: &str) -> u32 {
        if let Some(account) = self.limited.accounts.get(namespace) {
            return *account;
        }
        let account = self.gate.add_namespace(0);
        self.limited.accounts.insert(namespace.into(), account);
        self.limited.names.push(namespace.into());
        self.limited.recoveries.push(0);
        self.enforce_on_namespace(namespace, account);
        if let Some(left) = self.limited.left.remove(namespace) {
            self.admission
                .restore_rate(account, left.millionths, left.at);
        }
        account
    }

    /// C10: what creations took of a rate rides in their commit, so that it holds after any end.
    pub(super) fn keep_rates(&mut self) {
        for (account, millionths) in self.admission.take_spent() {
            let bucket = Bucket {
                namespace: self.limited.names[account as usize].clone(),
                millionths,
                at: self.now,
            };
            self.push(Op::Bucket(Box::new(bucket)));
        }
    }
}
