//! Instances of a workflow that has another name by now: see [`crate::store::renames`].

use super::model::Model;
use crate::store::renames::{is_taken, is_used, Renaming};

impl Model {
    /// Gives them to that name. An error is a text for the user; nothing is changed then.
    pub(super) fn rename(&mut self, to: &Renaming) -> Result<(), String> {
        let rows = || self.instances.values().map(|it| &it.row);
        for (old, new) in &to.used_again {
            if rows().any(|it| it.born.as_ref() == Some(old)) {
                return Err(is_used(old, new));
            }
        }
        let mut names = self.names.clone();
        let mut moved = Vec::new();
        for (old, new) in &to.moves {
            for row in rows().filter(|it| it.workflow == *old) {
                let name = |of: &str| (row.namespace.clone(), of.into(), row.id.clone());
                names.remove(&name(old));
                if let Some(no) = names.insert(name(new), row.no) {
                    let twin = &self.instances[&no].row;
                    return Err(is_taken(&row.namespace, [old, &twin.workflow], &row.id));
                }
                moved.push((row.no, new.clone()));
            }
        }
        self.names = names;
        for (no, new) in moved {
            let row = &mut self.instances.get_mut(&no).expect("it was seen").row;
            let old = std::mem::replace(&mut row.workflow, new);
            let code = (
                row.namespace.clone(),
                row.workflow.clone(),
                row.version.clone(),
            );
            self.workflows.insert((code.0.clone(), code.1.clone()));
            self.versions.insert(code);
            row.born.get_or_insert(old);
        }
        for (old, new) in &to.moves {
            self.add_up(old, new);
        }
        if let Some((name, value)) = &to.kept {
            self.meta.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    fn add_up(&mut self, old: &str, new: &str) {
        let of_old = |it: &(Box<str>, Box<str>)| *it.1 == *old;
        let ended: Vec<_> = self.ended.keys().filter(|it| of_old(it)).cloned().collect();
        for name in ended {
            let (counts, versions) = self.ended.remove(&name).expect("it was listed");
            let into = self.ended.entry((name.0, new.into())).or_default();
            add(&mut into.0, counts);
            for (version, counts) in versions {
                add(into.1.entry(version).or_default(), counts);
            }
        }
        let all = std::mem::take(&mut self.failures);
        for mut it in all {
            if *it.workflow == *old {
                it.workflow = new.into();
            }
            match self.failures.iter_mut().find(|other| other.is_like(&it)) {
                Some(other) => other.count += it.count,
                None => self.failures.push(it),
            }
        }
        for entry in self.audit.values_mut() {
            if entry.workflow.as_deref() == Some(old) {
                entry.workflow = Some(new.into());
            }
        }
    }
}

fn add(into: &mut [u64; 3], counts: [u64; 3]) {
    for (into, more) in into.iter_mut().zip(counts) {
        *into += more;
    }
}
