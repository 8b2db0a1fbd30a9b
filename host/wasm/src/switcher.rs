//! A traffic switcher of contract 0.1 as the engine's port. It converts and holds no policy.
//!
//! A trap or a deadline during `apply` leaves the effect unknown. A failure that the plugin itself
//! reports is a refusal only where the broker allowed it nothing that changes anything; else the
//! effect is unknown too, whatever the plugin says about it.

use crate::audit::{CallEnd, CallFault};
use crate::bindings::any::agente::types::types as wit;
use crate::bindings::traffic::exports::agente::traffic::switcher as guest;
use crate::broker::Phase;
use crate::failure::kind_of;
use crate::operation::{Operation, OperationContext};
use crate::plugin::{CallError, Exports, Plugin, bounded, store};
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::names::{BackendId, OpId, ReleaseNumber};
use agente_engine::ports::{
    Desired, Drained, Features, Fence, Observed, ObservedState, TrafficSwitcher,
};
use agente_engine::route::{Backend, Override, OverrideBy, Route, Routes, Slot};
use agente_engine::weight::Weight;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// A plugin that sets and reads weights.
#[derive(Clone)]
pub struct WasmSwitcher {
    plugin: Plugin,
    context: OperationContext,
}

/// Runs one exported function on a fresh instance. The outer error says that there was no answer,
/// the inner one is the plugin's own.
macro_rules! call {
    ($switcher:ident, $operation:ident, $function:ident $(, $argument:expr)*) => {{
        let whose = $switcher.plugin.whose();
        let operation: &Arc<Operation> = &$operation;
        async {
            let Exports::Switcher(pre) = &$switcher.plugin.0.exports else {
                return Err(Fault::new(FaultKind::Internal, format!("the plugin {whose} is not a traffic switcher")));
            };
            let crashed = |error: CallError| error.into_fault(&whose, operation.name);
            let mut store = store(&$switcher.plugin.0.shared, operation).map_err(crashed)?;
            let answer = bounded(operation, async {
                let exports = pre.instantiate_async(&mut store).await?;
                exports.agente_traffic_switcher().$function(&mut store $(, $argument)*).await
            })
            .await
            .map_err(crashed)?;
            Ok(answer.map_err(|failure| said_no(operation, &whose, failure)))
        }
        .await
    }};
}

impl WasmSwitcher {
    pub(crate) fn new(plugin: Plugin, context: OperationContext) -> Self {
        Self { plugin, context }
    }

    /// The same plugin on behalf of another deployment.
    #[must_use]
    pub fn with_context(&self, context: OperationContext) -> Self {
        Self { plugin: self.plugin.clone(), context }
    }

    fn operation(
        &self,
        name: &'static str,
        phase: Phase,
        desired: Option<&Desired>,
    ) -> Arc<Operation> {
        Arc::new(
            self.plugin
                .operation(name, phase, &self.context, Duration::MAX)
                .with_backends(desired.into_iter().flat_map(addresses)),
        )
    }

    fn malformed(&self, operation: &Operation, what: &str) -> Fault {
        operation.note_end(CallEnd::Faulted(CallFault::Unfit));
        Fault::new(
            FaultKind::PluginCrashed,
            format!(
                "the plugin {} answered `{}` with something that the contract does not know: \
                 {what}",
                self.plugin.whose(),
                operation.name
            ),
        )
        .hint("this is a defect of the plugin; tell its author")
    }

    fn read_observed(
        &self,
        operation: &Operation,
        observed: guest::Observed,
    ) -> Result<Observed, Fault> {
        let state = match observed.state.as_str() {
            "converged" => ObservedState::Converged,
            "pending" => ObservedState::Pending,
            "drifted" => ObservedState::Drifted,
            "absent" => ObservedState::Absent,
            "unsupported" => ObservedState::Unsupported,
            other => return Err(self.malformed(operation, &format!("the state `{other}`"))),
        };
        let mut routes = Vec::with_capacity(observed.routes.len());
        for route in observed.routes {
            routes.push(read_route(route).map_err(|what| self.malformed(operation, &what))?);
        }
        routes.sort_by_key(|route: &Route| route.slot);
        if routes.windows(2).any(|pair| matches!(pair, [a, b] if a.slot == b.slot)) {
            return Err(self.malformed(operation, "two routes of one slot"));
        }
        let mut overrides = Vec::with_capacity(observed.overrides.len());
        for rule in observed.overrides {
            overrides.push(read_override(rule).map_err(|what| self.malformed(operation, &what))?);
        }
        Ok(Observed {
            state,
            generation: observed.generation,
            fence: Fence(observed.fence),
            routes: Routes { routes, overrides },
            store: label(&observed.labels, "store"),
            message: operation.redact(observed.message),
        })
    }
}

#[async_trait]
impl TrafficSwitcher for WasmSwitcher {
    async fn features(&self) -> Result<Features, Fault> {
        let operation = self.operation("features", Phase::Read, None);
        let features = call!(self, operation, call_features)??;
        Ok(Features {
            names: features.names,
            lock_key: features.lock_key,
            warnings: features
                .warnings
                .into_iter()
                .map(|warning| operation.redact(warning))
                .collect(),
            identity_header: label(&features.labels, "public-identity-header"),
        })
    }

    async fn plan(&self, desired: &Desired) -> Result<String, Fault> {
        let operation = self.operation("plan", Phase::Read, Some(desired));
        let wanted = write_desired(desired);
        Ok(operation.redact(call!(self, operation, call_plan, &wanted)??))
    }

