//! Workflows that had another name before: which name stands for which, and what that means when an
//! engine opens.
//!
//! Code says what its workflows were called (`formerly`), and the store keeps it: instances that were
//! given to a name stay with it when the code says it no more. All of them move in one commit, before
//! anything else is read, or the engine does not open. An instance remembers the name it was created
//! under (`Row::born`). It does not know what derives from that.

use super::{Error, Store};

/// Name of the setting.
const KEPT: &str = "formerly";

/// Names, each with the one that took its place.
pub type Pairs = Vec<(Box<str>, Box<str>)>;

/// What a store has to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renaming {
    /// Instances of the first are of the second from now on.
    pub moves: Pairs,
    /// Names of code that were given up for another one: no instance of that may have been created
    /// under it, or it could be meant by both.
    pub used_again: Pairs,
    /// Which setting to keep, and what.
    pub kept: Option<(Box<str>, Box<[u8]>)>,
}

/// Gives all instances to the names that their workflows have today. Returns which name stands for
/// which.
///
/// # Errors
/// `Invalid` if the code contradicts the store, or itself; nothing was changed then.
pub fn rename(
    store: &mut dyn Store,
    formerly: &[(Box<str>, Box<str>)],
    workflows: &[(Box<str>, Box<str>)],
) -> Result<Pairs, Error> {
    let bytes = store.meta(KEPT)?;
    let before = bytes.as_deref().map_or(Some(Pairs::new()), read);
    let before = before.ok_or_else(|| {
        let why = "setting \"formerly\" in table meta of the store is damaged: it says which \
                   workflows had other names. Restore the store from a backup.";
        Error::Corrupt(why.into())
    })?;
    if formerly.is_empty() && before.is_empty() {
        return Ok(before);
    }
    let is_new = |old: &str, new: &str| formerly.iter().any(|it| *it.0 == *old && *it.1 == *new);
    for (old, new) in formerly {
        let owner = before.iter().find(|it| it.0 == *old).map(|it| &it.1);
        if let Some(owner) = owner.filter(|it| *it != new && !is_new(it, new)) {
            return Err(Error::Invalid(format!(
                "workflow \"{new}\" says formerly=\"{old}\", and instances of that belong to \
                 \"{owner}\" in this store. Name \"{owner}\" in formerly= of \"{new}\" too, or take \
                 \"{old}\" out of it."
            )));
        }
    }
    let is_code = |name: &str| workflows.iter().any(|it| *it.0 == *name);
    let mut used_again = Pairs::new();
    let mut now = Pairs::new();
    for (old, new) in &before {
        let next = formerly.iter().find(|it| it.0 == *new);
        let new = next.map_or(new, |it| &it.1);
        if is_code(old) && old != new {
            used_again.push((old.clone(), new.clone()));
        } else if old != new {
            now.push((old.clone(), new.clone()));
        }
    }
    for pair in formerly {
        if !now.contains(pair) {
            now.push(pair.clone());
        }
    }
    store.rename(&Renaming {
        moves: now.clone(),
        used_again,
        kept: (now != before).then(|| (KEPT.into(), written(&now))),
    })?;
    Ok(now)
}

/// Says why a name that was given up cannot be that of another workflow.
pub(super) fn is_used(old: &str, new: &str) -> String {
    format!(
        "workflow \"{old}\" is registered, and instances that were created under this name belong to \
         \"{new}\" in this store. If it is that workflow, under its old name again, write \
         formerly=[\"{new}\"]; else give it a name that nothing had."
    )
}

/// Says why two names cannot become one.
pub(super) fn is_taken(namespace: &str, [old, new]: [&str; 2], id: &str) -> String {
    format!(
        "workflow \"{new}\" says formerly=\"{old}\", and both have an instance \"{id}\" (namespace \
         \"{namespace}\"). Delete one of them with an engine that has workflow \"{old}\", or that \
         knows nothing of formerly=."
    )
}

fn written(pairs: &Pairs) -> Box<[u8]> {
    let lines = pairs.iter().map(|(old, new)| format!("{old} {new}\n"));
    lines.collect::<String>().into_bytes().into()
}

fn read(bytes: &[u8]) -> Option<Pairs> {
    let lines = std::str::from_utf8(bytes).ok()?.lines();
    let pair = |line: &str| line.split_once(' ').map(|it| (it.0.into(), it.1.into()));
    lines.map(pair).collect()
}
