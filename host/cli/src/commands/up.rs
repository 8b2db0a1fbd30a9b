//! `up`: starts what should stand, for boot.

use crate::arguments::{Components, Global, UpOptions};
use crate::error::{CliError, Exit};
use crate::output::say;
use crate::session::{About, Base};
use agente_engine::names::DeploymentId;
use agente_engine::ports::Launch;
use agente_runtimes::process::UpOutcome;
use std::process::ExitCode;

pub(crate) async fn run(global: &Global, _: &UpOptions) -> Result<ExitCode, CliError> {
    let base = Base::look(global, About::Standing(&Components::default())).await?;
    let state = base.store.state(base.scope()).await?;
    let Some(stable) = state.stable else {
        say(&format!("nothing of {} should stand", base.scope()));
        return Ok(Exit::Done.into());
    };
    let Some(release) = base.store.release(base.scope(), stable.release).await? else {
        return Err(CliError::new(Exit::Stuck, format!("release {} is stable and its record is missing", stable.release)));
    };
    let mut failed = false;
    if matches!(release.runtime, agente_engine::release::RuntimeSpec::Docker(_)) {
        for raised in base.runtime.docker.up(Some(base.scope())).await? {
            match raised.result {
                Ok(started) => say(&format!("{}: {}", raised.backend, if started { "started" } else { "runs" })),
                Err(fault) => {
                    failed = true;
                    say(&format!("{}: {fault}", raised.backend));
                }
            }
        }
    } else {
        let launches: Vec<Launch> = stable
            .backends
            .iter()
            .map(|backend| Launch {
                backend: backend.clone(),
                release: release.clone(),
                slot: stable.slot,
                deployment: DeploymentId("up".to_owned()),
                store: base.store.id().to_owned(),
            })
            .collect();
        for up in base.runtime.process.up(&launches).await {
            let words = match up.outcome {
                UpOutcome::Started => "started".to_owned(),
                UpOutcome::Running => "runs".to_owned(),
                UpOutcome::KeptAside => "stands aside, left alone".to_owned(),
                UpOutcome::Failed(failure) => {
                    failed = true;
                    failure.fault().to_string()
                }
            };
            say(&format!("{}: {words}", up.backend));
        }
    }
    if let Some(open) = state.open {
        say(&format!("deployment {open} is open; `agente-host resume` goes on, `agente-host abort` unwinds"));
    }
    Ok(if failed { Exit::Failed } else { Exit::Done }.into())
}
