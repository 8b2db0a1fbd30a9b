//! Setting routes and proving them: by the switcher's own reading, and from outside.

use super::hands::{Hands, identity_of};
use crate::fault::{Failure, Fault, FaultKind};
use crate::names::{OpId, ReleaseNumber};
use crate::ports::{BackendState, Desired, ObservedState};
use crate::route::{Routes, Slot};
use crate::step::StepOutput;
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

/// How much the answers from outside must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutsideProof {
    /// All answers must name the side that should serve.
    Required,
    /// No answer may name another side; no answer at all is noted.
    NotContradicted,
}

/// How many answers from outside must name the same side.
const OUTSIDE_ANSWERS: usize = 5;

impl Hands<'_> {
    /// Sets the routes under the target's lock and returns when they are proved; the caller limits
    /// the time. `identity`: who must answer from outside.
    pub(super) async fn set_routes(
        &self,
        index: usize,
        op: &OpId,
        routes: &Routes,
        identity: Option<(Slot, ReleaseNumber, OutsideProof)>,
    ) -> Result<StepOutput, Failure> {
        let refused = |fault| Failure::Refused { fault };
        let unknown = |fault| Failure::Unknown { fault };
        let features = self.features().await.map_err(refused)?;
        let began = self.world.clock.elapsed();
        let lock = self.world.targets.lock_target(&features.lock_key).await.map_err(refused)?;
        let desired = Desired {
            fence: self.fence,
            routes: routes.clone(),
            store: self.plan.store.clone(),
            force: self.plan.force,
        };
        let mut observed = self.world.switcher.apply(op, &desired).await?;
        let mut pause = FIRST_POLL;
        loop {
            match observed.state {
                ObservedState::Converged if routes.same_traffic(&observed.routes) => break,
                ObservedState::Absent if routes.routes.is_empty() => break,
                ObservedState::Converged => self.waiting(
                    index,
                    format!("the target holds other routes than were set: {}", observed.message),
                ),
                ObservedState::Pending => self.waiting(index, observed.message.clone()),
                ObservedState::Drifted => {
                    let fault = Fault::new(
                        FaultKind::NotLoaded,
                        format!("the target did not take the new routes: {}", observed.message),
                    );
                    return Err(unknown(fault));
                }
                ObservedState::Absent => self
                    .waiting(index, format!("nothing of ours is in force: {}", observed.message)),
                ObservedState::Unsupported => {
                    let fault = Fault::new(
                        FaultKind::Unsupported,
                        format!("the target can't tell what is in force: {}", observed.message),
                    );
                    return Err(unknown(fault));
                }
            }
            self.world.clock.sleep(pause).await;
            pause = (pause * 2).min(POLL);
            observed = match self.world.switcher.observe().await {
                Ok(observed) => observed,
                Err(fault) if fault.retryable => {
                    self.waiting(index, format!("the target can't be read: {fault}"));
                    continue;
                }
                Err(fault) => return Err(unknown(fault)),
            };
        }
        drop(lock);
        let took = self.world.clock.elapsed().saturating_sub(began);
        let weights: Vec<String> =
            routes.routes.iter().map(|route| format!("{} {}", route.slot, route.weight)).collect();
        let note = match observed.generation.as_str() {
            "" => format!("the target holds nothing of this service after {} ms", took.as_millis()),
            generation => format!(
                "{} in force after {} ms (generation {generation})",
                weights.join(", "),
                took.as_millis()
            ),
        };
        let mut notes = vec![note];
        if let Some((slot, release, proof)) = identity {
            notes.extend(self.prove_outside(index, slot, release, proof).await);
        }
        Ok(StepOutput { notes, ..StepOutput::default() })
    }

    /// Whether routes are in force although they could not be set: a target that refuses every
    /// change has refused ours too.
    pub(super) async fn still_in_force(
        &self,
        index: usize,
        routes: &Routes,
        identity: Option<(Slot, ReleaseNumber, OutsideProof)>,
    ) -> Option<StepOutput> {
        // Without the target's lock: a target that can't be used does not tell its key, and a
        // change that somebody else has under way reads as pending.
        let observed = self.world.switcher.observe().await.ok()?;
        let in_force = match observed.state {
            ObservedState::Converged => routes.same_traffic(&observed.routes),
            ObservedState::Absent => routes.routes.is_empty(),
            ObservedState::Pending | ObservedState::Drifted | ObservedState::Unsupported => false,
        };
        if !in_force {
            return None;
        }
        let mut notes =
            vec![format!("the target was not changed; as before, {}", observed.message)];
        if let Some((slot, release, proof)) = identity {
            notes.extend(self.prove_outside(index, slot, release, proof).await);
        }
        Some(StepOutput { notes, ..StepOutput::default() })
    }

    /// Asks on fresh connections until every answer names the side that should serve; the caller
    /// limits the time.
    async fn prove_outside(
        &self,
        index: usize,
        slot: Slot,
        release: ReleaseNumber,
        proof: OutsideProof,
    ) -> Option<String> {
        let (prober, policy) = (self.world.prober?, self.plan.policy.probe.as_ref()?);
        policy.identity_header.as_ref()?;
        let expected = identity_of(&policy.identity_value, slot, release.0);
        // The first routes of a service come before the operator sends requests there.
        let first = self.plan.stable.is_none();
        let began = self.world.clock.elapsed();
        loop {
            let seen = match prober.identities(OUTSIDE_ANSWERS).await {
                Ok(seen)
                    if !seen.is_empty() && seen.iter().all(|identity| *identity == expected) =>
                {
                    return Some(format!(
                        "from outside, {} of {} answers came from `{expected}`",
                        seen.len(),
                        seen.len()
                    ));
                }
                Ok(seen) => format!(
                    "from outside, answers came from {seen:?}; `{expected}` should answer all"
                ),
                Err(fault)
                    if proof == OutsideProof::NotContradicted
                        && self.world.clock.elapsed().saturating_sub(began) >= OUTSIDE_PATIENCE =>
                {
                    return Some(format!(
                        "not proved from outside, the public URL can't be asked: {fault}"
                    ));
                }
                Err(fault) => format!("the public URL can't be asked: {fault}"),
            };
            if first {
                return Some(format!("{seen}; the public server does not use the pool yet"));
            }
            self.waiting(index, seen);
            self.world.clock.sleep(POLL * 2).await;
        }
    }

    /// Before the candidate gets its first requests: whether they could go back. Looked at once per
    /// process; what is found goes into the journal.
    pub(super) async fn way_back(&self, after: &Routes) -> Result<Vec<String>, Failure> {
        let (Some(stable), Some(before)) = (&self.plan.stable, &self.plan.routes_before) else {
            return Ok(Vec::new());
        };
        let gives = self
            .plan
            .backends
            .iter()
            .any(|backend| after.reaches(&backend.id) && !before.reaches(&backend.id));
        if !gives || self.seen(|seen| std::mem::replace(&mut seen.way_back, true)) {
            return Ok(Vec::new());
        }
        let desired = Desired {
            fence: self.fence,
            routes: before.clone(),
            store: self.plan.store.clone(),
            force: self.plan.force,
        };
        self.world.switcher.plan(&desired).await.map_err(|fault| Failure::Refused {
            fault: Fault {
                message: format!(
                    "there would be no way back, the target does not take the present routes \
                     again: {}",
                    fault.message
                ),
                ..fault
            },
        })?;
        let mut down = Vec::new();
        for backend in &stable.backends {
            match self.world.runtime.inspect(backend).await {
                Ok(BackendState::Running { .. }) => {}
                Ok(state) => down.push(format!("{} is {}", backend.id, describe(&state))),
                Err(fault) => down.push(format!("{} can't be looked at: {fault}", backend.id)),
            }
        }
        // What serves badly must not forbid the deployment that heals it.
        let (slot, release) = (stable.slot, stable.release);
        Ok(vec![match down.len() {
            0 => format!(
                "the way back is open: {slot} (release {release}) runs and the target takes its \
                 routes again"
            ),
            some if some < stable.backends.len() => {
                format!("the way back is narrow: {}", down.join("; "))
            }
            _ => format!(
                "there is no way back, nothing of {slot} (release {release}) runs: {}",
                down.join("; ")
            ),
        }])
    }

    /// Before requests go back to what was stable: some of it must be there to take them. Routes
    /// that were never ours (a target that was taken over) lead to backends that no runtime of
    /// ours can look at.
    pub(super) async fn some_side_lives(&self, routes: &Routes) -> Result<(), Failure> {
        if self.plan.stable.is_none() {
            return Ok(());
        }
        let mut ends = Vec::new();
        for route in routes.routes.iter().filter(|route| !route.weight.is_zero()) {
            for destination in &route.backends {
                let Some(backend) = self.plan.backend(&destination.id) else {
                    ends.push(format!("{} is not ours to look at", destination.id));
                    continue;
                };
                match self.world.runtime.inspect(backend).await {
                    Ok(BackendState::Running { .. }) => return Ok(()),
                    Ok(state) => ends.push(format!("{} is {}", backend.id, describe(&state))),
                    Err(fault) => ends.push(format!("{} can't be looked at: {fault}", backend.id)),
                }
            }
        }
        if ends.is_empty() {
            return Ok(()); // Nothing served before: there is nothing to go back to.
        }
        let fault = Fault::new(
            FaultKind::Unhealthy,
            format!("requests can't go back, nothing runs there: {}", ends.join("; ")),
        )
        .hint("start the old backends (`agente-host up`), or deploy a good release");
        Err(Failure::Refused { fault })
    }
}

/// A backend's state for people.
pub(super) fn describe(state: &BackendState) -> String {
    match state {
        BackendState::Absent => "not there".to_owned(),
        BackendState::Starting { detail, restarts: 0 } => format!("not running yet: {detail}"),
        BackendState::Starting { detail, restarts } => {
            format!("not running after {restarts} restarts: {detail}")
        }
        BackendState::Running { restarts: 0, .. } => "running".to_owned(),
        BackendState::Running { restarts, .. } => format!("running after {restarts} restarts"),
        BackendState::Ended { detail } => format!("ended: {detail}"),
    }
}
