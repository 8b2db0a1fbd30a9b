//! `status`: what is live, by the journal and by a look at the running world. Changes nothing.

use crate::arguments::{Global, OutputKind, StatusOptions};
use crate::drive;
use crate::error::{CliError, Exit};
use crate::evidence::{self, Doubted};
use crate::output::{
    OutputEvent, SeenBackend, SeenTarget, Status, data, emit, event_line, say, status_lines,
};
use crate::session::{self, About, Base};
use crate::times;
use agente_engine::attempt::Attempt;
use agente_engine::journal::{ChainState, Event};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{Liveness, Runtime, Store, TrafficSwitcher};
use agente_engine::standing::Standing;
use agente_engine::state::ServiceState;
use agente_wasm::WasmSwitcher;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) async fn run(global: &Global, options: &StatusOptions) -> Result<ExitCode, CliError> {
    let base = Base::look_unjudged(global, About::Standing(&options.components)).await?;
    let (store, scope) = (base.store(), base.scope().clone());
    let root = base.root.display().to_string();
    let there = !base.is_scratch();
    if options.verify && there {
        return verify(&base, global.output).await;
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
    let (backends, target, doubted) = if options.offline {
        (Vec::new(), None, evidence::offline(&base).await?)
    } else {
        let switcher = session::only_switcher(&base).await;
        let (backends, target) = look(&base, switcher.as_ref(), &state, attempt.as_ref()).await;
        let doubted = evidence::doubt(&base, switcher.as_ref().ok()).await?;
        (backends, Some(target), doubted)
    };
    let status = Status {
        scope: &scope,
        state_directory: &root,
        managed: state.stable.is_some(),
        store: there.then(|| store.id()),
        state: there.then_some(&state),
        open: attempt.as_ref().map(Into::into),
        lease: holding.as_ref(),
        backends: &backends,
        target: target.as_ref(),
        doubt: doubted.as_ref().map(Doubted::told),
    };
    tell(status, attempt.as_ref(), global.output);
    if let Some(doubted) = doubted {
        return Err(doubted.into_error());
    }
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

async fn verify(base: &Base, kind: OutputKind) -> Result<ExitCode, CliError> {
    let scope = base.scope();
    let found = base.store().verify_chain(scope).await?;
    if kind == OutputKind::Json {
        let intact = matches!(found, ChainState::Intact { .. });
        emit(&OutputEvent::Verified { scope, intact, chain: &found });
    } else if let ChainState::Intact { entries, head } = &found {
        data(&format!("the journal of {scope} is intact: {entries} entries, newest {head}"));
    }
    match evidence::broken(base, found) {
        Some(doubted) => Err(doubted.into_error()),
        None => Ok(Exit::Done.into()),
    }
}

/// Looks at backends and target; what can't be looked at is said, not guessed.
async fn look(
    base: &Base,
    switcher: Result<&WasmSwitcher, &CliError>,
    state: &ServiceState,
    attempt: Option<&Attempt>,
) -> (Vec<SeenBackend>, SeenTarget) {
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
        let (state, error) = match evidence::look(base.runtime.inspect(backend)).await {
            Ok(state) => (Some(state), None),
            Err(error) => (None, Some(error)),
        };
        backends.push(SeenBackend {
            id: backend.id.clone(),
            address: backend.address.clone(),
            state,
            error,
        });
    }
    let observed = match switcher {
        Ok(switcher) => evidence::look(switcher.observe()).await,
        Err(error) => Err(error.message.clone()),
    };
    let target = match observed {
        Ok(observed) => SeenTarget { observed: Some(observed), error: None },
        Err(error) => SeenTarget { observed: None, error: Some(error) },
    };
    (backends, target)
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
