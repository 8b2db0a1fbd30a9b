//! What is written down: events. State is folded from them, never stored in them.

use crate::deployment::DeploymentKind;
use crate::fault::Fault;
use crate::names::{DeploymentId, ReleaseNumber, Scope, Timestamp};
use crate::plan::Plan;
use crate::step::StepEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A decision that an operator left in the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DecisionKind {
    /// Stop and unwind.
    Abort,
    /// Begin no new step until `resume`.
    Pause,
    /// Go on.
    Resume,
    /// Wait no longer at this weight.
    Promote {
        /// Whether all weights and analyses before 100 % are passed over.
        full: bool,
    },
}

/// A decision with who, why and when.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Decision {
    /// Its number in the mailbox; each is folded into the journal once.
    pub id: u64,
    pub decision: DecisionKind,
    /// Who: user and machine.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// When it was left.
    pub at: Timestamp,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The candidate is stable.
    Promoted {
        /// What the operator should know: a drain that did not end, a plugin's warning …
        notes: Vec<String>,
    },
    /// The candidate was taken back, or never got so far; what was stable serves.
    Unwound {
        fault: Fault,
        /// What serves now.
        stable: Option<ReleaseNumber>,
        /// How it was found afterwards.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    },
    /// Turned down before any effect began; nothing was changed.
    Refused { fault: Fault },
    /// An undo failed, or a step past the point of no return. A person decides.
    Stuck {
        /// Why the deployment turned back in the first place, if it did.
        cause: Option<Fault>,
        /// What could not be undone or done.
        fault: Fault,
        /// What to look at and type, one line each.
        instructions: Vec<String>,
    },
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Event {
    /// The first entry: the whole plan.
    Opened {
        /// With all ids, ports, digests and inputs.
        plan: Box<Plan>,
    },
    /// Something about a step.
    Step {
        /// Its index in the plan.
        step: usize,
        #[serde(flatten)]
        event: StepEvent,
    },
    /// An operator's decision, folded in.
    Decided(Decision),
    /// From here steps are undone in reverse.
    TurnedBack { fault: Fault },
    /// A host took the deployment up again.
    Resumed { by: String },
    /// The last entry.
    Closed {
        #[serde(flatten)]
        outcome: Outcome,
    },
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Entry {
    /// From 0, without gaps, within the deployment.
    pub sequence: u64,
    /// When it was written.
    pub at: Timestamp,
    pub deployment: DeploymentId,
    /// What happened.
    pub event: Event,
}

/// One deployment, as `history` shows it: what its entries say in short.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct HistoryRow {
    /// The deployment.
    pub id: DeploymentId,
    pub scope: Scope,
    pub kind: DeploymentKind,
    /// The release that it deployed.
    pub release: ReleaseNumber,
    /// What that release runs, in short.
    pub artifact: String,
    pub by: String,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ended; none while it is open.
    pub closed: Option<Timestamp>,
    /// How it ended; none while it is open.
    pub outcome: Option<Outcome>,
}

/// What a walk along a scope's chain of entries found.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum ChainState {
    /// Every entry fits the one before it, and the state follows from the newest.
    Intact {
        /// How many there are.
        entries: u64,
        /// The newest one's hash in hexadecimal, to be compared with a copy kept elsewhere.
        head: String,
    },
    /// Something was changed, removed or put in.
    Broken {
        /// The first position within the scope, from 1, that doesn't fit.
        position: u64,
        /// The deployment of the entry there, if there is one.
        deployment: Option<DeploymentId>,
        /// What doesn't fit, in words.
        message: String,
    },
}
