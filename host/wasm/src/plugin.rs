//! An admitted plugin. Each operation gets a fresh instance, which is gone when the operation ends,
//! however it ends.

use crate::audit::{CallEnd, CallFault};
use crate::bindings::any::{AnyPlugin, AnyPluginPre};
use crate::bindings::health::CheckerPluginPre;
use crate::bindings::metrics::MetricsPluginPre;
use crate::bindings::traffic::SwitcherPluginPre;
use crate::broker::Phase;
use crate::cache::Compiled;
use crate::capability::{Capabilities, Span};
use crate::checker::WasmChecker;
use crate::guest::Guest;
use crate::host::Shared;
use crate::limits::{Limits, MAX_HANDLES, OverBudget};
use crate::lock_file::Grant;
use crate::metrics::WasmMetrics;
use crate::operation::{Household, Operation, OperationContext};
use crate::request::{PluginHeader, PluginKind};
use crate::switcher::WasmSwitcher;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{Digest, PluginName};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::InstancePre;
use wasmtime::{Store, UpdateDeadline};

/// How a plugin describes itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    pub name: String,
    pub version: String,
    /// What it is for.
    pub kind: PluginKind,
    /// What it does, in one sentence.
    #[serde(default)]
    pub summary: String,
    /// A JSON Schema of its section of the manifest.
    #[serde(default)]
    pub config: serde_json::Value,
    /// A JSON Schema of the table of a check that uses it; none where it has none.
    #[serde(default)]
    pub spec: Option<serde_json::Value>,
    /// A JSON Schema of the table of a query, where it is a source of metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<serde_json::Value>,
}

/// How long the parts of loading took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadTimes {
    /// Whether it had to be compiled.
    pub compiled: Compiled,
    /// Reading and judging the file without running it.
    pub read: Duration,
    /// Compiling, or taking it from the cache.
    pub compile: Duration,
    /// Linking, the first instance, `describe` and `check-config`.
    pub admit: Duration,
}

/// The interface through which a health check gives numbers as well.
pub(crate) const METRICS: &str = "agente:health/metrics@0.1.0";

/// The exports of a plugin's kind.
pub(crate) enum Exports {
    Switcher(SwitcherPluginPre<Guest>),
    /// The metrics are an export that a health check may have or not.
    Checker(CheckerPluginPre<Guest>, Option<MetricsPluginPre<Guest>>),
}

/// An admitted plugin, cheap to clone.
#[derive(Clone)]
pub struct Plugin(pub(crate) Arc<Admitted>);

pub(crate) struct Admitted {
    pub(crate) shared: Arc<Shared>,
    pub(crate) household: Arc<Household>,
    pub(crate) any: AnyPluginPre<Guest>,
    pub(crate) exports: Exports,
    pub(crate) header: PluginHeader,
    pub(crate) description: Description,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) asks: Capabilities,
    pub(crate) times: LoadTimes,
}

/// Why a call of a plugin gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It trapped.
    #[error("it trapped: {trap}")]
    Trapped {
        /// The kind of trap.
        trap: String,
        /// What it wrote last.
        last_words: Vec<String>,
    },
    /// It used up a budget.
    #[error("it was stopped: {0}")]
    OverBudget(#[source] OverBudget),
    /// It took too long by the clock.
    #[error("it did not answer within {limit}")]
    TimedOut { limit: Span },
    /// It, or an answer of it, doesn't fit the contract.
    #[error("it does not fit the contract: {0}")]
    Unfit(String),
    /// The host could not run it.
    #[error("the host could not run it: {0}")]
    Host(String),
}

impl CallError {
    /// What is counted.
    fn class(&self) -> CallFault {
        match self {
            CallError::Trapped { .. } => CallFault::Trapped,
            CallError::OverBudget(_) => CallFault::OverBudget,
            CallError::TimedOut { .. } => CallFault::TimedOut,
            CallError::Unfit(_) => CallFault::Unfit,
            CallError::Host(_) => CallFault::Host,
        }
    }

