//! The seam between plugins and the world: what the broker has permitted goes through one trait, in
//! values that can be written down. Recording, replaying and standing in for the world are
//! implementations of it.

use crate::answer::{Answer, EffectError};
use crate::broker::Allowed;
use crate::effect::{Effect, Handle};
use crate::paths::Paths;
use agente_engine::names::PluginName;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Does the effects of one call. What was judged is what is done.
#[async_trait]
pub trait Performer: Paths + Send + Sync {
    /// The addresses that a host's name stands for now. Asked after the broker has allowed the
    /// name, and before it judges the addresses.
    async fn look_up(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, EffectError>;

    /// Does what was permitted, exactly as it was. Dropped when nobody waits for the call any more.
    async fn perform(&self, permit: &Permit) -> Result<Answer, EffectError>;

    /// Ends what a handle names. Must not block.
    fn close(&self, handle: Handle);
}

/// An effect that was judged, with everything that is needed to do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    pub effect: Effect,
    /// What the rules say about how.
    pub allowed: Allowed,
    /// The addresses that the host's name stands for and that may be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<SocketAddr>,
    /// The secrets that go along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<PermittedSecret>,
}

/// A secret that goes along with an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermittedSecret {
    pub name: String,
    pub stands: SecretStands,
}

/// Where a secret's value is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretStands {
    /// In the place of a placeholder in headers.
    InHeaders { placeholder: String },
    /// In the place of a placeholder in the body.
    InBody { placeholder: String },
    /// As an environment variable.
    AsVariable(String),
}

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallName {
    pub plugin: PluginName,
    pub version: String,
    /// The deployment; empty outside one.
    pub deployment: String,
    /// The operation: `apply`, `observe`, `check` …
    pub operation: String,
}

/// Puts something between calls of plugins and the world.
pub trait Seam: Send + Sync {
    /// What does the effects of one call. `world` does them for real.
    fn performer(&self, call: CallName, world: Arc<dyn Performer>) -> Arc<dyn Performer>;
}
