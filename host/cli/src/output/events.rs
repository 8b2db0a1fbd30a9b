//! Everything that `--output json` writes. The published schema and the page about events are
//! generated from these types and from the engine's.

use super::data;
use super::report::ProbeSummary;
use crate::adapters::now;
use agente_engine::attempt::{Attempt, Direction};
use agente_engine::fault::Fault;
use agente_engine::journal::{ChainState, Entry, HistoryRow, Outcome};
use agente_engine::names::{BackendId, DeploymentId, Digest, ReleaseNumber, Scope, Timestamp};
use agente_engine::plan::Plan;
use agente_engine::ports::{BackendState, Finding, Holding, Observed, PluginEffect, Progress};
use agente_engine::state::ServiceState;
use agente_engine::step::StepState;
use agente_engine::steps::Step;
use agente_wasm::{Capabilities, PluginHeader};
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde::Serialize;

/// One line of standard output. Keys and values may be added to it; none changes or goes.
#[derive(Serialize, JsonSchema)]
struct Line<'a> {
    schema: SchemaVersion,
    /// When the line was written, in milliseconds since the Unix epoch.
    at: Timestamp,
    #[serde(flatten)]
    event: &'a OutputEvent<'a>,
}

/// The version of this schema.
#[derive(Serialize, JsonSchema)]
enum SchemaVersion {
    #[serde(rename = "agente.events/1")]
    One,
}

/// What happened, or was found.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum OutputEvent<'a> {
    /// A deployment begins.
    Begins { deployment: &'a DeploymentId, release: ReleaseNumber },
    /// An open deployment is taken up again, or turned back.
    TakenUp { deployment: &'a DeploymentId, release: ReleaseNumber },
    /// Something goes on in a deployment. Not journaled, may be lost.
    Progress { progress: &'a Progress },
    /// A deployment has ended.
    Outcome {
        deployment: &'a DeploymentId,
        result: &'a Outcome,
        /// What our own requests saw; null without a prober.
        probe: Option<&'a ProbeSummary>,
    },
    /// `plan` and `deploy --dry-run`: what would be done.
    Plan {
        plan: &'a Plan,
        /// The longest the deployment can take going forward.
        worst_case_ms: u64,
        /// The index of the step from which there is no way back; null where there is none.
        point_of_no_return: Option<usize>,
        /// What each shift would change at the target.
        changes: &'a [Change],
    },
    /// `status`: what is live.
    Status(Box<Status<'a>>),
    /// `status --verify`: whether the journal's chain of hashes is intact.
    Verified {
        scope: &'a Scope,
        intact: bool,
        #[serde(flatten)]
        chain: &'a ChainState,
    },
    /// An entry of the journal: told once it is written, and by `status --follow` and
    /// `history --deployment`.
    Entry { entry: &'a Entry },
    /// `history --deployment … --effects`: something that a plugin did, or was denied.
    Effect { effect: &'a PluginEffect },
    /// The same, after the effects: how many more could not be kept.
    EffectsLost { count: u64 },
    /// `history`: a deployment.
    Deployment { deployment: &'a HistoryRow },
    /// `logs`: a line that a backend wrote.
    Log { backend: &'a BackendId, line: &'a str },
    /// `check`: something that was found.
    Finding { finding: &'a Finding },
    /// `plugin list`: a plugin of the manifest.
    Plugin {
        name: &'a str,
        #[serde(flatten)]
        plugin: ListedPlugin<'a>,
    },
    /// `plugin inspect`: a component.
    Component(Box<Component<'a>>),
}

/// What a shift would change at the target.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Change {
    /// The step's index in the plan.
    pub(crate) step: usize,
    /// The difference, in the switcher's words; empty where nothing changes.
    pub(crate) difference: String,
}

/// What is live, by the journal and by a look at the running world.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Status<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) state_directory: &'a str,
    /// Whether a release of it is stable.
    pub(crate) managed: bool,
    /// The store's id; null where there is no store yet.
    pub(crate) store: Option<&'a str>,
    /// What the journal says.
    pub(crate) state: Option<&'a ServiceState>,
    /// The deployment that has not ended; null where there is none.
    pub(crate) open: Option<OpenDeployment<'a>>,
    /// Who runs a deployment, or did when they died.
    pub(crate) lease: Option<&'a Holding>,
    /// The backends that stand by the journal, as they were seen.
    pub(crate) backends: &'a [SeenBackend],
    /// The target as it was seen; null where it was not looked at.
    pub(crate) target: Option<&'a SeenTarget>,
    /// Why the store is not to be believed, and the evidence; null where nothing speaks against it.
    pub(crate) doubt: Option<Doubtful<'a>>,
}

/// A deployment that has not ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OpenDeployment<'a> {
    deployment: &'a DeploymentId,
    release: ReleaseNumber,
    paused: bool,
    /// Whether a step can be neither done nor undone, so that a person decides.
    stuck: bool,
    /// Why it unwinds; null while it goes forward.
    unwinding: Option<&'a Fault>,
    /// The steps of the plan, in order.
    steps: Vec<OpenStep<'a>>,
}

/// A step of a deployment that has not ended.
#[derive(Serialize, JsonSchema)]
struct OpenStep<'a> {
    kind: &'static str,
    state: OpenStepState,
    /// What went wrong, where something did.
    fault: Option<&'a Fault>,
}

/// Where a step is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OpenStepState {
    /// It has not begun.
    Pending,
    /// It has begun and not ended; also after its host has died.
    Running,
    /// Its effect is there.
    Done,
    /// It ended before any effect began.
    Refused,
    /// It failed, and its effect is unknown.
    Unknown,
    /// It is being undone.
    Undoing,
    /// Its effect is gone.
    Undone,
    /// It can be neither done nor undone; a person decides.
    Stuck,
}

impl<'a> From<&'a Attempt> for OpenDeployment<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        let plan = &attempt.plan;
        let step = |(step, state): (&Step, &'a StepState)| {
            use OpenStepState as O;
            let (state, fault) = match state {
                StepState::Pending => (O::Pending, None),
                StepState::Running => (O::Running, None),
                StepState::Done(_) => (O::Done, None),
                StepState::Refused(fault) => (O::Refused, Some(fault)),
                StepState::Unknown(fault) => (O::Unknown, Some(fault)),
                StepState::Undoing => (O::Undoing, None),
                StepState::Undone => (O::Undone, None),
                StepState::Failed(fault) | StepState::Stuck(fault) => (O::Stuck, Some(fault)),
            };
            OpenStep { kind: step.kind.name(), state, fault }
        };
        Self {
            deployment: &plan.id,
            release: plan.release.number,
            paused: attempt.paused,
            stuck: attempt.is_stuck().is_some(),
            unwinding: match &attempt.direction {
                Direction::Forward => None,
                Direction::Back(fault) => Some(fault),
            },
            steps: plan.steps.iter().zip(&attempt.steps).map(step).collect(),
        }
    }
}

/// A backend as it was seen.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SeenBackend {
    pub(crate) id: BackendId,
    pub(crate) address: String,
    #[serde(flatten)]
    pub(crate) state: Option<BackendState>,
    /// Why it can't be looked at.
    pub(crate) error: Option<String>,
}

