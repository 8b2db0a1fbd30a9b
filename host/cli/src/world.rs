//! The world that a deployment, or a look at what is live, sees: every port of the engine, wired in
//! one place.

use crate::adapters::{Checks, Measures, SystemClock};
use crate::error::CliError;
use crate::session::Session;
use agente_engine::plan::Plan;
use agente_engine::ports::{JournalObserver, Prober};
use agente_engine::release::Artifact;
use agente_engine::route::Backend;
use agente_engine::world::World;
use agente_probe::HttpProber;
use agente_wasm::{OperationContext, WasmSwitcher};

/// The ports of one run.
pub(crate) struct Ports<'a> {
    session: &'a Session,
    switcher: WasmSwitcher,
    checks: Checks,
    measures: Measures,
    prober: Option<HttpProber>,
    clock: SystemClock,
}

impl<'a> Ports<'a> {
    /// For a deployment, on whose behalf plugins are asked.
    pub(crate) fn of_deployment(session: &'a Session, plan: &Plan) -> Result<Self, CliError> {
        let image = match &plan.release.artifact {
            Artifact::Image { id, .. } => Some(id.to_string()),
            Artifact::File { .. } | Artifact::Adopted => None,
        };
        let standings = plan.stable.iter().chain(plan.kept.as_ref().map(|kept| &kept.standing));
        let mut backends = plan.backends.clone();
        backends.extend(standings.flat_map(|standing| standing.backends.clone()));
        let prober = plan.policy.probe.as_ref().map(HttpProber::new).transpose()?;
        Self::new(session, &session.context(Some(&plan.id), &backends, image), prober)
    }

    /// For a look at what is live, on behalf of no deployment and with no request of our own.
    pub(crate) fn of_backends(
        session: &'a Session,
        backends: &[Backend],
    ) -> Result<Self, CliError> {
        Self::new(session, &session.context(None, backends, None), None)
    }

    fn new(
        session: &'a Session,
        context: &OperationContext,
        prober: Option<HttpProber>,
    ) -> Result<Self, CliError> {
        Ok(Self {
            session,
            switcher: session.switcher(context.clone())?,
            checks: session.checks(context),
            measures: session.measures(context),
            prober,
            clock: SystemClock::start(),
        })
    }

    /// The world, told to an observer.
    pub(crate) fn world<'w>(&'w self, observer: &'w dyn JournalObserver) -> World<'w> {
        World {
            runtime: self.session.runtime(),
            switcher: &self.switcher,
            checks: &self.checks,
            metrics: &self.measures,
            prober: self.prober.as_ref().map(|prober| prober as &dyn Prober),
            journal: self.session.base.store(),
            mailbox: self.session.base.store(),
            targets: &self.session.base.machine,
            cancelled: self.session.cancelled(),
            interrupted: self.session.interrupted(),
            clock: &self.clock,
            observer,
        }
    }

    /// Our outside requests, where the policy has them.
    pub(crate) fn prober(&self) -> Option<&HttpProber> {
        self.prober.as_ref()
    }
}
