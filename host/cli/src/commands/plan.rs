//! `plan` and `deploy --dry-run`: what would be done, and nothing done.

use crate::adapters::now;
use crate::arguments::{Global, OutputKind, PlanOptions};
use crate::error::{CliError, Exit};
use crate::output::{self, Change, OutputEvent, data, emit};
use crate::planning;
use crate::session::{About, Session};
use agente_engine::deployment::DeploymentKind;
use agente_engine::names::Digest;
use agente_engine::plan::Plan;
use agente_engine::ports::{Desired, Fence, TrafficSwitcher};
use agente_engine::release::{Artifact, Release};
use agente_manifest::ArtifactSource;
use agente_runtimes::docker::Pull;
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

pub(crate) async fn run(global: &Global, options: &PlanOptions) -> Result<ExitCode, CliError> {
    let session = Session::look_forward(global, About::Next(&options.replace)).await?;
    let state = session.base.store().state(session.base.scope()).await?;
    let release = Release {
        scope: session.base.scope().clone(),
        number: planning::next_number(&session).await?,
        artifact: artifact(&session).await?,
        runtime: session.base.manifest.runtime.clone(),
        created: now(),
    };
    let policy = session.policy().await;
    let plan =
        planning::make(&session, release, policy, state.clone(), DeploymentKind::Deploy, false)
            .await?;
    let changes = changes(&session, &plan).await?;
    match global.output {
        OutputKind::Json => emit(&OutputEvent::Plan {
            plan: &plan,
            worst_case_ms: u64::try_from(plan.worst_case().as_millis()).unwrap_or(u64::MAX),
            point_of_no_return: plan.point_of_no_return(),
            changes: &changes,
        }),
        OutputKind::Human | OutputKind::Plain => {
            for line in output::plan_lines(&plan) {
                data(&line);
            }
            for Change { step, difference } in &changes {
                data("");
                data(&format!(
                    "changes that step {} would make to the target (through `{}`):",
                    step + 1,
                    session.base.manifest.switcher
                ));
                data(if difference.is_empty() { "  nothing" } else { difference.trim_end() });
            }
            if let Some(open) = &state.open {
                data("");
                data(&format!(
                    "note: deployment {open} is open; `deploy` would finish or unwind it first"
                ));
            }
        }
    }
    Ok(Exit::Done.into())
}

/// What the artifact would be, without bringing it into the store.
async fn artifact(session: &Session) -> Result<Artifact, CliError> {
    match &session.base.manifest.artifact_source {
        ArtifactSource::File(path) => {
            let digest = digest_of_file(path).map_err(|error| {
                CliError::usage(format!("the artifact `{}` can't be read", path.display()))
                    .because(&error)
            })?;
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            Ok(Artifact::File { digest, name })
        }
        ArtifactSource::Image(reference) => Ok(session
            .base
            .runtime
            .docker_for_launch()?
            .resolve_image(reference, Pull::Never, &|_| {})
            .await?),
    }
}

fn digest_of_file(path: &Path) -> std::io::Result<Digest> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
    Digest::new(format!("sha256:{}", hex::encode(hash.finalize()))).map_err(std::io::Error::other)
}

/// The difference that each shift would make at the target.
async fn changes(session: &Session, plan: &Plan) -> Result<Vec<Change>, CliError> {
    let switcher = session.switcher(session.context(Some(&plan.id), &plan.backends, None))?;
    let mut changes = Vec::new();
    // The token of the next lease is not known yet; the diff shows one beyond what is in force.
    let fence = switcher.observe().await.map_or(Fence(1), |observed| Fence(observed.fence.0 + 1));
    for (index, step) in plan.steps.iter().enumerate() {
        if let Some(after) = step.kind.sets() {
            let desired = Desired {
                fence,
                routes: after.clone(),
                store: plan.store.clone(),
                force: plan.force,
            };
            changes.push(Change { step: index, difference: switcher.plan(&desired).await? });
        }
    }
    Ok(changes)
}
