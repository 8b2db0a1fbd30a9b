//! Admission: read → digest and grant → static read → compile → instance with everything denied →
//! `describe` and `check-config` → admitted.
//!
//! Each layer has its own error with its own fix, and nothing of a plugin runs before its grant is
//! found.

mod contract;
mod error;

pub use error::{LoadError, NotGranted};

use crate::bindings::any::{AnyPlugin, AnyPluginPre};
use crate::broker::Broker;
use crate::cache::Compiled;
use crate::calls::CHECK_CONFIG;
use crate::capability::Capabilities;
use crate::component::{Inspection, inspect_known};
use crate::exports::Exports;
use crate::grant::Grant;
use crate::host::PluginHost;
use crate::household::{Household, PluginPorts};
use crate::kinds::metrics::METRICS;
use crate::limits::Limits;
use crate::lock_file::LockFile;
use crate::operation::{Operation, OperationContext};
use crate::plugin::{Admitted, ConfigProblem, Description, LoadTimes, Plugin};
use crate::request::PluginKind;
use crate::running::{CallError, bounded, store};
use agente_engine::names::{PluginName, Scope};
use contract::check_contract;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Where the grant comes from.
#[derive(Debug, Clone, Copy)]
pub enum GrantSource<'a> {
    /// From the lock file.
    Lock(&'a LockFile),
    /// Everything it asks for: for `plugin add`, which asks the operator afterwards, and for tests.
    Everything,
    /// Nothing that it could use, for nothing is filled in, and its configuration is not judged:
    /// only to read how it describes itself.
    Nothing,
    /// This one, whatever it is an answer to: for tests.
    Only(&'a Capabilities),
}

/// What is to be loaded, and for whom.
pub struct LoadInput<'a> {
    /// The plugin's name in the manifest.
    pub name: PluginName,
    /// The component.
    pub path: PathBuf,
    /// What kind it must be; none to take it as it is.
    pub kind: Option<PluginKind>,
    /// Its section of the manifest.
    pub config: Value,
    /// The own tables of the checks that use it.
    pub specs: Vec<Value>,
    /// For whom.
    pub scope: Scope,
    /// The id of the store.
    pub store_id: String,
    /// What it was granted.
    pub grant: GrantSource<'a>,
    /// Through what it acts.
    pub ports: PluginPorts,
}

impl PluginHost {
    /// Admits a plugin.
    pub async fn load(&self, input: LoadInput<'_>) -> Result<Plugin, LoadError> {
        let started = Instant::now();
        let plugin = input.name.clone();
        let not_found = |source| LoadError::NotFound {
            plugin: plugin.clone(),
            path: input.path.clone(),
            source,
        };
        // The compiled code of what was there last is proven beside reading what is there now.
        let (shared, path) = (Arc::clone(&self.0), input.path.clone());
        let guess = tokio::task::spawn_blocking(move || shared.guess(&path));
        let bytes = tokio::fs::read(&input.path).await.map_err(not_found)?;
        let inspection = inspect_known(&bytes, |bytes| self.0.digest_of(&input.path, bytes))
            .map_err(|source| LoadError::NotAPlugin { path: input.path.clone(), source })?;
        check_contract(&input.name, input.kind, &inspection)?;
        let wrong_request = |source| LoadError::Request { plugin: plugin.clone(), source };
        let describe_only = matches!(input.grant, GrantSource::Nothing);
        let asks = if describe_only {
            inspection.request.asks.clone()
        } else {
            inspection.request.resolve(&input.config, &input.specs).map_err(wrong_request)?
        };
        let granted = granted(&input, &inspection, &asks)?;
        let read = started.elapsed();

        let compiling = Instant::now();
        let cant_compile = |why: String| LoadError::Compile { plugin: plugin.clone(), why };
        let guess = guess.await.map_err(|error| cant_compile(error.to_string()))?;
        let (component, compiled) = match guess {
            Some((guessed, component)) if guessed == inspection.digest => {
                (component, Compiled::Cached)
            }
            _ => {
                let (shared, digest) = (Arc::clone(&self.0), inspection.digest.clone());
                let compiled =
                    tokio::task::spawn_blocking(move || shared.compile(&bytes, &digest)).await;
                compiled
                    .map_err(|error| cant_compile(error.to_string()))?
                    .map_err(|error| cant_compile(format!("{error:#}")))?
            }
        };
        let compile = compiling.elapsed();

        let admitting = Instant::now();
        let gives_metrics = contract::exports(&inspection, METRICS);
        let header = inspection.request.plugin;
        let broker = Broker::new(input.name, asks.clone(), granted.clone());
        if !broker.reveals()
            && inspection.imports.iter().any(|name| name.starts_with("agente:host/reveal@"))
        {
            let why = "it imports `agente:host/reveal`, which is available only to a plugin that \
            is granted a secret with `use = [\"reveal\"]`"
                .to_owned();
            return Err(LoadError::WrongContract { plugin, why });
        }
        let wrong_contract = |error: wasmtime::Error| LoadError::WrongContract {
            plugin: plugin.clone(),
            why: format!("{error:#}"),
        };
        let pre =
            self.0.linker(broker.reveals()).instantiate_pre(&component).map_err(wrong_contract)?;
        let any = AnyPluginPre::new(pre.clone()).map_err(wrong_contract)?;
        let exports = Exports::resolve(header.kind, gives_metrics, pre).map_err(wrong_contract)?;
        let household = Arc::new(Household {
            plugin: plugin.clone(),
            version: header.version.clone(),
            scope: input.scope,
            store_id: input.store_id,
            config_json: if input.config.is_null() {
                "{}".to_owned()
            } else {
                input.config.to_string()
            },
            limits: Limits::both(&asks.limits, &granted.limits),
            broker,
            ports: input.ports,
            tls: self.0.tls.clone(),
            lookups: Arc::new(Semaphore::new(crate::effects::resolve::LOOKUPS)),
            memory_turn: Arc::default(),
        });
        let mut admitted = Admitted {
            shared: Arc::clone(&self.0),
            household,
            any,
            exports,
            description: Description {
                name: String::new(),
                version: String::new(),
                kind: header.kind,
                summary: String::new(),
                config: Value::Null,
                spec: None,
                query: None,
            },
            header,
            digest: inspection.digest,
            size_bytes: inspection.size_bytes,
            asks,
            times: LoadTimes { compiled, read, compile, admit: Duration::ZERO },
        };
        admitted.description = admit(&admitted, !describe_only).await?;
        admitted.times.admit = admitting.elapsed();
        Ok(Plugin(Arc::new(admitted)))
    }
}

