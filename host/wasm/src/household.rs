//! Who a plugin is, whom it works for and through what it acts: the same for all of its calls.

use crate::audit::{Audit, PluginLog};
use crate::broker::Broker;
use crate::effects::tls::Tls;
use crate::limits::Limits;
use crate::performer::Seam;
use agente_engine::names::{PluginName, Scope};
use agente_engine::ports::{Commands, Memory, Secrets};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};

/// What the plugin host needs of the others to do what the broker allowed.
#[derive(Clone)]
pub struct PluginPorts {
    /// Runs and inspects programs.
    pub commands: Arc<dyn Commands>,
    /// Looks up secrets.
    pub secrets: Arc<dyn Secrets>,
    /// The small memory of plugins.
    pub memory: Arc<dyn Memory>,
    /// The trail of effects.
    pub audit: Arc<dyn Audit>,
    /// Takes the messages of plugins.
    pub log: Arc<dyn PluginLog>,
    /// The environment variables of the host, of which programs get those that are granted.
    pub variables: BTreeMap<String, String>,
    /// What stands between plugins and the world; none where effects are simply done.
    pub seam: Option<Arc<dyn Seam>>,
}

/// Who the plugin is and whom it works for.
pub(crate) struct Household {
    pub(crate) plugin: PluginName,
    pub(crate) version: String,
    pub(crate) scope: Scope,
    pub(crate) store_id: String,
    pub(crate) config_json: String,
    pub(crate) limits: Limits,
    pub(crate) broker: Broker,
    pub(crate) ports: PluginPorts,
    pub(crate) tls: Tls,
    /// Places for look-ups of names.
    pub(crate) lookups: Arc<Semaphore>,
    /// One use of the plugin's memory at a time: what a call that was given up still writes comes
    /// before what later ones read and write.
    pub(crate) memory_turn: Arc<Mutex<()>>,
}

impl Household {
    /// The plugin and its version, for messages.
    pub(crate) fn whose(&self) -> String {
        format!("`{}` {}", self.plugin, self.version)
    }
}
