//! A traffic switcher of contract 0.1 as the engine's port. It converts and holds no policy.
//!
//! A trap or a deadline during `apply` leaves the effect unknown. A failure that the plugin itself
//! reports is a refusal only where the broker allowed it nothing that changes anything; else the
//! effect is unknown too, whatever the plugin says about it.

use super::nouns::{write_backend, write_destination};
use crate::bindings::any::agente::types::types as wit;
use crate::bindings::traffic::SwitcherPluginPre;
use crate::bindings::traffic::exports::agente::traffic::switcher as guest;
use crate::broker::Phase;
use crate::calls::{Call, Export, Kind, OnFailure};
use crate::exports::Exports;
use crate::guest::Guest;
use crate::operation::{Operation, OperationContext};
use crate::plugin::Plugin;
use crate::running::unfit;
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::names::{BackendId, OpId, ReleaseNumber};
use agente_engine::ports::{
    Desired, Drained, Features, Fence, Observed, ObservedState, TargetLock, TrafficSwitcher,
};
use agente_engine::route::{Backend, Destination, Override, OverrideBy, Route, Routes, Slot};
use agente_engine::weight::Weight;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

const FEATURES: Call = Call::reading("features");
const PLAN: Call = Call::reading("plan");
const APPLY: Call = Call {
    name: "apply",
    phase: Phase::Write,
    wall: Duration::MAX,
    on_failure: OnFailure::Unknown,
};
const OBSERVE: Call = Call::reading("observe");
const DRAIN: Call = Call::reading("drain");

/// The evidence of a drain that says less than that each request has ended.
const WEAK_EVIDENCE: &str = "no-connections";

/// A traffic switcher.
pub(super) const KIND: Kind = Kind {
    package: "agente:traffic",
    exports: &[Export {
        interface: "agente:traffic/switcher@0.1.0",
        required: true,
        calls: &[FEATURES, PLAN, APPLY, OBSERVE, DRAIN],
    }],
};

/// A plugin that sets and reads weights.
#[derive(Clone)]
pub struct WasmSwitcher {
    plugin: Plugin,
    context: OperationContext,
}

impl Plugin {
    /// As a traffic switcher; none if it is of another kind.
    pub fn switcher(&self, context: OperationContext) -> Option<WasmSwitcher> {
        matches!(self.0.exports, Exports::Switcher(_))
            .then(|| WasmSwitcher { plugin: self.clone(), context })
    }
}

impl WasmSwitcher {
    /// The same plugin on behalf of another deployment.
    #[must_use]
    pub fn with_context(&self, context: OperationContext) -> Self {
        Self { plugin: self.plugin.clone(), context }
    }

    fn exports(&self) -> Result<&SwitcherPluginPre<Guest>, Fault> {
        let Exports::Switcher(exports) = &self.plugin.0.exports else {
            return Err(Fault::new(
                FaultKind::Internal,
                format!("the plugin {} is not a traffic switcher", self.plugin.whose()),
            ));
        };
        Ok(exports)
    }

    fn operation(&self, call: Call, desired: Option<&Desired>) -> Arc<Operation> {
        let operation = self.plugin.operation(call, &self.context, Duration::MAX);
        Arc::new(operation.with_backends(desired.into_iter().flat_map(addresses)))
    }
}

#[async_trait]
impl TrafficSwitcher for WasmSwitcher {
    async fn features(&self) -> Result<Features, Fault> {
        let operation = self.operation(FEATURES, None);
        let features = self
            .plugin
            .ask(&operation, self.exports()?, |plugin, store| {
                Box::pin(plugin.agente_traffic_switcher().call_features(store))
            })
            .await?;
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
        let operation = self.operation(PLAN, Some(desired));
        let wanted = write_desired(desired);
        let plan = self
            .plugin
            .ask(&operation, self.exports()?, |plugin, store| {
                let switcher = plugin.agente_traffic_switcher();
                Box::pin(async move { switcher.call_plan(store, &wanted).await })
            })
            .await?;
        Ok(operation.redact(plan))
    }

