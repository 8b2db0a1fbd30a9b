//! The way back to a release that still stands.

use super::climb::Climb;
use super::{Inputs, PlanError, closing, finish, preflighted};
use crate::deployment::DeploymentKind;
use crate::plan::Plan;
use crate::release::Release;
use crate::standing::Kept;

/// Plans the way back to the release that is kept: nothing is launched.
pub fn roll_back_fast(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    // A part of a side is no way back for all requests.
    let whole =
        |kept: &Kept| !kept.partial && kept.standing.backends.len() >= release.runtime.instances();
    let Some(kept) = inputs.state.kept.clone().filter(whole) else {
        return Err(PlanError::NothingKept(inputs.scope));
    };
    let (slot, backends) = (kept.standing.slot, kept.standing.backends);
    let mut climb = Climb::new(&inputs, kept.standing.release, slot, &backends);
    climb.await_healthy(backends.clone());
    let old = inputs.state.stable.as_ref();
    climb.take_all(old.map(|stable| (stable.release, stable.backends.clone())));
    let steps = closing(&inputs, slot, climb.steps);
    let steps = preflighted(steps, &inputs.policy);
    let kind = DeploymentKind::Rollback { fast: true };
    Ok(finish(inputs, kind, release, slot, backends, steps))
}
