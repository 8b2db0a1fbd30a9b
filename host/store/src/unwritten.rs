//! The values of plugins that the file did not take.

use agente_engine::names::Scope;
use agente_engine::ports::MEMORY_BYTES;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A value's place: plugin, scope and key.
pub(crate) type Place = (String, Scope, String);

/// A value that the database did not take.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) value: Option<Vec<u8>>,
    /// What the database had then. Once it has something else, that is newer.
    pub(crate) over: Option<Vec<u8>>,
}

/// The values that the database did not take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unwritten(Arc<Mutex<BTreeMap<Place, Held>>>);

impl Unwritten {
    /// Those that an earlier process left.
    pub(crate) fn of(all: BTreeMap<Place, Held>) -> Self {
        Self(Arc::new(Mutex::new(all)))
    }

    pub(crate) fn all(&self) -> MutexGuard<'_, BTreeMap<Place, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What counts: the value that is kept, or the one that the database has.
    pub(crate) fn or(&self, written: Option<Vec<u8>>, place: &Place) -> Option<Vec<u8>> {
        let mut all = self.all();
        match all.get(place) {
            Some(held) if held.over == written => held.value.clone(),
            Some(_) => {
                all.remove(place);
                written
            }
            None => written,
        }
    }

    /// Everything that is kept.
    pub(crate) fn held(&self) -> BTreeMap<Place, Held> {
        self.all().clone()
    }

    /// Forgets a value, unless another one has taken its place meanwhile.
    pub(crate) fn drop_if(&self, place: &Place, value: Option<&[u8]>) {
        let mut all = self.all();
        if all.get(place).is_some_and(|held| held.value.as_deref() == value) {
            all.remove(place);
        }
    }

    /// Keeps a value. Tells whether it is the first of its place; none where it would be too much.
    pub(crate) fn keep(&self, place: Place, held: Held) -> Option<bool> {
        let mut all = self.all();
        let size =
            |key: &str, held: &Held| held.value.as_ref().map_or(0, |value| key.len() + value.len());
        let others = all
            .iter()
            .filter(|(other, _)| other.0 == place.0 && other.1 == place.1 && other.2 != place.2);
        let total =
            others.map(|(other, held)| size(&other.2, held)).sum::<usize>() + size(&place.2, &held);
        (total as u64 <= MEMORY_BYTES).then(|| all.insert(place, held).is_none())
    }
}