    /// As a fault of the engine; `whose` names the plugin and its version.
    pub(crate) fn into_fault(self, whose: &str, operation: &str) -> Fault {
        let kind = match &self {
            CallError::Trapped { .. } | CallError::OverBudget(_) | CallError::Unfit(_) => {
                FaultKind::PluginCrashed
            }
            CallError::TimedOut { .. } => FaultKind::TimedOut,
            CallError::Host(_) => FaultKind::Internal,
        };
        let mut fault =
            Fault::new(kind, format!("the plugin {whose} did not finish `{operation}`: {self}"));
        match self {
            CallError::Trapped { last_words, .. } => {
                fault.causes =
                    last_words.into_iter().map(|line| format!("it wrote: {line}")).collect();
            }
            CallError::OverBudget(budget) => fault.hint = budget.hint(),
            CallError::TimedOut { .. } => {
                fault = fault
                    .hint(
                        "see whether its target answers; `limits = { wall = … }` in plugin.toml \
                         and in the grant gives it more time",
                    )
                    .retryable();
            }
            CallError::Unfit(_) | CallError::Host(_) => {}
        }
        fault
    }
}

/// A store for one operation, armed with its budgets.
pub(crate) fn store(
    shared: &Shared,
    operation: &Arc<Operation>,
) -> Result<Store<Guest>, CallError> {
    if !shared.is_ticking() {
        return Err(CallError::Host(
            "the thread that counts the time of plugins has ended".to_owned(),
        ));
    }
    let mut store = Store::new(&shared.engine, Guest::new(Arc::clone(operation)));
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(
        usize::try_from(operation.household.limits.hostcall.bytes()).unwrap_or(usize::MAX),
    );
    store.set_max_component_handles(MAX_HANDLES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut context| {
        context.data_mut().cpu.tick()?;
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    Ok(store)
}

/// Runs a call within the operation's time, and tells its failures apart.
pub(crate) async fn bounded<R>(
    operation: &Operation,
    call: impl Future<Output = wasmtime::Result<R>>,
) -> Result<R, CallError> {
    let started = Instant::now();
    let limit = operation.remaining();
    let answer = match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(told_apart(operation, &error)),
        Err(_) => {
            tracing::debug!(plugin = %operation.household.plugin, operation = operation.name, elapsed = ?started.elapsed(), "a plugin took too long");
            Err(CallError::TimedOut {
                limit: Span::from(Duration::from_millis(
                    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1),
                )),
            })
        }
    };
    operation.note_end(
        answer.as_ref().err().map_or(CallEnd::Answered, |error| CallEnd::Faulted(error.class())),
    );
    answer
}

fn told_apart(operation: &Operation, error: &wasmtime::Error) -> CallError {
    if let Some(budget) = error.downcast_ref::<OverBudget>() {
        return CallError::OverBudget(budget.clone());
    }
    let text = operation.redact(format!("{error:#}"));
    // The engine has no types for these two.
    if text.contains("too much data is being copied between the host and the guest") {
        return CallError::OverBudget(OverBudget::Hostcall(operation.household.limits.hostcall));
    }
    if text.contains("resource table has no free keys")
        || text.contains("too many handles")
        || text.contains("handle table")
    {
        return CallError::OverBudget(OverBudget::Handles);
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => {
            CallError::Trapped { trap: trap.to_string(), last_words: operation.last_words() }
        }
        None => CallError::Unfit(text),
    }
}

impl Plugin {
    /// Its name in the manifest.
    pub fn name(&self) -> &PluginName {
        &self.0.household.plugin
    }

    /// How it describes itself.
    pub fn description(&self) -> &Description {
        &self.0.description
    }

    /// Its request's head.
    pub fn header(&self) -> &PluginHeader {
        &self.0.header
    }

    /// Of the component's bytes.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// The size of the component.
    pub fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    /// What it asks for, with the manifest's values filled in.
    pub fn asks(&self) -> &Capabilities {
        &self.0.asks
    }

    /// A grant of all that it asks for, for the lock file.
    pub fn grant_of_all(&self, source: impl Into<String>) -> Grant {
        Grant::of_all(source, self.0.digest.clone(), self.0.asks.clone())
    }

