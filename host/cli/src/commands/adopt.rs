//! `adopt`: release 1 from what runs already.

use crate::arguments::{AdoptOptions, Global};
use crate::drive::{self, Driver, Work};
use crate::error::CliError;
use crate::open;
use crate::output::{Output, say};
use crate::planning;
use crate::session::{About, Session};
use crate::signals::Signals;
use agente_engine::planner::{self, PlanError};
use agente_engine::ports::{Lease, Runtime, TrafficSwitcher};
use agente_engine::release::{Artifact, RuntimeSpec};
use agente_engine::route::Slot;
use agente_engine::state::ServiceState;
use std::process::ExitCode;

pub(crate) async fn run(
    global: &Global,
    options: &AdoptOptions,
    signals: &Signals,
) -> Result<ExitCode, CliError> {
    for address in &options.backends {
        let port = address
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            return Err(CliError::usage(format!("`{address}` is not an address"))
                .hint("write it as `127.0.0.1:9000`"));
        }
    }
    let about = About::Standing(&options.components);
    let session = if options.force {
        Session::open_by_force(global, about).await?
    } else {
        Session::open(global, about).await?
    };
    let store = session.base.store();
    let lease = open::lease(store, session.base.scope(), options.lock_wait).await?;
    let mut state = store.state(session.base.scope()).await?;
    if let Some(open) = &state.open {
        return Err(CliError::refused(format!("deployment {open} is open"))
            .hint("continue it with `agente-host resume`, or unwind it with `agente-host abort`"));
    }
    if options.force && options.backends.is_empty() {
        return retake(global, &session, lease, state, signals).await;
    }
    if let Some(stable) = &state.stable {
        let error = PlanError::AlreadyManaged {
            scope: session.base.scope().clone(),
            release: stable.release,
        };
        return Err(CliError::refused(error.to_string()).hint(
            "`agente-host status` shows it; deploy a new release with `agente-host deploy`",
        ));
    }
    if options.force {
        // Whoever put them there: the routes that are in force now are what an adoption that fails
        // puts back.
        state.routes =
            session.switcher(session.context(None, &[], None))?.observe().await?.in_force();
    }
    let runtime = RuntimeSpec::Adopted { addresses: options.backends.clone() };
    let release = store.create_release(session.base.scope(), Artifact::Adopted, runtime).await?;
    let backends = session.base.runtime.reserve(&release, Slot::Blue, &[]).await?;
    let policy = session.policy().await;
    let inputs = planning::inputs(&session, policy, state.clone(), options.force).await?;
    let plan = planner::adopt(inputs, release, backends)
        .map_err(|error| CliError::refused(error.to_string()))?;
    let output = Output::new(global.output);
    let driver = Driver {
        session: &session,
        lease: lease.as_ref(),
        output: &output,
        signals: Some(signals),
    };
    let outcome = driver.run(&plan, Work::Begin(Box::new(plan.clone())), state).await?;
    let _ = lease.release().await;
    if matches!(outcome, agente_engine::journal::Outcome::Promoted { .. }) {
        say("the service is now under management; the running backends were not touched");
        let scope = session.base.scope();
        say(&format!(
            "next: point the public server at the pool of {scope} (see the guide for `{}`), then run `agente-host deploy`",
            session.base.manifest.switcher
        ));
    }
    Ok(drive::exit(&outcome, false))
}

/// Puts back what the journal says, over whatever was done to the target by hand.
async fn retake(
    global: &Global,
    session: &Session,
    lease: Box<dyn Lease>,
    state: ServiceState,
    signals: &Signals,
) -> Result<ExitCode, CliError> {
    let scope = session.base.scope();
    let release = match &state.stable {
        Some(stable) => session.base.store().release(scope, stable.release).await?,
        None => None,
    };
    let Some(release) = release else {
        return Err(CliError::refused(PlanError::NothingManaged(scope.clone()).to_string()).hint(
            "name what is running now: `agente-host adopt --force --backend 127.0.0.1:9000`",
        ));
    };
    let policy = session.policy().await;
    let plan =
        planner::retake(planning::inputs(session, policy, state.clone(), true).await?, release)
            .map_err(|error| CliError::refused(error.to_string()))?;
    let output = Output::new(global.output);
    let driver = Driver { session, lease: lease.as_ref(), output: &output, signals: Some(signals) };
    let outcome = driver.run(&plan, Work::Begin(Box::new(plan.clone())), state).await?;
    let _ = lease.release().await;
    Ok(drive::exit(&outcome, false))
}
