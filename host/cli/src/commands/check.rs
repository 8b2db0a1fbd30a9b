//! `check`: judges manifest, plugins, grants and reachability. Changes nothing.

use crate::arguments::{CheckOptions, Global, OutputKind};
use crate::error::{CliError, Exit, exit_of};
use crate::metrics;
use crate::output::{OutputEvent, data, emit};
use crate::planning;
use crate::session::{About, Session};
use crate::world::Ports;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::Entry;
use agente_engine::lookout;
use agente_engine::planner;
use agente_engine::policy::{CheckMoment, CheckOf};
use agente_engine::ports::{
    Finding, FindingResult, HealthCheck, JournalObserver, ObservedState, Observer, Progress,
    TrafficSwitcher,
};
use agente_engine::verdict::{Subject, VerdictKind};
use std::process::ExitCode;
use std::time::Duration;

/// Findings, and the exit code of the first bad one.
struct Findings {
    kind: OutputKind,
    exit: Exit,
}

impl Findings {
    fn add(&mut self, finding: &Finding, kind: FaultKind) {
        if finding.result == FindingResult::Bad && self.exit == Exit::Done {
            self.exit = exit_of(kind);
        }
        match self.kind {
            OutputKind::Json => emit(&OutputEvent::Finding { finding }),
            OutputKind::Human | OutputKind::Plain => {
                let mark = match finding.result {
                    FindingResult::Good => "ok     ",
                    FindingResult::Warning => "warning",
                    FindingResult::Bad => "bad    ",
                };
                data(&format!("{mark}  {}: {}", finding.subject, finding.message));
                if let Some(hint) = &finding.hint {
                    data(&format!("         fix: {hint}"));
                }
            }
        }
    }

    fn line(&mut self, subject: &str, result: FindingResult, message: impl Into<String>) {
        self.add(
            &Finding { subject: subject.to_owned(), result, message: message.into(), hint: None },
            FaultKind::Failed,
        );
    }

    fn fault(&mut self, subject: &str, fault: Fault) {
        let message =
            std::iter::once(fault.message).chain(fault.causes).collect::<Vec<_>>().join(": ");
        self.add(
            &Finding {
                subject: subject.to_owned(),
                result: FindingResult::Bad,
                message,
                hint: fault.hint,
            },
            fault.kind,
        );
    }
}

pub(crate) async fn run(global: &Global, options: &CheckOptions) -> Result<ExitCode, CliError> {
    let session = Session::look_forward(global, About::Next(&options.replace)).await?;
    let manifest = &session.base.manifest;
    let mut findings = Findings { kind: global.output, exit: Exit::Done };
    findings.line(
        "manifest",
        FindingResult::Good,
        format!("`{}` is valid for {}", manifest.path.display(), manifest.scope),
    );
    findings.line("plugins", FindingResult::Good, "loaded, and granted everything they request");
    let context = session.context(None, &[], None);
    let switcher = session.switcher(context.clone())?;
    match switcher.features().await {
        Ok(features) => {
            findings.line(
                "target",
                FindingResult::Good,
                format!("ready: {}", features.names.join(", ")),
            );
            for warning in features.warnings {
                findings.line("target", FindingResult::Warning, warning);
            }
            observe(&session, &switcher, &mut findings).await?;
        }
        Err(fault) => findings.fault("target", fault),
    }
    let checks = session.checks(&context);
    for check in manifest
        .policy
        .checks_at(CheckMoment::Preflight)
        .filter(|check| check.of == CheckOf::Dependency)
    {
        let subject = Subject { slot: None, release: None, backends: Vec::new(), public_url: None };
        let asked = tokio::time::timeout(
            check.timeout.max(Duration::from_millis(100)),
            checks.check(check, &subject),
        )
        .await;
        let (result, message) = match asked {
            Ok(verdict) if verdict.kind == VerdictKind::Healthy => {
                (FindingResult::Good, format!("healthy: {}", verdict.reason))
            }
            Ok(verdict) => (FindingResult::Bad, format!("{}: {}", verdict.kind, verdict.reason)),
            Err(_) => (FindingResult::Bad, "errored: no answer before the timeout".to_owned()),
        };
        findings.line(&format!("check {}", check.name), result, message);
    }
    for finding in survey(&session).await? {
        findings.add(&finding, FaultKind::InvalidConfig);
    }
    for finding in metrics::check(&manifest.metrics).await {
        findings.add(&finding, FaultKind::InvalidConfig);
    }
    Ok(findings.exit.into())
}

/// What is not told while it goes on.
struct Silent;

impl Observer for Silent {
    fn tell(&self, _: Progress) {}
}

impl JournalObserver for Silent {
    fn journaled(&self, _: Entry) {}
}

/// Reads of the stable release what the next one will be measured by.
async fn survey(session: &Session) -> Result<Vec<Finding>, CliError> {
    let policy = &session.base.manifest.policy;
    if policy.analysis.is_none() {
        return Ok(Vec::new());
    }
    let store = session.base.store();
    let state = store.state(session.base.scope()).await?;
    let release = match &state.stable {
        Some(stable) => store.release(session.base.scope(), stable.release).await?,
        None => None,
    };
    let (Some(stable), Some(release)) = (&state.stable, release) else {
        let message =
            "skipped: nothing is serving yet, so there is nothing to compare with".to_owned();
        return Ok(vec![Finding {
            subject: "analysis".to_owned(),
            result: FindingResult::Good,
            message,
            hint: None,
        }]);
    };
    let inputs = planning::inputs(session, policy.clone(), state.clone(), false).await?;
    let plan =
        planner::survey(inputs, release).map_err(|error| CliError::internal(error.to_string()))?;
    let ports = Ports::of_backends(session, &stable.backends)?;
    Ok(lookout::survey(ports.world(&Silent), plan).await)
}

async fn observe(
    session: &Session,
    switcher: &agente_wasm::WasmSwitcher,
    findings: &mut Findings,
) -> Result<(), CliError> {
    let state = session.base.store().state(session.base.scope()).await?;
    match switcher.observe().await {
        Ok(observed) => {
            let owner =
                observed.store.as_deref().filter(|owner| *owner != session.base.store().id());
            if let Some(owner) = owner {
                let message = format!(
                    "the target says this service belongs to another store, `{owner}`; this one \
                    is `{}`",
                    session.base.store().id()
                );
                let fault = Fault::new(FaultKind::Conflict, message).hint(
                    "use that store (`--state`), or take the service over with `agente-host adopt --force`",
                );
                findings.fault("target", fault);
                return Ok(());
            }
            let ours =
                state.routes.as_ref().is_some_and(|routes| routes.same_traffic(&observed.routes));
            match observed.state {
                ObservedState::Converged if ours || state.routes.is_none() => {
                    findings.line("target", FindingResult::Good, observed.message);
                }
                ObservedState::Absent if state.routes.is_none() => {
                    findings.line("target", FindingResult::Good, "has nothing of this service yet");
                }
                ObservedState::Unsupported | ObservedState::Pending => {
                    findings.line("target", FindingResult::Warning, observed.message);
                }
                ObservedState::Converged | ObservedState::Absent | ObservedState::Drifted => {
                    let fault = Fault::new(
                        FaultKind::Conflict,
                        format!("the target is not as agente-host left it: {}", observed.message),
                    );
                    findings.fault(
                        "target",
                        fault.hint(
                            "revert the manual change, or take the target over with `agente-host adopt --force`",
                        ),
                    );
                }
            }
        }
        Err(fault) => findings.fault("target", fault),
    }
    Ok(())
}
