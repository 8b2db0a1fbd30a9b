//! `abort`, `pause`, `promote` and `resume`: decisions about the open deployment. Whoever holds its
//! lease hears them from the mailbox; where nobody lives to hear, this process takes the lease.

use crate::arguments::{DecideOptions, Global, PromoteOptions};
use crate::drive::{self, Driver, Work};
use crate::error::{CliError, Exit};
use crate::evidence;
use crate::identity;
use crate::open;
use crate::output::{Output, say};
use crate::owner::{self, Answer, HEARD_WITHIN};
use crate::session::{self, About, Base, Session};
use crate::signals::Signals;
use crate::store;
use agente_engine::attempt::{Attempt, Direction};
use agente_engine::executor::Halt;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{DecisionKind, Event, Outcome};
use agente_engine::names::DeploymentId;
use agente_engine::ports::{Liveness, Store};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) async fn abort(global: &Global, options: &DecideOptions) -> Result<ExitCode, CliError> {
    store::clear_of_stopped_host(global).await?;
    let base = Base::look(global, About::Standing(&options.components)).await?;
    let id = open_id(&base).await?;
    // The decision is left before anything slow is loaded.
    if let Some(code) = asked(&base, &id, options.reason.as_deref()).await? {
        return Ok(code);
    }
    take_and_unwind(global, &Session::load(base).await?, &id, options.reason.as_deref()).await
}

/// The same with everything loaded, for `rollback`.
pub(crate) async fn abort_session(
    global: &Global,
    session: &Session,
    options: &DecideOptions,
) -> Result<ExitCode, CliError> {
    let id = open_id(&session.base).await?;
    if let Some(code) = asked(&session.base, &id, options.reason.as_deref()).await? {
        return Ok(code);
    }
    take_and_unwind(global, session, &id, options.reason.as_deref()).await
}

/// Asks whoever runs the deployment to unwind it; none where nobody does.
async fn asked(
    base: &Base,
    id: &DeploymentId,
    reason: Option<&str>,
) -> Result<Option<ExitCode>, CliError> {
    Ok(match owner::ask_to_unwind(base.store(), base.scope(), id, reason).await? {
        Answer::Ended(outcome) => Some(drive::exit(&outcome, true)),
        Answer::Stuck => Some(Exit::Stuck.into()),
        Answer::Silence => None,
    })
}

pub(crate) async fn pause(global: &Global, options: &DecideOptions) -> Result<ExitCode, CliError> {
    let base = Base::look(global, About::Standing(&options.components)).await?;
    let id = open_id(&base).await?;
    base.store()
        .leave(&id, DecisionKind::Pause, &identity::who(), options.reason.as_deref())
        .await?;
    if let Some(idle) = idle(&base, &id).await? {
        say(&idle);
        return Ok(Exit::Open.into());
    }
    say(&format!(
        "deployment {id} pauses before its next step; continue with `agente-host resume`"
    ));
    Ok(Exit::Done.into())
}

