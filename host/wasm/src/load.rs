//! Admission: read → digest and grant → static read → compile → instance with everything denied →
//! `describe` and `check-config` → admitted.
//!
//! Each layer has its own error with its own fix, and nothing of a plugin runs before its grant is
//! found.

use crate::bindings::any::{AnyPlugin, AnyPluginPre};
use crate::bindings::health::CheckerPlugin;
use crate::bindings::metrics::MetricsPlugin;
use crate::bindings::traffic::SwitcherPlugin;
use crate::broker::{Broker, Phase};
use crate::cache::Compiled;
use crate::capability::Capabilities;
use crate::component::{ComponentError, Inspection, inspect_known};
use crate::host::PluginHost;
use crate::limits::{Limits, OverBudget};
use crate::lock_file::{Difference, Grant, LockFile};
use crate::operation::{Effects, Household, Operation, OperationContext};
use crate::plugin::{
    Admitted, CallError, Description, Exports, LoadTimes, METRICS, Plugin, bounded, exports, store,
};
use crate::request::{PluginKind, RequestError};
use agente_engine::names::{Digest, PluginName, Scope};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The interfaces of the contract that this host offers or calls.
const SERVED: [&str; 15] = [
    "agente:types/types@0.1.0",
    "agente:plugin/meta@0.1.0",
    "agente:host/log@0.1.0",
    "agente:host/context@0.1.0",
    "agente:host/config@0.1.0",
    "agente:host/memory@0.1.0",
    "agente:host/files@0.1.0",
    "agente:host/tcp@0.1.0",
    "agente:host/secrets@0.1.0",
    "agente:host/reveal@0.1.0",
    "agente:host/exec@0.1.0",
    "agente:host/process@0.1.0",
    "agente:traffic/switcher@0.1.0",
    "agente:health/checker@0.1.0",
    METRICS,
];

/// How long a plugin may take to be admitted, by the clock.
const ADMISSION: Duration = Duration::from_secs(10);

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
    pub effects: Effects,
}

/// A refusal for want of a grant, with all that is needed to give one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotGranted {
    pub plugin: PluginName,
    pub version: String,
    /// For whom it was to run.
    pub scope: Scope,
    /// The component.
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: Digest,
    /// What it asks for.
    pub asks: Capabilities,
    /// How that differs from what was granted; none if nothing was.
    pub difference: Option<Difference>,
}

impl NotGranted {
    /// What it asks for, or what changed, one rule a line.
    pub fn lines(&self) -> Vec<String> {
        match &self.difference {
            Some(difference) => difference.lines(),
            None => self.asks.lines().into_iter().collect(),
        }
    }

    /// The command that grants it.
    pub fn command(&self) -> String {
        format!(
            "agente-host plugin add {} --env {} --yes",
            shell_word(&self.path.display().to_string()),
            self.scope.environment
        )
    }
}

fn shell_word(text: &str) -> String {
    let plain = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '/' | '.' | '-' | '_' | '+' | '=' | ':' | '@' | '%')
    };
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Something wrong with a plugin's section of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where, as keys joined by dots; empty for the whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Why a plugin was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("the plugin `{plugin}` was not found: `{}` can't be read", path.display())]
    NotFound {
        plugin: PluginName,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is not a plugin.
    #[error("`{}` is not a plugin", path.display())]
    NotAPlugin {
        path: PathBuf,
        #[source]
        source: ComponentError,
    },
    /// Its request doesn't fit the manifest.
    #[error("the request of the plugin `{plugin}` can't be filled in from the manifest")]
    Request {
        plugin: PluginName,
        #[source]
        source: RequestError,
    },
    /// It was built against another contract, or for another purpose.
    #[error("the plugin `{plugin}` has the wrong contract: {why}")]
    WrongContract {
        plugin: PluginName,
        /// What doesn't fit.
        why: String,
    },
    /// It was never granted anything, or has changed since.
    #[error("the plugin `{}` {} {} {}", .0.plugin, .0.version, if .0.difference.is_some() { "is not what was granted for" } else { "has no grant for" }, .0.scope)]
    NotGranted(Box<NotGranted>),
    /// It could not be compiled.
    #[error("the plugin `{plugin}` can't be compiled: {why}")]
    Compile { plugin: PluginName, why: String },
    /// It used up a budget while it was admitted.
    #[error("the plugin `{plugin}` used up its budget while it was admitted")]
    OverBudget {
        plugin: PluginName,
        #[source]
        source: OverBudget,
    },
    /// It trapped or hung while it was admitted.
    #[error("the plugin `{plugin}` failed while it was admitted")]
    Crashed {
        plugin: PluginName,
        #[source]
        source: CallError,
    },
    /// It refused its section of the manifest.
    #[error("the plugin `{plugin}` refuses its configuration")]
    ConfigRefused {
        plugin: PluginName,
        /// What is wrong with it.
        problems: Vec<ConfigProblem>,
    },
}

