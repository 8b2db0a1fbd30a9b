//! `status`: what is live, by the journal and by a look at the running world. Changes nothing.

use crate::arguments::{Global, OutputKind, StatusOptions};
use crate::drive;
use crate::error::{CliError, Exit};
use crate::output::{
    OutputEvent, SeenBackend, SeenTarget, Status, data, emit, event_line, say, status_lines,
};
use crate::session::{self, About, Base};
use crate::{store, times};
use agente_engine::attempt::Attempt;
use agente_engine::journal::{ChainState, Event};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{Liveness, Runtime, Store, TrafficSwitcher};
use agente_engine::standing::Standing;
use agente_engine::state::ServiceState;
use std::process::ExitCode;
use std::time::Duration;

/// How long the look at the running world may take.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global, options: &StatusOptions) -> Result<ExitCode, CliError> {
    let manifest = session::manifest(global, About::Standing(&options.components))?;
    let scope = manifest.scope.clone();
    let directory = store::state_directory(global)?;
    let root = directory.root().display().to_string();
    let Some(opened) = store::open_existing_store(global).await? else {
        let status = Status {
            scope: &scope,
            state_directory: &root,
            managed: false,
            store: None,
            state: None,
            open: None,
            lease: None,
            backends: &[],
            target: None,
        };
        tell(status, None, global.output);
        return Ok(Exit::Done.into());
    };
    let store = &*opened.store;
    if options.verify {
        return verify(store, &scope, global.output).await;
    }
    let state = store.state(&scope).await?;
    let holding = store.holding(&scope).await?;
    let attempt = match &state.open {
        Some(id) => Some(
            Attempt::fold(&store.entries(id).await?)
                .map_err(agente_engine::executor::Halt::from)?,
        ),
        None => None,
    };
    let base = Base::with(manifest, opened.clone(), None)?;
    let (backends, target) = if options.offline {
        (Vec::new(), None)
    } else {
        look(base, &state, attempt.as_ref()).await
    };
    let status = Status {
        scope: &scope,
        state_directory: &root,
        managed: state.stable.is_some(),
        store: Some(store.id()),
        state: Some(&state),
        open: attempt.as_ref().map(Into::into),
        lease: holding.as_ref(),
        backends: &backends,
        target: target.as_ref(),
    };
    tell(status, attempt.as_ref(), global.output);
    match (&state.open, options.follow) {
        (Some(id), true) => follow(store, &scope, id, global).await,
        (None, true) => {
            say("no deployment is open");
            Ok(Exit::Done.into())
        }
        (Some(_), false) if attempt.is_some_and(|attempt| attempt.is_stuck().is_some()) => {
            Ok(Exit::Stuck.into())
        }
        (_, false) => Ok(Exit::Done.into()),
    }
}

fn tell(status: Status<'_>, attempt: Option<&Attempt>, kind: OutputKind) {
    match kind {
        OutputKind::Json => emit(&OutputEvent::Status(Box::new(status))),
        OutputKind::Human | OutputKind::Plain => {
            for line in status_lines(&status, attempt) {
                data(&line);
            }
        }
    }
}

async fn verify(store: &dyn Store, scope: &Scope, kind: OutputKind) -> Result<ExitCode, CliError> {
    let found = store.verify_chain(scope).await?;
    if kind == OutputKind::Json {
        let intact = matches!(found, ChainState::Intact { .. });
        emit(&OutputEvent::Verified { scope, intact, chain: &found });
    }
    match found {
        ChainState::Intact { .. } if kind == OutputKind::Json => Ok(Exit::Done.into()),
        ChainState::Intact { entries, head } => {
            data(&format!("the journal of {scope} is intact: {entries} entries, newest {head}"));
            Ok(Exit::Done.into())
        }
        ChainState::Broken { position, deployment, message } => {
            let of = deployment.map(|id| format!(" of deployment {id}")).unwrap_or_default();
            Err(CliError::new(
                Exit::Stuck,
                format!("the journal of {scope} was changed at entry {position}{of}: {message}"),
            )
            .hint("restore the state directory from a backup, or find out who wrote to it"))
        }
    }
}

/// Looks at backends and target; what can't be looked at is said, not guessed.
async fn look(
    base: Base,
    state: &ServiceState,
    attempt: Option<&Attempt>,
) -> (Vec<SeenBackend>, Option<SeenTarget>) {
    let mut backends = Vec::new();
    let candidate = attempt.map(|attempt| attempt.plan.candidate(attempt.plan.created));
    let standings: Vec<&Standing> = state
        .stable
        .iter()
        .chain(state.kept.as_ref().map(|kept| &kept.standing))
        .chain(candidate.as_ref())
        .collect();
    for backend in standings.iter().flat_map(|standing| &standing.backends) {
        if backends.iter().any(|seen: &SeenBackend| seen.id == backend.id) {
            continue;
        }
        let (state, error) = match tokio::time::timeout(LOOK, base.runtime.inspect(backend)).await {
            Ok(Ok(state)) => (Some(state), None),
            Ok(Err(fault)) => (None, Some(fault.message)),
            Err(_) => (None, Some(format!("no answer within {} s", LOOK.as_secs()))),
        };
        backends.push(SeenBackend {
            id: backend.id.clone(),
            address: backend.address.clone(),
            state,
            error,
        });
    }
    let target = async {
        let switcher = session::only_switcher(&base).await.map_err(|error| error.message)?;
        match tokio::time::timeout(LOOK, switcher.observe()).await {
            Ok(observed) => observed.map_err(|fault| fault.message),
            Err(_) => Err(format!("no answer within {} s", LOOK.as_secs())),
        }
    };
    let target = match target.await {
        Ok(observed) => SeenTarget { observed: Some(observed), error: None },
        Err(error) => SeenTarget { observed: None, error: Some(error) },
    };
    (backends, Some(target))
}

/// Shows each entry as it is written, until the deployment ends.
async fn follow(
    store: &dyn Store,
    scope: &Scope,
    id: &DeploymentId,
    global: &Global,
) -> Result<ExitCode, CliError> {
    let mut seen = None;
    loop {
        for entry in store.entries_after(id, seen).await? {
            seen = Some(entry.sequence);
            match global.output {
                OutputKind::Json => emit(&OutputEvent::Entry { entry: &entry }),
                OutputKind::Human | OutputKind::Plain => {
                    data(&format!("{}  {}", times::local(entry.at), event_line(&entry.event)));
                }
            }
            if let Event::Closed { outcome } = &entry.event {
                return Ok(drive::exit(outcome, false));
            }
        }
        let alive =
            store.holding(scope).await?.is_some_and(|holding| holding.liveness != Liveness::Gone);
        if !alive && store.entries_after(id, seen).await?.is_empty() {
            let attempt = Attempt::fold(&store.entries(id).await?)
                .map_err(agente_engine::executor::Halt::from)?;
            if attempt.is_stuck().is_some() {
                say("it is stuck; `agente-host status` shows at which step");
                return Ok(Exit::Stuck.into());
            }
            say("no host is running it any more; `agente-host resume` continues, `agente-host \
                 abort` unwinds");
            return Ok(Exit::Open.into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
