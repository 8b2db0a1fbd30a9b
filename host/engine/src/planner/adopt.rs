//! Taking over what runs already.

use super::climb::Climb;
use super::{Inputs, PlanError, finish, preflighted};
use crate::deployment::DeploymentKind;
use crate::plan::Plan;
use crate::release::Release;
use crate::route::{Backend, Slot};
use crate::steps::{Promote, StepKind};

/// Plans to take over what runs already: the target learns the routes, nothing is started or
/// stopped.
pub fn adopt(inputs: Inputs, release: Release, backends: Vec<Backend>) -> Result<Plan, PlanError> {
    if let Some(stable) = &inputs.state.stable {
        return Err(PlanError::AlreadyManaged { release: stable.release, scope: inputs.scope });
    }
    if backends.is_empty() {
        return Err(PlanError::Backends { needed: 1, reserved: 0 });
    }
    let slot = Slot::Blue;
    let mut climb = Climb::new(&inputs, release.number, slot, &backends);
    climb.await_healthy(backends.clone());
    climb.take_all(None);
    climb.push(StepKind::Promote(Promote {}));
    let steps = preflighted(climb.steps, &inputs.policy);
    Ok(finish(inputs, DeploymentKind::Adopt, release, slot, backends, steps))
}

/// Plans to put back what the journal says is in force, over whatever was done to the target by
/// hand.
pub fn retake(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    let (Some(stable), Some(routes)) = (inputs.state.stable.clone(), inputs.state.routes.clone())
    else {
        return Err(PlanError::NothingManaged(inputs.scope));
    };
    let mut climb = Climb::new(&inputs, stable.release, stable.slot, &stable.backends);
    climb.shift(routes);
    let steps = preflighted(climb.steps, &inputs.policy);
    let inputs = Inputs { force: true, ..inputs };
    Ok(finish(inputs, DeploymentKind::Adopt, release, stable.slot, stable.backends, steps))
}
