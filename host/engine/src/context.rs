//! What a step works with. What several kinds of step do is here too, a file for each idea; nothing
//! here writes the journal.

mod backends;
pub(crate) mod budget;
mod checks;
mod drain;
mod measures;
pub(crate) mod routes;
pub(crate) mod schedule;

pub(crate) use routes::OutsideProof;
pub(crate) use schedule::Schedule;

use crate::analysis::Analysis;
use crate::deployment::Deployment;
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::{BackendId, OpId};
use crate::ports::{
    Clock, Features, Fence, HealthCheck, MetricSource, Observer, ProbeReport, Prober, Progress,
    Runtime, TargetLocks, TrafficSwitcher,
};
use crate::route::Backend;
use futures_util::{FutureExt, pin_mut, select_biased};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The ports that steps work with: all but the journal and the mailbox, which are the executor's.
#[derive(Clone, Copy)]
pub(crate) struct Ports<'a> {
    pub(crate) runtime: &'a dyn Runtime,
    pub(crate) switcher: &'a dyn TrafficSwitcher,
    pub(crate) checks: &'a dyn HealthCheck,
    pub(crate) metrics: &'a dyn MetricSource,
    pub(crate) prober: Option<&'a dyn Prober>,
    pub(crate) targets: &'a dyn TargetLocks,
    /// Whether what is being done is wanted no more.
    pub(crate) cancelled: &'a AtomicBool,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) observer: &'a dyn Observer,
}

/// Where in the plan something is done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// The step's index; none outside of any step.
    pub(crate) step: Option<usize>,
    /// How long the step may take.
    pub(crate) limit: Duration,
    /// The candidate's backends that stand when it begins.
    pub(crate) candidate: Vec<Backend>,
    /// The stable side's.
    pub(crate) stable: Vec<Backend>,
}

/// What the deployment has done until now, as far as steps go by it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SoFar {
    /// How the drain of the old side ended, if it did.
    pub(crate) drained: Option<bool>,
    /// Whether the candidate has been given requests at any time.
    pub(crate) shift_began: bool,
    /// Whether unwinding has put the routes back that were in force before.
    pub(crate) routes_are_back: bool,
}

/// What the steps share within one process. Lost at a crash, and made anew by the next.
#[derive(Default)]
pub(crate) struct Shared {
    /// The prober's counts from which the budget counts.
    pub(crate) budget_from: Option<ProbeReport>,
    /// Since when all requests are to go to what is gone back to.
    pub(crate) went_back: Option<Duration>,
    /// How many failures per request the stable release had by itself.
    pub(crate) baseline_rate: f64,
    /// What the target said it can do.
    pub(crate) features: Option<Features>,
    /// The newest answer that a wait got.
    pub(crate) last_answer: Option<String>,
    /// Whether the way back was looked at before the first weight.
    pub(crate) way_back: bool,
    /// How often each backend had been restarted when it was first looked at with requests.
    pub(crate) restarts: BTreeMap<BackendId, u32>,
}

/// The ports, the deployment, the place in its plan, and what the steps share.
#[derive(Clone)]
pub(crate) struct StepContext<'a> {
    pub(crate) ports: Ports<'a>,
    pub(crate) fence: Fence,
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) place: Place,
    pub(crate) so_far: SoFar,
    shared: Arc<Mutex<Shared>>,
    /// What is measured of the candidate, from its first weight on.
    pub(crate) analysis: Arc<futures_util::lock::Mutex<Option<Analysis>>>,
}

impl<'a> StepContext<'a> {
    /// Outside of any step: both sides stand as they did when the plan was made.
    pub(crate) fn new(ports: Ports<'a>, fence: Fence, deployment: Deployment) -> Self {
        let stable = deployment.stable.iter().flat_map(|stable| stable.backends.clone()).collect();
        let candidate = deployment.backends.clone();
        Self {
            ports,
            fence,
            deployment: Arc::new(deployment),
            place: Place { candidate, stable, ..Place::default() },
            so_far: SoFar::default(),
            shared: Arc::default(),
            analysis: Arc::default(),
        }
    }

    /// Outside of any step still, by what is known of the deployment now.
    pub(crate) fn follow(&mut self, deployment: &Deployment) {
        if *self.deployment != *deployment {
            let Place { candidate, stable, .. } = &mut self.place;
            candidate.clone_from(&deployment.backends);
            *stable = deployment.stable.iter().flat_map(|one| one.backends.clone()).collect();
            self.deployment = Arc::new(deployment.clone());
        }
    }

    /// The same at another place of the plan, by what is known of the deployment there, sharing
    /// what is shared.
    pub(crate) fn at(&self, deployment: &Deployment, place: Place, so_far: SoFar) -> Self {
        Self { deployment: Arc::new(deployment.clone()), place, so_far, ..self.clone() }
    }

    pub(crate) fn shared<T>(&self, with: impl FnOnce(&mut Shared) -> T) -> T {
        with(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The id of an effect of the step: the same for each repetition.
    pub(crate) fn op_id(&self, purpose: &str) -> OpId {
        self.deployment.op_id(self.place.step, purpose)
    }

    pub(crate) fn tell(&self, progress: Progress) {
        self.ports.observer.tell(progress);
    }

    /// Tells those who watch how a wait goes, and remembers it for the case that the time runs out.
    pub(crate) fn waiting(&self, message: String) {
        let fresh = self
            .shared(|shared| shared.last_answer.replace(message.clone()) != Some(message.clone()));
        if fresh {
            self.tell(Progress::Waiting { step: self.place.step, message });
        }
    }

    /// A failure once what is being done is wanted no more: for loops that would go on with it.
    pub(crate) fn still_wanted(&self) -> Result<(), Failure> {
        if self.ports.cancelled.load(Ordering::Relaxed) {
            let fault = Fault::new(FaultKind::Aborted, "it was cancelled midway");
            return Err(Failure::Unknown { fault });
        }
        Ok(())
    }

    /// The time since `began`, by the clock that only goes forward.
    pub(crate) fn since(&self, began: Duration) -> Duration {
        self.ports.clock.elapsed().saturating_sub(began)
    }

    /// Waits for a future at most `limit`; none when that is over.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let work = work.fuse();
        let timer = self.ports.clock.sleep(limit).fuse();
        pin_mut!(work, timer);
        select_biased! {
            result = work => Some(result),
            () = timer => None,
        }
    }
}