/// Runs the plugin for the first time, with every effect denied.
async fn admit(admitted: &Admitted, judge_config: bool) -> Result<Description, LoadError> {
    let plugin = &admitted.household.plugin;
    let crashed = |error: CallError| match error {
        CallError::OverBudget(source) => LoadError::OverBudget { plugin: plugin.clone(), source },
        source => LoadError::Crashed { plugin: plugin.clone(), source },
    };
    let operation = Arc::new(Operation::new(
        Arc::clone(&admitted.household),
        CHECK_CONFIG,
        OperationContext::default(),
        Duration::MAX,
    ));
    let mut store = store(&admitted.shared, &operation).map_err(crashed)?;
    let instance = match bounded(
        &operation,
        admitted.any.instance_pre().instantiate_async(&mut store),
    )
    .await
    {
        // What goes wrong without a trap goes wrong in linking.
        Err(CallError::Unfit(why)) => {
            return Err(LoadError::WrongContract { plugin: plugin.clone(), why });
        }
        instance => instance.map_err(crashed)?,
    };
    // Only here do exports of the wrong type show: linking alone doesn't compare them.
    let wrong_contract = |error: wasmtime::Error| LoadError::WrongContract {
        plugin: plugin.clone(),
        why: format!("{error:#}"),
    };
    let guest = AnyPlugin::new(&mut store, &instance).map_err(wrong_contract)?;
    admitted.exports.check(&mut store, &instance).map_err(wrong_contract)?;
    let meta = guest.agente_plugin_meta();
    let text = bounded(&operation, meta.call_describe(&mut store)).await.map_err(crashed)?;
    let description: Description =
        serde_json::from_str(&text).map_err(|error| LoadError::WrongContract {
            plugin: plugin.clone(),
            why: format!("its description does not follow the contract: {error}"),
        })?;
    let header = &admitted.header;
    if (&description.name, &description.version, description.kind)
        != (&header.name, &header.version, header.kind)
    {
        let why = format!(
            "it describes itself as {} {} ({}), but its request says {} {} ({}); pack it with its \
            own plugin.toml",
            description.name,
            description.version,
            description.kind,
            header.name,
            header.version,
            header.kind
        );
        return Err(LoadError::WrongContract { plugin: plugin.clone(), why });
    }
    if !judge_config {
        return Ok(description);
    }
    let problems =
        bounded(&operation, meta.call_check_config(&mut store, &admitted.household.config_json))
            .await
            .map_err(crashed)?;
    if problems.is_empty() {
        return Ok(description);
    }
    let problems = problems
        .into_iter()
        .map(|problem| ConfigProblem { path: problem.path, message: problem.message })
        .collect();
    Err(LoadError::ConfigRefused { plugin: plugin.clone(), problems })
}

fn granted(
    input: &LoadInput<'_>,
    inspection: &Inspection,
    asks: &Capabilities,
) -> Result<Capabilities, LoadError> {
    let grant: Option<&Grant> = match input.grant {
        GrantSource::Everything | GrantSource::Nothing => return Ok(asks.clone()),
        GrantSource::Only(granted) => return Ok(granted.clone()),
        GrantSource::Lock(lock) => lock.grant(&input.name, &input.scope.environment),
    };
    let difference = match grant {
        Some(grant) => match grant.difference(&inspection.digest, asks) {
            None => return Ok(grant.granted.clone()),
            difference => difference,
        },
        None => None,
    };
    Err(LoadError::NotGranted(Box::new(NotGranted {
        plugin: input.name.clone(),
        version: inspection.request.plugin.version.clone(),
        scope: input.scope.clone(),
        path: input.path.clone(),
        digest: inspection.digest.clone(),
        asks: asks.clone(),
        difference,
    })))
}