/// The target as it was seen.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SeenTarget {
    #[serde(flatten)]
    pub(crate) observed: Option<Observed>,
    /// Why it can't be looked at.
    pub(crate) error: Option<String>,
}

/// Why a store is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Doubt {
    /// It is gone, damaged, or may not be read.
    Unusable,
    /// It knows nothing of a service that is live.
    Unknown,
    /// The target says that the service belongs to another store.
    Foreign,
    /// The target, or a backend that runs, was changed by deployments that it does not have.
    Behind,
    /// Its journal was changed: the chain of hashes is broken.
    Changed,
}

/// Why the store is not to be believed, and the evidence.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Doubtful<'a> {
    pub(crate) doubt: Doubt,
    /// In one sentence.
    pub(crate) message: &'a str,
    /// What was seen, and what could not be looked at, in words.
    pub(crate) evidence: &'a [String],
    /// What to do.
    pub(crate) hint: Option<&'a str>,
}

/// A plugin of the manifest, where it can be loaded.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ListedPlugin<'a> {
    /// It can.
    Loaded {
        version: &'a str,
        /// `traffic-switcher` or `health-check`.
        kind: String,
        size_bytes: u64,
        digest: &'a Digest,
        grant: GrantState,
        /// The component's path.
        file: &'a str,
    },
    /// It can't.
    Unusable {
        /// Why.
        error: &'a str,
    },
}

/// Whether `agente.lock` grants what a plugin asks for.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GrantState {
    /// It grants exactly that.
    Good,
    /// The plugin or what it asks for has changed since.
    OutOfDate,
    /// It grants nothing.
    None,
}

/// What a component is, asks for, understands and imports.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Component<'a> {
    #[schemars(with = "serde_json::Value")]
    pub(crate) plugin: &'a PluginHeader,
    /// The capabilities of its request, as in `plugin.toml`.
    #[schemars(with = "serde_json::Value")]
    pub(crate) asks: &'a Capabilities,
    pub(crate) imports: &'a [String],
    pub(crate) exports: &'a [String],
    pub(crate) digest: &'a Digest,
    pub(crate) size_bytes: u64,
    /// The JSON Schema of its configuration.
    pub(crate) config: &'a serde_json::Value,
    /// The JSON Schema of a check's own table; null where it answers no checks.
    pub(crate) spec: Option<&'a serde_json::Value>,
    /// The JSON Schema of a query's own table; null where it reads no numbers.
    pub(crate) query: Option<&'a serde_json::Value>,
}

/// Writes an event.
pub(crate) fn emit(event: &OutputEvent<'_>) {
    let line = Line { schema: SchemaVersion::One, at: now(), event };
    if let Ok(text) = serde_json::to_string(&line) {
        data(&text);
    }
}

/// The schema of the lines.
pub(crate) fn schema() -> Schema {
    let mut schema = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Line<'_>>();
    schema.insert("title".to_owned(), "An event of agente-host".into());
    RecursiveTransform(unwrap_description).transform(&mut schema);
    schema
}

/// Undoes the breaks that lines of source code have.
fn unwrap_description(schema: &mut Schema) {
    let words = schema.get("description").and_then(|words| words.as_str()).map(str::to_owned);
    if let Some(words) = words.filter(|words| words.contains('\n')) {
        let paragraphs: Vec<String> =
            words.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
        schema.insert("description".to_owned(), paragraphs.join("\n\n").into());
    }
}
