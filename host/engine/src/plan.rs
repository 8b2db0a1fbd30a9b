//! The plan: everything a deployment will do, decided before it begins and journaled whole.

use crate::names::{BackendId, DeploymentId, Digest, OpId, Scope, Timestamp};
use crate::policy::Policy;
use crate::release::{Release, RuntimeSpec};
use crate::route::{Backend, Routes, Slot};
use crate::state::{Kept, Standing};
use crate::step::{Step, StepKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What kind of deployment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DeploymentKind {
    /// A new release.
    Deploy,
    /// Release 1 from what runs already.
    Adopt,
    /// An earlier release again.
    Rollback {
        /// Whether its slot still stands, so that nothing is launched.
        fast: bool,
    },
}

/// A plugin that was loaded and granted when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginInUse {
    pub name: String,
    pub version: String,
    /// Of its component.
    pub digest: Digest,
}

/// The plan of one deployment.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Plan {
    /// The deployment.
    pub id: DeploymentId,
    pub scope: Scope,
    /// The id of the store that owns the service.
    pub store: String,
    pub kind: DeploymentKind,
    /// Who asked, and from where: for people.
    pub by: String,
    /// When it was made.
    pub created: Timestamp,
    /// The release being deployed: the candidate.
    pub release: Release,
    /// Where it goes.
    pub slot: Slot,
    /// Its instances, addresses included; reserved before the plan was written.
    pub backends: Vec<Backend>,
    /// What was stable when the plan was made.
    pub stable: Option<Standing>,
    /// The release of what was stable, so that a part of it can be started again.
    #[serde(default)]
    pub stable_release: Option<Release>,
    /// What was kept when the plan was made.
    pub kept: Option<Kept>,
    /// The routes that were in force when the plan was made.
    pub routes_before: Option<Routes>,
    /// The policies in force.
    pub policy: Policy,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The plugins in use.
    #[serde(default)]
    pub plugins: Vec<PluginInUse>,
    /// Whether the operator takes over a target that is foreign or not as we left it.
    #[serde(default)]
    pub force: bool,
    /// What the operator should know, one sentence each: “outside proof: none” …
    pub warnings: Vec<String>,
}

impl Plan {
    /// The id of an effect: the same for each repetition.
    pub fn op_id(&self, step: usize, direction: &str) -> OpId {
        OpId(format!("{}-{step}-{direction}", self.id))
    }

    /// The candidate as it stands once it is promoted.
    pub fn candidate(&self, since: Timestamp) -> Standing {
        Standing {
            release: self.release.number,
            slot: self.slot,
            backends: self.backends.clone(),
            adopted: matches!(self.release.runtime, RuntimeSpec::Adopted { .. }),
            stop_grace: self.release.runtime.stop_grace(),
            since,
        }
    }

    /// Whether this is one of the candidate's backends.
    pub fn has_candidate(&self, id: &BackendId) -> bool {
        self.backends.iter().any(|backend| backend.id == *id)
    }

    /// The backends that the plan is about: the candidate's, what is stable, what is kept.
    pub fn all_backends(&self) -> impl Iterator<Item = &Backend> {
        let standing = self.stable.iter().chain(self.kept.as_ref().map(|kept| &kept.standing));
        self.backends.iter().chain(standing.flat_map(|standing| &standing.backends))
    }

    /// The backend of this id.
    pub fn backend(&self, id: &BackendId) -> Option<&Backend> {
        self.all_backends().find(|backend| backend.id == *id)
    }

    /// Whether the deployment removes what the last one kept.
    pub fn retires_kept(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.kind, StepKind::RetireKept { .. }))
    }

    /// The candidate's backends that stand when step `index` begins, and the stable side's.
    pub fn standing_at(&self, index: usize) -> (Vec<Backend>, Vec<Backend>) {
        let (mut launched, mut gone) = (Vec::new(), Vec::new());
        for step in self.steps.iter().take(index) {
            match &step.kind {
                StepKind::Launch { backends, .. } => launched.extend(backends.iter().cloned()),
                StepKind::Shrink { backends, .. } => gone.extend(backends.iter().cloned()),
                _ => {}
            }
        }
        // What is rolled back to, or adopted, stood before.
        let any = self.steps.iter().any(|step| matches!(step.kind, StepKind::Launch { .. }));
        let candidate = if any { launched } else { self.backends.clone() };
        let stable = self
            .stable
            .iter()
            .flat_map(|stable| &stable.backends)
            .filter(|backend| !gone.contains(backend))
            .cloned()
            .collect();
        (candidate, stable)
    }

    /// Whether `promote --full` passes a step over: the waits, and the weights where all of the
    /// candidate stands already. A rolling deployment keeps its batches, whose old backends
    /// must lose their requests before they go.
    pub fn passes_over(&self, index: usize) -> bool {
        self.steps.get(index).is_some_and(|step| match &step.kind {
            StepKind::Analyze { .. } => true,
            kind => kind.leads_up() && self.shrunk().next().is_none(),
        })
    }

    /// What a rolling deployment removes of the stable side before promote.
    pub fn shrunk(&self) -> impl Iterator<Item = &Backend> {
        self.steps.iter().flat_map(|step| match &step.kind {
            StepKind::Shrink { backends, .. } => backends.as_slice(),
            _ => &[],
        })
    }

    /// The longest the deployment can take going forward: the sum of its time limits.
    pub fn worst_case(&self) -> Duration {
        self.steps.iter().map(|step| step.timeout).sum()
    }

    /// The index of the step from which there is no way back, if there is one.
    pub fn point_of_no_return(&self) -> Option<usize> {
        self.steps.iter().position(|step| step.kind.is_point_of_no_return())
    }

    /// The index of promote.
    pub fn promote_step(&self) -> Option<usize> {
        self.steps.iter().position(|step| matches!(step.kind, StepKind::Promote))
    }
}