pub(crate) async fn promote(
    global: &Global,
    options: &PromoteOptions,
) -> Result<ExitCode, CliError> {
    let base = Base::look(global, About::Standing(&options.decide.components)).await?;
    let id = open_id(&base).await?;
    let (attempt, entries) = folded(base.store(), &id).await?;
    let waits = attempt
        .next_step()
        .and_then(|step| attempt.plan.steps.get(step))
        .is_some_and(|step| step.kind.facts().awaits_decision);
    if !options.full && !waits {
        let now = attempt
            .next_step()
            .and_then(|step| attempt.plan.steps.get(step))
            .map_or("its end", |step| step.kind.name());
        return Err(CliError::refused(format!(
            "deployment {id} is at `{now}`, which is not waiting for `promote`"
        ))
        .hint(
            "`agente-host status --follow` shows when it is; `agente-host promote --full` skips the remaining weights and goes straight to 100 %",
        ));
    }
    let left = Instant::now();
    let kind = DecisionKind::Promote { full: options.full };
    let number =
        base.store().leave(&id, kind, &identity::who(), options.decide.reason.as_deref()).await?;
    if let Some(idle) = idle(&base, &id).await? {
        say(&idle);
        return Ok(Exit::Open.into());
    }
    let mut seen = entries.last().map(|entry| entry.sequence);
    while left.elapsed() < HEARD_WITHIN {
        for entry in base.store().entries_after(&id, seen).await? {
            seen = Some(entry.sequence);
            if matches!(&entry.event, Event::Decided(decision) if decision.id == number) {
                say(&format!(
                    "acknowledged after {} ms; follow it with `agente-host status --follow`",
                    left.elapsed().as_millis()
                ));
                return Ok(Exit::Done.into());
            }
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Err(CliError::refused(format!(
        "the host running deployment {id} has not responded for {} s",
        HEARD_WITHIN.as_secs()
    ))
    .hint(
        "`agente-host status` shows who is running it; `agente-host abort` takes it over and unwinds it",
    ))
}

pub(crate) async fn resume(
    global: &Global,
    options: &DecideOptions,
    signals: &Signals,
) -> Result<ExitCode, CliError> {
    let base = Base::look(global, About::Standing(&options.components)).await?;
    let id = open_id(&base).await?;
    if !holder_lives(&base).await? {
        may_resume(&base, &id).await?;
    }
    base.store()
        .leave(&id, DecisionKind::Resume, &identity::who(), options.reason.as_deref())
        .await?;
    if holder_lives(&base).await? {
        say(&format!("deployment {id} continues; follow it with `agente-host status --follow`"));
        return Ok(Exit::Done.into());
    }
    let session = Session::load(base).await?;
    let lease = open::lease(session.base.store(), session.base.scope(), None).await?;
    let (attempt, entries) = folded(session.base.store(), &id).await?;
    let state = session.base.store().state(session.base.scope()).await?;
    let output = Output::new(global.output);
    let driver = Driver {
        session: &session,
        lease: lease.as_ref(),
        output: &output,
        signals: Some(signals),
    };
    let outcome = driver.run(&attempt.plan, Work::Resume(entries), state).await?;
    let _ = lease.release().await;
    Ok(drive::exit(&outcome, false))
}

/// Stops a deployment that would go forward on a store that is not to be believed.
async fn may_resume(base: &Base, id: &DeploymentId) -> Result<(), CliError> {
    let (attempt, _) = folded(base.store(), id).await?;
    let switcher = session::only_switcher(base).await?;
    match attempt.direction {
        Direction::Forward => evidence::forward(base, &switcher).await,
        Direction::Back(_) => evidence::backward(base, &switcher).await,
    }
}

async fn open_id(base: &Base) -> Result<DeploymentId, CliError> {
    let id = base.store().open_deployment(base.scope()).await?;
    id.ok_or_else(|| {
        CliError::refused(format!("no deployment of {} is open", base.scope()))
            .hint("`agente-host status` shows what is live")
    })
}

/// Says that nobody acts on a decision now, and what to do; none where a host is at work.
async fn idle(base: &Base, id: &DeploymentId) -> Result<Option<String>, CliError> {
    Ok(match base.store().holding(base.scope()).await? {
        Some(holding) if holding.liveness == Liveness::Alive => None,
        Some(holding) if holding.liveness != Liveness::Gone => Some(format!(
            "the host running deployment {id} can't act on this decision: {holding}; `agente-host abort` takes the deployment over and unwinds it"
        )),
        Some(_) | None => Some(format!(
            "no host is running deployment {id}; `agente-host resume` continues it and will act on this decision"
        )),
    })
}

async fn holder_lives(base: &Base) -> Result<bool, CliError> {
    Ok(base
        .store()
        .holding(base.scope())
        .await?
        .is_some_and(|holding| holding.liveness == Liveness::Alive))
}

async fn folded(
    store: &dyn Store,
    id: &DeploymentId,
) -> Result<(Attempt, Vec<agente_engine::journal::Entry>), CliError> {
    let entries = store.entries(id).await?;
    let attempt = Attempt::fold(&entries).map_err(Halt::from)?;
    Ok((attempt, entries))
}

/// Takes the lease, by force where its owner does not answer, and unwinds.
async fn take_and_unwind(
    global: &Global,
    session: &Session,
    id: &DeploymentId,
    reason: Option<&str>,
) -> Result<ExitCode, CliError> {
    let store = session.base.store();
    let lease = owner::pass_over(store, session.base.scope()).await?;
    let (attempt, entries) = folded(store, id).await?;
    if let Some(outcome) = &attempt.outcome {
        return Ok(drive::exit(outcome, true));
    }
    let state = store.state(session.base.scope()).await?;
    let words = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let fault = Fault::new(FaultKind::Aborted, format!("aborted by {}{words}", identity::who()));
    let (output, signals) = (Output::new(global.output), Signals::listen());
    let driver =
        Driver { session, lease: lease.as_ref(), output: &output, signals: Some(&signals) };
    let outcome = driver.run(&attempt.plan, Work::Unwind(entries, fault), state).await?;
    let _ = lease.release().await;
    // Afterwards: nothing holds up an abort.
    if let Ok(Some(changed)) = evidence::changed(&session.base).await {
        changed.tell();
    }
    if let Outcome::Promoted { .. } = outcome {
        say("it was past the point of no return, so it was completed instead of unwound");
    }
    Ok(drive::exit(&outcome, true))
}
