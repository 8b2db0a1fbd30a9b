//! Starting, stopping and watching backends.

use super::StepContext;
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::BackendId;
use crate::ports::{BackendRole, BackendState, Launch, Progress};
use crate::release::Release;
use crate::route::{Backend, Slot};
use crate::standing::Standing;
use crate::step::StepOutput;
use crate::words::{addresses, describe, span};
use std::time::Duration;

/// How long it may take to say what a backend is for; it is a convenience for the next boot, not
/// part of the switch.
const ASSIGN_LIMIT: Duration = Duration::from_secs(5);

/// How long a backend's log may take to be read.
const LOG_LIMIT: Duration = Duration::from_secs(2);

/// How many backends' logs are read, and how many lines of each.
const LOGS: (usize, usize) = (3, 10);

impl StepContext<'_> {
    /// Starts backends, one after the other.
    pub(crate) async fn start(
        &self,
        slot: Slot,
        release: &Release,
        backends: &[Backend],
    ) -> Result<StepOutput, Failure> {
        let mut output = StepOutput::default();
        let mut started_at = backends.to_vec();
        for (started, backend) in backends.iter().enumerate() {
            self.still_wanted()?;
            let launch = Launch {
                backend: backend.clone(),
                release: release.clone(),
                slot,
                deployment: self.deployment.id.clone(),
                store: self.deployment.store.clone(),
            };
            let launched =
                self.ports.runtime.ensure(&launch).await.map_err(|failure| match failure {
                    // An earlier backend of the same step may stand.
                    Failure::Refused { fault } if started > 0 => Failure::Unknown { fault },
                    failure => failure,
                })?;
            output.addresses.insert(backend.id.clone(), launched.address);
        }
        output.addresses.correct(&mut started_at);
        output.notes.push(format!("{slot} runs on {}", addresses(&started_at)));
        Ok(output)
    }

    /// Stops and removes all of a release that stands, unless its lifecycle is not ours.
    pub(crate) async fn remove(&self, standing: &Standing) -> Result<StepOutput, Failure> {
        if standing.is_adopted() {
            return Ok(StepOutput::note(format!(
                "the adopted backends of release {} are left running: agente-host does not manage \
                their lifecycle",
                standing.release
            )));
        }
        self.retire(&standing.backends, standing.stop_grace).await
    }

    /// Stops and removes backends; each is tried, the first fault is told. Refused while the target
    /// sends requests to one of them.
    pub(crate) async fn retire(
        &self,
        backends: &[Backend],
        grace: Duration,
    ) -> Result<StepOutput, Failure> {
        if let Some(Backend { id, .. }) = self.still_reached(backends).await {
            let message = format!(
                "{id} is not removed because the target sends requests to it; somebody changed the \
                 target"
            );
            let hint = "revert what was changed in the target by hand";
            return Err(Failure::Refused {
                fault: Fault::new(FaultKind::Conflict, message).hint(hint),
            });
        }
        let mut output = StepOutput::default();
        let mut failed = None;
        let mut removed = false;
        for backend in backends {
            match self.ports.runtime.retire(backend, grace).await {
                Ok(retired) => {
                    removed |= retired.found;
                    if retired.killed {
                        output.notes.push(format!(
                            "{} did not stop within {} and was killed",
                            backend.id,
                            span(grace)
                        ));
                    }
                }
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        match failed {
            None => Ok(output),
            Some(Failure::Refused { fault }) if removed => Err(Failure::Unknown { fault }),
            Some(failure) => Err(failure),
        }
    }

    /// One of these that the target sends requests to, where that can be seen: somebody may have
    /// changed it by hand. A target that can't be read must not keep what is useless alive; where
    /// its requests go was proved when they were moved.
    async fn still_reached<'b>(&self, backends: &'b [Backend]) -> Option<&'b Backend> {
        let observed = self.ports.switcher.observe().await.ok()?;
        let used = |backend: &&Backend| {
            observed.routes.reaches(&backend.id)
                || observed.routes.reaches_address(&backend.address)
        };
        backends.iter().find(used)
    }

    /// Says what all of a release that stands is for after a reboot. What returns then must not
    /// hold up where requests go now; `up` starts what the journal says in any case.
    pub(crate) async fn assign(&self, standing: &Standing, role: BackendRole) {
        if standing.is_adopted() {
            return;
        }
        for backend in &standing.backends {
            let assigned =
                self.within(ASSIGN_LIMIT, self.ports.runtime.assign(backend, role)).await;
            if let Some(Err(failure)) = assigned {
                let message = format!("{}: {}", backend.id, failure.fault());
                self.tell(Progress::Waiting { step: self.place.step, message });
            }
        }
    }

    /// A candidate that ended, or was started again since it was found healthy, has crashed.
    pub(crate) async fn still_runs(&self) -> Result<(), Failure> {
        if self.deployment.adopts() {
            return Ok(());
        }
        for backend in &self.place.candidate {
            match self.ports.runtime.inspect(backend).await {
                Ok(BackendState::Running { restarts, .. })
                    if !self.was_restarted(&backend.id, restarts) => {}
                Ok(state) => {
                    let message =
                        format!("{} is receiving requests and is {}", backend.id, describe(&state));
                    let fault = Fault {
                        causes: self.last_words(std::slice::from_ref(backend)).await,
                        ..Fault::new(FaultKind::Unhealthy, message)
                    };
                    return Err(Failure::Unknown { fault });
                }
                Err(fault) => self.waiting(format!("{} can't be inspected: {fault}", backend.id)),
            }
        }
        Ok(())
    }

    fn was_restarted(&self, backend: &BackendId, restarts: u32) -> bool {
        self.shared(|shared| *shared.restarts.entry(backend.clone()).or_insert(restarts) < restarts)
    }

    /// What helps to understand a step that failed: the last lines of the backends' logs.
    pub(crate) async fn last_words(&self, backends: &[Backend]) -> Vec<String> {
        let (some, few) = LOGS;
        let mut lines = Vec::new();
        for backend in backends.iter().take(some) {
            let tail = self.within(LOG_LIMIT, self.ports.runtime.log_tail(backend, few)).await;
            if let Some(Ok(tail)) = tail {
                lines.extend(tail.into_iter().map(|line| format!("{}: {line}", backend.id)));
            }
        }
        lines
    }
}
