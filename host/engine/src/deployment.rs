//! What a deployment is about: which release goes where, what was there before, under which
//! policies. Decided before it begins; how it is done is the plan's list of steps.

use crate::names::{BackendId, DeploymentId, Digest, OpId, Scope, Timestamp};
use crate::policy::Policy;
use crate::release::{Release, RuntimeSpec};
use crate::route::{Backend, Routes, Slot};
use crate::standing::{Kept, Standing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// What a deployment is about.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Deployment {
    pub id: DeploymentId,
    pub scope: Scope,
    /// The id of the store that owns the service.
    pub store: String,
    pub kind: DeploymentKind,
    /// Who asked, and from where: for people.
    pub by: String,
    /// When its plan was made.
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
    /// The plugins in use.
    #[serde(default)]
    pub plugins: Vec<PluginInUse>,
    /// Whether the operator takes over a target that is foreign or not as we left it.
    #[serde(default)]
    pub force: bool,
}

impl Deployment {
    /// The id of an effect: the same for each repetition. `step` is none outside of any step.
    pub fn op_id(&self, step: Option<usize>, purpose: &str) -> OpId {
        OpId(match step {
            Some(step) => format!("{}-{step}-{purpose}", self.id),
            None => format!("{}-{purpose}", self.id),
        })
    }

    /// The candidate as it stands once it is promoted.
    pub fn candidate(&self, since: Timestamp) -> Standing {
        Standing {
            release: self.release.number,
            slot: self.slot,
            backends: self.backends.clone(),
            stop_grace: self.release.runtime.stop_grace(),
            since,
        }
    }

    /// Whether this is one of the candidate's backends.
    pub fn has_candidate(&self, id: &BackendId) -> bool {
        self.backends.iter().any(|backend| backend.id == *id)
    }

    /// The backends that the deployment is about: the candidate's, what is stable, what is kept.
    pub fn all_backends(&self) -> impl Iterator<Item = &Backend> {
        let standing = self.stable.iter().chain(self.kept.as_ref().map(|kept| &kept.standing));
        self.backends.iter().chain(standing.flat_map(|standing| &standing.backends))
    }

    /// The backend of this id.
    pub fn backend(&self, id: &BackendId) -> Option<&Backend> {
        self.all_backends().find(|backend| backend.id == *id)
    }

    /// Whether the candidate ran before us: nothing of it is ever started or stopped by us.
    pub fn adopts(&self) -> bool {
        matches!(self.release.runtime, RuntimeSpec::Adopted { .. })
    }

    /// Whether the candidate is started by this deployment; else it stands already.
    pub fn launches(&self) -> bool {
        match self.kind {
            DeploymentKind::Deploy | DeploymentKind::Rollback { fast: false } => true,
            DeploymentKind::Adopt | DeploymentKind::Rollback { fast: true } => false,
        }
    }

    /// Whether what the last deployment kept is removed: the candidate needs its slot.
    pub fn removes_kept(&self) -> bool {
        self.launches() && self.kept.is_some()
    }

    /// Whether an earlier release is deployed: what is stable is likely to be bad.
    pub fn goes_back(&self) -> bool {
        matches!(self.kind, DeploymentKind::Rollback { .. })
    }

    /// Whether it goes back to a side that still stands.
    pub fn goes_back_fast(&self) -> bool {
        self.kind == DeploymentKind::Rollback { fast: true }
    }
}
