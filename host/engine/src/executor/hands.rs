//! What the steps do with the ports. Nothing here writes the journal.

use super::shift::OutsideProof;
use super::{World, seconds};
use crate::analysis::Analysis;
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::BackendId;
use crate::plan::{DeploymentKind, Plan};
use crate::policy::{FailingBaseline, OnDrainTimeout, SplitBy, Strategy};
use crate::ports::{
    BackendRole, Clock, Features, Fence, Launch, ObservedState, ProbeReport, Progress,
};
use crate::release::Release;
use crate::route::{Backend, Slot};
use crate::state::Standing;
use crate::step::{StepKind, StepOutput};
use futures_util::{FutureExt, pin_mut, select_biased};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long it may take to say what a backend is for; it is a convenience for the next boot, not
/// part of the switch.
const ASSIGN_LIMIT: Duration = Duration::from_secs(5);

/// What the steps share within one process. Lost at a crash, and made anew by the next.
#[derive(Default)]
pub(super) struct Seen {
    /// The prober's counts from which the budget counts.
    budget_from: Option<ProbeReport>,
    /// Since when all requests are to go to what is gone back to.
    went_back: Option<Duration>,
    /// How many failures per request the stable release had by itself.
    baseline_rate: f64,
    /// What the target said it can do.
    features: Option<Features>,
    /// The newest answer that a wait got.
    last: Option<String>,
    /// Whether the way back was looked at before the first weight.
    pub(super) way_back: bool,
    /// How often each backend had been restarted when it was first looked at with requests.
    pub(super) restarts: BTreeMap<BackendId, u32>,
}

/// The ports, the plan, and what the steps share.
#[derive(Clone)]
pub(super) struct Hands<'a> {
    pub(super) world: World<'a>,
    pub(super) fence: Fence,
    pub(super) plan: Arc<Plan>,
    seen: Arc<Mutex<Seen>>,
    /// What is measured of the candidate, from its first weight on.
    pub(super) analysis: Arc<futures_util::lock::Mutex<Option<Analysis>>>,
}

/// Waits for a future at most `limit`; none when that is over.
pub(super) async fn with_deadline<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let work = work.fuse();
    let timer = clock.sleep(limit).fuse();
    pin_mut!(work, timer);
    select_biased! {
        result = work => Some(result),
        () = timer => None,
    }
}

impl<'a> Hands<'a> {
    pub(super) fn new(world: World<'a>, fence: Fence, plan: Plan) -> Self {
        Self { world, fence, plan: Arc::new(plan), seen: Arc::default(), analysis: Arc::default() }
    }