    /// How much one operation may use up.
    pub fn limits(&self) -> Limits {
        self.0.household.limits
    }

    /// How long loading it took.
    pub fn times(&self) -> LoadTimes {
        self.0.times
    }

    /// As a traffic switcher; none if it is of another kind.
    pub fn switcher(&self, context: OperationContext) -> Option<WasmSwitcher> {
        matches!(self.0.exports, Exports::Switcher(_))
            .then(|| WasmSwitcher::new(self.clone(), context))
    }

    /// As a health check; none if it is of another kind.
    pub fn checker(&self, context: OperationContext) -> Option<WasmChecker> {
        matches!(self.0.exports, Exports::Checker(..))
            .then(|| WasmChecker::new(self.clone(), context))
    }

    /// As a source of metrics.
    ///
    /// # Errors
    ///
    /// [`FaultKind::Unsupported`] where the plugin does not export `agente:health/metrics`.
    pub fn metrics(&self, context: OperationContext) -> Result<WasmMetrics, Fault> {
        match &self.0.exports {
            Exports::Checker(_, Some(_)) => Ok(WasmMetrics::new(self.clone(), context)),
            Exports::Checker(_, None) | Exports::Switcher(_) => {
                let message = format!(
                    "the plugin {} gives no numbers for analysis: it does not export `{METRICS}`",
                    self.whose()
                );
                Err(Fault::new(FaultKind::Unsupported, message)
                    .hint("name a plugin that does; `prometheus-health` comes with the program"))
            }
        }
    }

    /// A fresh instance and one call that does nothing outside: what each operation costs at least.
    pub async fn describe_afresh(&self) -> Result<String, CallError> {
        let (mut warm, operation) = self.instance().await?;
        bounded(&operation, warm.describe_text()).await
    }

    /// An instance that is kept for many calls: what the call itself costs. For measurements;
    /// operations never share an instance.
    pub async fn warm(&self) -> Result<WarmInstance, CallError> {
        Ok(self.instance().await?.0)
    }

    async fn instance(&self) -> Result<(WarmInstance, Arc<Operation>), CallError> {
        let operation = Arc::new(Operation::new(
            Arc::clone(&self.0.household),
            "describe",
            Phase::Closed,
            OperationContext::default(),
            Duration::MAX,
        ));
        let mut store = store(&self.0.shared, &operation)?;
        let exports = bounded(&operation, self.0.any.instantiate_async(&mut store)).await?;
        Ok((WarmInstance { store, exports }, operation))
    }

    /// The plugin and its version, for messages.
    pub(crate) fn whose(&self) -> String {
        format!("`{}` {}", self.0.household.plugin, self.0.household.version)
    }

    pub(crate) fn operation(
        &self,
        name: &'static str,
        phase: Phase,
        context: &OperationContext,
        wall: Duration,
    ) -> Operation {
        Operation::new(Arc::clone(&self.0.household), name, phase, context.clone(), wall)
    }
}

/// An instance that is kept for many calls.
pub struct WarmInstance {
    store: Store<Guest>,
    exports: AnyPlugin,
}

impl WarmInstance {
    /// Calls `describe`.
    pub async fn describe(&mut self) -> Result<String, CallError> {
        self.describe_text().await.map_err(|error| CallError::Host(format!("{error:#}")))
    }

    async fn describe_text(&mut self) -> wasmtime::Result<String> {
        self.exports.agente_plugin_meta().call_describe(&mut self.store).await
    }
}

/// Links nothing anew: the imports were resolved once, when the plugin was loaded. `gives_metrics`:
/// whether it exports them.
pub(crate) fn exports(
    kind: PluginKind,
    gives_metrics: bool,
    pre: InstancePre<Guest>,
) -> wasmtime::Result<Exports> {
    Ok(match kind {
        PluginKind::TrafficSwitcher => Exports::Switcher(SwitcherPluginPre::new(pre)?),
        PluginKind::HealthCheck => {
            let metrics =
                if gives_metrics { Some(MetricsPluginPre::new(pre.clone())?) } else { None };
            Exports::Checker(CheckerPluginPre::new(pre)?, metrics)
        }
    })
}
