//! What is live: the state of one scope, folded from the journal.

use crate::journal::{Entry, Event};
use crate::names::{DeploymentId, ReleaseNumber, Timestamp};
use crate::plan::Plan;
use crate::route::{Backend, Routes, Slot};
use crate::step::{StepEvent, StepKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A release that stands in a slot.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Standing {
    pub release: ReleaseNumber,
    pub slot: Slot,
    /// Its instances.
    pub backends: Vec<Backend>,
    /// Whether it ran before us: never stopped by us.
    pub adopted: bool,
    /// How long each of its backends may take to stop: its own release's, whatever release comes
    /// after it.
    pub stop_grace: Duration,
    /// Since when it is what it is (stable, or kept).
    pub since: Timestamp,
}

/// A release that was promoted once and stands aside at weight 0.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Kept {
    /// What stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// Whether its last requests have ended.
    pub drained: bool,
    /// Whether a part of it may be gone: it is no way back any more, and the next deployment
    /// removes the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

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

impl Standing {
    /// The longest that stopping all of it one by one may take.
    pub fn stop_time(&self) -> Duration {
        self.stop_grace.saturating_mul(u32::try_from(self.backends.len()).unwrap_or(u32::MAX))
    }
}

impl ServiceState {
    /// The state that follows from all entries of a scope, in the order in which they were written.
    /// A stored state is this, remembered.
    pub fn fold<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> ServiceState {
        let mut plan = None;
        let mut state = ServiceState::default();
        for Entry { at, event, .. } in entries {
            if let Event::Opened { plan: opened } = event {
                plan = Some(&**opened);
            }
            if let Some(plan) = plan {
                state = state.after(plan, event, *at);
            }
        }
        state
    }

    /// The state after an entry of `plan`'s deployment; the only place where a service's state
    /// changes.
    #[must_use]
    pub fn after(&self, plan: &Plan, event: &Event, at: Timestamp) -> ServiceState {
        let mut state = self.clone();
        match event {
            Event::Opened { plan } => state.open = Some(plan.id.clone()),
            Event::Closed { .. } => state.open = None,
            Event::Step { step, event } => {
                if let Some(step) = plan.steps.get(*step) {
                    state.fold_step(plan, &step.kind, event, at);
                }
            }
            Event::Decided(_) | Event::TurnedBack { .. } | Event::Resumed { .. } => {}
        }
        state
    }

    /// What was stable when the plan was made: stable still, or what stands aside once the
    /// candidate was promoted.
    fn old_side(&mut self, whole: &Standing) -> &mut Standing {
        let is_old =
            |standing: &Standing| (standing.release, standing.slot) == (whole.release, whole.slot);
        match &mut self.stable {
            Some(stable) if is_old(stable) => stable,
            _ => {
                let gone = || Kept {
                    standing: Standing { backends: Vec::new(), ..whole.clone() },
                    drained: false,
                    partial: true,
                };
                let kept = self.kept.take().filter(|kept| is_old(&kept.standing));
                &mut self.kept.insert(kept.unwrap_or_else(gone)).standing
            }
        }
    }

    fn fold_step(&mut self, plan: &Plan, kind: &StepKind, event: &StepEvent, at: Timestamp) {
        match (kind, event) {
            (StepKind::RetireKept { .. }, StepEvent::Started) => {
                if let Some(kept) = &mut self.kept {
                    kept.partial = true;
                }
            }
            // Refused: it ended before any of it was touched.
            (StepKind::RetireKept { .. }, StepEvent::Refused { .. }) => {
                self.kept.clone_from(&plan.kept);
            }
            (StepKind::RetireKept { .. }, StepEvent::Succeeded { .. }) => self.kept = None,
            // From its start on, a part of what is stable may be gone.
            (StepKind::Shrink { backends, .. }, StepEvent::Started) => {
                if let Some(stable) = &mut self.stable {
                    stable.backends.retain(|backend| !backends.contains(backend));
                }
            }
            // Refused: it ended before any of it was touched.
            (
                StepKind::Shrink { backends, .. },
                StepEvent::Undone { .. } | StepEvent::Refused { .. },
            ) => {
                if let Some(whole) = &plan.stable {
                    let old = self.old_side(whole);
                    let there = std::mem::take(&mut old.backends);
                    old.backends = whole
                        .backends
                        .iter()
                        .filter(|backend| there.contains(backend) || backends.contains(backend))
                        .cloned()
                        .collect();
                }
            }
            (StepKind::Shift { after, .. }, StepEvent::Succeeded { output }) if !output.skipped => {
                self.routes = Some(after.clone());
            }
            (StepKind::Shift { .. }, StepEvent::Undone { .. }) => {
                self.routes.clone_from(&plan.routes_before);
                if let Some(kept) = &mut self.kept {
                    kept.drained = false;
                }
            }
            (StepKind::Promote, StepEvent::Succeeded { .. }) => {
                // What a rolling deployment has removed of it is no part of it any more.
                let backends =
                    self.stable.as_ref().map(|stable| stable.backends.clone()).unwrap_or_default();
                let kept = plan.stable.clone().map(|standing| Kept {
                    standing: Standing { since: at, backends, ..standing },
                    drained: false,
                    partial: false,
                });
                self.kept = kept.filter(|kept| !kept.standing.backends.is_empty());
                self.stable = Some(plan.candidate(at));
            }
            (StepKind::Promote, StepEvent::Undone { .. }) => {
                self.stable.clone_from(&plan.stable);
                self.kept = if plan.retires_kept() {
                    None
                } else {
                    plan.kept.clone().map(|kept| Kept { drained: false, ..kept })
                };
            }
            (StepKind::Drain { .. }, StepEvent::Succeeded { output }) => {
                if let Some(kept) = &mut self.kept {
                    kept.drained = output.drained == Some(true);
                }
            }
            (StepKind::Retire { .. }, StepEvent::Succeeded { output })
                if output.retired == Some(true) =>
            {
                self.kept = None;
            }
            _ => {}
        }
    }
}
