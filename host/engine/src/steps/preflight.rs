//! Judging everything that can be judged before anything is touched.

mod findings;
mod health;
mod measures;
mod target;

pub(crate) use measures::survey;

use super::action::{Action, Facts};
use crate::context::StepContext;
use crate::fault::Failure;
use crate::policy::Policy;
use crate::ports::{BackendState, FindingResult};
use crate::route::Backend;
use crate::step::StepOutput;
use crate::words::describe;
use async_trait::async_trait;
use findings::Findings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FACTS: Facts = Facts { told_as_it_goes: true, ..Facts::named("preflight") };

/// Judges everything that can be judged before anything is touched.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Preflight {
    /// Whether both sides will have a share of the requests at once.
    pub splits: bool,
}

#[async_trait]
impl Action for Preflight {
    fn facts(&self) -> Facts {
        FACTS
    }

    fn words(&self) -> String {
        "check everything that can be checked before changing anything".to_owned()
    }

    fn limit(&self, policy: &Policy) -> Duration {
        policy.timeouts.preflight
    }

    /// Looks at everything and tells each line; refused if one of them is bad.
    async fn run(&self, context: &StepContext<'_>) -> Result<StepOutput, Failure> {
        let mut findings = Findings::new(context);
        for plugin in &context.deployment.plugins {
            findings.line(
                &format!("plugin {}", plugin.name),
                FindingResult::Good,
                format!("{} ({}) is loaded and granted", plugin.version, plugin.digest.short()),
            );
        }
        runtime(&mut findings).await;
        target::look(&mut findings, self.splits).await;
        target::kept_slot(&mut findings).await;
        health::ask_what_serves(&mut findings).await;
        measures::read(&mut findings).await;
        health::ask_stable(&mut findings).await;
        findings.judge()
    }
}

async fn runtime(findings: &mut Findings<'_, '_>) {
    let context = findings.context;
    let deployment = &context.deployment;
    if deployment.launches() {
        let found =
            context.ports.runtime.preflight(&deployment.release, &deployment.backends).await;
        for finding in found {
            findings.add(finding, crate::fault::FaultKind::Failed);
        }
    } else {
        backends(findings, "candidate", &deployment.backends, FindingResult::Bad).await;
    }
    if let Some(stable) = &deployment.stable {
        // A stable side that is down must not forbid the deployment that replaces it.
        backends(findings, "stable", &stable.backends, FindingResult::Warning).await;
    }
}

async fn backends(
    findings: &mut Findings<'_, '_>,
    whose: &str,
    backends: &[Backend],
    otherwise: FindingResult,
) {
    for backend in backends {
        let subject = format!("{whose} backend {}", backend.id);
        match findings.context.ports.runtime.inspect(backend).await {
            Ok(state @ BackendState::Running { .. }) => {
                findings.line(&subject, FindingResult::Good, describe(&state));
            }
            Ok(state) => findings.line(&subject, otherwise, describe(&state)),
            Err(fault) => findings.line(&subject, otherwise, fault.message),
        }
    }
}
