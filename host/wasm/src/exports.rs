//! What a component exports for its kind, resolved once when it is loaded: a call links nothing
//! anew.

use crate::bindings::health::{CheckerPlugin, CheckerPluginPre};
use crate::bindings::metrics::{MetricsPlugin, MetricsPluginPre};
use crate::bindings::traffic::{SwitcherPlugin, SwitcherPluginPre};
use crate::guest::Guest;
use crate::request::PluginKind;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

/// The exports of a plugin's kind.
pub(crate) enum Exports {
    Switcher(SwitcherPluginPre<Guest>),
    /// The metrics are an export that a health check may have or not.
    Checker(CheckerPluginPre<Guest>, Option<MetricsPluginPre<Guest>>),
}

impl Exports {
    /// Resolves them. `gives_metrics`: whether the component exports them.
    pub(crate) fn resolve(
        kind: PluginKind,
        gives_metrics: bool,
        pre: InstancePre<Guest>,
    ) -> wasmtime::Result<Self> {
        Ok(match kind {
            PluginKind::TrafficSwitcher => Self::Switcher(SwitcherPluginPre::new(pre)?),
            PluginKind::HealthCheck => {
                let metrics =
                    if gives_metrics { Some(MetricsPluginPre::new(pre.clone())?) } else { None };
                Self::Checker(CheckerPluginPre::new(pre)?, metrics)
            }
        })
    }

    /// Compares their types with the contract's, which linking alone doesn't.
    pub(crate) fn check(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
    ) -> wasmtime::Result<()> {
        match self {
            Self::Switcher(_) => SwitcherPlugin::new(store, instance).map(drop),
            Self::Checker(_, metrics) => {
                CheckerPlugin::new(&mut *store, instance)?;
                if metrics.is_some() {
                    MetricsPlugin::new(store, instance)?;
                }
                Ok(())
            }
        }
    }
}

/// Exports that can be instantiated.
pub(crate) trait Instantiate: Sync {
    /// The functions of an instance.
    type Functions: Send + Sync;

    /// Makes a fresh instance.
    fn instantiate(
        &self,
        store: &mut Store<Guest>,
    ) -> impl Future<Output = wasmtime::Result<Self::Functions>> + Send;
}

impl Instantiate for SwitcherPluginPre<Guest> {
    type Functions = SwitcherPlugin;

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<SwitcherPlugin> {
        self.instantiate_async(store).await
    }
}

impl Instantiate for CheckerPluginPre<Guest> {
    type Functions = CheckerPlugin;

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<CheckerPlugin> {
        self.instantiate_async(store).await
    }
}

impl Instantiate for MetricsPluginPre<Guest> {
    type Functions = MetricsPlugin;

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<MetricsPlugin> {
        self.instantiate_async(store).await
    }
}