    async fn apply(&self, op: &OpId, desired: &Desired) -> Result<Observed, Failure> {
        let operation = self.operation("apply", Phase::Write, Some(desired));
        let wanted = write_desired(desired);
        match call!(self, operation, call_apply, &op.0, &wanted) {
            Ok(Ok(observed)) => {
                self.read_observed(&operation, observed).map_err(|fault| Failure::Unknown { fault })
            }
            Ok(Err(fault)) if operation.has_touched() => Err(Failure::Unknown { fault }),
            Ok(Err(fault)) => Err(Failure::Refused { fault }),
            Err(fault) => Err(Failure::Unknown { fault }),
        }
    }

    async fn observe(&self) -> Result<Observed, Fault> {
        let operation = self.operation("observe", Phase::Read, None);
        let observed = call!(self, operation, call_observe)??;
        self.read_observed(&operation, observed)
    }

    async fn drain(&self, op: &OpId, slot: Slot, backends: &[Backend]) -> Result<Drained, Fault> {
        let operation = self.operation("drain", Phase::Read, None);
        let backends: Vec<wit::Backend> = backends.iter().map(write_backend).collect();
        let drained = call!(self, operation, call_drain, &op.0, slot.as_str(), &backends)??;
        let done = match drained.state.as_str() {
            "drained" => true,
            "draining" => false,
            other => return Err(self.malformed(&operation, &format!("the state `{other}`"))),
        };
        Ok(Drained {
            done,
            remaining: drained.remaining,
            evidence: drained.evidence,
            message: operation.redact(drained.message),
        })
    }
}

/// A failure that the plugin reported, with what the host had denied it as the cause.
pub(crate) fn said_no(operation: &Operation, whose: &str, failure: wit::Failure) -> Fault {
    operation.note_end(CallEnd::Failed);
    let message = operation.redact(failure.message);
    let mut fault = Fault::new(kind_of(&failure.code), format!("{message} (plugin {whose})"));
    fault.hint = failure.hint.map(|hint| operation.redact(hint));
    fault.retryable = failure.retryable;
    if let Some(trouble) = operation.last_trouble() {
        fault.causes.push(operation.redact(trouble));
    }
    if let Some(denied) = operation.last_denied() {
        let told = operation.redact(denied.to_string());
        if !message.contains(&told) {
            fault.causes.push(told);
        }
        fault.hint = fault.hint.or_else(|| denied.hint().map(|hint| operation.redact(hint)));
    }
    fault
}

fn addresses(desired: &Desired) -> impl Iterator<Item = &str> {
    desired
        .routes
        .routes
        .iter()
        .flat_map(|route| route.backends.iter().map(|backend| backend.address.as_str()))
}

pub(crate) fn label(labels: &wit::Labels, name: &str) -> Option<String> {
    labels
        .iter()
        .find(|(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.clone())
}

pub(crate) fn write_backend(backend: &Backend) -> wit::Backend {
    wit::Backend { id: backend.id.0.clone(), address: backend.address.clone(), labels: Vec::new() }
}

fn write_desired(desired: &Desired) -> wit::Desired {
    let mut labels = vec![("store".to_owned(), desired.store.clone())];
    if desired.force {
        labels.push(("adopt".to_owned(), "force".to_owned()));
    }
    let routes = desired.routes.routes.iter().map(|route| wit::Route {
        slot: route.slot.as_str().to_owned(),
        weight: route.weight.basis_points(),
        backends: route.backends.iter().map(write_backend).collect(),
        labels: route
            .release
            .map(|release| ("release".to_owned(), release.0.to_string()))
            .into_iter()
            .collect(),
    });
    let overrides = desired.routes.overrides.iter().map(|rule| wit::MatchRule {
        slot: rule.slot.as_str().to_owned(),
        by: match rule.by {
            OverrideBy::Header => "header".to_owned(),
            OverrideBy::Cookie => "cookie".to_owned(),
        },
        name: rule.name.clone(),
        value: rule.value.clone(),
        labels: Vec::new(),
    });
    wit::Desired {
        fence: desired.fence.0,
        routes: routes.collect(),
        overrides: overrides.collect(),
        labels,
    }
}

fn read_slot(slot: &str) -> Result<Slot, String> {
    Slot::BOTH
        .into_iter()
        .find(|known| known.as_str() == slot)
        .ok_or_else(|| format!("the slot `{slot}`"))
}

fn read_route(route: wit::Route) -> Result<Route, String> {
    let slot = read_slot(&route.slot)?;
    let weight = Weight::from_basis_points(route.weight)
        .map_err(|_| format!("the weight {} of {slot}", route.weight))?;
    let release = match label(&route.labels, "release") {
        None => None,
        Some(text) => Some(ReleaseNumber(
            text.parse().map_err(|_| format!("the release `{text}` of {slot}"))?,
        )),
    };
    let backends = route
        .backends
        .into_iter()
        .map(|backend| Backend { id: BackendId(backend.id), address: backend.address })
        .collect();
    Ok(Route { slot, weight, release, backends })
}

fn read_override(rule: wit::MatchRule) -> Result<Override, String> {
    let by = match rule.by.as_str() {
        "header" => OverrideBy::Header,
        "cookie" => OverrideBy::Cookie,
        other => return Err(format!("an override by `{other}`")),
    };
    Ok(Override { slot: read_slot(&rule.slot)?, by, name: rule.name, value: rule.value })
}