impl LoadError {
    /// What to type or change.
    pub fn hint(&self) -> Option<String> {
        match self {
            LoadError::NotFound { plugin, .. } => Some(format!(
                "set `path` in `[plugins.{plugin}]`, or build it; shipped plugins are found by \
                 name beside the program"
            )),
            LoadError::NotAPlugin { .. } => Some(
                "a plugin is a component for `wasm32-wasip2` with its plugin.toml packed into it"
                    .to_owned(),
            ),
            LoadError::Request { plugin, .. } => {
                Some(format!("change the named value in `[plugins.{plugin}.config]`"))
            }
            LoadError::WrongContract { .. } => Some(format!(
                "this is agente-host {}; build the plugin against its `wit/`, or use the host it \
                 was built for",
                env!("CARGO_PKG_VERSION")
            )),
            LoadError::NotGranted(refused) => {
                Some(format!("read what it asks for, then grant it with `{}`", refused.command()))
            }
            LoadError::Compile { .. } => Some("fetch or build the component again".to_owned()),
            LoadError::OverBudget { source, .. } => source.hint(),
            LoadError::Crashed { .. } => {
                Some("this is a defect of the plugin; tell its author".to_owned())
            }
            LoadError::ConfigRefused { plugin, .. } => {
                Some(format!("change the named values in `[plugins.{plugin}.config]`"))
            }
        }
    }
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
        check_contract(&input, &inspection)?;
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
        let header = inspection.request.plugin;
        let broker = Broker::new(input.name, asks.clone(), granted.clone());
        if !broker.reveals()
            && inspection.imports.iter().any(|name| name.starts_with("agente:host/reveal@"))
        {
            let why = "it imports `agente:host/reveal`, which is there only for a plugin that is \
                       granted a secret with `use = [\"reveal\"]`"
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
        let gives_metrics = inspection.exports.iter().any(|name| same_track(METRICS, name));
        let exports = exports(header.kind, gives_metrics, pre).map_err(wrong_contract)?;
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
            effects: input.effects,
            tls: self.0.tls.clone(),
            lookups: Arc::new(Semaphore::new(crate::effects::resolve::LOOKUPS)),
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
        "check-config",
        Phase::Closed,
        OperationContext::default(),
        ADMISSION,
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
    match &admitted.exports {
        Exports::Switcher(_) => SwitcherPlugin::new(&mut store, &instance).map(drop),
        Exports::Checker(_, None) => CheckerPlugin::new(&mut store, &instance).map(drop),
        Exports::Checker(_, Some(_)) => CheckerPlugin::new(&mut store, &instance)
            .map(drop)
            .and_then(|()| MetricsPlugin::new(&mut store, &instance).map(drop)),
    }
    .map_err(wrong_contract)?;
    let meta = guest.agente_plugin_meta();
    let text = bounded(&operation, meta.call_describe(&mut store)).await.map_err(crashed)?;
    let description: Description =
        serde_json::from_str(&text).map_err(|error| LoadError::WrongContract {
            plugin: plugin.clone(),
            why: format!("its description is not what the contract asks for: {error}"),
        })?;
    let header = &admitted.header;
    if (&description.name, &description.version, description.kind)
        != (&header.name, &header.version, header.kind)
    {
        let why = format!(
            "it describes itself as {} {} ({}), and its request says {} {} ({}); pack it with its \
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

fn check_contract(input: &LoadInput<'_>, inspection: &Inspection) -> Result<(), LoadError> {
    let header = &inspection.request.plugin;
    let wrong = |why: String| Err(LoadError::WrongContract { plugin: input.name.clone(), why });
    if let Some(kind) = input.kind.filter(|&kind| kind != header.kind) {
        return wrong(format!("it is a {}, and a {kind} is needed here", header.kind));
    }
    if !header.contract.starts_with(&format!("{}@", header.kind.package())) {
        return wrong(format!(
            "its request names the contract `{}`, and a {} has `{}`",
            header.contract,
            header.kind,
            header.kind.package()
        ));
    }
    if let Some(unknown) = inspection.imports.iter().find(|name| {
        name.starts_with("agente:") && !SERVED.iter().any(|served| same_track(served, name))
    }) {
        return wrong(format!("it needs `{unknown}`, which this host does not offer"));
    }
    for needed in ["agente:plugin/meta", header.kind.interface()] {
        let served = SERVED.iter().filter(|served| served.starts_with(&format!("{needed}@")));
        if !served
            .clone()
            .any(|served| inspection.exports.iter().any(|name| same_track(served, name)))
        {
            let served: Vec<&str> = served.copied().collect();
            let found =
                inspection.exports.iter().find(|name| name.starts_with(&format!("{needed}@")));
            return match found {
                Some(found) => wrong(format!(
                    "it exports `{found}`, and this host calls `{}`",
                    served.join("`, `")
                )),
                None => wrong(format!("it does not export `{}`", served.join("` or `"))),
            };
        }
    }
    Ok(())
}

/// Whether two versions of an interface are meant to fit: the same major version, and the same
/// minor one below 1.
fn same_track(served: &str, name: &str) -> bool {
    let track = |name: &str| {
        let (interface, version) = name.split_once('@')?;
        let mut parts = version.split('.');
        let (major, minor) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some((interface.to_owned(), if major == "0" { format!("0.{minor}") } else { major }))
    };
    track(served).is_some() && track(served) == track(name)
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