    pub(super) fn seen<T>(&self, with: impl FnOnce(&mut Seen) -> T) -> T {
        with(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn last_seen(&self) -> Option<String> {
        self.seen(|seen| seen.last.clone())
    }

    /// Tells those who watch how a wait goes, and remembers it for the case that the time runs out.
    pub(super) fn waiting(&self, step: usize, message: String) {
        let fresh = self.seen(|seen| seen.last.replace(message.clone()) != Some(message.clone()));
        if fresh {
            self.world.observer.tell(Progress::Waiting { step, message });
        }
    }

    /// What the target can do, asked once per process.
    pub(super) async fn features(&self) -> Result<Features, Fault> {
        if let Some(features) = self.seen(|seen| seen.features.clone()) {
            return Ok(features);
        }
        let features = self.world.switcher.features().await?;
        self.seen(|seen| seen.features = Some(features.clone()));
        Ok(features)
    }

    /// Runs one step forward.
    pub(super) async fn run(
        &self,
        index: usize,
        kind: &StepKind,
        drained: Option<bool>,
    ) -> Result<StepOutput, Failure> {
        self.seen(|seen| seen.last = None);
        if kind.has_effect()
            || matches!(
                kind,
                StepKind::Analyze { .. }
                    | StepKind::Validate { .. }
                    | StepKind::Bake { .. }
                    | StepKind::Drain { .. }
            )
        {
            self.keep_probing().await;
        }
        if matches!(
            kind,
            StepKind::Validate { .. } | StepKind::Bake { .. } | StepKind::Drain { .. }
        ) {
            self.has_gone_back(); // Another process may have shifted.
        }
        let op = self.plan.op_id(index, "run");
        match kind {
            StepKind::Preflight => self.preflight().await,
            StepKind::Baseline { duration } => self.baseline(index, *duration).await,
            StepKind::RetireKept { standing } => self.retire_kept(standing).await,
            StepKind::Launch { slot, backends } => self.launch(*slot, backends).await,
            StepKind::AwaitHealthy { slot, backends } => {
                self.await_healthy(index, *slot, self.plan.release.number, backends).await
            }
            StepKind::Shift { after, .. } => {
                self.still_ready(after).await?;
                let way_back = self.way_back(after).await?;
                if !after.weight(self.plan.slot).is_zero()
                    || matches!(
                        self.plan.policy.strategy,
                        Strategy::Canary { by: SplitBy::Instances, .. }
                    )
                {
                    self.begin_analysis().await;
                }
                let identity =
                    after.routes.iter().find(|route| route.weight == crate::weight::Weight::FULL);
                // In a pool where both stand, either may answer.
                let identity = identity.filter(|route| {
                    route.slot == self.plan.slot
                        || !route.backends.iter().any(|one| self.plan.has_candidate(&one.id))
                });
                let identity = identity.and_then(|route| {
                    route.release.map(|release| (route.slot, release, OutsideProof::Required))
                });
                let output = self.set_routes(index, &op, after, identity).await?;
                self.has_gone_back();
                Ok(StepOutput {
                    notes: way_back.into_iter().chain(output.notes).collect(),
                    ..output
                })
            }
            StepKind::Analyze { stage } => self.analyze(index, *stage).await,
            StepKind::Shrink { slot, backends, .. } => self.shrink(index, *slot, backends).await,
            StepKind::Validate { slot } => self.validate(index, *slot).await,
            StepKind::Promote => {
                // What stood aside is what returns after a reboot from here on.
                if self.plan.kind == (DeploymentKind::Rollback { fast: true }) {
                    self.assign(self.plan.candidate(self.world.clock.now()), BackendRole::Live)
                        .await;
                }
                Ok(StepOutput::note(format!(
                    "release {} is stable on {}",
                    self.plan.release.number, self.plan.slot
                )))
            }
            StepKind::Bake { duration } => self.bake(index, *duration).await,
            StepKind::Drain { slot } => {
                let policy = self.plan.policy.drain;
                let leaving: Vec<Backend> =
                    self.plan.stable.iter().flat_map(|stable| stable.backends.clone()).collect();
                let output =
                    self.drain(index, *slot, &leaving, policy.timeout, policy.on_timeout).await?;
                self.stand_aside().await;
                Ok(output)
            }
            StepKind::Hold { duration } => {
                self.waiting(index, format!("the old side stands for {} more", seconds(*duration)));
                self.world.clock.sleep(*duration).await;
                Ok(StepOutput::default())
            }
            StepKind::Retire { standing } => self.retire_old(index, standing, drained).await,
        }
    }

    async fn launch(&self, slot: Slot, backends: &[Backend]) -> Result<StepOutput, Failure> {
        self.start(slot, &self.plan.release, backends).await
    }

    async fn start(
        &self,
        slot: Slot,
        release: &Release,
        backends: &[Backend],
    ) -> Result<StepOutput, Failure> {
        for backend in backends {
            let launch = Launch {
                backend: backend.clone(),
                release: release.clone(),
                slot,
                deployment: self.plan.id.clone(),
                store: self.plan.store.clone(),
            };
            self.world.runtime.ensure(&launch).await.map_err(|failure| match failure {
                // An earlier backend of the same step may stand.
                Failure::Refused { fault } if backend != backends.first().unwrap_or(backend) => {
                    Failure::Unknown { fault }
                }
                failure => failure,
            })?;
        }
        let addresses: Vec<&str> =
            backends.iter().map(|backend| backend.address.as_str()).collect();
        Ok(StepOutput::note(format!("{slot} runs on {}", addresses.join(", "))))
    }

    /// Removes a part of the stable side once it has drained.
    async fn shrink(
        &self,
        index: usize,
        slot: Slot,
        backends: &[Backend],
    ) -> Result<StepOutput, Failure> {
        let policy = self.plan.policy.drain;
        let mut output =
            self.drain(index, slot, backends, policy.timeout, policy.on_timeout).await?;
        if output.drained == Some(false) && policy.on_timeout == OnDrainTimeout::Keep {
            let fault = Fault::new(FaultKind::TimedOut, output.notes.join("; "))
                .hint("give it longer with `[strategy] drain.timeout`, or cut it with `--cut`");
            return Err(Failure::Refused { fault });
        }
        let grace = self.plan.stable.as_ref().map(|stable| stable.stop_grace).unwrap_or_default();
        // Of several, some may be gone when one can't be removed.
        let retired = self
            .retire(backends, grace)
            .await
            .map_err(|failure| Failure::Unknown { fault: failure.fault().clone() })?;
        output.notes.extend(retired.notes);
        Ok(StepOutput { drained: None, ..output })
    }

    /// Undo of shrink: what is missing of the stable side is started again, and healthy before
    /// requests go there.
    pub(super) async fn grow_back(
        &self,
        index: usize,
        slot: Slot,
        backends: &[Backend],
    ) -> Result<StepOutput, Failure> {
        let Some(release) = &self.plan.stable_release else {
            return Err(Failure::Refused {
                fault: Fault::new(FaultKind::Internal, "the plan does not hold the stable release"),
            });
        };
        self.start(slot, release, backends).await?;
        self.await_healthy(index, slot, release.number, backends).await
    }

    async fn retire_kept(&self, standing: &Standing) -> Result<StepOutput, Failure> {
        if standing.adopted {
            return Ok(StepOutput::note(format!(
                "the adopted backends of release {} are left running: their lifecycle is not ours",
                standing.release
            )));
        }
        self.retire(&standing.backends, standing.stop_grace).await
    }

    async fn retire_old(
        &self,
        index: usize,
        standing: &Standing,
        drained: Option<bool>,
    ) -> Result<StepOutput, Failure> {
        let kept = |why: String| {
            let note = format!("{} (release {}) is kept: {why}", standing.slot, standing.release);
            Ok(StepOutput { notes: vec![note], retired: Some(false), ..StepOutput::default() })
        };
        // The proof of the shift may be hours old by now, or another process's.
        match self.world.switcher.observe().await {
            Err(fault) => return kept(format!("whether requests go there can't be told: {fault}")),
            Ok(observed) if observed.state != ObservedState::Converged => {
                return kept(format!(
                    "whether requests go there is not certain: {}",
                    observed.message
                ));
            }
            Ok(observed) => {
                let reached = |backend: &&Backend| {
                    observed.routes.reaches(&backend.id)
                        || observed.routes.reaches_address(&backend.address)
                };
                if let Some(backend) = standing.backends.iter().find(reached) {
                    return kept(format!(
                        "the target sends requests to {} again: it was changed since",
                        backend.id
                    ));
                }
            }
        }
        if drained == Some(false) && self.plan.policy.drain.on_timeout != OnDrainTimeout::Cut {
            // It may have ended while it was held.
            let again = self
                .drain(
                    index,
                    standing.slot,
                    &standing.backends,
                    Duration::ZERO,
                    OnDrainTimeout::Keep,
                )
                .await?;
            if again.drained != Some(true) {
                return kept("its last requests have not ended".to_owned());
            }
        }
        let output = self.retire_kept(standing).await?;
        Ok(StepOutput { retired: Some(true), ..output })
    }

    /// Stops and removes backends; each is tried, the first fault is told.
    pub(super) async fn retire(
        &self,
        backends: &[Backend],
        grace: Duration,
    ) -> Result<StepOutput, Failure> {
        let mut output = StepOutput::default();
        let mut failed = None;
        let mut removed = false;
        for backend in backends {
            match self.world.runtime.retire(backend, grace).await {
                Ok(retired) => {
                    removed |= retired.found;
                    if retired.killed {
                        output.notes.push(format!(
                            "{} did not stop within {} and was killed",
                            backend.id,
                            seconds(grace)
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

    /// The old side is not started again after a reboot.
    async fn stand_aside(&self) {
        if let Some(old) = self.plan.stable.clone() {
            self.assign(old, BackendRole::Kept).await;
        }
    }

    /// Undo of promote: the old side is what returns after a reboot.
    pub(super) async fn stand_old_up_again(&self) -> StepOutput {
        if let Some(old) = self.plan.stable.clone() {
            self.assign(old, BackendRole::Live).await;
        }
        if self.plan.kind == (DeploymentKind::Rollback { fast: true }) {
            self.assign(self.plan.candidate(self.world.clock.now()), BackendRole::Kept).await;
        }
        StepOutput::default()
    }

    async fn assign(&self, standing: Standing, role: BackendRole) {
        if standing.adopted {
            return;
        }
        for backend in &standing.backends {
            // What returns after a reboot must not hold up where requests go; `up` starts what the
            // journal says in any case.
            let assigned = with_deadline(
                self.world.clock,
                ASSIGN_LIMIT,
                self.world.runtime.assign(backend, role),
            )
            .await;
            if let Some(Err(failure)) = assigned {
                self.world.observer.tell(Progress::Waiting {
                    step: 0,
                    message: format!("{}: {}", backend.id, failure.fault()),
                });
            }
        }
    }

    /// Watches the stable release from outside, and decides what the budget is.
    async fn baseline(&self, index: usize, duration: Duration) -> Result<StepOutput, Failure> {
        let (Some(prober), Some(policy)) = (self.world.prober, &self.plan.policy.probe) else {
            return Ok(StepOutput::default());
        };
        let refused = |fault| Failure::Refused { fault };
        prober.start().await.map_err(refused)?;
        let before = prober.report();
        self.waiting(
            index,
            format!("watching the stable release from outside for {}", seconds(duration)),
        );
        self.world.clock.sleep(duration).await;
        let report = prober.report();
        let sent = report.sent.saturating_sub(before.sent);
        let failed = self.failures(&report).saturating_sub(self.failures(&before));
        if sent == 0 {
            return Err(refused(Fault::new(
                FaultKind::Errored,
                "no probe request was sent during the baseline",
            )));
        }
        self.expect_identity(&report, policy).map_err(refused)?;
        let mut notes = vec![format!(
            "baseline: {sent} requests, {failed} failed, p50 {}, p99 {}",
            micros(report.latency_us[0]),
            micros(report.latency_us[2])
        )];
        if failed > 0 {
            let sample = report.samples.first().cloned().unwrap_or_default();
            let message = format!(
                "the stable release already fails: {failed} of {sent} requests in the baseline; \
                 first: {sample}"
            );
            match policy.on_failing_baseline {
                FailingBaseline::Refuse => {
                    let hint = "repair the stable release, or set `[probe] on_failing_baseline = \
                                \"relative\"`";
                    return Err(refused(Fault::new(FaultKind::Unhealthy, message).hint(hint)));
                }
                FailingBaseline::Relative => {
                    notes.push(format!("{message}; the budget grows with that rate"));
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^52")]
        let rate = failed as f64 / sent as f64;
        self.seen(|seen| {
            seen.baseline_rate = rate;
            seen.budget_from = Some(report);
        });
        Ok(StepOutput { notes, ..StepOutput::default() })
    }

    /// The public URL must be answered by the slot that is stable, or requests do not go through
    /// the target that we change.
    fn expect_identity(
        &self,
        report: &ProbeReport,
        policy: &crate::policy::ProbePolicy,
    ) -> Result<(), Fault> {
        let (Some(header), Some(stable)) = (&policy.identity_header, &self.plan.stable) else {
            return Ok(());
        };
        let expected = identity_of(&policy.identity_value, stable.slot, stable.release.0);
        let answered: u64 = report.by_identity.values().sum();
        let matching = report.by_identity.get(&expected).copied().unwrap_or_default();
        if answered == 0 || matching * 2 > answered {
            return Ok(());
        }
        let seen: Vec<String> = report
            .by_identity
            .iter()
            .map(|(value, count)| {
                format!("`{}` {count} times", if value.is_empty() { "none" } else { value })
            })
            .collect();
        let message = format!(
            "`{}` is not answered by the stable side: `{header}` should say `{expected}`, and \
             says {}",
            policy.url,
            seen.join(", ")
        );
        let hint = "make the public server pass its requests to the pool of this service \
                    (`agente-host status` shows the lines for the server's configuration)";
        Err(Fault::new(FaultKind::Conflict, message).hint(hint))
    }

    /// Starts the prober where an earlier process had it running; a fault is left to the checks.
    async fn keep_probing(&self) {
        let Some(prober) = self.world.prober else { return };
        // Before anything is stable, requests from outside can only fail.
        if self.plan.stable.is_none() {
            return;
        }
        if prober.start().await.is_ok() {
            self.seen(|seen| {
                if seen.budget_from.is_none() && !self.goes_back() {
                    seen.budget_from = Some(prober.report());
                }
            });
        }
    }

    /// Whether an earlier release is deployed: what is stable is likely to be bad, and its failures
    /// must not hold up the way back.
    fn goes_back(&self) -> bool {
        matches!(self.plan.kind, DeploymentKind::Rollback { .. })
    }

    /// From here on requests go to what is gone back to.
    fn has_gone_back(&self) {
        if self.goes_back() {
            let now = self.world.clock.elapsed();
            self.seen(|seen| {
                seen.went_back.get_or_insert(now);
            });
        }
    }

    pub(super) fn probe_report(&self) -> Option<ProbeReport> {
        self.world.prober.map(crate::ports::Prober::report).filter(|report| report.sent > 0)
    }

    fn failures(&self, report: &ProbeReport) -> u64 {
        let counted =
            self.plan.policy.probe.as_ref().is_some_and(|policy| policy.count_idle_resets);
        report.failed_total() + if counted { report.idle_resets } else { 0 }
    }

    /// The fault of a budget that is used up. In a rollback it counts once every request that the
    /// bad release may have taken has ended.
    pub(super) fn over_budget(&self) -> Option<Fault> {
        let (prober, policy) = (self.world.prober?, self.plan.policy.probe.as_ref()?);
        let (from, rate) = self.seen(|seen| (seen.budget_from.clone(), seen.baseline_rate));
        let report = prober.report();
        let Some(from) = from else {
            // Only when each request that the release before may have taken has ended.
            let went_back = self.seen(|seen| seen.went_back)?;
            if self.world.clock.elapsed().saturating_sub(went_back) > policy.timeout {
                self.seen(|seen| seen.budget_from = Some(report));
            }
            return None;
        };
        let failed = self.failures(&report).saturating_sub(self.failures(&from));
        let sent = report.sent.saturating_sub(from.sent);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count, never negative"
        )]
        let allowed = policy.budget + (2.0 * rate * sent as f64).ceil() as u64;
        if failed <= allowed {
            return None;
        }
        let classes: Vec<String> =
            report.failed.iter().map(|(class, count)| format!("{class} {count}")).collect();
        let mut fault = Fault::new(
            FaultKind::BudgetExceeded,
            format!(
                "{failed} of {sent} probe requests failed and the budget is {allowed} ({})",
                classes.join(", ")
            ),
        );
        fault.causes = report.samples.iter().rev().take(3).rev().cloned().collect();
        Some(fault)
    }

    /// What helps to understand a step that failed: the last lines of the backends' logs.
    pub(super) async fn evidence(&self, kind: &StepKind) -> Vec<String> {
        let (StepKind::Launch { backends, .. } | StepKind::AwaitHealthy { backends, .. }) = kind
        else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for backend in backends.iter().take(3) {
            let tail = with_deadline(
                self.world.clock,
                Duration::from_secs(2),
                self.world.runtime.log_tail(backend, 10),
            )
            .await;
            if let Some(Ok(tail)) = tail {
                lines.extend(tail.into_iter().map(|line| format!("{}: {line}", backend.id)));
            }
        }
        lines
    }
}

/// What the identity header of a slot and release should say.
pub(super) fn identity_of(template: &str, slot: Slot, release: u64) -> String {
    template.replace("{slot}", slot.as_str()).replace("{release}", &release.to_string())
}

/// Microseconds for people.
fn micros(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        _ => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
    }
}
