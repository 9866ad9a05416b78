//! Who set which limits: for every namespace and workflow all layers, and what is stored of them.
//!
//! Invariant: `restore` of what `stored` returned gives the same layers; a namespace keeps the
//! place in the store that it got first. What the code says of a workflow holds in every namespace
//! and is never stored. It does not know the store, nor which changes are durable.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{is_name, Layer, Layers, Limit, TABLE};

/// Namespaces that may have limits of their own: each is read when the store is opened.
pub const NAMESPACES: usize = 10_000;
/// Workflows of one namespace that may have limits set while the engine runs: each change writes
/// them all.
pub const WORKFLOWS: usize = 1_000;

/// What was set for one namespace.
#[derive(Debug, Clone, Default, PartialEq)]
struct Namespace {
    /// Its place in the store.
    place: u32,
    base: Layer,
    /// The call that said so last.
    opened: u64,
    live: Layer,
    workflows: BTreeMap<Box<str>, Layer>,
}

/// All layers of all namespaces and workflows.
#[derive(Debug, Clone, Default)]
pub struct Book {
    namespaces: FxHashMap<Box<str>, Namespace>,
    code: FxHashMap<Box<str>, Layer>,
}

impl Book {
    /// Returns a book that knows what the code says; a workflow that is named twice (it has several
    /// versions) has what the last one says.
    #[must_use]
    pub fn new(code: &[(Box<str>, Layer)]) -> Self {
        Self {
            namespaces: FxHashMap::default(),
            code: code.iter().cloned().collect(),
        }
    }

    /// Returns all layers of a workflow, or of a namespace.
    #[must_use]
    pub fn layers(&self, namespace: &str, workflow: Option<&str>) -> Layers {
        let mut layers = Layers::default();
        if let Some(it) = self.namespaces.get(namespace) {
            (layers.namespace_live, layers.namespace_base) = (it.live, it.base);
            let live = workflow.and_then(|name| it.workflows.get(name));
            layers.workflow_live = live.copied().unwrap_or_default();
        }
        let code = workflow.and_then(|name| self.code.get(name));
        layers.workflow_code = code.copied().unwrap_or_default();
        layers
    }

    /// Returns every limit in force for a workflow, or a namespace, by name; `None`: no limit.
    #[must_use]
    pub fn in_force(
        &self,
        namespace: &str,
        workflow: Option<&str>,
    ) -> [(&'static str, Option<f64>); TABLE.len()] {
        let layers = self.layers(namespace, workflow);
        TABLE.each_ref().map(|rule| {
            let value = layers.in_force(rule.limit);
            (rule.name, value)
        })
    }

    /// Sets what a namespace is opened with. Nothing set means that it keeps what it had, and so
    /// does a call that comes after a later one. Returns whether that is a change.
    ///
    /// # Errors
    /// A text for the user.
    pub fn open(&mut self, namespace: &str, base: Layer, call: u64) -> Result<bool, String> {
        if base.is_empty() {
            return check_name("namespace", namespace).map(|()| false);
        }
        let known = self.namespace(namespace)?;
        if call < known.opened {
            return Ok(false);
        }
        let changed = known.base != base;
        (known.base, known.opened) = (base, call);
        Ok(changed)
    }

    /// Sets and clears limits of a namespace, or of one workflow in it.
    ///
    /// # Errors
    /// A text for the user; nothing is changed then.
    pub fn change(
        &mut self,
        namespace: &str,
        workflow: Option<&str>,
        changes: &[(Box<str>, Option<f64>)],
    ) -> Result<(), String> {
        if let Some(name) = workflow {
            check_name("workflow", name)?;
        }
        check_name("namespace", namespace)?;
        let layers = self.layers(namespace, workflow);
        let Some(name) = workflow else {
            let live = layers.namespace_live.changed(changes, false)?;
            self.namespace(namespace)?.live = live;
            return Ok(());
        };
        let live = layers.workflow_live.changed(changes, true)?;
        let workflows = &mut self.namespace(namespace)?.workflows;
        if live.is_empty() {
            workflows.remove(name);
        } else if workflows.len() >= WORKFLOWS && !workflows.contains_key(name) {
            return Err(format!(
                "{WORKFLOWS} workflows of namespace {namespace:?} have limits of their own \
                already; clear those of one first, or write {name:?}'s into its code."
            ));
        } else {
            workflows.insert(name.into(), live);
        }
        Ok(())
    }

    fn namespace(&mut self, name: &str) -> Result<&mut Namespace, String> {
        check_name("namespace", name)?;
        let count = self.namespaces.len();
        if count >= NAMESPACES && !self.namespaces.contains_key(name) {
            return Err(format!(
                "{NAMESPACES} namespaces have limits of their own already; {name:?} can be used \
                with the defaults only."
            ));
        }
        let place = count as u32;
        let new = || Namespace {
            place,
            ..Namespace::default()
        };
        Ok(self.namespaces.entry(name.into()).or_insert_with(new))
    }

    /// Returns the limits of a namespace as they are stored, and at which place.
    #[must_use]
    pub fn stored(&self, namespace: &str) -> Option<(u32, Box<[u8]>)> {
        let it = self.namespaces.get(namespace)?;
        let mut bytes = vec![VERSION];
        put_name(&mut bytes, namespace);
        put_layer(&mut bytes, &it.base);
        put_layer(&mut bytes, &it.live);
        for (name, layer) in &it.workflows {
            put_name(&mut bytes, name);
            put_layer(&mut bytes, layer);
        }
        Some((it.place, bytes.into()))
    }

    /// Takes in what is stored at this place; returns whether it could be read.
    #[must_use]
    pub fn restore(&mut self, place: u32, bytes: &[u8]) -> bool {
        let Some((name, mut namespace)) = read(bytes) else {
            return false;
        };
        namespace.place = place;
        self.namespaces.insert(name, namespace).is_none()
    }

    /// What was set for a workflow under the name it had before holds under the one it has now,
    /// unless that has something set itself.
    pub fn rename(&mut self, old: &str, new: &str) {
        for it in self.namespaces.values_mut() {
            if let Some(layer) = it.workflows.remove(old) {
                it.workflows.entry(new.into()).or_insert(layer);
            }
        }
    }

    /// Forgets what was set for a namespace, and its place, which the last one takes: a namespace
    /// that an engine is opened for keeps what that is opened with. Returns what becomes of which
    /// place in the store.
    pub fn forget(&mut self, namespace: &str, keeps_base: bool) -> Vec<(u32, Option<Box<[u8]>>)> {
        let Some(it) = self.namespaces.get_mut(namespace) else {
            return Vec::new();
        };
        if keeps_base {
            it.live = Layer::default();
            it.workflows.clear();
            return self
                .stored(namespace)
                .map(|(place, it)| (place, Some(it)))
                .into_iter()
                .collect();
        }
        let (place, last) = (it.place, self.namespaces.len() as u32 - 1);
        self.namespaces.remove(namespace);
        let heir = self.namespaces.iter_mut().find(|it| it.1.place == last);
        let heir = heir.map(|(name, it)| {
            it.place = place;
            name.clone()
        });
        let moved = heir.and_then(|name| self.stored(&name));
        let moved = moved.map(|(place, it)| (place, Some(it)));
        moved.into_iter().chain([(last, None)]).collect()
    }

    /// Makes what another book knows of a namespace known to this one, but for what that is opened
    /// with: whoever opens says so to both.
    pub fn copy(&mut self, of: &Self, namespace: &str) {
        if !of.namespaces.contains_key(namespace) {
            self.namespaces.remove(namespace);
        }
        if let Some(it) = of.namespaces.get(namespace) {
            let known = self.namespaces.entry(namespace.into()).or_default();
            let (base, opened) = (known.base, known.opened);
            *known = it.clone();
            (known.base, known.opened) = (base, opened);
        }
    }
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name of a {what}; give 1 to 64 letters, digits, _ and -, the first of \
        them no -."
    ))
}

