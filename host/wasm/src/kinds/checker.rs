//! A health check of contract 0.1 as the engine's port. Whatever goes wrong with asking is
//! `errored`, never healthy and never unhealthy.

use super::metrics;
use super::nouns::write_subject;
use crate::bindings::health::CheckerPluginPre;
use crate::broker::Phase;
use crate::calls::{Call, Export, Kind, OnFailure};
use crate::exports::Exports;
use crate::guest::Guest;
use crate::operation::OperationContext;
use crate::plugin::{ConfigProblem, Plugin};
use crate::running::unfit;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::policy::CheckPolicy;
use agente_engine::ports::HealthCheck;
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const CHECK: Call =
    Call { name: "check", phase: Phase::Read, wall: Duration::MAX, on_failure: OnFailure::Errored };
const CHECK_SPEC: Call = Call::judging("check-spec");

/// A health check, which may be a source of metrics as well.
pub(super) const KIND: Kind = Kind {
    package: "agente:health",
    exports: &[
        Export {
            interface: "agente:health/checker@0.1.0",
            required: true,
            calls: &[CHECK, CHECK_SPEC],
        },
        metrics::EXPORT,
    ],
};

/// A plugin that answers questions about health.
#[derive(Clone)]
pub struct WasmChecker {
    plugin: Plugin,
    context: OperationContext,
}

impl Plugin {
    /// As a health check; none if it is of another kind.
    pub fn checker(&self, context: OperationContext) -> Option<WasmChecker> {
        matches!(self.0.exports, Exports::Checker(..))
            .then(|| WasmChecker { plugin: self.clone(), context })
    }
}

impl WasmChecker {
    /// The same plugin on behalf of another deployment.
    #[must_use]
    pub fn with_context(&self, context: OperationContext) -> Self {
        Self { plugin: self.plugin.clone(), context }
    }

    /// Asks once.
    pub async fn ask(&self, subject: &Subject, spec: &Value, timeout: Duration) -> Verdict {
        match self.try_ask(subject, spec, timeout).await {
            Ok(verdict) => verdict,
            Err(fault) => {
                let mut reason = fault.message;
                for cause in fault.causes {
                    reason.push_str(": ");
                    reason.push_str(&cause);
                }
                if let Some(hint) = fault.hint {
                    reason.push_str("; ");
                    reason.push_str(&hint);
                }
                Verdict { kind: VerdictKind::Errored, value: None, reason }
            }
        }
    }

    /// Judges a check's own table.
    pub async fn check_spec(&self, spec: &Value) -> Result<Vec<ConfigProblem>, Fault> {
        let operation = Arc::new(self.plugin.operation(CHECK_SPEC, &self.context, Duration::MAX));
        let spec = spec.to_string();
        let problems = self
            .plugin
            .run(&operation, self.exports()?, |plugin, store| {
                let checker = plugin.agente_health_checker();
                Box::pin(async move { checker.call_check_spec(store, &spec).await })
            })
            .await?;
        Ok(ConfigProblem::all(problems))
    }

    async fn try_ask(
        &self,
        subject: &Subject,
        spec: &Value,
        timeout: Duration,
    ) -> Result<Verdict, Fault> {
        let backends = subject.backends.iter().map(|backend| backend.address.as_str());
        let mut context = self.context.clone();
        context.public_url = subject.public_url.clone().or(context.public_url);
        let operation = self.plugin.operation(CHECK, &context, timeout).with_backends(backends);
        let operation = Arc::new(operation);
        let (subject, spec) = (write_subject(subject), spec.to_string());
        let verdict = self
            .plugin
            .ask(&operation, self.exports()?, |plugin, store| {
                let checker = plugin.agente_health_checker();
                Box::pin(async move { checker.call_check(store, &subject, &spec).await })
            })
            .await?;
        let kind = match verdict.outcome.as_str() {
            "healthy" => VerdictKind::Healthy,
            "unhealthy" => VerdictKind::Unhealthy,
            "errored" => VerdictKind::Errored,
            "no-data" => VerdictKind::NoData,
            "inconclusive" => VerdictKind::Inconclusive,
            other => return Err(unfit(&operation, &format!("the outcome `{other}`"))),
        };
        // Not a number is no measurement.
        Ok(Verdict {
            kind,
            value: verdict.value.filter(|value| value.is_finite()),
            reason: operation.redact(verdict.reason),
        })
    }

    fn exports(&self) -> Result<&CheckerPluginPre<Guest>, Fault> {
        let Exports::Checker(exports, _) = &self.plugin.0.exports else {
            return Err(Fault::new(
                FaultKind::Internal,
                format!("the plugin {} is not a health check", self.plugin.whose()),
            ));
        };
        Ok(exports)
    }
}

#[async_trait]
impl HealthCheck for WasmChecker {
    async fn check(&self, check: &CheckPolicy, subject: &Subject) -> Verdict {
        self.ask(subject, &check.spec, check.timeout).await
    }
}
