//! A health check of contract 0.1 as the engine's port. Whatever goes wrong with asking is
//! `errored`, never healthy and never unhealthy.

use crate::audit::{CallEnd, CallFault};
use crate::bindings::any::agente::types::types as wit;
use crate::bindings::health::CheckerPluginPre;
use crate::broker::Phase;
use crate::guest::Guest;
use crate::load::ConfigProblem;
use crate::operation::OperationContext;
use crate::plugin::{CallError, Exports, Plugin, bounded, store};
use crate::switcher::{said_no, write_backend};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::policy::CheckPolicy;
use agente_engine::ports::HealthCheck;
use agente_engine::route::Slot;
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A plugin that answers questions about health.
#[derive(Clone)]
pub struct WasmChecker {
    plugin: Plugin,
    context: OperationContext,
}

impl WasmChecker {
    pub(crate) fn new(plugin: Plugin, context: OperationContext) -> Self {
        Self { plugin, context }
    }

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
        let operation = Arc::new(self.plugin.operation(
            "check-spec",
            Phase::Closed,
            &self.context,
            Duration::from_secs(10),
        ));
        let pre = self.exports()?;
        let spec = spec.to_string();
        let crashed = |error: CallError| error.into_fault(&self.plugin.whose(), operation.name);
        let mut store = store(&self.plugin.0.shared, &operation).map_err(crashed)?;
        let problems = bounded(&operation, async {
            let exports = pre.instantiate_async(&mut store).await?;
            exports.agente_health_checker().call_check_spec(&mut store, &spec).await
        })
        .await
        .map_err(crashed)?;
        Ok(problems.into_iter().map(|(path, message)| ConfigProblem { path, message }).collect())
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
        let operation = Arc::new(
            self.plugin.operation("check", Phase::Read, &context, timeout).with_backends(backends),
        );
        let pre = self.exports()?;
        let (subject, spec) = (write_subject(subject), spec.to_string());
        let whose = self.plugin.whose();
        let crashed = |error: CallError| error.into_fault(&whose, operation.name);
        let mut store = store(&self.plugin.0.shared, &operation).map_err(crashed)?;
        let answer = bounded(&operation, async {
            let exports = pre.instantiate_async(&mut store).await?;
            exports.agente_health_checker().call_check(&mut store, &subject, &spec).await
        })
        .await
        .map_err(crashed)?;
        let verdict = answer.map_err(|failure| said_no(&operation, &whose, failure))?;
        let kind = match verdict.outcome.as_str() {
            "healthy" => VerdictKind::Healthy,
            "unhealthy" => VerdictKind::Unhealthy,
            "errored" => VerdictKind::Errored,
            "no-data" => VerdictKind::NoData,
            "inconclusive" => VerdictKind::Inconclusive,
            other => {
                operation.note_end(CallEnd::Faulted(CallFault::Unfit));
                let message = format!(
                    "the plugin {whose} answered `check` with something that the contract does \
                     not know: the outcome `{other}`"
                );
                return Err(Fault::new(FaultKind::PluginCrashed, message));
            }
        };
        // Not a number is no measurement.
        Ok(Verdict {
            kind,
            value: verdict.value.filter(|value| value.is_finite()),
            reason: operation.redact(verdict.reason),
        })
    }

    fn exports(&self) -> Result<&CheckerPluginPre<Guest>, Fault> {
        match &self.plugin.0.exports {
            Exports::Checker(pre, _) => Ok(pre),
            Exports::Switcher(_) => Err(Fault::new(
                FaultKind::Internal,
                format!("the plugin {} is not a health check", self.plugin.whose()),
            )),
        }
    }
}

pub(crate) fn write_subject(subject: &Subject) -> wit::Subject {
    wit::Subject {
        slot: subject.slot.map_or("", Slot::as_str).to_owned(),
        release: subject.release.map_or(0, |release| release.0),
        backends: subject.backends.iter().map(write_backend).collect(),
        labels: subject.public_url.iter().map(|url| ("url".to_owned(), url.clone())).collect(),
    }
}

#[async_trait]
impl HealthCheck for WasmChecker {
    async fn check(&self, check: &CheckPolicy, subject: &Subject) -> Verdict {
        self.ask(subject, &check.spec, check.timeout).await
    }
}
