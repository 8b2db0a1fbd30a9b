//! Setting routes and proving them: by the switcher's own reading, and from outside.

use super::StepContext;
use super::budget::identity_of;
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::{OpId, ReleaseNumber};
use crate::ports::{Desired, Features, Observed, ObservedState};
use crate::route::{Routes, Slot};
use crate::step::StepOutput;
use crate::words::weights;
use std::time::Duration;

/// How soon the running target is looked at again after a change, at first: most are in force
/// within milliseconds.
const FIRST_POLL: Duration = Duration::from_millis(5);

/// How often it is looked at in the end, twice as long after each look: a look costs the target
/// something.
const POLL: Duration = Duration::from_millis(50);

/// How long unwinding waits for a public URL that does not answer at all; the switcher's own
/// reading stands by itself then.
const OUTSIDE_PATIENCE: Duration = Duration::from_secs(3);

/// How many answers from outside must name the same side.
const OUTSIDE_ANSWERS: usize = 5;

/// Which side must answer from outside, and how much the answers must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutsideProof {
    pub(crate) slot: Slot,
    pub(crate) release: ReleaseNumber,
    /// Whether a public URL that does not answer at all is no proof, rather than noted. An answer
    /// of another side never is one.
    pub(crate) required: bool,
}

impl StepContext<'_> {
    /// What the target can do, asked once per process.
    pub(crate) async fn features(&self) -> Result<Features, Fault> {
        if let Some(features) = self.shared(|shared| shared.features.clone()) {
            return Ok(features);
        }
        let features = self.ports.switcher.features().await?;
        self.shared(|shared| shared.features = Some(features.clone()));
        Ok(features)
    }

    /// What the switcher is told to bring about.
    pub(crate) fn desired(&self, routes: &Routes) -> Desired {
        Desired {
            fence: self.fence,
            routes: routes.clone(),
            store: self.deployment.store.clone(),
            force: self.deployment.force,
        }
    }

    /// Sets the routes under the target's lock and returns when they are proved; the caller limits
    /// the time. `proof`: who must answer from outside.
    pub(crate) async fn set_routes(
        &self,
        op: &OpId,
        routes: &Routes,
        proof: Option<OutsideProof>,
    ) -> Result<StepOutput, Failure> {
        let refused = |fault| Failure::Refused { fault };
        let features = self.features().await.map_err(refused)?;
        let began = self.ports.clock.elapsed();
        let lock = self.ports.targets.lock_target(&features.lock_key).await.map_err(refused)?;
        // It may have been a long wait.
        self.still_wanted()?;
        let applied = self.ports.switcher.apply(op, &self.desired(routes), &lock).await?;
        let observed = self.settled(routes, applied).await?;
        drop(lock);
        let took = self.since(began).as_millis();
        let mut notes = vec![match observed.generation.as_str() {
            "" => format!("the target has nothing for this service after {took} ms"),
            generation => {
                format!("{} in force after {took} ms (generation {generation})", weights(routes))
            }
        }];
        notes.extend(self.prove_outside(proof).await?);
        Ok(StepOutput { notes, ..StepOutput::default() })
    }

    /// Looks at the running target until what was applied is in force.
    async fn settled(&self, routes: &Routes, applied: Observed) -> Result<Observed, Failure> {
        let mut observed = applied;
        let mut pause = FIRST_POLL;
        loop {
            let seen = &observed.message;
            let refused = |kind, what: &str| {
                let fault = Fault::new(kind, format!("{what}: {seen}"));
                Err(Failure::Unknown { fault })
            };
            match observed.state {
                ObservedState::Converged if routes.same_traffic(&observed.routes) => {
                    return Ok(observed);
                }
                ObservedState::Absent if routes.routes.is_empty() => return Ok(observed),
                ObservedState::Converged => {
                    self.waiting(format!("the target has routes other than those set: {seen}"));
                }
                ObservedState::Pending => self.waiting(seen.clone()),
                ObservedState::Absent => {
                    self.waiting(format!("the target has no routes for this service: {seen}"));
                }
                ObservedState::Drifted => {
                    let what = "the target did not accept the new routes";
                    return refused(FaultKind::NotLoaded, what);
                }
                ObservedState::Unsupported => {
                    let what = "the target can't tell which routes are in force";
                    return refused(FaultKind::Unsupported, what);
                }
            }
            self.still_wanted()?;
            self.ports.clock.sleep(pause).await;
            pause = (pause * 2).min(POLL);
            match self.ports.switcher.observe().await {
                Ok(again) => observed = again,
                Err(fault) if fault.retryable => {
                    self.waiting(format!("the target can't be read: {fault}"));
                }
                Err(fault) => return Err(Failure::Unknown { fault }),
            }
        }
    }

    /// Whether routes are in force although they could not be set: a target that refuses every
    /// change has refused ours too.
    pub(crate) async fn still_in_force(
        &self,
        routes: &Routes,
        proof: Option<OutsideProof>,
    ) -> Option<StepOutput> {
        // Without the target's lock: a target that can't be used does not tell its key, and a
        // change that somebody else has under way reads as pending.
        let observed = self.ports.switcher.observe().await.ok()?;
        if !in_force(routes, &observed) {
            return None;
        }
        let mut notes = vec![format!("the target is unchanged: {}", observed.message)];
        notes.extend(self.prove_outside(proof).await.ok()?);
        Some(StepOutput { notes, ..StepOutput::default() })
    }

    /// Whether the target holds these routes now.
    pub(crate) async fn holds(&self, routes: &Routes) -> bool {
        let observed = self.ports.switcher.observe().await;
        observed.is_ok_and(|observed| in_force(routes, &observed))
    }

    /// Asks on fresh connections until every answer names the side that should serve; the caller
    /// limits the time.
    async fn prove_outside(&self, proof: Option<OutsideProof>) -> Result<Option<String>, Failure> {
        let policy = self.deployment.policy.probe.as_ref();
        let policy = policy.filter(|policy| policy.identity_header.is_some());
        let (Some(proof), Some(prober), Some(policy)) = (proof, self.ports.prober, policy) else {
            return Ok(None);
        };
        let OutsideProof { slot, release, required } = proof;
        let expected = identity_of(&policy.identity_value, slot, release.0);
        // The first routes of a service come before the operator sends requests there.
        let first = self.deployment.stable.is_none();
        let began = self.ports.clock.elapsed();
        loop {
            let seen = match prober.identities(OUTSIDE_ANSWERS).await {
                Ok(seen)
                    if !seen.is_empty() && seen.iter().all(|identity| *identity == expected) =>
                {
                    return Ok(Some(format!(
                        "from outside, {} of {} answers came from `{expected}`",
                        seen.len(),
                        seen.len()
                    )));
                }
                Ok(seen) => format!(
                    "from outside, answers came from {seen:?}, but all should come from \
                    `{expected}`"
                ),
                Err(fault) if !required && self.since(began) >= OUTSIDE_PATIENCE => {
                    return Ok(Some(format!(
                        "not verified from outside, the public URL can't be reached: {fault}"
                    )));
                }
                Err(fault) => format!("the public URL can't be reached: {fault}"),
            };
            if first {
                return Ok(Some(format!("{seen}; the public server does not use the pool yet")));
            }
            self.still_wanted()?;
            self.waiting(seen);
            self.ports.clock.sleep(POLL * 2).await;
        }
    }
}

/// Whether a target holds these routes and no change is under way.
pub(crate) fn in_force(routes: &Routes, observed: &Observed) -> bool {
    match observed.state {
        ObservedState::Converged => routes.same_traffic(&observed.routes),
        ObservedState::Absent => routes.routes.is_empty(),
        ObservedState::Pending | ObservedState::Drifted | ObservedState::Unsupported => false,
    }
}
