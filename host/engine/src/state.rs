//! What is live: the state of one service in one environment.

use crate::names::DeploymentId;
use crate::route::Routes;
use crate::standing::{Kept, Standing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of one service in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct ServiceState {
    /// The promoted release.
    pub stable: Option<Standing>,
    /// The one before it, if it still stands.
    pub kept: Option<Kept>,
    /// The routes that were last seen in force.
    pub routes: Option<Routes>,
    /// The deployment that has not ended.
    pub open: Option<DeploymentId>,
}

impl ServiceState {
    /// What was stable when a deployment began: stable still, or what stands aside once the
    /// candidate was promoted.
    pub(crate) fn old_side(&mut self, whole: &Standing) -> &mut Standing {
        let is_old =
            |standing: &Standing| (standing.release, standing.slot) == (whole.release, whole.slot);
        match &mut self.stable {
            Some(stable) if is_old(stable) => stable,
            _ => {
                let gone = || Kept {
                    standing: whole.with_backends(Vec::new()),
                    drained: false,
                    partial: true,
                };
                let kept = self.kept.take().filter(|kept| is_old(&kept.standing));
                &mut self.kept.insert(kept.unwrap_or_else(gone)).standing
            }
        }
    }
}
