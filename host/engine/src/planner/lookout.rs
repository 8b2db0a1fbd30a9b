//! What looking at the stable release goes by, outside of any deployment: no step at all.

use super::{Inputs, PlanError, finish};
use crate::deployment::DeploymentKind;
use crate::plan::Plan;
use crate::release::Release;
use crate::state::ServiceState;

/// What reading the measures of the stable release goes by.
pub fn survey(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    let Some(stable) = inputs.state.stable.clone() else {
        return Err(PlanError::NothingManaged(inputs.scope));
    };
    let (slot, backends) = (stable.slot, stable.backends);
    Ok(finish(inputs, DeploymentKind::Deploy, release, slot, backends, Vec::new()))
}

/// What watching the stable release goes by: its policies and backends, as if nothing had been
/// stable before it.
pub fn watch(inputs: Inputs, release: Release) -> Result<Plan, PlanError> {
    let Some(stable) = inputs.state.stable.clone() else {
        return Err(PlanError::NothingManaged(inputs.scope));
    };
    let (slot, backends) = (stable.slot, stable.backends);
    let inputs = Inputs { state: ServiceState { stable: None, ..inputs.state.clone() }, ..inputs };
    Ok(finish(inputs, DeploymentKind::Deploy, release, slot, backends, Vec::new()))
}
