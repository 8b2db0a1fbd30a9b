//! `status`: what is live, by the journal and by a look at the running world. Changes nothing.

use crate::arguments::{Global, OutputKind, StatusOptions};
use crate::drive;
use crate::error::{CliError, Exit};
use crate::output::{
    OutputEvent, SeenBackend, SeenTarget, Status, data, emit, event_line, routes_line, say,
    standing_line,
};
use crate::session::{self, About, Base};
use crate::{store, times};
use agente_engine::attempt::{Attempt, Direction};
use agente_engine::journal::{ChainState, Event};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{
    BackendState, History, Holding, Journal, Leases, Liveness, ObservedState, Runtime,
    TrafficSwitcher,
};
use agente_engine::standing::{Kept, Standing};
use agente_engine::state::ServiceState;
use agente_engine::step::StepState;
use agente_store::EmbeddedStore;
use std::process::ExitCode;
use std::time::Duration;

/// How long the look at the running world may take.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global, options: &StatusOptions) -> Result<ExitCode, CliError> {
    let manifest = session::manifest(global, About::Standing(&options.components))?;
    let scope = manifest.scope.clone();
    let directory = store::state_directory(global)?;
    let root = directory.root().display().to_string();
    let Some(store) = store::open_existing_store(global).await? else {
        match global.output {
            OutputKind::Json => emit(&OutputEvent::Status(Box::new(Status {
                scope: &scope,
                state_directory: &root,
                managed: false,
                store: None,
                state: None,
                lease: None,
                backends: &[],
                target: None,
            }))),
            OutputKind::Human | OutputKind::Plain => {
                data(&format!("{scope}: not under management yet"));
                data(&format!("state: {root} (nothing there)"));
            }
        }
        return Ok(Exit::Done.into());
    };
    if options.verify {
        return verify(&store, &scope, global.output).await;
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
    let base = Base::with(manifest, store.clone(), None)?;
    let (backends, target) = if options.offline {
        (Vec::new(), None)
    } else {
        look(base, &state, attempt.as_ref()).await
    };
    match global.output {
        OutputKind::Json => emit(&OutputEvent::Status(Box::new(Status {
            scope: &scope,
            state_directory: &root,
            managed: state.stable.is_some(),
            store: Some(store.id()),
            state: Some(&state),
            lease: holding.as_ref(),
            backends: &backends,
            target: target.as_ref(),
        }))),
        OutputKind::Human | OutputKind::Plain => print(
            &scope,
            &root,
            &store,
            &state,
            holding.as_ref(),
            attempt.as_ref(),
            &backends,
            target.as_ref(),
        ),
    }
    match (&state.open, options.follow) {
        (Some(id), true) => follow(&store, &scope, id, global).await,
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

async fn verify(
    store: &EmbeddedStore,
    scope: &Scope,
    kind: OutputKind,
) -> Result<ExitCode, CliError> {
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

#[expect(clippy::too_many_arguments, reason = "all that is shown")]
fn print(
    scope: &Scope,
    root: &str,
    store: &EmbeddedStore,
    state: &ServiceState,
    holding: Option<&Holding>,
    attempt: Option<&Attempt>,
    backends: &[SeenBackend],
    target: Option<&SeenTarget>,
) {
    data(&format!("{scope}"));
    data(&format!(
        "  stable    {}",
        state.stable.as_ref().map_or_else(|| "nothing".to_owned(), standing_line)
    ));
    if let Some(kept) = &state.kept {
        data(&format!("  kept      {}", kept_words(kept, backends)));
    }
    if let Some(routes) = &state.routes {
        data(&format!("  routes    {}", routes_line(routes)));
    }
    match target {
        None | Some(SeenTarget { observed: None, error: None }) => {}
        Some(SeenTarget { error: Some(error), .. }) => {
            data(&format!("  target    can't be looked at: {error}"));
        }
        Some(SeenTarget { observed: Some(observed), .. }) => {
            let agrees =
                state.routes.as_ref().is_some_and(|routes| routes.same_traffic(&observed.routes));
            let words = match observed.state {
                ObservedState::Converged if agrees => "as the journal says",
                ObservedState::Converged => "differs from the journal",
                ObservedState::Pending => "a change is not in force yet",
                ObservedState::Drifted => "is not as we left it",
                ObservedState::Absent => "holds nothing of this service",
                ObservedState::Unsupported => "can't be read",
            };
            data(&format!("  target    {words}: {}", observed.message));
        }
    }
    for seen in backends {
        let words = match (&seen.state, &seen.error) {
            (Some(state), _) => state_words(state),
            (None, Some(error)) => format!("can't be looked at: {error}"),
            (None, None) => String::new(),
        };
        data(&format!("  backend   {} ({}): {words}", seen.id, seen.address));
    }
    if let Some(attempt) = attempt {
        print_open(attempt, holding);
    } else if let Some(holding) = holding.filter(|holding| holding.liveness != Liveness::Gone) {
        data(&format!("  lease     held by {holding}"));
    }
    data(&format!("  state     {root} (store {})", store.id()));
}

/// What is kept, and whether it still stands: it takes no request, so nobody else would notice its
/// end.
fn kept_words(kept: &Kept, seen: &[SeenBackend]) -> String {
    let drained = match kept {
        Kept { partial: true, .. } => {
            "a part of it may be gone; the next deployment removes the rest"
        }
        Kept { drained: true, .. } => "drained",
        Kept { drained: false, .. } => "its last requests have not been seen to end",
    };
    let is_down = |seen: &&SeenBackend| {
        kept.standing.backends.iter().any(|backend| backend.id == seen.id)
            && !matches!(seen.state, None | Some(BackendState::Running { .. }))
    };
    let down = match (seen.iter().filter(is_down).count(), kept.standing.adopted) {
        (0, _) => String::new(),
        (down, false) => format!(
            "; {down} of {} down, so a rollback launches it anew",
            kept.standing.backends.len()
        ),
        (down, true) => format!(
            "; {down} of {} down: it is yours to start again before a rollback",
            kept.standing.backends.len()
        ),
    };
    format!("{}; {drained}{down}", standing_line(&kept.standing))
}

fn print_open(attempt: &Attempt, holding: Option<&Holding>) {
    let plan = &attempt.plan;
    let direction = match &attempt.direction {
        Direction::Forward if attempt.paused => "paused".to_owned(),
        Direction::Forward => "going forward".to_owned(),
        Direction::Back(fault) => format!("unwinding: {fault}"),
    };
    data(&format!(
        "  open      deployment {} of release {} since {}, {direction}",
        plan.id,
        plan.release.number,
        times::local(plan.created)
    ));
    match holding {
        Some(holding) => data(&format!("            run by {holding}")),
        None => data(
            "            nobody runs it; `agente-host resume` goes on, `agente-host abort` unwinds",
        ),
    }
    for (index, (step, state)) in plan.steps.iter().zip(&attempt.steps).enumerate() {
        let words = match state {
            StepState::Pending => continue,
            StepState::Running => format!("running: {}", step.kind.words()),
            StepState::Done(_) => "done".to_owned(),
            StepState::Refused(fault) => format!("refused: {fault}"),
            StepState::Unknown(fault) => format!("failed: {fault}"),
            StepState::Undoing => "being undone".to_owned(),
            StepState::Undone => "undone".to_owned(),
            StepState::Failed(fault) | StepState::Stuck(fault) => format!("STUCK: {fault}"),
        };
        data(&format!("            {}. {}: {words}", index + 1, step.kind.name()));
    }
}

/// A backend's state in words.
pub(crate) fn state_words(state: &BackendState) -> String {
    match state {
        BackendState::Absent => "not there".to_owned(),
        BackendState::Starting { detail, restarts } => {
            format!("not running ({restarts} restarts): {detail}")
        }
        BackendState::Running { since, restarts, healthy } => {
            let healthy = match healthy {
                Some(true) => ", healthy",
                Some(false) => ", its own health check does not pass",
                None => "",
            };
            let since = if since.0 == 0 {
                String::new()
            } else {
                format!(" since {}", times::local(*since))
            };
            format!("running{since}, {restarts} restarts{healthy}")
        }
        BackendState::Ended { detail } => format!("ended: {detail}"),
    }
}

/// Shows each entry as it is written, until the deployment ends.
async fn follow(
    store: &EmbeddedStore,
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
            say("nobody runs it any more; `agente-host resume` goes on, `agente-host abort` \
                 unwinds");
            return Ok(Exit::Open.into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agente_engine::names::{BackendId, ReleaseNumber, Timestamp};
    use agente_engine::placement::Placement;
    use agente_engine::route::{Backend, Slot};

    fn kept(adopted: bool) -> Kept {
        let backend = |name: &str| Backend {
            id: BackendId(name.to_owned()),
            address: "127.0.0.1:1".to_owned(),
            placement: Placement::Process,
        };
        let backends = vec![backend("one"), backend("two")];
        let standing = Standing {
            release: ReleaseNumber(4),
            slot: Slot::Blue,
            backends,
            adopted,
            stop_grace: Duration::ZERO,
            since: Timestamp(0),
        };
        Kept { standing, drained: true, partial: false }
    }

    fn seen(id: &str, state: Option<BackendState>) -> SeenBackend {
        SeenBackend { id: BackendId(id.to_owned()), address: String::new(), state, error: None }
    }

    #[test]
    fn a_kept_backend_that_ended_is_told_with_what_that_means() {
        let running =
            || Some(BackendState::Running { since: Timestamp(0), restarts: 0, healthy: None });
        let ended = || Some(BackendState::Ended { detail: "exit code 137".to_owned() });
        let words = |kept: &Kept, seen: &[SeenBackend]| {
            kept_words(kept, seen)
                .rsplit_once("since ")
                .map(|(_, rest)| rest.split_once("; ").unwrap().1.to_owned())
                .unwrap()
        };
        assert_eq!(
            words(&kept(false), &[seen("one", running()), seen("two", running())]),
            "drained"
        );
        assert_eq!(
            words(&kept(false), &[seen("one", running()), seen("two", ended())]),
            "drained; 1 of 2 down, so a rollback launches it anew"
        );
        assert_eq!(
            words(&kept(true), &[seen("one", Some(BackendState::Absent))]),
            "drained; 1 of 2 down: it is yours to start again before a rollback"
        );
        let partial = Kept { partial: true, ..kept(false) };
        let half = "a part of it may be gone; the next deployment removes the rest; 1 of 2 down, \
                    so a rollback launches it anew";
        assert_eq!(
            words(&partial, &[seen("one", running()), seen("two", Some(BackendState::Absent))]),
            half
        );
        // What could not be looked at is not known to be down, and the stable side is not what is
        // kept.
        assert_eq!(words(&kept(false), &[seen("one", None), seen("other", ended())]), "drained");
    }
}
