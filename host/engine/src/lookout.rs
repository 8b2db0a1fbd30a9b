//! Looking at what is stable, outside of any deployment. Changes nothing, writes nothing, and needs
//! no lease.

use crate::context::StepContext;
use crate::fault::{Fault, FaultKind};
use crate::names::Timestamp;
use crate::plan::Plan;
use crate::ports::{Fence, Finding};
use crate::steps::{self, Bake, StepKind};
use crate::world::World;
use std::time::Duration;

/// Watches what is stable, with the checks and measures of the bake, until something is wrong with
/// it; that is the answer. Dropped when it is no longer wanted.
///
/// `plan` is of [`crate::planner::watch`]; `promoted` is since when it is stable.
pub async fn watch(world: World<'_>, plan: Plan, promoted: Timestamp) -> Fault {
    let context = StepContext::new(world.ports(), Fence(0), plan.deployment);
    let before = context.deployment.kept.clone();
    context.learn_of_before(before.as_ref().map(|kept| &kept.standing), promoted).await;
    let bake = StepKind::Bake(Bake { duration: Duration::MAX });
    bake.run(&context).await.map_or_else(
        |failure| failure.fault().clone(),
        |_| Fault::new(FaultKind::Internal, "the watch ended unexpectedly"),
    )
}

/// Reads of the stable release what a candidate will be measured by, as preflight does; a line for
/// each measure. What is bad is bad configuration.
///
/// `plan` is of [`crate::planner::survey`].
pub async fn survey(world: World<'_>, plan: Plan) -> Vec<Finding> {
    steps::survey(&StepContext::new(world.ports(), Fence(0), plan.deployment)).await
}