/// First byte of what is stored.
const VERSION: u8 = 1;

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    bytes.push(u8::try_from(name.len()).expect("names are at most 64 bytes"));
    bytes.extend_from_slice(name.as_bytes());
}

/// One bit for every limit that is set, then the values.
fn put_layer(bytes: &mut Vec<u8>, layer: &Layer) {
    let set = |at: usize| u16::from(layer.0[at].is_some()) << at;
    let bits: u16 = (0..TABLE.len()).map(set).sum();
    bytes.extend_from_slice(&bits.to_le_bytes());
    for value in layer.0.iter().flatten() {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
}

fn read(bytes: &[u8]) -> Option<(Box<str>, Namespace)> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let name = take_name(&mut rest)?;
    let mut namespace = Namespace {
        base: take_layer(&mut rest, false)?,
        live: take_layer(&mut rest, false)?,
        ..Namespace::default()
    };
    while !rest.is_empty() {
        let name = take_name(&mut rest)?;
        let layer = take_layer(&mut rest, true)?;
        namespace.workflows.insert(name, layer);
    }
    Some((name, namespace))
}

fn take_name(rest: &mut &[u8]) -> Option<Box<str>> {
    let (size, after) = rest.split_first()?;
    let (name, after) = after.split_at_checked(usize::from(*size))?;
    *rest = after;
    let name = std::str::from_utf8(name).ok()?;
    is_name(name).then(|| name.into())
}

fn take_layer(rest: &mut &[u8], of_workflow: bool) -> Option<Layer> {
    let (bits, after) = rest.split_first_chunk()?;
    *rest = after;
    let bits = u16::from_le_bytes(*bits);
    if bits >> TABLE.len() != 0 {
        return None;
    }
    let mut values = Vec::new();
    for rule in &TABLE {
        if bits >> rule.limit as usize & 1 == 1 {
            let (value, after) = rest.split_first_chunk()?;
            *rest = after;
            values.push((rule.name, Some(f64::from_le_bytes(*value))));
        }
    }
    super::checked(&values, of_workflow).ok()
}

/// A number as the parts of the engine count: what is in range fits.
#[must_use]
pub fn whole(value: Option<f64>) -> u32 {
    value.map_or(u32::MAX, |it| it as u32)
}

impl Layers {
    /// Returns (creations per second, at once), where there is a limit.
    #[must_use]
    pub fn create_rate(&self) -> Option<(f64, f64)> {
        let rate = self.of_namespace(Limit::CreateRate)?;
        Some((rate, self.of_namespace(Limit::CreateBurst)?))
    }
}
