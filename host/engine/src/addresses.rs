//! Addresses that are known once a backend has been launched. A plan is made before, so what it
//! says of a backend is corrected by what the launch told, wherever the backend is meant.

use crate::names::BackendId;
use crate::route::{Backend, Routes};
use crate::standing::Standing;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where backends are reached, as their launches told.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Addresses(BTreeMap<BackendId, String>);

impl Addresses {
    /// Notes where a backend is reached.
    pub fn insert(&mut self, backend: BackendId, address: String) {
        self.0.insert(backend, address);
    }

    /// Whether nothing was told.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Corrects backends of these ids.
    pub(crate) fn correct<'b>(&self, backends: impl IntoIterator<Item = &'b mut Backend>) {
        for backend in backends {
            if let Some(address) = self.0.get(&backend.id) {
                backend.address.clone_from(address);
            }
        }
    }

    /// Corrects what stands.
    pub(crate) fn correct_standing(&self, standing: &mut Standing) {
        self.correct(&mut standing.backends);
    }

    /// Corrects where requests go.
    pub(crate) fn correct_routes(&self, routes: &mut Routes) {
        for destination in routes.routes.iter_mut().flat_map(|route| &mut route.backends) {
            if let Some(address) = self.0.get(&destination.id) {
                destination.address.clone_from(address);
            }
        }
    }
}
