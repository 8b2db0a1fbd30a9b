//! Whoever runs the open deployment: told what to do through the mailbox, and passed over where
//! nobody listens.

use crate::error::CliError;
use crate::identity;
use crate::open;
use crate::output::{event_line, say};
use agente_engine::journal::{DecisionKind, Event, Outcome};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::{Holding, Lease, Leases, Liveness, Store};
use agente_engine::step::StepEvent;
use std::time::{Duration, Instant};

/// An owner that lives hears within 250 ms; after this it does not answer.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Between two looks at the journal.
const LOOK: Duration = Duration::from_millis(25);

/// Between two looks at the owner.
const LOOK_AT_OWNER: Duration = Duration::from_millis(100);

/// How long an owner has to be seen stopped: a tracer stops it for moments, too.
const STOPPED: Duration = Duration::from_millis(500);

/// How long an owner may give no sign of life to somebody whose clock was just set: more than a
/// heartbeat.
const QUIET: Duration = Duration::from_secs(3);

/// What came of asking the owner to unwind.
pub(crate) enum Answer {
    /// The deployment has ended.
    Ended(Outcome),
    /// It can't go on by itself.
    Stuck,
    /// Nobody listens, or not any more.
    Silence,
}

/// Asks the owner of a deployment to unwind it, and follows until it has ended.
pub(crate) async fn ask_to_unwind(
    store: &dyn Store,
    scope: &Scope,
    id: &DeploymentId,
    reason: Option<&str>,
) -> Result<Answer, CliError> {
    if matches!(store.holding(scope).await?, None | Some(Holding { liveness: Liveness::Gone, .. }))
    {
        return Ok(Answer::Silence);
    }
    // A stopped owner may keep the store from being written to, the decision with it.
    tokio::select! {
        biased;
        answer = ask_and_follow(store, scope, id, reason) => answer,
        holding = stops(store, scope) => {
            say(&format!("the host running the deployment is stopped: {holding}"));
            Ok(Answer::Silence)
        }
    }
}

async fn ask_and_follow(
    store: &dyn Store,
    scope: &Scope,
    id: &DeploymentId,
    reason: Option<&str>,
) -> Result<Answer, CliError> {
    // Before the decision is left: it may be heard at once.
    let mut seen = store.entries(id).await?.last().map(|entry| entry.sequence);
    let left = Instant::now();
    let number = match store.leave(id, DecisionKind::Abort, &identity::who(), reason).await {
        Ok(number) => Some(number),
        Err(fault) if tell_by_signal(store, scope).await => {
            say(&format!("the host running the deployment is told to unwind by a signal: {fault}"));
            None
        }
        Err(fault) => return Err(fault.into()),
    };
    let mut heard = number.is_none();
    let mut quiet_since = None;
    loop {
        for entry in store.entries_after(id, seen).await? {
            seen = Some(entry.sequence);
            if matches!(&entry.event, Event::Decided(decision) if Some(decision.id) == number) {
                heard = true;
                say(&format!("acknowledged after {} ms; unwinding", left.elapsed().as_millis()));
            } else {
                say(&format!("  {}", event_line(&entry.event)));
            }
            match entry.event {
                Event::Closed { outcome } => return Ok(Answer::Ended(outcome)),
                Event::Step {
                    event: StepEvent::Failed { .. } | StepEvent::UndoFailed { .. },
                    ..
                } => {
                    say("stuck: see `agente-host status`");
                    return Ok(Answer::Stuck);
                }
                _ => {}
            }
        }
        if !heard && left.elapsed() > HEARD_WITHIN {
            say(&format!(
                "the host running the deployment has not responded for {} s",
                HEARD_WITHIN.as_secs()
            ));
            return Ok(Answer::Silence);
        }
        match store.holding(scope).await?.map(|holding| holding.liveness) {
            Some(Liveness::Alive | Liveness::Stopped) => quiet_since = None,
            Some(Liveness::Silent)
                if quiet_since.get_or_insert_with(Instant::now).elapsed() < QUIET => {}
            Some(Liveness::Silent | Liveness::Gone) | None => {
                // It may have ended between the two looks.
                if !store.entries_after(id, seen).await?.is_empty() {
                    continue;
                }
                say("the host that was running the deployment is gone");
                return Ok(Answer::Silence);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the owner of a scope's lease to unwind past the mailbox. Says whether it will be heard.
async fn tell_by_signal(store: &dyn Leases, scope: &Scope) -> bool {
    let holding = store.holding(scope).await;
    holding.is_ok_and(|holding| {
        holding.is_some_and(|holding| agente_store::tell_to_take_back(&holding.holder))
    })
}

/// Waits until the owner of a scope's lease is stopped and stays so.
pub(crate) async fn stops(store: &dyn Leases, scope: &Scope) -> Holding {
    let mut since = None;
    loop {
        match store.holding(scope).await {
            Ok(Some(holding)) if holding.liveness == Liveness::Stopped => {
                if since.get_or_insert_with(Instant::now).elapsed() >= STOPPED {
                    return holding;
                }
            }
            // What can't be read says nothing; whoever waits for the store is told why.
            Ok(_) | Err(_) => since = None,
        }
        tokio::time::sleep(LOOK_AT_OWNER).await;
    }
}

/// Whether the owner of a scope's lease is stopped and stays so.
pub(crate) async fn is_stopped(store: &dyn Leases, scope: &Scope) -> bool {
    let now = store.holding(scope).await;
    now.is_ok_and(|now| now.is_some_and(|now| now.liveness == Liveness::Stopped))
        && tokio::time::timeout(STOPPED * 2, stops(store, scope)).await.is_ok()
}

/// Takes the lease of a scope from an owner that does not listen, or that is gone.
pub(crate) async fn pass_over(
    store: &dyn Store,
    scope: &Scope,
) -> Result<Box<dyn Lease>, CliError> {
    match store.holding(scope).await? {
        Some(holding) if holding.liveness != Liveness::Gone => {
            say(&format!("taking the lease over from {holding}"));
            open::take_over(store, scope).await
        }
        Some(_) | None => open::lease_to_take_back(store, scope, None).await,
    }
}