    async fn apply(
        &self,
        op: &OpId,
        desired: &Desired,
        lock: &TargetLock,
    ) -> Result<Observed, Failure> {
        let context = OperationContext { lock: Some(lock.clone()), ..self.context.clone() };
        let operation = self.with_context(context).operation(APPLY, Some(desired));
        let (op, wanted) = (op.0.clone(), write_desired(desired));
        let exports = self.exports().map_err(|fault| Failure::Refused { fault })?;
        let observed = self
            .plugin
            .ask(&operation, exports, |plugin, store| {
                let switcher = plugin.agente_traffic_switcher();
                Box::pin(async move { switcher.call_apply(store, &op, &wanted).await })
            })
            .await
            .map_err(|undone| undone.into_failure(&operation))?;
        read_observed(&operation, observed).map_err(|fault| Failure::Unknown { fault })
    }

    async fn observe(&self) -> Result<Observed, Fault> {
        let operation = self.operation(OBSERVE, None);
        let observed = self
            .plugin
            .ask(&operation, self.exports()?, |plugin, store| {
                Box::pin(plugin.agente_traffic_switcher().call_observe(store))
            })
            .await?;
        read_observed(&operation, observed)
    }

    async fn drain(&self, op: &OpId, slot: Slot, backends: &[Backend]) -> Result<Drained, Fault> {
        let operation = self.operation(DRAIN, None);
        let op = op.0.clone();
        let backends: Vec<wit::Backend> = backends.iter().map(write_backend).collect();
        let drained = self
            .plugin
            .ask(&operation, self.exports()?, move |plugin, store| {
                let switcher = plugin.agente_traffic_switcher();
                Box::pin(
                    async move { switcher.call_drain(store, &op, slot.as_str(), &backends).await },
                )
            })
            .await?;
        let done = match drained.state.as_str() {
            "drained" => true,
            "draining" => false,
            other => return Err(unfit(&operation, &format!("the state `{other}`"))),
        };
        Ok(Drained {
            done,
            remaining: drained.remaining,
            weak: drained.evidence == WEAK_EVIDENCE,
            evidence: drained.evidence,
            message: operation.redact(drained.message),
        })
    }
}

fn read_observed(operation: &Operation, observed: guest::Observed) -> Result<Observed, Fault> {
    let state = match observed.state.as_str() {
        "converged" => ObservedState::Converged,
        "pending" => ObservedState::Pending,
        "drifted" => ObservedState::Drifted,
        "absent" => ObservedState::Absent,
        "unsupported" => ObservedState::Unsupported,
        other => return Err(unfit(operation, &format!("the state `{other}`"))),
    };
    let mut routes = Vec::with_capacity(observed.routes.len());
    for route in observed.routes {
        routes.push(read_route(route).map_err(|what| unfit(operation, &what))?);
    }
    routes.sort_by_key(|route: &Route| route.slot);
    if routes.windows(2).any(|pair| matches!(pair, [a, b] if a.slot == b.slot)) {
        return Err(unfit(operation, "two routes for one slot"));
    }
    let mut overrides = Vec::with_capacity(observed.overrides.len());
    for rule in observed.overrides {
        overrides.push(read_override(rule).map_err(|what| unfit(operation, &what))?);
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

fn addresses(desired: &Desired) -> impl Iterator<Item = &str> {
    desired
        .routes
        .routes
        .iter()
        .flat_map(|route| route.backends.iter().map(|backend| backend.address.as_str()))
}

fn label(labels: &wit::Labels, name: &str) -> Option<String> {
    labels
        .iter()
        .find(|(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.clone())
}

fn write_desired(desired: &Desired) -> wit::Desired {
    let mut labels = vec![("store".to_owned(), desired.store.clone())];
    if desired.force {
        labels.push(("adopt".to_owned(), "force".to_owned()));
    }
    let routes = desired.routes.routes.iter().map(|route| wit::Route {
        slot: route.slot.as_str().to_owned(),
        weight: route.weight.basis_points(),
        backends: route.backends.iter().map(write_destination).collect(),
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
        .map(|backend| Destination { id: BackendId(backend.id), address: backend.address })
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
