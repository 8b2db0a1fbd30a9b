//! What is live, in lines for people.

use super::describe::{routes_line, standing_line};
use super::events::{SeenBackend, SeenTarget, Status};
use crate::times;
use agente_engine::attempt::{Attempt, Direction};
use agente_engine::ports::{BackendState, Holding, Liveness, Observed, ObservedState};
use agente_engine::standing::Kept;
use agente_engine::state::ServiceState;
use agente_engine::step::StepState;

/// The lines of a status; `attempt` is the open deployment.
pub(crate) fn status_lines(status: &Status<'_>, attempt: Option<&Attempt>) -> Vec<String> {
    let root = status.state_directory;
    let (Some(state), Some(store)) = (status.state, status.store) else {
        let nothing = match status.doubt {
            Some(_) => "the store can't tell what is live",
            None => "not under management yet",
        };
        let mut lines = vec![format!("{}: {nothing}", status.scope)];
        if let Some(error) = status.target.and_then(|target| target.error.as_ref()) {
            let error = error.lines().next().unwrap_or_default();
            lines.push(format!("target: can't be inspected: {error}"));
        }
        lines.push(format!("state: {root} (no store)"));
        return lines;
    };
    let mut lines = vec![status.scope.to_string()];
    let mut line = |name: &str, words: &str| lines.push(format!("  {name:<9} {words}"));
    line("stable", &state.stable.as_ref().map_or_else(|| "nothing".to_owned(), standing_line));
    if let Some(kept) = &state.kept {
        line("kept", &kept_words(kept, status.backends));
    }
    if let Some(routes) = &state.routes {
        line("routes", &routes_line(routes));
    }
    if let Some(words) = status.target.and_then(|target| target_words(target, state)) {
        line("target", &words);
    }
    for seen in status.backends {
        let words = match (&seen.state, &seen.error) {
            (Some(state), _) => state_words(state),
            (None, Some(error)) => format!("can't be inspected: {error}"),
            (None, None) => String::new(),
        };
        line("backend", &format!("{} ({}): {words}", seen.id, seen.address));
    }
    if let Some(attempt) = attempt {
        for (number, words) in open_words(attempt, status.lease).iter().enumerate() {
            line(if number == 0 { "open" } else { "" }, words);
        }
    } else if let Some(holding) = status.lease.filter(|holding| holding.liveness != Liveness::Gone)
    {
        line("lease", &format!("held by {holding}"));
    }
    line("state", &format!("{root} (store {store})"));
    lines
}

fn target_words(target: &SeenTarget, state: &ServiceState) -> Option<String> {
    if let Some(error) = &target.error {
        return Some(format!("can't be inspected: {error}"));
    }
    let Observed { state: seen, routes, message, .. } = target.observed.as_ref()?;
    let agrees = state.routes.as_ref().is_some_and(|ours| ours.same_traffic(routes));
    let words = match seen {
        ObservedState::Converged if agrees => "matches the journal",
        ObservedState::Converged => "differs from the journal",
        ObservedState::Pending => "has a change that is not in effect yet",
        ObservedState::Drifted => "is not as agente-host left it",
        ObservedState::Absent => "has nothing for this service",
        ObservedState::Unsupported => "can't be read",
    };
    Some(format!("{words}: {message}"))
}

/// What is kept, and whether it still stands: it takes no request, so nobody else would notice its
/// end.
fn kept_words(kept: &Kept, seen: &[SeenBackend]) -> String {
    let drained = match kept {
        Kept { partial: true, .. } => "may be partly removed; the next deployment removes the rest",
        Kept { drained: true, .. } => "drained",
        Kept { drained: false, .. } => "may still be draining",
    };
    let is_down = |seen: &&SeenBackend| {
        kept.standing.backends.iter().any(|backend| backend.id == seen.id)
            && !matches!(seen.state, None | Some(BackendState::Running { .. }))
    };
    let down = match (seen.iter().filter(is_down).count(), kept.standing.is_adopted()) {
        (0, _) => String::new(),
        (down, false) => format!(
            "; {down} of {} down, so a rollback relaunches it",
            kept.standing.backends.len()
        ),
        (down, true) => format!(
            "; {down} of {} down: start it yourself before rolling back to it",
            kept.standing.backends.len()
        ),
    };
    format!("{}; {drained}{down}", standing_line(&kept.standing))
}

/// The open deployment: where it is, who runs it, and each step that has begun.
fn open_words(attempt: &Attempt, holding: Option<&Holding>) -> Vec<String> {
    let plan = &attempt.plan;
    let direction = match &attempt.direction {
        _ if attempt.is_stuck().is_some() => "STUCK: needs manual intervention".to_owned(),
        Direction::Forward if attempt.paused => "paused".to_owned(),
        Direction::Forward => "in progress".to_owned(),
        Direction::Back(fault) => format!("unwinding: {fault}"),
    };
    let mut lines = vec![format!(
        "deployment {} of release {} since {}, {direction}",
        plan.id,
        plan.release.number,
        times::local(plan.created)
    )];
    lines.push(match holding {
        Some(holding) => format!("run by {holding}"),
        None => "no host is running it; `agente-host resume` continues, `agente-host abort` \
                 unwinds"
            .to_owned(),
    });
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
        lines.push(format!("{}. {}: {words}", index + 1, step.kind.name()));
    }
    lines
}

/// A backend's state in words.
fn state_words(state: &BackendState) -> String {
    match state {
        BackendState::Absent => "not there".to_owned(),
        BackendState::Starting { detail, restarts } => {
            format!("not running ({}): {detail}", times_restarted(*restarts))
        }
        BackendState::Running { since, restarts, healthy } => {
            let healthy = match healthy {
                Some(true) => ", healthy",
                Some(false) => ", its own health check is failing",
                None => "",
            };
            let since = if since.0 == 0 {
                String::new()
            } else {
                format!(" since {}", times::local(*since))
            };
            format!("running{since}, {}{healthy}", times_restarted(*restarts))
        }
        BackendState::Ended { detail } => format!("ended: {detail}"),
    }
}

/// `1 restart`, `2 restarts`.
fn times_restarted(restarts: u32) -> String {
    format!("{restarts} restart{}", if restarts == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use agente_engine::names::{BackendId, ReleaseNumber, Timestamp};
    use agente_engine::placement::Placement;
    use agente_engine::route::{Backend, Slot};
    use agente_engine::standing::Standing;
    use std::time::Duration;

    fn kept(adopted: bool) -> Kept {
        let backend = |name: &str| Backend {
            id: BackendId(name.to_owned()),
            address: "127.0.0.1:1".to_owned(),
            placement: if adopted { Placement::Adopted } else { Placement::Process },
        };
        let backends = vec![backend("one"), backend("two")];
        let standing = Standing {
            release: ReleaseNumber(4),
            slot: Slot::Blue,
            backends,
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
            "drained; 1 of 2 down, so a rollback relaunches it"
        );
        assert_eq!(
            words(&kept(true), &[seen("one", Some(BackendState::Absent))]),
            "drained; 1 of 2 down: start it yourself before rolling back to it"
        );
        let partial = Kept { partial: true, ..kept(false) };
        let half = "may be partly removed; \
        the next deployment removes the rest; 1 of 2 down, so a rollback relaunches it";
        assert_eq!(
            words(&partial, &[seen("one", running()), seen("two", Some(BackendState::Absent))]),
            half
        );
        // What could not be looked at is not known to be down, and the stable side is not what is
        // kept.
        assert_eq!(words(&kept(false), &[seen("one", None), seen("other", ended())]), "drained");
    }
}
